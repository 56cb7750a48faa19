//! The memcached text protocol on a connection.
//!
//! All that was read is parsed in place and answered with one write per batch. A connection owns no
//! buffer while it is idle: buffers belong to the worker, and a connection keeps only the bytes of a
//! request that is not whole yet. What a client does not read is not computed further either: once
//! the answers reach a bound they are written out before the next request is looked at.

pub mod access;
mod clients;
mod detail;
mod stats;
pub mod stream;

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use super::{Shared, Status, stopped};
use crate::config::Config;
use crate::engine::tally::{Counts, Writer};
use crate::engine::{apply, retrieve, retrieve_and_touch};
use crate::limits;
use crate::protocol::{
    Error, Keys, Limits, Login, MetaKey, MetaKeyRoom, Reply, Request, ShutdownMode, Step, login,
    parse,
};
use crate::time::{Span, Timestamp};

pub use clients::{Activity, Clients, Entered};
pub use detail::Detail;

use detail::Asked;
use stream::Stream;

/// What all connections of a worker share.
pub struct Worker {
    shared: Shared,
    config: Arc<Config>,
    limits: Limits,
    idle_timeout: Span,
    /// Requests of one connection before others have their turn.
    turn: u32,
    tally: Writer,
    /// Buffers that no connection uses at the moment.
    pool: RefCell<Vec<Vec<u8>>>,
}

/// What clients are told that they speak with: the memcached whose answers ours are held against,
/// then ourselves. Clients judge by the leading number what a server can do; libmemcached, and so
/// PHP's extension, takes a major version of 0 for a failed read.
const VERSION: &str = concat!("1.6.18-tallyd-", env!("CARGO_PKG_VERSION"));

/// Buffers that a worker keeps for later; more are given back to the allocator.
const POOL: usize = 16;

/// What a client may have read of it before the others on its worker have their turn, in bytes.
/// About a thousand increments: a tenth of a millisecond.
const TURN_BYTES: u64 = 16 * 1024;

/// Why a connection ends.
enum End {
    /// The client, or the process, is done with it.
    Closed,
    /// The client broke the protocol so that nothing after it can be trusted.
    Refused,
}

impl Worker {
    /// A worker without connections.
    #[must_use]
    pub fn new(shared: Shared, config: Arc<Config>, tally: Writer) -> Self {
        let limits = Limits { item_bytes: config.memcached.max_item_bytes, ..Limits::default() };
        let idle_timeout = config.server.idle_timeout;
        let turn = config.compat.requests_per_turn.unwrap_or(u32::MAX);
        let pool = RefCell::new(Vec::new());
        Self { shared, config, limits, idle_timeout, turn, tally, pool }
    }

    /// Serves a connection until either side ends it, or `stop` says so. What was read by then is
    /// answered.
    ///
    /// # Errors
    /// What the socket says; a client that goes away is none.
    pub async fn serve(
        &self,
        stream: &mut Stream,
        entered: &Entered,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut read_before = 0;
        let mut rest = Rest { is_stranger: self.shared.access.asks(), ..Rest::default() };
        loop {
            let is_readable = async {
                if self.idle_timeout.is_zero() {
                    return stream.readable().await.map(|()| true);
                }
                let idle = tokio::time::timeout(self.idle_timeout.to_std(), stream.readable());
                idle.await.map_or(Ok(false), |ready| ready.map(|()| true))
            };
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                ready = is_readable => if !ready? {
                    self.shared.status.idle_kicks.fetch_add(1, Relaxed);
                    return Ok(());
                },
            }
            match self.turn(stream, &mut rest, entered).await {
                Ok(None) => {}
                Ok(Some(End::Closed | End::Refused)) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_gone(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            }
            // A client that sends without pause always has something to read; the others on this
            // worker are to have their turn all the same.
            if rest.read_bytes - read_before >= TURN_BYTES {
                read_before = rest.read_bytes;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads once, and answers all whole requests that are there.
    async fn turn(
        &self,
        stream: &mut Stream,
        rest: &mut Rest,
        entered: &Entered,
    ) -> io::Result<Option<End>> {
        if rest.bytes.is_empty() {
            // The usual case: nothing is left over, so the worker's buffer will do.
            let mut input = self.take_buffer();
            let read = stream.try_read_buf(&mut input);
            let done = match read {
                Ok(0) => Ok(Some(End::Closed)),
                Ok(_) => self.answer(stream, &mut input, rest, entered).await,
                Err(error) => Err(error),
            };
            rest.bytes.extend_from_slice(&input);
            self.give_back(input);
            return done;
        }
        // A little at a time: memory is taken as bytes arrive, not as they are announced.
        let missing = rest.wanted.saturating_sub(rest.bytes.len());
        rest.bytes.reserve(missing.clamp(limits::LINE_BYTES, limits::READ_CHUNK_BYTES));
        if stream.try_read_buf(&mut rest.bytes)? == 0 {
            return Ok(Some(End::Closed));
        }
        if rest.bytes.len() < rest.wanted {
            entered.answers(self.shared.now());
            entered.set(Activity::ReadingValue);
            return Ok(None);
        }
        let mut input = std::mem::take(&mut rest.bytes);
        let done = self.answer(stream, &mut input, rest, entered).await;
        if !input.is_empty() {
            // A long value may have made the buffer long; what is left need not keep it.
            if input.capacity() > 2 * limits::READ_CHUNK_BYTES {
                input.shrink_to(rest.wanted.max(limits::READ_CHUNK_BYTES));
            }
            rest.bytes = input;
        }
        done
    }

    /// Answers the whole requests in `input`, and takes them out of it.
    async fn answer(
        &self,
        stream: &mut Stream,
        input: &mut Vec<u8>,
        rest: &mut Rest,
        entered: &Entered,
    ) -> io::Result<Option<End>> {
        let mut out = self.take_buffer();
        let mut counts = Counts { bytes_read: rest.newly(input.len()), ..Counts::default() };
        let mut at = rest.swallow(input.len());
        let now = self.shared.now();
        entered.answers(now);
        let batch = Batch { input, now };
        let mut end = self.answer_from(stream, &batch, &mut at, rest, &mut counts, &mut out).await;
        input.drain(..at);
        rest.seen = input.len();
        // What is missing of a line is not known; what is missing of a value is.
        let lacks_value = rest.wanted > input.len() + 1 || rest.to_swallow > 0;
        entered.set(if lacks_value { Activity::ReadingValue } else { Activity::Reading });
        if end.is_ok()
            && let Err(error) = self.write(stream, &mut out, &mut counts).await
        {
            end = Err(error);
        }
        // What was done counts, also where nobody is there any more to read the answer.
        self.tally.add(&counts);
        self.give_back(out);
        end
    }

    /// The same from `at` on, which moves along; answers that are left are in `out`.
    async fn answer_from(
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

    /// Whether there is room to gather a request of so many bytes. Long ones are charged to the room
    /// for items while they are gathered, so that many half-sent values cannot take more than that.
    fn charge(&self, rest: &mut Rest, bytes: usize) -> bool {
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
    fn turn_down(
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

    /// Lets the worker's other connections have their turn; then it has a whole one again.
    #[cold]
    async fn others_first(&self) -> u32 {
        self.shared.status.yields.fetch_add(1, Relaxed);
        tokio::task::yield_now().await;
        self.turn
    }

    /// Answers one request of a client that has not said yet who it is: how many bytes are done with,
    /// or why it does not go on.
    fn greet(
        &self,
        bytes: &[u8],
        rest: &mut Rest,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Result<usize, Option<End>> {
        let refused = match login(bytes) {
            Login::Attempt { user, password, consumed } => {
                let is_admitted = self.shared.access.admits(user, password);
                self.shared.status.logins.fetch_add(1, Relaxed);
                if is_admitted {
                    rest.is_stranger = false;
                    Reply::Stored.write_to(out);
                    return Ok(consumed);
                }
                self.shared.status.failed_logins.fetch_add(1, Relaxed);
                (Error::LoginFailed, consumed)
            }
            Login::Version { consumed } => {
                Reply::Version(VERSION).write_to(out);
                return Ok(consumed);
            }
            Login::Refuse { error, consumed } => (error, consumed),
            Login::Quit => return Err(Some(End::Closed)),
            Login::NeedMore { at_least } => {
                rest.wanted = at_least;
                return Err(None);
            }
            Login::Close { error } => {
                counts.errors += 1;
                if let Some(error) = error {
                    Reply::Error(error).write_to(out);
                }
                return Err(Some(End::Refused));
            }
        };
        counts.errors += 1;
        Reply::Error(refused.0).write_to(out);
        Ok(refused.1)
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

    async fn write(
        &self,
        stream: &mut Stream,
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> io::Result<()> {
        if !out.is_empty() {
            counts.bytes_written += out.len() as u64;
            if self.idle_timeout.is_zero() {
                stream.write_all(out).await?;
            } else {
                // Who does not read is idle as well.
                let writing = stream.write_all(out);
                tokio::time::timeout(self.idle_timeout.to_std(), writing).await??;
            }
            out.clear();
        }
        Ok(())
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

    fn take_buffer(&self) -> Vec<u8> {
        let pooled = self.pool.borrow_mut().pop();
        pooled.unwrap_or_else(|| Vec::with_capacity(limits::READ_CHUNK_BYTES))
    }

    fn give_back(&self, mut buffer: Vec<u8>) {
        let mut pool = self.pool.borrow_mut();
        if pool.len() < POOL && buffer.capacity() <= 2 * limits::REPLY_BUFFER_BYTES {
            buffer.clear();
            pool.push(buffer);
        }
    }
}

/// What a retrieval asks for.
struct Wanted<'a> {
    keys: Keys<'a>,
    cas: bool,
    /// The new expiry of each key.
    exptime: Option<i64>,
}

/// Between two reads of a connection.
#[derive(Default)]
struct Rest {
    /// The beginning of a request that is not whole yet.
    bytes: Vec<u8>,
    /// How many bytes it takes to try again.
    wanted: usize,
    /// Bytes of a refused data block that are still to come.
    to_swallow: usize,
    /// How many of `bytes` were counted as read already.
    seen: usize,
    /// The client has to say first who it is.
    is_stranger: bool,
    /// Bytes that were read since the connection began.
    read_bytes: u64,
    /// The room that the request is gathered in, where it is long.
    charge: Option<Charge>,
}

/// What was read, and when.
struct Batch<'a> {
    input: &'a [u8],
    now: Timestamp,
}

/// Room that is taken as long as this lives.
struct Charge {
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
    fn swallow(&mut self, available: usize) -> usize {
        let now = self.to_swallow.min(available);
        self.to_swallow -= now;
        now
    }

    fn newly(&mut self, available: usize) -> u64 {
        let newly = available.saturating_sub(std::mem::take(&mut self.seen)) as u64;
        self.read_bytes += newly;
        newly
    }
}

/// The ways in which a client goes away.
fn is_gone(kind: ErrorKind) -> bool {
    use ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe
            | ConnectionAborted
            | ConnectionReset
            | NotConnected
            | TimedOut
            // A TLS peer that closed without a word.
            | UnexpectedEof
    )
}

/// Tells a client that there is no room for it, as far as that is possible without waiting.
pub fn refuse(stream: &Stream) {
    let mut line = Vec::new();
    Reply::Error(Error::TooManyConnections).write_to(&mut line);
    // Whether it arrives is up to the client: it is being turned away.
    stream.try_write(&line);
}
