//! kill -9 between two ticks: what gauges and distributions were set to since the last one is in the
//! windows after the restart, in number and in sum.
//!
//! Windows that were closed before are in memory and gone, so a round in which a tick came between the
//! first value and the kill says nothing; the position in the log of observations tells.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::harness::{PATIENCE, Server, eventually};

const CLIENTS: usize = 8;
const BATCH: u64 = 20;

const CONFIG: &str = "
[[metric]]
match = 'd.*'
kind = 'distribution'

[[rule]]
name = 'd-count'
series = 'd.*'
measure = 'count'
window = '1h'
warning = { above = 0 }
notify = []

[[rule]]
name = 'd-sum'
series = 'd.*'
measure = 'sum'
window = '1h'
warning = { above = 0 }
notify = []

[[rule]]
name = 'g-count'
series = 'g.*'
measure = 'count'
window = '1h'
warning = { above = 0 }
notify = []

[[rule]]
name = 'g-max'
series = 'g.*'
measure = 'max'
window = '1h'
warning = { above = 0 }
notify = []
";

/// What one client was told, and what it had sent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Told {
    count: u64,
    sum: u64,
    sent_count: u64,
    sent_sum: u64,
}

/// Sets a gauge and a distribution to the same values, batch by batch, until the server is gone or
/// `batches` are acknowledged.
fn work(client: usize, server: SocketAddr, batches: usize) -> Told {
    let mut told = Told::default();
    let mut stream = TcpStream::connect(server).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let mut answers = BufReader::new(stream.try_clone().expect("a second handle"));
    for batch in 0..batches as u64 {
        let values = batch * BATCH + 1..=(batch + 1) * BATCH;
        let mut bytes = Vec::new();
        for value in values.clone() {
            for kind in ["g", "d"] {
                let len = value.to_string().len();
                write!(bytes, "set {kind}.{client} 0 0 {len}\r\n{value}\r\n").expect("it grows");
            }
            told.sent_count += 1;
            told.sent_sum += value;
        }
        if stream.write_all(&bytes).is_err() {
            return told;
        }
        for value in values {
            for _ in 0..2 {
                let mut line = String::new();
                if !matches!(answers.read_line(&mut line), Ok(1..)) || line != "STORED\r\n" {
                    return told;
                }
            }
            told.count += 1;
            told.sum += value;
        }
    }
    told
}

/// How many observations are in windows that were closed: the second word of the first file's records.
fn handed_over(server: &Server) -> u64 {
    let file = std::fs::File::open(server.dir().join("data/observations-0000.map"));
    let mut word = [0; 8];
    file.expect("it is there").read_exact_at(&mut word, 4096 + 8).expect("it is long enough");
    u64::from_ne_bytes(word)
}

/// The number behind `'RULE'=` in the performance data.
fn measured(server: &Server, rule: &str) -> u64 {
    let (_, line) = server.check(rule);
    let number = line.split_once("'=").and_then(|(_, rest)| rest.split_once(';'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

fn into_the_second() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is past 1970");
    Duration::from_nanos(u64::from(now.subsec_nanos()))
}

/// One life of a server in which `batches` of each client are sent; `None` where a tick came between.
fn round(mut server: Server, batches: usize) -> (Server, Option<Vec<Told>>) {
    // The file is there, and everything in it is handed over.
    server.client().ask("set first 0 0 1\r\n1\r\n");
    let before = handed_over(&server);
    eventually("a tick", || (handed_over(&server) > before).then_some(()));
    let mut before = handed_over(&server);
    eventually("a quiet tick", || {
        let now = handed_over(&server);
        let is_early = into_the_second() < Duration::from_millis(300);
        (std::mem::replace(&mut before, now) == now && is_early).then_some(())
    });
    let address = server.memcached;
    let told = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || work(client, address, batches)))
            .collect();
        if batches == usize::MAX {
            std::thread::sleep(Duration::from_millis(150));
            server.kill();
        }
        clients.into_iter().map(|client| client.join().expect("it ends")).collect::<Vec<_>>()
    });
    if batches != usize::MAX {
        server.kill();
    }
    let is_whole = handed_over(&server) == before;
    (server.again("", CONFIG), is_whole.then_some(told))
}

#[test]
fn kill_9_loses_no_observation_of_an_open_window() {
    let mut server = Server::start(CONFIG);
    let (mut under_load, mut at_rest) = (0, 0);
    for at in 0..40 {
        let is_under_load = under_load < 3 && (at_rest > 0 || at % 2 == 0);
        let batches = if is_under_load { usize::MAX } else { 10 };
        let (next, told) = round(server, batches);
        server = next;
        let Some(told) = told else { continue };
        let sum = |part: fn(&Told) -> u64| told.iter().map(part).sum::<u64>();
        let (count, sent) = (sum(|told| told.count), sum(|told| told.sent_count));
        eventually("the first tick", || {
            server.check("d-count").1.contains("updates").then_some(())
        });
        let (d_count, g_count) = (measured(&server, "d-count"), measured(&server, "g-count"));
        let d_sum = measured(&server, "d-sum");
        if is_under_load {
            assert!((count..=sent).contains(&d_count), "{d_count} of {count} to {sent}");
            assert!((count..=sent).contains(&g_count), "{g_count} of {count} to {sent}");
            let sums = sum(|told| told.sum)..=sum(|told| told.sent_sum);
            assert!(sums.contains(&d_sum), "{d_sum} of {sums:?}");
            under_load += 1;
        } else {
            assert_eq!((d_count, g_count), (count, count));
            assert_eq!((d_sum, count), (sum(|told| told.sum), CLIENTS as u64 * 10 * BATCH));
            assert_eq!(measured(&server, "g-max"), 10 * BATCH);
            at_rest += 1;
        }
        assert!(count > 0, "there was load");
        if under_load >= 3 && at_rest >= 3 {
            return;
        }
    }
    panic!("a tick came between in nearly every round: {under_load} and {at_rest} were whole");
}
