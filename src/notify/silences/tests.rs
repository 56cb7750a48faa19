//! What a silence covers, when it holds, and that it is known again.

use super::*;
use crate::notify::tests::rule;
use crate::time::{Span, Weekly, Zone};
use proptest::prelude::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn silence(rule: Option<&str>, series: Option<&str>) -> Silence {
    let pattern = |text: &str| text.parse().unwrap();
    Silence {
        id: "s1".into(),
        rule: rule.map(pattern),
        series: series.map(pattern),
        from: at(10),
        until: Some(at(20)),
        schedule: None,
        author: "ann".to_owned(),
        comment: "new disks".to_owned(),
        made: at(5),
    }
}

#[test]
fn covers_rules_and_series_by_name_and_tags() {
    let check = |of_rule: Option<&str>, series: Option<&str>, is_covered: bool| {
        let mut rule = Rule { by: vec!["host".to_owned()], ..rule("disk-full") };
        rule.series = "disk.free{region=\"eu\",kind!=\"tmp\"}".parse().unwrap();
        let labels = [("host".to_owned(), "a".to_owned())];
        let subject = Subject { rule: &rule, labels: &labels };
        let covers = silence(of_rule, series).covers(subject);
        assert_eq!(covers, is_covered, "{of_rule:?} {series:?}");
    };
    check(Some("disk-full"), None, true);
    check(Some("disk-*"), None, true);
    check(Some("disk"), None, false);
    check(Some("*{host=\"a\"}"), None, true);
    check(Some("*{host=~\"b|c\"}"), None, false);
    check(None, Some("disk.*"), true);
    check(None, Some("disk.free;host=a"), true);
    check(None, Some("*{region=\"eu\"}"), true);
    check(None, Some("*{region=\"us\"}"), false);
    check(Some("*{region=\"eu\"}"), None, false);
    check(Some("disk-full"), Some("cpu.*"), false);
}

#[test]
fn holds_from_its_beginning_to_its_end_and_is_gone_then() {
    let (mut silences, mut audit) = (Silences::default(), Audit::default());
    silences.add(silence(Some("errors"), None), &mut audit, at(5));
    let rule = rule("errors");
    let mut covers = |secs| {
        let is_turned = silences.advance(at(secs), &mut audit);
        (is_turned, silences.cover(Subject { rule: &rule, labels: &[] }))
    };
    assert_eq!(covers(9), (false, false));
    assert_eq!(covers(10), (true, true));
    assert_eq!(covers(19), (false, true));
    assert_eq!(covers(20), (true, false));
    assert_eq!(covers(21), (false, false));
    assert_eq!(silences.iter().count(), 0);
}

#[test]
fn holds_in_the_hours_of_its_schedule() {
    let mut config = Config::default();
    let stretches = vec!["Mon 00:00-01:00".parse().unwrap()];
    let zone: Zone = "UTC".parse().unwrap();
    let hours = Weekly::new(stretches, zone, BTreeSet::new());
    config.schedules.push(Arc::new(Schedule { name: "night".to_owned(), hours }));
    let (mut silences, mut audit) = (Silences::default(), Audit::default());
    silences.configure(&config);
    let schedule = Some("night".to_owned());
    let nightly = Silence { schedule, until: None, ..silence(Some("*"), None) };
    assert_eq!(silences.check(&nightly, at(5)), Ok(()));
    silences.add(nightly, &mut audit, at(5));
    // A Monday.
    let monday = at(1_767_571_200);
    let mut is_active = |at: Timestamp| {
        silences.advance(at, &mut audit);
        silences.is_active("s1")
    };
    assert!(is_active(monday));
    assert!(!is_active(monday + Span::from_secs(3600)));
    assert!(is_active(monday + Span::WEEK));
    silences.configure(&Config::default());
    silences.advance(monday, &mut audit);
    assert!(!silences.is_active("s1"), "nobody knows its hours");
    // The schedule comes back before the silence is forgotten.
    let forgotten = monday + Span::WEEK;
    let missing = MissingSchedule { since: monday, forgotten };
    assert_eq!(silences.missing_schedule("s1"), Some(missing));
    silences.configure(&config);
    silences.advance(forgotten - Span::SECOND, &mut audit);
    assert_eq!(silences.missing_schedule("s1"), None);
    // It does not, not over a start either.
    silences.configure(&Config::default());
    silences.advance(monday, &mut audit);
    let mut table = Table::default();
    table.apply(&silences.take_facts());
    let mut again = Silences::default();
    assert_eq!(again.recall(&table), 0);
    again.advance(forgotten - Span::SECOND, &mut audit);
    assert!(again.get("s1").is_some());
    again.advance(forgotten, &mut audit);
    assert!(again.get("s1").is_none(), "it is over");
    table.apply(&again.take_facts());
    assert_eq!(table.below(SPACE).chain(table.below(STRAY_SPACE)).count(), 0);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let good = silence(Some("*"), None);
    let check = |silence: Silence, expect: &str| {
        let refused = Silences::default().check(&silence, at(5)).unwrap_err();
        assert_eq!(refused.to_string(), expect);
    };
    check(silence(None, None), "a silence names rules or series; `*` means all of them");
    check(
        Silence { until: Some(at(10)), ..good.clone() },
        "a silence ends after it begins, and after now",
    );
    check(
        Silence { from: at(0), until: Some(at(4)), ..good.clone() },
        "a silence ends after it begins, and after now",
    );
    check(Silence { until: None, ..good.clone() }, "a silence has an end, or a schedule");
    let last = at(5) + limits::SILENCE_MAX;
    assert_eq!(
        Silences::default().check(&Silence { until: Some(last), ..good.clone() }, at(5)),
        Ok(())
    );
    for until in [last + Span::SECOND, at(i64::MAX)] {
        let late = "a silence begins and ends within 366d; one that is to last has a schedule";
        check(Silence { until: Some(until), ..good.clone() }, late);
    }
    let schedule = Some("x".to_owned());
    check(Silence { schedule, ..good.clone() }, "there is no schedule `x`");
    check(Silence { author: "x".repeat(201), ..good.clone() }, "`author` is longer than 200 bytes");
    let mut silences = Silences::default();
    for number in 0..limits::SILENCES {
        let one = Silence { id: number.to_string().into(), ..good.clone() };
        silences.add(one, &mut Audit::default(), at(5));
    }
    assert_eq!(silences.check(&good, at(5)), Err(Refusal::TooMany));
}

#[test]
fn is_known_again_and_forgotten_once_it_is_over() {
    let (mut silences, mut audit, mut table) =
        (Silences::default(), Audit::default(), Table::default());
    let one = silence(Some("*"), Some("a{b=~\"c\"}"));
    silences.add(one.clone(), &mut audit, at(5));
    table.apply(&silences.take_facts());
    let mut again = Silences::default();
    assert_eq!(again.recall(&table), 0);
    assert_eq!(again.get("s1"), Some(&one));
    assert!(again.advance(at(30), &mut audit), "it ended while nobody was there");
    table.apply(&again.take_facts());
    assert_eq!(table.below(SPACE).count(), 0);
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes: Vec<u8>) {
        let mut table = Table::default();
        table.put(b"sx", &bytes);
        let _ = Silences::default().recall(&table);
    }
}
