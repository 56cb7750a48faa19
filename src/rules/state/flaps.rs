//! Flapping: from when on a state changes too often for each change to be told, and what is told all the
//! same.
//!
//! It has a clock of its own that goes on with each evaluation, whatever that saw, since it is the state
//! whose stillness counts; so it stands while tallyd is down. It decides what a change is, not who hears
//! of it.

use super::{Cause, Level};
use crate::config::Flapping;
use crate::time::Span;

/// Critical for so long without a break is told, flapping or not; longer where the threshold's `for` is.
pub const INSIST_AFTER: Span = Span::from_secs(120);

/// What is remembered of the changes of one instance.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Flaps {
    /// For how long it was evaluated.
    pub clock: Span,
    /// When it changed of late, by that clock, oldest first.
    pub changes: Vec<Span>,
    /// It changes too often for each change to be told.
    pub is_flapping: bool,
    /// For how long it has been critical without a break, as far as evaluations said something.
    pub critical: Span,
    /// That was told while it flapped.
    pub insisted: bool,
}

/// One evaluation, as far as flapping goes.
pub(super) struct Evaluation {
    pub(super) every: Span,
    pub(super) has_changed: bool,
    /// The state after it.
    pub(super) level: Level,
    /// Whether there was a judgement.
    pub(super) is_judged: bool,
    /// `for` of the critical threshold.
    pub(super) hold: Span,
}

impl Flaps {
    /// What there is to tell after one evaluation, if anything.
    pub(super) fn step(&mut self, policy: Option<Flapping>, seen: &Evaluation) -> Option<Cause> {
        let Some(policy) = policy else {
            *self = Self::default();
            return seen.has_changed.then_some(Cause::Changed);
        };
        let clock = self.clock.plus(seen.every);
        self.clock = clock;
        self.changes.retain(|at| clock.minus(*at) < policy.within);
        self.stand(seen);
        if seen.has_changed {
            self.changes.push(clock);
            return Some(self.changed(policy));
        }
        if self.is_flapping && self.changes.is_empty() {
            self.is_flapping = false;
            return Some(Cause::Settled);
        }
        let must_be_told = self.critical >= INSIST_AFTER.max(seen.hold);
        if self.is_flapping && !self.insisted && must_be_told && seen.level == Level::Critical {
            self.insisted = true;
            return Some(Cause::Insists);
        }
        None
    }

    fn changed(&mut self, policy: Flapping) -> Cause {
        let allowed = usize::from(policy.changes);
        let is_too_often = self.changes.len() > allowed;
        // The last ones alone decide from now on.
        let beyond = self.changes.len().saturating_sub(allowed + 1);
        self.changes.drain(..beyond);
        match (self.is_flapping, is_too_often) {
            (true, _) => Cause::Flaps,
            (false, false) => Cause::Changed,
            (false, true) => {
                self.is_flapping = true;
                Cause::Flapping
            }
        }
    }

    /// Counts how long it has been critical.
    fn stand(&mut self, seen: &Evaluation) {
        if seen.has_changed || seen.level != Level::Critical {
            (self.critical, self.insisted) = (Span::ZERO, false);
        } else if seen.is_judged {
            self.critical = self.critical.plus(seen.every);
        }
    }
}
