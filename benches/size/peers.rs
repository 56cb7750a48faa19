//! The same numbers in other programs: Prometheus, `VictoriaMetrics`.
//!
//! A counter is given to them as they want it, as its running total, once a slot; a gauge in
//! decimals. Counted are the lengths of all files of their data, index and all, at rest: for Prometheus the
//! blocks of two hours that `promtool` makes, for `VictoriaMetrics` what is there after it was told to
//! flush and to merge, and has been ended. Each runs in a temporary directory under `target/`.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::data::{Class, SLOT_SECS, Series};

/// Midnight of a day that has passed, since peers refuse the future; it begins one of their blocks.
const DAY: u64 = 1_700_006_400;

const POLL: Duration = Duration::from_millis(100);
const START_POLLS: u32 = 300;
/// Time without a change after which nothing is taken to be merged any more.
const REST_POLLS: u32 = 30;
const MERGE_POLLS: u32 = 1200;

/// A program to compare with.
#[derive(Debug)]
pub(crate) struct Peer {
    kind: Kind,
    program: PathBuf,
    version: String,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Prometheus,
    Victoria,
}

/// Those that are here; says which are not.
pub(crate) fn found() -> Vec<Peer> {
    let kinds = [
        (Kind::Prometheus, "promtool", "prometheus"),
        (Kind::Victoria, "victoria-metrics", "victoria-metrics"),
    ];
    let mut peers = Vec::new();
    for (kind, program, package) in kinds {
        match in_path(program) {
            Some(program) => peers.push(Peer { kind, version: version(&program), program }),
            None => println!("{program} was not found and is left out: apt-get install {package}"),
        }
    }
    peers
}

fn in_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|directory| directory.join(program))
        .find(|path| path.is_file())
}

/// The first number with a point in what the program says of itself.
fn version(program: &Path) -> String {
    let output = Command::new(program).arg("--version").output();
    let output = output.map(|o| [o.stdout, o.stderr].concat()).unwrap_or_default();
    let text = String::from_utf8_lossy(&output).into_owned();
    let is_part = |c: char| c.is_ascii_digit() || c == '.';
    let mut words = text.split(|c: char| !is_part(c)).filter(|word| word.matches('.').count() == 2);
    words.next().unwrap_or("").to_owned()
}

impl Peer {
    pub(crate) fn title(&self) -> String {
        match self.kind {
            Kind::Prometheus => format!("Prom. {}", self.version),
            Kind::Victoria => format!("VM {}", self.version),
        }
    }

    /// Bytes that a day of these series takes.
    pub(crate) fn bytes(&self, series: &[Series]) -> anyhow::Result<u64> {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        match self.kind {
            Kind::Prometheus => self.blocks(series, directory.path()),
            Kind::Victoria => self.merged(series, directory.path()),
        }
        .with_context(|| format!("{} with {} series", self.title(), series.len()))
    }

    fn blocks(&self, series: &[Series], directory: &Path) -> anyhow::Result<u64> {
        let text = directory.join("text");
        let mut file = BufWriter::new(File::create(&text)?);
        for (kind, suffix) in [("counter", "_total"), ("gauge", "")] {
            writeln!(file, "# TYPE shop_{kind} {kind}")?;
            for series in series.iter().filter(|series| kind_of(series) == kind) {
                let name = series.name();
                for (at, value) in points(series) {
                    writeln!(file, "shop_{kind}{suffix}{{series=\"{name}\"}} {value} {at}")?;
                }
            }
        }
        writeln!(file, "# EOF")?;
        file.into_inner()?;
        let blocks = directory.join("blocks");
        let output = Command::new(&self.program)
            .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
            .args([&text, &blocks])
            .stdin(Stdio::null())
            .output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        size(&blocks)
    }

    fn merged(&self, series: &[Series], directory: &Path) -> anyhow::Result<u64> {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let data = directory.join("data");
        let child = Command::new(&self.program)
            .arg(format!("-storageDataPath={}", data.display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .args(["-retentionPeriod=100y", "-loggerLevel=ERROR"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.join("log"))?)
            .spawn()?;
        let mut server = Server { child, port };
        server.wait_until_up()?;
        for series in series {
            let mut body = String::new();
            for (at, value) in points(series) {
                writeln!(body, "{},{value},{at}", series.name())?;
            }
            let format = format!("1:label:series,2:metric:shop_{},3:time:unix_s", kind_of(series));
            server.post(&format!("/api/v1/import/csv?format={format}"), &body)?;
        }
        server.post("/internal/force_flush", "")?;
        server.post("/internal/force_merge", "")?;
        at_rest(&data)?;
        server.end()?;
        // The cache holds nothing that is not in these.
        Ok(size(&data.join("data"))? + size(&data.join("indexdb"))?)
    }
}

fn kind_of(series: &Series) -> &'static str {
    if series.class == Class::Gauge { "gauge" } else { "counter" }
}

/// Unix seconds and the value that stands there at the end of each slot.
fn points(series: &Series) -> impl Iterator<Item = (u64, String)> {
    let class = series.class;
    let mut total = 0;
    (DAY..).step_by(SLOT_SECS as usize).zip(series.samples()).map(move |(at, sample)| {
        total += sample;
        match class {
            Class::Gauge => (at, format!("{:.2}", sample as f64 / 100.0)),
            _ => (at, total.to_string()),
        }
    })
}

/// Waits until the files of a directory have been as they are for a while.
fn at_rest(directory: &Path) -> anyhow::Result<()> {
    let mut before = 0;
    let mut rested = 0;
    for _ in 0..MERGE_POLLS {
        std::thread::sleep(POLL);
        // A file may go while it is looked at; then it is not at rest.
        let now = size(directory).unwrap_or(0);
        rested = if now == before { rested + 1 } else { 0 };
        before = now;
        if rested == REST_POLLS {
            return Ok(());
        }
    }
    bail!("it still merges after two minutes")
}

/// The lengths of all files below.
fn size(path: &Path) -> anyhow::Result<u64> {
    let about = fs::symlink_metadata(path)?;
    if !about.is_dir() {
        return Ok(about.len());
    }
    let mut sum = 0;
    for entry in fs::read_dir(path)? {
        sum += size(&entry?.path())?;
    }
    Ok(sum)
}

/// A server on loopback, ended when it is dropped.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        for _ in 0..START_POLLS {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once ({status})");
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return Ok(());
            }
            std::thread::sleep(POLL);
        }
        bail!("it does not accept connections")
    }

    fn post(&self, path: &str, body: &str) -> anyhow::Result<()> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        write!(
            stream,
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        ensure!(answer.starts_with("HTTP/1.1 2"), "{path}: {answer}");
        Ok(())
    }

    /// Asks it to end, so that it writes down what it holds in memory.
    fn end(mut self) -> anyhow::Result<()> {
        let process = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(process.context("a process has a number")?, Signal::INT)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
