//! What has changed since the last base window was closed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::births::Births;
use super::cells::{CellId, Kind, Reading};
use super::gauges::Observed;
use crate::time::Timestamp;

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
    /// Hands every cell that was touched since the last call, or whose value has expired since, to
    /// `each`; then the keys of cells that are new since then. A cell that is seen for the first time
    /// has its key in the answer.
    pub fn drain(&self, now: Timestamp, mut each: impl FnMut(Drained)) -> Births {
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
            cell.note_touch(now);
            let Reading { face, count, total } = cell.read();
            let shown = cell.shown_now(face, total, now);
            let observed = self.gauges.take(id).filter(|_| face.kind == Kind::Gauge);
            each(Drained { cell: id, kind: face.kind, total, count, shown, observed });
        });
        // After the cells: whoever marked one had its birth noted before.
        std::mem::take(&mut *self.births.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What tells the life that a cell's key is in from its earlier and later ones.
    #[must_use]
    pub fn life(&self, id: CellId) -> u64 {
        self.cells.get(id).identity.load(Relaxed)
    }

    /// Has the next drain visit a cell.
    pub fn revisit(&self, id: CellId) {
        self.cells.mark(id);
    }

    /// Takes total and number of increments of a cell for at least so much. It is for a start, before
    /// anybody counts.
    pub fn at_least(&self, id: CellId, (total, count): (u64, u64)) {
        let cell = self.cells.get(id);
        cell.total.fetch_max(total, Relaxed);
        cell.count.fetch_max(count, Relaxed);
    }

    /// What kind of series a cell is, and the value that it shows, where that is a number.
    #[must_use]
    pub fn look(&self, id: CellId, now: Timestamp) -> (Kind, ShownNow) {
        let cell = self.cells.get(id);
        let face = self.face(id);
        (face.kind, cell.shown_now(face, cell.total.load(Relaxed), now))
    }

    /// Total and number of increments of a cell, now.
    #[must_use]
    pub fn totals(&self, id: CellId) -> (u64, u64) {
        let cell = self.cells.get(id);
        (cell.total.load(Relaxed), cell.count.load(Relaxed))
    }
}
