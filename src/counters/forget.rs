//! Taking values away: one, all, or all at a later time. What was counted stays.

use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::cells::CellId;
use super::keys::SHARDS;
use crate::series;
use crate::time::Timestamp;

impl Counters {
    /// Takes the value shown away; whether there was one. What was counted stays, and so does what
    /// one of tallyd's own keys shows.
    pub fn delete(&self, key: &[u8], now: Timestamp) -> bool {
        if series::is_reserved(key) {
            return false;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            let was_shown = self.is_shown(slot.id, key, now);
            self.items.remove(key, now);
            if let Some(id) = slot.id {
                self.cells.get(id).hide();
                self.cells.mark(id);
            }
            was_shown
        })
    }

    /// Takes all values away at `due`: at once when that is not after `now`, else by [`sweep`].
    ///
    /// [`sweep`]: Self::sweep
    pub fn flush_all(&self, due: Timestamp, now: Timestamp) {
        if due <= now {
            self.items.forget_flush();
            self.flush_now();
        } else {
            self.items.flush_at(due);
        }
    }

    pub(super) fn flush_now(&self) {
        // What tallyd knows of itself is not the clients' to take away.
        let own = self.own_cells();
        for shard in 0..SHARDS {
            for (_, id) in self.keys.write(shard).iter() {
                if id != self.overflow && !own.contains(&id) {
                    self.cells.get(id).hide();
                    self.cells.mark(id);
                }
            }
        }
        self.items.clear();
    }

    /// Housekeeping, once a second: a delayed flush that is due, items that have expired, and keys that
    /// are idle. Gives the cells that were freed: what is known of them was of keys that have none now.
    /// What is idle is so by the clock that is `settled`: no key goes because `now` has leapt, and none
    /// while that is not known. To be called from where [`drain`](Self::drain) is called, and before it.
    pub fn sweep(&self, now: Timestamp, settled: Option<Timestamp>) -> Vec<CellId> {
        self.swept.store(now.as_millis(), Relaxed);
        if self.items.take_flush(now) {
            self.flush_now();
        }
        self.items.sweep(now);
        settled.map(|settled| self.free_idle(settled)).unwrap_or_default()
    }
}
