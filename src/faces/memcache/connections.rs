//! The connections that are open, for `stats conns`: where from, where to, what they are at.
//!
//! The list is touched when a connection comes or goes; what changes with each batch of requests are
//! two atomics of the connection's own.

use std::collections::BTreeMap;
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::time::Timestamp;

/// What a connection is at, in memcached's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// It waits for connections.
    Listening,
    /// It waits for a request.
    Read,
    /// A request is being answered.
    Command,
    /// A data block is not whole yet.
    Block,
    /// A refused data block is still coming.
    Swallow,
}

impl State {
    const ALL: [Self; 5] = [Self::Listening, Self::Read, Self::Command, Self::Block, Self::Swallow];

    const fn word(self) -> &'static str {
        match self {
            Self::Listening => "conn_listening",
            Self::Read => "conn_read",
            Self::Command => "conn_parse_cmd",
            Self::Block => "conn_nread",
            Self::Swallow => "conn_swallow",
        }
    }
}

/// One that is open.
#[derive(Debug)]
pub struct Connection {
    from: String,
    /// The address it came to; none for a listener, which is one.
    to: Option<Arc<str>>,
    state: AtomicU8,
    last_command: AtomicI64,
}

impl Connection {
    /// Where it comes from.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// Notes what it is at.
    pub fn is_at(&self, state: State) {
        self.state.store(state as u8, Relaxed);
    }

    /// Notes that it sent something.
    pub fn sent(&self, now: Timestamp) {
        self.is_at(State::Command);
        self.last_command.store(now.as_secs(), Relaxed);
    }
}

/// All that are open, each under the number of its descriptor, as memcached lists them.
#[derive(Debug, Default)]
pub struct Connections {
    open: Mutex<BTreeMap<RawFd, Arc<Connection>>>,
}

/// Its place in the list, for as long as it is open.
#[derive(Debug)]
pub struct Entry {
    list: Arc<Connections>,
    number: RawFd,
    /// What is shown of it.
    pub connection: Arc<Connection>,
}

impl Connections {
    /// Lists one that was opened.
    #[must_use]
    pub fn enter(
        self: &Arc<Self>,
        number: RawFd,
        from: String,
        to: Option<Arc<str>>,
        now: Timestamp,
    ) -> Entry {
        let state = if to.is_some() { State::Read } else { State::Listening };
        let connection = Arc::new(Connection {
            from,
            to,
            state: AtomicU8::new(state as u8),
            last_command: AtomicI64::new(now.as_secs()),
        });
        self.lock().insert(number, Arc::clone(&connection));
        Entry { list: Arc::clone(self), number, connection }
    }

    /// Every figure of every connection under its name, as `stats conns` has them.
    pub fn each(&self, now: Timestamp, mut each: impl FnMut(&str, &str)) {
        for (number, connection) in &*self.lock() {
            let state = State::ALL.get(usize::from(connection.state.load(Relaxed)));
            let silent = now.as_secs() - connection.last_command.load(Relaxed);
            each(&format!("{number}:addr"), &connection.from);
            if let Some(to) = &connection.to {
                each(&format!("{number}:listen_addr"), to);
            }
            each(&format!("{number}:state"), state.map_or("", |state| state.word()));
            each(&format!("{number}:secs_since_last_cmd"), &silent.max(0).to_string());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<RawFd, Arc<Connection>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        // The number may have been given to another connection already, whose entry is not ours.
        let mut open = self.list.lock();
        if open.get(&self.number).is_some_and(|open| Arc::ptr_eq(open, &self.connection)) {
            open.remove(&self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_was_given_again_is_not_taken_away_by_its_old_owner() {
        let list = Arc::new(Connections::default());
        let now = Timestamp::from_secs(100);
        let to: Arc<str> = "tcp:127.0.0.1:1".into();
        let old = list.enter(7, "tcp:127.0.0.1:2".to_owned(), Some(Arc::clone(&to)), now);
        let new = list.enter(7, "tcp:127.0.0.1:3".to_owned(), Some(to), now);
        drop(old);
        new.connection.sent(now);
        let mut lines = Vec::new();
        list.each(Timestamp::from_secs(103), |name, value| lines.push(format!("{name} {value}")));
        assert_eq!(
            lines,
            [
                "7:addr tcp:127.0.0.1:3",
                "7:listen_addr tcp:127.0.0.1:1",
                "7:state conn_parse_cmd",
                "7:secs_since_last_cmd 3"
            ]
        );
        drop(new);
        list.each(now, |_, _| panic!("nothing is open"));
    }
}
