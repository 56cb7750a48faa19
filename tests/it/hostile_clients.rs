//! Hostile clients against the real server: each gets memcached's answer or a clean close, the
//! process lives, and other clients do not notice.

use std::collections::BTreeSet;

use crate::exposition;
use crate::harness::{Client, Server, eventually, text};
use crate::hostile_inputs::{CASES, Expect, PROBE, PROBE_REPLY, large};

/// Sends one input, with the probe behind it where the connection is to go on, in pieces of at most
/// `piece` bytes, and compares the whole answer.
fn converse(server: &Server, name: &str, input: &[u8], expect: Expect, piece: usize) {
    let mut client = server.client();
    let (wanted, goes_on) = match expect.ours() {
        Expect::Reply(bytes) => ([bytes, PROBE_REPLY].concat(), true),
        Expect::Close(bytes) => (bytes.to_vec(), false),
        Expect::Differs { .. } => unreachable!("no difference is nested in another"),
    };
    let bytes = if goes_on { [input, PROBE].concat() } else { input.to_vec() };
    for part in bytes.chunks(piece) {
        if !client.try_send(part) {
            assert!(!goes_on, "{name}: the server closed early");
            break;
        }
    }
    if goes_on {
        client.send(b"quit\r\n");
    }
    let got = client.read_to_end();
    // A close with unread input may reset the connection, and take the answer with it.
    let lost = !goes_on && got.is_empty() && input.len() > 2048;
    assert!(
        got == wanted || lost,
        "{name} by {piece}: wanted {}, got {}",
        show(&wanted),
        show(&got)
    );
}

fn show(bytes: &[u8]) -> String {
    let end = bytes.len().min(300);
    format!("{} bytes: {}", bytes.len(), bytes[..end].escape_ascii())
}

fn cases() -> Vec<(String, Vec<u8>, Expect)> {
    let table =
        CASES.iter().map(|(name, input, expect)| ((*name).to_owned(), input.to_vec(), *expect));
    table
        .chain(large().into_iter().map(|(name, input, expect)| (name.to_owned(), input, expect)))
        .collect()
}

#[test]
fn each_gets_memcacheds_answer_or_a_clean_close() {
    let mut server = Server::start("");
    let mut bystander = server.client();
    let cases = cases();
    assert!(cases.len() >= 30, "{}", cases.len());
    for (name, input, expect) in &cases {
        converse(&server, name, input, *expect, usize::MAX);
        // Some of the cases flush, so its count may begin anew.
        let answer = bystander.ask("incr bystander 1\r\n");
        assert!(answer.parse::<u64>().is_ok_and(|count| count > 0), "after {name}: {answer}");
    }
    assert!(server.is_alive());
}

#[test]
fn one_byte_per_write_changes_nothing() {
    let server = Server::start("");
    for (name, input, expect) in cases().iter().filter(|(_, input, _)| input.len() <= 400) {
        converse(&server, name, input, *expect, 1);
    }
}

#[test]
fn ten_thousand_requests_in_one_write_are_all_answered() {
    let server = Server::start("");
    let mut client = server.client();
    client.send("incr many 1\r\n".repeat(10_000).as_bytes());
    for expect in 1..=10_000 {
        assert_eq!(client.line(), expect.to_string());
    }
}

#[test]
fn a_block_that_is_cut_off_stores_nothing() {
    let server = Server::start("");
    let mut cut = server.client();
    cut.send(b"set half 0 0 100\r\nonly this");
    cut.finish();
    assert_eq!(cut.read_to_end(), b"");
    assert_eq!(server.client().ask("get half\r\n"), "END");
}

#[test]
fn a_value_that_is_too_large_is_swallowed_and_the_connection_goes_on() {
    let server = Server::start("[memcached]\nmax_item = \"1 KiB\"\n");
    let mut client = server.client();
    let large = "x".repeat(100_000);
    assert_eq!(
        client.ask(&format!("set a 0 0 100000\r\n{large}\r\n")),
        "SERVER_ERROR object too large for cache"
    );
    assert_eq!(client.ask("incr b 1\r\n"), "1");
}

#[test]
fn items_are_refused_when_their_room_is_full_and_counting_goes_on() {
    let server = Server::start("[memcached]\nitems = \"10 KiB\"\nmax_item = \"8 KiB\"\n");
    let mut client = server.client();
    let value = "x".repeat(6000);
    assert_eq!(client.ask(&format!("set a 0 0 6000\r\n{value}\r\n")), "STORED");
    assert_eq!(
        client.ask(&format!("set b 0 0 6000\r\n{value}\r\n")),
        "SERVER_ERROR out of memory storing object"
    );
    assert_eq!(client.ask("incr c 1\r\n"), "1");
}

#[test]
fn a_flood_of_keys_is_folded_and_counted() {
    let server = Server::start("[counters]\nmax_series = 100\n");
    let mut client = server.client();
    let flood: String =
        (0..1000).fold(String::new(), |flood, key| flood + &format!("incr key{key} 2 noreply\r\n"));
    client.send(flood.as_bytes());
    client.send(b"get tallyd.overflow\r\n");
    assert_eq!(client.line(), "VALUE tallyd.overflow 0 4");
    assert_eq!(client.line(), "1800");
    assert!(server.get("/metrics").1.contains("tallyd_overflowed_increments_total 900\n"));
}

#[test]
fn a_bare_http_request_is_closed_on_the_memcached_port() {
    let server = Server::start("");
    let mut browser = Client::connect(server.memcached);
    browser.send(
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 20\r\n\r\nincr smuggled 1\r\n\r\n\r\n",
    );
    let got = browser.read_to_end();
    assert_eq!(text(&got), "");
    assert_eq!(server.client().ask("get smuggled\r\n"), "END");
}

#[test]
fn metrics_are_valid_whatever_series_are_called() {
    let server = Server::start("");
    let mut client = server.client();
    let names = [
        "a.b",
        "a_b",
        "a_b_total",
        "c;x.y=1",
        "c;x_y=1",
        "c;x_y=1;x.y=2;x:y=3",
        "tallyd_series",
        "tallyd_connections",
        "tallyd_overflow",
        "a.b;tallyd_name=a_b",
        "d;__name__=\"\\",
        "żółw;tęcza=北京",
        ";=;",
        "2xx",
        "::",
    ];
    for (at, name) in names.iter().enumerate() {
        assert_eq!(client.ask(&format!("incr {name} {}\r\n", at + 1)), (at + 1).to_string());
        let gauge = format!("set {name}_now 0 0 4\r\n-{at:02}5\r\n");
        assert_eq!(client.ask(&gauge), "STORED");
    }
    let samples = eventually("all of them", || {
        let (_, metrics) = server.get("/metrics");
        let samples =
            exposition::parse(&metrics).unwrap_or_else(|wrong| panic!("{wrong}:\n{metrics}"));
        let of_users = |name: &str| !name.starts_with("tallyd_");
        let users = samples.iter().filter(|((name, _), _)| of_users(name)).count();
        (users == 2 * names.len()).then_some(samples)
    });
    let totals: BTreeSet<_> = samples
        .iter()
        .filter(|((name, _), value)| !name.starts_with("tallyd_") && *value > 0.0)
        .map(|(_, value)| value.to_string())
        .collect();
    assert_eq!(totals, (1..=names.len()).map(|total| total.to_string()).collect());
}
