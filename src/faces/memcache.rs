//! The memcached text protocol on a connection.
//!
//! All that was read is parsed in place and answered with one write per batch. A connection owns no
//! buffer while it is idle: buffers belong to the worker, and a connection keeps only the bytes of a
//! request that is not whole yet. What a client does not read is not computed further either: once
//! the answers reach a bound they are written out before the next request is looked at.

pub mod access;
pub mod connections;
mod stats;
pub mod stream;

use std::cell::RefCell;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::sync::watch;

use super::{Shared, stopped};
use crate::config::Config;
use crate::engine::tally::{Counts, Writer};
use crate::engine::{apply, retrieve};
use crate::limits;
use crate::protocol::{Error, Limits, Login, Reply, Request, ShutdownMode, Step, login, parse};
use crate::time::{Span, Timestamp};
use connections::{Connection, State};
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
        connection: &Connection,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
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
                ready = is_readable => if !ready? {
                    self.shared.status.idle_kicks.fetch_add(1, Relaxed);
                    return Ok(());
                },
                () = stopped(&mut stop) => return Ok(()),
            }
            match self.turn(stream, connection, &mut rest).await {
                Ok(None) => connection.is_at(rest.state()),
                Ok(Some(End::Closed | End::Refused)) => return Ok(()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) if is_gone(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Reads once, and answers all whole requests that are there.
    async fn turn(
        &self,
        stream: &mut Stream,
        connection: &Connection,
        rest: &mut Rest,
    ) -> io::Result<Option<End>> {
        if rest.bytes.is_empty() {
            // The usual case: nothing is left over, so the worker's buffer will do.
            let mut input = self.take_buffer();
            let read = stream.try_read_buf(&mut input);
            let done = match read {
                Ok(0) => Ok(Some(End::Closed)),
                Ok(_) => self.answer(stream, connection, &mut input, rest).await,
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
            connection.sent(self.shared.now());
            return Ok(None);
        }
        let mut input = std::mem::take(&mut rest.bytes);
        let done = self.answer(stream, connection, &mut input, rest).await;
        if !input.is_empty() {
            // A long value may have made the buffer long; a few bytes need not keep it.
            if input.capacity() > limits::READ_CHUNK_BYTES && input.len() < limits::LINE_BYTES {
                input.shrink_to_fit();
            }
            rest.bytes = input;
        }
        done
    }

    /// Answers the whole requests in `input`, and takes them out of it.
    async fn answer(
        &self,
        stream: &mut Stream,
        connection: &Connection,
        input: &mut Vec<u8>,
        rest: &mut Rest,
    ) -> io::Result<Option<End>> {
        let now = self.shared.now();
        connection.sent(now);
        let mut out = self.take_buffer();
        let mut counts = Counts { bytes_read: rest.newly(input.len()), ..Counts::default() };
        let mut at = rest.swallow(input.len());
        let mut left = self.turn;
        let end = loop {
            let Some(bytes) = input.get(at..).filter(|bytes| !bytes.is_empty()) else {
                rest.wanted = 0;
                break None;
            };
            if rest.is_stranger {
                match self.greet(bytes, rest, &mut counts, &mut out) {
                    Ok(consumed) => at += consumed,
                    Err(end) => break end,
                }
                continue;
            }
            if left == 0 {
                left = self.others_first().await;
            }
            left -= 1;
            match parse(bytes, &self.limits) {
                Step::Request { request: Request::Get { keys, cas }, consumed } => {
                    for key in keys.iter() {
                        retrieve(
                            self.shared.engine.counters(),
                            key,
                            cas,
                            now,
                            &mut counts,
                            &mut out,
                        );
                        if out.len() >= limits::REPLY_BUFFER_BYTES {
                            self.write(stream, &mut out, &mut counts).await?;
                        }
                    }
                    Reply::End.write_to(&mut out);
                    at += consumed;
                }
                Step::Request { request: Request::Quit, .. } => break Some(End::Closed),
                Step::Request { request: Request::Shutdown { mode }, .. }
                    if self.shuts_down(mode) =>
                {
                    break Some(End::Closed);
                }
                Step::Request { request, consumed } => {
                    if let Request::Stats { .. } = request {
                        // What this batch did so far is to be in the figures.
                        self.tally.add(&std::mem::take(&mut counts));
                    }
                    if !self.refuses(&request, &mut counts, &mut out) {
                        apply(self.shared.engine.counters(), &request, now, &mut counts, &mut out);
                        self.answer_for_itself(&request, now, &mut out);
                    }
                    at += consumed;
                }
                Step::NeedMore { at_least } => {
                    rest.wanted = at_least;
                    break None;
                }
                Step::Refuse { error, consumed, swallow, forget } => {
                    if let Some(key) = forget {
                        self.shared.engine.counters().delete(key, now);
                    }
                    if let Some(error) = error {
                        Reply::Error(error).write_to(&mut out);
                    }
                    counts.errors += 1;
                    rest.to_swallow = swallow;
                    at += consumed;
                    at += rest.swallow(input.len() - at);
                }
                Step::Close { error } => {
                    if let Some(error) = error {
                        Reply::Error(error).write_to(&mut out);
                    }
                    counts.errors += 1;
                    break Some(End::Refused);
                }
            }
            if out.len() >= limits::REPLY_BUFFER_BYTES {
                self.write(stream, &mut out, &mut counts).await?;
            }
        };
        input.drain(..at);
        rest.seen = input.len();
        let written = self.write(stream, &mut out, &mut counts).await;
        self.tally.add(&counts);
        self.give_back(out);
        written.map(|()| end)
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

    /// Asks for the end where clients may. `graceful` is no different from the plain one, which is
    /// orderly already.
    fn shuts_down(&self, mode: ShutdownMode) -> bool {
        let may = self.config.compat.shutdown && mode != ShutdownMode::Unknown;
        if may {
            self.shared.status.shutdown.notify_one();
        }
        may
    }

    /// Answers a request that the server's own settings forbid.
    #[inline]
    fn refuses(&self, request: &Request<'_>, counts: &mut Counts, out: &mut Vec<u8>) -> bool {
        let (error, is_silent) = match *request {
            Request::FlushAll { noreply, .. } if !self.config.compat.flush_all => {
                (Error::FlushOff, noreply)
            }
            Request::Shutdown { .. } if !self.config.compat.shutdown => (Error::ShutdownOff, false),
            Request::Shutdown { .. } => (Error::BadShutdown, false),
            _ => return false,
        };
        counts.errors += 1;
        if !is_silent {
            Reply::Error(error).write_to(out);
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

    /// The requests that are about the server and not about a key.
    fn answer_for_itself(&self, request: &Request<'_>, now: Timestamp, out: &mut Vec<u8>) {
        match request {
            Request::Version => Reply::Version(VERSION).write_to(out),
            Request::Verbosity { noreply: false } => Reply::Ok.write_to(out),
            Request::Stats { arg } => self.stats(arg, now, out),
            _ => {}
        }
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
}

impl Rest {
    /// How many of the bytes that are there now are swallowed.
    fn swallow(&mut self, available: usize) -> usize {
        let now = self.to_swallow.min(available);
        self.to_swallow -= now;
        now
    }

    /// What the connection is at, now that all whole requests are answered.
    fn state(&self) -> State {
        if self.to_swallow > 0 {
            State::Swallow
        } else if self.bytes.is_empty() {
            State::Read
        } else {
            State::Block
        }
    }

    fn newly(&mut self, available: usize) -> u64 {
        available.saturating_sub(std::mem::take(&mut self.seen)) as u64
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
