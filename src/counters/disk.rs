//! The data directory of the live table: its lock, and the log of keys.
//!
//! A key is in the log before its cell is used, so after the end of the process every cell that was
//! counted in has its name. Where the disk is full the key waits in memory and is tried again at each
//! sync; counting goes on, and how many wait is shown. This module does not know what is in a cell.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::cells::CellId;
use super::journal::{Found, Journal, OpenError, open_file};

const KEYS_MAGIC: [u8; 8] = *b"tallyKEY";

/// The kind of a record: a key was given a cell.
const BIRTH: u8 = 1;

/// The open directory. While it lives, no other process can open it.
#[derive(Debug)]
pub(super) struct Disk {
    _lock: File,
    keys: Mutex<Keys>,
    waiting: AtomicU64,
}

#[derive(Debug)]
struct Keys {
    journal: Journal,
    /// Keys that found no room, with their cells.
    unsaved: Vec<(u32, Box<[u8]>)>,
}

impl Disk {
    /// Opens the directory, which is made where there is none, and hands every key in its log with
    /// the number of its cell to `each`.
    ///
    /// # Errors
    /// [`OpenError`], where another process has it, or a file in it cannot be used.
    pub(super) fn open(
        dir: &Path,
        mut each: impl FnMut(CellId, &[u8]),
    ) -> Result<(Self, Found), OpenError> {
        std::fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
        let lock = open_file(&dir.join("lock"))?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                return Err(OpenError::Locked { path: dir.to_owned() });
            }
            Err(error) => return Err(OpenError::io(dir)(error.into())),
        }
        let (journal, found) = Journal::open(&dir.join("keys.log"), KEYS_MAGIC, |payload| {
            if let Some((&[BIRTH, a, b, c, d], key)) = payload.split_first_chunk() {
                each(CellId::of_number(u32::from_le_bytes([a, b, c, d])), key);
            }
        })?;
        let keys = Mutex::new(Keys { journal, unsaved: Vec::new() });
        Ok((Self { _lock: lock, keys, waiting: AtomicU64::new(0) }, found))
    }

    /// Notes that a key has a cell.
    pub(super) fn birth(&self, id: CellId, key: &[u8]) {
        let number = id.number();
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        // Behind one that waits the next one waits too: in the log the order is that of the births.
        if !keys.unsaved.is_empty() || keys.append(number, key).is_err() {
            keys.unsaved.push((number, key.into()));
            self.waiting.store(keys.unsaved.len() as u64, Relaxed);
        }
    }

    /// Tries the keys that wait once more, and brings the log to the medium.
    ///
    /// # Errors
    /// What the system says; keys go on waiting.
    pub(super) fn sync(&self) -> io::Result<()> {
        let handle = {
            let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            let saved = keys.save_waiting();
            self.waiting.store(keys.unsaved.len() as u64, Relaxed);
            saved?;
            keys.journal.handle()?
        };
        // Outside the lock: it may take as long as the disk likes.
        handle.sync_data()
    }

    /// Keys that are not in the log yet.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }
}

impl Keys {
    fn append(&mut self, number: u32, key: &[u8]) -> io::Result<()> {
        self.journal.append(&[&[BIRTH], &number.to_le_bytes(), key])
    }

    fn save_waiting(&mut self) -> io::Result<()> {
        let mut saved = 0;
        let mut done = Ok(());
        for at in 0..self.unsaved.len() {
            let Some((number, key)) = self.unsaved.get(at).cloned() else { break };
            done = self.append(number, &key);
            if done.is_err() {
                break;
            }
            saved += 1;
        }
        self.unsaved.drain(..saved);
        done
    }
}

/// The checksum of a key that its cell carries; never zero. FNV-1a with 64 bits, whose constants are
/// those of its authors' page; it has to stay the same for as long as files do.
pub(super) fn identity(key: &[u8]) -> u64 {
    let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}
