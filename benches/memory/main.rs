//! What a server takes in memory, all counted: a hundred thousand counters, each incremented every second.
//!
//! `cargo bench --bench memory` plays it in virtual time: an engine over a data directory, with the log
//! written and the store kept by threads of their own, as a server has them, one after the other. So all
//! that a server holds of its series is in it: cells, keys, the catalogue, rows until they are in chunks, open
//! windows of every tier, checkpoints, merges, the pages that redb keeps. With `--real` it is a server that
//! is sent these increments every second of the clock.
//!
//! Resident is what the kernel counts for the process, mapped files included: the median over the
//! seconds after the warm-up, and the greatest that ever was in that time, which the kernel keeps by itself.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::disallowed_methods,
    reason = "the kernel tells memory in files, and the load follows the clock"
)]
#![expect(clippy::cast_precision_loss, reason = "figures are shown with four digits")]

mod played;
mod real;

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

/// Measures what a hundred thousand active series take in memory.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  cargo bench --bench memory                        half an hour of virtual time, about a minute
  cargo bench --bench memory -- --minutes 150       until every tier but the coarse ones is full
  cargo bench --bench memory -- --real              a server, by the clock

Without `--bench`, which `cargo bench` adds, it plays a thousand series for six minutes.")]
struct Options {
    /// Series that are incremented every second
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    series: u32,
    /// How long, once they are known
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(2..=1500))]
    minutes: u32,
    /// Load a server in real time
    #[arg(long)]
    real: bool,
    /// Where the data directory is made [default: under target/]
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_TARGET_TMPDIR"))]
    directory: PathBuf,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    // As a server does.
    tallyd::cli::allocator::settle();
    let mut options = Options::parse();
    if !options.bench {
        (options.series, options.minutes) = (1000, 6);
    }
    println!("{} series, each incremented every second; bytes a series:\n", options.series);
    println!("{:>8} {:>10} {:>10} {:>10}", "minute", "least", "median", "greatest");
    if options.real { real::run(&options) } else { played::run(&options) }
}

/// What was seen, second by second.
struct Seen {
    process: u32,
    series: u32,
    minute: Vec<u64>,
    minutes: u32,
    /// After the warm-up.
    steady: Vec<u64>,
    peak: u64,
    warm_up: u32,
}

impl Seen {
    fn new(process: u32, options: &Options) -> Self {
        let Options { series, minutes, .. } = *options;
        let (minute, steady) = (Vec::with_capacity(60), Vec::with_capacity(minutes as usize * 60));
        Self { process, series, minute, minutes: 0, steady, peak: 0, warm_up: minutes / 2 }
    }

    /// Notes one second.
    fn note(&mut self) -> anyhow::Result<()> {
        self.minute.push(self.status("VmRSS:")?);
        if self.minute.len() == 60 {
            let ([least, median, _], peak) = (summary(&mut self.minute), self.status("VmHWM:")?);
            self.minutes += 1;
            self.print(&self.minutes.to_string(), [least, median, peak]);
            if self.minutes > self.warm_up {
                self.peak = self.peak.max(peak);
                self.steady.append(&mut self.minute);
            }
            self.minute.clear();
            // The greatest is that of each minute by itself.
            fs::write(format!("/proc/{}/clear_refs", self.process), "5")?;
        }
        Ok(())
    }

    /// Says what came of it.
    fn finish(mut self) {
        let mut steady = std::mem::take(&mut self.steady);
        let [least, median, _] = summary(&mut steady);
        println!("\nafter {} minutes:", self.warm_up);
        self.print("steady", [least, median, self.peak]);
    }

    fn print(&self, name: &str, bytes: [u64; 3]) {
        let [a, b, c] = bytes.map(|bytes| bytes as f64 / f64::from(self.series));
        println!("{name:>8} {a:>10.0} {b:>10.0} {c:>10.0}");
    }

    fn status(&self, name: &str) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
        Ok(kib.with_context(|| format!("the kernel tells no {name}"))? * 1024)
    }
}

fn summary(all: &mut [u64]) -> [u64; 3] {
    all.sort_unstable();
    [0, all.len() / 2, all.len().saturating_sub(1)].map(|at| all.get(at).copied().unwrap_or(0))
}

/// A key of 39 bytes.
fn key(series: u32, out: &mut Vec<u8>) {
    use std::io::Write as _;
    out.clear();
    let _ = write!(out, "shop.orders.placed.by.customer.{series:08}");
}

/// What a series is incremented by: one to three, without an order, so that chunks hold something.
fn delta(series: u32, second: u32) -> u64 {
    let mixed = (u64::from(series) << 32 | u64::from(second)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    1 + (mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) % 3
}
