//! Sums of counters along a line, of many groups of series at once.
//!
//! Increments add up in any order, so what `sum`, `rate` and `mean` ask of counters needs no records:
//! blocks of sums go from the chunks straight into the slices of their group, and nothing is held of a
//! single series or window. For the same reason a coarser tier holds the very sums of the finest, and
//! is read in its place where its windows fit: a sixth or a sixtieth of the windows. It is not read where
//! the two could differ: where one of them is younger than the line or has dropped windows, or where
//! a series was not always a counter.

use super::Facts;
use super::measure::Merged;
use super::range::Line;
use crate::config::Measure;
use crate::counters::cells::Kind;
use crate::rollup::SeriesId;
use crate::store::{ReadError, Windows};
use crate::time::{Span, Window};

/// Groups of counters that are read together.
pub(super) struct Sums<'a> {
    store: &'a Windows,
    /// In order, each with its group.
    series: Vec<SeriesId>,
    groups: Vec<usize>,
    /// How many counters each group has.
    counters: Vec<u32>,
}

/// What the groups were incremented by, slice by slice.
pub(super) struct Slices {
    line: Line,
    all: Vec<u64>,
    /// Of each group, or once where it is the same of all.
    covered: Vec<Vec<Span>>,
}

/// Whether sums alone tell what is asked of these series.
pub(super) fn tell(measure: Measure, facts: &dyn Facts, series: &[SeriesId]) -> bool {
    is_additive(measure)
        && !series.is_empty()
        && series.iter().all(|id| facts.of(*id).kind == Kind::Counter)
}

/// Whether sums tell what the measure of a counter is.
pub(super) const fn is_additive(measure: Measure) -> bool {
    matches!(measure, Measure::Sum | Measure::Rate | Measure::Mean)
}

impl<'a> Sums<'a> {
    /// Of these groups, in which each series is named once.
    pub(super) fn of(store: &'a Windows, groups: &[&[SeriesId]]) -> Self {
        let each = groups.iter().enumerate();
        let mut all: Vec<_> =
            each.flat_map(|(at, ids)| ids.iter().map(move |id| (*id, at))).collect();
        all.sort_unstable();
        let (series, of) = all.into_iter().unzip();
        let counters = groups.iter().map(|ids| u32::try_from(ids.len()).unwrap_or(u32::MAX));
        Self { store, series, groups: of, counters: counters.collect() }
    }

    /// What they were incremented by along a line, where `finest` is the tier that answers for it.
    pub(super) fn read(&self, line: Line, finest: usize) -> Result<Slices, ReadError> {
        let mut all = vec![0; line.slices() * self.counters.len()];
        let tier = coarsest(self.store, line, finest);
        // What cannot be read there may well be in the finest.
        let is_done = tier != finest && self.add(line, tier, &mut all) == Ok(true);
        if !is_done {
            all.fill(0);
            self.add(line, finest, &mut all)?;
        }
        Ok(Slices { line, all, covered: self.covered(line, finest) })
    }

    /// How much of each window is known: where something was imported, of each group by itself.
    fn covered(&self, line: Line, tier: usize) -> Vec<Vec<Span>> {
        let whole = line.whole();
        if self.store.covered(tier, whole) == whole.width() {
            return vec![line.ends().map(|_| line.width).collect()];
        }
        let known = |series: &[SeriesId]| {
            let window = |end| Window::ending(end, line.width);
            line.ends().map(|end| self.store.covered_of(tier, window(end), series)).collect()
        };
        if self.store.imported().is_empty() {
            return vec![known(&[])];
        }
        let mut groups: Vec<Vec<SeriesId>> = vec![Vec::new(); self.counters.len()];
        for (id, group) in self.series.iter().zip(&self.groups) {
            if let Some(series) = groups.get_mut(*group) {
                series.push(*id);
            }
        }
        groups.iter().map(|series| known(series)).collect()
    }

    /// Whether counts are all that there was.
    fn add(&self, line: Line, tier: usize, all: &mut [u64]) -> Result<bool, ReadError> {
        let (len, ruler) = (line.slices(), Ruler::new(line, width(self.store, tier)));
        self.store.sums(tier, &self.series, line.whole(), |at, first, sums| {
            let group = self.groups.get(at).copied().unwrap_or(0);
            if let Some(slices) = all.get_mut(group * len..(group + 1) * len) {
                ruler.add(slices, first, sums);
            }
        })
    }

    /// What a group comes to in each window of the line, with how much of it is known.
    pub(super) fn windows<'b>(
        &self,
        slices: &'b Slices,
        group: usize,
    ) -> impl Iterator<Item = (Merged, Span)> + use<'b> {
        let counters = self.counters.get(group).copied().unwrap_or(0);
        let sums = slices.windows(group);
        let covered = slices.covered.get(group).or(slices.covered.first());
        let covered = covered.map_or(&[][..], Vec::as_slice);
        sums.zip(covered).map(move |(sum, known)| (Merged::counted(counters, sum), *known))
    }
}

/// The coarsest tier that is certain to hold the sums that the finest one holds.
pub(super) fn coarsest(store: &Windows, line: Line, finest: usize) -> usize {
    let whole = line.whole();
    // Up to there every window of every tier is closed that ends by then; behind it one that ended
    // while tallyd was down may still be open.
    let is_closed = store.coverage().end().is_some_and(|end| whole.end <= end);
    if !is_closed || !store.is_whole(finest, whole) {
        return finest;
    }
    let is_same =
        |tier: &usize| line.is_made_of(width(store, *tier)) && store.is_whole(*tier, whole);
    (finest..store.tiers().len()).rev().find(is_same).unwrap_or(finest)
}

fn width(store: &Windows, tier: usize) -> Span {
    store.tiers().get(tier).map_or(Span::SECOND, |tier| tier.window)
}

/// Where the windows of a tier lie in the slices of a line.
struct Ruler {
    /// Windows from the beginning of one slice to the next.
    step: usize,
    /// Windows of a slice that count, from its beginning: fewer where there is time between two windows
    /// of the line.
    counted: usize,
}

impl Ruler {
    fn new(line: Line, width: Span) -> Self {
        let windows = |length: Span| {
            let windows = length.as_millis() / width.as_millis().max(1);
            usize::try_from(windows).unwrap_or(usize::MAX).max(1)
        };
        let step = windows(line.step);
        Self { step, counted: windows(line.width).min(step) }
    }

    /// Adds windows from the `first` on to the slices that they lie in.
    fn add(&self, slices: &mut [u64], first: usize, mut sums: &[u64]) {
        if self.step == 1 {
            let slices = slices.iter_mut().skip(first);
            return slices.zip(sums).for_each(|(slice, sum)| *slice = slice.saturating_add(*sum));
        }
        let (mut at, mut within) = (first / self.step, first % self.step);
        while !sums.is_empty() {
            let (inside, rest) = sums.split_at(sums.len().min(self.step - within));
            let counted = inside.iter().take(self.counted.saturating_sub(within));
            if let Some(slice) = slices.get_mut(at) {
                *slice = counted.fold(*slice, |all, sum| all.saturating_add(*sum));
            }
            (at, within, sums) = (at + 1, 0, rest);
        }
    }
}

impl Slices {
    /// The sum in each window. Each is put together from its slices: what comes in is added, and what
    /// falls out is taken away.
    fn windows(&self, group: usize) -> impl Iterator<Item = u64> + use<'_> {
        let (len, of_one) = (self.line.slices(), self.line.slices_of_one());
        let slices = self.all.get(group * len..(group + 1) * len).unwrap_or_default();
        let first: u128 = slices.iter().take(of_one - 1).map(|sum| u128::from(*sum)).sum();
        let moves = slices.iter().skip(of_one - 1).zip(slices);
        moves.scan(first, |inside, (comes, goes)| {
            let all = *inside + u128::from(*comes);
            *inside = all - u128::from(*goes);
            Some(u64::try_from(all).unwrap_or(u64::MAX))
        })
    }
}
