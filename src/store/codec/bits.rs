//! Bits in a row: the first one lies in the lowest bit of the first byte.
//!
//! A reader that comes to the end goes on with zeros, so that the loops around it need no check for
//! each sample; [`BitReader::is_past_end`] tells afterwards. This module does not know what the bits
//! mean.

/// Appends bits to bytes. Nothing is there until [`BitWriter::finish`].
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    bits: u64,
    /// Bits in `bits`, fewer than 64.
    have: u32,
}

impl<'a> BitWriter<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out, bits: 0, have: 0 }
    }

    /// Appends the low `width` bits of `value`, which has no others; at most 64.
    pub(super) fn put(&mut self, value: u64, width: u32) {
        debug_assert_eq!(value & !mask(width), 0, "{value} has more than {width} bits");
        self.bits |= value << self.have;
        let used = self.have + width;
        if used < 64 {
            self.have = used;
            return;
        }
        self.out.extend_from_slice(&self.bits.to_le_bytes());
        self.bits = value.checked_shr(64 - self.have).unwrap_or(0);
        self.have = used - 64;
    }

    /// Fills the last byte up with zeros.
    pub(super) fn finish(self) {
        let rest = self.bits.to_le_bytes();
        self.out.extend(rest.iter().take(self.have.div_ceil(8) as usize));
    }
}

/// Takes bits off, in the order in which they were put.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    /// Bytes that have gone into `bits`; past the end these are zeros.
    at: usize,
    bits: u64,
    /// Bits in `bits` that count. Those above are either zero or what the next byte has there.
    have: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, bits: 0, have: 0 }
    }

    /// Sees to it that at least 56 bits can be peeked at or taken. (F. Giesen, "Reading bits in far
    /// too many ways", variant 4: one unaligned load and no branch that depends on the data.)
    #[inline]
    pub(super) fn refill(&mut self) {
        let Some(next) = self.bytes.get(self.at..).and_then(<[u8]>::first_chunk::<8>) else {
            return self.refill_at_end();
        };
        self.bits |= u64::from_le_bytes(*next) << self.have;
        self.at += ((63 - self.have) >> 3) as usize;
        // Whole bytes until there is no room for another: 56 bits, and those that were beside them.
        self.have |= 0b11_1000;
    }

    #[cold]
    fn refill_at_end(&mut self) {
        while self.have <= 56 {
            let byte = self.bytes.get(self.at).copied().unwrap_or(0);
            self.bits |= u64::from(byte) << self.have;
            self.at += 1;
            self.have += 8;
        }
    }

    /// The bits that come next. At least 56 of them are there after a [`Self::refill`].
    #[inline]
    pub(super) const fn peek(&self) -> u64 {
        self.bits
    }

    /// Passes over bits that are there: at most 56 after a [`Self::refill`], together with those
    /// that are taken.
    #[inline]
    pub(super) const fn skip(&mut self, width: u32) {
        self.bits >>= width;
        self.have -= width;
    }

    /// Takes bits that are there, fewer than 64.
    #[inline]
    pub(super) const fn take(&mut self, width: u32) -> u64 {
        let value = self.bits & ((1 << width) - 1);
        self.skip(width);
        value
    }

    /// Refills and takes any width up to 64.
    #[inline]
    pub(super) fn take_any(&mut self, width: u32) -> u64 {
        self.refill();
        if width <= 56 {
            return self.take(width);
        }
        let low = self.take(32);
        self.refill();
        low | self.take(width - 32) << 32
    }

    /// Whether more was taken than there was.
    pub(super) const fn is_past_end(&self) -> bool {
        self.at * 8 - self.have as usize > self.bytes.len() * 8
    }
}

/// Takes bits off where the widths are known beforehand: nothing but the position goes from one to
/// the next, so that they are loaded side by side.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitCursor<'a> {
    bytes: &'a [u8],
    /// In bits.
    at: usize,
}

impl<'a> BitCursor<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Takes any width up to 64.
    #[inline]
    pub(super) fn take(&mut self, width: u32) -> u64 {
        let low = self.load();
        if width <= 57 {
            self.at += width as usize;
            return low & ((1 << width) - 1);
        }
        self.at += 32;
        let high = self.load();
        self.at += width as usize - 32;
        (low & mask(32)) | (high & mask(width - 32)) << 32
    }

    /// The bits that come next, at least 57.
    #[inline]
    fn load(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word =
            rest.first_chunk::<8>().map_or_else(|| partial(rest), |w| u64::from_le_bytes(*w));
        word >> (self.at % 8)
    }

    /// Whether more was taken than there was.
    pub(super) const fn is_past_end(&self) -> bool {
        self.at > self.bytes.len() * 8
    }
}

#[cold]
fn partial(rest: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(word)
}

/// The lowest `width` bits, at most 64.
#[inline]
const fn mask(width: u32) -> u64 {
    if width >= 64 { u64::MAX } else { (1 << width) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_end_is_noticed_to_the_bit() {
        let mut bytes = Vec::new();
        let mut writer = BitWriter::new(&mut bytes);
        writer.put(5, 8);
        writer.finish();
        let mut reader = BitReader::new(&bytes);
        assert_eq!(reader.take_any(8), 5);
        assert!(!reader.is_past_end());
        assert_eq!(reader.take_any(1), 0);
        assert!(reader.is_past_end());
    }

    proptest! {
        #[test]
        fn what_was_put_is_taken(parts in prop::collection::vec((any::<u64>(), 0..=64_u32), 0..200)) {
            let mut bytes = Vec::new();
            let mut writer = BitWriter::new(&mut bytes);
            for (value, width) in &parts {
                writer.put(value & mask(*width), *width);
            }
            writer.finish();
            let mut reader = BitReader::new(&bytes);
            for (value, width) in &parts {
                prop_assert_eq!(reader.take_any(*width), value & mask(*width));
            }
            prop_assert!(!reader.is_past_end());
            let mut cursor = BitCursor::new(&bytes);
            for (value, width) in &parts {
                prop_assert_eq!(cursor.take(*width), value & mask(*width));
            }
            prop_assert!(!cursor.is_past_end());
            cursor.take(8);
            prop_assert!(cursor.is_past_end());
        }
    }
}
