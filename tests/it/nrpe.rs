//! The NRPE port of the real binary: clear or TLS, allowed hosts, and their reload. What Debian's `check_nrpe` makes of
//! it is in `peers`.

use std::io::{Read, Write};
use std::net::SocketAddr;

use tallyd::protocol::nrpe::{Version, query};

use crate::access::{certify, tls_to};
use crate::harness::{Client, Server, eventually, text};

const RULE: &str = "[[rule]]\nname = \"errors-high\"\nseries = \"errors\"\nmeasure = \"sum\"\nwindow = \"10s\"\n\
                    critical = { above = 10 }\nnotify = []\n";

fn config(nrpe: &str) -> String {
    format!("[nrpe]\nlisten = \"127.0.0.1:0\"\n{nrpe}\n{RULE}")
}

fn question() -> Vec<u8> {
    query(Version::V4, "errors-high").expect("room")
}

/// What is answered in clear text.
fn ask(address: SocketAddr) -> Vec<u8> {
    let mut client = Client::connect(address);
    client.try_send(&question());
    client.read_to_end()
}

/// The configuration of a running server becomes this.
fn reload(server: &mut Server, nrpe: &str, expect: &str) {
    let path = server.dir().join("tallyd.toml");
    let old = std::fs::read_to_string(&path).expect("it is there");
    let (head, _) = old.split_once("[nrpe]").expect("the section");
    std::fs::write(&path, format!("{head}{}", config(nrpe))).expect("it can be written");
    server.logged.clear();
    server.signal("HUP");
    server.wait_for_log(expect);
}

/// How often there is this figure in `/metrics`.
fn figure(server: &Server, name: &str) -> String {
    let metrics = server.get("/metrics").1;
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name}: {metrics}")).to_owned()
}

#[test]
fn hosts_that_may_ask_are_read_again() {
    let mut server = Server::start(&config(""));
    let address = server.nrpe();
    assert!(text(&ask(address)).contains("OK - errors-high: no data yet | "));
    assert_eq!(figure(&server, "tallyd_nrpe_refused_total"), "0");
    let mut hello = Client::connect(address);
    hello.try_send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    assert_eq!(hello.read_to_end(), b"");
    server.wait_for_log("since nrpe.tls_cert is not set: check_nrpe -n");

    reload(&mut server, "allow = [\"10.0.0.0/8\"]", "reloaded the configuration");
    assert_eq!(ask(address), b"", "not a byte");
    server.wait_for_log("not in nrpe.allow");
    assert_eq!(figure(&server, "tallyd_nrpe_refused_total"), "1");
    eventually("the first is counted", || {
        (figure(&server, "tallyd_nrpe_checks_total") == "1").then_some(())
    });

    reload(&mut server, "allow = [\"localhost\"]", "is not a host that may ask");
    assert_eq!(ask(address), b"", "a file with a mistake changes nothing");
    reload(&mut server, "allow = [\"127.0.0.0/8\"]", "reloaded the configuration");
    assert!(!ask(address).is_empty());
    assert_eq!(server.client().ask("incr errors 11\r\n"), "11");
    eventually("critical", || {
        text(&ask(address)).contains("CRITICAL - errors-high: ").then_some(())
    });
    server.signal("TERM");
    assert!(server.wait().success());
}

#[test]
fn with_a_certificate_it_speaks_tls_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let first = certify(dir.path());
    let keys = "tls_cert = \"tallyd.crt\"\ntls_key = \"tallyd.key\"";
    let mut server = Server::start_in(dir, "", &config(keys), &[]);
    let address = server.nrpe();
    let secured = |certificate| {
        let mut stream = tls_to(address, certificate);
        let sent = stream.write_all(&question());
        let mut answer = Vec::new();
        let read = sent.and_then(|()| stream.read_to_end(&mut answer));
        read.map(|_| text(&answer))
    };
    assert!(secured(&first).expect("an answer").contains("OK - errors-high: no data yet | "));
    assert!(!text(&ask(address)).contains("errors-high"), "clear text is not answered");
    server.wait_for_log("check_nrpe without -n");
    eventually("that is counted", || {
        (figure(&server, "tallyd_nrpe_failed_total") == "1").then_some(())
    });

    let second = certify(server.dir());
    reload(&mut server, keys, "reloaded the configuration");
    assert!(secured(&first).is_err(), "the old one is gone");
    assert!(secured(&second).expect("an answer").contains("OK - errors-high"));
    reload(&mut server, &keys.replace("tallyd.key", "nowhere.key"), "was not reloaded");
    assert!(secured(&second).expect("an answer").contains("OK - errors-high"));
}
