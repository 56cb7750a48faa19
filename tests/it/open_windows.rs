//! kill -9 at any moment within a second: what gauges and distributions were set to is in the windows
//! after the restart, in number and in sum, whether the log of observations or the tick log has it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

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

/// The number behind `'RULE'=` in the performance data.
fn measured(server: &Server, rule: &str) -> u64 {
    let (_, line) = server.check(rule);
    let number = line.split_once("'=").and_then(|(_, rest)| rest.split_once(';'));
    number.and_then(|(number, _)| number.parse().ok()).unwrap_or_else(|| panic!("{line}"))
}

/// One life of a server in which `batches` of each client are sent, without end where it is to be killed
/// under load.
fn round(mut server: Server, batches: Option<usize>, alive: Duration) -> (Server, Vec<Told>) {
    let address = server.memcached;
    let told = std::thread::scope(|scope| {
        let batches = batches.unwrap_or(usize::MAX);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| scope.spawn(move || work(client, address, batches)))
            .collect();
        if batches == usize::MAX {
            std::thread::sleep(alive);
            server.kill();
        }
        clients.into_iter().map(|client| client.join().expect("it ends")).collect::<Vec<_>>()
    });
    if batches.is_some() {
        std::thread::sleep(alive);
        server.kill();
    }
    (server.again("", CONFIG), told)
}

/// Number of observations, number of sets, and the sum of the former.
fn all_measured(server: &Server) -> [u64; 3] {
    // Until then a check shows what the process before had seen last.
    eventually("the first tick", || {
        let (_, body) = server.get("/api/v1/rules");
        let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
        let evaluated = &body["data"]["groups"][0]["lastEvaluation"];
        evaluated.as_str().is_some_and(|at| !at.is_empty()).then_some(())
    });
    ["d-count", "g-count", "d-sum"].map(|rule| measured(server, rule))
}

#[test]
fn kill_9_loses_no_observation() {
    let mut server = Server::start(CONFIG);
    let mut before = [0; 3];
    for at in 0..8_u32 {
        let batches = (at % 2 == 0).then_some(10);
        // From within the first second to some ticks later.
        let alive = Duration::from_millis(130 + 370 * u64::from(at % 4));
        let (next, told) = round(server, batches, alive);
        server = next;
        let sum = |part: fn(&Told) -> u64| told.iter().map(part).sum::<u64>();
        let least = [sum(|told| told.count), sum(|told| told.count), sum(|told| told.sum)];
        let most =
            [sum(|told| told.sent_count), sum(|told| told.sent_count), sum(|told| told.sent_sum)];
        assert!(least[0] > 0, "there was load");
        let now = all_measured(&server);
        for (what, (now, before)) in now.into_iter().zip(before).enumerate() {
            let range = before + least[what]..=before + most[what];
            assert!(range.contains(&now), "round {at}, figure {what}: {now} is not in {range:?}");
        }
        before = now;
    }
    assert!(measured(&server, "g-max") >= 10 * BATCH);
}
