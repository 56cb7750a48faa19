//! The records of a counter in a chunk.
//!
//! What a window of a counter holds is mostly said by its sum: increments are by one, so their number
//! is the sum; a window that is not merged has one base window, whose sum is the least and the
//! greatest; the value shown runs with the total. So the sums are coded, and of the rest what
//! does not follow from them.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags, below |
//! | varint | `n`, the number of records, at least 1 |
//! | | *dense*: the first slot and how many slots after it the last one is, both varints, then the sums of all slots from the first to the last, 0 where there is no record |
//! | | else: [`super::slots`], then the sums of the `n` records |
//! | | the counts, unless each is the sum |
//! | | *related*: for touched, max and min in this order: how many are here, a varint, and where there are any a column; *own*: the three columns, `n` numbers each |
//! | | *mixed*: a column of `n` numbers, 1 where the record has a last value, 0 where not, then a varint, how many have |
//! | | *running*: a varint, the value before the first record, then a column; *own last*: a column of [`super::floats`] |
//!
//! Flags: bit 0 dense; bit 1 each count is the sum; bits 2 and 3 the rest of a window: 0 single, each
//! record has one base window whose sum is its own; 1 related; 2 own; bits 4 and 5 the last values: 0
//! none, 1 running, 2 own; bit 6 mixed.
//!
//! Related: a record whose count is 1 has one base window touched, and one with one base window has
//! its sum for least and greatest; those are not here. Of two base windows the least is what the
//! greatest leaves of the sum. Else, with division rounding up, and wrapping where they do not fit:
//! `max = ⌈sum ÷ touched⌉ + a`, `min = ⌊(sum − max) ÷ (touched − 1)⌋ − b`; `a` and `b` are in the columns.
//!
//! Running: a value is shown that is the one before plus the sum (wrapping), and zigzag of how far off
//! that was is in the column: 0, unless somebody set, lowered or deleted it. It goes on from there.

use super::Garbled;
use super::bytes::{Input, put_varint, unzigzag, zigzag};
use super::floats::{self, PackedFloats, PullFloats};
use super::integers::{self, Integers, Packed, Pull};
use super::slots::{self, PackedSlots, Slots};
use crate::rollup::Counts;

const DENSE: u8 = 1;
const COUNT_IS_SUM: u8 = 1 << 1;
const RELATED: u8 = 1 << 2;
const OWN: u8 = 2 << 2;
const SHAPE: u8 = 3 << 2;
const RUNNING: u8 = 1 << 4;
const OWN_LAST: u8 = 2 << 4;
const LAST: u8 = 3 << 4;
const MIXED: u8 = 1 << 6;
const FLAGS: u8 = 0x7f;

/// Sums that are handed out at once, at most.
const SUMS_BLOCK: u16 = 256;

/// Where at least one slot in so many has a record, all of them are coded.
const DENSE_SHARE: usize = 4;

/// Appends records, of which there is one at least, with slots that ascend.
pub(super) fn encode(records: &[(u16, Counts)], out: &mut Vec<u8>) {
    let flags_at = out.len();
    out.push(0);
    put_varint(out, records.len() as u64);
    let mut flags = encode_sums(records, out);
    if records.iter().all(|(_, r)| r.count == r.sum) {
        flags |= COUNT_IS_SUM;
    } else {
        encode_column(records.iter().map(|(_, r)| r.count), out);
    }
    flags |= encode_shape(records, out);
    flags |= encode_lasts(records, out);
    if let Some(at) = out.get_mut(flags_at) {
        *at = flags;
    }
}

fn encode_column(numbers: impl Iterator<Item = u64>, out: &mut Vec<u8>) {
    integers::encode(&numbers.collect::<Vec<_>>(), out);
}

fn encode_sums(records: &[(u16, Counts)], out: &mut Vec<u8>) -> u8 {
    let (Some((first, _)), Some((last, _))) = (records.first(), records.last()) else { return 0 };
    let extent = usize::from(last - first);
    let is_dense = records.len() * DENSE_SHARE > extent && records.iter().all(|(_, r)| r.sum > 0);
    if !is_dense {
        slots::encode(&records.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), out);
        encode_column(records.iter().map(|(_, r)| r.sum), out);
        return 0;
    }
    put_varint(out, u64::from(*first));
    put_varint(out, extent as u64);
    let mut sums = vec![0; extent + 1];
    for (slot, record) in records {
        if let Some(sum) = sums.get_mut(usize::from(slot - first)) {
            *sum = record.sum;
        }
    }
    integers::encode(&sums, out);
    DENSE
}

fn encode_shape(records: &[(u16, Counts)], out: &mut Vec<u8>) -> u8 {
    let all = |is: fn(&Counts) -> bool| records.iter().all(|(_, record)| is(record));
    if all(|r| r.touched == 1 && r.min == r.sum && r.max == r.sum) {
        return 0;
    }
    let records = records.iter().map(|(_, record)| record);
    if !all(is_related) {
        encode_column(records.clone().map(|r| r.touched.into()), out);
        encode_column(records.clone().map(|r| r.max), out);
        encode_column(records.map(|r| r.min), out);
        return OWN;
    }
    let mut part = |is_here: fn(&Counts) -> bool, value: fn(&Counts) -> u64| {
        let here: Vec<_> = records.clone().filter(|r| is_here(r)).map(value).collect();
        put_varint(out, here.len() as u64);
        integers::encode(&here, out);
    };
    part(|r| r.count != 1, |r| r.touched.into());
    part(|r| r.touched > 1, |r| r.max.wrapping_sub(max_expected(r.sum, r.touched)));
    part(|r| r.touched > 2, |r| min_expected(r.sum, r.touched, r.max).wrapping_sub(r.min));
    RELATED
}

/// Whether what is left out of the related columns is as a reader will assume.
fn is_related(record: &Counts) -> bool {
    let Counts { sum, count, touched, min, max, .. } = *record;
    match touched {
        0 => false,
        1 => min == sum && max == sum,
        _ if count == 1 => false,
        2 => min == sum.wrapping_sub(max),
        _ => true,
    }
}

fn max_expected(sum: u64, touched: u32) -> u64 {
    sum.div_ceil(u64::from(touched).max(1))
}

fn min_expected(sum: u64, touched: u32, max: u64) -> u64 {
    sum.wrapping_sub(max) / u64::from(touched).saturating_sub(1).max(1)
}

fn encode_lasts(records: &[(u16, Counts)], out: &mut Vec<u8>) -> u8 {
    let lasts: Vec<f64> = records.iter().filter_map(|(_, record)| record.last).collect();
    if lasts.is_empty() {
        return 0;
    }
    let mut flags = 0;
    if lasts.len() < records.len() {
        flags |= MIXED;
        encode_column(records.iter().map(|(_, r)| r.last.is_some().into()), out);
        put_varint(out, lasts.len() as u64);
    }
    if lasts.iter().all(|last| whole(*last).is_some()) {
        encode_running(records, out);
        return flags | RUNNING;
    }
    floats::encode(&lasts.iter().map(|last| (*last, 0.0)).collect::<Vec<_>>(), out);
    flags | OWN_LAST
}

/// The integer that becomes this number again.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is compared")]
fn whole(number: f64) -> Option<u64> {
    let whole = number as u64;
    (shown(whole).to_bits() == number.to_bits()).then_some(whole)
}

/// A value as it is shown.
#[expect(clippy::cast_precision_loss, reason = "`last` is one; what is coded is what it shows")]
fn shown(value: u64) -> f64 {
    value as f64
}

fn encode_running(records: &[(u16, Counts)], out: &mut Vec<u8>) {
    let mut value = 0_u64;
    let mut start = None;
    let mut off = Vec::with_capacity(records.len());
    for (_, record) in records {
        value = value.wrapping_add(record.sum);
        if let Some(last) = record.last.and_then(whole) {
            let difference = last.wrapping_sub(value);
            // The first one tells where it began, and then is not off.
            off.push(if start.is_some() { zigzag(difference) } else { 0 });
            start.get_or_insert(difference);
            value = last;
        }
    }
    put_varint(out, start.unwrap_or(0));
    integers::encode(&off, out);
}

/// A counter's records as they lie there.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedCounts<'a> {
    flags: u8,
    len: usize,
    end: u16,
    place: Place<'a>,
    sums: Packed<'a>,
    /// What follows the sums.
    rest: Input<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Place<'a> {
    Dense { first: u16, extent: u16 },
    Sparse(PackedSlots<'a>),
}

impl<'a> PackedCounts<'a> {
    /// Reads what is needed of the sums, from bytes that hold nothing else than these records.
    pub(super) fn read(bytes: &'a [u8], end: u16) -> Result<Self, Garbled> {
        let mut input = Input::new(bytes);
        let flags = input.byte()?;
        let is_known = flags & !FLAGS == 0 && flags & SHAPE != SHAPE && flags & LAST != LAST;
        let len = input.varint_up_to(end.into())?;
        if !is_known || len == 0 {
            return Err(Garbled);
        }
        let place = if flags & DENSE == 0 {
            Place::Sparse(PackedSlots::read(&mut input, len)?)
        } else {
            let first = input.varint_up_to(usize::from(end) - 1)?;
            let extent = input.varint_up_to(usize::from(end) - 1 - first)?;
            let narrow = |slot| u16::try_from(slot).map_err(|_| Garbled);
            Place::Dense { first: narrow(first)?, extent: narrow(extent)? }
        };
        let sums = Packed::read(&mut input)?;
        Ok(Self { flags, len, end, place, sums, rest: input })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Hands the sums of consecutive slots to `each`, with the first slot; 0 where there is no record.
    pub(super) fn sums(&self, mut each: impl FnMut(u16, &[u64])) -> Result<(), Garbled> {
        match self.place {
            Place::Dense { first, extent } => {
                let mut sums = self.sums.open(usize::from(extent) + 1)?;
                let mut block = [0; SUMS_BLOCK as usize];
                let mut slot = first;
                loop {
                    let len = sums.fill(&mut block)?;
                    match block.get(..len) {
                        Some(block) if len > 0 => each(slot, block),
                        _ => break,
                    }
                    slot = slot.wrapping_add(SUMS_BLOCK);
                }
            }
            Place::Sparse(slots) => {
                let mut slots = slots.open(self.len, self.end)?;
                let mut sums = Pull::new(self.sums.open(self.len)?);
                while let Some(slot) = slots.next()? {
                    each(slot, &[sums.next()?]);
                }
            }
        }
        Ok(())
    }

    /// All that is known of each record.
    pub(super) fn records(&self) -> Result<CountRecords<'a>, Garbled> {
        let mut input = self.rest;
        let (place, sums) = match self.place {
            Place::Dense { first, extent } => {
                let left = u32::from(extent) + 1;
                (OpenPlace::Dense { next: first, left }, usize::from(extent) + 1)
            }
            Place::Sparse(slots) => (OpenPlace::Sparse(slots.open(self.len, self.end)?), self.len),
        };
        let sums = Pull::new(self.sums.open(sums)?);
        let counts = match self.flags & COUNT_IS_SUM {
            0 => Some(Pull::new(Packed::read(&mut input)?.open(self.len)?)),
            _ => None,
        };
        let shape = Shape::open(self.flags & SHAPE, self.len, &mut input)?;
        let last = Last::open(self.flags, self.len, &mut input)?;
        Ok(CountRecords { left: self.len, place, sums, counts, shape, last })
    }
}

/// A counter's records one by one.
#[derive(Debug)]
pub(super) struct CountRecords<'a> {
    left: usize,
    place: OpenPlace<'a>,
    sums: Pull<'a>,
    counts: Option<Pull<'a>>,
    shape: Shape<'a>,
    last: Last<'a>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for a chunk, on the stack")]
enum OpenPlace<'a> {
    Dense { next: u16, left: u32 },
    Sparse(Slots<'a>),
}

impl CountRecords<'_> {
    /// The next record; none behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<(u16, Counts)>, Garbled> {
        let Some((slot, sum)) = self.next_sum()? else { return Ok(None) };
        let count = self.counts.as_mut().map_or(Ok(sum), Pull::next)?;
        let (touched, min, max) = self.shape.next(sum, count)?;
        let last = self.last.next(sum)?;
        Ok(Some((slot, Counts { sum, count, touched, min, max, last })))
    }

    fn next_sum(&mut self) -> Result<Option<(u16, u64)>, Garbled> {
        match &mut self.place {
            OpenPlace::Dense { next, left } => {
                while *left > 0 {
                    let (slot, sum) = (*next, self.sums.next()?);
                    (*next, *left) = (next.wrapping_add(1), *left - 1);
                    if sum > 0 {
                        self.left = self.left.checked_sub(1).ok_or(Garbled)?;
                        return Ok(Some((slot, sum)));
                    }
                }
                if self.left == 0 { Ok(None) } else { Err(Garbled) }
            }
            OpenPlace::Sparse(slots) => match slots.next()? {
                Some(slot) => Ok(Some((slot, self.sums.next()?))),
                None => Ok(None),
            },
        }
    }
}

/// Touched, least and greatest.
#[derive(Debug)]
enum Shape<'a> {
    Single,
    Related([Pull<'a>; 3]),
    Own([Pull<'a>; 3]),
}

impl<'a> Shape<'a> {
    fn open(shape: u8, len: usize, input: &mut Input<'a>) -> Result<Self, Garbled> {
        let mut own = || Packed::read(input)?.open(len);
        match shape {
            0 => Ok(Self::Single),
            OWN => Ok(Self::Own([own()?, own()?, own()?].map(Pull::new))),
            _ => {
                let mut part = || -> Result<Integers<'a>, Garbled> {
                    match input.varint_up_to(len)? {
                        0 => Packed::Constant(0).open(0),
                        here => Packed::read(input)?.open(here),
                    }
                };
                Ok(Self::Related([part()?, part()?, part()?].map(Pull::new)))
            }
        }
    }

    fn next(&mut self, sum: u64, count: u64) -> Result<(u32, u64, u64), Garbled> {
        let narrow = |touched| u32::try_from(touched).map_err(|_| Garbled);
        match self {
            Self::Single => Ok((1, sum, sum)),
            Self::Own([touched, max, min]) => {
                let (touched, max) = (narrow(touched.next()?)?, max.next()?);
                Ok((touched, min.next()?, max))
            }
            Self::Related([touched, max, min]) => {
                let touched = if count == 1 { 1 } else { narrow(touched.next()?)? };
                if touched <= 1 {
                    return Ok((touched, sum, sum));
                }
                let max = max_expected(sum, touched).wrapping_add(max.next()?);
                let min = match touched {
                    2 => sum.wrapping_sub(max),
                    _ => min_expected(sum, touched, max).wrapping_sub(min.next()?),
                };
                Ok((touched, min, max))
            }
        }
    }
}

/// The values shown.
#[derive(Debug)]
struct Last<'a> {
    has: Option<Pull<'a>>,
    values: LastValues<'a>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one for a chunk, on the stack")]
enum LastValues<'a> {
    None,
    Running { value: u64, off: Pull<'a> },
    Own(PullFloats<'a>),
}

impl<'a> Last<'a> {
    fn open(flags: u8, len: usize, input: &mut Input<'a>) -> Result<Self, Garbled> {
        if flags & LAST == 0 {
            return Ok(Self { has: None, values: LastValues::None });
        }
        let (has, len) = if flags & MIXED == 0 {
            (None, len)
        } else {
            let has = Pull::new(Packed::read(input)?.open(len)?);
            (Some(has), input.varint_up_to(len)?)
        };
        let values = if flags & LAST == RUNNING {
            let value = input.varint()?;
            LastValues::Running { value, off: Pull::new(Packed::read(input)?.open(len)?) }
        } else {
            LastValues::Own(PackedFloats::read(input)?.open(len)?)
        };
        Ok(Self { has, values })
    }

    fn next(&mut self, sum: u64) -> Result<Option<f64>, Garbled> {
        let has = match &mut self.has {
            None => true,
            Some(has) => match has.next()? {
                0 => false,
                1 => true,
                _ => return Err(Garbled),
            },
        };
        match &mut self.values {
            LastValues::None => Ok(None),
            LastValues::Running { value, off } => {
                *value = value.wrapping_add(sum);
                if !has {
                    return Ok(None);
                }
                *value = value.wrapping_add(unzigzag(off.next()?));
                Ok(Some(shown(*value)))
            }
            LastValues::Own(_) if !has => Ok(None),
            LastValues::Own(values) => values.next(0.0).map(Some),
        }
    }
}
