//! What the live table costs by itself: nanoseconds of one increment and of one look-up, alone and by
//! the batch. No socket, no parser, no tick: what is left when those are free.
//!
//! `cargo bench --bench live` prints the times; each is the median of five rounds, CPU time of this thread.
//! `cargo bench --bench live -- --memory` prints what a million counters with keys of 39 bytes take up,
//! in files and resident, and how long a start with them takes.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "figures are shown with four digits, and keys are picked at random"
)]

use std::hint::black_box;

use tallyd::config::MissingIncr;
use tallyd::counters::{Counters, Increment, Options};
use tallyd::time::{Span, Timestamp};

const NOW: Timestamp = Timestamp::from_secs(1_767_571_200);
const OPS: usize = 2_000_000;
const ROUNDS: usize = 5;

fn main() {
    if std::env::args().any(|argument| argument == "--memory") {
        return memory();
    }
    println!("ns per key                batch of 1        50       500");
    for (name, keys, is_zipf) in [
        ("1 key", 1, false),
        ("10k keys", 10_000, false),
        ("1M keys", 1_000_000, false),
        ("1M keys, zipf", 1_000_000, true),
    ] {
        let counters = Counters::new(Options {
            missing_incr: MissingIncr::Create,
            max_series: keys,
            items_bytes: 1 << 20,
            value_bytes: 1 << 20,
            idle_expiry: None,
            metrics: [].into(),
        });
        let names: Vec<_> = (0..keys).map(|n| format!("app.web.checkout.orders.{n:011}")).collect();
        for name in &names {
            counters.incr(name.as_bytes(), 1, NOW);
        }
        let asked: Vec<_> =
            places(keys, is_zipf).filter_map(|at| names.get(at)).map(String::as_bytes).collect();
        let [one, some, many] = [1, 50, 500].map(|batch| incr_ns(&counters, &asked, batch));
        println!("incr {name:18} {one:>12.1} {some:>9.1} {many:>9.1}");
        let [one, some, many] = [1, 50, 500].map(|batch| get_ns(&counters, &asked, batch));
        println!("get  {name:18} {one:>12.1} {some:>9.1} {many:>9.1}");
    }
}

/// A million counters that were incremented once, in a process that holds nothing else; and a start.
fn memory() {
    const KEYS: usize = 1_000_000;
    let options = Options {
        metrics: [].into(),
        missing_incr: MissingIncr::Create,
        max_series: KEYS,
        items_bytes: 1 << 20,
        value_bytes: 1 << 20,
        idle_expiry: Some(Span::from_secs(40 * 24 * 3600)),
    };
    let dir = tempfile::tempdir().expect("there is room for files");
    let before = resident();
    let (counters, _) = Counters::open(options.clone(), dir.path(), NOW).expect("it is empty");
    for n in 0..KEYS {
        let key = format!("app.web.checkout.orders.{n:015}");
        assert_eq!(key.len(), 39);
        counters.incr(key.as_bytes(), 1, NOW);
    }
    drop(counters.drain(NOW, |_| {}));
    println!("{KEYS} counters: {:.1} bytes each, resident", (resident() - before) / KEYS as f64);
    drop(counters);
    for round in 1..=3 {
        let start = cpu_ns();
        let (counters, found) =
            Counters::open(options.clone(), dir.path(), NOW).expect("it is ours");
        let millis = (cpu_ns() - start) / 1e6;
        let start = cpu_ns();
        let births = counters.drain(NOW, |_| {});
        assert_eq!((found.series, births.len(), found.reset), (KEYS + 1, KEYS + 1, 0));
        println!(
            "start {round}: {millis:.0} ms CPU, and {:.0} ms to hand out the keys",
            (cpu_ns() - start) / 1e6
        );
        drop(births);
        println!("resident then: {:.1} bytes each", (resident() - before) / KEYS as f64);
    }
}

/// Bytes of this process that are in memory, those of mapped files included.
#[expect(clippy::disallowed_methods, reason = "the kernel tells it in a file")]
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or_default() * 1024.0
}

/// Which keys are asked for: the same at every run.
fn places(keys: usize, is_zipf: bool) -> impl Iterator<Item = usize> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    (0..OPS).map(move |_| {
        // For an exponent near one, the rank is about keys^u; ranks are spread over all keys.
        let rank = if is_zipf { (keys as f64).powf(next()) - 1.0 } else { next() * keys as f64 };
        if is_zipf {
            (rank as usize).wrapping_mul(7_919) % keys
        } else {
            (rank as usize).min(keys - 1)
        }
    })
}

fn incr_ns(counters: &Counters, asked: &[&[u8]], batch: usize) -> f64 {
    let mut pending = Vec::with_capacity(batch);
    median(|| {
        for chunk in asked.chunks(batch) {
            pending.clear();
            pending.extend(chunk.iter().map(|key| Increment::new(key, 1)));
            counters.incr_all(&mut pending, NOW);
            black_box(&pending);
        }
    })
}

fn get_ns(counters: &Counters, asked: &[&[u8]], batch: usize) -> f64 {
    median(|| {
        for chunk in asked.chunks(batch) {
            counters.get_all(chunk, NOW, |_, view| {
                black_box(view);
            });
        }
    })
}

fn median(mut work: impl FnMut()) -> f64 {
    let mut rounds: Vec<_> = (0..ROUNDS)
        .map(|_| {
            let before = cpu_ns();
            work();
            (cpu_ns() - before) / OPS as f64
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds.get(ROUNDS / 2).copied().unwrap_or_default()
}

fn cpu_ns() -> f64 {
    let spent = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    spent.tv_sec as f64 * 1e9 + spent.tv_nsec as f64
}
