//! `tallyd serve --memcached-compat` as a process: ports, files, the background, the end.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::harness::{Client, binary, eventually, tallyd, text};

/// A server that was started with memcached's flags. It ends with this value.
struct Compat {
    child: Child,
    dir: tempfile::TempDir,
}

impl Compat {
    /// On a free port of loopback, which it says in a file.
    fn start(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        // It may become another user, who has to be able to write there.
        let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(dir.path(), anybody).expect("it is ours");
        let child = Command::new(binary())
            .args(["serve", "--memcached-compat", "-l", "127.0.0.1", "-p", "-1"])
            .args(flags)
            .current_dir(dir.path())
            .env("MEMCACHED_PORT_FILENAME", dir.path().join("ports"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        Self { child, dir }
    }

    fn client(&self) -> Client {
        let file = self.dir.path().join("ports");
        let text = eventually("the ports", || std::fs::read_to_string(&file).ok());
        let port = text.trim_end().strip_prefix("TCP INET: ").and_then(|port| port.parse().ok());
        Client::connect(([127, 0, 0, 1], port.expect("one port")).into())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Waits for the end; what it said.
    fn end(mut self) -> String {
        use std::io::Read as _;
        let status = eventually("the end", || self.child.try_wait().expect("it can be asked"));
        let mut said = String::new();
        let stderr = self.child.stderr.as_mut().expect("it is piped");
        stderr.read_to_string(&mut said).expect("text");
        assert!(status.success(), "{said}");
        said
    }
}

impl Drop for Compat {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn setting(client: &mut Client, name: &str) -> Option<String> {
    client.send(b"stats settings\r\n");
    let mut lines = Vec::new();
    loop {
        match client.line() {
            line if line == "END" => break,
            line => lines.push(line),
        }
    }
    let start = format!("STAT {name} ");
    lines.iter().find_map(|line| line.strip_prefix(&start).map(str::to_owned))
}

#[test]
fn it_answers_as_memcached_starts() {
    let server = Compat::start(&["-A", "-F", "-C", "-o", "no_modern", "-P", "pid", "-R", "2"]);
    let mut client = server.client();
    assert_eq!(client.ask("incr a 1\r\n"), "NOT_FOUND");
    for (name, value) in [
        ("maxconns", "1024"),
        ("num_threads", "4"),
        ("maxbytes", "67108864"),
        ("reqs_per_event", "2"),
    ] {
        assert_eq!(setting(&mut client, name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(client.ask("flush_all\r\n"), "CLIENT_ERROR flush_all not allowed");
    assert_eq!(client.ask("flush_all noreply\r\nget a\r\n"), "END");
    client.send("get a\r\n".repeat(9).as_bytes());
    (0..9).for_each(|_| assert_eq!(client.line(), "END"));
    let pid = std::fs::read_to_string(server.file("pid")).expect("it is there");
    assert_eq!(pid.trim_end(), server.child.id().to_string());
    assert_eq!(client.ask("shutdown now\r\n"), "CLIENT_ERROR invalid shutdown mode");
    client.send(b"shutdown\r\n");
    assert_eq!(client.read_to_end(), b"");
    let pid_file = server.file("pid");
    let said = server.end();
    assert!(!pid_file.exists(), "it took its file away");
    assert_eq!(said.matches("change nothing here: -C, -o no_modern").count(), 1, "{said}");
}

#[test]
fn shutdown_is_off_unless_it_was_asked_for() {
    let server = Compat::start(&[]);
    let mut client = server.client();
    for request in ["shutdown\r\n", "shutdown graceful\r\n", "shutdown nonsense\r\n"] {
        assert_eq!(client.ask(request), "ERROR: shutdown not enabled");
    }
}

#[test]
fn in_the_background_it_goes_on_without_its_parent() {
    let server = Compat::start(&["-d", "-P", "pid", "-A"]);
    let mut client = server.client();
    let pid_file = server.file("pid");
    let pid = eventually("the process id", || std::fs::read_to_string(&pid_file).ok());
    assert_ne!(pid.trim_end(), server.child.id().to_string());
    let proc = Path::new("/proc").join(pid.trim_end());
    assert!(proc.exists(), "{pid}");
    client.send(b"shutdown\r\n");
    assert_eq!(client.read_to_end(), b"");
    eventually("its end", || (!pid_file.exists()).then_some(()));
    server.end();
}

#[test]
fn whoever_starts_it_as_root_need_not_let_it_stay_root() {
    use std::os::unix::fs::PermissionsExt as _;
    let is_open = |dir: &Path| dir.metadata().is_ok_and(|dir| dir.permissions().mode() & 1 != 0);
    let is_reachable = binary().ancestors().skip(1).all(is_open);
    if !rustix::process::geteuid().is_root() || !is_reachable {
        return;
    }
    let server = Compat::start(&["-u", "nobody", "-A"]);
    let status = PathBuf::from(format!("/proc/{}/status", server.child.id()));
    eventually("another user", || {
        let status = std::fs::read_to_string(&status).expect("it runs");
        let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let mut ids = ids.expect("a line of its users").split_whitespace();
        (ids.all(|id| id != "0")).then_some(())
    });
    server.client().send(b"shutdown\r\n");
    server.end();
}

#[test]
fn what_it_cannot_be_told_ends_it_with_a_reason() {
    for (flags, reason) in [
        (&["-B", "binary"][..], "the binary protocol is not supported"),
        (&["-S"], "authentication is that of the text protocol"),
        (&["-c", "0"], "0 is not in 1..=1000000"),
        (&["-u", "nobody-of-that-name"], "there is no such user"),
        (&["-o", "nonsense"], "there is no such option"),
    ] {
        let is_root = rustix::process::geteuid().is_root();
        if flags[0] == "-u" && !is_root {
            continue;
        }
        let output = tallyd(&[&["serve", "--memcached-compat"], flags].concat());
        assert_ne!(output.status.code(), Some(0), "{flags:?}");
        let error = text(&output.stderr);
        assert!(error.contains(reason), "{flags:?}: {error}");
    }
    let help = tallyd(&["serve", "--memcached-compat", "-h"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(text(&help.stdout).contains("--unix-socket"));
    let both = tallyd(&["serve", "--config", "x", "--memcached-compat"]);
    assert_eq!(both.status.code(), Some(2));
}
