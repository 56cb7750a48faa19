//! What waits, waits as long as it would had nobody set the clock.
//!
//! An attempt that comes in ten minutes comes in ten minutes, and what is given up after a day was tried for a day:
//! the instants of both are moved with the clock. Over a start nobody knows how long it was, or whether the clock
//! was right before; then nothing waits for longer than it could if it had been tried just now.

use super::{BACKOFF_MAX, Outbox};
use crate::time::{Span, Step, Timestamp};

/// As long as anything waits for the next attempt that nobody has asked to wait.
const LONGEST: Span = Span::from_millis(BACKOFF_MAX.as_millis() / 5 * 6);

impl Outbox {
    /// Moves what waits with a clock that was set.
    pub fn set_clock(&mut self, step: Step) {
        for (id, entry) in &mut self.waiting {
            // What came since the step has its time of the clock as it is.
            let Some(queued) = step.moved(entry.queued) else { continue };
            (entry.queued, entry.due) = (queued, entry.due + step);
            entry.asked = entry.asked.map(|asked| asked + step);
            entry.out = entry.out.and_then(|out| step.moved(out).or(Some(out)));
            self.moved.insert(*id);
        }
    }

    /// Holds what an earlier process left against the clock of this one.
    pub fn begin(&mut self, now: Timestamp) {
        for entry in self.waiting.values_mut() {
            entry.queued = entry.queued.min(now);
            entry.due = entry.due.min(now + LONGEST);
        }
    }
}
