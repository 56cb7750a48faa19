//! What a connection does with each request that was read: asks the live table, or answers for the
//! server itself.
//!
//! Requests are answered in the order in which they came; increments that stand in a row are done
//! together, so that they wait for memory together. Nothing here waits for anybody: where that is
//! due, answering pauses and says why. It knows neither how bytes are read nor how many a connection
//! may keep; what is not whole yet it leaves to `gather`.

use std::sync::atomic::Ordering::Relaxed;

use super::detail::Asked;
use super::gather::Rest;
use super::{End, VERSION, Worker, stats};
use crate::engine::tally::Counts;
use crate::engine::{Increments, apply, incr, retrieve, retrieve_and_touch, retrieve_row};
use crate::limits;
use crate::protocol::{
    Error, KeysLeft, MetaKey, MetaKeyRoom, Reply, Request, ShutdownMode, Step, parse, plain_incr,
};
use crate::time::Timestamp;

/// What was read of a connection, how far it is answered, and the answers that are not written yet.
pub(super) struct Batch<'a> {
    pub(super) input: &'a [u8],
    /// How much of it is done with.
    pub(super) at: usize,
    pub(super) now: Timestamp,
    /// Requests until others have their turn.
    pub(super) left: u32,
    /// A retrieval that is answered in parts, since it is long.
    pub(super) retrieval: Option<Retrieval<'a>>,
    pub(super) counts: Counts,
    pub(super) out: Vec<u8>,
}

/// What a retrieval still asks for.
pub(super) struct Retrieval<'a> {
    keys: KeysLeft<'a>,
    cas: bool,
    /// The new expiry of each key.
    exptime: Option<i64>,
}

/// Why answering pauses.
pub(super) enum Pause {
    /// All that is whole is answered.
    Whole,
    /// What was answered is to be written before there is more of it.
    Write,
    /// Others on this worker have their turn first.
    Others,
    /// The connection ends.
    End(End),
}

impl Worker {
    /// Answers requests in their order, as far as that goes without waiting for anybody.
    pub(super) fn answer_some(&self, batch: &mut Batch<'_>, rest: &mut Rest) -> Pause {
        loop {
            if batch.retrieval.is_some() {
                self.retrieve(batch);
            }
            if batch.out.len() >= limits::REPLY_BUFFER_BYTES {
                return Pause::Write;
            }
            let input = batch.input;
            let Some(bytes) = input.get(batch.at..).filter(|bytes| !bytes.is_empty()) else {
                rest.wanted = 0;
                rest.charge = None;
                return Pause::Whole;
            };
            if rest.is_stranger {
                match self.greet(bytes, rest, &mut batch.counts, &mut batch.out) {
                    Ok(consumed) => batch.at += consumed,
                    Err(None) => return Pause::Whole,
                    Err(Some(end)) => return Pause::End(end),
                }
                continue;
            }
            if batch.left == 0 {
                return Pause::Others;
            }
            if self.increment(bytes, batch) {
                continue;
            }
            batch.left -= 1;
            if let Some(pause) = self.answer_one(bytes, batch, rest) {
                return pause;
            }
        }
    }

    /// Does the increments at the front of `bytes` together; whether there are any.
    #[inline]
    fn increment(&self, bytes: &[u8], batch: &mut Batch<'_>) -> bool {
        let Some(first) = plain_incr(bytes, &self.limits) else { return false };
        let counters = self.shared.engine.counters();
        batch.left -= 1;
        let mut at = first.consumed;
        if at == bytes.len() {
            // All that there is, as where nothing is pipelined: a row would cost more than it saves.
            batch.at += at;
            let Batch { now, counts, out, .. } = batch;
            incr(counters, &first, *now, counts, out);
            return true;
        }
        let mut increments = Increments::of(&first);
        while batch.left > 0
            && increments.has_room()
            && let Some(next) = plain_incr(bytes.get(at..).unwrap_or_default(), &self.limits)
        {
            increments.add(&next);
            at += next.consumed;
            batch.left -= 1;
        }
        batch.at += at;
        increments.apply(counters, batch.now, &mut batch.counts, &mut batch.out);
        true
    }

    /// Answers one request, or begins to; why answering pauses, if it does.
    fn answer_one<'a>(
        &self,
        bytes: &'a [u8],
        batch: &mut Batch<'a>,
        rest: &mut Rest,
    ) -> Option<Pause> {
        let Batch { counts, out, now, .. } = batch;
        match parse(bytes, &self.limits) {
            Step::Request { request, consumed } => {
                batch.at += consumed;
                return self.answer_request(&request, batch);
            }
            Step::NeedMore { at_least } => {
                rest.wanted = at_least;
                if self.charge(rest, at_least) {
                    return Some(Pause::Whole);
                }
                if !self.turn_down(bytes, at_least, rest, counts, out) {
                    return Some(Pause::End(End::Refused));
                }
                batch.at += rest.swallow(bytes.len());
            }
            Step::Refuse { error, consumed, swallow, forget } => {
                // With its line end, so that a value of just the limit is none of them.
                let is_too_large = swallow > self.limits.item_bytes + 2;
                counts.store_too_large += u64::from(is_too_large);
                if let Some(key) = forget {
                    self.forget(key, *now);
                }
                if let Some(error) = error {
                    Reply::Error(error).write_to(out);
                }
                counts.errors += 1;
                rest.to_swallow = swallow;
                batch.at += consumed;
                batch.at += rest.swallow(bytes.len() - consumed);
            }
            Step::Close { error } => {
                if let Some(error) = error {
                    Reply::Error(error).write_to(out);
                }
                counts.errors += 1;
                return Some(Pause::End(End::Refused));
            }
        }
        None
    }

    fn answer_request<'a>(&self, request: &Request<'a>, batch: &mut Batch<'a>) -> Option<Pause> {
        let Batch { counts, out, now, .. } = batch;
        match *request {
            Request::Get { keys, cas } => {
                batch.retrieval = Some(Retrieval { keys: keys.iter(), cas, exptime: None });
            }
            Request::GetAndTouch { keys, cas, exptime } => {
                let exptime = Some(exptime);
                batch.retrieval = Some(Retrieval { keys: keys.iter(), cas, exptime });
            }
            Request::Quit => return Some(Pause::End(End::Closed)),
            Request::Shutdown { mode } => {
                if self.shut_down(mode, out) {
                    return Some(Pause::End(End::Closed));
                }
            }
            _ => {
                if let Request::Stats { .. } = request {
                    // What this batch did so far is to be in the figures.
                    self.tally.add(&std::mem::take(counts));
                }
                if !self.refuses(request, counts, out) {
                    apply(self.shared.engine.counters(), request, *now, counts, out);
                    self.answer_for_itself(request, *now, out);
                }
            }
        }
        None
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

    /// Answers keys of the retrieval that is under way, until it is done or there is enough to write.
    fn retrieve(&self, batch: &mut Batch<'_>) {
        let Some(mut retrieval) = batch.retrieval.take() else { return };
        while batch.out.len() < limits::REPLY_BUFFER_BYTES {
            if !self.retrieve_some(&mut retrieval, batch) {
                return Reply::End.write_to(&mut batch.out);
            }
        }
        batch.retrieval = Some(retrieval);
    }

    /// Answers the next keys, or only the next one where that has to be noted; whether there were any.
    fn retrieve_some(&self, retrieval: &mut Retrieval<'_>, batch: &mut Batch<'_>) -> bool {
        let Retrieval { keys, cas, exptime } = retrieval;
        let Batch { now, counts, out, .. } = batch;
        let (counters, detail) = (self.shared.engine.counters(), &self.shared.status.detail);
        if exptime.is_none() && !detail.is_on() {
            return retrieve_row(counters, keys, *cas, *now, counts, out);
        }
        let Some(key) = keys.next() else { return false };
        let is_hit = match *exptime {
            None => retrieve(counters, key, *cas, *now, counts, out),
            Some(exptime) => retrieve_and_touch(counters, key, *cas, exptime, *now, counts, out),
        };
        if detail.is_on() {
            detail.note(key, Asked::Get { is_hit });
        }
        true
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
