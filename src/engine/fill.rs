//! A tier that is new gets its history from the next finer one, as far back as that reaches.
//!
//! It is done behind what else the store's thread does, some series at a time, and is shown when all of
//! it is there: before that the tier knows nothing of the time, as if it had not been. When the process ends
//! meanwhile it begins anew; what was written is written again. The stretch in which the tier was added is left
//! out: part of its windows is from before.

use super::Engine;
use super::state::State;
use crate::rollup::row::span;
use crate::rollup::{Record, SeriesId};
use crate::store::{Edit, EditError, Job, Keeper, Mark, ReadError, StoreError, Windows};
use crate::time::{Timestamp, Window};

/// Windows that are written in one commit, at most those of one series more.
const WINDOWS: usize = 100_000;

/// Series that are looked at for one commit.
const SERIES: usize = 4096;

/// A tier whose history is being made.
#[derive(Clone, Debug)]
pub(super) struct Fill {
    tier: usize,
    range: Window,
    next: usize,
}

impl State {
    /// Notes what the tiers know of the time before the last process ended.
    pub(super) fn take_marks(&mut self, marks: &[Mark]) {
        for (tier, mark) in marks.iter().enumerate() {
            let Some(hole) = mark.hole else { continue };
            self.windows.lose(tier, hole);
            self.windows.forget_before(tier, hole.end);
            let horizon =
                tier.checked_sub(1).map_or(hole.start, |finer| self.windows.horizon(finer));
            let start = horizon.align_up(span(self.windows.tiers(), tier)).max(Timestamp::EPOCH);
            match mark.filled_from {
                Some(from) => self.windows.reach_back(tier, from),
                None if start < hole.start => {
                    let range = Window { start, end: hole.start };
                    self.fills.push_back(Fill { tier, range, next: 0 });
                }
                None => {}
            }
        }
    }
}

impl Engine {
    /// Fills a piece of the history of a tier that is new; whether there was any to fill.
    pub(super) fn fill(&self, keeper: &mut Keeper) -> Result<bool, StoreError> {
        let (fill, windows, series) = {
            let state = self.state();
            let Some(fill) = state.fills.front().cloned() else { return Ok(false) };
            (fill, state.windows.clone(), state.catalogue.len())
        };
        let is_over =
            |tier| windows.rows(tier).next().is_none_or(|row| row.window.start >= fill.range.end);
        if !is_over(fill.tier) || !is_over(fill.tier - 1) {
            return Ok(false);
        }
        match keeper.make_way() {
            Err(EditError::Store(error)) => return Err(error),
            Err(_) => return Ok(true),
            Ok(()) => {}
        }
        let made = fill.piece(&windows, series).and_then(|(edits, next)| {
            let mut job = Job::default();
            job.sealed.resize(windows.tiers().len(), fill.range.end);
            keeper.edit(edits, &job, &[]).map(|()| next)
        });
        match made {
            Err(EditError::Store(error)) => Err(error),
            Err(error) => {
                // It would be the same the next time.
                tracing::error!(%error, "the history of a new tier is not made");
                self.state().fills.pop_front();
                Ok(true)
            }
            Ok(next) if next < series => {
                if let Some(front) = self.state().fills.front_mut() {
                    front.next = next;
                }
                Ok(true)
            }
            Ok(_) => {
                keeper.filled(fill.tier, fill.range.start)?;
                let mut state = self.state();
                state.fills.pop_front();
                state.windows.reach_back(fill.tier, fill.range.start);
                let width = windows.tiers().get(fill.tier).map(|tier| tier.window);
                let width = width.unwrap_or_default();
                tracing::info!("the tier of {width} has its history from {} on", fill.range.start);
                drop(state);
                self.show(keeper)?;
                self.state().rules.renew();
                Ok(true)
            }
        }
    }
}

impl Fill {
    /// The windows of some series, and the series after them.
    fn piece(&self, windows: &Windows, series: usize) -> Result<(Vec<Edit>, usize), EditError> {
        let (mut edits, mut next) = (Vec::new(), self.next);
        while next < series && next < self.next + SERIES && edits.len() < WINDOWS {
            let id = SeriesId(u32::try_from(next).unwrap_or(u32::MAX));
            self.of(windows, id, &mut edits)?;
            next += 1;
        }
        Ok((edits, next))
    }

    fn of(&self, windows: &Windows, id: SeriesId, edits: &mut Vec<Edit>) -> Result<(), ReadError> {
        let Some(width) = windows.tiers().get(self.tier).map(|tier| tier.window) else {
            return Ok(());
        };
        let mut open: Option<(Timestamp, Record)> = None;
        let mut push = |(start, record): (Timestamp, Record)| {
            edits.push(Edit { tier: self.tier, series: id, start, record: Some(record) });
        };
        windows.read(self.tier - 1, id, self.range, |window, record| {
            let start = window.start.align_down(width);
            open = Some(match open.take() {
                Some((at, before)) if at == start => (at, before.then(record.clone())),
                before => {
                    before.into_iter().for_each(&mut push);
                    (start, record.clone())
                }
            });
        })?;
        open.into_iter().for_each(push);
        Ok(())
    }
}
