//! What a tick costs: drain, merge and row of a base window, by how many series are known and how many
//! of them were touched in it.
//!
//! `cargo bench --bench tick [-- --known N]` plays two minutes of virtual time for each number of active
//! series, in this process and under an engine without a directory, and prints the CPU time of the ticks:
//! median, 99th percentile and greatest, in milliseconds. Increments are not in it. Also what a series
//! takes in memory.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a bench prints, and ends at the first error"
)]

use rustix::time::{ClockId, clock_gettime};
use tallyd::config::Config;
use tallyd::engine::Engine;
use tallyd::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

fn main() {
    let known = argument("--known").unwrap_or(1_000_000);
    let mut config = Config::default();
    config.counters.max_series = known;
    let before = resident();
    let engine = Engine::new(&config, START);
    for series in 0..known {
        engine.counters().incr(&key(series), 1, START);
    }
    let mut now = START + Span::SECOND;
    engine.tick(now);
    println!(
        "{known} series known, each incremented once: {} bytes each",
        (resident() - before) / known
    );
    println!("{:>10}  {:>9} {:>9} {:>9}  CPU ms per tick", "active", "median", "p99", "max");
    for active in [0, 1000, 10_000, 100_000, 1_000_000] {
        if active > known {
            continue;
        }
        let mut costs: Vec<f64> = (0..120)
            .map(|_| {
                touch(&engine, known, active, now);
                now = now + Span::SECOND;
                let start = cpu_ms();
                engine.tick(now);
                cpu_ms() - start
            })
            .collect();
        costs.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| costs.get((costs.len() - 1) * share / 100).copied().unwrap();
        println!("{active:>10}  {:>9.2} {:>9.2} {:>9.2}", at(50), at(99), at(100));
    }
    println!("resident at the end: {} MB", (resident() - before) / 1_000_000);
}

/// Increments series that lie evenly among all, by one to three.
fn touch(engine: &Engine, known: usize, active: usize, now: Timestamp) {
    for at in 0..active {
        let series = at * (known / active);
        engine.counters().incr(&key(series), 1 + at as u64 % 3, now);
    }
}

/// A key of 39 bytes.
fn key(series: usize) -> Vec<u8> {
    format!("shop.orders.placed.by.customer.{series:08}").into_bytes()
}

#[expect(clippy::cast_precision_loss, reason = "a duration of less than a day")]
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn argument(name: &str) -> Option<usize> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)?.parse().ok()
}
