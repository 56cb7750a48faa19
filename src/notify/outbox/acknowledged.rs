//! That somebody looks after an incident is told to whoever keeps a record of that.
//!
//! PagerDuty does: what is acknowledged here is acknowledged there, and it stops calling. To people it
//! would be one message more, about what one of them did.

use std::sync::Arc;

use super::Outbox;
use crate::notify::message::{Message, Notice};
use crate::time::Timestamp;

impl Outbox {
    /// Whether a contact keeps a record of who looks after what.
    pub(in crate::notify) fn keeps_record(&self, contact: &str) -> bool {
        self.alarm.record_keeper(contact).is_some()
    }

    /// Queues it for those of the contacts that were told of the incident.
    pub(in crate::notify) fn acknowledge<'a>(
        &mut self,
        notice: &Notice,
        told: impl Iterator<Item = &'a String>,
        now: Timestamp,
    ) {
        for contact in told {
            let Some(recipient) = self.alarm.record_keeper(contact).cloned() else { continue };
            let id = format!("{}-ack{:x}-{contact}", notice.incident, now.as_millis());
            let message = Message {
                id: id.replace(|c: char| !c.is_ascii_alphanumeric(), "-"),
                contact: contact.clone(),
                at: now,
                public_url: self.alarm.public_url(),
                ..Message::about(vec![notice.clone()])
            };
            self.queue(Arc::new(message), recipient, now);
        }
    }
}
