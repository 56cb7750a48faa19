//! What is written is read as it was, and any bytes are harmless.

use super::*;
use crate::notify::DeliveryId;
use crate::notify::Outbox;
use crate::notify::tests::{message, notice, rule};
use crate::store::{Facts, Table};
use proptest::prelude::*;

#[test]
fn a_message_is_read_as_it_was_written_and_says_each_rule_once() {
    let mut message = Message::clone(&message(&["i1", "i2", "i3"]));
    let end = Notice {
        kind: NoticeKind::Closed(Closing::Removed),
        labels: vec![("host".to_owned(), "Ł\r\n".to_owned())],
        value: None,
        worst: Some(f64::NEG_INFINITY),
        covered: 0.95,
        is_at_least: true,
        problem: Some("too many".to_owned()),
        ..notice(&rule("another"), "i4")
    };
    message.notices.push(end);
    let bytes = write(&message);
    assert_eq!(read(&bytes), Some(message.clone()));
    let said = bytes.windows(6).filter(|bytes| bytes == b"Too ma").count();
    assert_eq!(said, 2, "one for each rule");
    for cut in 0..bytes.len() {
        assert_eq!(read::<Message>(&bytes[..cut]), None, "cut at {cut}");
    }
    message.is_digest = true;
    assert_eq!(read(&write(&message)), Some(message.clone()));
    for is_digest in [true, false] {
        message.is_digest = is_digest;
        message.notices[2].alert = 3;
        assert_eq!(read(&write(&message)), Some(message.clone()));
    }
}

#[test]
fn every_line_of_the_audit_is_read_as_it_was_written() {
    let at = Timestamp::from_millis(-5);
    let text = |text: &str| text.to_owned();
    let change = Change { at, from: Level::Unknown, to: Level::Critical, value: Some(0.1) };
    let attempt = |answer| What::Attempt {
        message: text("m1"),
        contact: text("oncall"),
        recipient: text("a@example.com"),
        attempt: 3,
        answer,
        took: Span::from_millis(1234),
    };
    let all = [
        What::Change { title: text("r{a=b}"), incident: text("i1"), change },
        What::Message { message: text("m1"), contact: text("oncall"), notices: 1000 },
        attempt(Answer::Delivered),
        attempt(Answer::Again { reason: text("busy"), due: at }),
        attempt(Answer::GivenUp { reason: text("no such user") }),
        What::Reload { problem: Some(text("line 3")) },
        What::Start,
        What::Note {
            title: text("r"),
            incident: text("i1"),
            note: Note { at, kind: NoteKind::Outgrown, author: text(""), text: text("") },
        },
        What::Silence(Box::new(Silence {
            id: "s1".into(),
            rule: Some("r{host=\"a\"}".parse().unwrap()),
            series: None,
            from: at,
            until: None,
            schedule: Some(text("night")),
            author: text("ann"),
            comment: text("new disks"),
            made: at,
        })),
        What::Unsilence { silence: text("s1"), author: text("ann") },
    ];
    for what in all {
        let line = Line { at, what };
        assert_eq!(read(&write(&line)), Some(line));
    }
}

#[test]
fn an_incident_is_read_as_it_was_written_and_so_is_one_of_before_acknowledgements() {
    use crate::notify::{Ack, Note};
    let at = Timestamp::from_secs(7);
    let told = |secs| Told {
        at: Timestamp::from_secs(secs),
        contact: "oncall".to_owned(),
        message: "m1".to_owned(),
    };
    let old = Incident {
        told: [("oncall".to_owned(), Level::Critical)].into(),
        level: Level::Critical,
        messages: vec![told(1), told(9)],
        ..Incident::new("i1".into(), Arc::new(About::of(&rule("r"))), at, Some(1.0))
    };
    let bytes = write(&old);
    // No acknowledgement, no notes, neither silenced nor flapping, never told, not alarmed, no step taken; nobody
    // stands in; the first alert.
    let before = &bytes[..bytes.len() - 9];
    let told_then = Some(Timestamp::from_secs(9));
    let alarmed_then = Some(Timestamp::from_secs(1));
    let expect = Incident { told_at: told_then, alarmed: alarmed_then, ..old.clone() };
    assert_eq!(read(before), Some(expect));
    let (author, text) = (|| "ann".to_owned(), || "it is the disk".to_owned());
    let new = Incident {
        ack: Some(Ack { at, author: author(), comment: text(), level: Level::Warning }),
        notes: vec![Note { at, kind: NoteKind::Comment, author: author(), text: text() }],
        is_silenced: true,
        is_flapping: true,
        told_at: Some(at),
        alarmed: Some(at),
        escalated: 3,
        ..old
    };
    let bytes = write(&new);
    assert_eq!(read(&bytes[..bytes.len() - 2]), Some(new.clone()), "before there were stand-ins");
    let new = Incident { stand_ins: vec!["backup".to_owned()], alert: 300, ..new };
    assert_eq!(read(&write(&new)), Some(new));
}

#[test]
fn what_waits_is_the_same_after_a_start_and_messages_go_with_their_last_delivery() {
    let mut outbox = Outbox::new(Span::DAY);
    let (now, later) = (Timestamp::from_secs(5), Timestamp::from_secs(1000));
    let email = |to: &str| Recipient::Email(to.to_owned());
    outbox.recall(&Table::default(), 0);
    for to in ["a", "b"] {
        outbox.queue(message(&["i1"]), email(to), now);
    }
    outbox.queue(message(&["i2"]), Recipient::Webhook("w".to_owned()), now);
    let (mut table, mut serial) = (Table::default(), 0);
    let mut note = |outbox: &mut Outbox, table: &mut Table| {
        serial += 1;
        let mut facts = Facts::new(serial);
        outbox.note(&mut facts);
        table.apply(&facts);
        facts.is_urgent
    };
    assert!(note(&mut outbox, &mut table));
    assert_eq!(outbox.due(now, 9), [], "it is not safe yet");
    outbox.saved(1);
    assert_eq!(outbox.due(now, 9).len(), 3);
    let busy = crate::notify::Outcome::Later { reason: "busy".to_owned(), after: None };
    outbox.settle(DeliveryId(1), &busy, now);
    outbox.settle(DeliveryId(3), &crate::notify::Outcome::Delivered, now);
    assert!(!note(&mut outbox, &mut table), "nobody waits for that");
    let mut again = Outbox::new(Span::DAY);
    assert_eq!(again.recall(&table, 2), 0);
    let without = |out: &Outbox| -> Vec<_> {
        let all = out.iter().map(|mut one| {
            // A courier's work ends with its process.
            one.is_out = false;
            one
        });
        all.map(|mut one| {
            one.attempts = 0;
            one
        })
        .collect()
    };
    assert_eq!(without(&again), without(&outbox));
    let ids = again
        .due(later, 9)
        .iter()
        .map(|delivery| (delivery.id.0, delivery.attempt))
        .collect::<Vec<_>>();
    assert_eq!(ids, [(1, 2), (2, 1)], "as many attempts as were settled");
    for id in [1, 2] {
        again.settle(DeliveryId(id), &crate::notify::Outcome::Delivered, later);
    }
    note(&mut again, &mut table);
    let left = (table.below(b'd').count(), table.below(b'm').count());
    assert_eq!(left, (0, 0));
    again.queue(message(&["i4"]), email("a"), later);
    note(&mut again, &mut table);
    again.saved(4);
    assert_eq!(again.due(later, 1)[0].id, DeliveryId(4), "numbers go on");
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(mut bytes: Vec<u8>) {
        bytes.insert(0, VERSION);
        let _ = (read::<Desk>(&bytes), read::<Silence>(&bytes));
        let _ = (read::<Message>(&bytes), read::<Incident>(&bytes), read::<Line>(&bytes));
        let _ = (read::<Waiting>(&bytes), read::<u64>(&bytes));
    }
}
