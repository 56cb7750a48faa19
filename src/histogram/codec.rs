//! Histograms as bytes: a short form of our own for windows, and HdrHistogram's V2 for others.
//!
//! Whatever bytes come in, decoding ends with a histogram that holds to its layout or with
//! [`Malformed`]; it never takes more memory than the bytes can fill.
//!
//! Own form, all numbers LEB128: how many buckets, then of each how many ranges were passed over since
//! the one before, and its count less one. The layout is not in it, since a series has one for
//! thousands of windows; it has a form of its own: digits, the bits of `low` with their bytes turned
//! round, which makes a small number of most that people write, and units.

use super::{Bucket, Layout, Sketch};
use crate::varint::{self, Reader, unzigzag, zigzag};

/// The bytes are no histogram of this layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("these bytes are no histogram")]
pub struct Malformed;

/// Cookie of the V2 form with counts of up to 64 bits: base 0x1c849303, word size 1 in the fifth nibble.
const V2_COOKIE: u32 = 0x1c84_9313;
const V2_HEADER_BYTES: usize = 40;

impl Layout {
    /// Appends the layout's own form.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.digits);
        varint::put(out, self.low.to_bits().swap_bytes());
        varint::put(out, self.units);
    }

    /// Reads a layout from the beginning of `bytes`, and moves them past it.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let (digits, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        let low = f64::from_bits(read_varint(bytes)?.swap_bytes());
        Self::of_units(*digits, low, read_varint(bytes)?).map_err(|_| Malformed)
    }
}

impl Sketch {
    /// Appends the own form, without the layout.
    pub fn encode(&self, out: &mut Vec<u8>) {
        varint::put(out, self.buckets.len() as u64);
        let mut next = 0;
        for bucket in &self.buckets {
            varint::put(out, u64::from(bucket.index - next));
            varint::put(out, bucket.count - 1);
            next = bucket.index + 1;
        }
    }

    /// Reads a histogram of this layout from the beginning of `bytes`, and moves them past it.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn decode(layout: Layout, bytes: &mut &[u8]) -> Result<Self, Malformed> {
        let ranges = layout.ranges();
        let len = read_varint(bytes)?;
        // Each takes two bytes at least.
        if len > ranges || len > bytes.len() as u64 / 2 {
            return Err(Malformed);
        }
        let mut buckets = Vec::with_capacity(usize::try_from(len).map_err(|_| Malformed)?);
        let mut next: u64 = 0;
        for _ in 0..len {
            let index = next.checked_add(read_varint(bytes)?).ok_or(Malformed)?;
            let count = read_varint(bytes)?.checked_add(1).ok_or(Malformed)?;
            if index >= ranges {
                return Err(Malformed);
            }
            next = index + 1;
            buckets.push(Bucket { index: u32::try_from(index).map_err(|_| Malformed)?, count });
        }
        Ok(Self { layout, buckets })
    }

    /// The V2 form that HdrHistogram's libraries read. Its values are in units of the layout's `low`.
    /// Counts past 2^63, which it cannot say, are cut off there.
    #[must_use]
    pub fn to_v2(&self) -> Vec<u8> {
        let mut counts = Vec::new();
        let mut next = 0;
        for bucket in &self.buckets {
            match i64::from(bucket.index - next) {
                0 => {}
                // One empty range is a count of nought, more are a negative number.
                1 => write_leb64(0, &mut counts),
                empty => write_leb64(zigzag(-empty), &mut counts),
            }
            write_leb64(zigzag(i64::try_from(bucket.count).unwrap_or(i64::MAX)), &mut counts);
            next = bucket.index + 1;
        }
        if self.buckets.is_empty() {
            write_leb64(0, &mut counts);
        }
        let mut out = Vec::with_capacity(V2_HEADER_BYTES + counts.len());
        out.extend_from_slice(&V2_COOKIE.to_be_bytes());
        let len = u32::try_from(counts.len()).expect("limits::HISTOGRAM_BYTES holds it far below");
        out.extend_from_slice(&len.to_be_bytes());
        out.extend_from_slice(&0_u32.to_be_bytes());
        out.extend_from_slice(&u32::from(self.layout.digits).to_be_bytes());
        out.extend_from_slice(&1_u64.to_be_bytes());
        out.extend_from_slice(&self.layout.units.to_be_bytes());
        out.extend_from_slice(&1_f64.to_be_bytes());
        out.extend_from_slice(&counts);
        out
    }

    /// Reads the V2 form; its unit is taken for `low`. One whose own lowest value is not 1 is not read.
    ///
    /// # Errors
    /// [`Malformed`]
    pub fn from_v2(bytes: &[u8], low: f64) -> Result<Self, Malformed> {
        let (head, mut rest) = bytes.split_first_chunk::<V2_HEADER_BYTES>().ok_or(Malformed)?;
        let mut words = head
            .chunks_exact(4)
            .map(|word| word.first_chunk::<4>().map_or(0, |word| u32::from_be_bytes(*word)));
        let mut word = || words.next().unwrap_or_default();
        let (cookie, len, offset, digits) = (word(), word(), word(), word());
        let mut wide = || u64::from(word()) << 32 | u64::from(word());
        let (lowest, units, _ratio) = (wide(), wide(), wide());
        if cookie != V2_COOKIE || offset != 0 || lowest != 1 || len as usize != rest.len() {
            return Err(Malformed);
        }
        let digits = u8::try_from(digits).map_err(|_| Malformed)?;
        let layout = Layout::of_units(digits, low, units).map_err(|_| Malformed)?;
        let ranges = layout.ranges();
        let (mut buckets, mut index) = (Vec::new(), 0_u64);
        while !rest.is_empty() {
            let number = unzigzag(read_leb64(&mut rest)?);
            let passed = if number < 0 { number.unsigned_abs() } else { 1 };
            if let Ok(count @ 1..) = u64::try_from(number) {
                if index >= ranges {
                    return Err(Malformed);
                }
                buckets.push(Bucket { index: u32::try_from(index).map_err(|_| Malformed)?, count });
            }
            index = index.checked_add(passed).ok_or(Malformed)?;
        }
        Ok(Self { layout, buckets })
    }
}

fn read_varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut reader = Reader::new(bytes);
    let number = reader.number().ok_or(Malformed)?;
    *bytes = reader.rest();
    Ok(number)
}

/// A varint of at most nine bytes, of which the ninth has eight bits: HdrHistogram's own.
fn write_leb64(mut number: u64, out: &mut Vec<u8>) {
    for _ in 0..8 {
        if number < 0x80 {
            break;
        }
        out.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.push((number & 0xff) as u8);
}

fn read_leb64(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut number = 0;
    for at in 0..9 {
        let (byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        if at == 8 {
            return Ok(number | u64::from(*byte) << 56);
        }
        number |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(number)
}
