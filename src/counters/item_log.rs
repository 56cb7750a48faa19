//! What was said about items, in an append-only log that is written anew when most of it is past.
//!
//! Every change is in the log before it is acknowledged. Rewriting takes no lock for long: from one
//! moment on changes go to a new file, then every item that is there is written to it too, a shard at
//! a time, while the table works on. Replaying the old file and then the new one gives the same
//! table at any moment in between.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::items::Item;
use super::journal::{Found, Journal, OpenError};
use super::marks::{Marks, Trace};
use crate::time::Timestamp;

const MAGIC: [u8; 8] = *b"tallyITM";

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;

/// A file is written anew when it is this much longer than twice what is live in it.
const SLACK_BYTES: u64 = 1 << 20;

/// One change.
pub(super) enum Change<'a> {
    /// A value was put in place.
    Put(&'a [u8], Item),
    /// A value is gone.
    Remove(&'a [u8]),
    /// All are gone.
    Clear,
}

/// The log.
#[derive(Debug)]
pub(super) struct ItemLog {
    dir: PathBuf,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    number: u64,
    journal: Journal,
}

impl ItemLog {
    /// Opens the log in `dir`, and hands every change in it to `each`, in order.
    ///
    /// # Errors
    /// [`OpenError`], where a file of it cannot be used.
    pub(super) fn open(
        dir: &Path,
        now: Timestamp,
        mut each: impl FnMut(Change<'_>),
    ) -> Result<(Self, Found), OpenError> {
        let mut numbers = numbers(dir)?;
        numbers.sort_unstable();
        if numbers.is_empty() {
            numbers.push(0);
        }
        let mut all = Found::default();
        let mut last = None;
        for number in numbers {
            let (journal, found) = Journal::open(&path(dir, number), MAGIC, |payload| {
                if let Some(change) = change(payload, now) {
                    each(change);
                }
            })?;
            all.records += found.records;
            all.torn_bytes += found.torn_bytes;
            all.damaged_bytes += found.damaged_bytes;
            last = Some(Current { number, journal });
        }
        let current = last.expect("there is at least one file");
        Ok((Self { dir: dir.to_owned(), current: Mutex::new(current) }, all))
    }

    /// Notes that a value is put in place.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn put(&self, key: &[u8], item: &Item) -> io::Result<()> {
        let expires = item.expires.map_or(0, Timestamp::as_millis);
        let key_bytes = u16::try_from(key.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.lock().journal.append(&[
            &[PUT],
            &item.trace.marks().face_bits().to_le_bytes(),
            &item.flags.to_le_bytes(),
            &expires.to_le_bytes(),
            &item.unique.to_le_bytes(),
            &key_bytes.to_le_bytes(),
            key,
            &item.value,
        ])
    }

    /// Notes that a value is gone.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.lock().journal.append(&[&[REMOVE], key])
    }

    /// Notes that all values are gone.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.lock().journal.append(&[&[CLEAR]])
    }

    /// Brings the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        let handle = self.lock().journal.handle()?;
        handle.sync_data()
    }

    /// Whether most of the log is past, when `live_bytes` of it are not.
    pub(super) fn is_worth_rewriting(&self, live_bytes: usize) -> bool {
        self.lock().journal.bytes() > 2 * live_bytes as u64 + SLACK_BYTES
    }

    /// Writes the log anew: `write_all` has to [`put`](Self::put) every value that is there.
    ///
    /// # Errors
    /// What the system says; the old file stays until all of it is in the new one.
    pub(super) fn rewrite(&self, write_all: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let current = {
            let mut current = self.lock();
            let number = current.number + 1;
            let (journal, _) =
                Journal::open(&path(&self.dir, number), MAGIC, |_| {}).map_err(io::Error::other)?;
            *current = Current { number, journal };
            number
        };
        write_all()?;
        self.sync()?;
        // From the oldest on, of which there are several where an earlier attempt failed half way: a
        // later one may tell that what an older one put is gone.
        let mut past = numbers(&self.dir).map_err(io::Error::other)?;
        past.retain(|number| *number < current);
        past.sort_unstable();
        past.into_iter().try_for_each(|number| std::fs::remove_file(path(&self.dir, number)))
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("items-{number:06}.log"))
}

/// The numbers of the log's files.
fn numbers(dir: &Path) -> Result<Vec<u64>, OpenError> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(OpenError::io(dir))? {
        let name = entry.map_err(OpenError::io(dir))?.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix("items-")?.strip_suffix(".log")?.parse::<u64>().ok()
        });
        numbers.extend(number);
    }
    Ok(numbers)
}

/// What a record says; `None` for one that no version of this program has written.
fn change(payload: &[u8], now: Timestamp) -> Option<Change<'_>> {
    let (kind, rest) = payload.split_first()?;
    match *kind {
        PUT => {
            let (marks, rest) = rest.split_first_chunk()?;
            let (flags, rest) = rest.split_first_chunk()?;
            let (expires, rest) = rest.split_first_chunk()?;
            let (unique, rest) = rest.split_first_chunk()?;
            let (key_bytes, rest) = rest.split_first_chunk()?;
            let (key, value) = rest.split_at_checked(u16::from_le_bytes(*key_bytes).into())?;
            let expires = match i64::from_le_bytes(*expires) {
                0 => None,
                millis => Some(Timestamp::from_millis(millis)),
            };
            let item = Item {
                value: value.into(),
                flags: u32::from_le_bytes(*flags),
                expires,
                unique: u64::from_le_bytes(*unique),
                // When it was last read is not kept: it counts from now on.
                trace: Trace::new(Marks::of_face(u64::from_le_bytes(*marks)), now),
            };
            Some(Change::Put(key, item))
        }
        REMOVE => Some(Change::Remove(rest)),
        CLEAR => Some(Change::Clear),
        _ => None,
    }
}
