//! What nobody got goes to the contacts that are told when another cannot be reached.
//!
//! It says for whom it was and why it was not delivered. What was passed on is not passed on again, so
//! it ends there; a contact is not told of its own messages, since it is what cannot be reached.

use std::sync::Arc;

use super::{DeliveryId, Outbox};
use crate::notify::message::{Message, Undelivered};
use crate::time::Timestamp;

impl Outbox {
    /// Queues a message that was given up for whoever is told of that.
    pub(super) fn pass_on(
        &mut self,
        id: DeliveryId,
        message: &Message,
        to: &super::Recipient,
        reason: &str,
        now: Timestamp,
    ) {
        if message.undelivered.is_some() || message.is_test {
            return;
        }
        let others = self
            .alarm
            .fallback()
            .filter(|(contact, recipient)| *contact != message.contact && *recipient != to);
        let others: Vec<_> = others.map(|(contact, to)| (contact.to_owned(), to.clone())).collect();
        let undelivered = Undelivered {
            contact: message.contact.clone(),
            to: to.shown().to_owned(),
            reason: reason.to_owned(),
        };
        for (number, (contact, recipient)) in others.into_iter().enumerate() {
            let passed = Arc::new(Message {
                id: format!("{}-f{:x}-{number}", message.id, id.0),
                contact,
                at: now,
                is_unsaved: false,
                undelivered: Some(undelivered.clone()),
                ..message.clone()
            });
            if self.queue(Arc::clone(&passed), recipient, now) {
                self.passed_on.push(passed);
            }
        }
    }

    /// Messages that were passed on since the last call.
    pub fn take_passed_on(&mut self) -> Vec<Arc<Message>> {
        std::mem::take(&mut self.passed_on)
    }
}
