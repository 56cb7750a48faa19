//! The ring against a list of what was kept, over ends of the process at every step.

use std::collections::BTreeMap;
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
    let (id, identity) = table.cell(cell).unwrap();
    log.append(id, identity, value, table);
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
    let at = log.take().unwrap();
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
    std::os::unix::fs::FileExt::write_all_at(
        &std::fs::OpenOptions::new().write(true).open(&path).unwrap(),
        b"something else",
        0,
    )
    .unwrap();
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
                scope.spawn(move || (0..EACH).for_each(|n| append(log, table, cell, f64::from(n))))
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
    assert_eq!((count, log.early()), (4 * u64::from(EACH), 0));
    let expect = 4.0 * (f64::from(EACH) - 1.0) * f64::from(EACH) / 2.0;
    assert_eq!(sum.total_cmp(&expect), std::cmp::Ordering::Equal);
}

#[derive(Clone, Debug)]
enum Step {
    Append(u32, i32),
    /// A writer that never finishes.
    Begin,
    Fold,
    Done,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..8_u32, -99..99_i32).prop_map(|(cell, value)| Step::Append(cell, value)),
        1 => Just(Step::Begin),
        2 => Just(Step::Fold),
        2 => Just(Step::Done),
        2 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Whatever happens in whatever order: each value is folded once in a life, and again in the next
    /// one unless it was handed over.
    #[test]
    fn is_a_list_that_survives(steps in prop::collection::vec(step(), 1..40)) {
        let (dir, table) = (tempfile::tempdir().unwrap(), Table::new());
        let mut log = open(dir.path(), &table);
        // Values by number; `None`: a record that was never finished.
        let mut all: Vec<Option<(u32, i32)>> = Vec::new();
        let (mut folded, mut done, mut inherited) = (0, 0, 0);
        for step in steps {
            match step {
                Step::Append(cell, value) => {
                    append(&log, &table, cell, f64::from(value));
                    all.push(Some((cell, value)));
                }
                Step::Begin => {
                    log.take().unwrap();
                    all.push(None);
                }
                Step::Fold => {
                    let is_there = |at: &usize| *at < inherited || all[*at].is_some();
                    let end = (folded..all.len()).find(|at| !is_there(at)).unwrap_or(all.len());
                    let mut expect = BTreeMap::<u32, (u64, f64)>::new();
                    for (cell, value) in all[folded..end].iter().flatten() {
                        let (count, sum) = expect.entry(*cell).or_default();
                        *count += 1;
                        *sum += f64::from(*value);
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
                    while all.len() > done && all.last() == Some(&None) {
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
