//! A question at evenly spaced instants.
//!
//! Where the windows fit the tier, the whole range is read once from the finest tier that holds all of
//! it, cut into slices as long as a step, and each window is put together from its slices; of counters
//! only the sums where these tell all, many groups of series at once (`sums`). Where they do not fit, each
//! point is read by itself, from the finest tier that holds it.

use super::measure::{Merged, Parts, Reading, View, lies_before, unreadable};
use super::sums::{self, Slices, Sums};
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

/// To add up a sum costs about an eighth of that.
const SUMS: u64 = 8;

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
        let mut all = self.ask_all(question, store, facts, &[series]);
        self.instants().zip(all.pop().unwrap_or_default()).collect()
    }

    /// What is known at each of the instants, of each of these groups of series together. Each series
    /// is in one of them.
    #[must_use]
    pub fn ask_all(
        self,
        question: &Question,
        store: &Windows,
        facts: &dyn Facts,
        groups: &[&[SeriesId]],
    ) -> Vec<Vec<Observation>> {
        let line = self.line(question);
        let view = |series| View { store, facts, series, question, now: self.now };
        let is_swept = self.is_swept(question, store);
        let is_summed =
            |view: &View<'_>| is_swept && sums::tell(question.measure, facts, view.series);
        let room = limits::MEASURE_SUMS / line.slices().max(1);
        let mut all = Vec::with_capacity(groups.len());
        for groups in groups.chunks(room.max(1)) {
            let views: Vec<_> = groups.iter().map(|series| view(series)).collect();
            if views.iter().all(is_summed) {
                all.extend(self.sum(line, &views));
            } else {
                all.extend(views.iter().map(|view| self.ask_each(line, view, is_swept)));
            }
        }
        all
    }

    /// What one group comes to by itself, in the finest tier, record by record.
    #[cfg(test)]
    pub(super) fn ask_finest(
        self,
        question: &Question,
        store: &Windows,
        facts: &dyn Facts,
        series: &[SeriesId],
    ) -> Vec<Observation> {
        let view = View { store, facts, series, question, now: self.now };
        self.ask_each(self.line(question), &view, self.is_swept(question, store))
    }

    /// One group by itself.
    fn ask_each(self, line: Line, view: &View<'_>, is_swept: bool) -> Vec<Observation> {
        let View { store, facts, series, question, .. } = *view;
        if series.is_empty() {
            vec![Observation::NeverSeen; line.points]
        } else if is_swept {
            view.line(line, self.age(question))
        } else {
            let ask = |at| question.ask_back(store, facts, series, at, self.now.since(at));
            line.ends().map(ask).collect()
        }
    }

    /// Groups of counters of which sums tell all, together.
    fn sum(self, line: Line, views: &[View<'_>]) -> Vec<Vec<Observation>> {
        let Some(View { store, question, .. }) = views.first() else { return Vec::new() };
        let groups: Vec<_> = views.iter().map(|view| view.series).collect();
        let (sums, age) = (Sums::of(store, &groups), self.age(question));
        let now = sums.read(line, tier_for(store.tiers(), age));
        let reference = question.against.map(|against| {
            let age = age.plus(question.reach(against));
            let runs = line.runs(question, against).into_iter().map(|(run, ago)| run.back(ago));
            let read = |then| (then, sums.read(then, tier_for(store.tiers(), age)));
            (runs.map(read).collect::<Vec<_>>(), age)
        });
        let each = views.iter().enumerate().map(|(at, view)| {
            let now = view.readings(line, &sums, &now, at);
            match &reference {
                None => now.map(|reading| reading.judge(question.measure)).collect(),
                Some((runs, age)) => {
                    let then = runs.iter().flat_map(|(then, read)| {
                        view.readings(*then, &sums, read, at).zip(then.ends())
                    });
                    view.compare_all(now, then, line.width, *age)
                }
            }
        });
        each.collect()
    }

    /// Windows that are looked at for that, of so many series; whether all of them are counters.
    #[must_use]
    pub fn cost(
        self,
        question: &Question,
        store: &Windows,
        series: u64,
        are_counters: bool,
    ) -> u64 {
        let (line, points) = (self.line(question), self.points() as u64);
        let in_tier = |length: Span, age: Span| length.as_millis() / width(store, age).as_millis();
        let is_swept = self.is_swept(question, store);
        let each = if is_swept && are_counters && sums::is_additive(question.measure) {
            let finest = tier_for(store.tiers(), self.age(question));
            let tier = sums::coarsest(store, line, finest);
            let width = store.tiers().get(tier).map_or(Span::SECOND, |tier| tier.window);
            line.whole().width().as_millis() / width.as_millis().max(1) / SUMS + FINDING
        } else if is_swept {
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
    pub fn instants(self) -> impl Iterator<Item = Timestamp> {
        let first = self.span.start + self.step;
        let step = self.step.as_millis();
        (0..self.points() as u64).map(move |at| first + Span::from_millis(step.saturating_mul(at)))
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
    pub(super) fn age(self, question: &Question) -> Span {
        self.now.since(self.span.start + self.step - question.window)
    }

    pub(super) fn line(self, question: &Question) -> Line {
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
            && line.is_made_of(width)
            && question.against.is_none_or(|against| {
                let runs = line.runs(question, against);
                runs.iter().all(|(_, ago)| ago.is_multiple_of(width))
            })
    }
}

/// The width of the windows of the finest tier that keeps them for `age`.
pub(super) fn width(store: &Windows, age: Span) -> Span {
    store.tiers().get(tier_for(store.tiers(), age)).map_or(Span::SECOND, |tier| tier.window)
}

/// Windows of one width, one behind the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    /// The end of the first.
    pub(super) first: Timestamp,
    /// From the end of one to the end of the next.
    pub(super) step: Span,
    pub(super) points: usize,
    pub(super) width: Span,
}

impl Line {
    pub(super) fn ends(self) -> impl Iterator<Item = Timestamp> {
        (0..self.points as u64).map(move |at| self.first + self.after(at))
    }

    fn after(self, steps: u64) -> Span {
        Span::from_millis(self.step.as_millis().saturating_mul(steps))
    }

    /// From the beginning of the first window to the end of the last.
    pub(super) fn whole(self) -> Window {
        let last = self.first + self.after((self.points as u64).saturating_sub(1));
        Window { start: self.first - self.width, end: last }
    }

    /// Whether each of them is made of windows of a tier that are so long.
    pub(super) fn is_made_of(self, width: Span) -> bool {
        [self.width, self.step].iter().all(|length| length.is_multiple_of(width))
            && self.first.align_down(width) == self.first
    }

    /// How many slices one window is made of.
    pub(super) fn slices_of_one(self) -> usize {
        let slices = self.width.as_millis() / self.step.as_millis().max(1);
        usize::try_from(slices).unwrap_or(usize::MAX).max(1)
    }

    pub(super) fn slices(self) -> usize {
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

    pub(super) fn back(self, ago: Span) -> Self {
        Self { first: self.first - ago, ..self }
    }

    /// The points in parts, each with how far back the windows lie that its points are compared with:
    /// one part, but where the zone turned its clocks.
    pub(super) fn runs(self, question: &Question, against: Against) -> Vec<(Self, Span)> {
        let mut runs: Vec<(Self, Span)> = Vec::new();
        if question.zone.is_none() {
            return vec![(self, question.reach(against))];
        }
        for (at, end) in self.ends().enumerate() {
            let ago = end.since(question.reference_end(against, end));
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
        let runs = line.runs(self.question, against).into_iter();
        let readings = runs.flat_map(|(run, ago)| {
            let then = run.back(ago);
            self.sweep(then, age).into_iter().zip(then.ends())
        });
        self.compare_all(now.into_iter(), readings, line.width, age)
    }

    /// What comes of readings beside those of windows before, of which the first began so long ago.
    fn compare_all(
        &self,
        now: impl Iterator<Item = Reading>,
        then: impl Iterator<Item = (Reading, Timestamp)>,
        width: Span,
        age: Span,
    ) -> Vec<Observation> {
        let (step, born) = (self.tier(age).1, self.born());
        let references = then.map(|(reading, end)| {
            if lies_before(born, Window::ending(end, width), step) {
                return Err(Reason::NoReference);
            }
            reading.reference(self.question.measure)
        });
        now.zip(references).map(|(now, then)| self.question.compare(now, then)).collect()
    }

    /// A reading of each window of the line, from the sums of a group.
    fn readings(
        &self,
        line: Line,
        sums: &Sums<'_>,
        read: &Result<Slices, ReadError>,
        group: usize,
    ) -> impl Iterator<Item = Reading> {
        let (read, error) = match read {
            Ok(slices) => (Some(sums.windows(slices, group)), None),
            Err(error) => (None, Some(line.ends().map(move |_| unreadable(error)))),
        };
        let measured = read.into_iter().flatten();
        let measured =
            measured.map(move |(mut all, known)| self.measure(&mut all, known, line.width));
        measured.chain(error.into_iter().flatten())
    }

    /// A reading of each window of the line.
    pub(super) fn sweep(&self, line: Line, age: Span) -> Vec<Reading> {
        let (tier, _) = self.tier(age);
        let room = if self.question.measure.quantile().is_some() { SPREADS } else { line.points };
        let parts = (0..line.points).step_by(room.max(1)).map(|from| line.part(from, room));
        parts.flat_map(|part| self.sweep_part(part, tier)).collect()
    }

    fn sweep_part(&self, line: Line, tier: usize) -> Vec<Reading> {
        let covered: Vec<_> = line
            .ends()
            .map(|end| {
                let window = Window::ending(end, line.width);
                self.store.covered_of(tier, window, self.series)
            })
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
