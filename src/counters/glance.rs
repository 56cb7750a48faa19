//! A value with all that is known of it, shown to whoever may change part of that: the ground that
//! `touch`, `gat` and the meta commands stand on.
//!
//! One look-up under the write guard of the key's shard, so that nobody else is at the value between
//! the look and the change. What a change means to a client is decided by the caller.

use std::sync::atomic::Ordering::Relaxed;

use super::cells::{Cell, CellId, Face, Kind, Shown};
use super::items;
use super::keys::SHARDS;
use super::marks::Marks;
use super::number::Decimal;
use super::{Arithmetic, Class, Counters, Entry, Stored};
use crate::config::MissingIncr;
use crate::series;
use crate::time::Timestamp;

/// A value under the eyes of one who may change what is known of it.
#[derive(Debug)]
pub struct Glance<'a> {
    /// The bytes.
    pub value: &'a [u8],
    /// The client's own 32 bits.
    pub flags: u32,
    /// The number that changes with every change of the value.
    pub unique: u64,
    /// Seconds since the last access before this one.
    pub idle_secs: u64,
    /// What key and value take up, in bytes.
    pub room_bytes: usize,
    /// The value was made by the very request that looks at it.
    pub is_new: bool,
    /// When it expires. May be changed.
    pub expires: Option<Timestamp>,
    /// Its marks. May be changed; that it was fetched is noted by `is_access`.
    pub marks: Marks,
    /// Whether this look counts as an access. May be changed; it does unless told otherwise.
    pub is_access: bool,
}

/// What `ma` asks for.
#[derive(Clone, Copy, Debug)]
pub struct Step<'a> {
    /// The key.
    pub key: &'a [u8],
    /// How much.
    pub delta: u64,
    /// Whether it is taken and not added.
    pub is_decr: bool,
    /// Only if the value has this unique number.
    pub unique: Option<u64>,
    /// The number to begin with where there is none; else nothing is made.
    pub initial: Option<u64>,
    /// Marks for a value that is made.
    pub marks: Marks,
}

/// What `ma` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stepped<T> {
    /// The number is another now, or was made, and this is what was seen of it.
    Seen(T),
    /// The value has another unique number.
    Exists,
    /// Nothing was done, for this reason.
    Not(Arithmetic),
}

/// What `md` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condemned {
    /// The value is gone.
    Deleted,
    /// The value is marked as stale.
    Marked,
    /// The value has another unique number.
    Exists,
    /// There is no value.
    NotFound,
}

impl Counters {
    /// Gives a value a new time of expiry; whether there was one that a client may change.
    pub fn touch(&self, key: &[u8], expires: Option<Timestamp>, now: Timestamp) -> bool {
        !series::is_reserved(key)
            && self.glance(key, None, now, |glance| glance.expires = expires).is_some()
    }

    /// Shows the value of a key to `see`. With `make`, a key that shows nothing gets an empty value
    /// with these marks first, if there is room.
    pub fn glance<T>(
        &self,
        key: &[u8],
        make: Option<Marks>,
        now: Timestamp,
        see: impl FnOnce(&mut Glance<'_>) -> T,
    ) -> Option<T> {
        let make = make.filter(|_| !series::is_reserved(key));
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            let is_new = !self.is_shown(slot.id, key, now);
            if is_new {
                let marks = make?;
                let entry = Entry { key, value: b"", flags: 0, expires: None };
                let written = self.put(slot, hash, entry, Some(marks), now);
                if written.outcome != Stored::Stored {
                    return None;
                }
            }
            self.glance_at(slot.id, key, now, |glance| {
                glance.is_new = is_new;
                see(glance)
            })
        })
    }

    /// Adds to a number or takes from it, and shows what it came to.
    ///
    /// A number that is made in the way of adding counts as an increment by its initial value, as
    /// `incr` of an unknown key counts its delta; one that is made in the way of taking was set.
    pub fn step<T>(
        &self,
        step: Step<'_>,
        now: Timestamp,
        see: impl FnOnce(&mut Glance<'_>) -> T,
    ) -> Stepped<T> {
        if series::is_reserved(step.key) {
            return Stepped::Not(Arithmetic::Reserved);
        }
        let key = &*series::canonical_key(step.key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            if self.class(slot, key) == Class::Is(Kind::Distribution) {
                return Stepped::Not(Arithmetic::NotNumeric);
            }
            let unique = self.glance_at(slot.id, key, now, |glance| {
                glance.is_access = false;
                glance.unique
            });
            let missing = MissingIncr::NotFound;
            let done = match (unique, step.initial) {
                (None, None) => Arithmetic::NotFound,
                (None, Some(initial)) if step.is_decr => {
                    let mut text = Decimal::default();
                    text.integer(initial, 0);
                    let entry = Entry { key, value: text.as_bytes(), flags: 0, expires: None };
                    match self.put(slot, hash, entry, Some(step.marks), now).outcome {
                        Stored::Stored => Arithmetic::Value(initial),
                        _ => Arithmetic::Full,
                    }
                }
                (None, Some(initial)) => {
                    self.raise(slot, hash, key, initial, MissingIncr::Create, now)
                }
                (Some(unique), _) if step.unique.is_some_and(|wanted| wanted != unique) => {
                    return Stepped::Exists;
                }
                (Some(_), _) if step.is_decr => self.lower(slot, hash, key, step.delta, now),
                (Some(_), _) => self.raise(slot, hash, key, step.delta, missing, now),
            };
            let Arithmetic::Value(value) = done else { return Stepped::Not(done) };
            let mut text = Decimal::default();
            text.integer(value, 0);
            let shown = |glance: &mut Glance<'_>| {
                let mut shown =
                    Glance { value: text.as_bytes(), is_new: unique.is_none(), ..*glance };
                if shown.is_new {
                    shown.marks = step.marks;
                }
                let seen = see(&mut shown);
                let Glance { expires, marks, is_access, .. } = shown;
                *glance = Glance { expires, marks, is_access, ..*glance };
                seen
            };
            if self.is_shown(slot.id, key, now) {
                match self.glance_at(slot.id, key, now, shown) {
                    Some(seen) => Stepped::Seen(seen),
                    None => Stepped::Not(Arithmetic::NotFound),
                }
            } else {
                // It went to the overflow, which is nobody's to change.
                Stepped::Seen(shown(&mut Glance::nothing()))
            }
        })
    }

    /// Takes a value away, or with `stale` marks it and gives it the expiry that is in there, if any.
    /// With `unique`, only if the value still has that number.
    pub fn condemn(
        &self,
        key: &[u8],
        unique: Option<u64>,
        stale: Option<Option<Option<Timestamp>>>,
        now: Timestamp,
    ) -> Condemned {
        if series::is_reserved(key) {
            return Condemned::NotFound;
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            let judged = self.glance_at(slot.id, key, now, |glance| {
                glance.is_access = false;
                if unique.is_some_and(|unique| unique != glance.unique) {
                    return Condemned::Exists;
                }
                let Some(expires) = stale else { return Condemned::Deleted };
                glance.marks = glance.marks.with(Marks::STALE).without(Marks::WON);
                glance.expires = expires.unwrap_or(glance.expires);
                Condemned::Marked
            });
            match judged {
                Some(Condemned::Deleted) => self.take_away(slot.id, key, now),
                Some(Condemned::Marked) => self.renew(slot.id, key, now),
                _ => {}
            }
            judged.unwrap_or(Condemned::NotFound)
        })
    }

    /// Walks the keys that show a value at `now` until `each`, which is given the key, the length of
    /// its value and its expiry, has had enough. Keys that are shown in base64 are passed over.
    pub fn walk(
        &self,
        now: Timestamp,
        mut each: impl FnMut(&[u8], usize, Option<Timestamp>) -> bool,
    ) {
        let mut seen = |key: &[u8], id: CellId| {
            let cell = self.cells.get(id);
            let word = cell.face.load(Relaxed);
            let mut text = Decimal::default();
            let is_shown = cell.is_live(now) && cell.write_shown(Face::unpack(word), &mut text);
            !is_shown
                || Marks::of_face(word).has(Marks::ENCODED)
                || each(key, text.as_bytes().len(), cell.expires())
        };
        if !(0..SHARDS).all(|shard| self.keys.read(shard).iter().all(|(key, id)| seen(key, id))) {
            return;
        }
        self.items.walk(now, |key, item| {
            item.trace.marks().has(Marks::ENCODED) || each(key, item.value.len(), item.expires)
        });
    }

    /// Shows the value of a key whose place is known, and takes over what `see` changed.
    pub(super) fn glance_at<T>(
        &self,
        id: Option<CellId>,
        key: &[u8],
        now: Timestamp,
        see: impl FnOnce(&mut Glance<'_>) -> T,
    ) -> Option<T> {
        match id.filter(|id| self.face(*id).shown != Shown::Text) {
            Some(id) => self.glance_number(id, key, now, see),
            None => self.glance_text(key, now, see),
        }
    }

    fn glance_number<T>(
        &self,
        id: CellId,
        key: &[u8],
        now: Timestamp,
        see: impl FnOnce(&mut Glance<'_>) -> T,
    ) -> Option<T> {
        let cell = self.cells.get(id);
        let word = cell.face.load(Relaxed);
        let face = Face::unpack(word);
        let mut text = Decimal::default();
        if !cell.is_live(now) || !cell.write_shown(face, &mut text) {
            return None;
        }
        let was_just_written = self.cells.is_marked(id);
        let mut glance = Glance {
            value: text.as_bytes(),
            flags: face.flags,
            unique: cell.unique(),
            idle_secs: if was_just_written { 0 } else { self.accesses.idle_secs(id, now) },
            room_bytes: size_of::<Cell>() + key.len(),
            is_new: false,
            expires: cell.expires(),
            marks: Marks::of_face(word),
            is_access: true,
        };
        let seen = see(&mut glance);
        // What one of tallyd's own keys shows is for reading alone.
        let may_change = !series::is_reserved(key);
        if may_change && glance.expires != cell.expires() {
            self.set_expires(id, glance.expires);
        }
        if may_change && glance.marks != Marks::of_face(word) {
            cell.face.store(face.pack() | glance.marks.face_bits(), Relaxed);
        }
        if glance.is_access {
            self.note_fetch(id, cell, now);
        }
        Some(seen)
    }

    fn glance_text<T>(
        &self,
        key: &[u8],
        now: Timestamp,
        see: impl FnOnce(&mut Glance<'_>) -> T,
    ) -> Option<T> {
        let (seen, change) = self.items.see(key, now, |item| {
            let marks = item.trace.marks();
            let mut glance = Glance {
                value: &item.value,
                flags: item.flags,
                unique: item.unique,
                idle_secs: item.trace.idle_secs(now),
                room_bytes: items::cost(key, &item.value),
                is_new: false,
                expires: item.expires,
                marks,
                is_access: true,
            };
            let seen = see(&mut glance);
            if glance.is_access {
                item.trace.fetch(now);
            }
            let is_changed = glance.expires != item.expires || glance.marks != marks;
            (seen, is_changed.then_some((glance.expires, glance.marks)))
        })?;
        if let Some((expires, marks)) = change {
            self.items.alter(key, now, |item| {
                item.expires = expires;
                let fetched = item.trace.marks().has(Marks::FETCHED);
                item.trace.mark(if fetched { marks.with(Marks::FETCHED) } else { marks });
            });
        }
        Some(seen)
    }

    /// Notes that a client has read a number. Looked at before it is written, under the read guard
    /// too: nearly always it is so already.
    #[inline]
    pub(super) fn note_fetch(&self, id: CellId, cell: &Cell, now: Timestamp) {
        if !Marks::of_face(cell.face.load(Relaxed)).has(Marks::FETCHED) {
            cell.face.fetch_or(Marks::FETCHED.face_bits(), Relaxed);
        }
        self.accesses.note(id, now);
        cell.note_touch(now);
    }

    fn take_away(&self, id: Option<CellId>, key: &[u8], now: Timestamp) {
        self.items.remove(key, now);
        if let Some(id) = id {
            self.cells.get(id).hide();
            self.cells.mark(id);
        }
    }

    /// Gives a value that stays as it is a new unique number.
    fn renew(&self, id: Option<CellId>, key: &[u8], now: Timestamp) {
        let unique = match id {
            Some(id) => self.renew_unique(self.cells.get(id)),
            None => self.next_unique(),
        };
        self.items.alter(key, now, |item| item.unique = unique);
    }
}

impl Glance<'_> {
    const fn nothing() -> Self {
        Self {
            value: b"",
            flags: 0,
            unique: 0,
            idle_secs: 0,
            room_bytes: 0,
            is_new: true,
            expires: None,
            marks: Marks::NONE,
            is_access: false,
        }
    }
}
