//! The main job through the real binary: count over a socket, be judged, ask for the state, stop.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use crate::harness::{Server, eventually, tallyd, text};

const ERRORS_HIGH: &str = r#"
[[rule]]
name = "errors-high"
summary = "Too many errors"
series = "errors"
measure = "sum"
window = "5s"
warning = { above = 5, clear = 2 }
critical = { above = 10, clear = 5 }
notify = []
"#;

#[test]
fn counts_and_answers_as_memcached_does() {
    let server = Server::start("");
    let mut client = server.client();
    assert_eq!(client.ask("incr signups 1\r\n"), "1");
    assert_eq!(client.ask("incr signups 41\r\n"), "42");
    assert_eq!(client.ask("decr signups 2\r\n"), "40");
    assert_eq!(client.ask("set motd 7 0 5\r\nhello\r\n"), "STORED");
    client.send(b"get motd signups nothing\r\n");
    let lines: Vec<_> = (0..5).map(|_| client.line()).collect();
    assert_eq!(lines, ["VALUE motd 7 5", "hello", "VALUE signups 0 2", "40", "END"]);
    assert_eq!(client.ask("delete motd\r\n"), "DELETED");
    assert_eq!(client.ask("touch motd 10\r\n"), "NOT_FOUND");
    assert_eq!(client.ask("flush_all\r\n"), "OK");
    assert_eq!(
        client.ask("version\r\n"),
        concat!("VERSION 1.6.18-tallyd-", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(client.ask("verbosity 1\r\n"), "OK");
    assert_eq!(
        client.ask("incr tallyd.x 1\r\n"),
        "CLIENT_ERROR names that begin with tallyd. are reserved"
    );
    assert_eq!(client.ask("incr signups 1\r\n"), "1", "a new life after the flush");
    client.send(b"quit\r\n");
    assert_eq!(client.read_to_end(), b"");
    eventually("the total", || {
        server.get("/metrics").1.contains("\nsignups_total 43\n").then_some(())
    });
}

#[test]
fn a_strict_server_does_not_create_on_incr() {
    let server = Server::start("[memcached]\nmissing_incr = \"not_found\"\n");
    let mut client = server.client();
    assert_eq!(client.ask("incr a 1\r\n"), "NOT_FOUND");
    assert_eq!(client.ask("add a 0 0 1\r\n0\r\n"), "STORED");
    assert_eq!(client.ask("incr a 1\r\n"), "1");
}

#[test]
fn the_check_follows_the_state() {
    let server = Server::start(ERRORS_HIGH);
    let (code, line) = server.check("errors-high");
    assert_eq!(
        (code, line.as_str()),
        (Some(0), "OK - errors-high: no data yet | 'errors-high'=U;~:5;~:10;0;\n")
    );
    let mut client = server.client();
    assert_eq!(client.ask("incr errors 50\r\n"), "50");
    let critical = eventually("critical", || {
        Some(server.check("errors-high")).filter(|(code, _)| *code == Some(2))
    });
    assert!(critical.1.starts_with("CRITICAL - errors-high: "), "{}", critical.1);
    assert!(critical.1.ends_with(" | 'errors-high'=50;~:5;~:10;0;\n"), "{}", critical.1);
    let (status, body) = server.get("/check/errors-high?http_status=1");
    assert_eq!((status, &body[..8]), (503, "CRITICAL"));
    assert_eq!(server.get("/check/errors-high").0, 200);
    // Three or four in five seconds: recovered for critical, not for warning, once the fifty have
    // left the window.
    eventually("warning", || {
        client.ask("incr errors 1\r\n");
        std::thread::sleep(Duration::from_millis(1300));
        Some(server.check("errors-high").0).filter(|code| *code == Some(1))
    });
    assert_eq!(server.get("/check/errors-high?http_status=1").0, 417);
    eventually("ok", || Some(server.check("errors-high").0).filter(|code| *code == Some(0)));
}

#[test]
fn what_cannot_be_known_is_unknown_on_one_line() {
    let mut server = Server::start(ERRORS_HIGH);
    let (code, line) = server.check("no-such-rule");
    assert_eq!((code, line.as_str()), (Some(3), "UNKNOWN - no-such-rule: there is no such rule\n"));
    assert_eq!(server.get("/check/no-such-rule").0, 404);
    assert_eq!(server.get("/check/no-such-rule?http_status=1").0, 500);
    let url = format!("http://{}", server.http);
    server.signal("TERM");
    server.wait();
    let output = tallyd(&["check", "errors-high", "--server", &url]);
    assert_eq!(output.status.code(), Some(3));
    let line = text(&output.stdout);
    let expect =
        format!("UNKNOWN - errors-high: tallyd at {url} cannot be reached: Connection refused\n");
    assert_eq!(line, expect);
}

#[test]
fn a_check_of_something_else_is_unknown() {
    let server = Server::start("");
    let other = format!("http://{}", server.memcached);
    let output = tallyd(&["check", "x", "--server", &other, "--timeout", "5"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    assert!(text(&output.stdout).starts_with("UNKNOWN - x: "), "{}", text(&output.stdout));
    let output = tallyd(&["check", "x", "--server", "nonsense"]);
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn an_answer_that_only_begins_like_a_check_is_unknown() {
    for body in ["OK", "OK - y: 0 in 5s", "WARNING: this site has moved", "CRITICAL", ""] {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let other = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().expect("it asks");
            let mut head = BufReader::new(stream.try_clone().expect("a second handle")).lines();
            while head.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
            let _ = write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}");
        });
        let output = tallyd(&["check", "x", "--server", &url]);
        other.join().expect("it answered");
        assert_eq!(output.status.code(), Some(3), "{body}");
        assert_eq!(
            text(&output.stdout).trim_end(),
            format!("UNKNOWN - x: {url} is not tallyd: {body}").trim_end()
        );
    }
}

#[test]
fn a_check_that_is_written_wrongly_is_unknown_and_not_critical() {
    let check = |args: &[&str], expect: &str| {
        let output = tallyd(args);
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        assert_eq!(text(&output.stdout), format!("UNKNOWN - tallyd check: {expect}\n"));
        assert!(text(&output.stderr).contains("--help"), "{}", text(&output.stderr));
    };
    check(
        &["check"],
        "the following required arguments were not provided: <RULE/--all/--series <PATTERN>>",
    );
    check(&["check", "a", "b"], "unexpected argument 'b' found");
    check(
        &["check", "a", "--timeout", "0"],
        "invalid value '0' for '--timeout <SECONDS>': 0 is not in 1..=600",
    );
    check(
        &["check", "a", "-H", "b", "--server", "https://b"],
        "--server cannot be used with -H, -p or -S, which stand for it",
    );
    let help = tallyd(&["check", "--help"]);
    assert_eq!(help.status.code(), Some(3), "nothing was checked");
    assert!(text(&help.stdout).contains("Usage: tallyd check"), "{}", text(&help.stdout));
    assert_eq!(tallyd(&["help", "check"]).status.code(), Some(0));
    assert_eq!(tallyd(&["serve", "--no-such"]).status.code(), Some(2));
}

#[test]
fn rules_and_alerts_are_told_as_prometheus_tells_them() {
    let server = Server::start(ERRORS_HIGH);
    let json = |path: &str| -> serde_json::Value {
        let (status, body) = server.get(path);
        assert_eq!(status, 200);
        serde_json::from_str(&body).expect("it is JSON")
    };
    let rules = json("/api/v1/rules");
    let rule = &rules["data"]["groups"][0]["rules"][0];
    assert_eq!((&rules["status"], &rule["name"]), (&"success".into(), &"errors-high".into()));
    assert_eq!((&rule["state"], &rule["health"]), (&"inactive".into(), &"ok".into()));
    assert_eq!(json("/api/v1/alerts")["data"]["alerts"], serde_json::json!([]));
    server.client().ask("incr errors 50\r\n");
    let alert = eventually("an alert", || {
        json("/api/v1/alerts")["data"]["alerts"]
            .as_array()
            .and_then(|alerts| alerts.first().cloned())
    });
    assert_eq!(
        alert["labels"],
        serde_json::json!({"alertname": "errors-high", "severity": "critical"})
    );
    assert_eq!((&alert["state"], &alert["value"]), (&"firing".into(), &"5e+01".into()));
    assert_eq!(alert["annotations"]["summary"], "Too many errors");
}

#[test]
fn http_keeps_its_manners() {
    let server = Server::start("");
    assert_eq!(server.get("/healthz"), (200, "ok\n".to_owned()));
    assert_eq!(server.get("/readyz"), (200, "ready\n".to_owned()));
    let (status, body) = server.get("/nowhere");
    let body: serde_json::Value = serde_json::from_str(&body).expect("it is JSON");
    assert_eq!(
        (status, &body["status"], &body["errorType"]),
        (404, &"error".into(), &"not_found".into())
    );
    let status = |request: &str| {
        let answer = server.http_raw(request);
        answer.split(' ').nth(1).and_then(|code| code.parse::<u16>().ok())
    };
    let with = |line: &str, headers: &str| {
        format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n")
    };
    assert_eq!(
        status(&with("POST /healthz", "Host: localhost\r\nContent-Length: 0\r\n")),
        Some(405)
    );
    assert_eq!(status(&with("GET /healthz", "Host: evil.example\r\n")), Some(403));
    let foreign = "Host: localhost\r\nOrigin: http://evil.example\r\n";
    assert_eq!(status(&with("GET /api/v1/rules", foreign)), Some(403));
    let long = "Host: localhost\r\nContent-Length: 1000000000\r\n";
    assert_eq!(status(&with("POST /healthz", long)), Some(413));
    assert_eq!(status(&with("GET /check/%2e%2e%2fetc", "Host: localhost\r\n")), Some(404));
    assert_eq!(status("GET /healthz HTTP/1.0\r\n\r\n"), Some(200), "old clients send no Host");
    assert_eq!(status("nonsense\r\n\r\n"), Some(400));
}

#[test]
fn stops_in_order_when_it_is_told_to() {
    for signal in ["TERM", "INT"] {
        let mut server = Server::start("");
        let mut busy = server.client();
        let idle = server.client();
        assert_eq!(busy.ask("incr a 1\r\n"), "1");
        let asked = Instant::now();
        server.signal(signal);
        let status = server.wait();
        assert_eq!(status.code(), Some(0), "SIG{signal}");
        assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
        assert_eq!(busy.read_to_end(), b"");
        drop(idle);
        assert!(server.logged.iter().any(|line| line.ends_with("stopped")));
    }
}

#[test]
fn a_client_that_does_not_read_does_not_hold_up_the_end() {
    let mut server = Server::start("");
    let mut deaf = server.client();
    assert_eq!(
        deaf.ask(&format!("set big 0 0 1000000\r\n{}\r\n", "x".repeat(1_000_000))),
        "STORED"
    );
    // Its answers fill the socket's buffers, so the server waits for it to read.
    deaf.send("get big\r\n".repeat(100).as_bytes());
    let mut other = server.client();
    assert_eq!(other.ask("incr a 1\r\n"), "1", "others do not notice");
    let asked = Instant::now();
    server.signal("TERM");
    assert_eq!(server.wait().code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
}

#[test]
fn says_why_it_cannot_listen() {
    let server = Server::start("");
    let taken =
        format!("[server]\nlisten = [\"{}\"]\nhttp = [\"{}\"]\n", server.memcached, server.http);
    let config = server.dir().join("second.toml");
    std::fs::write(&config, taken).expect("it can be written");
    let output = tallyd(&["serve", "--config", &config.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    let expect =
        format!("cannot listen on {} for memcached: Address already in use", server.memcached);
    assert!(error.contains(&expect), "{error}");
    assert!(!error.contains("os error"), "{error}");
}

#[test]
fn only_tallyd_itself_can_be_made_to_log_more() {
    let log = [("TALLYD_LOG", "info,hyper=trace,hyper_util=trace")];
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start_in(dir, "", "", &log);
    server.wait_for_log("TALLYD_LOG is error, warn, info, debug or trace; it is taken as info");
    assert_eq!(server.get("/healthz").0, 200);
    server.signal("TERM");
    server.wait();
    let others: Vec<_> = server.logged.iter().filter(|line| line.contains("TRACE")).collect();
    assert!(others.is_empty(), "{others:?}");
}

#[test]
fn connections_are_bounded_and_idle_ones_end() {
    let mut server = Server::start_with("max_connections = 2\nidle_timeout = \"1s\"", "");
    let (mut first, mut second) = (server.client(), server.client());
    assert_eq!(first.ask("incr a 1\r\n"), "1");
    assert_eq!(second.ask("incr a 1\r\n"), "2");
    let mut third = server.client();
    assert_eq!(text(&third.read_to_end()), "ERROR Too many open connections\r\n");
    assert_eq!(first.read_to_end(), b"", "it was silent for a second");
    let mut fourth = eventually("room again", || {
        let mut client = server.client();
        client.try_send(b"incr a 1\r\n").then_some(())?;
        // Refused ones are answered with an error and closed.
        let line = client.line();
        (line == "3").then_some(client)
    });
    assert_eq!(fourth.ask("incr a 1\r\n"), "4");
    assert!(server.is_alive());
}

#[test]
fn six_mistakes_are_six_messages_with_their_lines() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("tallyd.toml");
    let mistakes = r#"[server]
max_conections = 10
listen = ["127.0.0.1"]

[[rule]]
name = "errors-high"
series = "errors"
measure = "sums"
window = "5"
critical = { above = 10, clear = 50 }
notify = ["onkall"]
"#;
    std::fs::write(&file, mistakes).expect("it can be written");
    let output = tallyd(&["config", "check", &file.to_string_lossy()]);
    assert_eq!(output.status.code(), Some(1));
    let printed = text(&output.stderr);
    for line in [2, 3, 8, 9, 10, 11] {
        assert!(printed.contains(&format!("tallyd.toml:{line}:")), "line {line}:\n{printed}");
    }
    assert_eq!(printed.matches("error: ").count(), 6, "{printed}");
    assert!(printed.contains("6 problems in"), "{printed}");
    let serve = tallyd(&["serve", "--config", &file.to_string_lossy()]);
    assert_eq!(serve.status.code(), Some(1), "it does not start on a file that is wrong");
    assert!(text(&serve.stderr).contains("6 problems in"));
}

#[test]
fn the_shipped_configuration_is_good() {
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/conf/tallyd.toml");
    let output = tallyd(&["config", "check", sample]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let missing = tallyd(&["config", "check", "/nowhere/tallyd.toml"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(text(&missing.stderr).contains("/nowhere/tallyd.toml"), "{}", text(&missing.stderr));
    let folder = tallyd(&["config", "check", "/"]);
    assert_eq!(folder.status.code(), Some(1));
    assert_eq!(
        text(&folder.stderr),
        "error: cannot read the configuration file /: Is a directory\n"
    );
}

#[test]
fn every_command_explains_itself_with_an_example() {
    for args in [
        &["--help"][..],
        &["serve", "--help"],
        &["check", "--help"],
        &["config", "--help"],
        &["config", "check", "--help"],
    ] {
        let output = tallyd(args);
        // A plugin that explains itself has checked nothing.
        let code = if args.first() == Some(&"check") { 3 } else { 0 };
        assert_eq!(output.status.code(), Some(code), "{args:?}");
        assert!(text(&output.stdout).contains("\nExample"), "{args:?}");
    }
    assert_eq!(tallyd(&["chekc"]).status.code(), Some(2));
}

#[test]
fn a_measure_is_checked_against_ranges_without_a_rule() {
    let server = Server::start("");
    assert_eq!(server.client().ask("incr errors;host=a 12\r\n"), "12");
    let url = format!("http://{}", server.http);
    let check = |words: &str| {
        let words = words.split(' ').chain(["--server", &url]);
        let words: Vec<_> = std::iter::once("check").chain(words).collect();
        let output = tallyd(&words);
        (output.status.code(), text(&output.stdout))
    };
    // Until the window is covered there is a lower bound, which is enough to be critical.
    let asked = "--series errors --measure sum --window 10s";
    let (code, line) = eventually("critical", || {
        Some(check(&format!("{asked} -w 5 -c ~:10"))).filter(|(code, _)| *code == Some(2))
    });
    assert!(
        line.starts_with("CRITICAL - errors: at least 12 in 10s, critical range ~:10 | "),
        "{line}"
    );
    assert!(line.ends_with("| 'errors'=12;5;~:10;0;\n"), "{line}");
    assert_eq!(check(&format!("{asked} -w 20:")).0, Some(3), "it may be 20 yet: {code:?}");
    let (code, line) = check(&format!("{asked} --by host=a -w 20"));
    assert_eq!(
        (code, &*line),
        (
            Some(3),
            "UNKNOWN - errors: at least 12 in 10s, tallyd was not running for part of the window | 'errors{host:a}'=12;20;;0;\n"
        )
    );
    assert_eq!(check("--series nothing.like.it -c 5:").0, Some(3));
    let (code, line) = check("--series errors --measure p99");
    assert!(code == Some(3) && line.starts_with("UNKNOWN - errors: "), "{line}");
    let (code, line) = check("--all -v");
    let expect = format!("UNKNOWN - all rules: there are none\nasked {url}/check\n");
    assert_eq!((code, line), (Some(3), expect));
    assert_eq!(server.get("/check?http_status=1").0, 500);
    assert_eq!(server.get("/check?by=host=a").0, 400);
    assert_eq!(server.get("/check/x?nonsense=1").0, 400);
    assert_eq!(tallyd(&["check", "-V"]).status.code(), Some(3));
}
