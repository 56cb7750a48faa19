//! Increments that stand in a row, done together.
//!
//! One increment is a little computing and four fetches from memory that wait for each other. Of a
//! row of them the fetches wait side by side, so it takes little longer than one. They are done, and
//! answered, in their order.

use super::apply::arithmetic;
use super::tally::Counts;
use crate::counters::{Arithmetic, Counters, Increment};
use crate::protocol::PlainIncr;
use crate::time::Timestamp;

/// How many are done together. With more, what was fetched for the first would be gone from the
/// nearest cache before it is its turn.
const ROW: usize = 64;

/// A row of increments, never empty.
pub struct Increments<'a> {
    row: [Increment<'a>; ROW],
    len: usize,
    /// A bit for each that nobody waits for the answer of.
    silent: u64,
}

const _: () = assert!(ROW <= 64, "there is a bit for each");

impl<'a> Increments<'a> {
    /// A row that begins with `first`.
    #[inline]
    #[must_use]
    pub fn of(first: &PlainIncr<'a>) -> Self {
        let nothing = Increment::new(b"", 0);
        let mut increments = Self { row: [nothing; ROW], len: 0, silent: 0 };
        increments.add(first);
        increments
    }

    /// Whether another one fits.
    #[inline]
    #[must_use]
    pub const fn has_room(&self) -> bool {
        self.len < ROW
    }

    /// Puts another one behind; there has to be room for it.
    #[inline]
    pub fn add(&mut self, next: &PlainIncr<'a>) {
        let place = self.row.get_mut(self.len).expect("whoever adds asks for room first");
        *place = Increment::new(next.key, next.delta);
        self.silent |= u64::from(next.noreply) << self.len;
        self.len += 1;
    }

    /// Does them, and appends their answers to `out`. It is done with then.
    pub fn apply(
        &mut self,
        counters: &Counters,
        now: Timestamp,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) {
        let row = self.row.get_mut(..self.len).unwrap_or_default();
        counters.incr_all(row, now);
        for (at, increment) in row.iter().enumerate() {
            count(increment.done, counts);
            if self.silent >> at & 1 == 0 {
                arithmetic(increment.done).write_to(out);
            }
        }
    }
}

/// Does one by itself, and appends its answer to `out`.
#[inline]
pub fn incr(
    counters: &Counters,
    one: &PlainIncr<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let done = counters.incr(one.key, one.delta, now);
    count(done, counts);
    if !one.noreply {
        arithmetic(done).write_to(out);
    }
}

/// Counts what became of an increment.
#[inline]
pub(super) fn count(done: Arithmetic, counts: &mut Counts) {
    match done {
        Arithmetic::Value(_) => counts.incr_hits += 1,
        Arithmetic::NotFound => counts.incr_misses += 1,
        _ => counts.errors += 1,
    }
}
