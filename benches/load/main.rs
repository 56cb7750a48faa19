//! What an increment costs: tallyd beside memcached, under the same load, in the same run.
//!
//! Each workload starts every server afresh on a free port of 127.0.0.1, gives each of them all
//! the keys (untimed), and then lets them take turns, round after round, so that a slow minute of
//! the machine falls on all of them alike. The figures are medians over the rounds.
//!
//! - **Throughput** is requests by wall clock, as one single-threaded client got them done. It is
//!   a closed loop: the next batch leaves when the last one is answered. Where the server is fast
//!   the client is the bound; `echo`, a server that only answers, shows where that is.
//! - **Latency** is the time from writing a batch to having read its whole reply, on the client.
//!   With fifty connections one request is written to each before the first reply is read, so it
//!   holds the wait behind the other forty-nine, as a user would feel it. A batch without reply
//!   has no latency; a `version` now and then proves that the server has kept up.
//! - **CPU** is what the kernel charged to all threads of the server process while the round ran.
//!   It is the figure to compare by. It leaves out what the kernel does for the server in the
//!   client's name, which on loopback is much of delivering a packet, and the same for all.
//!
//! **Quote CPU figures from `--pin`.** With two idle CPUs, every reply wakes the client on the
//! other one by an interrupt between processors, which in a virtual machine costs the sender some
//! twenty microseconds; when other work keeps a CPU busy, client and server come to share one and
//! it costs nothing. On two virtual CPUs, memcached's `incr x1` was 31 µs or 10 µs by that chance
//! alone and its `incr x50` 2.2 µs or 1.0 µs, while pinned to one CPU they stayed at 9 µs and
//! 0.9 µs. Client and server pinned apart, or a client that spins instead of sleeping, were less
//! steady than either. The price is throughput and latency, which then hold the client's own time.
//!
//! At the end every key is read back from every counting server. A total that is not exactly what
//! was sent ends the run with an error: figures of a server that loses increments mean nothing.
//!
//! The load is bounded in requests and in time, and goes to loopback only.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "progress is shown on a terminal")]
#![expect(
    clippy::disallowed_methods,
    reason = "a load generator reads the clock, connects, and waits for what it started"
)]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with three digits")]

mod client;
mod echo;
mod report;
mod servers;
mod ticks;
mod traffic;
mod workloads;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use client::{Client, Limits};
use report::Row;
use servers::{Programs, Server, Template};
use traffic::Traffic;
use workloads::Workload;

/// Measures tallyd beside memcached under the same load.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  cargo bench --bench load                                 the whole table, some minutes
  cargo bench --bench load -- --pin 0                      the same with steadier CPU figures
  cargo bench --bench load -- --quick                      does it run at all
  cargo bench --bench load -- --only '1M' --rounds 9       the large tables, more closely
  cargo bench --bench load -- --servers memcached,tallyd --only 'noreply x500'
  cargo bench --bench load -- --ticks 120                  do requests feel the tick

Without `--bench`, which `cargo bench` adds, it runs as if `--quick` were given, so that
`cargo test --all-targets` stays short.")]
struct Options {
    /// Rounds per workload; each server is measured once in every round
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=99))]
    rounds: u32,
    /// Longest time of one round of one server, in seconds (at most 60)
    #[arg(long, default_value = "1", value_parser = seconds)]
    secs: Duration,
    /// Most requests in one round of one server
    #[arg(long, default_value_t = 5_000_000,
          value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    ops: u64,
    /// One round of a twentieth of a second, and a tenth of the largest tables
    #[arg(long)]
    quick: bool,
    /// Only workloads whose name contains this
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    only: String,
    /// Only these servers
    #[arg(long, value_name = "NAME,…", value_delimiter = ',',
          value_parser = clap::builder::PossibleValuesParser::new(servers::names()))]
    servers: Vec<String>,
    /// The memcached to compare with [default: the one in PATH, or /usr/bin/memcached]
    #[arg(long, value_name = "PATH")]
    memcached: Option<PathBuf>,
    /// The tallyd to measure
    #[arg(long, value_name = "PATH", default_value = env!("CARGO_BIN_EXE_tallyd"))]
    tallyd: PathBuf,
    /// Worker threads of each server (echo always has one)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    threads: u32,
    /// Keep client and servers together on this CPU, for steady CPU figures (needs taskset)
    #[arg(long, value_name = "CPU")]
    pin: Option<u32>,
    /// Count the CPU time of those threads only whose names contain this: `worker` leaves out what
    /// tallyd does once a second
    #[arg(long, value_name = "SUBSTRING", default_value = "")]
    threads_named: String,
    /// Measure single requests while a tick runs and while none does, for so many seconds
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    ticks: Option<u64>,
    /// Be the echo server on this port until standard input ends
    #[arg(long, value_name = "PORT")]
    echo_server: Option<u16>,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match options.echo_server {
        Some(port) => echo::serve(port),
        None => measure(&options.reduced()),
    }
}

impl Options {
    fn reduced(mut self) -> Self {
        self.quick |= !self.bench;
        if self.quick {
            self.rounds = 1;
            self.secs = Duration::from_millis(50);
        }
        self
    }

    fn wants(&self, server: &Template) -> bool {
        self.servers.is_empty() || self.servers.iter().any(|name| name == server.name)
    }
}

fn seconds(text: &str) -> anyhow::Result<Duration> {
    let secs: f64 = text.parse()?;
    anyhow::ensure!((0.01..=60.0).contains(&secs), "must be between 0.01 and 60");
    Ok(Duration::from_secs_f64(secs))
}

fn measure(options: &Options) -> anyhow::Result<()> {
    if let Some(cpu) = options.pin {
        pin(cpu)?;
    }
    let programs =
        Programs::find(options.memcached.clone(), options.tallyd.clone(), options.threads)?;
    if let Some(secs) = options.ticks {
        return ticks::measure(&programs, Duration::from_secs(secs));
    }
    let (templates, missing): (Vec<_>, Vec<_>) = servers::TEMPLATES
        .iter()
        .filter(|template| options.wants(template))
        .partition(|template| programs.path(template).is_some());
    let workloads: Vec<_> =
        workloads::all(options.quick).filter(|load| load.name().contains(&options.only)).collect();
    anyhow::ensure!(!workloads.is_empty(), "no workload's name contains {:?}", options.only);

    println!("{}", opening(options, &programs));
    for template in missing {
        println!("{} was not found and is left out.", template.name);
    }
    let mut rows = Vec::new();
    for (index, workload) in workloads.iter().enumerate() {
        let progress = Progress { workload: workload.name(), index, of: workloads.len() };
        rows.extend(run(workload, &templates, &programs, options, &progress)?);
    }
    progress_done();
    println!("\n{}\n{}", report::table(&rows), report::LEGEND);
    Ok(())
}

/// What was measured, on what, and how often.
fn opening(options: &Options, programs: &Programs) -> String {
    let Options { rounds, secs, ops, threads, .. } = options;
    let place = options.pin.map(|cpu| format!(" Client and server both on CPU {cpu}."));
    let mut lines = vec![report::machine()];
    lines.extend(programs.versions());
    lines.push(format!("{threads} thread(s) per server.{}", place.unwrap_or_default()));
    lines.push(format!("{rounds} round(s), interleaved, each of at most {secs:?} or {ops} ops."));
    lines.join("\n")
}

/// One workload on every server, in turns; their totals are checked before they are ended.
fn run(
    workload: &Workload,
    templates: &[&'static Template],
    programs: &Programs,
    options: &Options,
    progress: &Progress,
) -> anyhow::Result<Vec<Row>> {
    let traffic = Traffic::of(workload);
    let limits = Limits { time: options.secs, requests: options.ops };
    let mut fields = Vec::new();
    for &template in templates {
        progress.show("starting", template);
        let server = Server::start(template, programs)?;
        let mut client = Client::connect(server.address(), workload)?;
        client
            .preload(template.preload)
            .with_context(|| format!("preloading {}", template.name))?;
        fields.push((server, client, Vec::new()));
    }
    for round in 1..=options.rounds {
        for (server, client, figures) in &mut fields {
            progress.show(&format!("round {round} of {}", options.rounds), server.template);
            let figure =
                client.round(&traffic, &limits, || server.cpu_nanos(&options.threads_named));
            figures.push(figure.with_context(|| {
                format!("{} under {:?}", server.template.name, progress.workload)
            })?);
        }
    }
    for (server, client, _) in &mut fields {
        progress.show("checking", server.template);
        client.verify(&traffic, server.template.preload).with_context(|| {
            format!("{} miscounted under {:?}", server.template.name, progress.workload)
        })?;
    }
    let rows = fields
        .iter()
        .map(|(server, _, rounds)| Row::new(workload.name(), server.template.name, rounds));
    Ok(rows.collect())
}

/// The servers, being started later, inherit it.
fn pin(cpu: u32) -> anyhow::Result<()> {
    let done = Command::new("taskset")
        .args(["-a", "-c", "-p", &cpu.to_string(), &std::process::id().to_string()])
        .stdout(Stdio::null())
        .status()
        .context("--pin needs taskset")?;
    anyhow::ensure!(done.success(), "taskset could not keep us on CPU {cpu}");
    Ok(())
}

struct Progress {
    workload: String,
    index: usize,
    of: usize,
}

impl Progress {
    fn show(&self, what: &str, server: &Template) {
        if std::io::stderr().is_terminal() {
            let (position, of) = (self.index + 1, self.of);
            eprint!("\r\x1b[K{position}/{of} {}: {}, {what}", self.workload, server.name);
        }
    }
}

fn progress_done() {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K");
    }
}
