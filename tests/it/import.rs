//! `tallyd import` with the real binary: what it takes, what it leaves, and that it can be run again.

use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::{Server, binary, eventually, tallyd, text};

const MINUTE: i64 = 60;
const HOUR: i64 = 3600;

fn url(server: &Server) -> String {
    format!("http://{}", server.http)
}

fn import(server: &Server, file: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let file = file.to_str().expect("a path of ours");
    let output = tallyd(&[&["import", file, "--server", &url(server)], more].concat());
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// What can be imported: from when to when.
fn may(server: &Server) -> (i64, i64) {
    let (status, body) = server.get("/api/v1/import");
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let at = |name: &str| answer["data"][name].as_i64().expect("an instant");
    (at("from"), at("until"))
}

/// The sum over all windows that are a step long.
fn sum(server: &Server, series: &str, from: i64, to: i64, step: &str) -> f64 {
    let path =
        format!("/api/v1/measure?series={series}&measure=sum&from={from}&to={to}&step={step}");
    let (status, body) = server.get(&path);
    assert_eq!(status, 200, "{body}");
    let answer: Value = serde_json::from_str(&body).expect("JSON");
    let points = answer["data"][0]["points"].as_array().cloned().unwrap_or_default();
    points.iter().filter_map(|point| point[1].as_f64()).sum()
}

#[test]
fn history_of_elsewhere_is_asked_for_as_if_it_was_counted_here() {
    let server = Server::start("");
    assert_eq!(server.client().ask("incr orders;region=eu 5\r\n"), "5");
    let until = may(&server).1;
    let (mut csv, mut expect) = (String::from("time,series,value\n"), 0);
    for minute in 1..=1500 {
        // In no order, and each region with others' lines between.
        for (region, value) in [("us", minute % 7), ("eu", 2 * minute)] {
            let _ = writeln!(csv, "{},orders;region={region},{value}", until - minute * MINUTE);
            expect += value;
        }
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("orders.csv");
    std::fs::write(&file, &csv).expect("it can be written");
    let (code, out, error) = import(&server, &file, &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert_eq!(out, "3000 rows imported, of 2 series\n");
    let first = (until - 1500 * MINUTE).div_euclid(HOUR) * HOUR;
    #[expect(clippy::cast_precision_loss, reason = "it is small")]
    let expect = expect as f64;
    for step in ["1m", "1h"] {
        let asked = sum(&server, "orders", first, until, step);
        assert!((asked - expect).abs() < 1e-6, "{asked} by {step}, and not {expect}");
    }

    // All of it is known, as if tallyd had been up; of what was not imported nothing is.
    for (series, is_known) in [("orders", true), ("orders;region=us", true), ("*", false)] {
        if !is_known {
            assert_eq!(server.client().ask("incr other 1\r\n"), "1");
            eventually("the other", || {
                server.get("/metrics").1.contains("other_total").then_some(())
            });
        }
        let path =
            format!("/api/v1/measure?series={series}&measure=sum&from={first}&to={until}&step=1h");
        assert_eq!(!server.get(&path).1.contains("at_least"), is_known, "{series}");
    }

    // What is there is not doubled; from standard input, and after a kill.
    let mut server = server;
    server.kill();
    let server = server.again("", "");
    assert_eq!(server.client().ask("incr orders;region=eu 0\r\n"), "5", "it was not counted here");
    let mut child = Command::new(binary())
        .args(["import", "-", "--server", &url(&server)])
        .stdin(Stdio::from(std::fs::File::open(&file).expect("it is there")))
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = String::new();
    let stdout = child.stdout.as_mut().expect("it is piped");
    std::io::Read::read_to_string(stdout, &mut out).expect("it is text");
    assert!(child.wait().expect("it ends").success());
    assert_eq!(out, "0 rows imported, of 2 series\n3000 rows were there already\n");
    let asked = sum(&server, "orders", first, until, "1h");
    assert!((asked - expect).abs() < 1e-6, "{asked}, and not {expect}");

    // Other values stay out, unless they are to replace what is there.
    let other = format!("{},orders;region=us,1000\n{},orders;region=us,1\n", until - MINUTE, until);
    std::fs::write(&file, other).expect("it can be written");
    let (code, out, _) = import(&server, &file, &[]);
    assert_eq!(code, Some(1));
    assert!(out.contains("1 rows not imported: there are other windows then;"), "{out}");
    assert!(out.contains("1 rows not imported: some window of after "), "{out}");
    let (code, out, _) = import(&server, &file, &["--overwrite"]);
    assert_eq!(code, Some(1));
    assert!(out.contains("1 rows imported in the place of other windows"), "{out}");
    let asked = sum(&server, "orders", first, until, "1h");
    assert!((asked - expect - 999.0).abs() < 1e-6, "{asked}");
}

#[test]
fn what_is_wrong_is_told_and_nothing_imported() {
    let server = Server::start("[[metric]]\nmatch = \"*.ms\"\nkind = \"distribution\"\n");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rows.csv");
    let until = may(&server).1;
    let at = until - MINUTE;
    let good = format!("{at},good,5\n");
    for (rows, more, words) in [
        (
            format!("{good}{at},a,1.5\n{at},b\n"),
            &[][..],
            "nothing was imported: line 2: a counter's value is a whole number, zero or more; line 3: it has two fields, and should have three",
        ),
        (format!("{good}{at},a b,1\n"), &[], "line 2: its series has a blank"),
        (
            format!("{good}{at},{},1\n", "x".repeat(251)),
            &[],
            "line 2: its series has more than 250 bytes",
        ),
        (format!("{good}{}\n", "x".repeat(5000)), &[], "line 2: it is too long"),
        (format!("{good}{at},tallyd.x,1\n"), &[], "`tallyd.x` is a name of tallyd's own"),
        (
            format!("{good}{at},a.ms,1\n"),
            &[],
            "`a.ms` is a distribution here, and would be imported as a counter",
        ),
        (good.clone(), &["--step", "2d"], "`step` is whole seconds, 1s to 1d"),
        (good.clone(), &["--step", "fast"], "`step`: "),
    ] {
        std::fs::write(&file, &rows).expect("it can be written");
        let (code, _, error) = import(&server, &file, more);
        assert_eq!(code, Some(2), "{words}: {error}");
        assert!(error.starts_with("tallyd import: ") && error.contains(words), "{error}");
    }
    let (code, _, error) = import(&server, &dir.path().join("none"), &[]);
    assert_eq!(code, Some(2));
    assert!(error.contains("cannot read "), "{error}");
    assert!(!server.get("/api/v1/measure?series=good&measure=sum").1.contains("good"));

    std::fs::write(&file, format!("{at},a.ms,35\n{at},a.ms,45\n")).expect("it can be written");
    let (code, out, error) = import(&server, &file, &["--kind", "distribution"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    let path = format!("/api/v1/measure?series=a.ms&measure=max&from={at}&to={until}&step=1m");
    eventually("the value", || server.get(&path).1.contains(",45]").then_some(()));
    let long = "x".repeat(5 << 20);
    let answer = server.http_raw(&format!(
        "POST /api/v1/import HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        server.http,
        long.len()
    ));
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    let answer = server.http_raw(&format!(
        "POST /api/v1/import HTTP/1.1\r\nHost: {}\r\nOrigin: http://evil.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        server.http
    ));
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
}

/// A server that is killed while an import is on its way has some batches and not the others; run again, everything
/// is there once.
#[test]
fn an_import_whose_server_is_killed_is_run_again_and_everything_is_there_once() {
    const SERIES: i64 = 40;
    const MINUTES: i64 = 1500;
    let mut server = Server::start("");
    let until = may(&server).1;
    let first = (until - MINUTES * MINUTE).div_euclid(HOUR) * HOUR;
    // Long names, so that it takes several batches.
    let (mut csv, mut expect) = (String::new(), 0_u32);
    for (series, minute) in (0..SERIES).flat_map(|one| (1..=MINUTES).map(move |at| (one, at))) {
        let value = u32::try_from(minute % 7 + 1).expect("it is small");
        let _ = writeln!(csv, "{},killed.{series}.{:x<200},{value}", until - minute * MINUTE, "");
        expect += value;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("rows.csv");
    std::fs::write(&file, &csv).expect("it can be written");
    let mut command = Command::new(binary());
    command.arg("import").arg(&file).args(["--server", &url(&server)]);
    let import_of_before = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let some = |server: &Server, step: &str| sum(server, "killed.*", first, until, step);
    eventually("a batch is in", || (some(&server, "1h") > 0.0).then_some(()));
    server.kill();
    let output = import_of_before.and_then(std::process::Child::wait_with_output);
    let output = output.expect("it was begun");
    assert_eq!(output.status.code(), Some(3), "{output:?}");

    let server = server.again("", "");
    let expect = f64::from(expect);
    let before = some(&server, "1m");
    assert!(before > 0.0 && before < expect, "{before} of {expect}");
    let (code, out, error) = import(&server, &file, &[]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert!(out.contains("rows were there already"), "{out}");
    for step in ["1m", "1h"] {
        let asked = some(&server, step);
        assert!((asked - expect).abs() < 1e-6, "{asked} by {step}, and not {expect}");
    }
}

#[test]
fn what_a_query_printed_lies_where_it_lay() {
    let server = Server::start("");
    let (until, dir) = (may(&server).1, tempfile::tempdir().expect("a directory"));
    let file = dir.path().join("plain.csv");
    let rows = (1..=10).map(|minute| format!("{},plain,{}\n", until - minute * MINUTE, minute * 7));
    std::fs::write(&file, rows.collect::<String>()).expect("it can be written");
    assert_eq!(import(&server, &file, &[]).0, Some(0));
    let (from, to) = ((until - 10 * MINUTE).to_string(), until.to_string());
    let query = |series: &str| {
        let range = ["--from", &from, "--to", &to, "--step", "1m", "--window", "1m"];
        let more = ["--measure", "sum", "--format", "csv", "--server", &url(&server)];
        let output = tallyd(&[&["query", series][..], &range, &more].concat());
        (output.status.code(), text(&output.stdout))
    };
    let before = query("plain");
    assert_eq!((before.0, before.1.lines().count()), (Some(0), 11), "{}", before.1);
    std::fs::write(&file, &before.1).expect("it can be written");
    let (code, out, error) = import(&server, &file, &["--overwrite"]);
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert_eq!(query("plain"), before);

    // Several series together have no name.
    std::fs::write(&file, query("plai*").1).expect("it can be written");
    let (code, _, error) = import(&server, &file, &[]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("is a pattern, and not a name"), "{error}");
}
