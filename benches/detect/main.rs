//! How long it takes from the increment that crosses a threshold to the courier's connection: tallyd, and
//! Prometheus with Alertmanager set as tight as they go.
//!
//! Several lanes run beside each other, each with a rule, a contact and a receiver of its own. A lane waits
//! at random until it is at least six seconds since its receiver heard anything, crosses the threshold,
//! and takes the time until the receiver has a connection. So no lane's message waits for another's, and
//! every moment of a second is as likely as any other. The clock is one, and monotonic.
//!
//! Prometheus scrapes and evaluates each second, and Alertmanager waits for nobody (`group_wait` 0). What it
//! scrapes is a page of this process, that says what the lanes' levels are at that moment.
//!
//! `cargo bench --bench detect` measures 200 times each, in some four minutes.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "progress is shown on a terminal")]
#![expect(
    clippy::disallowed_methods,
    reason = "it reads the clock, connects, waits, and writes the peers' files"
)]

mod lanes;
mod peers;
mod programs;

use std::time::Duration;

use clap::Parser;

use lanes::{Lanes, measure};

/// Measures how long it takes until somebody is told.
#[derive(Parser)]
struct Options {
    /// Lanes that run beside each other
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=50))]
    lanes: u32,
    /// Measurements of each lane
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        // `cargo test --all-targets` asks whether it runs at all.
        (options.lanes, options.rounds) = (2, 1);
    }
    println!("from the increment to the connection, {} times:", options.lanes * options.rounds);
    println!("{:42} {:>6} {:>6} {:>6} {:>6}", "", "p50", "p90", "p99", "max");
    let lanes = Lanes::open(options.lanes)?;
    let tallyd = programs::tallyd(&lanes)?;
    report(&tallyd.title, measure(&lanes, &tallyd, options.rounds)?);
    drop(tallyd);
    match peers::prometheus(&lanes)? {
        Some(peer) => report(&peer.title, measure(&lanes, &peer, options.rounds)?),
        None => println!("left out: apt-get install prometheus prometheus-alertmanager"),
    }
    Ok(())
}

fn report(title: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |share: usize| {
        let place = (took.len() * share).div_ceil(1000).saturating_sub(1);
        took.get(place).copied().unwrap_or_default().as_secs_f64()
    };
    let [p50, p90, p99, max] = [at(500), at(900), at(990), at(1000)];
    println!("{title:42} {p50:>5.2}s {p90:>5.2}s {p99:>5.2}s {max:>5.2}s");
}
