//! When tallyd was up: the difference between "nothing happened" and "nobody looked".

use std::collections::VecDeque;

use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

/// Stretches that are remembered; each restart or gap begins one. Older ones are forgotten, and
/// then count as not covered.
const STRETCHES: usize = 10_000;

/// Stretches of time without a gap, in order.
#[derive(Clone, Debug, Default)]
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

    /// Adds a window wherever it lies; what it has in common with others is covered once.
    pub fn insert(&mut self, window: Window) {
        if self.stretches.back().is_none_or(|last| last.end <= window.start) {
            return self.add(window);
        }
        let first = self.stretches.partition_point(|stretch| stretch.end < window.start);
        let end = self.stretches.partition_point(|stretch| stretch.start <= window.end);
        let touched = self.stretches.drain(first..end.max(first));
        let whole = touched.fold(window, |whole, part| Window {
            start: whole.start.min(part.start),
            end: whole.end.max(part.end),
        });
        self.stretches.insert(first, whole);
        if self.stretches.len() > STRETCHES {
            self.stretches.pop_front();
        }
    }

    /// The parts of `range` that were covered, in order.
    pub fn parts(&self, range: Window) -> impl Iterator<Item = Window> {
        let first = self.stretches.partition_point(|stretch| stretch.end <= range.start);
        let rest = self.stretches.iter().skip(first);
        rest.take_while(move |stretch| stretch.start < range.end)
            .map(move |stretch| stretch.intersect(range))
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

    /// In bytes: of each stretch how far its start lies behind the end of the one before, in seconds,
    /// and how long it is; numbers as [`varint`] has them, the first start with its sign.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut end = 0;
        for stretch in &self.stretches {
            varint::put(&mut out, varint::zigzag(stretch.start.as_secs() - end));
            varint::put(&mut out, stretch.width().as_millis() / 1000);
            end = stretch.end.as_secs();
        }
        out
    }

    /// And back; `None` where the bytes are something else.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut coverage = Self::default();
        let mut end = 0_i64;
        while !reader.is_empty() {
            let start = end.checked_add(varint::unzigzag(reader.number()?))?;
            let width = Span::from_secs(reader.number()?);
            let stretch = Window::starting(Timestamp::from_secs(start), width);
            if coverage.end().is_some_and(|end| stretch.start < end) {
                return None;
            }
            coverage.add(stretch);
            end = stretch.end.as_secs();
        }
        Some(coverage)
    }

    /// What a clock shows that was right when the last `length` of covered time began, or all of it where
    /// it was less, and has gone on since as time was covered; `None` where nothing was.
    #[must_use]
    pub fn steady(&self, length: Span) -> Option<Timestamp> {
        let (mut steady, mut rest) = (None, length.as_millis());
        for stretch in self.stretches.iter().rev() {
            let part = rest.min(stretch.width().as_millis());
            rest -= part;
            let since = stretch.end - Span::from_millis(part);
            steady = Some(since + Span::from_millis(length.as_millis() - rest));
            if rest == 0 {
                break;
            }
        }
        steady
    }

    /// Whether nothing was covered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.stretches.is_empty()
    }

    /// The end of the last stretch.
    #[must_use]
    pub fn end(&self) -> Option<Timestamp> {
        self.stretches.back().map(|stretch| stretch.end)
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
        let read = Coverage::read(&coverage.write()).unwrap();
        assert_eq!(read.stretches, coverage.stretches);
        assert!(Coverage::read(&[1]).is_none());
    }

    #[test]
    fn a_steady_clock_believes_a_leap_after_a_while() {
        let mut coverage = Coverage::default();
        assert_eq!(coverage.steady(Span::SECOND), None);
        for (start, end) in [(0, 10), (20, 25), (1000, 1003)] {
            coverage.add(window(start, end));
        }
        let steady = |secs| coverage.steady(Span::from_secs(secs)).map(Timestamp::as_secs);
        let seen = [1, 3, 4, 8, 9, 18, 19].map(steady);
        assert_eq!(seen, [1003, 1003, 28, 28, 18, 18, 18].map(Some));
    }

    #[test]
    fn what_comes_late_joins_what_it_touches() {
        let mut coverage = Coverage::default();
        for (start, end) in [(50, 60), (10, 20), (30, 40), (20, 25), (35, 50), (0, 5), (12, 13)] {
            coverage.insert(window(start, end));
        }
        let expect = [(0, 5), (10, 25), (30, 60)].map(|(start, end)| window(start, end));
        assert_eq!(coverage.stretches, expect);
        let parts: Vec<_> = coverage.parts(window(3, 32)).collect();
        assert_eq!(parts, [(3, 5), (10, 25), (30, 32)].map(|(start, end)| window(start, end)));
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
