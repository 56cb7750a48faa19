//! The store in memory: sparse windows per series and tier, bounded in number.
//!
//! It forgets everything when the process ends. Half of the room is the base tier's, the other tiers
//! share the rest, so none can crowd another out. Where a tier's share is full its own oldest part
//! goes; what went counts as not covered, so nobody takes a hole for a zero.

use std::collections::VecDeque;

use super::{Coverage, Store};
use crate::config::Tier;
use crate::limits;
use crate::rollup::{Closed, Record, SeriesId};
use crate::time::{Span, Timestamp, Window};

/// Series that one call to [`Store::expire`] looks at.
const EXPIRE_SLICE: usize = 4096;

/// See the module.
#[derive(Debug)]
pub struct MemoryStore {
    tiers: Vec<Shelf>,
    specs: Vec<Tier>,
    coverage: Coverage,
    dropped: u64,
    /// Where the next slice of [`Store::expire`] begins.
    hand: usize,
}

/// One tier.
#[derive(Debug)]
struct Shelf {
    tier: Tier,
    records: usize,
    records_max: usize,
    series: Vec<VecDeque<(Timestamp, Record)>>,
    /// Everything that began before this is not known any more: too old, or dropped for want of room.
    horizon: Timestamp,
}

impl MemoryStore {
    /// An empty store of these tiers, with the room that [`limits::WINDOW_RECORDS`] gives.
    #[must_use]
    pub fn new(tiers: &[Tier]) -> Self {
        Self::with_room(tiers, limits::WINDOW_RECORDS)
    }

    fn with_room(tiers: &[Tier], records_max: usize) -> Self {
        let horizon = Timestamp::from_millis(i64::MIN);
        let others = tiers.len().saturating_sub(1).max(1);
        let shelf = |(at, tier): (usize, &Tier)| Shelf {
            tier: *tier,
            records: 0,
            records_max: (records_max / if at == 0 { 2 } else { 2 * others }).max(1),
            series: Vec::new(),
            horizon,
        };
        Self {
            tiers: tiers.iter().enumerate().map(shelf).collect(),
            specs: tiers.to_vec(),
            coverage: Coverage::default(),
            dropped: 0,
            hand: 0,
        }
    }
}

impl Shelf {
    /// Drops the oldest eighth, so that the work is spread over what it gains; how many records.
    fn make_room(&mut self) -> usize {
        let fronts = self.series.iter().filter_map(|windows| windows.front());
        let backs = self.series.iter().filter_map(|windows| windows.back());
        let (Some(oldest), Some(newest)) =
            (fronts.map(|(at, _)| *at).min(), backs.map(|(at, _)| *at).max())
        else {
            return 0;
        };
        let eighth = Span::from_millis(newest.since(oldest).as_millis() / 8);
        let horizon = (oldest + eighth.plus(self.tier.window)).align_down(self.tier.window);
        self.horizon = self.horizon.max(horizon);
        self.drop_before(horizon, 0, usize::MAX)
    }

    fn windows(&self, series: SeriesId) -> Option<&VecDeque<(Timestamp, Record)>> {
        self.series.get(series.index())
    }

    /// Drops windows that begin before `horizon`, of `count` series from the `from`-th on.
    fn drop_before(&mut self, horizon: Timestamp, from: usize, count: usize) -> usize {
        let mut gone = 0;
        for windows in self.series.iter_mut().skip(from).take(count) {
            let old = windows.partition_point(|(start, _)| *start < horizon);
            windows.drain(..old);
            gone += old;
            if windows.capacity() > 4 * windows.len() + 16 {
                windows.shrink_to_fit();
            }
        }
        self.records -= gone;
        gone
    }
}

impl Store for MemoryStore {
    fn tiers(&self) -> &[Tier] {
        &self.specs
    }

    fn append(&mut self, closed: Closed) {
        let Some(shelf) = self.tiers.get_mut(closed.tier) else { return };
        if shelf.records >= shelf.records_max {
            self.dropped += shelf.make_room() as u64;
        }
        if shelf.series.len() <= closed.series.index() {
            shelf.series.resize_with(closed.series.index() + 1, VecDeque::new);
        }
        if let Some(windows) = shelf.series.get_mut(closed.series.index()) {
            windows.push_back((closed.window.start, closed.record));
            shelf.records += 1;
        }
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
        let Some(windows) = shelf.windows(series) else { return };
        let first = windows.partition_point(|(start, _)| *start < range.start);
        for (start, record) in windows.range(first..).take_while(|(at, _)| *at < range.end) {
            each(Window::starting(*start, shelf.tier.window), record);
        }
    }

    fn last_before(&self, tier: usize, series: SeriesId, instant: Timestamp) -> Option<Record> {
        let shelf = self.tiers.get(tier)?;
        let windows = shelf.windows(series)?;
        let after = windows.partition_point(|(start, _)| *start + shelf.tier.window <= instant);
        windows.get(after.checked_sub(1)?).map(|(_, record)| *record)
    }

    fn expire(&mut self, now: Timestamp) {
        let longest = self.tiers.iter().map(|shelf| shelf.series.len()).max().unwrap_or(0);
        for shelf in &mut self.tiers {
            let horizon = (now - shelf.tier.keep).align_down(shelf.tier.window);
            // What is not kept is not known, also where it was not swept yet.
            shelf.horizon = shelf.horizon.max(horizon);
            shelf.drop_before(horizon, self.hand, EXPIRE_SLICE);
        }
        self.hand = if self.hand + EXPIRE_SLICE >= longest { 0 } else { self.hand + EXPIRE_SLICE };
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
    use crate::rollup::Counts;
    use crate::store::tier_for;

    const SERIES: SeriesId = SeriesId(3);

    fn second(at: i64) -> Window {
        Window::starting(Timestamp::from_secs(at), Span::SECOND)
    }

    fn append(store: &mut MemoryStore, at: i64) {
        store.cover(second(at));
        let record = Record::Counts(Counts::base(at.unsigned_abs(), 1, None));
        store.append(Closed { tier: 0, window: second(at), series: SERIES, record });
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
        let mut store = MemoryStore::with_room(tiers, 1200);
        let mut rollup = crate::rollup::Rollup::new(tiers);
        // Ten hours of one busy series; the base keeps six hundred seconds of it throughout.
        for at in 0..36_000 {
            let record = Record::Counts(Counts::base(1, 1, None));
            rollup.close(second(at), &[(SERIES, record)], |closed| store.append(closed));
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
        let mut store = MemoryStore::with_room(&Config::default().tiers, 200);
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
