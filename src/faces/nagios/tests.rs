//! Checks as they are printed, over an engine that is played.

use super::*;
use crate::config::{Config, Rule};
use crate::engine::tally::Counts;
use crate::engine::{Engine, apply};
use crate::notify::tests::rule;
use crate::protocol::{Limits, Step, parse};
use crate::time::{Span, Timestamp};

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
    engine.view(|view| check(view, rule, Span::ZERO).unwrap())
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
    let stale = engine.view(|view| check(view, "r", Span::from_secs(11)).unwrap());
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
    assert_eq!(read(&unknown("r|s", "x").text), Some(Level::Unknown));
    for other in ["404 page not found", "OK", "OK - r: x", "OK - r/s2: x", "OK: r/s", "ok - r/s: x"]
    {
        assert_eq!(read(other), None, "{other}");
    }
    assert_eq!(unknown("a|b\nc", "x\r\n|").text, "UNKNOWN - a/b c: x  /");
}
