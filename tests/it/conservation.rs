//! kill -9 under load, asked from outside: what `/api/v1/measure` finds in the windows of one second
//! comes to what was acknowledged, neither less nor more.
//!
//! `TALLYD_TEST_KILLS` sets how often the server is killed; without it ten times. Every wait has a limit,
//! and a long run says how far it is.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::{PATIENCE, Server, eventually, tallyd, text};

const CLIENTS: usize = 4;
const BATCH: usize = 20;

/// Increments of one client: those that were acknowledged, and those that were sent.
#[derive(Clone, Copy, Default)]
struct Told {
    done: u64,
    sent: u64,
}

/// Increments batch by batch until the server is gone or the time is over.
fn work(client: usize, address: SocketAddr, end: Instant, told: &mut Told) {
    let Ok(mut stream) = TcpStream::connect(address) else { return };
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let batch = format!("incr orders;client={client} 1\r\n").repeat(BATCH);
    let mut chunk = [0; 4096];
    while Instant::now() < end {
        // What is not sent whole may still have been read in part.
        told.sent += BATCH as u64;
        if stream.write_all(batch.as_bytes()).is_err() {
            return;
        }
        let mut answers = 0;
        while answers < BATCH {
            match stream.read(&mut chunk) {
                Ok(read @ 1..) => {
                    let lines = text(&chunk[..read]).matches('\n').count();
                    answers += lines;
                    told.done += lines as u64;
                }
                _ => return,
            }
        }
    }
}

/// A count as JSON and CSV write it; `None` where nothing is known.
fn whole(value: &str) -> Option<u64> {
    value.trim_end_matches(".0").parse().ok()
}

/// The sum over all points of each line, by the name of the line.
fn sums(server: &Server, path: &str) -> Vec<(String, u64)> {
    let (status, body) = server.get(path);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    assert_eq!(answer["status"], "success", "{body}");
    let line = |line: &Value| {
        let points = line["points"].as_array().expect("points");
        let sum = points.iter().filter_map(|point| whole(&point[1].to_string())).sum();
        (line["series"].as_str().expect("a name").to_owned(), sum)
    };
    answer["data"].as_array().expect("lines").iter().map(line).collect()
}

#[test]
fn the_windows_come_to_what_was_acknowledged() {
    let kills: u32 =
        std::env::var("TALLYD_TEST_KILLS").map_or(10, |kills| kills.parse().expect("a number"));
    let mut server = Server::start("");
    let mut told = [Told::default(); CLIENTS];
    for kill in 1..=kills {
        let address = server.memcached;
        let end = Instant::now() + Duration::from_millis(150 + u64::from(kill * 37 % 350));
        std::thread::scope(|scope| {
            for (client, told) in told.iter_mut().enumerate() {
                let late = end + Duration::from_millis(300);
                scope.spawn(move || work(client, address, late, told));
            }
            std::thread::sleep(end.saturating_duration_since(Instant::now()));
            server.kill();
        });
        server = server.again("", "");
        if kill % 20 == 0 {
            eprintln!("{kill} of {kills} kills");
        }
    }
    // One that was killed at the end of a second shows its increments a tick later.
    let path = "/api/v1/measure?series=orders&measure=sum&by=client&from=-2h&step=1s";
    let lines = eventually("every window", || {
        let lines = sums(&server, path);
        let is_all = lines.len() == CLIENTS
            && lines.iter().zip(&told).all(|((_, sum), told)| *sum >= told.done);
        is_all.then_some(lines)
    });
    for (client, (line, told)) in lines.iter().zip(&told).enumerate() {
        assert_eq!(line.0, format!("orders;client={client}"));
        assert!(line.1 <= told.sent, "{} is more than was sent: {}", line.1, told.sent);
        assert!(told.done > 0, "it was under load at all");
        let shown = server.client().ask(&format!("incr orders;client={client} 0\r\n"));
        assert_eq!(line.1.to_string(), shown, "the windows and the counter agree");
    }
    all_at_once(&server, lines.iter().map(|(_, sum)| sum).sum());
}

/// The command gives the same, of all clients together.
fn all_at_once(server: &Server, expect: u64) {
    let server = format!("http://{}", server.http);
    let asked = ["query", "orders", "--measure", "sum", "--from", "-2h", "--step", "1s"];
    let output = tallyd(&[&asked[..], &["--format", "csv", "--server", &server]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let csv = text(&output.stdout);
    let value = |line: &str| line.split(',').nth(2).and_then(whole);
    assert_eq!(csv.lines().skip(1).filter_map(value).sum::<u64>(), expect);
}

#[test]
fn a_query_says_what_is_wrong_and_with_which_code() {
    let server = Server::start("");
    assert_eq!(server.client().ask("incr orders 5\r\n"), "5");
    let url = format!("http://{}", server.http);
    let query = |args: &[&str]| {
        let output = tallyd(&[&["query"], args, &["--server", &url]].concat());
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = eventually("the counter", || {
        let asked = query(&["orders", "--measure", "last"]);
        (asked.0 == Some(0) && asked.1 == "orders  5\n").then_some(asked)
    });
    assert_eq!((code, out.as_str()), (Some(0), "orders  5\n"));
    let (code, out, _) = query(&["orders", "--measure", "last", "--format", "json"]);
    assert_eq!(code, Some(0));
    let answer: Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["data"][0]["points"][0][1], 5.0);
    assert_eq!(query(&["nothing"]).0, Some(1));
    for (wrong, words) in [
        (&["orders", "--measure", "most"][..], "`measure` is one of rate, sum,"),
        (&["orders", "--window", "0s"], "`window` is one or more whole seconds"),
        (&["orders", "--step", "1s"], "`step` needs `from`"),
        (&["orders", "--from", "yesterday"], "`from`: it is none of"),
        (&["orders", "--from", "-1m", "--to", "-2m"], "has to be before `to`"),
        (&["orders", "--from", "-1d", "--step", "15s"], "`step`: so long ago"),
        (&["orders", "--from", "-40d", "--step", "10s"], "points are more than"),
        (&["orders", "--by", ""], "`by` is one to"),
        (&["orders", "--measure", "age", "--to", "-1m"], "`age` is known of now alone"),
        (&["orders", "--floor", "many"], "`floor`: "),
    ] {
        let (code, _, error) = query(wrong);
        assert_eq!(code, Some(2), "{wrong:?}: {error}");
        assert!(error.starts_with("tallyd query: ") && error.contains(words), "{wrong:?}: {error}");
    }
    let (status, body) = server.get("/api/v1/measure?series=orders&colour=red");
    assert_eq!(status, 400);
    assert!(body.contains("\"errorType\":\"bad_data\""), "{body}");
    let nowhere = tallyd(&["query", "orders", "--server", "http://127.0.0.1:1"]);
    assert_eq!(nowhere.status.code(), Some(3));
    let error = text(&nowhere.stderr);
    assert!(
        error.starts_with("tallyd query: tallyd at http://127.0.0.1:1 cannot be reached: "),
        "{error}"
    );
}
