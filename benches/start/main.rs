//! What a start costs after `kill -9`: from the start of the process to the first answer, by the wall
//! and in CPU time, with a million keys.
//!
//! `cargo bench --bench start` fills a data directory through the wire, four connections at a time, kills the
//! server, and then starts it again and again on that directory; each start is ended as soon as it has
//! answered. Every total is read back after the first one: a quick start that forgets is worth nothing.
//! Three directories, since a name may be in two places:
//!
//! - **log**: the store was not committed since, so all names are in `ticks.log`;
//! - **both**: the server was killed some seconds after the last key, as it mostly is: the names are
//!   in the store, their totals and all windows in the log;
//! - **store**: a checkpoint was committed before, so names and totals are in the store and the log is
//!   short. It comes at a multiple of five minutes and is waited for; `--no-wait` leaves this one out.
//!
//! Keys are 35 to 39 bytes long; one in four has tags. Files are in the page cache, as they are after
//! the end of a process and are not after the loss of power.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "progress is shown on a terminal")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench reads the clock, connects, and waits for what it started"
)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::Parser;
use tempfile::TempDir;

/// No step takes longer than this.
const PATIENCE: Duration = Duration::from_secs(60);
/// A checkpoint comes at a multiple of five minutes, and is committed within seconds.
const CHECKPOINT: Duration = Duration::from_secs(330);
/// Connections that fill the directory.
const LOADERS: usize = 4;

/// Measures the start of tallyd after `kill -9`.
#[derive(Parser)]
struct Options {
    /// How many keys there are
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1000..=10_000_000))]
    keys: u32,
    /// Starts on each directory
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Without the directory that takes minutes
    #[arg(long)]
    no_wait: bool,
    /// The tallyd to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_tallyd"))]
    tallyd: PathBuf,
    /// What the starts that are timed are run by: `--by 'chrt -f 1'` where the machine has other work
    #[arg(long, value_name = "COMMAND", default_value = "")]
    by: String,
    #[arg(long, hide = true)]
    bench: bool,
}

/// A directory to start on.
struct Case {
    name: &'static str,
    /// How often the store is committed.
    store_sync: &'static str,
    until: fn(&Path) -> bool,
}

const CASES: [Case; 3] = [
    Case { name: "log", store_sync: "1h", until: |_| true },
    Case { name: "both", store_sync: "5s", until: has_names },
    Case { name: "store", store_sync: "5s", until: has_checkpoint },
];

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        // Does it run at all; for `cargo test --all-targets`.
        options = Options { keys: 1000, rounds: 1, no_wait: true, ..options };
    }
    println!(
        "{} keys, {} starts each, median (least to greatest), ms",
        options.keys, options.rounds
    );
    println!("{:8} {:>22} {:>22} {:>22}", "names in", "first answer", "CPU, user", "CPU, system");
    for case in CASES.iter().filter(|case| case.name != "store" || !options.no_wait) {
        measure(case, &options).with_context(|| case.name)?;
    }
    Ok(())
}

fn measure(case: &Case, options: &Options) -> anyhow::Result<()> {
    let mut site = Site::new(case, options)?;
    let (mut server, _) = site.start("")?;
    let loading = Instant::now();
    std::thread::scope(|scope| {
        let loaders: Vec<_> = (0..LOADERS)
            .map(|at| scope.spawn(move || load(site.address, at, options.keys)))
            .collect();
        loaders.into_iter().try_for_each(|one| one.join().expect("a loader does not panic"))
    })?;
    eprintln!("{}: filled in {:.1?}", case.name, loading.elapsed());
    // The tick after the last key has gone to the log.
    std::thread::sleep(Duration::from_secs(2));
    let patience = Instant::now() + CHECKPOINT;
    while !(case.until)(&site.data) {
        ensure!(Instant::now() < patience, "the store did not get there");
        std::thread::sleep(Duration::from_millis(100));
    }
    server.kill()?;
    let (mut wall, mut user, mut system) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..options.rounds {
        let (mut server, took) = site.start(&options.by)?;
        let (its_user, its_system) = server.cpu_ms()?;
        if round == 0 {
            read_back(site.address, options.keys)?;
        }
        server.kill()?;
        wall.push(took.as_millis());
        user.push(its_user);
        system.push(its_system);
    }
    println!("{:8} {:>22} {:>22} {:>22}", case.name, show(wall), show(user), show(system));
    Ok(())
}

/// A data directory, and where its server listens.
struct Site {
    _dir: TempDir,
    data: PathBuf,
    config: PathBuf,
    address: SocketAddr,
    tallyd: PathBuf,
}

/// A running server, which ends with this value.
struct Server(Child);

impl Site {
    fn new(case: &Case, options: &Options) -> anyhow::Result<Self> {
        let dir = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let (data, config) = (dir.path().join("data"), dir.path().join("tallyd.toml"));
        let text = format!(
            "[server]\nlisten = [\"{address}\"]\nhttp = []\ndata_dir = \"{}\"\n\
             [counters]\nmax_series = {}\n[store]\nsync = \"{}\"\n",
            data.display(),
            options.keys,
            case.store_sync
        );
        fs::write(&config, text)?;
        let tallyd = std::path::absolute(&options.tallyd)?;
        Ok(Self { _dir: dir, data, config, address, tallyd })
    }

    /// Starts a server by that command, which is to become it; back once it has answered, with how long
    /// that took.
    fn start(&mut self, by: &str) -> anyhow::Result<(Server, Duration)> {
        let began = Instant::now();
        let log = File::create(self.data.with_extension("output"))?;
        let mut words: Vec<_> = by.split_whitespace().map(PathBuf::from).collect();
        words.extend([self.tallyd.clone(), "serve".into(), "--config".into(), self.config.clone()]);
        let (program, arguments) = words.split_first().context("a program")?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.tallyd.display()))?;
        let mut server = Server(child);
        // It listens before it has read anything, and answers once it has.
        let mut stream = loop {
            match TcpStream::connect(self.address) {
                Ok(stream) => break stream,
                Err(_) if began.elapsed() < PATIENCE => {}
                Err(error) => bail!("it does not listen: {error}"),
            }
            if let Some(status) = server.0.try_wait()? {
                bail!("it ended at once ({status})");
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"mn\r\n")?;
        let mut answer = String::new();
        BufReader::new(stream).read_line(&mut answer)?;
        ensure!(answer == "MN\r\n", "it answers {answer:?}");
        Ok((server, began.elapsed()))
    }
}

impl Server {
    fn kill(&mut self) -> anyhow::Result<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    /// User and system time, in the ticks of ten milliseconds that the kernel shows.
    fn cpu_ms(&self) -> anyhow::Result<(u128, u128)> {
        let text = fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        // The program's name, in parentheses, may hold spaces; counting begins after it.
        let mut fields = text.rsplit(") ").next().unwrap_or_default().split(' ').skip(11);
        let mut ms = || anyhow::Ok(fields.next().context("a field")?.parse::<u128>()? * 10);
        Ok((ms()?, ms()?))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Spread over the keys, so that their order says nothing.
fn key(at: u32, keys: u32) -> String {
    let n = u64::from(at) * 7_919 % u64::from(keys);
    match n % 4 {
        0 => format!("shop.orders.{:03};host=web-{:02};id={n:07}", n / 4 % 1000, n % 31),
        1 => format!("app.web.checkout.orders.{n:011}"),
        2 => format!("app.web.checkout.orders.{n:013}"),
        _ => format!("app.web.checkout.orders.{n:015}"),
    }
}

/// What a key is incremented by.
fn amount(at: u32) -> u64 {
    u64::from(at % 1000) + 1
}

/// Increments every key that is the `at`-th loader's.
fn load(address: SocketAddr, at: usize, keys: u32) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    let mine: Vec<u32> = (0..keys).skip(at).step_by(LOADERS).collect();
    for some in mine.chunks(500) {
        let mut batch = Vec::new();
        for at in some {
            write!(batch, "incr {} {}\r\n", key(*at, keys), amount(*at))?;
        }
        stream.write_all(&batch)?;
        for at in some {
            let answer = answers.next().context("it closed")??;
            ensure!(answer == amount(*at).to_string(), "{}: {answer}", key(*at, keys));
        }
    }
    Ok(())
}

/// Holds every total against what was sent.
fn read_back(address: SocketAddr, keys: u32) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut answers = BufReader::new(stream.try_clone()?).lines();
    for some in (0..keys).collect::<Vec<_>>().chunks(500) {
        let names: Vec<_> = some.iter().map(|at| key(*at, keys)).collect();
        stream.write_all(format!("get {}\r\n", names.join(" ")).as_bytes())?;
        for (at, name) in some.iter().zip(&names) {
            let head = answers.next().context("it closed")??;
            ensure!(head.starts_with(&format!("VALUE {name} ")), "{name}: {head}");
            let value = answers.next().context("it closed")??;
            ensure!(value == amount(*at).to_string(), "{name}: {value}");
        }
        ensure!(answers.next().context("it closed")?? == "END", "more than was asked for");
    }
    Ok(())
}

/// The names are in the store: it is half as long as they are at least, and is not being written.
fn has_names(data: &Path) -> bool {
    let is_young = |path: &Path| {
        let changed = fs::metadata(path).and_then(|metadata| metadata.modified()).ok();
        changed.and_then(|at| at.elapsed().ok()).is_none_or(|age| age < Duration::from_secs(2))
    };
    let (store, keys) = (data.join("tallyd.redb"), data.join("keys.log"));
    bytes(&store) > bytes(&keys) / 2 && !is_young(&store)
}

/// A checkpoint was committed: the log of before it is gone.
fn has_checkpoint(data: &Path) -> bool {
    let aside = fs::read_dir(data).into_iter().flatten().flatten();
    let is_aside = |name: &str| name.starts_with("ticks-");
    let is_gone = !aside.into_iter().any(|entry| is_aside(&entry.file_name().to_string_lossy()));
    is_gone && bytes(&data.join("ticks.log")) < bytes(&data.join("keys.log")) / 10
}

fn bytes(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

fn show(mut figures: Vec<u128>) -> String {
    figures.sort_unstable();
    let at = |at: usize| figures.get(at).copied().unwrap_or_default();
    let last = figures.len().saturating_sub(1);
    format!("{} ({} to {})", at(last / 2), at(0), at(last))
}
