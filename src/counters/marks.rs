//! What is known of a value beside itself: four marks, and when it was last accessed.
//!
//! Only meta commands ask for any of it, so it takes no room in a cell: the marks are bits of the
//! face word that were free, and access times of numbers lie in a table of their own, of which a
//! part is made when a key in it is first read or set. A counter that is only ever incremented costs
//! nothing here. An item carries both in 32 bits.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::cells::CellId;
use crate::time::Timestamp;

/// A set of marks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks(u8);

impl Marks {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// A client has read the value.
    pub const FETCHED: Self = Self(1);
    /// A client has called the value outdated.
    pub const STALE: Self = Self(2);
    /// Some client was told that it is the one to make the value anew.
    pub const WON: Self = Self(4);
    /// The key is shown in base64.
    pub const ENCODED: Self = Self(8);

    /// Where the marks stand in a cell's face: between the width and the client's flags.
    const FACE_SHIFT: u32 = 24;
    const ALL: u8 = 15;

    /// Whether all of `other` are in it.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Without `other`.
    #[must_use]
    pub const fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// The marks in a cell's face.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "masked")]
    pub const fn of_face(word: u64) -> Self {
        Self((word >> Self::FACE_SHIFT) as u8 & Self::ALL)
    }

    /// The marks as bits of a face; everything that packs a new face leaves them out.
    #[must_use]
    pub const fn face_bits(self) -> u64 {
        (self.0 as u64) << Self::FACE_SHIFT
    }
}

/// Marks and last access of an item.
///
/// The access is kept in seconds, of which 28 bits are enough: they come round after eight years.
#[derive(Debug, Default)]
pub struct Trace(AtomicU32);

const SECS_BITS: u32 = 28;
const SECS_MASK: u32 = (1 << SECS_BITS) - 1;

impl Trace {
    /// Accessed now, for what `marks` say.
    #[must_use]
    pub fn new(marks: Marks, now: Timestamp) -> Self {
        Self(AtomicU32::new(u32::from(marks.0) << SECS_BITS | secs(now)))
    }

    /// The marks.
    #[must_use]
    pub fn marks(&self) -> Marks {
        Marks((self.0.load(Relaxed) >> SECS_BITS) as u8)
    }

    /// Seconds since the last access.
    #[must_use]
    pub fn idle_secs(&self, now: Timestamp) -> u64 {
        idle(self.0.load(Relaxed), now)
    }

    /// Other marks, with the access as it was.
    pub fn mark(&mut self, marks: Marks) {
        let word = self.0.get_mut();
        *word = u32::from(marks.0) << SECS_BITS | *word & SECS_MASK;
    }

    /// Notes that a client has read the value. Whatever else is noted goes through `mark`, by one who
    /// has the item for himself.
    pub fn fetch(&self, now: Timestamp) {
        let marks = self.marks().with(Marks::FETCHED);
        let word = u32::from(marks.0) << SECS_BITS | secs(now);
        // Usually so already, and a line that is only read stays shared.
        if self.0.load(Relaxed) != word {
            self.0.store(word, Relaxed);
        }
    }
}

impl Clone for Trace {
    fn clone(&self) -> Self {
        Self(AtomicU32::new(self.0.load(Relaxed)))
    }
}

impl PartialEq for Trace {
    fn eq(&self, other: &Self) -> bool {
        self.0.load(Relaxed) == other.0.load(Relaxed)
    }
}

impl Eq for Trace {}

/// Cells in one part of the table: 256 KiB.
const PART: usize = 1 << 16;

/// When cells were last accessed.
#[derive(Debug)]
pub(super) struct Accesses {
    parts: Box<[OnceLock<Box<[AtomicU32]>>]>,
    /// When anything was first noted; nothing is known from before it.
    began: OnceLock<u32>,
}

impl Accesses {
    /// For `max` cells; memory is taken a part at a time, when it is first written.
    pub(super) fn new(max: usize) -> Self {
        let parts = (0..max.div_ceil(PART)).map(|_| OnceLock::new()).collect();
        Self { parts, began: OnceLock::new() }
    }

    /// Notes an access by a client.
    pub(super) fn note(&self, id: CellId, now: Timestamp) {
        let secs = secs(now);
        self.began.get_or_init(|| secs);
        let Some(part) = self.parts.get(id.index() / PART) else { return };
        let part = part.get_or_init(|| (0..PART).map(|_| AtomicU32::new(0)).collect());
        write(part, id, secs);
    }

    /// Notes a change that the drain has found, which came after `since`; only where clients read or
    /// set at all. An access that is known better stays.
    pub(super) fn note_drained(&self, id: CellId, since: Timestamp) {
        let part = self.parts.get(id.index() / PART).and_then(OnceLock::get);
        if let Some(last) = part.and_then(|part| part.get(id.index() % PART))
            && (last.load(Relaxed) == 0 || idle(last.load(Relaxed), since) > 0)
        {
            last.store(secs(since), Relaxed);
        }
    }

    /// Forgets a cell, which will be another key's.
    pub(super) fn forget(&self, id: CellId) {
        if let Some(part) = self.parts.get(id.index() / PART).and_then(OnceLock::get) {
            write(part, id, 0);
        }
    }

    /// Seconds since the last access. Of a counter that was incremented and never read by anybody it
    /// is known only that nothing else came since the beginning.
    pub(super) fn idle_secs(&self, id: CellId, now: Timestamp) -> u64 {
        let part = self.parts.get(id.index() / PART).and_then(OnceLock::get);
        let last = part.and_then(|part| part.get(id.index() % PART));
        match last.map(|last| last.load(Relaxed)) {
            None | Some(0) => self.began.get().map_or(0, |began| idle(*began, now)),
            Some(last) => idle(last, now),
        }
    }
}

fn write(part: &[AtomicU32], id: CellId, secs: u32) {
    if let Some(last) = part.get(id.index() % PART)
        && last.load(Relaxed) != secs
    {
        last.store(secs, Relaxed);
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "masked")]
fn secs(now: Timestamp) -> u32 {
    now.as_secs() as u32 & SECS_MASK
}

/// A clock that was set back makes no age negative.
fn idle(last: u32, now: Timestamp) -> u64 {
    let age = secs(now).wrapping_sub(last) & SECS_MASK;
    u64::from(if age > SECS_MASK / 2 { 0 } else { age })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::cells::{Cells, Face, Held, Kind, Shown};

    #[test]
    fn marks_are_in_nobodys_way_in_a_face() {
        let (kind, shown, held) = (Kind::Counter, Shown::Integer, Held::Item);
        let face = Face { kind, shown, width: 255, flags: u32::MAX, held };
        for bits in 0..16 {
            let word = face.pack() | Marks(bits).face_bits();
            assert_eq!(Marks::of_face(word), Marks(bits));
            assert_eq!(Face::unpack(word), face);
            assert!(Face::is_plain_counter(word));
        }
    }

    #[test]
    fn a_trace_keeps_marks_and_time_apart() {
        let at = |secs| Timestamp::from_secs(secs);
        let trace = Trace::new(Marks::STALE.with(Marks::ENCODED), at(1_767_571_200));
        assert_eq!(trace.idle_secs(at(1_767_571_260)), 60);
        assert_eq!(trace.idle_secs(at(1_767_571_100)), 0, "the clock was set back");
        trace.fetch(at(1_767_571_270));
        assert_eq!(trace.idle_secs(at(1_767_571_275)), 5);
        assert!(trace.marks().has(Marks::FETCHED.with(Marks::STALE)));
        assert!(!trace.marks().has(Marks::WON));
        assert_eq!(trace.marks().without(Marks::STALE), Marks::FETCHED.with(Marks::ENCODED));
    }

    #[test]
    fn accesses_are_known_from_the_first_one_on() {
        let cells = Cells::new(2, None);
        let (a, b) = (cells.allocate().unwrap(), cells.allocate().unwrap());
        let accesses = Accesses::new(2);
        let at = Timestamp::from_secs;
        accesses.note_drained(a, at(100));
        assert_eq!(accesses.idle_secs(a, at(110)), 0, "nobody has asked for anything yet");
        accesses.note(b, at(105));
        assert_eq!(accesses.idle_secs(a, at(110)), 5, "not since then");
        accesses.note_drained(a, at(108));
        accesses.note_drained(b, at(104));
        assert_eq!([a, b].map(|id| accesses.idle_secs(id, at(110))), [2, 5]);
    }
}
