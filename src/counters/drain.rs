//! What has changed since the last base window was closed.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::births::Births;
use super::cells::{CellId, Face, Kind, Reading, Shown};
use super::gauges::{Observations, Open};
use crate::time::Timestamp;

/// What a touched cell holds at the close of a base window.
#[derive(Clone, Debug, PartialEq)]
pub struct Drained {
    /// Which cell.
    pub cell: CellId,
    /// Counter, gauge or distribution.
    pub kind: Kind,
    /// Sum of all increments ever.
    pub total: u64,
    /// Number of increments ever.
    pub count: u64,
    /// What a client sees at that time.
    pub shown: ShownNow,
    /// What a gauge was set to, or a distribution observed, since the last close.
    pub observed: Option<Observations>,
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
    ///
    /// What gauges were set to stays in the log, and would come again at the next start, until
    /// [`observed_until`](Self::observed_until) is told.
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
        let mut observed = self.observations.fold(self);
        self.cells.drain(|id| {
            self.accesses.note_drained(id, since);
            each(self.drained(id, observed.remove(&id), now));
        });
        // What was kept before its cell was marked, or before the process began.
        for (id, open) in observed {
            each(self.drained(id, Some(open), now));
        }
        // After the cells: whoever marked one had its birth noted before.
        self.births()
    }

    /// The keys of cells that are new since the last call, or drain.
    pub fn births(&self) -> Births {
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

    /// Takes total and number of increments of a cell from history, where that has seen more increments
    /// than the cell. Their number tells, since a total that has come round 2^64 is less than before. It is
    /// for a start, before anybody counts.
    ///
    /// Where history has holes its number may be the lower one of the greater total, and the other way round:
    /// then the greater of each holds, since less was never counted.
    pub fn at_least(&self, id: CellId, seen: (u64, u64), kind: Kind, has_holes: bool) {
        let cell = self.cells.get(id);
        let (total, count) = (cell.total.load(Relaxed), cell.count.load(Relaxed));
        let greater = if has_holes {
            (total.max(seen.0), count.max(seen.1))
        } else if seen.1.wrapping_sub(count).cast_signed() > 0 {
            seen
        } else {
            (total, count)
        };
        if greater != (total, count) {
            cell.total.store(greater.0, Relaxed);
            cell.count.store(greater.1, Relaxed);
            let face = self.face(id);
            if kind == Kind::Counter && face.kind == Kind::Gauge && face.shown == Shown::Nothing {
                // Its cell was not written back at all: it shows what was counted.
                let face = Face { kind, shown: Shown::Integer, ..face };
                cell.face.store(face.pack(), Relaxed);
            }
        }
    }

    /// How far the last drain has come in the log of observations.
    #[must_use]
    pub fn observed_position(&self) -> u64 {
        self.observations.position()
    }

    /// The windows made of all drains up to the one that came to this position are where the end of the
    /// process does not reach them.
    pub fn observed_until(&self, position: u64) {
        self.observations.done(position);
    }

    /// What the windows of an earlier process hold up to this position does not come again. It is for a
    /// start, before the first drain.
    pub fn observed_before(&self, position: u64) {
        self.observations.resume_at(position);
    }

    /// Nothing that an earlier process has left comes again, though no window holds it: nobody knows when it
    /// was. It is for a start, before the first drain.
    pub fn observed_before_start(&self) {
        self.observations.resume_at(self.observations.head());
    }

    fn drained(&self, id: CellId, open: Option<Open>, now: Timestamp) -> Drained {
        let cell = self.cells.get(id);
        cell.note_touch(now);
        let Reading { face, count, total } = cell.read();
        let shown = cell.shown_now(face, total, now);
        let observed = open.map(Open::finish).filter(|observed| match observed {
            Observations::Gauge(_) => face.kind == Kind::Gauge,
            Observations::Distribution(..) => face.kind == Kind::Distribution,
        });
        Drained { cell: id, kind: face.kind, total, count, shown, observed }
    }

    /// What kind of series a cell is, and the value that it shows, where that is a number.
    #[must_use]
    pub fn look(&self, id: CellId, now: Timestamp) -> (Kind, ShownNow) {
        let cell = self.cells.get(id);
        let face = self.face(id);
        (face.kind, cell.shown_now(face, cell.total.load(Relaxed), now))
    }

    /// How many observations a distribution has seen, and their sum.
    #[must_use]
    pub fn observed(&self, id: CellId) -> (u64, f64) {
        let cell = self.cells.get(id);
        (cell.integer(), f64::from_bits(cell.decrements.load(Relaxed)))
    }

    /// Total and number of increments of a cell, now.
    #[must_use]
    pub fn totals(&self, id: CellId) -> (u64, u64) {
        let cell = self.cells.get(id);
        (cell.total.load(Relaxed), cell.count.load(Relaxed))
    }
}
