//! What a backtest costs: ninety days of history at one minute, played with fifty rules.
//!
//! `cargo bench --bench backtest` plays the days in virtual time, second by second, under an engine whose store
//! is in memory and keeps one-minute windows for a hundred days: sixty series, each incremented in about one
//! second of forty, with an hour of ten times as much every few days. Then it plays the rules and prints the CPU
//! time of that. HTTP and JSON are not in it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench prints, and ends at the first error"
)]

use std::fmt::Write as _;
use std::path::Path;

use rustix::time::{ClockId, clock_gettime};
use tallyd::config::{Rule, Surroundings, parse, parse_rules};
use tallyd::engine::Engine;
use tallyd::time::{Span, Timestamp, Window};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const SERIES: u64 = 60;
const DAYS: u64 = 90;

const TIERS: &str = "[[tier]]\nwindow = '1s'\nkeep = '2h'\n[[tier]]\nwindow = '10s'\nkeep = '3d'\n\
                     [[tier]]\nwindow = '1m'\nkeep = '100d'\n";

fn main() {
    let config = parse(TIERS, Path::new("bench"), &Surroundings::none()).unwrap().config;
    let engine = Engine::new(&config, START);
    let start = cpu_ms();
    let now = play(&engine);
    println!("{DAYS} days of {SERIES} series in {:.1} s of CPU", (cpu_ms() - start) / 1e3);
    let all = rules();
    println!("{:>44}  {:>7} {:>9} {:>9}", "rules", "number", "CPU ms", "fired");
    for (name, kind) in [
        ("rate over five minutes", "rate"),
        ("rate by five hosts", "hosts"),
        ("greatest second in ten minutes", "most"),
        ("share of others", "share"),
        ("change against last week", "week"),
        ("all", ""),
    ] {
        let some: Vec<Rule> =
            all.iter().filter(|rule| rule.name.starts_with(kind)).cloned().collect();
        let start = cpu_ms();
        let span = Window { start: now - Span::from_secs(DAYS * 86_400), end: now };
        let tested = engine.backtest(&some, None, span, &|| true).unwrap();
        let cost = cpu_ms() - start;
        let fired: u64 = tested.iter().map(|tested| tested.fired).sum();
        println!("{name:>44}  {:>7} {cost:>9.0} {fired:>9}", some.len());
    }
}

/// Thirty plain ones, five of each other kind.
fn rules() -> Vec<Rule> {
    let mut text = String::new();
    let mut rule = |name: &str, lines: &str| {
        let _ = writeln!(text, "[[rule]]\nname = '{name}'\n{lines}");
    };
    let critical = "critical = { above = 0.2, clear = 0.1, for = '2m' }";
    for n in 0..30 {
        rule(
            &format!("rate-{n}"),
            &format!("series = 'orders;n={n}'\nmeasure = 'rate'\nwindow = '5m'\n{critical}"),
        );
    }
    for n in 30..35 {
        rule(
            &format!("hosts-{n}"),
            &format!(
                "series = 'orders{{n=~\"{n}|3.|4.\",host=\"{}\"}}'\nby = ['n']\nmeasure = 'rate'\nwindow = '5m'\n{critical}",
                n % 5
            ),
        );
        rule(
            &format!("most-{n}"),
            &format!(
                "series = 'orders;n={n}'\nmeasure = 'max'\nwindow = '10m'\ncritical = {{ above = 4 }}"
            ),
        );
        rule(
            &format!("share-{n}"),
            &format!(
                "series = 'orders;n={n}'\nover = 'orders;n={}'\nmeasure = 'sum'\nwindow = '10m'\ncritical = {{ above = 3 }}",
                n + 5
            ),
        );
        rule(
            &format!("week-{n}"),
            &format!(
                "series = 'orders;n={n}'\nmeasure = 'sum'\nwindow = '10m'\nagainst = '1w'\nchange = 'percent'\nfloor = 20\ncritical = {{ below = -70 }}"
            ),
        );
    }
    parse_rules(&text, Span::from_secs(100 * 86_400)).unwrap()
}

fn play(engine: &Engine) -> Timestamp {
    let keys: Vec<_> =
        (0..SERIES).map(|n| format!("orders;host={};n={n}", n % 5).into_bytes()).collect();
    let mut random = 1_u64;
    let mut now = START;
    for second in 0..DAYS * 86_400 {
        let is_busy = second / 3600 % 77 == 0;
        for _ in 0..if is_busy { 15 } else { 2 } {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            if let Some(key) = keys.get(usize::try_from(random % SERIES).unwrap()) {
                engine.counters().incr(key, 1 + (random >> 32) % 5, now);
            }
        }
        now = now + Span::SECOND;
        engine.tick(now);
        if second % 3600 == 0 {
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
