//! What people do: acknowledge, silence, say something.
//!
//! It is in the log before they are told that it was done, where the disk takes anything. What follows from it
//! is told with the next tick.

use super::Engine;
use crate::notify::{Acknowledged, Incidents, Moment, Refusal, Silence};
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

    /// Ends a silence before its time. What still holds of what it covered is told with the next tick.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unsilence(&self, id: &str, author: &str, now: Timestamp) -> Result<Silence, Refusal> {
        self.act(now, |incidents, moment| incidents.unsilence(id, author, moment))
    }

    /// Does something, and has it written down. It may take as long as the disk likes.
    fn act<T>(
        &self,
        now: Timestamp,
        act: impl FnOnce(&mut Incidents, &mut Moment<'_>) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        {
            let state = &mut *self.state();
            let (rules, outbox, audit) = (&state.rules, &mut state.outbox, &mut state.audit);
            let done = act(&mut state.incidents, &mut Moment { now, rules, outbox, audit });
            state.log_facts();
            done
        }
        .inspect(|_| {
            // A disk that takes nothing stops nobody: what was done holds until the process ends.
            if self.write_log().unwrap_or(false) {
                self.state().owes_wake = true;
            }
        })
    }
}

#[cfg(test)]
mod tests;
