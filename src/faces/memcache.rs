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
mod idle;
mod stats;
pub mod stream;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};

use tokio::sync::watch;

use super::{Shared, stopped};
use crate::config::Config;
use crate::engine::tally::{Counts, Writer};
use crate::limits;
use crate::protocol::{Error, Limits, Reply};
use crate::time::Span;

pub use clients::{Activity, Clients, Entered};
pub use detail::Detail;

use answer::{Batch, Pause};
use gather::Rest;
use idle::Idle;
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

/// What a connection was waiting for.
enum Heard {
    /// Bytes of the client; none where it is done.
    Bytes(Option<Vec<u8>>),
    /// The process ends.
    Stop,
    /// Nothing for too long.
    Nothing,
}

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
        let mut idle = Idle::new(self.idle_timeout, &*self.shared.clock);
        let asked = stop.clone();
        let mut stopped = pin!(stopped(&mut stop));
        loop {
            // A client that sends without pause is never waited for, so it is asked about here.
            if asked.has_changed().unwrap_or(true) {
                return Ok(());
            }
            let heard = poll_fn(|context| {
                if let Poll::Ready(read) = self.poll_read(context, stream, &mut rest) {
                    return Poll::Ready(read.map(Heard::Bytes));
                }
                if stopped.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Ok(Heard::Stop));
                }
                idle.poll(context, &*self.shared.clock).map(|()| Ok(Heard::Nothing))
            });
            let done = match heard.await {
                Ok(Heard::Bytes(input)) => self.answer(stream, input, &mut rest, entered).await,
                Ok(Heard::Stop) => return Ok(()),
                Ok(Heard::Nothing) => {
                    self.shared.status.idle_kicks.fetch_add(1, Relaxed);
                    return Ok(());
                }
                Err(error) => Err(error),
            };
            match done {
                Ok(None) => {}
                Ok(Some(End::Closed | End::Refused)) => return Ok(()),
                Err(error) if is_gone(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            }
            idle.is_over(&*self.shared.clock);
            // A client that sends without pause always has something to read; the others on this
            // worker are to have their turn all the same.
            if rest.read_bytes - read_before >= TURN_BYTES {
                read_before = rest.read_bytes;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads what is there, behind what was left over by the last read. Nothing is read into, and so
    /// no buffer is taken, before there is something.
    fn poll_read(
        &self,
        context: &mut Context<'_>,
        stream: &mut Stream,
        rest: &mut Rest,
    ) -> Poll<io::Result<Option<Vec<u8>>>> {
        ready!(stream.poll_readable(context))?;
        let mut input = self.room_to_read(rest);
        let before = input.len();
        match stream.poll_read(context, &mut input) {
            Poll::Ready(Ok(())) if input.len() > before => Poll::Ready(Ok(Some(input))),
            Poll::Ready(Ok(())) => Poll::Ready(Ok(None)),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.leave(rest, input, 0);
                Poll::Pending
            }
        }
    }

    /// A buffer with what is left over, and room behind it.
    fn room_to_read(&self, rest: &mut Rest) -> Vec<u8> {
        if rest.bytes.len() <= limits::LINE_BYTES {
            // The usual case: the worker's buffer will do.
            let mut input = self.take_buffer();
            input.append(&mut std::mem::take(&mut rest.bytes));
            return input;
        }
        // A little at a time: memory is taken as bytes arrive, not as they are announced.
        let missing = rest.wanted.saturating_sub(rest.bytes.len());
        let mut input = std::mem::take(&mut rest.bytes);
        input.reserve(missing.clamp(limits::LINE_BYTES, limits::READ_CHUNK_BYTES));
        input
    }

    /// Keeps what stands in `input` from `at` on for the next read.
    fn leave(&self, rest: &mut Rest, mut input: Vec<u8>, at: usize) {
        let left = input.get(at..).unwrap_or_default();
        if left.len() <= limits::LINE_BYTES {
            rest.bytes.extend_from_slice(left);
            self.give_back(input);
            return;
        }
        input.drain(..at);
        // A long value may have made the buffer long; what is left need not keep it.
        if input.capacity() > 2 * limits::READ_CHUNK_BYTES {
            input.shrink_to(rest.wanted.max(limits::READ_CHUNK_BYTES));
        }
        rest.bytes = input;
    }

    /// Answers the whole requests in `input`, and keeps what is behind them.
    async fn answer(
        &self,
        stream: &mut Stream,
        input: Option<Vec<u8>>,
        rest: &mut Rest,
        entered: &Entered,
    ) -> io::Result<Option<End>> {
        let Some(input) = input else { return Ok(Some(End::Closed)) };
        let now = self.shared.now();
        entered.answers(now);
        if input.len() < rest.wanted {
            entered.set(Activity::ReadingValue);
            self.leave(rest, input, 0);
            return Ok(None);
        }
        let mut batch = Batch {
            input: &input,
            at: 0,
            now,
            left: self.turn,
            retrieval: None,
            counts: Counts { bytes_read: rest.newly(input.len()), ..Counts::default() },
            out: self.take_buffer(),
        };
        batch.at = rest.swallow(input.len());
        let end = self.answer_all(stream, &mut batch, rest).await;
        let Batch { at, counts, out, .. } = batch;
        // What was done counts, also where nobody is there any more to read the answer.
        self.tally.add(&counts);
        self.give_back(out);
        rest.seen = input.len() - at;
        // What is missing of a line is not known; what is missing of a value is.
        let lacks_value = rest.wanted > rest.seen + 1 || rest.to_swallow > 0;
        entered.set(if lacks_value { Activity::ReadingValue } else { Activity::Reading });
        self.leave(rest, input, at);
        end
    }

    /// Answers all whole requests of a batch, and writes the answers.
    async fn answer_all(
        &self,
        stream: &mut Stream,
        batch: &mut Batch<'_>,
        rest: &mut Rest,
    ) -> io::Result<Option<End>> {
        loop {
            let pause = self.answer_some(batch, rest);
            if let Pause::Others = pause {
                self.shared.status.yields.fetch_add(1, Relaxed);
                tokio::task::yield_now().await;
                batch.left = self.turn;
                continue;
            }
            self.write(stream, &mut batch.out, &mut batch.counts).await?;
            match pause {
                Pause::Whole => return Ok(None),
                Pause::End(end) => return Ok(Some(end)),
                // The client may have taken its time.
                Pause::Write | Pause::Others => batch.now = self.shared.now(),
            }
        }
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
