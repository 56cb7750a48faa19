//! What tallyd knows of itself, as series that rules can watch: `tallyd.disk_free` and its like.
//!
//! One table says which there are. Before each tick a gauge is set to its figure, and to a counter is added what
//! its figure has grown by; from there on they are series like any other, with windows, history and
//! rules. `/metrics` shows the same figures under its own names, as they are at that moment.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{Engine, View};
use crate::counters::cells::Kind;
use crate::notify::Condition;
use crate::time::Span;
use crate::time::clock::Reading;

/// Figures that the engine does not know itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    /// What the file system of the data directory has free for us, in bytes, where that is known.
    pub disk_free: Option<u64>,
    /// What it has in all.
    pub disk_size: u64,
    /// Something of what brings things to the disk fails, or hangs.
    pub is_failing: bool,
    /// Connections to the memcached port that are open.
    pub connections: u64,
    /// Those that were refused since the start, and those of StatsD and Graphite.
    pub refused: u64,
    /// Lines of StatsD and Graphite that were not taken.
    pub lines_refused: u64,
    /// Datagrams that the system dropped before they could be.
    pub datagrams_lost: u64,
}

/// What figures are made of.
struct Sources<'a> {
    engine: &'a Engine,
    view: &'a View<'a>,
    beside: &'a Beside,
    reading: Reading,
}

/// One series.
struct Figure {
    key: &'static str,
    kind: Kind,
    /// `None`: not known.
    read: fn(&Sources<'_>) -> Option<f64>,
}

const fn gauge(key: &'static str, read: fn(&Sources<'_>) -> Option<f64>) -> Figure {
    Figure { key, kind: Kind::Gauge, read }
}

const fn counter(key: &'static str, read: fn(&Sources<'_>) -> Option<f64>) -> Figure {
    Figure { key, kind: Kind::Counter, read }
}

/// How many there are beside the overflow.
const NUMBER: usize = 20;

/// All of them; README has the same table.
const FIGURES: [Figure; NUMBER] = [
    gauge("tallyd.disk_free", |of| of.beside.disk_free.map(float)),
    gauge("tallyd.store_behind", |of| Some(of.engine.store_behind(of.reading).as_secs_f64())),
    gauge("tallyd.tick_late", |of| {
        // On time it is a second after the end of the one before.
        Some(of.reading.now.since(of.view.closed + Span::SECOND).as_secs_f64())
    }),
    gauge("tallyd.tick_log_waiting", |of| Some(float(of.view.log_waiting as u64))),
    gauge("tallyd.unsaved_keys", |of| Some(float(of.engine.counters.unsaved_keys()))),
    gauge("tallyd.outbox_waiting", |of| Some(float(of.view.outbox.len() as u64))),
    gauge("tallyd.outbox_oldest", |of| Some(of.view.outbox.oldest(of.reading.now).as_secs_f64())),
    gauge("tallyd.notices_held", |of| Some(float(of.view.incidents.held() as u64))),
    gauge("tallyd.incidents_open", |of| Some(float(of.view.incidents.open() as u64))),
    gauge("tallyd.connections", |of| Some(float(of.beside.connections))),
    counter("tallyd.connections_refused", |of| Some(float(of.beside.refused))),
    counter("tallyd.lines_refused", |of| Some(float(of.beside.lines_refused))),
    counter("tallyd.datagrams_lost", |of| Some(float(of.beside.datagrams_lost))),
    counter("tallyd.window_gaps", |of| Some(float(of.view.gaps))),
    counter("tallyd.window_records_dropped", |of| Some(float(of.view.store.dropped()))),
    counter("tallyd.tick_log_dropped", |of| Some(float(of.view.unlogged))),
    counter("tallyd.unsafe_observations", |of| {
        Some(float(of.engine.counters.unsafe_observations()))
    }),
    counter("tallyd.deliveries_failed", |of| Some(float(of.view.outbox.tally().failed))),
    counter("tallyd.deliveries_overflowed", |of| Some(float(of.view.outbox.tally().overflowed))),
    counter("tallyd.unsaved_messages", |of| Some(float(of.view.outbox.tally().unsaved))),
];

/// What was known last of each of them.
pub(super) type Noted = [f64; NUMBER];

#[expect(clippy::cast_precision_loss, reason = "gauges are doubles, and these far below 2^53")]
const fn float(figure: u64) -> f64 {
    figure as f64
}

impl Engine {
    /// Makes the series, before any client is there; how many could not be made. Those are tried again with each
    /// note.
    pub fn know_itself(&self) -> usize {
        let make =
            |figure: &&Figure| self.counters.own(figure.key.as_bytes(), figure.kind).is_none();
        let unmade = FIGURES.iter().filter(make).count();
        self.unmade.store(unmade, Relaxed);
        unmade
    }

    /// How many of the series could not be made yet; once they are, what their figures grew by meanwhile is in them.
    #[must_use]
    pub fn unmade(&self) -> usize {
        self.unmade.load(Relaxed)
    }

    /// Notes the figures in the base window that is closed next, and tells the default contacts where the disk is
    /// nearly full or nothing is kept; whether there is something to tell. To be called from where
    /// [`tick`](Self::tick) is, and before it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a counter is a whole number, and grows"
    )]
    pub fn note_itself(&self, beside: &Beside, now: impl Into<Reading>) -> bool {
        let reading = now.into();
        let now = reading.now;
        if self.unmade() > 0 {
            self.know_itself();
        }
        let read = self.view(|view| {
            let sources = Sources { engine: self, view, beside, reading };
            FIGURES.map(|figure| (figure.read)(&sources))
        });
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        for ((figure, noted), value) in FIGURES.iter().zip(noted.iter_mut()).zip(read) {
            let (key, Some(value)) = (figure.key.as_bytes(), value) else { continue };
            match figure.kind {
                Kind::Counter if value > *noted => {
                    if !self.counters.add_own(key, (value - *noted) as u64) {
                        continue;
                    }
                }
                Kind::Counter => {}
                Kind::Gauge | Kind::Distribution => self.counters.set_own(key, value, now),
            }
            *noted = value;
        }
        let disk = beside.disk_free.map(|free| (free, beside.disk_size));
        self.state().watch(Condition { disk, is_failing: beside.is_failing }, now)
    }

    /// For how long the store has not taken what it was given, whatever the wall clock says.
    fn store_behind(&self, now: Reading) -> Span {
        let kept = *self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.map_or(Span::ZERO, |kept| now.since(kept))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Surroundings, parse};
    use crate::counters::{Condition, Entry, Stored};
    use crate::disk::lying::{Fate, LyingDisk};
    use crate::query::Observation;
    use crate::rules::Level;
    use crate::time::Timestamp;

    const START: Timestamp = Timestamp::from_secs(1_767_571_200);

    const RULES: &str = "
[[rule]]
name = 'disk'
series = 'tallyd.disk_free'
measure = 'last'
window = '10s'
critical = { below = 1000 }
notify = []
[[rule]]
name = 'refused'
series = 'tallyd.connections_refused'
measure = 'sum'
window = '10s'
critical = { above = 5 }
notify = []
[[rule]]
name = 'all'
series = '*'
measure = 'sum'
window = '10s'
critical = { above = 5 }
notify = []
";

    fn config(max_series: usize) -> Config {
        let mut config = parse(RULES, "t.toml".as_ref(), &Surroundings::none()).unwrap().config;
        config.counters.max_series = max_series;
        config
    }

    fn seconds(engine: &Engine, beside: &Beside, from: Timestamp, secs: u64) -> Timestamp {
        for second in 1..=secs {
            let now = from + Span::from_secs(second);
            engine.note_itself(beside, now);
            engine.tick(now);
        }
        from + Span::from_secs(secs)
    }

    fn seen(engine: &Engine, rule: &str) -> (Level, Observation) {
        engine.view(|view| {
            let (_, state) = view.rules.get(rule).unwrap().instances().next().unwrap();
            (state.level, state.observation)
        })
    }

    const fn value(value: f64) -> Observation {
        Observation::Value { value, covered: 1.0 }
    }

    #[test]
    fn rules_watch_what_tallyd_knows_of_itself() {
        let engine = Engine::new(&config(10), START);
        engine.know_itself();
        let beside = Beside { disk_free: Some(5000), connections: 3, ..Beside::default() };
        let now = seconds(&engine, &beside, START, 15);
        assert_eq!(seen(&engine, "disk"), (Level::Ok, value(5000.0)));
        assert_eq!(seen(&engine, "refused"), (Level::Ok, value(0.0)), "known, and zero");
        let now = seconds(&engine, &Beside { disk_free: Some(999), refused: 7, ..beside }, now, 2);
        assert_eq!(seen(&engine, "disk"), (Level::Critical, value(999.0)));
        assert_eq!(seen(&engine, "refused"), (Level::Critical, value(7.0)));
        let now = seconds(&engine, &Beside { disk_free: None, refused: 9, ..beside }, now, 12);
        assert_eq!(seen(&engine, "refused"), (Level::Ok, value(0.0)), "it goes on from there");
        assert_eq!(seen(&engine, "disk"), (Level::Critical, Observation::Missing));
        assert_eq!(seen(&engine, "all"), (Level::Ok, value(0.0)), "a glob means the clients'");
        assert_eq!((engine.counters().series(), engine.counters().values(now)), (0, 0));
    }

    #[test]
    fn how_long_ago_the_store_took_something_goes_by_no_clock_that_is_set() {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(&config(10), dir.path(), START).unwrap().0;
        engine.know_itself();
        let reading = |secs: u64, steady: u64| Reading {
            now: START + Span::from_secs(secs),
            steady: Some(std::time::Duration::from_secs(steady)),
        };
        engine.keep(reading(0, 100)).unwrap();
        for (now, steady, behind) in [(7, 107, 7), (3600, 110, 10), (0, 160, 60)] {
            assert_eq!(engine.store_behind(reading(now, steady)), Span::from_secs(behind));
        }
    }

    #[test]
    fn what_the_disk_had_no_room_for_is_made_when_it_has() {
        // With the overflow one file of cells.
        const FULL: usize = 65_535;
        let dir = tempfile::tempdir().unwrap();
        let disk = LyingDisk::under(dir.path());
        let engine = Engine::open(&config(FULL), dir.path(), START).unwrap().0;
        // The first file of cells is full; there is no room for a second one.
        (0..FULL).for_each(|n| _ = engine.counters.incr(format!("k{n}").as_bytes(), 1, START));
        disk.meet(1, Fate::Refused(28, u64::MAX));
        assert_eq!(engine.know_itself(), NUMBER);
        let beside = Beside { refused: 7, ..Beside::default() };
        engine.note_itself(&beside, START);
        assert_eq!(engine.unmade(), NUMBER);
        disk.meet(u64::MAX, Fate::Done);
        let second = START + Span::SECOND;
        engine.note_itself(&beside, second);
        assert_eq!(engine.unmade(), 0);
        engine.tick(second);
        let refused = engine.counters.get(b"tallyd.connections_refused", second, |view| {
            String::from_utf8_lossy(view.value).into_owned()
        });
        assert_eq!(refused.as_deref(), Some("7"), "with what came meanwhile");
        LyingDisk::leave(dir.path());
    }

    #[test]
    fn they_take_no_room_from_clients_and_nobody_else_writes_them() {
        let dir = tempfile::tempdir().unwrap();
        for start in [START, START + Span::from_secs(60), START + Span::from_secs(120)] {
            let engine = Engine::open(&config(2), dir.path(), start).unwrap().0;
            engine.know_itself();
            let beside = Beside { disk_free: Some(5000), ..Beside::default() };
            let now = seconds(&engine, &beside, start, 3);
            let counters = engine.counters();
            for key in ["a", "b", "c"] {
                counters.incr(key.as_bytes(), 1, now);
            }
            assert_eq!((counters.series(), counters.overflowed()), (2, 1));
            let (key, value) = (b"tallyd.disk_free".as_slice(), b"1".as_slice());
            let entry = Entry { key, value, flags: 0, expires: None };
            assert_eq!(counters.store(entry, Condition::Always, now), Stored::Reserved);
            assert!(!counters.delete(key, now) && !counters.touch(key, Some(now), now));
            counters.flush_all(now, now);
            assert!(counters.get(key, now, |_| ()).is_some(), "it is not the clients'");
            let now = seconds(&engine, &beside, now, 1);
            assert_eq!(seen(&engine, "disk"), (Level::Ok, self::value(5000.0)));
            engine.write_log().unwrap();
            engine.keep(now).unwrap();
        }
    }
}
