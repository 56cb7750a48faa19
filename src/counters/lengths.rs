//! How long the logs of keys and items were when they were last brought to the medium.
//!
//! A log that ends behind a whole record, or is not there at all, looks like one in which nothing more was
//! said. This file knows better, so that a start can say what is missing. Nothing else rests on it: where it
//! is not there, or is garbled, a start says no less than it would without it.
//!
//! Layout of `lengths`, all numbers little-endian: magic (8 bytes), version (4); of the log of keys and that
//! of items the number of the current file (8 each) and its length (8); CRC-32 of all that (4). It is
//! written in place, with one call.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use super::journal::{HEADER_BYTES, OpenError, check_header, header, open_file};
use crate::disk::File;

const MAGIC: [u8; 8] = *b"tallyLEN";
const VERSION: u32 = 1;
const BYTES: usize = 48;

/// How far a log goes: the number of its current file, and how long that is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) number: u64,
    pub(super) bytes: u64,
}

/// How far both go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Both {
    pub(super) keys: Extent,
    pub(super) items: Extent,
}

/// The file.
#[derive(Debug)]
pub(super) struct Lengths {
    file: File,
    /// What it says.
    noted: Mutex<Both>,
}

impl Extent {
    /// How many bytes of records are missing where only `there` is left; a later file has all that counts
    /// of those before it.
    pub(super) fn missing(self, there: Self) -> u64 {
        let records = self.bytes.saturating_sub(HEADER_BYTES as u64);
        match there.number.cmp(&self.number) {
            std::cmp::Ordering::Less => records,
            std::cmp::Ordering::Equal => records.min(self.bytes.saturating_sub(there.bytes)),
            std::cmp::Ordering::Greater => 0,
        }
    }
}

impl Lengths {
    /// Opens the file in `dir`, or makes it.
    ///
    /// # Errors
    /// [`OpenError`], where it cannot be read or is a newer version's.
    pub(super) fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lengths");
        let file = open_file(&path)?;
        let mut bytes = [0; BYTES];
        let there = file.bytes().map_err(OpenError::io(&path))?.min(BYTES as u64);
        let known = bytes.get_mut(..usize::try_from(there).unwrap_or(0)).unwrap_or_default();
        file.read_at(known, 0).map_err(OpenError::io(&path))?;
        if let Err(error @ OpenError::Newer { .. }) = check_header(&path, MAGIC, VERSION, known) {
            return Err(error);
        }
        let noted = Mutex::new(parse(&bytes).unwrap_or_default());
        Ok(Self { file, noted })
    }

    /// How far the logs went when that was last noted.
    pub(super) fn noted(&self) -> Both {
        *self.noted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes how far the logs go.
    ///
    /// # Errors
    /// What the system says; it is tried again at the next call.
    pub(super) fn note(&self, both: Both) -> io::Result<()> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        if *noted != both {
            self.file.write_at(&written(both), 0)?;
            *noted = both;
        }
        Ok(())
    }
}

fn written(both: Both) -> Vec<u8> {
    let mut bytes = header(MAGIC, VERSION).to_vec();
    for extent in [both.keys, both.items] {
        bytes.extend_from_slice(&extent.number.to_le_bytes());
        bytes.extend_from_slice(&extent.bytes.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// `None` where the bytes are something else: there are none yet, or the power was lost.
fn parse(bytes: &[u8; BYTES]) -> Option<Both> {
    let number = |at: usize| {
        let bytes = bytes.get(12 + at * 8..)?.first_chunk()?;
        Some(u64::from_le_bytes(*bytes))
    };
    let extent = |at| Some(Extent { number: number(at)?, bytes: number(at + 1)? });
    let both = Both { keys: extent(0)?, items: extent(2)? };
    (written(both) == bytes).then_some(both)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_there_again_and_garbled_bytes_say_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let extent = |number, bytes| Extent { number, bytes };
        let both = Both { keys: extent(0, 1 << 40), items: extent(7, 300) };
        let lengths = Lengths::open(dir.path()).unwrap();
        assert_eq!(lengths.noted(), Both::default());
        lengths.note(both).unwrap();
        assert_eq!(Lengths::open(dir.path()).unwrap().noted(), both);
        for at in 0..BYTES as u64 {
            let mut byte = [0];
            lengths.file.read_at(&mut byte, at).unwrap();
            lengths.file.write_at(&[byte[0] ^ 1], at).unwrap();
            let found = Lengths::open(dir.path());
            let is_newer = matches!(found, Err(OpenError::Newer { .. }));
            assert!(is_newer || found.unwrap().noted() == Both::default(), "byte {at}");
            lengths.file.write_at(&byte, at).unwrap();
        }
        lengths.file.set_len(20).unwrap();
        assert_eq!(Lengths::open(dir.path()).unwrap().noted(), Both::default());
    }

    #[test]
    fn what_is_missing_is_what_was_there_in_the_same_file_or_a_later_one() {
        let extent = |number, bytes| Extent { number, bytes };
        let noted = extent(3, 1000);
        assert_eq!(noted.missing(extent(3, 1000)), 0);
        assert_eq!(noted.missing(extent(3, 2000)), 0);
        assert_eq!(noted.missing(extent(3, 900)), 100);
        assert_eq!(noted.missing(extent(0, 5000)), 980, "the header is no record");
        assert_eq!(noted.missing(extent(4, 20)), 0, "it was written anew since");
        assert_eq!(extent(0, 20).missing(extent(0, 0)), 0, "nothing was in it");
    }
}
