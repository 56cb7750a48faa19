//! What a scrape of many series costs the server: CPU, room, and bytes on the way, in each form.
//!
//! It starts the real binary, counts in so many series once, and reads `/metrics` again and again. CPU is the whole
//! process' over one scrape, so the tick of each second is in it; room is how far its resident memory rises above
//! what it was before (`VmHWM` after it was set back). The median of the runs is printed.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "it is a client, and figures are small"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;

/// Measures what scrapes cost.
#[derive(Parser)]
#[command(after_help = "Example:\n  cargo bench --bench scrape -- --series 100000")]
struct Options {
    /// Series that were counted in.
    #[arg(long, default_value_t = 100_000)]
    series: usize,
    /// Names that they share; each series has tags besides.
    #[arg(long, default_value_t = 100)]
    names: usize,
    /// Scrapes in each form.
    #[arg(long, default_value_t = 9)]
    runs: usize,
    #[arg(long, hide = true)]
    bench: bool,
}

/// The server; it ends with this value.
struct Server {
    child: Child,
    memcached: String,
    http: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let dir = tempfile::tempdir()?;
    let server = start(dir.path())?;
    fill(&server, &options)?;
    println!("{} series of {} names", options.series, options.names);
    println!("{:<24} {:>9} {:>9} {:>9} {:>9}", "", "MB", "CPU ms", "wall ms", "MiB more");
    let open = "Accept: application/openmetrics-text\r\n";
    let packed = format!("{open}Accept-Encoding: gzip\r\n");
    for (name, headers) in [("text", ""), ("OpenMetrics", open), ("OpenMetrics, packed", &packed)] {
        let mut runs = Vec::new();
        for _ in 0..options.runs {
            runs.push(scrape(&server, headers)?);
        }
        let median = |of: fn(&Run) -> f64| {
            let mut all: Vec<_> = runs.iter().map(of).collect();
            all.sort_by(f64::total_cmp);
            all.get(all.len() / 2).copied().unwrap_or_default()
        };
        println!(
            "{name:<24} {:>9.2} {:>9.0} {:>9.0} {:>9.1}",
            median(|run| run.bytes / 1e6),
            median(|run| run.cpu * 1000.0),
            median(|run| run.wall * 1000.0),
            median(|run| run.more / 1024.0),
        );
    }
    Ok(())
}

fn start(dir: &std::path::Path) -> anyhow::Result<Server> {
    let config = dir.join("tallyd.toml");
    std::fs::write(&config, "[server]\nlisten = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n")?;
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(["serve", "--config"])
        .arg(&config)
        .current_dir(dir)
        .stderr(Stdio::piped())
        .spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("piped")?).lines();
    let ready = lines.find_map(|line| line.ok().filter(|line| line.contains("is ready")));
    let ready = ready.context("it starts")?;
    std::thread::spawn(move || lines.for_each(drop));
    let field = |name: &str| {
        let rest = ready.split_once(name).map(|(_, rest)| rest.trim_start_matches('"'));
        rest.and_then(|rest| rest.split(['"', ' ']).next()).unwrap_or_default().to_owned()
    };
    Ok(Server { child, memcached: field("memcached="), http: field("http=") })
}

fn fill(server: &Server, options: &Options) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(&server.memcached)?;
    let line = |at: usize| {
        let name = at % options.names.max(1);
        format!("incr shop.requests.{name};host=web-{at};region=eu 1 noreply\r\n")
    };
    stream.write_all((0..options.series).map(line).collect::<Vec<_>>().concat().as_bytes())?;
    stream.write_all(b"version\r\n")?;
    BufReader::new(stream).read_line(&mut String::new())?;
    // They are shown once the first window with them is closed; then it settles.
    loop {
        std::thread::sleep(Duration::from_secs(2));
        let body = get(server, "")?;
        if String::from_utf8_lossy(&body).lines().count() > options.series {
            std::thread::sleep(Duration::from_secs(5));
            return Ok(());
        }
    }
}

fn get(server: &Server, headers: &str) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(&server.http)?;
    stream.write_all(format!("GET /metrics HTTP/1.0\r\n{headers}\r\n").as_bytes())?;
    let mut body = Vec::new();
    stream.read_to_end(&mut body)?;
    Ok(body)
}

struct Run {
    bytes: f64,
    cpu: f64,
    wall: f64,
    /// In KiB.
    more: f64,
}

fn scrape(server: &Server, headers: &str) -> anyhow::Result<Run> {
    let pid = server.child.id();
    std::fs::write(format!("/proc/{pid}/clear_refs"), "5")?;
    let (before, cpu) = (memory(pid, "VmRSS:")?, cpu(pid)?);
    let start = Instant::now();
    let bytes = get(server, headers)?.len() as f64;
    let wall = start.elapsed().as_secs_f64();
    let cpu = self::cpu(pid)? - cpu;
    Ok(Run { bytes, cpu, wall, more: memory(pid, "VmHWM:")? - before })
}

fn memory(pid: u32, field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)).context("the field")?;
    Ok(line.split_whitespace().next().context("a number")?.parse()?)
}

/// Seconds of all threads, also of those that have ended.
fn cpu(pid: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let rest = stat.rsplit_once(") ").context("a stat")?.1;
    let ticks = |at: usize| rest.split(' ').nth(at).and_then(|text| text.parse::<f64>().ok());
    Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / 100.0)
}
