//! kill -9 under load: what was acknowledged is there afterwards, and nothing is there twice.
//!
//! Eight clients work on keys of their own, each with one batch under way at a time, so at every moment
//! it is known what was acknowledged and what may or may not have happened. `TALLYD_TEST_KILLS` sets
//! how often the server is killed; the long run of ARCHITECTURE.md has 200. Every wait has a limit, and
//! a long run says how far it is.

use std::collections::{BTreeMap, VecDeque};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{Client, PATIENCE, Server};

const CLIENTS: usize = 8;
const BATCH: usize = 50;

/// What one client knows of its keys.
#[derive(Default)]
struct Ledger {
    /// Counters, and numbers of observations: acknowledged total, and what may be there on top of it.
    counters: BTreeMap<String, (u64, u64)>,
    /// Gauges and items: the value that was acknowledged last, and those that may have replaced it.
    values: BTreeMap<String, (Option<String>, VecDeque<String>)>,
    random: u64,
    born: u64,
}

enum Op {
    Incr(String, u64),
    Set(String, String),
    /// Of a distribution, which shows how many there were.
    Observe(String, u64),
}

const CONFIG: &str =
    "[counters]\nmax_series = 10000000\n[[metric]]\nmatch = '*.ms*'\nkind = 'distribution'\n";

impl Ledger {
    fn new(client: usize) -> Self {
        Self { random: client as u64 + 1, ..Self::default() }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// A batch of requests, and what it changes once each is acknowledged.
    fn batch(&mut self, client: usize) -> (Vec<u8>, Vec<Op>) {
        let mut bytes = Vec::new();
        let mut ops = Vec::new();
        for _ in 0..BATCH {
            let choice = self.random(50);
            let op = match choice {
                0..=1 => {
                    self.born += 1;
                    Op::Incr(format!("c{client}.new{}", self.born), 1)
                }
                2..=6 => {
                    let value =
                        i32::try_from(self.random(1_000_000)).map_or(0.0, f64::from) / 8.0 - 9.5;
                    Op::Set(format!("c{client}.gauge{}", self.random(5)), value.to_string())
                }
                7..=11 => {
                    let long = "x".repeat(usize::try_from(self.random(300)).unwrap_or(0));
                    Op::Set(format!("c{client}.item{}", self.random(5)), format!("text {long}"))
                }
                12..=16 => {
                    Op::Observe(format!("c{client}.ms{}", self.random(5)), self.random(5000))
                }
                _ => Op::Incr(format!("c{client}.hot{}", self.random(10)), self.random(100)),
            };
            match &op {
                Op::Incr(key, delta) => write!(bytes, "incr {key} {delta}\r\n"),
                Op::Observe(key, value) => {
                    let len = value.to_string().len();
                    write!(bytes, "set {key} 0 0 {len}\r\n{value}\r\n")
                }
                Op::Set(key, value) => {
                    write!(bytes, "set {key} 0 0 {}\r\n{value}\r\n", value.len())
                }
            }
            .expect("a vector grows");
            self.expect(&op);
            ops.push(op);
        }
        (bytes, ops)
    }

    /// It was sent: it may happen from now on.
    fn expect(&mut self, op: &Op) {
        match op {
            Op::Incr(key, delta) => self.counters.entry(key.clone()).or_default().1 += delta,
            Op::Observe(key, _) => self.counters.entry(key.clone()).or_default().1 += 1,
            Op::Set(key, value) => {
                self.values.entry(key.clone()).or_default().1.push_back(value.clone());
            }
        }
    }

    /// It was acknowledged: it has happened.
    fn settle(&mut self, op: Op) {
        let op = match op {
            Op::Observe(key, _) => Op::Incr(key, 1),
            op => op,
        };
        match op {
            Op::Observe(..) => {}
            Op::Incr(key, delta) => {
                let (done, maybe) = self.counters.entry(key).or_default();
                *done += delta;
                *maybe -= delta;
            }
            Op::Set(key, _) => {
                // Requests of one connection are answered in order.
                let (done, maybe) = self.values.entry(key).or_default();
                *done = maybe.pop_front();
            }
        }
    }

    /// Works until the server is gone.
    fn work(&mut self, client: usize, mut stream: TcpStream, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            let (bytes, ops) = self.batch(client);
            if stream.write_all(&bytes).is_err() {
                return;
            }
            let mut ops = ops.into_iter();
            let mut answers = Vec::new();
            let mut chunk = [0; 4096];
            while ops.len() > 0 {
                match stream.read(&mut chunk) {
                    Ok(read @ 1..) => answers.extend_from_slice(&chunk[..read]),
                    Ok(0) | Err(_) => return,
                }
                while let Some(at) = answers.windows(2).position(|pair| pair == b"\r\n") {
                    let op = ops.next().expect("one answer for each");
                    let is_number = answers[..at].iter().all(u8::is_ascii_digit);
                    assert!(is_number || answers.starts_with(b"STORED"), "{answers:?}");
                    answers.drain(..at + 2);
                    self.settle(op);
                }
            }
        }
    }

    /// Holds what is there against what may be, and goes on from it.
    fn check(&mut self, client: &mut Client) {
        let there = get_all(client, self.counters.keys().chain(self.values.keys()));
        for (key, (done, maybe)) in &mut self.counters {
            let got =
                there.get(key).map_or(0, |text| text.trim().parse::<u64>().expect("a number"));
            let may_be = *done..=*done + *maybe;
            assert!(may_be.contains(&got), "{key}: {got}, not {done} to {maybe} more");
            (*done, *maybe) = (got, 0);
        }
        for (key, (done, maybe)) in &mut self.values {
            let got = there.get(key).cloned();
            let may_be = got.as_ref().is_some_and(|got| maybe.contains(got));
            assert!(got == *done || may_be, "{key}: {got:?}, not {done:?} nor one of {maybe:?}");
            maybe.clear();
            *done = got;
        }
    }
}

fn connect(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// The values of all these keys that are there.
fn get_all<'a>(
    client: &mut Client,
    keys: impl Iterator<Item = &'a String>,
) -> BTreeMap<String, String> {
    let mut there = BTreeMap::new();
    let keys: Vec<_> = keys.map(String::as_str).collect();
    for some in keys.chunks(100) {
        client.send(format!("get {}\r\n", some.join(" ")).as_bytes());
        loop {
            let line = client.line();
            let Some(key) = line.strip_prefix("VALUE ").and_then(|rest| rest.split(' ').next())
            else {
                assert_eq!(line, "END");
                break;
            };
            there.insert(key.to_owned(), client.line());
        }
    }
    there
}

#[test]
fn kill_9_loses_nothing_that_was_acknowledged() {
    let kills = std::env::var("TALLYD_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: u64 = kills.unwrap_or(8);
    let mut ledgers: Vec<_> = (0..CLIENTS).map(Ledger::new).collect();
    let mut server = Server::start(CONFIG);
    let mut slowest = Duration::ZERO;
    for kill in 0..kills {
        let stop = AtomicBool::new(false);
        // All are connected before the time begins to run, however slow the machine is.
        let streams: Vec<_> = (0..CLIENTS).map(|_| connect(server.memcached)).collect();
        std::thread::scope(|scope| {
            for ((client, ledger), stream) in ledgers.iter_mut().enumerate().zip(streams) {
                let stop = &stop;
                scope.spawn(move || ledger.work(client, stream, stop));
            }
            // At another moment of the second each time, before and after ticks and syncs.
            std::thread::sleep(Duration::from_millis(50 + kill * 137 % 700));
            server.kill();
            stop.store(true, Ordering::Relaxed);
        });
        let began = Instant::now();
        server = server.again("", CONFIG);
        slowest = slowest.max(began.elapsed());
        let mut client = server.client();
        for ledger in &mut ledgers {
            ledger.check(&mut client);
        }
        if (kill + 1) % 20 == 0 {
            let keys: usize = ledgers.iter().map(|ledger| ledger.counters.len()).sum();
            eprintln!("{} of {kills} kills, {keys} counters, slowest start {slowest:?}", kill + 1);
        }
    }
    let acknowledged: u64 =
        ledgers.iter().flat_map(|ledger| ledger.counters.values()).map(|(done, _)| done).sum();
    assert!(acknowledged > 1000 * kills, "there was load: {acknowledged}");
    eprintln!("{kills} kills, {acknowledged} counted, slowest start {slowest:?}");
}

#[test]
fn an_orderly_stop_keeps_everything_as_well() {
    let mut server = Server::start("");
    assert_eq!(server.client().ask("incr a 42\r\n"), "42");
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    let again = server.again("", "");
    assert_eq!(again.client().ask("incr a 1\r\n"), "43");
    assert!(again.get("/metrics").1.contains("\na_total 43\n"));
}

#[test]
fn two_servers_do_not_share_a_directory() {
    let server = Server::start("");
    let config = server.dir().join("tallyd.toml");
    let output =
        crate::harness::tallyd_in(server.dir(), &["serve", "--config", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    let error = crate::harness::text(&output.stderr);
    assert!(error.contains("another tallyd works on data"), "{error}");
    assert_eq!(server.client().ask("incr a 1\r\n"), "1");
}
