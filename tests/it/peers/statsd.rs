//! Clients of StatsD as applications have them, in Python, Node.js and PHP, and collectd, which writes to Graphite's port.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::process::{self, run};
use crate::harness::{Server, eventually};
use crate::statsd::Told;

/// A server with every way in.
fn start(dir: &Path) -> (Told, PathBuf) {
    let socket = dir.join("statsd.sock");
    let told = Told::at(Server::start(&format!(
        "[statsd]\nudp = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\nunix = '{}'\n\
         [graphite]\nudp = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\n",
        socket.display()
    )));
    (told, socket)
}

/// Runs a program of `tests/peers` to a good end.
fn client(mut command: Command, script: &str, words: &[&str]) {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
    let ended = run(command.arg(script).args(words));
    assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
}

/// The greatest value of a series in the last hour.
fn most(told: &Told, series: &str) -> Option<f64> {
    let path = format!("/api/v1/measure?series={series}&measure=max&window=1h");
    let answer: Value = serde_json::from_str(&told.server.get(&path).1).expect("JSON");
    answer["data"][0]["points"][0][1].as_f64()
}

/// That a set had so many members in the ten seconds that were counted.
#[track_caller]
fn had_members(told: &Told, series: &str, expect: f64) {
    eventually(series, || (most(told, series)? >= expect).then_some(()));
    assert_eq!(most(told, series), Some(expect), "{series}");
}

#[test]
#[ignore = "needs the Python modules statsd and datadog; run tests/run"]
fn what_pythons_clients_say_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (told, socket) = start(dir.path());
    let (udp, tcp) = (told.statsd_udp.port().to_string(), told.statsd_tcp.port().to_string());
    client(process::python(), "statsd_clients.py", &["statsd", &udp, &tcp]);
    for (key, expect) in [
        // One and four, less two that are no increments.
        ("py.orders", "3"),
        ("py.queue", "20"),
        ("py.below", "-5"),
        ("py.render", "2"),
        ("py.piped", "5"),
        ("py.piped.g", "1.5"),
        ("py.tcp.orders", "1000"),
        ("py.tcp.queue", "2.5"),
    ] {
        told.shows(key, expect);
    }
    let socket = socket.to_str().expect("UTF-8");
    client(process::python(), "statsd_clients.py", &["datadog", &udp, socket]);
    for prefix in ["dd", "dd.unix"] {
        for (key, expect) in [
            ("orders;beta=true;env=test;region=eu", "5"),
            ("queue;env=test", "17.25"),
            ("render;env=test", "3"),
            ("timed;env=test", "1"),
            ("dated;env=test", "4"),
            ("dated.g;env=test", "5"),
        ] {
            told.shows(&format!("{prefix}.{key}"), expect);
        }
        eventually("the event", || {
            let expect = format!("{prefix} shop 2.1: to eu1 and eu2");
            told.server.get("/api/v1/deploys").1.contains(&expect).then_some(())
        });
    }
    told.shows("up;env=test", "1");
    had_members(&told, "py.users", 2.0);
    had_members(&told, "dd.unix.users", 2.0);
    all_was_taken(&told);
}

#[test]
#[ignore = "needs the npm modules hot-shots and statsd-client; run tests/run"]
fn what_nodes_clients_say_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (told, _) = start(dir.path());
    let (udp, tcp) = (told.statsd_udp.port().to_string(), told.statsd_tcp.port().to_string());
    client(process::node(), "statsd_clients.js", &[&udp, &tcp]);
    for prefix in ["hs", "hs.packed", "hs.tcp", "hs.telegraf"] {
        for (key, expect) in
            [("orders", "0"), ("orders;region=eu", "9"), ("queue", "19.5"), ("render", "3")]
        {
            told.shows(&format!("{prefix}.{key}"), expect);
        }
    }
    for prefix in ["hs", "hs.packed", "hs.tcp"] {
        told.shows(&format!("{prefix}.up;host=web-1"), "2");
        eventually("the event", || {
            let expect = format!("{prefix}. shop 2.1: to eu1");
            told.server.get("/api/v1/deploys").1.contains(&expect).then_some(())
        });
    }
    for (key, expect) in [
        ("sc.orders", "5"),
        ("sc.queue", "15"),
        ("sc.render", "2"),
        ("sc.tagged;beta=yes;region=eu", "1"),
    ] {
        told.shows(key, expect);
    }
    had_members(&told, "hs.users", 2.0);
    had_members(&told, "sc.users", 1.0);
    all_was_taken(&told);
}

#[test]
#[ignore = "needs PHP; run tests/run"]
fn what_php_writes_is_counted() {
    let dir = tempfile::tempdir().expect("a directory");
    let (told, _) = start(dir.path());
    let udp = told.statsd_udp.port().to_string();
    client(Command::new("/usr/bin/php"), "statsd_wire.php", &[&udp]);
    for (key, expect) in [("php.orders", "11"), ("php.queue", "14"), ("php.render", "1")] {
        told.shows(key, expect);
    }
    all_was_taken(&told);
}

fn all_was_taken(told: &Told) {
    let metrics = told.server.get("/metrics").1;
    let refused = |line: &&str| line.contains("_refused_total{") && !line.ends_with(" 0");
    assert_eq!(metrics.lines().find(refused), None);
    assert_eq!(told.figure("tallyd_statsd_datagrams_lost_total"), 0);
}

/// A running collectd. It ends with this value.
struct Collectd(Child);

impl Drop for Collectd {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
#[ignore = "needs collectd, unpacked; run tests/run"]
fn collectd_delivers() {
    let root = std::env::var("TALLYD_TEST_COLLECTD")
        .expect("TALLYD_TEST_COLLECTD says where collectd is; `tests/run` unpacks it and sets it");
    let dir = tempfile::tempdir().expect("a directory");
    let (told, _) = start(dir.path());
    for (name, protocol, port, tags) in [
        ("tcp", "tcp", told.graphite_tcp.port(), false),
        ("udp", "udp", told.graphite_udp.port(), false),
        ("tagged", "tcp", told.graphite_tcp.port(), true),
    ] {
        let here = dir.path().join(name);
        std::fs::create_dir(&here).expect("it is new");
        let config = here.join("collectd.conf");
        let text = format!(
            "Hostname \"web-1\"\nFQDNLookup false\nBaseDir \"{here}\"\nPIDFile \"{here}/pid\"\n\
             PluginDir \"{root}/usr/lib/collectd\"\nTypesDB \"{root}/usr/share/collectd/types.db\"\nInterval 1\n\
             LoadPlugin load\nLoadPlugin memory\nLoadPlugin uptime\nLoadPlugin write_graphite\n\
             <Plugin write_graphite>\n<Node \"tallyd\">\nHost \"127.0.0.1\"\nPort \"{port}\"\nProtocol \"{protocol}\"\n\
             Prefix \"{name}.\"\nUseTags {tags}\n</Node>\n</Plugin>\n",
            here = here.display()
        );
        std::fs::write(&config, text).expect("it can be written");
        let program = format!("{root}/usr/sbin/collectd");
        let child =
            Command::new(program).arg("-f").arg("-C").arg(&config).stdin(Stdio::null()).spawn();
        let _collectd = Collectd(child.expect("collectd starts; `tests/run` unpacks it"));
        let key = if tags {
            "tagged.uptime.uptime;host=web-1;plugin=uptime;type=uptime".to_owned()
        } else {
            format!("{name}.web-1.uptime.uptime")
        };
        let shown = eventually(&key, || told.value(&key)?.parse::<f64>().ok());
        let since = std::fs::read_to_string("/proc/uptime").expect("it is Linux");
        let since: f64 =
            since.split(' ').next().and_then(|word| word.parse().ok()).expect("seconds");
        assert!((since - 20.0..since + 1.0).contains(&shown), "{shown} of {since}");
    }
    for key in ["tcp.web-1.load.load.shortterm", "udp.web-1.memory.memory-used"] {
        assert!(told.value(key).is_some(), "{key}");
    }
    all_was_taken(&told);
}
