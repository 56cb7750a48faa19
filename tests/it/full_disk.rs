//! A file system that is really full: counting goes on, nothing that was acknowledged is lost but what
//! `tallyd_unsaved_keys` says, and the way back is found without a restart.
//!
//! The file systems are small ones of this test alone, in memory and in a file, so it needs root.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::harness::{Server, eventually, tallyd_in, text};
use crate::peers::webhook::Receiver;

/// A small file system that goes when the test does.
struct Mount {
    at: tempfile::TempDir,
}

impl Mount {
    /// In memory.
    fn tmpfs(bytes: usize) -> Self {
        let at = tempfile::tempdir().expect("a directory");
        must(
            Command::new("mount")
                .args(["-t", "tmpfs", "-o", &format!("size={bytes}")])
                .arg("tmpfs")
                .arg(at.path()),
        );
        Self { at }
    }

    /// On a device in the file `image`.
    fn ext4(image: &Path, bytes: u64) -> Self {
        let at = tempfile::tempdir().expect("a directory");
        File::create(image).and_then(|file| file.set_len(bytes)).expect("there is room for it");
        must(Command::new("mkfs.ext4").args(["-q", "-m", "0"]).arg(image));
        must(Command::new("mount").args(["-o", "loop"]).arg(image).arg(at.path()));
        Self { at }
    }

    fn data(&self) -> PathBuf {
        self.at.path().join("data")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut filler = File::create(self.filler()).expect("a file takes no room");
        for size in [1 << 16, 1] {
            let block = vec![b'.'; size];
            while filler.write(&block).is_ok() {}
        }
    }

    fn free(&self) {
        std::fs::remove_file(self.filler()).expect("it is there");
        // ext4 has the blocks of a file that was removed again when it has written so to its journal.
        let at = File::open(self.at.path()).expect("it is mounted");
        rustix::fs::syncfs(&at).expect("there is room for that");
    }

    fn filler(&self) -> PathBuf {
        self.at.path().join("filler")
    }

    /// The `[server]` line of one who keeps his data here.
    fn server(&self) -> String {
        format!("data_dir = \"{}\"\n", self.data().display())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Detached at once, also where a server of a test that failed still holds it.
        let _ = Command::new("umount").arg("-l").arg(self.at.path()).status();
    }
}

fn must(command: &mut Command) {
    let output = command.output().expect("it is installed");
    assert!(output.status.success(), "{command:?}: {}", text(&output.stderr));
}

const SYNC: &str = "[counters]\nsync = \"1s\"\n";

/// With history kept as often, and something to alert on.
const GOES_ON: &str = "
[counters]
sync = '1s'

[store]
sync = '1s'

[[rule]]
name = 'alarms'
series = 'alarm'
measure = 'sum'
window = '1m'
critical = { above = 5 }
notify = []

[[rule]]
name = 'in-windows'
series = 'known'
measure = 'sum'
window = '1h'
warning = { above = 0 }
notify = []
";

/// What goes wrong where, while the disk is full, and that it is over.
const FAILING: [&str; 3] = [
    "what was counted is not brought to the disk; counting goes on",
    "windows wait for the tick log; counting and alerting go on",
    "history is not kept; counting and alerting go on",
];
const AGAIN: [&str; 3] = [
    "what was counted is on the disk again",
    "windows are in the tick log again",
    "history is kept again",
];

/// Keys that come while the disk is full; some of them find room in the last block of the log.
const NEW_KEYS: u64 = 2000;

fn figure(server: &Server, name: &str) -> u64 {
    let (_, body) = server.get("/metrics");
    let line = body.lines().find_map(|line| line.strip_prefix(&format!("{name} ")));
    line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {body}"))
}

/// What a rule sees in the windows.
fn judged(server: &Server, rule: &str) -> (String, serde_json::Value) {
    let (_, body) = server.get("/api/v1/rules");
    let answer: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    let rules = answer["data"]["groups"][0]["rules"].as_array().expect("a list");
    let rule = rules.iter().find(|one| one["name"] == rule).expect("it is there");
    (rule["level"].as_str().expect("a word").to_owned(), rule["instances"][0]["value"].clone())
}

fn all_in_the_log(server: &mut Server, lines: [&str; 3]) {
    for line in lines {
        server.wait_for_log(line);
    }
}

fn goes_on(mount: &Mount) {
    let mut server = Server::start_with(&mount.server(), GOES_ON);
    let mut client = server.client();
    assert_eq!(client.ask("incr known 40\r\n"), "40");
    assert_eq!(client.ask("incr alarm 1\r\n"), "1");
    eventually("the window is closed", || (judged(&server, "in-windows").1 == 40.0).then_some(()));
    assert_eq!(client.ask("set gauge 0 0 3\r\n2.5\r\n"), "STORED");
    assert_eq!(client.ask("set item 0 0 5\r\nhello\r\n"), "STORED");
    mount.fill();

    assert_eq!(client.ask("incr known 2\r\n"), "42");
    assert_eq!(client.ask("set gauge 0 0 3\r\n3.5\r\n"), "STORED");
    for number in 0..NEW_KEYS {
        assert_eq!(client.ask(&format!("incr new.{number} 7\r\n")), "7");
    }
    let big = format!("set big 0 0 20000\r\n{}\r\n", "x".repeat(20_000));
    assert_eq!(client.ask(&big), "SERVER_ERROR out of memory storing object");
    client.send(b"get item known\r\n");
    let answer: Vec<_> = (0..5).map(|_| client.line()).collect();
    assert_eq!(answer, ["VALUE item 0 5", "hello", "VALUE known 0 2", "42", "END"]);
    all_in_the_log(&mut server, FAILING);
    eventually("rows wait for the log", || {
        (figure(&server, "tallyd_tick_log_waiting") > 0).then_some(())
    });
    assert_eq!(judged(&server, "alarms").0, "ok");
    assert_eq!(client.ask("incr alarm 5\r\n"), "6");
    eventually("the alert fires", || (judged(&server, "alarms").0 == "critical").then_some(()));
    assert_eq!(judged(&server, "in-windows").1, 42.0);
    let unsaved = figure(&server, "tallyd_unsaved_keys");
    assert!((1..=NEW_KEYS).contains(&unsaved), "{unsaved}");
    assert!(server.is_alive());

    // An end at this moment costs what the figure said, and a start finds its way on a full disk.
    server.kill();
    let mut server = server.again(&mount.server(), GOES_ON);
    let mut client = server.client();
    assert_eq!(client.ask("incr known 0\r\n"), "42");
    let mut lost = 0;
    for number in 0..NEW_KEYS {
        match client.ask(&format!("incr new.{number} 1\r\n")).as_str() {
            "8" => {}
            "1" => lost += 1,
            other => panic!("{other}"),
        }
    }
    assert_eq!(lost, unsaved, "neither more nor fewer than it said");

    all_in_the_log(&mut server, FAILING);
    mount.free();
    all_in_the_log(&mut server, AGAIN);
    eventually("every key is saved", || {
        (figure(&server, "tallyd_unsaved_keys") == 0).then_some(())
    });
    eventually("no row waits", || (figure(&server, "tallyd_tick_log_waiting") == 0).then_some(()));
    assert_eq!(figure(&server, "tallyd_tick_log_dropped_total"), 0);
    for line in FAILING {
        let told = server.logged.iter().filter(|logged| logged.contains(line)).count();
        assert_eq!(told, 1, "{line}:\n{}", server.logged.join("\n"));
    }
    assert_eq!(client.ask(&big), "STORED");
    assert_eq!(client.ask("incr known 1\r\n"), "43");
    server.kill();
    let server = server.again(&mount.server(), GOES_ON);
    // Every increment is in one window, through two ends of the server and a disk that took nothing.
    eventually("all of it is judged", || (judged(&server, "in-windows").1 == 43.0).then_some(()));
    let mut client = server.client();
    let mut total = 0;
    for number in 0..NEW_KEYS {
        let shown: u64 = client.ask(&format!("incr new.{number} 0\r\n")).parse().expect("a number");
        assert!([1, 8].contains(&shown), "new.{number}: {shown}");
        total += shown;
    }
    assert_eq!(total, NEW_KEYS + 7 * (NEW_KEYS - lost));
    client.send(b"get item gauge\r\n");
    let answer: Vec<_> = (0..5).map(|_| client.line()).collect();
    assert_eq!(answer, ["VALUE item 0 5", "hello", "VALUE gauge 0 3", "3.5", "END"]);
}

/// A segment of cells that finds no room: what comes then is counted together, and each gets a place of
/// its own once there is room.
fn overflows(mount: &Mount) {
    let mut server = Server::start_with(&mount.server(), SYNC);
    mount.fill();
    let mut client = server.client();
    let keys = 66_000;
    for number in 0..keys {
        client.send(format!("incr k{number} 1 noreply\r\n").as_bytes());
    }
    client.ask("version\r\n");
    assert!(server.is_alive());
    let overflowed = figure(&server, "tallyd_overflowed_increments_total");
    assert!((1..=keys).contains(&overflowed), "{overflowed}");
    server.wait_for_log("what was counted is not brought to the disk");
    mount.free();
    server.wait_for_log("what was counted is on the disk again");
    assert_eq!(client.ask(&format!("incr k{} 1\r\n", keys - 1)), "1");
    assert_eq!(client.ask("incr k0 1\r\n"), "2");
    server.kill();
    let server = server.again(&mount.server(), SYNC);
    assert_eq!(server.client().ask("incr k0 1\r\n"), "3");
    assert_eq!(server.client().ask(&format!("incr k{} 1\r\n", keys - 1)), "2");
}

/// On-call is told without any rule: that little is left, that nothing can be written, and that both are over.
fn tells(mount: &Mount) {
    let receiver = Receiver::start();
    let oncall = format!("[[contact]]\nname = 'oncall'\nwebhook = 'http://{}/'", receiver.address);
    let rest = format!("{GOES_ON}\n{oncall}\n[notify]\ndefault = ['oncall']\n");
    let mut server = Server::start_with(&mount.server(), &rest);
    let told = |name: &str, status: &str| {
        eventually(&format!("{name} is {status}"), || {
            let alerts = receiver.posts().into_iter().map(|post| post.body["alerts"][0].clone());
            alerts
                .into_iter()
                .find(|one| one["labels"]["alertname"] == name && one["status"] == status)
        })
    };
    std::thread::sleep(std::time::Duration::from_secs(7));
    assert!(receiver.posts().is_empty(), "nothing is wrong");
    mount.fill();
    assert_eq!(told("tallyd-disk", "firing")["labels"]["severity"], "warning");
    // What had room before has some left for a moment.
    let mut client = server.client();
    for number in 0..NEW_KEYS {
        client.ask(&format!("incr new.{number} 7\r\n"));
    }
    server.wait_for_log(FAILING[1]);
    let store = told("tallyd-store", "firing");
    assert_eq!(store["labels"]["severity"], "critical");
    let note = store["annotations"]["note"].as_str().expect("a text");
    assert!(note.contains("cannot write to its disk"), "{note}");
    mount.free();
    told("tallyd-store", "resolved");
    told("tallyd-disk", "resolved");
    assert_eq!(receiver.posts().len(), 4, "each once");
    drop(server);
}

fn start(dir: &Path, mount: &Mount) -> Output {
    let config = dir.join("tallyd.toml");
    let text = format!(
        "[server]\nlisten = [\"127.0.0.1:0\"]\nhttp = [\"127.0.0.1:0\"]\n{}",
        mount.server()
    );
    std::fs::write(&config, text).expect("it can be written");
    tallyd_in(dir, &["serve", "--config", &config.to_string_lossy()])
}

/// Without room to begin with, the server says so and ends; with room, it begins as if nothing had been.
fn does_not_start(mount: &Mount) {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(mount.data()).expect("there is room");
    mount.fill();
    for _ in 0..2 {
        let output = start(dir.path(), mount);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let error = text(&output.stderr);
        assert!(error.contains("No space left on device"), "{error}");
        assert!(error.contains(&mount.data().display().to_string()), "{error}");
    }
    mount.free();
    let server = Server::start_with(&mount.server(), SYNC);
    assert_eq!(server.client().ask("incr a 1\r\n"), "1");
}

#[test]
#[ignore = "needs root and mount; run tests/run"]
fn a_full_disk_in_memory_stops_nobody_from_counting() {
    goes_on(&Mount::tmpfs(12 << 20));
    overflows(&Mount::tmpfs(40 << 20));
    tells(&Mount::tmpfs(24 << 20));
    does_not_start(&Mount::tmpfs(6 << 20));
}

#[test]
#[ignore = "needs root, mount and mkfs.ext4; run tests/run"]
fn a_full_disk_of_blocks_stops_nobody_from_counting() {
    let dir = tempfile::tempdir().expect("a directory");
    let image = |name: &str| dir.path().join(name);
    goes_on(&Mount::ext4(&image("one"), 12 << 20));
    overflows(&Mount::ext4(&image("two"), 40 << 20));
    does_not_start(&Mount::ext4(&image("three"), 12 << 20));
    tells(&Mount::ext4(&image("four"), 24 << 20));
}
