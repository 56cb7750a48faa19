//! Accepting connections, as every face does it: until the process stops, whatever goes wrong with one of them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stopped;
use crate::limits;

/// The next connection of this kind; `None` once the process is to stop. Those of `open` that have ended go meanwhile.
pub(super) async fn next(
    listener: &TcpListener,
    open: &mut JoinSet<()>,
    stop: &mut watch::Receiver<bool>,
    kind: &str,
) -> Option<(TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(stop) => return None,
            Some(_) = open.join_next(), if !open.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
            Err(error) => pause(&error, kind).await,
        }
    }
}

/// Says that a connection of this kind could not be accepted, and waits a moment: there are no descriptors left, most
/// likely, and then there may be one.
pub(crate) async fn pause(error: &io::Error, kind: &str) {
    tracing::warn!(%error, "cannot accept a connection of {kind}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

/// Has the system find out which of the connections that a socket accepts have a peer that is gone without a word: they
/// take the setting over. A system that cannot keeps them until they are written to.
pub(crate) fn keep_alive(listener: impl AsFd) {
    use rustix::net::sockopt;
    let (idle, between, unanswered) = limits::KEEPALIVE;
    let _ = sockopt::set_socket_keepalive(&listener, true)
        .and_then(|()| sockopt::set_tcp_keepidle(&listener, Duration::from_secs(idle)))
        .and_then(|()| sockopt::set_tcp_keepintvl(&listener, Duration::from_secs(between)))
        .and_then(|()| sockopt::set_tcp_keepcnt(&listener, unanswered));
}

#[cfg(test)]
mod tests {
    use rustix::net::sockopt;

    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test is a client")]
    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn comes_one_after_the_other_until_the_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        keep_alive(&listener);
        let address = listener.local_addr().unwrap();
        let (say_stop, mut stop) = watch::channel(false);
        let mut open = JoinSet::new();
        open.spawn(async {});
        let client = connect(address).await;
        let (stream, from) = next(&listener, &mut open, &mut stop, "a test").await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        assert_eq!(sockopt::socket_keepalive(&stream), Ok(true));
        assert_eq!(sockopt::tcp_keepidle(&stream), Ok(Duration::from_secs(60)));
        assert_eq!(sockopt::tcp_keepcnt(&stream), Ok(6));
        let _waiting = connect(address).await;
        say_stop.send_replace(true);
        assert!(next(&listener, &mut open, &mut stop, "a test").await.is_none());
        // Whatever has not gone by then is for who asked.
        while open.join_next().await.is_some() {}
    }
}
