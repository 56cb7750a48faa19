//! `tallyd doctor`: what it says of a server that runs, of one that cannot, and of what is out of reach.

use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Instant;

use crate::harness::{PATIENCE, Server, binary, tallyd_in, text};

fn doctor(dir: &Path, config: &str) -> Output {
    let file = dir.join("tallyd.toml");
    std::fs::write(&file, config).expect("it can be written");
    tallyd_in(dir, &["doctor", "--config", "tallyd.toml"])
}

/// The lines about one thing, without how long its name is.
fn lines(output: &Output, what: &str) -> Vec<String> {
    let said = text(&output.stdout);
    let about = |line: &&str| line.get(6..).is_some_and(|rest| rest.starts_with(what));
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    said.lines().filter(about).map(words).collect()
}

#[test]
fn a_server_that_runs_is_found_well() {
    let mut server = Server::start("[nrpe]\nlisten = \"127.0.0.1:0\"\n");
    let (memcached, http, nrpe) = (server.memcached, server.http, server.nrpe());
    let config = format!(
        "[server]\nlisten = [\"{memcached}\"]\nhttp = [\"{http}\"]\n[nrpe]\nlisten = \"{nrpe}\"\n"
    );
    let output = doctor(server.dir(), &config);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(lines(&output, "server"), [format!("ok server runs at http://{http}")]);
    assert_eq!(lines(&output, "memcached"), [format!("ok memcached {memcached} is answered")]);
    assert_eq!(lines(&output, "nrpe"), [format!("ok nrpe {nrpe} is listened on")]);
    let failed = "tallyd_nrpe_failed_total 0\n";
    assert!(server.get("/metrics").1.contains(failed), "it asked nobody there");
    let data = lines(&output, "data directory");
    assert!(data.iter().any(|line| line.starts_with("ok data directory data")), "{said}");
    assert!(lines(&output, "disk space")[0].contains("iB free"), "{said}");
}

#[test]
fn a_server_whose_certificate_is_not_believed_runs_all_the_same() {
    for (name, expect) in [
        ("127.0.0.1", "ok server runs at"),
        ("elsewhere.example", "WARN server something answers here, but"),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut made = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        made.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let made = made.self_signed(&key).expect("a certificate").pem();
        std::fs::write(dir.path().join("t.crt"), made).expect("it can be written");
        std::fs::write(dir.path().join("t.key"), key.serialize_pem()).expect("it can be written");
        let tls = "[http]\ntls_cert = \"t.crt\"\ntls_key = \"t.key\"\n";
        let server = Server::start_in(dir, "", tls, &[]);
        let (memcached, http) = (server.memcached, server.http);
        let config = format!("[server]\nlisten = [\"{memcached}\"]\nhttp = [\"{http}\"]\n{tls}");
        let output = doctor(server.dir(), &config);
        let said = text(&output.stdout);
        assert!(lines(&output, "server")[0].starts_with(expect), "{said}");
        assert_eq!(lines(&output, "http"), [format!("ok http {http} is answered")]);
        assert_eq!(output.status.code(), Some(0), "{said}");
    }
}

#[test]
fn every_address_of_the_configuration_is_looked_at() {
    let dir = tempfile::tempdir().expect("a directory");
    let holder = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let taken = holder.local_addr().expect("an address");
    let config = format!(
        "[server]\nlisten = [\"unix:/nowhere/t.sock\"]\nhttp = [\"127.0.0.1:0\"]\n[nrpe]\nlisten = \"127.0.0.1:0\"\n\
         [statsd]\nudp = \"{taken}\"\nunix = \"{}/s.sock\"\n[graphite]\ntcp = \"127.0.0.1:0\"\nudp = \"127.0.0.1:0\"\n",
        dir.path().display()
    );
    let output = doctor(dir.path(), &config);
    let first = |what: &str| lines(&output, what).join("; ");
    assert!(first("memcached").starts_with("FAIL memcached unix:/nowhere/t.sock: "));
    assert_eq!(first("nrpe"), "ok nrpe 127.0.0.1:0 can be listened on");
    let graphite = "ok graphite 127.0.0.1:0 can be listened on; ok graphite 127.0.0.1:0 (UDP) can be listened on";
    assert_eq!(first("graphite"), graphite);
    let statsd = first("statsd");
    assert!(
        statsd.starts_with(&format!("FAIL statsd {taken} (UDP) cannot be listened on: ")),
        "{statsd}"
    );
    assert!(statsd.contains("; ok statsd unix:"), "{statsd}");
}

#[test]
fn each_thing_that_keeps_a_server_from_its_work_is_a_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_at = taken.local_addr().expect("an address");
    let free_at = {
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        free.local_addr().expect("an address")
    };
    // Nothing listens where nothing has listened since.
    let config = format!(
        "[server]\nlisten = [\"{taken_at}\"]\nhttp = [\"{free_at}\"]\n\
         [email]\nserver = \"smtp+plain://{free_at}\"\nfrom = \"t@example.com\"\n\
         [[contact]]\nname = \"mail\"\nemail = [\"a@example.com\"]\n\
         [[contact]]\nname = \"hub\"\nwebhook = \"http://{free_at}/secret-path\"\n"
    );
    std::fs::write(dir.path().join("data"), "no directory").expect("it can be written");
    let output = doctor(dir.path(), &config);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(lines(&output, "server")[0].starts_with("note server none runs: "), "{said}");
    let memcached =
        format!("FAIL memcached {taken_at} cannot be listened on: Address already in use");
    assert!(lines(&output, "memcached")[0].starts_with(&memcached), "{said}");
    assert_eq!(lines(&output, "http"), [format!("ok http {free_at} can be listened on")]);
    assert_eq!(lines(&output, "data directory"), ["FAIL data directory data is no directory"]);
    let mail = &lines(&output, "mail server")[0];
    assert!(mail.starts_with(&format!("FAIL mail server {free_at}: ")), "{said}");
    assert!(lines(&output, "webhooks")[0].starts_with(&format!("FAIL webhooks hub: {free_at}: ")));
    assert!(!said.contains("secret-path"), "{said}");
    assert!(
        said.ends_with("\n4 failures, no warning.\n") || said.contains("4 failures, 1 warning")
    );
}

#[test]
fn the_clock_is_as_the_system_says_and_a_system_that_says_nothing_is_not_waited_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let program = dir.path().join("timedatectl");
    for (script, expect) in [
        ("echo yes", "ok clock"),
        ("echo no", "WARN clock"),
        ("echo perhaps", "note clock"),
        ("exit 1", "note clock"),
        ("exec /bin/sleep 60", "note clock"),
    ] {
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&program, mode).expect("it is ours");
        let began = Instant::now();
        let output = Command::new(binary())
            .args(["doctor", "--server", "http://127.0.0.1:1"])
            .current_dir(dir.path())
            .env("PATH", dir.path())
            .output()
            .expect("tallyd runs");
        assert!(began.elapsed() < PATIENCE, "it does not wait for {script}");
        let lines = lines(&output, "clock");
        assert!(lines[0].starts_with(expect), "{script}: {lines:?}");
    }
}

#[test]
fn a_file_that_is_wrong_is_told_with_its_line() {
    let dir = tempfile::tempdir().expect("a directory");
    let output = doctor(dir.path(), "[server]\nlissten = []\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("did you mean `listen`"), "{}", text(&output.stderr));
    assert!(text(&output.stdout).starts_with("FAIL  configuration"), "{}", text(&output.stdout));
    assert_eq!(tallyd_in(dir.path(), &["doctor", "--config", "none"]).status.code(), Some(1));
}
