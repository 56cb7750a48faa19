//! The live table: key → cell, and the values that are not numbers.
//!
//! A key that is incremented is a counter, one that is only ever set to a number is a gauge, any
//! other value is an item. What a client sees (set, delete, expiry, flags) is kept apart from what
//! was counted: nothing that a client does takes away from a total. The module does not know
//! windows, nor the wire.
//!
//! **Locks.** All access to a key goes through the lock of its shard in `keys`: reads and plain
//! increments of counters under the read guard, everything else under the write guard. Inside it
//! the item table and the gauge windows may be locked, never the other way round.

pub mod cells;
mod disk;
mod expiring;
mod gauges;
mod glance;
mod item_log;
pub mod items;
mod journal;
pub mod marks;
mod number;
mod store;

use std::hash::BuildHasher;
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI64, AtomicU64};
use std::sync::{Mutex, PoisonError};

use dashmap::{DashMap, SharedValue};

use crate::config::MissingIncr;
use crate::series;
use crate::time::Timestamp;

use cells::{Cell, CellId, Cells, Face, Kind, Shown};
use disk::Disk;
use expiring::Expiring;
use gauges::Gauges;
pub use gauges::Observed;
pub use glance::{Condemned, Glance, Step, Stepped};
use items::{Full, Item, Items};
pub use journal::OpenError;
use marks::{Accesses, Marks, Trace};
use number::{Decimal, Exact, Number, Numeric, decimal, decimal_width};
pub use store::{Side, Written};

type Hasher = foldhash::fast::RandomState;
type Key = Box<[u8]>;

/// The series that takes the increments of keys for which there is no room.
pub const OVERFLOW_KEY: &[u8] = b"tallyd.overflow";

/// Bounds and behaviour, from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// What `incr` of an unknown key does.
    pub missing_incr: MissingIncr,
    /// Series at most, not counting our own.
    pub max_series: usize,
    /// Room for items, in bytes.
    pub items_bytes: usize,
    /// Longest value that `append` and `prepend` may come to, in bytes.
    pub value_bytes: usize,
}

/// The live table.
#[derive(Debug)]
pub struct Counters {
    keys: DashMap<Key, CellId, Hasher>,
    cells: Cells,
    items: Items,
    /// Where it survives the end of the process; `None`: nowhere.
    disk: Option<Disk>,
    gauges: Gauges,
    accesses: Accesses,
    value_bytes: usize,
    /// When housekeeping last ran, in milliseconds: the time of the drain that follows it.
    swept: AtomicI64,
    /// The time of the last drain. What the next one finds was written after it.
    drained: AtomicI64,
    /// Cells made since the last drain, with the key that made them.
    births: Mutex<Vec<(CellId, Key)>>,
    missing_incr: MissingIncr,
    overflow: CellId,
    overflowed: AtomicU64,
    /// The next unique number for `gets`.
    unique: AtomicU64,
    /// When a delayed `flush_all` is due, in milliseconds; `i64::MAX` for none.
    flush_due: AtomicI64,
    /// Cells whose value will expire.
    expiring: Expiring,
}

/// What was found in a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Series that were taken over, our own included.
    pub series: usize,
    /// Items that were taken over.
    pub items: usize,
    /// Series whose cell was not written back before the power was lost: they begin at zero.
    pub reset: usize,
    /// Series that `max_series` has no room for; they stay in the files.
    pub beyond_room: usize,
    /// Bytes of torn records at the ends of logs: changes that nobody was told of.
    pub torn_bytes: usize,
    /// Bytes in the middle of logs that are damaged.
    pub damaged_bytes: usize,
}

/// What `incr` and `decr` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arithmetic {
    /// The value shown from now on.
    Value(u64),
    /// There is no such key.
    NotFound,
    /// The value shown is not a decimal number of 64 bits.
    NotNumeric,
    /// The table is full, and the value is kept where it cannot be counted.
    Full,
    /// The key is one of tallyd's own.
    Reserved,
}

/// What a storage command did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is stored.
    Stored,
    /// Its condition did not hold.
    NotStored,
    /// The key shows a value with another unique number.
    Exists,
    /// The key shows nothing that could have the unique number.
    NotFound,
    /// There is no room for the value.
    Full,
    /// The key is one of tallyd's own.
    Reserved,
}

/// When a storage command stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Always: `set`.
    Always,
    /// When the key shows nothing: `add`.
    Absent,
    /// When the key shows a value: `replace`.
    Present,
    /// When the key shows a value with this unique number: `cas`.
    Unique(u64),
    /// The same, or with a greater one: then what is stored counts as stale, and the expiry stays.
    UniqueOrOlder(u64),
}

/// A value to store.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The bytes.
    pub value: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// When it expires.
    pub expires: Option<Timestamp>,
}

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

/// What a touched cell holds at the close of a base window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Drained {
    /// Which cell.
    pub cell: CellId,
    /// Counter or gauge.
    pub kind: Kind,
    /// Sum of all increments ever.
    pub total: u64,
    /// Number of increments ever.
    pub count: u64,
    /// What a client sees at that time.
    pub shown: ShownNow,
    /// What a gauge was set to since the last close.
    pub observed: Option<Observed>,
}

/// What a client sees of a cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ShownNow {
    /// No value: deleted, expired, or not set yet.
    Nothing,
    /// A number.
    Number(f64),
    /// A text in the table of items; it may well be one that is a number.
    Text,
}

impl ShownNow {
    /// The number, where it is one.
    #[must_use]
    pub const fn number(self) -> Option<f64> {
        match self {
            Self::Number(value) => Some(value),
            Self::Nothing | Self::Text => None,
        }
    }
}

impl Counters {
    /// An empty table that ends with the process.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let cells = Cells::new(options.max_series.saturating_add(1), None);
        let mut counters = Self::over(options, cells, Items::new(options.items_bytes));
        counters.overflow = counters.ensure_overflow();
        counters
    }

    /// The table as `dir` holds it; the directory is made where there is none. What was acknowledged
    /// before the last process ended, however it ended, is there.
    ///
    /// # Errors
    /// [`OpenError`], where another process works on the directory, or a file in it cannot be used.
    pub fn open(
        options: Options,
        dir: &Path,
        now: Timestamp,
    ) -> Result<(Self, Recovered), OpenError> {
        let mut recovered = Recovered::default();
        let mut births = Vec::new();
        let (disk, keys) = Disk::open(dir, |number, key| births.push((number, Key::from(key))))?;
        let (items, found) = Items::open(options.items_bytes, dir, now)?;
        recovered.damaged_bytes = keys.damaged_bytes + found.damaged_bytes;
        recovered.torn_bytes = keys.torn_bytes + found.torn_bytes;
        recovered.items = items.len();
        let cells = Cells::new(options.max_series.saturating_add(1), Some(dir));
        let mut unique = items.unique_max();
        let mut counters = Self::over(options, cells, items);
        counters.disk = Some(disk);
        counters.reserve(births.len());
        for (number, key) in births {
            match counters.cells.adopt(number, disk::identity(&key))? {
                Some((id, is_kept)) => {
                    let cell = counters.cells.get(id);
                    unique = unique.max(cell.unique());
                    counters.expiring.note(id, cell.expires());
                    recovered.series += 1;
                    recovered.reset += usize::from(!is_kept);
                    if counters.face(id).shown != Shown::Text {
                        // Left over from a change that was under way when the process ended.
                        counters.items.forget(&key);
                    }
                    counters.adopt(id, key);
                }
                None => recovered.beyond_room += 1,
            }
        }
        counters.unique.store(unique + 1, Relaxed);
        counters.cells.prepare(0)?;
        counters.overflow = counters.ensure_overflow();
        Ok((counters, recovered))
    }

    fn over(options: Options, cells: Cells, items: Items) -> Self {
        Self {
            keys: DashMap::with_hasher(Hasher::default()),
            cells,
            items,
            disk: None,
            gauges: Gauges::default(),
            accesses: Accesses::new(options.max_series.saturating_add(1)),
            value_bytes: options.value_bytes,
            swept: AtomicI64::new(0),
            drained: AtomicI64::new(0),
            births: Mutex::default(),
            missing_incr: options.missing_incr,
            overflow: CellId::default(),
            overflowed: AtomicU64::new(0),
            unique: AtomicU64::new(1),
            flush_due: AtomicI64::new(i64::MAX),
            expiring: Expiring::default(),
        }
    }

    /// Makes the key table large enough at once, instead of a little at a time.
    fn reserve(&self, keys: usize) {
        let shards = self.keys.shards();
        // Hashes do not spread quite evenly.
        let each = keys / shards.len().max(1) * 17 / 16;
        for shard in shards {
            shard.write().reserve(each, |(key, _)| self.keys.hasher().hash_one(&**key));
        }
    }

    /// Takes a key of an earlier process in.
    fn adopt(&self, id: CellId, key: Key) {
        let hash = self.keys.hasher().hash_one(&*key);
        self.births.lock().unwrap_or_else(PoisonError::into_inner).push((id, key.clone()));
        let mut shard = self.shard(hash).write();
        let entry = (key, SharedValue::new(id));
        shard.insert(hash, entry, |(key, _)| self.keys.hasher().hash_one(&**key));
    }

    /// The cell of the overflow series. There is room for it: the table has one more than it gives
    /// to clients, and this is the first to ask.
    fn ensure_overflow(&self) -> CellId {
        let hash = self.keys.hasher().hash_one(OVERFLOW_KEY);
        let id = self.with_write(hash, OVERFLOW_KEY, |slot| {
            slot.id.or_else(|| self.birth(slot, hash, OVERFLOW_KEY))
        });
        let id = id.unwrap_or_default();
        let face = Face { kind: Kind::Counter, ..self.face(id) };
        self.cells.get(id).face.store(face.pack(), Relaxed);
        id
    }

    /// Brings what was counted to the medium, so that it survives the loss of power as well. It may
    /// take as long as the disk likes; nobody waits for it.
    ///
    /// # Errors
    /// What the system says; everything is tried all the same.
    pub fn sync(&self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        // Keys before cells: a cell without its key would be nobody's.
        let keys = disk.sync();
        let cells = self.cells.handles().into_iter().try_for_each(|file| file?.sync_data());
        keys.and(cells).and(self.items.sync())
    }

    /// Keys that are not on the disk yet, since it is full; they would be lost with the process.
    #[must_use]
    pub fn unsaved_keys(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::waiting)
    }

    /// What kind of series a cell is, and the value that it shows, where that is a number.
    #[must_use]
    pub fn look(&self, id: CellId, now: Timestamp) -> (Kind, ShownNow) {
        let cell = self.cells.get(id);
        let face = self.face(id);
        (face.kind, cell.shown_now(face, cell.total.load(Relaxed), now))
    }

    /// Adds to a counter. The hot path: one look-up, two additions.
    #[inline]
    pub fn incr(&self, key: &[u8], delta: u64, now: Timestamp) -> Arithmetic {
        if series::is_reserved(key) {
            return Arithmetic::Reserved;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hasher().hash_one(key);
        let found = self.with_read(hash, key, |id| {
            let id = id?;
            let cell = self.cells.get(id);
            let plain = Face::is_plain_counter(cell.face.load(Relaxed)) && cell.is_live(now);
            plain.then(|| self.add(id, cell, delta))
        });
        match found {
            Some(value) => Arithmetic::Value(value),
            None => self.incr_rare(hash, key, delta, now),
        }
    }

    /// The rest of `incr`: births, gauges that become counters, texts, expired values.
    #[cold]
    fn incr_rare(&self, hash: u64, key: &[u8], delta: u64, now: Timestamp) -> Arithmetic {
        let missing = self.missing_incr;
        self.with_write(hash, key, |slot| self.raise(slot, hash, key, delta, missing, now))
    }

    fn raise(
        &self,
        slot: &mut Slot<'_>,
        hash: u64,
        key: &[u8],
        delta: u64,
        missing: MissingIncr,
        now: Timestamp,
    ) -> Arithmetic {
        let (value, width, is_new) = match self.shown_number(slot.id, key, now) {
            Number::Is { value, width } => (value, width, false),
            Number::Not => return Arithmetic::NotNumeric,
            Number::Nothing if missing == MissingIncr::NotFound => return Arithmetic::NotFound,
            Number::Nothing => (0, 0, true),
        };
        let was_born = slot.id.is_none();
        let Some(id) = slot.id.or_else(|| self.birth(slot, hash, key)) else {
            if !is_new {
                // A number that was kept where it cannot be counted: there is no total to add to.
                return Arithmetic::Full;
            }
            // No room: count it all the same, where it can be seen.
            self.overflowed.fetch_add(1, Relaxed);
            return Arithmetic::Value(self.add_overflow(delta));
        };
        let cell = self.cells.get(id);
        let was_text = was_born || self.face(id).shown == Shown::Text;
        let (flags, marks) = if is_new {
            // An expired value is hidden before it loses its time of expiry.
            cell.hide();
            (0, Marks::NONE)
        } else {
            self.adopt_attributes(id, was_text, key, now)
        };
        if self.face(id).kind == Kind::Gauge {
            // Of a gauge the word may hold a double.
            cell.decrements.store(0, Relaxed);
        }
        cell.show(value);
        let face = Face { kind: Kind::Counter, shown: Shown::Integer, width, flags };
        cell.face.store(face.pack() | marks.face_bits(), Relaxed);
        self.drop_text(was_text, key, now);
        self.renew_unique(cell);
        Arithmetic::Value(self.add(id, cell, delta))
    }

    /// Takes from the value shown, not below zero. The total of increments is not touched.
    pub fn decr(&self, key: &[u8], delta: u64, now: Timestamp) -> Arithmetic {
        if series::is_reserved(key) {
            return Arithmetic::Reserved;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hasher().hash_one(key);
        self.with_write(hash, key, |slot| self.lower(slot, hash, key, delta, now))
    }

    fn lower(
        &self,
        slot: &mut Slot<'_>,
        hash: u64,
        key: &[u8],
        delta: u64,
        now: Timestamp,
    ) -> Arithmetic {
        let (value, width) = match self.shown_number(slot.id, key, now) {
            Number::Is { value, width } => (value, width),
            Number::Not => return Arithmetic::NotNumeric,
            Number::Nothing => return Arithmetic::NotFound,
        };
        let was_born = slot.id.is_none();
        let Some(id) = slot.id.or_else(|| self.birth(slot, hash, key)) else {
            return Arithmetic::Full;
        };
        let cell = self.cells.get(id);
        let Face { kind, shown, .. } = self.face(id);
        let was_text = was_born || shown == Shown::Text;
        let (flags, marks) = self.adopt_attributes(id, was_text, key, now);
        let left = value.saturating_sub(delta);
        if kind == Kind::Counter {
            cell.decrements.fetch_add(value - left, Relaxed);
        }
        cell.show(left);
        let width = width.max(decimal_width(value));
        let face = Face { kind, shown: Shown::Integer, width, flags };
        cell.face.store(face.pack() | marks.face_bits(), Relaxed);
        self.drop_text(was_text, key, now);
        self.renew_unique(cell);
        self.observe(id, kind, left);
        self.cells.mark(id);
        Arithmetic::Value(left)
    }

    fn store_text(&self, id: Option<CellId>, entry: Entry<'_>, now: Timestamp) -> Stored {
        let Entry { key, value, flags, expires } = entry;
        // A refused value leaves the old one as it is, its unique number too.
        let cell = id.map(|id| self.cells.get(id));
        let unique = cell.map_or_else(|| self.next_unique(), |cell| self.fresh_unique(cell));
        let trace = Trace::new(Marks::NONE, now);
        let item = Item { value: value.into(), flags, expires, unique, trace };
        if self.items.put(key, item) == Err(Full) {
            return Stored::Full;
        }
        if let Some(cell) = cell {
            let face = Face::unpack(cell.face.load(Relaxed));
            cell.set_unique(unique);
            // The face first: a number that expires does not lose its time while it is shown.
            cell.face.store(Face { shown: Shown::Text, ..face }.pack(), Relaxed);
            cell.set_expires(None);
        }
        if let Some(id) = id {
            self.cells.mark(id);
        }
        Stored::Stored
    }

    fn store_number(
        &self,
        id: CellId,
        entry: Entry<'_>,
        number: Numeric,
        now: Timestamp,
    ) -> Stored {
        let cell = self.cells.get(id);
        let face = Face::unpack(cell.face.load(Relaxed));
        let (shown, width) = match number.exact {
            Some(Exact::Integer(value)) => {
                cell.show(value);
                (Shown::Integer, decimal_width(value))
            }
            // A counter has to be able to go on counting, so its cell keeps no double.
            Some(Exact::Float) if face.kind == Kind::Gauge => {
                cell.decrements.store(number.value.to_bits(), Relaxed);
                (Shown::Float, 0)
            }
            _ => {
                if self.store_text(Some(id), entry, now) == Stored::Full {
                    return Stored::Full;
                }
                (Shown::Text, 0)
            }
        };
        if shown != Shown::Text {
            self.set_expires(id, entry.expires);
        }
        cell.face.store(Face { shown, width, flags: entry.flags, ..face }.pack(), Relaxed);
        self.drop_text(shown != Shown::Text, entry.key, now);
        self.renew_unique(cell);
        if face.kind == Kind::Gauge {
            self.gauges.observe(id, number.value);
        }
        self.accesses.note(id, now);
        self.cells.mark(id);
        Stored::Stored
    }

    /// Shows the value of a key to `see`.
    pub fn get<T>(&self, key: &[u8], now: Timestamp, see: impl FnOnce(View<'_>) -> T) -> Option<T> {
        let key = &*series::canonical_key(key);
        let hash = self.keys.hasher().hash_one(key);
        self.with_read(hash, key, |id| {
            let cell = id.map(|id| (id, self.cells.get(id), self.face(id)));
            match cell {
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
        })
    }

    /// Takes the value shown away; whether there was one. What was counted stays.
    pub fn delete(&self, key: &[u8], now: Timestamp) -> bool {
        let key = &*series::canonical_key(key);
        let hash = self.keys.hasher().hash_one(key);
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
            self.flush_due.store(i64::MAX, Relaxed);
            self.flush_now();
        } else {
            self.flush_due.store(due.as_millis(), Relaxed);
        }
    }

    fn flush_now(&self) {
        // A walk that drops nothing: it holds the write guard of one shard after the other.
        self.keys.retain(|_, id| {
            self.cells.get(*id).hide();
            self.cells.mark(*id);
            true
        });
        self.items.clear();
    }

    /// Housekeeping, once a second: a delayed flush that is due, and items that have expired.
    pub fn sweep(&self, now: Timestamp) {
        self.swept.store(now.as_millis(), Relaxed);
        let due = self.flush_due.load(Relaxed);
        if due <= now.as_millis()
            && self.flush_due.compare_exchange(due, i64::MAX, Relaxed, Relaxed).is_ok()
        {
            self.flush_now();
        }
        self.items.sweep(now);
    }

    /// Hands every cell that was touched since the last call, or whose value has expired since, to
    /// `each`; then the keys of cells that are new since then. A cell that is seen for the first time
    /// has its key in the answer.
    pub fn drain(&self, now: Timestamp, mut each: impl FnMut(Drained)) -> Vec<(CellId, Box<[u8]>)> {
        self.expiring.sweep(now, |id| {
            let cell = self.cells.get(id);
            if !cell.is_live(now) {
                self.cells.mark(id);
            }
            cell.expires()
        });
        let since = self.drained.swap(self.swept.load(Relaxed), Relaxed);
        let since = Timestamp::from_millis(since);
        self.cells.drain(|id| {
            self.accesses.note_drained(id, since);
            let cell = self.cells.get(id);
            let face = Face::unpack(cell.face.load(SeqCst));
            // The count first: an increment that falls between the two reads is then in the total
            // of this window and in the count of the next, and neither is lost.
            let count = cell.count.load(SeqCst);
            let total = cell.total.load(SeqCst);
            let shown = cell.shown_now(face, total, now);
            let observed = self.gauges.take(id).filter(|_| face.kind == Kind::Gauge);
            each(Drained { cell: id, kind: face.kind, total, count, shown, observed });
        });
        // After the cells: whoever marked one had its birth noted before.
        std::mem::take(&mut *self.births.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Total and number of increments of a cell, now.
    #[must_use]
    pub fn totals(&self, id: CellId) -> (u64, u64) {
        let cell = self.cells.get(id);
        (cell.total.load(Relaxed), cell.count.load(Relaxed))
    }

    /// Series known, our own not counted.
    #[must_use]
    pub fn series(&self) -> usize {
        self.cells.len() - 1
    }

    /// Increments that went to [`OVERFLOW_KEY`] for want of room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Relaxed)
    }

    /// The table of items.
    #[must_use]
    pub fn items(&self) -> &Items {
        &self.items
    }

    /// The addition itself. The count follows the total, the mark follows both.
    #[inline]
    fn add(&self, id: CellId, cell: &Cell, delta: u64) -> u64 {
        let total = cell.total.fetch_add(delta, SeqCst).wrapping_add(delta);
        cell.count.fetch_add(1, SeqCst);
        self.cells.mark(id);
        total.wrapping_add(cell.offset.load(Relaxed))
    }

    fn add_overflow(&self, delta: u64) -> u64 {
        let cell = self.cells.get(self.overflow);
        let face = Face { kind: Kind::Counter, shown: Shown::Integer, width: 0, flags: 0 };
        cell.face.store(face.pack(), Relaxed);
        cell.set_expires(None);
        self.add(self.overflow, cell, delta)
    }

    /// Makes a cell for a key that has none; `None` when the table is full.
    fn birth(&self, slot: &mut Slot<'_>, hash: u64, key: &[u8]) -> Option<CellId> {
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

    fn with_read<T>(&self, hash: u64, key: &[u8], read: impl FnOnce(Option<CellId>) -> T) -> T {
        let shard = self.shard(hash).read();
        read(shard.get(hash, |(k, _)| **k == *key).map(|(_, id)| *id.get()))
    }

    fn with_write<T>(&self, hash: u64, key: &[u8], write: impl FnOnce(&mut Slot<'_>) -> T) -> T {
        let mut shard = self.shard(hash).write();
        let id = shard.get(hash, |(k, _)| **k == *key).map(|(_, id)| *id.get());
        write(&mut Slot { shard: &mut shard, id })
    }

    #[expect(clippy::cast_possible_truncation, reason = "dashmap takes the hash as a usize")]
    fn shard(&self, hash: u64) -> &dashmap::RwLock<Shard> {
        let at = self.keys.determine_shard(hash as usize);
        self.keys.shards().get(at).expect("dashmap names one of its own shards")
    }

    fn is_shown(&self, id: Option<CellId>, key: &[u8], now: Timestamp) -> bool {
        match id.map(|id| (self.cells.get(id), self.face(id))) {
            None | Some((_, Face { shown: Shown::Text, .. })) => {
                self.items.see(key, now, |_| ()).is_some()
            }
            Some((cell, face)) => face.shown != Shown::Nothing && cell.is_live(now),
        }
    }

    /// The value shown, as arithmetic needs it.
    fn shown_number(&self, id: Option<CellId>, key: &[u8], now: Timestamp) -> Number {
        let Some((cell, face)) = id.map(|id| (self.cells.get(id), self.face(id))) else {
            return self.text_number(key, now);
        };
        match face.shown {
            Shown::Text => self.text_number(key, now),
            Shown::Nothing => Number::Nothing,
            _ if !cell.is_live(now) => Number::Nothing,
            Shown::Float => Number::Not,
            Shown::Integer => Number::Is { value: cell.integer(), width: face.width },
        }
    }

    fn text_number(&self, key: &[u8], now: Timestamp) -> Number {
        self.items.see(key, now, |item| decimal(&item.value)).unwrap_or(Number::Nothing)
    }

    /// A number is about to be shown by the cell: where a text showed it until now, the cell takes
    /// over its expiry. Gives the flags and marks that the value had.
    fn adopt_attributes(
        &self,
        id: CellId,
        was_text: bool,
        key: &[u8],
        now: Timestamp,
    ) -> (u32, Marks) {
        let text = |item: &Item| (item.flags, item.expires, item.trace.marks());
        let Some((flags, expires, marks)) =
            was_text.then(|| self.items.see(key, now, text)).flatten()
        else {
            let word = self.cells.get(id).face.load(Relaxed);
            return (Face::unpack(word).flags, Marks::of_face(word));
        };
        self.set_expires(id, expires);
        (flags, marks)
    }

    /// Takes the text out that a number has replaced. It goes last: whenever the process ends, one
    /// of the two is there.
    fn drop_text(&self, was_text: bool, key: &[u8], now: Timestamp) {
        if was_text {
            self.items.remove(key, now);
        }
    }

    /// A gauge that a client changes by `decr` was set to what it shows then.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn observe(&self, id: CellId, kind: Kind, value: u64) {
        if kind == Kind::Gauge {
            self.gauges.observe(id, value as f64);
        }
    }

    fn set_expires(&self, id: CellId, expires: Option<Timestamp>) {
        self.cells.get(id).set_expires(expires);
        self.expiring.note(id, expires);
    }

    fn face(&self, id: CellId) -> Face {
        Face::unpack(self.cells.get(id).face.load(Relaxed))
    }

    fn next_unique(&self) -> u64 {
        self.unique.fetch_add(1, Relaxed)
    }

    /// A new unique number, greater than every one that this cell has had.
    fn fresh_unique(&self, cell: &Cell) -> u64 {
        self.next_unique().max(cell.unique().wrapping_add(1))
    }

    fn renew_unique(&self, cell: &Cell) -> u64 {
        let unique = self.fresh_unique(cell);
        cell.set_unique(unique);
        unique
    }
}

type Shard = hashbrown::raw::RawTable<(Key, SharedValue<CellId>)>;

/// A key's place in its shard, under the write guard.
struct Slot<'a> {
    shard: &'a mut Shard,
    id: Option<CellId>,
}

impl Cell {
    /// Whether the value shown has not expired.
    #[inline]
    fn is_live(&self, now: Timestamp) -> bool {
        let expires = self.expires.load(Relaxed);
        expires == 0 || now.as_millis().cast_unsigned() < expires
    }

    fn set_expires(&self, expires: Option<Timestamp>) {
        let millis = expires.map_or(0, |at| at.as_millis().max(1).cast_unsigned());
        self.expires.store(millis, Relaxed);
    }

    /// Shows a number, without counting it.
    fn show(&self, value: u64) {
        self.offset.store(value.wrapping_sub(self.total.load(Relaxed)), Relaxed);
    }

    fn hide(&self) {
        let face = Face::unpack(self.face.load(Relaxed));
        let face = Face { shown: Shown::Nothing, width: 0, flags: 0, ..face };
        self.face.store(face.pack(), Relaxed);
        self.set_expires(None);
    }

    fn integer(&self) -> u64 {
        self.total.load(Relaxed).wrapping_add(self.offset.load(Relaxed))
    }

    fn set_unique(&self, unique: u64) {
        self.unique_offset.store(unique.wrapping_sub(self.count.load(Relaxed)), Relaxed);
    }

    fn unique(&self) -> u64 {
        self.unique_offset.load(Relaxed).wrapping_add(self.count.load(Relaxed))
    }

    /// The value shown as text; `false` when the cell itself shows none.
    fn write_shown(&self, face: Face, text: &mut Decimal) -> bool {
        match face.shown {
            Shown::Integer => text.integer(self.integer(), face.width),
            Shown::Float => text.float(f64::from_bits(self.decrements.load(Relaxed))),
            Shown::Nothing | Shown::Text => return false,
        }
        true
    }

    #[expect(clippy::cast_precision_loss, reason = "windows hold doubles")]
    fn shown_now(&self, face: Face, total: u64, now: Timestamp) -> ShownNow {
        let offset = self.offset.load(Relaxed);
        match face.shown {
            Shown::Nothing => ShownNow::Nothing,
            Shown::Text => ShownNow::Text,
            _ if !self.is_live(now) => ShownNow::Nothing,
            Shown::Integer => ShownNow::Number(total.wrapping_add(offset) as f64),
            Shown::Float => ShownNow::Number(f64::from_bits(self.decrements.load(Relaxed))),
        }
    }

    /// When the value shown expires, where it does.
    fn expires(&self) -> Option<Timestamp> {
        match self.expires.load(Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis.cast_signed())),
        }
    }
}

#[cfg(test)]
mod tests;
