//! Whoever means ill, over HTTP: those who say nothing and keep a place, those who say too much, requests in
//! requests, and names that want to be markup. While it goes on, others are answered and clients count.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Client, Server, eventually, text};

/// What comes back to these bytes until the server ends the connection, or for a while says nothing more.
fn answer(address: SocketAddr, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(Duration::from_secs(2))).expect("a limit");
    // It may have closed before all of it was sent.
    let _ = stream.write_all(request);
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut chunk) {
        all.extend_from_slice(&chunk[..read]);
    }
    text(&all)
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

#[test]
fn one_request_is_not_taken_for_two() {
    let server = Server::start("");
    // Behind each a request whose answer would be another's, were the first taken for shorter than it is.
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let body = format!("0\r\n\r\n{hidden}");
    let length = body.len();
    for (what, head) in [
        ("both lengths", format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n")),
        (
            "both, the other way",
            format!("Transfer-Encoding: chunked\r\nContent-Length: {length}\r\n"),
        ),
        ("chunks", "Transfer-Encoding: chunked\r\n".to_owned()),
        ("chunks that are none", "Transfer-Encoding: xchunked\r\n".to_owned()),
        ("two codings", "Transfer-Encoding: chunked, identity\r\n".to_owned()),
        ("two lengths", format!("Content-Length: 5\r\nContent-Length: {length}\r\n")),
        ("one length twice", format!("Content-Length: {length}\r\nContent-Length: {length}\r\n")),
        ("two in one", format!("Content-Length: {length}, {length}\r\n")),
        ("a sign", format!("Content-Length: +{length}\r\n")),
        ("a blank before the colon", "Content-Length : 5\r\n".to_owned()),
        ("a folded line", "Content-Length:\r\n 5\r\n".to_owned()),
        ("a folded coding", "Transfer-Encoding:\r\n chunked\r\n".to_owned()),
        ("a bare return", "X: a\rTransfer-Encoding: chunked\r\n".to_owned()),
        ("a NUL", "X: a\0b\r\n".to_owned()),
    ] {
        let request =
            format!("POST /api/v1/deploys HTTP/1.1\r\nHost: localhost\r\n{head}\r\n{body}");
        let answer = answer(server.http, request.as_bytes());
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{what}: {answer}");
        assert!(["400", "411", "413"].contains(&status(&answer)), "{what}: {answer}");
        assert!(!answer.contains("nothing at this path"), "{what}: {answer}");
    }
    for line in
        ["GET  /metrics HTTP/1.1", "GET /metrics HTTP/2.0", "GET /a b HTTP/1.1", "GET /metrics"]
    {
        let answer = answer(server.http, format!("{line}\r\nHost: localhost\r\n\r\n").as_bytes());
        assert!(answer.is_empty() || ["400", "505"].contains(&status(&answer)), "{line}: {answer}");
    }
    let hosts = "GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n";
    assert_eq!(status(&answer(server.http, hosts.as_bytes())), "400");
}

#[test]
fn what_is_too_long_is_told_so_in_the_form_of_all_problems() {
    let server = Server::start("");
    let long = "x".repeat(9000);
    let cookies = format!("Cookie: {}\r\n", "y".repeat(17_000));
    for (line, headers, expect) in [
        (format!("GET /{long}"), "", "414"),
        (format!("GET /metrics?{long}"), "", "414"),
        ("GET /metrics".to_owned(), &*cookies, "431"),
        ("POST /api/v1/acks".to_owned(), "Content-Length: 65537\r\n", "413"),
        ("POST /api/v1/acks".to_owned(), "Content-Length: 99999999999999999999\r\n", "400"),
        ("POST /api/v1/import".to_owned(), "Content-Length: 4194305\r\n", "413"),
        ("PUT /metrics".to_owned(), "", "405"),
        ("OPTIONS /metrics".to_owned(), "Origin: http://localhost\r\n", "405"),
        ("GET /nowhere".to_owned(), "", "404"),
    ] {
        let request =
            format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n");
        let answer = answer(server.http, request.as_bytes());
        let line: String = line.chars().take(40).collect();
        assert_eq!(status(&answer), expect, "{line}: {answer}");
        if expect != "400" {
            assert!(answer.contains(r#""status":"error""#), "{line}: {answer}");
            assert!(answer.contains("content-type: application/json"), "{line}: {answer}");
        }
        assert!(
            !answer.to_lowercase().contains("access-control"),
            "no other site may read: {answer}"
        );
    }
    // Beyond what is taken apart at all there are no words, and no answer but an end.
    for request in [
        format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(200_000)),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(10_000)),
    ] {
        let answer = answer(server.http, request.as_bytes());
        assert!(answer.is_empty() || status(&answer).starts_with('4'), "{answer}");
    }
}

#[test]
fn paths_lead_to_calls_and_never_to_files() {
    let server = Server::start("");
    for path in [
        "/../../../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/check/..%2f..%2f..%2fetc%2fpasswd",
        "/check/%00",
        "//etc/passwd",
        "/ack/..%2f..%2fdata%2flink-key",
        "/api/v1/../../data/link-key",
        "/static/..%5c..%5cdata",
        "/chart.svg?rule=../../data/link-key",
    ] {
        let (status, body) = server.get(path);
        assert!((400..500).contains(&status), "{path}: {status} {body}");
        assert!(!body.contains("root:") && !body.contains("tallyd links"), "{path}: {body}");
    }
}

#[test]
fn nothing_that_a_client_says_becomes_a_header() {
    let server = Server::start("[http]\n");
    for path in
        ["/ack/a%0d%0aX-Evil:%201", "/login?next=/%0d%0aX-Evil:%201", "/check/a%0d%0aX-Evil:%201"]
    {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let answer = answer(server.http, request.as_bytes());
        let head = answer.split("\r\n\r\n").next().expect("a head");
        assert!(!head.to_lowercase().contains("x-evil"), "{path}: {answer}");
    }
    let form = "token=x&next=%2F%0d%0aX-Evil%3A1";
    let request = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\
         Content-Type: application/x-www-form-urlencoded\r\n\r\n{form}",
        form.len()
    );
    let answer = answer(server.http, request.as_bytes());
    assert!(answer.contains("\r\nlocation: /\r\n"), "{answer}");
}

#[test]
fn what_people_and_clients_write_is_shown_and_never_run() {
    let evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\\\"'&";
    let rule = format!(
        "[[rule]]\nname = \"r\"\nsummary = {summary}\nseries = \"errors\"\nby = [\"host\"]\nmeasure = \"sum\"\nwindow = \"1h\"\n\
         notify = []\ncritical = {{ above = 1 }}\n",
        summary = json!(evil)
    );
    let server = Server::start(&rule);
    let mut client = server.client();
    let host = "<script>alert(3)</script>\"'><img/src=x>";
    client.ask(&format!("incr errors;host={host} 50\r\n"));
    let id = eventually("an incident", || {
        let (_, body) = server.get("/api/v1/incidents?state=open");
        let all: serde_json::Value = serde_json::from_str(&body).expect("JSON");
        all["data"]["incidents"][0]["id"].as_str().map(str::to_owned)
    });
    let post = |path: &str, kind: &str, body: &str| {
        let answer = server.http_raw(&format!(
            "POST {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\n\
             Content-Length: {}\r\n\r\n{body}",
            server.http,
            body.len()
        ));
        assert!(answer.contains(" 200 OK"), "{path}: {answer}");
        answer
    };
    let open =
        [server.get("/"), server.get(&format!("/ack/{id}")), server.get(&format!("/silence/{id}"))];
    let json = "application/json";
    let ack = json!({ "incident": id, "author": evil, "comment": evil }).to_string();
    post("/api/v1/acks", json, &ack);
    post("/api/v1/deploys", json, &json!({ "what": evil, "who": evil }).to_string());
    let form = "who=%3Cscript%3Ealert(4)%3C%2Fscript%3E&comment=%3Cimg+src%3Dx%3E&span=1h";
    let silenced = post(&format!("/silence/{id}"), "application/x-www-form-urlencoded", form);
    let pages = [
        server.get("/").1,
        server.get(&format!("/ack/{id}")).1,
        server.get(&format!("/silence/{id}")).1,
        server.get("/chart.svg?rule=r").1,
        server.get("/chart.svg?series=%3Cscript%3Ealert(5)%3C/script%3E*").1,
        server.get("/login?next=/%22%3E%3Cscript%3Ealert(6)%3C/script%3E").1,
        silenced,
    ];
    for page in open.iter().map(|(_, page)| page).chain(&pages) {
        for run in ["<script", "<img/", "<img src=x", "onerror=alert(2)>"] {
            assert!(!page.contains(run), "{run} in {page}");
        }
    }
    assert!(open[0].1.contains("&lt;script&gt;alert(3)"), "it is shown: {}", open[0].1);
    assert!(pages[0].contains("&lt;script&gt;alert(1)"), "{}", pages[0]);
    for path in ["/", "/metrics", "/api/v1/rules", "/nowhere", "/chart.svg?rule=r"] {
        let answer = server.http_raw(&format!("GET {path} HTTP/1.0\r\n\r\n"));
        for header in [
            "content-security-policy: default-src 'none'",
            "x-content-type-options: nosniff",
            "x-frame-options: DENY",
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
        ] {
            assert!(answer.contains(header), "{path} lacks {header}: {answer}");
        }
    }
}

#[test]
fn older_tls_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let pem = parameters.self_signed(&key).expect("a certificate").pem();
    std::fs::write(dir.path().join("c"), pem).expect("written");
    std::fs::write(dir.path().join("k"), key.serialize_pem()).expect("written");
    let server = Server::start_in(dir, "", "[http]\ntls_cert = \"c\"\ntls_key = \"k\"\n", &[]);
    for version in [0, 1, 2] {
        // A ClientHello of SSL 3.0, TLS 1.0 and 1.1, with ciphers that each of them had.
        let mut hello = vec![3, version];
        hello.extend([7; 32]);
        hello.extend([0, 0, 8, 0xc0, 0x13, 0xc0, 0x14, 0, 0x2f, 0, 0x35, 1, 0]);
        let mut bytes = vec![22, 3, 0, 0, u8::try_from(hello.len() + 4).expect("short")];
        bytes.extend([1, 0, 0, u8::try_from(hello.len()).expect("short")]);
        bytes.extend(hello);
        let mut stream = TcpStream::connect(server.http).expect("the server accepts");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a limit");
        stream.write_all(&bytes).expect("it reads");
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(
            answer.first().is_none_or(|kind| *kind == 21),
            "an alert, and no handshake: {answer:?}"
        );
    }
}

/// How long each of some increments took, by rank: the 99th of a hundred.
fn p99(client: &mut Client) -> Duration {
    let mut times: Vec<_> = (0..2000)
        .map(|_| {
            let start = Instant::now();
            client.ask("incr a 1\r\n");
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    times[1980]
}

/// The least of some: what else runs on the machine takes its time from either side.
fn quiet_p99(client: &mut Client) -> Duration {
    (0..5).map(|_| p99(client)).min().expect("five")
}

#[test]
fn those_who_say_nothing_keep_no_place_and_clients_count_on() {
    let server = Server::start("");
    let mut client = server.client();
    let before = quiet_p99(&mut client);
    let (address, is_over) = (server.http, Arc::new(AtomicBool::new(false)));
    let (over, count) = (Arc::clone(&is_over), Arc::new(AtomicUsize::new(0)));
    let counted = Arc::clone(&count);
    // As many as there is time for, ten thousand at most, and all kept: a third say nothing, a third a part of a head, a third a part
    // of a body.
    let attack = std::thread::spawn(move || {
        let mut kept = Vec::new();
        for at in 0..10_000 {
            if over.load(Relaxed) {
                break;
            }
            let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(5))
            else {
                continue;
            };
            let said: &[u8] = match at % 3 {
                0 => b"",
                1 => b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ",
                _ => b"POST /api/v1/deploys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
            };
            let _ = stream.write_all(said);
            kept.push(stream);
            counted.store(kept.len(), Relaxed);
        }
        kept.len()
    });
    // There were more than there are places, however busy the machine is.
    let end = Instant::now() + Duration::from_secs(60);
    while count.load(Relaxed) <= 1024 {
        assert!(Instant::now() < end, "only {} came", count.load(Relaxed));
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut slowest = Duration::ZERO;
    let mut during = Duration::MAX;
    for _ in 0..5 {
        let start = Instant::now();
        assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
        slowest = slowest.max(start.elapsed());
        during = during.min(p99(&mut client));
    }
    is_over.store(true, Relaxed);
    let kept = attack.join().expect("it ends");
    assert!(kept > 1024, "there were more than there are places: {kept}");
    eprintln!(
        "p99 of an increment: {before:?} before, {during:?} under attack; slowest /healthz {slowest:?}; {kept} connections"
    );
    assert!(during < before * 10 + Duration::from_millis(5), "{before:?}, and then {during:?}");
}

#[test]
fn who_has_asked_and_says_no_more_gets_the_answer() {
    let server = Server::start("");
    for _ in 0..20 {
        let mut client = Client::connect(server.http);
        client.send(b"GET /healthz HTTP/1.0\r\n\r\n");
        client.finish();
        let answer = String::from_utf8_lossy(&client.read_to_end()).into_owned();
        assert!(answer.ends_with("\r\n\r\nok\n"), "{answer}");
    }
}
