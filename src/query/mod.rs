//! A measure: a function over the windows of some series at an instant.
//!
//! The answer is an [`Observation`], which says not only a value but whether there can be one:
//! nothing is invented where tallyd was down, where a gauge was not set, or where there is nothing to
//! compare with. The same instant gives the same observation whenever it is asked, as long as the
//! tier that it is read from still holds the windows. This module does not know rules.

mod ages;
mod course;
mod facts;
mod measure;
mod range;
mod selection;
mod share;
mod sliding;
mod sums;

pub use ages::Ages;
pub use course::Course;
pub use facts::{Facts, Selected};
pub use range::Range;
pub use selection::{Group, Selection, TooManyGroups};
pub use share::Side;
pub use sliding::{Router, Standing, Watch};

use crate::config::{Against, Change, Measure, Per};
use crate::rollup::SeriesId;
use crate::store::Windows;
use crate::time::{Span, Timestamp, Window, Zone};

use measure::{Judged, Reading, View};

/// What is asked of a group of series.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// The function.
    pub measure: Measure,
    /// Unit of time of a rate.
    pub per: Per,
    /// Over how long.
    pub window: Span,
    /// Compared with what; `None`: the measure itself.
    pub against: Option<Against>,
    /// Whose days a comparison with an earlier day counts; `None`: those of UTC.
    pub zone: Option<Zone>,
    /// How it is compared.
    pub change: Change,
    /// When both windows hold less than this, the change is not judged.
    pub floor: Option<f64>,
}

/// What is known at an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation {
    /// A value.
    Value {
        /// The value itself; never NaN.
        value: f64,
        /// The share of the window that was covered; below 1 sums were divided by it.
        covered: f64,
    },
    /// The true value is this or more: part of the window is not known.
    AtLeast(f64),
    /// Gauges that were not set in the window.
    Missing,
    /// There may be data, but no judgement.
    Unjudged(Reason),
    /// No series like that was ever seen.
    NeverSeen,
}

/// Why there is no judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// tallyd was down for more than a tenth of the window.
    Gap,
    /// The reference lies before the first data.
    NoReference,
    /// Both windows hold less than the floor.
    BelowFloor,
    /// The measure has no meaning for this kind of series.
    WrongKind,
    /// What is kept of the window cannot be read.
    Unreadable,
    /// What it is divided by is zero.
    NothingToDivideBy,
    /// Whoever asks does so in the hours of a schedule alone.
    OffSchedule,
}

impl Reason {
    /// For people; goes on after "not judged: ".
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Gap => "tallyd was not running for part of the window",
            Self::NoReference => "there is no data yet to compare with",
            Self::BelowFloor => "too little happened to compare",
            Self::WrongKind => "this measure means nothing for this kind of series",
            Self::Unreadable => "the history on the disk cannot be read",
            Self::NothingToDivideBy => "what it is divided by is zero",
            Self::OffSchedule => "its schedule is not active now",
        }
    }
}

/// Share of a window that has to be covered for its value to be judged.
pub const COVERED_MIN: f64 = 0.9;

impl Question {
    /// What is known at `instant`, the end of a closed base window, of these series together.
    #[must_use]
    pub fn ask(
        &self,
        store: &Windows,
        facts: &dyn Facts,
        series: &[SeriesId],
        instant: Timestamp,
    ) -> Observation {
        self.ask_back(store, facts, series, instant, Span::ZERO)
    }

    /// The same of an instant that lies `back` in the past: it is read from a tier that still holds
    /// it.
    #[must_use]
    pub fn ask_back(
        &self,
        store: &Windows,
        facts: &dyn Facts,
        series: &[SeriesId],
        instant: Timestamp,
        back: Span,
    ) -> Observation {
        if series.is_empty() {
            return Observation::NeverSeen;
        }
        let view = View { store, facts, series, question: self, now: instant + back };
        let now = Window::ending(instant, self.window);
        let Some(against) = self.against else {
            let reading = if back.is_zero() {
                view.read_latest(now, instant)
            } else {
                view.read(now, back.plus(self.window), instant)
            };
            return reading.judge(self.measure);
        };
        let then = Window::ending(self.reference_end(against, instant), self.window);
        let now = view.read(now, back.plus(self.window), instant);
        let age = back.plus(self.reach(against)).plus(self.window);
        let then = view.read_reference(then, age, instant);
        self.compare(now, then)
    }

    /// The end of the window that one is compared with which ends at `end`. It is as long, wherever
    /// clocks were turned.
    #[must_use]
    pub fn reference_end(&self, against: Against, end: Timestamp) -> Timestamp {
        match (against, &self.zone) {
            (Against::Previous, _) => end - self.window,
            (Against::Ago(span), None) => end - span,
            (Against::Ago(span), Some(zone)) => {
                let days = span.as_millis() / Span::DAY.as_millis();
                zone.days_before(end, u32::try_from(days).unwrap_or(u32::MAX))
            }
        }
    }

    /// How far back that window may lie. The question alone says so and no instant, so that the tier
    /// which it is read from does not change with the clocks.
    pub(crate) fn reach(&self, against: Against) -> Span {
        match against {
            Against::Previous => self.window,
            Against::Ago(span) if self.zone.is_none() => span,
            Against::Ago(span) => span.plus(Zone::TURN),
        }
    }

    fn compare(&self, now: Reading, then: Result<Judged, Reason>) -> Observation {
        let (now, then) = match (now.judged(self.measure), then) {
            // A lower bound of one side says nothing about the difference.
            (Err(Observation::AtLeast(_)), _) => return Observation::Unjudged(Reason::Gap),
            (Err(observation), _) => return observation,
            (_, Err(reason)) => return Observation::Unjudged(reason),
            (Ok(now), Ok(then)) => (now, then),
        };
        if self.floor.is_some_and(|floor| now.weight < floor && then.weight < floor) {
            return Observation::Unjudged(Reason::BelowFloor);
        }
        let value = change(self.change, now.value, then.value);
        Observation::Value { value, covered: now.covered.min(then.covered) }
    }
}

/// Percent: (now − then) ÷ then × 100; from nothing to something is +∞, from nothing to nothing 0.
fn change(kind: Change, now: f64, then: f64) -> f64 {
    let difference = now - then;
    match kind {
        Change::Absolute => difference,
        Change::Percent if then != 0.0 => difference / then * 100.0,
        Change::Percent if difference == 0.0 => 0.0,
        Change::Percent => f64::INFINITY.copysign(difference),
    }
}

#[cfg(test)]
mod tests;
