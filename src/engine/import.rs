//! Imported history: rows of a time, a series and a value become windows of the past.
//!
//! A row stands for a *step*. What was counted in it is spread evenly over its seconds; a gauge was set,
//! or a value observed, at its time. Windows go into every tier that still keeps them, under the keeper's
//! lock and in one commit for each batch, so a kill leaves a batch whole or not at all, and live windows go
//! on. Only what is in chunks is touched: what reaches into a window that is open in some tier, or in
//! rows, is left out and counted.
//!
//! Whether there is something already is judged in the finest tier that keeps a row's time, for a
//! *cell*: the shortest stretch of whole steps and whole windows. A cell that holds the same is left as it is; one
//! that holds something else is left too, and counted, or with `overwrite` replaced in every tier.
//! Coarser windows are what was there and what is new, or where something was replaced made anew of the
//! finer ones.
//!
//! Totals do not move, and no cell is made: what is counted is the live table's. The store keeps beside the
//! windows how much was imported, so windows come to the total and that.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use super::Engine;
use super::state::State;
use crate::config::Tier;
use crate::counters::Counters;
use crate::counters::cells::{CellId, Kind};
use crate::histogram::{Gathering, Layout};
use crate::limits;
use crate::rollup::even::share;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Record, SeriesId, Values};
use crate::store::{Coverage, Edit, EditError, Import, Imported, Job, ReadError, Windows};
use crate::time::{Span, Timestamp, Window};

/// For so long before a tier forgets windows it is not asked whether they are there: what one import finds
/// too old another one would, where a start has set the clock back a little.
const SLACK: Span = Span::from_secs(3600);

/// Rows that belong together: all of a series in a slice of time are in one batch.
#[derive(Clone, Debug)]
pub struct Batch {
    /// What the series are.
    pub kind: Kind,
    /// What each row stands for.
    pub step: Span,
    /// Replaces what is there.
    pub overwrite: bool,
    /// Canonical keys, each once, with their rows in order of time.
    pub series: Vec<(Box<[u8]>, Vec<Point>)>,
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Point {
    /// When.
    pub at: Timestamp,
    /// Of a counter what was counted; otherwise the bits of the value.
    pub bits: u64,
}

/// What can be imported now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Importable {
    /// Nothing before it is kept.
    pub from: Timestamp,
    /// What ends later is open yet.
    pub until: Timestamp,
    /// Rows of a series in one multiple of this belong into one batch.
    pub slice: Span,
}

/// What became of the rows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Outcome {
    /// They are in windows now.
    pub imported: u64,
    /// They are in windows now, in the place of others.
    pub replaced: u64,
    /// They were there already.
    pub same: u64,
    /// There is something else, which stays.
    pub held: u64,
    /// They reach into windows that are open yet, or into the future.
    pub open: u64,
    /// No tier keeps so old ones.
    pub old: u64,
}

/// Why nothing of a batch was imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The step does not go with the tiers.
    #[error(
        "a step of {step} does not go with windows of {width}: their common multiple is too long"
    )]
    Step {
        /// The step.
        step: Span,
        /// The width of a tier.
        width: Span,
    },
    /// A series is something else.
    #[error("`{series}` is a {is} here, and would be imported as a {kind}")]
    Kind {
        /// Which series.
        series: String,
        /// What it is.
        is: &'static str,
        /// What it would be.
        kind: &'static str,
    },
    /// A name that is tallyd's own.
    #[error("`{0}` is a name of tallyd's own")]
    Reserved(String),
    /// There are too many series.
    #[error("there are as many series as there is room for")]
    Full,
    /// The batch makes too many windows.
    #[error("so many rows make too many windows at once; send fewer")]
    TooMany,
    /// The store.
    #[error(transparent)]
    Edit(#[from] EditError),
}

impl From<ReadError> for ImportError {
    fn from(error: ReadError) -> Self {
        Self::Edit(error.into())
    }
}

/// A word for a kind.
const fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Gauge => "gauge",
        Kind::Counter => "counter",
        Kind::Distribution => "distribution",
    }
}

impl Engine {
    /// What can be imported now in steps of this length.
    ///
    /// # Errors
    /// [`ImportError::Step`].
    pub fn importable(&self, step: Span) -> Result<Importable, ImportError> {
        let state = self.state();
        Ok(Bounds::of(&state, step)?.importable())
    }

    /// Imports a batch, or nothing of it.
    ///
    /// # Errors
    /// [`ImportError`].
    pub fn import(&self, batch: &Batch) -> Result<Outcome, ImportError> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.make_way()?;
        let (bounds, windows, ids) = {
            let mut state = self.state();
            let bounds = Bounds::of(&state, batch.step)?;
            let ids = state.learn_imported(batch, &bounds, &self.counters)?;
            (bounds, state.windows.clone(), ids)
        };
        let mut made = Made { imported: (**windows.imported()).clone(), ..Made::default() };
        for ((key, points), id) in batch.series.iter().zip(&ids) {
            let layout = self.counters.layout_of(key);
            let one = Placing { bounds: &bounds, windows: &windows, id: *id, batch, layout };
            one.place(points, &mut made)?;
        }
        let groups: BTreeSet<u32> = made.moved.keys().map(|id| id.0 / GROUP).collect();
        let kept: Vec<_> =
            groups.iter().map(|group| (*group, made.imported.write(*group))).collect();
        let mut job = self.state().imported_job(&made.moved, batch.kind, groups);
        job.sealed.clone_from(&bounds.sealed);
        let done = keeper.edit(made.edits, &job, &kept);
        if done.is_ok() {
            self.state().windows.restore_imported(Arc::new(made.imported));
        }
        let shown = self.show(&keeper);
        // The windows that rules keep know nothing of it.
        self.state().rules.renew();
        done?;
        shown.map_err(EditError::from)?;
        Ok(made.outcome)
    }
}

impl State {
    /// The series of a batch, which are noted where they are new.
    fn learn_imported(
        &mut self,
        batch: &Batch,
        bounds: &Bounds,
        counters: &Counters,
    ) -> Result<Vec<SeriesId>, ImportError> {
        let mut further = 0;
        for (key, _) in &batch.series {
            let name = || String::from_utf8_lossy(key).into_owned();
            if crate::series::is_reserved(key) {
                return Err(ImportError::Reserved(name()));
            }
            let known = self.catalogue.find(key).map(|id| self.catalogue.get(id));
            let is = known.filter(|known| known.was_used()).map(|known| known.kind);
            if let Some(is) = is.or_else(|| counters.kind_of(key)).filter(|is| *is != batch.kind) {
                let (is, kind) = (word(is), word(batch.kind));
                return Err(ImportError::Kind { series: name(), is, kind });
            }
            further += usize::from(known.is_none());
        }
        if self.catalogue.len() + further > self.series_ever {
            return Err(ImportError::Full);
        }
        let learned = batch.series.iter().map(|(key, points)| {
            let first = points.first().map_or(bounds.until, |point| point.at);
            self.learn_one(key, first.max(bounds.from()))
        });
        Ok(learned.collect())
    }

    fn learn_one(&mut self, key: &[u8], born: Timestamp) -> SeriesId {
        if let Some(id) = self.catalogue.find(key) {
            return id;
        }
        let id = self.catalogue.register(key, CellId::NONE, born);
        self.new_groups.insert(id.0 / GROUP);
        // The log numbers series in the order in which they came.
        self.log_life(id, 0, born);
        id
    }

    /// What the store is to know of the series, with those that it does not know yet.
    fn imported_job(
        &mut self,
        moved: &BTreeMap<SeriesId, Window>,
        kind: Kind,
        groups: BTreeSet<u32>,
    ) -> Job {
        for (id, window) in moved {
            self.catalogue.get_mut(*id).reach_back(kind, window.start, window.end);
        }
        self.moved_groups.extend(groups.iter().copied());
        let groups: BTreeSet<u32> =
            groups.into_iter().chain(self.new_groups.iter().copied()).collect();
        let series = groups.into_iter();
        let series = series.map(|group| (group, self.catalogue.write_series(group)));
        Job { series: series.collect(), groups: self.groups(), ..Job::default() }
    }
}

/// What the tiers keep, and what is over in all of them.
#[derive(Clone, Debug)]
struct Bounds {
    /// With what each still keeps.
    tiers: Vec<(Tier, Timestamp)>,
    /// What begins before is in chunks, tier by tier.
    sealed: Vec<Timestamp>,
    until: Timestamp,
    slice: Span,
}

impl Bounds {
    fn of(state: &State, step: Span) -> Result<Self, ImportError> {
        let windows = &state.windows;
        let tiers = windows.tiers();
        let all = (0..tiers.len()).zip(tiers);
        let coarsest = tiers.last().map_or(Span::SECOND, |tier| tier.window);
        let slice = multiple(step, coarsest)
            .filter(|slice| *slice <= Span::from_secs(limits::IMPORT_SLICE_SECS));
        let slice = slice.ok_or(ImportError::Step { step, width: coarsest })?;
        let over = state.closed.min(state.logged);
        let sealed = |at| {
            let row = windows.rows(at).next().map_or(over, |row| row.window.start);
            over.min(row).align_down(span(tiers, at))
        };
        let sealed: Vec<_> = (0..tiers.len()).map(sealed).collect();
        let until = sealed.iter().min().copied().unwrap_or(over).align_down(slice);
        // What the next tick will find too old is so now: after a start none was yet.
        let clock = windows.settled(state.closed).unwrap_or(state.closed);
        let young = |tier: &Tier| (clock - tier.keep).align_down(tier.window);
        let kept = |(at, tier): (usize, &Tier)| (*tier, windows.horizon(at).max(young(tier)));
        let tiers = all.map(kept).collect();
        Ok(Self { tiers, sealed, until, slice })
    }

    fn from(&self) -> Timestamp {
        let starts = self.tiers.iter().map(|(_, horizon)| *horizon);
        starts.min().unwrap_or(self.until).align_up(self.slice)
    }

    fn importable(&self) -> Importable {
        Importable { from: self.from(), until: self.until, slice: self.slice }
    }

    /// The finest tier that keeps all of a slice.
    fn finest(&self, slice: Timestamp) -> Place {
        if slice >= self.until {
            return Place::Open;
        }
        let keeps = |slack: Span| move |(_, horizon): &(Tier, Timestamp)| *horizon + slack <= slice;
        let at = self.tiers.iter().position(keeps(SLACK));
        at.or_else(|| self.tiers.iter().rposition(keeps(Span::ZERO)))
            .map_or(Place::Old, Place::Tier)
    }
}

/// Where a row belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Open,
    Old,
    Tier(usize),
}

/// The shortest stretch that is whole steps of both.
fn multiple(a: Span, b: Span) -> Option<Span> {
    let (mut x, mut y) = (a.as_millis(), b.as_millis());
    while y > 0 {
        (x, y) = (y, x % y);
    }
    Some(Span::from_millis((a.as_millis() / x.max(1)).checked_mul(b.as_millis())?))
}

/// What a batch comes to.
#[derive(Debug, Default)]
struct Made {
    edits: Vec<Edit>,
    outcome: Outcome,
    imported: Imported,
    /// Series in which something was imported, and from when to when.
    moved: BTreeMap<SeriesId, Window>,
}

/// One series of a batch on its way into windows.
struct Placing<'a> {
    bounds: &'a Bounds,
    windows: &'a Windows,
    id: SeriesId,
    batch: &'a Batch,
    layout: Layout,
}

type Found = BTreeMap<Timestamp, Record>;

/// A cell whose rows go into windows.
struct Cell<'p> {
    window: Window,
    points: &'p [Point],
    is_replaced: bool,
}

impl Placing<'_> {
    fn place(&self, points: &[Point], made: &mut Made) -> Result<(), ImportError> {
        let slice = |point: &Point| point.at.align_down(self.bounds.slice);
        let place = |point: &Point| self.bounds.finest(slice(point));
        for run in points.chunk_by(|a, b| place(a) == place(b)) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            match place(first) {
                Place::Open => made.outcome.open += run.len() as u64,
                Place::Old => made.outcome.old += run.len() as u64,
                Place::Tier(tier) => {
                    let end = slice(last) + self.bounds.slice;
                    self.place_run(tier, Window { start: slice(first), end }, run, made)?;
                }
            }
        }
        Ok(())
    }

    /// Rows of slices that one tier is the finest to keep.
    fn place_run(
        &self,
        tier: usize,
        range: Window,
        points: &[Point],
        made: &mut Made,
    ) -> Result<(), ImportError> {
        let width = self.width(tier);
        let step = self.batch.step;
        let cell = multiple(step, width).unwrap_or(step);
        let mut there = self.read(tier, range)?;
        let mut import = self.import(made);
        let (mut cells, mut fresh) = (Vec::new(), Found::new());
        for points in points.chunk_by(|a, b| a.at.align_down(cell) == b.at.align_down(cell)) {
            let Some(first) = points.first() else { continue };
            let window = Window::holding(first.at, cell);
            let records = self.records(points, width);
            let held: Vec<_> = there.range(window.start..window.end).collect();
            let is_known = || points.iter().all(|point| self.is_covered(&import, point));
            let count = points.len() as u64;
            if is_same(&held, &records) && (!held.is_empty() || is_known()) {
                made.outcome.same += count;
                self.cover(points, &mut import);
                continue;
            }
            let is_replaced = !held.is_empty();
            match (is_replaced, self.batch.overwrite) {
                (false, _) => made.outcome.imported += count,
                (true, true) => made.outcome.replaced += count,
                (true, false) => {
                    made.outcome.held += count;
                    continue;
                }
            }
            let old = held.iter().map(|(_, record)| sum(record)).fold(0, u64::wrapping_add);
            let new = records.iter().map(|(_, record)| sum(record)).fold(0, u64::wrapping_add);
            import.sum = import.sum.wrapping_add(new).wrapping_sub(old);
            let gone: Vec<_> = held.iter().map(|(start, _)| **start).collect();
            for start in gone {
                there.remove(&start);
                made.push(tier, self.id, start, None)?;
            }
            for (start, record) in records {
                made.push(tier, self.id, start, Some(record.clone()))?;
                there.insert(start, record.clone());
                fresh.insert(start, record);
            }
            self.cover(points, &mut import);
            cells.push(Cell { window, points, is_replaced });
        }
        for finer in 0..tier {
            self.place_finer(finer, &cells, made)?;
        }
        for coarser in tier + 1..self.bounds.tiers.len() {
            self.place_coarser(coarser, range, &cells, &fresh, &there, made)?;
        }
        made.note(self.id, import, range);
        Ok(())
    }

    /// The same in a tier that keeps part of the time.
    fn place_finer(
        &self,
        tier: usize,
        cells: &[Cell<'_>],
        made: &mut Made,
    ) -> Result<(), ImportError> {
        let horizon = self.horizon(tier);
        for cell in cells.iter().filter(|cell| cell.window.end > horizon) {
            let kept = Window { start: cell.window.start.max(horizon), end: cell.window.end };
            if cell.is_replaced {
                for start in self.read(tier, kept)?.into_keys() {
                    made.push(tier, self.id, start, None)?;
                }
            }
            for (start, record) in self.records(cell.points, self.width(tier)) {
                if start >= horizon {
                    made.push(tier, self.id, start, Some(record))?;
                }
            }
        }
        Ok(())
    }

    /// The same in a tier with longer windows; `there` are those of the finer one now, of which `fresh` are
    /// new.
    fn place_coarser(
        &self,
        tier: usize,
        range: Window,
        cells: &[Cell<'_>],
        fresh: &Found,
        there: &Found,
        made: &mut Made,
    ) -> Result<(), ImportError> {
        let (width, horizon) = (self.width(tier), self.horizon(tier));
        let mut windows: BTreeMap<Timestamp, bool> = BTreeMap::new();
        for cell in cells {
            let mut start = cell.window.start.align_down(width);
            while start < cell.window.end {
                *windows.entry(start).or_default() |= cell.is_replaced;
                start = start + width;
            }
        }
        let old = if windows.is_empty() { Found::new() } else { self.read(tier, range)? };
        for (start, is_replaced) in windows.into_iter().filter(|(start, _)| *start >= horizon) {
            let window = Window::starting(start, width);
            let new = fold(fresh, window);
            let record = match (old.get(&start).cloned(), new) {
                _ if is_replaced => fold(there, window),
                (Some(old), Some(new)) => {
                    let last = there.range(window.start..window.end).next_back();
                    let is_new_last = last.is_some_and(|(at, _)| fresh.contains_key(at));
                    Some(if is_new_last { old.then(new) } else { new.then(old) })
                }
                (old, new) => old.or(new),
            };
            made.push(tier, self.id, start, record)?;
        }
        Ok(())
    }

    fn width(&self, tier: usize) -> Span {
        self.bounds.tiers.get(tier).map_or(Span::SECOND, |(tier, _)| tier.window)
    }

    fn horizon(&self, tier: usize) -> Timestamp {
        self.bounds.tiers.get(tier).map_or(self.bounds.until, |(_, horizon)| *horizon)
    }

    fn read(&self, tier: usize, range: Window) -> Result<Found, ReadError> {
        let mut found = Found::new();
        self.windows.read(tier, self.id, range, |window, record| {
            found.insert(window.start, record.clone());
        })?;
        Ok(found)
    }

    fn import(&self, made: &Made) -> Import {
        made.imported.get(self.id).cloned().unwrap_or(Import {
            kind: self.batch.kind,
            sum: 0,
            updated: Timestamp::EPOCH,
            coverage: Coverage::default(),
        })
    }

    fn cover(&self, points: &[Point], import: &mut Import) {
        for point in points {
            let window = Window::holding(point.at, self.batch.step);
            import.coverage.insert(window);
            import.updated = import.updated.max(window.end);
        }
    }

    fn is_covered(&self, import: &Import, point: &Point) -> bool {
        let window = Window::holding(point.at, self.batch.step);
        import.coverage.within(window) == window.width()
    }

    /// What rows come to in windows of this width, in order.
    fn records(&self, points: &[Point], width: Span) -> Vec<(Timestamp, Record)> {
        match self.batch.kind {
            Kind::Counter => self.counted(points, width),
            Kind::Gauge => set(points, width, |points| Record::Values(values(points))),
            Kind::Distribution => set(points, width, |points| {
                let mut spread = Gathering::new(self.layout);
                for point in points {
                    spread.record(f64::from_bits(point.bits));
                }
                Record::Distribution(values(points), Arc::new(spread.finish()))
            }),
        }
    }

    fn counted(&self, points: &[Point], width: Span) -> Vec<(Timestamp, Record)> {
        let step = self.batch.step;
        let secs = step.as_millis() / 1000;
        let mut all: Vec<(Timestamp, crate::rollup::Counts)> = Vec::new();
        for points in points.chunk_by(|a, b| a.at.align_down(step) == b.at.align_down(step)) {
            let Some(first) = points.first() else { continue };
            let sum = points.iter().fold(0, |sum: u64, point| sum.saturating_add(point.bits));
            let row = Window::holding(first.at, step);
            let mut at = row.start;
            while at < row.end {
                let start = at.align_down(width);
                let end = (start + width).min(row.end);
                let offset = |at: Timestamp| at.since(row.start).as_millis() / 1000;
                if let Some(part) = share(sum, secs, offset(at), offset(end)) {
                    match all.last_mut().filter(|(last, _)| *last == start) {
                        Some((_, counts)) => *counts = counts.then(part),
                        None => all.push((start, part)),
                    }
                }
                at = end;
            }
        }
        all.into_iter().map(|(start, counts)| (start, Record::Counts(counts))).collect()
    }
}

fn set(
    points: &[Point],
    width: Span,
    record: impl Fn(&[Point]) -> Record,
) -> Vec<(Timestamp, Record)> {
    let windows = points.chunk_by(|a, b| a.at.align_down(width) == b.at.align_down(width));
    windows
        .filter_map(|points| Some((points.first()?.at.align_down(width), record(points))))
        .collect()
}

fn values(points: &[Point]) -> Values {
    let one = |point: &Point| {
        let value = f64::from_bits(point.bits);
        Values { sum: value, count: 1, min: value, max: value, last: value }
    };
    let nothing = Values { sum: 0.0, count: 0, min: 0.0, max: 0.0, last: 0.0 };
    points.iter().map(one).reduce(Values::then).unwrap_or(nothing)
}

fn fold(windows: &Found, window: Window) -> Option<Record> {
    windows.range(window.start..window.end).map(|(_, record)| record.clone()).reduce(Record::then)
}

fn sum(record: &Record) -> u64 {
    match record {
        Record::Counts(counts) => counts.sum,
        Record::Values(_) | Record::Distribution(..) => 0,
    }
}

/// Whether what is there says the same. How the increments of a window were spread is not asked.
fn is_same(held: &[(&Timestamp, &Record)], new: &[(Timestamp, Record)]) -> bool {
    held.len() == new.len()
        && held.iter().zip(new).all(|((at, held), (start, new))| {
            *at == start
                && match (held, new) {
                    (Record::Counts(held), Record::Counts(new)) => held.sum == new.sum,
                    (held, new) => **held == *new,
                }
        })
}

impl Made {
    fn push(
        &mut self,
        tier: usize,
        series: SeriesId,
        start: Timestamp,
        record: Option<Record>,
    ) -> Result<(), ImportError> {
        if self.edits.len() >= limits::IMPORT_WINDOWS {
            return Err(ImportError::TooMany);
        }
        self.edits.push(Edit { tier, series, start, record });
        Ok(())
    }

    fn note(&mut self, series: SeriesId, import: Import, range: Window) {
        if import.coverage.is_empty() {
            return;
        }
        let updated = import.updated.max(range.start).min(range.end);
        let start = import.coverage.parts(range).next().map_or(range.end, |part| part.start);
        let moved = self.moved.entry(series).or_insert(Window { start, end: updated });
        moved.start = moved.start.min(start);
        moved.end = moved.end.max(updated);
        self.imported.put(series, import);
    }
}

#[cfg(test)]
mod tests;
