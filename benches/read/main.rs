//! What history costs to be read: questions over a day of a thousand series, and a month of one, through HTTP.
//!
//! A data directory is made in virtual time, second by second, of the set that `benches/size` measures
//! (24 hours at ten seconds of 1,000 series, from a seed) and of one counter over 30 days by the minute.
//! A server is started on it and asked each question twenty times after two that nobody counts, so files
//! are in the system's cache. Wall is from sending the request to having read the whole answer, on one
//! connection; CPU is that of the server's process in that time. The first answer is held against the
//! set: every point of it has to be what the seed says, or the run ends.
//!
//! With `--peers` the same numbers go to Prometheus (blocks that `promtool` makes) and `VictoriaMetrics`
//! (its import), those in PATH, which are asked the same in their own words in the same run, question by
//! question in turns. What they answer is not compared: they extrapolate.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "progress is shown on a terminal")]
#![expect(
    clippy::disallowed_methods,
    reason = "it writes files for servers, connects to them and waits for what it started"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    clippy::indexing_slicing,
    reason = "figures and numbers that are made here, all of them small"
)]

#[expect(dead_code, reason = "sizes need more of it")]
#[path = "../size/data.rs"]
mod data;
mod questions;
mod servers;
mod set;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::Instant;

use clap::Parser;

use questions::{Asker, Question};
use servers::Server;
use set::Set;

/// Measures what questions about history cost, through HTTP.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  cargo bench --bench read                 tallyd alone, two minutes
  cargo bench --bench read -- --peers      beside both peers, some minutes

Without `--bench`, which `cargo bench` adds, it asks of a hundred series and a day.")]
struct Options {
    /// Series in the set
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    series: u32,
    /// Days of the one counter
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=39))]
    days: u32,
    /// What the set is made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Ask Prometheus and `VictoriaMetrics` the same
    #[arg(long)]
    peers: bool,
    /// Where data directories are made [default: under target/]; a disk that is busy takes long
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    directory: PathBuf,
    /// How often each question is asked
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        (options.series, options.days, options.rounds) = (100, 1, 3);
    }
    let set = Set::new(options.series as usize, options.days, options.seed);
    progress("making the data directory");
    let mut servers = vec![servers::tallyd(&set, &options.directory)?];
    if options.peers {
        progress("giving the same to peers");
        servers.extend(servers::peers(&set, &options.directory)?);
    }
    progress("");
    println!(
        "{} series over a day, one over {} days, seed {}; medians of {} and the greatest.\n",
        options.series, options.days, options.seed, options.rounds
    );
    println!(
        "| {:<46} | {:>22} | {:>7} | {:>8} | {:>8} | {:>8} | {:>8} |",
        "a point each minute", "server", "bytes", "wall ms", "max", "CPU ms", "max"
    );
    println!(
        "|{}|",
        ["-".repeat(48), "-".repeat(24), "-".repeat(9)]
            .into_iter()
            .chain(std::iter::repeat_n("-".repeat(10), 4))
            .collect::<Vec<_>>()
            .join("|")
    );
    for question in Question::ALL {
        measure(question, &set, &mut servers, &options)?;
    }
    Ok(())
}

/// What one server took for one question, time by time.
#[derive(Default)]
struct Figures {
    bytes: usize,
    wall: Vec<f64>,
    cpu: Vec<f64>,
}

fn measure(
    question: Question,
    set: &Set,
    servers: &mut [Server],
    options: &Options,
) -> anyhow::Result<()> {
    let mut all: Vec<Figures> = servers.iter().map(|_| Figures::default()).collect();
    for round in 0..options.rounds + 2 {
        for (server, figures) in servers.iter_mut().zip(&mut all) {
            progress(&format!("{}, {}, round {round}", question.name(), server.title));
            let asker = Asker { kind: server.kind, set };
            let requests = asker.requests(question);
            server.connection.renew()?;
            let (cpu, start) = (server.cpu_nanos()?, Instant::now());
            let answers: Result<Vec<_>, _> =
                requests.iter().map(|path| server.connection.get(path)).collect();
            let wall = start.elapsed();
            let (answers, cpu) = (answers?, server.cpu_nanos()? - cpu);
            if round == 0 {
                asker.check(question, &answers)?;
            }
            if round >= 2 {
                figures.wall.push(wall.as_secs_f64() * 1e3);
                figures.cpu.push(cpu as f64 / 1e6);
            }
            figures.bytes = answers.iter().map(Vec::len).sum();
        }
    }
    progress("");
    for (server, figures) in servers.iter().zip(&mut all) {
        let Figures { bytes, wall, cpu } = figures;
        let [(wall, wall_max), (cpu, cpu_max)] = [wall, cpu].map(|all| {
            all.sort_unstable_by(f64::total_cmp);
            (all[all.len() / 2], all[all.len() - 1])
        });
        println!(
            "| {:<46} | {:>22} | {bytes:>7} | {wall:>8.2} | {wall_max:>8.2} | {cpu:>8.2} | {cpu_max:>8.2} |",
            question.name(),
            server.title
        );
    }
    Ok(())
}

fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
