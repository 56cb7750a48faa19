//! One value of a StatsD line against the live table.
//!
//! A client that samples sends a share of what happened. A count is divided by that share, an observation stands
//! for as many. What is not whole then is rounded up as often as its fraction says, at random: so each series is
//! told as much as happened, on average, however its lines are sampled, and nothing has to be remembered of it.
//! What is whole is exact: one in ten is ten.

use crate::counters::{Counters, Told};
use crate::limits;
use crate::protocol::statsd::Value;
use crate::time::Timestamp;

/// Where chance comes from: SplitMix64, which has no state to be unlucky with. Nobody's secret rests on it.
/// Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators".
#[derive(Debug)]
pub struct Dice(u64);

/// Why a value is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// The live table did not take it.
    Told(Told),
    /// The count is beyond what can be counted exactly.
    TooMuch,
    /// The observation would stand for more than one may.
    TooRare,
}

/// Counts beyond this are no whole numbers of a double any more.
const COUNT_MAX: f64 = 9_007_199_254_740_992.0;

impl Dice {
    /// Dice that fall in the same way whenever they begin with the same.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// From zero to below one.
    #[expect(clippy::cast_precision_loss, reason = "53 bits are whole in a double")]
    fn throw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / COUNT_MAX
    }

    /// A whole number near one that is not negative, and the same on average.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is not negative, and whoever asks has held it against its bound"
    )]
    pub fn round(&mut self, exact: f64) -> u64 {
        let near = exact.round();
        // What a division leaves of a whole number is not chance's business.
        if (exact - near).abs() <= near * 1e-9 {
            return near as u64;
        }
        exact as u64 + u64::from(self.throw() < exact.fract())
    }
}

/// Does what a value says to a series. Members of sets are for whoever gathers them.
///
/// # Errors
/// [`Untaken`], and then nothing was done.
pub fn sample(
    counters: &Counters,
    key: &[u8],
    value: Value<'_>,
    rate: f64,
    now: Timestamp,
    dice: &mut Dice,
) -> Result<(), Untaken> {
    let told = match value {
        Value::Count(count) => {
            let exact = count.abs() / rate;
            if exact > COUNT_MAX {
                return Err(Untaken::TooMuch);
            }
            let whole = dice.round(exact);
            if count < 0.0 {
                counters.count_down(key, whole, now)
            } else {
                counters.count(key, whole, now)
            }
        }
        Value::Observed(value) => {
            let weight = u32::try_from(dice.round(1.0 / rate)).unwrap_or(u32::MAX);
            if weight > limits::OBSERVATION_WEIGHT {
                return Err(Untaken::TooRare);
            }
            counters.observe_key(key, value, weight, now)
        }
        Value::Gauge(value) => counters.gauge(key, now, |_| value),
        Value::Change(by) => counters.gauge(key, now, |before| before + by),
        Value::Member(_) => Told::OtherKind,
    };
    if told == Told::Taken { Ok(()) } else { Err(Untaken::Told(told)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::engine::Engine;

    const NOW: Timestamp = Timestamp::from_secs(1_000_000);

    fn total(lines: &[(f64, f64)], times: u32) -> u64 {
        let engine = Engine::new(&Config::default(), NOW);
        let (counters, mut dice) = (engine.counters(), Dice::new(7));
        for _ in 0..times {
            for (count, rate) in lines {
                sample(counters, b"a", Value::Count(*count), *rate, NOW, &mut dice).unwrap();
            }
        }
        let shown =
            |view: crate::counters::View<'_>| String::from_utf8_lossy(view.value).into_owned();
        counters.get(b"a", NOW, shown).unwrap().trim_end().parse().unwrap()
    }

    #[test]
    fn what_is_whole_is_exact() {
        for (count, rate, expect) in [
            (1.0, 1.0, 1),
            (1.0, 0.1, 10),
            (3.0, 0.1, 30),
            (7.0, 0.7, 10),
            (1.0, 0.001, 1000),
            (1.0, 1e-6, 1_000_000),
            (0.0, 0.3, 0),
            (49.0, 0.49, 100),
            (9e15, 1.0, 9_000_000_000_000_000),
        ] {
            assert_eq!(total(&[(count, rate)], 1), expect, "{count} at {rate}");
        }
    }

    #[test]
    fn what_is_not_whole_is_right_on_average() {
        // Thirty thousand lines of one in three, and of a half: four standard deviations are 0.35 % of these.
        for (line, each) in [((1.0, 0.3), 10.0 / 3.0), ((0.5, 1.0), 0.5), ((0.2, 0.3), 2.0 / 3.0)] {
            let expect = each * 30_000.0;
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let total = total(&[line], 30_000) as f64;
            assert!(
                (total - expect).abs() < 4.0 * (30_000.0_f64 / 4.0).sqrt(),
                "{line:?}: {total}"
            );
        }
    }

    #[test]
    fn what_cannot_be_counted_is_refused() {
        let engine = Engine::new(&Config::default(), NOW);
        let (counters, mut dice) = (engine.counters(), Dice::new(7));
        let mut tell = |value, rate| sample(counters, b"a", value, rate, NOW, &mut dice);
        assert_eq!(tell(Value::Count(1e300), 1.0), Err(Untaken::TooMuch));
        assert_eq!(tell(Value::Count(1.0), 1e-300), Err(Untaken::TooMuch));
        assert_eq!(tell(Value::Observed(1.0), 1e-7), Err(Untaken::TooRare));
        let huge = Value::Observed(f64::MAX);
        assert_eq!(tell(huge, 0.5), Err(Untaken::Told(Told::NotFinite)));
        assert_eq!(tell(Value::Count(-1.0), 1.0), Err(Untaken::Told(Told::Nothing)));
        assert_eq!(counters.series(), 0);
        assert_eq!(tell(Value::Observed(1.0), 1.0 / f64::from(limits::OBSERVATION_WEIGHT)), Ok(()));
        assert_eq!(tell(Value::Gauge(1.0), 1.0), Err(Untaken::Told(Told::OtherKind)));
    }
}
