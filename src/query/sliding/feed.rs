//! The rows that one end of a sliding window passes over.
//!
//! Young ones are among the [`Recent`]. Older ones are made again from chunks, a stretch at a time and the
//! watched series alone; the next stretch is made a few groups at each tick, so that no tick waits for a whole
//! one. It needs no more memory than two stretches.

use std::ops::Range;
use std::sync::Arc;

use super::recent::Recent;
use super::track::{Watcher, members};
use crate::rollup::{Row, SeriesId};
use crate::store::{ReadError, Remaking, Windows};
use crate::time::Window;

/// Where rows come from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) windows: &'a Windows,
    pub(super) recent: &'a Recent,
}

/// The series that are watched: groups in order, each with its place among the watchers.
#[derive(Clone, Copy)]
pub(super) struct Watched<'a> {
    pub(super) groups: &'a [(u32, Range<usize>)],
    pub(super) watchers: &'a [Watcher],
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Feed {
    held: Option<(Window, Vec<Arc<Row>>)>,
    ahead: Option<Ahead>,
}

#[derive(Debug)]
struct Ahead {
    rows: Remaking,
    /// Groups that are done.
    done: usize,
}

impl Feed {
    /// Hands the rows of a tier that begin inside `range` to `each`, in order of time.
    pub(super) fn pass(
        &mut self,
        source: Source<'_>,
        tier: usize,
        range: Window,
        watched: Watched<'_>,
        mut each: impl FnMut(&Row),
    ) -> Result<(), ReadError> {
        let since = source.recent.since(tier);
        let mut at = range.start;
        while at < range.end.min(since) {
            let stretch = source.windows.stretch(tier, at);
            self.hold(source, tier, stretch, watched)?;
            let (_, rows) = self.held.as_ref().expect("it is held now");
            let end = range.end.min(since).min(stretch.end);
            let first = rows.partition_point(|row| row.window.start < at);
            let inside = rows.iter().skip(first).take_while(|row| row.window.start < end);
            inside.for_each(|row| each(row));
            at = end;
        }
        let young = Window { start: range.start.max(since), end: range.end };
        source.recent.rows(tier, young).for_each(each);
        Ok(())
    }

    fn hold(
        &mut self,
        source: Source<'_>,
        tier: usize,
        stretch: Window,
        watched: Watched<'_>,
    ) -> Result<(), ReadError> {
        if self.held.as_ref().is_some_and(|(held, _)| *held == stretch) {
            return Ok(());
        }
        let begun = self.ahead.take().filter(|ahead| ahead.rows.stretch() == stretch);
        let mut ahead = begun.unwrap_or_else(|| Ahead::new(source, tier, stretch));
        ahead.advance(source, watched, usize::MAX)?;
        self.held = Some((stretch, ahead.rows.finish()));
        Ok(())
    }

    /// Makes some groups of the stretch behind the one that is passed over; how many.
    pub(super) fn look_ahead(
        &mut self,
        source: Source<'_>,
        tier: usize,
        watched: Watched<'_>,
        groups: usize,
    ) -> usize {
        let Some((held, _)) = &self.held else { return 0 };
        let next = source.windows.stretch(tier, held.end);
        if next.end > source.recent.since(tier) {
            return 0;
        }
        let fresh = || Ahead::new(source, tier, next);
        let ahead = match &mut self.ahead {
            Some(ahead) if ahead.rows.stretch() == next => ahead,
            other => other.insert(fresh()),
        };
        if let Ok(done) = ahead.advance(source, watched, groups) {
            return done;
        }
        // Whoever needs it is told.
        self.ahead = None;
        groups
    }

    /// Forgets what is held: more series are watched, or what there was is something else now.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Ahead {
    fn new(source: Source<'_>, tier: usize, stretch: Window) -> Self {
        Self { rows: source.windows.remake(tier, stretch), done: 0 }
    }

    fn advance(
        &mut self,
        source: Source<'_>,
        watched: Watched<'_>,
        groups: usize,
    ) -> Result<usize, ReadError> {
        let before = self.done;
        for (group, place) in watched.groups.iter().skip(before).take(groups) {
            let watchers = members(watched.watchers, place);
            let wanted = |series: SeriesId| {
                watchers.binary_search_by_key(&series, |watcher| watcher.series).is_ok()
            };
            source.windows.remake_group(&mut self.rows, *group, wanted)?;
            self.done += 1;
        }
        Ok(self.done - before)
    }
}
