//! The numbers that are asked about, and the data directory that holds them.

use std::path::Path;

use anyhow::Context;
use tallyd::config::Config;
use tallyd::counters::{Condition, Entry};
use tallyd::engine::Engine;
use tallyd::time::clock::{Clock, SystemClock};
use tallyd::time::{Span, Timestamp};

use crate::data::{self, Class, SLOT_SECS, SLOTS, Series};

/// Seconds that one minute has.
const MINUTE: u64 = 60;
/// What each question is told of a day, in points.
pub(crate) const POINTS: usize = 1440;

/// The set with its numbers, and when they happened.
pub(crate) struct Set {
    pub(crate) members: Vec<Member>,
    /// Increments of the one counter, minute by minute.
    pub(crate) month: Vec<u64>,
    /// The end of the last minute, in seconds since the epoch.
    pub(crate) end: u64,
}

pub(crate) struct Member {
    pub(crate) series: Series,
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) samples: Vec<i64>,
}

impl Member {
    pub(crate) fn is_counter(&self) -> bool {
        self.series.class != Class::Gauge
    }

    pub(crate) fn key(&self) -> String {
        format!("{};host={}", self.name, self.host)
    }

    /// Increments by the minute.
    pub(crate) fn minutes(&self) -> impl Iterator<Item = i64> {
        let of_one = (MINUTE / SLOT_SECS) as usize;
        self.samples.chunks(of_one).map(|slots| slots.iter().sum())
    }
}

impl Set {
    pub(crate) fn new(count: usize, days: u32, seed: u64) -> Self {
        let member = |(number, series): (usize, Series)| {
            let kind = if series.class == Class::Gauge { "gauge" } else { "counter" };
            Member {
                series,
                name: format!("shop.{kind}.{number:06}"),
                // Ten in a row, of whichever classes these are.
                host: format!("web-{:02}", number / 10 % 100),
                samples: series.samples(),
            }
        };
        let members: Vec<_> = data::set(count, seed).into_iter().enumerate().map(member).collect();
        let minutes = u64::from(days) * 24 * 60;
        // What a busy shop sells in a minute, and at night less of it.
        let month = (0..minutes).map(|at| (at * at * 31 + seed) % 40 + at % 1440 / 60);
        let now = SystemClock::new().now().as_secs() as u64;
        Self { members, month: month.collect(), end: now / MINUTE * MINUTE }
    }

    /// The beginning of the day.
    pub(crate) fn day(&self) -> u64 {
        self.end - SLOTS as u64 * SLOT_SECS
    }

    /// The beginning of the month.
    pub(crate) fn month_start(&self) -> u64 {
        self.end - self.month.len() as u64 * MINUTE
    }

    /// The one counter that is asked about by itself.
    pub(crate) fn one(&self) -> anyhow::Result<&Member> {
        let mut steady = self.members.iter().filter(|member| member.series.class == Class::Steady);
        steady.next().context("one series in seven is steady")
    }

    /// Plays all of it into a data directory, as a server would see it.
    pub(crate) fn write(&self, directory: &Path) -> anyhow::Result<()> {
        let start = self.month_start() - MINUTE;
        let at = |secs: u64| Timestamp::from_secs(secs as i64);
        let (engine, _) = Engine::open(&Config::default(), directory, at(start))?;
        for second in start..self.end {
            self.happen(&engine, second);
            let now = at(second) + Span::SECOND;
            engine.tick(now);
            if second % MINUTE == 0 {
                engine.write_log()?;
            }
            if second % 600 == 0 {
                while engine.keep(now)? {}
            }
        }
        engine.write_log()?;
        while engine.keep(at(self.end))? {}
        Ok(())
    }

    fn happen(&self, engine: &Engine, second: u64) {
        let (counters, now) = (engine.counters(), Timestamp::from_secs(second as i64));
        if second >= self.month_start() && second.is_multiple_of(MINUTE) {
            let sold = self.month[((second - self.month_start()) / MINUTE) as usize];
            if sold > 0 {
                counters.incr(b"shop.month", sold, now);
            }
        }
        if second < self.day() || !second.is_multiple_of(SLOT_SECS) {
            return;
        }
        let slot = ((second - self.day()) / SLOT_SECS) as usize;
        for member in &self.members {
            let sample = member.samples[slot];
            if !member.is_counter() {
                let text = format!("{:.2}", sample as f64 / 100.0);
                let (key, value) = (member.key(), text.as_bytes());
                let entry = Entry { key: key.as_bytes(), value, flags: 0, expires: None };
                counters.store(entry, Condition::Always, now);
            } else if sample > 0 {
                counters.incr(member.key().as_bytes(), sample as u64, now);
            }
        }
    }
}
