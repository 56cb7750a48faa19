//! Hours of the week in a time zone, with dates that are left out.
//!
//! What the clock on the wall of that zone shows decides, and nothing else: an hour that daylight saving
//! repeats counts twice, one that it leaves out not at all, and a stretch that would begin in it begins
//! with the first minute there is. A stretch belongs to the day on which it begins, also where it goes on
//! past midnight; so a date that is left out takes its whole night with it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, Offset};

use super::{Timestamp, Zone};

/// The days of the week, as they are written.
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// How far a search for a change looks past a day after which nothing special is known. Every day of the
/// week is in it twice, one of them on no day when clocks are changed.
const SEARCH_DAYS: i64 = 15;

/// Hours of some days of the week: `Mon-Fri 08:00-20:00`, `Fri 22:00-02:00`, `Sat,Sun`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// A bit for each day on which it begins, Monday the lowest. Never none.
    days: u8,
    /// Its first minute of the day.
    start: u16,
    /// The minute after its last one; where that is not after `start`, it is one of the next day.
    end: u16,
}

/// Why a text is not a stretch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseStretchError {
    /// Neither days nor times.
    #[error("write days, times or both: Mon-Fri 08:00-20:00")]
    Form,
    /// A day that the week does not have.
    #[error("`{0}` is not a day: write Mon, Tue, Wed, Thu, Fri, Sat or Sun")]
    Day(String),
    /// A time that the day does not have.
    #[error("`{0}` is not a time of day from 00:00 to 24:00")]
    Time(String),
    /// It begins when it ends.
    #[error("it ends when it begins; a whole day is 00:00-24:00")]
    Empty,
}

/// Hours of the week.
#[derive(Clone, Debug, PartialEq)]
pub struct Weekly {
    stretches: Vec<Stretch>,
    zone: Zone,
    except: BTreeSet<Date>,
}

impl Weekly {
    /// The hours that any of the stretches has, but for those that begin on one of the dates.
    #[must_use]
    pub fn new(stretches: Vec<Stretch>, zone: Zone, except: BTreeSet<Date>) -> Self {
        Self { stretches, zone, except }
    }

    /// The zone of its clock.
    #[must_use]
    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// The stretches, in the order in which they were given.
    #[must_use]
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// Whether `instant` lies in it.
    #[must_use]
    pub fn is_active(&self, instant: Timestamp) -> bool {
        let local = self.zone.clocks().to_datetime(instant.to_jiff());
        let minute = minute_of_day(local.hour(), local.minute());
        let today = local.date();
        let yesterday = today.yesterday().unwrap_or(today);
        self.stretches.iter().any(|stretch| {
            let begins = |date: Date| stretch.is_on(date) && !self.except.contains(&date);
            stretch.has_begun(minute) && begins(today)
                || stretch.goes_on(minute) && begins(yesterday)
        })
    }

    /// The first instant after `after` that is active where `after` is not, or the other way round; `None`
    /// where that never changes.
    #[must_use]
    pub fn next_change(&self, after: Timestamp) -> Option<Timestamp> {
        let is_active = self.is_active(after);
        let today = self.zone.clocks().to_datetime(after.to_jiff()).date();
        let minutes = self.minutes();
        let special = self.except.range(plus_days(today, -1)..).copied();
        // Where a search finds nothing, the week has no change in it, until a date that is left out.
        std::iter::once(today).chain(special).find_map(|day| {
            let mut instants = self.instants(plus_days(day, -1), &minutes);
            instants.retain(|instant| *instant > after);
            instants.sort_unstable();
            instants.into_iter().find(|instant| self.is_active(*instant) != is_active)
        })
    }

    /// The minutes of the day at which something may begin or end.
    fn minutes(&self) -> BTreeSet<u16> {
        let ends = self.stretches.iter().flat_map(|stretch| [stretch.start, stretch.end % DAY]);
        // A date that is left out begins and ends at midnight.
        ends.chain([0]).collect()
    }

    /// Every instant of the days from `first` on at which something may change, in no order.
    fn instants(&self, first: Date, minutes: &BTreeSet<u16>) -> Vec<Timestamp> {
        let mut instants = Vec::new();
        for day in 0..=SEARCH_DAYS + 1 {
            let date = plus_days(first, day);
            for minute in minutes {
                instants.extend(self.when(date, *minute).into_iter().flatten());
            }
        }
        let begin = instants.iter().min().copied().unwrap_or_default();
        let end = instants.iter().max().copied().unwrap_or_default();
        let shifts = self.zone.clocks().following(begin.to_jiff());
        let shifts = shifts.map(|shift| Timestamp::from_jiff(shift.timestamp()));
        instants.extend(shifts.take_while(|shift| *shift < end));
        instants
    }

    /// The instants, two at most, at which the clock may show that minute of that day.
    fn when(&self, date: Date, minute: u16) -> [Option<Timestamp>; 2] {
        let hour = i8::try_from(minute / 60).unwrap_or_default();
        let local = date.at(hour, i8::try_from(minute % 60).unwrap_or_default(), 0, 0);
        let at = |offset: Offset| offset.to_timestamp(local).ok().map(Timestamp::from_jiff);
        match self.zone.clocks().to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => [at(offset), None],
            AmbiguousOffset::Gap { before, after } | AmbiguousOffset::Fold { before, after } => {
                [at(before), at(after)]
            }
        }
    }
}

impl Stretch {
    fn is_on(self, date: Date) -> bool {
        let day = date.weekday().to_monday_zero_offset();
        self.days & (1 << day) != 0
    }

    /// Whether a day on which it begins has it at that minute.
    fn has_begun(self, minute: u16) -> bool {
        minute >= self.start && (minute < self.end || self.end <= self.start)
    }

    /// Whether the day after one on which it begins has it at that minute.
    fn goes_on(self, minute: u16) -> bool {
        self.end <= self.start && minute < self.end
    }
}

fn plus_days(date: Date, days: i64) -> Date {
    date.saturating_add(jiff::Span::new().days(days))
}

fn minute_of_day(hour: i8, minute: i8) -> u16 {
    u16::from(hour.unsigned_abs()) * 60 + u16::from(minute.unsigned_abs())
}

impl FromStr for Stretch {
    type Err = ParseStretchError;

    fn from_str(text: &str) -> Result<Self, ParseStretchError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(ParseStretchError::Form);
        }
        let (days_text, times_text) = match text.rsplit_once(char::is_whitespace) {
            Some((days, times)) => (Some(days.trim_end()), Some(times)),
            None if text.contains(':') => (None, Some(text)),
            None => (Some(text), None),
        };
        let (start, end) = times_text.map_or(Ok((0, DAY)), times)?;
        Ok(Self { days: days_text.map_or(Ok(0x7f), days)?, start, end })
    }
}

/// `Mon-Fri,Sun`, as bits. A range may go round the end of the week.
fn days(text: &str) -> Result<u8, ParseStretchError> {
    text.split(',').try_fold(0, |found, part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        Ok((0..=length).fold(found, |found, step| found | 1 << ((first + step) % 7)))
    })
}

fn day(text: &str) -> Result<usize, ParseStretchError> {
    let text = text.trim();
    let found = DAYS.iter().position(|day| day.eq_ignore_ascii_case(text));
    found.ok_or_else(|| ParseStretchError::Day(text.to_owned()))
}

fn times(text: &str) -> Result<(u16, u16), ParseStretchError> {
    let (start, end) = text.split_once('-').ok_or(ParseStretchError::Form)?;
    let (first, last) = (time(start)?, time(end)?);
    if first == DAY {
        return Err(ParseStretchError::Time(start.to_owned()));
    }
    if first == last {
        return Err(ParseStretchError::Empty);
    }
    // Until midnight, however that is written.
    Ok((first, if last == 0 { DAY } else { last }))
}

fn time(text: &str) -> Result<u16, ParseStretchError> {
    let wrong = || ParseStretchError::Time(text.to_owned());
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let number = |digits: &str| match digits.len() {
        1 | 2 if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse::<u16>().ok(),
        _ => None,
    };
    let (hour, minute) = number(hour).zip(number(minute)).ok_or_else(wrong)?;
    let time = hour * 60 + minute;
    if minute < 60 && time <= DAY { Ok(time) } else { Err(wrong()) }
}

impl fmt::Display for Stretch {
    /// `Mon,Tue,Wed 08:00-20:00`, each day by itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = DAYS.iter().enumerate().filter(|(day, _)| self.days & (1 << day) != 0);
        let names: Vec<_> = names.map(|(_, name)| *name).collect();
        let Self { start, end, .. } = self;
        let (days, hours) = (names.join(","), [start, end].map(|time| (time / 60, time % 60)));
        let [(from, from_minute), (to, to_minute)] = hours;
        write!(f, "{days} {from:02}:{from_minute:02}-{to:02}:{to_minute:02}")
    }
}

#[cfg(test)]
mod tests;
