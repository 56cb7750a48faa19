//! What a key shows.

use super::Counters;
use super::cells::{CellId, Face, Shown};
use super::number::Decimal;
use crate::series;
use crate::time::Timestamp;

/// A value as a client sees it.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The bytes.
    pub value: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// The number that changes with every change of the value.
    pub unique: u64,
}

impl Counters {
    /// Shows the value of a key to `see`.
    pub fn get<T>(&self, key: &[u8], now: Timestamp, see: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_read(hash, key, |id| self.show(id, key, now, see))
    }

    /// Shows the value of a key whose cell is known, under the guard of its shard.
    pub(super) fn show<T>(
        &self,
        id: Option<CellId>,
        key: &[u8],
        now: Timestamp,
        see: impl FnOnce(View<'_>) -> T,
    ) -> Option<T> {
        match id.map(|id| (id, self.cells.get(id), self.face(id))) {
            Some((_, _, Face { shown: Shown::Text, .. })) | None => {
                self.items.see(key, now, |item| {
                    item.trace.fetch(now);
                    see(View { value: &item.value, flags: item.flags, unique: item.unique })
                })
            }
            Some((id, cell, face)) => {
                let mut text = Decimal::default();
                if !cell.is_live(now) || !cell.write_shown(face, &mut text) {
                    return None;
                }
                self.note_fetch(id, cell, now);
                let value = text.as_bytes();
                Some(see(View { value, flags: face.flags, unique: cell.unique() }))
            }
        }
    }

    pub(super) fn is_shown(&self, id: Option<CellId>, key: &[u8], now: Timestamp) -> bool {
        match id.map(|id| (self.cells.get(id), self.face(id))) {
            None | Some((_, Face { shown: Shown::Text, .. })) => {
                self.items.see(key, now, |_| ()).is_some()
            }
            Some((cell, face)) => face.shown != Shown::Nothing && cell.is_live(now),
        }
    }
}
