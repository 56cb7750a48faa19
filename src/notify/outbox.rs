//! What waits to be delivered, and what became of it.
//!
//! A pure queue under a given clock: the driver asks what is due, hands it to couriers, and reports
//! how each attempt ended. Each recipient is a delivery of its own, so one bad mailbox holds up no
//! other; deliveries to one recipient about one incident keep their order.
//!
//! What waits is told as [`Facts`](crate::store::Facts) to whoever keeps them. A delivery is handed out once its facts are
//! known to be safe, or after a short while all the same: a full disk stops no alert.

mod acknowledged;
mod alarm;
mod kept;
mod lanes;
mod order;
mod pace;
mod passed_on;
mod replaced;
mod taken_back;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::message::Message;
use crate::config::{Config, Contact};
use crate::limits;
use crate::time::{Span, Timestamp};
use alarm::Alarm;
use lanes::Lanes;
use order::Order;

pub use alarm::Lost;
pub(super) use alarm::Raised;
pub(super) use kept::Waiting;
pub(super) use passed_on::GivenUp;
pub(super) use replaced::Replaced;
pub use taken_back::end_of_test;
pub use watch::Condition;

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
    /// How far attempts have come.
    pub progress: Progress,
}

/// How far a message has come that goes in parts, so that the next attempt goes on where the last one
/// ended, however it did. It is not kept over a start: what is sent again is known by its id.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Mutex<Passed>>);

#[derive(Clone, Debug, Default, PartialEq)]
struct Passed {
    /// Which parts these are: a number of where they go, and in which form.
    form: u64,
    parts: usize,
    refused: usize,
    /// Why the first of them was.
    reason: Option<String>,
}

/// Which delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub u64);

/// Where a delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Recipient {
    /// A mail address, as written.
    Email(String),
    /// The webhook of the contact of that name.
    Webhook(String),
}

impl Recipient {
    /// Everyone that a contact stands for.
    pub(super) fn of(contact: &Contact) -> Vec<Self> {
        let mail = contact.email.iter().cloned().map(Self::Email);
        let webhook = contact.webhook.iter().map(|_| Self::Webhook(contact.name.clone()));
        mail.chain(webhook).collect()
    }
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
    order: Order,
    lanes: Lanes,
    alarm: Alarm,
    /// What found no room, or was given up, and nobody has asked for yet.
    lost: Vec<Lost>,
    given_up: Vec<GivenUp>,
}

#[derive(Debug)]
struct Entry {
    message: Arc<Message>,
    recipient: Recipient,
    /// Since the other side last took a part of it.
    tries: u32,
    attempts: u32,
    progress: Progress,
    /// Parts that were dealt with when it was last handed out.
    passed: usize,
    queued: Timestamp,
    due: Timestamp,
    /// Before which the other side asked not to be tried.
    asked: Option<Timestamp>,
    /// With a courier since then.
    out: Option<Timestamp>,
    /// The number of the facts that tell of it; the greatest while nobody has noted it.
    serial: u64,
    is_told_unsaved: bool,
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

const BACKOFF_FIRST: Span = Span::from_secs(5);
const BACKOFF_MAX: Span = Span::from_secs(600);

impl Progress {
    /// Says where parts go from now on, and in which form, as a number. Where that was another, none is dealt
    /// with: a contact that has another address or key now has got nothing.
    pub fn begin(&self, form: u64) {
        let mut passed = self.passed();
        if passed.form != form {
            *passed = Passed { form, ..Passed::default() };
        }
    }

    /// Parts that are dealt with, taken or refused.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.passed().parts
    }

    /// One more is dealt with; why it was refused, where it was.
    pub fn pass(&self, refused: Option<String>) {
        let mut passed = self.passed();
        passed.parts += 1;
        passed.refused += usize::from(refused.is_some());
        passed.reason = passed.reason.take().or(refused);
    }

    /// How many were refused, where any was, and why the first.
    #[must_use]
    pub fn refused(&self) -> Option<(usize, String)> {
        let passed = self.passed();
        passed.reason.clone().map(|reason| (passed.refused, reason))
    }

    fn passed(&self) -> MutexGuard<'_, Passed> {
        // Nothing panics while it is held; what is in it would be whole all the same.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PartialEq for Progress {
    fn eq(&self, other: &Self) -> bool {
        // One after the other, since both may be the same.
        let one = self.passed().clone();
        one == *other.passed()
    }
}

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
            order: Order::default(),
            lanes: Lanes::default(),
            alarm: Alarm::default(),
            lost: Vec::new(),
            given_up: Vec::new(),
        }
    }

    /// An empty queue for the contacts of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut outbox = Self::new(config.notify.give_up);
        outbox.configure(config);
        outbox
    }

    /// For how long deliveries are tried from now on, and who is told of what becomes of them.
    pub fn configure(&mut self, config: &Config) {
        self.give_up = config.notify.give_up;
        self.alarm.configure(config);
    }

    /// Takes a message for a recipient; whether there was room. Where there was none, that is told.
    pub fn queue(&mut self, message: Arc<Message>, recipient: Recipient, now: Timestamp) -> bool {
        let has_room = self.has_room(&recipient);
        if has_room {
            self.push(message, recipient, now);
        } else {
            self.lose(&message, recipient, now);
        }
        has_room
    }

    fn push(&mut self, message: Arc<Message>, recipient: Recipient, now: Timestamp) {
        self.push_due(message, recipient, now, now);
    }

    fn push_due(
        &mut self,
        message: Arc<Message>,
        recipient: Recipient,
        now: Timestamp,
        due: Timestamp,
    ) {
        let id = DeliveryId(self.next);
        self.next += 1;
        self.count(&message);
        let entry = Entry {
            message,
            recipient,
            tries: 0,
            attempts: 0,
            progress: Progress::default(),
            passed: 0,
            queued: now,
            due,
            asked: None,
            out: None,
            serial: u64::MAX,
            is_told_unsaved: false,
        };
        self.place(id, entry);
        self.moved.insert(id);
    }

    /// Puts a delivery where it is found again.
    fn place(&mut self, id: DeliveryId, entry: Entry) {
        let lane = self.lanes.enter(&entry.recipient);
        self.order.insert(id, lane, &entry.message);
        self.waiting.insert(id, entry);
    }

    /// Takes a delivery out of everywhere.
    fn take_out(&mut self, id: DeliveryId) -> Option<Entry> {
        let entry = self.waiting.remove(&id)?;
        if let Some(lane) = self.lanes.number(&entry.recipient) {
            self.order.remove(id, lane, &entry.message);
        }
        self.lanes.leave(&entry.recipient);
        self.moved.insert(id);
        self.discount(&entry.message.id);
        Some(entry)
    }

    /// Counts what could not wait before this for want of room.
    pub(super) fn overflow(&mut self, messages: u64) {
        self.tally.overflowed += messages;
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

    /// Hands out what is due, at most `room` deliveries, each to be settled by [`settle`]. No recipient
    /// gets more than its share of them.
    ///
    /// [`settle`]: Self::settle
    pub fn due(&mut self, now: Timestamp, room: usize) -> Vec<Delivery> {
        let ready = self.free().filter(|(_, entry)| entry.ready(self.saved) <= now);
        let ready: Vec<_> = ready.map(|(id, _)| id).collect();
        let mut out = Vec::new();
        for id in ready {
            if out.len() == room {
                break;
            }
            out.extend(self.hand_out(id, now));
        }
        out
    }

    fn hand_out(&mut self, id: DeliveryId, now: Timestamp) -> Option<Delivery> {
        let entry = self.waiting.get_mut(&id)?;
        if !self.lanes.admits(&entry.recipient) {
            return None;
        }
        self.lanes.send(&entry.recipient);
        entry.out = Some(now);
        entry.attempts += 1;
        entry.tries += 1;
        entry.passed = entry.progress.parts();
        let mut message = Arc::clone(&entry.message);
        if entry.serial > self.saved {
            self.tally.unsaved += u64::from(!entry.is_told_unsaved);
            entry.is_told_unsaved = true;
            message = Arc::new(Message { is_unsaved: true, ..Message::clone(&message) });
        }
        let (recipient, attempt) = (entry.recipient.clone(), entry.attempts);
        let progress = entry.progress.clone();
        Some(Delivery { id, message, recipient, attempt, progress })
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
        let is_taken = *outcome == Outcome::Delivered;
        let answers_again = is_taken && self.lanes.hurries(&entry.recipient, now);
        if entry.out.take().is_some() {
            self.lanes.back(&entry.recipient, matches!(outcome, Outcome::Later { .. }));
        }
        let (verdict, reason) = match outcome {
            Outcome::Delivered => (Verdict::Done, ""),
            Outcome::Refused { reason } => (Verdict::GivenUp, reason.as_str()),
            // Somebody waits for the outcome, and may ask again.
            Outcome::Later { reason, .. }
                if entry.message.is_test && !entry.message.is_all_over() =>
            {
                (Verdict::GivenUp, reason.as_str())
            }
            Outcome::Later { after, reason } => {
                (entry.again(id, *after, now, self.give_up), reason.as_str())
            }
        };
        match verdict {
            Verdict::Done => self.tally.delivered += 1,
            Verdict::GivenUp => self.tally.failed += 1,
            Verdict::Again(_) => self.tally.retried += 1,
        }
        self.moved.insert(id);
        if matches!(verdict, Verdict::Again(_)) {
            return verdict;
        }
        if let Some(entry) = self.take_out(id) {
            if answers_again {
                self.hurry(&entry.recipient, now);
            }
            if verdict == Verdict::Done {
                self.take_back(&entry.message, entry.recipient, now);
            } else {
                self.give_up(id, entry.message, entry.recipient, reason);
            }
        }
        self.settle_alarm(now);
        verdict
    }

    /// Has all that waits for a recipient tried now, or when the other side asked for: it answers again, and
    /// what follows is not to wait for its own turn of up to ten minutes. Order and shares hold as ever.
    fn hurry(&mut self, to: &Recipient, now: Timestamp) {
        for (id, entry) in &mut self.waiting {
            let due = entry.asked.map_or(now, |asked| asked.max(now));
            if entry.recipient == *to && entry.out.is_none() && entry.due > due {
                entry.due = due;
                self.moved.insert(*id);
            }
        }
    }

    /// When something will be due next, as far as is known now; `None` while nothing waits but what
    /// is with couriers, or held back behind something that is, or for want of a share of them.
    #[must_use]
    pub fn next_due(&self) -> Option<Timestamp> {
        let free = self.free().filter(|(_, entry)| self.lanes.admits(&entry.recipient));
        free.map(|(_, entry)| entry.ready(self.saved)).min()
    }

    /// What nothing but its time and its share of couriers keeps from being handed out: it is not with
    /// a courier, and no earlier delivery to the same recipient about one of its incidents is
    /// unsettled.
    fn free(&self) -> impl Iterator<Item = (DeliveryId, &Entry)> {
        let free = self.order.free().filter_map(|id| Some((id, self.waiting.get(&id)?)));
        free.filter(|(_, entry)| entry.out.is_none())
    }

    /// Deliveries that wait or are under way.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// For how long the oldest of them has waited.
    #[must_use]
    pub fn oldest(&self, now: Timestamp) -> Span {
        let oldest = self.waiting.values().map(|entry| entry.queued).min();
        oldest.map_or(Span::ZERO, |queued| now.since(queued))
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
}

impl Recipient {
    /// For people: the address, or the contact whose webhook it is.
    #[must_use]
    pub fn shown(&self) -> &str {
        let (Self::Email(to) | Self::Webhook(to)) = self;
        to
    }
}

impl Entry {
    /// When it is tried again, if ever. Where the other side took a part of it, it is as well as new.
    fn again(
        &mut self,
        id: DeliveryId,
        after: Option<Span>,
        now: Timestamp,
        give_up: Span,
    ) -> Verdict {
        if self.progress.parts() > self.passed {
            self.tries = 1;
        }
        self.asked = after.map(|after| now + after);
        let end = self.queued + give_up;
        if now >= end {
            return Verdict::GivenUp;
        }
        // The last attempt is at the end, however long the other side would have it wait.
        self.due = end.min(now + after.unwrap_or_default().max(backoff(self.tries, id)));
        Verdict::Again(self.due)
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
mod tests;
