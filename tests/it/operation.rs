//! What operators rely on: readiness, fairness under load, and where exactly a rule fires and ends.

use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::{PATIENCE, Server, eventually};

#[test]
fn systemd_hears_that_it_is_ready_that_it_lives_and_that_it_stops() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("notify");
    let systemd = UnixDatagram::bind(&path).expect("a socket");
    systemd.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let hear = || {
        let mut bytes = [0; 256];
        let length = systemd.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..length]).trim_end().to_owned()
    };
    // The ticker goes round each second, and a sign is given three times in the time that systemd waits.
    let socket = path.to_str().expect("it is UTF-8");
    let env = [("NOTIFY_SOCKET", socket), ("WATCHDOG_USEC", "6000000")];
    let mut server = Server::start_in(dir, "", "", &env);
    assert_eq!(hear(), "READY=1");
    let began = Instant::now();
    for _ in 0..3 {
        assert_eq!(hear(), "WATCHDOG=1");
    }
    let took = began.elapsed();
    assert!(took > Duration::from_secs(3), "the second and third come two seconds apart: {took:?}");
    server.signal("TERM");
    let last = std::iter::repeat_with(hear).find(|said| said != "WATCHDOG=1");
    assert_eq!(last.as_deref(), Some("STOPPING=1"));
    assert_eq!(server.wait().code(), Some(0));
}

/// Ends the flood also where an assertion fails: the scope waits for its threads.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn other_clients_do_not_notice_a_flood() {
    let server = Server::start("");
    let flood = "incr flood 1 noreply\r\n".repeat(20_000);
    let stop = AtomicBool::new(false);
    let slowest = std::thread::scope(|scope| {
        let _ending = Ending(&stop);
        for _ in 0..6 {
            let (mut client, flood, stop) = (server.client(), flood.as_bytes(), &stop);
            scope.spawn(move || while !stop.load(Ordering::Relaxed) && client.try_send(flood) {});
        }
        // As many as there are workers: connections are handed round, so each has one of them.
        let mut bystanders = [server.client(), server.client()];
        let mut slowest = Duration::ZERO;
        let end = Instant::now() + Duration::from_secs(2);
        let mut asked: u64 = 0;
        while Instant::now() < end {
            asked += 1;
            for (at, bystander) in bystanders.iter_mut().enumerate() {
                let began = Instant::now();
                let answer = bystander.ask(&format!("incr bystander{at} 1\r\n"));
                slowest = slowest.max(began.elapsed());
                assert_eq!(answer, asked.to_string());
            }
        }
        slowest
    });
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
}

#[test]
fn a_rule_fires_beyond_its_threshold_and_ends_at_clear() {
    let server = Server::start(
        r#"
[[rule]]
name = "load"
series = "load"
measure = "last"
window = "1m"
critical = { above = 10, clear = 5 }
notify = []
"#,
    );
    let mut client = server.client();
    for (value, expect, why) in [
        (10, 0, "the threshold itself is not beyond it"),
        (11, 2, "beyond"),
        (10, 2, "between the two it stays"),
        (6, 2, "and above clear it stays"),
        (5, 0, "at clear it ends"),
        (10, 0, "between the two it stays"),
    ] {
        let text = value.to_string();
        let set = format!("set load 0 0 {}\r\n{text}\r\n", text.len());
        assert_eq!(client.ask(&set), "STORED");
        let code = eventually("an evaluation", || {
            let (code, line) = server.check("load");
            line.contains(&format!("'load'={value};")).then_some(code)
        });
        assert_eq!(code, Some(expect), "{value}: {why}");
    }
}

#[test]
fn a_fall_against_the_window_before_is_told() {
    let server = Server::start(
        r#"
[[rule]]
name = "orders-drop"
series = "orders"
measure = "sum"
window = "2s"
against = "previous"
floor = 20
critical = { below = -90, clear = -80 }
notify = []
"#,
    );
    let mut client = server.client();
    // More each time, so that a machine that stands still for a moment makes no fall.
    let mut orders = 10;
    let fine = eventually("a change that is judged", || {
        client.ask(&format!("incr orders {orders}\r\n"));
        orders += 10;
        let (code, line) = server.check("orders-drop");
        assert_eq!(code, Some(0), "{line}");
        line.contains("against the 2s before").then_some(line)
    });
    assert!(fine.starts_with("OK - orders-drop: "), "{fine}");
    // Nothing comes any more.
    let drop = eventually("the alarm", || {
        Some(server.check("orders-drop")).filter(|(code, _)| *code == Some(2))
    });
    assert!(drop.1.contains(" against the 2s before, critical below -90, "), "{}", drop.1);
    let after = eventually("nothing to compare", || {
        let (code, line) = server.check("orders-drop");
        line.contains("too little happened to compare").then_some(code)
    });
    assert_eq!(after, Some(2), "what cannot be judged is no recovery");
}
