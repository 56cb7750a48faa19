//! A test that was taken is taken back where the receiver keeps an alert open until it hears of its end.
//!
//! Not at once, or the phone would not ring that the test is about.

use std::sync::Arc;

use super::{Outbox, Recipient};
use crate::limits;
use crate::notify::message::{Message, Notice, NoticeKind};
use crate::rules::Level;
use crate::time::Timestamp;

/// The id of the message that takes a test back.
#[must_use]
pub fn end_of_test(message: &str) -> String {
    format!("{message}-over")
}

impl Outbox {
    /// Queues the end of a test for a recipient that took its beginning, where that is needed.
    pub(super) fn take_back(&mut self, message: &Message, to: Recipient, now: Timestamp) {
        if !message.is_test || message.is_all_over() || !self.takes_back(&message.contact, &to) {
            return;
        }
        let at = now + limits::TEST_LASTS;
        let over = |notice: &Notice| Notice {
            kind: NoticeKind::Recovered,
            from: notice.level,
            level: Level::Ok,
            since: at,
            ..notice.clone()
        };
        let message = Arc::new(Message {
            id: end_of_test(&message.id),
            at,
            notices: message.notices.iter().map(over).collect(),
            ..message.clone()
        });
        if self.waiting.len() < limits::OUTBOX + limits::OUTBOX_ALARMS {
            self.push_due(message, to, now, at);
        }
    }

    /// Whether a test ends for a recipient.
    fn takes_back(&self, contact: &str, to: &Recipient) -> bool {
        matches!(to, Recipient::Webhook(_)) && self.alarm.keeps_open(contact)
    }
}
