//! The store in memory: the rows of each tier, bounded in bytes.
//!
//! It forgets everything when the process ends. Half of the room is the base tier's, the other tiers
//! share the rest, so none can crowd another out. Where a tier's share is full its own oldest part
//! goes; what went counts as not covered, so nobody takes a hole for a zero.

use std::collections::VecDeque;

use super::{Coverage, Store};
use crate::config::Tier;
use crate::limits;
use crate::rollup::row::span;
use crate::rollup::{Record, Row, SeriesId};
use crate::time::{Span, Timestamp, Window};

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    tiers: Vec<Shelf>,
    specs: Vec<Tier>,
    coverage: Coverage,
    dropped: u64,
}

/// One tier.
#[derive(Debug)]
struct Shelf {
    tier: Tier,
    /// How long the stretches are that can be read by themselves.
    span: Span,
    rows: VecDeque<Row>,
    records: usize,
    bytes: usize,
    bytes_max: usize,
    /// Everything that began before this is not known any more: too old, or dropped for want of room.
    horizon: Timestamp,
}

impl MemoryStore {
    /// An empty store of these tiers, with the room that [`limits::WINDOW_BYTES`] gives.
    #[must_use]
    pub fn new(tiers: &[Tier]) -> Self {
        Self::with_room(tiers, limits::WINDOW_BYTES)
    }

    fn with_room(tiers: &[Tier], bytes_max: usize) -> Self {
        let horizon = Timestamp::from_millis(i64::MIN);
        let others = tiers.len().saturating_sub(1).max(1);
        let shelf = |(at, tier): (usize, &Tier)| Shelf {
            tier: *tier,
            span: span(tiers, at),
            rows: VecDeque::new(),
            records: 0,
            bytes: 0,
            bytes_max: bytes_max / if at == 0 { 2 } else { 2 * others },
            horizon,
        };
        Self {
            tiers: tiers.iter().enumerate().map(shelf).collect(),
            specs: tiers.to_vec(),
            coverage: Coverage::default(),
            dropped: 0,
        }
    }
}

impl Shelf {
    fn push(&mut self, row: Row) {
        self.records += row.len();
        self.bytes += row.memory();
        self.rows.push_back(row);
    }

    /// Drops the oldest window; how many records went with it.
    fn pop(&mut self) -> usize {
        let Some(row) = self.rows.pop_front() else { return 0 };
        self.records -= row.len();
        self.bytes -= row.memory();
        row.len()
    }

    /// Drops the oldest windows until there is room again; how many records.
    fn make_room(&mut self) -> usize {
        let mut gone = 0;
        // The newest stays, whatever its size: it is what rules are about to look at.
        while self.bytes > self.bytes_max && self.rows.len() > 1 {
            if let Some(oldest) = self.rows.front() {
                self.horizon = self.horizon.max(oldest.window.end);
            }
            gone += self.pop();
        }
        gone
    }

    /// The rows that begin at or after `start`.
    fn from(&self, start: Timestamp) -> impl DoubleEndedIterator<Item = &Row> {
        let first = self.rows.partition_point(|row| row.window.start < start);
        self.rows.range(first..)
    }
}

impl Store for MemoryStore {
    fn tiers(&self) -> &[Tier] {
        &self.specs
    }

    fn append(&mut self, tier: usize, row: Row) {
        let Some(shelf) = self.tiers.get_mut(tier) else { return };
        shelf.push(row);
        self.dropped += shelf.make_room() as u64;
    }

    fn cover(&mut self, base: Window) {
        self.coverage.add(base);
    }

    fn covered(&self, tier: usize, range: Window) -> Span {
        let horizon = self.tiers.get(tier).map_or(range.end, |shelf| shelf.horizon);
        self.coverage.within(Window { start: range.start.max(horizon), end: range.end })
    }

    fn read(
        &self,
        tier: usize,
        series: SeriesId,
        range: Window,
        each: &mut dyn FnMut(Window, &Record),
    ) {
        let Some(shelf) = self.tiers.get(tier) else { return };
        let mut shown = None;
        // The span is read from its beginning for the sake of what runs on.
        let rows = shelf.from(range.start.align_down(shelf.span));
        for row in rows.take_while(|row| row.window.start < range.end) {
            let Some(entry) = row.get(series) else { continue };
            let record = entry.resolve(shown);
            shown = record.last();
            if row.window.start >= range.start {
                each(row.window, &record);
            }
        }
    }

    fn last_before(&self, tier: usize, series: SeriesId, instant: Timestamp) -> Option<Record> {
        let shelf = self.tiers.get(tier)?;
        let end = shelf.rows.partition_point(|row| row.window.end <= instant);
        let found = shelf.rows.range(..end).rev().find_map(|row| Some((row, row.get(series)?)));
        let (row, entry) = found?;
        if !entry.runs_on {
            return Some(entry.record);
        }
        let before =
            Window { start: row.window.start.align_down(shelf.span), end: row.window.start };
        let mut shown = None;
        self.read(tier, series, before, &mut |_, record| shown = record.last());
        Some(entry.resolve(shown))
    }

    fn expire(&mut self, now: Timestamp) {
        for shelf in &mut self.tiers {
            let horizon = (now - shelf.tier.keep).align_down(shelf.tier.window);
            shelf.horizon = shelf.horizon.max(horizon);
            while shelf.rows.front().is_some_and(|row| row.window.start < horizon) {
                shelf.pop();
            }
        }
        if let Some(coarsest) = self.tiers.last() {
            self.coverage.forget_before(now - coarsest.tier.keep);
        }
    }

    fn records(&self) -> usize {
        self.tiers.iter().map(|shelf| shelf.records).sum()
    }

    fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::rollup::{Counts, Entry, RowBuilder};
    use crate::store::tier_for;

    const SERIES: SeriesId = SeriesId(3);

    fn second(at: i64) -> Window {
        Window::starting(Timestamp::from_secs(at), Span::SECOND)
    }

    fn append(store: &mut MemoryStore, at: i64) {
        store.cover(second(at));
        store.append(0, row(at, at.unsigned_abs()));
    }

    fn row(at: i64, sum: u64) -> Row {
        let record = Record::Counts(Counts::base(sum, 1, None));
        let mut builder = RowBuilder::default();
        builder.push(Entry { series: SERIES, record, runs_on: false });
        builder.finish(second(at))
    }

    fn starts(store: &MemoryStore, from: i64, to: i64) -> Vec<i64> {
        let range = Window { start: Timestamp::from_secs(from), end: Timestamp::from_secs(to) };
        let mut starts = Vec::new();
        store.read(0, SERIES, range, &mut |window, _| starts.push(window.start.as_secs()));
        starts
    }

    #[test]
    fn reads_the_windows_that_begin_inside_the_range() {
        let mut store = MemoryStore::new(&Config::default().tiers);
        for at in [1, 2, 5, 9] {
            append(&mut store, at);
        }
        assert_eq!(starts(&store, 2, 9), [2, 5]);
        assert_eq!(starts(&store, 0, 100), [1, 2, 5, 9]);
        let last = |at| store.last_before(0, SERIES, Timestamp::from_secs(at));
        assert!(matches!(last(6), Some(Record::Counts(c)) if c.sum == 5));
        assert!(matches!(last(5), Some(Record::Counts(c)) if c.sum == 2));
        assert_eq!(last(1), None);
    }

    #[test]
    fn forgets_what_its_tier_does_not_keep() {
        let mut store = MemoryStore::new(&Config::default().tiers);
        append(&mut store, 0);
        append(&mut store, 7200);
        store.expire(Timestamp::from_secs(7201));
        assert_eq!(starts(&store, 0, 10_000), [7200]);
        let all = Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(7201) };
        assert_eq!(store.covered(0, all), Span::SECOND, "what is not kept is not known");
        assert_eq!(store.records(), 1);
        assert_eq!(store.dropped(), 0);
    }

    #[test]
    fn a_long_life_of_coarse_windows_does_not_crowd_the_base_out() {
        let tiers = &Config::default().tiers;
        let room = 1200 * row(0, 1).memory();
        let mut store = MemoryStore::with_room(tiers, room);
        let mut rollup = crate::rollup::Rollup::new(tiers);
        // Ten hours of one busy series; the base keeps six hundred seconds of it throughout.
        for at in 0..36_000 {
            rollup.close(row(at, 1), |tier, row| store.append(tier, row));
            store.cover(second(at));
            assert!(store.records() <= 1200);
            if at > 600 {
                let last = Window::ending(Timestamp::from_secs(at + 1), Span::from_secs(500));
                assert_eq!(store.covered(0, last), Span::from_secs(500), "at {at}");
            }
        }
        assert!(store.dropped() > 0);
    }

    #[test]
    fn when_full_the_oldest_goes_and_no_longer_counts_as_covered() {
        let room = 200 * row(0, 1).memory();
        let mut store = MemoryStore::with_room(&Config::default().tiers, room);
        for at in 0..150 {
            append(&mut store, at);
        }
        assert!(store.records() <= 100);
        assert!(store.dropped() >= 50);
        let first = starts(&store, 0, 150)[0];
        let range = Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(150) };
        assert_eq!(store.covered(0, range), Span::from_secs(150 - first.unsigned_abs()));
        assert_eq!(store.covered(1, range), Span::from_secs(150));
    }

    #[test]
    fn the_tier_follows_from_the_age_alone() {
        let tiers = &Config::default().tiers;
        let tier = |text: &str| tier_for(tiers, text.parse().unwrap());
        assert_eq!(["5m", "2h", "3h", "3d", "1w", "41d", "9999d"].map(tier), [0, 0, 1, 1, 2, 3, 3]);
    }
}
