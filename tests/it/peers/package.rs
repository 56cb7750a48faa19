//! The Debian package and the unit for systemd: `conf/debian/build`, `conf/tallyd.service`, `tests/peers/package.sh`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::text;

const README: &str = include_str!("../../../README.md");

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn package() -> PathBuf {
    let package = std::env::var_os("TALLYD_TEST_DEB");
    package.expect("TALLYD_TEST_DEB names the package; `tests/run` sets it").into()
}

#[test]
#[ignore = "needs systemd-analyze; run tests/run"]
fn the_unit_leaves_little_open() {
    let output = Command::new("systemd-analyze")
        .args(["security", "--offline=true", "--threshold=19", "--no-pager"])
        .arg(root().join("conf/tallyd.service"))
        .output()
        .expect("systemd-analyze runs");
    let said = text(&output.stdout);
    assert!(said.contains("Overall exposure level for tallyd.service"), "{said}");
    assert!(output.status.success(), "its exposure is 2.0 or more:\n{said}");
}

#[test]
#[ignore = "needs lintian, and the package; run tests/run"]
fn lintian_finds_no_error_in_the_package() {
    let output = Command::new("lintian")
        .args(["--allow-root", "--fail-on", "error"])
        .arg(package())
        .output()
        .expect("lintian runs");
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && !said.contains("E: "), "{said}");
}

/// The same package with a higher version.
fn newer(package: &Path, dir: &Path) -> PathBuf {
    let (files, newer) = (dir.join("files"), dir.join("second.deb"));
    let dpkg_deb = |args: &[&std::ffi::OsStr]| {
        let done = Command::new("dpkg-deb").args(args).stdout(Stdio::null()).status();
        assert!(done.expect("dpkg-deb runs").success(), "{args:?}");
    };
    dpkg_deb(&["-R".as_ref(), package.as_ref(), files.as_ref()]);
    let control = files.join("DEBIAN/control");
    let old = std::fs::read_to_string(&control).expect("it is there");
    let line = old.lines().find(|line| line.starts_with("Version: ")).expect("it has one");
    let new = old.replacen(line, &format!("{line}.1"), 1);
    std::fs::write(&control, new).expect("it can be written");
    dpkg_deb(&["-Zgzip".as_ref(), "-z1".as_ref(), "-b".as_ref(), files.as_ref(), newer.as_ref()]);
    std::fs::remove_dir_all(files).expect("it can be removed");
    newer
}

/// Runs a script on a machine with systemd, which finds this directory as /run/package; what it says has to end well.
fn on_a_machine(dir: &Path, script: &str) {
    let status = Command::new("timeout")
        .args(["--signal=KILL", "600", "unshare", "--mount", "--net", "--pid", "--fork"])
        .args(["--kill-child", "--mount-proc", "--cgroup", "--uts", "--ipc", "bash"])
        .arg(root().join("tests/peers/machine.sh"))
        .arg(dir)
        .arg(root().join("tests/peers").join(script))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("unshare runs");
    let said = std::fs::read(dir.join("output")).unwrap_or_default();
    let said = text(&said);
    assert!(status.success() && said.ends_with("ALL WELL\n"), "{status}:\n{said}");
}

#[test]
#[ignore = "needs the package, and root that may boot systemd in namespaces; run tests/run"]
fn it_is_installed_reloaded_hung_upgraded_and_purged_under_systemd() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(package(), dir.path().join("first.deb")).expect("it can be copied");
    newer(&package(), dir.path());
    on_a_machine(dir.path(), "package.sh");
}

/// The chapter of README, to the next one.
fn hour() -> &'static str {
    let chapter = README.split_once("### From an empty machine to a page on the phone\n");
    let rest = chapter.expect("the chapter").1;
    rest.split_once("\n### ").expect("another one follows").0
}

#[test]
#[ignore = "needs the package, those of Nagios, Prometheus, and root that may boot systemd in namespaces; run tests/run"]
fn an_operators_hour_goes_word_by_word_under_systemd() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::copy(package(), dir.path().join("first.deb")).expect("it can be copied");
    let blocks: Vec<_> = hour().split("\n```sh\n").skip(1).collect();
    assert_eq!(blocks.len(), 6);
    let (steps, debs) = (dir.path().join("hour"), dir.path().join("debs"));
    for made in [&steps, &debs] {
        std::fs::create_dir(made).expect("it can be made");
    }
    for (at, block) in (1..).zip(blocks) {
        let (commands, _) = block.split_once("```").expect("it ends");
        let first = commands.split_whitespace().nth(1).unwrap_or_default();
        let name = format!("{at}-{}", first.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
        std::fs::write(steps.join(name), commands).expect("it can be written");
    }
    let nagios = std::env::var_os("TALLYD_TEST_HOUR");
    let nagios =
        nagios.expect("TALLYD_TEST_HOUR names the packages of Nagios; `tests/run` sets it");
    for package in std::fs::read_dir(nagios).expect("packages").flatten() {
        std::fs::copy(package.path(), debs.join(package.file_name())).expect("it can be copied");
    }
    on_a_machine(dir.path(), "hour.sh");
}
