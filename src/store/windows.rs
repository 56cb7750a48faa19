//! The windows of every tier: rows in memory for what is young, chunks in the engine for the rest.
//!
//! Whoever reads sees one series of windows, whichever of the two holds them. A copy is cheap and stays
//! as it is, so that a long reading holds nobody up. Where the disk fails, rows stay in memory up to a
//! bound; beyond it the oldest go, and count as not covered.

use std::collections::VecDeque;
use std::sync::Arc;

use super::extent::Extent;
use super::group::Group;
use super::seal::{self, Seal};
use super::seam::Snapshot;
use super::{Coverage, ReadError};
use crate::config::Tier;
use crate::limits;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Record, Row, SeriesId};
use crate::time::{Span, Timestamp, Window};

/// See the module.
#[derive(Clone, Debug)]
pub struct Windows {
    shelves: Vec<Shelf>,
    tiers: Arc<[Tier]>,
    coverage: Coverage,
    dropped: u64,
    snapshot: Arc<dyn Snapshot>,
}

/// One tier.
#[derive(Clone, Debug)]
struct Shelf {
    tier: Tier,
    /// How long the stretches are that go into chunks together.
    span: Span,
    /// What begins before this is in `extents`, or did not happen.
    sealed: Timestamp,
    extents: Arc<Vec<Extent>>,
    rows: VecDeque<Arc<Row>>,
    records: usize,
    bytes: usize,
    bytes_max: usize,
    /// Everything that began before this is not kept any more.
    horizon: Timestamp,
    /// What was dropped for want of room.
    lost: Coverage,
}

impl Windows {
    /// Nothing known yet but what `snapshot` holds in these extents, tier by tier.
    #[must_use]
    pub fn new(tiers: &[Tier], snapshot: Arc<dyn Snapshot>) -> Self {
        Self::with_room(tiers, snapshot, limits::WINDOW_BYTES)
    }

    pub(super) fn with_room(tiers: &[Tier], snapshot: Arc<dyn Snapshot>, bytes_max: usize) -> Self {
        let others = tiers.len().saturating_sub(1).max(1);
        let shelf = |(at, tier): (usize, &Tier)| Shelf {
            tier: *tier,
            span: span(tiers, at),
            sealed: Timestamp::from_millis(i64::MIN),
            extents: Arc::default(),
            rows: VecDeque::new(),
            records: 0,
            bytes: 0,
            bytes_max: bytes_max / if at == 0 { 2 } else { 2 * others },
            horizon: Timestamp::from_millis(i64::MIN),
            lost: Coverage::default(),
        };
        Self {
            shelves: tiers.iter().enumerate().map(shelf).collect(),
            tiers: tiers.into(),
            coverage: Coverage::default(),
            dropped: 0,
            snapshot,
        }
    }

    /// The tiers, from fine to coarse.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// Keeps a closed window of a tier. Windows of one tier come in order of time.
    pub fn append(&mut self, tier: usize, row: Row) {
        let Some(shelf) = self.shelves.get_mut(tier) else { return };
        if row.window.start >= shelf.sealed {
            shelf.push(Arc::new(row));
            self.dropped += shelf.make_room() as u64;
        }
    }

    /// Notes that tallyd was up for all of `base`.
    pub fn cover(&mut self, base: Window) {
        self.coverage.add(base);
    }

    /// How much of `range` is known in a tier: tallyd was up, and the windows are still kept.
    #[must_use]
    pub fn covered(&self, tier: usize, range: Window) -> Span {
        let Some(shelf) = self.shelves.get(tier) else { return Span::ZERO };
        let range = Window { start: range.start.max(shelf.horizon), end: range.end };
        let lost = shelf.lost.within(range).as_millis();
        Span::from_millis(self.coverage.within(range).as_millis().saturating_sub(lost))
    }

    /// Hands the records of the windows that begin inside `range` to `each`, in order of time.
    ///
    /// # Errors
    /// [`ReadError`], where what is kept cannot be read: it says nothing of what happened.
    pub fn read(
        &self,
        tier: usize,
        series: SeriesId,
        range: Window,
        mut each: impl FnMut(Window, &Record),
    ) -> Result<(), ReadError> {
        let Some(shelf) = self.shelves.get(tier) else { return Ok(()) };
        let range = Window { start: range.start.max(shelf.horizon), end: range.end };
        for extent in shelf.overlapping(range) {
            self.read_extent(shelf, *extent, series, range, &mut each)?;
        }
        shelf.read_rows(series, range, each);
        Ok(())
    }

    fn read_extent(
        &self,
        shelf: &Shelf,
        extent: Extent,
        series: SeriesId,
        range: Window,
        each: &mut impl FnMut(Window, &Record),
    ) -> Result<(), ReadError> {
        let step = shelf.tier.window.as_millis().max(1);
        let slot = |at: Timestamp| {
            let slots = at.since(extent.start).as_millis().div_ceil(step);
            u16::try_from(slots).unwrap_or(u16::MAX)
        };
        let slots = slot(range.start)..slot(range.end);
        self.member(shelf, extent, series, |chunk| {
            seal::read(chunk, slots.clone(), |slot, record| {
                let offset = Span::from_millis(u64::from(slot) * step);
                each(Window::starting(extent.start + offset, shelf.tier.window), record);
            })
        })
    }

    /// Shows the chunk of a series in an extent to `see`, where there is one.
    fn member(
        &self,
        shelf: &Shelf,
        extent: Extent,
        series: SeriesId,
        mut see: impl FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let key = extent.key(&shelf.tier, series.0 / GROUP);
        let place = u8::try_from(series.0 % GROUP).unwrap_or(u8::MAX);
        let mut done = Ok(());
        self.snapshot.get(&key, &mut |bytes| {
            done = Group::open(bytes)
                .map_err(ReadError::from)
                .and_then(|group| group.get(place).map_or(Ok(()), &mut see));
        })?;
        done
    }

    /// The last record of a tier that ends at or before `instant`, however old.
    ///
    /// # Errors
    /// [`ReadError`], as for [`read`](Self::read).
    pub fn last_before(
        &self,
        tier: usize,
        series: SeriesId,
        instant: Timestamp,
    ) -> Result<Option<Record>, ReadError> {
        let Some(shelf) = self.shelves.get(tier) else { return Ok(None) };
        if let Some(record) = shelf.last_row_before(series, instant) {
            return Ok(Some(record));
        }
        let before = Window {
            start: shelf.horizon,
            end: instant - shelf.tier.window + Span::from_millis(1),
        };
        for extent in shelf.overlapping(before).iter().rev() {
            let mut last = None;
            self.read_extent(shelf, *extent, series, before, &mut |_, record| {
                last = Some(record.clone());
            })?;
            if last.is_some() {
                return Ok(last);
            }
        }
        Ok(None)
    }

    /// The clock that old things go by: `now`, but after a leap of the wall clock what it showed before,
    /// going on second by second, until as much was covered as makes the leap believable.
    ///
    /// Windows are closed by the wall clock at once, and a wrong one may be set right again; what was
    /// removed by it would not come back. So it is not the clock that is asked but the time that was
    /// seen to pass, wherever in the calendar. Leaps that follow one another, as of a machine that sleeps
    /// most of the time, hold nothing up for longer. `None` while no time was seen to pass.
    #[must_use]
    pub fn settled(&self, now: Timestamp) -> Option<Timestamp> {
        let settling = Span::from_secs(limits::CLOCK_SETTLES_SECS);
        Some(self.coverage.steady(settling)?.min(now))
    }

    /// Forgets what is older than its tier keeps; the chunks go at the keeper's leisure.
    pub fn expire(&mut self, now: Timestamp) {
        for shelf in &mut self.shelves {
            let horizon = (now - shelf.tier.keep).align_down(shelf.tier.window);
            shelf.horizon = shelf.horizon.max(horizon);
            while shelf.rows.front().is_some_and(|row| row.window.start < horizon) {
                shelf.pop();
            }
            shelf.lost.forget_before(horizon);
        }
        if let Some(coarsest) = self.tiers.last() {
            self.coverage.forget_before(now - coarsest.keep);
        }
    }

    /// Records that are held in memory, over all tiers and series.
    #[must_use]
    pub fn records(&self) -> usize {
        self.shelves.iter().map(|shelf| shelf.records).sum()
    }

    /// Records that were dropped before their time for want of room.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// When tallyd was up.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// What is to be put into chunks of a tier: every stretch that is over at `instant`.
    #[must_use]
    pub fn ready(&self, tier: usize, instant: Timestamp) -> Vec<Seal> {
        let Some(shelf) = self.shelves.get(tier) else { return Vec::new() };
        let mut seals: Vec<Seal> = Vec::new();
        for row in &shelf.rows {
            let start = row.window.start.align_down(shelf.span);
            if start + shelf.span > instant {
                break;
            }
            match seals.last_mut().filter(|seal| seal.extent.start == start) {
                Some(seal) => seal.rows.push(Arc::clone(row)),
                None => seals.push(Seal {
                    tier,
                    extent: Extent { start, slots: shelf.span_slots() },
                    rows: vec![Arc::clone(row)],
                }),
            }
        }
        seals
    }

    /// Rows of a tier that are in no chunk yet.
    pub fn rows(&self, tier: usize) -> impl Iterator<Item = &Arc<Row>> {
        self.shelves.get(tier).into_iter().flat_map(|shelf| &shelf.rows)
    }

    /// The extents of a tier, in order of time.
    #[must_use]
    pub fn extents(&self, tier: usize) -> &[Extent] {
        self.shelves.get(tier).map_or(&[], |shelf| &shelf.extents)
    }

    /// What begins before this is in chunks of a tier, or did not happen.
    #[must_use]
    pub fn sealed(&self, tier: usize) -> Timestamp {
        self.shelves.get(tier).map_or(Timestamp::EPOCH, |shelf| shelf.sealed)
    }

    /// Everything older than this is not kept any more in a tier.
    #[must_use]
    pub fn horizon(&self, tier: usize) -> Timestamp {
        self.shelves.get(tier).map_or(Timestamp::EPOCH, |shelf| shelf.horizon)
    }

    /// Notes that a tier knows nothing of what began before `since`.
    pub fn forget_before(&mut self, tier: usize, since: Timestamp) {
        if let Some(shelf) = self.shelves.get_mut(tier) {
            shelf.horizon = shelf.horizon.max(since);
        }
    }

    /// Takes the chunks of a tier for its windows from now on: `extents` are all that it has, and hold
    /// everything that begins before `sealed`.
    pub fn settle(&mut self, tier: usize, extents: Vec<Extent>, sealed: Timestamp) {
        let Some(shelf) = self.shelves.get_mut(tier) else { return };
        shelf.extents = Arc::new(extents);
        shelf.sealed = shelf.sealed.max(sealed);
        while shelf.rows.front().is_some_and(|row| row.window.start < shelf.sealed) {
            shelf.pop();
        }
    }

    /// Takes what was committed into view.
    pub fn show(&mut self, snapshot: Arc<dyn Snapshot>) {
        self.snapshot = snapshot;
    }

    /// Takes over when an earlier process was up.
    pub fn restore_coverage(&mut self, coverage: Coverage) {
        self.coverage = coverage;
    }
}

impl Shelf {
    fn span_slots(&self) -> u16 {
        let slots = self.span.as_millis() / self.tier.window.as_millis().max(1);
        u16::try_from(slots).unwrap_or(u16::MAX)
    }

    fn push(&mut self, row: Arc<Row>) {
        self.records += row.len();
        self.bytes += row.memory();
        self.rows.push_back(row);
    }

    /// Drops the oldest row; how many records went with it.
    fn pop(&mut self) -> usize {
        let Some(row) = self.rows.pop_front() else { return 0 };
        self.records -= row.len();
        self.bytes -= row.memory();
        row.len()
    }

    /// Drops the oldest rows until there is room again; how many records.
    fn make_room(&mut self) -> usize {
        let mut gone = 0;
        // The newest stays, whatever its size: it is what rules are about to look at.
        while self.bytes > self.bytes_max && self.rows.len() > 1 {
            if let Some(oldest) = self.rows.front() {
                self.lost.add(oldest.window);
            }
            gone += self.pop();
        }
        gone
    }

    /// The extents that share something with `range`.
    fn overlapping(&self, range: Window) -> &[Extent] {
        let first =
            self.extents.partition_point(|extent| extent.window(&self.tier).end <= range.start);
        let end = self.extents.partition_point(|extent| extent.start < range.end);
        self.extents.get(first..end).unwrap_or_default()
    }

    /// The rows that begin at or after `start`.
    fn from(&self, start: Timestamp) -> impl DoubleEndedIterator<Item = &Row> {
        let first = self.rows.partition_point(|row| row.window.start < start);
        self.rows.range(first..).map(|row| &**row)
    }

    fn read_rows(&self, series: SeriesId, range: Window, mut each: impl FnMut(Window, &Record)) {
        let mut shown = None;
        // The stretch is read from its beginning for the sake of what runs on.
        let rows = self.from(range.start.align_down(self.span));
        for row in rows.take_while(|row| row.window.start < range.end) {
            let Some(entry) = row.get(series) else { continue };
            let record = entry.resolve(shown);
            shown = record.last();
            if row.window.start >= range.start {
                each(row.window, &record);
            }
        }
    }

    fn last_row_before(&self, series: SeriesId, instant: Timestamp) -> Option<Record> {
        let end = self.rows.partition_point(|row| row.window.end <= instant);
        let found = self.rows.range(..end).rev().find_map(|row| Some((row, row.get(series)?)));
        let (row, entry) = found?;
        if !entry.runs_on {
            return Some(entry.record);
        }
        let start = row.window.start.align_down(self.span);
        let mut shown = None;
        let before = Window { start, end: row.window.start };
        self.read_rows(series, before, |_, record| shown = record.last());
        Some(entry.resolve(shown))
    }
}

#[cfg(test)]
mod tests;
