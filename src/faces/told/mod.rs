//! Lines that are told and not answered: what StatsD and Graphite have in common.
//!
//! Datagrams and connections of one protocol are taken on one thread, so what a line does is a plain function and
//! needs no lock. Whoever sends learns of nothing, so all that is not taken is counted, by its reason: lines that are
//! none, values that find no room, and datagrams that the system dropped since they came faster than they were taken.
//! What the lines mean is not known here.

mod datagrams;
mod dropped;
mod streams;
mod tally;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Shared, Status, stopped};
use crate::limits;
use crate::time::Timestamp;

pub use datagrams::{Datagrams, make_room};
pub use tally::{Refusal, Tally};

/// What a protocol does with its lines.
pub trait Teller {
    /// Takes one line, without its line end and not empty.
    ///
    /// # Errors
    /// Why it, or a part of it, is not taken.
    fn tell(&mut self, line: &[u8], now: Timestamp) -> Result<(), Refusal>;

    /// Does what is due: now and then, about once a second, and when all of it ends.
    fn settle(&mut self, now: Timestamp, is_last: bool);
}

/// Where lines of one protocol come in.
#[derive(Default)]
pub struct Inlets {
    /// Datagrams.
    pub datagrams: Vec<Datagrams>,
    /// Connections.
    pub streams: Vec<TcpListener>,
}

/// What all tasks of one protocol share.
struct Hub<T> {
    teller: RefCell<T>,
    shared: Shared,
    tally: fn(&Status) -> &Tally,
    /// Where connections are read into, one at a time.
    room: RefCell<Vec<u8>>,
    /// See [`IDLE`].
    idle: Duration,
}

/// Turns of one socket once all of it ends: what came in before, and not what goes on coming. So many take all that
/// [`limits::DATAGRAM_ROOM_BYTES`] holds.
const LAST_TURNS: usize = 256;

/// How long these may take: the last window has to be closed in time too.
const LAST: Duration = Duration::from_secs(1);

/// How long each of them waits to be told that there is something: what the system holds, the runtime may not have
/// heard of.
const LAST_LOOK: Duration = Duration::from_millis(10);

/// Connections that say nothing are looked for so often. One that has said nothing from one look to the next is closed.
/// It is long, since the next line of a client that is closed on is lost.
const IDLE: Duration = Duration::from_secs(limits::TOLD_IDLE_SECS / 2);

/// Takes lines until the process stops, and then what came in before. It is for a thread of its own.
pub async fn take<T: Teller + 'static>(
    inlets: Inlets,
    teller: T,
    shared: Shared,
    tally: fn(&Status) -> &Tally,
    mut stop: watch::Receiver<bool>,
) {
    let room = RefCell::new(vec![0; limits::READ_CHUNK_BYTES]);
    let hub = Rc::new(Hub { teller: RefCell::new(teller), shared, tally, room, idle: IDLE });
    let mut tasks = JoinSet::new();
    let sockets: Arc<[u64]> = inlets.datagrams.iter().filter_map(Datagrams::udp_inode).collect();
    for socket in inlets.datagrams {
        tasks.spawn_local(Rc::clone(&hub).take_datagrams(socket, stop.clone()));
    }
    for listener in inlets.streams {
        tasks.spawn_local(Rc::clone(&hub).accept(listener, stop.clone()));
    }
    let mut losses = dropped::Losses::new(&sockets);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    loop {
        tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            _ = second.tick() => {
                hub.teller.borrow_mut().settle(hub.shared.now(), false);
                hub.tally().lose(losses.since_last());
            }
        }
    }
    // Each takes what its socket holds by now.
    while tasks.join_next().await.is_some() {}
    hub.teller.borrow_mut().settle(hub.shared.now(), true);
    hub.tally().lose(losses.since_last());
}

impl<T: Teller> Hub<T> {
    fn tally(&self) -> &Tally {
        (self.tally)(&self.shared.status)
    }

    /// The turns that there are once all of it ends.
    fn last(&self) -> impl Iterator<Item = ()> {
        let until = self.shared.clock.monotonic() + LAST;
        (0..LAST_TURNS).map_while(move |_| (self.shared.clock.monotonic() < until).then_some(()))
    }

    /// Takes all lines of a text; the last need not have an end.
    fn take_lines(&self, text: &[u8], now: Timestamp) {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', text).chain([text.len()]) {
            self.take_line(text.get(from..end).unwrap_or_default(), now);
            from = end + 1;
        }
    }

    fn take_line(&self, line: &[u8], now: Timestamp) {
        let line = line.trim_ascii();
        if line.is_empty() {
            return;
        }
        let told = if line.len() > limits::TOLD_LINE_BYTES {
            Err(Refusal::TooLong)
        } else {
            self.teller.borrow_mut().tell(line, now)
        };
        self.tally().note(told);
    }
}

#[cfg(test)]
mod tests;
