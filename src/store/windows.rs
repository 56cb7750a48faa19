//! The windows of every tier: rows in memory for what is young, chunks in the engine for the rest.
//!
//! Whoever reads sees one series of windows, whichever of the two holds them. A copy is cheap and stays
//! as it is, so that a long reading holds nobody up. Where the disk fails, rows stay in memory up to a
//! bound; beyond it the oldest go, and count as not covered.

mod rows;

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use super::codec::Chunk;
use super::extent::Extent;
use super::group::Group;
use super::seal::{self, Seal};
use super::seam::Snapshot;
use super::{Coverage, Imported, ReadError};
use crate::config::Tier;
use crate::limits;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Record, Row, SeriesId};
use crate::time::{Span, Timestamp, Window};

pub use rows::Remaking;

/// See the module.
#[derive(Clone, Debug)]
pub struct Windows {
    shelves: Vec<Shelf>,
    tiers: Arc<[Tier]>,
    coverage: Coverage,
    dropped: u64,
    snapshot: Arc<dyn Snapshot>,
    imported: Arc<Imported>,
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
            imported: Arc::default(),
        }
    }

    /// The tiers, from fine to coarse.
    #[must_use]
    pub fn tiers(&self) -> &[Tier] {
        &self.tiers
    }

    /// Keeps a closed window of a tier. Windows of one tier come in order of time.
    pub fn append(&mut self, tier: usize, row: impl Into<Arc<Row>>) {
        let (Some(shelf), row) = (self.shelves.get_mut(tier), row.into()) else { return };
        if row.window.start >= shelf.sealed {
            shelf.push(row);
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

    /// How much of `range` is known in a tier of these series together: what is covered, and what was
    /// imported of all of them.
    #[must_use]
    pub fn covered_of(&self, tier: usize, range: Window, series: &[SeriesId]) -> Span {
        let covered = self.covered(tier, range);
        let start = range.start.max(self.horizon(tier));
        let range = Window { start, end: range.end.max(start) };
        covered.plus(self.imported.beyond(&self.coverage, range, series))
    }

    /// What was imported.
    #[must_use]
    pub fn imported(&self) -> &Arc<Imported> {
        &self.imported
    }

    /// Takes over what was imported.
    pub fn restore_imported(&mut self, imported: Arc<Imported>) {
        self.imported = imported;
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
        let slots = shelf.slots(extent, range);
        let place = u8::try_from(series.0 % GROUP).unwrap_or(u8::MAX);
        self.open_group(shelf, extent, series.0 / GROUP, |group| {
            let Some(chunk) = group.get(place) else { return Ok(()) };
            seal::read(chunk, slots.clone(), |slot, record| {
                let start = shelf.start_of(extent, slot);
                each(Window::starting(start, shelf.tier.window), record);
            })
        })
    }

    /// Shows the chunks of a group in an extent to `see`, where there are any.
    fn open_group(
        &self,
        shelf: &Shelf,
        extent: Extent,
        group: u32,
        mut see: impl FnMut(&Group<'_>) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let key = extent.key(&shelf.tier, group);
        let mut done = Ok(());
        self.snapshot.get(&key, &mut |bytes| {
            done = Group::open(bytes).map_err(ReadError::from).and_then(|group| see(&group));
        })?;
        done
    }

    /// Hands what counters were incremented by in the windows that begin inside `range` to `each`: the
    /// position of the series in `series`, which are in order; the number of a window, counted from the
    /// beginning of `range`; the sums of this one and those behind it. A window without a record comes with
    /// 0, or not at all. Windows come in no particular order.
    ///
    /// A group of chunks is opened once for all its series, and nothing but sums is decoded: some
    /// nanoseconds a window, where [`read`](Self::read) takes tens. Whether counts are all that was found:
    /// beside records of another kind a coarse tier may have kept less of a counter than a fine one.
    ///
    /// # Errors
    /// [`ReadError`], as for [`read`](Self::read).
    pub fn sums(
        &self,
        tier: usize,
        series: &[SeriesId],
        range: Window,
        mut each: impl FnMut(usize, usize, &[u64]),
    ) -> Result<bool, ReadError> {
        let Some(shelf) = self.shelves.get(tier) else { return Ok(true) };
        let first_of = |start: Timestamp| shelf.number(range.start, start);
        let range = Window { start: range.start.max(shelf.horizon), end: range.end };
        let mut is_pure = true;
        for extent in shelf.overlapping(range) {
            let slots = shelf.slots(*extent, range);
            let base = first_of(shelf.start_of(*extent, slots.start));
            for (first, members) in by_group(series) {
                let number = members.first().map_or(0, |id| id.0 / GROUP);
                self.open_group(shelf, *extent, number, |group| {
                    for (at, chunk) in members_of(group, members) {
                        let chunk = Chunk::parse(chunk)?;
                        is_pure &= !chunk.has_values();
                        chunk.sums(slots.clone(), |slot, sums| {
                            each(first + at, base + usize::from(slot - slots.start), sums);
                        })?;
                    }
                    Ok(())
                })?;
            }
        }
        for row in shelf.from(range.start).take_while(|row| row.window.start < range.end) {
            let number = first_of(row.window.start);
            for (first, members) in by_group(series) {
                is_pure &= row_sums(row, members, |at, sum| each(first + at, number, &[sum]));
            }
        }
        Ok(is_pure)
    }

    /// Whether a tier has kept every window of `range` that it ever had.
    #[must_use]
    pub fn is_whole(&self, tier: usize, range: Window) -> bool {
        self.shelves
            .get(tier)
            .is_some_and(|shelf| shelf.horizon <= range.start && shelf.lost.within(range).is_zero())
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

    /// Notes that a tier does not tell all of a stretch, which lies after any other of these.
    pub fn lose(&mut self, tier: usize, stretch: Window) {
        if let Some(shelf) = self.shelves.get_mut(tier) {
            shelf.lost.add(stretch);
        }
    }

    /// Notes that a tier knows what began at `since` or later, though it was not there.
    pub fn reach_back(&mut self, tier: usize, since: Timestamp) {
        if let Some(shelf) = self.shelves.get_mut(tier) {
            shelf.horizon = shelf.horizon.min(since);
        }
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

    /// The slots of an extent whose windows begin inside `range`.
    fn slots(&self, extent: Extent, range: Window) -> Range<u16> {
        let step = self.tier.window.as_millis().max(1);
        let slot = |at: Timestamp| {
            let slots = at.since(extent.start).as_millis().div_ceil(step);
            u16::try_from(slots).unwrap_or(u16::MAX)
        };
        slot(range.start)..slot(range.end)
    }

    /// When the window of a slot begins.
    fn start_of(&self, extent: Extent, slot: u16) -> Timestamp {
        let step = self.tier.window.as_millis().max(1);
        extent.start + Span::from_millis(u64::from(slot) * step)
    }

    /// How many windows lie between two instants.
    fn number(&self, from: Timestamp, to: Timestamp) -> usize {
        let windows = to.since(from).as_millis() / self.tier.window.as_millis().max(1);
        usize::try_from(windows).unwrap_or(usize::MAX)
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

/// Series that are in order, group by group, each with the position of its first.
fn by_group(series: &[SeriesId]) -> impl Iterator<Item = (usize, &[SeriesId])> {
    let mut first = 0;
    series.chunk_by(|a, b| a.0 / GROUP == b.0 / GROUP).map(move |members| {
        let at = first;
        first += members.len();
        (at, members)
    })
}

/// The chunks of some members of a group, which are in order, each with its position among them.
fn members_of<'a>(
    group: &Group<'a>,
    members: &[SeriesId],
) -> impl Iterator<Item = (usize, &'a [u8])> {
    let mut wanted = members.iter().map(|id| id.0 % GROUP).enumerate().peekable();
    group.members().filter_map(move |(place, chunk)| {
        while wanted.next_if(|(_, wanted)| *wanted < u32::from(place)).is_some() {}
        wanted.next_if(|(_, wanted)| *wanted == u32::from(place)).map(|(at, _)| (at, chunk))
    })
}

/// Hands what some members of a group were incremented by in a row to `each`. Whether nothing else
/// happened in them.
fn row_sums(row: &Row, members: &[SeriesId], mut each: impl FnMut(usize, u64)) -> bool {
    let Some(first) = members.first() else { return true };
    let mut wanted = members.iter().enumerate().peekable();
    let mut is_pure = true;
    for entry in row.group(first.0 / GROUP) {
        while wanted.next_if(|(_, wanted)| **wanted < entry.series).is_some() {}
        let Some((at, _)) = wanted.next_if(|(_, wanted)| **wanted == entry.series) else {
            continue;
        };
        match entry.record {
            Record::Counts(counts) => each(at, counts.sum),
            Record::Values(_) | Record::Distribution(..) => is_pure = false,
        }
    }
    is_pure
}

#[cfg(test)]
mod tests;
