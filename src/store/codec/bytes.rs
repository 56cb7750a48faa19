//! Whole numbers in as few bytes as they need, and the reading of bytes that may be anything.

use super::Garbled;
pub(in crate::store) use crate::varint::put as put_varint;
use crate::varint::{self, Reader};

/// Appends bytes behind their length.
pub(super) fn put_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A difference as a number that is small when the difference is, on either side of zero. Every `u64` is
/// one of these, so differences may wrap.
#[inline]
pub(super) const fn zigzag(difference: u64) -> u64 {
    varint::zigzag(difference.cast_signed())
}

/// What [`zigzag`] was given.
#[inline]
pub(super) const fn unzigzag(value: u64) -> u64 {
    varint::unzigzag(value).cast_unsigned()
}

/// What is left of some bytes.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Input<'a> {
    rest: &'a [u8],
}

impl<'a> Input<'a> {
    pub(in crate::store) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(in crate::store) fn byte(&mut self) -> Result<u8, Garbled> {
        let (first, rest) = self.rest.split_first().ok_or(Garbled)?;
        self.rest = rest;
        Ok(*first)
    }

    pub(in crate::store) fn varint(&mut self) -> Result<u64, Garbled> {
        let mut reader = Reader::new(self.rest);
        let number = reader.number().ok_or(Garbled)?;
        self.rest = reader.rest();
        Ok(number)
    }

    /// A number that is at most `max`.
    pub(in crate::store) fn varint_up_to(&mut self, max: usize) -> Result<usize, Garbled> {
        usize::try_from(self.varint()?).ok().filter(|value| *value <= max).ok_or(Garbled)
    }

    pub(in crate::store) fn take(&mut self, len: usize) -> Result<&'a [u8], Garbled> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(Garbled)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Bytes behind their length.
    pub(super) fn sized(&mut self) -> Result<&'a [u8], Garbled> {
        let len = self.varint_up_to(self.rest.len())?;
        self.take(len)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Garbled> {
        let (bytes, rest) = self.rest.split_first_chunk::<8>().ok_or(Garbled)?;
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    pub(in crate::store) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(in crate::store) const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_differences_are_small_numbers() {
        let zigzags = [0_i64, -1, 1, -2, 2, i64::MAX, i64::MIN].map(|d| zigzag(d.cast_unsigned()));
        assert_eq!(zigzags, [0, 1, 2, 3, 4, u64::MAX - 1, u64::MAX]);
    }

    #[test]
    fn a_number_that_does_not_fit_or_does_not_end_is_garbled() {
        for bytes in
            [&[0x80][..], &[0xff; 11], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]]
        {
            assert_eq!(Input::new(bytes).varint(), Err(Garbled), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn numbers_come_back(value: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            let mut input = Input::new(&bytes);
            prop_assert_eq!(input.varint(), Ok(value));
            prop_assert!(input.is_empty());
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }
}
