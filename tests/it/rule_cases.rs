//! The cases in `tests/rules`: one for each sentence about rules, played by the binary as a user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Server, binary, eventually, text};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

fn play(file: &Path) -> (Option<i32>, String) {
    let mut tallyd = Command::new(binary());
    let Output { status, stdout, stderr } =
        tallyd.args(["rules", "test"]).arg(file).output().expect("it runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it is text");
    (status.code(), text(stdout) + &text(stderr))
}

fn check(file: &str) {
    let (code, said) = play(&folder().join(file));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn measures() {
    check("measures.toml");
}

#[test]
fn thresholds() {
    check("thresholds.toml");
}

#[test]
fn missing_and_unjudged() {
    check("unknown.toml");
}

#[test]
fn schedules() {
    check("schedules.toml");
}

#[test]
fn telling() {
    check("telling.toml");
}

/// Runs a case with one word of it changed.
fn changed(from: &str, to: &str) -> (Option<i32>, String) {
    let text = std::fs::read_to_string(folder().join("thresholds.toml")).expect("it is there");
    assert!(text.contains(from), "{from}");
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("cases.toml");
    std::fs::write(&file, text.replacen(from, to, 1)).expect("it can be written");
    let (code, said) = play(&file);
    (code, said.replace(&*dir.path().to_string_lossy(), "DIR"))
}

#[test]
fn a_case_that_does_not_hold_is_told_with_what_was() {
    let (code, said) = changed(
        "{ at = \"1m\", rule = \"above\", state = \"ok\" }",
        "{ at = \"1m\", rule = \"above\", state = \"critical\" }",
    );
    assert_eq!(code, Some(1), "{said}");
    let line = "      DIR/cases.toml:7: above at 1m (2026-01-05T00:01:00Z): expected critical, was ok (value 10)\n";
    assert!(said.contains(line), "{said}");
    assert!(said.contains(", 1 failed\n"), "{said}");
    let (code, said) = changed("notified = [\"oncall\"]", "notified = []");
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("expected nobody to be notified, was oncall"), "{said}");
}

#[test]
fn a_file_that_is_wrong_is_told_apart() {
    let (code, said) = changed("above = 10 }", "above = 10, clear = 20 }");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("wrong side"), "{said}");
    let (code, said) = play(Path::new("no-such-file.toml"));
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("there is no file no-such-file.toml"), "{said}");
}

#[test]
fn rules_are_played_over_the_history_of_a_running_server() {
    let server = Server::start(
        "[[rule]]\nname = \"high\"\nseries = \"errors\"\nmeasure = \"sum\"\nwindow = \"10s\"\n\
         critical = { above = 3 }\n",
    );
    let ask = |arguments: &[&str]| {
        let mut tallyd = Command::new(binary());
        tallyd
            .args(["rules", "backtest"])
            .args(arguments)
            .env("TALLYD_SERVER", format!("http://{}", server.http));
        let Output { status, stdout, stderr } = tallyd.output().expect("it runs");
        (status.code(), text(&stdout) + &text(&stderr))
    };
    assert_eq!(server.client().ask("incr errors 5\r\n"), "5");
    let said = eventually("it has fired", || {
        let (code, said) = ask(&["high", "--from", "-1h"]);
        assert_eq!(code, Some(0), "{said}");
        said.starts_with("high: would have fired once; ").then_some(said)
    });
    assert!(said.contains("\n  played 1h at 1s (") && said.contains(", worst 5\n"), "{said}");
    let (code, said) = ask(&["--from", "-1h", "--format", "json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("\"rule\":\"high\"") && said.contains("\"level\":\"critical\""),
        "{said}"
    );
    assert_eq!(ask(&["hihg", "--from", "-1h"]).0, Some(1));
    assert_eq!(ask(&["--from", "yesterday"]).0, Some(2));
    assert_eq!(ask(&["--from", "-1h", "--server", "http://127.0.0.1:9"]).0, Some(3));

    let file = server.dir().join("new.toml");
    let rule = "[server]\ndata_dir = \"x\"\n[[contact]]\nname = \"lead\"\nwebhook = \"http://127.0.0.1:9/\"\n\
                [[rule]]\nname = \"calm\"\nseries = \"errors\"\nmeasure = \"sum\"\n\
                critical = { above = 30 }\nnotify = [\"lead\"]\n";
    std::fs::write(&file, rule).expect("it can be written");
    let path = file.to_string_lossy();
    let (code, said) = ask(&["--from", "-1h", "--config", &path]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.starts_with("calm: would not have fired; 0.0 messages a week\n"), "{said}");
    std::fs::write(&file, rule.replace("above", "abvoe")).expect("it can be written");
    let (code, said) = ask(&["--from", "-1h", "--config", &path]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("abvoe"), "{said}");
}

#[test]
fn rules_of_a_running_server_are_listed_and_shown() {
    let server = Server::start(
        "[[rule]]\nname = \"high\"\nseries = \"errors\"\nby = [\"host\"]\nmeasure = \"sum\"\nwindow = \"1h\"\n\
         critical = { above = 3 }\nsummary = \"Too many\"\n",
    );
    let ask = |arguments: &[&str]| {
        let mut tallyd = Command::new(binary());
        tallyd
            .args(["rules"])
            .args(arguments)
            .env("TALLYD_SERVER", format!("http://{}", server.http));
        let Output { status, stdout, stderr } = tallyd.output().expect("it runs");
        (status.code(), text(&stdout) + &text(&stderr))
    };
    let (code, said) = ask(&["list"]);
    assert_eq!(
        (code, said.lines().nth(1)),
        (Some(0), Some("high  ok                0  no series matches errors")),
        "{said}"
    );
    assert_eq!(server.client().ask("incr errors;host=a 5\r\n"), "5");
    assert_eq!(server.client().ask("incr errors;host=b 1\r\n"), "1");
    let said = eventually("critical", || {
        let (_, said) = ask(&["list"]);
        said.contains("critical").then_some(said)
    });
    let line = said.lines().nth(1).expect("a rule");
    assert!(line.starts_with("high  critical     1 of 2  at least 5 in 1h"), "{said}");
    let (code, said) = ask(&["show", "high"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.starts_with("high: critical\n  measures  sum(errors) over 1h: critical above 3\n"),
        "{said}"
    );
    assert!(said.contains("\n  high{host=b}: ok since "), "{said}");
    assert_eq!(ask(&["show", "hihg"]).0, Some(1));
}

#[test]
fn a_rule_that_watches_nothing_is_warned_of() {
    let rule = |series: &str| {
        format!(
            "[[rule]]\nname = \"high\"\nseries = \"{series}\"\nmeasure = \"sum\"\n\
             critical = {{ above = 3 }}\nnotify = []\n"
        )
    };
    let server = Server::start(&rule("errors"));
    let (file, here) = (server.dir().join("check.toml"), format!("http://{}", server.http));
    let check = |series: &str, server: &str| {
        std::fs::write(&file, rule(series)).expect("it can be written");
        let mut tallyd = Command::new(binary());
        tallyd.args(["config", "check", "--server", server]).arg(&file);
        let Output { status, stdout, stderr } = tallyd.output().expect("it runs");
        assert_eq!(status.code(), Some(0), "it is no problem");
        assert!(text(&stdout).ends_with("check.toml: good, 1 rules, 0 contacts\n"));
        text(&stderr)
    };
    let said = check("erorrs", &here);
    assert!(said.starts_with("note: ") && said.contains("knows no series yet"), "{said}");
    assert_eq!(server.client().ask("incr errors 1\r\n"), "1");
    let said = eventually("it is known", || {
        Some(check("erorrs", &here)).filter(|said| said.contains("no series matches `erorrs`"))
    });
    assert!(said.contains("check.toml:3:10") && said.contains("did you mean `errors`?"), "{said}");
    assert_eq!(check("errors", &here), "");
    let said = check("errors", "http://127.0.0.1:9");
    assert!(said.starts_with("note: ") && said.contains("cannot be reached"), "{said}");
}

#[test]
fn what_tallyd_knows_of_itself_can_be_watched() {
    let server = Server::start(
        "[[rule]]\nname = \"disk\"\nseries = \"tallyd.disk_free\"\nmeasure = \"last\"\n\
         critical = { below = 1e18 }\nnotify = []\n",
    );
    let line = eventually("it is low", || {
        Some(server.check("disk")).filter(|(code, _)| *code == Some(2)).map(|(_, line)| line)
    });
    assert!(line.starts_with("CRITICAL - disk: "), "{line}");
    let mut client = server.client();
    assert!(client.ask("set tallyd.disk_free 0 0 1\r\n1\r\n").starts_with("CLIENT_ERROR"));
    assert!(client.ask("incr tallyd.window_gaps 1\r\n").starts_with("CLIENT_ERROR"));
    let metrics = server.get("/metrics").1;
    let of = |name: &str| metrics.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!([of("tallyd_incidents_open "), of("tallyd_disk_free ")], [1, 1], "{metrics}");
    assert!(metrics.contains("\ntallyd_series 0\n"), "they are not the clients': {metrics}");
}
