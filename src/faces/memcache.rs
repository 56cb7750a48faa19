//! The memcached text protocol on a connection.
//!
//! All that was read is parsed in place and answered with one write per batch. A connection owns no
//! buffer while it is idle: buffers belong to the worker, and a connection keeps only the bytes of a
//! request that is not whole yet. What a client does not read is not computed further either: once
//! the answers reach a bound they are written out before the next request is looked at.

pub mod access;
mod answer;
mod clients;
mod detail;
mod gather;
mod greet;
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
use crate::limits;
use crate::protocol::{Error, Limits, Reply};
use crate::time::Span;

pub use clients::{Activity, Clients, Entered};
pub use detail::Detail;

use answer::Batch;
use gather::Rest;
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
