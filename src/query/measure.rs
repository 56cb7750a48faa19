//! The measures: windows merged per series, then over series.
//!
//! | measure | counter | gauge | distribution | several series |
//! |---|---|---|---|---|
//! | sum | increments | – | sum of the observations | added |
//! | rate | increments | – | number of observations | added |
//! | count | number of increments | number of sets | number of observations | added |
//! | mean | of the base windows' sums | of the values | of the observations | of all together |
//! | min, max | of the base windows' sums | of the values | of the observations | least, greatest |
//! | last | value shown | value set last | last observation | added |
//! | age | seconds since the last update | same | same | the youngest |
//! | p50 … p99.9 | – | – | of the merged histogram | merged |

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::{COVERED_MIN, Facts, Observation, Question, Reason};
use crate::config::{Measure, Tier};
use crate::counters::cells::Kind;
use crate::histogram::Gathering;
use crate::rollup::{Counts, Record, SeriesId, Values};
use crate::store::{ReadError, Windows, tier_for};
use crate::time::{Span, Timestamp, Window};

/// A question with all that it takes to answer it.
pub(super) struct View<'a> {
    pub(super) store: &'a Windows,
    pub(super) facts: &'a dyn Facts,
    pub(super) series: &'a [SeriesId],
    pub(super) question: &'a Question,
    /// The end of the last closed base window; what was shown before is told by records alone.
    pub(super) now: Timestamp,
}

/// The answer for one window, before anybody asks whether it may be judged.
#[derive(Clone, Copy)]
pub(super) struct Reading {
    /// `None` where nothing was set.
    pub(super) value: Option<f64>,
    /// What the floor is compared with.
    pub(super) weight: f64,
    /// The share of the window that is known, 0 to 1.
    pub(super) covered: f64,
    /// Why the value, if any, says nothing.
    pub(super) fault: Option<Reason>,
    /// What was counted is more than a window holds, and the value is this or more.
    pub(super) is_beyond: bool,
}

/// A reading that may be judged.
pub(super) struct Judged {
    pub(super) value: f64,
    pub(super) weight: f64,
    pub(super) covered: f64,
}

/// All series of the view in one window.
#[derive(Default)]
pub(super) struct Merged {
    pub(super) counters: u32,
    pub(super) counts: Option<Counts>,
    /// The least base window over all counters; zero where one of them had an idle one.
    pub(super) counts_min: u64,
    /// What gauges were set to.
    pub(super) values: Option<Values>,
    pub(super) distributions: u32,
    pub(super) observed: Option<Values>,
    /// How the observations were spread, where that is asked for.
    pub(super) spread: Option<Gathering>,
    /// The quantile that is asked for, where it is known already.
    pub(super) quantile: Option<f64>,
    pub(super) last_sum: Option<f64>,
}

/// One series in the window, each kind of record by itself.
#[derive(Clone, Default)]
pub(super) struct Parts {
    counts: Option<Counts>,
    values: Option<Values>,
    observed: Option<Values>,
}

impl View<'_> {
    /// Reads `window` from the finest tier that keeps windows for `age`. Where that is not the base,
    /// both ends move down to its step, so the length stays.
    pub(super) fn read(&self, window: Window, age: Span, instant: Timestamp) -> Reading {
        let (tier, step) = self.tier(age);
        self.read_stretches(tier, 1, window.align_down(step), instant)
    }

    /// The same of a window that ends now. What the tier has not closed yet is answered from its
    /// finer parts: only the beginning moves, and the window is less than a step longer.
    pub(super) fn read_latest(&self, window: Window, instant: Timestamp) -> Reading {
        let (tier, step) = self.tier(window.width());
        let start = window.start.align_down(step);
        self.read_stretches(tier, tier + 1, Window { start, end: window.end }, instant)
    }

    /// The finest tier that keeps windows for `age`, and its step.
    pub(super) fn tier(&self, age: Span) -> (usize, Span) {
        let tier = tier_for(self.store.tiers(), age);
        (tier, self.step(tier))
    }

    fn step(&self, tier: usize) -> Span {
        step(self.store.tiers(), tier)
    }

    /// Reads what `tier` has closed of a window, and the rest from so many tiers in all, one finer
    /// than the other.
    fn read_stretches(
        &self,
        tier: usize,
        tiers: usize,
        window: Window,
        instant: Timestamp,
    ) -> Reading {
        if self.question.measure == Measure::Age {
            return self.age(instant);
        }
        if window.width().is_zero() {
            // It is shorter than what is kept of that time.
            return Reading::unknown(None);
        }
        let stretches = stretches(self.store.tiers(), tier, tiers, window);
        let covered = stretches.clone().fold(Span::ZERO, |sum, (tier, stretch)| {
            sum.plus(self.store.covered_of(tier, stretch, self.series))
        });
        match self.merge(&stretches, covered, window.end) {
            Ok(mut merged) => self.measure(&mut merged, covered, window.width()),
            Err(error) => unreadable(&error),
        }
    }

    /// Reads a window to compare with. `Err` where there is nothing to compare with.
    pub(super) fn read_reference(
        &self,
        window: Window,
        age: Span,
        instant: Timestamp,
    ) -> Result<Judged, Reason> {
        if lies_before(self.born(), window, self.tier(age).1) {
            return Err(Reason::NoReference);
        }
        self.read(window, age, instant).reference(self.question.measure)
    }

    /// The birth of the first of the series.
    pub(super) fn born(&self) -> Option<Timestamp> {
        self.series.iter().map(|id| self.facts.of(*id).born()).min()
    }

    fn merge(
        &self,
        stretches: &(impl Iterator<Item = (usize, Window)> + Clone),
        covered: Span,
        end: Timestamp,
    ) -> Result<Merged, ReadError> {
        let base_windows = covered.as_millis() / Span::SECOND.as_millis();
        let mut all = Merged::nothing();
        for id in self.series {
            let known = self.facts.of(*id);
            let mut one = Parts::default();
            for (tier, stretch) in stretches.clone() {
                self.store.read(tier, *id, stretch, |_, record| {
                    one.take(record);
                    if self.question.measure.quantile().is_some() {
                        all.spread(record);
                    }
                })?;
            }
            let shown = match known.kind {
                Kind::Counter if self.question.measure != Measure::Last => None,
                Kind::Counter if end == self.now => known.last(),
                Kind::Counter => self.shown_before(stretches.clone(), *id, end)?,
                Kind::Gauge | Kind::Distribution => None,
            };
            all.take(known.kind, &one, shown, base_windows);
        }
        Ok(all)
    }

    /// What a counter showed at `end`, from the coarsest of the tiers.
    fn shown_before(
        &self,
        mut stretches: impl Iterator<Item = (usize, Window)>,
        id: SeriesId,
        end: Timestamp,
    ) -> Result<Option<f64>, ReadError> {
        let tier = stretches.next().map_or(0, |(tier, _)| tier);
        let before = self.store.last_before(tier, id, end)?;
        Ok(before.as_ref().and_then(Record::last))
    }

    #[expect(
        clippy::cast_precision_loss,
        reason = "measures are doubles; counts stay exact to 2^53"
    )]
    pub(super) fn measure(&self, all: &mut Merged, covered: Span, width: Span) -> Reading {
        let share = covered.as_secs_f64() / width.as_secs_f64();
        let sums_known = share.clamp(f64::MIN_POSITIVE, 1.0);
        // Below nine tenths nothing is divided: what was seen is a lower bound as it stands.
        let divisor = if share >= COVERED_MIN { sums_known } else { 1.0 };
        let counts = all.counts.filter(|_| all.counters > 0);
        let counted = counts.map_or(0.0, |c| c.sum as f64) / divisor;
        let observed = all.observed.map_or(0, |values| values.count) as f64 / divisor;
        // Without a counter nothing is known to have been zero.
        let is_known = all.counters > 0 || all.observed.is_some();
        let set = merged(all.values, all.observed);
        let applies = match self.question.measure {
            Measure::Sum | Measure::Rate => all.counters > 0 || all.distributions > 0,
            measure => measure.quantile().is_none() || all.distributions > 0,
        };
        let value = match self.question.measure {
            _ if !applies => None,
            Measure::Sum => all.sum(share).filter(|_| is_known).map(|sum| counted + sum / divisor),
            Measure::Rate => is_known
                .then(|| (counted + observed) / width.as_secs_f64() * self.question.per.secs()),
            Measure::Count => {
                let set = set.map_or(0, |values| values.count) as f64 / divisor;
                let added = counts.map_or(0, |c| c.count) as f64 / divisor;
                (all.counters > 0 || set > 0.0).then_some(added + set)
            }
            Measure::Mean => mean(all, counts, covered),
            Measure::Min => least(
                counts.is_some().then_some(all.counts_min as f64),
                set.map(|values| values.min),
            ),
            Measure::Max => {
                let (a, b) = (counts.map(|c| c.max as f64), set.map(|values| values.max));
                least(a.map(|v| -v), b.map(|v| -v)).map(|v| -v)
            }
            Measure::Last => all.last_sum,
            Measure::Age => None,
            Measure::P50 | Measure::P90 | Measure::P95 | Measure::P99 | Measure::P999 => {
                all.quantile(self.question.measure)
            }
        };
        let weight = match self.question.measure {
            _ if all.counters > 0 => counted,
            _ if all.distributions > 0 => observed,
            _ => value.unwrap_or(0.0).abs(),
        };
        let fault = (!applies).then_some(Reason::WrongKind);
        let of_sums = matches!(self.question.measure, Measure::Sum | Measure::Rate | Measure::Mean);
        // Sums stop at the greatest number that there is.
        let is_beyond = of_sums && counts.is_some_and(|counts| counts.sum == u64::MAX);
        Reading { value, weight, covered: share, fault, is_beyond }
    }

    fn age(&self, instant: Timestamp) -> Reading {
        let youngest = self.series.iter().map(|id| self.facts.of(*id).updated()).max();
        let value = youngest.map(|updated| instant.since(updated).as_secs_f64());
        Reading { value, weight: 0.0, covered: 1.0, fault: None, is_beyond: false }
    }
}

/// The width of a tier's windows.
pub(super) fn step(tiers: &[Tier], tier: usize) -> Span {
    tiers.get(tier).map_or(Span::SECOND, |tier| tier.window)
}

/// What `tier` has closed of a window, and what finer ones have closed of the rest: so many tiers in all,
/// one finer than the other.
pub(super) fn stretches(
    tiers: &[Tier],
    tier: usize,
    number: usize,
    window: Window,
) -> impl Iterator<Item = (usize, Window)> + Clone {
    let mut from = window.start;
    (0..=tier).rev().take(number).map(move |tier| {
        let end = window.end.align_down(step(tiers, tier)).max(from);
        (tier, Window { start: std::mem::replace(&mut from, end), end })
    })
}

/// Whether a window begins before that birth, in a tier of this step.
pub(super) fn lies_before(born: Option<Timestamp>, window: Window, step: Span) -> bool {
    born.is_none_or(|born| window.align_down(step).start < born.align_down(step))
}

impl Parts {
    /// The same with what came after it.
    pub(super) fn join(&mut self, later: &Self) {
        self.counts = match (self.counts, later.counts) {
            (Some(a), Some(b)) => Some(a.then(b)),
            (one, other) => one.or(other),
        };
        self.values = merged(self.values, later.values);
        self.observed = merged(self.observed, later.observed);
    }

    pub(super) fn take(&mut self, record: &Record) {
        match record {
            Record::Counts(counts) => {
                self.counts = Some(self.counts.map_or(*counts, |before| before.then(*counts)));
            }
            Record::Values(values) => self.values = merged(self.values, Some(*values)),
            Record::Distribution(values, _) => self.observed = merged(self.observed, Some(*values)),
        }
    }
}

/// Each instance of each rule would say it every second.
fn tell_once(error: &ReadError) {
    static IS_TOLD: AtomicBool = AtomicBool::new(false);
    if !IS_TOLD.swap(true, Relaxed) {
        tracing::error!(%error, "history cannot be read; what depends on it is not judged");
    }
}

impl Merged {
    /// No series yet.
    pub(super) fn nothing() -> Self {
        Self { counts_min: u64::MAX, ..Self::default() }
    }

    /// So many counters that were incremented by `sum` together, of which no more is known.
    pub(super) fn counted(counters: u32, sum: u64) -> Self {
        let counts = Some(Counts { touched: 0, ..Counts::base(sum, 0, None) });
        Self { counters, counts, ..Self::default() }
    }

    /// Takes in how the observations of a record were spread.
    pub(super) fn spread(&mut self, record: &Record) {
        if let Record::Distribution(_, spread) = record {
            self.spread.get_or_insert_with(|| Gathering::new(*spread.layout())).add(spread);
        }
    }

    /// Takes in one series; `shown` is what a counter showed at the end.
    pub(super) fn take(&mut self, kind: Kind, one: &Parts, shown: Option<f64>, base_windows: u64) {
        let last = match kind {
            Kind::Counter => shown,
            Kind::Gauge => one.values.map(|values| values.last),
            Kind::Distribution => one.observed.map(|values| values.last),
        };
        if let Some(last) = last {
            self.last_sum = Some(self.last_sum.unwrap_or(0.0) + last);
        }
        match kind {
            Kind::Counter => {
                self.counters += 1;
                // Known and without a record: it was up, and it was zero.
                let zero = Counts { touched: 0, ..Counts::base(0, 0, None) };
                let counts = one.counts.unwrap_or(zero);
                let had_idle = u64::from(counts.touched) < base_windows || one.counts.is_none();
                self.counts_min = self.counts_min.min(if had_idle { 0 } else { counts.min });
                self.counts = Some(self.counts.map_or(counts, |before| before.then(counts)));
            }
            Kind::Gauge => self.values = merged(self.values, one.values),
            Kind::Distribution => {
                self.distributions += 1;
                self.observed = merged(self.observed, one.observed);
            }
        }
    }

    /// The sum of all observations; `None` where it could still come to less than what was seen.
    fn sum(&self, share: f64) -> Option<f64> {
        let observed =
            self.observed.unwrap_or(Values { sum: 0.0, count: 0, min: 0.0, max: 0.0, last: 0.0 });
        (share >= COVERED_MIN || observed.min >= 0.0).then_some(observed.sum)
    }

    /// Never beyond what occurred, where the histogram's last figure would be.
    fn quantile(&mut self, measure: Measure) -> Option<f64> {
        let observed = self.observed?;
        let value = match self.quantile {
            Some(value) => value,
            None => self.spread.take()?.finish().quantile(measure.quantile()?)?,
        };
        Some(value.min(observed.max).max(observed.min))
    }
}

fn merged(a: Option<Values>, b: Option<Values>) -> Option<Values> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.then(b)),
        (one, other) => one.or(other),
    }
}

/// Of all together: the base windows of every counter, every value set, and every observation.
#[expect(clippy::cast_precision_loss, reason = "measures are doubles; counts stay exact to 2^53")]
fn mean(all: &Merged, counts: Option<Counts>, covered: Span) -> Option<f64> {
    let windows = covered.as_secs_f64() * f64::from(all.counters);
    let (sum, number) = match (counts, merged(all.values, all.observed)) {
        (Some(counts), Some(values)) => {
            (counts.sum as f64 + values.sum, windows + values.count as f64)
        }
        (Some(counts), None) => (counts.sum as f64, windows),
        (None, Some(values)) => (values.sum, values.count as f64),
        (None, None) => return None,
    };
    (number > 0.0).then(|| sum / number)
}

fn least(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// What cannot be read is not judged.
pub(super) fn unreadable(error: &ReadError) -> Reading {
    tell_once(error);
    Reading::unknown(Some(Reason::Unreadable))
}

impl Reading {
    pub(super) fn unknown(fault: Option<Reason>) -> Self {
        Self { value: None, weight: 0.0, covered: 0.0, fault, is_beyond: false }
    }

    /// What there is to compare with. `Err` where there is nothing.
    pub(super) fn reference(self, measure: Measure) -> Result<Judged, Reason> {
        self.judged(measure).map_err(|other| match other {
            Observation::Unjudged(reason) => reason,
            Observation::AtLeast(_) => Reason::Gap,
            _ => Reason::NoReference,
        })
    }

    /// The observation that it amounts to.
    pub(super) fn judge(self, measure: Measure) -> Observation {
        match self.judged(measure) {
            Ok(Judged { value, covered, .. }) => Observation::Value { value, covered },
            Err(observation) => observation,
        }
    }

    /// The reading where it may be judged; otherwise what can be said instead.
    pub(super) fn judged(self, measure: Measure) -> Result<Judged, Observation> {
        if let Some(reason) = self.fault {
            return Err(Observation::Unjudged(reason));
        }
        let needs_cover = !matches!(measure, Measure::Last | Measure::Age);
        if needs_cover && self.covered < COVERED_MIN {
            let is_bound =
                matches!(measure, Measure::Sum | Measure::Count | Measure::Rate | Measure::Max);
            return Err(match self.value {
                Some(value) if is_bound => Observation::AtLeast(value),
                _ => Observation::Unjudged(Reason::Gap),
            });
        }
        match self.value {
            Some(value) if self.is_beyond => Err(Observation::AtLeast(value)),
            Some(value) => {
                let covered = if needs_cover { self.covered.min(1.0) } else { 1.0 };
                Ok(Judged { value, weight: self.weight, covered })
            }
            None => Err(Observation::Missing),
        }
    }
}
