//! Keeping a value where its form says: a number in a cell, anything else in the table of items.

use std::sync::atomic::Ordering::Relaxed;

use super::cells::{CellId, Face, Kind, Shown};
use super::items::{Full, Item};
use super::marks::{Marks, Trace};
use super::number::{Exact, Numeric, decimal_width};
use super::{Counters, Entry, Stored};
use crate::time::Timestamp;

impl Counters {
    pub(super) fn store_text(
        &self,
        id: Option<CellId>,
        entry: Entry<'_>,
        now: Timestamp,
    ) -> Stored {
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

    /// A number of which a distribution has observed `weight`.
    pub(super) fn store_number(
        &self,
        id: CellId,
        entry: Entry<'_>,
        number: Numeric,
        weight: u32,
        now: Timestamp,
    ) -> Stored {
        let cell = self.cells.get(id);
        let face = Face::unpack(cell.face.load(Relaxed));
        let (shown, width) = match number.exact {
            // It shows how many there were.
            _ if face.kind == Kind::Distribution => (Shown::Integer, 0),
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
        self.observe(id, face.kind, number.value, weight);
        self.accesses.note(id, now);
        self.cells.mark(id);
        Stored::Stored
    }

    /// Keeps what a gauge was set to, or a distribution has observed so many times.
    pub(super) fn observe(&self, id: CellId, kind: Kind, value: f64, weight: u32) {
        let cell = self.cells.get(id);
        if kind != Kind::Counter {
            self.observations.append(id, cell.identity.load(Relaxed), value, weight, self);
        }
        if kind == Kind::Distribution {
            // Under the write guard, so nobody else is at it.
            let sum = f64::from_bits(cell.decrements.load(Relaxed)) + value * f64::from(weight);
            cell.decrements.store(sum.to_bits(), Relaxed);
            cell.total.fetch_add(weight.into(), Relaxed);
            cell.count.fetch_add(weight.into(), Relaxed);
        }
    }
}
