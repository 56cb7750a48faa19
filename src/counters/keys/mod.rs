//! Which cell a key has: a table in shards, each under a lock of its own.
//!
//! A key costs its bytes, one for their number, and ten to twelve for its place in the table: no
//! allocation of its own, and no second copy. Whoever asks for one key takes one guard; a batch
//! takes the guards of all its shards first, in order, and looks everything up under them, so that
//! the fetches from memory of all its keys are under way together. A writer holds one guard at a time,
//! so neither can wait for the other in a circle.
//!
//! This module knows numbers of cells, and nothing of what is in them.

mod arena;
mod filling;
mod shard;

use std::hash::BuildHasher;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

pub(super) use shard::{Entry, Shard};

/// How the table spreads keys. The seed is another one in each process, so that nobody can choose
/// keys that meet.
type Hasher = foldhash::fast::RandomState;

/// Shards of the table. A batch of 64 keys takes the guards of some forty of them; one shard of a
/// million keys is built anew in a third of a millisecond, which is what a birth may have to wait.
pub(super) const SHARDS: usize = 64;
const SHARD_BITS: u32 = SHARDS.trailing_zeros();

/// The table.
#[derive(Debug)]
pub(super) struct Keys {
    shards: Box<[Padded]>,
    hasher: Hasher,
}

/// Two cache lines, since processors fetch them in pairs: locks do not disturb each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Padded(RwLock<Shard>);

/// A key's hash. It says where the key is, and is good for this table alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Hash(u64);

impl Hash {
    /// Of nothing.
    pub(super) const NONE: Self = Self(0);

    /// Which shard.
    #[inline]
    pub(super) const fn shard(self) -> usize {
        (self.0 >> (u64::BITS - SHARD_BITS)) as usize
    }

    /// Where in a table of this length: the low half of the hash, as a fraction of 2^32.
    #[inline]
    const fn home(self, len: usize) -> usize {
        (((self.0 & 0xffff_ffff) * len as u64) >> 32) as usize
    }

    /// A few bits that tell most other keys apart without a look at them.
    #[inline]
    const fn tag(self) -> u64 {
        (self.0 >> 32) & 0xff
    }
}

impl Keys {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| Padded::default()).collect();
        Self { shards, hasher: Hasher::default() }
    }

    /// The hash of a key.
    #[inline]
    pub(super) fn hash(&self, key: &[u8]) -> Hash {
        Hash(self.hasher.hash_one(key))
    }

    /// A shard, to look at.
    #[inline]
    pub(super) fn read(&self, shard: usize) -> RwLockReadGuard<'_, Shard> {
        // Each critical section leaves a shard whole, so a panic elsewhere does not spoil it.
        self.lock(shard).read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard, to change.
    pub(super) fn write(&self, shard: usize) -> RwLockWriteGuard<'_, Shard> {
        self.lock(shard).write().unwrap_or_else(PoisonError::into_inner)
    }

    /// A shard, for whoever has the table to himself.
    fn shard_mut(&mut self, shard: usize) -> &mut Shard {
        let lock = &mut self.shards.get_mut(shard).expect("a hash names one of the shards").0;
        lock.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline]
    fn lock(&self, shard: usize) -> &RwLock<Shard> {
        &self.shards.get(shard).expect("a hash names one of the shards").0
    }
}

#[cfg(test)]
mod tests;
