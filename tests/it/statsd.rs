//! StatsD and Graphite on real sockets: what each line does, where it may come in, and that loss is told as it was.

use std::io::Write;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use crate::harness::{Client, Server, eventually};

/// A server with both, on free ports, and where they are.
pub struct Told {
    pub server: Server,
    pub statsd_udp: SocketAddr,
    pub statsd_tcp: SocketAddr,
    pub graphite_udp: SocketAddr,
    pub graphite_tcp: SocketAddr,
}

const EVERYWHERE: &str = "[statsd]\nudp = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\n\
                          [graphite]\nudp = '127.0.0.1:0'\ntcp = '127.0.0.1:0'\n";

impl Told {
    fn start(rest: &str) -> Self {
        Self::at(Server::start(&format!("{EVERYWHERE}{rest}")))
    }

    /// One that was started with all four.
    pub fn at(mut server: Server) -> Self {
        let place = |line: &str, kind: &str| {
            let at = line.find(kind).expect(kind) + kind.len();
            let rest = &line[at..];
            let end = rest.find([',', ' ', '"']).unwrap_or(rest.len());
            rest[..end].parse().expect("an address")
        };
        let statsd = server.wait_for_log("statsd is on");
        let graphite = server.wait_for_log("graphite is on");
        Self {
            statsd_udp: place(&statsd, "udp:"),
            statsd_tcp: place(&statsd, "tcp:"),
            graphite_udp: place(&graphite, "udp:"),
            graphite_tcp: place(&graphite, "tcp:"),
            server,
        }
    }

    /// Waits until a key shows `expect`.
    #[track_caller]
    pub fn shows(&self, key: &str, expect: &str) {
        let mut last = None;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(key, || {
                last = self.value(key);
                (last.as_deref() == Some(expect)).then_some(())
            });
        }));
        assert!(found.is_ok(), "{key} shows {last:?} and not {expect}");
    }

    /// What a key shows.
    pub fn value(&self, key: &str) -> Option<String> {
        shown(&self.server, key)
    }

    /// A figure of `/metrics`.
    pub fn figure(&self, name: &str) -> u64 {
        let metrics = self.server.get("/metrics").1;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name}")).parse().expect("a number")
    }

    /// How many lines were refused for that reason, once they are.
    #[track_caller]
    fn refused(&self, face: &str, reason: &str, expect: u64) {
        let name = format!("tallyd_{face}_refused_total{{reason=\"{reason}\"}}");
        eventually(&name, || (self.figure(&name) == expect).then_some(()));
    }
}

/// What a client of the memcached port reads, without the blanks of a number that became shorter.
fn shown(server: &Server, key: &str) -> Option<String> {
    let mut client = server.client();
    let head = client.ask(&format!("get {key}\r\n"));
    head.starts_with("VALUE ").then(|| client.line().trim_end().to_owned())
}

fn udp(to: SocketAddr) -> impl Fn(&str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    socket.connect(to).expect("it is loopback");
    move |text| _ = socket.send(text.as_bytes()).expect("it is sent")
}

fn now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("after 1970").as_secs()
}

#[test]
fn each_kind_of_line_does_what_it_says() {
    let told = Told::start(
        "[[rule]]\nname = 'slow'\nseries = 'render'\nmeasure = 'p99'\nwindow = '5s'\ncritical = { above = 300 }\nnotify = []\n",
    );
    let send = udp(told.statsd_udp);
    send("orders:1|c\norders:2|c:3|c|@0.1\n\norders:-4|c");
    told.shows("orders", "29");
    send("orders:5|c|#region:eu,shop:main|c:83c0a99c0a54");
    told.shows("orders;region=eu;shop=main", "5");
    send("queue:17|g\nqueue:+3|g");
    told.shows("queue", "20");
    send("queue:-25.5|g");
    told.shows("queue", "-5.5");
    send("render:320:310|ms|@0.5\nrender:1.5|h");
    told.shows("render", "5");
    send("users:kim|s\nusers:sam|s\nusers:kim|s");
    told.shows("users", "2");
    send("_sc|Redis connection|2|#env:dev|m:timed out|#x:y");
    told.shows("Redis_connection;env=dev", "2");
    send(&format!("on.time:1|c|T{}", now()));
    told.shows("on.time", "1");
    send("_e{8,3}:shop 2.1|eu1|h:web-1");
    let deploys = || told.server.get("/api/v1/deploys").1;
    let found = eventually("the event", || Some(deploys()).filter(|all| all.contains("shop")));
    assert!(found.contains("shop 2.1: eu1") && found.contains("web-1"), "{found}");
    assert_eq!(told.figure("tallyd_statsd_datagrams_total"), 9);
    assert_eq!(told.figure("tallyd_statsd_datagrams_lost_total"), 0);
    assert_eq!(told.figure("tallyd_statsd_lines_total"), 15);
    // A distribution that nobody configured has every quantile.
    send("render:320|ms");
    eventually("the rule", || (told.server.check("slow").0 == Some(2)).then_some(()));
}

#[test]
fn what_is_not_taken_is_counted_by_its_reason() {
    let told = Told::start("[[metric]]\nmatch = 'g'\nkind = 'gauge'\n");
    let send = udp(told.statsd_udp);
    let old = now() - 3600;
    for line in [
        "no value",
        "a:1",
        "a:1|q",
        "a:x|c",
        "a:1e300|c",
        "a:1|c|@7",
        "a:1|ms|@0.0000001",
        &format!("a:1|c|T{old}"),
        "tallyd.overflow:1|c",
        "g:1|c",
        "a:-1|c",
        "_e{1,1}:abc",
    ] {
        send(line);
    }
    send(&format!("a:1{}|c", ":1".repeat(5000)));
    for (reason, expect) in [
        ("form", 1),
        ("type", 2),
        ("number", 2),
        ("rate", 2),
        ("time", 1),
        ("key", 1),
        ("kind", 1),
        ("below_zero", 1),
        ("event", 1),
        ("too_long", 1),
        ("torn", 0),
        ("room", 0),
    ] {
        told.refused("statsd", reason, expect);
    }
    assert_eq!((told.value("a"), told.figure("tallyd_statsd_lines_total")), (None, 0));
    let graphite = udp(told.graphite_udp);
    graphite("two words\na x 1\na 1 x\na 1 1000000000\ng nan -1\n");
    for (reason, expect) in [("form", 1), ("number", 2), ("time", 2)] {
        told.refused("graphite", reason, expect);
    }
    // Rules can watch it.
    eventually("our own series", || (told.value("tallyd.lines_refused")? == "18").then_some(()));
}

#[test]
fn lines_come_in_over_tcp_in_whatever_parts() {
    let told = Told::start("");
    let mut stream = TcpStream::connect(told.statsd_tcp).expect("it listens");
    for part in ["a:1|c\r\na:2", "|c\na:3|c", "|@0.1\n\n\n", "a:1|c\n"] {
        stream.write_all(part.as_bytes()).expect("it is taken");
        std::thread::sleep(Duration::from_millis(20));
    }
    told.shows("a", "34");
    let long = "x".repeat(200_000);
    stream.write_all(format!("{long}:1|c\na:1|c\nb:7|c").as_bytes()).expect("it is taken");
    told.shows("a", "35");
    told.refused("statsd", "too_long", 1);
    assert_eq!(told.figure("tallyd_statsd_connections"), 1);
    drop(stream);
    told.refused("statsd", "torn", 1);
    assert_eq!((told.value("b"), told.figure("tallyd_statsd_connections")), (None, 0));
}

#[test]
fn graphite_sets_gauges_with_tags() {
    let told = Told::start("");
    let send = udp(told.graphite_udp);
    send(&format!("disk.used;rack=a1;datacenter=dc1 1.5 {}\n", now()));
    told.shows("disk.used;datacenter=dc1;rack=a1", "1.5");
    let mut stream = TcpStream::connect(told.graphite_tcp).expect("it listens");
    write!(stream, "load.one 0.25 -1\nload.five 3 {}.5\n", now() - 30).expect("it is taken");
    told.shows("load.one", "0.25");
    told.shows("load.five", "3");
    assert_eq!(told.figure("tallyd_graphite_lines_total"), 3);
}

#[test]
fn a_unix_socket_is_for_its_owner_and_group_and_goes_with_the_server() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("statsd.sock");
    let mut server = Server::start(&format!("[statsd]\nunix = '{}'\n", path.display()));
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o770);
    let socket = UnixDatagram::unbound().expect("a socket");
    for _ in 0..2000 {
        socket.send_to(b"a:1|c\na:1|c", &path).expect("it waits until there is room");
    }
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!path.exists());
    // What was sent before the end was taken before it.
    let again = server.again("", "");
    assert_eq!(shown(&again, "a").as_deref(), Some("4000"));
}

#[test]
fn a_reload_says_that_it_waits_for_a_start_and_a_taken_address_ends_one() {
    let told = Told::start("");
    let dir = told.server.dir().join("tallyd.toml");
    let text = std::fs::read_to_string(&dir).expect("it is there");
    std::fs::write(&dir, text.replace("[statsd]", "[statsd]\nunix = '/tmp/never.sock'"))
        .expect("it is written");
    let answer = told.server.http_raw(&format!(
        "POST /-/reload HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        told.server.http
    ));
    assert!(answer.contains("[statsd]"), "{answer}");
    let config = told.server.dir().join("other.toml");
    let other = format!(
        "[server]\nlisten = []\ndata_dir = 'other'\nhttp = ['127.0.0.1:0']\n[statsd]\nudp = '{}'\n",
        told.statsd_udp
    );
    std::fs::write(&config, other).expect("it is written");
    let ended = crate::harness::tallyd(&["serve", "--config", config.to_str().expect("UTF-8")]);
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(
        !ended.status.success() && said.contains(&format!("udp:{} for StatsD", told.statsd_udp)),
        "{said}"
    );
}

/// Sends datagrams until the system must drop some, since nobody reads them.
#[test]
fn loss_is_told_as_it_was() {
    let told = Told::start("");
    let send = udp(told.statsd_udp);
    send("before:1|c");
    told.shows("before", "1");
    told.server.signal("STOP");
    let mut sent: u64 = 0;
    // Far more than there is room for, whether or not this is root.
    while sent < 200_000 {
        send("flood:1|c");
        sent += 1;
    }
    told.server.signal("CONT");
    let (mut taken, mut lost) = (0, 0);
    eventually("an account of all datagrams", || {
        taken = told.value("flood").and_then(|value| value.parse::<u64>().ok()).unwrap_or(0);
        lost = told.figure("tallyd_statsd_datagrams_lost_total");
        (taken + lost == sent).then_some(())
    });
    assert!(taken > 0 && lost > 0, "of {sent} there were {taken} taken and {lost} lost");
    eventually("our own series", || {
        (told.value("tallyd.datagrams_lost")? == lost.to_string()).then_some(())
    });
    send("after:1|c");
    told.shows("after", "1");
}

/// Increments of the memcached port, one at a time, a millisecond apart.
#[derive(Default)]
struct Beside(Vec<Duration>);

impl Beside {
    fn ask(&mut self, client: &mut Client) {
        let asked = Instant::now();
        client.ask("incr beside 1\r\n");
        self.0.push(asked.elapsed());
        std::thread::sleep(Duration::from_millis(1));
    }

    /// How long they took.
    fn say(&mut self, what: &str) {
        self.0.sort_unstable();
        let [half, most, slowest] =
            [500, 990, 1000].map(|of| self.0[(self.0.len() - 1) * of / 1000]);
        eprintln!("increments {what}: p50 {half:?}, p99 {most:?}, slowest {slowest:?}");
    }
}

/// A million in a minute, at an even pace, while a client of the memcached port counts too.
#[test]
#[ignore = "it takes more than a minute"]
fn a_million_datagrams_in_a_minute() {
    const RATE: u64 = 1_000_000 / 60 + 1;
    let told = Told::start("");
    let mut client = told.server.client();
    let (mut before, mut beside) = (Beside::default(), Beside::default());
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(15) {
        before.ask(&mut client);
    }
    let send = udp(told.statsd_udp);
    let mut lines = ["steady:1|c", "steady.ms:17|ms|#a:b", "steady.g:4|g"].into_iter().cycle();
    let (began, mut sent) = (Instant::now(), 0);
    while sent < 1_000_000 {
        let due = u128::from(RATE) * began.elapsed().as_micros() / 1_000_000;
        while u128::from(sent) < due.min(1_000_000) {
            send(lines.next().expect("it goes round"));
            sent += 1;
        }
        beside.ask(&mut client);
    }
    let took = began.elapsed().as_secs_f64();
    let (mut taken, mut lost) = (0, 0);
    eventually("an account of all datagrams", || {
        taken = told.figure("tallyd_statsd_lines_total");
        lost = told.figure("tallyd_statsd_datagrams_lost_total");
        (taken + lost == sent).then_some(())
    });
    assert_eq!(told.figure("tallyd_statsd_datagrams_total"), taken);
    eprintln!("{sent} datagrams in {took:.1} s: {taken} taken, {lost} lost");
    before.say("without them");
    beside.say("beside them");
}
