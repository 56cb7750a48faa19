//! What a connection does with each request that was read: asks the live table, or answers for the
//! server itself.
//!
//! Requests are answered in the order in which they came. It knows neither how bytes are read nor
//! how many a connection may keep; what is not whole yet it leaves to `gather`.

use std::io;
use std::sync::atomic::Ordering::Relaxed;

use super::detail::Asked;
use super::gather::Rest;
use super::stream::Stream;
use super::{End, VERSION, Worker, stats};
use crate::engine::tally::Counts;
use crate::engine::{apply, retrieve, retrieve_and_touch};
use crate::limits;
use crate::protocol::{
    Error, Keys, MetaKey, MetaKeyRoom, Reply, Request, ShutdownMode, Step, parse,
};
use crate::time::Timestamp;

impl Worker {
    /// The same from `at` on, which moves along; answers that are left are in `out`.
    pub(super) async fn answer_from(
        &self,
        stream: &mut Stream,
        &Batch { input, mut now }: &Batch<'_>,
        at: &mut usize,
        rest: &mut Rest,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<End>> {
        let mut left = self.turn;
        loop {
            let Some(bytes) = input.get(*at..).filter(|bytes| !bytes.is_empty()) else {
                rest.wanted = 0;
                rest.charge = None;
                return Ok(None);
            };
            if rest.is_stranger {
                match self.greet(bytes, rest, counts, out) {
                    Ok(consumed) => *at += consumed,
                    Err(end) => return Ok(end),
                }
                continue;
            }
            if left == 0 {
                left = self.others_first().await;
            }
            left -= 1;
            match parse(bytes, &self.limits) {
                Step::Request { request: Request::Get { keys, cas }, consumed } => {
                    let wanted = Wanted { keys, cas, exptime: None };
                    self.retrieve(wanted, now, stream, counts, out).await?;
                    *at += consumed;
                }
                Step::Request {
                    request: Request::GetAndTouch { keys, cas, exptime },
                    consumed,
                } => {
                    let wanted = Wanted { keys, cas, exptime: Some(exptime) };
                    self.retrieve(wanted, now, stream, counts, out).await?;
                    *at += consumed;
                }
                Step::Request { request: Request::Quit, .. } => return Ok(Some(End::Closed)),
                Step::Request { request: Request::Shutdown { mode }, consumed } => {
                    if self.shut_down(mode, out) {
                        return Ok(Some(End::Closed));
                    }
                    *at += consumed;
                }
                Step::Request { request, consumed } => {
                    if let Request::Stats { .. } = request {
                        // What this batch did so far is to be in the figures.
                        self.tally.add(&std::mem::take(counts));
                    }
                    if !self.refuses(&request, counts, out) {
                        apply(self.shared.engine.counters(), &request, now, counts, out);
                        self.answer_for_itself(&request, now, out);
                    }
                    *at += consumed;
                }
                Step::NeedMore { at_least } => {
                    rest.wanted = at_least;
                    if self.charge(rest, at_least) {
                        return Ok(None);
                    }
                    if !self.turn_down(bytes, at_least, rest, counts, out) {
                        return Ok(Some(End::Refused));
                    }
                    *at += rest.swallow(bytes.len());
                }
                Step::Refuse { error, consumed, swallow, forget } => {
                    // With its line end, so that a value of just the limit is none of them.
                    let is_too_large = swallow > self.limits.item_bytes + 2;
                    counts.store_too_large += u64::from(is_too_large);
                    if let Some(key) = forget {
                        self.forget(key, now);
                    }
                    if let Some(error) = error {
                        Reply::Error(error).write_to(out);
                    }
                    counts.errors += 1;
                    rest.to_swallow = swallow;
                    *at += consumed;
                    *at += rest.swallow(input.len() - *at);
                }
                Step::Close { error } => {
                    if let Some(error) = error {
                        Reply::Error(error).write_to(out);
                    }
                    counts.errors += 1;
                    return Ok(Some(End::Refused));
                }
            }
            if out.len() >= limits::REPLY_BUFFER_BYTES {
                self.write(stream, out, counts).await?;
                // The client may have taken its time.
                now = self.shared.now();
            }
        }
    }

    /// Lets the worker's other connections have their turn; then it has a whole one again.
    #[cold]
    async fn others_first(&self) -> u32 {
        self.shared.status.yields.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        self.turn
    }

    /// Answers a request that the server's own settings forbid.
    #[inline]
    fn refuses(&self, request: &Request<'_>, counts: &mut Counts, out: &mut Vec<u8>) -> bool {
        let Request::FlushAll { noreply, .. } = *request else { return false };
        if self.config.compat.flush_all {
            return false;
        }
        counts.errors += 1;
        if !noreply {
            Reply::Error(Error::FlushOff).write_to(out);
        }
        true
    }

    /// Answers a retrieval, a part at a time where it is long.
    async fn retrieve(
        &self,
        wanted: Wanted<'_>,
        now: Timestamp,
        stream: &mut Stream,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        let Wanted { keys, cas, exptime } = wanted;
        let (counters, detail) = (self.shared.engine.counters(), &self.shared.status.detail);
        for key in keys.iter() {
            let before = counts.get_hits + counts.touch_hits;
            match exptime {
                None => retrieve(counters, key, cas, now, counts, out),
                Some(exptime) => {
                    retrieve_and_touch(counters, key, cas, exptime, now, counts, out);
                }
            }
            if detail.is_on() {
                let is_hit = counts.get_hits + counts.touch_hits > before;
                detail.note(key, Asked::Get { is_hit });
            }
            if out.len() >= limits::REPLY_BUFFER_BYTES {
                self.write(stream, out, counts).await?;
            }
        }
        Reply::End.write_to(out);
        Ok(())
    }

    /// The requests that are about the server and not about a key, and what `stats detail` counts.
    fn answer_for_itself(&self, request: &Request<'_>, now: Timestamp, out: &mut Vec<u8>) {
        let detail = &self.shared.status.detail;
        match request {
            Request::Version => Reply::Version(VERSION).write_to(out),
            Request::Verbosity { noreply: false } => Reply::Ok.write_to(out),
            Request::MetaNoOp => Reply::MetaNoOp.write_to(out),
            Request::Stats { arg } => stats::answer(self, arg, now, out),
            Request::Store { key, .. } | Request::Cas { key, .. } if detail.is_on() => {
                detail.note(key, Asked::Set);
            }
            Request::Delete { key, .. } if detail.is_on() => detail.note(key, Asked::Delete),
            _ => {}
        }
    }

    /// Ends the process where that is allowed; whether it is.
    fn shut_down(&self, mode: ShutdownMode, out: &mut Vec<u8>) -> bool {
        let status = &self.shared.status;
        let error = match mode {
            _ if !status.allows_shutdown.load(Relaxed) => Error::ShutdownOff,
            ShutdownMode::Unknown => Error::BadShutdown,
            // What others have sent is answered either way: that is how this process always ends.
            ShutdownMode::AtOnce | ShutdownMode::Graceful => {
                status.shutdown.notify_one();
                return true;
            }
        };
        Reply::Error(error).write_to(out);
        false
    }

    fn forget(&self, key: MetaKey<'_>, now: Timestamp) {
        let mut room = MetaKeyRoom::default();
        self.shared.engine.counters().delete(key.decode(&mut room), now);
    }
}

/// What a retrieval asks for.
struct Wanted<'a> {
    keys: Keys<'a>,
    cas: bool,
    /// The new expiry of each key.
    exptime: Option<i64>,
}

/// What was read, and when.
pub(super) struct Batch<'a> {
    pub(super) input: &'a [u8],
    pub(super) now: Timestamp,
}
