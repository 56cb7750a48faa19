//! Cells of keys that nobody has touched for long: they are freed, and used again.
//!
//! A sweep looks at a bounded piece of the table each time. An increment adds under the read guard of
//! its shard, a key is taken out under the write guard, so none can be on its way into a cell that is
//! freed; and a cell whose last change was not drained yet is left alone, so none is missing in the
//! windows. The end of a life is in the log before the cell is anybody else's.
//!
//! When a key was touched is kept in hours, in bits of its cell that were free: it costs no memory, a
//! change at most once an hour, and it outlives the process like everything in a cell.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Counters;
use super::cells::{Cell, CellId};
use super::key_log::Life;
use super::keys::SHARDS;
use crate::limits;
use crate::time::{Span, Timestamp};

/// Cells that were in use and are not now.
#[derive(Debug, Default)]
pub(super) struct Vacant(Mutex<Vec<CellId>>);

impl Vacant {
    pub(super) fn of(cells: Vec<CellId>) -> Self {
        Self(Mutex::new(cells))
    }

    pub(super) fn take(&self) -> Option<CellId> {
        self.lock().pop()
    }

    pub(super) fn give(&self, id: CellId) {
        self.lock().push(id);
    }

    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<CellId>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where in the table the next sweep begins.
#[derive(Debug, Default)]
pub(super) struct Broom(Mutex<Place>);

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    shard: usize,
    at: usize,
}

impl Counters {
    /// Frees the cells of idle keys in the next piece of the table. What was counted under them is in
    /// the windows; a value that they show is gone. Gives the cells, which are nobody's from here on.
    pub(super) fn free_idle(&self, now: Timestamp) -> Vec<CellId> {
        let Some(expiry) = self.idle_expiry else { return Vec::new() };
        let mut freed = Vec::new();
        for key in self.next_idle(now, expiry) {
            freed.extend(self.free(&key, now, expiry));
        }
        freed
    }

    /// Idle keys in the next piece of the table.
    fn next_idle(&self, now: Timestamp, expiry: Span) -> Vec<Box<[u8]>> {
        let mut place = self.broom.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut idle = Vec::new();
        let mut room = limits::SWEEP_PLACES;
        for _ in 0..SHARDS {
            let shard = self.keys.read(place.shard);
            for (key, id) in shard.slice(place.at, room) {
                if self.is_idle(id, now, expiry) {
                    idle.push(key.into());
                }
            }
            let seen = room.min(shard.places().saturating_sub(place.at));
            room -= seen;
            place.at += seen;
            if place.at < shard.places() {
                break;
            }
            *place = Place { shard: (place.shard + 1) % SHARDS, at: 0 };
        }
        idle
    }

    fn is_idle(&self, id: CellId, now: Timestamp, expiry: Span) -> bool {
        let cell = self.cells.get(id);
        if id == self.overflow || self.cells.is_marked(id) {
            return false;
        }
        let idle = cell.idle(now);
        if idle.is_none() {
            // Known from now on.
            cell.note_touch(now);
        }
        idle.is_some_and(|idle| idle > expiry) && !self.is_own(id)
    }

    /// Frees the cell of a key, if it is idle still.
    fn free(&self, key: &[u8], now: Timestamp, expiry: Span) -> Option<CellId> {
        let hash = self.keys.hash(key);
        let mut shard = self.keys.write(hash.shard());
        let id = shard.get(hash, key).filter(|id| self.is_idle(*id, now, expiry))?;
        let life = Life::of(self.cells.get(id));
        if let Some(disk) = &self.disk {
            disk.free(id, life, key).ok()?;
        }
        shard.remove(hash, key, |key| self.keys.hash(key));
        // A start would miss the key of a cell that looks as if it had one.
        self.cells.get(id).identity.store(0, Relaxed);
        // Nor does its value expire any more: its series may be alive in another cell by then.
        self.cells.get(id).set_expires(None);
        drop(shard);
        self.accesses.forget(id);
        self.vacant.give(id);
        Some(id)
    }
}

/// The word of a cell that tells when its value expires has that in its low bits, and when it was last
/// touched in its high ones: in hours since the epoch, which come round after seven years; 0 for
/// unknown.
const EXPIRES_BITS: u32 = 48;

/// The greatest time of expiry that a cell can tell, in milliseconds; in the year 10889.
pub(super) const EXPIRES_MASK: u64 = (1 << EXPIRES_BITS) - 1;

const HOUR_MILLIS: u64 = 60 * 60 * 1000;

fn hour(at: Timestamp) -> u16 {
    let hours = at.as_millis().max(0).cast_unsigned() / HOUR_MILLIS;
    u16::try_from(hours % (1 << 16)).unwrap_or_default().max(1)
}

impl Cell {
    /// Notes that somebody has touched the key.
    #[inline]
    pub(super) fn note_touch(&self, now: Timestamp) {
        let hour = u64::from(hour(now));
        if self.expires.load(Relaxed) >> EXPIRES_BITS != hour {
            let noted = |word: u64| Some(word & EXPIRES_MASK | hour << EXPIRES_BITS);
            let _ = self.expires.fetch_update(Relaxed, Relaxed, noted);
        }
    }

    /// How long nobody has touched the key, in whole hours, not less than it was; `None` for unknown.
    fn idle(&self, now: Timestamp) -> Option<Span> {
        let last = u16::try_from(self.expires.load(Relaxed) >> EXPIRES_BITS).unwrap_or_default();
        let hours = hour(now).wrapping_sub(last);
        // A clock that was set back makes nothing idle.
        let hours = if hours > u16::MAX / 2 { 0 } else { hours };
        (last != 0).then(|| Span::from_secs(u64::from(hours) * 60 * 60))
    }
}

#[cfg(test)]
mod tests;
