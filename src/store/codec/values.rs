//! The records of a gauge in a chunk.
//!
//! A gauge that was set once in a window has one number to tell; set more often, its least, greatest and
//! sum are near the last one, or near as many times that.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | flags: bit 0 several, bit 1 all |
//! | varint | `n`, the number of records, at least 1 |
//! | | [`super::slots`] |
//! | | the last values, a column of [`super::floats`] |
//! | | *several*: the counts, a column of [`super::integers`]; a varint, how many records are in what follows, and where there are any three columns of [`super::floats`]: least and greatest, with the last value for reference, and sums, with the last value times the count |
//!
//! Without *several*, each record has the count 1, and its sum, least and greatest are its last value, bit
//! for bit. Those records are left out of the last three columns, unless *all* says that they are in too.

use super::Garbled;
use super::bytes::{Input, put_varint};
use super::floats::{self, PackedFloats, PullFloats};
use super::integers::{self, Packed, Pull};
use super::slots::{self, PackedSlots, Slots};
use crate::rollup::Values;

const SEVERAL: u8 = 1;
const ALL: u8 = 1 << 1;

/// Appends records, of which there is one at least, with slots that ascend.
pub(super) fn encode(records: &[(u16, Values)], out: &mut Vec<u8>) {
    let flags = if records.iter().all(|(_, r)| r.count == 1 && is_single(r)) {
        0
    } else if records.iter().all(|(_, r)| r.count != 1 || is_single(r)) {
        SEVERAL
    } else {
        SEVERAL | ALL
    };
    out.push(flags);
    put_varint(out, records.len() as u64);
    slots::encode(&records.iter().map(|(slot, _)| *slot).collect::<Vec<_>>(), out);
    let floats = |of: &dyn Fn(&Values) -> (f64, f64), from: &[Values], out: &mut Vec<u8>| {
        floats::encode(&from.iter().map(of).collect::<Vec<_>>(), out);
    };
    let records: Vec<_> = records.iter().map(|(_, record)| *record).collect();
    floats(&|r| (r.last, 0.0), &records, out);
    if flags & SEVERAL == 0 {
        return;
    }
    integers::encode(&records.iter().map(|r| r.count).collect::<Vec<_>>(), out);
    let here = |r: &&Values| r.count != 1 || flags & ALL != 0;
    let records: Vec<_> = records.iter().filter(here).copied().collect();
    put_varint(out, records.len() as u64);
    floats(&|r| (r.min, r.last), &records, out);
    floats(&|r| (r.max, r.last), &records, out);
    floats(&|r| (r.sum, times(r.last, r.count)), &records, out);
}

fn is_single(record: &Values) -> bool {
    let last = record.last.to_bits();
    [record.sum, record.min, record.max].iter().all(|number| number.to_bits() == last)
}

/// A reference for the sum: near is enough, but it has to be the same to the bit wherever it is read,
/// and the bits of a NaN that was computed are not.
#[expect(clippy::cast_precision_loss, reason = "near is enough")]
fn times(last: f64, count: u64) -> f64 {
    let product = last * count as f64;
    if product.is_nan() { 0.0 } else { product }
}

/// A gauge's records as they lie there.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedValues<'a> {
    flags: u8,
    len: usize,
    end: u16,
    slots: PackedSlots<'a>,
    lasts: PackedFloats<'a>,
    /// What follows the last values.
    rest: Input<'a>,
}

impl<'a> PackedValues<'a> {
    /// Reads what is needed of the last values, from bytes that hold nothing else than these records.
    pub(super) fn read(bytes: &'a [u8], end: u16) -> Result<Self, Garbled> {
        let mut input = Input::new(bytes);
        let flags = input.byte()?;
        let len = input.varint_up_to(end.into())?;
        if len == 0 || ![0, SEVERAL, SEVERAL | ALL].contains(&flags) {
            return Err(Garbled);
        }
        let slots = PackedSlots::read(&mut input, len)?;
        let lasts = PackedFloats::read(&mut input)?;
        Ok(Self { flags, len, end, slots, lasts, rest: input })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Hands slot and last value to `each`.
    pub(super) fn lasts(&self, mut each: impl FnMut(u16, f64)) -> Result<(), Garbled> {
        let mut slots = self.slots.open(self.len, self.end)?;
        let mut lasts = self.lasts.open(self.len)?;
        while let Some(slot) = slots.next()? {
            each(slot, lasts.next(0.0)?);
        }
        Ok(())
    }

    /// All that is known of each record.
    pub(super) fn records(&self) -> Result<ValueRecords<'a>, Garbled> {
        let mut input = self.rest;
        let several = match self.flags & SEVERAL {
            0 => None,
            _ => Some(Several::open(self.len, self.flags & ALL != 0, &mut input)?),
        };
        let slots = self.slots.open(self.len, self.end)?;
        Ok(ValueRecords { slots, lasts: self.lasts.open(self.len)?, several })
    }
}

/// A gauge's records one by one.
#[derive(Debug)]
pub(super) struct ValueRecords<'a> {
    slots: Slots<'a>,
    lasts: PullFloats<'a>,
    several: Option<Several<'a>>,
}

#[derive(Debug)]
struct Several<'a> {
    counts: Pull<'a>,
    all: bool,
    /// Least, greatest, sum.
    others: [PullFloats<'a>; 3],
}

impl<'a> Several<'a> {
    fn open(len: usize, all: bool, input: &mut Input<'a>) -> Result<Self, Garbled> {
        let counts = Pull::new(Packed::read(input)?.open(len)?);
        let here = input.varint_up_to(len)?;
        let mut other = || match here {
            0 => PackedFloats::Constant(0.0).open(0),
            _ => PackedFloats::read(input)?.open(here),
        };
        Ok(Self { counts, all, others: [other()?, other()?, other()?] })
    }
}

impl ValueRecords<'_> {
    /// The next record; none behind the last one.
    pub(super) fn next(&mut self) -> Result<Option<(u16, Values)>, Garbled> {
        let Some(slot) = self.slots.next()? else { return Ok(None) };
        let last = self.lasts.next(0.0)?;
        let count = self.several.as_mut().map_or(Ok(1), |several| several.counts.next())?;
        let single = Values { sum: last, count, min: last, max: last, last };
        let record = match &mut self.several {
            Some(Several { all, others: [min, max, sum], .. }) if *all || count != 1 => Values {
                sum: sum.next(times(last, count))?,
                min: min.next(last)?,
                max: max.next(last)?,
                ..single
            },
            _ => single,
        };
        Ok(Some((slot, record)))
    }
}
