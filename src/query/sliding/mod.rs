//! Questions that are asked at every tick: their windows are kept, and moved.
//!
//! [`Question::ask`] reads a whole window each time. Here a window is read once; after that each record that
//! comes into it is added and each that falls out of it is taken away, so a tick costs what happened in it,
//! however long the windows are. The answer is the same: a window is cut into the same parts as there, each
//! filled with the records of the tier that it is read from there, and it is judged by the same functions.
//! Whatever a part cannot tell by its sums ([`slot`]) is asked as there.
//!
//! Parts of one shape move together ([`track`]), over rows that are in memory or are made again from chunks
//! a little ahead of time ([`feed`]). This module does not know rules.

mod exact;
mod feed;
mod greatest;
mod recent;
mod router;
mod slot;
mod standing;
mod track;

pub use router::Router;
pub use standing::Standing;

use super::measure::{Reading, View, lies_before, step};
use super::{Observation, Question, Reason};
use crate::config::{Measure, Tier};
use crate::counters::cells::Kind;
use crate::limits;
use crate::store::{Catalogue, Windows};
use crate::time::{Span, Timestamp, Window};

use feed::Source;
use recent::Recent;
use slot::{Slot, Together};
use track::{Shape, Track};

/// Ticks in which the next stretch of every window is made again from chunks: half of the shortest.
const AHEAD_TICKS: usize = 30;

/// All windows that slide.
#[derive(Debug)]
pub struct Watch {
    tiers: Vec<Tier>,
    tracks: Vec<Track>,
    recent: Recent,
    /// The instant of the last tick.
    now: Timestamp,
    /// Records that there was no room for, of which the windows must not know any more either.
    dropped: u64,
    /// The track whose turn it is to look ahead.
    turn: usize,
}

/// The tracks of a question.
#[derive(Clone, Debug, Default)]
struct Plan {
    /// The parts of the window, from the coarsest tier to the finest.
    now: Vec<usize>,
    /// The window that it is compared with.
    then: Option<usize>,
}

impl Plan {
    fn tracks(&self) -> impl Iterator<Item = usize> {
        self.now.iter().copied().chain(self.then)
    }

    fn len(&self) -> usize {
        self.now.len() + usize::from(self.then.is_some())
    }
}

/// The windows of one group.
#[derive(Clone, Copy)]
struct Kept<'a> {
    plan: &'a Plan,
    slots: &'a [u32],
}

impl Watch {
    /// Nothing is asked yet.
    #[must_use]
    pub fn new(tiers: &[Tier]) -> Self {
        Self {
            tiers: tiers.to_vec(),
            tracks: Vec::new(),
            recent: Recent::new(tiers.len()),
            now: Timestamp::from_millis(i64::MIN),
            dropped: 0,
            turn: 0,
        }
    }

    /// The tracks of a question; `None` where it is better asked, or there are too many of them.
    fn plan(&mut self, question: &Question) -> Option<Plan> {
        // That is read from no window.
        let is_age = question.measure == Measure::Age;
        // What is not kept any more would leave without having been seen.
        let reach = question.against.map_or(Span::ZERO, |against| question.reach(against));
        let kept = self.tiers.last().map_or(Span::ZERO, |tier| tier.keep);
        if is_age || reach.plus(question.window) > kept {
            return None;
        }
        let (now, then) = Shape::of(question, &self.tiers);
        let now = now.into_iter().map(|shape| self.track(shape)).collect::<Option<_>>()?;
        let then = match then {
            None => None,
            Some(shape) => Some(self.track(shape)?),
        };
        Some(Plan { now, then })
    }

    fn track(&mut self, shape: Shape) -> Option<usize> {
        let found = self.tracks.iter().position(|track| track.shape == shape);
        if found.is_some() || self.tracks.len() >= limits::WINDOW_SHAPES {
            return found;
        }
        let window = shape.window(&self.tiers, self.now);
        self.tracks.push(Track::new(shape, window));
        Some(self.tracks.len() - 1)
    }

    /// Notes which of the first `seen` series turned into another kind in this tick, before others join.
    pub fn turn(&mut self, catalogue: &Catalogue, seen: usize) {
        for id in catalogue.turned().iter().filter(|id| id.index() < seen) {
            let kind = catalogue.get(*id).kind;
            self.tracks.iter_mut().for_each(|track| track.turn(*id, kind));
        }
    }

    /// As it was when it was new.
    pub fn start_over(&mut self) {
        *self = Self::new(&self.tiers);
    }

    /// Has every window read anew.
    fn forget(&mut self) {
        self.tracks.iter_mut().for_each(Track::clear);
        self.recent = Recent::new(self.tiers.len());
    }

    /// Moves all windows to `instant`, the end of the last closed base window.
    pub fn advance(&mut self, windows: &Windows, instant: Timestamp) {
        if self.dropped != windows.dropped() {
            self.dropped = windows.dropped();
            self.forget();
        }
        self.now = instant;
        let lags = self
            .tracks
            .iter()
            .map(|track| (track.shape.tier(), instant.since(track.window().start)));
        self.recent.advance(windows, instant, &lags);
        let source = Source { windows, recent: &self.recent };
        let mut bytes: usize = self.tracks.iter().map(|track| track.bytes).sum();
        for track in &mut self.tracks {
            let to = track.shape.window(&self.tiers, instant);
            let others = bytes.saturating_sub(track.bytes);
            track.advance(source, to, limits::WATCH_BYTES.saturating_sub(others));
            bytes = others + track.bytes;
        }
        self.look_ahead(windows);
    }

    /// Makes a part of the rows that windows come to next, in turn, so much that all are ready in time.
    fn look_ahead(&mut self, windows: &Windows) {
        let source = Source { windows, recent: &self.recent };
        let all: usize = self.tracks.iter().map(|track| 2 * track.groups()).sum();
        let mut groups = all.div_ceil(AHEAD_TICKS);
        let number = self.tracks.len();
        let first = self.turn.checked_rem(number).unwrap_or(0);
        for at in (first..number).chain(0..first) {
            if let Some(track) = self.tracks.get_mut(at) {
                groups -= track.look_ahead(source, groups).min(groups);
            }
            if groups == 0 {
                self.turn = at;
                break;
            }
        }
    }

    /// What a question comes to; `None` where it has to be asked.
    fn observe(&self, Kept { plan, slots }: Kept<'_>, view: &View<'_>) -> Option<Observation> {
        if view.now != self.now {
            return None;
        }
        let (question, measure) = (view.question, view.question.measure);
        let now = self.now_of(plan, slots, view)?;
        match self.then_of(plan, slots, view) {
            None if plan.then.is_some() => None,
            None => Some(now.judge(measure)),
            Some(then) => Some(question.compare(now, then.reference(measure))),
        }
    }

    /// The same of a measure that is divided by that of other series.
    fn observe_share(
        &self,
        (part, part_view): (Kept<'_>, &View<'_>),
        (whole, whole_view): (Kept<'_>, &View<'_>),
    ) -> Option<Observation> {
        if part_view.now != self.now {
            return None;
        }
        let (question, measure) = (part_view.question, part_view.question.measure);
        let now = self.now_of(part.plan, part.slots, part_view)?;
        let now = now.over(&self.now_of(whole.plan, whole.slots, whole_view)?, measure);
        if part.plan.then.is_none() {
            return Some(now.judge(measure));
        }
        let then = self.then_of(part.plan, part.slots, part_view)?;
        let then = then.over(&self.then_of(whole.plan, whole.slots, whole_view)?, measure);
        Some(question.compare(now, then.reference(measure)))
    }

    fn now_of(&self, plan: &Plan, slots: &[u32], view: &View<'_>) -> Option<Reading> {
        self.read(&plan.now, slots, view)
    }

    /// What is compared with; `None` where nothing is, or it has to be asked.
    fn then_of(&self, plan: &Plan, slots: &[u32], view: &View<'_>) -> Option<Reading> {
        let (track_at, slot_at) = (plan.then?, *slots.last()?);
        let track = self.tracks.get(track_at)?;
        let width = step(&self.tiers, track.shape.tier());
        if lies_before(track.slot(slot_at)?.born(), track.window(), width) {
            return Some(Reading::unknown(Some(Reason::NoReference)));
        }
        self.read(&[track_at], &[slot_at], view)
    }

    fn parts<'a>(
        &'a self,
        tracks: &'a [usize],
        slots: &'a [u32],
    ) -> impl Iterator<Item = (&'a Track, &'a Slot)> + Clone {
        tracks.iter().zip(slots).filter_map(|(track, slot)| {
            let track = self.tracks.get(*track)?;
            let slot = track.slot(*slot)?;
            slot.is_sound(track.window().start).then_some((track, slot))
        })
    }

    fn are_sound(&self, tracks: &[usize], slots: &[u32]) -> bool {
        self.parts(tracks, slots).count() == tracks.len()
    }

    /// What the parts of a window come to together.
    fn read(&self, tracks: &[usize], slots: &[u32], view: &View<'_>) -> Option<Reading> {
        if !self.are_sound(tracks, slots) {
            return None;
        }
        let parts = self.parts(tracks, slots);
        let start = parts.clone().next()?.0.window().start;
        let end = parts.clone().last()?.0.window().end;
        let width = Window { start, end }.width();
        if width.is_zero() {
            return Some(Reading::unknown(None));
        }
        let is_shown = end == view.now;
        if view.question.measure == Measure::Last && !is_shown && has_counters(view) {
            return None;
        }
        let covered = parts.clone().fold(Span::ZERO, |sum, (track, _)| {
            sum.plus(view.store.covered_of(track.shape.tier(), track.window(), view.series))
        });
        let base_windows = covered.as_millis() / Span::SECOND.as_millis();
        let shown = |at: usize| view.facts.of(*view.series.get(at)?).last();
        let together = Together::new(parts.map(|(_, slot)| slot));
        let mut merged = together.merged(view.question.measure, base_windows, shown)?;
        Some(view.measure(&mut merged, covered, width))
    }
}

fn has_counters(view: &View<'_>) -> bool {
    view.series.iter().any(|id| view.facts.of(*id).kind == Kind::Counter)
}
