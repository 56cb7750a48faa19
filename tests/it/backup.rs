//! Backup and restore with the real binary: while clients count, and from there on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;

use crate::harness::{PATIENCE, Server, eventually, tallyd, tallyd_in, text};

fn url(server: &Server) -> String {
    format!("http://{}", server.http)
}

fn backup(server: &Server, dir: &Path) -> (Option<i32>, String, String) {
    let dir = dir.to_str().expect("a path of ours");
    let output = tallyd(&["backup", dir, "--server", &url(server)]);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn restore(backup: &Path, data: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let path = |path: &Path| path.to_str().expect("a path of ours").to_owned();
    let (backup, data) = (path(backup), path(data));
    let output = tallyd(&[&["restore", &backup, "--data", &data], more].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The points of the one line that is asked for.
fn points(server: &Server, path: &str) -> Vec<(i64, Option<f64>)> {
    let (status, body) = server.get(path);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let points = answer["data"][0]["points"].as_array().cloned().unwrap_or_default();
    points.iter().map(|point| (point[0].as_i64().expect("a time"), point[1].as_f64())).collect()
}

/// What windows hold of a series up to an instant, second by second.
fn history(server: &Server, series: &str, at: i64) -> Vec<(i64, f64)> {
    let path = format!("/api/v1/measure?series={series}&measure=sum&from=-1h&to={at}&step=1s");
    let points = points(server, &path).into_iter();
    points.filter_map(|(at, value)| Some((at, value.filter(|value| *value > 0.0)?))).collect()
}

/// Counts until it is told to stop.
fn count(address: SocketAddr, stop: &AtomicBool) {
    let mut stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let batch = "incr orders;region=eu 1\r\nincr clicks 3\r\nincr clicks 1\r\n".repeat(10);
    let mut answers = [0; 4096];
    while !stop.load(Ordering::Relaxed) {
        stream.write_all(batch.as_bytes()).expect("the server reads");
        let mut lines = 0;
        while lines < 30 {
            let read = stream.read(&mut answers).expect("the server answers");
            lines += text(&answers[..read]).matches('\n').count();
        }
    }
}

#[test]
fn a_backup_under_load_is_of_one_instant() {
    let rest = "[[metric]]\nmatch = \"*.ms\"\nkind = \"distribution\"\n";
    let server = Server::start(rest);
    let mut client = server.client();
    for (request, answer) in [
        ("set queue.len 0 0 2\r\n17\r\n", "STORED"),
        ("set note 5 0 5\r\nhello\r\n", "STORED"),
        ("set web.ms 0 0 2\r\n35\r\n", "STORED"),
        ("incr reset 9\r\n", "9"),
        ("set reset 0 0 1\r\n2\r\n", "STORED"),
    ] {
        assert_eq!(client.ask(request), answer, "{request}");
    }
    let dir = tempfile::tempdir().expect("a directory");
    let (backups, stop) = (dir.path().join("backups"), AtomicBool::new(false));
    std::fs::create_dir(&backups).expect("it can be made");
    let kept: Vec<PathBuf> = std::thread::scope(|scope| {
        let address = server.memcached;
        scope.spawn({
            let stop = &stop;
            move || count(address, stop)
        });
        let kept = (0..3).map(|at| {
            std::thread::sleep(Duration::from_millis(1300));
            let to = backups.join(at.to_string());
            let (code, out, error) = backup(&server, &to);
            assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
            to
        });
        let kept = kept.collect();
        stop.store(true, Ordering::Relaxed);
        kept
    });
    for (at, from) in kept.iter().enumerate() {
        let list = std::fs::read_to_string(from.join("backup.json")).expect("a list");
        let list: Value = serde_json::from_str(&list).expect("JSON");
        let instant = list["at"].as_i64().expect("an instant");
        let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o777;
        assert_eq!((mode(from), mode(&from.join("000000.part"))), (0o700, 0o600));

        let other = tempfile::tempdir().expect("a directory");
        let (code, out, error) = restore(from, &other.path().join("data"), &[]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
        let mut again = Server::start_in(other, "", rest, &[]);
        for series in ["orders", "clicks", "web.ms"] {
            let before = history(&server, series, instant);
            let after = history(&again, series, instant + 1000);
            assert!(series != "orders" || before.len() > at, "{before:?}");
            assert_eq!(after, before, "{series} in backup {at}");
        }
        let mut client = again.client();
        for (series, key) in [("orders", "orders;region=eu"), ("clicks", "clicks")] {
            let sum: f64 = history(&again, series, instant).iter().map(|(_, sum)| sum).sum();
            assert_eq!(client.ask(&format!("incr {key} 0\r\n")), sum.to_string(), "{series}");
        }
        client.send(b"get queue.len note reset web.ms\r\n");
        let lines: Vec<_> = (0..9).map(|_| client.line()).collect();
        let expect =
            ["VALUE queue.len 0 2", "17", "VALUE note 5 5", "hello", "VALUE reset 0 1", "2"];
        assert_eq!(lines[..6], expect);
        assert_eq!(lines[6..], ["VALUE web.ms 0 1", "1", "END"]);
        let bad =
            again.logged.iter().find(|line| line.contains("ERROR") || line.contains("missing"));
        assert_eq!(bad, None);
        again.kill();
    }
}

#[test]
fn a_backup_that_is_not_whole_or_in_the_way_is_refused() {
    let mut server = Server::start("");
    assert_eq!(server.client().ask("incr orders 5\r\n"), "5");
    let dir = tempfile::tempdir().expect("a directory");
    let (from, data) = (dir.path().join("backup"), dir.path().join("data"));
    eventually("a window", || {
        (history(&server, "orders", i64::MAX / 2000).len() == 1).then_some(())
    });
    assert_eq!(backup(&server, &from).0, Some(0));
    let (code, _, error) = backup(&server, &from);
    assert_eq!(code, Some(1));
    assert!(error.contains("is there already; a backup overwrites nothing"), "{error}");

    // Whatever is wrong with it, nothing is touched.
    let part = from.join("000000.part");
    let list = from.join("backup.json");
    let whole = (std::fs::read(&part).expect("a part"), std::fs::read(&list).expect("a list"));
    let newer = text(&whole.1).replace("\"format\": 1", "\"format\": 2");
    let mut flipped = whole.0.clone();
    flipped[whole.0.len() / 2] ^= 1;
    for (path, bytes, words) in [
        (&part, Some(&flipped[..]), "000000.part is damaged: its checksum does not hold"),
        (&part, Some(&whole.0[..100]), "000000.part is damaged: it is not as long as it was"),
        (&part, None, "cannot read "),
        (&list, Some(&whole.1[..50]), "backup.json is not as tallyd makes it"),
        (&list, Some(newer.as_bytes()), "a newer tallyd made it (format 2, this one knows 1)"),
        (&list, None, "is no backup, or not all of one: it has no backup.json"),
    ] {
        match bytes {
            Some(bytes) => std::fs::write(path, bytes).expect("it can be garbled"),
            None => std::fs::remove_file(path).expect("it can be removed"),
        }
        let (code, _, error) = restore(&from, &data, &["--force"]);
        assert_eq!(code, Some(1), "{words}");
        assert!(error.starts_with("tallyd restore: ") && error.contains(words), "{error}");
        assert!(!data.exists(), "{words}");
        std::fs::write(&part, &whole.0).expect("it can be mended");
        std::fs::write(&list, &whole.1).expect("it can be mended");
    }

    // Where a server works, and where there is something.
    let theirs = server.dir().join("data");
    let (_, _, error) = restore(&from, &theirs, &[]);
    assert!(error.contains("is not empty; with --force it gets another name"), "{error}");
    let (code, _, error) = restore(&from, &theirs, &["--force"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("another tallyd works on"), "{error}");
    assert_eq!(server.client().ask("incr orders 1\r\n"), "6");
    server.kill();
    let output = tallyd_in(server.dir(), &["restore", from.to_str().expect("ours"), "--force"]);
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{error}");
    assert!(out.contains("; what was there is in data.before-"), "{out}");
    let server = server.again("", "");
    assert_eq!(server.client().ask("incr orders 0\r\n"), "5");
}

#[test]
fn one_backup_at_a_time_and_none_for_who_does_not_read() {
    let server = Server::start("");
    let mut client = server.client();
    let value = "x".repeat(1 << 20);
    for at in 0..40 {
        client.send(format!("set big{at} 0 0 {}\r\n{value}\r\n", value.len()).as_bytes());
        assert_eq!(client.line(), "STORED");
    }
    // More than sockets hold, and nobody reads it.
    let mut idle = TcpStream::connect(server.http).expect("the server accepts");
    let request = format!("GET /api/v1/backup HTTP/1.1\r\nHost: {}\r\n\r\n", server.http);
    idle.write_all(request.as_bytes()).expect("the server reads");
    let mut first = [0; 15];
    idle.read_exact(&mut first).expect("an answer");
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let (status, body) = server.get("/api/v1/backup");
    assert_eq!(status, 409, "{body}");
    assert!(body.contains("another backup is being made"), "{body}");
    assert_eq!(client.ask("incr orders 5\r\n"), "5", "counting goes on");
    drop(idle);
    let dir = tempfile::tempdir().expect("a directory");
    eventually("the first one's end", || {
        (backup(&server, &dir.path().join("second")).0 == Some(0)).then_some(())
    });
    let (code, _, error) = {
        let output = tallyd(&["backup", "nowhere", "--server", "http://127.0.0.1:1"]);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(code, Some(3), "{error}");
    assert!(!Path::new("nowhere").exists() && !Path::new("nowhere.tmp").exists());
}
