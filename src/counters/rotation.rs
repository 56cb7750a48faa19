//! A log in several files, which is written anew when most of it is past.
//!
//! Writing anew takes no lock for long: from one moment on records go to a new file as well, and everything
//! that is live is written to that too, piece by piece, while the table works on. The old files go, from
//! the oldest on, once all of that is on the medium. So reading the files in order gives the same at
//! every moment in between, provided that what is written about one thing is written under that thing's
//! guard.
//!
//! Until then the old file has everything. Where the new one cannot be finished, most likely since the disk
//! is full, it is removed and the old one goes on as if nothing had been; the next attempt waits, each time
//! twice as long. So attempts leave nothing behind, however many fail.
//!
//! This module does not know what a record says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::journal::{Found, Journal, OpenError};
use super::lengths::Extent;
use crate::disk::{self, File};

/// A log is written anew when it is this much longer than twice what is live in it.
const SLACK_BYTES: u64 = 1 << 20;

/// After that many failures in a row the wait before the next attempt grows no more: at one sync in five
/// seconds it is an hour and a half.
const LONGEST_WAIT: u32 = 10;

/// How the files of a log are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Names {
    /// What the files begin with.
    pub(super) magic: [u8; 8],
    /// All but the first are called `name-NNNNNN.log`.
    pub(super) name: &'static str,
    /// The first file's own name, if it has one. Such a file is emptied instead of removed: a program
    /// that knows no other file is told by its version that it may not go on.
    pub(super) first: Option<&'static str>,
}

/// The log.
#[derive(Debug)]
pub(super) struct Rotation {
    dir: PathBuf,
    names: Names,
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    number: u64,
    journal: Journal,
    /// Bytes in files before this one.
    past_bytes: u64,
    /// The file after it, which everything live is being written to.
    next: Option<Journal>,
    /// Attempts to write anew that have failed in a row.
    failures: u32,
    /// Syncs until the next attempt.
    wait: u32,
}

/// The new file, for whoever writes everything live to it.
pub(super) struct Anew<'a>(&'a Rotation);

impl Anew<'_> {
    /// Appends one record to it.
    ///
    /// # Errors
    /// What the system says; the log will not be written anew then.
    pub(super) fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        self.0.lock().next.as_mut().ok_or_else(given_up)?.append(parts)
    }
}

/// A record of the table's own did not fit, and the attempt ended with that.
fn given_up() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "there is no room to write a log anew")
}

impl Rotation {
    /// Opens the log in `dir`, and hands every record in it to `each`, in order.
    ///
    /// # Errors
    /// [`OpenError`], where a file of it cannot be used.
    pub(super) fn open(
        dir: &Path,
        names: Names,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(Self, Found), OpenError> {
        let mut numbers = names.numbers(dir)?;
        numbers.sort_unstable();
        if numbers.is_empty() {
            numbers.push(0);
        }
        let mut all = Found::default();
        let mut last = None;
        let mut past_bytes = 0;
        for number in numbers {
            let path = names.path(dir, number);
            let (journal, found) = Journal::open(&path, names.magic, &mut each)?;
            all.records += found.records;
            all.torn_bytes += found.torn_bytes;
            all.damaged_bytes += found.damaged_bytes;
            all.file_bytes = found.file_bytes;
            let bytes = journal.bytes();
            last = Some(Current { number, journal, past_bytes, next: None, failures: 0, wait: 0 });
            past_bytes += bytes;
        }
        let current = last.expect("there is at least one file");
        Ok((Self { dir: dir.to_owned(), names, current: Mutex::new(current) }, all))
    }

    /// Appends one record, whose payload is the `parts` one after the other.
    ///
    /// # Errors
    /// What the system says; the log is as it was then.
    pub(super) fn append(&self, parts: &[&[u8]]) -> io::Result<()> {
        let mut current = self.lock();
        current.journal.append(parts)?;
        if current.next.as_mut().is_some_and(|next| next.append(parts).is_err()) {
            // It is noted where it counts. What is in the new file is behind from here on.
            self.remove_next(&mut current);
        }
        Ok(())
    }

    /// Brings the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        let (handle, next) = {
            let mut current = self.lock();
            current.wait = current.wait.saturating_sub(1);
            (current.journal.handle()?, current.next.as_ref().map(Journal::handle).transpose()?)
        };
        // Outside the lock: it may take as long as the disk likes.
        handle.sync()?;
        next.map_or(Ok(()), |next| next.sync())
    }

    /// How far the log goes.
    pub(super) fn extent(&self) -> Extent {
        let current = self.lock();
        Extent { number: current.number, bytes: current.journal.bytes() }
    }

    /// Whether most of the log is past, when `live_bytes` of it are not, and it is time to try.
    pub(super) fn is_worth_rewriting(&self, live_bytes: u64) -> bool {
        let current = self.lock();
        let bytes = current.past_bytes + current.journal.bytes();
        current.wait == 0 && bytes > 2 * live_bytes + SLACK_BYTES
    }

    /// Writes the log anew: `write_all` has to [`append`](Anew::append) everything that is there.
    ///
    /// # Errors
    /// What the system says; the log goes on in the file in which it was, which has everything, or all of it
    /// is in the new one and an old one could not be removed.
    pub(super) fn rewrite(
        &self,
        write_all: impl FnOnce(&Anew<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        let written = self.begin().and_then(|()| write_all(&Anew(self)));
        if let Err(error) = written.and_then(|()| self.change_over()) {
            let mut current = self.lock();
            self.remove_next(&mut current);
            current.failures = LONGEST_WAIT.min(current.failures + 1);
            current.wait = 1 << current.failures;
            return Err(error);
        }
        // From the oldest on, of which there are several where an earlier process ended half way: a
        // later one may tell that what an older one put is gone.
        let newest = self.lock().number;
        let mut past = self.names.numbers(&self.dir).map_err(io::Error::other)?;
        past.retain(|number| *number < newest);
        past.sort_unstable();
        past.into_iter().try_for_each(|number| self.retire(number))
    }

    /// Begins the file after the current one. It takes a while, so nobody is held up by it: one thread alone
    /// writes anew.
    fn begin(&self) -> io::Result<()> {
        let number = self.lock().number;
        let path = self.names.path(&self.dir, number + 1);
        // Nothing of an earlier attempt that could not be removed then may come behind this one's time.
        remove(&path)?;
        let (journal, _) =
            Journal::open(&path, self.names.magic, |_| {}).map_err(io::Error::other)?;
        self.lock().next = Some(journal);
        Ok(())
    }

    /// Goes on in the new file alone, once all of it is on the medium.
    fn change_over(&self) -> io::Result<()> {
        let handle = self.lock().next.as_ref().ok_or_else(given_up)?.handle()?;
        handle.sync()?;
        disk::sync_dir(&self.dir)?;
        let mut current = self.lock();
        let journal = current.next.take().ok_or_else(given_up)?;
        let number = current.number + 1;
        *current = Current { number, journal, past_bytes: 0, next: None, failures: 0, wait: 0 };
        Ok(())
    }

    /// Does away with a new file that will not be finished. The caller has the lock, so that no start finds
    /// it without a record that the current one has.
    fn remove_next(&self, current: &mut Current) {
        current.next = None;
        // Where that fails too, the next attempt begins with it.
        let _ = remove(&self.names.path(&self.dir, current.number + 1));
        // After the loss of power it would be there again.
        let _ = disk::sync_dir(&self.dir);
    }

    /// Does away with a file whose records are past.
    fn retire(&self, number: u64) -> io::Result<()> {
        let path = self.names.path(&self.dir, number);
        if number > 0 || self.names.first.is_none() {
            return disk::remove(&path);
        }
        let empty = self.dir.join(format!("{}.new", self.names.name));
        drop(Journal::open(&empty, self.names.magic, |_| {}).map_err(io::Error::other)?);
        disk::rename(&empty, &path)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes a file, or all that is in it, if there is one.
fn remove(path: &Path) -> io::Result<()> {
    match disk::remove(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(_) => File::open(path).and_then(|file| file.set_len(0)),
        Ok(()) => Ok(()),
    }
}

impl Names {
    fn path(&self, dir: &Path, number: u64) -> PathBuf {
        match self.first {
            Some(first) if number == 0 => dir.join(first),
            _ => dir.join(format!("{}-{number:06}.log", self.name)),
        }
    }

    /// The numbers of the files that are there.
    fn numbers(&self, dir: &Path) -> Result<Vec<u64>, OpenError> {
        let names = disk::names(dir).map_err(OpenError::io(dir))?;
        Ok(names.iter().filter_map(|name| self.number(name)).collect())
    }

    fn number(&self, file: &str) -> Option<u64> {
        if self.first == Some(file) {
            return Some(0);
        }
        file.strip_prefix(self.name)?.strip_prefix('-')?.strip_suffix(".log")?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names { magic: *b"tallyTST", name: "test", first: None };

    fn open(dir: &Path) -> (Rotation, Vec<String>) {
        let mut seen = Vec::new();
        let each = |record: &[u8]| seen.push(String::from_utf8(record.to_vec()).unwrap());
        let (log, _) = Rotation::open(dir, NAMES, each).unwrap();
        (log, seen)
    }

    fn files(dir: &Path) -> usize {
        std::fs::read_dir(dir).unwrap().count()
    }

    #[test]
    fn attempts_that_fail_leave_nothing_behind_and_lose_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        log.append(&[&vec![b'x'; 2 << 20]]).unwrap();
        let (mut attempts, mut syncs) = (0, 0);
        while syncs < 1000 {
            if log.is_worth_rewriting(0) {
                let failed = log.rewrite(|anew| {
                    anew.append(&[b"live"])?;
                    log.append(&[b"meanwhile"])?;
                    assert_eq!(files(dir.path()), 2);
                    Err(io::ErrorKind::StorageFull.into())
                });
                assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
                assert_eq!(files(dir.path()), 1);
                attempts += 1;
            }
            log.sync().unwrap();
            syncs += 1;
        }
        assert_eq!(attempts, 9, "each waits twice as long as the one before");
        let seen = open(dir.path()).1;
        assert_eq!(seen[1..], vec!["meanwhile"; attempts]);

        log.rewrite(|anew| {
            anew.append(&[b"live"])?;
            log.append(&[b"later"])
        })
        .unwrap();
        assert_eq!((files(dir.path()), log.is_worth_rewriting(0)), (1, false));
        assert_eq!(open(dir.path()).1, ["live", "later"]);
    }

    #[test]
    fn whenever_the_process_ends_while_a_log_is_written_anew_all_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let (log, _) = open(dir.path());
        log.append(&[b"a"]).unwrap();
        log.rewrite(|anew| {
            log.append(&[b"b"])?;
            assert_eq!(open(dir.path()).1, ["a", "b", "b"]);
            anew.append(&[b"a"])?;
            assert_eq!(open(dir.path()).1, ["a", "b", "b", "a"]);
            Ok(())
        })
        .unwrap();
        assert_eq!(open(dir.path()).1, ["b", "a"]);
    }
}
