//! What a day of a thousand series takes on the disk: the codec beside its bound, and beside others.
//!
//! The set is made from a seed (`data.rs`): every run, on every machine, has the same numbers. Each class
//! is measured for itself, in groups of its own, and the mix as it comes. Sizes are of groups, with
//! lengths, presence and checksum; what the B-tree around them takes is not in them. All that is
//! encoded is read back and compared before a figure is printed. CPU is that of the one thread.
//!
//! - **imported** is one number a slot, as an import or a peer's scrape has it: what the aims are for.
//! - **live** is what tallyd itself keeps for ten seconds that it saw one by one: the sum, how many of
//!   the seconds were touched, and the least and the greatest of them. No peer keeps that.
//!
//! With `--peers`, the same numbers go into Prometheus and `VictoriaMetrics`, those in PATH, and what
//! their files take stands beside ours. They run on loopback, and are ended when they are done.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(clippy::print_stderr, reason = "progress is shown on a terminal")]
#![expect(
    clippy::disallowed_methods,
    reason = "it writes files for peers, connects to them and waits for what it started"
)]
#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    reason = "figures and numbers that are made here, all of them small"
)]

mod codec;
mod data;
mod peers;
mod whole;

use std::io::IsTerminal;
use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;

use codec::Figures;
use data::{Class, Series};
use tallyd::config::Tier;
use tallyd::time::Span;
use whole::{Held, Lap};

/// Measures what a day of series takes, in the codec and in peers.
#[derive(Parser)]
#[command(after_help = "\
Examples:
  cargo bench --bench size                                 the codec, half a minute
  cargo bench --bench size -- --peers                      beside both peers, some minutes
  cargo bench --bench size -- --series 100000              a large set, some minutes
  cargo bench --bench size -- --spans 512,1024,2048,4096   how long a chunk should be
  cargo bench --bench size -- --whole --peers              all that lies on the disk
  cargo bench --bench size -- --days 365 --series 100 \
    --tiers 1s=10m,10s=6h,1m=3d,1h=60d --dir /dev/shm      retention over a year

Without `--bench`, which `cargo bench` adds, it measures a hundred series.")]
struct Options {
    /// Series in the set
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(100..=1_000_000))]
    series: u32,
    /// What the set is made from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Slots of a chunk; more than one to compare
    #[arg(long, default_values_t = [4096], value_delimiter = ',',
          value_parser = clap::value_parser!(u16).range(32..=4096))]
    spans: Vec<u16>,
    /// Put the same numbers into Prometheus and `VictoriaMetrics`
    #[arg(long)]
    peers: bool,
    /// Play the set through the engine, and count all that lies on the disk
    #[arg(long)]
    whole: bool,
    /// Hours that are played for that
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u64).range(1..=240))]
    hours: u64,
    /// Play so many days through the engine, and look ten times at what lies there
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=4000))]
    days: Option<u64>,
    /// Tiers that are played; the base is hardly kept, so that the one of the set stands alone
    #[arg(long, default_value = "1s=1s,10s=3d", value_delimiter = ',', value_parser = tier)]
    tiers: Vec<Tier>,
    /// Where it is played
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    dir: PathBuf,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        options.series = 100;
    }
    let set = data::set(options.series as usize, options.seed);
    println!("{} series, 8640 slots of ten seconds, seed {}.\n", set.len(), options.seed);
    if let Some(days) = options.days {
        return retention(&set, &options, days);
    }
    if options.whole {
        return wholes(&set, &options);
    }
    sizes(&set, &options)?;
    for span in &options.spans {
        costs(&set, *span)?;
    }
    Ok(())
}

/// The rows of the tables: each class, then all of them.
fn rows(set: &[Series]) -> Vec<(Option<Class>, Vec<Series>)> {
    let of = |class| set.iter().filter(|series| series.class == class).copied().collect();
    let classes = Class::ALL.into_iter().map(|class| (Some(class), of(class)));
    classes.chain([(None, set.to_vec())]).collect()
}

fn name(class: Option<Class>) -> &'static str {
    class.map_or("the mix", Class::name)
}

fn entropy(class: Option<Class>) -> f64 {
    let of = |class: Class| class.entropy_bits() / 8.0;
    let share = |class: Class| of(class) * class.share() as f64 / 100.0;
    class.map_or_else(|| Class::ALL.into_iter().map(share).sum(), of)
}

fn sizes(set: &[Series], options: &Options) -> anyhow::Result<()> {
    let spans: Vec<_> = options.spans.iter().map(|span| format!("{span} slots")).collect();
    let peers = if options.peers { peers::found() } else { Vec::new() };
    let mut heads = vec!["bytes of a sample".to_owned(), "entropy".to_owned()];
    heads.extend(spans);
    heads.push("aim".to_owned());
    heads.extend(peers.iter().map(peers::Peer::title));
    heads.push("live".to_owned());
    head(&heads);
    for (class, series) in rows(set) {
        let mut cells = vec![name(class).to_owned(), format!("{:.4}", entropy(class))];
        for span in &options.spans {
            progress(&format!("{}, {span} slots", name(class)));
            cells.push(format!("{:.4}", codec::measure(&series, *span, false)?.size()));
        }
        cells.push(format!("{:.3}", class.map_or(0.30, Class::aim)));
        for peer in &peers {
            progress(&format!("{}, {}", name(class), peer.title()));
            let bytes = peer.bytes(&series)? as f64;
            cells.push(format!("{:.4}", bytes / (series.len() * data::SLOTS) as f64));
        }
        let span = options.spans.last().copied().unwrap_or(4096);
        progress(&format!("{}, live", name(class)));
        cells.push(format!("{:.4}", codec::measure(&series, span, true)?.size()));
        progress("");
        row(&cells);
    }
    Ok(())
}

/// Each class by itself, then the mix: all that lies on the disk.
fn wholes(set: &[Series], options: &Options) -> anyhow::Result<()> {
    let peers = if options.peers { peers::found() } else { Vec::new() };
    println!("{} hours; bytes of a sample.\n", options.hours);
    let heads = ["all on the disk", "entropy", "chunks", "catalogue", "rest", "as it lies"];
    let mut heads = heads.map(str::to_owned).to_vec();
    heads.extend(["compacted", "aim", "tick log"].map(str::to_owned));
    heads.extend(peers.iter().map(peers::Peer::title));
    head(&heads);
    for (class, series) in rows(set) {
        let dir = tempfile::tempdir_in(&options.dir)?;
        let told = |hour| progress(&format!("{}, hour {hour}", name(class)));
        let whole = whole::measure(&series, &options.tiers, options.hours, dir.path(), told)?;
        let each = |bytes: u64| format!("{:.4}", bytes as f64 / whole.samples as f64);
        let Held { chunks, catalogue, rest } = &whole.held;
        let chunks = chunks.iter().map(|(_, bytes)| bytes).sum();
        let mut cells = vec![name(class).to_owned(), format!("{:.4}", entropy(class))];
        cells.extend([chunks, *catalogue, *rest].map(each));
        cells.extend([whole.store.occupied, whole.compacted.occupied].map(each));
        cells.push(format!("{:.3}", class.map_or(0.30, Class::aim)));
        cells.push(each(whole.log.occupied));
        for peer in &peers {
            progress(&format!("{}, {}", name(class), peer.title()));
            let bytes = peer.bytes(&series)? as f64;
            cells.push(format!("{:.4}", bytes / (series.len() * data::SLOTS) as f64));
        }
        progress("");
        row(&cells);
    }
    Ok(())
}

fn retention(set: &[Series], options: &Options, days: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir_in(&options.dir)?;
    let mut heads = vec!["day".to_owned(), "held KiB".to_owned(), "occupied".to_owned()];
    heads.extend(["ratio", "file", "tick ms", "store ms"].map(str::to_owned));
    head(&heads);
    whole::retention(set, &options.tiers, days, dir.path(), |lap: &Lap| {
        let kib = |bytes: u64| (bytes / 1024).to_string();
        let held = lap.held.all();
        let ratio = format!("{:.2}", lap.store.occupied as f64 / held as f64);
        let took = |nanos: u64| format!("{:.1}", nanos as f64 / 1e6);
        let mut cells = vec![lap.day.to_string(), kib(held), kib(lap.store.occupied), ratio];
        cells.push(kib(lap.store.length));
        cells.extend([lap.worst.tick, lap.worst.piece].map(took));
        row(&cells);
    })
}

/// As `10s=3d`.
fn tier(text: &str) -> anyhow::Result<Tier> {
    let (window, keep) = text.split_once('=').context("a tier is written as 10s=3d")?;
    let span = |text: &str| text.parse::<Span>().with_context(|| text.to_owned());
    Ok(Tier { window: span(window)?, keep: span(keep)? })
}

fn costs(set: &[Series], span: u16) -> anyhow::Result<()> {
    println!("\nCPU nanoseconds of a sample, chunks of {span} slots:\n");
    let heads = ["class", "encode", "sums", "records", "merge", "merged from"];
    head(&heads.map(str::to_owned));
    for (class, series) in rows(set) {
        progress(name(class));
        let figures = codec::measure(&series, span, false)?;
        let (merge, before) = codec::compaction(&series, span)?;
        let Figures { encode, sums, records, .. } = figures;
        let mut cells = vec![name(class).to_owned()];
        cells.extend([encode, sums, records].map(|all| format!("{:.2}", figures.nanos(all))));
        cells.push(format!("{merge:.1}"));
        cells.push(format!("{before:.3} B"));
        progress("");
        row(&cells);
    }
    Ok(())
}

const WIDTH: usize = 12;

fn head(cells: &[String]) {
    row(cells);
    let rule: Vec<_> = (0..cells.len()).map(|at| "-".repeat(width(at))).collect();
    row(&rule);
}

fn width(column: usize) -> usize {
    if column == 0 { 18 } else { WIDTH }
}

fn row(cells: &[String]) {
    let padded = cells.iter().enumerate().map(|(at, cell)| {
        let width = width(at);
        if at == 0 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
    });
    println!("| {} |", padded.collect::<Vec<_>>().join(" | "));
}

fn progress(what: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{what}");
    }
}
