//! The cases in `tests/rules`: one for each sentence about rules, played by the binary as a user would.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/rules")
}

fn play(file: &Path) -> (Option<i32>, String) {
    let mut tallyd = Command::new(env!("CARGO_BIN_EXE_tallyd"));
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
