//! A half-open stretch of time.

use super::{Span, Timestamp};

/// The instants from `start` up to, not including, `end`. An increment at `end` belongs to the next
/// window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// First instant inside.
    pub start: Timestamp,
    /// First instant after it.
    pub end: Timestamp,
}

impl Window {
    /// The window of length `width` that begins at `start`.
    #[must_use]
    pub fn starting(start: Timestamp, width: Span) -> Self {
        Self { start, end: start + width }
    }

    /// The window of length `width` that ends at `end`.
    #[must_use]
    pub fn ending(end: Timestamp, width: Span) -> Self {
        Self { start: end - width, end }
    }

    /// The window of the tier with step `width` that holds `instant`.
    #[must_use]
    pub fn holding(instant: Timestamp, width: Span) -> Self {
        Self::starting(instant.align_down(width), width)
    }

    /// How long it is.
    #[must_use]
    pub fn width(self) -> Span {
        self.end.since(self.start)
    }

    /// Whether `instant` lies inside.
    #[must_use]
    pub fn contains(self, instant: Timestamp) -> bool {
        self.start <= instant && instant < self.end
    }

    /// The part that both windows share; an empty window where they share nothing.
    #[must_use]
    pub fn intersect(self, other: Self) -> Self {
        let start = self.start.max(other.start);
        Self { start, end: self.end.min(other.end).max(start) }
    }

    /// Both ends moved down to multiples of `step`; the length stays when it is such a multiple.
    #[must_use]
    pub fn align_down(self, step: Span) -> Self {
        Self { start: self.start.align_down(step), end: self.end.align_down(step) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) }
    }

    #[test]
    fn is_half_open() {
        let w = window(10, 20);
        assert!(w.contains(Timestamp::from_secs(10)));
        assert!(!w.contains(Timestamp::from_secs(20)));
    }

    #[test]
    fn windows_that_do_not_meet_share_nothing() {
        assert_eq!(window(0, 10).intersect(window(5, 20)), window(5, 10));
        assert!(window(0, 10).intersect(window(20, 30)).width().is_zero());
    }

    #[test]
    fn holding_is_aligned_to_the_epoch() {
        assert_eq!(Window::holding(Timestamp::from_secs(61), Span::from_secs(60)), window(60, 120));
    }
}
