//! The face on sockets of its own: who is answered, what, and who is not.

use tokio::net::TcpSocket;

use super::super::tests::shared;
use super::*;
use crate::config::{Config, Rule};
use crate::notify::tests::rule;

/// Far longer than anything takes here that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(20);

/// A face with two rules, for hosts of these networks; its address, what it shows, and what keeps it going.
async fn start(allow: &[&str]) -> (SocketAddr, Shared, watch::Sender<bool>) {
    start_with(allow, PATIENCE).await
}

async fn start_with(
    allow: &[&str],
    patience: Duration,
) -> (SocketAddr, Shared, watch::Sender<bool>) {
    let by = Rule { by: vec!["region".to_owned()], ..rule("by-region") };
    let config = Config { rules: vec![rule("r"), by], ..Config::default() };
    let (shared, _) = shared(&config);
    let allow: Vec<_> = allow.iter().map(|text| text.parse().unwrap()).collect();
    shared.nrpe.allow_only(&allow);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = watch::channel(false);
    let face = Face { patience, ..Face::new(shared.clone()) };
    tokio::spawn(face.serve(listener, stopped));
    (address, shared, stop)
}

/// A connection from a loopback address.
async fn connect(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(to).await.unwrap()
}

/// All that is answered until the end; a reset is one.
async fn read_all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    if let Err(error) = read.expect("it ends") {
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    all
}

/// Exit code and text of an answer in this form.
fn read(version: Version, packet: &[u8]) -> (u8, String) {
    let start = if version == Version::V2 { 10 } else { 16 };
    let text: Vec<_> = packet[start..].iter().copied().take_while(|byte| *byte != 0).collect();
    assert_eq!(nrpe::answer(version, packet[9], std::str::from_utf8(&text).unwrap()), packet);
    (packet[9], String::from_utf8(text).unwrap())
}

async fn ask(address: SocketAddr, version: Version, text: &str) -> (u8, String) {
    let mut stream = connect("127.0.0.1", address).await;
    stream.write_all(&nrpe::query(version, text).unwrap()).await.unwrap();
    read(version, &read_all(&mut stream).await)
}

#[tokio::test]
async fn a_rule_is_answered_in_every_form() {
    let (address, shared, _stop) = start(&["127.0.0.1"]).await;
    for version in Version::ALL {
        let (code, text) = ask(address, version, "r").await;
        assert_eq!((code, &*text), (0, "OK - r: no data yet | 'r'=U;;~:10;0;"));
        let (code, text) = ask(address, version, "_NRPE_CHECK").await;
        assert_eq!((code, text), (0, format!("tallyd {VERSION}")));
    }
    let asked = |text: &'static str| ask(address, Version::V4, text);
    for (text, expect) in [
        ("_ALL", "OK - all rules: 2 ok | "),
        ("by-region!region=eu", "UNKNOWN - by-region: no instance has region=eu"),
        ("r!region=eu", "UNKNOWN - r: it has no instances by `region`"),
        ("r!/bin/sh", "UNKNOWN - r: an argument names a tag of the instances that are meant: "),
        ("_ALL!a=b", "UNKNOWN - _ALL: there is no such rule"),
        ("no|such\nrule", "UNKNOWN - no/such rule: there is no such rule"),
        ("", "UNKNOWN - : there is no such rule"),
    ] {
        let (code, said) = asked(text).await;
        assert!(said.starts_with(expect), "{said}");
        assert_eq!(code, if expect.starts_with("OK") { 0 } else { 3 }, "{said}");
    }
    // The last one may still be saying goodbye.
    while shared.nrpe.answered.load(Relaxed) < 13 {
        tokio::task::yield_now().await;
    }
    assert_eq!(shared.nrpe.failed.load(Relaxed), 0);
}

#[tokio::test]
async fn a_host_that_is_not_allowed_hears_nothing() {
    let (address, shared, _stop) = start(&["127.0.0.2", "127.1.0.0/16"]).await;
    let refused = |from: &'static str| async move {
        let mut stream = connect(from, address).await;
        // It may be closed before this arrives.
        let _ = stream.write_all(&nrpe::query(Version::V2, "r").unwrap()).await;
        read_all(&mut stream).await.is_empty()
    };
    assert!(refused("127.0.0.1").await && refused("127.0.0.3").await);
    assert!(!refused("127.0.0.2").await && !refused("127.1.2.3").await);
    assert_eq!(shared.nrpe.refused.load(Relaxed), 2);
    let config = Config::default();
    shared.nrpe.allow_only(&config.nrpe.allow);
    assert!(!refused("127.0.0.1").await, "a reload lets it in");
    assert!(refused("127.0.0.2").await);
}

#[tokio::test]
async fn bytes_that_are_no_query_are_closed_on_without_a_word() {
    let (address, shared, _stop) = start(&["127.0.0.1"]).await;
    let mut damaged = nrpe::query(Version::V4, "r").unwrap();
    damaged[16] = b'q';
    for bytes in [b"GET / HTTP/1.1\r\n\r\n".as_slice(), b"\x16\x03\x01\x02\x00\x01", &damaged] {
        let mut stream = connect("127.0.0.1", address).await;
        stream.write_all(bytes).await.unwrap();
        assert_eq!(read_all(&mut stream).await, b"", "{bytes:?}");
    }
    let mut half = connect("127.0.0.1", address).await;
    half.write_all(&damaged[..5]).await.unwrap();
    half.shutdown().await.unwrap();
    assert_eq!(read_all(&mut half).await, b"");
    while shared.nrpe.failed.load(Relaxed) < 4 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn one_that_says_nothing_is_ended() {
    let (address, shared, _stop) = start_with(&["127.0.0.1"], Duration::from_millis(50)).await;
    let mut silent = connect("127.0.0.1", address).await;
    silent.write_all(&[0, 4]).await.unwrap();
    assert_eq!(read_all(&mut silent).await, b"");
    assert_eq!(shared.nrpe.failed.load(Relaxed), 1);
}
