//! What of the outbox outlives the process: telling what has changed, and taking it over.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::alarm::Trouble;
use super::{DeliveryId, Entry, Outbox, Progress};
use crate::notify::message::Message;
use crate::notify::plain;
use crate::store::{Facts, Table};
use crate::time::Timestamp;

/// A delivery as it is kept. Its message is kept beside it, once for all recipients.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::notify) struct Waiting {
    pub(in crate::notify) message: String,
    pub(in crate::notify) recipient: super::Recipient,
    pub(in crate::notify) attempts: u32,
    pub(in crate::notify) queued: Timestamp,
    pub(in crate::notify) due: Timestamp,
}

/// The first bytes of the keys of facts.
const DELIVERIES: u8 = b'd';
const MESSAGES: u8 = b'm';
const NEXT_KEY: &[u8] = b"no";

impl Outbox {
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
        for trouble in self.alarm.take_moved() {
            match self.alarm.raised(trouble) {
                Some(raised) => facts.put(trouble.key().to_vec(), plain::write(raised)),
                None => facts.remove(trouble.key().to_vec()),
            }
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
            let (to, has_failed) = (entry.recipient.clone(), entry.attempts > 0);
            self.place(DeliveryId(id), entry);
            if has_failed {
                self.lanes.has_failed(&to);
            }
            self.next = self.next.max(id.saturating_add(1));
        }
        let next = table.get(NEXT_KEY).and_then(plain::read::<u64>);
        self.next = self.next.max(next.unwrap_or(1));
        for trouble in Trouble::ALL {
            self.alarm.recall(trouble, table.get(trouble.key()).and_then(plain::read));
        }
        garbled
    }
}

impl Entry {
    fn of(waiting: Waiting, message: Arc<Message>) -> Self {
        let Waiting { recipient, attempts, queued, due, .. } = waiting;
        Self {
            message,
            recipient,
            tries: attempts,
            attempts,
            progress: Progress::default(),
            passed: 0,
            queued,
            due,
            // Where the other side asked for longer is not kept; it will say so again.
            asked: None,
            out: None,
            serial: 0,
            is_told_unsaved: false,
        }
    }
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
