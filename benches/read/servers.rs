//! The servers that are asked: each started on the same numbers, on loopback, and ended with the run.
//!
//! Prometheus is given its text by `promtool`, `VictoriaMetrics` by its import of CSV. Each has a directory
//! of its own under `target/`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tempfile::TempDir;

use crate::data::{Class, SLOT_SECS};
use crate::questions::Kind;
use crate::set::{Member, Set};

const POLL: Duration = Duration::from_millis(50);
const START_POLLS: u32 = 600;
/// tallyd lets no connection ask for longer than a minute.
const CONNECTION: Duration = Duration::from_secs(20);
/// Longer answers are not ours.
const ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// A running server; dropping it ends the process, then removes its directory.
pub(crate) struct Server {
    pub(crate) kind: Kind,
    pub(crate) title: String,
    pub(crate) connection: Connection,
    child: Running,
    _directory: TempDir,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Server {
    fn start(
        kind: Kind,
        title: String,
        mut command: Command,
        port: u16,
        directory: TempDir,
    ) -> anyhow::Result<Self> {
        let output = File::create(directory.path().join("output"))?;
        let child = command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {title}"))?;
        let mut child = Running(child);
        let connection = wait_until_up(&mut child.0, port).with_context(|| {
            fs::read_to_string(directory.path().join("output")).unwrap_or_default()
        })?;
        Ok(Self { kind, title, connection, child, _directory: directory })
    }

    /// What its threads have computed so far.
    pub(crate) fn cpu_nanos(&self) -> anyhow::Result<u64> {
        let tasks = PathBuf::from(format!("/proc/{}/task", self.child.0.id()));
        let mut sum = 0;
        for thread in fs::read_dir(tasks)? {
            // A thread may end while it is looked at.
            let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
            sum += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
        }
        ensure!(sum > 0, "this kernel tells no CPU time of threads");
        Ok(sum)
    }
}

fn wait_until_up(child: &mut Child, port: u16) -> anyhow::Result<Connection> {
    for _ in 0..START_POLLS {
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once ({status})");
        }
        if let Ok(connection) = Connection::open(port) {
            return Ok(connection);
        }
        std::thread::sleep(POLL);
    }
    bail!("it does not accept connections")
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// tallyd on the set, which is played into its directory.
pub(crate) fn tallyd(set: &Set, directory: &Path) -> anyhow::Result<Server> {
    let directory = TempDir::new_in(directory)?;
    let data = directory.path().join("data");
    fs::create_dir(&data)?;
    set.write(&data)?;
    let (port, http) = (free_port()?, free_port()?);
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nhttp = [\"127.0.0.1:{http}\"]\nthreads = 1\n"
    );
    fs::write(directory.path().join("tallyd.toml"), config)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_tallyd"));
    command.args(["serve", "--config", "tallyd.toml"]);
    let title = format!("tallyd {}", env!("CARGO_PKG_VERSION"));
    Server::start(Kind::Tallyd, title, command, http, directory)
}

/// The peers that are here; says which are not.
pub(crate) fn peers(set: &Set, directory: &Path) -> anyhow::Result<Vec<Server>> {
    let mut servers = Vec::new();
    match (in_path("prometheus"), in_path("promtool")) {
        (Some(server), Some(tool)) => servers.push(prometheus(set, directory, &server, &tool)?),
        _ => println!("prometheus was not found and is left out: apt-get install prometheus"),
    }
    match in_path("victoria-metrics") {
        Some(server) => servers.push(victoria(set, directory, &server)?),
        None => println!("victoria-metrics was not found and is left out: apt-get install it"),
    }
    Ok(servers)
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// The first number with two points in what the program says of itself.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut words = text.split(|c: char| !is_part(c)).filter(|word| word.matches('.').count() == 2);
    words.next().unwrap_or("").to_owned()
}

fn prometheus(set: &Set, directory: &Path, server: &Path, tool: &Path) -> anyhow::Result<Server> {
    let directory = TempDir::new_in(directory)?;
    let [text, blocks, config] = ["text", "blocks", "config.yml"].map(|n| directory.path().join(n));
    write_open_metrics(set, &text)?;
    fs::write(&config, "global: {scrape_interval: 1h}\n")?;
    // The tool reads all of the text for each block; of two hours, as by default, there would be hundreds.
    let output = Command::new(tool)
        .args(["tsdb", "create-blocks-from", "--max-block-duration=744h", "openmetrics", "--quiet"])
        .args([&text, &blocks])
        .stdin(Stdio::null())
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    fs::remove_file(&text)?;
    let port = free_port()?;
    let mut command = Command::new(server);
    command
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", blocks.display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .args(["--storage.tsdb.retention.time=100y", "--log.level=error"])
        .arg("--storage.tsdb.max-block-duration=744h");
    let title = format!("Prometheus {}", version(server));
    Server::start(Kind::Prometheus, title, command, port, directory)
}

fn write_open_metrics(set: &Set, path: &Path) -> anyhow::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for (kind, suffix, is_counter) in [("counter", "_total", true), ("gauge", "", false)] {
        writeln!(file, "# TYPE shop_{kind} {kind}")?;
        for member in set.members.iter().filter(|member| member.is_counter() == is_counter) {
            let Member { name, host, .. } = member;
            for (at, value) in points(set, member) {
                writeln!(
                    file,
                    "shop_{kind}{suffix}{{series=\"{name}\",host=\"{host}\"}} {value} {at}"
                )?;
            }
        }
    }
    writeln!(file, "# TYPE shop_month counter")?;
    for (at, value) in month(set) {
        writeln!(file, "shop_month_total {value} {at}")?;
    }
    writeln!(file, "# EOF")?;
    file.into_inner()?.sync_all()?;
    Ok(())
}

/// Seconds, and the value that stands there.
fn points(set: &Set, member: &Member) -> impl Iterator<Item = (u64, String)> {
    let class = member.series.class;
    let mut total = 0;
    (set.day()..).step_by(SLOT_SECS as usize).zip(&member.samples).map(move |(at, sample)| {
        total += *sample;
        match class {
            Class::Gauge => (at, format!("{:.2}", *sample as f64 / 100.0)),
            _ => (at, total.to_string()),
        }
    })
}

fn month(set: &Set) -> impl Iterator<Item = (u64, u64)> {
    let mut total = 0;
    (set.month_start()..).step_by(60).zip(&set.month).map(move |(at, sold)| {
        total += sold;
        (at, total)
    })
}

fn victoria(set: &Set, directory: &Path, server: &Path) -> anyhow::Result<Server> {
    let directory = TempDir::new_in(directory)?;
    let port = free_port()?;
    let mut command = Command::new(server);
    command
        .arg(format!("-storageDataPath={}", directory.path().join("data").display()))
        .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
        .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"])
        .args(["-search.maxPointsPerTimeseries=100000"]);
    let title = format!("VictoriaMetrics {}", version(server));
    let mut server = Server::start(Kind::Victoria, title, command, port, directory)?;
    let connection = &mut server.connection;
    for member in &set.members {
        let (kind, suffix) =
            if member.is_counter() { ("counter", "_total") } else { ("gauge", "") };
        let mut body = String::new();
        for (at, value) in points(set, member) {
            writeln!(body, "{},{},{value},{at}", member.name, member.host)?;
        }
        let format =
            format!("1:label:series,2:label:host,3:metric:shop_{kind}{suffix},4:time:unix_s");
        connection.post(&format!("/api/v1/import/csv?format={format}"), &body)?;
    }
    let mut body = String::new();
    for (at, value) in month(set) {
        writeln!(body, "{value},{at}")?;
    }
    connection.post("/api/v1/import/csv?format=1:metric:shop_month_total,2:time:unix_s", &body)?;
    connection.post("/internal/force_flush", "")?;
    connection.post("/internal/force_merge", "")?;
    std::thread::sleep(Duration::from_secs(5));
    Ok(server)
}

/// One connection that stays, as a dashboard has.
pub(crate) struct Connection {
    port: u16,
    stream: BufReader<TcpStream>,
    since: Instant,
}

impl Connection {
    fn open(port: u16) -> anyhow::Result<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        Ok(Self { port, stream: BufReader::with_capacity(1 << 18, stream), since: Instant::now() })
    }

    /// Opens another before the server is tired of this one.
    pub(crate) fn renew(&mut self) -> anyhow::Result<()> {
        if self.since.elapsed() > CONNECTION {
            *self = Self::open(self.port)?;
            self.get("/healthz").or_else(|_| self.get("/-/healthy")).map(drop)?;
        }
        Ok(())
    }

    /// The body of an answer.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("GET", path, "")
    }

    fn post(&mut self, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        self.ask("POST", path, body)
    }

    fn ask(&mut self, method: &str, path: &str, body: &str) -> anyhow::Result<Vec<u8>> {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Length: {}\r\n\r\n",
            self.port,
            body.len()
        );
        self.stream.get_mut().write_all((head + body).as_bytes())?;
        let status = self.line()?;
        let (mut len, mut is_chunked) = (0, false);
        loop {
            let line = self.line()?.to_ascii_lowercase();
            match line.split_once(':') {
                None => break,
                Some(("content-length", value)) => len = value.trim().parse()?,
                Some(("transfer-encoding", value)) => is_chunked = value.trim() == "chunked",
                Some(_) => {}
            }
        }
        let body = if is_chunked { self.chunks()? } else { self.bytes(len)? };
        ensure!(status.contains(" 2"), "{path}: {status} {}", String::from_utf8_lossy(&body));
        Ok(body)
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.stream.read_line(&mut line)? > 0, "the connection was closed");
        Ok(line.trim_end().to_owned())
    }

    fn bytes(&mut self, len: usize) -> anyhow::Result<Vec<u8>> {
        ensure!(len <= ANSWER_BYTES, "the answer has {len} bytes");
        let mut body = vec![0; len];
        self.stream.read_exact(&mut body)?;
        Ok(body)
    }

    fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let len = usize::from_str_radix(&self.line()?, 16)?;
            body.extend(self.bytes(len)?);
            self.line()?;
            if len == 0 {
                return Ok(body);
            }
        }
    }
}
