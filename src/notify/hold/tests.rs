//! What waits for a contact, how long, and what becomes of it meanwhile.

use super::*;
use crate::notify::tests::{notice, rule};

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn a_notice(incident: &str, kind: NoticeKind, from: Level, level: Level) -> Notice {
    Notice { kind, from, level, ..notice(&rule("errors"), incident) }
}

fn firing(incident: &str) -> Notice {
    a_notice(incident, NoticeKind::Firing, Level::Ok, Level::Critical)
}

/// What a contact is told who was told so much a moment ago.
fn told(is_first: bool, notices: &[(NoticeKind, Level, Level)]) -> String {
    let mut hold = Hold::default();
    for (kind, from, level) in notices {
        hold.add("oncall", a_notice("i1", *kind, *from, *level), is_first);
    }
    let letter = hold.letter("oncall");
    let said = letter.iter().map(|n| format!("{:?} {} {}", n.kind, n.from.word(), n.level.word()));
    said.collect::<Vec<_>>().join(", ")
}

#[test]
fn the_first_goes_at_once_and_the_next_together_after_five_seconds() {
    let mut hold = Hold::default();
    assert_eq!(hold.next_due(), None);
    hold.add("oncall", firing("i1"), true);
    assert_eq!(hold.ready(at(100)), ["oncall"]);
    hold.sent("oncall", at(100));
    assert_eq!(hold.ready(at(200)), [""; 0], "there is nothing");
    hold.add("oncall", firing("i2"), true);
    hold.add("oncall", firing("i3"), true);
    hold.add("lead", firing("i3"), true);
    assert_eq!(hold.ready(at(104)), ["lead"]);
    assert_eq!(hold.ready(at(105)), ["lead", "oncall"]);
    assert_eq!(hold.ready(at(50)), ["lead", "oncall"], "the clock was set back");
    hold.sent("lead", at(104));
    assert_eq!(hold.next_due(), Some(at(105)));
    assert!(hold.has("oncall", "i3") && !hold.has("lead", "i3"));
    assert_eq!(hold.letter("oncall").len(), 2);
}

#[test]
fn an_incident_has_one_notice_whatever_happens_to_it() {
    use Level::{Critical, Ok, Warning};
    use NoticeKind::{Closed, Ended, Escalated, Firing, Flapping, Recovered, Repeat, Worse};
    let gone = Closed(crate::notify::Closing::Removed);
    let check = |is_first, notices: &[_], expect: &str| assert_eq!(told(is_first, notices), expect);
    let (begins, worsens) = ((Firing, Ok, Warning), (Worse, Warning, Critical));
    check(true, &[begins, worsens], "Firing ok critical");
    check(true, &[begins, worsens, (Recovered, Warning, Ok)], "Ended critical ok");
    check(true, &[begins, (gone, Warning, Ok)], "Closed(Removed) warning ok");
    check(true, &[begins, (Flapping, Ok, Critical)], "Flapping ok critical");
    check(true, &[(Escalated, Ok, Warning), worsens], "Escalated ok critical");
    check(true, &[begins, (Repeat, Warning, Warning)], "Firing ok warning");
    check(false, &[worsens, (Recovered, Critical, Ok)], "Recovered critical ok");
    check(false, &[worsens, (Repeat, Critical, Critical)], "Worse warning critical");
    check(false, &[(Repeat, Warning, Warning), worsens], "Worse warning critical");
    assert_eq!(told(true, &[(Ended, Warning, Ok)]), "Ended warning ok");
}

#[test]
fn what_waits_is_known_again() {
    let (mut hold, mut table) = (Hold::default(), Table::default());
    hold.add("oncall", firing("i1"), true);
    hold.sent("oncall", at(100));
    for incident in ["i2", "i3"] {
        hold.add("oncall", firing(incident), false);
    }
    let note = |hold: &mut Hold, table: &mut Table| {
        let mut facts = Facts::default();
        hold.note(&mut facts);
        table.apply(&facts);
    };
    note(&mut hold, &mut table);
    let mut again = Hold::default();
    assert_eq!(again.recall(&table), 0);
    assert_eq!(again.desks, hold.desks);
    again.sent("oncall", at(105));
    again.tidy(at(109));
    assert_eq!(again.desks.len(), 1);
    again.tidy(at(110));
    note(&mut again, &mut table);
    assert_eq!(table.below(SPACE).count(), 0, "nobody needs to know");
    table.put(b"hx", &[1, 2, 3]);
    table.put(b"h\xff", &[1]);
    assert_eq!(Hold::default().recall(&table), 2);
}

#[test]
fn is_bounded_and_counts_what_is_lost() {
    let mut hold = Hold::default();
    let one = firing("i");
    for number in 0..limits::HELD_NOTICES {
        let incident = number.to_string().into();
        assert!(hold.add("oncall", Notice { incident, ..one.clone() }, true));
    }
    assert!(!hold.add("oncall", one.clone(), true));
    assert!(hold.add("oncall", Notice { incident: "7".into(), ..one }, true), "it is there");
    assert_eq!((hold.take_lost(), hold.take_lost()), (1, 0));
}
