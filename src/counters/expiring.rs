//! Cells whose value will expire, so that the tick learns when one has.
//!
//! An expiry needs no timer: whoever reads a value looks at the clock. But a rule that asks for the
//! value shown, and the list of gauges, are told of changes only, and expiring is one.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use super::cells::CellId;
use crate::time::Timestamp;

/// The cells, and when the first of them may expire.
#[derive(Debug)]
pub(super) struct Expiring {
    cells: Mutex<HashSet<CellId, foldhash::fast::RandomState>>,
    earliest: AtomicI64,
}

impl Default for Expiring {
    fn default() -> Self {
        Self { cells: Mutex::default(), earliest: AtomicI64::new(i64::MAX) }
    }
}

impl Expiring {
    /// Notes that a cell was given a time of expiry, if it was.
    pub(super) fn note(&self, id: CellId, expires: Option<Timestamp>) {
        if let Some(at) = expires {
            self.cells.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
            self.earliest.fetch_min(at.as_millis(), Relaxed);
        }
    }

    /// Shows every cell to `see` once one of them may have expired; `see` answers when the cell will
    /// expire by what is known now. One that has, or will not any more, is forgotten.
    pub(super) fn sweep(&self, now: Timestamp, mut see: impl FnMut(CellId) -> Option<Timestamp>) {
        if self.earliest.load(Relaxed) > now.as_millis() {
            return;
        }
        // What is noted from here on is noted for the next time.
        self.earliest.store(i64::MAX, Relaxed);
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        cells.retain(|id| {
            let later = see(*id).filter(|at| *at > now);
            if let Some(at) = later {
                self.earliest.fetch_min(at.as_millis(), Relaxed);
            }
            later.is_some()
        });
    }
}
