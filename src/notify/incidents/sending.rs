//! From what is held to messages in the outbox: one for each contact, and each of its recipients.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Incidents, Moment, fact_key};
use crate::notify::audit::What;
use crate::notify::incident::{Told, push_bounded};
use crate::notify::message::{Message, Notice};
use crate::notify::outbox::{Recipient, Replaced};
use crate::notify::plain;
use crate::time::Timestamp;

impl Incidents {
    /// Queues one message for each contact who may be told now, and puts away what is over.
    pub(super) fn send(&mut self, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        let now = moment.second();
        let messages = self.send_to(self.hold.ready(now), moment);
        self.hold.tidy(now);
        self.put_away();
        messages
    }

    /// Queues everything that is held: there will be no later moment.
    pub fn release(&mut self, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        self.send_to(self.hold.ready(Timestamp::from_millis(i64::MAX)), moment)
    }

    pub(super) fn send_to(
        &mut self,
        contacts: Vec<String>,
        moment: &mut Moment<'_>,
    ) -> Vec<Arc<Message>> {
        let mut messages = Vec::new();
        moment.outbox.overflow(self.hold.take_lost());
        for contact in contacts {
            let recipients = self.contacts.get(&contact).cloned().unwrap_or_default();
            let notices = self.hold.letter(&contact);
            if !recipients.is_empty() && !self.has_room(&contact, &recipients, moment) {
                continue;
            }
            let queued = self.queue(&contact, recipients, &notices, moment);
            self.hold.sent(&contact, moment.second());
            for message in &queued {
                self.note_message(message);
                let (message, notices) = (message.id.clone(), message.notices.len() as u64);
                let contact = contact.clone();
                moment.audit.note(moment.now, What::Message { message, contact, notices });
            }
            messages.extend(queued);
        }
        messages
    }

    /// Whether the outbox has room for any recipient of a contact. Where it has for none the message waits, and
    /// that is told once.
    fn has_room(
        &mut self,
        contact: &str,
        recipients: &[Recipient],
        moment: &mut Moment<'_>,
    ) -> bool {
        let has_room = recipients.iter().any(|to| moment.outbox.has_room(to));
        if has_room {
            self.stuck.remove(contact);
        } else if self.stuck.insert(contact.to_owned()) {
            moment.outbox.hold_back(contact, moment.now);
        }
        has_room
    }

    /// Queues what a contact is told for each of its recipients. Mostly that is one message for all;
    /// who has not got the beginning yet gets one of its own.
    fn queue(
        &mut self,
        contact: &str,
        recipients: Vec<Recipient>,
        notices: &[Notice],
        moment: &mut Moment<'_>,
    ) -> Vec<Arc<Message>> {
        let (now, outbox) = (moment.now, &mut *moment.outbox);
        let (mut queued, mut shared) = (Vec::new(), None);
        for recipient in recipients {
            let next_id = || self.next_id('m', now).to_string();
            let Replaced { incidents, messages } =
                outbox.replace(&recipient, notices, now, next_id);
            queued.extend(messages);
            let message = if incidents.is_empty() {
                let made = shared.get_or_insert_with(|| {
                    let id = self.next_id('m', now);
                    Arc::new(self.message(&id, contact, notices.to_vec(), now))
                });
                Arc::clone(made)
            } else {
                let is_left = |notice: &&Notice| !incidents.contains(&notice.incident);
                let rest: Vec<_> = notices.iter().filter(is_left).cloned().collect();
                if rest.is_empty() {
                    continue;
                }
                let id = self.next_id('m', now);
                Arc::new(self.message(&id, contact, rest, now))
            };
            let is_queued = outbox.queue(Arc::clone(&message), recipient, now);
            if is_queued && !queued.iter().any(|one| Arc::ptr_eq(one, &message)) {
                queued.push(message);
            }
        }
        queued
    }

    pub(super) fn message(
        &self,
        id: &str,
        contact: &str,
        notices: Vec<Notice>,
        at: Timestamp,
    ) -> Message {
        Message {
            id: id.to_owned(),
            contact: contact.to_owned(),
            at,
            is_digest: notices.len() > self.digest_above,
            public_url: Arc::clone(&self.public_url),
            ..Message::about(notices)
        }
    }

    /// Adds a message to the incidents that it tells of. Some of them may be over.
    pub(super) fn note_message(&mut self, message: &Message) {
        let (at, mut past) = (message.at, BTreeSet::new());
        let (contact, id) = (&message.contact, &message.id);
        let told = || Told { at, contact: contact.clone(), message: id.clone() };
        for notice in &message.notices {
            let key = self.ids.get(&notice.incident);
            match key.and_then(|key| Some((key, self.open.get_mut(key)?))) {
                Some((key, incident)) => {
                    push_bounded(&mut incident.messages, told());
                    self.moved.insert(key.clone());
                }
                None => drop(past.insert(&notice.incident)),
            }
        }
        for incident in self.past.iter_mut().rev() {
            if past.is_empty() {
                break;
            }
            if past.remove(&incident.id) {
                push_bounded(&mut incident.messages, told());
                self.facts.put(fact_key(&incident.id), plain::write(incident));
            }
        }
    }
}
