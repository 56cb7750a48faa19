//! Who is told what by which changes.

use std::collections::BTreeSet;

use super::*;
use crate::config::Contact;
use crate::limits;
use crate::notify::tests::rule;
use crate::query::Reason;
use crate::rules::State;
use crate::time::Span;

fn incidents() -> Incidents {
    let contact = |name: &str, email: &[&str]| Contact {
        name: name.to_owned(),
        email: email.iter().map(|&to| to.to_owned()).collect(),
        webhook: None,
    };
    let contacts = vec![
        contact("oncall", &["a@example.com", "b@example.com"]),
        contact("lead", &["l@example.com"]),
    ];
    let mut config = Config { contacts, ..Config::default() };
    config.notify.default = vec!["oncall".to_owned()];
    Incidents::new(&config)
}

/// Takes in the events of one evaluation.
fn take(
    incidents: &mut Incidents,
    events: Vec<Event>,
    outbox: &mut Outbox,
    audit: &mut Audit,
    now: Timestamp,
) -> Vec<Arc<Message>> {
    let rules = Rules::new(&[], &Config::default().tiers, now);
    incidents.step(events, &mut Moment { now, rules: &rules, outbox, audit })
}

fn event(name: &str, notify: Option<&[&str]>, secs: i64, from: Level, to: Level) -> Event {
    let at = Timestamp::from_secs(secs);
    let notify = notify.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let (since, value) = (Timestamp::EPOCH, Some(17.0));
    Event {
        rule: Arc::new(crate::config::Rule { notify, ..rule(name) }),
        meaning: 0,
        group: Vec::new(),
        transition: Transition {
            cause: Cause::Changed,
            from,
            to,
            at,
            value,
            worst: Some(30.0),
            since,
        },
        state: State {
            observation: Observation::Unjudged(Reason::Gap),
            level: to,
            ..State::new(at)
        },
        problem: None,
        is_quiet: false,
    }
}

/// Who is told what by these events of one rule, one evaluation each.
fn play(notify: Option<&[&str]>, levels: &[Level]) -> Vec<String> {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let mut from = Level::Ok;
    let mut told = Vec::new();
    for (secs, to) in (1..).zip(levels) {
        let event = event("r", notify, secs * 10, from, *to);
        from = *to;
        for message in take(
            &mut incidents,
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(secs * 10),
        ) {
            let notice = &message.notices[0];
            told.push(format!(
                "{secs} {} {:?} {}",
                message.contact,
                notice.kind,
                notice.level.word()
            ));
        }
        deliver(&mut outbox, Timestamp::from_secs(secs * 10));
    }
    told
}

fn deliver(outbox: &mut Outbox, now: Timestamp) {
    for delivery in outbox.due(now, limits::OUTBOX) {
        outbox.settle(delivery.id, &crate::notify::Outcome::Delivered, now);
    }
}

#[test]
fn what_began_and_ended_before_word_of_it_was_sent_is_told_in_one_message() {
    let (mut incidents, mut audit) = (incidents(), Audit::default());
    let mut outbox = Outbox::new(Span::DAY);
    let mut change = |outbox: &mut Outbox, names: &[&str], secs, from, to| {
        let events = names.iter().map(|name| event(name, None, secs, from, to)).collect();
        take(&mut incidents, events, outbox, &mut audit, Timestamp::from_secs(secs))
    };
    let first = change(&mut outbox, &["r", "s"], 1, Ok, Warning);
    // One of two mailboxes takes it.
    let out = outbox.due(Timestamp::from_secs(1), 1);
    outbox.settle(out[0].id, &crate::notify::Outcome::Delivered, Timestamp::from_secs(1));
    change(&mut outbox, &["r"], 10, Warning, Critical);
    let last = change(&mut outbox, &["r"], 20, Critical, Ok);
    let told = |message: &Message| -> Vec<String> {
        let notices = message.notices.iter();
        notices.map(|n| format!("{} {:?} {}", n.rule.name, n.kind, n.from.word())).collect()
    };
    let all: Vec<_> = last.iter().map(|message| told(message)).collect();
    let (both, recovered) = (vec!["s Firing ok", "r Ended critical"], vec!["r Recovered critical"]);
    assert_eq!(all, [recovered, both], "to the first mailbox, and to the other");
    assert!(last.iter().all(|message| message.id != first[0].id));
    let waits: Vec<_> = outbox.iter().map(|one| (one.recipient, told(&one.message))).collect();
    let to = |address: &str| Recipient::Email(address.to_owned());
    let (a, b) = (to("a@example.com"), to("b@example.com"));
    assert_eq!(waits.iter().filter(|(to, _)| *to == b).count(), 1);
    assert_eq!(waits.iter().filter(|(to, _)| *to == a).count(), 2, "worse, and over");
    // What is with a courier now is not taken back.
    change(&mut outbox, &["q"], 30, Ok, Warning);
    outbox.due(Timestamp::from_secs(30), limits::OUTBOX);
    let over = change(&mut outbox, &["q"], 40, Warning, Ok);
    assert_eq!(told(&over[0]), ["q Recovered warning"]);
}

use Level::{Critical, Ok, Unknown, Warning};

#[test]
fn tells_beginning_worsening_and_recovery() {
    assert_eq!(
        play(None, &[Warning, Critical, Ok]),
        ["1 oncall Firing warning", "2 oncall Worse critical", "3 oncall Recovered ok"]
    );
}

#[test]
fn an_improvement_that_is_no_recovery_is_not_told_nor_is_the_way_back() {
    assert_eq!(
        play(None, &[Critical, Warning, Critical, Unknown, Ok]),
        ["1 oncall Firing critical", "5 oncall Recovered ok"]
    );
}

/// Who is told what by transitions of one rule, ten seconds each: cause, from, to, quiet.
fn tell(steps: &[(Cause, Level, Level, bool)]) -> Vec<String> {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let mut told = Vec::new();
    for (secs, (cause, from, to, is_quiet)) in (1..).zip(steps) {
        let mut event = event("r", None, secs * 10, *from, *to);
        event.transition.cause = *cause;
        event.is_quiet = *is_quiet;
        for message in take(
            &mut incidents,
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(secs * 10),
        ) {
            let notice = &message.notices[0];
            let (from, to) = (notice.from.word(), notice.level.word());
            told.push(format!("{secs} {:?} {from} {to}", notice.kind));
        }
        deliver(&mut outbox, Timestamp::from_secs(secs * 10));
    }
    told.push(format!("{} open", incidents.open()));
    told
}

#[test]
fn what_flaps_is_one_incident_that_ends_once_it_is_still() {
    use Cause::{Changed, Flapping, Flaps, Insists, Settled};
    let check = |steps: &[(Cause, Level, Level)], expect: &[&str]| {
        let steps = steps.iter().map(|(cause, from, to)| (*cause, *from, *to, false));
        assert_eq!(tell(&steps.collect::<Vec<_>>()), expect);
    };
    let fires = (Changed, Ok, Critical);
    check(
        &[fires, (Flapping, Critical, Ok), (Flaps, Ok, Warning), (Settled, Warning, Warning)],
        &[
            "1 Firing ok critical",
            "2 Flapping critical critical",
            "4 Settled warning warning",
            "1 open",
        ],
    );
    check(
        &[
            fires,
            (Flapping, Critical, Ok),
            (Flaps, Ok, Critical),
            (Flaps, Critical, Ok),
            (Settled, Ok, Ok),
        ],
        &[
            "1 Firing ok critical",
            "2 Flapping critical critical",
            "5 Recovered critical ok",
            "0 open",
        ],
    );
    let insists = (Insists, Critical, Critical);
    check(
        &[
            (Flapping, Critical, Ok),
            (Flaps, Ok, Critical),
            insists,
            insists,
            (Settled, Critical, Critical),
        ],
        &[
            "1 Flapping critical critical",
            "3 Firing critical critical",
            "5 Settled critical critical",
            "1 open",
        ],
    );
}

#[test]
fn the_end_of_a_schedule_closes_what_was_told_and_says_so() {
    let ended = |from| (Cause::ScheduleEnded, from, Ok, false);
    assert_eq!(
        tell(&[(Cause::Changed, Ok, Critical, false), ended(Critical)]),
        ["1 Firing ok critical", "2 ScheduleEnded critical ok", "0 open"]
    );
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    for (secs, cause, from, to) in
        [(60, Cause::Changed, Ok, Critical), (3660, Cause::ScheduleEnded, Critical, Ok)]
    {
        let mut event = event("r", None, secs, from, to);
        (event.transition.cause, event.transition.value) = (cause, None);
        let peak = crate::config::Schedule {
            name: "peak".to_owned(),
            hours: crate::time::Weekly::new(Vec::new(), "UTC".parse().unwrap(), BTreeSet::new()),
        };
        event.rule = Arc::new(crate::config::Rule { schedule: Some(Arc::new(peak)), ..rule("r") });
        let messages = take(
            &mut incidents,
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(secs),
        );
        let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
        if cause == Cause::ScheduleEnded {
            insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text));
        }
        deliver(&mut outbox, Timestamp::from_secs(secs));
    }
}

#[test]
fn that_it_flaps_is_told_in_words() {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let mut event = event("r", None, 1, Critical, Ok);
    event.transition.cause = Cause::Flapping;
    let messages = take(
        &mut incidents,
        vec![event],
        &mut outbox,
        &mut Audit::default(),
        Timestamp::from_secs(1),
    );
    let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
    insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text));
}

#[test]
fn while_a_rule_is_quiet_only_the_end_of_what_was_told_is() {
    use Cause::{Announced, Changed};
    assert_eq!(
        tell(&[
            (Changed, Ok, Warning, false),
            (Changed, Warning, Critical, true),
            (Changed, Critical, Ok, true)
        ]),
        ["1 Firing ok warning", "3 Recovered warning ok", "0 open"]
    );
    assert_eq!(tell(&[(Changed, Ok, Critical, true), (Changed, Critical, Ok, true)]), ["0 open"]);
    assert_eq!(
        tell(&[
            (Changed, Ok, Critical, true),
            (Announced, Critical, Critical, false),
            (Changed, Critical, Ok, true)
        ]),
        ["2 Firing critical critical", "3 Recovered critical ok", "0 open"]
    );
    assert_eq!(
        tell(&[(Changed, Ok, Warning, false), (Announced, Warning, Warning, false)]),
        ["1 Firing ok warning", "1 open"],
        "who knows it is not told again"
    );
}

#[test]
fn nobody_is_told_when_the_rule_says_so() {
    assert_eq!(play(Some(&[]), &[Critical, Ok]), [""; 0]);
    assert_eq!(
        play(Some(&["lead"]), &[Unknown, Ok]),
        ["1 lead Firing unknown", "2 lead Recovered ok"]
    );
}

#[test]
fn one_evaluation_is_one_message_per_contact_and_one_delivery_per_recipient() {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let events = vec![
        event("a", None, 1, Ok, Warning),
        event("b", Some(&["lead", "oncall"]), 1, Ok, Critical),
    ];
    let messages =
        take(&mut incidents, events, &mut outbox, &mut Audit::default(), Timestamp::from_secs(1));
    let told: Vec<_> = messages
        .iter()
        .map(|m| (m.contact.as_str(), m.notices.iter().map(Notice::title).collect::<Vec<_>>()))
        .collect();
    assert_eq!(told[0], ("lead", vec!["b".to_owned()]));
    assert_eq!(told[1], ("oncall", vec!["b".to_owned(), "a".to_owned()]), "worst first");
    assert_eq!(outbox.len(), 3, "one for lead, two for oncall");
    assert_eq!(incidents.open(), 2);
    assert_ne!(messages[0].id, messages[1].id);
    let recovered = vec![event("a", None, 9, Warning, Ok)];
    let messages = take(
        &mut incidents,
        recovered,
        &mut outbox,
        &mut Audit::default(),
        Timestamp::from_secs(9),
    );
    let notice = &messages[0].notices[0];
    assert_eq!((notice.opened, notice.worst), (Timestamp::from_secs(1), Some(30.0)));
    assert_eq!(incidents.open(), 1);
}

#[test]
fn a_recovery_tells_the_worst_of_the_whole_incident() {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let mut change = |secs, from, to, value, worst| {
        let mut event = event("r", None, secs, from, to);
        event.transition.value = Some(value);
        event.transition.worst = worst;
        take(
            &mut incidents,
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(secs),
        )
    };
    change(1, Ok, Critical, 500.0, None);
    assert!(change(5, Critical, Warning, 7.0, Some(1000.0)).is_empty());
    let messages = change(9, Warning, Ok, 2.0, Some(8.0));
    let notice = &messages[0].notices[0];
    assert_eq!((notice.began, notice.worst, notice.value), (Some(500.0), Some(1000.0), Some(2.0)));
    assert_eq!(notice.from, Critical, "what was told");
}

#[test]
fn a_message_without_room_waits_for_it() {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let filler = crate::notify::tests::message(&["other"]);
    for name in ["w", "x", "y", "z"] {
        let to = Recipient::Email(format!("{name}@example.com"));
        while outbox.queue(Arc::clone(&filler), to.clone(), Timestamp::EPOCH) {}
    }
    let before = outbox.tally().overflowed;
    let mut change = |outbox: &mut Outbox, name, secs, from, to| {
        let events = vec![event(name, None, secs, from, to)];
        let now = Timestamp::from_secs(secs);
        let told = take(&mut incidents, events, outbox, &mut Audit::default(), now);
        told.iter().flat_map(|message| said(message)).collect::<Vec<_>>()
    };
    assert_eq!(change(&mut outbox, "r", 10, Ok, Critical), [""; 0]);
    assert_eq!(change(&mut outbox, "r", 20, Critical, Warning), [""; 0]);
    assert_eq!(change(&mut outbox, "s", 30, Ok, Warning), [""; 0]);
    assert_eq!(change(&mut outbox, "s", 40, Warning, Ok), [""; 0]);
    assert_eq!(outbox.tally().overflowed - before, 0, "it waits, and is not lost");
    assert_eq!(outbox.take_lost().len(), usize::try_from(before).unwrap());
    while outbox.len() >= limits::OUTBOX {
        deliver(&mut outbox, Timestamp::from_secs(50));
    }
    let told = change(&mut outbox, "q", 50, Ok, Unknown);
    assert_eq!(told, ["r Firing ok", "q Firing ok", "s Ended warning"]);
}

/// What a message tells: rule, kind and the state before.
fn said(message: &Message) -> Vec<String> {
    let notices = message.notices.iter();
    notices.map(|n| format!("{} {:?} {}", n.rule.name, n.kind, n.from.word())).collect()
}

#[test]
fn what_follows_within_five_seconds_of_a_message_goes_together_then() {
    let (mut incidents, mut outbox) = (incidents(), Outbox::new(Span::DAY));
    let mut second = |secs, events: Vec<(&str, Option<&[&str]>, Level, Level)>| {
        let event = |(name, notify, from, to)| event(name, notify, secs, from, to);
        let events = events.into_iter().map(event).collect();
        let now = Timestamp::from_millis(secs * 1000 + 7);
        let told = take(&mut incidents, events, &mut outbox, &mut Audit::default(), now);
        deliver(&mut outbox, now);
        let told = told.iter().map(|one| format!("{}: {}", one.contact, said(one).join(", ")));
        told.collect::<Vec<_>>()
    };
    assert_eq!(second(1, vec![("a", None, Ok, Warning)]), ["oncall: a Firing ok"]);
    assert_eq!(second(2, vec![("b", None, Ok, Warning), ("c", None, Ok, Warning)]), [""; 0]);
    // Another contact has not heard anything.
    let lead: Option<&[&str]> = Some(&["lead"]);
    assert_eq!(second(3, vec![("d", lead, Ok, Critical)]), ["lead: d Firing ok"]);
    assert_eq!(second(4, vec![("b", None, Warning, Critical), ("a", None, Warning, Ok)]), [""; 0]);
    assert_eq!(second(5, vec![("c", None, Warning, Ok)]), [""; 0]);
    let together = "oncall: b Firing ok, c Ended warning, a Recovered warning";
    assert_eq!(second(6, vec![]), [together]);
    assert_eq!(second(7, vec![("c", None, Ok, Warning)]), [""; 0]);
    assert_eq!(second(11, vec![]), ["oncall: c Firing ok"]);
    assert_eq!(second(60, vec![("b", None, Critical, Ok)]), ["oncall: b Recovered critical"]);
}

#[test]
fn beyond_twenty_a_message_is_a_digest_that_counts_all() {
    let (mut incidents, mut outbox) = (incidents(), Outbox::new(Span::DAY));
    let mut storm = |many: usize, secs| {
        let events = (0..many).map(|number| {
            let level = if number < 2 { Warning } else { Critical };
            let one = event("errors", None, secs, Ok, level);
            Event { group: vec![format!("{secs} {number}")], ..one }
        });
        let now = Timestamp::from_secs(secs);
        take(&mut incidents, events.collect(), &mut outbox, &mut Audit::default(), now).remove(0)
    };
    assert!(!storm(20, 10).is_digest);
    let digest = storm(600, 20);
    assert!(digest.is_digest);
    let of = |level| digest.notices.iter().filter(|notice| notice.level == level).count();
    assert_eq!((digest.notices.len(), of(Critical), of(Warning)), (600, 598, 2));
    let text = crate::notify::mail::compose(&digest, Timestamp::rfc3339).text;
    let head: Vec<_> = text.lines().take(6).collect();
    assert_eq!(
        head,
        [
            "600 alerts: 598 critical, 2 warning",
            "",
            "errors: 598 critical, 2 warning",
            "  CRITICAL 17 in 5s",
            "  CRITICAL 17 in 5s",
            "  CRITICAL 17 in 5s"
        ]
    );
    assert!(text.contains("… and 100 more"), "{text}");
}

#[test]
fn a_lower_bound_is_told_as_one() {
    let mut incidents = incidents();
    let mut outbox = Outbox::new(Span::DAY);
    let mut event = event("r", None, 1, Ok, Critical);
    event.state.observation = Observation::AtLeast(17.0);
    let messages = take(
        &mut incidents,
        vec![event],
        &mut outbox,
        &mut Audit::default(),
        Timestamp::from_secs(1),
    );
    let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
    assert_eq!(mail.subject, "[CRITICAL] r: at least 17 in 5s");
}
