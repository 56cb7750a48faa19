//! What people do: acknowledge, silence, say something, put something into use, send a test.
//!
//! It is in the log before they are told that it was done, where the disk takes anything. What follows from it
//! is told with the next tick.

use std::sync::Arc;

use super::Engine;
use crate::notify::{Acknowledged, Deploy, Incidents, Message, Moment, NoTest, Refusal, Silence};
use crate::time::Timestamp;

impl Engine {
    /// Notes that `author` looks after an open incident: it is told no more before it is worse or over. Where
    /// somebody does already, that stays.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn acknowledge(
        &self,
        incident: &str,
        author: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<Acknowledged, Refusal> {
        self.act(now, |incidents, moment| incidents.acknowledge(incident, author, comment, moment))
    }

    /// Notes that nobody looks after an incident any more.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unacknowledge(
        &self,
        incident: &str,
        author: &str,
        comment: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.act(now, |incidents, moment| {
            incidents.unacknowledge(incident, author, comment, moment)
        })
    }

    /// Adds what somebody says to an open incident.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn comment(
        &self,
        incident: &str,
        author: &str,
        text: &str,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.act(now, |incidents, moment| incidents.comment(incident, author, text, moment))
    }

    /// Takes a silence, which gets an id of its own.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn silence(&self, silence: Silence, now: Timestamp) -> Result<Silence, Refusal> {
        self.act(now, |incidents, moment| incidents.silence(silence, moment))
    }

    /// Queues a message that says that it is a test for every recipient of a contact.
    ///
    /// # Errors
    /// See [`NoTest`].
    pub fn test_contact(&self, contact: &str, now: Timestamp) -> Result<Arc<Message>, NoTest> {
        self.act(now, |incidents, moment| incidents.test(contact, moment))
    }

    /// Notes that something was put into use; its id.
    pub fn deploy(&self, deploy: Deploy) -> u64 {
        let id = self.state().deploy(deploy);
        self.write_down();
        id
    }

    /// Forgets a deploy; whether it was known.
    pub fn forget_deploy(&self, id: u64) -> bool {
        let is_known = self.state().forget_deploy(id);
        self.write_down();
        is_known
    }

    /// Ends a silence before its time. What still holds of what it covered is told with the next tick.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unsilence(&self, id: &str, author: &str, now: Timestamp) -> Result<Silence, Refusal> {
        self.act(now, |incidents, moment| incidents.unsilence(id, author, moment))
    }

    /// Does something, and has it written down. It may take as long as the disk likes.
    fn act<T, E>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&mut Incidents, &mut Moment<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        {
            let state = &mut *self.state();
            let (rules, outbox, audit) = (&state.rules, &mut state.outbox, &mut state.audit);
            let done = act(&mut state.incidents, &mut Moment { now, rules, outbox, audit });
            state.log_facts();
            done
        }
        .inspect(|_| self.write_down())
    }

    fn write_down(&self) {
        // A disk that takes nothing stops nobody: what was done holds until the process ends.
        if self.write_log().unwrap_or(false) {
            self.state().owes_wake = true;
        }
    }
}

#[cfg(test)]
mod tests;
