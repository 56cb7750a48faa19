//! A question at evenly spaced instants.
//!
//! Where the windows fit the tier, the whole range is read once from the finest tier that holds all of
//! it, cut into slices as long as a step, and each window is put together from its slices. Where they do
//! not, each point is read by itself, from the finest tier that holds it.

use super::measure::{Merged, Parts, Reading, View, lies_before, unreadable};
use super::{Facts, Observation, Question, Reason};
use crate::config::{Against, Measure};
use crate::counters::cells::Kind;
use crate::limits;
use crate::rollup::{Record, SeriesId};
use crate::store::{ReadError, Windows, tier_for};
use crate::time::{Span, Timestamp, Window};

/// Finding the windows of one series for one point costs about as much as looking at so many: they
/// are found by bisection.
const FINDING: u64 = 8;

/// To put two slices together costs about a quarter of what it costs to look at a window.
const JOINS: u64 = 4;

/// Points whose histograms are put together at once. One histogram may be large.
const SPREADS: usize = 32;

/// Evenly spaced instants: `(start, start + step, …, end]`, at most [`limits::MEASURE_POINTS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// The instants lie behind its start, the last at or before its end.
    pub span: Window,
    /// From one to the next.
    pub step: Span,
    /// The end of the last closed base window: what is older lies in coarser tiers.
    pub now: Timestamp,
}

impl Range {
    /// What is known at each of the instants of these series together.
    #[must_use]
    pub fn ask(
        self,
        question: &Question,
        store: &Windows,
        facts: &dyn Facts,
        series: &[SeriesId],
    ) -> Vec<(Timestamp, Observation)> {
        let line = self.line(question);
        let view = View { store, facts, series, question, now: self.now };
        let observations = if series.is_empty() {
            vec![Observation::NeverSeen; line.points]
        } else if self.is_swept(question, store) {
            view.line(line, self.age(question))
        } else {
            let ask = |at| question.ask_back(store, facts, series, at, self.now.since(at));
            line.ends().map(ask).collect()
        };
        line.ends().zip(observations).collect()
    }

    /// Windows that are looked at for that, of so many series.
    #[must_use]
    pub fn cost(self, question: &Question, store: &Windows, series: u64) -> u64 {
        let (line, points) = (self.line(question), self.points() as u64);
        let in_tier = |length: Span, age: Span| length.as_millis() / width(store, age).as_millis();
        let each = if self.is_swept(question, store) {
            let joins = points.saturating_mul(line.slices_of_one() as u64) / JOINS;
            let windows = in_tier(line.whole().width(), self.age(question));
            windows.saturating_add(joins).saturating_add(points + FINDING)
        } else {
            // A point of now is answered from the finest tier that keeps its window.
            points.saturating_mul(FINDING + in_tier(question.window, question.window))
        };
        let sides = if question.against.is_some() { 2 } else { 1 };
        series.saturating_mul(each).saturating_mul(sides)
    }

    /// The instants.
    pub fn ends(self) -> impl Iterator<Item = Timestamp> {
        let step = self.step.as_millis();
        let after = move |at: usize| Span::from_millis(step.saturating_mul(at as u64));
        (1..=self.points()).map(move |at| self.span.start + after(at))
    }

    /// How many instants there are.
    #[must_use]
    pub fn points(self) -> usize {
        let points = self.span.width().as_millis().checked_div(self.step.as_millis()).unwrap_or(0);
        usize::try_from(points).unwrap_or(usize::MAX).min(limits::MEASURE_POINTS)
    }

    /// The width of the windows that the whole range is read from, with what it is compared with.
    #[must_use]
    pub fn width(self, question: &Question, store: &Windows) -> Span {
        let reach = question.against.map_or(Span::ZERO, |against| question.reach(against));
        width(store, self.age(question).plus(reach))
    }

    /// How long ago the first window began.
    fn age(self, question: &Question) -> Span {
        self.now.since(self.span.start + self.step - question.window)
    }

    fn line(self, question: &Question) -> Line {
        let (first, points) = (self.span.start + self.step, self.points());
        Line { first, step: self.step, points, width: question.window }
    }

    /// Whether the windows are made of whole windows of the tier, and of few enough slices.
    fn is_swept(self, question: &Question, store: &Windows) -> bool {
        let line = self.line(question);
        // Tiers are multiples of one another: what fits the coarser of two fits the other.
        let width = self.width(question, store);
        question.measure != Measure::Age
            && line.points > 1
            && (line.width <= line.step || line.width.is_multiple_of(line.step))
            && line.slices() <= limits::MEASURE_SLICES
            && [line.width, line.step].iter().all(|length| length.is_multiple_of(width))
            && line.first.align_down(width) == line.first
            && question.against.is_none_or(|against| {
                let runs = line.runs(question, against);
                runs.iter().all(|(_, ago)| ago.is_multiple_of(width))
            })
    }
}

/// The width of the windows of the finest tier that keeps them for `age`.
fn width(store: &Windows, age: Span) -> Span {
    store.tiers().get(tier_for(store.tiers(), age)).map_or(Span::SECOND, |tier| tier.window)
}

/// Windows of one width, one behind the other.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// The end of the first.
    first: Timestamp,
    /// From the end of one to the end of the next.
    step: Span,
    points: usize,
    width: Span,
}

impl Line {
    fn ends(self) -> impl Iterator<Item = Timestamp> {
        (0..self.points as u64).map(move |at| self.first + self.after(at))
    }

    fn after(self, steps: u64) -> Span {
        Span::from_millis(self.step.as_millis().saturating_mul(steps))
    }

    /// From the beginning of the first window to the end of the last.
    fn whole(self) -> Window {
        let last = self.first + self.after((self.points as u64).saturating_sub(1));
        Window { start: self.first - self.width, end: last }
    }

    /// How many slices one window is made of.
    fn slices_of_one(self) -> usize {
        let slices = self.width.as_millis() / self.step.as_millis().max(1);
        usize::try_from(slices).unwrap_or(usize::MAX).max(1)
    }

    fn slices(self) -> usize {
        self.points.saturating_add(self.slices_of_one()).saturating_sub(1)
    }

    /// The slice that a window lies in which begins there; `None` between two windows of the line.
    fn slice(self, start: Timestamp) -> Option<usize> {
        let offset = start.since(self.whole().start).as_millis();
        let step = self.step.as_millis().max(1);
        let is_inside = offset % step < self.width.as_millis();
        usize::try_from(offset / step).ok().filter(|_| is_inside)
    }

    /// The first point at or after an instant.
    fn point(self, end: Timestamp) -> usize {
        let steps = end.since(self.first).as_millis().div_ceil(self.step.as_millis().max(1));
        usize::try_from(steps).unwrap_or(usize::MAX)
    }

    /// The points from the `from`-th on, at most `room` of them.
    fn part(self, from: usize, room: usize) -> Self {
        let points = self.points.saturating_sub(from).min(room);
        Self { first: self.first + self.after(from as u64), points, ..self }
    }

    fn back(self, ago: Span) -> Self {
        Self { first: self.first - ago, ..self }
    }

    /// The points in parts, each with how far back the windows lie that its points are compared with:
    /// one part, but where the zone turned its clocks.
    fn runs(self, question: &Question, against: Against) -> Vec<(Self, Span)> {
        let mut runs: Vec<(Self, Span)> = Vec::new();
        if question.zone.is_none() {
            return vec![(self, question.reach(against))];
        }
        for (at, end) in self.ends().enumerate() {
            let ago = end.since(question.then(against, end));
            match runs.last_mut().filter(|(_, run)| *run == ago) {
                Some((run, _)) => run.points += 1,
                None => runs.push((self.part(at, 1), ago)),
            }
        }
        runs
    }
}

impl View<'_> {
    fn line(&self, line: Line, age: Span) -> Vec<Observation> {
        let measure = self.question.measure;
        let now = self.sweep(line, age);
        let Some(against) = self.question.against else {
            return now.into_iter().map(|reading| reading.judge(measure)).collect();
        };
        let age = age.plus(self.question.reach(against));
        let (step, born) = (self.tier(age).1, self.born());
        let runs = line.runs(self.question, against).into_iter();
        let readings = runs.flat_map(|(run, ago)| {
            let then = run.back(ago);
            self.sweep(then, age).into_iter().zip(then.ends())
        });
        let references = readings.map(|(reading, end)| {
            if lies_before(born, Window::ending(end, line.width), step) {
                return Err(Reason::NoReference);
            }
            reading.reference(measure)
        });
        now.into_iter()
            .zip(references)
            .map(|(now, then)| self.question.compare(now, then))
            .collect()
    }

    /// A reading of each window of the line.
    fn sweep(&self, line: Line, age: Span) -> Vec<Reading> {
        let (tier, _) = self.tier(age);
        let room = if self.question.measure.quantile().is_some() { SPREADS } else { line.points };
        let parts = (0..line.points).step_by(room.max(1)).map(|from| line.part(from, room));
        parts.flat_map(|part| self.sweep_part(part, tier)).collect()
    }

    fn sweep_part(&self, line: Line, tier: usize) -> Vec<Reading> {
        let covered: Vec<_> = line
            .ends()
            .map(|end| self.store.covered(tier, Window::ending(end, line.width)))
            .collect();
        match self.merge_line(line, tier, &covered) {
            Ok(mut all) => {
                let read = all.iter_mut().zip(covered);
                read.map(|(one, covered)| self.measure(one, covered, line.width)).collect()
            }
            Err(error) => line.ends().map(|_| unreadable(&error)).collect(),
        }
    }

    fn merge_line(
        &self,
        line: Line,
        tier: usize,
        covered: &[Span],
    ) -> Result<Vec<Merged>, ReadError> {
        let mut all: Vec<_> = line.ends().map(|_| Merged::nothing()).collect();
        let mut cut = Cut::new(line);
        for id in self.series {
            let known = self.facts.of(*id);
            self.cut(&mut cut, &mut all, tier, *id)?;
            if known.kind == Kind::Counter && self.question.measure == Measure::Last {
                self.fill_shown(&mut cut, tier, *id)?;
                if let Some(last) = cut.shown.last_mut().filter(|_| line.whole().end == self.now) {
                    *last = Shown::Said(known.last());
                }
            }
            for (at, (all, covered)) in all.iter_mut().zip(covered).enumerate() {
                let base_windows = covered.as_millis() / Span::SECOND.as_millis();
                let shown = match cut.shown.get(at) {
                    Some(Shown::Said(shown)) => *shown,
                    _ => None,
                };
                all.take(known.kind, &cut.window(at), shown, base_windows);
            }
        }
        Ok(all)
    }

    /// Cuts what there is of one series into slices.
    fn cut(
        &self,
        cut: &mut Cut,
        all: &mut [Merged],
        tier: usize,
        id: SeriesId,
    ) -> Result<(), ReadError> {
        let (line, is_spread) = (cut.line, self.question.measure.quantile().is_some());
        cut.clear();
        self.store.read(tier, id, line.whole(), |window, record| {
            if let Some(shown) = cut.shown.get_mut(line.point(window.end)) {
                *shown = Shown::Said(record.last());
            }
            let Some(at) = line.slice(window.start) else { return };
            if let Some(slice) = cut.slices.get_mut(at) {
                slice.take(record);
            }
            if is_spread {
                let first = (at + 1).saturating_sub(line.slices_of_one());
                let holding = all.iter_mut().take(at + 1).skip(first);
                holding.for_each(|merged| merged.spread(record));
            }
        })
    }

    /// What a counter shows stays until a record says something else.
    fn fill_shown(&self, cut: &mut Cut, tier: usize, id: SeriesId) -> Result<(), ReadError> {
        let before = self.store.last_before(tier, id, cut.line.whole().start)?;
        let mut shown = before.as_ref().and_then(Record::last);
        for point in &mut cut.shown {
            match point {
                Shown::Unsaid => *point = Shown::Said(shown),
                Shown::Said(said) => shown = *said,
            }
        }
        Ok(())
    }
}

/// What a record says that a counter shows.
#[derive(Clone, Copy)]
enum Shown {
    /// There was no record.
    Unsaid,
    /// A value, or none any more.
    Said(Option<f64>),
}

/// One series along the line; its memory serves for the next one.
struct Cut {
    line: Line,
    slices: Vec<Parts>,
    /// What was shown at the last record before each point, where there was one since the point before.
    shown: Vec<Shown>,
}

impl Cut {
    fn new(line: Line) -> Self {
        let slices = vec![Parts::default(); line.slices()];
        Self { line, slices, shown: vec![Shown::Unsaid; line.points] }
    }

    fn clear(&mut self) {
        self.slices.fill(Parts::default());
        self.shown.fill(Shown::Unsaid);
    }

    fn window(&self, point: usize) -> Parts {
        let mut one = Parts::default();
        let slices = self.slices.iter().skip(point).take(self.line.slices_of_one());
        slices.for_each(|slice| one.join(slice));
        one
    }
}
