//! Who is connected, for `stats conns`: sockets that listen, and connections with what they are at.
//!
//! A connection is entered once and taken out once; what it is at is a store without a lock. How many
//! there are is bounded by the connections that are let in.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::time::Timestamp;

/// What a socket is at, in memcached's words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// Waiting for a connection.
    Listening,
    /// Waiting for a request.
    Reading,
    /// Waiting for the rest of a value.
    ReadingValue,
    /// Answering.
    Answering,
}

const ACTIVITIES: [(Activity, &str); 4] = [
    (Activity::Listening, "conn_listening"),
    (Activity::Reading, "conn_read"),
    (Activity::ReadingValue, "conn_nread"),
    (Activity::Answering, "conn_parse_cmd"),
];

/// One socket.
#[derive(Debug)]
struct Client {
    address: String,
    listen_address: Option<String>,
    activity: AtomicU8,
    /// Milliseconds since the epoch.
    last_command: AtomicI64,
}

/// All sockets.
#[derive(Debug, Default)]
pub struct Clients {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    clients: BTreeMap<u64, Arc<Client>>,
}

/// A socket's own entry; it ends with this value.
#[derive(Debug)]
pub struct Entered {
    client: Arc<Client>,
    number: u64,
    table: Arc<Mutex<Table>>,
}

/// One socket, as `stats conns` tells of it.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) number: u64,
    pub(super) address: String,
    pub(super) listen_address: Option<String>,
    pub(super) activity: &'static str,
    pub(super) idle_secs: u64,
}

impl Clients {
    /// Enters a socket that listens at `address` (`tcp:127.0.0.1:11211`, `unix:/path`), or with
    /// `listen_address` a connection that came in there.
    #[must_use]
    pub fn enter(
        &self,
        address: String,
        listen_address: Option<String>,
        now: Timestamp,
    ) -> Entered {
        let activity = match listen_address {
            None => Activity::Listening,
            Some(_) => Activity::Reading,
        };
        let client = Arc::new(Client {
            address,
            listen_address,
            activity: AtomicU8::new(activity as u8),
            last_command: AtomicI64::new(now.as_millis()),
        });
        let mut table = lock(&self.table);
        let number = table.next;
        table.next += 1;
        table.clients.insert(number, Arc::clone(&client));
        Entered { client, number, table: Arc::clone(&self.table) }
    }

    /// All sockets, those that were entered first before others.
    pub(super) fn list(&self, now: Timestamp) -> Vec<Told> {
        let told = |(number, client): (&u64, &Arc<Client>)| {
            let activity = usize::from(client.activity.load(Relaxed));
            let last_command = Timestamp::from_millis(client.last_command.load(Relaxed));
            Told {
                number: *number,
                address: client.address.clone(),
                listen_address: client.listen_address.clone(),
                activity: ACTIVITIES.get(activity).map_or("", |(_, word)| word),
                idle_secs: now.since(last_command).as_millis() / 1000,
            }
        };
        lock(&self.table).clients.iter().map(told).collect()
    }
}

impl Entered {
    /// Where it comes from, or where it listens.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.client.address
    }

    /// Notes what the socket is at.
    pub(super) fn set(&self, activity: Activity) {
        self.client.activity.store(activity as u8, Relaxed);
    }

    /// Notes that it was sent something.
    pub(super) fn answers(&self, now: Timestamp) {
        self.set(Activity::Answering);
        self.client.last_command.store(now.as_millis(), Relaxed);
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        lock(&self.table).clients.remove(&self.number);
    }
}

fn lock(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // Every change leaves the table whole.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_are_told_of_while_they_are_there() {
        for (at, (activity, _)) in ACTIVITIES.iter().enumerate() {
            assert_eq!(*activity as usize, at, "the words stand in the order of the states");
        }
        let at = Timestamp::from_secs;
        let clients = Clients::default();
        let listener = clients.enter("tcp:a".to_owned(), None, at(0));
        let client = clients.enter("tcp:b".to_owned(), Some("tcp:a".to_owned()), at(5));
        client.answers(at(7));
        let told = |now| {
            let line = |told: Told| format!("{} {} {}", told.number, told.activity, told.idle_secs);
            clients.list(now).into_iter().map(line).collect::<Vec<_>>()
        };
        assert_eq!(told(at(10)), ["0 conn_listening 10", "1 conn_parse_cmd 3"]);
        client.set(Activity::ReadingValue);
        assert_eq!(told(at(10))[1], "1 conn_nread 3");
        drop(client);
        drop(listener);
        assert!(told(at(10)).is_empty());
    }
}
