//! Ten thousand who connect and say nothing or half of something, all at once, at either port: whoever counts and
//! whoever asks after the server's health is answered meanwhile. It prints how fast, before and during.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;

use crate::harness::{Client, Server};

const CROWD: usize = 10_000;

/// HTTP connections that the server keeps at once (`limits::HTTP_CONNECTIONS`).
const SEATS: usize = 1024;

/// What they take until all are there: whoever finds a queue full is told nothing and asks again after one, three
/// and seven seconds.
const GATHERING: Duration = Duration::from_secs(90);

/// How long is measured at most.
const MEASURED: Duration = Duration::from_secs(30);

/// How long at least while others press, who come back once a second.
const PRESSED: Duration = Duration::from_secs(15);

/// What it takes to hold them, in this process and in the server, which inherits it.
fn allow_files() {
    let wanted = CROWD as u64 + 500;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("a hard limit above ten thousand files");
    }
}

#[derive(Default)]
struct Counts {
    /// Who is connected now, as far as they know.
    held: AtomicUsize,
    /// Who waits to be let in.
    knocking: AtomicUsize,
    /// Connections, with those of who was sent away and came again.
    begun: AtomicUsize,
    over: Notify,
}

/// Whoever keeps a connection for as long as they may, and at once comes back.
struct Crowd {
    counts: Arc<Counts>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// All at once; it is there when so many of them are let in.
    fn gather(address: SocketAddr, says: [&'static [u8]; 3], let_in: usize) -> Self {
        let counts = Arc::new(Counts::default());
        let shared = Arc::clone(&counts);
        let thread = std::thread::spawn(move || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.enable_all().build().expect("a runtime").block_on(async {
                for at in 0..CROWD {
                    tokio::spawn(stay(address, at, says[at % 3], Arc::clone(&shared)));
                }
                shared.over.notified().await;
            });
        });
        let crowd = Self { counts, thread: Some(thread) };
        let end = Instant::now() + GATHERING;
        while crowd.held() < let_in || crowd.held() + crowd.knocking() < CROWD {
            let held = crowd.held();
            assert!(Instant::now() < end, "only {held} were let in within {GATHERING:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        crowd
    }

    fn held(&self) -> usize {
        self.counts.held.load(Relaxed)
    }

    fn knocking(&self) -> usize {
        self.counts.knocking.load(Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.counts.over.notify_one();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn stay(address: SocketAddr, at: usize, says: &'static [u8], counts: Arc<Counts>) {
    loop {
        counts.knocking.fetch_add(1, Relaxed);
        let connected = connect(address, at).await;
        counts.knocking.fetch_sub(1, Relaxed);
        let Ok(mut stream) = connected else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        counts.held.fetch_add(1, Relaxed);
        counts.begun.fetch_add(1, Relaxed);
        // It may be closed before all of it was sent.
        let _ = stream.write_all(says).await;
        let mut chunk = [0; 256];
        while let Ok(1..) = stream.read(&mut chunk).await {}
        counts.held.fetch_sub(1, Relaxed);
    }
}

/// From one of several addresses: whoever is sent away leaves a port behind that rests for a minute.
async fn connect(address: SocketAddr, at: usize) -> std::io::Result<TcpStream> {
    let own = u8::try_from(2 + at % 16).unwrap_or(2);
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from(([127, 0, 0, own], 0)))?;
    socket.connect(address).await
}

/// How long answers took.
#[derive(Debug)]
#[expect(dead_code, reason = "they are printed")]
struct Figures {
    increment_p50: Duration,
    increment_p99: Duration,
    health_p50: Duration,
    health_p99: Duration,
    healths: usize,
}

fn rank(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

/// Increments on one connection, and beside them new connections that ask `/healthz`, each answered.
fn measure(server: &Server, client: &mut Client) -> Figures {
    measure_for(Duration::ZERO, server, client)
}

/// The same for so long at least.
fn measure_for(least: Duration, server: &Server, client: &mut Client) -> Figures {
    let (mut increments, mut healths) = (Vec::new(), Vec::new());
    let (begun, http) = (Instant::now(), server.http);
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            while begun.elapsed() < MEASURED && (healths.len() < 500 || begun.elapsed() < least) {
                let start = Instant::now();
                let mut asker = Client::connect(http);
                asker.send(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n");
                assert!(asker.read_to_end().ends_with(b"\r\n\r\nok\n"));
                healths.push(start.elapsed());
            }
        });
        // All the while, and not only when the other was answered.
        while !asking.is_finished() {
            let start = Instant::now();
            client.ask("incr a 1\r\n");
            increments.push(start.elapsed());
        }
    });
    Figures {
        increment_p50: rank(&mut increments, 50),
        increment_p99: rank(&mut increments, 99),
        health_p50: rank(&mut healths, 50),
        health_p99: rank(&mut healths, 99),
        healths: healths.len(),
    }
}

/// What else runs on the machine takes its time from either side, so there is much room in this.
fn assert_counts_on(before: &Figures, during: &Figures) {
    let bound = before.increment_p99 * 10 + Duration::from_millis(20);
    assert!(during.increment_p99 < bound, "{before:#?}, and then {during:#?}");
}

#[test]
#[ignore = "takes the machine for some seconds, and ten thousand open files; run by hand: cargo test --test it crowd -- --ignored --nocapture --test-threads=1"]
fn ten_thousand_silent_clients_are_all_kept() {
    allow_files();
    // One place is for who counts.
    let server = Server::start_with("max_connections = 10001\n", "");
    let mut client = server.client();
    client.ask("incr a 1\r\n");
    let before = measure(&server, &mut client);
    let crowd = Crowd::gather(server.memcached, [b"", b"incr a", b"set a 0 0 50\r\nx"], CROWD);
    assert_eq!(crowd.held(), CROWD);
    let during = measure(&server, &mut client);
    eprintln!("before: {before:#?}\nwith {} at the memcached port: {during:#?}", crowd.held());
    assert_eq!((crowd.held(), crowd.counts.begun.load(Relaxed)), (CROWD, CROWD), "all are kept");
    assert_counts_on(&before, &during);
}

#[test]
#[ignore = "takes the machine for half a minute, and ten thousand open files; run by hand, as above"]
fn ten_thousand_at_the_http_port_keep_nobody_out() {
    allow_files();
    let server = Server::start("");
    let mut client = server.client();
    client.ask("incr a 1\r\n");
    let before = measure(&server, &mut client);
    // What the crowd takes of the machine by itself, whoever it presses at.
    let another = Server::start("");
    let (elsewhere, beside) = press(&server, another.http, &mut client);
    drop(another);
    let (crowd, during) = press(&server, server.http, &mut client);
    eprintln!(
        "before: {before:#?}\nwith {elsewhere}, at another server: {beside:#?}\nwith {crowd}: {during:#?}"
    );
    assert_counts_on(&before, &during);
}

#[test]
#[ignore = "takes the machine for half a minute, and ten thousand open files; run by hand, as above"]
fn ten_thousand_at_one_http_address_leave_the_other_as_it_is() {
    allow_files();
    let mut server = Server::start_with("http = [\"127.0.0.1:0\", \"127.0.0.1:0\"]\n", "");
    let ready = server.wait_for_log("is ready");
    let crowded = server.http;
    let other = ready.split_once(&format!("{crowded},")).expect("two addresses").1;
    server.http = other.split_once('"').expect("its end").0.parse().expect("an address");
    let mut client = server.client();
    client.ask("incr a 1\r\n");
    let before = measure(&server, &mut client);
    let (crowd, during) = press(&server, crowded, &mut client);
    eprintln!("before: {before:#?}\nwith {crowd}, asked at the other address: {during:#?}");
    assert_counts_on(&before, &during);
    let bound = before.health_p99 * 10 + Duration::from_millis(500);
    assert!(during.health_p99 < bound, "{before:#?}, and then {during:#?}");
}

/// Ten thousand press at an address of HTTP while others ask; who they are, and how long answers take.
fn press(server: &Server, address: SocketAddr, client: &mut Client) -> (String, Figures) {
    // There are seats for a tenth of them. Some more are connected as far as they know, and wait in the kernel; all
    // others knock, and whoever has to leave his seat knocks again.
    let crowd = Crowd::gather(
        address,
        [
            b"",
            b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nX: ",
            b"POST /api/v1/deploys HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{",
        ],
        SEATS,
    );
    let during = measure_for(PRESSED, server, client);
    let (held, knocking) = (crowd.held(), crowd.knocking());
    let begun = crowd.counts.begun.load(Relaxed);
    assert!(held + knocking > CROWD * 9 / 10, "they are still there: {held} and {knocking}");
    assert!(during.healths > 0, "somebody was answered");
    let crowd = format!(
        "{held} connected as they see it and {knocking} knocking, {begun} connections in all"
    );
    (crowd, during)
}
