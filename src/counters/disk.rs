//! The data directory of the live table: its lock, and the keys on their way into their log.
//!
//! A key is in the log before its cell is used, so after the end of the process every cell that was
//! counted in has its name. Where the disk is full the key waits in memory and is tried again at each
//! sync; counting goes on, and how many wait is shown. This module does not know what is in a cell.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, flock};

use super::cells::CellId;
use super::journal::{Found, OpenError, open_file};
use super::key_log::{AllKeys, KeyLog, Life, Replay};
use super::lengths::{Both, Extent, Lengths};
use crate::disk::{self, File};

/// The open directory. While it lives, no other process can open it.
#[derive(Debug)]
pub(super) struct Disk {
    dir: PathBuf,
    _lock: File,
    log: KeyLog,
    lengths: Lengths,
    /// Births that found no room, in their order.
    unsaved: Mutex<Vec<Unsaved>>,
    waiting: AtomicU64,
    /// Keys that have a cell, and their bytes.
    keys: AtomicU64,
    key_bytes: AtomicU64,
}

#[derive(Debug)]
struct Unsaved {
    id: CellId,
    life: Life,
    key: Box<[u8]>,
}

/// The disk has no room for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

/// Takes the directory, which is made for its owner alone where there is none, until the answer is dropped.
///
/// # Errors
/// [`OpenError`], where another process has it.
pub fn lock(dir: &Path) -> Result<File, OpenError> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(OpenError::io(dir))?;
    let lock = open_file(&dir.join("lock"))?;
    match flock(lock.system(), FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(lock),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(OpenError::Locked { path: dir.to_owned() }),
        Err(error) => Err(OpenError::io(dir)(error.into())),
    }
}

impl Disk {
    /// Opens the logs of a directory that is locked, with what the one of keys tells.
    ///
    /// # Errors
    /// [`OpenError`], where a file cannot be used.
    pub(super) fn open(dir: &Path, lock: File) -> Result<(Self, Replay, Found), OpenError> {
        let lengths = Lengths::open(dir)?;
        let (log, replay, found) = KeyLog::open(dir)?;
        let key_bytes = replay.lives().map(|(_, _, key)| replay.key(key).len() as u64).sum();
        let disk = Self {
            dir: dir.to_owned(),
            _lock: lock,
            log,
            lengths,
            unsaved: Mutex::default(),
            waiting: AtomicU64::new(0),
            keys: AtomicU64::new(replay.len() as u64),
            key_bytes: AtomicU64::new(key_bytes),
        };
        Ok((disk, replay, found))
    }

    /// Notes that a key has a cell.
    pub(super) fn birth(&self, id: CellId, life: Life, key: &[u8]) {
        self.keys.fetch_add(1, Relaxed);
        self.key_bytes.fetch_add(key.len() as u64, Relaxed);
        // Behind one that waits the next one waits too: in the log the order is that of the births.
        let mut unsaved = self.unsaved();
        if !unsaved.is_empty() || self.log.birth(id, life, key).is_err() {
            unsaved.push(Unsaved { id, life, key: key.into() });
            self.waiting.store(unsaved.len() as u64, Relaxed);
        }
    }

    /// Notes that a cell is free.
    ///
    /// # Errors
    /// [`NoRoom`], where that cannot be noted now: the cell is not free then.
    pub(super) fn free(&self, id: CellId, life: Life, key: &[u8]) -> Result<(), NoRoom> {
        let unsaved = self.unsaved();
        // Nothing goes past a birth that waits.
        if !unsaved.is_empty() || self.log.free(id, life).is_err() {
            return Err(NoRoom);
        }
        self.keys.fetch_sub(1, Relaxed);
        self.key_bytes.fetch_sub(key.len() as u64, Relaxed);
        Ok(())
    }

    /// Tries the keys that wait once more, and brings the log to the medium, with the names of all files
    /// that were made meanwhile.
    ///
    /// # Errors
    /// What the system says; keys go on waiting, and what is in the log is on the medium where it can be.
    pub(super) fn sync(&self) -> io::Result<()> {
        let saved = {
            let mut unsaved = self.unsaved();
            let saved = self.save(&mut unsaved);
            self.waiting.store(unsaved.len() as u64, Relaxed);
            saved
        };
        saved.and(self.sync_log())
    }

    /// Brings what is in the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync_log(&self) -> io::Result<()> {
        self.log.sync().and(disk::sync_dir(&self.dir))
    }

    fn save(&self, unsaved: &mut Vec<Unsaved>) -> io::Result<()> {
        let mut saved = 0;
        let done = unsaved.iter().try_for_each(|one| {
            self.log.birth(one.id, one.life, &one.key)?;
            saved += 1;
            Ok(())
        });
        unsaved.drain(..saved);
        done
    }

    /// Whether most of the log is past.
    pub(super) fn is_worth_rewriting(&self) -> bool {
        let (keys, bytes) = (self.keys.load(Relaxed), self.key_bytes.load(Relaxed));
        self.log.is_worth_rewriting(keys, bytes)
    }

    /// Writes the log of keys anew: `write_all` has to note every life in it.
    ///
    /// # Errors
    /// What the system says; the log tells the same as before.
    pub(super) fn rewrite(
        &self,
        write_all: impl FnOnce(&AllKeys<'_, '_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.log.rewrite(write_all)
    }

    /// How far the log of keys goes.
    pub(super) fn extent(&self) -> Extent {
        self.log.extent()
    }

    /// How far both logs went when that was last noted.
    pub(super) fn noted(&self) -> Both {
        self.lengths.noted()
    }

    /// Notes how far both logs go. Nothing but the report of a start rests on it, so it may fail.
    pub(super) fn note(&self, both: Both) {
        let _ = self.lengths.note(both);
    }

    /// Keys that are not in the log yet.
    pub(super) fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    fn unsaved(&self) -> MutexGuard<'_, Vec<Unsaved>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
