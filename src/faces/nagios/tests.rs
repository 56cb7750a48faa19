//! Checks as they are printed, over an engine that is played.

use std::fmt::Write as _;

use super::*;
use crate::config::{Config, Rule};
use crate::engine::tally::Counts;
use crate::engine::{Engine, apply};
use crate::limits;
use crate::notify::tests::rule;
use crate::protocol::{Limits, Step, parse};
use crate::time::{Span, Timestamp};

/// Room as Nagios has it.
const ROOM: usize = limits::NAGIOS_BYTES;

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

/// The checks of `rules` after each script: what to send in one second each.
fn play(rules: Vec<Rule>, seconds: &[&str]) -> Engine {
    let engine = Engine::new(&Config { rules, ..Config::default() }, START);
    for (second, bytes) in (0..).zip(seconds) {
        let now = START + Span::from_secs(second);
        let mut rest = bytes.as_bytes();
        while let Step::Request { request, consumed } = parse(rest, &Limits::default()) {
            apply(engine.counters(), &request, now, &mut Counts::default(), &mut Vec::new());
            rest = &rest[consumed..];
        }
        engine.tick(now + Span::SECOND);
    }
    engine
}

fn check_now(engine: &Engine, rule: &str) -> Check {
    engine.view(|view| check(view, rule, &[], Span::ZERO, ROOM).unwrap())
}

#[test]
fn says_ok_warning_and_critical_with_performance_data() {
    let warning =
        rule("r").critical.map(|critical| Threshold { value: 3.0, clear: 3.0, ..critical });
    let rules = vec![Rule { warning, ..rule("r") }];
    let quiet = ["", "", "", "", ""];
    let after = |send: &'static str| {
        let engine = play(rules.clone(), &[&quiet[..], &[send]].concat());
        check_now(&engine, "r").text
    };
    insta::assert_snapshot!(after(""), @"OK - r: no data yet | 'r'=U;~:3;~:10;0;");
    insta::assert_snapshot!(after("incr errors 1\r\n"), @"OK - r: 1 in 5s | 'r'=1;~:3;~:10;0;");
    insta::assert_snapshot!(after("incr errors 4\r\n"), @"WARNING - r: 4 in 5s, warning above 3, since 2026-01-05T00:00:06Z | 'r'=4;~:3;~:10;0;");
    insta::assert_snapshot!(after("incr errors 11\r\n"), @"CRITICAL - r: 11 in 5s, critical above 10, until at most 5, since 2026-01-05T00:00:06Z | 'r'=11;~:3;~:10;0;");
}

#[test]
fn says_what_keeps_it_from_judging() {
    let engine = play(vec![rule("r")], &["incr errors 1\r\n"]);
    insta::assert_snapshot!(check_now(&engine, "r").text, @"OK - r: at least 1 in 5s | 'r'=1;;~:10;0;");
    let stale = engine.view(|view| check(view, "r", &[], Span::from_secs(11), ROOM).unwrap());
    assert_eq!(stale.level, Level::Unknown);
    insta::assert_snapshot!(stale.text, @"UNKNOWN - r: nothing was evaluated for 11 s");
}

#[test]
fn several_instances_have_a_line_each() {
    let rules = vec![Rule { by: vec!["host".to_owned()], ..rule("r") }];
    let quiet = ["incr errors;host=it's|a 1\r\nincr errors;host=b 1\r\n", "", "", "", "", ""];
    let engine = play(rules, &[&quiet[..], &["incr errors;host=b 12\r\n"]].concat());
    insta::assert_snapshot!(check_now(&engine, "r").text, @r"
    CRITICAL - r: 1 of 2 not ok, r{host=b}: 12 in 5s, critical above 10, until at most 5, since 2026-01-05T00:00:07Z | 'r{host:b}'=12;;~:10;0; 'r{host:it''s/a}'=0;;~:10;0;
    CRITICAL - r{host=b}: 12 in 5s, critical above 10, until at most 5, since 2026-01-05T00:00:07Z
    OK - r{host=it's/a}: 0 in 5s
    ");
}

#[test]
fn a_thousand_instances_stay_within_what_nagios_reads() {
    let rules = vec![Rule { by: vec!["host".to_owned()], ..rule("r") }];
    let mut send = String::new();
    for host in 0..1001 {
        let _ = write!(send, "incr errors;host=a-rather-long-host-name-{host} 1\r\n");
    }
    let check = check_now(&play(rules, &[&send]), "r");
    assert!(check.text.len() <= limits::NAGIOS_BYTES, "{}", check.text.len());
    assert_eq!(check.level, Level::Unknown);
    assert!(check.text.starts_with("UNKNOWN - r: more than 1000 combinations"), "{}", check.text);
    let perfdata = check.text.lines().next().unwrap().split_once(" | ").unwrap().1;
    assert!(perfdata.ends_with(";0;"), "the last one is whole: {perfdata}");
    assert!(check.text.ends_with("more"));
}

/// The first line without its data, and each of these whole.
fn parts(text: &str) -> (&str, Vec<&str>) {
    let first = text.lines().next().expect("a line");
    let (said, data) = first.split_once(" | ").unwrap_or((first, ""));
    (said, data.split(" '").collect())
}

#[test]
fn nothing_is_cut_within_the_performance_data_however_little_room_there_is() {
    let rules = vec![Rule { by: vec!["host".to_owned()], ..rule("r") }];
    let mut send = String::new();
    for host in 0..40 {
        let _ = write!(send, "incr errors;host=größe-{host} {}\r\n", host + 1);
    }
    let engine = play(rules, &["", "", "", "", "", &send]);
    for room in (40..2000).step_by(7) {
        let check = engine.view(|view| check(view, "r", &[], Span::ZERO, room).unwrap());
        assert!(check.text.len() <= room, "{room}: {}", check.text.len());
        let (said, data) = parts(&check.text);
        assert!(said.starts_with("CRITICAL - r: "), "{said}");
        for datum in data.iter().filter(|datum| !datum.is_empty()) {
            assert!(datum.ends_with(";0;"), "{room}: {datum}");
        }
        if room > 1000 {
            assert!(data.len() > 5 && check.text.ends_with("more"), "{}", check.text);
        }
    }
}

#[test]
fn the_worst_instances_come_first() {
    let rules = vec![Rule { by: vec!["host".to_owned()], ..rule("r") }];
    let send = "incr errors;host=a 1\r\nincr errors;host=b 11\r\nincr errors;host=c 12\r\n";
    let check = check_now(&play(rules, &["", "", "", "", "", send]), "r");
    let head = |line: &'_ str| line.split(": ").next().unwrap().to_owned();
    let lines: Vec<_> = check.text.lines().skip(1).map(head).collect();
    assert_eq!(lines, ["CRITICAL - r{host=b}", "CRITICAL - r{host=c}", "OK - r{host=a}"]);
}

#[test]
fn one_instance_is_asked_for_by_its_tags() {
    let by = vec!["region".to_owned(), "host".to_owned()];
    let rules = vec![Rule { by, ..rule("r") }, rule("plain")];
    let send = "incr errors;region=eu;host=a 1\r\nincr errors;region=us;host=a 11\r\n\
                incr errors;region=eu;host=b 2\r\n";
    let engine = play(rules, &["", "", "", "", "", send]);
    let of = |rule: &str, tags: &[&str]| {
        let tags: Vec<_> = tags.iter().map(|text| tag(text).unwrap()).collect();
        engine.view(|view| check(view, rule, &tags, Span::ZERO, ROOM).unwrap().text)
    };
    insta::assert_snapshot!(of("r", &["region=us"]), @"CRITICAL - r: 11 in 5s, critical above 10, until at most 5, since 2026-01-05T00:00:06Z | 'r{region:us,host:a}'=11;;~:10;0;");
    insta::assert_snapshot!(of("r", &["host=b", "region=eu"]), @"OK - r: 2 in 5s | 'r{region:eu,host:b}'=2;;~:10;0;");
    insta::assert_snapshot!(of("r", &["region=eu"]), @r"
    OK - r: 2 instances, all ok | 'r{region:eu,host:a}'=1;;~:10;0; 'r{region:eu,host:b}'=2;;~:10;0;
    OK - r{region=eu,host=a}: 1 in 5s
    OK - r{region=eu,host=b}: 2 in 5s
    ");
    insta::assert_snapshot!(of("r", &["region=asia", "host=a"]), @"UNKNOWN - r: no instance has region=asia and host=a");
    insta::assert_snapshot!(of("plain", &["region=eu"]), @"UNKNOWN - plain: it has no instances by `region`; `by` of the rule says by which");
    for wrong in ["region", "=eu", "region=", ""] {
        assert!(tag(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn all_rules_are_as_bad_as_the_worst_of_them() {
    let others = rule("b").critical.map(|critical| Threshold { value: 100.0, ..critical });
    let rules = vec![rule("a"), Rule { critical: others, ..rule("b") }];
    let engine = play(rules, &["", "", "", "", "", "incr errors 50\r\n"]);
    let all = |engine: &Engine, secs: u64| {
        engine.view(|view| all(view, Span::from_secs(secs), ROOM).text)
    };
    insta::assert_snapshot!(all(&engine, 0), @r"
    CRITICAL - all rules: 1 critical, 1 ok | 'critical'=1;;;0; 'unknown'=0;;;0; 'warning'=0;;;0; 'ok'=1;;;0;
    CRITICAL - a: 50 in 5s, critical above 10, until at most 5, since 2026-01-05T00:00:06Z
    ");
    insta::assert_snapshot!(all(&play(vec![rule("a")], &["incr errors 1\r\n"]), 0), @"OK - all rules: 1 ok | 'critical'=0;;;0; 'unknown'=0;;;0; 'warning'=0;;;0; 'ok'=1;;;0;");
    insta::assert_snapshot!(all(&play(Vec::new(), &[""]), 0), @"UNKNOWN - all rules: there are none");
    insta::assert_snapshot!(all(&engine, 12), @"UNKNOWN - all rules: nothing was evaluated for 12 s");
}

#[test]
fn a_change_has_its_sign_and_unit() {
    let drop = Rule {
        against: Some(crate::config::Against::Previous),
        floor: Some(1.0),
        window: Span::from_secs(1),
        critical: rule("r").critical.map(|c| Threshold {
            side: Side::Below,
            value: -50.0,
            clear: -40.0,
            ..c
        }),
        ..rule("r")
    };
    let engine = play(vec![drop], &["incr errors 9\r\n", "incr errors 9\r\n", "incr errors 3\r\n"]);
    insta::assert_snapshot!(check_now(&engine, "r").text, @"CRITICAL - r: -66.67 % against the 1s before, critical below -50, until at least -40, since 2026-01-05T00:00:03Z | 'r'=-66.666667%;;-50:;;");
}

#[test]
fn the_state_can_be_read_back_from_the_output() {
    let read = |text: &str| Level::of_output(text, "r|s");
    for level in [Level::Ok, Level::Warning, Level::Critical, Level::Unknown] {
        assert_eq!(read(&format!("{} - r/s: x", level.name())), Some(level));
    }
    assert_eq!(read(&unknown("r|s", "x", ROOM).text), Some(Level::Unknown));
    for other in ["404 page not found", "OK", "OK - r: x", "OK - r/s2: x", "OK: r/s", "ok - r/s: x"]
    {
        assert_eq!(read(other), None, "{other}");
    }
    assert_eq!(unknown("a|b\nc", "x\r\n|", ROOM).text, "UNKNOWN - a/b c: x  /");
}

#[test]
fn numbers_of_the_performance_data_are_no_zeros_that_were_none_and_have_no_exponent() {
    for (value, expect) in [
        (0.0, "0"),
        (-0.0, "0"),
        (12.4, "12.4"),
        (200.0 / 3.0, "66.666667"),
        (0.1, "0.1"),
        (1.0 / 30.0, "0.0333333"),
        (-2.5e-7, "-0.00000025"),
        (1.234_567_8e-9, "0.00000000123457"),
        (9.999_999_9e-4, "0.001"),
        (1e15, "1000000000000000"),
    ] {
        assert_eq!(plain(value), expect);
    }
    for value in [f64::MIN_POSITIVE, 5e-324, f64::MAX, -1e-300] {
        let text = plain(value);
        let read: f64 = text.parse().expect("a number");
        assert!(((read - value) / value).abs() < 1e-4, "{text}");
        assert!(text.bytes().all(|byte| b"-.0123456789".contains(&byte)), "{text}");
    }
}
