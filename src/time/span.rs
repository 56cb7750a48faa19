//! A length of time, and the way people write one: `10s`, `5m`, `1h30m`, `7d`, `1w`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time in whole milliseconds. Never negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

/// Why a text is not a length of time. The text goes on after "is not a duration: ".
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSpanError {
    /// Nothing was written.
    #[error("it is empty")]
    Empty,
    /// A minus sign; a length of time has none.
    #[error("it may not be negative")]
    Negative,
    /// A number without a unit, or a unit that is not one of ours.
    #[error("each number needs a unit: ms, s, m, h, d or w")]
    Unit,
    /// A unit without a number before it.
    #[error("a number is missing before the unit")]
    Number,
    /// More than 2^63 milliseconds.
    #[error("it is too long")]
    TooLong,
}

/// Units from long to short, in milliseconds. A month and a year are not here: they differ.
const UNITS: [(&str, u64); 6] = [
    ("w", 604_800_000),
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);
    /// The base window: one second.
    pub const SECOND: Self = Self(1000);
    /// Twenty-four hours.
    pub const DAY: Self = Self(86_400_000);
    /// Seven days.
    pub const WEEK: Self = Self(7 * 86_400_000);

    /// A span of `millis` milliseconds.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// A span of `secs` seconds.
    #[must_use]
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// The length in milliseconds.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// The length in milliseconds as a signed number, at most `i64::MAX`.
    #[must_use]
    pub const fn as_millis_i64(self) -> i64 {
        if self.0 > i64::MAX as u64 { i64::MAX } else { self.0.cast_signed() }
    }

    /// The length in seconds, with its fraction.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "exact below 285,000 years")]
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1000.0
    }

    /// Whether there is no time in it.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// Whether `self` is a whole number of `step`s.
    #[must_use]
    pub const fn is_multiple_of(self, step: Self) -> bool {
        step.0 != 0 && self.0.is_multiple_of(step.0)
    }

    /// Both lengths one after the other; at most the greatest length there is.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of `self` without `other`; nothing where that is the longer one.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// The standard library's form, for timers.
    #[must_use]
    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

impl FromStr for Span {
    type Err = ParseSpanError;

    fn from_str(text: &str) -> Result<Self, ParseSpanError> {
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(ParseSpanError::Empty);
        }
        if rest.starts_with('-') {
            return Err(ParseSpanError::Negative);
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (number, tail) = split_at_non(rest, |c| c.is_ascii_digit());
            let (unit, tail) = split_at_non(tail, |c| c.is_ascii_alphabetic());
            if number.is_empty() {
                return Err(if unit.is_empty() {
                    ParseSpanError::Unit
                } else {
                    ParseSpanError::Number
                });
            }
            let number: u64 = number.parse().map_err(|_| ParseSpanError::TooLong)?;
            let scale = UNITS.iter().find(|(name, _)| *name == unit).ok_or(ParseSpanError::Unit)?.1;
            total = number
                .checked_mul(scale)
                .and_then(|millis| total.checked_add(millis))
                .filter(|total| i64::try_from(*total).is_ok())
                .ok_or(ParseSpanError::TooLong)?;
            rest = tail;
        }
        Ok(Self(total))
    }
}

/// Cuts `text` before the first character that does not satisfy `is_part`.
fn split_at_non(text: &str, is_part: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !is_part(c)).unwrap_or(text.len()))
}

impl fmt::Display for Span {
    /// The shortest exact form: `90s` prints as `1m30s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.0;
        for (name, scale) in UNITS {
            // `7d` and `40d` are written in days; a week is written only when it is exact.
            if name == "w" && !rest.is_multiple_of(scale) {
                continue;
            }
            if rest >= scale {
                write!(f, "{}{name}", rest / scale)?;
                rest %= scale;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(text: &str, expect: Result<u64, ParseSpanError>) {
        assert_eq!(text.parse::<Span>(), expect.map(Span::from_millis), "{text:?}");
    }

    #[test]
    fn reads_what_people_write() {
        check("10s", Ok(10_000));
        check("5m", Ok(300_000));
        check("1h30m", Ok(5_400_000));
        check("7d", Ok(604_800_000));
        check("1w", Ok(604_800_000));
        check("250ms", Ok(250));
        check("0s", Ok(0));
    }

    #[test]
    fn refuses_what_is_unclear() {
        check("", Err(ParseSpanError::Empty));
        check("10", Err(ParseSpanError::Unit));
        check("10 s", Err(ParseSpanError::Unit));
        check("1y", Err(ParseSpanError::Unit));
        check("s", Err(ParseSpanError::Number));
        check("-5s", Err(ParseSpanError::Negative));
        check("99999999999999999999s", Err(ParseSpanError::TooLong));
        check("9223372036854775807w", Err(ParseSpanError::TooLong));
    }

    proptest! {
        #[test]
        fn prints_what_it_reads(millis in 0..i64::MAX.cast_unsigned()) {
            let span = Span::from_millis(millis);
            prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
        }
    }
}
