//! What the instances of one rule saw, instant by instant, made in blocks.

use std::collections::VecDeque;

use super::{Past, Stopped};
use crate::config::{Measure, Rule, Tier};
use crate::limits;
use crate::query::{Ages, Course, Group, Observation, Question, Range, Side};
use crate::rollup::SeriesId;
use crate::store::{Coverage, tier_for};
use crate::time::{Span, Timestamp, Window};

/// Instants of one block, at most: as many as there are windows in a chunk, and few enough that their
/// slices stay near.
const BLOCK_POINTS: usize = 8192;

/// A stretch of time that is played at one resolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From when to when.
    pub span: Window,
    /// The width of the windows that are read; `None`: nothing is kept so long.
    pub width: Option<Span>,
    /// From one evaluation to the next; `None`: not judged, since the windows are longer than the rule's,
    /// or do not make it up.
    pub every: Option<Span>,
    /// How much of it is known.
    pub known: Span,
}

/// See the module.
pub(super) struct Tape {
    question: Question,
    part: Past,
    whole: Option<Past>,
    /// Of each group of `part`, what it is divided by.
    divisors: Vec<Vec<SeriesId>>,
    /// What is still to be played.
    rest: VecDeque<Part>,
    /// The block, and by group what was seen.
    instants: Vec<Timestamp>,
    seen: Vec<Vec<Observation>>,
    at: usize,
    has_begun: bool,
    is_split: bool,
}

impl Tape {
    pub(super) fn new(
        rule: &Rule,
        question: Question,
        part: Past,
        whole: Option<Past>,
        span: Window,
    ) -> Self {
        let of = |whole: &Past, group: &Group| {
            let mut groups = whole.groups.iter();
            groups.find(|(of, _)| of == group).map(|(_, ids)| ids.clone()).unwrap_or_default()
        };
        let divisors = part
            .groups
            .iter()
            .map(|(group, _)| whole.as_ref().map_or(Vec::new(), |whole| of(whole, group)));
        let divisors = divisors.collect();
        let parts = parts(&part, &question, rule, span);
        Self {
            divisors,
            rest: parts.into(),
            question,
            part,
            whole,
            instants: Vec::new(),
            seen: Vec::new(),
            at: 0,
            has_begun: false,
            is_split: !rule.by.is_empty(),
        }
    }

    pub(super) fn tiers(&self) -> &[Tier] {
        self.part.windows.tiers()
    }

    /// When somebody would have been told: tallyd was up, or something of these series was imported, which is
    /// played as if it had been.
    pub(super) fn up(&self) -> Coverage {
        let windows = &self.part.windows;
        let mut up = windows.coverage().clone();
        let all = Window { start: Timestamp::EPOCH, end: Timestamp::from_millis(i64::MAX) };
        for id in self.part.groups.iter().flat_map(|(_, ids)| ids) {
            let Some(import) = windows.imported().get(*id) else { continue };
            import.coverage.parts(all).for_each(|part| up.insert(part));
        }
        up
    }

    /// From old to young, each of another resolution than the one before.
    pub(super) fn parts(&self) -> Vec<Part> {
        let mut merged: Vec<Part> = Vec::new();
        for part in &self.rest {
            let last = merged.last_mut();
            match last.filter(|last| (last.width, last.every) == (part.width, part.every)) {
                Some(last) => {
                    last.span.end = part.span.end;
                    last.known = last.known.plus(part.known);
                }
                None => merged.push(*part),
            }
        }
        merged
    }

    /// The next instant at which the rule is evaluated; `None` at the end of the block.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.instants.get(self.at).copied()
    }

    /// What its instances see then, as far as there are any by then.
    pub(super) fn seen(&self) -> impl Iterator<Item = (&Group, Observation)> {
        let all = self.part.groups.iter().zip(&self.seen);
        let now = all.filter_map(|((group, _), seen)| Some((group, *seen.get(self.at)?)));
        now.filter(|(_, seen)| !self.is_split || *seen != Observation::NeverSeen)
    }

    pub(super) fn step(&mut self) {
        self.at += 1;
    }

    /// Makes the next block that is not empty; the pace of its instants. `None` at the end of the tape.
    pub(super) fn refill(&mut self, goes_on: &dyn Fn() -> bool) -> Result<Option<Span>, Stopped> {
        self.at = 0;
        self.instants.clear();
        self.seen.clear();
        while let Some(part) = self.rest.pop_front() {
            let Some(step) = part.every else { continue };
            let block = self.cut(part, step);
            self.read(block, part.width.unwrap_or(Span::SECOND), goes_on)?;
            if !self.instants.is_empty() {
                return Ok(Some(step));
            }
        }
        Ok(None)
    }

    /// A block from the beginning of a part; what is left of that goes back.
    fn cut(&mut self, part: Part, step: Span) -> Range {
        let start = part.span.start.align_down(step);
        let end = part.span.end.align_down(step).max(start);
        let length = step.as_millis().saturating_mul(self.points() as u64);
        let until = end.min(start + Span::from_millis(length));
        if until < end {
            let span = Window { start: until, ..part.span };
            self.rest.push_front(Part { span, ..part });
        }
        Range { span: Window { start, end: until }, step, now: self.part.closed }
    }

    fn points(&self) -> usize {
        let series: usize = self.part.groups.iter().map(|(_, ids)| ids.len()).sum();
        let divisors: usize = self.divisors.iter().map(Vec::len).sum();
        let by_lines = limits::BACKTEST_BLOCK / self.part.groups.len().max(1);
        let by_series = limits::BACKTEST_BLOCK_SERIES / (series + divisors).max(1);
        BLOCK_POINTS.min(by_lines).min(by_series).max(1)
    }

    fn read(
        &mut self,
        block: Range,
        width: Span,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<(), Stopped> {
        let mut places = Vec::new();
        for (place, end) in block.instants().enumerate() {
            let Some(instant) = self.evaluated(end, block.step, width) else { continue };
            self.has_begun = true;
            places.push((place, instant, instant != end));
        }
        self.instants.extend(places.iter().map(|(_, instant, _)| *instant));
        if places.is_empty() {
            return if goes_on() { Ok(()) } else { Err(Stopped) };
        }
        for ((_, series), divisor) in self.part.groups.iter().zip(&self.divisors) {
            if !goes_on() {
                return Err(Stopped);
            }
            if self.question.measure == Measure::Age {
                self.seen.push(self.ages(series, width));
                continue;
            }
            let course = self.course(series, divisor);
            let all = course.ask(block);
            let seen = places.iter().filter_map(|(place, instant, is_late)| {
                if *is_late {
                    Some(course.ask_at(*instant, block.now))
                } else {
                    all.get(*place).copied()
                }
            });
            self.seen.push(seen.collect());
        }
        Ok(())
    }

    fn ages(&self, series: &[SeriesId], width: Span) -> Vec<Observation> {
        let Past { windows, facts, closed, .. } = &self.part;
        let ages = Ages { store: windows, facts, series, now: *closed };
        ages.ask(tier_of(windows.tiers(), width), &self.instants)
    }

    fn course<'a>(&'a self, series: &'a [SeriesId], divisor: &'a [SeriesId]) -> Course<'a> {
        let whole = self.whole.as_ref();
        Course {
            question: &self.question,
            store: &self.part.windows,
            part: Side { series, facts: &self.part.facts },
            whole: whole.map(|whole| Side { series: divisor, facts: &whole.facts }),
        }
    }

    /// When the rule was evaluated that was due at `instant`: then, or when tallyd was up again. `None`: not
    /// before it was due again.
    fn evaluated(&self, instant: Timestamp, step: Span, width: Span) -> Option<Timestamp> {
        if width > Span::SECOND {
            return self.is_known(Window::ending(instant, step), width).then_some(instant);
        }
        let is_closed = |end: &Timestamp| self.is_known(Window::ending(*end, Span::SECOND), width);
        if is_closed(&instant) {
            return Some(instant);
        }
        let rest = Window::starting(instant, step.minus(Span::SECOND));
        if !self.has_begun || !self.is_known(rest, width) {
            return None;
        }
        let seconds = 1..step.as_millis() / Span::SECOND.as_millis();
        seconds.map(|second| instant + Span::from_secs(second)).find(is_closed)
    }

    fn is_known(&self, window: Window, width: Span) -> bool {
        !known(&self.part, window, width).is_zero()
    }
}

/// How much of a window is known in the tier of this width, of the group of which most is known.
fn known(past: &Past, window: Window, width: Span) -> Span {
    let tier = tier_of(past.windows.tiers(), width);
    let covered = past.windows.covered(tier, window);
    if covered == window.width() {
        return covered;
    }
    let groups = past.groups.iter().filter(|(_, ids)| !ids.is_empty());
    let known = groups.map(|(_, ids)| past.windows.covered_of(tier, window, ids));
    known.fold(covered, Span::max)
}

fn tier_of(tiers: &[Tier], width: Span) -> usize {
    tiers.iter().position(|tier| tier.window == width).unwrap_or(0)
}

/// The stretches of a span, from old to young. Along each of them the windows are read from one tier, and
/// those that they are compared with from one.
fn parts(past: &Past, question: &Question, rule: &Rule, span: Window) -> Vec<Part> {
    let tiers = past.windows.tiers();
    // An age is of no window.
    let is_age = question.measure == Measure::Age;
    let window = if is_age { Span::ZERO } else { question.window };
    let reach = question.against.map_or(Span::ZERO, |against| question.reach(against));
    let whole = Window { start: span.start, end: span.end.min(past.closed).max(span.start) };
    let of_tier = |tier: &Tier| {
        [window, window.plus(reach)].map(|asked| past.closed - tier.keep.minus(asked))
    };
    let mut cuts: Vec<_> = tiers.iter().flat_map(of_tier).collect();
    cuts.retain(|cut| whole.contains(*cut));
    cuts.extend([whole.start, whole.end]);
    cuts.sort_unstable();
    cuts.dedup();
    let fits = |width: Span| {
        if is_age {
            width.as_secs_f64() <= least_threshold(rule)
        } else {
            !window.is_zero() && window.is_multiple_of(width)
        }
    };
    let pairs = cuts.iter().copied().zip(cuts.iter().copied().skip(1));
    pairs.map(|(start, end)| part(past, window, rule.every, Window { start, end }, fits)).collect()
}

/// The least number that a rule compares with: windows that are longer cannot tell ages from each other that
/// it tells apart.
fn least_threshold(rule: &Rule) -> f64 {
    let whens = rule.when.iter().flat_map(|when| [when.warning, when.critical]);
    let all = [rule.warning, rule.critical].into_iter().chain(whens).flatten();
    all.flat_map(|threshold| [threshold.value, threshold.clear]).fold(f64::INFINITY, f64::min)
}

fn part(past: &Past, window: Span, every: Span, span: Window, fits: impl Fn(Span) -> bool) -> Part {
    let tiers = past.windows.tiers();
    let age = past.closed.since(span.start).plus(window);
    let kept = tiers.get(tier_for(tiers, age)).filter(|tier| tier.keep >= age);
    let Some(Tier { window: width, .. }) = kept.copied() else {
        return Part { span, width: None, every: None, known: Span::ZERO };
    };
    let steps = every.as_millis().div_ceil(width.as_millis().max(1));
    let step = Span::from_millis(steps.saturating_mul(width.as_millis()));
    let fits = fits(width);
    let known = if fits { known(past, span, width) } else { Span::ZERO };
    Part { span, width: Some(width), every: fits.then_some(step), known }
}
