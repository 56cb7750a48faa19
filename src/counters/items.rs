//! Values that are not numbers, kept and returned byte for byte.
//!
//! tallyd is not a cache: when the room is full a new value is refused, and nothing is evicted. With
//! a log, every change is in it before it is made, and so before it is acknowledged.
//! This module knows nothing of series; the caller holds the lock of the key it works on.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use dashmap::{DashMap, Entry as Slot};

use super::item_log::{Change, ItemLog};
use super::journal::{Found, OpenError};
use super::lengths::Extent;
use super::marks::Trace;
use crate::time::Timestamp;

/// One value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The bytes.
    pub value: Box<[u8]>,
    /// The client's own 32 bits.
    pub flags: u32,
    /// When it expires.
    pub expires: Option<Timestamp>,
    /// The unique number that `gets` answers.
    pub unique: u64,
    /// Marks and last access. A fetch is noted in place, everything else through `alter`.
    pub trace: Trace,
}

impl Item {
    /// Whether it is gone at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }
}

/// What an item is charged beside its key and value: a table slot of 65 bytes at two thirds load,
/// and two allocations of which each loses about 16 bytes to the allocator. An estimate on the safe
/// side, so that the room in the configuration is not exceeded.
const OVERHEAD_BYTES: usize = 132;

/// The table of items, bounded in bytes.
#[derive(Debug)]
pub struct Items {
    table: DashMap<Box<[u8]>, Item, foldhash::fast::RandomState>,
    used_bytes: AtomicUsize,
    /// No item expires before this, in milliseconds.
    earliest: AtomicI64,
    max_bytes: usize,
    log: Option<ItemLog>,
    /// When everything is to be taken out, in milliseconds; `i64::MAX` for never.
    flush_due: AtomicI64,
    /// Held for writing while everything is taken out or is said to go later, for reading by every
    /// other change: what the log tells then is what happened.
    clearing: RwLock<()>,
    /// Changes that could not be logged, and would come undone with the process.
    unlogged: AtomicU64,
}

/// There is no room for the value, in memory or on the disk; nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl Items {
    /// An empty table with room for `max_bytes`, keys and overhead included.
    #[must_use]
    pub fn new(max_bytes: usize) -> Self {
        Self {
            table: DashMap::default(),
            used_bytes: AtomicUsize::new(0),
            earliest: AtomicI64::new(i64::MAX),
            max_bytes,
            log: None,
            flush_due: AtomicI64::new(i64::MAX),
            clearing: RwLock::default(),
            unlogged: AtomicU64::new(0),
        }
    }

    /// The table as the log in `dir` tells it. What has expired by `now` is left out; what does not
    /// fit any more, since the room was made smaller, stays all the same.
    ///
    /// # Errors
    /// [`OpenError`], where the log cannot be used.
    pub(super) fn open(
        max_bytes: usize,
        dir: &Path,
        now: Timestamp,
    ) -> Result<(Self, Found), OpenError> {
        let mut items = Self::new(max_bytes);
        let (log, found) = ItemLog::open(dir, now, |change| match change {
            Change::Put(key, item) => items.replace(key, item),
            Change::Remove(key) => items.forget(key),
            Change::Clear => {
                items.flush_due.store(i64::MAX, Ordering::Relaxed);
                items.remove_where(|_| true);
            }
            Change::FlushAt(due) => items.flush_due.store(due.as_millis(), Ordering::Relaxed),
        })?;
        items.log = Some(log);
        Ok((items, found))
    }

    /// Brings the log to the medium, and writes it anew when most of it is past.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        let Some(log) = &self.log else { return Ok(()) };
        let rewritten =
            if log.is_worth_rewriting(self.used_bytes()) { self.rewrite(log) } else { Ok(()) };
        log.sync().and(rewritten)
    }

    fn rewrite(&self, log: &ItemLog) -> io::Result<()> {
        let _calm = self.calm();
        log.rewrite(|all| {
            // A shard's guard is held while its items are written, so none of them changes
            // between being read and being written.
            self.table.iter().try_for_each(|entry| all.put(entry.key(), entry.value()))?;
            self.flush_due().map_or(Ok(()), |due| all.flush_at(due))
        })
    }

    /// How far the log goes.
    pub(super) fn extent(&self) -> Extent {
        self.log.as_ref().map(ItemLog::extent).unwrap_or_default()
    }

    /// Changes that could not be logged for want of room on the disk.
    #[must_use]
    pub fn unlogged(&self) -> u64 {
        self.unlogged.load(Ordering::Relaxed)
    }

    /// The greatest unique number of all items.
    pub(super) fn unique_max(&self) -> u64 {
        self.table.iter().map(|item| item.unique).max().unwrap_or(0)
    }

    /// Puts a value in place of what was there, whether there is room or not.
    fn replace(&self, key: &[u8], item: Item) {
        self.note_expiry(&item);
        let new = cost(key, &item.value);
        let old = self.table.insert(key.into(), item).map_or(0, |old| cost(key, &old.value));
        self.used_bytes.fetch_add(new, Ordering::Relaxed);
        self.used_bytes.fetch_sub(old, Ordering::Relaxed);
    }

    /// Takes a value out of memory alone.
    pub(super) fn forget(&self, key: &[u8]) {
        if let Some((key, item)) = self.table.remove(key) {
            self.used_bytes.fetch_sub(cost(&key, &item.value), Ordering::Relaxed);
        }
    }

    /// Notes in the log what cannot be refused any more.
    fn note(&self, write: impl FnOnce(&ItemLog) -> io::Result<()>) {
        if self.log.as_ref().is_some_and(|log| write(log).is_err()) {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts a value in place of what was there.
    ///
    /// # Errors
    /// [`Full`] when it does not fit; the old value stays.
    pub fn put(&self, key: &[u8], item: Item) -> Result<(), Full> {
        let new = cost(key, &item.value);
        let _calm = self.calm();
        // The guard of the shard is held from here on, so that the log tells of changes to one key in
        // the order in which they are made, also while it is written anew.
        let slot = self.table.entry(key.into());
        let old = match &slot {
            Slot::Occupied(old) => cost(key, &old.get().value),
            Slot::Vacant(_) => 0,
        };
        self.used_bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                let used = used + new - old;
                (used <= self.max_bytes || new <= old).then_some(used)
            })
            .map_err(|_| Full)?;
        if self.log.as_ref().is_some_and(|log| log.put(key, &item).is_err()) {
            self.used_bytes.fetch_add(old, Ordering::Relaxed);
            self.used_bytes.fetch_sub(new, Ordering::Relaxed);
            return Err(Full);
        }
        self.note_expiry(&item);
        slot.insert(item);
        Ok(())
    }

    /// Shows the value that is live at `now` to `see`.
    pub fn see<T>(&self, key: &[u8], now: Timestamp, see: impl FnOnce(&Item) -> T) -> Option<T> {
        let item = self.table.get(key)?;
        (!item.is_expired(now)).then(|| see(&item))
    }

    /// Lets `change` alter flags, expiry and unique number of the value that is live at `now`.
    pub fn alter<T>(
        &self,
        key: &[u8],
        now: Timestamp,
        change: impl FnOnce(&mut Item) -> T,
    ) -> Option<T> {
        let _calm = self.calm();
        let mut item = self.table.get_mut(key)?;
        if item.is_expired(now) {
            return None;
        }
        let changed = change(&mut item);
        self.note_expiry(&item);
        self.note(|log| log.put(key, &item));
        Some(changed)
    }

    /// Takes a value out; whether one was there and live.
    pub fn remove(&self, key: &[u8], now: Timestamp) -> bool {
        let _calm = self.calm();
        let Slot::Occupied(slot) = self.table.entry(key.into()) else { return false };
        self.note(|log| log.remove(key));
        let item = slot.remove();
        self.used_bytes.fetch_sub(cost(key, &item.value), Ordering::Relaxed);
        !item.is_expired(now)
    }

    /// Takes out what has expired. It looks only when something may have.
    pub fn sweep(&self, now: Timestamp) {
        if self.earliest.load(Ordering::Relaxed) <= now.as_millis() {
            // What is noted from here on is noted for the next time.
            self.earliest.store(i64::MAX, Ordering::Relaxed);
            self.remove_where(|item| {
                let goes = item.is_expired(now);
                if !goes {
                    self.note_expiry(item);
                }
                goes
            });
        }
    }

    /// Takes everything out.
    pub fn clear(&self) {
        let _alone = self.alone();
        self.note(ItemLog::clear);
        if let Some(due) = self.flush_due() {
            // In the log, what is taken out now is all that was to go.
            self.note(|log| log.flush_at(due));
        }
        self.remove_where(|_| true);
    }

    /// Notes that everything is to go at `due`; the caller asks for it then.
    pub(super) fn flush_at(&self, due: Timestamp) {
        let _alone = self.alone();
        self.flush_due.store(due.as_millis(), Ordering::Relaxed);
        self.note(|log| log.flush_at(due));
    }

    /// Whether everything is to go by now. Whoever hears so sees to it; no other does.
    pub(super) fn take_flush(&self, now: Timestamp) -> bool {
        let due = self.flush_due.load(Ordering::Relaxed);
        let (none, relaxed) = (i64::MAX, Ordering::Relaxed);
        due <= now.as_millis()
            && self.flush_due.compare_exchange(due, none, relaxed, relaxed).is_ok()
    }

    /// Nothing is to go later any more; the log learns it from what goes now.
    pub(super) fn forget_flush(&self) {
        self.flush_due.store(i64::MAX, Ordering::Relaxed);
    }

    fn flush_due(&self) -> Option<Timestamp> {
        let due = self.flush_due.load(Ordering::Relaxed);
        (due != i64::MAX).then(|| Timestamp::from_millis(due))
    }

    /// As long as the answer lives, nothing else changes.
    fn alone(&self) -> RwLockWriteGuard<'_, ()> {
        self.clearing.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// As long as the answer lives, not everything is taken out.
    fn calm(&self) -> RwLockReadGuard<'_, ()> {
        self.clearing.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is a value, expired or not.
    pub(super) fn holds(&self, key: &[u8]) -> bool {
        self.table.contains_key(key)
    }

    fn note_expiry(&self, item: &Item) {
        if let Some(at) = item.expires {
            self.earliest.fetch_min(at.as_millis(), Ordering::Relaxed);
        }
    }

    fn remove_where(&self, mut condemned: impl FnMut(&Item) -> bool) {
        self.table.retain(|key, item| {
            let goes = condemned(item);
            if goes {
                self.used_bytes.fetch_sub(cost(key, &item.value), Ordering::Relaxed);
            }
            !goes
        });
    }

    /// Walks the values that are live at `now` until `each` has had enough.
    pub fn walk(&self, now: Timestamp, mut each: impl FnMut(&[u8], &Item) -> bool) {
        for entry in &self.table {
            if !entry.is_expired(now) && !each(entry.key(), entry.value()) {
                return;
            }
        }
    }

    /// How many there are, expired ones that were not swept yet included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Room taken, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Room in all, in bytes.
    #[must_use]
    pub fn max_bytes(&self) -> usize {
        self.max_bytes
    }
}

/// What an item is charged against the room.
pub(super) fn cost(key: &[u8], value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: &str) -> Item {
        Item {
            value: value.as_bytes().into(),
            flags: 0,
            expires: None,
            unique: 1,
            trace: Trace::default(),
        }
    }

    #[test]
    fn refuses_what_does_not_fit_and_keeps_what_was_there() {
        let now = Timestamp::EPOCH;
        let items = Items::new(2 * (OVERHEAD_BYTES + 2));
        assert_eq!(items.put(b"a", item("1")), Ok(()));
        assert_eq!(items.put(b"b", item("2")), Ok(()));
        assert_eq!(items.put(b"c", item("3")), Err(Full));
        assert_eq!(items.put(b"a", item("long")), Err(Full));
        assert_eq!(items.see(b"a", now, |i| i.value.to_vec()), Some(b"1".to_vec()));
        assert!(items.remove(b"b", now));
        assert_eq!(items.put(b"c", item("3")), Ok(()));
        items.clear();
        assert!(items.is_empty());
        assert_eq!(items.used_bytes(), 0);
    }

    #[test]
    fn an_expired_value_is_gone_before_it_is_swept() {
        let items = Items::new(1000);
        let expires = Some(Timestamp::from_secs(10));
        items.put(b"a", Item { expires, ..item("1") }).unwrap();
        assert!(items.see(b"a", Timestamp::from_millis(9_999), |_| ()).is_some());
        assert!(items.see(b"a", Timestamp::from_secs(10), |_| ()).is_none());
        assert!(!items.remove(b"a", Timestamp::from_secs(10)));
        assert_eq!(items.used_bytes(), 0);
    }

    #[test]
    fn a_sweep_takes_what_has_expired_and_remembers_what_is_next() {
        let items = Items::new(10_000);
        for (key, secs) in [(b"a", 10), (b"b", 20), (b"c", 30)] {
            let expires = Some(Timestamp::from_secs(secs));
            items.put(key, Item { expires, ..item("1") }).unwrap();
        }
        items.put(b"d", item("1")).unwrap();
        let left = |secs| {
            items.sweep(Timestamp::from_secs(secs));
            items.len()
        };
        assert_eq!([left(9), left(10), left(19), left(20)], [4, 3, 3, 2]);
        let later = Some(Timestamp::from_secs(25));
        items.alter(b"d", Timestamp::EPOCH, |item| item.expires = later);
        assert_eq!([left(24), left(25), left(30)], [2, 1, 0]);
    }
}
