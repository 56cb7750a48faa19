//! What waits to be delivered, and what became of it.
//!
//! A pure queue under a given clock: the driver asks what is due, hands it to couriers, and reports
//! how each attempt ended. This is the seam behind which the queue becomes durable. Each recipient
//! is a delivery of its own, so one bad mailbox holds up no other; deliveries to one recipient about
//! one incident keep their order.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::message::Message;
use crate::limits;
use crate::time::{Span, Timestamp};

/// One message on its way to one recipient.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Unique, growing.
    pub id: DeliveryId,
    /// What.
    pub message: Arc<Message>,
    /// To whom.
    pub recipient: Recipient,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Which delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Recipient {
    /// A mail address, as written.
    Email(String),
    /// The webhook of the contact of that name.
    Webhook(String),
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The other side took it.
    Delivered,
    /// Not now. The reason is for people and holds no secret.
    Later {
        /// Why.
        reason: String,
        /// How long the other side asked to wait.
        after: Option<Span>,
    },
    /// Never. The reason is for people and holds no secret.
    Refused {
        /// Why.
        reason: String,
    },
}

/// What an outcome means for the delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is done.
    Done,
    /// It will be tried again at that time.
    Again(Timestamp),
    /// It will not be tried again, and was not delivered.
    GivenUp,
}

/// Counts since the start, for `/metrics`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Deliveries that the other side took.
    pub delivered: u64,
    /// Attempts that will be repeated.
    pub retried: u64,
    /// Deliveries that were given up: refused, or too old.
    pub failed: u64,
    /// Messages that found the outbox full.
    pub overflowed: u64,
}

/// The queue.
#[derive(Debug)]
pub struct Outbox {
    waiting: BTreeMap<DeliveryId, Entry>,
    next: u64,
    give_up: Span,
    tally: Tally,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    recipient: Recipient,
    attempts: u32,
    queued: Timestamp,
    due: Timestamp,
    /// With a courier now.
    is_out: bool,
}

const BACKOFF_FIRST: Span = Span::from_secs(5);
const BACKOFF_MAX: Span = Span::from_secs(600);

impl Outbox {
    /// An empty queue that tries for `give_up`.
    #[must_use]
    pub fn new(give_up: Span) -> Self {
        Self { waiting: BTreeMap::new(), next: 1, give_up, tally: Tally::default() }
    }

    /// Takes a message for a recipient; whether there was room.
    pub fn queue(&mut self, message: Arc<Message>, recipient: Recipient, now: Timestamp) -> bool {
        if self.waiting.len() >= limits::OUTBOX {
            self.tally.overflowed += 1;
            return false;
        }
        let id = DeliveryId(self.next);
        self.next += 1;
        let entry = Entry { message, recipient, attempts: 0, queued: now, due: now, is_out: false };
        self.waiting.insert(id, entry);
        true
    }

    /// Hands out what is due, at most `room` deliveries, each to be settled by [`settle`].
    ///
    /// [`settle`]: Self::settle
    pub fn due(&mut self, now: Timestamp, room: usize) -> Vec<Delivery> {
        let ready = self.free().filter(|(_, entry)| entry.due <= now).take(room);
        let out: Vec<_> = ready
            .map(|(id, entry)| Delivery {
                id,
                message: Arc::clone(&entry.message),
                recipient: entry.recipient.clone(),
                attempt: entry.attempts + 1,
            })
            .collect();
        for delivery in &out {
            if let Some(entry) = self.waiting.get_mut(&delivery.id) {
                entry.is_out = true;
                entry.attempts += 1;
            }
        }
        out
    }

    /// Notes how an attempt ended. A delivery that is not known any more is done.
    pub fn settle(&mut self, id: DeliveryId, outcome: &Outcome, now: Timestamp) -> Verdict {
        let Some(entry) = self.waiting.get_mut(&id) else { return Verdict::Done };
        entry.is_out = false;
        let verdict = match outcome {
            Outcome::Delivered => Verdict::Done,
            Outcome::Refused { .. } => Verdict::GivenUp,
            Outcome::Later { after, .. } => {
                let wait = after.unwrap_or_default().max(backoff(entry.attempts, id));
                let due = now + wait;
                if due.since(entry.queued) > self.give_up {
                    Verdict::GivenUp
                } else {
                    entry.due = due;
                    Verdict::Again(due)
                }
            }
        };
        match verdict {
            Verdict::Done => self.tally.delivered += 1,
            Verdict::GivenUp => self.tally.failed += 1,
            Verdict::Again(_) => self.tally.retried += 1,
        }
        if !matches!(verdict, Verdict::Again(_)) {
            self.waiting.remove(&id);
        }
        verdict
    }

    /// When something will be due next, as far as is known now; `None` while nothing waits but what
    /// is with couriers, or held back behind something that is.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.free().map(|(_, entry)| entry.due).min()
    }

    /// What nothing but its time keeps from being handed out: it is not with a courier, and no
    /// earlier delivery to the same recipient about one of its incidents is unsettled.
    fn free(&self) -> impl Iterator<Item = (DeliveryId, &Entry)> {
        let mut unsettled: HashSet<(&Recipient, &str)> = HashSet::new();
        self.waiting.iter().filter_map(move |(id, entry)| {
            let incidents = || entry.message.notices.iter().map(|notice| &*notice.incident);
            let of_this = incidents().map(|incident| (&entry.recipient, incident));
            let is_held = of_this.clone().any(|one| unsettled.contains(&one));
            unsettled.extend(of_this);
            (!is_held && !entry.is_out).then_some((*id, entry))
        })
    }

    /// Deliveries that wait or are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Counts since the start.
    #[must_use]
    pub fn tally(&self) -> Tally {
        self.tally
    }
}

/// Five seconds, doubled up to ten minutes, and up to a fifth more so that what failed together does
/// not come back together. The fifth follows from the delivery, so that a test can foretell it.
fn backoff(attempts: u32, id: DeliveryId) -> Span {
    let doubled = BACKOFF_FIRST.as_millis() << attempts.saturating_sub(1).min(20);
    let base = doubled.min(BACKOFF_MAX.as_millis());
    // Fibonacci hashing: neighbours land far apart.
    let spread = (id.0 ^ u64::from(attempts) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    Span::from_millis(base + base / 5 * spread / 1023)
}

#[cfg(test)]
mod tests {
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
}
