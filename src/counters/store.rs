//! Storing under a condition, and storing at either end of what is there.
//!
//! What a client stores decides by its form where it is kept: a number in a cell, anything else in
//! the table of items. So does what `append` and `prepend` come to: `5` with `7` behind it is the
//! number 57 again. Of a key that the configuration makes an item even a number is kept as a text, and
//! a distribution takes each number as an observation and nothing else.

use super::cells::Kind;
use super::keys::Hash;
use super::marks::Marks;
use super::number::numeric;
use super::slot::Slot;
use super::{Class, Counters};
use crate::series;
use crate::time::Timestamp;

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
    /// The key is a distribution, which takes nothing but numbers.
    NotNumeric,
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

/// What a storage command did, and what the value is told apart by from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// What it did.
    pub outcome: Stored,
    /// The new unique number; 0 where nothing was stored.
    pub unique: u64,
}

/// The end of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The first byte: `prepend`.
    Front,
    /// The last byte: `append`.
    Back,
}

/// What a stale value takes over from the one it replaces.
struct Kept {
    expires: Option<Timestamp>,
    marks: Marks,
}

impl Counters {
    /// Stores a value under a condition: `set`, `add`, `replace`, `cas`.
    pub fn store(&self, entry: Entry<'_>, condition: Condition, now: Timestamp) -> Stored {
        self.store_if(entry, condition, None, now).outcome
    }

    /// The same, with marks for the value: `ms`.
    pub fn store_marked(
        &self,
        entry: Entry<'_>,
        condition: Condition,
        marks: Marks,
        now: Timestamp,
    ) -> Written {
        self.store_if(entry, condition, Some(marks), now)
    }

    fn store_if(
        &self,
        entry: Entry<'_>,
        condition: Condition,
        marks: Option<Marks>,
        now: Timestamp,
    ) -> Written {
        if series::is_reserved(entry.key) {
            return Written { outcome: Stored::Reserved, unique: 0 };
        }
        let key = &*series::canonical_key(entry.key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            let (expires, marks) = match self.allow(condition, slot, key, now) {
                Err(outcome) => return Written { outcome, unique: 0 },
                Ok(None) => (entry.expires, marks),
                Ok(Some(kept)) => (kept.expires, marks.map(|marks| marks.with(kept.marks))),
            };
            self.put(slot, hash, Entry { key, expires, ..entry }, marks, now)
        })
    }

    /// Stores at one end of the value that is there, whose flags and expiry stay. With `unique`, only
    /// if the value still has that number.
    ///
    /// There is no more room for a value that outgrows its limit than for a key that is not there:
    /// both are not stored, as in memcached. What a distribution shows has no ends to store at.
    pub fn join(
        &self,
        key: &[u8],
        piece: &[u8],
        side: Side,
        unique: Option<u64>,
        now: Timestamp,
    ) -> Written {
        if series::is_reserved(key) {
            return Written { outcome: Stored::Reserved, unique: 0 };
        }
        let key = &*series::canonical_key(key);
        let hash = self.keys.hash(key);
        self.with_write(hash, key, |slot| {
            if self.class(slot, key) == Class::Is(Kind::Distribution) {
                return Written { outcome: Stored::NotNumeric, unique: 0 };
            }
            let glanced = self.glance_at(slot.id, key, now, |glance| {
                glance.is_access = false;
                let other = unique.is_some_and(|unique| unique != glance.unique);
                if other {
                    return Err(Stored::Exists);
                }
                if glance.value.len() + piece.len() > self.value_bytes {
                    return Err(Stored::NotStored);
                }
                let parts = match side {
                    Side::Front => [piece, glance.value],
                    Side::Back => [glance.value, piece],
                };
                let marks =
                    glance.marks.without(Marks::FETCHED.with(Marks::STALE.with(Marks::WON)));
                Ok((parts.concat(), glance.flags, glance.expires, marks))
            });
            match glanced.unwrap_or(Err(Stored::NotStored)) {
                Err(outcome) => Written { outcome, unique: 0 },
                Ok((value, flags, expires, marks)) => {
                    let entry = Entry { key, value: &value, flags, expires };
                    self.put(slot, hash, entry, Some(marks), now)
                }
            }
        })
    }

    /// Whether a condition holds; with what is kept of the value in place, or with what to answer.
    fn allow(
        &self,
        condition: Condition,
        slot: &Slot<'_>,
        key: &[u8],
        now: Timestamp,
    ) -> Result<Option<Kept>, Stored> {
        let is_shown = || self.is_shown(slot.id, key, now);
        let (unique, or_older) = match condition {
            Condition::Always => return Ok(None),
            Condition::Absent | Condition::Present => {
                let holds = is_shown() == (condition == Condition::Present);
                return if holds { Ok(None) } else { Err(Stored::NotStored) };
            }
            Condition::Unique(unique) => (unique, false),
            Condition::UniqueOrOlder(unique) => (unique, true),
        };
        let judged = self.glance_at(slot.id, key, now, |glance| {
            glance.is_access = false;
            match unique {
                // No value has the number 0, and to memcached it is no number at all.
                0 => Err(Stored::Exists),
                _ if unique == glance.unique => Ok(None),
                _ if or_older && unique < glance.unique => {
                    let won = if glance.marks.has(Marks::WON) { Marks::WON } else { Marks::NONE };
                    Ok(Some(Kept { expires: glance.expires, marks: Marks::STALE.with(won) }))
                }
                _ => Err(Stored::Exists),
            }
        });
        judged.unwrap_or(Err(Stored::NotFound))
    }

    /// Puts a value in place of whatever is there. Without marks to give, what it is told apart by is
    /// not asked for either.
    pub(super) fn put(
        &self,
        slot: &mut Slot<'_>,
        hash: Hash,
        entry: Entry<'_>,
        marks: Option<Marks>,
        now: Timestamp,
    ) -> Written {
        let class = self.class(slot, entry.key);
        let is_distribution = class == Class::Is(Kind::Distribution);
        let outcome = match numeric(entry.value).filter(|_| class != Class::Item) {
            None if is_distribution => Stored::NotNumeric,
            None => self.store_text(slot.id, entry, now),
            Some(number) => match slot.id.or_else(|| self.birth(slot, hash, entry.key)) {
                Some(id) => self.store_number(id, entry, number, 1, now),
                None if is_distribution => Stored::Full,
                // A number for which there is no room as a series is still a value to keep.
                None => self.store_text(None, entry, now),
            },
        };
        let (Stored::Stored, Some(marks)) = (outcome, marks) else {
            return Written { outcome, unique: 0 };
        };
        let unique = self.glance_at(slot.id, entry.key, now, |glance| {
            glance.is_access = false;
            glance.marks = marks;
            glance.unique
        });
        // A value that was stored with an expiry in the past is gone already.
        Written { outcome, unique: unique.unwrap_or_default() }
    }
}
