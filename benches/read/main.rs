//! What history costs to be read: questions over a day of a thousand series, in milliseconds of CPU.
//!
//! `cargo bench --bench read` plays the day in virtual time, second by second, under an engine whose store is
//! in memory: a fifth of the series idle, three tenths incremented once in a quarter of an hour, a fifth every
//! twenty seconds, the others every second or nearly. Then it asks each question twenty times, as
//! `/api/v1/measure` does, and prints the median and the greatest. HTTP and JSON are not in it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends at the first error"
)]

use rustix::time::{ClockId, clock_gettime};
use tallyd::config::{Change, Config, Measure, Per};
use tallyd::engine::Engine;
use tallyd::query::{Question, Range};
use tallyd::time::{Span, Timestamp, Window};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const SERIES: u64 = 1000;

fn main() {
    let engine = Engine::new(&Config::default(), START);
    let now = play(&engine);
    println!(
        "{:>44}  {:>7} {:>9} {:>9}  CPU ms",
        "a day, a point each minute", "lines", "median", "max"
    );
    let (minute, five) = (Span::from_secs(60), Span::from_secs(300));
    let check = |name: &str, pattern: &str, by: &[&str], question: Question| {
        let by: Vec<_> = by.iter().map(|tag| (*tag).to_owned()).collect();
        let mut lines = 0;
        let mut costs: Vec<f64> = (0..20)
            .map(|_| {
                let start = cpu_ms();
                lines = ask(&engine, pattern, &by, &question, now);
                cpu_ms() - start
            })
            .collect();
        costs.sort_unstable_by(f64::total_cmp);
        let (median, max) = (costs.get(10).unwrap(), costs.last().unwrap());
        println!("{name:>44}  {lines:>7} {median:>9.2} {max:>9.2}");
    };
    check("sum of one series", "orders;host=90;n=990", &[], question(Measure::Sum, minute));
    check("sum of all", "orders", &[], question(Measure::Sum, minute));
    check(
        "five-minute rate by a tag of 100 values",
        "orders",
        &["host"],
        question(Measure::Rate, five),
    );
}

fn question(measure: Measure, window: Span) -> Question {
    let (per, change) = (Per::Second, Change::Percent);
    Question { measure, per, window, against: None, zone: None, change, floor: None }
}

/// Asks for a day; how many lines there are.
fn ask(
    engine: &Engine,
    pattern: &str,
    by: &[String],
    question: &Question,
    now: Timestamp,
) -> usize {
    let past = engine.past(&pattern.parse().unwrap(), by, 10_000, 1000).unwrap();
    let step = Span::from_secs(60);
    let range = Range { span: Window::ending(now.align_down(step), Span::DAY), step, now };
    let lines = past.groups.iter();
    lines
        .map(|(_, ids)| range.ask(question, &past.windows, &past.facts, ids))
        .filter(|points| points.len() == 1440)
        .count()
}

/// A day and a bit, as a server would see it.
fn play(engine: &Engine) -> Timestamp {
    let keys: Vec<_> =
        (0..SERIES).map(|n| format!("orders;host={:02};n={n}", n % 100).into_bytes()).collect();
    let mut random = 1_u64;
    let mut now = START;
    for key in &keys {
        engine.counters().incr(key, 1, now);
    }
    for second in 0..90_000_u64 {
        for (n, key) in (0_u64..).zip(&keys) {
            let every = match n * 10 / SERIES {
                0..2 => continue,
                2..5 => 1000,
                5..7 => 20,
                _ => 1,
            };
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if random.is_multiple_of(every) {
                engine.counters().incr(key, 1 + (random >> 32) % 5, now);
            }
        }
        now = now + Span::SECOND;
        engine.tick(now);
        if second % 60 == 0 {
            while engine.keep(now).unwrap() {}
        }
    }
    now
}

#[expect(clippy::cast_precision_loss, reason = "a duration of less than a day")]
fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
