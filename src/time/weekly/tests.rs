//! Days on which clocks are changed, one by one; and any week against a model that goes through it minute
//! by minute with a table of offsets.

use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::time::Span;

/// The offsets of a zone in 2026, in minutes: before the first change, and from each change on.
struct Offsets {
    zone: &'static str,
    first: i64,
    changes: &'static [(&'static str, i64)],
}

const ZONES: [Offsets; 5] = [
    Offsets {
        zone: "America/Los_Angeles",
        first: -480,
        changes: &[("2026-03-08T10:00:00Z", -420), ("2026-11-01T09:00:00Z", -480)],
    },
    Offsets {
        zone: "Europe/Berlin",
        first: 60,
        changes: &[("2026-03-29T01:00:00Z", 120), ("2026-10-25T01:00:00Z", 60)],
    },
    Offsets { zone: "Asia/Kolkata", first: 330, changes: &[] },
    Offsets { zone: "UTC", first: 0, changes: &[] },
    Offsets {
        zone: "Australia/Lord_Howe",
        first: 660,
        changes: &[("2026-04-04T15:00:00Z", 630), ("2026-10-03T15:30:00Z", 660)],
    },
];

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text, Timestamp::EPOCH).unwrap()
}

fn weekly(times: &[&str], zone: &str, except: &[&str]) -> Weekly {
    let stretches = times.iter().map(|text| text.parse().unwrap()).collect();
    let except = except.iter().map(|text| text.parse().unwrap()).collect();
    Weekly::new(stretches, zone.parse().unwrap(), except)
}

/// From when until when it is active, in the span given, as the zone's clock shows it with its offset.
fn play(weekly: &Weekly, from: &str, until: &str) -> Vec<String> {
    let (mut now, until) = (at(from), at(until));
    let shown = |instant: Timestamp| {
        let zoned = instant.to_jiff().to_zoned(weekly.zone().clocks().clone());
        zoned.strftime("%a %d %H:%M%:z").to_string()
    };
    let mut found: Vec<String> = Vec::new();
    while let Some(change) = weekly.next_change(now).filter(|change| *change <= until) {
        now = change;
        match found.last_mut() {
            Some(open) if !weekly.is_active(now) => {
                open.push_str(" – ");
                open.push_str(&shown(now));
            }
            _ => found.push(shown(now)),
        }
    }
    found
}

#[test]
fn days_on_which_clocks_are_changed() {
    let check = |times: &str, zone: &str, day: &str, expect: &[&str]| {
        let midnight = jiff::civil::Date::strptime("%Y-%m-%d", day).unwrap();
        let midnight = midnight.to_zoned(TimeZone::get(zone).unwrap()).unwrap().timestamp();
        let from = Timestamp::from_jiff(midnight) - Span::from_secs(60);
        let until = from + Span::from_secs(36 * 3600);
        let found = play(&weekly(&[times], zone, &[]), &from.rfc3339(), &until.rfc3339());
        assert_eq!(found, expect, "{times} {zone} {day}");
    };
    let (pacific, berlin, kolkata) = ("America/Los_Angeles", "Europe/Berlin", "Asia/Kolkata");
    // The hour from 02:00 to 03:00 is left out.
    check("Sun 01:00-04:00", pacific, "2026-03-08", &["Sun 08 01:00-08:00 – Sun 08 04:00-07:00"]);
    check("Sun 02:30-04:00", pacific, "2026-03-08", &["Sun 08 03:00-07:00 – Sun 08 04:00-07:00"]);
    check("Sun 01:00-02:30", pacific, "2026-03-08", &["Sun 08 01:00-08:00 – Sun 08 03:00-07:00"]);
    check("Sun 02:15-02:45", pacific, "2026-03-08", &[]);
    check("Sat 22:00-02:30", berlin, "2026-03-28", &["Sat 28 22:00+01:00 – Sun 29 03:00+02:00"]);
    check("Sun 02:00-03:00", berlin, "2026-03-29", &[]);
    check("Sun 08:00-20:00", berlin, "2026-03-29", &["Sun 29 08:00+02:00 – Sun 29 20:00+02:00"]);
    // The hour from 01:00 to 02:00 is there twice.
    check(
        "Sun 00:30-01:30",
        pacific,
        "2026-11-01",
        &["Sun 01 00:30-07:00 – Sun 01 01:30-07:00", "Sun 01 01:00-08:00 – Sun 01 01:30-08:00"],
    );
    check(
        "Sun 01:30-03:00",
        pacific,
        "2026-11-01",
        &["Sun 01 01:30-07:00 – Sun 01 01:00-08:00", "Sun 01 01:30-08:00 – Sun 01 03:00-08:00"],
    );
    check("Sun 00:00-04:00", pacific, "2026-11-01", &["Sun 01 00:00-07:00 – Sun 01 04:00-08:00"]);
    check("Sat 22:00-06:00", berlin, "2026-10-24", &["Sat 24 22:00+02:00 – Sun 25 06:00+01:00"]);
    check("Sun 08:00-20:00", kolkata, "2026-03-29", &["Sun 29 08:00+05:30 – Sun 29 20:00+05:30"]);
    check("Sat 22:00-02:00", kolkata, "2026-10-24", &["Sat 24 22:00+05:30 – Sun 25 02:00+05:30"]);
}

#[test]
fn a_night_belongs_to_the_day_on_which_it_begins() {
    let nights = weekly(&["Thu-Sat 22:00-02:00"], "Europe/Berlin", &["2026-12-25"]);
    assert_eq!(
        play(&nights, "2026-12-24T00:00:00Z", "2026-12-28T00:00:00Z"),
        ["Thu 24 22:00+01:00 – Fri 25 02:00+01:00", "Sat 26 22:00+01:00 – Sun 27 02:00+01:00",]
    );
}

#[test]
fn stretches_that_meet_are_one() {
    let peak = weekly(&["Mon-Fri 08:00-12:00", "Mon-Fri 11:00-20:00", "Sat"], "UTC", &[]);
    assert_eq!(
        play(&peak, "2026-01-08T00:00:00Z", "2026-01-11T12:00:00Z"),
        [
            "Thu 08 08:00+00:00 – Thu 08 20:00+00:00",
            "Fri 09 08:00+00:00 – Fri 09 20:00+00:00",
            "Sat 10 00:00+00:00 – Sun 11 00:00+00:00",
        ]
    );
}

#[test]
fn what_never_changes_has_no_next_change() {
    let always = weekly(&["00:00-24:00"], "America/Los_Angeles", &[]);
    assert_eq!(always.next_change(at("2026-01-05T00:00:00Z")), None);
    let but_once = weekly(&["Mon-Sun"], "UTC", &["2026-01-01", "2029-02-03"]);
    assert_eq!(but_once.next_change(at("2026-01-05T00:00:00Z")), Some(at("2029-02-03T00:00:00Z")));
    assert_eq!(but_once.next_change(at("2029-02-03T00:00:00Z")), Some(at("2029-02-04T00:00:00Z")));
    assert_eq!(but_once.next_change(at("2029-02-05T00:00:00Z")), None);
    let closed: Vec<_> = (1..=25).map(|day| format!("2026-12-{day:02}")).collect();
    let closed: Vec<_> = closed.iter().map(String::as_str).collect();
    let weekdays = weekly(&["Mon-Fri 08:00-09:00"], "UTC", &closed);
    assert_eq!(weekdays.next_change(at("2026-11-30T12:00:00Z")), Some(at("2026-12-28T08:00:00Z")));
}

#[test]
fn the_ends_of_time_are_answered() {
    let nights = weekly(&["22:00-02:00"], "Europe/Berlin", &[]);
    for end in [i64::MIN, i64::MAX] {
        let instant = Timestamp::from_millis(end);
        let _ = (nights.is_active(instant), nights.next_change(instant));
    }
}

#[test]
fn reads_days_and_times() {
    let check = |text: &str, expect: &str| {
        assert_eq!(text.parse::<Stretch>().unwrap().to_string(), expect, "{text}");
    };
    check("Mon-Fri 08:00-20:00", "Mon,Tue,Wed,Thu,Fri 08:00-20:00");
    check("Fri 22:00-02:00", "Fri 22:00-02:00");
    check("Sat-Mon,wed 8:00-9:05", "Mon,Wed,Sat,Sun 08:00-09:05");
    check(" Sat ", "Sat 00:00-24:00");
    check("22:00-00:00", "Mon,Tue,Wed,Thu,Fri,Sat,Sun 22:00-24:00");
    let refused = |text: &str, expect: &str| {
        assert_eq!(text.parse::<Stretch>().unwrap_err().to_string(), expect, "{text}");
    };
    refused("", "write days, times or both: Mon-Fri 08:00-20:00");
    refused("Mon 08:00", "write days, times or both: Mon-Fri 08:00-20:00");
    refused("Mo-Fri 08:00-20:00", "`Mo` is not a day: write Mon, Tue, Wed, Thu, Fri, Sat or Sun");
    refused("Mon 08:00-20", "`20` is not a time of day from 00:00 to 24:00");
    refused("Mon 08:00-24:01", "`24:01` is not a time of day from 00:00 to 24:00");
    refused("Mon 08:60-09:00", "`08:60` is not a time of day from 00:00 to 24:00");
    refused("Mon 24:00-09:00", "`24:00` is not a time of day from 00:00 to 24:00");
    refused("Mon 08:00-08:00", "it ends when it begins; a whole day is 00:00-24:00");
    refused("Mon +8:00-9:00", "`+8:00` is not a time of day from 00:00 to 24:00");
}

// The model: offsets from the table above, days and minutes by division alone.

struct Model<'a> {
    offsets: &'a Offsets,
    /// Days as bits, first minute, minute after the last.
    stretches: &'a [(u8, i64, i64)],
    /// Days since 1970.
    except: &'a [i64],
}

impl Model<'_> {
    fn is_active(&self, minute: i64) -> bool {
        let mut offset = self.offsets.first;
        for (from, then) in self.offsets.changes {
            if minute * 60 >= at(from).as_secs() {
                offset = *then;
            }
        }
        let local = minute + offset;
        // Any stretch that began within the last two days and has not ended.
        (0..2).any(|back| {
            let day = local.div_euclid(1440) - back;
            // The first day of 1970 was a Thursday.
            let weekday = (day + 3).rem_euclid(7);
            let is_open = |(days, start, end): &(u8, i64, i64)| {
                let length = if end > start { end - start } else { end + 1440 - start };
                let begin = day * 1440 + start;
                days & (1 << weekday) != 0 && (begin..begin + length).contains(&local)
            };
            !self.except.contains(&day) && self.stretches.iter().any(is_open)
        })
    }
}

fn stretch() -> impl Strategy<Value = (u8, i64, i64)> {
    // Round times and odd ones, many of them in the hours when clocks are changed.
    let time = prop_oneof![(0..8_i64).prop_map(|half| half * 30), 0..1440_i64];
    (1..128_u8, time.clone(), time)
        .prop_filter("it takes time", |(_, start, end)| start != end && *end > 0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]
    #[test]
    fn any_week_is_what_the_clock_on_the_wall_shows(
        zone in 0..ZONES.len(),
        stretches in prop::collection::vec(stretch(), 1..4),
        near in 0..3_usize,
        offset in -4000..4000_i64,
        except in prop::collection::vec(-3..4_i64, 0..3),
    ) {
        let offsets = &ZONES[zone];
        let middle = offsets.changes.get(near).map_or("2026-06-14T00:00:00Z", |(at, _)| at);
        let middle = at(middle).as_secs() / 60;
        let except: Vec<_> = except.iter().map(|day| middle.div_euclid(1440) + day).collect();
        let model = Model { offsets, stretches: &stretches, except: &except };
        let date = |day: &i64| plus_days(Date::constant(1970, 1, 1), *day);
        let weekly = Weekly::new(
            stretches.iter().map(|(days, start, end)| Stretch {
                days: *days,
                start: u16::try_from(*start).unwrap(),
                end: u16::try_from(*end).unwrap(),
            }).collect(),
            offsets.zone.parse().unwrap(),
            except.iter().map(date).collect(),
        );
        let instant = |minute: i64| Timestamp::from_secs(minute * 60);
        let first = middle + offset;
        let is_active = model.is_active(first);
        prop_assert_eq!(weekly.is_active(instant(first)), is_active);
        // Until past the days that are left out, and a week more.
        let last = middle.max(first) + 12 * 1440;
        let change = (first + 1..last).find(|minute| model.is_active(*minute) != is_active);
        let found = weekly.next_change(instant(first)).filter(|found| *found < instant(last));
        prop_assert_eq!(found, change.map(instant));
        for minute in first..change.unwrap_or(first + 600) {
            prop_assert_eq!(weekly.is_active(instant(minute)), is_active, "minute {}", minute);
        }
    }

    #[test]
    fn prints_what_it_reads(days in 1..128_u8, start in 0..1440_u16, end in 1..=1440_u16) {
        prop_assume!(start != end);
        let stretch = Stretch { days, start, end };
        prop_assert_eq!(stretch.to_string().parse(), Ok(stretch));
    }
}
