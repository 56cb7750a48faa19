//! What gauges were set to since the last drain: a summary of the open base window per cell.
//!
//! Setting a gauge is rare beside incrementing a counter, so a few locks, picked by cell, are cheap
//! enough; a lock is held for a handful of instructions.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::cells::CellId;

/// The values that a gauge was set to in one base window. Never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The last.
    pub last: f64,
}

impl Observed {
    fn one(value: f64) -> Self {
        Self { count: 1, sum: value, min: value, max: value, last: value }
    }

    fn add(&mut self, value: f64) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
    }
}

const STRIPES: usize = 64;

type Stripe = HashMap<CellId, Observed, foldhash::fast::RandomState>;

/// The open windows of all gauges.
#[derive(Debug)]
pub(super) struct Gauges {
    stripes: [Mutex<Stripe>; STRIPES],
}

impl Default for Gauges {
    fn default() -> Self {
        Self { stripes: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl Gauges {
    /// Notes that a gauge was set.
    pub(super) fn observe(&self, cell: CellId, value: f64) {
        self.stripe(cell)
            .entry(cell)
            .and_modify(|window| window.add(value))
            .or_insert_with(|| Observed::one(value));
    }

    /// Closes the open window of a gauge; `None` when it was not set in it.
    pub(super) fn take(&self, cell: CellId) -> Option<Observed> {
        self.stripe(cell).remove(&cell)
    }

    fn stripe(&self, cell: CellId) -> MutexGuard<'_, Stripe> {
        let stripe = self.stripes.get(cell.index() % STRIPES).expect("a remainder is in range");
        // Each critical section leaves the map whole, so a panic elsewhere does not spoil it.
        stripe.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
