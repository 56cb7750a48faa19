//! Adding to a counter, and taking from the value that it shows.
//!
//! An increment of a counter in its plain form is two additions under the read guard of its key's
//! shard. Everything else, a birth or a text that becomes a number, takes the write guard and is rare.

use std::sync::atomic::Ordering::Relaxed;

use super::cells::{CellId, Face, Kind, Shown};
use super::items::Item;
use super::keys::Hash;
use super::marks::Marks;
use super::number::{Decimal, Number, decimal, decimal_width};
use super::slot::Slot;
use super::{Class, Counters, Entry, Stored};
use crate::config::MissingIncr;
use crate::series;
use crate::time::Timestamp;

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

impl Counters {
    /// Adds to a counter. The hot path: one look-up, two additions.
    #[inline]
    pub fn incr(&self, key: &[u8], delta: u64, now: Timestamp) -> Arithmetic {
        if series::is_reserved(key) {
            return Arithmetic::Reserved;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        let found = self.with_read(hash, key, |id| {
            let id = id?;
            let cell = self.cells.get(id);
            cell.is_plain_counter(now).then(|| self.cells.add(id, cell, delta))
        });
        match found {
            Some(value) => Arithmetic::Value(value),
            None => self.incr_rare(hash, key, delta, now),
        }
    }

    /// The rest of `incr`: births, gauges that become counters, texts, expired values.
    #[cold]
    pub(super) fn incr_rare(
        &self,
        hash: Hash,
        key: &[u8],
        delta: u64,
        now: Timestamp,
    ) -> Arithmetic {
        let missing = self.missing_incr;
        self.with_write(hash, key, |slot| self.raise(slot, hash, key, delta, missing, now))
    }

    pub(super) fn raise(
        &self,
        slot: &mut Slot<'_>,
        hash: Hash,
        key: &[u8],
        delta: u64,
        missing: MissingIncr,
        now: Timestamp,
    ) -> Arithmetic {
        let class = self.class(slot, key);
        match class {
            Class::Is(Kind::Distribution) => return Arithmetic::NotNumeric,
            Class::Item => {
                let first = (missing == MissingIncr::Create).then_some(delta);
                return self.step_item(slot.id, key, first, now, |value| value.wrapping_add(delta));
            }
            Class::Free | Class::Is(_) => {}
        }
        let is_gauge = class == Class::Is(Kind::Gauge);
        let (value, width, is_new) = match self.shown_number(slot.id, key, now) {
            Number::Is { value, width } => (value, width, false),
            Number::Not => return Arithmetic::NotNumeric,
            Number::Nothing if missing == MissingIncr::NotFound => return Arithmetic::NotFound,
            Number::Nothing => (0, 0, true),
        };
        let was_born = slot.id.is_none();
        let Some(id) = slot.id.or_else(|| self.birth(slot, hash, key)) else {
            if !is_new || is_gauge {
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
        let held = self.face(id).held;
        let (kind, value) = if is_gauge {
            (Kind::Gauge, value.wrapping_add(delta))
        } else {
            (Kind::Counter, value)
        };
        cell.show(value);
        let face = Face { kind, shown: Shown::Integer, width, flags, held };
        cell.face.store(face.pack() | marks.face_bits(), Relaxed);
        self.drop_text(was_text, key, now);
        self.renew_unique(cell);
        if is_gauge {
            self.observe_shown(id, kind, value);
            self.cells.mark(id);
            return Arithmetic::Value(value);
        }
        Arithmetic::Value(self.cells.add(id, cell, delta))
    }

    /// Takes from the value shown, not below zero. The total of increments is not touched.
    pub fn decr(&self, key: &[u8], delta: u64, now: Timestamp) -> Arithmetic {
        if series::is_reserved(key) {
            return Arithmetic::Reserved;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| self.lower(slot, hash, key, delta, now))
    }

    pub(super) fn lower(
        &self,
        slot: &mut Slot<'_>,
        hash: Hash,
        key: &[u8],
        delta: u64,
        now: Timestamp,
    ) -> Arithmetic {
        match self.class(slot, key) {
            Class::Is(Kind::Distribution) => return Arithmetic::NotNumeric,
            Class::Item => {
                return self
                    .step_item(slot.id, key, None, now, |value| value.saturating_sub(delta));
            }
            Class::Free | Class::Is(_) => {}
        }
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
        let Face { kind, shown, held, .. } = self.face(id);
        let was_text = was_born || shown == Shown::Text;
        let (flags, marks) = self.adopt_attributes(id, was_text, key, now);
        let left = value.saturating_sub(delta);
        if kind == Kind::Counter {
            cell.decrements.fetch_add(value - left, Relaxed);
        }
        cell.show(left);
        let width = width.max(decimal_width(value));
        let face = Face { kind, shown: Shown::Integer, width, flags, held };
        cell.face.store(face.pack() | marks.face_bits(), Relaxed);
        self.drop_text(was_text, key, now);
        self.renew_unique(cell);
        self.observe_shown(id, kind, left);
        self.cells.mark(id);
        Arithmetic::Value(left)
    }

    pub(super) fn add_overflow(&self, delta: u64) -> u64 {
        let cell = self.cells.get(self.overflow);
        let face = Face {
            kind: Kind::Counter,
            shown: Shown::Integer,
            width: 0,
            flags: 0,
            held: self.face(self.overflow).held,
        };
        cell.face.store(face.pack(), Relaxed);
        cell.set_expires(None);
        self.cells.add(self.overflow, cell, delta)
    }

    /// The value shown, as arithmetic needs it.
    pub(super) fn shown_number(&self, id: Option<CellId>, key: &[u8], now: Timestamp) -> Number {
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

    pub(super) fn text_number(&self, key: &[u8], now: Timestamp) -> Number {
        self.items.see(key, now, |item| decimal(&item.value)).unwrap_or(Number::Nothing)
    }

    /// A number is about to be shown by the cell: where a text showed it until now, the cell takes
    /// over its expiry. Gives the flags and marks that the value had.
    pub(super) fn adopt_attributes(
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
    pub(super) fn drop_text(&self, was_text: bool, key: &[u8], now: Timestamp) {
        if was_text {
            self.items.remove(key, now);
        }
    }

    /// A gauge that a client changes by `incr` or `decr` was set to what it shows then.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn observe_shown(&self, id: CellId, kind: Kind, value: u64) {
        if kind == Kind::Gauge {
            self.observe(id, kind, value as f64, 1);
        }
    }

    /// Changes a number that is kept as a text, as memcached does: its flags and expiry stay, and it does
    /// not get shorter. With `first`, that is kept where there is nothing.
    fn step_item(
        &self,
        id: Option<CellId>,
        key: &[u8],
        first: Option<u64>,
        now: Timestamp,
        step: impl FnOnce(u64) -> u64,
    ) -> Arithmetic {
        let (value, width) = match (self.shown_number(id, key, now), first) {
            (Number::Is { value, width }, _) => (step(value), width),
            (Number::Not, _) => return Arithmetic::NotNumeric,
            (Number::Nothing, Some(first)) => (first, 0),
            (Number::Nothing, None) => return Arithmetic::NotFound,
        };
        let seen = |item: &Item| (item.flags, item.expires, item.trace.marks());
        let (flags, expires, marks) =
            self.items.see(key, now, seen).unwrap_or((0, None, Marks::NONE));
        let mut text = Decimal::default();
        text.integer(value, width);
        let entry = Entry { key, value: text.as_bytes(), flags, expires };
        if self.store_text(id, entry, now) != Stored::Stored {
            return Arithmetic::Full;
        }
        self.items.alter(key, now, |item| item.trace.mark(marks));
        Arithmetic::Value(value)
    }
}
