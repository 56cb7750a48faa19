//! What the store knows of its tiers from one start to the next: which there were, and since when.
//!
//! Layout of the value: of each tier its width and how long it is kept, in seconds; flags (1: there is a
//! stretch in which it was added; 2: its history from before was made), and by these the stretch's start and
//! end and since when there is history, in seconds (zigzag).

use super::extent::width_secs;
use crate::config::Tier;
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

const HOLE: u8 = 1;
const FILLED: u8 = 2;

/// One tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Its width and how long it is kept.
    pub tier: Tier,
    /// When it was added, as far as its windows do not tell all; `None` for one that was there at first.
    pub hole: Option<Window>,
    /// Since when it knows what was before that.
    pub filled_from: Option<Timestamp>,
}

/// What has become of a tier since the last process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TierChange {
    /// It is configured no more, and its history goes.
    Gone(Span),
    /// It is new.
    New(Span),
    /// It is kept for longer, or not as long.
    Keep {
        /// Its width.
        width: Span,
        /// For how long it was kept.
        was: Span,
        /// For how long it is kept now.
        is: Span,
    },
}

/// In bytes.
pub(super) fn write(marks: &[Mark]) -> Vec<u8> {
    let mut out = Vec::new();
    for Mark { tier, hole, filled_from } in marks {
        varint::put(&mut out, u64::from(width_secs(tier)));
        varint::put(&mut out, tier.keep.as_millis() / 1000);
        out.push(u8::from(hole.is_some()) * HOLE + u8::from(filled_from.is_some()) * FILLED);
        let instants = hole.iter().flat_map(|hole| [hole.start, hole.end]).chain(*filled_from);
        for at in instants {
            varint::put(&mut out, varint::zigzag(at.as_secs()));
        }
    }
    out
}

/// And back; `None` where the bytes are something else.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<Mark>> {
    let mut reader = Reader::new(bytes);
    let mut marks = Vec::new();
    while !reader.is_empty() {
        let window = Span::from_secs(u64::from(reader.number_u32()?));
        let keep = Span::from_secs(reader.number()?);
        let flags = reader.byte()?;
        let mut instant = || Some(Timestamp::from_secs(varint::unzigzag(reader.number()?)));
        let hole = if flags & HOLE == 0 {
            None
        } else {
            Some(Window { start: instant()?, end: instant()? })
        };
        let filled_from = if flags & FILLED == 0 { None } else { Some(instant()?) };
        marks.push(Mark { tier: Tier { window, keep }, hole, filled_from });
    }
    Some(marks)
}

/// The marks of the tiers that there are now, and what has changed. `before` are those of the last process,
/// which came to an end after `at`; a tier is added from there on, `span` being what is put into chunks together.
pub(super) fn now(
    tiers: &[Tier],
    before: &[Mark],
    at: Timestamp,
    span: impl Fn(usize) -> Span,
) -> (Vec<Mark>, Vec<TierChange>) {
    let mut changes = Vec::new();
    let is_same = |mark: &&Mark, tier: &Tier| width_secs(&mark.tier) == width_secs(tier);
    for mark in before {
        if !tiers.iter().any(|tier| is_same(&mark, tier)) {
            changes.push(TierChange::Gone(mark.tier.window));
        }
    }
    let marks = tiers.iter().enumerate().map(|(index, tier)| {
        if let Some(mark) = before.iter().find(|mark| is_same(mark, tier)) {
            let (width, was, is) = (tier.window, mark.tier.keep, tier.keep);
            if was != is && !was.is_zero() {
                changes.push(TierChange::Keep { width, was, is });
            }
            return Mark { tier: *tier, ..*mark };
        }
        changes.push(TierChange::New(tier.window));
        let hole = Window { start: at.align_down(span(index)), end: at.align_up(tier.window) };
        Mark { tier: *tier, hole: Some(hole), filled_from: None }
    });
    let marks = marks.collect();
    (marks, changes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiers_are_told_apart_from_those_of_before() {
        let tier =
            |window, keep| Tier { window: Span::from_secs(window), keep: Span::from_secs(keep) };
        let mark = |tier| Mark { tier, hole: None, filled_from: None };
        let before = [mark(tier(1, 100)), mark(tier(10, 1000)), mark(tier(60, 5000))];
        let tiers = [tier(1, 100), tier(20, 1000), tier(60, 6000)];
        let at = Timestamp::from_secs(1010);
        let (marks, changes) = now(&tiers, &before, at, |_| Span::from_secs(300));
        let secs = Span::from_secs;
        let keep = TierChange::Keep { width: secs(60), was: secs(5000), is: secs(6000) };
        assert_eq!(changes, [TierChange::Gone(secs(10)), TierChange::New(secs(20)), keep]);
        let hole = Window { start: Timestamp::from_secs(900), end: Timestamp::from_secs(1020) };
        assert_eq!(marks[1], Mark { hole: Some(hole), ..mark(tiers[1]) });
        assert_eq!(marks[2], mark(tiers[2]));
        let mut filled = marks.clone();
        filled[1].filled_from = Some(at);
        for marks in [marks, filled] {
            assert_eq!(read(&write(&marks)), Some(marks.clone()));
            assert_eq!(read(&write(&marks)[..7]), None);
        }
    }
}
