//! A key's place in its shard, and how a key gets its cell.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::cells::{CellId, Face, Kind, Shown};
use super::key_log::Life;
use super::keys::{Hash, Shard};
use super::{Class, Counters, OVERFLOW_KEY};

/// A key's place in its shard, under the write guard.
pub(super) struct Slot<'a> {
    pub(super) shard: &'a mut Shard,
    pub(super) id: Option<CellId>,
}

impl Counters {
    pub(super) fn with_read<T>(
        &self,
        hash: Hash,
        key: &[u8],
        read: impl FnOnce(Option<CellId>) -> T,
    ) -> T {
        let shard = self.keys.read(hash.shard());
        read(shard.get(hash, key))
    }

    pub(super) fn with_write<T>(
        &self,
        hash: Hash,
        key: &[u8],
        write: impl FnOnce(&mut Slot<'_>) -> T,
    ) -> T {
        let mut shard = self.keys.write(hash.shard());
        let id = shard.get(hash, key);
        write(&mut Slot { shard: &mut shard, id })
    }

    /// What a key is: its cell tells, or the configuration where it has none.
    pub(super) fn class(&self, slot: &Slot<'_>, key: &[u8]) -> Class {
        match slot.id {
            Some(id) => Class::of(self.face(id)),
            None => self.metrics.classify(key).0,
        }
    }

    /// Makes a cell for a key that has none; `None` when the table is full, or takes no more names.
    pub(super) fn birth(&self, slot: &mut Slot<'_>, hash: Hash, key: &[u8]) -> Option<CellId> {
        self.birth_of(Life::new(), slot, hash, key)
    }

    /// Makes a cell for a key of which history knows that it lived when the power was lost, and the
    /// log of keys does not: so that what is in windows is in its total too.
    pub fn revive(&self, key: &[u8], life: u64) {
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            if slot.id.is_none() {
                self.birth_of(Life(life), slot, hash, key);
            }
        });
    }

    fn birth_of(&self, life: Life, slot: &mut Slot<'_>, hash: Hash, key: &[u8]) -> Option<CellId> {
        if self.is_closed.load(Relaxed) {
            return None;
        }
        let id = self.vacant.take().or_else(|| self.cells.allocate())?;
        // It may have been another key's, or that of one that never reached the disk.
        self.cells.get(id).renew(life.0);
        let (class, metric) = self.metrics.classify(key);
        self.metrics.note(id, metric);
        // A text that was kept without a cell is what the key shows until the cell shows another
        // value: whenever the process ends, one of the two is there.
        let shown = if self.items.holds(key) { Shown::Text } else { Shown::Nothing };
        let (kind, held) = class.held();
        let face = Face { kind, shown, width: 0, flags: 0, held };
        self.cells.get(id).face.store(face.pack(), Relaxed);
        if !slot.shard.insert(hash, key, id, |key| self.keys.hash(key)) {
            self.vacant.give(id);
            return None;
        }
        // In the log before anything can be counted in it.
        if let Some(disk) = &self.disk {
            disk.birth(id, life, key);
        }
        self.births.lock().unwrap_or_else(PoisonError::into_inner).push(id, key);
        slot.id = Some(id);
        Some(id)
    }

    /// The cell of the overflow series. There is room for it: the table has one more than it gives
    /// to clients, and this is the first to ask.
    pub(super) fn ensure_overflow(&self) -> CellId {
        let hash = self.keys.hash(OVERFLOW_KEY);
        let id = self.with_write(hash, OVERFLOW_KEY, |slot| {
            slot.id.or_else(|| self.birth(slot, hash, OVERFLOW_KEY))
        });
        let id = id.unwrap_or_default();
        let face = Face { kind: Kind::Counter, ..self.face(id) };
        self.cells.get(id).face.store(face.pack(), Relaxed);
        id
    }
}
