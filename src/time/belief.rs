//! The time that windows are closed by while the wall clock is being set.
//!
//! A window that was closed stays closed. So a clock that shows next year for some seconds, and is set right
//! again, would leave nothing to close for a year. Therefore a leap forward is not believed at once: time goes on
//! from before it, by a clock that nobody sets and that runs while the machine sleeps, until the wall clock is back,
//! or has kept to what it says for [`CLOCK_SETTLES_SECS`]. A leap that is right costs this much: windows of that time
//! stand where they would without it, and the gap comes after them. A short step is believed, and so is every step
//! back: windows wait until the clock has caught up. What a clock shows at a start is believed too, since nobody
//! knows how long there was none.

use std::time::Duration;

use super::{Span, Timestamp};
use crate::limits::CLOCK_SETTLES_SECS;

/// The shortest step forward that is not believed at once: what waits behind it may wait.
const LEAP: Span = Span::from_secs(CLOCK_SETTLES_SECS);
const SETTLES: Duration = Duration::from_secs(CLOCK_SETTLES_SECS);

/// See the module.
#[derive(Debug, Default)]
pub struct Belief {
    /// What was believed last, or would be had the clock not been set back; and what the steady clock showed.
    last: Option<(Timestamp, Duration)>,
    /// What the steady clock showed when the wall clock leapt.
    leapt: Option<Duration>,
}

impl Belief {
    /// The time to go by, where the wall clock shows `wall` and one that nobody sets `steady`.
    pub fn tell(&mut self, wall: Timestamp, steady: Duration) -> Timestamp {
        let expected = self.last.map_or(wall, |(last, before)| {
            let passed = steady.saturating_sub(before).as_millis();
            last + Span::from_millis(u64::try_from(passed).unwrap_or(u64::MAX))
        });
        if wall > expected + LEAP {
            let leapt = *self.leapt.get_or_insert(steady);
            if steady.saturating_sub(leapt) < SETTLES {
                self.last = Some((expected, steady));
                return expected;
            }
        }
        self.leapt = None;
        // Where it was set back it may come to where it was without a doubt.
        self.last = Some((expected.max(wall), steady));
        wall
    }

    /// Whether the wall clock has leapt and is not believed yet.
    #[must_use]
    pub const fn is_in_doubt(&self) -> bool {
        self.leapt.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3600;
    const YEAR: i64 = 365 * 24 * HOUR;

    /// What the wall clock shows beyond the right time from a second on.
    type Set = (u64, i64);

    /// How far what is believed lies beyond the right time, at these seconds.
    fn check(name: &str, sets: &[Set], expect: &[(u64, i64)]) {
        let mut belief = Belief::default();
        let start = Timestamp::from_secs(1_767_571_200);
        let mut expect = expect.iter().peekable();
        for second in 0..=2 * 3600 {
            let beyond = sets.iter().rev().find(|(from, _)| *from <= second).map_or(0, |set| set.1);
            let right = start + Span::from_secs(second);
            let wall = Timestamp::from_secs(right.as_secs() + beyond);
            let told = belief.tell(wall, Duration::from_secs(second + 77));
            if let Some((_, expect)) = expect.next_if(|(at, _)| *at == second) {
                assert_eq!(told.as_secs() - right.as_secs(), *expect, "{name}: at {second}");
            }
        }
        assert!(expect.next().is_none());
    }

    #[test]
    fn a_clock_that_leaps_is_believed_when_it_keeps_to_it() {
        check("nothing", &[], &[(0, 0), (7200, 0)]);
        check("a start at a wrong time", &[(0, YEAR)], &[(0, YEAR), (7200, YEAR)]);
        check("a short step", &[(100, 600)], &[(99, 0), (100, 600), (7200, 600)]);
        check("a year for a minute", &[(100, YEAR), (160, 0)], &[(100, 0), (159, 0), (160, 0)]);
        check("a year for good", &[(100, YEAR)], &[(999, 0), (1000, YEAR), (7200, YEAR)]);
        let twice = [(100, YEAR), (800, 0), (900, YEAR), (1700, 0)];
        check("a year, twice", &twice, &[(799, 0), (899, 0), (1699, 0), (7200, 0)]);
        let other = [(100, YEAR), (500, 2 * YEAR)];
        check("and then another", &other, &[(999, 0), (1000, 2 * YEAR)]);
        check("an hour back", &[(100, -HOUR)], &[(100, -HOUR), (7200, -HOUR)]);
        check("back, and forward", &[(100, -HOUR), (160, 0)], &[(159, -HOUR), (160, 0)]);
        let both = [(100, -HOUR), (5000, YEAR), (5100, -HOUR)];
        check("back, and far forward", &both, &[(4999, -HOUR), (5000, 0), (5100, -HOUR)]);
    }
}
