//! A measure of some series divided by the same measure of others: errors over requests.
//!
//! Both are read from the same windows. Where the divisor is zero there is no share; nor is there where too
//! little of a window is covered, since a lower bound of both sides bounds nothing. A floor is compared with
//! what is divided.

use super::measure::{Reading, View, lies_before};
use super::{COVERED_MIN, Facts, Observation, Question, Reason};
use crate::config::Measure;
use crate::rollup::SeriesId;
use crate::store::Windows;
use crate::time::{Span, Timestamp, Window};

/// Some series together, and who knows of them.
#[derive(Clone, Copy)]
pub struct Side<'a> {
    /// The series.
    pub series: &'a [SeriesId],
    /// What is known of them.
    pub facts: &'a dyn Facts,
}

impl Question {
    /// What is known of the measure of `part` divided by that of `whole`, at an instant that lies `back` in
    /// the past.
    #[must_use]
    pub fn ask_share(
        &self,
        store: &Windows,
        part: Side<'_>,
        whole: Side<'_>,
        instant: Timestamp,
        back: Span,
    ) -> Observation {
        if part.series.is_empty() {
            return Observation::NeverSeen;
        }
        if whole.series.is_empty() {
            return Observation::Unjudged(Reason::NothingToDivideBy);
        }
        let view = |side: Side<'_>, read: &dyn Fn(&View<'_>) -> Reading| {
            let Side { facts, series } = side;
            read(&View { store, facts, series, question: self, now: instant + back })
        };
        let share = |read: &dyn Fn(&View<'_>) -> Reading| {
            view(part, read).over(&view(whole, read), self.measure)
        };
        let now = Window::ending(instant, self.window);
        let age = back.plus(self.window);
        let Some(against) = self.against else {
            let reading = if back.is_zero() {
                share(&|view| view.read_latest(now, instant))
            } else {
                share(&|view| view.read(now, age, instant))
            };
            return reading.judge(self.measure);
        };
        let then = Window::ending(self.reference_end(against, instant), self.window);
        let then_age = age.plus(self.reach(against));
        let reference = share(&|view| {
            if lies_before(view.born(), then, view.tier(then_age).1) {
                return Reading::unknown(Some(Reason::NoReference));
            }
            view.read(then, then_age, instant)
        });
        let now = share(&|view| view.read(now, age, instant));
        self.compare(now, reference.reference(self.measure))
    }
}

impl Reading {
    /// The share that it has of a reading of the same window.
    pub(super) fn over(self, whole: &Self, measure: Measure) -> Self {
        let covered = self.covered.min(whole.covered);
        let is_known = covered >= COVERED_MIN || measure == Measure::Last;
        let nothing = (whole.value == Some(0.0)).then_some(Reason::NothingToDivideBy);
        // A share of a whole that is this or more could be anything.
        let fault = self.fault.or(whole.fault).or(whole.is_beyond.then_some(Reason::Gap));
        let value = self.value.zip(whole.value).filter(|_| is_known);
        Self {
            value: value.map(|(part, whole)| part / whole),
            weight: self.weight,
            covered,
            fault: fault.or(nothing.filter(|_| is_known)),
            is_beyond: self.is_beyond,
        }
    }
}
