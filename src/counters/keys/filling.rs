//! Putting very many keys in at once, as a start does.
//!
//! One after the other each key would wait for the memory of its own place, which lies anywhere in a table
//! that is larger than what a processor keeps near. So the bytes are put down in the order in which they
//! come, and the places are filled shard by shard.

use super::shard::Entry;
use super::{Hash, Keys, SHARDS};
use crate::counters::cells::CellId;

/// See the module.
#[derive(Debug)]
pub(in crate::counters) struct Filling<'a> {
    keys: &'a mut Keys,
    waiting: Vec<Vec<(Hash, Entry)>>,
}

impl Keys {
    /// Begins to put in about `keys` keys, into a table that is empty.
    pub(in crate::counters) fn fill(&mut self, keys: usize) -> Filling<'_> {
        // Hashes do not spread quite evenly.
        let each = (keys / SHARDS) * 33 / 32;
        Filling { keys: self, waiting: (0..SHARDS).map(|_| Vec::with_capacity(each)).collect() }
    }
}

impl Filling<'_> {
    /// Puts in a key; `false` when there is no room for its bytes.
    pub(in crate::counters) fn push(&mut self, key: &[u8], id: CellId) -> bool {
        let hash = self.keys.hash(key);
        let shard = self.keys.shard_mut(hash.shard());
        let Some(entry) = shard.keep(hash, key, id) else { return false };
        self.waiting.get_mut(hash.shard()).expect("there is one for each").push((hash, entry));
        true
    }

    /// Has everything in place. Of two cells with the same key it has the one that `is_later` says; the
    /// others are what comes back.
    pub(in crate::counters) fn finish(
        self,
        is_later: impl Fn(CellId, CellId) -> bool,
    ) -> Vec<CellId> {
        let mut others = Vec::new();
        for (at, waiting) in self.waiting.into_iter().enumerate() {
            let shard = self.keys.shard_mut(at);
            shard.make_room(waiting.len());
            others.extend(
                waiting.into_iter().filter_map(|(hash, entry)| shard.place(hash, entry, &is_later)),
            );
        }
        others
    }
}
