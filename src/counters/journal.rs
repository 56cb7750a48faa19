//! An append-only log with a checksum per record: what was said last survives the end of the process.
//!
//! A record is written with one call before its effect is acknowledged, so a killed process loses
//! none; a torn record at the end is one that nobody was told of, and is cut off. Damage in the middle
//! is stepped over: every record behind it that proves whole is still used, and what was skipped is
//! reported. This module does not know what a record says.
//!
//! Layout, all numbers little-endian: a header of 16 bytes (magic, version, zero), then records of
//! marker (2 bytes), CRC-32 of length and payload (4), length (4), payload.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The version of the layout that this program writes.
pub(super) const VERSION: u32 = 1;

const HEADER_BYTES: usize = 16;
const MARKER: [u8; 2] = [0xa7, 0x1e];
const HEAD_BYTES: usize = 10;

/// An open log.
#[derive(Debug)]
pub(super) struct Journal {
    file: File,
    bytes: u64,
    scratch: Vec<u8>,
}

/// What was found in a log when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Whole records.
    pub(super) records: usize,
    /// Bytes of a torn record at the end, which were cut off.
    pub(super) torn_bytes: usize,
    /// Bytes in the middle that are no record, and were stepped over.
    pub(super) damaged_bytes: usize,
}

/// Why a file of the data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The system refused it.
    #[error("cannot use {}: {error}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// It is not ours, or its beginning is damaged.
    #[error(
        "{} is not a file of tallyd's, or its beginning is damaged; move it away to start without it",
        path.display()
    )]
    Foreign {
        /// Which file.
        path: PathBuf,
    },
    /// It was written by a later version of this program.
    #[error(
        "{} was written by a newer tallyd (format {found}, this one knows {VERSION}); run that one",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u32,
    },
    /// Another process works on the directory.
    #[error("another tallyd works on {}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl OpenError {
    pub(super) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// The first bytes of every file: what it is and in which version.
pub(super) fn header(magic: [u8; 8]) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    let parts = magic.into_iter().chain(VERSION.to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    header
}

/// Holds the first bytes of a file against what they should be.
pub(super) fn check_header(path: &Path, magic: [u8; 8], bytes: &[u8]) -> Result<(), OpenError> {
    let foreign = || OpenError::Foreign { path: path.to_owned() };
    let (found, rest) = bytes.split_first_chunk::<8>().ok_or_else(foreign)?;
    let version = rest.first_chunk::<4>().ok_or_else(foreign)?;
    match u32::from_le_bytes(*version) {
        _ if *found != magic => Err(foreign()),
        VERSION => Ok(()),
        found if found > VERSION => Err(OpenError::Newer { path: path.to_owned(), found }),
        _ => Err(foreign()),
    }
}

/// Opens a file for reading and writing that nobody else may read; it is made where there is none.
pub(super) fn open_file(path: &Path) -> Result<File, OpenError> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(OpenError::io(path))
}

impl Journal {
    /// Opens a log, and hands every whole record in it to `each`.
    ///
    /// # Errors
    /// [`OpenError`], where the file is not one that this program may go on with.
    pub(super) fn open(
        path: &Path,
        magic: [u8; 8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(Self, Found), OpenError> {
        let file = open_file(path)?;
        let len = file.metadata().map_err(OpenError::io(path))?.len();
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(OpenError::io(path))?;
        let mut found = Found::default();
        let mut end = HEADER_BYTES;
        let is_unfinished = bytes.len() < HEADER_BYTES && header(magic).starts_with(&bytes);
        if is_unfinished {
            // Empty, or its maker was stopped while it wrote the header: there was nothing else yet.
            file.write_all_at(&header(magic), 0).map_err(OpenError::io(path))?;
        } else {
            check_header(path, magic, &bytes)?;
            let mut at = HEADER_BYTES;
            while let Some((start, payload)) = next(&bytes, at) {
                found.damaged_bytes += start - at;
                found.records += 1;
                at = start + HEAD_BYTES + payload.len();
                end = at;
                each(payload);
            }
            found.torn_bytes = bytes.len() - end;
            if found.torn_bytes > 0 {
                file.set_len(end as u64).map_err(OpenError::io(path))?;
            }
        }
        let journal = Self { file, bytes: end as u64, scratch: Vec::new() };
        Ok((journal, found))
    }

    /// Appends one record, whose payload is the `parts` one after the other. When it is back, the
    /// record survives the end of this process; the loss of power once a [`handle`] was synced.
    ///
    /// # Errors
    /// What the system says; the log is as it was then.
    ///
    /// [`handle`]: Self::handle
    pub(super) fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(&MARKER);
        self.scratch.extend_from_slice(&[0; 4]);
        self.scratch.extend_from_slice(&len.to_le_bytes());
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        let crc = crc32fast::hash(self.scratch.get(6..).unwrap_or_default());
        if let Some(field) = self.scratch.get_mut(2..6) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        if let Err(error) = self.file.write_all_at(&self.scratch, self.bytes) {
            // Part of it may be there; the next record would lie behind it.
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += self.scratch.len() as u64;
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// A second handle, to sync through without holding anybody up.
    pub(super) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Its length, in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// The first whole record at or after `at`, and where it begins.
fn next(bytes: &[u8], mut at: usize) -> Option<(usize, &[u8])> {
    loop {
        if let Some(payload) = record(bytes.get(at..)?) {
            return Some((at, payload));
        }
        // No record begins here, though one should: the next one that does is behind a marker.
        at += 1;
        at += memchr::memmem::find(bytes.get(at..)?, &MARKER)?;
    }
}

/// The payload of the record that `bytes` begins with, if it is whole.
fn record(bytes: &[u8]) -> Option<&[u8]> {
    let (_, rest) = bytes.split_first_chunk::<2>().filter(|(marker, _)| **marker == MARKER)?;
    let (crc, checked) = rest.split_first_chunk::<4>()?;
    let (len, rest) = checked.split_first_chunk::<4>()?;
    let payload = rest.get(..usize::try_from(u32::from_le_bytes(*len)).ok()?)?;
    let checked = checked.get(..4 + payload.len())?;
    (crc32fast::hash(checked) == u32::from_le_bytes(*crc)).then_some(payload)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAGIC: [u8; 8] = *b"tallyTST";

    fn open(path: &Path) -> Result<(Journal, Found, Vec<Vec<u8>>), OpenError> {
        let mut seen = Vec::new();
        let (journal, found) = Journal::open(path, MAGIC, |payload| seen.push(payload.to_vec()))?;
        Ok((journal, found, seen))
    }

    fn written(path: &Path, payloads: &[&[u8]]) {
        let (mut journal, ..) = open(path).unwrap();
        for payload in payloads {
            journal.append(&[payload]).unwrap();
        }
    }

    fn path() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.log");
        (dir, path)
    }

    #[test]
    fn what_was_appended_is_found_again() {
        let (_dir, path) = path();
        written(&path, &[b"one", b"", b"three"]);
        written(&path, &[b"four"]);
        let (_, found, seen) = open(&path).unwrap();
        assert_eq!(seen, [&b"one"[..], b"", b"three", b"four"]);
        assert_eq!(found, Found { records: 4, ..Found::default() });
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
    fn a_file_that_is_not_ours_or_is_newer_is_refused() {
        let (_dir, path) = path();
        std::fs::write(&path, "something else entirely").unwrap();
        assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
        let mut newer = header(MAGIC);
        newer[8] = 2;
        std::fs::write(&path, newer).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 2, .. }));
        assert!(error.to_string().contains("newer tallyd"), "{error}");
    }

    proptest! {
        /// Cut anywhere, a log gives a prefix of what was written, and goes on from there.
        #[test]
        #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
        fn a_torn_end_is_cut_off(cut in 0_usize..80) {
            let (_dir, path) = path();
            let payloads: [&[u8]; 4] = [b"one", b"", b"three", b"four"];
            written(&path, &payloads);
            let whole = std::fs::read(&path).unwrap();
            let cut = cut.min(whole.len());
            std::fs::write(&path, &whole[..cut]).unwrap();
            let (_, found, seen) = open(&path).unwrap();
            prop_assert_eq!(&seen[..], &payloads.map(<[u8]>::to_vec)[..seen.len()]);
            prop_assert_eq!(found.damaged_bytes, 0);
            written(&path, &[b"five"]);
            let (_, found, again) = open(&path).unwrap();
            prop_assert_eq!(again.len(), seen.len() + 1);
            prop_assert_eq!(found.torn_bytes, 0);
        }

        /// Garbled anywhere behind the header, a log loses at most the records that were hit, and
        /// says how much that was.
        #[test]
        #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
        fn damage_is_stepped_over(at in 16_usize..200, len in 1_usize..30, with in any::<u8>()) {
            let (_dir, path) = path();
            let payloads: Vec<Vec<u8>> = (0..10_u8).map(|n| vec![n; usize::from(n)]).collect();
            written(&path, &payloads.iter().map(Vec::as_slice).collect::<Vec<_>>());
            let mut bytes = std::fs::read(&path).unwrap();
            let end = (at + len).min(bytes.len());
            let at = at.min(end);
            let was = bytes[at..end].to_vec();
            bytes[at..end].fill(with);
            let is_changed = was != bytes[at..end];
            std::fs::write(&path, &bytes).unwrap();
            let (_, found, seen) = open(&path).unwrap();
            prop_assert!(seen.iter().all(|payload| payloads.contains(payload)));
            prop_assert_eq!(seen.len() == payloads.len(), !is_changed);
            let lost = found.damaged_bytes + found.torn_bytes;
            prop_assert_eq!(lost > 0, is_changed);
            // A record takes ten bytes and its payload, here at most nine; one may be hit at each end.
            prop_assert!(lost <= len + 2 * 19, "{} for {}", lost, len);
        }
    }
}
