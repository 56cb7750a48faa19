//! Time zones: so many days before, on the clocks of a place.
//!
//! Names and rules are the IANA database's: the system's, or the one that is built in where it has none. A
//! day is 23 or 25 hours long where clocks are turned. A time of day that they skipped is read by the
//! offset from before (half past two is half past three then); of one that they showed twice, the first is
//! meant. That is RFC 5545's rule, which jiff calls compatible. Nobody here knows the machine's own zone.

use std::fmt;
use std::str::FromStr;

use jiff::tz::TimeZone;

use super::{Span, Timestamp};

/// The clocks of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone(TimeZone);

/// A name that is not in the database.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called `{0}`; write one like Europe/Berlin or UTC")]
pub struct NoSuchZone(String);

impl Zone {
    /// What the clocks show, for the calendar's own arithmetic.
    pub(super) fn clocks(&self) -> &TimeZone {
        &self.0
    }

    /// No zone turns its clocks further than this between two days: Troll does by two hours. Where a
    /// place changes its date (Samoa left out a day in 2011), more has to be looked at than is promised.
    pub const TURN: Span = Span::from_secs(2 * 60 * 60);

    /// The instant at which these clocks showed the same time of day, so many days before. Where the
    /// calendar does not reach as far, days of 24 hours.
    #[must_use]
    pub fn days_before(&self, instant: Timestamp, days: u32) -> Timestamp {
        let even = Span::from_millis(Span::DAY.as_millis() * u64::from(days));
        self.before(instant, days).unwrap_or(instant - even)
    }

    fn before(&self, instant: Timestamp, days: u32) -> Option<Timestamp> {
        let at = jiff::Timestamp::from_millisecond(instant.as_millis()).ok()?;
        let days = jiff::Span::new().try_days(days).ok()?;
        let then = self.0.to_datetime(at).checked_sub(days).ok()?;
        let then = self.0.to_timestamp(then).ok()?;
        Some(Timestamp::from_millis(then.as_millisecond()))
    }
}

impl FromStr for Zone {
    type Err = NoSuchZone;

    fn from_str(name: &str) -> Result<Self, NoSuchZone> {
        match TimeZone::get(name) {
            Ok(zone) if !zone.is_unknown() => Ok(Self(zone)),
            _ => Err(NoSuchZone(name.to_owned())),
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.iana_name().unwrap_or("UTC"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An instant as it is written, with its offset.
    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text, Timestamp::EPOCH).unwrap()
    }

    /// Zone, days, an instant, and the one that many days before.
    const CASES: [(&str, u32, &str, &str); 27] = [
        // Nothing happens.
        ("UTC", 1, "2026-03-29T02:30:00Z", "2026-03-28T02:30:00Z"),
        ("UTC", 14, "2026-11-01T00:00:00Z", "2026-10-18T00:00:00Z"),
        ("UTC", 1, "2024-03-01T12:00:00Z", "2024-02-29T12:00:00Z"),
        ("Asia/Kolkata", 1, "2026-03-29T02:30:00+05:30", "2026-03-28T02:30:00+05:30"),
        ("Asia/Kolkata", 7, "2026-11-01T00:00:00+05:30", "2026-10-25T00:00:00+05:30"),
        ("Asia/Kolkata", 14, "2026-01-05T23:59:59+05:30", "2025-12-22T23:59:59+05:30"),
        ("America/Los_Angeles", 1, "2026-06-10T09:00:00-07:00", "2026-06-09T09:00:00-07:00"),
        // Los Angeles springs forward on 8 March at 02:00: a day of 23 hours.
        ("America/Los_Angeles", 1, "2026-03-08T01:59:59-08:00", "2026-03-07T01:59:59-08:00"),
        ("America/Los_Angeles", 1, "2026-03-08T03:00:00-07:00", "2026-03-07T03:00:00-08:00"),
        ("America/Los_Angeles", 1, "2026-03-08T09:00:00-07:00", "2026-03-07T09:00:00-08:00"),
        ("America/Los_Angeles", 7, "2026-03-10T09:00:00-07:00", "2026-03-03T09:00:00-08:00"),
        ("America/Los_Angeles", 14, "2026-03-21T09:00:00-07:00", "2026-03-07T09:00:00-08:00"),
        // The day after, at a time that the day before left out.
        ("America/Los_Angeles", 1, "2026-03-09T02:00:00-07:00", "2026-03-08T03:00:00-07:00"),
        ("America/Los_Angeles", 1, "2026-03-09T02:30:00-07:00", "2026-03-08T03:30:00-07:00"),
        ("America/Los_Angeles", 1, "2026-03-09T03:00:00-07:00", "2026-03-08T03:00:00-07:00"),
        // It falls back on 1 November at 02:00: a day of 25 hours.
        ("America/Los_Angeles", 1, "2026-11-01T01:30:00-07:00", "2026-10-31T01:30:00-07:00"),
        ("America/Los_Angeles", 1, "2026-11-01T01:30:00-08:00", "2026-10-31T01:30:00-07:00"),
        ("America/Los_Angeles", 1, "2026-11-01T02:00:00-08:00", "2026-10-31T02:00:00-07:00"),
        // The day after, at a time that the day before showed twice: the first is meant.
        ("America/Los_Angeles", 1, "2026-11-02T01:30:00-08:00", "2026-11-01T01:30:00-07:00"),
        ("America/Los_Angeles", 7, "2026-11-08T02:00:00-08:00", "2026-11-01T02:00:00-08:00"),
        // Berlin: 29 March at 02:00, 25 October at 03:00.
        ("Europe/Berlin", 1, "2026-03-29T09:00:00+02:00", "2026-03-28T09:00:00+01:00"),
        ("Europe/Berlin", 1, "2026-03-30T02:30:00+02:00", "2026-03-29T03:30:00+02:00"),
        ("Europe/Berlin", 7, "2026-04-05T00:00:00+02:00", "2026-03-29T00:00:00+01:00"),
        ("Europe/Berlin", 14, "2026-04-05T12:00:00+02:00", "2026-03-22T12:00:00+01:00"),
        ("Europe/Berlin", 1, "2026-10-25T02:30:00+01:00", "2026-10-24T02:30:00+02:00"),
        ("Europe/Berlin", 1, "2026-10-26T02:30:00+01:00", "2026-10-25T02:30:00+02:00"),
        ("Europe/Berlin", 7, "2026-11-01T02:30:00+01:00", "2026-10-25T02:30:00+02:00"),
    ];

    #[test]
    fn days_before_are_the_days_of_the_place() {
        for (zone, days, instant, expect) in CASES {
            let then = zone.parse::<Zone>().unwrap().days_before(at(instant), days);
            assert_eq!(then, at(expect), "{zone}: {days} days before {instant} is {then}");
        }
    }

    #[test]
    fn the_ends_of_the_calendar_are_counted_in_even_days() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        for instant in [Timestamp::from_millis(i64::MIN), Timestamp::from_millis(i64::MAX)] {
            assert_eq!(zone.days_before(instant, 1), instant - Span::DAY);
        }
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert_eq!("europe/berlin".parse::<Zone>().unwrap().to_string(), "Europe/Berlin");
        for name in ["", "Berlin/Europe", "../../etc/passwd", "Etc/Unknown"] {
            assert_eq!(name.parse::<Zone>(), Err(NoSuchZone(name.to_owned())));
        }
    }
}
