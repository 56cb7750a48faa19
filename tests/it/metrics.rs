//! `/metrics` over the wire: both forms, packed and not, and in pieces.

use std::io::Read;

use crate::exposition;
use crate::harness::{Client, Server, eventually};

/// Head and body of the answer, as they came.
fn metrics(server: &Server, headers: &str) -> (String, Vec<u8>) {
    let mut client = Client::connect(server.http);
    // Of version 1.0, so that it does not come in chunks.
    client.send(format!("GET /metrics HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
    let all = client.read_to_end();
    let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    (String::from_utf8_lossy(&all[..end]).into_owned(), all[end + 4..].to_vec())
}

fn unpacked(body: &[u8]) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(body).read_to_string(&mut text).expect("it is packed whole");
    text
}

#[test]
fn both_forms_say_the_same_packed_or_not() {
    let server = Server::start("");
    let mut client = server.client();
    let lines: Vec<_> =
        (0..5000).map(|at| format!("incr orders;host=h{at} {at} noreply\r\n")).collect();
    client.send(lines.concat().as_bytes());
    client.ask("set queue 0 0 1\r\n7\r\n");
    eventually("all series", || {
        let (_, body) = metrics(&server, "");
        (exposition::parse(&String::from_utf8_lossy(&body)).expect("it is valid").len() > 5000)
            .then_some(())
    });
    let users = |samples: Vec<(exposition::Sample, f64)>| {
        let is_users = |sample: &(exposition::Sample, f64)| !sample.0.0.starts_with("tallyd_");
        samples.into_iter().filter(is_users).collect::<Vec<_>>()
    };
    let open = "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5\r\n";
    let (head, body) = metrics(&server, "");
    assert!(head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"), "{head}");
    let plain = users(exposition::parse(&String::from_utf8_lossy(&body)).expect("it is valid"));
    assert_eq!(plain.len(), 5001);
    assert_eq!(
        plain
            .iter()
            .map(|(_, value)| format!("{value}").parse::<u64>().expect("whole"))
            .sum::<u64>(),
        12_497_507
    );
    let (head, body) = metrics(&server, open);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert_eq!(
        users(exposition::parse_open(&String::from_utf8_lossy(&body)).expect("it is valid")),
        plain
    );
    let (head, packed) = metrics(&server, &format!("{open}Accept-Encoding: gzip\r\n"));
    assert!(
        head.contains("content-encoding: gzip") && head.contains("vary: accept, accept-encoding"),
        "{head}"
    );
    assert!(packed.len() * 5 < body.len(), "{} of {}", packed.len(), body.len());
    assert_eq!(users(exposition::parse_open(&unpacked(&packed)).expect("it is valid")), plain);
}

#[test]
fn pages_and_json_are_packed_for_who_can_unpack() {
    let server = Server::start("");
    let get = |path: &str, headers: &str| {
        let mut client = Client::connect(server.http);
        client.send(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n").as_bytes());
        let all = client.read_to_end();
        let end = all.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
        (String::from_utf8_lossy(&all[..end]).into_owned(), all[end + 4..].to_vec())
    };
    let (head, body) = get("/", "Accept-Encoding: deflate, gzip\r\n");
    assert!(
        head.contains("content-encoding: gzip") && head.contains("vary: accept-encoding"),
        "{head}"
    );
    assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
    assert!(unpacked(&body).contains("There are no rules yet"));
    for (path, headers) in [
        ("/", ""),
        ("/", "Accept-Encoding: gzip;q=0\r\n"),
        ("/healthz", "Accept-Encoding: gzip\r\n"),
    ] {
        let (head, _) = get(path, headers);
        assert!(!head.contains("content-encoding"), "{path} {headers}: {head}");
    }
}

#[test]
fn who_reads_slowly_holds_up_nobody() {
    let server = Server::start("");
    // Each is a family of its own, with a long name: six megabytes, more than sockets hold.
    let long = "x".repeat(230);
    let lines: Vec<_> =
        (0..8000).map(|at| format!("incr orders.{long}.{at} 1 noreply\r\n")).collect();
    server.client().send(lines.concat().as_bytes());
    eventually("all series", || {
        let (_, body) = metrics(&server, "");
        (body.len() > 5_000_000).then_some(())
    });
    // They ask, and read nothing: some of them write until the socket is full, the others wait for their turn.
    let slow: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::connect(server.http);
            client.send(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
            client
        })
        .collect();
    for path in ["/healthz", "/", "/api/v1/rules"] {
        assert_eq!(server.get(path).0, 200, "{path}");
    }
    assert_eq!(server.client().ask("incr a 1\r\n"), "1");
    drop(slow);
    eventually("a turn", || metrics(&server, "").0.contains(" 200 ").then_some(()));
}
