//! Measures over a store that is filled by hand, one record per line of a little script.

use std::sync::Arc;

use super::*;
use crate::config::Config;
use crate::counters::cells::{Cells, Kind};
use crate::histogram::{Gathering, Layout};
use crate::rollup::row::span;
use crate::rollup::{Counts, Entry, Record, Rollup, RowBuilder, Values};
use crate::store::{Catalogue, Job, Keeper, MemoryStore, Windows};
use proptest::prelude::*;

/// Everything since second 0; the first `up` seconds and so on are covered.
struct World {
    store: Windows,
    keeper: Keeper,
    catalogue: Catalogue,
    rollup: Rollup,
    cells: Cells,
    clock: i64,
}

impl World {
    fn new() -> Self {
        let tiers = &Config::default().tiers;
        let (keeper, _) = Keeper::open(Arc::new(MemoryStore::default()), tiers).unwrap();
        Self {
            store: keeper.windows().unwrap(),
            keeper,
            catalogue: Catalogue::default(),
            rollup: Rollup::new(tiers),
            cells: Cells::new(100, None),
            clock: 0,
        }
    }

    fn series(&mut self, key: &str, kind: Kind) -> SeriesId {
        let cell = self.cells.allocate().unwrap();
        let born = Timestamp::from_secs(self.clock);
        let id = self.catalogue.register(key.as_bytes(), cell, born);
        self.catalogue.get_mut(id).kind = kind;
        id
    }

    /// Plays one second while tallyd is up.
    fn second(&mut self, records: &[(SeriesId, Record)]) {
        let base = Window::starting(Timestamp::from_secs(self.clock), Span::SECOND);
        let (store, mut row) = (&mut self.store, RowBuilder::default());
        for (series, record) in records {
            row.push(Entry { series: *series, record: record.clone(), runs_on: false });
        }
        self.rollup.close(row.finish(base), |tier, row| store.append(tier, row));
        self.store.cover(base);
        self.clock += 1;
        for (id, record) in records {
            let known = self.catalogue.get_mut(*id);
            known.update(base.end, record.last(), None, base.start);
        }
    }

    /// One second of a distribution.
    fn observe(&mut self, id: SeriesId, values: &[f64]) {
        let mut spread = Gathering::new(Layout::new(2, 1.0, 10_000.0).unwrap());
        let mut all: Option<Values> = None;
        for value in values {
            spread.record(*value);
            let one = Values { sum: *value, count: 1, min: *value, max: *value, last: *value };
            all = Some(all.map_or(one, |before| before.then(one)));
        }
        let record = all.map(|all| (id, Record::Distribution(all, Arc::new(spread.finish()))));
        self.second(record.as_slice());
    }

    /// Seconds of a counter, one increment of that much in each.
    fn count(&mut self, id: SeriesId, sums: &[u32]) {
        for sum in sums {
            if *sum == 0 {
                self.second(&[]);
            } else {
                self.second(&[(
                    id,
                    Record::Counts(Counts::base(u64::from(*sum), 1, Some(f64::from(*sum)))),
                )]);
            }
        }
    }

    fn set(&mut self, id: SeriesId, value: f64) {
        let values = Values { sum: value, count: 1, min: value, max: value, last: value };
        self.second(&[(id, Record::Values(values))]);
    }

    fn down(&mut self, secs: i64) {
        self.clock += secs;
    }

    /// Puts what is over into chunks, and these into longer ones.
    fn keep(&mut self) {
        let (now, tiers) = (Timestamp::from_secs(self.clock), 0..self.store.tiers().len());
        let sealed = tiers.clone().map(|tier| now.align_down(span(self.store.tiers(), tier)));
        let seals = tiers.clone().flat_map(|tier| self.store.ready(tier, now)).collect();
        let job = Job { seals, sealed: sealed.collect(), groups: 1, ..Job::default() };
        self.keeper.keep(&job).unwrap();
        while self.keeper.tidy(Some(now)).unwrap() {}
        self.keeper.settle(&mut self.store);
        self.store.show(self.keeper.snapshot().unwrap());
    }

    fn ask(&self, question: &Question, series: &[SeriesId]) -> Observation {
        question.ask(&self.store, &self.catalogue, series, Timestamp::from_secs(self.clock))
    }
}

fn over(measure: Measure, secs: u64) -> Question {
    Question {
        measure,
        per: Per::Second,
        window: Span::from_secs(secs),
        against: None,
        zone: None,
        change: Change::Percent,
        floor: None,
    }
}

fn against_previous(secs: u64, floor: f64) -> Question {
    Question { against: Some(Against::Previous), floor: Some(floor), ..over(Measure::Sum, secs) }
}

fn value(value: f64) -> Observation {
    Observation::Value { value, covered: 1.0 }
}

#[test]
fn every_measure_of_a_counter() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[9, 3, 0, 5, 2, 0]);
    let check = |measure, expect| {
        assert_eq!(world.ask(&over(measure, 5), &[id]), value(expect), "{measure:?}");
    };
    check(Measure::Sum, 10.0);
    check(Measure::Rate, 2.0);
    check(Measure::Count, 3.0);
    check(Measure::Mean, 2.0);
    check(Measure::Min, 0.0);
    check(Measure::Max, 5.0);
    check(Measure::Last, 2.0);
    check(Measure::Age, 1.0);
    let per_hour = Question { per: Per::Hour, ..over(Measure::Rate, 5) };
    assert_eq!(world.ask(&per_hour, &[id]), value(7200.0));
}

#[test]
fn every_measure_of_a_distribution() {
    let mut world = World::new();
    let id = world.series("a", Kind::Distribution);
    world.observe(id, &[1e4]);
    world.observe(id, &[10.0, 20.0, 30.0, 40.0, 50.0]);
    world.observe(id, &[]);
    world.observe(id, &[60.0, 70.0, 80.0, 100.0, 90.0]);
    let check = |measure, expect| {
        assert_eq!(world.ask(&over(measure, 3), &[id]), value(expect), "{measure:?}");
    };
    check(Measure::Sum, 550.0);
    check(Measure::Rate, 10.0 / 3.0);
    check(Measure::Count, 10.0);
    check(Measure::Mean, 55.0);
    check(Measure::Min, 10.0);
    check(Measure::Max, 100.0);
    check(Measure::Last, 90.0);
    check(Measure::P50, 50.0);
    check(Measure::P90, 90.0);
    check(Measure::P95, 100.0);
    check(Measure::P99, 100.0);
    check(Measure::P999, 100.0);
    check(Measure::Age, 0.0);
    // From a coarser tier the same, as long as it is whole.
    world.observe(id, &[1.0]);
    (0..60).for_each(|_| world.observe(id, &[]));
    let back = Question { window: Span::from_secs(10), ..over(Measure::P50, 10) };
    let at = Timestamp::from_secs(world.clock - world.clock % 10 - 50);
    let ask = |span: Span| back.ask_back(&world.store, &world.catalogue, &[id], at, span);
    assert_eq!(ask(Span::from_secs(100)), ask(Span::from_secs(10_000)));
}

#[test]
fn distributions_together_are_merged_and_mixed_with_others_as_far_as_that_goes() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|key| world.series(key, Kind::Distribution));
    let [counter, gauge] = [world.series("c", Kind::Counter), world.series("g", Kind::Gauge)];
    world.observe(a, &[10.0; 99]);
    world.observe(b, &[1000.0]);
    world.count(counter, &[5]);
    world.set(gauge, 7.0);
    let ask = |measure, series: &[SeriesId]| world.ask(&over(measure, 4), series);
    assert_eq!(ask(Measure::P99, &[a, b]), value(10.0));
    assert_eq!(ask(Measure::P999, &[a, b]), value(1000.0));
    assert_eq!(ask(Measure::P99, &[a, counter, gauge]), value(10.0));
    assert_eq!(ask(Measure::Sum, &[a, b, counter]), value(1995.0));
    assert_eq!(ask(Measure::Count, &[a, b, counter, gauge]), value(102.0));
    assert_eq!(ask(Measure::Max, &[a, counter, gauge]), value(10.0));
    for measure in [Measure::P50, Measure::P999] {
        let wrong = Observation::Unjudged(Reason::WrongKind);
        assert_eq!(ask(measure, &[counter, gauge]), wrong);
    }
}

/// A window holds numbers up to 2^64: beyond it what is told is a lower bound, and says so.
#[test]
fn a_sum_that_is_more_than_a_window_holds_is_a_lower_bound() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    for _ in 0..3 {
        world.second(&[(id, Record::Counts(Counts::base(u64::MAX / 2, 1, None)))]);
    }
    let ask = |measure, secs| world.ask(&over(measure, secs), &[id]);
    assert!(matches!(ask(Measure::Sum, 2), Observation::Value { .. }));
    assert_eq!(ask(Measure::Sum, 3), Observation::AtLeast(18_446_744_073_709_551_616.0));
    assert_eq!(ask(Measure::Rate, 3), Observation::AtLeast(18_446_744_073_709_551_616.0 / 3.0));
    assert!(matches!(ask(Measure::Max, 3), Observation::Value { .. }));
}

#[test]
fn a_distribution_that_was_not_set_is_missing_and_a_gap_makes_bounds() {
    let mut world = World::new();
    let id = world.series("a", Kind::Distribution);
    world.observe(id, &[-5.0, 8.0]);
    (0..10).for_each(|_| world.observe(id, &[]));
    for (_, measure) in Measure::ALL.iter().filter(|(_, measure)| *measure != Measure::Age) {
        assert_eq!(world.ask(&over(*measure, 5), &[id]), Observation::Missing, "{measure:?}");
    }
    world.down(10);
    world.observe(id, &[1.0, 2.0]);
    let ask = |measure| world.ask(&over(measure, 10), &[id]);
    assert_eq!(ask(Measure::Sum), Observation::AtLeast(3.0));
    assert_eq!(ask(Measure::Rate), Observation::AtLeast(0.2));
    assert_eq!(ask(Measure::P99), Observation::Unjudged(Reason::Gap));
    world.observe(id, &[-1.0]);
    assert_eq!(
        world.ask(&over(Measure::Sum, 10), &[id]),
        Observation::Unjudged(Reason::Gap),
        "more of it could be negative"
    );
}

#[test]
fn the_minimum_without_an_idle_window_is_the_least_sum() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[9, 3, 4]);
    assert_eq!(world.ask(&over(Measure::Min, 2), &[id]), value(3.0));
}

#[test]
fn every_measure_of_a_gauge() {
    let mut world = World::new();
    let id = world.series("g", Kind::Gauge);
    for set in [100.0, 3.0, -1.0, 4.0] {
        world.set(id, set);
    }
    world.second(&[]);
    let ask = |measure| world.ask(&over(measure, 4), &[id]);
    assert_eq!(ask(Measure::Count), value(3.0));
    assert_eq!(ask(Measure::Mean), value(2.0));
    assert_eq!(ask(Measure::Min), value(-1.0));
    assert_eq!(ask(Measure::Max), value(4.0));
    assert_eq!(ask(Measure::Last), value(4.0));
    assert_eq!(ask(Measure::Age), value(1.0));
    for measure in [Measure::Sum, Measure::Rate] {
        assert_eq!(ask(measure), Observation::Unjudged(Reason::WrongKind));
    }
}

#[test]
fn a_gauge_that_was_not_set_is_missing_and_a_counter_never_is() {
    let mut world = World::new();
    let gauge = world.series("g", Kind::Gauge);
    let counter = world.series("c", Kind::Counter);
    world.set(gauge, 5.0);
    world.count(counter, &[1, 0, 0, 0, 0, 0]);
    for measure in [Measure::Count, Measure::Mean, Measure::Min, Measure::Max, Measure::Last] {
        assert_eq!(world.ask(&over(measure, 3), &[gauge]), Observation::Missing, "{measure:?}");
    }
    assert_eq!(world.ask(&over(Measure::Sum, 3), &[counter]), value(0.0));
    assert_eq!(world.ask(&over(Measure::Last, 3), &[counter]), value(1.0));
    assert_eq!(world.ask(&over(Measure::Sum, 3), &[]), Observation::NeverSeen);
}

#[test]
fn several_series_are_taken_together() {
    let mut world = World::new();
    let a = world.series("o;r=a", Kind::Counter);
    let b = world.series("o;r=b", Kind::Counter);
    world.count(a, &[5, 1]);
    world.count(b, &[10, 2]);
    let check = |measure, expect| {
        assert_eq!(world.ask(&over(measure, 4), &[a, b]), value(expect), "{measure:?}");
    };
    check(Measure::Sum, 18.0);
    check(Measure::Count, 4.0);
    check(Measure::Mean, 18.0 / 8.0);
    check(Measure::Min, 0.0);
    check(Measure::Max, 10.0);
    check(Measure::Last, 3.0);
    check(Measure::Age, 0.0);
}

#[test]
fn the_window_is_exact_when_the_counter_was_born_inside_it() {
    let mut world = World::new();
    world.down(1000);
    for _ in 0..300 {
        world.second(&[]);
    }
    let id = world.series("a", Kind::Counter);
    world.count(id, &[3]);
    assert_eq!(world.ask(&over(Measure::Sum, 300), &[id]), value(3.0));
}

#[test]
fn nine_tenths_covered_is_judged_and_scaled_and_less_is_a_lower_bound() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.down(1);
    world.count(id, &[1; 9]);
    let ask = |world: &World, measure| world.ask(&over(measure, 10), &[id]);
    assert_eq!(ask(&world, Measure::Sum), Observation::Value { value: 10.0, covered: 0.9 });
    assert_eq!(ask(&world, Measure::Mean), Observation::Value { value: 1.0, covered: 0.9 });
    world.down(2);
    for (measure, expect) in [
        (Measure::Sum, Observation::AtLeast(8.0)),
        (Measure::Rate, Observation::AtLeast(0.8)),
        (Measure::Max, Observation::AtLeast(1.0)),
        (Measure::Mean, Observation::Unjudged(Reason::Gap)),
        (Measure::Min, Observation::Unjudged(Reason::Gap)),
    ] {
        assert_eq!(ask(&world, measure), expect, "{measure:?}");
    }
    assert_eq!(ask(&world, Measure::Last), value(1.0));
    assert_eq!(ask(&world, Measure::Age), value(2.0));
}

#[test]
fn change_against_the_previous_window() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[10, 10, 5, 5]);
    let percent = against_previous(2, 1.0);
    assert_eq!(world.ask(&percent, &[id]), value(-50.0));
    let absolute = Question { change: Change::Absolute, ..percent };
    assert_eq!(world.ask(&absolute, &[id]), value(-10.0));
}

#[test]
fn below_the_floor_a_change_is_not_judged() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[10, 10, 5, 5]);
    let floor = |floor| world.ask(&against_previous(2, floor), &[id]);
    assert_eq!(floor(20.0), value(-50.0), "one of the two reaches it");
    assert_eq!(floor(20.5), Observation::Unjudged(Reason::BelowFloor));
}

#[test]
fn change_from_nothing() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[1, 0, 0, 0, 0]);
    assert_eq!(world.ask(&against_previous(2, 0.0), &[id]), value(0.0));
    world.count(id, &[5, 5]);
    assert_eq!(world.ask(&against_previous(2, 0.0), &[id]), value(f64::INFINITY));
}

#[test]
fn a_reference_from_before_the_first_data_is_not_judged() {
    let mut world = World::new();
    for _ in 0..10 {
        world.second(&[]);
    }
    let id = world.series("a", Kind::Counter);
    world.count(id, &[10, 10, 10]);
    let ask = |world: &World| world.ask(&against_previous(2, 1.0), &[id]);
    assert_eq!(ask(&world), Observation::Unjudged(Reason::NoReference));
    world.count(id, &[10]);
    assert_eq!(ask(&world), value(0.0));
}

#[test]
fn a_gap_in_either_window_leaves_a_change_unjudged() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[10; 10]);
    world.down(2);
    world.count(id, &[10; 3]);
    let ask = |world: &World| world.ask(&against_previous(5, 1.0), &[id]);
    assert_eq!(ask(&world), Observation::Unjudged(Reason::Gap));
    world.count(id, &[10; 3]);
    assert_eq!(ask(&world), Observation::Unjudged(Reason::Gap), "now in the reference");
}

#[test]
fn last_week_is_read_from_the_tier_that_still_holds_it() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    let week = 7 * 86_400;
    world.count(id, &[1; 120]);
    // A week is long; only the minute before the comparison matters.
    world.down(week - 120);
    world.count(id, &[3; 60]);
    let weekly = Question {
        against: Some(Against::Ago(Span::WEEK)),
        floor: Some(1.0),
        ..over(Measure::Sum, 60)
    };
    assert_eq!(world.ask(&weekly, &[id]), value(200.0));
}

fn at(text: &str) -> i64 {
    Timestamp::parse(text, Timestamp::EPOCH).unwrap().as_secs()
}

/// A minute of ones that ends then, a minute of threes that ends now, and what is asked about the two.
fn a_change(then: &str, now: &str, against: Span, zone: Option<&str>) -> Observation {
    let mut world = World::new();
    world.clock = at(then) - 3600;
    let id = world.series("a", Kind::Counter);
    for (end, sum) in [(then, 1), (now, 3)] {
        world.clock = at(end) - 60;
        world.count(id, &[sum; 60]);
    }
    let question = Question {
        against: Some(Against::Ago(against)),
        zone: zone.map(|zone| zone.parse().unwrap()),
        floor: Some(1.0),
        ..over(Measure::Sum, 60)
    };
    world.ask(&question, &[id])
}

#[test]
fn in_a_zone_the_same_time_of_day_is_compared_across_a_turn_of_its_clocks() {
    let (day, week) = (Span::DAY, Span::WEEK);
    let fortnight = week.plus(week);
    for (zone, against, then, now) in [
        ("America/Los_Angeles", day, "2026-03-07T09:00:00-08:00", "2026-03-08T09:00:00-07:00"),
        ("America/Los_Angeles", week, "2026-03-03T09:00:00-08:00", "2026-03-10T09:00:00-07:00"),
        ("America/Los_Angeles", day, "2026-10-31T09:00:00-07:00", "2026-11-01T09:00:00-08:00"),
        (
            "America/Los_Angeles",
            fortnight,
            "2026-10-24T00:00:00-07:00",
            "2026-11-07T00:00:00-08:00",
        ),
        ("Europe/Berlin", day, "2026-03-28T12:00:00+01:00", "2026-03-29T12:00:00+02:00"),
        ("Europe/Berlin", week, "2026-10-19T00:00:00+02:00", "2026-10-26T00:00:00+01:00"),
    ] {
        assert_eq!(a_change(then, now, against, Some(zone)), value(200.0), "{zone} at {now}");
        let even = a_change(then, now, against, None);
        assert!(matches!(even, Observation::Unjudged(_)), "{now}: an hour beside it is {even:?}");
        let utc = a_change(then, now, against, Some("UTC"));
        assert_eq!(utc, even, "days of UTC are what no zone means");
    }
    for zone in ["Asia/Kolkata", "UTC"] {
        let (then, now) = ("2026-03-28T12:00:00+05:30", "2026-03-29T12:00:00+05:30");
        assert_eq!(a_change(then, now, day, Some(zone)), value(200.0), "{zone} turns no clocks");
    }
}

#[test]
fn a_range_in_a_zone_says_what_its_points_say_where_clocks_are_turned() {
    for (zone, turned, after) in [
        ("America/Los_Angeles", "2026-11-01T00:30:00-07:00", "2026-11-02T00:30:00-08:00"),
        ("Europe/Berlin", "2026-03-29T01:00:00+01:00", "2026-03-30T01:00:00+02:00"),
    ] {
        let mut world = World::new();
        world.clock = at(turned) - 86_400;
        let id = world.series("a", Kind::Counter);
        for start in [turned, after] {
            world.clock = at(start);
            let sums: Vec<u32> = (0..5 * 3600).map(|second| 1 + second / 600).collect();
            world.count(id, &sums);
        }
        let now = Timestamp::from_secs(world.clock);
        let question = Question {
            against: Some(Against::Ago(Span::DAY)),
            zone: Some(zone.parse().unwrap()),
            ..over(Measure::Sum, 600)
        };
        let span = Window::ending(now - Span::from_secs(3600), Span::from_secs(4 * 3600 - 600));
        let range = Range { span, step: Span::from_secs(600), now };
        let points = range.ask(&question, &world.store, &world.catalogue, &[id]);
        let mut agos = std::collections::BTreeSet::new();
        for (at, seen) in &points {
            let back = now.since(*at);
            let expect = question.ask_back(&world.store, &world.catalogue, &[id], *at, back);
            assert_eq!(*seen, expect, "{zone} at {at}");
            assert!(matches!(seen, Observation::Value { .. }), "{zone} at {at}: {seen:?}");
            agos.insert(at.since(question.reference_end(Against::Ago(Span::DAY), *at)).as_millis());
        }
        assert_eq!((points.len(), agos.len()), (23, 2), "{zone}: {agos:?}");
    }
}

#[test]
fn a_selection_follows_the_catalogue() {
    let mut world = World::new();
    let mut selection = Selection::new("o*".parse().unwrap(), vec!["r".to_owned()], 2);
    let a = world.series("o;r=a", Kind::Counter);
    world.series("other;r=a", Kind::Counter);
    selection.refresh(&world.catalogue);
    let b = world.series("o.x;r=b", Kind::Counter);
    world.series("x;r=b", Kind::Counter);
    selection.refresh(&world.catalogue);
    let groups: Vec<_> =
        selection.groups().map(|(group, ids)| (group.join(","), ids.to_vec())).collect();
    assert_eq!(groups, [("a".to_owned(), vec![a, SeriesId(1)]), ("b".to_owned(), vec![b])]);
    assert_eq!(selection.complete(), Ok(()));
    world.series("o;r=c", Kind::Counter);
    selection.refresh(&world.catalogue);
    assert_eq!(selection.groups().count(), 2);
    assert_eq!(selection.complete(), Err(TooManyGroups { max: 2 }));
}

#[test]
fn a_line_into_the_past_is_read_from_the_tiers_that_still_hold_it() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    for _ in 0..4 * 3600 {
        world.count(id, &[1]);
        if world.clock % 60 == 0 {
            world.store.expire(Timestamp::from_secs(world.clock));
        }
    }
    let span = Window::ending(Timestamp::from_secs(world.clock), Span::from_secs(3 * 3600));
    let question = over(Measure::Sum, 300);
    let step = Span::from_secs(600);
    let range = Range { span, step, now: span.end };
    let points = range.ask(&question, &world.store, &world.catalogue, &[id]);
    assert_eq!(points.len(), 18);
    for (at, observation) in points {
        assert_eq!(observation, value(300.0), "at {at}");
    }
}

/// Counters, a gauge and a distribution over five minutes, with idle stretches and a gap.
fn a_busy_world() -> (World, Vec<SeriesId>) {
    let mut world = World::new();
    let ids = vec![
        world.series("a", Kind::Counter),
        world.series("b", Kind::Counter),
        world.series("g", Kind::Gauge),
        world.series("d", Kind::Distribution),
    ];
    for at in 0..300_u32 {
        let count = |n: u32| Record::Counts(Counts::base(n.into(), 1, Some(f64::from(at))));
        let value = f64::from(at % 17);
        let values = Values { sum: value, count: 1, min: value, max: value, last: value };
        match at % 7 {
            0 => world.second(&[(ids[0], count(at)), (ids[1], count(1))]),
            1 | 2 => world.second(&[(ids[0], count(at % 5)), (ids[2], Record::Values(values))]),
            3 => world.observe(ids[3], &[value, value + 3.0]),
            _ => world.second(&[]),
        }
        if at == 111 {
            world.down(13);
        }
    }
    (world, ids)
}

#[test]
fn a_range_says_at_each_point_what_the_point_says_by_itself() {
    let (world, ids) = a_busy_world();
    let now = Timestamp::from_secs(world.clock);
    let mut looked = 0;
    for (window, step) in [(1, 1), (7, 7), (30, 10), (5, 20), (60, 1), (9, 4)] {
        for measure in Measure::ALL.map(|(_, measure)| measure) {
            for against in [None, Some(Against::Previous)] {
                let question = Question { against, ..over(measure, window) };
                let span = Window { start: Timestamp::from_secs(70), end: now };
                let range = Range { span, step: Span::from_secs(step), now };
                for series in [&ids[..1], &ids[2..3], &ids[3..], &ids[..]] {
                    for (at, seen) in range.ask(&question, &world.store, &world.catalogue, series) {
                        let expect = question.ask_back(
                            &world.store,
                            &world.catalogue,
                            series,
                            at,
                            now.since(at),
                        );
                        assert_eq!(seen, expect, "{question:?} {series:?} each {step} at {at}");
                        looked += 1;
                    }
                }
            }
        }
    }
    assert!(looked > 10_000, "{looked}");
}

#[test]
fn what_a_counter_showed_then_is_not_what_it_shows_now() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[1, 2, 0, 0, 5]);
    let range = Range {
        span: Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(5) },
        step: Span::SECOND,
        now: Timestamp::from_secs(5),
    };
    let points = range.ask(&over(Measure::Last, 1), &world.store, &world.catalogue, &[id]);
    let seen: Vec<_> = points.into_iter().map(|(_, seen)| seen).collect();
    assert_eq!(seen, [1.0, 2.0, 2.0, 2.0, 5.0].map(value));
}

#[test]
fn the_open_window_of_a_coarse_tier_is_answered_from_its_finer_parts() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &vec![1; 4 * 3600 + 59]);
    let asked = |secs| world.ask(&over(Measure::Sum, secs), &[id]);
    // Three hours come from windows of ten seconds: the beginning moves to one, the end stays.
    assert_eq!(asked(3 * 3600), value(3.0 * 3600.0 + 9.0));
    assert_eq!(asked(4 * 3600 + 59), value(4.0 * 3600.0 + 59.0));
    // Four days from minutes, of which there are four hours.
    assert_eq!(asked(4 * 86_400), Observation::AtLeast(4.0 * 3600.0 + 59.0));
    assert_eq!(asked(50 * 86_400), Observation::AtLeast(4.0 * 3600.0 + 59.0), "and from hours");
    let rate = world.ask(&over(Measure::Rate, 3 * 3600), &[id]);
    assert_eq!(rate, value(1.0));
}

#[test]
fn a_window_shorter_than_what_is_kept_of_that_time_is_not_judged() {
    let mut world = World::new();
    let id = world.series("a", Kind::Counter);
    world.count(id, &[1; 100]);
    let at = Timestamp::from_secs(47);
    let back = Span::from_secs(86_400);
    let seen = over(Measure::Sum, 5).ask_back(&world.store, &world.catalogue, &[id], at, back);
    assert_eq!(seen, Observation::Unjudged(Reason::Gap));
}

#[test]
fn what_a_range_costs_is_what_it_reads() {
    let mut world = World::new();
    let now = Timestamp::from_secs(100 * 86_400);
    world.store.cover(Window { start: Timestamp::EPOCH, end: now });
    let check = |window: u64, from: u64, step: u64, series: u64, expect: u64| {
        let span = Window::ending(now, Span::from_secs(from));
        let range = Range { span, step: Span::from_secs(step), now };
        let asked =
            |measure, counters| range.cost(&over(measure, window), &world.store, series, counters);
        assert_eq!(asked(Measure::Max, true), expect, "{window} {from} {step}");
        assert_eq!(asked(Measure::Sum, false), expect, "{window} {from} {step}");
        asked(Measure::Sum, true)
    };
    // A day of minutes from windows of ten seconds: read once, and put together once.
    let sums = check(60, 86_400, 60, 1, 8640 + 1440 / 4 + 1440 + 8);
    assert_eq!(sums, 1440 / 8 + 8, "sums alone come from windows of a minute");
    check(60, 86_400, 60, 900, 900 * (8640 + 1440 / 4 + 1440 + 8));
    // Windows of five minutes: the same, and each put together from five.
    check(300, 86_400, 60, 1, 8664 + 1440 * 5 / 4 + 1440 + 8);
    // What does not fit is read point by point.
    check(7, 60, 2, 1, 30 * (8 + 7));
    check(1, 1, 1, u64::MAX, u64::MAX);
}

/// An hour of counters, some of which were something else once, with gaps.
fn a_long_world(seed: u64, is_mixed: bool) -> (World, Vec<SeriesId>) {
    let mut world = World::new();
    let ids: Vec<_> = (0..6).map(|n| world.series(&format!("c;n={n}"), Kind::Counter)).collect();
    let mut state = seed | 1;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    while world.clock < 4000 {
        let mut records = Vec::new();
        for (n, id) in (0..).zip(&ids) {
            if random(1 + 40 * n) == 0 {
                let sum = if random(50) == 0 { u64::MAX / 3 } else { random(30) };
                records.push((*id, Record::Counts(Counts::base(sum, 1 + random(3), None))));
            }
        }
        if is_mixed && random(300) == 0 {
            let values = Values { sum: 7.0, count: 1, min: 7.0, max: 7.0, last: 7.0 };
            let mut spread = Gathering::new(Layout::new(2, 1.0, 10_000.0).unwrap());
            spread.record(7.0);
            records.retain(|(id, _)| *id != ids[3]);
            let record = Record::Distribution(values, Arc::new(spread.finish()));
            records.push((ids[3], if random(2) == 0 { record } else { Record::Values(values) }));
        }
        world.second(&records);
        match random(900) {
            0 => world.down(i64::try_from(random(200)).unwrap()),
            1 => world.keep(),
            _ => {}
        }
    }
    (world, ids)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 20, ..ProptestConfig::default() })]

    /// Sums of many groups from whichever tier fits are what each group by itself has in the finest.
    #[test]
    fn sums_are_the_same_in_every_tier(
        seed in any::<u64>(),
        is_mixed in any::<bool>(),
        since in prop::option::of((0..4_usize, 0..4000_i64)),
    ) {
        let (mut world, ids) = a_long_world(seed, is_mixed);
        if let Some((tier, since)) = since {
            world.store.forget_before(tier, Timestamp::from_secs(since));
        }
        let now = Timestamp::from_secs(world.clock);
        let groups: [&[SeriesId]; 4] = [&ids[..1], &ids[1..3], &[ids[5], ids[4]], &ids[3..4]];
        for (window, step, back, from) in
            [(60, 60, 0, 3000), (300, 60, 1, 1800), (30, 60, 60, 9000), (60, 120, 7, 3000),
             (10, 10, 10, 600), (3600, 60, 600, 3600), (3600, 3600, 0, 7200)]
        {
            let step = Span::from_secs(step);
            let end = (now - Span::from_secs(back)).align_down(step);
            let range = Range { span: Window::ending(end, Span::from_secs(from)), step, now };
            for measure in [Measure::Sum, Measure::Mean] {
                for against in [None, Some(Against::Ago(Span::from_secs(1200)))] {
                    let question = Question { against, ..over(measure, window) };
                    let all = range.ask_all(&question, &world.store, &world.catalogue, &groups);
                    for (seen, series) in all.iter().zip(groups) {
                        let expect = range.ask_finest(&question, &world.store, &world.catalogue, series);
                        prop_assert_eq!(seen, &expect, "{:?} {:?} each {}", question, series, step);
                    }
                }
            }
        }
    }
}
