//! Instants, spans and windows.
//!
//! Everything here is arithmetic on values that were handed in. The one reader of the operating
//! system's clock is [`clock`]; no other module may ask what time it is.

mod belief;
pub mod clock;
mod span;
mod step;
mod weekly;
mod window;
mod zone;

pub use belief::BelievedClock;
pub use span::{ParseSpanError, Span};
pub use step::{Step, Steps};
pub use weekly::{ParseStretchError, Stretch, Weekly};
pub use window::Window;
pub use zone::{NoSuchZone, Zone};

use std::fmt;
use std::ops::{Add, Sub};

/// An instant: milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The beginning of 1970, UTC.
    pub const EPOCH: Self = Self(0);

    /// The instant that lies `millis` milliseconds after the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// The instant that lies `secs` seconds after the epoch.
    #[must_use]
    pub const fn from_secs(secs: i64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    #[must_use]
    pub const fn as_secs(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// The time from `earlier` to `self`; nothing when `earlier` is the later of the two.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        Span::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The last multiple of `step` at or before this instant. Multiples count from the epoch, so
    /// every reader cuts time at the same places.
    #[must_use]
    pub fn align_down(self, step: Span) -> Self {
        let step = step.as_millis_i64().max(1);
        Self(self.0.div_euclid(step).saturating_mul(step))
    }

    /// The calendar's form of it; the calendar's first or last instant where it lies beyond.
    fn to_jiff(self) -> jiff::Timestamp {
        let end = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(end)
    }

    fn from_jiff(instant: jiff::Timestamp) -> Self {
        Self(instant.as_millisecond())
    }

    /// The first multiple of `step` at or after this instant.
    #[must_use]
    pub fn align_up(self, step: Span) -> Self {
        let down = self.align_down(step);
        if down == self { down } else { down + step }
    }

    /// The calendar form in UTC with millisecond precision left out when it is zero, as RFC 3339
    /// writes it: `2026-01-05T00:00:00Z`.
    #[must_use]
    pub fn rfc3339(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => instant.to_string(),
            Err(_) => format!("{}ms", self.0),
        }
    }

    /// The instant that somebody wrote: RFC 3339, seconds since the epoch, or a length of time before
    /// `now` as in `-1h`; `now` itself is one too.
    ///
    /// # Errors
    /// [`ParseInstantError`], where it is none of these.
    pub fn parse(text: &str, now: Self) -> Result<Self, ParseInstantError> {
        let text = text.trim();
        if text == "now" {
            return Ok(now);
        }
        if let Some(back) = text.strip_prefix('-') {
            return Ok(now - back.parse()?);
        }
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::from_secs).map_err(|_| ParseInstantError::Form);
        }
        let instant: jiff::Timestamp = text.parse().map_err(|_| ParseInstantError::Form)?;
        Ok(Self(instant.as_millisecond()))
    }

    /// The time of day to the minute, in the system's zone: `14:05`.
    #[must_use]
    pub fn hour_in_system_zone(self) -> String {
        self.to_jiff().to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M").to_string()
    }

    /// The day, in the system's zone: `5 Jan`.
    #[must_use]
    pub fn day_in_system_zone(self) -> String {
        self.to_jiff().to_zoned(jiff::tz::TimeZone::system()).strftime("%-d %b").to_string()
    }

    /// How far the clocks of the system's zone are ahead of UTC then, in milliseconds.
    #[must_use]
    pub fn system_offset_millis(self) -> i64 {
        i64::from(jiff::tz::TimeZone::system().to_offset(self.to_jiff()).seconds()) * 1000
    }

    /// The form for people: date, time to the second, zone abbreviation, in the system's zone.
    #[must_use]
    pub fn in_system_zone(self) -> String {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(instant) => {
                let zoned = instant.to_zoned(jiff::tz::TimeZone::system());
                zoned.strftime("%Y-%m-%d %H:%M:%S %Z").to_string()
            }
            Err(_) => format!("{}ms", self.0),
        }
    }
}

/// Why a text is not an instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseInstantError {
    /// Neither of the forms.
    #[error("it is none of 2026-01-05T00:00:00Z, seconds since 1970, -1h and now")]
    Form,
    /// A minus sign with something else than a length of time behind it.
    #[error("it is no length of time before now: {0}")]
    Back(#[from] ParseSpanError),
}

impl Add<Span> for Timestamp {
    type Output = Self;

    fn add(self, span: Span) -> Self {
        Self(self.0.saturating_add(span.as_millis_i64()))
    }
}

impl Sub<Span> for Timestamp {
    type Output = Self;

    fn sub(self, span: Span) -> Self {
        Self(self.0.saturating_sub(span.as_millis_i64()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rfc3339())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn aligns_to_multiples_from_the_epoch_also_before_it() {
        let minute = Span::from_secs(60);
        assert_eq!(Timestamp::from_millis(61_500).align_down(minute), Timestamp::from_secs(60));
        assert_eq!(Timestamp::from_secs(60).align_down(minute), Timestamp::from_secs(60));
        assert_eq!(Timestamp::from_millis(-1).align_down(minute), Timestamp::from_secs(-60));
    }

    #[test]
    fn reads_instants_as_people_write_them() {
        let now = Timestamp::from_secs(1_767_571_200);
        let check = |text: &str, expect: Result<i64, ParseInstantError>| {
            assert_eq!(Timestamp::parse(text, now), expect.map(Timestamp::from_secs), "{text}");
        };
        check("now", Ok(1_767_571_200));
        check("-1h", Ok(1_767_567_600));
        check("1767571201", Ok(1_767_571_201));
        check("2026-01-05T01:00:00+01:00", Ok(1_767_571_200));
        for wrong in ["", "yesterday", "99999999999999999999999", "2026-01-05", "1h"] {
            check(wrong, Err(ParseInstantError::Form));
        }
        check("-", Err(ParseInstantError::Back(ParseSpanError::Empty)));
        check("--1h", Err(ParseInstantError::Back(ParseSpanError::Negative)));
    }

    #[test]
    fn writes_rfc_3339() {
        assert_eq!(Timestamp::from_secs(1_767_571_200).rfc3339(), "2026-01-05T00:00:00Z");
        assert_eq!(Timestamp::from_millis(i64::MAX).rfc3339(), format!("{}ms", i64::MAX));
    }

    #[test]
    fn arithmetic_saturates_instead_of_wrapping() {
        let far = Timestamp::from_millis(i64::MAX);
        assert_eq!(far + Span::from_secs(1), far);
        assert_eq!(Timestamp::EPOCH.since(far), Span::ZERO);
    }
}
