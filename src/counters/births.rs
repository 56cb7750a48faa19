//! Keys with the cells that they were given, in one buffer: for whoever has to learn of them.

use std::num::NonZeroU64;

use super::cells::CellId;

/// Where a key lies in a buffer of keys: its first byte, counted from one, and in the low eight bits how
/// many there are. What was put in later is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place(NonZeroU64);

impl Place {
    /// Puts a key behind the others; `None` for one that is longer than keys are.
    pub(super) fn push(bytes: &mut Vec<u8>, key: &[u8]) -> Option<Self> {
        let len = u8::try_from(key.len()).ok()?;
        let place = (bytes.len() as u64 + 1) << u8::BITS | u64::from(len);
        bytes.extend_from_slice(key);
        NonZeroU64::new(place).map(Self)
    }

    /// The key.
    pub(super) fn of(self, bytes: &[u8]) -> &[u8] {
        let (from, len) = ((self.0.get() >> u8::BITS) - 1, self.0.get() & u64::from(u8::MAX));
        let range = usize::try_from(from).ok().zip(usize::try_from(from + len).ok());
        range.and_then(|(from, end)| bytes.get(from..end)).unwrap_or_default()
    }
}

/// Cells that are new, with their keys, in the order in which they were given out.
#[derive(Debug, Default)]
pub struct Births {
    cells: Vec<(CellId, Place)>,
    bytes: Vec<u8>,
}

impl Births {
    /// Those of an earlier process, whose keys lie in `bytes`.
    pub(super) fn inherited(cells: Vec<(CellId, Place)>, bytes: Vec<u8>) -> Self {
        Self { cells, bytes }
    }

    /// Every cell with its key.
    pub fn iter(&self) -> impl Iterator<Item = (CellId, &[u8])> {
        self.cells.iter().map(|(id, place)| (*id, place.of(&self.bytes)))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Puts them in the order of their cells.
    pub fn sort(&mut self) {
        self.cells.sort_unstable_by_key(|(id, _)| *id);
    }

    pub(super) fn push(&mut self, id: CellId, key: &[u8]) {
        let place = Place::push(&mut self.bytes, key);
        self.cells.push((id, place.expect("a key that has a cell is no longer than keys are")));
    }
}
