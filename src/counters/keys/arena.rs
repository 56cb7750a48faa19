//! The bytes of keys, one behind the other in blocks that never move.
//!
//! A key is its length in one byte and its bytes; none crosses the end of a block. What is taken out
//! leaves a hole, and holes are only counted here: the owner moves what is left into a new arena
//! when there are too many of them.

use crate::limits;

const BLOCK_BITS: u32 = 14;
const BLOCK: usize = 1 << BLOCK_BITS;

/// Places are this many bits wide: half a gibibyte of keys.
pub(super) const PLACE_BITS: u32 = 29;

/// Where a key is.
pub(super) type Place = u32;

/// The keys of one shard.
#[derive(Debug, Default)]
pub(super) struct Arena {
    blocks: Vec<Box<[u8]>>,
    /// Bytes used of the last block.
    end: usize,
    /// Bytes of keys that were taken out.
    dead: usize,
}

impl Arena {
    /// The key at a place.
    #[inline]
    pub(super) fn get(&self, place: Place) -> &[u8] {
        let found = || {
            let block = self.blocks.get((place >> BLOCK_BITS) as usize)?;
            let (len, rest) = block.get(place as usize % BLOCK..)?.split_first()?;
            rest.get(..usize::from(*len))
        };
        found().unwrap_or_default()
    }

    /// The first byte at a place, which brings the line it is in near.
    #[inline]
    pub(super) fn touch(&self, place: Place) -> u8 {
        let block = self.blocks.get((place >> BLOCK_BITS) as usize);
        block.and_then(|block| block.get(place as usize % BLOCK)).copied().unwrap_or_default()
    }

    /// Puts a key in; `None` when the arena is full, or the key longer than keys are.
    pub(super) fn push(&mut self, key: &[u8]) -> Option<Place> {
        let len = u8::try_from(key.len()).ok()?;
        let bytes = 1 + key.len();
        if self.blocks.is_empty() || self.end + bytes > BLOCK {
            if self.blocks.len() >= 1 << (PLACE_BITS - BLOCK_BITS) {
                return None;
            }
            self.blocks.push(vec![0; BLOCK].into_boxed_slice());
            self.end = 0;
        }
        let at = self.blocks.len() - 1;
        let room = self.blocks.get_mut(at)?.get_mut(self.end..self.end + bytes)?;
        let (first, rest) = room.split_first_mut()?;
        *first = len;
        rest.copy_from_slice(key);
        let place = at << BLOCK_BITS | self.end;
        self.end += bytes;
        u32::try_from(place).ok()
    }

    /// Counts the key at a place as taken out.
    pub(super) fn forget(&mut self, place: Place) {
        self.dead += 1 + self.get(place).len();
    }

    /// Whether most of it is holes.
    pub(super) fn is_mostly_dead(&self) -> bool {
        self.dead > BLOCK && self.dead * 2 > self.bytes()
    }

    /// Bytes of its blocks.
    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK
    }
}

const _: () = {
    assert!(limits::KEY_BYTES <= u8::MAX as usize, "a byte tells a key's length");
    assert!(limits::KEY_BYTES < BLOCK);
};
