//! Chunks: the windows of one series in one tier over a stretch of time, in a few bytes each.
//!
//! A chunk holds up to [`CHUNK_SLOTS`] consecutive windows, its slots, and a
//! [`Record`] for those in which something happened. What was encoded is decoded to the bit. A chunk does not
//! know which series, tier or time it is of, nor where it is kept, and has no checksum: it lies in a
//! [`Group`](super::Group), which has one. A decoder meets any bytes without a panic, without more work or memory
//! than the greatest chunk takes, and answers [`Garbled`] or numbers; that they are the right ones is the
//! checksum's to say.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | bit 0: there are counts; bit 1: values; bit 2: strings; the others are zero |
//! | varint | its slots |
//! | | the parts in this order, each but the last one behind its length: `counts`, `values`, `strings` |
//!
//! Of a distribution the values are kept like a gauge's, and come back as a gauge's; its histograms are
//! strings, which whoever has them puts beside the records. A gauge that becomes a counter has both counts and values, in different slots. A varint is LEB128.
//!
//! Records are kept by columns, so that who wants sums reads no others; a column of `integers` is
//! constant, or what is left of each number beside a prediction in Rice codes (`rice`) or tabled ANS (`tans`);
//! a column of `floats` is decimals as integers, or bits. Which of them is shortest is tried when a
//! chunk is encoded.
//!
//! Why 4,096 slots: a table of frequencies is some twelve bytes, which is 0.02 bits for each of 4,096
//! numbers and 0.2 for each of 512; and what a chunk begins with, 15 bytes or so, is more than half of one
//! that holds five increments. ARCHITECTURE.md has the figures, beside the entropy and other programs'.

mod bits;
pub(in crate::store) mod bytes;
mod counts;
mod floats;
mod integers;
mod rice;
mod slots;
mod strings;
mod tans;
#[cfg(test)]
mod tests;
mod values;

pub use strings::Strings;

use std::ops::Range;

use crate::limits::{CHUNK_SLOTS, CHUNK_STRING_BYTES};
use crate::rollup::Record;
use bytes::{Input, put_sized, put_varint};
use counts::{CountRecords, PackedCounts};
use values::{PackedValues, ValueRecords};

const COUNTS: u8 = 1;
const VALUES: u8 = 1 << 1;
const STRINGS: u8 = 1 << 2;

/// Bytes that no encoder of this format makes. Nothing that was read of them before is to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bytes of a chunk are garbled")]
pub struct Garbled;

/// Why records cannot become a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// More slots than a chunk may have.
    #[error("a chunk has at most {CHUNK_SLOTS} slots")]
    Slots,
    /// Records are not in order of slots, or past the last one.
    #[error("records are not in order of slots, or past the last one")]
    Order,
    /// There is not one string for each record, or they are too long together.
    #[error("there is not one string for each record, or they are too long")]
    Strings,
    /// One of the chunks to merge.
    #[error(transparent)]
    Garbled(#[from] Garbled),
}

/// Appends a chunk of so many slots with these records, by ascending slot.
///
/// # Errors
/// [`EncodeError`] where there are too many slots, or records are out of place; nothing is appended.
pub fn encode(slots: u16, records: &[(u16, Record)], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    encode_with_strings(slots, records, &[], out)
}

/// Appends a chunk whose records have a string each; or none has, and `strings` is empty.
///
/// # Errors
/// As [`encode`], and where there is not one string for each record, or they are longer than
/// [`CHUNK_STRING_BYTES`] together.
pub fn encode_with_strings(
    slots: u16,
    records: &[(u16, Record)],
    strings: &[&[u8]],
    out: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    check(slots, records)?;
    if !strings.is_empty() && strings.len() != records.len() {
        return Err(EncodeError::Strings);
    }
    let mut parts = Parts::default();
    let counts = records.iter().filter_map(|(slot, record)| match record {
        Record::Counts(counts) => Some((*slot, *counts)),
        Record::Values(_) | Record::Distribution(..) => None,
    });
    parts.add(COUNTS, &counts.collect::<Vec<_>>(), counts::encode);
    let values = records.iter().filter_map(|(slot, record)| match record {
        Record::Values(values) | Record::Distribution(values, _) => Some((*slot, *values)),
        Record::Counts(_) => None,
    });
    parts.add(VALUES, &values.collect::<Vec<_>>(), values::encode);
    let mut is_too_long = Ok(());
    parts.add(STRINGS, strings, |strings, out| is_too_long = strings::encode(strings, out));
    is_too_long?;
    parts.write(slots, out);
    Ok(())
}

fn check(slots: u16, records: &[(u16, Record)]) -> Result<(), EncodeError> {
    if slots > CHUNK_SLOTS {
        return Err(EncodeError::Slots);
    }
    let is_sorted = records.is_sorted_by(|(a, _), (b, _)| a < b);
    let is_inside = records.last().is_none_or(|(last, _)| *last < slots);
    if is_sorted && is_inside { Ok(()) } else { Err(EncodeError::Order) }
}

/// The parts of a chunk that is being made.
#[derive(Debug, Default)]
struct Parts {
    kinds: u8,
    parts: Vec<Vec<u8>>,
}

impl Parts {
    fn add<T>(&mut self, kind: u8, items: &[T], encode: impl FnOnce(&[T], &mut Vec<u8>)) {
        if items.is_empty() {
            return;
        }
        let mut part = Vec::new();
        encode(items, &mut part);
        self.kinds |= kind;
        self.parts.push(part);
    }

    fn write(self, slots: u16, out: &mut Vec<u8>) {
        out.push(self.kinds);
        put_varint(out, slots.into());
        let Some((last, sized)) = self.parts.split_last() else { return };
        for part in sized {
            put_sized(out, part);
        }
        out.extend_from_slice(last);
    }
}

/// Appends a chunk of so many slots that holds what the `parts` hold, each moved by a number of slots.
/// Parts come in order of time and do not overlap. Where any part has strings, the records of one that has
/// none have empty ones.
///
/// # Errors
/// [`EncodeError`], also where a part is garbled, or where the strings of all are too long together;
/// nothing is appended.
pub fn merge(slots: u16, parts: &[(u16, &[u8])], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let mut records = Vec::new();
    let mut strings: Vec<Strings> = Vec::new();
    let mut string_bytes = 0;
    for (offset, bytes) in parts {
        let chunk = Chunk::parse(bytes)?;
        let part = chunk.strings()?.unwrap_or_else(|| Strings::empty(chunk.len()));
        // Before all of them lie in memory: each may be as long as a chunk may have them.
        string_bytes += part.bytes();
        if string_bytes > CHUNK_STRING_BYTES {
            return Err(EncodeError::Strings);
        }
        strings.push(part);
        for record in chunk.records(0..u16::MAX)? {
            let (slot, record) = record?;
            records.push((slot.checked_add(*offset).ok_or(EncodeError::Order)?, record));
        }
    }
    let has_some = string_bytes > 0;
    let strings: Vec<&[u8]> = strings.iter().filter(|_| has_some).flat_map(Strings::iter).collect();
    encode_with_strings(slots, &records, &strings, out)
}

/// A chunk's bytes, looked through as far as its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    slots: u16,
    counts: Option<PackedCounts<'a>>,
    values: Option<PackedValues<'a>>,
    strings: Option<&'a [u8]>,
}

impl<'a> Chunk<'a> {
    /// Reads what a chunk begins with.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Garbled> {
        let mut input = Input::new(bytes);
        let kinds = input.byte()?;
        if kinds & !(COUNTS | VALUES | STRINGS) != 0 {
            return Err(Garbled);
        }
        let slots = input.varint_up_to(CHUNK_SLOTS.into())?;
        let slots = u16::try_from(slots).map_err(|_| Garbled)?;
        let mut part = |kind: u8| match kinds {
            _ if kinds & kind == 0 => Ok(None),
            // The last part is what is left.
            _ if kinds < kind << 1 => input.take(input.rest().len()).map(Some),
            _ => input.sized().map(Some),
        };
        let (counts, values, strings) = (part(COUNTS)?, part(VALUES)?, part(STRINGS)?);
        if kinds == 0 && !input.is_empty() {
            return Err(Garbled);
        }
        Ok(Self {
            slots,
            counts: counts.map(|bytes| PackedCounts::read(bytes, slots)).transpose()?,
            values: values.map(|bytes| PackedValues::read(bytes, slots)).transpose()?,
            strings,
        })
    }

    /// How many windows it spans.
    #[must_use]
    pub const fn slots(&self) -> u16 {
        self.slots
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counts.map_or(0, |counts| counts.len()) + self.values.map_or(0, |values| values.len())
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.counts.is_none() && self.values.is_none()
    }

    /// Whether there are records of a gauge or a distribution in it.
    #[must_use]
    pub const fn has_values(&self) -> bool {
        self.values.is_some()
    }

    /// The sums of a counter's windows with a slot in `range`: hands those of consecutive slots to `each`, in
    /// order, with the first slot. A slot without a record comes with 0, which is what it had, or not at all.
    ///
    /// No other column is read: it takes some nanoseconds a slot, where [`Self::records`] takes tens.
    ///
    /// # Errors
    /// [`Garbled`]; what was handed out before is not to be used.
    #[inline]
    pub fn sums(
        &self,
        range: Range<u16>,
        mut each: impl FnMut(u16, &[u64]),
    ) -> Result<(), Garbled> {
        let Some(counts) = self.counts else { return Ok(()) };
        counts.sums(|slot, sums| {
            let skip = range.start.saturating_sub(slot);
            let keep = usize::from(range.end.saturating_sub(slot)).min(sums.len());
            if let Some(inside) = sums.get(usize::from(skip)..keep).filter(|s| !s.is_empty()) {
                each(slot + skip, inside);
            }
        })
    }

    /// The last values of a gauge's windows: hands slots in `range`, in order, with them to `each`.
    ///
    /// # Errors
    /// [`Garbled`]; what was handed out before is not to be used.
    #[inline]
    pub fn gauges(&self, range: Range<u16>, mut each: impl FnMut(u16, f64)) -> Result<(), Garbled> {
        let Some(values) = self.values else { return Ok(()) };
        values.lasts(|slot, last| {
            if range.contains(&slot) {
                each(slot, last);
            }
        })
    }

    /// All records with a slot in `range`, in order. Nothing is allocated for a record.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn records(&self, range: Range<u16>) -> Result<Records<'a>, Garbled> {
        let mut records = Records {
            range,
            counts: self.counts.map(|counts| counts.records()).transpose()?,
            values: self.values.map(|values| values.records()).transpose()?,
            next: (None, None),
        };
        records.next_count()?;
        records.next_value()?;
        Ok(records)
    }

    /// The strings of all records, in their order; none where they have none.
    ///
    /// # Errors
    /// [`Garbled`].
    pub fn strings(&self) -> Result<Option<Strings>, Garbled> {
        self.strings.map(|bytes| Strings::read(bytes, self.len())).transpose()
    }
}

type Placed = (u16, Record);

/// The records of a chunk. Ends with the first error.
#[derive(Debug)]
pub struct Records<'a> {
    range: Range<u16>,
    counts: Option<CountRecords<'a>>,
    values: Option<ValueRecords<'a>>,
    next: (Option<Placed>, Option<Placed>),
}

impl Records<'_> {
    fn next_count(&mut self) -> Result<(), Garbled> {
        let next = self.counts.as_mut().map_or(Ok(None), CountRecords::next)?;
        self.next.0 = next.map(|(slot, counts)| (slot, Record::Counts(counts)));
        Ok(())
    }

    fn next_value(&mut self) -> Result<(), Garbled> {
        let next = self.values.as_mut().map_or(Ok(None), ValueRecords::next)?;
        self.next.1 = next.map(|(slot, values)| (slot, Record::Values(values)));
        Ok(())
    }

    /// The next record of either kind, wherever it is.
    fn advance(&mut self) -> Result<Option<(u16, Record)>, Garbled> {
        let slot = |next: &Option<Placed>| next.as_ref().map(|(slot, _)| *slot);
        match (slot(&self.next.0), slot(&self.next.1)) {
            (None, None) => Ok(None),
            (Some(count), Some(value)) if count == value => Err(Garbled),
            (Some(count), other) if other.is_none_or(|value| count < value) => {
                let count = self.next.0.take();
                self.next_count()?;
                Ok(count)
            }
            _ => {
                let value = self.next.1.take();
                self.next_value()?;
                Ok(value)
            }
        }
    }

    fn end(&mut self) {
        (self.counts, self.values, self.next) = (None, None, (None, None));
    }
}

impl Iterator for Records<'_> {
    type Item = Result<(u16, Record), Garbled>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some((slot, _))) if slot < self.range.start => {}
                Ok(Some((slot, record))) if slot < self.range.end => {
                    return Some(Ok((slot, record)));
                }
                Ok(_) => {
                    self.end();
                    return None;
                }
                Err(garbled) => {
                    self.end();
                    return Some(Err(garbled));
                }
            }
        }
    }
}
