//! What a rule would have seen at evenly spaced instants of the past.
//!
//! It is a range, of which also a share may be asked, and whose references may lie in a coarser tier than
//! what is compared with them: they are aligned down to it, as a rule does. A series takes part from its
//! birth on and not before, since the rule did not know it either.

use super::measure::{Reading, View, lies_before};
use super::range::{Line, width};
use super::{Observation, Question, Range, Reason, Side};
use crate::config::{Against, Measure};
use crate::limits;
use crate::rollup::SeriesId;
use crate::store::Windows;
use crate::time::{Span, Timestamp, Window};

/// A question about some series, and where the answers are.
#[derive(Clone, Copy)]
pub struct Course<'a> {
    /// The question.
    pub question: &'a Question,
    /// All windows.
    pub store: &'a Windows,
    /// The series.
    pub part: Side<'a>,
    /// Those that they are divided by.
    pub whole: Option<Side<'a>>,
}

impl Course<'_> {
    /// What was seen at each of the instants; [`Observation::NeverSeen`] before the birth of the first
    /// series. `age` is not asked: see [`Ages`](super::Ages).
    #[must_use]
    pub fn ask(&self, range: Range) -> Vec<Observation> {
        let mut seen = Vec::with_capacity(range.points());
        let cuts = self.cuts(range);
        let ends = cuts.iter().skip(1).copied().chain([range.span.end]);
        for (from, to) in cuts.iter().copied().zip(ends) {
            let [start, end] = [from, to].map(|cut| cut.align_down(range.step));
            let part = Range { span: Window { start, end: end.max(start) }, ..range };
            seen.extend(self.known_at(from, |course| course.stretch(part)));
        }
        seen
    }

    /// What was seen at one instant, read by itself.
    #[must_use]
    pub fn ask_at(&self, instant: Timestamp, now: Timestamp) -> Observation {
        self.known_at(instant - Span::SECOND, |course| course.point(instant, now))
    }

    /// The instants from which on further series take part, and the beginning. Where a series that counted
    /// nothing yet changes nothing, the first birth is enough.
    fn cuts(&self, range: Range) -> Vec<Timestamp> {
        let births = |side: &Side<'_>| side.births();
        let mut cuts = vec![range.span.start];
        if matches!(self.question.measure, Measure::Mean | Measure::Min) {
            cuts.extend(births(&self.part));
            cuts.extend(self.whole.iter().flat_map(births));
        } else {
            cuts.extend(births(&self.part).into_iter().min());
            cuts.extend(self.whole.iter().filter_map(|whole| births(whole).into_iter().min()));
        }
        cuts.retain(|cut| range.span.contains(*cut));
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// The same with the series alone that were born at `instant` or before, where that matters.
    fn known_at<T>(&self, instant: Timestamp, ask: impl FnOnce(&Course<'_>) -> T) -> T {
        let part = self.part.born_by(instant, self.question.measure);
        let whole = self.whole.map(|whole| whole.born_by(instant, self.question.measure));
        let whole = self.whole.zip(whole.as_deref());
        let whole = whole.map(|(of, series)| Side { series, facts: of.facts });
        ask(&Course { part: Side { series: &part, facts: self.part.facts }, whole, ..*self })
    }

    fn stretch(&self, range: Range) -> Vec<Observation> {
        let line = range.line(self.question);
        let age = range.age(self.question);
        if self.part.series.is_empty() {
            vec![Observation::NeverSeen; line.points]
        } else if self.whole.is_some_and(|whole| whole.series.is_empty()) {
            vec![Observation::Unjudged(Reason::NothingToDivideBy); line.points]
        } else if self.whole.is_none() && self.question.against.is_none() {
            let Side { series, facts } = self.part;
            let points = range.ask(self.question, self.store, facts, series);
            points.into_iter().map(|(_, seen)| seen).collect()
        } else if self.is_swept(line, age) {
            self.sweep(line, age, range.now)
        } else {
            line.ends().map(|at| self.point(at, range.now)).collect()
        }
    }

    fn point(&self, instant: Timestamp, now: Timestamp) -> Observation {
        let Self { question, store, part, whole } = *self;
        let back = now.since(instant);
        match whole {
            Some(whole) => question.ask_share(store, part, whole, instant, back),
            None => question.ask_back(store, part.facts, part.series, instant, back),
        }
    }

    /// Whether the windows are made of whole windows of their tier, and of few enough slices; and so are
    /// those that they are compared with.
    fn is_swept(&self, line: Line, age: Span) -> bool {
        let fine = width(self.store, age);
        let coarse = self.question.against.map(|against| self.reference_width(age, against));
        self.question.measure != Measure::Age
            && (line.width <= line.step || line.width.is_multiple_of(line.step))
            && line.slices() <= limits::MEASURE_SLICES
            && [line.width, line.step].iter().all(|length| length.is_multiple_of(fine))
            && line.first.align_down(fine) == line.first
            && coarse.is_none_or(|coarse| line.width.is_multiple_of(coarse))
    }

    fn reference_width(&self, age: Span, against: Against) -> Span {
        width(self.store, age.plus(self.question.reach(against)))
    }

    fn sweep(&self, line: Line, age: Span, now: Timestamp) -> Vec<Observation> {
        let readings = self.readings(line, age, now).into_iter();
        let Some(against) = self.question.against else {
            return readings.map(|reading| reading.judge(self.question.measure)).collect();
        };
        let runs = line.runs(self.question, against).into_iter();
        let then: Vec<_> =
            runs.flat_map(|(run, ago)| self.references(run.back(ago), age, against, now)).collect();
        let compared = readings.zip(then).map(|(reading, then)| {
            let then = then.and_then(|then| then.reference(self.question.measure));
            self.question.compare(reading, then)
        });
        compared.collect()
    }

    /// A reading of each window of the line.
    fn readings(&self, line: Line, age: Span, now: Timestamp) -> Vec<Reading> {
        let part = self.view(self.part, now).sweep(line, age);
        let Some(whole) = self.whole else { return part };
        let whole = self.view(whole, now).sweep(line, age);
        let both = part.into_iter().zip(whole);
        both.map(|(part, whole)| part.over(&whole, self.question.measure)).collect()
    }

    /// The readings that those of a line are compared with: of its windows, aligned down to their tier.
    fn references(
        &self,
        line: Line,
        age: Span,
        against: Against,
        now: Timestamp,
    ) -> Vec<Result<Reading, Reason>> {
        let step = self.reference_width(age, against);
        let aligned = aligned(line, step);
        let readings = self.readings(aligned, age.plus(self.question.reach(against)), now);
        let sides = [Some(self.part), self.whole];
        let births: Vec<_> =
            sides.into_iter().flatten().map(|side| self.view(side, now).born()).collect();
        let reference = |end: Timestamp| {
            let window = Window::ending(end, line.width);
            if births.iter().any(|born| lies_before(*born, window, step)) {
                return Err(Reason::NoReference);
            }
            let place = end.align_down(step).since(aligned.first).as_millis();
            let place = place / aligned.step.as_millis().max(1);
            let at = usize::try_from(place).unwrap_or(usize::MAX);
            readings.get(at).copied().ok_or(Reason::NoReference)
        };
        line.ends().map(reference).collect()
    }

    fn view<'b>(&'b self, side: Side<'b>, now: Timestamp) -> View<'b> {
        let Side { series, facts } = side;
        View { store: self.store, facts, series, question: self.question, now }
    }
}

/// The windows that a line's lie in once both of their ends have moved down to multiples of `step`.
fn aligned(line: Line, step: Span) -> Line {
    if line.step.is_multiple_of(step) {
        return Line { first: line.first.align_down(step), ..line };
    }
    let (first, last) = (line.first, line.ends().last().unwrap_or(line.first));
    let [first, last] = [first, last].map(|end| end.align_down(step));
    let points = last.since(first).as_millis() / step.as_millis().max(1) + 1;
    Line { first, step, points: usize::try_from(points).unwrap_or(usize::MAX), ..line }
}

impl Side<'_> {
    fn births(&self) -> Vec<Timestamp> {
        self.series.iter().map(|id| self.facts.of(*id).born()).collect()
    }

    /// The series that were born at `instant` or before; all of them once one was, where the others change
    /// nothing.
    fn born_by(&self, instant: Timestamp, measure: Measure) -> Vec<SeriesId> {
        let is_born = |id: &&SeriesId| self.facts.of(**id).born() <= instant;
        if matches!(measure, Measure::Mean | Measure::Min) {
            return self.series.iter().filter(is_born).copied().collect();
        }
        let is_any = self.series.iter().any(|id| is_born(&id));
        if is_any { self.series.to_vec() } else { Vec::new() }
    }
}
