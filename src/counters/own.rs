//! Series of tallyd's own: what clients can read, and nobody but tallyd counts.
//!
//! They live in cells like any other series, so their windows, their history and their way through a crash are the
//! same. Each has its cell beside those that `max_series` gives to clients. They are made when no client is there
//! yet, who might take the room.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::cells::{CellId, Face, Kind, Shown};
use super::number::Numeric;
use super::store::Entry;
use crate::series;
use crate::time::Timestamp;

impl Counters {
    /// Makes room for a series of our own, or finds it; `None` where the disk has none for it. It is of
    /// this kind from now on.
    pub fn own(&self, key: &[u8], kind: Kind) -> Option<CellId> {
        debug_assert!(series::is_reserved(key), "others are the clients'");
        let hash = self.keys.hash(key);
        let id = self.with_write(hash, key, |slot| {
            let id = slot.id.or_else(|| {
                self.cells.widen();
                let born = self.birth(slot, hash, key);
                if born.is_none() {
                    // The room is nobody else's.
                    self.cells.narrow();
                }
                born
            })?;
            let face = Face { kind, ..self.face(id) };
            self.cells.get(id).face.store(face.pack(), Relaxed);
            // So that the next drain learns what it is, also where nothing is counted yet.
            self.cells.mark(id);
            Some(id)
        });
        let mut own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = id.filter(|id| !own.contains(id)) {
            own.push(id);
        }
        id
    }

    /// Sets a gauge of our own, if there is one.
    pub fn set_own(&self, key: &[u8], value: f64, now: Timestamp) {
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            if let Some(id) = slot.id {
                let entry = Entry { key, value: b"", flags: 0, expires: None };
                self.store_number(id, entry, Numeric::of(value), 1, now);
            }
        });
    }

    /// Adds to a counter of our own; whether there is one.
    pub fn add_own(&self, key: &[u8], delta: u64) -> bool {
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            if let Some(id) = slot.id {
                let cell = self.cells.get(id);
                let face = Face { shown: Shown::Integer, width: 0, ..self.face(id) };
                cell.face.store(face.pack(), Relaxed);
                cell.set_expires(None);
                self.cells.add(id, cell, delta);
            }
            slot.id.is_some()
        })
    }

    /// The cells of all of them.
    pub(super) fn own_cells(&self) -> Vec<CellId> {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a cell is of one of them.
    pub(super) fn is_own(&self, id: CellId) -> bool {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// How many series of our own there are beside the overflow.
    pub(super) fn own_len(&self) -> usize {
        self.own.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many of them show a value.
    pub(super) fn own_values(&self, now: Timestamp) -> usize {
        let own = self.own.lock().unwrap_or_else(PoisonError::into_inner);
        own.iter().filter(|id| self.cells.get(**id).shows_number(now)).count()
    }
}
