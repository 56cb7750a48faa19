//! One blocking thread that sends traffic and reads replies.
//!
//! It looks at a reply only as far as it must to know its end: counting line ends costs next to
//! nothing, and whether the counts are right is asked afterwards, key by key.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use hdrhistogram::Histogram;

use crate::servers::Preload;
use crate::traffic::{self, Traffic};
use crate::workloads::{Request, Workload};

/// A server that says nothing for so long is taken for dead.
const SILENCE_MAX: Duration = Duration::from_secs(30);
const INBOX_BYTES: usize = 64 * 1024;
/// Requests without reply between two proofs that the server has kept up.
const REQUESTS_PER_BARRIER: usize = 10_000;
const KEYS_PER_CHECK: usize = 100;

/// Whichever is reached first ends a round.
pub(crate) struct Limits {
    pub(crate) time: Duration,
    pub(crate) requests: u64,
}

/// What one round measured.
pub(crate) struct Round {
    pub(crate) requests: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu_nanos: u64,
    /// In nanoseconds, one value per batch; nothing without replies.
    pub(crate) latency: Option<Histogram<u64>>,
}

/// The connections to one server for one workload, and how far in the traffic they are.
pub(crate) struct Client {
    workload: Workload,
    connections: Vec<Connection>,
    batches_sent: u64,
}

impl Client {
    pub(crate) fn connect(server: SocketAddr, workload: &Workload) -> anyhow::Result<Self> {
        let connections = (0..workload.connections).map(|_| Connection::open(server));
        Ok(Self {
            workload: *workload,
            connections: connections.collect::<Result<_, _>>()?,
            batches_sent: 0,
        })
    }

    /// Makes every key known to the server.
    pub(crate) fn preload(&mut self, preload: Preload) -> anyhow::Result<()> {
        let tail = match preload {
            Preload::Set => ("set", " 0 0 1 noreply\r\n0\r\n"),
            Preload::Incr => ("incr", " 1 noreply\r\n"),
            Preload::Nothing => return Ok(()),
        };
        let connection = self.connections.first_mut().context("a workload has a connection")?;
        let mut batch = Vec::with_capacity(INBOX_BYTES * 2);
        for number in 0..self.workload.keys {
            let (command, rest) = tail;
            write!(batch, "{command} {}{rest}", traffic::key(number))?;
            if batch.len() >= INBOX_BYTES {
                connection.send(&batch)?;
                batch.clear();
            }
        }
        connection.send(&batch)?;
        connection.barrier()
    }

    /// Goes on with the traffic where the last round ended, until a limit is reached.
    pub(crate) fn round(
        &mut self,
        traffic: &Traffic,
        limits: &Limits,
        cpu_nanos: impl Fn() -> anyhow::Result<u64>,
    ) -> anyhow::Result<Round> {
        let cpu_before = cpu_nanos()?;
        let batches_before = self.batches_sent;
        let start = Instant::now();
        let latency = if let Some(expected) = Expected::of(&self.workload) {
            Some(self.answered(traffic, limits, start, expected)?)
        } else {
            self.unanswered(traffic, limits, start)?;
            None
        };
        let wall = start.elapsed();
        let requests = (self.batches_sent - batches_before) * self.workload.per_write as u64;
        Ok(Round { requests, wall, cpu_nanos: cpu_nanos()? - cpu_before, latency })
    }

    /// One batch on every connection, then every connection's reply.
    fn answered(
        &mut self,
        traffic: &Traffic,
        limits: &Limits,
        start: Instant,
        expected: Expected,
    ) -> anyhow::Result<Histogram<u64>> {
        let mut latency = Histogram::new_with_bounds(1, 60_000_000_000, 3)?;
        let mut written = vec![start; self.connections.len()];
        let mut batches = traffic.batches_after(self.batches_sent);
        let sweep = (self.connections.len() * self.workload.per_write) as u64;
        let (mut requests, mut now) = (0, start);
        while requests < limits.requests && now - start < limits.time {
            let connections = self.connections.iter_mut().zip(&mut written);
            for ((connection, written), batch) in connections.zip(batches.by_ref()) {
                *written = Instant::now();
                connection.send(batch)?;
                self.batches_sent += 1;
            }
            for (connection, written) in self.connections.iter_mut().zip(&written) {
                connection.reply(expected)?;
                now = Instant::now();
                latency.saturating_record(nanos(now - *written));
            }
            requests += sweep;
        }
        Ok(latency)
    }

    /// Batch after batch on one connection, with a barrier now and then.
    fn unanswered(
        &mut self,
        traffic: &Traffic,
        limits: &Limits,
        start: Instant,
    ) -> anyhow::Result<()> {
        let connection = self.connections.first_mut().context("a workload has a connection")?;
        let mut batches = traffic.batches_after(self.batches_sent);
        let per_barrier = REQUESTS_PER_BARRIER / self.workload.per_write;
        let mut requests = 0;
        while requests < limits.requests && start.elapsed() < limits.time {
            for batch in batches.by_ref().take(per_barrier) {
                connection.send(batch)?;
                self.batches_sent += 1;
            }
            connection.barrier()?;
            requests += (per_barrier * self.workload.per_write) as u64;
        }
        Ok(())
    }

    /// Reads every key back and holds it against what was sent.
    pub(crate) fn verify(&mut self, traffic: &Traffic, preload: Preload) -> anyhow::Result<()> {
        let base = match preload {
            Preload::Set => 0,
            Preload::Incr => 1,
            Preload::Nothing => return Ok(()),
        };
        let batches = if self.workload.request == Request::Get { 0 } else { self.batches_sent };
        let named = traffic.named(self.workload.keys, batches);
        let connection = self.connections.first_mut().context("a workload has a connection")?;
        let mut reader = BufReader::new(connection.stream.try_clone()?);
        for (first, counts) in (0_u32..).step_by(KEYS_PER_CHECK).zip(named.chunks(KEYS_PER_CHECK)) {
            let keys: Vec<_> = (first..).take(counts.len()).collect();
            connection.send(get_line(&keys).as_bytes())?;
            let values = read_values(&mut reader)?;
            let expected: Vec<_> =
                keys.into_iter().zip(counts.iter().map(|count| base + count)).collect();
            if values != expected {
                bail!(difference(&expected, &values));
            }
        }
        Ok(())
    }
}

/// The form of a batch's reply.
#[derive(Clone, Copy)]
struct Expected {
    lines: usize,
    /// An error line begins with a capital letter and `END` with another, so one byte tells.
    first_byte: fn(u8) -> bool,
}

impl Expected {
    const VERSION: Self = Self { lines: 1, first_byte: |byte| byte == b'V' };
    const NUMBER: Self = Self { lines: 1, first_byte: |byte| byte.is_ascii_digit() };

    /// Nothing for requests without reply.
    fn of(workload: &Workload) -> Option<Self> {
        let request = workload.request;
        match request {
            Request::Incr => {
                Some(Self { lines: workload.per_write, first_byte: |byte| byte.is_ascii_digit() })
            }
            Request::IncrNoreply => None,
            // A line and a value for each key, and END.
            Request::Get => Some(Self {
                lines: workload.per_write * (2 * request.keys() + 1),
                first_byte: |byte| byte == b'V',
            }),
        }
    }
}

pub(crate) struct Connection {
    stream: TcpStream,
    inbox: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(server: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(server).context("connecting")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.set_write_timeout(Some(SILENCE_MAX))?;
        Ok(Self { stream, inbox: vec![0; INBOX_BYTES] })
    }

    pub(crate) fn send(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        self.stream.write_all(batch).context("sending")
    }

    /// Answered only when everything before it has been carried out.
    pub(crate) fn barrier(&mut self) -> anyhow::Result<()> {
        self.send(b"version\r\n")?;
        self.reply(Expected::VERSION)
    }

    /// The reply to one increment.
    pub(crate) fn number(&mut self) -> anyhow::Result<()> {
        self.reply(Expected::NUMBER)
    }

    fn reply(&mut self, expected: Expected) -> anyhow::Result<()> {
        let mut lines = 0;
        let mut at_start = true;
        while lines < expected.lines {
            let length = self.stream.read(&mut self.inbox).context("reading a reply")?;
            let read = self.inbox.get(..length).unwrap_or_default();
            let Some(&first) = read.first() else { bail!("the server closed the connection") };
            if at_start && !(expected.first_byte)(first) {
                let line = read.split(|&byte| byte == b'\n').next().unwrap_or_default();
                bail!("unexpected reply: {}", String::from_utf8_lossy(line).trim_end());
            }
            at_start = false;
            lines += line_ends(read);
        }
        ensure!(lines == expected.lines, "{lines} lines where {} were due", expected.lines);
        Ok(())
    }
}

#[expect(clippy::naive_bytecount, reason = "the compiler makes SIMD of it; no crate for that")]
fn line_ends(bytes: &[u8]) -> usize {
    bytes.iter().filter(|&&byte| byte == b'\n').count()
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn get_line(keys: &[u32]) -> String {
    let line = |line: String, &number: &u32| line + " " + &traffic::key(number);
    keys.iter().fold("get".to_owned(), line) + "\r\n"
}

/// The reply to one `get`, as key numbers and values in the order they came.
fn read_values(reader: &mut impl BufRead) -> anyhow::Result<Vec<(u32, u64)>> {
    let mut values = Vec::with_capacity(KEYS_PER_CHECK);
    loop {
        let head = read_line(reader)?;
        if head == "END" {
            return Ok(values);
        }
        let key = head.strip_prefix("VALUE ").and_then(|rest| rest.split(' ').next());
        let number = key.and_then(traffic::key_number);
        let number = number.with_context(|| format!("unexpected reply: {head}"))?;
        let value = read_line(reader)?;
        let value = value.parse().with_context(|| format!("not a count: {value}"))?;
        values.push((number, value));
    }
}

fn read_line(reader: &mut impl BufRead) -> anyhow::Result<String> {
    let mut line = String::new();
    reader.read_line(&mut line)?;
    ensure!(line.ends_with('\n'), "the server closed the connection");
    Ok(line.trim_end().to_owned())
}

/// Says the first key that is not as it should be, and what has become of it.
fn difference(expected: &[(u32, u64)], values: &[(u32, u64)]) -> String {
    let wrong = expected.iter().find(|pair| !values.contains(pair));
    let Some(&(number, due)) = wrong else { return "more keys than were asked for".to_owned() };
    let key = traffic::key(number);
    match values.iter().find(|(found, _)| *found == number) {
        Some((_, value)) => format!("{key} is {value}, but {due} was counted"),
        None => format!("{key} is gone, but {due} was counted"),
    }
}
