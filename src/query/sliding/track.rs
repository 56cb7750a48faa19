//! All sliding windows of one shape: they move together, over the same rows.
//!
//! What comes into the window since the last tick enters every slot that watches its series, what has
//! fallen out of it leaves; each row is gone through once for all slots. Where the window does not move
//! forward by less than its length, or cannot be read, the slots are built anew.

use std::ops::Range;

use super::feed::{Feed, Source, Watched};
use super::slot::Slot;
use crate::config::{Against, Change, Measure, Per, Tier};
use crate::counters::cells::Kind;
use crate::query::Question;
use crate::query::measure::{step, stretches};
use crate::rollup::row::GROUP;
use crate::rollup::{Record, Row, SeriesId};
use crate::store::{Catalogue, ReadError, tier_for};
use crate::time::{Timestamp, Window};

/// Which stretch of time, seen from the instant of a tick.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Shape {
    /// Only what it says of time.
    question: Question,
    side: Side,
    /// The tier that the window as a whole is read from.
    top: usize,
    /// The tier of this part of it.
    tier: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// A part of the window that ends now.
    Latest,
    /// The same where something is compared: as far as the tier has closed.
    Now,
    /// What it is compared with.
    Then(Against),
}

impl Shape {
    /// The shapes of a question, from the coarsest part to the finest, and that of what is compared.
    pub(super) fn of(question: &Question, tiers: &[Tier]) -> (Vec<Self>, Option<Self>) {
        let shape = |side, top, tier| {
            let question = Question {
                measure: Measure::Sum,
                per: Per::Second,
                change: Change::Absolute,
                floor: None,
                ..question.clone()
            };
            Self { question, side, top, tier }
        };
        let top = tier_for(tiers, question.window);
        let Some(against) = question.against else {
            return ((0..=top).rev().map(|tier| shape(Side::Latest, top, tier)).collect(), None);
        };
        let then = tier_for(tiers, question.reach(against).plus(question.window));
        (vec![shape(Side::Now, top, top)], Some(shape(Side::Then(against), then, then)))
    }

    pub(super) const fn tier(&self) -> usize {
        self.tier
    }

    /// The window at an instant.
    pub(super) fn window(&self, tiers: &[Tier], instant: Timestamp) -> Window {
        let question = &self.question;
        let width = step(tiers, self.top);
        match self.side {
            Side::Latest => {
                let start = (instant - question.window).align_down(width);
                let whole = Window { start, end: instant };
                let mut parts = stretches(tiers, self.top, self.top + 1, whole);
                let part = parts.find(|(tier, _)| *tier == self.tier);
                part.map_or(whole, |(_, window)| window)
            }
            Side::Now => Window::ending(instant, question.window).align_down(width),
            Side::Then(against) => {
                Window::ending(question.reference_end(against, instant), question.window)
                    .align_down(width)
            }
        }
    }
}

/// A slot that a series counts for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watcher {
    pub(super) series: SeriesId,
    slot: u32,
    /// Its number among the series of the slot.
    member: u32,
    kind: Kind,
}

/// The watchers of one group.
pub(super) fn members<'a>(watchers: &'a [Watcher], place: &Range<usize>) -> &'a [Watcher] {
    watchers.get(place.clone()).unwrap_or_default()
}

/// See the module.
#[derive(Debug)]
pub(super) struct Track {
    pub(super) shape: Shape,
    /// What the slots hold, but those that are not built.
    window: Window,
    /// In order of series, once they are sorted.
    watchers: Vec<Watcher>,
    is_sorted: bool,
    groups: Vec<(u32, Range<usize>)>,
    slots: Vec<Slot>,
    head: Feed,
    tail: Feed,
    /// Whether there may be slots that are not built.
    is_due: bool,
    /// Nothing is built before then, since it could not be read.
    retry: Option<Timestamp>,
    /// What the histograms of its slots take.
    pub(super) bytes: usize,
}

impl Track {
    pub(super) fn new(shape: Shape, window: Window) -> Self {
        Self {
            shape,
            window,
            watchers: Vec::new(),
            is_sorted: true,
            groups: Vec::new(),
            slots: Vec::new(),
            head: Feed::default(),
            tail: Feed::default(),
            is_due: false,
            retry: None,
            bytes: 0,
        }
    }

    /// The window that the slots hold.
    pub(super) const fn window(&self) -> Window {
        self.window
    }

    /// Begins a slot without series; its number.
    pub(super) fn begin(&mut self, measure: Measure) -> u32 {
        self.slots.push(Slot::new(measure));
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    pub(super) fn slot(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    /// Has a slot watch a further series.
    pub(super) fn join(&mut self, slot: u32, series: SeriesId, catalogue: &Catalogue) {
        let known = catalogue.get(series);
        let Some(place) = self.slots.get_mut(slot as usize) else { return };
        let (kind, born) = (known.kind, known.born());
        let member = place.join(kind, born);
        // What is born later has nothing in the window yet.
        place.is_built &= born >= self.window.end;
        self.is_due |= !place.is_built;
        let watcher = Watcher { series, slot, member, kind };
        self.is_sorted &= self.watchers.last().is_none_or(|last| last.series < series);
        self.watchers.push(watcher);
        if self.is_sorted {
            self.regroup(self.watchers.len() - 1);
        }
    }

    fn sort(&mut self) {
        if !self.is_sorted {
            self.watchers.sort_by_key(|watcher| (watcher.series, watcher.slot));
            self.groups.clear();
            self.is_sorted = true;
            self.regroup(0);
        }
    }

    /// Puts the watchers from the `first` on into groups.
    fn regroup(&mut self, first: usize) {
        for (at, watcher) in self.watchers.iter().enumerate().skip(first) {
            let group = watcher.series.0 / GROUP;
            match self.groups.last_mut().filter(|(last, _)| *last == group) {
                Some((_, place)) => place.end = at + 1,
                None => self.groups.push((group, at..at + 1)),
            }
        }
    }

    /// Notes that a series is of another kind from now on.
    pub(super) fn turn(&mut self, series: SeriesId, kind: Kind) {
        self.sort();
        let first = self.watchers.partition_point(|watcher| watcher.series < series);
        let of = self.watchers.iter_mut().skip(first);
        for watcher in of.take_while(|watcher| watcher.series == series) {
            let from = std::mem::replace(&mut watcher.kind, kind);
            if let Some(slot) = self.slots.get_mut(watcher.slot as usize).filter(|_| from != kind) {
                slot.turn(watcher.member, from, kind, self.window.end);
            }
        }
    }

    /// Forgets what all slots hold.
    pub(super) fn clear(&mut self) {
        self.slots.iter_mut().for_each(Slot::clear);
        self.head.clear();
        self.tail.clear();
        self.bytes = 0;
        self.is_due = true;
    }

    /// Moves the window to `to`. What cannot be read leaves slots that are not built.
    pub(super) fn advance(&mut self, source: Source<'_>, to: Window, room: usize) {
        self.sort();
        let from = self.window;
        let is_forward = from.start <= to.start && from.end <= to.end && to.start <= from.end;
        if !is_forward || self.shift(source, to, room).is_err() {
            self.clear();
        }
        self.window = to;
        if !self.is_due || self.retry.is_some_and(|retry| to.end < retry) {
            return;
        }
        let is_read = self.build(source, room).is_ok();
        self.is_due = !is_read;
        // Where chunks are damaged, it is tried once in each stretch.
        let stretch = source.windows.stretch(self.shape.tier, to.end);
        self.retry = (!is_read).then_some(stretch.end);
    }

    fn shift(&mut self, source: Source<'_>, to: Window, room: usize) -> Result<(), ReadError> {
        let (from, tier) = (self.window, self.shape.tier);
        let Self { watchers, groups, slots, head, tail, bytes, is_due, .. } = self;
        let watched = Watched { groups, watchers };
        let gone = Window { start: from.start, end: to.start };
        tail.pass(source, tier, gone, watched, |row| {
            walk(row, watched, |watcher, record| {
                let Some(slot) = slots.get_mut(watcher.slot as usize) else { return };
                if slot.is_built {
                    let before = slot.bytes();
                    slot.leave(row.window.start, watcher.member, watcher.kind, record);
                    *bytes = (*bytes + slot.bytes()).saturating_sub(before);
                    *is_due |= !slot.is_built;
                }
            });
        })?;
        let come = Window { start: from.end, end: to.end };
        head.pass(source, tier, come, watched, |row| {
            walk(row, watched, |watcher, record| {
                if let Some(slot) = slots.get_mut(watcher.slot as usize).filter(|s| s.is_built) {
                    enter(slot, row, watcher, record, bytes, room);
                }
            });
        })
    }

    /// Fills the slots that are not built with what is in the window.
    fn build(&mut self, source: Source<'_>, room: usize) -> Result<(), ReadError> {
        let Self { watchers, groups, slots, bytes, window, .. } = self;
        let is_due = |slot: &Slot| !slot.is_built && !slot.is_refused;
        for slot in slots.iter_mut().filter(|slot| is_due(slot)) {
            *bytes = bytes.saturating_sub(slot.bytes());
            slot.clear();
        }
        let due = |watcher: &Watcher| slots.get(watcher.slot as usize).is_some_and(is_due);
        let (mut wanted, mut places) = (Vec::new(), Vec::new());
        for (group, place) in groups.iter() {
            let first = wanted.len();
            wanted.extend(members(watchers, place).iter().filter(|watcher| due(watcher)));
            if wanted.len() > first {
                places.push((*group, first..wanted.len()));
            }
        }
        let watched = Watched { groups: &places, watchers: &wanted };
        Feed::default().pass(source, self.shape.tier, *window, watched, |row| {
            walk(row, watched, |watcher, record| {
                if let Some(slot) = slots.get_mut(watcher.slot as usize) {
                    enter(slot, row, watcher, record, bytes, room);
                }
            });
        })?;
        for slot in slots.iter_mut() {
            slot.is_built = !slot.is_refused;
        }
        // What is held was made for those that were watched before.
        self.head.clear();
        self.tail.clear();
        Ok(())
    }

    /// Makes some groups of the rows that the window comes to next; how many.
    pub(super) fn look_ahead(&mut self, source: Source<'_>, groups: usize) -> usize {
        self.sort();
        let watched = Watched { groups: &self.groups, watchers: &self.watchers };
        let tier = self.shape.tier;
        let done = self.tail.look_ahead(source, tier, watched, groups);
        done + self.head.look_ahead(source, tier, watched, groups - done.min(groups))
    }

    /// Groups with a series that is watched.
    pub(super) fn groups(&self) -> usize {
        self.groups.len()
    }
}

fn enter(
    slot: &mut Slot,
    row: &Row,
    watcher: &Watcher,
    record: &Record,
    bytes: &mut usize,
    room: usize,
) {
    if slot.is_refused {
        return;
    }
    let before = slot.bytes();
    slot.enter(row.window.start, watcher.member, watcher.kind, record);
    let after = slot.bytes();
    *bytes = (*bytes + after).saturating_sub(before);
    if after > before && *bytes > room {
        *bytes -= after;
        slot.clear();
        slot.is_refused = true;
    }
}

/// Hands what a row tells of watched series to `each`, once for each slot.
fn walk(row: &Row, watched: Watched<'_>, mut each: impl FnMut(&Watcher, &Record)) {
    for (group, place) in watched.groups {
        let mut watchers = members(watched.watchers, place).iter().peekable();
        for entry in row.group(*group) {
            while watchers.next_if(|watcher| watcher.series < entry.series).is_some() {}
            while let Some(watcher) = watchers.next_if(|of| of.series == entry.series) {
                each(watcher, &entry.record);
            }
        }
    }
}
