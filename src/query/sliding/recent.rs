//! The youngest rows of each tier, kept beyond the time when they go into chunks: what sliding windows of
//! a few minutes leave behind is found here, and nothing is decoded for them.
//!
//! Rows are shared with whoever else has them. How far back they are kept follows from the windows that ask
//! for them, as far as [`limits::RECENT_ROW_BYTES`] go.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::limits;
use crate::query::measure::step;
use crate::rollup::Row;
use crate::store::Windows;
use crate::time::{Span, Timestamp, Window};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Recent {
    tiers: Vec<Shelf>,
}

#[derive(Debug)]
struct Shelf {
    rows: VecDeque<Arc<Row>>,
    bytes: usize,
    /// All rows from here until there are known.
    since: Timestamp,
    until: Timestamp,
}

impl Recent {
    pub(super) fn new(tiers: usize) -> Self {
        let never = Timestamp::from_millis(i64::MIN);
        let shelf = || Shelf { rows: VecDeque::new(), bytes: 0, since: never, until: never };
        Self { tiers: std::iter::repeat_with(shelf).take(tiers).collect() }
    }

    /// Takes in what was closed until `instant`, and drops what nobody asks for: `lags` says of each window
    /// with its tier how far back it begins.
    pub(super) fn advance(
        &mut self,
        windows: &Windows,
        instant: Timestamp,
        lags: &(impl Iterator<Item = (usize, Span)> + Clone),
    ) {
        for (tier, shelf) in self.tiers.iter_mut().enumerate() {
            let width = step(windows.tiers(), tier);
            shelf.take(windows, tier, instant.align_down(width));
            let budget = limits::RECENT_ROW_BYTES / if tier == 0 { 2 } else { 8 };
            let each = shelf.bytes / shelf.rows.len().max(1);
            let fits = |lag: &Span| {
                let rows = lag.as_millis() / width.as_millis().max(1);
                usize::try_from(rows).unwrap_or(usize::MAX).saturating_mul(each) <= budget
            };
            let lags = lags.clone().filter(|(of, _)| *of == tier).map(|(_, lag)| lag);
            let keep = lags.filter(fits).max().unwrap_or(Span::ZERO);
            shelf.drop_before(instant - keep.plus(width), budget);
        }
    }

    /// From when on all rows of a tier are here.
    pub(super) fn since(&self, tier: usize) -> Timestamp {
        self.tiers.get(tier).map_or(Timestamp::from_millis(i64::MAX), |shelf| shelf.since)
    }

    /// The rows of a tier that begin inside `range`, in order of time.
    pub(super) fn rows(&self, tier: usize, range: Window) -> impl Iterator<Item = &Row> {
        let shelf = self.tiers.get(tier);
        shelf.into_iter().flat_map(move |shelf| {
            let at = |instant| shelf.rows.partition_point(|row| row.window.start < instant);
            let (first, end) = (at(range.start), at(range.end));
            shelf.rows.range(first..end.max(first)).map(|row| &**row)
        })
    }
}

impl Shelf {
    fn take(&mut self, windows: &Windows, tier: usize, until: Timestamp) {
        let sealed = windows.sealed(tier);
        if self.until < sealed {
            // Some of what is not here is not among the rows any more.
            (self.since, self.bytes) = (sealed, 0);
            self.rows.clear();
        }
        let new = windows.rows_since(tier, self.until.max(self.since));
        for row in new.take_while(|row| row.window.start < until) {
            self.bytes += row.memory();
            self.rows.push_back(Arc::clone(row));
        }
        self.until = self.until.max(until);
    }

    fn drop_before(&mut self, start: Timestamp, bytes_max: usize) {
        self.since = self.since.max(start);
        while let Some(row) = self.rows.front() {
            if row.window.start >= self.since && self.bytes <= bytes_max {
                break;
            }
            self.bytes -= row.memory();
            self.since = self.since.max(row.window.end);
            self.rows.pop_front();
        }
    }
}
