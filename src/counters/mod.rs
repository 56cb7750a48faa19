//! The live table: key → cell, and the values that are not numbers.
//!
//! A key that is incremented is a counter, one that is only ever set to a number is a gauge, any
//! other value is an item; unless the configuration says what a key is. What a client sees (set, delete, expiry, flags) is kept apart from what
//! was counted: nothing that a client does takes away from a total. The module does not know
//! windows, nor the wire.
//!
//! **Locks.** All access to a key goes through the lock of its shard in `keys`: reads and plain
//! increments of counters under the read guard, everything else under the write guard. Inside it
//! the item table may be locked, never the other way round.

mod arithmetic;
mod batch;
mod births;
pub mod cells;
mod disk;
mod distributions;
mod drain;
mod expiring;
mod fetch;
mod forget;
mod gauges;
mod glance;
mod idle;
mod image;
mod item_log;
pub mod items;
pub(crate) mod journal;
mod key_log;
mod keys;
mod lengths;
pub mod marks;
mod number;
mod observations;
mod open;
mod own;
mod put;
mod rotation;
mod shown;
mod slot;
mod store;
mod sync;
mod told;

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};

use crate::config::{Metric, MissingIncr, usual_layout};
use crate::histogram::Layout;
use crate::limits;
use crate::series;
use crate::time::Span;

pub use arithmetic::Arithmetic;
pub use batch::Increment;
pub use births::Births;
use cells::{CellId, Cells, Held};
use disk::Disk;
pub use disk::lock;
use distributions::{Class, Metrics};
pub use drain::{Drained, ShownNow};
use expiring::Expiring;
pub use fetch::View;
pub use gauges::{Observations, Observed};
pub use glance::{Condemned, Glance, Step, Stepped};
use idle::{Broom, Vacant};
pub use image::{ImageError, Rebuild};
use items::Items;
pub use journal::OpenError;
use keys::Keys;
use marks::Accesses;
use observations::{Known, Log};
pub use open::Recovered;
pub use store::{Condition, Entry, Side, Stored, Written};
pub use told::Told;

/// The series that takes the increments of keys for which there is no room.
pub const OVERFLOW_KEY: &[u8] = series::OVERFLOW.as_bytes();

/// Bounds and behaviour, from the configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// What `incr` of an unknown key does.
    pub missing_incr: MissingIncr,
    /// Series at most, not counting our own.
    pub max_series: usize,
    /// Room for items, in bytes.
    pub items_bytes: usize,
    /// Longest value that `append` and `prepend` may come to, in bytes.
    pub value_bytes: usize,
    /// After how long without a touch a key loses its cell; `None` for never.
    pub idle_expiry: Option<Span>,
    /// What keys are by the configuration; the first that matches holds.
    pub metrics: Arc<[Metric]>,
}

/// The live table.
#[derive(Debug)]
pub struct Counters {
    keys: Keys,
    cells: Cells,
    items: Items,
    /// Where it survives the end of the process; `None`: nowhere.
    disk: Option<Disk>,
    /// What gauges and distributions were set to since the last drain.
    observations: Log,
    metrics: Metrics,
    accesses: Accesses,
    value_bytes: usize,
    /// When housekeeping last ran, in milliseconds: the time of the drain that follows it.
    swept: AtomicI64,
    /// The time of the last drain. What the next one finds was written after it.
    drained: AtomicI64,
    /// Cells made since the last drain, with the key that made them.
    births: Mutex<Births>,
    missing_incr: MissingIncr,
    overflow: CellId,
    /// Cells of our own beside it.
    own: Mutex<Vec<CellId>>,
    /// Cells that were freed.
    vacant: Vacant,
    broom: Broom,
    /// Every key in the log has a cell here, so the log may be written anew from what is here.
    may_rewrite: bool,
    /// After how long without a touch a key loses its cell; `None` for never.
    idle_expiry: Option<Span>,
    overflowed: AtomicU64,
    /// Keys without a cell get none any more.
    is_closed: AtomicBool,
    /// The next unique number for `gets`.
    unique: AtomicU64,
    /// Cells whose value will expire.
    expiring: Expiring,
}

impl Counters {
    /// An empty table that ends with the process.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let cells = Cells::new(options.max_series.saturating_add(1), None);
        let items = Items::new(options.items_bytes);
        let mut counters = Self::over(options, cells, items);
        counters.overflow = counters.ensure_overflow();
        counters
    }

    fn over(options: Options, cells: Cells, items: Items) -> Self {
        Self {
            keys: Keys::new(),
            cells,
            items,
            disk: None,
            observations: Log::in_memory(),
            metrics: Metrics::new(options.metrics),
            accesses: Accesses::new(options.max_series.saturating_add(limits::OWN_SERIES)),
            value_bytes: options.value_bytes,
            swept: AtomicI64::new(0),
            drained: AtomicI64::new(0),
            births: Mutex::default(),
            missing_incr: options.missing_incr,
            overflow: CellId::default(),
            own: Mutex::default(),
            vacant: Vacant::default(),
            broom: Broom::default(),
            may_rewrite: true,
            idle_expiry: options.idle_expiry,
            overflowed: AtomicU64::new(0),
            is_closed: AtomicBool::new(false),
            unique: AtomicU64::new(1),
            expiring: Expiring::default(),
        }
    }

    /// Series known, our own not counted.
    #[must_use]
    pub fn series(&self) -> usize {
        let others = self.vacant.len() + 1 + self.own_len();
        self.cells.len().saturating_sub(others)
    }

    /// Increments that went to [`OVERFLOW_KEY`] for want of room.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.overflowed.load(Relaxed)
    }

    /// Makes no cell for a key any more: whoever knows all names that ever were has room for no other. A
    /// key that had a cell before cannot be told from a new one here.
    pub fn take_no_more(&self) {
        self.is_closed.store(true, Relaxed);
    }

    /// Values of gauges and distributions that would be lost with the process, since the disk or its
    /// share of it was full.
    #[must_use]
    pub fn unsafe_observations(&self) -> u64 {
        self.observations.early()
    }

    /// Observations outside the range of their histogram.
    #[must_use]
    pub fn saturated_observations(&self) -> u64 {
        self.observations.outside()
    }

    /// What the configuration says of a cell's key.
    #[must_use]
    pub fn metric(&self, id: CellId) -> Option<&Metric> {
        self.metrics.get(id)
    }

    /// What kind of series the configuration makes of a key, if it does.
    #[must_use]
    pub fn kind_of(&self, key: &[u8]) -> Option<cells::Kind> {
        match self.metrics.classify(key).0 {
            Class::Is(kind) => Some(kind),
            _ => None,
        }
    }

    /// How observations of a key are spread: as the configuration says, or else by its defaults.
    #[must_use]
    pub fn layout_of(&self, key: &[u8]) -> Layout {
        self.metrics.layout_of(key)
    }

    /// The table of items.
    #[must_use]
    pub fn items(&self) -> &Items {
        &self.items
    }
}

impl Known for Counters {
    fn cell(&self, number: u32) -> Option<(CellId, u64)> {
        let id = self.cells.known(number)?;
        Some((id, self.cells.get(id).identity.load(Relaxed)))
    }

    fn layout(&self, id: CellId) -> Option<Layout> {
        self.metrics.layout(id).or_else(|| (self.face(id).held == Held::Use).then(usual_layout))
    }
}

#[cfg(test)]
mod tests;
