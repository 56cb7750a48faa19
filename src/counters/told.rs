//! What is told without anybody waiting for an answer: counts, values and observations of StatsD and Graphite.
//!
//! It goes the ways of `incr`, `decr` and `set`, with the same entries of `[[metric]]`, the same room and the same
//! places. What is different: a line says what kind its series is of. So a key is made whatever
//! `memcached.missing_incr` says, one that is observed first is a distribution without being configured, and
//! nothing is done to a key of another kind: nobody would learn of it.

use std::sync::atomic::Ordering::Relaxed;

use super::cells::{CellId, Face, Held, Kind, Shown};
use super::keys::Hash;
use super::number::{Numeric, numeric};
use super::slot::Slot;
use super::{Arithmetic, Class, Counters, Entry};
use crate::config::MissingIncr;
use crate::series;
use crate::time::Timestamp;

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is counted.
    Taken,
    /// The key is of another kind.
    OtherKind,
    /// There is no room for a further series.
    NoRoom,
    /// There is nothing to take away from.
    Nothing,
    /// The value, or its sum, would be no number any more.
    NotFinite,
    /// The key is one of tallyd's own.
    Reserved,
}

impl Told {
    const fn of(done: Arithmetic) -> Self {
        match done {
            Arithmetic::Value(_) => Self::Taken,
            Arithmetic::NotFound => Self::Nothing,
            Arithmetic::NotNumeric => Self::OtherKind,
            Arithmetic::Full => Self::NoRoom,
            Arithmetic::Reserved => Self::Reserved,
        }
    }
}

impl Counters {
    /// Adds to a counter, and makes it where there is none.
    pub fn count(&self, key: &[u8], delta: u64, now: Timestamp) -> Told {
        self.tell(key, |hash, key| {
            let plain = self.with_read(hash, key, |id| {
                let id = id?;
                let cell = self.cells.get(id);
                cell.is_plain_counter(now).then(|| self.cells.add(id, cell, delta))
            });
            if plain.is_some() {
                return Told::Taken;
            }
            self.with_write(hash, key, |slot| match self.class(slot, key) {
                Class::Free | Class::Is(Kind::Counter) => {
                    let missing = MissingIncr::Create;
                    Told::of(self.raise(slot, hash, key, delta, missing, now))
                }
                _ => Told::OtherKind,
            })
        })
    }

    /// Takes from the value that a counter shows, not below zero. Its total is not touched.
    pub fn count_down(&self, key: &[u8], delta: u64, now: Timestamp) -> Told {
        self.tell(key, |hash, key| {
            self.with_write(hash, key, |slot| match self.class(slot, key) {
                Class::Free if slot.id.is_some_and(|id| self.face(id).kind == Kind::Gauge) => {
                    Told::OtherKind
                }
                Class::Free | Class::Is(Kind::Counter) => {
                    Told::of(self.lower(slot, hash, key, delta, now))
                }
                _ => Told::OtherKind,
            })
        })
    }

    /// Sets a gauge to what comes of the value that it shows, which is zero where there is none.
    pub fn gauge(&self, key: &[u8], now: Timestamp, value: impl FnOnce(f64) -> f64) -> Told {
        self.tell(key, |hash, key| {
            self.with_write(hash, key, |slot| {
                let is_gauge = slot.id.is_none_or(|id| self.face(id).kind == Kind::Gauge);
                if !is_gauge
                    || !matches!(self.class(slot, key), Class::Free | Class::Is(Kind::Gauge))
                {
                    return Told::OtherKind;
                }
                let value = value(self.gauge_shown(slot.id, key, now));
                if !value.is_finite() {
                    return Told::NotFinite;
                }
                let Some(id) = slot.id.or_else(|| self.birth(slot, hash, key)) else {
                    return Told::NoRoom;
                };
                self.keep_number(id, key, value, 1, now);
                Told::Taken
            })
        })
    }

    /// Adds an observation that stands for `weight` of them to a distribution, and makes it where there is
    /// none.
    pub fn observe_key(&self, key: &[u8], value: f64, weight: u32, now: Timestamp) -> Told {
        if !(value * f64::from(weight)).is_finite() {
            return Told::NotFinite;
        }
        self.tell(key, |hash, key| {
            self.with_write(hash, key, |slot| {
                let id = match self.distribution(slot, hash, key) {
                    Ok(id) => id,
                    Err(told) => return told,
                };
                self.keep_number(id, key, value, weight, now);
                Told::Taken
            })
        })
    }

    fn tell(&self, key: &[u8], tell: impl FnOnce(Hash, &[u8]) -> Told) -> Told {
        if series::is_reserved(key) {
            return Told::Reserved;
        }
        let key = &*series::canonical_key(key);
        tell(self.keys.hash(key), key)
    }

    /// The cell of a distribution. A key that shows nothing and was never counted may become one: it is
    /// new, or the power was lost before its first value was on the medium.
    fn distribution(&self, slot: &mut Slot<'_>, hash: Hash, key: &[u8]) -> Result<CellId, Told> {
        let class = self.class(slot, key);
        let face = slot.id.map(|id| self.face(id));
        let is_open =
            face.is_none_or(|face| (face.kind, face.shown) == (Kind::Gauge, Shown::Nothing));
        match class {
            Class::Is(Kind::Distribution) => {}
            Class::Free if is_open => {}
            _ => return Err(Told::OtherKind),
        }
        let id = slot.id.or_else(|| self.birth(slot, hash, key)).ok_or(Told::NoRoom)?;
        if class == Class::Free {
            let cell = self.cells.get(id);
            // A gauge may have shown a double there.
            cell.decrements.store(0, Relaxed);
            cell.show(0);
            let face = Face { kind: Kind::Distribution, held: Held::Use, ..self.face(id) };
            cell.face.store(face.pack(), Relaxed);
        }
        Ok(id)
    }

    fn keep_number(&self, id: CellId, key: &[u8], value: f64, weight: u32, now: Timestamp) {
        let entry = Entry { key, value: b"", flags: 0, expires: None };
        // Neither a gauge nor a distribution keeps such a number as a text, so there is room for it.
        self.store_number(id, entry, Numeric::of(value), weight, now);
    }

    #[expect(clippy::cast_precision_loss, reason = "a gauge is a double")]
    fn gauge_shown(&self, id: Option<CellId>, key: &[u8], now: Timestamp) -> f64 {
        let text = || self.items.see(key, now, |item| numeric(&item.value)).flatten();
        let text = || text().map_or(0.0, |number| number.value);
        let Some((cell, face)) = id.map(|id| (self.cells.get(id), self.face(id))) else {
            return text();
        };
        match face.shown {
            Shown::Text => text(),
            Shown::Integer if cell.is_live(now) => cell.integer() as f64,
            Shown::Float if cell.is_live(now) => f64::from_bits(cell.decrements.load(Relaxed)),
            _ => 0.0,
        }
    }
}

#[cfg(test)]
mod tests;
