//! Numbers in as few bytes as they need: LEB128, as `DWARF` and Protocol Buffers have it, and doubles
//! that are short decimal numbers.
//!
//! Reading takes any bytes: what is no number is `None`, and nothing is taken for granted.

/// Appends seven bits a byte, least first; a set high bit says that more follow.
#[expect(clippy::cast_possible_truncation, reason = "the low seven bits are meant")]
pub fn put(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Signed to unsigned so that small numbers stay small: 0, -1, 1, -2 … become 0, 1, 2, 3 ….
#[must_use]
pub const fn zigzag(value: i64) -> u64 {
    (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned()
}

/// And back.
#[must_use]
pub const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

const POWERS: [f64; 4] = [1.0, 10.0, 100.0, 1000.0];
/// The low three bits of a double's first number: how many decimals, or that its bits follow.
const RAW: u64 = 7;
/// Greater numbers would not fit beside the three bits; they also have no exact decimals.
const SCALED_MAX: f64 = 4_503_599_627_370_496.0;

/// Appends a double, exactly: as a whole number and a count of decimals where it is one with at most
/// three, otherwise as its bits.
#[expect(clippy::cast_possible_truncation, reason = "it is below 2^52")]
pub fn put_double(out: &mut Vec<u8>, value: f64) {
    for (decimals, power) in (0..).zip(POWERS) {
        let scaled = (value * power).round();
        if scaled.abs() < SCALED_MAX
            && (from_scaled(scaled as i64, power)).to_bits() == value.to_bits()
        {
            return put(out, zigzag(scaled as i64) << 3 | decimals);
        }
    }
    put(out, RAW);
    out.extend_from_slice(&value.to_le_bytes());
}

#[expect(clippy::cast_precision_loss, reason = "it is below 2^52")]
fn from_scaled(scaled: i64, power: f64) -> f64 {
    scaled as f64 / power
}

/// Bytes that are read from their beginning.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Nothing read yet.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The next byte.
    #[inline]
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// The next number.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        let first = self.byte()?;
        if first < 0x80 {
            return Some(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        let mut shift = 7;
        loop {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
            shift += 7;
            if shift > 63 {
                return None;
            }
        }
    }

    /// The next number, where it fits 32 bits.
    pub fn number_u32(&mut self) -> Option<u32> {
        u32::try_from(self.number()?).ok()
    }

    /// The next double.
    pub fn double(&mut self) -> Option<f64> {
        let head = self.number()?;
        match head & 7 {
            RAW => {
                let (bits, rest) = self.bytes.split_first_chunk::<8>()?;
                self.bytes = rest;
                Some(f64::from_le_bytes(*bits))
            }
            decimals => {
                let power = POWERS.get(usize::try_from(decimals).ok()?)?;
                Some(from_scaled(unzigzag(head >> 3), *power))
            }
        }
    }

    /// Reads a form that somebody else knows from what is left; `None` where that fails.
    pub fn decode<T, E>(&mut self, read: impl FnOnce(&mut &'a [u8]) -> Result<T, E>) -> Option<T> {
        read(&mut self.bytes).ok()
    }

    /// What is left.
    #[must_use]
    pub const fn rest(&self) -> &'a [u8] {
        self.bytes
    }

    /// The next `len` bytes.
    pub fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn double(value: f64) -> usize {
        let mut out = Vec::new();
        put_double(&mut out, value);
        let read = Reader::new(&out).double().unwrap();
        assert_eq!(read.to_bits(), value.to_bits(), "{value}");
        out.len()
    }

    #[test]
    fn short_doubles_are_short() {
        assert_eq!(double(0.0), 1);
        assert_eq!(double(7.0), 1);
        assert_eq!(double(21.5), 2);
        assert_eq!(double(-0.0), 9);
        assert_eq!(double(f64::INFINITY), 9);
        assert_eq!(double(f64::MIN_POSITIVE), 9);
        assert_eq!(double(0.1 + 0.2), 9);
    }

    #[test]
    fn what_is_too_long_is_no_number() {
        assert_eq!(Reader::new(&[0xff; 10]).number(), None);
        assert_eq!(Reader::new(&[0x80; 11]).number(), None);
        assert_eq!(Reader::new(&[0x80]).number(), None);
        let most = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&most).number(), Some(u64::MAX));
        assert_eq!(Reader::new(&[4]).double(), None, "no such count of decimals");
    }

    proptest! {
        #[test]
        fn reads_what_it_wrote(value: u64, signed: i64, bits: u64, cents: i32) {
            let mut out = Vec::new();
            put(&mut out, value);
            prop_assert_eq!(Reader::new(&out).number(), Some(value));
            prop_assert_eq!(unzigzag(zigzag(signed)), signed);
            double(f64::from_bits(bits));
            prop_assert!(double(f64::from(cents) / 100.0) <= 6);
        }
    }
}
