//! The face on sockets and pipes of its own: bounds, and who waits for whom.

use std::net::SocketAddr;
use std::sync::mpsc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::super::tests::shared;
use super::*;
use crate::config::Config;
use crate::notify::tests::rule;

/// Far longer than anything takes here that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for an answer to come that should not.
const A_WHILE: Duration = Duration::from_millis(200);

const KEPT: Patience = Patience { asking: PATIENCE, farewell: PATIENCE };

fn request(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// Asks, and reads up to the end of the head.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), path: &str) -> String {
    stream.write_all(request(path).as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("an answer"));
    }
    String::from_utf8(head).unwrap()
}

#[expect(clippy::disallowed_methods, reason = "a test is a client")]
async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// A face that serves on two addresses until the sender is dropped.
async fn start(face: &Face) -> (Vec<SocketAddr>, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let mut addresses = Vec::new();
    for _ in 0..2 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        addresses.push(listener.local_addr().unwrap());
        tokio::spawn(face.clone().serve(listener, stopped.clone()));
    }
    (addresses, stop)
}

#[tokio::test]
async fn the_room_for_connections_is_one_for_all_addresses() {
    let (shared, _) = shared(&Config::default());
    let face = Face { room: Arc::new(Semaphore::new(1)), ..Face::new(shared) };
    let (addresses, _stop) = start(&face).await;
    let mut first = connect(addresses[0]).await;
    assert!(ask(&mut first, "/readyz").await.starts_with("HTTP/1.1 503"));
    let mut second = connect(addresses[1]).await;
    let mut answer = Box::pin(ask(&mut second, "/readyz"));
    assert!(tokio::time::timeout(A_WHILE, &mut answer).await.is_err(), "there is no room");
    drop(first);
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("there is room now");
    assert!(answer.starts_with("HTTP/1.1 503"));
}

#[tokio::test]
async fn nobody_waits_for_the_engine_but_who_asks_it() {
    let config = Config { rules: vec![rule("r")], ..Config::default() };
    let (shared, _) = shared(&config);
    let (addresses, _stop) = start(&Face::new(shared.clone())).await;
    // Somebody holds the engine, as a tick with many series does.
    let (hold, held) = mpsc::channel::<()>();
    let (holding, holds) = tokio::sync::oneshot::channel();
    let holder = std::thread::spawn(move || {
        shared.engine.view(|_| {
            holding.send(()).unwrap();
            held.recv_timeout(PATIENCE).is_ok()
        })
    });
    holds.await.unwrap();
    let mut waiting = JoinSet::new();
    let paths =
        ["/", "/chart.svg?rule=r", "/chart.svg?series=a", "/api/v1/rules", "/api/v1/alerts"];
    let further = ["/check/r", "/metrics", "/api/v1/measure?series=a&from=-1h"];
    for path in paths.into_iter().chain(further) {
        let address = addresses[0];
        waiting.spawn(async move { ask(&mut connect(address).await, path).await });
    }
    let among = tokio::time::timeout(A_WHILE, waiting.join_next()).await;
    assert!(among.is_err(), "they wait: {among:?}");
    let other = ask(&mut connect(addresses[0]).await, "/readyz").await;
    assert!(other.starts_with("HTTP/1.1 503"));
    hold.send(()).expect("it is still held");
    assert!(holder.join().unwrap(), "nobody waited for the end of patience");
    while let Some(head) = waiting.join_next().await {
        assert!(head.unwrap().starts_with("HTTP/1.1 200"));
    }
}

#[tokio::test]
async fn an_answer_that_is_not_read_is_given_up() {
    let (mut client, server) = tokio::io::duplex(16);
    let large = Router::new().route("/", get(async || "x".repeat(1 << 20)));
    let (_stop, stopped) = watch::channel(false);
    let short = Duration::from_millis(20);
    let attended = attend(server, large, Patience { asking: short, farewell: short }, stopped);
    let request = request("/");
    let (sent, ended) = tokio::join!(
        client.write_all(request.as_bytes()),
        tokio::time::timeout(PATIENCE, attended)
    );
    sent.unwrap();
    ended.expect("it is cut off");
}

#[tokio::test]
async fn a_connection_that_is_kept_is_ended_after_its_time() {
    let (mut client, server) = tokio::io::duplex(4096);
    let (_stop, stopped) = watch::channel(false);
    let router = Router::new().route("/", get(async || StatusCode::NO_CONTENT));
    let short = Patience { asking: Duration::from_millis(100), ..KEPT };
    tokio::spawn(attend(server, router, short, stopped));
    assert!(ask(&mut client, "/").await.starts_with("HTTP/1.1 204"));
    let mut rest = Vec::new();
    let read = tokio::time::timeout(PATIENCE, client.read_to_end(&mut rest)).await;
    assert_eq!(read.expect("it is ended").unwrap(), 0);
}

#[tokio::test]
async fn every_answer_says_that_it_is_for_our_own_pages() {
    let (shared, _) = shared(&Config::default());
    let (addresses, _stop) = start(&Face::new(shared)).await;
    for path in ["/", "/metrics", "/healthz", "/nowhere", "/chart.svg", "/api/v1/measure"] {
        let head = ask(&mut connect(addresses[0]).await, path).await;
        assert!(head.contains("cross-origin-resource-policy: same-origin\r\n"), "{head}");
    }
}
