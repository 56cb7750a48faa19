//! What a clock that was set means for what waits, and what goes on while windows wait for it to catch up.

use std::sync::Arc;

use super::state::State;
use crate::notify::{Message, Moment};
use crate::time::Timestamp;
use crate::time::clock::Reading;

impl State {
    /// Moves what waits for so long with a clock that was set; the time to go by.
    pub(super) fn keep_time(&mut self, reading: Reading) -> Timestamp {
        if let Some(step) = self.steps.look(reading) {
            self.outbox.set_clock(step);
            self.incidents.set_clock(step);
        }
        reading.now
    }

    /// Does what a tick does beside windows and rules, while the clock stands before the last window that was
    /// closed: what is held goes out, what nobody acknowledges is told again and to others, silences begin and end.
    pub(super) fn remind(&mut self, now: Timestamp) -> Vec<Arc<Message>> {
        let Self { rules, incidents, outbox, audit, .. } = self;
        let messages = incidents.step(Vec::new(), &mut Moment { now, rules, outbox, audit });
        self.note_lost(now);
        self.log_facts();
        messages
    }
}
