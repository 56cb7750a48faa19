//! Values in redb that fill its pages.
//!
//! redb gives a value that is longer than a page a run of pages to itself, two to some power: 70 KB lie in
//! 128, and what such runs leave behind when they go fits runs of their size alone. So a value is cut into
//! pieces that each fill a page of 4 KiB to the last byte, and lie in a table of their own under its key
//! and their number; what is left stands under the key itself, and shares its page with others. All pages
//! are single then: whatever is freed serves for whatever comes next. Pieces of four pages save the fiftieth
//! that the tree notes of each, but lose more than that to room that is not in fours. A value that was
//! written whole, by an earlier version, is one that has no pieces.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use redb::{ReadOnlyTable, ReadableTable, StorageError, Table, TableDefinition};

/// What is left of each value.
pub(super) const RESTS: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("tallyd");
/// Full pages of those that are longer.
pub(super) const PIECES: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("pieces");

pub(super) type Writing<'a> = Table<'a, &'static [u8], &'static [u8]>;
type Reading = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A page of redb's.
const PAGE: usize = 4096;
/// What redb notes in a page that holds one pair: what kind it is, how many, and where both end.
const NOTED: usize = 12;
/// The number of a piece, with its greatest byte first.
const NUMBER: usize = 4;
/// However long a key is, so much of a page is a piece.
const PIECE_MIN: usize = 1024;

/// How long the pieces of a value are.
fn piece(key: &[u8]) -> usize {
    PAGE.saturating_sub(NOTED + NUMBER + key.len()).max(PIECE_MIN)
}

/// The key of a piece.
fn key_of(key: &[u8], number: u32) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

/// Where the pieces from a number on lie. Those of longer keys may lie there as well.
fn place(key: &[u8], from: u32) -> RangeInclusive<Vec<u8>> {
    key_of(key, from)..=key_of(key, u32::MAX)
}

/// Puts a value in the place of the one that is there.
pub(super) fn put(
    rests: &mut Writing<'_>,
    pieces: &mut Writing<'_>,
    key: &[u8],
    value: &[u8],
) -> Result<(), StorageError> {
    let cut = value.chunks_exact(piece(key));
    rests.insert(key, cut.remainder())?;
    let mut number = 0;
    for full in cut {
        pieces.insert(key_of(key, number).as_slice(), full)?;
        number += 1;
    }
    remove_from(pieces, key, number)
}

/// Removes a value.
pub(super) fn remove(
    rests: &mut Writing<'_>,
    pieces: &mut Writing<'_>,
    key: &[u8],
) -> Result<(), StorageError> {
    rests.remove(key)?;
    remove_from(pieces, key, 0)
}

/// Removes the pieces of a value from a number on.
fn remove_from(pieces: &mut Writing<'_>, key: &[u8], from: u32) -> Result<(), StorageError> {
    let place = place(key, from);
    let place = place.start().as_slice()..=place.end().as_slice();
    // Hardly ever are there any: most keys are new.
    if pieces.range::<&[u8]>(place.clone())?.next().is_some() {
        pieces.retain_in::<&[u8], _>(place, |other, _| other.len() != key.len() + NUMBER)?;
    }
    Ok(())
}

/// The value of which this is left.
pub(super) fn whole<'a>(
    pieces: Option<&Reading>,
    key: &[u8],
    rest: &'a [u8],
) -> Result<Cow<'a, [u8]>, StorageError> {
    let Some(pieces) = pieces else { return Ok(Cow::Borrowed(rest)) };
    let place = place(key, 0);
    let mut whole = Vec::new();
    for found in pieces.range::<&[u8]>(place.start().as_slice()..=place.end().as_slice())? {
        let (other, piece) = found?;
        if other.value().len() == key.len() + NUMBER {
            whole.extend_from_slice(piece.value());
        }
    }
    if whole.is_empty() {
        return Ok(Cow::Borrowed(rest));
    }
    whole.extend_from_slice(rest);
    Ok(Cow::Owned(whole))
}
