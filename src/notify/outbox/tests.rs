//! The queue under a given clock.

use super::*;
use crate::notify::tests::message;

const HOUR: i64 = 3600;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn mail(to: &str) -> Recipient {
    Recipient::Email(to.to_owned())
}

fn later() -> Outcome {
    Outcome::Later { reason: "busy".to_owned(), after: None }
}

fn due(outbox: &mut Outbox, secs: i64) -> Vec<u64> {
    outbox.due(at(secs), 100).into_iter().map(|delivery| delivery.id.0).collect()
}

#[test]
fn hands_each_delivery_out_once_until_it_is_settled() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("b"), at(0));
    assert_eq!(due(&mut outbox, 0), [1, 2]);
    assert_eq!(due(&mut outbox, 0), [0; 0]);
    assert_eq!(outbox.settle(DeliveryId(1), &Outcome::Delivered, at(1)), Verdict::Done);
    let refused = Outcome::Refused { reason: "no such user".to_owned() };
    assert_eq!(outbox.settle(DeliveryId(2), &refused, at(1)), Verdict::GivenUp);
    assert!(outbox.is_empty());
    let tally = Tally { delivered: 1, failed: 1, ..Tally::default() };
    assert_eq!(outbox.tally(), tally);
}

#[test]
fn order_holds_per_recipient_and_incident() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    outbox.queue(message(&["i2"]), mail("a"), at(0));
    outbox.queue(message(&["i1"]), mail("b"), at(0));
    outbox.queue(message(&["i2", "i3"]), mail("a"), at(0));
    assert_eq!(due(&mut outbox, 0), [1, 3, 4]);
    outbox.settle(DeliveryId(1), &later(), at(0));
    assert_eq!(due(&mut outbox, 1), [0; 0], "the second waits for the first to be tried again");
    outbox.settle(DeliveryId(3), &Outcome::Delivered, at(1));
    assert_eq!(outbox.next_due().map(Timestamp::as_secs), Some(0), "the fifth is free now");
    assert_eq!(due(&mut outbox, 10), [1, 5]);
    assert_eq!(outbox.next_due(), None, "the second is held back, and has no time of its own");
    outbox.settle(DeliveryId(1), &Outcome::Delivered, at(10));
    assert_eq!(due(&mut outbox, 10), [2]);
}

#[test]
fn waits_longer_each_time_and_gives_up_after_a_day() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), mail("a"), at(0));
    let mut now = at(0);
    let mut waits = Vec::new();
    loop {
        assert_eq!(outbox.due(now, 1).len(), 1);
        match outbox.settle(DeliveryId(1), &later(), now) {
            Verdict::Again(due) => {
                waits.push(due.since(now).as_millis());
                now = due;
            }
            verdict => {
                assert_eq!(verdict, Verdict::GivenUp);
                break;
            }
        }
    }
    for (wait, base) in waits.iter().zip([5, 10, 20, 40, 80, 160, 320, 600, 600]) {
        assert!((base * 1000..=base * 1200).contains(wait), "{wait} after {base}");
    }
    assert!((22 * HOUR..=24 * HOUR).contains(&now.as_secs()), "gave up at {now}");
}

#[test]
fn the_other_side_may_ask_for_more_patience() {
    let mut outbox = Outbox::new(Span::DAY);
    outbox.queue(message(&["i1"]), Recipient::Webhook("w".to_owned()), at(0));
    outbox.due(at(0), 1);
    let after = Some(Span::from_secs(100));
    let outcome = Outcome::Later { reason: "429".to_owned(), after };
    assert_eq!(outbox.settle(DeliveryId(1), &outcome, at(0)), Verdict::Again(at(100)));
    assert_eq!(outbox.next_due(), Some(at(100)));
}

#[test]
fn is_bounded_and_says_so() {
    let mut outbox = Outbox::new(Span::DAY);
    let message = message(&["i1"]);
    for _ in 0..limits::OUTBOX {
        assert!(outbox.queue(Arc::clone(&message), mail("a"), at(0)));
    }
    assert!(!outbox.queue(message, mail("a"), at(0)));
    assert_eq!((outbox.len(), outbox.tally().overflowed), (limits::OUTBOX, 1));
}
