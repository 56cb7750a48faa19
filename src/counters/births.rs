//! Keys with the cells that they were given, in one buffer: for whoever has to learn of them.

use super::cells::CellId;

/// Cells that are new, with their keys, in the order in which they were given out.
#[derive(Debug, Default)]
pub struct Births {
    cells: Vec<Birth>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug)]
struct Birth {
    id: CellId,
    /// The key's bytes in the buffer.
    from: usize,
    len: usize,
}

impl Births {
    /// Every cell with its key.
    pub fn iter(&self) -> impl Iterator<Item = (CellId, &[u8])> {
        self.cells.iter().map(|birth| {
            let key = self.bytes.get(birth.from..birth.from + birth.len);
            (birth.id, key.expect("a birth is noted with its bytes"))
        })
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
        self.cells.sort_unstable_by_key(|birth| birth.id);
    }

    pub(super) fn push(&mut self, id: CellId, key: &[u8]) {
        self.cells.push(Birth { id, from: self.bytes.len(), len: key.len() });
        self.bytes.extend_from_slice(key);
    }
}
