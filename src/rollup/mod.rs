//! Closes the base window each second and merges windows into tiers.
//!
//! The open window of a counter is its total less what has been closed before, so nothing that the
//! live table does can lose or double an increment. Tiers cascade: a window of ten seconds is merged
//! from ten base windows, one of a minute from six of those; by the merge law that is the same as
//! feeding each from the base, at a tenth of the work. Windows of all series go as one [`Row`]. This
//! module does not know where closed windows are kept.

pub mod even;
mod record;
pub mod row;

pub use record::{Counts, Record, Values};
pub use row::{Entry, Row, RowBuilder};

use std::sync::Arc;

use crate::config::Tier;
use crate::counters::cells::{CellId, Kind};
use crate::counters::{Drained, Observations};
use crate::time::{Timestamp, Window};

/// Which series; dense from zero, in order of first sight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SeriesId(pub u32);

impl SeriesId {
    /// Position in a dense table beside the catalogue.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// The open windows of every tier but the base.
#[derive(Debug)]
pub struct Rollup {
    /// Total and count of each cell at the last close.
    seen: Vec<(u64, u64)>,
    coarse: Vec<Coarse>,
}

#[derive(Debug)]
struct Coarse {
    tier: Tier,
    /// Shared with a checkpoint that was taken of it.
    open: Option<Arc<Row>>,
}

impl Rollup {
    /// No window open. The first tier is the base.
    #[must_use]
    pub fn new(tiers: &[Tier]) -> Self {
        let coarse = tiers.iter().skip(1).map(|tier| Coarse { tier: *tier, open: None });
        Self { seen: Vec::new(), coarse: coarse.collect() }
    }

    /// Makes room for that many cells at once.
    pub fn reserve(&mut self, cells: usize) {
        self.seen.reserve(cells);
    }

    /// Notes what a cell holds already, so that it is not taken for something that happened now.
    pub fn prime(&mut self, cell: CellId, total: u64, count: u64) {
        *self.seen_mut(cell) = (total, count);
    }

    /// What of a cell was closed.
    #[must_use]
    pub fn seen(&self, cell: CellId) -> (u64, u64) {
        self.seen.get(cell.index()).copied().unwrap_or_default()
    }

    /// What happened in a cell since it was last asked about here; `None` when nothing did.
    pub fn delta(&mut self, drained: Drained) -> Option<Record> {
        let seen = self.seen_mut(drained.cell);
        // Totals wrap at 2^64, and so does their difference.
        let sum = drained.total.wrapping_sub(seen.0);
        let count = drained.count.wrapping_sub(seen.1);
        if let Some(Observations::Distribution(o, _)) = &drained.observed {
            // What is kept between the two looks, at the log and at the cell, is for the next window.
            let observed = o.count.min(count);
            *seen = (seen.0.wrapping_add(observed), seen.1.wrapping_add(observed));
        } else if drained.kind != Kind::Distribution {
            *seen = (drained.total, drained.count);
        }
        match (drained.kind, drained.observed) {
            // A value that was set, deleted or has expired is no increment, and no update.
            (Kind::Counter, _) if sum == 0 && count == 0 => None,
            (Kind::Counter, _) => {
                Some(Record::Counts(Counts::base(sum, count, drained.shown.number())))
            }
            (_, Some(Observations::Gauge(o))) => Some(Record::Values(Values::of(&o))),
            (_, Some(Observations::Distribution(o, spread))) => {
                Some(Record::Distribution(Values::of(&o), Arc::new(spread)))
            }
            (_, None) => None,
        }
    }

    fn seen_mut(&mut self, cell: CellId) -> &mut (u64, u64) {
        if self.seen.len() <= cell.index() {
            self.seen.resize(cell.index() + 1, (0, 0));
        }
        self.seen.get_mut(cell.index()).expect("it was just made long enough")
    }

    /// Closes a base window, and every coarser window that ends by then. Each closed window that
    /// something happened in is handed to `closed` once, with its tier; windows of one tier come in
    /// order of time.
    ///
    /// `base` lies after every window that was closed before. Where it does not follow the last one
    /// directly, the time between is a gap, and windows that ended in it are closed first.
    pub fn close(&mut self, base: impl Into<Arc<Row>>, mut closed: impl FnMut(usize, Arc<Row>)) {
        let base = base.into();
        self.flush_until(base.window.start, &mut closed);
        let end = base.window.end;
        if let Some(first) = self.coarse.first_mut() {
            first.merge(&base);
        }
        if !base.is_empty() {
            closed(0, base);
        }
        self.flush_until(end, &mut closed);
    }

    /// Closes every coarser window that ends at or before `instant`, where no base window of before is
    /// still to come.
    pub fn advance(&mut self, instant: Timestamp, mut closed: impl FnMut(usize, Arc<Row>)) {
        self.flush_until(instant, &mut closed);
    }

    /// Takes up an open window of a coarser tier where an earlier process left it.
    pub fn reopen(&mut self, tier: usize, row: Row) {
        let coarse = tier.checked_sub(1).and_then(|at| self.coarse.get_mut(at));
        if let Some(coarse) = coarse {
            coarse.open = Some(Arc::new(row));
        }
    }

    /// The open window of a coarser tier, as far as base windows were closed in it.
    #[must_use]
    pub fn open(&self, tier: usize) -> Option<&Arc<Row>> {
        self.coarse.get(tier.checked_sub(1)?)?.open.as_ref()
    }

    /// Closes what ends at or before `instant`, from fine to coarse, each feeding the next.
    fn flush_until(&mut self, instant: Timestamp, closed: &mut impl FnMut(usize, Arc<Row>)) {
        let mut rest = self.coarse.as_mut_slice();
        let mut tier = 1;
        while let Some((this, coarser)) = rest.split_first_mut() {
            if let Some(row) = this.open.take_if(|row| row.window.end <= instant) {
                if let Some(next) = coarser.first_mut() {
                    next.merge(&row);
                }
                closed(tier, row);
            }
            rest = coarser;
            tier += 1;
        }
    }
}

impl Coarse {
    fn merge(&mut self, part: &Row) {
        if part.is_empty() {
            return;
        }
        let window = Window::holding(part.window.start, self.tier.window);
        let open = match self.open.take() {
            Some(open) => open.then(part, window),
            None => Row::empty(window).then(part, window),
        };
        self.open = Some(Arc::new(open));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::counters::{Observed, ShownNow};
    use crate::histogram::{Gathering, Layout};
    use crate::time::Span;
    use proptest::prelude::*;

    fn base(second: i64) -> Window {
        Window::starting(Timestamp::from_secs(second), Span::SECOND)
    }

    fn counted(sum: u64) -> Record {
        Record::Counts(Counts::base(sum, 1, None))
    }

    /// One series in a window that was closed.
    struct Closed {
        tier: usize,
        window: Window,
        series: SeriesId,
        record: Record,
    }

    /// Closes one base window per `(second, series, sum)`, and gives all that was closed.
    fn play(steps: &[(i64, u32, u64)]) -> Vec<Closed> {
        let mut rollup = Rollup::new(&Config::default().tiers);
        let mut all = Vec::new();
        for (second, series, sum) in steps {
            let mut builder = RowBuilder::default();
            let series = SeriesId(*series);
            builder.push(Entry { series, record: counted(*sum), runs_on: false });
            rollup.close(builder.finish(base(*second)), |tier, row| {
                let window = row.window;
                all.extend(row.iter().map(|entry| {
                    let Entry { series, record, .. } = entry;
                    Closed { tier, window, series, record }
                }));
            });
        }
        all
    }

    /// What is kept between the look at the log of observations and that at the cell is in the cell
    /// already, and in the next window.
    #[test]
    fn what_is_seen_of_a_distribution_is_what_its_windows_hold() {
        let mut rollup = Rollup::new(&Config::default().tiers);
        let cell = CellId::default();
        for (total, observed, seen) in [(10, 7, 7), (10, 3, 10), (11, 2, 11), (12, 0, 11)] {
            let observed = (observed > 0).then(|| {
                let one = Observed { count: observed, sum: 1.0, min: 1.0, max: 1.0, last: 1.0 };
                let spread = Gathering::new(Layout::new(2, 1.0, 10.0).unwrap()).finish();
                Observations::Distribution(one, spread)
            });
            let (kind, shown) = (Kind::Distribution, ShownNow::Nothing);
            rollup.delta(Drained { cell, kind, total, count: total, shown, observed });
            assert_eq!(rollup.seen(cell), (seen, seen));
        }
    }

    #[test]
    fn a_tier_closes_at_its_own_multiples() {
        let all = play(&[(8, 0, 1), (9, 0, 2), (10, 0, 4), (19, 0, 8)]);
        let tens: Vec<_> = all.iter().filter(|closed| closed.tier == 1).collect();
        let sums = |closed: &&Closed| match closed.record {
            Record::Counts(c) => (closed.window.start.as_secs(), c.sum, c.touched, c.min, c.max),
            _ => panic!("a counter"),
        };
        assert_eq!(tens.iter().map(sums).collect::<Vec<_>>(), [(0, 3, 2, 1, 2), (10, 12, 2, 4, 8)]);
    }

    #[test]
    fn a_gap_closes_what_ended_in_it_first() {
        let all = play(&[(5, 0, 1), (3605, 0, 2)]);
        let ends: Vec<_> = all.iter().map(|c| (c.tier, c.window.end.as_secs())).collect();
        assert_eq!(ends, [(0, 6), (1, 10), (2, 60), (3, 3600), (0, 3606)]);
    }

    proptest! {
        /// Whatever the gaps, a tier holds the same total as the base over every stretch that it has
        /// closed.
        #[test]
        fn tier_totals_equal_raw_totals(
            steps in prop::collection::vec((1..90_i64, 0..3_u32, 0..100_u64), 1..300),
        ) {
            let mut second = 0;
            let mut plan: Vec<_> = steps
                .into_iter()
                .map(|(skip, series, sum)| {
                    second += skip;
                    (second, series, sum)
                })
                .collect();
            // One last window far away closes everything before it.
            plan.push((second + 1_000_000, 0, 0));
            let total = |tier: usize, series: u32, all: &[Closed]| -> u64 {
                all.iter()
                    .filter(|c| c.tier == tier && c.series == SeriesId(series))
                    .map(|c| match c.record {
                        Record::Counts(counts) => counts.sum,
                        _ => 0,
                    })
                    .sum()
            };
            let all = play(&plan);
            for series in 0..3 {
                let raw: u64 = plan.iter().filter(|p| p.1 == series).map(|p| p.2).sum();
                for tier in 0..4 {
                    prop_assert_eq!(total(tier, series, &all), raw, "tier {}", tier);
                }
            }
            for tier in 1..4 {
                let starts: Vec<_> = all
                    .iter()
                    .filter(|c| c.tier == tier && c.series == SeriesId(0))
                    .map(|c| c.window.start)
                    .collect();
                prop_assert!(starts.is_sorted_by(|a, b| a < b), "each window is closed once");
            }
        }
    }
}
