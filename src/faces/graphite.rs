//! Graphite's plaintext protocol: each line sets a gauge.
//!
//! What others have gathered is told with its instant, which is mostly now. Windows that are closed stay closed, so
//! a value of longer ago is refused and counted; history comes in by `tallyd import`.

use super::Shared;
use super::told::{Refusal, Teller};
use crate::counters::Told;
use crate::limits;
use crate::protocol::graphite::parse;
use crate::time::{Span, Timestamp};

/// Nothing is known between two lines.
pub struct Graphite {
    shared: Shared,
}

impl Graphite {
    /// Sets gauges of this engine.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared }
    }
}

impl Teller for Graphite {
    fn tell(&mut self, line: &[u8], now: Timestamp) -> Result<(), Refusal> {
        let point = parse(line)?;
        let far =
            |at: Timestamp| at.since(now).max(now.since(at)) > Span::from_secs(limits::TOLD_SECS);
        if point.at.is_some_and(far) {
            return Err(Refusal::Time);
        }
        match self.shared.engine.counters().gauge(&point.key, now, |_| point.value) {
            Told::Taken => Ok(()),
            told => Err(told.into()),
        }
    }

    fn settle(&mut self, _: Timestamp, _: bool) {}
}
