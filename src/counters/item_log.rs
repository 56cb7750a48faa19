//! What was said about items: every change is in the log before it is acknowledged. It is written anew
//! when most of it is past; see [`rotation`](super::rotation).

use std::io;
use std::path::Path;

use super::items::Item;
use super::journal::{Found, OpenError};
use super::lengths::Extent;
use super::marks::{Marks, Trace};
use super::rotation::{Anew, Names, Rotation};
use crate::time::Timestamp;

const NAMES: Names = Names { magic: *b"tallyITM", name: "items", first: None };

const PUT: u8 = 1;
const REMOVE: u8 = 2;
const CLEAR: u8 = 3;
const FLUSH_AT: u8 = 4;

/// One change.
pub(super) enum Change<'a> {
    /// A value was put in place.
    Put(&'a [u8], Item),
    /// A value is gone.
    Remove(&'a [u8]),
    /// All are gone, and none is to go later.
    Clear,
    /// All are to go at this time.
    FlushAt(Timestamp),
}

/// The log.
#[derive(Debug)]
pub(super) struct ItemLog {
    files: Rotation,
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
        let (files, found) = Rotation::open(dir, NAMES, |payload| {
            if let Some(change) = change(payload, now) {
                each(change);
            }
        })?;
        Ok((Self { files }, found))
    }

    /// Notes that a value is put in place.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn put(&self, key: &[u8], item: &Item) -> io::Result<()> {
        write_put(key, item, |parts| self.files.append(parts))
    }

    /// Notes what [`append_put`] has written of a value.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn append(&self, put: &[u8]) -> io::Result<()> {
        self.files.append(&[put])
    }

    /// Notes that a value is gone.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn remove(&self, key: &[u8]) -> io::Result<()> {
        self.files.append(&[&[REMOVE], key])
    }

    /// Notes that all values are gone.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.files.append(&[&[CLEAR]])
    }

    /// Notes that all values are to go at `due`.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn flush_at(&self, due: Timestamp) -> io::Result<()> {
        write_flush(due, |parts| self.files.append(parts))
    }

    /// Brings the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.files.sync()
    }

    /// How far the log goes.
    pub(super) fn extent(&self) -> Extent {
        self.files.extent()
    }

    /// Whether most of the log is past, when `live_bytes` of it are not.
    pub(super) fn is_worth_rewriting(&self, live_bytes: usize) -> bool {
        self.files.is_worth_rewriting(live_bytes as u64)
    }

    /// Writes the log anew: `write_all` has to [`put`](AllItems::put) every value that is there.
    ///
    /// # Errors
    /// What the system says; the old file stays until all of it is in the new one.
    pub(super) fn rewrite(
        &self,
        write_all: impl FnOnce(&AllItems<'_, '_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.files.rewrite(|anew| write_all(&AllItems(anew)))
    }
}

/// The log that is being written anew.
pub(super) struct AllItems<'a, 'b>(&'a Anew<'b>);

impl AllItems<'_, '_> {
    /// Notes a value that is there.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn put(&self, key: &[u8], item: &Item) -> io::Result<()> {
        write_put(key, item, |parts| self.0.append(parts))
    }

    /// Notes that all values are to go at `due`.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn flush_at(&self, due: Timestamp) -> io::Result<()> {
        write_flush(due, |parts| self.0.append(parts))
    }
}

/// Writes what the log would have of a value.
pub(super) fn append_put(key: &[u8], item: &Item, out: &mut Vec<u8>) {
    // Keys are far shorter than the two bytes for their length tell.
    let _ = write_put(key, item, |parts| {
        for part in parts {
            out.extend_from_slice(part);
        }
        Ok(())
    });
}

fn write_put(
    key: &[u8],
    item: &Item,
    append: impl FnOnce(&[&[u8]]) -> io::Result<()>,
) -> io::Result<()> {
    let expires = item.expires.map_or(0, Timestamp::as_millis);
    let key_bytes = u16::try_from(key.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    append(&[
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

fn write_flush(due: Timestamp, append: impl FnOnce(&[&[u8]]) -> io::Result<()>) -> io::Result<()> {
    append(&[&[FLUSH_AT], &due.as_millis().to_le_bytes()])
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
        FLUSH_AT => {
            let due = i64::from_le_bytes(rest.try_into().ok()?);
            Some(Change::FlushAt(Timestamp::from_millis(due)))
        }
        _ => None,
    }
}
