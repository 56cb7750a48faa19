//! What a sliding window of one group of series comes to: records enter at its end and leave at its
//! beginning, each once.
//!
//! Increments are summed in whole numbers, doubles exactly, so nothing remains of what has left. Only what
//! the measure asks for is kept. What does not fit the sums (a series that changed its kind, numbers near
//! the end of what a double or 64 bits can hold, histograms of two layouts) makes the slot *odd* for as long
//! as it is in the window; an odd slot is not to be used.

use super::exact::{Exact, is_tame};
use super::greatest::Greatest;
use crate::config::Measure;
use crate::counters::cells::Kind;
use crate::histogram::Balance;
use crate::query::measure::Merged;
use crate::rollup::{Counts, Record, Values};
use crate::time::{Span, Timestamp};

/// What of records a measure needs.
#[expect(clippy::struct_excessive_bools, reason = "a list of what there may be")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Needs {
    /// The sum of doubles.
    sums: bool,
    /// Each series by itself.
    members: bool,
    least: bool,
    greatest: bool,
    spread: bool,
}

impl Needs {
    fn of(measure: Measure) -> Self {
        let spread = measure.quantile().is_some();
        Self {
            sums: matches!(measure, Measure::Sum | Measure::Mean),
            members: matches!(measure, Measure::Min | Measure::Last),
            least: spread || measure == Measure::Min,
            greatest: spread || measure == Measure::Max,
            spread,
        }
    }
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    needs: Needs,
    kinds: Kinds,
    /// The first birth among its series.
    born: Option<Timestamp>,
    sum: u128,
    count: u128,
    set: Option<Box<Floats>>,
    observed: Option<Box<Floats>>,
    edges: Option<Box<Edges>>,
    spread: Option<Box<Balance>>,
    members: Vec<Member>,
    series: u32,
    /// The beginning of the last window with something in it that does not fit.
    odd: Option<Timestamp>,
    /// Whether it holds what is in the window.
    pub(super) is_built: bool,
    /// It would take more memory than there is for it: it is not kept.
    pub(super) is_refused: bool,
}

/// How many of its series are of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Kinds {
    counters: u32,
    gauges: u32,
    distributions: u32,
}

impl Kinds {
    fn of(&mut self, kind: Kind) -> &mut u32 {
        match kind {
            Kind::Counter => &mut self.counters,
            Kind::Gauge => &mut self.gauges,
            Kind::Distribution => &mut self.distributions,
        }
    }
}

/// Values that were set, or observed.
#[derive(Clone, Debug, Default)]
struct Floats {
    records: u64,
    count: u128,
    sum: Exact,
    /// Records with a value below zero.
    negative: u64,
}

/// Least values are kept as the greatest of their negatives.
#[derive(Clone, Debug, Default)]
struct Edges {
    counts_least: Greatest,
    counts_greatest: Greatest,
    set_least: Greatest,
    set_greatest: Greatest,
}

/// One series of the group.
#[derive(Clone, Copy, Debug)]
struct Member {
    kind: Kind,
    touched: u32,
    last: Option<(Timestamp, f64)>,
}

impl Slot {
    /// No series yet, and nothing in the window.
    pub(super) fn new(measure: Measure) -> Self {
        Self {
            needs: Needs::of(measure),
            kinds: Kinds::default(),
            born: None,
            sum: 0,
            count: 0,
            set: None,
            observed: None,
            edges: None,
            spread: None,
            members: Vec::new(),
            series: 0,
            odd: None,
            is_built: true,
            is_refused: false,
        }
    }

    /// Takes in a series without anything in the window; its number among the others.
    pub(super) fn join(&mut self, kind: Kind, born: Timestamp) -> u32 {
        *self.kinds.of(kind) += 1;
        self.born = Some(self.born.map_or(born, |first| first.min(born)));
        if self.needs.members {
            self.members.push(Member { kind, touched: 0, last: None });
        }
        self.series += 1;
        self.series - 1
    }

    /// Notes that a series is of another kind from now on; what begins before `end` is of the old one.
    pub(super) fn turn(&mut self, member: u32, from: Kind, to: Kind, end: Timestamp) {
        *self.kinds.of(from) -= 1;
        *self.kinds.of(to) += 1;
        if let Some(member) = self.member(member) {
            member.kind = to;
        }
        self.note_odd(end);
    }

    fn member(&mut self, member: u32) -> Option<&mut Member> {
        self.members.get_mut(member as usize)
    }

    fn note_odd(&mut self, start: Timestamp) {
        self.odd = Some(self.odd.map_or(start, |odd| odd.max(start)));
    }

    /// The first birth among its series.
    pub(super) fn born(&self) -> Option<Timestamp> {
        self.born
    }

    /// Whether it says what is in the window that begins at `start`.
    pub(super) fn is_sound(&self, start: Timestamp) -> bool {
        self.is_built && self.odd.is_none_or(|odd| odd < start)
    }

    /// Forgets what is in the window.
    pub(super) fn clear(&mut self) {
        (self.sum, self.count, self.odd) = (0, 0, None);
        (self.set, self.observed, self.edges, self.spread) = (None, None, None, None);
        for member in &mut self.members {
            (member.touched, member.last) = (0, None);
        }
        self.is_built = false;
    }

    /// What its histogram takes.
    pub(super) fn bytes(&self) -> usize {
        self.spread.as_ref().map_or(0, |spread| spread.bytes())
    }

    /// A record of one of its series comes in. Those of one series come in order of time.
    pub(super) fn enter(&mut self, start: Timestamp, member: u32, kind: Kind, record: &Record) {
        if !fits(kind, record) || !is_plain(record) {
            self.note_odd(start);
        }
        let last = record.last().filter(|_| kind != Kind::Counter);
        if let Some(member) = self.member(member) {
            member.last = last.map(|last| (start, last)).or(member.last);
        }
        match record {
            Record::Counts(counts) => self.enter_counts(start, member, counts),
            Record::Values(values) => {
                let needs = self.needs;
                self.set.get_or_insert_default().enter(needs, values);
                if !needs.spread {
                    self.enter_edges(start, values);
                }
            }
            Record::Distribution(values, spread) => {
                self.observed.get_or_insert_default().enter(self.needs, values);
                self.enter_edges(start, values);
                if !self.needs.spread {
                    return;
                }
                let layout = *spread.layout();
                let sum = self.spread.get_or_insert_with(|| Box::new(Balance::new(layout)));
                if *sum.layout() == layout {
                    sum.add(spread);
                } else {
                    self.note_odd(start);
                }
            }
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "measures are doubles")]
    fn enter_counts(&mut self, start: Timestamp, member: u32, counts: &Counts) {
        self.sum += u128::from(counts.sum);
        self.count += u128::from(counts.count);
        if let Some(member) = self.member(member) {
            member.touched = member.touched.saturating_add(counts.touched);
        }
        if self.needs.spread {
            return;
        }
        if self.needs.least {
            let edges = self.edges.get_or_insert_default();
            edges.counts_least.enter(start, -(counts.min as f64));
        }
        if self.needs.greatest {
            let edges = self.edges.get_or_insert_default();
            edges.counts_greatest.enter(start, counts.max as f64);
        }
    }

    fn enter_edges(&mut self, start: Timestamp, values: &Values) {
        if self.needs.least {
            self.edges.get_or_insert_default().set_least.enter(start, -values.min);
        }
        if self.needs.greatest {
            self.edges.get_or_insert_default().set_greatest.enter(start, values.max);
        }
    }

    /// A record goes that came in before. Records leave in order of time.
    pub(super) fn leave(&mut self, start: Timestamp, member: u32, kind: Kind, record: &Record) {
        if let Some(member) = self.member(member) {
            member.last = member.last.filter(|(at, _)| *at > start);
        }
        match record {
            Record::Counts(counts) => {
                self.sum = self.sum.saturating_sub(counts.sum.into());
                self.count = self.count.saturating_sub(counts.count.into());
                if let Some(member) = self.member(member) {
                    member.touched = member.touched.saturating_sub(counts.touched);
                }
            }
            Record::Values(values) => {
                leave(&mut self.set, self.needs, values);
                // A histogram that was too long for its chunk: it came in as something else.
                self.is_built &= kind != Kind::Distribution;
            }
            Record::Distribution(values, spread) => {
                leave(&mut self.observed, self.needs, values);
                if let Some(sum) = self.spread.as_mut().filter(|s| s.layout() == spread.layout()) {
                    sum.take(spread);
                    if sum.is_empty() {
                        // Where another layout has come, it is the one from now on.
                        self.spread = None;
                        self.is_built &= self.odd.is_none();
                    }
                }
            }
        }
        if let Some(edges) = &mut self.edges {
            let behind = start + Span::from_millis(1);
            let Edges { counts_least, counts_greatest, set_least, set_greatest } = &mut **edges;
            for edge in [counts_least, counts_greatest, set_least, set_greatest] {
                self.is_built &= edge.leave(behind);
            }
        }
    }
}

fn leave(floats: &mut Option<Box<Floats>>, needs: Needs, values: &Values) {
    if let Some(some) = floats {
        some.leave(needs, values);
        if some.records == 0 {
            *floats = None;
        }
    }
}

/// Whether a record is what a series of this kind has.
fn fits(kind: Kind, record: &Record) -> bool {
    matches!(
        (kind, record),
        (Kind::Counter, Record::Counts(_))
            | (Kind::Gauge, Record::Values(_))
            | (Kind::Distribution, Record::Distribution(..))
    )
}

/// Whether its numbers are far from the end of what can be held.
fn is_plain(record: &Record) -> bool {
    match record {
        Record::Counts(counts) => counts.sum < u64::MAX && counts.count < u64::MAX,
        Record::Values(values) | Record::Distribution(values, _) => {
            let doubles = [values.sum, values.min, values.max, values.last];
            doubles.into_iter().all(is_tame) && values.count < u64::MAX
        }
    }
}

impl Floats {
    fn enter(&mut self, needs: Needs, values: &Values) {
        self.records += 1;
        self.count += u128::from(values.count);
        self.negative += u64::from(values.min < 0.0);
        if needs.sums && is_tame(values.sum) {
            self.sum.add(values.sum);
        }
    }

    fn leave(&mut self, needs: Needs, values: &Values) {
        self.records = self.records.saturating_sub(1);
        self.count = self.count.saturating_sub(values.count.into());
        self.negative = self.negative.saturating_sub(u64::from(values.min < 0.0));
        if needs.sums && is_tame(values.sum) {
            self.sum.add(-values.sum);
        }
    }
}

/// One window that lies in several slots, one behind the other in time.
#[derive(Clone, Debug)]
pub(super) struct Together<S> {
    slots: S,
}

impl<'a, S: Iterator<Item = &'a Slot> + Clone> Together<S> {
    pub(super) fn new(slots: S) -> Self {
        Self { slots }
    }

    /// What it comes to, for this measure. `shown` says what a counter shows, by its number among the
    /// series of the group; `None` where the slots do not fit together.
    pub(super) fn merged(
        &self,
        measure: Measure,
        base_windows: u64,
        shown: impl Fn(usize) -> Option<f64>,
    ) -> Option<Merged> {
        let first = self.slots.clone().next()?;
        let Kinds { counters, gauges, distributions } = first.kinds;
        let mut merged = Merged { counters, distributions, ..Merged::nothing() };
        if counters > 0 {
            merged.counts = Some(self.counts());
        }
        if measure == Measure::Min && counters > 0 {
            merged.counts_min = self.counts_min(base_windows);
        }
        if measure == Measure::Last {
            merged.last_sum = self.last_sum(first, shown);
        }
        merged.values = self.values(|slot| slot.set.as_deref()).filter(|_| gauges > 0);
        merged.observed =
            self.values(|slot| slot.observed.as_deref()).filter(|_| distributions > 0);
        if let Some(quantile) = measure.quantile() {
            if !self.have_one_layout() {
                return None;
            }
            merged.quantile = self.quantile(quantile);
        }
        Some(merged)
    }

    fn edge(&self, edge: impl Fn(&Edges) -> &Greatest) -> Option<f64> {
        let values = self.slots.clone().filter_map(|slot| edge(slot.edges.as_deref()?).value());
        values.reduce(f64::max)
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a whole number, and becomes the same double again"
    )]
    fn counts(&self) -> Counts {
        let (sum, count) = self
            .slots
            .clone()
            .fold((0_u128, 0_u128), |(sum, count), slot| (sum + slot.sum, count + slot.count));
        let max = self.edge(|edges| &edges.counts_greatest).map_or(0, |max| max as u64);
        let whole = |number: u128| u64::try_from(number).unwrap_or(u64::MAX);
        Counts { sum: whole(sum), count: whole(count), touched: 0, min: 0, max, last: None }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it was a whole number, and becomes the same double again"
    )]
    fn counts_min(&self, base_windows: u64) -> u64 {
        let members = self.slots.clone().next().map_or(0, |slot| slot.members.len());
        let had_idle = (0..members).any(|at| {
            let of = self.slots.clone().filter_map(|slot| slot.members.get(at));
            let touched: u64 = of.clone().map(|member| u64::from(member.touched)).sum();
            let is_counter = of.last().is_some_and(|member| member.kind == Kind::Counter);
            is_counter && (touched < base_windows || touched == 0)
        });
        match self.edge(|edges| &edges.counts_least) {
            Some(least) if !had_idle => -least as u64,
            _ => 0,
        }
    }

    fn last_sum(&self, first: &Slot, shown: impl Fn(usize) -> Option<f64>) -> Option<f64> {
        let lasts = first.members.iter().enumerate().filter_map(|(at, member)| {
            if member.kind == Kind::Counter {
                return shown(at);
            }
            let set = self.slots.clone().filter_map(|slot| slot.members.get(at)?.last);
            set.last().map(|(_, last)| last)
        });
        lasts.fold(None, |sum, last| Some(sum.unwrap_or(0.0) + last))
    }

    fn values(&self, of: impl Fn(&Slot) -> Option<&Floats> + Copy) -> Option<Values> {
        let all = self.slots.clone().filter_map(of);
        let count = all.clone().map(|floats| floats.count).reduce(|a, b| a + b)?;
        let is_negative = all.clone().any(|floats| floats.negative > 0);
        let least = self.edge(|edges| &edges.set_least).map(|least| -least);
        Some(Values {
            sum: sum(all.map(|floats| &floats.sum)),
            count: u64::try_from(count).unwrap_or(u64::MAX),
            // Of a sum it is asked only whether anything was below zero.
            min: least.unwrap_or(if is_negative { -1.0 } else { 0.0 }),
            max: self.edge(|edges| &edges.set_greatest).unwrap_or(0.0),
            last: 0.0,
        })
    }

    fn spreads(&self) -> impl Iterator<Item = &'a Balance> + Clone {
        self.slots.clone().filter_map(|slot| slot.spread.as_deref())
    }

    fn have_one_layout(&self) -> bool {
        let mut layouts = self.spreads().map(Balance::layout);
        layouts.next().is_none_or(|first| layouts.all(|other| other == first))
    }

    fn quantile(&self, quantile: f64) -> Option<f64> {
        let mut spreads = self.spreads();
        let first = spreads.next()?;
        let Some(second) = spreads.next() else { return first.quantile(quantile) };
        let mut all = first.clone();
        std::iter::once(second).chain(spreads).for_each(|other| all.add_all(other));
        all.quantile(quantile)
    }
}

fn sum<'a>(mut sums: impl Iterator<Item = &'a Exact>) -> f64 {
    let Some(first) = sums.next() else { return 0.0 };
    let Some(second) = sums.next() else { return first.value() };
    let mut all = first.clone();
    std::iter::once(second).chain(sums).for_each(|other| all.add_all(other));
    all.value()
}
