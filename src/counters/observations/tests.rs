//! The ring against a list of what was kept, over ends of the process at every step.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering::SeqCst;

use proptest::prelude::*;

use super::*;
use crate::counters::cells::Cells;
use crate::counters::gauges::{Observations, Observed};

/// Eight cells, each with an identity that can be changed.
struct Table {
    cells: Cells,
    identities: [AtomicU64; 8],
}

impl Table {
    fn new() -> Self {
        let cells = Cells::new(8, None);
        (0..8).for_each(|_| assert!(cells.allocate().is_some()));
        Self { cells, identities: std::array::from_fn(|at| AtomicU64::new(1000 + at as u64)) }
    }
}

impl Known for Table {
    fn cell(&self, number: u32) -> Option<(CellId, u64)> {
        let id = self.cells.known(number)?;
        Some((id, self.identities[id.index()].load(SeqCst)))
    }

    fn layout(&self, id: CellId) -> Option<Layout> {
        // The last one is a distribution.
        (id.index() == 7).then(|| Layout::new(2, 1.0, 1000.0).unwrap())
    }
}

fn append(log: &Log, table: &Table, cell: u32, value: f64) {
    append_many(log, table, cell, value, 1);
}

fn append_many(log: &Log, table: &Table, cell: u32, value: f64, weight: u32) {
    let (id, identity) = table.cell(cell).unwrap();
    log.append(id, identity, value, weight, table);
}

/// Count and sum by cell, and the position.
fn fold(log: &Log, table: &Table) -> (BTreeMap<u32, (u64, f64)>, u64) {
    let all = log.fold(table);
    let seen = |(id, open): (CellId, Open)| {
        let (Observations::Gauge(o) | Observations::Distribution(o, _)) = open.finish();
        (id.number(), (o.count, o.sum))
    };
    (all.into_iter().map(seen).collect(), log.position())
}

fn open(dir: &Path, table: &Table) -> Log {
    Log::open(dir, table).unwrap()
}

#[test]
fn what_was_not_handed_over_comes_again() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    assert_eq!(fold(&log, &table), (BTreeMap::new(), 0));
    append(&log, &table, 1, 2.5);
    append(&log, &table, 1, -1.0);
    append(&log, &table, 2, 7.0);
    let expect = BTreeMap::from([(1, (2, 1.5)), (2, (1, 7.0))]);
    assert_eq!(fold(&log, &table), (expect.clone(), 3));
    assert_eq!(fold(&log, &table), (BTreeMap::new(), 3), "each once in one life");
    drop(log);

    let log = open(dir.path(), &table);
    append(&log, &table, 2, 3.0);
    let (seen, position) = fold(&log, &table);
    assert_eq!(seen, BTreeMap::from([(1, (2, 1.5)), (2, (2, 10.0))]));
    log.done(position);
    append(&log, &table, 3, 1.0);
    drop(log);

    let log = open(dir.path(), &table);
    assert_eq!(fold(&log, &table), (BTreeMap::from([(3, (1, 1.0))]), 5));
    assert_eq!((log.early(), log.outside()), (0, 0));
}

#[test]
fn a_record_that_is_not_whole_holds_the_reader_until_it_is() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    append(&log, &table, 1, 1.0);
    let at = log.take(1).unwrap();
    append(&log, &table, 1, 4.0);
    assert_eq!(fold(&log, &table), (BTreeMap::from([(1, (1, 1.0))]), 1));
    // Its writer was killed there: nobody was told, and the rest is used.
    let again = open(dir.path(), &table);
    assert_eq!(fold(&again, &table).0, BTreeMap::from([(1, (2, 5.0))]));
    drop(again);
    // Or it was not.
    let (tag, bits) = log.record(at).unwrap();
    bits.store(2_f64.to_bits(), Relaxed);
    assert_eq!(fold(&log, &table).1, 1, "the tag is what counts");
    tag.store(seal(at, 1, 1001, 2_f64.to_bits()), Release);
    assert_eq!(fold(&log, &table), (BTreeMap::from([(1, (2, 6.0))]), 3));
}

#[test]
fn a_record_of_another_life_of_the_cell_is_passed_over() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    append(&log, &table, 1, 1.0);
    append(&log, &table, 2, 2.0);
    drop(log);
    table.identities[1].store(9, SeqCst);
    let log = open(dir.path(), &table);
    assert_eq!(fold(&log, &table), (BTreeMap::from([(2, (1, 2.0))]), 2));
}

#[test]
fn a_distribution_is_spread_and_what_lies_outside_is_counted() {
    let (log, table) = (Log::in_memory(), Table::new());
    for value in [1.0, 500.0, 2000.0] {
        append(&log, &table, 7, value);
    }
    let mut all = log.fold(&table);
    let (id, _) = table.cell(7).unwrap();
    let Some(Observations::Distribution(observed, spread)) = all.remove(&id).map(Open::finish)
    else {
        panic!("a distribution")
    };
    let expect = Observed { count: 3, sum: 2501.0, min: 1.0, max: 2000.0, last: 2000.0 };
    assert_eq!((observed, spread.count()), (expect, 3));
    assert_eq!(log.outside(), 1);
}

#[test]
fn a_value_that_stands_for_many_is_spread_as_often() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    let (id, _) = table.cell(7).unwrap();
    for (value, weight) in [(20.0, 3), (5000.0, 1_000_000), (1.0, 1)] {
        append_many(&log, &table, 7, value, weight);
    }
    assert_eq!((log.head(), fold(&log, &table).1, log.outside()), (5, 5, 1_000_000));
    drop(log);
    let log = open(dir.path(), &table);
    let open = log.fold(&table).remove(&id).map(Open::finish);
    let Some(Observations::Distribution(observed, spread)) = open else { panic!("{open:?}") };
    let sum = 3.0 * 20.0 + 5000.0 * 1e6 + 1.0;
    let expect = Observed { count: 1_000_004, sum, min: 1.0, max: 5000.0, last: 1.0 };
    assert_eq!((observed, spread.count()), (expect, 1_000_004));
    assert_eq!((spread.quantile(0.0), spread.quantile(3e-6)), (Some(1.0), Some(20.0)));
}

/// Only the power can take it: it is written first.
#[test]
fn a_value_whose_weight_is_gone_does_not_count() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    for other in [None, Some((1, 9.0)), Some((2, 9.0))] {
        let log = open(dir.path(), &table);
        log.done(fold(&log, &table).1);
        append_many(&log, &table, 1, 4.0, 10);
        let at = log.head() - 1;
        log.record(at).unwrap().0.store(0, Relaxed);
        drop(log);
        let log = open(dir.path(), &table);
        assert_eq!(log.head(), at, "its place is given out again");
        if let Some((cell, value)) = other {
            append_many(&log, &table, cell, value, 2);
        }
        let expect = other.map(|(cell, value)| (cell, (2, value * 2.0)));
        assert_eq!(fold(&log, &table).0, expect.into_iter().collect());
    }
}

/// With both of its records in different files, and when there is room for one of them only.
#[test]
fn a_value_and_its_weight_may_lie_in_two_files() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    for _ in 0..STRETCH - 1 {
        append(&log, &table, 1, 0.0);
    }
    append_many(&log, &table, 2, 3.0, 5);
    let expect = BTreeMap::from([(1, (STRETCH - 1, 0.0)), (2, (5, 15.0))]);
    assert_eq!(fold(&log, &table), (expect.clone(), STRETCH + 1));
    drop(log);
    let log = open(dir.path(), &table);
    assert_eq!((fold(&log, &table).0, log.head()), (expect, STRETCH + 1));
    while log.head() < STRETCH * FILES as u64 - 1 {
        append(&log, &table, 1, 0.0);
    }
    append_many(&log, &table, 2, 3.0, 5);
    assert_eq!(log.early(), 5);
    assert_eq!(fold(&log, &table).0[&2], (5, 15.0));
}

#[test]
fn a_file_of_before_there_were_weights_is_read_on_and_one_of_later_is_refused() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let path = file_path(dir.path(), 0);
    let file = || std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let version = |version: u32| file().write_all_at(&version.to_le_bytes(), 8).unwrap();
    let log = open(dir.path(), &table);
    append(&log, &table, 1, 2.5);
    drop(log);
    version(1);
    let log = open(dir.path(), &table);
    append_many(&log, &table, 1, 1.0, 2);
    assert_eq!(fold(&log, &table).0, BTreeMap::from([(1, (3, 4.5))]));
    let mut found = [0];
    file().read_exact_at(&mut found, 8).unwrap();
    assert_eq!(found, [2], "an older program does not take it for its own");
    drop(log);
    version(3);
    let refused = Log::open(dir.path(), &table);
    assert!(matches!(refused, Err(OpenError::Newer { found: 3, known: 2, .. })), "{refused:?}");
}

#[test]
fn files_are_used_again_and_when_all_are_full_memory_helps_out() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    let files = || std::fs::read_dir(dir.path()).unwrap().count();
    let mut kept = 0;
    for round in 0..5 {
        for _ in 0..STRETCH * 2 / 3 {
            append(&log, &table, 1, 1.0);
        }
        let (seen, position) = fold(&log, &table);
        kept += seen[&1].0;
        log.done(position);
        assert!(files() <= 3, "round {round}");
    }
    assert_eq!((kept, log.early()), (STRETCH * 2 / 3 * 5, 0));
    let many = STRETCH * FILES as u64;
    for _ in 0..many {
        append(&log, &table, 1, 1.0);
    }
    append(&log, &table, 1, 5.0);
    assert_eq!(files(), FILES);
    let early = log.early();
    assert!(early > 0 && early < STRETCH * 2, "{early}");
    let all = log.fold(&table);
    let (id, _) = table.cell(1).unwrap();
    let Observations::Gauge(observed) =
        all.into_iter().find(|(at, _)| *at == id).unwrap().1.finish()
    else {
        panic!("a gauge")
    };
    assert_eq!(
        (observed.count, observed.last),
        (many + 1, 5.0),
        "none is lost, and the last is last"
    );
    log.done(log.position());
    append(&log, &table, 1, 1.0);
    assert_eq!(log.early(), early, "there is room again");
    drop(log);
    assert_eq!(fold(&open(dir.path(), &table), &table).0, BTreeMap::from([(1, (1, 1.0))]));
}

#[test]
fn a_disk_without_room_is_told_and_counting_goes_on() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let gone = dir.path().join("gone");
    let log = open(&gone, &table);
    append(&log, &table, 1, 1.0);
    append(&log, &table, 1, 2.0);
    assert!(log.refusal().unwrap().contains("observations-0000.map"));
    assert_eq!((fold(&log, &table).0, log.early()), (BTreeMap::from([(1, (2, 3.0))]), 2));
    std::fs::create_dir(&gone).unwrap();
    append(&log, &table, 1, 1.0);
    assert_eq!(log.early(), 3, "nobody tries again before the next tick");
    log.done(log.position());
    append(&log, &table, 1, 1.0);
    assert_eq!((log.refusal(), log.early()), (None, 3));
    assert_eq!(fold(&log, &table).0, BTreeMap::from([(1, (2, 2.0))]));
}

#[test]
fn a_file_of_another_kind_is_refused_and_damage_does_no_harm() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let path = file_path(dir.path(), 0);
    std::fs::OpenOptions::new().create_new(true).write(true).open(&path).unwrap();
    open(dir.path(), &table).done(0);
    let words = Words::in_file(&path, MAGIC, VERSION).unwrap();
    for (stretch, done) in [(u64::MAX, 0), (1, u64::MAX), (u64::MAX, u64::MAX), (99, 1 << 59)] {
        words.get(STRETCH_WORD).store(stretch, SeqCst);
        words.get(DONE_WORD).store(done, SeqCst);
        let log = open(dir.path(), &table);
        let _ = fold(&log, &table);
        append(&log, &table, 1, 1.0);
        assert_eq!(fold(&log, &table).0, BTreeMap::from([(1, (1, 1.0))]), "{stretch} {done}");
    }
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(b"something else", 0).unwrap();
    assert!(matches!(Log::open(dir.path(), &table), Err(OpenError::Foreign { .. })));
}

#[test]
fn writers_and_the_reader_do_not_wait_for_each_other_and_nothing_is_lost() {
    const EACH: u32 = 100_000;
    let (log, table) = (Log::in_memory(), Table::new());
    let mut count = 0;
    let mut sum = 0.0;
    std::thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|cell| {
                let (log, table) = (&log, &table);
                scope.spawn(move || {
                    (0..EACH).for_each(|n| append_many(log, table, cell, f64::from(n), 1 + n % 2));
                })
            })
            .collect();
        loop {
            let is_over = writers.iter().all(std::thread::ScopedJoinHandle::is_finished);
            let (seen, position) = fold(&log, &table);
            log.done(position);
            count += seen.values().map(|(count, _)| count).sum::<u64>();
            sum += seen.values().map(|(_, sum)| sum).sum::<f64>();
            if is_over {
                break;
            }
        }
    });
    // Every second one stands for two.
    assert_eq!((count, log.early()), (4 * u64::from(EACH) * 3 / 2, 0));
    let expect: f64 = (0..EACH).map(|n| 4.0 * f64::from(n) * f64::from(1 + n % 2)).sum();
    assert_eq!(sum.total_cmp(&expect), std::cmp::Ordering::Equal);
}

#[derive(Clone, Debug)]
enum Step {
    /// Cell, value, weight.
    Append(u32, i32, u32),
    /// A writer that never finishes.
    Begin,
    /// One that gets as far as the weight.
    BeginMany,
    Fold,
    Done,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u32, -99..99_i32, prop_oneof![Just(1), 2..=u32::MAX])
            .prop_map(|(cell, value, weight)| Step::Append(cell, value, weight)),
        1 => Just(Step::Begin),
        1 => Just(Step::BeginMany),
        2 => Just(Step::Fold),
        2 => Just(Step::Done),
        2 => Just(Step::Reopen),
    ]
}

/// What a record of the ring is to come to.
#[derive(Clone, Debug, PartialEq)]
enum Slot {
    Value(u32, i32, u32),
    Weight,
    /// It was never finished.
    Open,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens in whatever order: each value is folded once in a life, and again in the next
    /// one unless it was handed over.
    #[test]
    fn is_a_list_that_survives(steps in prop::collection::vec(step(), 1..40)) {
        let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
        let mut log = open(dir.path(), &table);
        let mut all: Vec<Slot> = Vec::new();
        let (mut folded, mut done, mut inherited) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Append(cell, value, weight) => {
                    append_many(&log, &table, cell, f64::from(value), weight);
                    all.push(Slot::Value(cell, value, weight));
                    all.extend((weight > 1).then_some(Slot::Weight));
                }
                Step::Begin => {
                    log.take(1).unwrap();
                    all.push(Slot::Open);
                }
                Step::BeginMany => {
                    let at = log.take(2).unwrap();
                    log.write(at + 1, table.cell(3).unwrap(), Part::Weight, 7);
                    all.extend([Slot::Open, Slot::Weight]);
                }
                Step::Fold => {
                    let is_there = |at: &usize| *at < inherited || all[*at] != Slot::Open;
                    let end = (folded..all.len()).find(|at| !is_there(at)).unwrap_or(all.len());
                    let mut expect = BTreeMap::<u32, (u64, f64)>::new();
                    for slot in &all[folded..end] {
                        let Slot::Value(cell, value, weight) = slot else { continue };
                        let (count, sum) = expect.entry(*cell).or_default();
                        *count += u64::from(*weight);
                        *sum += f64::from(*value) * f64::from(*weight);
                    }
                    prop_assert_eq!(fold(&log, &table), (expect, end as u64));
                    folded = end;
                }
                Step::Done => {
                    log.done(folded as u64);
                    done = folded;
                }
                Step::Reopen => {
                    drop(log);
                    log = open(dir.path(), &table);
                    // What was begun last is forgotten, and its number given out again.
                    while all.len() > done && all.last() == Some(&Slot::Open) {
                        all.pop();
                    }
                    (folded, inherited) = (done, all.len());
                }
            }
        }
    }
}

/// After the loss of power what was said elsewhere may lie beyond all that is left of the ring: with an
/// older state of the file, without it, and further on than any file reaches.
#[test]
fn what_was_said_elsewhere_may_lie_beyond_what_is_left() {
    for (position, is_there) in [(5, true), (5, false), (STRETCH + 7, true), (STRETCH, true)] {
        let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
        let (path, saved) = (file_path(dir.path(), 0), dir.path().join("saved"));
        let log = open(dir.path(), &table);
        append(&log, &table, 1, 1.0);
        append(&log, &table, 1, 2.0);
        drop(log);
        std::fs::copy(&path, &saved).unwrap();
        if is_there {
            std::fs::rename(&saved, &path).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }

        let log = open(dir.path(), &table);
        log.resume_at(position);
        let (seen, at) = fold(&log, &table);
        assert_eq!(seen, BTreeMap::new(), "what lies before {position} is in windows already");
        assert!(at >= position);
        append(&log, &table, 2, 4.0);
        drop(log);
        for _ in 0..2 {
            let log = open(dir.path(), &table);
            log.resume_at(position);
            let (seen, at) = fold(&log, &table);
            assert_eq!(seen, BTreeMap::from([(2, (1, 4.0))]), "and what came later is not");
            assert!(at > position);
        }
    }
}

#[test]
fn a_position_beyond_all_bounds_is_passed_over() {
    let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
    let log = open(dir.path(), &table);
    append(&log, &table, 1, 1.0);
    log.resume_at(u64::MAX);
    assert_eq!(fold(&log, &table), (BTreeMap::from([(1, (1, 1.0))]), 1));
}
