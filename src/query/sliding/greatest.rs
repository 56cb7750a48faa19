//! The greatest of what is in a sliding window: a queue of those that may still become it.
//!
//! A value is in the queue until a later one is as great, or until it has left the window; so the first is
//! the greatest. What only falls would fill the queue with the whole window, so it is bounded: what finds no
//! room is forgotten but for the greatest of it, and once all in the queue have left, the window has to be
//! read again. That is once in [`ROOM`] windows at worst.

use std::collections::VecDeque;

use crate::time::Timestamp;

/// Values in one queue; a kilobyte.
const ROOM: usize = 64;

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Greatest {
    queue: VecDeque<(Timestamp, f64)>,
    /// The greatest of those that found no room.
    forgotten: Option<f64>,
}

impl Greatest {
    /// Takes in a value of the window that begins at `start`, which is no earlier than the one before.
    pub(super) fn enter(&mut self, start: Timestamp, value: f64) {
        if self.forgotten.is_some_and(|forgotten| value < forgotten) {
            return;
        }
        self.forgotten = None;
        while self.queue.back().is_some_and(|(_, last)| *last <= value) {
            self.queue.pop_back();
        }
        if self.queue.len() < ROOM {
            self.queue.push_back((start, value));
        } else {
            self.forgotten = Some(value);
        }
    }

    /// Drops what begins before `start`. Whether it still knows the greatest of what is left.
    pub(super) fn leave(&mut self, start: Timestamp) -> bool {
        while self.queue.front().is_some_and(|(begin, _)| *begin < start) {
            self.queue.pop_front();
        }
        !self.queue.is_empty() || self.forgotten.is_none()
    }

    /// The greatest; `None` where there is none.
    pub(super) fn value(&self) -> Option<f64> {
        self.queue.front().map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn is_the_greatest_or_says_that_it_is_not_known(
            values in prop::collection::vec((-300..300_i32, 0..3_i64), 1..600),
            width in 1..300_i64,
            falls in any::<bool>(),
        ) {
            let mut greatest = Greatest::default();
            let (mut all, mut now) = (Vec::new(), 0);
            for (at, (value, skip)) in (0..).zip(values) {
                now += skip;
                let value = f64::from(if falls { value / 100 - at } else { value });
                all.push((now, value));
                greatest.enter(Timestamp::from_secs(now), value);
                let start = now - width + 1;
                let inside = all.iter().filter(|(begin, _)| *begin >= start);
                let expect = inside.map(|(_, value)| *value).fold(f64::NEG_INFINITY, f64::max);
                if greatest.leave(Timestamp::from_secs(start)) {
                    prop_assert_eq!(greatest.value(), Some(expect));
                } else {
                    prop_assert!(falls && width > 64);
                    let again = all.iter().filter(|(begin, _)| *begin >= start);
                    greatest = Greatest::default();
                    again.for_each(|(at, v)| greatest.enter(Timestamp::from_secs(*at), *v));
                }
            }
        }
    }
}
