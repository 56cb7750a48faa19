//! Which slots hold a record, as the distances between them.
//!
//! A varint, the first slot; then a column of [`super::integers`] with one number less than there are
//! records: the slots between each and the next. A series that has a record in every slot, or in
//! every sixth, has a constant column of one byte; one that is touched at random has gaps that are
//! geometrically distributed, for which Rice codes were invented.

use super::Garbled;
use super::bytes::{Input, put_varint};
use super::integers::{self, Packed, Pull};

/// Appends slots that ascend.
pub(super) fn encode(slots: &[u16], out: &mut Vec<u8>) {
    put_varint(out, slots.first().copied().unwrap_or(0).into());
    let gap = |pair: &[u16]| match pair {
        [a, b] => u64::from(b - a) - 1,
        _ => 0,
    };
    integers::encode(&slots.windows(2).map(gap).collect::<Vec<_>>(), out);
}

/// Slots as they lie there.
#[derive(Clone, Copy, Debug)]
pub(super) struct PackedSlots<'a> {
    first: u64,
    gaps: Packed<'a>,
}

impl<'a> PackedSlots<'a> {
    /// Reads those of `len` records.
    pub(super) fn read(input: &mut Input<'a>, len: usize) -> Result<Self, Garbled> {
        let first = input.varint()?;
        let gaps = if len > 1 { Packed::read(input)? } else { Packed::Constant(0) };
        Ok(Self { first, gaps })
    }

    /// The slots one by one, each less than `end`.
    pub(super) fn open(self, len: usize, end: u16) -> Result<Slots<'a>, Garbled> {
        let gaps = Pull::new(self.gaps.open(len.saturating_sub(1))?);
        Ok(Slots { next: self.first, left: len, end: end.into(), gaps })
    }
}

/// Slots one by one.
#[derive(Debug)]
pub(super) struct Slots<'a> {
    next: u64,
    left: usize,
    end: u64,
    gaps: Pull<'a>,
}

impl Slots<'_> {
    /// The next slot; none behind the last one.
    #[inline]
    pub(super) fn next(&mut self) -> Result<Option<u16>, Garbled> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        if self.next >= self.end {
            return Err(Garbled);
        }
        let slot = u16::try_from(self.next).map_err(|_| Garbled)?;
        self.left = left;
        if left > 0 {
            self.next = self.next.saturating_add(self.gaps.next()?).saturating_add(1);
        }
        Ok(Some(slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoded(bytes: &[u8], len: usize, end: u16) -> Result<Vec<u16>, Garbled> {
        let mut slots = PackedSlots::read(&mut Input::new(bytes), len)?.open(len, end)?;
        let mut back = Vec::new();
        while let Some(slot) = slots.next()? {
            back.push(slot);
        }
        Ok(back)
    }

    #[test]
    fn a_slot_past_the_end_is_garbled() {
        let mut bytes = Vec::new();
        encode(&[3, 7], &mut bytes);
        assert_eq!(decoded(&bytes, 2, 8), Ok(vec![3, 7]));
        assert_eq!(decoded(&bytes, 2, 7), Err(Garbled));
    }

    #[test]
    fn what_is_regular_takes_two_bytes() {
        for every in [1, 2, 6] {
            let mut bytes = Vec::new();
            encode(&(0..100).map(|at| at * every).collect::<Vec<_>>(), &mut bytes);
            assert_eq!(bytes.len(), 2, "every {every}");
        }
    }

    proptest! {
        #[test]
        fn slots_come_back(slots in prop::collection::btree_set(0..4096_u16, 1..300)) {
            let slots: Vec<_> = slots.into_iter().collect();
            let mut bytes = Vec::new();
            encode(&slots, &mut bytes);
            prop_assert_eq!(decoded(&bytes, slots.len(), 4096).unwrap(), slots);
        }
    }
}
