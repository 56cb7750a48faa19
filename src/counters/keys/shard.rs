//! One shard: an open table of eight-byte entries, and the bytes of their keys.
//!
//! An entry holds the number of the cell, where the key's bytes are, and eight bits of its hash.
//! Eight entries share a cache line, so linear probing reads one or two lines for a key that is
//! there, one line fewer than a table with control bytes apart. The table grows by a quarter, not
//! by twice: between 65 and 80 of 100 places are taken, whatever the number of keys. A key that is
//! taken out leaves no mark: those behind it move up.

use super::Hash;
use super::arena::{Arena, PLACE_BITS, Place};
use crate::counters::cells::CellId;

const CELL_BITS: u32 = 27;
const _: () = assert!(CELL_BITS + PLACE_BITS + 8 == u64::BITS);

/// Places in the smallest table.
const LEAST: usize = 8;

/// Tag, place of the key, number of the cell, from high to low.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::counters) struct Entry(u64);

impl Entry {
    /// No key. No cell has this number.
    const NONE: Self = Self(u64::MAX);

    fn new(hash: Hash, place: Place, id: CellId) -> Self {
        Self(hash.tag() << 56 | u64::from(place) << CELL_BITS | u64::from(id.number()))
    }

    #[inline]
    const fn tag(self) -> u64 {
        self.0 >> 56
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    const fn place(self) -> Place {
        (self.0 >> CELL_BITS) as Place & ((1 << PLACE_BITS) - 1)
    }

    /// The cell.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    pub(in crate::counters) const fn id(self) -> CellId {
        CellId::of_number(self.0 as u32 & ((1 << CELL_BITS) - 1))
    }

    #[inline]
    fn is_some(self) -> bool {
        self != Self::NONE
    }
}

/// One shard.
#[derive(Debug, Default)]
pub(in crate::counters) struct Shard {
    entries: Vec<Entry>,
    len: usize,
    arena: Arena,
}

impl Shard {
    /// How many keys there are.
    #[cfg(test)]
    pub(in crate::counters) fn len(&self) -> usize {
        self.len
    }

    /// The cell of a key.
    #[inline]
    pub(in crate::counters) fn get(&self, hash: Hash, key: &[u8]) -> Option<CellId> {
        let same = |entry: Entry| self.arena.get(entry.place()) == key;
        self.probe(hash, same).map(|(_, entry)| entry.id())
    }

    /// An entry that may be the key's: the first with its tag. Nothing but the table is looked at.
    #[inline]
    pub(in crate::counters) fn candidate(&self, hash: Hash) -> Option<Entry> {
        self.probe(hash, |_| true).map(|(_, entry)| entry)
    }

    /// The key of an entry.
    #[inline]
    pub(in crate::counters) fn key(&self, entry: Entry) -> &[u8] {
        self.arena.get(entry.place())
    }

    /// Asks for the memory that an entry's key lies in.
    #[inline]
    pub(in crate::counters) fn touch(&self, entry: Entry) -> u8 {
        self.arena.touch(entry.place())
    }

    /// All keys with their cells.
    pub(in crate::counters) fn iter(&self) -> impl Iterator<Item = (&[u8], CellId)> {
        self.slice(0, self.entries.len())
    }

    /// The keys in some places of the table, from `from` on, at most `room` places.
    pub(in crate::counters) fn slice(
        &self,
        from: usize,
        room: usize,
    ) -> impl Iterator<Item = (&[u8], CellId)> {
        let entries = self.entries.iter().skip(from).take(room).copied();
        entries.filter(|entry| entry.is_some()).map(|entry| (self.key(entry), entry.id()))
    }

    /// Places in the table.
    pub(in crate::counters) fn places(&self) -> usize {
        self.entries.len()
    }

    /// Bytes that the table and the keys take up, filled or not.
    #[cfg(test)]
    pub(in crate::counters) fn room_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<Entry>() + self.arena.bytes()
    }

    /// Puts a key in that is not there yet; `false` when there is no room for its bytes.
    pub(in crate::counters) fn insert(
        &mut self,
        hash: Hash,
        key: &[u8],
        id: CellId,
        rehash: impl Fn(&[u8]) -> Hash,
    ) -> bool {
        if is_crowded(self.len + 1, self.entries.len()) {
            // By a quarter: more often than by twice, but what a key costs stays nearly the same.
            self.rebuild(self.entries.len() * 5 / 4 + LEAST, rehash);
        }
        let Some(place) = self.arena.push(key) else { return false };
        put(&mut self.entries, hash, Entry::new(hash, place, id));
        self.len += 1;
        true
    }

    /// Takes a key out; its cell, where it had one.
    pub(in crate::counters) fn remove(
        &mut self,
        hash: Hash,
        key: &[u8],
        rehash: impl Fn(&[u8]) -> Hash,
    ) -> Option<CellId> {
        let (at, entry) = self.probe(hash, |entry| self.arena.get(entry.place()) == key)?;
        self.close_up(at, &rehash);
        self.len -= 1;
        self.arena.forget(entry.place());
        if self.arena.is_mostly_dead() {
            self.compact();
        }
        if self.entries.len() > 2 * LEAST && self.len * 3 < self.entries.len() {
            self.rebuild(self.len * 3 / 2 + LEAST, rehash);
        }
        Some(entry.id())
    }

    /// Keeps the bytes of a key that will be given a [`place`](Self::place); `None` when there is no room
    /// for them.
    pub(super) fn keep(&mut self, hash: Hash, key: &[u8], id: CellId) -> Option<Entry> {
        self.arena.push(key).map(|place| Entry::new(hash, place, id))
    }

    /// Makes room for so many keys in a shard that has none.
    pub(super) fn make_room(&mut self, keys: usize) {
        self.entries = vec![Entry::NONE; keys * 5 / 4 + LEAST];
    }

    /// Gives a key its place, for which there is room. Where it has one already the cell that `is_later`
    /// says stays there; the other one is what comes back.
    pub(super) fn place(
        &mut self,
        hash: Hash,
        entry: Entry,
        is_later: impl Fn(CellId, CellId) -> bool,
    ) -> Option<CellId> {
        let key = self.arena.get(entry.place());
        let there = self.probe(hash, |other| self.arena.get(other.place()) == key);
        let Some((at, there)) = there else {
            put(&mut self.entries, hash, entry);
            self.len += 1;
            return None;
        };
        let (stays, goes) =
            if is_later(there.id(), entry.id()) { (there, entry) } else { (entry, there) };
        set(&mut self.entries, at, stays);
        self.arena.forget(goes.place());
        Some(goes.id())
    }

    /// The first entry with the key's tag that `is_it`, and where it stands.
    #[inline]
    fn probe(&self, hash: Hash, is_it: impl Fn(Entry) -> bool) -> Option<(usize, Entry)> {
        let home = hash.home(self.entries.len());
        let tag = hash.tag();
        let (front, back) = self.entries.split_at_checked(home)?;
        for (at, entry) in back.iter().enumerate() {
            if *entry == Entry::NONE {
                return None;
            }
            if entry.tag() == tag && is_it(*entry) {
                return Some((home + at, *entry));
            }
        }
        // Around the end. There is always a place that is free.
        let mut rest = front.iter().enumerate().take_while(|(_, entry)| entry.is_some());
        rest.find(|(_, entry)| entry.tag() == tag && is_it(**entry)).map(|(at, e)| (at, *e))
    }

    /// Empties a place, and moves up those behind it that would not be found any more.
    fn close_up(&mut self, at: usize, rehash: impl Fn(&[u8]) -> Hash) {
        let Self { entries, arena, .. } = self;
        let len = entries.len();
        let behind = |from: usize, to: usize| (to + len - from) % len;
        let mut hole = at;
        let mut next = (at + 1) % len;
        while let Some(entry) = entries.get(next).copied().filter(|entry| entry.is_some()) {
            let home = rehash(arena.get(entry.place())).home(len);
            if behind(home, next) >= behind(hole, next) {
                set(entries, hole, entry);
                hole = next;
            }
            next = (next + 1) % len;
        }
        set(entries, hole, Entry::NONE);
    }

    fn rebuild(&mut self, places: usize, rehash: impl Fn(&[u8]) -> Hash) {
        let mut entries = vec![Entry::NONE; places];
        for entry in self.entries.iter().copied().filter(|entry| entry.is_some()) {
            put(&mut entries, rehash(self.arena.get(entry.place())), entry);
        }
        self.entries = entries;
    }

    /// Moves the bytes of all keys together.
    fn compact(&mut self) {
        let mut arena = Arena::default();
        for entry in self.entries.iter_mut().filter(|entry| entry.is_some()) {
            let place = arena.push(self.arena.get(entry.place())).expect("it fitted before");
            let rest = entry.0 & !(((1 << PLACE_BITS) - 1) << CELL_BITS);
            *entry = Entry(rest | u64::from(place) << CELL_BITS);
        }
        self.arena = arena;
    }
}

/// Whether so many keys are too many for so many places.
const fn is_crowded(keys: usize, places: usize) -> bool {
    keys * 5 > places * 4
}

/// Puts an entry into the first free place from its home on.
fn put(entries: &mut [Entry], hash: Hash, entry: Entry) {
    let home = hash.home(entries.len());
    let (front, back) = entries.split_at_mut(home.min(entries.len()));
    let free = back.iter_mut().chain(front).find(|place| !place.is_some());
    *free.expect("a fifth of the places is free") = entry;
}

fn set(entries: &mut [Entry], at: usize, entry: Entry) {
    *entries.get_mut(at).expect("a remainder is in range") = entry;
}
