//! What a connection keeps between two reads: the beginning of a request that is not whole yet.
//!
//! A long one is charged to the room for items for as long as it is gathered, so that what many
//! connections hold of half-sent values is bounded as well.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::Worker;
use crate::engine::tally::Counts;
use crate::faces::Status;
use crate::limits;
use crate::protocol::{Error, Reply};

impl Worker {
    /// Whether there is room to gather a request of so many bytes. Long ones are charged to the room
    /// for items while they are gathered, so that many half-sent values cannot take more than that.
    pub(super) fn charge(&self, rest: &mut Rest, bytes: usize) -> bool {
        if rest.charge.as_ref().is_some_and(|charge| charge.bytes == bytes) {
            return true;
        }
        rest.charge = None;
        if bytes <= limits::READ_CHUNK_BYTES {
            return true;
        }
        let max = self.shared.engine.counters().items().max_bytes();
        rest.charge = Charge::new(&self.shared.status, bytes, max.max(self.limits.item_bytes));
        rest.charge.is_some()
    }

    /// Refuses a request for which there is no room before it is gathered; whether the connection
    /// goes on. A value can be skipped, since its length is known. A line cannot.
    #[cold]
    #[expect(clippy::unused_self, reason = "reads as the other answers do")]
    pub(super) fn turn_down(
        &self,
        bytes: &[u8],
        announced: usize,
        rest: &mut Rest,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> bool {
        counts.errors += 1;
        if !is_noreply(bytes) {
            Reply::Error(Error::OutOfMemory).write_to(out);
        }
        rest.wanted = 0;
        rest.to_swallow = announced;
        bytes.contains(&b'\n')
    }
}

/// Between two reads of a connection.
#[derive(Default)]
pub(super) struct Rest {
    /// The beginning of a request that is not whole yet.
    pub(super) bytes: Vec<u8>,
    /// How many bytes it takes to try again.
    pub(super) wanted: usize,
    /// Bytes of a refused data block that are still to come.
    pub(super) to_swallow: usize,
    /// How many of `bytes` were counted as read already.
    pub(super) seen: usize,
    /// The client has to say first who it is.
    pub(super) is_stranger: bool,
    /// Bytes that were read since the connection began.
    pub(super) read_bytes: u64,
    /// The room that the request is gathered in, where it is long.
    pub(super) charge: Option<Charge>,
}

/// Room that is taken as long as this lives.
pub(super) struct Charge {
    status: Arc<Status>,
    bytes: usize,
}

impl Charge {
    fn new(status: &Arc<Status>, bytes: usize, max: usize) -> Option<Self> {
        let taken = status.gathering_bytes.fetch_update(Relaxed, Relaxed, |taken| {
            taken.checked_add(bytes).filter(|taken| *taken <= max)
        });
        taken.ok().map(|_| Self { status: Arc::clone(status), bytes })
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.status.gathering_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// Whether the first line of a request asks for silence.
fn is_noreply(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().ends_with(b" noreply")
}

impl Rest {
    /// How many of the bytes that are there now are swallowed.
    pub(super) fn swallow(&mut self, available: usize) -> usize {
        let now = self.to_swallow.min(available);
        self.to_swallow -= now;
        now
    }

    pub(super) fn newly(&mut self, available: usize) -> u64 {
        let newly = available.saturating_sub(std::mem::take(&mut self.seen)) as u64;
        self.read_bytes += newly;
        newly
    }
}
