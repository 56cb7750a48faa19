//! When tallyd was up: the difference between "nothing happened" and "nobody looked".

use std::collections::VecDeque;

use crate::time::{Span, Timestamp, Window};

/// Stretches that are remembered; each restart or gap begins one. Older ones are forgotten, and
/// then count as not covered.
const STRETCHES: usize = 10_000;

/// Stretches of time without a gap, in order.
#[derive(Debug, Default)]
pub struct Coverage {
    stretches: VecDeque<Window>,
}

impl Coverage {
    /// Adds a window that begins at or after the end of the last one.
    pub fn add(&mut self, window: Window) {
        match self.stretches.back_mut() {
            Some(last) if last.end == window.start => last.end = window.end,
            _ => self.stretches.push_back(window),
        }
        if self.stretches.len() > STRETCHES {
            self.stretches.pop_front();
        }
    }

    /// How much of `range` was covered.
    #[must_use]
    pub fn within(&self, range: Window) -> Span {
        let first = self.stretches.partition_point(|stretch| stretch.end <= range.start);
        self.stretches
            .iter()
            .skip(first)
            .take_while(|stretch| stretch.start < range.end)
            .fold(Span::ZERO, |sum, stretch| sum.plus(stretch.intersect(range).width()))
    }

    /// Forgets what lies wholly before `instant`.
    pub fn forget_before(&mut self, instant: Timestamp) {
        while self.stretches.front().is_some_and(|stretch| stretch.end <= instant) {
            self.stretches.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) }
    }

    #[test]
    fn neighbours_join_and_gaps_stay() {
        let mut coverage = Coverage::default();
        for (start, end) in [(0, 1), (1, 2), (5, 6), (6, 10)] {
            coverage.add(window(start, end));
        }
        let within = |start, end| coverage.within(window(start, end)).as_millis() / 1000;
        assert_eq!(coverage.stretches.len(), 2);
        assert_eq!(within(0, 10), 7);
        assert_eq!(within(2, 5), 0);
        assert_eq!(within(1, 7), 3);
        assert_eq!(within(-5, 100), 7);
    }

    #[test]
    fn forgets_only_whole_stretches() {
        let mut coverage = Coverage::default();
        coverage.add(window(0, 10));
        coverage.add(window(20, 30));
        coverage.forget_before(Timestamp::from_secs(25));
        assert_eq!(coverage.within(window(0, 100)), Span::from_secs(10));
    }
}
