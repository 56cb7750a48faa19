//! What nobody got goes to the contacts that are told when another cannot be reached.
//!
//! It says for whom it was and why it was not delivered. What was passed on is not passed on again, so
//! it ends there; a contact is not told of its own messages, since it is what cannot be reached. What of it they
//! are told is for [`Incidents`](crate::notify::Incidents) to say, who know what they have heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{DeliveryId, Outbox, Recipient};
use crate::notify::message::{Message, Notice, Undelivered};
use crate::time::Timestamp;

/// A delivery that will not be tried again.
#[derive(Debug)]
pub(in crate::notify) struct GivenUp {
    id: DeliveryId,
    pub(in crate::notify) message: Arc<Message>,
    to: Recipient,
    reason: String,
    /// Ends that wait behind it for the same recipient, by their incidents.
    pub(in crate::notify) ends: BTreeMap<Arc<str>, Notice>,
}

impl Outbox {
    /// Notes a delivery that was given up, where others are told of that.
    pub(super) fn give_up(
        &mut self,
        id: DeliveryId,
        message: Arc<Message>,
        to: Recipient,
        reason: &str,
    ) {
        if message.undelivered.is_none() && !message.is_test {
            let ends = self.ends_behind(&message, &to);
            let reason = reason.to_owned();
            self.given_up.push(GivenUp { id, message, to, reason, ends });
        }
    }

    fn ends_behind(&self, message: &Message, to: &Recipient) -> BTreeMap<Arc<str>, Notice> {
        let Some(lane) = self.lanes.number(to) else { return BTreeMap::new() };
        let end = |notice: &Notice| {
            let about = self.order.about(lane, &notice.incident).iter();
            let entries = about.filter_map(|id| self.waiting.get(id));
            let mut behind = entries.flat_map(|entry| &entry.message.notices);
            let is_end =
                |other: &&Notice| other.incident == notice.incident && other.kind.is_over();
            Some((Arc::clone(&notice.incident), behind.find(is_end)?.clone()))
        };
        message.notices.iter().filter_map(end).collect()
    }

    /// Deliveries that were given up since the last call.
    pub(in crate::notify) fn take_given_up(&mut self) -> Vec<GivenUp> {
        std::mem::take(&mut self.given_up)
    }

    /// Who is told of one, each with its recipients.
    pub(in crate::notify) fn stand_ins(&self, of: &GivenUp) -> BTreeMap<String, Vec<Recipient>> {
        let mut all: BTreeMap<String, Vec<Recipient>> = BTreeMap::new();
        for (contact, to) in self.alarm.fallback() {
            if contact != of.message.contact && *to != of.to {
                all.entry(contact.to_owned()).or_default().push(to.clone());
            }
        }
        all
    }
}

impl GivenUp {
    /// What one of those who are told of it is sent.
    pub(in crate::notify) fn passed(
        &self,
        contact: &str,
        number: usize,
        notices: Vec<Notice>,
        now: Timestamp,
    ) -> Message {
        let message = &self.message;
        Message {
            id: format!("{}-f{:x}-{number}", message.id, self.id.0),
            contact: contact.to_owned(),
            at: now,
            notices,
            is_unsaved: false,
            undelivered: Some(Undelivered {
                contact: message.contact.clone(),
                to: self.to.shown().to_owned(),
                reason: self.reason.clone(),
            }),
            ..Message::clone(message)
        }
    }
}
