//! A message to one contact that says that it is a test, and takes the way that real ones take.
//!
//! It belongs to no incident. One attempt is made for each recipient, since whoever asks waits for the
//! outcome and asks again.

use std::sync::Arc;

use super::super::audit::What;
use super::super::message::{About, Message, Notice, NoticeKind};
use super::{Incidents, Moment};
use crate::rules::Level;
use crate::rules::wording::Unit;

/// What the ids of such messages begin with. It is how one is told from others after a start.
pub(in crate::notify) const MARK: char = 't';

/// Why there is no test.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoTest {
    /// The configuration has no such contact.
    #[error("there is no such contact")]
    NoSuchContact,
    /// Too many messages wait.
    #[error("the outbox is full")]
    Full,
}

impl Incidents {
    /// Queues it for every recipient of a contact.
    ///
    /// # Errors
    /// [`NoTest`]
    pub fn test(&mut self, contact: &str, moment: &mut Moment<'_>) -> Result<Arc<Message>, NoTest> {
        let now = moment.now;
        let recipients = self.contacts.get(contact).cloned().ok_or(NoTest::NoSuchContact)?;
        let id = self.next_id(MARK, now);
        let about = About {
            name: "test".to_owned(),
            summary: format!("Whoever reads this is told what the contact {contact} is told."),
            unit: Unit { is_signed: false, text: " test message".to_owned() },
            ..About::default()
        };
        let notice = Notice {
            incident: Arc::clone(&id),
            alert: 0,
            opened: now,
            kind: NoticeKind::Firing,
            rule: Arc::new(about),
            labels: Vec::new(),
            from: Level::Ok,
            level: Level::Warning,
            since: now,
            began: None,
            worst: None,
            value: Some(1.0),
            covered: 1.0,
            is_at_least: false,
            problem: None,
        };
        let message = self.message(&id, contact, vec![notice], now);
        let message = Arc::new(Message { is_test: true, ..message });
        let mut has_room = false;
        for recipient in recipients {
            has_room |= moment.outbox.queue(Arc::clone(&message), recipient, now);
        }
        if !has_room {
            return Err(NoTest::Full);
        }
        let (id, contact) = (message.id.clone(), contact.to_owned());
        moment.audit.note(now, What::Message { message: id, contact, notices: 1 });
        Ok(message)
    }
}
