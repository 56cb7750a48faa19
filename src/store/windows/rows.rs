//! Rows for those who read many series side by side: in memory as they are, or made again from chunks.

use std::sync::Arc;

use super::Windows;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Entry, Row, RowBuilder, SeriesId};
use crate::store::group::Group;
use crate::store::{ReadError, seal};
use crate::time::{Span, Timestamp, Window};

/// Rows of a stretch that are being made, group by group in their order.
#[derive(Debug)]
pub struct Remaking {
    tier: usize,
    stretch: Window,
    width: Span,
    rows: Vec<RowBuilder>,
}

impl Windows {
    /// The stretch of a tier, of those that go into chunks together, which holds an instant.
    #[must_use]
    pub fn stretch(&self, tier: usize, instant: Timestamp) -> Window {
        Window::holding(instant, span(&self.tiers, tier))
    }

    /// The rows of a tier that are in no chunk yet and begin at or after `start`.
    pub fn rows_since(&self, tier: usize, start: Timestamp) -> impl Iterator<Item = &Arc<Row>> {
        let shelf = self.shelves.get(tier);
        shelf.into_iter().flat_map(move |shelf| {
            let first = shelf.rows.partition_point(|row| row.window.start < start);
            shelf.rows.range(first..)
        })
    }

    /// Begins to make the rows of a stretch of a tier again.
    #[must_use]
    pub fn remake(&self, tier: usize, stretch: Window) -> Remaking {
        let width = self.tiers.get(tier).map_or(Span::SECOND, |tier| tier.window);
        let slots = stretch.width().as_millis() / width.as_millis().max(1);
        let mut rows = Vec::new();
        rows.resize_with(usize::try_from(slots).unwrap_or(0), RowBuilder::default);
        Remaking { tier, stretch, width, rows }
    }

    /// Takes a group of series into these rows, and of it the series that are `wanted`. What counters
    /// showed is left out.
    ///
    /// # Errors
    /// [`ReadError`]; the rows are of no use then.
    pub fn remake_group(
        &self,
        into: &mut Remaking,
        group: u32,
        wanted: impl Fn(SeriesId) -> bool,
    ) -> Result<(), ReadError> {
        let Some(shelf) = self.shelves.get(into.tier) else { return Ok(()) };
        let start = into.stretch.start.max(shelf.horizon);
        let range = Window { start, end: into.stretch.end.max(start) };
        let step = shelf.tier.window.as_millis().max(1);
        for extent in shelf.overlapping(range) {
            let slot = |at: Timestamp| {
                let slots = at.since(extent.start).as_millis().div_ceil(step);
                u16::try_from(slots).unwrap_or(u16::MAX)
            };
            let slots = slot(range.start)..slot(range.end);
            let mut done = Ok(());
            self.snapshot.get(&extent.key(&shelf.tier, group), &mut |bytes| {
                done = Group::open(bytes).map_err(ReadError::from).and_then(|members| {
                    for (place, chunk) in members.members() {
                        let series = SeriesId(group * GROUP + u32::from(place));
                        if wanted(series) {
                            seal::read(chunk, slots.clone(), |slot, record| {
                                let start =
                                    extent.start + Span::from_millis(u64::from(slot) * step);
                                let record = record.clone().without_last();
                                into.push(start, Entry { series, record, runs_on: true });
                            })?;
                        }
                    }
                    Ok(())
                });
            })?;
            done?;
        }
        for row in shelf.from(range.start).take_while(|row| row.window.start < range.end) {
            for entry in row.group(group).filter(|entry| wanted(entry.series)) {
                into.push(row.window.start, entry);
            }
        }
        Ok(())
    }
}

impl Remaking {
    /// The stretch.
    #[must_use]
    pub const fn stretch(&self) -> Window {
        self.stretch
    }

    fn push(&mut self, start: Timestamp, entry: Entry) {
        let slot = start.since(self.stretch.start).as_millis() / self.width.as_millis().max(1);
        let row = usize::try_from(slot).ok().and_then(|slot| self.rows.get_mut(slot));
        if let Some(row) = row {
            row.push(entry);
        }
    }

    /// The rows in order of time, but those without anything.
    #[must_use]
    pub fn finish(self) -> Vec<Arc<Row>> {
        let Self { stretch, width, rows, .. } = self;
        let mut start = stretch.start;
        let windows = std::iter::from_fn(|| {
            let window = Window::starting(start, width);
            start = window.end;
            Some(window)
        });
        let rows = rows.into_iter().zip(windows);
        let rows = rows.map(|(mut row, window)| row.finish(window));
        rows.filter(|row| !row.is_empty()).map(Arc::new).collect()
    }
}
