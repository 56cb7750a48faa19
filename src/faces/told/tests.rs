//! Turns, pauses and silence, on sockets of their own. What lines mean does not matter here.

use std::future::Future;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::Ordering::Relaxed;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::super::tests::shared;
use super::*;
use crate::config::Config;

/// Far longer than anything takes here that comes to an end at all.
const PATIENCE: Duration = Duration::from_secs(20);

struct Deaf;

impl Teller for Deaf {
    fn tell(&mut self, _: &[u8], _: Timestamp) -> Result<(), Refusal> {
        Ok(())
    }

    fn settle(&mut self, _: Timestamp, _: bool) {}
}

fn hub(idle: Duration) -> Rc<Hub<Deaf>> {
    let shared = shared(&Config::default()).0;
    let room = RefCell::new(vec![0; limits::READ_CHUNK_BYTES]);
    Rc::new(Hub { teller: RefCell::new(Deaf), shared, tally: |status| &status.statsd, room, idle })
}

/// A socket of ours, and one that sends to it.
fn pair() -> (Datagrams, UdpSocket) {
    let ours = UdpSocket::bind("127.0.0.1:0").unwrap();
    ours.set_nonblocking(true).unwrap();
    let theirs = UdpSocket::bind("127.0.0.1:0").unwrap();
    theirs.connect(ours.local_addr().unwrap()).unwrap();
    (Datagrams::Udp(tokio::net::UdpSocket::from_std(ours).unwrap()), theirs)
}

async fn within<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes to an end")
}

#[expect(clippy::disallowed_methods, reason = "a test is a client")]
async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Waits until so many lines were taken.
async fn lines(hub: &Hub<Deaf>, expect: u64) {
    let all = async {
        while hub.tally().lines() < expect {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    within(all).await;
}

#[tokio::test]
async fn a_turn_ends_by_number_by_length_and_at_the_stop() {
    let (hub, (socket, sender)) = (hub(IDLE), pair());
    let Datagrams::Udp(ours) = &socket else { unreachable!("it was made of UDP") };
    make_room(ours);
    let mut room = vec![0; limits::DATAGRAM_BYTES + 1];
    let mut take = async |most: u64| {
        within(ours.readable()).await.unwrap();
        let before = hub.tally().datagrams.load(Relaxed);
        let taken = || hub.tally().datagrams.load(Relaxed) - before;
        let has_more = hub.take_turn(&socket, &mut room, || taken() == most).unwrap();
        (taken(), has_more)
    };
    let long = vec![b'a'; 30_000];
    (0..4).for_each(|_| _ = sender.send(&long).unwrap());
    assert_eq!(take(u64::MAX).await, (3, true), "more than is read of a connection");
    assert_eq!(take(u64::MAX).await, (1, false));
    // What a socket has room for without asking.
    (0..100).for_each(|_| _ = sender.send(b"a").unwrap());
    assert_eq!(take(3).await, (3, true), "somebody asked for the end");
    assert_eq!(take(u64::MAX).await, (97, false));
}

#[tokio::test]
async fn what_goes_wrong_with_a_socket_does_not_end_it() {
    let (hub, (socket, sender)) = (hub(IDLE), pair());
    let Datagrams::Udp(ours) = &socket else { unreachable!("it was made of UDP") };
    let to = sender.local_addr().unwrap();
    // Whoever is there is gone, which the next one who reads is told.
    drop(sender);
    ours.connect(to).await.unwrap();
    ours.send(b"is somebody there").await.unwrap();
    let ours = ours.local_addr().unwrap();
    let (say_stop, stop) = watch::channel(false);
    let both = async {
        let taking = tokio::task::spawn_local(Rc::clone(&hub).take_datagrams(socket, stop));
        tokio::time::sleep(Duration::from_millis(20)).await;
        let sender = UdpSocket::bind(to).unwrap();
        sender.send_to(b"a\nb\nc", ours).unwrap();
        lines(&hub, 3).await;
        // What came in before the stop is taken.
        sender.send_to(b"d", ours).unwrap();
        say_stop.send_replace(true);
        within(taking).await.unwrap();
        assert_eq!(hub.tally().lines(), 4);
    };
    LocalSet::new().run_until(both).await;
}

#[tokio::test]
async fn who_says_nothing_for_long_makes_room() {
    let hub = hub(Duration::from_millis(300));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (_say_stop, stop) = watch::channel(false);
    let all = async {
        tokio::task::spawn_local(Rc::clone(&hub).accept(listener, stop));
        let mut silent = connect(address).await;
        silent.write_all(b"half of a li").await.unwrap();
        let mut busy = connect(address).await;
        let talking = async {
            loop {
                busy.write_all(b"a\n").await.unwrap();
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let mut byte = [0];
        tokio::select! {
            never = talking => never,
            read = within(silent.read(&mut byte)) => assert_eq!(read.unwrap(), 0),
        }
        let told = hub.tally().lines();
        busy.write_all(b"still here\n").await.unwrap();
        lines(&hub, told + 1).await;
        let torn = hub.tally().refused_by_reason().find(|(reason, _)| *reason == "torn");
        assert_eq!(torn, Some(("torn", 1)));
        assert_eq!(hub.tally().connections.load(Relaxed), 1);
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn what_a_client_said_before_the_stop_is_taken() {
    let hub = hub(IDLE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut client = connect(listener.local_addr().unwrap()).await;
    let (say_stop, stop) = watch::channel(false);
    let all = async {
        let taking = tokio::task::spawn_local(Rc::clone(&hub).accept(listener, stop));
        client.write_all(b"a\n").await.unwrap();
        lines(&hub, 1).await;
        client.try_write(b"b\nc\n").unwrap();
        say_stop.send_replace(true);
        within(taking).await.unwrap();
        assert_eq!(hub.tally().lines(), 3);
    };
    LocalSet::new().run_until(all).await;
}

#[tokio::test]
async fn who_came_before_the_stop_and_was_not_looked_at_yet_is_heard() {
    let hub = hub(IDLE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut clients = Vec::new();
    for _ in 0..10 {
        let client = connect(listener.local_addr().unwrap()).await;
        assert_eq!(client.try_write(b"a\n").unwrap(), 2);
        clients.push(client);
    }
    let (say_stop, stop) = watch::channel(false);
    say_stop.send_replace(true);
    LocalSet::new().run_until(within(Rc::clone(&hub).accept(listener, stop))).await;
    assert_eq!(hub.tally().lines(), 10);
}
