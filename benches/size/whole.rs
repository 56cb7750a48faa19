//! The data set through the engine as a server drives it, under virtual time, with every byte on the disk
//! counted.
//!
//! A series has one number for each slot of ten seconds, which goes in within the slot's first second; all
//! ten are ticked. After each minute the tick log is written, and the store puts chunks in place, merges and
//! removes until nothing is left to do.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, ensure};
use tallyd::config::{Config, Tier};
use tallyd::engine::{Engine, apply, tally};
use tallyd::protocol::{Limits, Step, parse};
use tallyd::store::{RedbStore, Store};
use tallyd::time::{Span, Timestamp};

use crate::codec::cpu_nanos;
use crate::data::{Class, Drawing, SLOT_SECS, Series};

/// Midnight, and a multiple of the longest chunk of ten seconds.
const START: Timestamp = Timestamp::from_secs(1_700_006_400);

/// Minutes from one work of the store to the next, where a year is played.
const REST: u64 = 5;

const STORE: &str = "tallyd.redb";

/// Bytes of keys and values in the store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Held {
    /// Chunks, by the width of their tier in seconds.
    pub(crate) chunks: Vec<(u32, u64)>,
    /// Names and births of series, and their totals.
    pub(crate) catalogue: u64,
    /// The checkpoint, lists and coverage.
    pub(crate) rest: u64,
}

impl Held {
    pub(crate) fn all(&self) -> u64 {
        self.chunks.iter().map(|(_, bytes)| bytes).sum::<u64>() + self.catalogue + self.rest
    }

    fn add(&mut self, key: &[u8], bytes: u64) {
        match key {
            [b'c', a, b, c, d, ..] => {
                let width = u32::from_be_bytes([*a, *b, *c, *d]);
                match self.chunks.iter_mut().find(|(tier, _)| *tier == width) {
                    Some((_, all)) => *all += bytes,
                    None => self.chunks.push((width, bytes)),
                }
            }
            [b's' | b't', ..] => self.catalogue += bytes,
            _ => self.rest += bytes,
        }
    }
}

/// What a file takes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Taken {
    pub(crate) length: u64,
    /// Blocks that it occupies, in bytes: a hole takes none.
    pub(crate) occupied: u64,
}

/// A server's day.
#[derive(Clone, Debug, Default)]
pub(crate) struct Whole {
    pub(crate) held: Held,
    /// The store as it lies there.
    pub(crate) store: Taken,
    /// The same after redb's own compaction.
    pub(crate) compacted: Taken,
    pub(crate) log: Taken,
    pub(crate) samples: u64,
}

/// How it stood at one time.
#[derive(Clone, Debug)]
pub(crate) struct Lap {
    pub(crate) day: u64,
    pub(crate) held: Held,
    pub(crate) store: Taken,
    /// The longest since the lap before.
    pub(crate) worst: Worst,
}

/// A server that is played.
struct Played {
    config: Config,
    engine: Option<Engine>,
    sources: Vec<(Source, Drawing)>,
    now: Timestamp,
    worst: Worst,
}

/// The most that anything took, in CPU nanoseconds of the one thread: what else runs on the machine does
/// not count.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Worst {
    pub(crate) tick: u64,
    /// One piece of the store's work, between two of which others come to their turn.
    pub(crate) piece: u64,
}

enum Source {
    Counter(Vec<u8>),
    Gauge(String),
}

impl Played {
    fn begin(series: &[Series], tiers: &[Tier], dir: &Path) -> anyhow::Result<Self> {
        let mut config = Config { tiers: tiers.to_vec(), ..Config::default() };
        config.counters.max_series = series.len() + 1000;
        let (engine, _) = Engine::open(&config, dir, START)?;
        let source = |series: &Series| match series.class {
            Class::Gauge => (Source::Gauge(series.name()), series.begin()),
            _ => (Source::Counter(series.name().into_bytes()), series.begin()),
        };
        let sources = series.iter().map(source).collect();
        let (engine, worst) = (Some(engine), Worst::default());
        Ok(Self { config, engine, sources, now: START, worst })
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().expect("it is played between its beginning and its end")
    }

    /// A minute of ticks.
    fn minute(&mut self) -> anyhow::Result<()> {
        for second in 0..60 {
            if second % SLOT_SECS == 0 {
                self.slot()?;
            }
            self.now = self.now + Span::SECOND;
            let began = cpu_nanos();
            self.engine().tick(self.now);
            self.worst.tick = self.worst.tick.max(cpu_nanos() - began);
        }
        Ok(())
    }

    fn keep(&mut self) -> anyhow::Result<()> {
        self.engine().write_log()?;
        loop {
            let began = cpu_nanos();
            let goes_on = self.engine().keep(self.now)?;
            self.worst.piece = self.worst.piece.max(cpu_nanos() - began);
            if !goes_on {
                return Ok(());
            }
        }
    }

    fn slot(&mut self) -> anyhow::Result<()> {
        let engine = self.engine.as_ref().expect("it is played");
        let (counters, now) = (engine.counters(), self.now);
        let (mut text, mut out, mut counts) = (Vec::new(), Vec::new(), tally::Counts::default());
        for (source, drawing) in &mut self.sources {
            let number = drawing.next(1);
            match source {
                Source::Counter(_) if number == 0 => {}
                Source::Counter(key) => {
                    counters.incr(key, number.unsigned_abs(), now);
                }
                Source::Gauge(key) => {
                    let value = format!("{:.2}", number as f64 / 100.0);
                    text.clear();
                    write!(text, "set {key} 0 0 {}\r\n{value}\r\n", value.len())?;
                    let Step::Request { request, .. } = parse(&text, &Limits::default()) else {
                        anyhow::bail!("a set is a request");
                    };
                    out.clear();
                    apply(counters, &request, now, &mut counts, &mut out);
                    ensure!(out == b"STORED\r\n", "{}", String::from_utf8_lossy(&out));
                }
            }
        }
        Ok(())
    }

    /// Lets what is over come to rest, and ends it.
    fn end(&mut self) -> anyhow::Result<()> {
        for _ in 0..2 {
            self.now = self.now + Span::SECOND;
            self.engine().tick(self.now);
            self.keep()?;
        }
        self.engine = None;
        Ok(())
    }

    /// Ends it to look at what lies there, and begins again from that.
    fn lap(&mut self, dir: &Path, day: u64) -> anyhow::Result<Lap> {
        let store = taken(&dir.join(STORE))?;
        self.engine = None;
        let held = held(&dir.join(STORE))?;
        self.engine = Some(Engine::open(&self.config, dir, self.now)?.0);
        Ok(Lap { day, held, store, worst: std::mem::take(&mut self.worst) })
    }
}

/// Plays so many hours and counts what lies there then.
pub(crate) fn measure(
    series: &[Series],
    tiers: &[Tier],
    hours: u64,
    dir: &Path,
    mut progress: impl FnMut(u64),
) -> anyhow::Result<Whole> {
    let mut played = Played::begin(series, tiers, dir)?;
    for minute in 0..hours * 60 {
        progress(minute / 60);
        played.minute()?;
        played.keep()?;
    }
    played.end()?;
    let path = dir.join(STORE);
    let held = held(&path)?;
    let (store, log) = (taken(&path)?, logs(dir)?);
    RedbStore::open(&path)?.compact()?;
    let compacted = taken(&path)?;
    let samples = series.len() as u64 * hours * 3600 / SLOT_SECS;
    Ok(Whole { held, store, compacted, log, samples })
}

/// Plays so many days and looks at what lies there ten times.
pub(crate) fn retention(
    series: &[Series],
    tiers: &[Tier],
    days: u64,
    dir: &Path,
    mut see: impl FnMut(&Lap),
) -> anyhow::Result<()> {
    let mut played = Played::begin(series, tiers, dir)?;
    let minutes = days * 24 * 60;
    for minute in 1..=minutes {
        played.minute()?;
        if minute % REST == 0 {
            played.keep()?;
        }
        if minute % (minutes / 10).max(1) == 0 {
            see(&played.lap(dir, minute / 60 / 24)?);
        }
    }
    Ok(())
}

/// What lies in a store that nobody uses.
fn held(path: &Path) -> anyhow::Result<Held> {
    let mut held = Held::default();
    let store = RedbStore::open(path)?;
    store.snapshot()?.scan(b"", &mut |key, value| {
        held.add(key, (key.len() + value.len()) as u64);
        true
    })?;
    held.chunks.sort_unstable();
    Ok(held)
}

fn taken(path: &Path) -> anyhow::Result<Taken> {
    let about = fs::metadata(path).with_context(|| path.display().to_string())?;
    Ok(Taken { length: about.len(), occupied: about.blocks() * 512 })
}

/// What the logs of ticks take, all together.
fn logs(dir: &Path) -> anyhow::Result<Taken> {
    let mut all = Taken { length: 0, occupied: 0 };
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let is_log = path
            .file_name()
            .and_then(|name| name.to_str())
            .is_some_and(|name| name.starts_with("ticks"));
        if is_log {
            let one = taken(&path)?;
            all.length += one.length;
            all.occupied += one.occupied;
        }
    }
    Ok(all)
}
