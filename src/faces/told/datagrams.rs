//! Datagrams, of UDP and of unix sockets, each with lines of its own.
//!
//! What comes while nobody reads waits in the system, which drops what it has no room for; so it is asked for much
//! room, and each time there is something, all that waits is taken, as far as one turn goes: by number and by
//! length, which is what a datagram costs. On a unix socket
//! nothing is dropped: whoever sends waits, or is told.

use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::sync::watch;
use tokio::time::timeout;

use super::super::stopped;
use super::{Hub, LAST_LOOK, Refusal, Teller};
use crate::limits;

/// How long a socket that cannot be read is left alone.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that datagrams come to.
#[derive(Debug)]
pub enum Datagrams {
    /// Of UDP.
    Udp(UdpSocket),
    /// Of a unix socket.
    Unix(UnixDatagram),
}

impl Datagrams {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket) => socket.readable().await,
        }
    }

    fn try_recv(&self, room: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.try_recv(room),
            Self::Unix(socket) => socket.try_recv(room),
        }
    }

    /// What the system calls the socket in its list of those of UDP.
    pub(super) fn udp_inode(&self) -> Option<u64> {
        let Self::Udp(socket) = self else { return None };
        rustix::fs::fstat(socket).ok().map(|stat| stat.st_ino)
    }
}

/// Asks the system for room for datagrams that wait; how much there is, in bytes. Only root may have more
/// than `net.core.rmem_max`.
pub fn make_room(socket: impl AsFd) -> usize {
    use rustix::net::sockopt;
    let room = limits::DATAGRAM_ROOM_BYTES;
    if sockopt::set_socket_recv_buffer_size_force(&socket, room).is_err() {
        // It gives as much as it may.
        let _ = sockopt::set_socket_recv_buffer_size(&socket, room);
    }
    // The system counts its own book-keeping as well, and doubles what it is asked for.
    sockopt::socket_recv_buffer_size(&socket).map_or(0, |room| room / 2)
}

impl<T: Teller> Hub<T> {
    /// Takes datagrams until the process stops, and then those that are there.
    pub(super) async fn take_datagrams(
        self: Rc<Self>,
        socket: Datagrams,
        mut stop: watch::Receiver<bool>,
    ) {
        // One byte more, to know of what is longer.
        let mut room = vec![0; limits::DATAGRAM_BYTES + 1];
        let mut is_failing = false;
        loop {
            let ready = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                ready = socket.readable() => ready,
            };
            let is_over = || *stop.borrow();
            match ready.and_then(|()| self.take_turn(&socket, &mut room, is_over)) {
                Ok(_) => {
                    is_failing = false;
                    tokio::task::yield_now().await;
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "cannot read a datagram");
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        for () in self.last() {
            let Ok(ready) = timeout(LAST_LOOK, socket.readable()).await else { return };
            match ready.and_then(|()| self.take_turn(&socket, &mut room, || false)) {
                Ok(true) => tokio::task::yield_now().await,
                Ok(false) => return,
                Err(error) => {
                    return tracing::warn!(%error, "cannot read the last datagrams");
                }
            }
        }
        tracing::warn!("datagrams are left unread at the stop");
    }

    /// Takes the datagrams of one turn; whether there may be more.
    pub(super) fn take_turn(
        &self,
        socket: &Datagrams,
        room: &mut [u8],
        is_over: impl Fn() -> bool,
    ) -> io::Result<bool> {
        let now = self.shared.now();
        let (mut taken, mut bytes) = (0, 0);
        while taken < limits::DATAGRAMS_TURN && bytes < limits::READ_CHUNK_BYTES && !is_over() {
            let length = match socket.try_recv(room) {
                Ok(length) => length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            };
            self.tally().datagrams.fetch_add(1, Relaxed);
            match room.get(..length).filter(|text| text.len() <= limits::DATAGRAM_BYTES) {
                Some(text) => self.take_lines(text, now),
                None => self.tally().refuse(Refusal::TooLong),
            }
            (taken, bytes) = (taken + 1, bytes + length);
        }
        Ok(true)
    }
}
