//! That a clock was set, and by how far.
//!
//! What waits for so long is to wait as long, whatever the clock says; what waits for an hour of the day is not
//! concerned. So instants of the first kind are moved with the clock. Small corrections are gathered until they
//! come to something.

use std::ops::Add;

use super::Timestamp;
use super::clock::Reading;

/// How far a clock was set beyond what it would show had nobody set it: forward, or back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    millis: i64,
    /// What it shows now.
    now: Timestamp,
}

impl Step {
    /// An instant of before the step as the clock tells it now; `None` for one that the clock gave since.
    #[must_use]
    pub fn moved(self, instant: Timestamp) -> Option<Timestamp> {
        Some(instant + self).filter(|moved| *moved <= self.now)
    }
}

impl Add<Step> for Timestamp {
    type Output = Self;

    fn add(self, step: Step) -> Self {
        Self::from_millis(self.as_millis().saturating_add(step.millis))
    }
}

/// Sees a clock being set.
#[derive(Debug, Default)]
pub struct Steps {
    /// How far the wall clock lay beyond the steady one, in milliseconds.
    beyond: Option<i64>,
}

/// The shortest step that is one. A clock that is being corrected drifts by less than this in hours.
const LEAST_MILLIS: i64 = 2000;

impl Steps {
    /// Whether the clock was set since the last look, and by how far.
    pub fn look(&mut self, reading: Reading) -> Option<Step> {
        let Reading { now, steady } = reading;
        let steady = i64::try_from(steady?.as_millis()).unwrap_or(i64::MAX);
        let beyond = now.as_millis().saturating_sub(steady);
        let millis = beyond.saturating_sub(*self.beyond.get_or_insert(beyond));
        if millis.saturating_abs() < LEAST_MILLIS {
            return None;
        }
        self.beyond = Some(beyond);
        Some(Step { millis, now })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn look(steps: &mut Steps, now: i64, steady: u64) -> Option<i64> {
        let steady = Some(Duration::from_secs(steady));
        let reading = Reading { now: Timestamp::from_secs(now), steady };
        steps.look(reading).map(|step| step.millis / 1000)
    }

    #[test]
    fn a_step_is_seen_once_and_small_ones_when_they_come_to_something() {
        let mut steps = Steps::default();
        assert_eq!(look(&mut steps, 10_000, 5), None, "nobody knows what it showed before");
        assert_eq!(look(&mut steps, 10_100, 105), None, "time passed");
        assert_eq!(look(&mut steps, 17_300, 105), Some(7200));
        assert_eq!(look(&mut steps, 17_300, 105), None);
        assert_eq!(look(&mut steps, 10_110, 115), Some(-7200));
        assert_eq!(look(&mut steps, 10_121, 125), None, "a second more");
        assert_eq!(look(&mut steps, 10_132, 135), Some(2), "and another");
        assert_eq!(
            steps.look(Timestamp::from_secs(99_999).into()),
            None,
            "one clock tells nothing"
        );
    }

    #[test]
    fn what_the_clock_gave_since_stays() {
        let step = Step { millis: 7_200_000, now: Timestamp::from_secs(17_300) };
        let moved = |secs| step.moved(Timestamp::from_secs(secs)).map(Timestamp::as_secs);
        assert_eq!((moved(10_100), moved(10_101)), (Some(17_300), None));
    }
}
