//! Accepting connections, as every face does it: until the process stops, whatever goes wrong with one of them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::stopped;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test is a client")]
    async fn connect(address: SocketAddr) -> TcpStream {
        TcpStream::connect(address).await.unwrap()
    }

    #[tokio::test]
    async fn comes_one_after_the_other_until_the_stop() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (say_stop, mut stop) = watch::channel(false);
        let mut open = JoinSet::new();
        open.spawn(async {});
        let client = connect(address).await;
        let (_stream, from) = next(&listener, &mut open, &mut stop, "a test").await.unwrap();
        assert_eq!(from, client.local_addr().unwrap());
        let _waiting = connect(address).await;
        say_stop.send_replace(true);
        assert!(next(&listener, &mut open, &mut stop, "a test").await.is_none());
        // Whatever has not gone by then is for who asked.
        while open.join_next().await.is_some() {}
    }
}
