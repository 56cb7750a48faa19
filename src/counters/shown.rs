//! The value that a cell shows: how it is read, moved and hidden without a change of the total.

use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::cells::{Cell, CellId, Face, Shown};
use super::drain::ShownNow;
use super::idle::EXPIRES_MASK;
use super::number::Decimal;
use crate::time::Timestamp;

impl Cell {
    /// Whether it shows what it counts, and that has not expired: what the hot path hopes for.
    #[inline]
    pub(super) fn is_plain_counter(&self, now: Timestamp) -> bool {
        Face::is_plain_counter(self.face.load(Relaxed)) && self.is_live(now)
    }

    /// Whether the value shown has not expired.
    #[inline]
    pub(super) fn is_live(&self, now: Timestamp) -> bool {
        let expires = self.expires.load(Relaxed) & EXPIRES_MASK;
        expires == 0 || now.as_millis().cast_unsigned() < expires
    }

    /// Whether it shows a number itself.
    pub(super) fn shows_number(&self, now: Timestamp) -> bool {
        let face = Face::unpack(self.face.load(Relaxed));
        matches!(face.shown, Shown::Integer | Shown::Float) && self.is_live(now)
    }

    pub(super) fn set_expires(&self, expires: Option<Timestamp>) {
        let millis = expires.map_or(0, |at| at.as_millis().max(1).cast_unsigned());
        let millis = millis.min(EXPIRES_MASK);
        let _ =
            self.expires.fetch_update(Relaxed, Relaxed, |word| Some(word & !EXPIRES_MASK | millis));
    }

    /// Shows a number, without counting it.
    pub(super) fn show(&self, value: u64) {
        self.offset.store(value.wrapping_sub(self.total.load(Relaxed)), Relaxed);
    }

    pub(super) fn hide(&self) {
        let face = Face::unpack(self.face.load(Relaxed));
        let face = Face { shown: Shown::Nothing, width: 0, flags: 0, ..face };
        self.face.store(face.pack(), Relaxed);
        self.set_expires(None);
    }

    pub(super) fn integer(&self) -> u64 {
        self.total.load(Relaxed).wrapping_add(self.offset.load(Relaxed))
    }

    pub(super) fn set_unique(&self, unique: u64) {
        self.unique_offset.store(unique.wrapping_sub(self.count.load(Relaxed)), Relaxed);
    }

    pub(super) fn unique(&self) -> u64 {
        self.unique_offset.load(Relaxed).wrapping_add(self.count.load(Relaxed))
    }

    /// The value shown as text; `false` when the cell itself shows none.
    pub(super) fn write_shown(&self, face: Face, text: &mut Decimal) -> bool {
        match face.shown {
            Shown::Integer => text.integer(self.integer(), face.width),
            Shown::Float => text.float(f64::from_bits(self.decrements.load(Relaxed))),
            Shown::Nothing | Shown::Text => return false,
        }
        true
    }

    #[expect(clippy::cast_precision_loss, reason = "windows hold doubles")]
    pub(super) fn shown_now(&self, face: Face, total: u64, now: Timestamp) -> ShownNow {
        let offset = self.offset.load(Relaxed);
        match face.shown {
            Shown::Nothing => ShownNow::Nothing,
            Shown::Text => ShownNow::Text,
            _ if !self.is_live(now) => ShownNow::Nothing,
            Shown::Integer => ShownNow::Number(total.wrapping_add(offset) as f64),
            Shown::Float => ShownNow::Number(f64::from_bits(self.decrements.load(Relaxed))),
        }
    }

    /// When the value shown expires, where it does.
    pub(super) fn expires(&self) -> Option<Timestamp> {
        match self.expires.load(Relaxed) & EXPIRES_MASK {
            0 => None,
            millis => Some(Timestamp::from_millis(millis.cast_signed())),
        }
    }
}

impl Counters {
    /// Values that clients see at `now`: numbers, and the items. A value that was taken away is none of
    /// them, though its series goes on; a text that has a series counts once. It looks at every cell,
    /// one after the other: some milliseconds where there are a million.
    #[must_use]
    pub fn values(&self, now: Timestamp) -> usize {
        let is_number = |(id, cell): &(CellId, &Cell)| {
            *id != self.overflow && cell.identity.load(Relaxed) != 0 && cell.shows_number(now)
        };
        let numbers = self.cells.iter().filter(is_number).count();
        numbers.saturating_sub(self.own_values(now)) + self.items.len()
    }

    pub(super) fn set_expires(&self, id: CellId, expires: Option<Timestamp>) {
        self.cells.get(id).set_expires(expires);
        self.expiring.note(id, expires);
    }

    pub(super) fn face(&self, id: CellId) -> Face {
        Face::unpack(self.cells.get(id).face.load(Relaxed))
    }

    pub(super) fn next_unique(&self) -> u64 {
        self.unique.fetch_add(1, Relaxed)
    }

    /// A new unique number, greater than every one that this cell has had.
    pub(super) fn fresh_unique(&self, cell: &Cell) -> u64 {
        self.next_unique().max(cell.unique().wrapping_add(1))
    }

    pub(super) fn renew_unique(&self, cell: &Cell) -> u64 {
        let unique = self.fresh_unique(cell);
        cell.set_unique(unique);
        unique
    }
}
