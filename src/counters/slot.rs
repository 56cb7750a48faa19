//! A key's place in its shard, and how a key gets its cell.

use std::hash::BuildHasher;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use dashmap::SharedValue;

use super::cells::{CellId, Face, Kind, Shown};
use super::{Counters, Key, OVERFLOW_KEY, disk};

pub(super) type Shard = hashbrown::raw::RawTable<(Key, SharedValue<CellId>)>;

/// A key's place in its shard, under the write guard.
pub(super) struct Slot<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) id: Option<CellId>,
}

impl Counters {
    pub(super) fn with_read<T>(
        &self,
        hash: u64,
        key: &[u8],
        read: impl FnOnce(Option<CellId>) -> T,
    ) -> T {
        let shard = self.shard(hash).read();
        read(shard.get(hash, |(k, _)| **k == *key).map(|(_, id)| *id.get()))
    }

    pub(super) fn with_write<T>(
        &self,
        hash: u64,
        key: &[u8],
        write: impl FnOnce(&mut Slot<'_>) -> T,
    ) -> T {
        let mut shard = self.shard(hash).write();
        let id = shard.get(hash, |(k, _)| **k == *key).map(|(_, id)| *id.get());
        write(&mut Slot { shard: &mut shard, id })
    }

    #[expect(clippy::cast_possible_truncation, reason = "dashmap takes the hash as a usize")]
    pub(super) fn shard(&self, hash: u64) -> &dashmap::RwLock<Shard> {
        let at = self.keys.determine_shard(hash as usize);
        self.keys.shards().get(at).expect("dashmap names one of its own shards")
    }

    /// Makes a cell for a key that has none; `None` when the table is full.
    pub(super) fn birth(&self, slot: &mut Slot<'_>, hash: u64, key: &[u8]) -> Option<CellId> {
        let id = self.cells.allocate()?;
        // An earlier process may have used the cell for a key that never reached the disk.
        self.cells.get(id).renew(disk::identity(key));
        // A text that was kept without a cell is what the key shows until the cell shows another
        // value: whenever the process ends, one of the two is there.
        if self.items.holds(key) {
            let face = Face { kind: Kind::Gauge, shown: Shown::Text, width: 0, flags: 0 };
            self.cells.get(id).face.store(face.pack(), Relaxed);
        }
        // In the log before anything can be counted in it.
        if let Some(disk) = &self.disk {
            disk.birth(id, key);
        }
        self.births.lock().unwrap_or_else(PoisonError::into_inner).push((id, key.into()));
        let entry = (key.into(), SharedValue::new(id));
        slot.shard.insert(hash, entry, |(key, _)| self.keys.hasher().hash_one(&**key));
        slot.id = Some(id);
        Some(id)
    }

    /// The cell of the overflow series. There is room for it: the table has one more than it gives
    /// to clients, and this is the first to ask.
    pub(super) fn ensure_overflow(&self) -> CellId {
        let hash = self.keys.hasher().hash_one(OVERFLOW_KEY);
        let id = self.with_write(hash, OVERFLOW_KEY, |slot| {
            slot.id.or_else(|| self.birth(slot, hash, OVERFLOW_KEY))
        });
        let id = id.unwrap_or_default();
        let face = Face { kind: Kind::Counter, ..self.face(id) };
        self.cells.get(id).face.store(face.pack(), Relaxed);
        id
    }
}
