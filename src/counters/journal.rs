//! An append-only log with a checksum per record: what was said last survives the end of the process.
//!
//! A record is written with one call before its effect is acknowledged, so a killed process loses
//! none; a torn record at the end is one that nobody was told of, and is cut off. Damage in the middle
//! is stepped over: every record behind it that proves whole is still used, and what was skipped is
//! reported. This module does not know what a record says.
//!
//! Clients choose much of what a record holds, so bytes of theirs could look like a record where damage
//! lets the reader begin in the middle of one. Hence the salt: each file has one that nobody is told,
//! and no checksum comes out right without it.
//!
//! Layout, all numbers little-endian: a header of magic (8 bytes), version (4), salt (4) and CRC-32 of
//! what is before it (4); then records of marker (2), CRC-32 of length and payload that begins with
//! the salt (4), length (4), payload. Version 1 had a header of 16 bytes whose last four were zero, and
//! no salt; such a file is read, and goes on as it is.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::disk::File;

/// The version of the layout that this program writes.
const VERSION: u32 = 2;
/// The version without a salt.
const UNSALTED: u32 = 1;

/// What the header of a log takes, in bytes.
pub(super) const HEADER_BYTES: usize = 20;
const UNSALTED_HEADER_BYTES: usize = 16;
const MARKER: [u8; 2] = [0xa7, 0x1e];
const HEAD_BYTES: usize = 10;

/// An open log.
#[derive(Debug)]
pub(crate) struct Journal {
    file: File,
    bytes: u64,
    salt: u32,
    scratch: Vec<u8>,
}

/// What was found in a log when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whole records.
    pub(crate) records: usize,
    /// Bytes of a torn record at the end, which were cut off.
    pub(crate) torn_bytes: usize,
    /// Bytes that are no record and were never the beginning of one: stepped over in the middle, cut
    /// off at the end.
    pub(crate) damaged_bytes: usize,
    /// How long the file was; of several the last.
    pub(crate) file_bytes: u64,
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
        "{} was written by a newer tallyd (format {found}, this one knows {known}); run that one",
        path.display()
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The last version that this program knows of such files.
        known: u32,
    },
    /// Another process works on the directory.
    #[error("another tallyd works on {}", path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }
}

/// The first bytes of every file: what it is and in which version.
pub(crate) fn header(magic: [u8; 8], version: u32) -> [u8; 12] {
    let mut header = [0; 12];
    let parts = magic.into_iter().chain(version.to_le_bytes());
    header.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    header
}

/// Holds the first bytes of a file against what they should be; its version, which is `known` or older.
pub(crate) fn check_header(
    path: &Path,
    magic: [u8; 8],
    known: u32,
    bytes: &[u8],
) -> Result<u32, OpenError> {
    let foreign = || OpenError::Foreign { path: path.to_owned() };
    let (found, rest) = bytes.split_first_chunk::<8>().ok_or_else(foreign)?;
    let version = rest.first_chunk::<4>().ok_or_else(foreign)?;
    match u32::from_le_bytes(*version) {
        0 => Err(foreign()),
        _ if *found != magic => Err(foreign()),
        found if found > known => Err(OpenError::Newer { path: path.to_owned(), found, known }),
        found => Ok(found),
    }
}

/// The whole header of a new log.
fn salted_header(magic: [u8; 8], salt: u32) -> [u8; HEADER_BYTES] {
    let mut whole = [0; HEADER_BYTES];
    let parts = header(magic, VERSION).into_iter().chain(salt.to_le_bytes());
    whole.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    if let Some((checked, crc)) = whole.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(checked).to_le_bytes();
    }
    whole
}

/// The salt of a log, and where its records begin; `None` for a header that is damaged.
fn salt(version: u32, bytes: &[u8]) -> Option<(u32, usize)> {
    if version == UNSALTED {
        return Some((0, UNSALTED_HEADER_BYTES));
    }
    let (checked, crc) = bytes.first_chunk::<HEADER_BYTES>()?.split_last_chunk::<4>()?;
    let salt = checked.last_chunk::<4>()?;
    let is_whole = crc32fast::hash(checked) == u32::from_le_bytes(*crc);
    is_whole.then_some((u32::from_le_bytes(*salt), HEADER_BYTES))
}

/// Whether this is the beginning of a header, with nothing or zeros behind it: its maker was stopped
/// while it wrote it, or lost the power before it was on the medium, and there was nothing else yet.
fn is_unfinished(magic: [u8; 8], bytes: &[u8]) -> bool {
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    let known = bytes.get(..written.min(12)).unwrap_or_default();
    let begins = |version| header(magic, version).starts_with(known);
    let is_whole = salt(VERSION, bytes).is_some();
    bytes.len() <= HEADER_BYTES && !is_whole && begins(VERSION)
        || bytes.len() < UNSALTED_HEADER_BYTES && begins(UNSALTED)
}

/// A number that nobody can guess.
fn fresh_salt() -> std::io::Result<u32> {
    let mut salt = [0; 4];
    rustix::rand::getrandom(&mut salt, rustix::rand::GetRandomFlags::empty())?;
    Ok(u32::from_le_bytes(salt))
}

/// A checksum that begins with a salt; with none it is plain CRC-32.
fn checksum(salt: u32, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new_with_initial(salt);
    crc.update(bytes);
    crc.finalize()
}

/// Opens a file for reading and writing that nobody else may read; it is made where there is none.
pub(crate) fn open_file(path: &Path) -> Result<File, OpenError> {
    File::open(path).map_err(OpenError::io(path))
}

impl Journal {
    /// Opens a log, and hands every whole record in it to `each`.
    ///
    /// # Errors
    /// [`OpenError`], where the file is not one that this program may go on with.
    pub(crate) fn open(
        path: &Path,
        magic: [u8; 8],
        mut each: impl FnMut(&[u8]),
    ) -> Result<(Self, Found), OpenError> {
        let file = open_file(path)?;
        let len = file.bytes().map_err(OpenError::io(path))?;
        let mut scan = Scan::new(&file, len).map_err(OpenError::io(path))?;
        let mut found = Found { file_bytes: len, ..Found::default() };
        if is_unfinished(magic, scan.rest()) {
            let salt = fresh_salt().map_err(OpenError::io(path))?;
            file.set_len(0).map_err(OpenError::io(path))?;
            file.write_at(&salted_header(magic, salt), 0).map_err(OpenError::io(path))?;
            // A record whose file has no header would be lost with all others.
            file.sync().map_err(OpenError::io(path))?;
            let bytes = HEADER_BYTES as u64;
            return Ok((Self { file, bytes, salt, scratch: Vec::new() }, found));
        }
        let version = check_header(path, magic, VERSION, scan.rest())?;
        let header = salt(version, scan.rest());
        let (salt, begin) = header.ok_or_else(|| OpenError::Foreign { path: path.to_owned() })?;
        scan.at = begin;
        let mut end = begin as u64;
        while let Some(payload) = scan.next(salt).map_err(OpenError::io(path))? {
            let is_at = scan.position() - (HEAD_BYTES + payload.len()) as u64;
            found.damaged_bytes += to_usize(is_at - end);
            found.records += 1;
            end = scan.position();
            each(scan.buffer.get(payload).unwrap_or_default());
        }
        let tail = len - end;
        if is_torn(&scan.head_at(end).map_err(OpenError::io(path))?, tail) {
            found.torn_bytes = to_usize(tail);
        } else {
            found.damaged_bytes += to_usize(tail);
        }
        if tail > 0 {
            file.set_len(end).map_err(OpenError::io(path))?;
        }
        Ok((Self { file, bytes: end, salt, scratch: Vec::new() }, found))
    }

    /// Appends one record, whose payload is the `parts` one after the other. When it is back, the
    /// record survives the end of this process; the loss of power once a [`handle`] was synced.
    ///
    /// # Errors
    /// What the system says; the log is as it was then.
    ///
    /// [`handle`]: Self::handle
    pub(crate) fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let len: usize = parts.iter().map(|part| part.len()).sum();
        let len = u32::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.scratch.clear();
        self.scratch.extend_from_slice(&MARKER);
        self.scratch.extend_from_slice(&[0; 4]);
        self.scratch.extend_from_slice(&len.to_le_bytes());
        for part in parts {
            self.scratch.extend_from_slice(part);
        }
        let crc = checksum(self.salt, self.scratch.get(6..).unwrap_or_default());
        if let Some(field) = self.scratch.get_mut(2..6) {
            field.copy_from_slice(&crc.to_le_bytes());
        }
        if let Err(error) = self.file.write_at(&self.scratch, self.bytes) {
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
    pub(crate) fn handle(&self) -> io::Result<File> {
        self.file.try_clone()
    }

    /// Its length, in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }
}

/// How much of a log is read at once: little enough to stay near the processor until it is looked at.
/// In tests a few bytes, so that records lie across the ends of what was read.
const PIECE: usize = if cfg!(test) { 48 } else { 256 * 1024 };

/// A log that is read from its beginning to its end. It holds a piece of it, or one record where that is
/// longer.
struct Scan<'a> {
    file: &'a File,
    len: u64,
    /// What was read and is needed still.
    buffer: Vec<u8>,
    /// Where in the file it begins.
    start: u64,
    /// Up to where in it all was looked at.
    at: usize,
}

impl<'a> Scan<'a> {
    fn new(file: &'a File, len: u64) -> io::Result<Self> {
        let mut scan = Self { file, len, buffer: Vec::new(), start: 0, at: 0 };
        scan.fill(HEADER_BYTES)?;
        Ok(scan)
    }

    fn position(&self) -> u64 {
        self.start + self.at as u64
    }

    fn rest(&self) -> &[u8] {
        self.buffer.get(self.at..).unwrap_or_default()
    }

    /// Has so many bytes in the rest, or all that there are.
    #[inline]
    fn fill(&mut self, wanted: usize) -> io::Result<()> {
        if self.buffer.len() - self.at >= wanted { Ok(()) } else { self.read(wanted) }
    }

    #[cold]
    fn read(&mut self, wanted: usize) -> io::Result<()> {
        self.buffer.drain(..self.at);
        self.start += self.at as u64;
        self.at = 0;
        let had = self.buffer.len();
        let left = self.len - self.start - had as u64;
        let more = left.min((wanted.max(PIECE) - had) as u64);
        self.buffer.resize(had + to_usize(more), 0);
        let room = self.buffer.get_mut(had..).unwrap_or_default();
        self.file.read_at(room, self.start + had as u64)
    }

    /// The payload of the first whole record from here on, behind which it stands then.
    fn next(&mut self, salt: u32) -> io::Result<Option<Range<usize>>> {
        loop {
            if let Some(payload) = self.record(salt)? {
                self.at = payload.end;
                return Ok(Some(payload));
            }
            // No record begins here, though one should: the next one that does is behind a marker.
            if !self.skip()? {
                return Ok(None);
            }
        }
    }

    /// The payload of the record that begins here, if one does and is whole.
    fn record(&mut self, salt: u32) -> io::Result<Option<Range<usize>>> {
        self.fill(HEAD_BYTES)?;
        let Some(payload) = payload_bytes(self.rest()) else { return Ok(None) };
        let whole = HEAD_BYTES as u64 + u64::from(payload);
        if whole > self.len - self.position() {
            return Ok(None);
        }
        let whole = to_usize(whole);
        self.fill(whole)?;
        let is_whole = self.rest().get(..whole).is_some_and(|record| is_sound(record, salt));
        Ok(is_whole.then_some(self.at + HEAD_BYTES..self.at + whole))
    }

    /// Goes on to the next marker; `false` where there is none.
    fn skip(&mut self) -> io::Result<bool> {
        self.at = self.buffer.len().min(self.at + 1);
        loop {
            if let Some(at) = memchr::memmem::find(self.rest(), &MARKER) {
                self.at += at;
                return Ok(true);
            }
            // The last byte may be the first one of a marker.
            self.at += self.rest().len().saturating_sub(1);
            if self.len - self.position() < MARKER.len() as u64 {
                return Ok(false);
            }
            self.fill(MARKER.len())?;
        }
    }

    /// What would be the head of a record there, as far as it goes.
    fn head_at(&self, position: u64) -> io::Result<Vec<u8>> {
        let len = to_usize(self.len - position).min(HEAD_BYTES);
        let mut head = vec![0; len];
        self.file.read_at(&mut head, position)?;
        Ok(head)
    }
}

/// A part of a file whose length fits in memory.
fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// Whether a tail that begins so and is so long is the beginning of a record and no more: what is left of
/// one that was being written. Anything else was whole once.
fn is_torn(head: &[u8], len: u64) -> bool {
    match payload_bytes(head) {
        None => head.len() < HEAD_BYTES && MARKER.starts_with(head.get(..2).unwrap_or(head)),
        Some(payload) => HEAD_BYTES as u64 + u64::from(payload) > len,
    }
}

/// How long the payload of a record is that begins so; `None` where none does.
fn payload_bytes(head: &[u8]) -> Option<u32> {
    let (_, rest) = head.split_first_chunk::<2>().filter(|(marker, _)| **marker == MARKER)?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    Some(u32::from_le_bytes(*rest.first_chunk()?))
}

/// Whether a record is what was written.
fn is_sound(record: &[u8], salt: u32) -> bool {
    let Some((head, checked)) = record.split_first_chunk::<6>() else { return false };
    head.last_chunk().is_some_and(|crc| checksum(salt, checked) == u32::from_le_bytes(*crc))
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
        assert_eq!((found.records, found.torn_bytes, found.damaged_bytes), (4, 0, 0));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
    fn a_file_that_is_not_ours_or_is_newer_is_refused() {
        let (_dir, path) = path();
        std::fs::write(&path, "something else entirely").unwrap();
        assert!(matches!(open(&path), Err(OpenError::Foreign { .. })));
        std::fs::write(&path, header(MAGIC, 3)).unwrap();
        let error = open(&path).unwrap_err();
        assert!(matches!(error, OpenError::Newer { found: 3, .. }));
        assert!(error.to_string().contains("newer tallyd (format 3, this one knows 2)"), "{error}");
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
    fn a_damaged_header_is_refused_and_the_file_left_alone() {
        let (_dir, path) = path();
        written(&path, &[b"one", b"two"]);
        let whole = std::fs::read(&path).unwrap();
        for at in 0..HEADER_BYTES {
            for with in [0, 0xff, whole[at] ^ 1] {
                let mut garbled = whole.clone();
                garbled[at] = with;
                if garbled == whole {
                    continue;
                }
                std::fs::write(&path, &garbled).unwrap();
                assert!(open(&path).is_err(), "{at} {with}");
                assert_eq!(std::fs::read(&path).unwrap(), garbled, "nothing is made worse");
            }
        }
    }

    /// A log as the first version wrote it, byte by byte: records `one` and `two`.
    const FIRST_VERSION: &[u8] = b"tallyTST\x01\0\0\0\0\0\0\0\
        \xa7\x1e\x00\x9a\xa9\x29\x03\0\0\0one\xa7\x1e\x97\x96\x0f\x42\x03\0\0\0two";

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test puts a file there")]
    fn a_log_of_the_first_version_is_read_and_goes_on() {
        let (_dir, path) = path();
        std::fs::write(&path, FIRST_VERSION).unwrap();
        written(&path, &[b"three"]);
        let (_, found, seen) = open(&path).unwrap();
        assert_eq!(seen, [&b"one"[..], b"two", b"three"]);
        assert_eq!((found.records, found.torn_bytes, found.damaged_bytes), (3, 0, 0));
        assert!(std::fs::read(&path).unwrap().starts_with(FIRST_VERSION));
        // Its maker may have been stopped before the first record.
        for len in 0..16 {
            std::fs::write(&path, &FIRST_VERSION[..len]).unwrap();
            written(&path, &[b"four"]);
            assert_eq!(open(&path).unwrap().2, [b"four"]);
        }
    }

    /// A value that holds what would have been a record in the first version, whose beginning is then
    /// damaged, so that the reader looks for the next one inside it.
    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
    fn bytes_of_a_client_do_not_pass_for_a_record() {
        let (_dir, path) = path();
        let forged = &FIRST_VERSION[UNSALTED_HEADER_BYTES..];
        assert!(is_sound(&forged[..13], 0), "it is one without a salt");
        written(&path, &[forged, b"mine"]);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[HEADER_BYTES + 2] ^= 0xff;
        std::fs::write(&path, &bytes).unwrap();
        let (_, found, seen) = open(&path).unwrap();
        assert_eq!(seen, [b"mine"]);
        assert_eq!(found.damaged_bytes, HEAD_BYTES + forged.len());
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test looks into files")]
    fn every_log_has_its_own_salt() {
        let files: Vec<_> = (0..3)
            .map(|_| {
                let (_dir, path) = path();
                written(&path, &[b"same"]);
                std::fs::read(&path).unwrap()
            })
            .collect();
        assert!(files[0] != files[1] && files[1] != files[2]);
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
        fn damage_is_stepped_over(at in HEADER_BYTES..200, len in 1_usize..30, with in any::<u8>()) {
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
