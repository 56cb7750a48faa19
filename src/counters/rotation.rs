//! A log in several files, which is written anew when most of it is past.
//!
//! Writing anew takes no lock for long: from one moment on records go to a new file, then everything
//! that is live is written to it too, piece by piece, while the table works on. The old files go, from
//! the oldest on, once all of that is on the medium. So reading the files in order gives the same at
//! every moment in between, provided that what is written about one thing is written under that thing's
//! guard.
//!
//! This module does not know what a record says.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::journal::{Found, Journal, OpenError};

/// A log is written anew when it is this much longer than twice what is live in it.
const SLACK_BYTES: u64 = 1 << 20;

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
            let bytes = journal.bytes();
            last = Some(Current { number, journal, past_bytes });
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
        self.lock().journal.append(parts)
    }

    /// Brings the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        let handle = self.lock().journal.handle()?;
        // Outside the lock: it may take as long as the disk likes.
        handle.sync_data()
    }

    /// Whether most of the log is past, when `live_bytes` of it are not.
    pub(super) fn is_worth_rewriting(&self, live_bytes: u64) -> bool {
        let current = self.lock();
        current.past_bytes + current.journal.bytes() > 2 * live_bytes + SLACK_BYTES
    }

    /// Writes the log anew: `write_all` has to [`append`](Self::append) everything that is there.
    ///
    /// # Errors
    /// What the system says; the old files stay until all of it is in the new one.
    pub(super) fn rewrite(&self, write_all: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        let newest = {
            let mut current = self.lock();
            let number = current.number + 1;
            let path = self.names.path(&self.dir, number);
            let (journal, _) =
                Journal::open(&path, self.names.magic, |_| {}).map_err(io::Error::other)?;
            let past_bytes = current.past_bytes + current.journal.bytes();
            *current = Current { number, journal, past_bytes };
            number
        };
        write_all()?;
        self.sync()?;
        // From the oldest on, of which there are several where an earlier attempt failed half way: a
        // later one may tell that what an older one put is gone.
        let mut past = self.names.numbers(&self.dir).map_err(io::Error::other)?;
        past.retain(|number| *number < newest);
        past.sort_unstable();
        past.into_iter().try_for_each(|number| self.retire(number))?;
        self.lock().past_bytes = 0;
        Ok(())
    }

    /// Does away with a file whose records are past.
    fn retire(&self, number: u64) -> io::Result<()> {
        let path = self.names.path(&self.dir, number);
        if number > 0 || self.names.first.is_none() {
            return std::fs::remove_file(path);
        }
        let empty = self.dir.join(format!("{}.new", self.names.name));
        drop(Journal::open(&empty, self.names.magic, |_| {}).map_err(io::Error::other)?);
        std::fs::rename(empty, path)
    }

    fn lock(&self) -> MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
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
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(OpenError::io(dir))? {
            let name = entry.map_err(OpenError::io(dir))?.file_name();
            numbers.extend(name.to_str().and_then(|name| self.number(name)));
        }
        Ok(numbers)
    }

    fn number(&self, file: &str) -> Option<u64> {
        if self.first == Some(file) {
            return Some(0);
        }
        file.strip_prefix(self.name)?.strip_prefix('-')?.strip_suffix(".log")?.parse().ok()
    }
}
