//! What waits to be delivered, and what became of it.
//!
//! A pure queue under a given clock: the driver asks what is due, hands it to couriers, and reports
//! how each attempt ended. Each recipient is a delivery of its own, so one bad mailbox holds up no
//! other; deliveries to one recipient about one incident keep their order.
//!
//! What waits is told as [`Facts`] to whoever keeps them. A delivery is handed out once its facts are
//! known to be safe, or after a short while all the same: a full disk stops no alert.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use super::message::{Message, Notice, NoticeKind};
use super::plain;
use crate::limits;
use crate::rules::Level;
use crate::store::{Facts, Table};
use crate::time::{Span, Timestamp};

/// One message on its way to one recipient.
#[derive(Clone, Debug, PartialEq)]
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
    /// Deliveries that were handed out before they were on the disk.
    pub unsaved: u64,
}

/// The queue.
#[derive(Debug)]
pub struct Outbox {
    waiting: BTreeMap<DeliveryId, Entry>,
    next: u64,
    give_up: Span,
    tally: Tally,
    /// Facts up to this number survive the end of the process.
    saved: u64,
    /// How many deliveries there are of each message.
    uses: BTreeMap<String, usize>,
    /// What nobody has noted yet.
    moved: BTreeSet<DeliveryId>,
    moved_messages: BTreeSet<String>,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    recipient: Recipient,
    attempts: u32,
    queued: Timestamp,
    due: Timestamp,
    /// With a courier since then.
    out: Option<Timestamp>,
    /// The number of the facts that tell of it; the greatest while nobody has noted it.
    serial: u64,
    is_told_unsaved: bool,
}

/// A delivery as it is kept. Its message is kept beside it, once for all recipients.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) message: String,
    pub(super) recipient: Recipient,
    pub(super) attempts: u32,
    pub(super) queued: Timestamp,
    pub(super) due: Timestamp,
}

/// An attempt that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The message's id.
    pub message: String,
    /// The contact's name.
    pub contact: String,
    /// To whom.
    pub recipient: Recipient,
    /// Which it is, from 1.
    pub number: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A delivery that waits, for people.
#[derive(Clone, Debug, PartialEq)]
pub struct Queued {
    /// What.
    pub message: Arc<Message>,
    /// To whom.
    pub recipient: Recipient,
    /// Attempts that were made.
    pub attempts: u32,
    /// Since when.
    pub queued: Timestamp,
    /// When it is tried next.
    pub due: Timestamp,
    /// With a courier now.
    pub is_out: bool,
}

/// What became of ends that were told in the place of beginnings.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    /// Incidents of which that recipient hears so.
    pub(super) incidents: BTreeSet<Arc<str>>,
    /// The messages that tell of them.
    pub(super) messages: Vec<Arc<Message>>,
}

/// The first bytes of the keys of facts.
const DELIVERIES: u8 = b'd';
const MESSAGES: u8 = b'm';
const NEXT_KEY: &[u8] = b"no";

const BACKOFF_FIRST: Span = Span::from_secs(5);
const BACKOFF_MAX: Span = Span::from_secs(600);

impl Outbox {
    /// An empty queue that tries for `give_up`, whose facts are safe at once.
    #[must_use]
    pub fn new(give_up: Span) -> Self {
        Self {
            waiting: BTreeMap::new(),
            next: 1,
            give_up,
            tally: Tally::default(),
            saved: u64::MAX,
            uses: BTreeMap::new(),
            moved: BTreeSet::new(),
            moved_messages: BTreeSet::new(),
        }
    }

    /// For how long deliveries are tried from now on.
    pub fn configure(&mut self, give_up: Span) {
        self.give_up = give_up;
    }

    /// Takes a message for a recipient; whether there was room.
    pub fn queue(&mut self, message: Arc<Message>, recipient: Recipient, now: Timestamp) -> bool {
        if self.waiting.len() >= limits::OUTBOX {
            self.tally.overflowed += 1;
            return false;
        }
        let id = DeliveryId(self.next);
        self.next += 1;
        self.count(&message);
        let entry = Entry {
            message,
            recipient,
            attempts: 0,
            queued: now,
            due: now,
            out: None,
            serial: u64::MAX,
            is_told_unsaved: false,
        };
        self.waiting.insert(id, entry);
        self.moved.insert(id);
        true
    }

    fn count(&mut self, message: &Message) {
        let uses = self.uses.entry(message.id.clone()).or_default();
        *uses += 1;
        if *uses == 1 {
            self.moved_messages.insert(message.id.clone());
        }
    }

    fn discount(&mut self, message: &str) {
        let Some(uses) = self.uses.get_mut(message) else { return };
        *uses -= 1;
        if *uses == 0 {
            self.uses.remove(message);
            self.moved_messages.insert(message.to_owned());
        }
    }

    /// Tells a recipient of ends in the place of the beginnings that wait for it: one notice for
    /// both, in a message with an id of its own. What a courier has now, or of which something got
    /// through, stays as it is, and its end is to be queued behind it.
    pub(super) fn replace(
        &mut self,
        recipient: &Recipient,
        ends: &[Notice],
        now: Timestamp,
        mut next_id: impl FnMut() -> String,
    ) -> Replaced {
        let unheard = self.unheard(recipient, ends);
        let mut replaced = Replaced::default();
        if unheard.is_empty() {
            return replaced;
        }
        let its = self.waiting.iter().filter(|(_, entry)| entry.recipient == *recipient);
        let ids: Vec<_> = its.map(|(id, _)| *id).collect();
        for id in ids {
            let Some(entry) = self.waiting.get_mut(&id) else { continue };
            let old = Arc::clone(&entry.message);
            if !old.notices.iter().any(|notice| unheard.contains_key(&notice.incident)) {
                continue;
            }
            let notices = notices_with_ends(&old, &unheard, &mut replaced.incidents);
            self.moved.insert(id);
            if notices.is_empty() {
                self.waiting.remove(&id);
                self.discount(&old.id);
                continue;
            }
            let message =
                Arc::new(Message { id: next_id(), at: now, notices, ..Message::clone(&old) });
            entry.message = Arc::clone(&message);
            (entry.queued, entry.serial) = (now, u64::MAX);
            self.discount(&old.id);
            self.count(&message);
            replaced.messages.push(message);
        }
        replaced
    }

    /// Ends of incidents whose beginning still waits for a recipient, and no part of which is with a
    /// courier; with the worst state that it would have been told.
    fn unheard<'a>(
        &self,
        recipient: &Recipient,
        ends: &'a [Notice],
    ) -> BTreeMap<Arc<str>, (&'a Notice, Level)> {
        let mut unheard: BTreeMap<_, _> = ends
            .iter()
            .filter(|end| end.kind.is_over())
            .map(|end| (Arc::clone(&end.incident), (end, Level::Ok)))
            .collect();
        let mut begun = BTreeSet::new();
        for entry in self.waiting.values().filter(|entry| entry.recipient == *recipient) {
            for notice in &entry.message.notices {
                let Some((_, worst)) = unheard.get_mut(&notice.incident) else { continue };
                *worst = (*worst).max(notice.level);
                if notice.kind == NoticeKind::Firing {
                    begun.insert(Arc::clone(&notice.incident));
                }
                if entry.out.is_some() {
                    unheard.remove(&notice.incident);
                }
            }
        }
        unheard.retain(|incident, _| begun.contains(incident));
        unheard
    }

    /// Hands out what is due, at most `room` deliveries, each to be settled by [`settle`].
    ///
    /// [`settle`]: Self::settle
    pub fn due(&mut self, now: Timestamp, room: usize) -> Vec<Delivery> {
        let ready = self.free().filter(|(_, entry)| entry.ready(self.saved) <= now).take(room);
        let ids: Vec<_> = ready.map(|(id, _)| id).collect();
        let mut out = Vec::with_capacity(ids.len());
        for id in ids {
            let Some(entry) = self.waiting.get_mut(&id) else { continue };
            entry.out = Some(now);
            entry.attempts += 1;
            let mut message = Arc::clone(&entry.message);
            if entry.serial > self.saved {
                self.tally.unsaved += u64::from(!entry.is_told_unsaved);
                entry.is_told_unsaved = true;
                message = Arc::new(Message { is_unsaved: true, ..Message::clone(&message) });
            }
            let (recipient, attempt) = (entry.recipient.clone(), entry.attempts);
            out.push(Delivery { id, message, recipient, attempt });
        }
        out
    }

    /// The attempt at a delivery that is under way.
    #[must_use]
    pub fn attempt(&self, id: DeliveryId) -> Option<Attempt> {
        let entry = self.waiting.get(&id)?;
        Some(Attempt {
            message: entry.message.id.clone(),
            contact: entry.message.contact.clone(),
            recipient: entry.recipient.clone(),
            number: entry.attempts,
            since: entry.out?,
        })
    }

    /// Notes how an attempt ended. A delivery that is not known any more is done.
    pub fn settle(&mut self, id: DeliveryId, outcome: &Outcome, now: Timestamp) -> Verdict {
        let Some(entry) = self.waiting.get_mut(&id) else { return Verdict::Done };
        entry.out = None;
        let verdict = match outcome {
            Outcome::Delivered => Verdict::Done,
            Outcome::Refused { .. } => Verdict::GivenUp,
            // Somebody waits for the outcome, and may ask again.
            Outcome::Later { .. } if entry.message.is_test => Verdict::GivenUp,
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
        self.moved.insert(id);
        if !matches!(verdict, Verdict::Again(_))
            && let Some(entry) = self.waiting.remove(&id)
        {
            self.discount(&entry.message.id);
        }
        verdict
    }

    /// When something will be due next, as far as is known now; `None` while nothing waits but what
    /// is with couriers, or held back behind something that is.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        self.free().map(|(_, entry)| entry.ready(self.saved)).min()
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
            (!is_held && entry.out.is_none()).then_some((*id, entry))
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

    /// Everything that waits or is under way, in the order in which it was queued.
    pub fn iter(&self) -> impl Iterator<Item = Queued> {
        self.waiting.values().map(|entry| Queued {
            message: Arc::clone(&entry.message),
            recipient: entry.recipient.clone(),
            attempts: entry.attempts,
            queued: entry.queued,
            due: entry.due,
            is_out: entry.out.is_some(),
        })
    }

    /// Says what has changed since the last call. What is new waits until facts with that number are
    /// safe.
    pub fn note(&mut self, facts: &mut Facts) {
        if !self.moved.is_empty() {
            facts.put(NEXT_KEY.to_vec(), plain::write(&self.next));
        }
        for id in std::mem::take(&mut self.moved) {
            let Some(entry) = self.waiting.get_mut(&id) else {
                facts.remove(delivery_key(id));
                continue;
            };
            if entry.serial == u64::MAX {
                entry.serial = facts.serial;
                facts.is_urgent = true;
            }
            if self.moved_messages.remove(&entry.message.id) {
                facts.put(message_key(&entry.message.id), plain::write(&*entry.message));
            }
            let waiting = Waiting {
                message: entry.message.id.clone(),
                recipient: entry.recipient.clone(),
                attempts: entry.attempts,
                queued: entry.queued,
                due: entry.due,
            };
            facts.put(delivery_key(id), plain::write(&waiting));
        }
        for message in std::mem::take(&mut self.moved_messages) {
            facts.remove(message_key(&message));
        }
    }

    /// Says that facts up to that number survive the end of the process.
    pub fn saved(&mut self, serial: u64) {
        self.saved = self.saved.max(serial);
    }

    /// Takes over what an earlier process knew, as of the facts with that number; how much of it cannot
    /// be read. What is queued from here on is not safe before that is said.
    pub fn recall(&mut self, table: &Table, serial: u64) -> usize {
        self.saved = serial;
        let mut garbled = 0;
        let mut messages: BTreeMap<&[u8], Arc<Message>> = BTreeMap::new();
        for (id, bytes) in table.below(MESSAGES) {
            match plain::read(bytes) {
                Some(message) => drop(messages.insert(id, Arc::new(message))),
                None => garbled += 1,
            }
        }
        for (key, bytes) in table.below(DELIVERIES) {
            let id = key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            let waiting = plain::read::<Waiting>(bytes);
            let known = id.zip(waiting).and_then(|(id, waiting)| {
                let message = messages.get(waiting.message.as_bytes())?;
                Some((id, Entry::of(waiting, Arc::clone(message))))
            });
            let Some((id, entry)) = known else {
                garbled += 1;
                continue;
            };
            *self.uses.entry(entry.message.id.clone()).or_default() += 1;
            self.waiting.insert(DeliveryId(id), entry);
            self.next = self.next.max(id.saturating_add(1));
        }
        let next = table.get(NEXT_KEY).and_then(plain::read::<u64>);
        self.next = self.next.max(next.unwrap_or(1));
        garbled
    }
}

impl Entry {
    fn of(waiting: Waiting, message: Arc<Message>) -> Self {
        let Waiting { recipient, attempts, queued, due, .. } = waiting;
        let (out, serial, is_told_unsaved) = (None, 0, false);
        Self { message, recipient, attempts, queued, due, out, serial, is_told_unsaved }
    }

    /// When it may be handed out, as far as is known now.
    fn ready(&self, saved: u64) -> Timestamp {
        if self.serial <= saved {
            self.due
        } else {
            self.due.max(self.queued + limits::UNSAVED_PATIENCE)
        }
    }
}

/// The notices of a message, with ends in the place of beginnings, and without whatever was between.
fn notices_with_ends(
    message: &Message,
    ends: &BTreeMap<Arc<str>, (&Notice, Level)>,
    told: &mut BTreeSet<Arc<str>>,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    for notice in &message.notices {
        match ends.get(&notice.incident) {
            None => notices.push(notice.clone()),
            Some((end, worst)) if told.insert(Arc::clone(&notice.incident)) => {
                let kind = match end.kind {
                    NoticeKind::Recovered => NoticeKind::Ended,
                    other => other,
                };
                notices.push(Notice { kind, from: *worst, ..Notice::clone(end) });
            }
            Some(_) => {}
        }
    }
    notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
    notices
}

fn delivery_key(id: DeliveryId) -> Vec<u8> {
    let mut key = vec![DELIVERIES];
    key.extend_from_slice(&id.0.to_be_bytes());
    key
}

fn message_key(id: &str) -> Vec<u8> {
    let mut key = vec![MESSAGES];
    key.extend_from_slice(id.as_bytes());
    key
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
