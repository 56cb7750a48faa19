//! The memcached text protocol on a TCP connection.
//!
//! All that was read is parsed in place and answered with one write per batch. A connection owns no
//! buffer while it is idle: buffers belong to the worker, and a connection keeps only the bytes of a
//! request that is not whole yet. What a client does not read is not computed further either: once
//! the answers reach a bound they are written out before the next request is looked at.

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::task::Poll;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::{Shared, Status, stopped};
use crate::engine::tally::{Counts, Writer};
use crate::engine::{apply, retrieve};
use crate::limits;
use crate::protocol::{Error, Limits, Reply, Request, Step, parse};
use crate::time::{Span, Timestamp};

/// What all connections of a worker share.
pub struct Worker {
    shared: Shared,
    limits: Limits,
    idle_timeout: Span,
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
const TURN_BYTES: usize = 16 * 1024;

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
    pub fn new(shared: Shared, limits: Limits, idle_timeout: Span, tally: Writer) -> Self {
        let pool = RefCell::new(Vec::new());
        Self { shared, limits, idle_timeout, tally, pool }
    }

    /// Serves a connection until either side ends it, or `stop` says so. What was read by then is
    /// answered.
    ///
    /// # Errors
    /// What the socket says; a client that goes away is none.
    pub async fn serve(
        &self,
        mut stream: TcpStream,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let mut rest = Rest::default();
        let mut since_yield = 0;
        loop {
            let read = tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                read = self.read(&mut stream, &mut rest) => read,
            };
            let (mut input, read) = match read {
                Ok((_, 0)) => return Ok(()),
                Ok(read) => read,
                Err(error) if is_gone(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            };
            let answered = if input.len() < rest.wanted {
                Ok(None)
            } else {
                self.answer(&mut stream, &mut input, &mut rest).await
            };
            self.keep(input, &mut rest);
            match answered {
                Ok(None) => {}
                Ok(Some(End::Closed | End::Refused)) => return Ok(()),
                Err(error) if is_gone(error.kind()) => return Ok(()),
                Err(error) => return Err(error),
            }
            // A client that sends without pause always has something to read; the others on this
            // worker are to have their turn all the same.
            since_yield += read;
            if since_yield >= TURN_BYTES {
                since_yield = 0;
                tokio::task::yield_now().await;
            }
        }
    }

    /// Reads once, behind what is left of the last time; the bytes, and how many of them are new. A
    /// buffer is taken when there is something to read, not while there is not.
    async fn read(&self, stream: &mut TcpStream, rest: &mut Rest) -> io::Result<(Vec<u8>, usize)> {
        let reading = std::future::poll_fn(|context| {
            std::task::ready!(stream.poll_read_ready(context))?;
            let mut input = self.buffer_for(rest);
            let before = input.len();
            // A future that reads is made, asked once and dropped: it holds nothing between.
            let polled = std::pin::pin!(stream.read_buf(&mut input)).poll(context);
            match polled {
                Poll::Ready(Ok(_)) => {
                    let read = input.len() - before;
                    Poll::Ready(Ok((input, read)))
                }
                Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.keep(input, rest);
                    Poll::Pending
                }
            }
        });
        if self.idle_timeout.is_zero() {
            return reading.await;
        }
        tokio::time::timeout(self.idle_timeout.to_std(), reading).await?
    }

    /// The bytes of a request that is not whole yet, with room for more of it; an empty buffer of
    /// the worker where there is none.
    fn buffer_for(&self, rest: &mut Rest) -> Vec<u8> {
        if rest.bytes.is_empty() {
            return self.take_buffer();
        }
        let mut bytes = std::mem::take(&mut rest.bytes);
        // A little at a time: memory is taken as bytes arrive, not as they are announced.
        let missing = rest.wanted.saturating_sub(bytes.len());
        bytes.reserve(missing.clamp(limits::LINE_BYTES, limits::READ_CHUNK_BYTES));
        bytes
    }

    /// Keeps what is not answered yet with the connection, and gives the buffer back where that is
    /// nothing, or a few bytes in a long buffer.
    fn keep(&self, input: Vec<u8>, rest: &mut Rest) {
        if input.is_empty() {
            self.give_back(input);
        } else if input.capacity() > 4 * input.len().max(limits::LINE_BYTES) {
            rest.bytes = input.as_slice().into();
            self.give_back(input);
        } else {
            rest.bytes = input;
        }
    }

    /// Answers the whole requests in `input`, and takes them out of it.
    async fn answer(
        &self,
        stream: &mut TcpStream,
        input: &mut Vec<u8>,
        rest: &mut Rest,
    ) -> io::Result<Option<End>> {
        let mut out = self.take_buffer();
        let mut counts = Counts { bytes_read: rest.newly(input.len()), ..Counts::default() };
        let mut at = rest.swallow(input.len());
        let mut end = self.answer_from(stream, input, &mut at, rest, &mut counts, &mut out).await;
        input.drain(..at);
        rest.seen = input.len();
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
        stream: &mut TcpStream,
        input: &[u8],
        at: &mut usize,
        rest: &mut Rest,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> io::Result<Option<End>> {
        let now = self.shared.now();
        loop {
            let Some(bytes) = input.get(*at..).filter(|bytes| !bytes.is_empty()) else {
                rest.wanted = 0;
                rest.charge = None;
                return Ok(None);
            };
            match parse(bytes, &self.limits) {
                Step::Request { request: Request::Get { keys, cas }, consumed } => {
                    for key in keys.iter() {
                        retrieve(self.shared.engine.counters(), key, cas, now, counts, out);
                        self.write_if_much(stream, out, counts).await?;
                    }
                    Reply::End.write_to(out);
                    *at += consumed;
                }
                Step::Request { request: Request::Quit, .. } => return Ok(Some(End::Closed)),
                Step::Request { request, consumed } => {
                    if let Request::Stats { .. } = request {
                        // What this batch did so far is to be in the figures.
                        self.tally.add(&std::mem::take(counts));
                    }
                    apply(self.shared.engine.counters(), &request, now, counts, out);
                    self.answer_for_itself(&request, now, out);
                    *at += consumed;
                }
                Step::NeedMore { at_least } => {
                    rest.wanted = at_least;
                    if self.charge(rest, at_least) {
                        return Ok(None);
                    }
                    // No room for what is coming: refused before it is gathered.
                    rest.wanted = 0;
                    counts.errors += 1;
                    if !is_noreply(bytes) {
                        Reply::Error(Error::OutOfMemory).write_to(out);
                    }
                    rest.to_swallow = at_least;
                    *at += rest.swallow(bytes.len());
                }
                Step::Refuse { error, consumed, swallow, forget } => {
                    if let Some(key) = forget {
                        self.shared.engine.counters().delete(key, now);
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
            self.write_if_much(stream, out, counts).await?;
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

    async fn write_if_much(
        &self,
        stream: &mut TcpStream,
        out: &mut Vec<u8>,
        counts: &mut Counts,
    ) -> io::Result<()> {
        if out.len() >= limits::REPLY_BUFFER_BYTES {
            self.write(stream, out, counts).await?;
        }
        Ok(())
    }

    async fn write(
        &self,
        stream: &mut TcpStream,
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

    fn stats(&self, arg: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let sum = self.shared.tallies.sum();
        let mut baseline =
            self.shared.status.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        match arg {
            b"" => self.stats_general(&sum.since(&baseline), now, out),
            b"tallyd" => self.stats_tallyd(out),
            b"settings" => self.stats_settings(out),
            b"reset" => {
                *baseline = sum;
                return Reply::Reset.write_to(out);
            }
            // There are no slabs, so there is nothing to list.
            b"items" | b"slabs" | b"sizes" => {}
            _ => return Reply::Error(Error::Unknown).write_to(out),
        }
        Reply::End.write_to(out);
    }

    fn stats_general(&self, counts: &Counts, now: Timestamp, out: &mut Vec<u8>) {
        let started = self.shared.engine.view(|view| view.started);
        let counters = self.shared.engine.counters();
        let status = &self.shared.status;
        stat(out, "pid", u64::from(std::process::id()));
        stat(out, "uptime", now.since(started).as_millis() / 1000);
        stat(out, "time", now.as_secs());
        text(out, "version", VERSION);
        stat(out, "pointer_size", usize::BITS);
        stat(out, "max_connections", status.max_connections.load(Relaxed));
        stat(out, "curr_connections", status.connections.load(Relaxed));
        stat(out, "total_connections", status.accepted.load(Relaxed));
        stat(out, "rejected_connections", status.refused.load(Relaxed));
        counts.each(|name, value| stat(out, name, value));
        stat(out, "limit_maxbytes", counters.items().max_bytes());
        stat(out, "threads", status.threads.load(Relaxed));
        stat(out, "bytes", counters.items().used_bytes());
        stat(out, "curr_items", counters.series() + counters.items().len());
        stat(out, "evictions", 0_u64);
    }

    fn stats_tallyd(&self, out: &mut Vec<u8>) {
        let counters = self.shared.engine.counters();
        stat(out, "series", counters.series());
        stat(out, "items", counters.items().len());
        stat(out, "item_bytes", counters.items().used_bytes());
        stat(out, "overflowed_increments", counters.overflowed());
        self.shared.engine.view(|view| {
            stat(out, "window_records", view.store.records());
            stat(out, "window_records_dropped", view.store.dropped());
            stat(out, "window_gaps", view.gaps);
            stat(out, "incidents_open", view.incidents);
            stat(out, "outbox_waiting", view.outbox.len());
        });
    }

    fn stats_settings(&self, out: &mut Vec<u8>) {
        stat(out, "maxbytes", self.shared.engine.counters().items().max_bytes());
        stat(out, "maxconns", self.shared.status.max_connections.load(Relaxed));
        stat(out, "item_size_max", self.limits.item_bytes);
        stat(out, "num_threads", self.shared.status.threads.load(Relaxed));
        stat(out, "idle_timeout", self.idle_timeout.as_millis() / 1000);
        text(out, "evictions", "off");
        text(out, "cas_enabled", "yes");
        text(out, "binding_protocol", "ascii");
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
    /// The room that the request is gathered in, where it is long.
    charge: Option<Charge>,
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

impl Rest {
    /// How many of the bytes that are there now are swallowed.
    fn swallow(&mut self, available: usize) -> usize {
        let now = self.to_swallow.min(available);
        self.to_swallow -= now;
        now
    }

    fn newly(&mut self, available: usize) -> u64 {
        available.saturating_sub(std::mem::take(&mut self.seen)) as u64
    }
}

/// Whether the first line of a request asks for silence.
fn is_noreply(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    line.trim_ascii_end().ends_with(b" noreply")
}

fn stat(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    text(out, name, itoa::Buffer::new().format(value));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    Reply::Stat { name: name.as_bytes(), value: value.as_bytes() }.write_to(out);
}

/// The ways in which a client goes away.
fn is_gone(kind: ErrorKind) -> bool {
    use ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, NotConnected, TimedOut};
    matches!(kind, BrokenPipe | ConnectionAborted | ConnectionReset | NotConnected | TimedOut)
}

/// Tells a client that there is no room for it, as far as that is possible without waiting.
pub fn refuse(stream: &TcpStream) {
    let mut line = Vec::new();
    Reply::Error(Error::TooManyConnections).write_to(&mut line);
    // Whether it arrives is up to the client: it is being turned away.
    let _ = stream.try_write(&line);
}
