//! Imported windows, under virtual time: in every tier that keeps them, beside live ones, again and again.

use super::*;
use crate::config::{Change, Measure, Per};
use crate::engine::history::tests::{START, World};
use crate::query::{Observation, Question};
use proptest::prelude::*;

const MINUTE: Span = Span::from_secs(60);
const HOUR: Span = Span::from_secs(3600);

fn counts(key: &str, rows: &[(i64, u64)]) -> (Box<[u8]>, Vec<Point>) {
    let point = |(at, bits): &(i64, u64)| Point { at: START - DAYS + secs(*at), bits: *bits };
    (key.as_bytes().into(), rows.iter().map(point).collect())
}

/// Rows are told by seconds since two days before the first server.
const DAYS: Span = Span::from_secs(2 * 86_400);

fn secs(at: i64) -> Span {
    Span::from_secs(at.unsigned_abs())
}

fn batch(series: Vec<(Box<[u8]>, Vec<Point>)>) -> Batch {
    Batch { kind: Kind::Counter, step: MINUTE, overwrite: false, series }
}

fn import(world: &World, batch: &Batch) -> Outcome {
    world.engine().import(batch).unwrap()
}

/// What the windows of a tier hold of a key, from an instant on, the open ones included.
fn held(world: &World, tier: usize, key: &str, from: Timestamp) -> u64 {
    let state = world.engine().state();
    let id = state.catalogue.find(key.as_bytes()).unwrap();
    let range = Window { start: from, end: world.now + Span::WEEK };
    let mut held = 0;
    state.windows.read(tier, id, range, |_, record| held += sum(record)).unwrap();
    let open = (1..=tier).filter_map(|finer| state.rollup.open(finer)?.get(id));
    held + open.map(|entry| sum(&entry.record)).sum::<u64>()
}

fn imported(world: &World, key: &str) -> u64 {
    let state = world.engine().state();
    let id = state.catalogue.find(key.as_bytes()).unwrap();
    state.windows.imported().get(id).map_or(0, |import| import.sum)
}

/// A measure of the hour that ended so long ago.
fn hour(world: &World, key: &str, measure: Measure, end: Timestamp) -> Observation {
    let question = Question {
        measure,
        per: Per::Second,
        window: HOUR,
        against: None,
        zone: None,
        change: Change::Percent,
        floor: None,
    };
    let past = world.engine().past(&key.parse().unwrap(), &[], 100, 100).unwrap();
    let ids = &past.groups[0].1;
    question.ask_back(&past.windows, &past.facts, ids, end, past.closed.since(end))
}

/// A server that has counted for ten minutes.
fn world() -> World {
    let mut world = World::new();
    for _ in 0..600 {
        world.incr("a", 1);
        world.second();
    }
    world
}

fn value(value: f64) -> Observation {
    Observation::Value { value, covered: 1.0 }
}

#[test]
fn rows_are_in_every_tier_that_keeps_them_and_survive() {
    let mut world = world();
    let rows: Vec<_> = (0..2 * 1440).map(|at| (at * 60, 120)).collect();
    let days = batch(vec![counts("a", &rows), counts("new;x=1", &rows)]);
    let whole = 2 * 1440 * 120;
    let outcome = import(&world, &days);
    assert_eq!(outcome, Outcome { imported: 2 * 2 * 1440, ..Outcome::default() });
    for round in 0..3 {
        for tier in 1..4 {
            let all = held(&world, tier, "a", Timestamp::EPOCH);
            assert_eq!(all, whole + 600, "tier {tier} in round {round}");
            assert_eq!(held(&world, tier, "new;x=1", Timestamp::EPOCH), whole);
        }
        let young = held(&world, 0, "a", START - Span::from_secs(6000));
        assert_eq!(young, 6000 * 2 + 600);
        assert_eq!(imported(&world, "a"), whole);
        let end = START - HOUR;
        for (measure, expect) in [(Measure::Sum, 7200.0), (Measure::Max, 2.0), (Measure::Min, 2.0)]
        {
            assert_eq!(hour(&world, "new", measure, end), value(expect), "{measure:?}");
        }
        assert_eq!(
            import(&world, &days),
            Outcome { same: 2 * 2 * 1440, ..Outcome::default() },
            "once more it is there already"
        );
        let shown = world.engine().counters().get(b"a", world.now, |view| view.value.to_vec());
        assert_eq!(shown.as_deref(), Some(&b"600"[..]), "what is counted does not move");
        // Without a word, with and without a checkpoint between.
        if round == 1 {
            world.now = START + Span::from_secs(601);
            world.engine().state().checkpoint_at(world.now + HOUR, world.engine().counters());
            world.engine().write_log().unwrap();
            while world.engine().keep(world.now).unwrap() {}
        }
        world.restart(0);
    }
    // The key of one that was imported is counted as any other.
    world.incr("new;x=1", 5);
    world.tick();
    assert_eq!(held(&world, 3, "new;x=1", Timestamp::EPOCH), whole + 5);
    world.restart(1);
    assert_eq!(held(&world, 3, "new;x=1", Timestamp::EPOCH), whole + 5);
}

#[test]
fn what_is_there_stays_unless_it_is_to_be_replaced() {
    let mut world = world();
    let first = batch(vec![counts("a", &[(0, 5), (60, 7), (7200, 3)])]);
    import(&world, &first);
    let mut second = batch(vec![counts("a", &[(0, 6), (60, 7), (120, 9), (7200, 3)])]);
    let outcome = import(&world, &second);
    assert_eq!(outcome, Outcome { imported: 1, same: 2, held: 1, ..Outcome::default() });
    assert_eq!(imported(&world, "a"), 5 + 7 + 3 + 9);
    second.overwrite = true;
    let outcome = import(&world, &second);
    assert_eq!(outcome, Outcome { replaced: 1, same: 3, ..Outcome::default() });
    for tier in 1..4 {
        assert_eq!(held(&world, tier, "a", Timestamp::EPOCH), 600 + 6 + 7 + 3 + 9, "tier {tier}");
    }
    // Also with nothing, and what was counted live.
    for _ in 0..3700 {
        world.tick();
    }
    world.engine().write_log().unwrap();
    while world.engine().keep(world.now).unwrap() {}
    let at = DAYS.as_millis().cast_signed() / 1000;
    let mut nothing = batch(vec![counts("a", &[(0, 0), (at, 60), (at + 60, 1)])]);
    assert_eq!(import(&world, &nothing), Outcome { same: 1, held: 2, ..Outcome::default() });
    nothing.overwrite = true;
    assert_eq!(import(&world, &nothing), Outcome { replaced: 2, same: 1, ..Outcome::default() });
    for tier in 0..4 {
        let live = held(&world, tier, "a", START);
        assert_eq!(live, 600 - 59, "tier {tier}");
        let all = held(&world, tier, "a", Timestamp::EPOCH);
        assert_eq!(all, live + if tier == 0 { 0 } else { 7 + 3 + 9 }, "tier {tier}");
    }
    assert_eq!(imported(&world, "a"), (7 + 3 + 9_u64).wrapping_sub(59));
}

#[test]
fn what_is_open_or_older_than_what_is_kept_is_counted_and_left() {
    let world = world();
    let may = world.engine().importable(MINUTE).unwrap();
    assert_eq!((may.until, may.slice), (START, HOUR));
    let at = DAYS.as_millis().cast_signed() / 1000;
    let rows = [(at - 60, 1), (at, 1), (at + 600, 1), (at + 999_999, 1)];
    let mut all = batch(vec![counts("b", &rows)]);
    all.series[0].1.insert(0, Point { at: may.from - MINUTE, bits: 1 });
    all.series[0].1.insert(1, Point { at: may.from, bits: 1 });
    let outcome = import(&world, &all);
    assert_eq!(outcome, Outcome { imported: 2, open: 3, old: 1, ..Outcome::default() });
    for tier in 0..4 {
        let expect = if tier < 3 { 1 } else { 2 };
        assert_eq!(held(&world, tier, "b", Timestamp::EPOCH), expect, "tier {tier}");
    }
}

#[test]
fn only_what_was_imported_is_known_then() {
    let world = world();
    let rows: Vec<_> = (0..30).map(|at| (at * 60, 0)).collect();
    import(&world, &batch(vec![counts("zero", &rows)]));
    let end = START - DAYS + HOUR;
    assert_eq!(hour(&world, "zero", Measure::Sum, end), Observation::AtLeast(0.0));
    let rows: Vec<_> = (30..60).map(|at| (at * 60, 0)).collect();
    import(&world, &batch(vec![counts("zero", &rows)]));
    assert_eq!(hour(&world, "zero", Measure::Sum, end), value(0.0));
    assert_eq!(
        hour(&world, "a", Measure::Sum, end),
        Observation::AtLeast(0.0),
        "of another series nobody knows"
    );
    assert_eq!(hour(&world, "*", Measure::Sum, end), Observation::AtLeast(0.0));
}

#[test]
fn gauges_and_distributions_have_their_values() {
    let mut world = world();
    let point = |at: i64, value: f64| Point { at: START - DAYS + secs(at), bits: value.to_bits() };
    let points = vec![point(0, 5.0), point(60, 7.5), point(65, -1.0), point(3000, 3.0)];
    for (kind, key) in [(Kind::Gauge, "g"), (Kind::Distribution, "x.ms")] {
        let series = vec![(key.as_bytes().into(), points.clone())];
        let all = Batch { kind, step: MINUTE, overwrite: false, series };
        assert_eq!(import(&world, &all).imported, 4);
        assert_eq!(import(&world, &all).same, 4);
    }
    world.restart(1);
    let end = START - DAYS + HOUR;
    let read = |key: &str, measure| match hour(&world, key, measure, end) {
        Observation::AtLeast(value) => value,
        Observation::Unjudged(_) => f64::NAN,
        other => panic!("{key} {measure:?}: {other:?}"),
    };
    for key in ["g", "x.ms"] {
        assert_eq!((read(key, Measure::Count), read(key, Measure::Max)), (4.0, 7.5), "{key}");
    }
    let state = world.engine().state();
    let id = state.catalogue.find(b"x.ms").unwrap();
    let all = Window { start: Timestamp::EPOCH, end: world.now };
    for tier in 1..4 {
        let mut spread = 0;
        let see = |_: Window, record: &Record| match record {
            Record::Distribution(_, sketch) => spread += sketch.count(),
            other => panic!("{other:?}"),
        };
        state.windows.read(tier, id, all, see).unwrap();
        assert_eq!(spread, 4, "tier {tier}");
    }
}

#[test]
fn what_does_not_fit_a_series_or_a_step_is_refused_whole() {
    let world = world();
    world.set("g", "5");
    let mut world = world;
    world.tick();
    let refused = |batch: &Batch| world.engine().import(batch).unwrap_err().to_string();
    let row = [(0, 1)];
    let text = refused(&batch(vec![counts("fine", &row), counts("g", &row)]));
    assert_eq!(text, "`g` is a gauge here, and would be imported as a counter");
    let text = refused(&batch(vec![counts("a.ms", &row)]));
    assert_eq!(text, "`a.ms` is a distribution here, and would be imported as a counter");
    let text = refused(&batch(vec![counts("tallyd.x", &row)]));
    assert_eq!(text, "`tallyd.x` is a name of tallyd's own");
    let odd = Batch { step: Span::from_secs(86_399), ..batch(vec![]) };
    assert!(refused(&odd).starts_with("a step of "), "{}", refused(&odd));
    let state = world.engine().state();
    assert!(state.catalogue.find(b"fine").is_none());
}

#[derive(Clone, Debug)]
enum Act {
    Import { step: u64, key: usize, from: u64, rows: Vec<u64>, overwrite: bool },
    Incr(usize),
    Wait(u64),
    Keep,
    Restart,
}

const KEYS: [&str; 3] = ["a", "b;x=1", "c"];

fn act() -> impl Strategy<Value = Act> {
    let steps = prop::sample::select(vec![1, 7, 10, 15, 60, 90, 3600]);
    let rows = prop::collection::vec(0..200_u64, 1..40);
    prop_oneof![
        4 => (steps, 0..3_usize, 0..20_000_u64, rows, any::<bool>()).prop_map(
            |(step, key, from, rows, overwrite)| Act::Import { step, key, from, rows, overwrite }
        ),
        3 => (0..3_usize).prop_map(Act::Incr),
        2 => (1..4000_u64).prop_map(Act::Wait),
        2 => Just(Act::Keep),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    /// Whatever is imported on top of whatever else: tiers agree where they overlap, and windows come to
    /// what was counted and what was imported.
    #[test]
    fn windows_come_to_what_was_counted_and_imported(acts in prop::collection::vec(act(), 1..40)) {
        let mut world = World::new();
        let mut sent = [0_u64; 3];
        for act in acts {
            match act {
                Act::Import { step, key, from, rows, overwrite } => {
                    let step = Span::from_secs(step);
                    let first = (world.now - Span::from_secs(from)).align_down(step);
                    let at = |at: usize| first + Span::from_millis(step.as_millis() * at as u64);
                    let points = rows.iter().enumerate();
                    let points = points.map(|(n, sum)| Point { at: at(n), bits: *sum }).collect();
                    let series = vec![(KEYS[key].as_bytes().into(), points)];
                    let all = Batch { kind: Kind::Counter, step, overwrite, series };
                    let outcome = import(&world, &all);
                    let Outcome { imported, replaced, same, held, open, old } = outcome;
                    let all = imported + replaced + same + held + open + old;
                    prop_assert_eq!(all, rows.len() as u64);
                    prop_assert_eq!(old, 0);
                }
                Act::Incr(key) => {
                    world.incr(KEYS[key], 10);
                    sent[key] += 10;
                    world.tick();
                }
                Act::Wait(secs) => world.now = world.now + Span::from_secs(secs),
                Act::Keep => {
                    world.tick();
                    world.engine().write_log().unwrap();
                    while world.engine().keep(world.now).unwrap() {}
                }
                Act::Restart => world.restart(1),
            }
        }
        world.tick();
        for (key, sent) in KEYS.iter().zip(sent) {
            if world.engine().state().catalogue.find(key.as_bytes()).is_none() {
                continue;
            }
            let all = held(&world, 3, key, Timestamp::EPOCH);
            prop_assert_eq!(all, sent.wrapping_add(imported(&world, key)), "{}", key);
            for tier in 0..3 {
                let horizon = world.engine().state().windows.horizon(tier);
                let from = horizon.max(Timestamp::EPOCH).align_up(HOUR);
                let (fine, coarse) = (held(&world, tier, key, from), held(&world, 3, key, from));
                prop_assert_eq!(fine, coarse, "{} in tier {}", key, tier);
            }
        }
    }
}
