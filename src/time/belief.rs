//! The time to go by while the wall clock is being set.
//!
//! A window that was closed stays closed, a silence that is over is forgotten, a link that has expired is refused.
//! So a clock that shows next year for some seconds, and is set right again, would leave nothing to close for a
//! year. Therefore a leap forward is not believed at once: time goes on from before it, by a clock that nobody sets
//! and that runs while the machine sleeps, until the wall clock is back, or has kept to what it says for
//! [`CLOCK_SETTLES_SECS`]. A leap that is right costs this much: windows of that time stand where they would without
//! it, and the gap comes after them. A short step is believed, and so is every step back: windows wait until the
//! clock has caught up. What a clock shows at a start is believed too, since nobody knows how long there was none.

use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use super::clock::Clock;
use super::{Span, Timestamp};
use crate::limits::CLOCK_SETTLES_SECS;

/// A clock as far as it is believed. All who read it are told the same time.
#[derive(Debug)]
pub struct BelievedClock<C> {
    clock: C,
    belief: Belief,
}

impl<C: Clock> BelievedClock<C> {
    /// Believes what the clock shows first.
    pub fn new(clock: C) -> Self {
        Self { clock, belief: Belief::default() }
    }
}

impl<C: Clock> Clock for BelievedClock<C> {
    fn now(&self) -> Timestamp {
        // The wall clock first: a pause between the two then looks like no leap.
        self.belief.tell(self.clock.now(), self.clock.steady())
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn steady(&self) -> Duration {
        self.clock.steady()
    }

    fn doubt(&self) -> Option<Span> {
        let now = self.now();
        self.belief.is_in_doubt().then(|| self.clock.now().since(now))
    }
}

/// The shortest step forward that is not believed at once: what waits behind it may wait.
const LEAP_MILLIS: i64 = Span::from_secs(CLOCK_SETTLES_SECS).as_millis_i64();
const SETTLES_MILLIS: i64 = LEAP_MILLIS;

/// What is not known, or not so.
const NONE: i64 = i64::MIN;

/// What is believed. Each of the two is told by itself: where threads meet in the moment of a leap, one of them may
/// be told the time before it once more, and the next look is right.
#[derive(Debug)]
struct Belief {
    /// How far the wall clock lies beyond the steady one as it is believed, or would be had it not been set back;
    /// in milliseconds.
    beyond: AtomicI64,
    /// What the steady clock showed when the wall clock leapt.
    leapt: AtomicI64,
}

impl Default for Belief {
    fn default() -> Self {
        Self { beyond: AtomicI64::new(NONE), leapt: AtomicI64::new(NONE) }
    }
}

impl Belief {
    /// The time to go by, where the wall clock shows `wall` and one that nobody sets `steady`.
    fn tell(&self, wall: Timestamp, steady: Duration) -> Timestamp {
        let steady = i64::try_from(steady.as_millis()).unwrap_or(i64::MAX);
        let shown = wall.as_millis().saturating_sub(steady);
        let beyond = self.beyond.load(Relaxed);
        if beyond != NONE && shown > beyond.saturating_add(LEAP_MILLIS) {
            let leapt = self.leapt.compare_exchange(NONE, steady, Relaxed, Relaxed);
            let leapt = leapt.map_or_else(|since| since, |_| steady);
            if steady.saturating_sub(leapt) < SETTLES_MILLIS {
                return Timestamp::from_millis(steady.saturating_add(beyond));
            }
        }
        if self.is_in_doubt() {
            self.leapt.store(NONE, Relaxed);
        }
        // Where it was set back it may come to where it was without a doubt.
        if shown > beyond {
            self.beyond.fetch_max(shown, Relaxed);
        }
        wall
    }

    /// Whether the wall clock has leapt and is not believed yet.
    fn is_in_doubt(&self) -> bool {
        self.leapt.load(Relaxed) != NONE
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
        let belief = Belief::default();
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
