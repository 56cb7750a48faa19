//! Whether requests feel the tick: the latency of single increments while one runs, and while none does.
//!
//! A million keys are known and a hundred thousand of them are incremented every second, spread evenly
//! over it, by one connection; another sends one increment at a time and waits for its reply. A request counts as one
//! "during a tick" when it was sent in the time after a full second that a tick takes: twice its mean CPU
//! time, as the kernel tells it of that thread, at least five milliseconds. The same client, server and
//! minute make both rows, so that other work on the machine falls on both.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use hdrhistogram::Histogram;

use crate::client::{Client, Connection};
use crate::servers::{Preload, Programs, Server, TEMPLATES};
use crate::traffic;
use crate::workloads::Workload;

const KNOWN: u32 = 1_000_000;
const ACTIVE: u32 = 100_000;
/// Slices of a second that the load comes in.
const SLICES: u32 = 100;
/// Time between two single requests.
const PAUSE: Duration = Duration::from_micros(50);
/// What took longer counts as this long.
const LONGEST_NANOS: u64 = 60_000_000_000;
const TICK_MIN: Duration = Duration::from_millis(5);
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// Measures for so long and prints both rows.
pub(crate) fn measure(programs: &Programs, time: Duration) -> anyhow::Result<()> {
    let template = TEMPLATES.iter().find(|template| template.name == "tallyd");
    let server = Server::start(template.context("tallyd is among the servers")?, programs)?;
    let known = Workload::known(KNOWN);
    Client::connect(server.address(), &known)?.preload(Preload::Incr)?;
    let ends = AtomicBool::new(false);
    let before = server.cpu_nanos("tallyd-tick")?;
    let seen = std::thread::scope(|scope| -> anyhow::Result<_> {
        let load = scope.spawn(|| load(server.address(), &ends));
        let seen = probe(server.address(), time);
        ends.store(true, Relaxed);
        load.join().map_err(|_| anyhow::anyhow!("the load ended with a panic"))??;
        seen
    })?;
    let ticks = u32::try_from(time.as_secs()).unwrap_or(1).max(1);
    let tick = Duration::from_nanos(server.cpu_nanos("tallyd-tick")? - before) / ticks;
    let during = (2 * tick).max(TICK_MIN);
    println!("a tick: {tick:.1?} of CPU; counted as one: the first {during:.1?} of each second\n");
    println!(
        "{:>16} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "µs", "requests", "p50", "p99", "p99.9", "max"
    );
    let [inside, outside] = [true, false].map(|is_inside| {
        let chosen = seen.iter().filter(|(after, _)| (*after < during) == is_inside);
        let mut histogram = Histogram::<u64>::new_with_bounds(1, LONGEST_NANOS, 3)
            .expect("three digits of this range");
        chosen.for_each(|(_, took)| {
            histogram.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        });
        histogram
    });
    for (name, histogram) in [("during a tick", &inside), ("otherwise", &outside)] {
        let micros = QUANTILES.map(|at| histogram.value_at_quantile(at) as f64 / 1e3);
        let [p50, p99, p999, max] = micros.map(|micros| format!("{micros:>9.0}"));
        println!("{name:>16} {:>9} {p50} {p99} {p999} {max}", histogram.len());
    }
    Ok(())
}

/// A hundred thousand keys every second, the same ones, until it ends.
fn load(server: SocketAddr, ends: &AtomicBool) -> anyhow::Result<()> {
    let mut connection = Connection::open(server)?;
    let mut batch = Vec::new();
    let start = Instant::now();
    for slice in 0_u32.. {
        if ends.load(Relaxed) {
            break;
        }
        batch.clear();
        let of_slice = ACTIVE / SLICES;
        let first = slice % SLICES * of_slice;
        for number in (first..).take(of_slice as usize) {
            let key = traffic::key(number * (KNOWN / ACTIVE));
            batch.extend_from_slice(format!("incr {key} 1 noreply\r\n").as_bytes());
        }
        connection.send(&batch)?;
        connection.barrier()?;
        std::thread::sleep(
            (Duration::from_secs(1) / SLICES * slice).saturating_sub(start.elapsed()),
        );
    }
    Ok(())
}

/// Single requests; of each when in its second it was sent, and how long it took.
fn probe(server: SocketAddr, time: Duration) -> anyhow::Result<Vec<(Duration, Duration)>> {
    let mut connection = Connection::open(server)?;
    let mut seen = Vec::new();
    let start = Instant::now();
    for number in 0_u32.. {
        if start.elapsed() > time {
            break;
        }
        let key = traffic::key(number.wrapping_mul(7919) % KNOWN);
        let request = format!("incr {key} 1\r\n");
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let sent = Instant::now();
        connection.send(request.as_bytes())?;
        connection.number()?;
        seen.push((Duration::from_nanos(u64::from(since_epoch.subsec_nanos())), sent.elapsed()));
        std::thread::sleep(PAUSE);
    }
    Ok(seen)
}
