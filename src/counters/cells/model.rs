//! Every interleaving of what threads do to one cell, and every value that their reads may return.
//!
//! loom runs each model again and again until there is no other order left (see [`check`]). What runs is the code of
//! [`cells`](super): the addition, the marks, the drain. The guard of the key's shard is loom's own
//! lock here. The names begin with `loom_`, which is how `tests/run` picks them.

use std::ops::ControlFlow;

use loom::sync::{Arc, RwLock};
use loom::thread;

use super::*;

/// How often a thread of three is stopped against its will, at most.
const BOUND: Option<usize> = Some(3);

/// A table with one cell in use, under the lock of its shard.
struct Table {
    cells: Cells,
    id: CellId,
    guard: RwLock<()>,
}

impl Table {
    /// A counter that shows what it has counted: nothing so far.
    fn new() -> Arc<Self> {
        let cells = Cells::new(2, None);
        let id = cells.allocate().expect("there is room");
        let face =
            Face { kind: Kind::Counter, shown: Shown::Integer, width: 0, flags: 0, held: Held::No };
        cells.get(id).face.store(face.pack(), Ordering::Relaxed);
        Arc::new(Self { cells, id, guard: RwLock::new(()) })
    }

    fn cell(&self) -> &Cell {
        self.cells.get(self.id)
    }

    /// `incr` without its guard, which orders nothing between two of its kind.
    fn add(&self, delta: u64) -> u64 {
        self.cells.add(self.id, self.cell(), delta)
    }

    /// `incr`, where others take the guard for themselves.
    fn incr(&self, delta: u64) -> u64 {
        let _guard = self.guard.read().expect("nobody panics");
        self.add(delta)
    }

    /// `set` of a counter.
    fn set(&self, value: u64) {
        let _guard = self.guard.write().expect("nobody panics");
        self.cell().show(value);
        self.cells.mark(self.id);
    }

    /// `decr`.
    fn decr(&self, delta: u64) {
        let _guard = self.guard.write().expect("nobody panics");
        let cell = self.cell();
        let value = cell.integer();
        let left = value.saturating_sub(delta);
        cell.decrements.fetch_add(value - left, Ordering::Relaxed);
        cell.show(left);
        self.cells.mark(self.id);
    }

    /// `delete`.
    fn delete(&self) {
        let _guard = self.guard.write().expect("nobody panics");
        self.cell().hide();
        self.cells.mark(self.id);
    }
}

/// What the one who drains knows: the last reading, and what was shown with it.
#[derive(Debug)]
struct Drained {
    count: u64,
    total: u64,
    shown: Option<u64>,
}

impl Drained {
    const NOTHING: Self = Self { count: 0, total: 0, shown: Some(0) };

    /// Drains once. What was read before is never taken back.
    fn again(&mut self, table: &Table) -> ControlFlow<()> {
        let mut found = ControlFlow::Continue(());
        table.cells.drain(|id| {
            assert_eq!(id, table.id);
            let Reading { face, count, total } = table.cell().read();
            let offset = table.cell().offset.load(Ordering::Relaxed);
            assert!(count >= self.count && total >= self.total, "{count} {total} after {self:?}");
            let shown = (face.shown == Shown::Integer).then(|| total.wrapping_add(offset));
            *self = Self { count, total, shown };
            found = ControlFlow::Break(());
        });
        found
    }

    /// Drains when nobody else is at work any more: all there is has been seen then.
    fn finish(&mut self, table: &Table) {
        let _ = self.again(table);
        let cell = table.cell();
        let Reading { face, count, total } = cell.read();
        let shown = (face.shown == Shown::Integer).then(|| cell.integer());
        assert_eq!((self.count, self.total, self.shown), (count, total, shown));
        assert!(self.again(table).is_continue(), "nothing is drained twice");
    }
}

/// A count never runs ahead of the sum that belongs to it: with `count` of the `deltas` counted, the
/// total is one that at least as many of them come to.
fn fits(drained: &Drained, deltas: &[u64]) -> bool {
    let sums = 0..1_u32 << deltas.len();
    sums.filter(|subset| u64::from(subset.count_ones()) >= drained.count).any(|subset| {
        let of = |(at, delta): (usize, &u64)| if subset >> at & 1 == 1 { *delta } else { 0 };
        deltas.iter().enumerate().map(of).sum::<u64>() == drained.total
    })
}

/// Runs a model in every order, or of three threads in every order in which at most `preemptions` of
/// them are stopped against their will; there would be millions. That there was more than one is
/// held too: a model that is run once proves nothing.
fn check(preemptions: Option<usize>, model: impl Fn() + Send + Sync + 'static) {
    let runs = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let counted = std::sync::Arc::clone(&runs);
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    builder.check(move || {
        counted.fetch_add(1, Ordering::Relaxed);
        model();
    });
    let runs = runs.load(Ordering::Relaxed);
    println!("{runs} runs");
    assert!(runs > 10);
}

#[test]
fn loom_no_increment_is_lost_or_doubled_over_drains() {
    check(BOUND, || {
        let table = Table::new();
        let writers = [1, 100].map(|delta| {
            let table = Arc::clone(&table);
            thread::spawn(move || table.add(delta))
        });
        let mut drained = Drained::NOTHING;
        for _ in 0..2 {
            let _ = drained.again(&table);
            assert!(fits(&drained, &[1, 100]), "{drained:?}");
        }
        let shown = writers.map(|writer| writer.join().expect("it ends"));
        assert!([[1, 101], [101, 100]].contains(&shown), "{shown:?}");
        drained.finish(&table);
        assert_eq!((drained.count, drained.total), (2, 101));
    });
}

#[test]
fn loom_increments_of_one_thread_are_seen_in_their_order() {
    check(None, || {
        let table = Table::new();
        let writer = {
            let table = Arc::clone(&table);
            thread::spawn(move || [1, 100].map(|delta| table.add(delta)))
        };
        let mut drained = Drained::NOTHING;
        for _ in 0..2 {
            let _ = drained.again(&table);
            let may_be = [(0, 0), (0, 1), (0, 101), (1, 1), (1, 101), (2, 101)];
            assert!(may_be.contains(&(drained.count, drained.total)), "{drained:?}");
        }
        assert_eq!(writer.join().expect("it ends"), [1, 101]);
        drained.finish(&table);
        assert_eq!((drained.count, drained.total), (2, 101));
    });
}

#[test]
fn loom_a_set_takes_nothing_from_the_total_and_does_not_stay_unseen() {
    check(BOUND, || {
        let table = Table::new();
        let threads = {
            let [one, other] = [Arc::clone(&table), Arc::clone(&table)];
            [
                thread::spawn(move || {
                    one.incr(7);
                }),
                thread::spawn(move || other.set(50)),
            ]
        };
        let mut drained = Drained::NOTHING;
        let _ = drained.again(&table);
        assert!(fits(&drained, &[7]), "{drained:?}");
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        drained.finish(&table);
        assert_eq!((drained.count, drained.total), (1, 7));
        assert!([Some(50), Some(57)].contains(&drained.shown), "{drained:?}");
    });
}

#[test]
fn loom_a_decrement_takes_from_what_is_shown_alone() {
    check(BOUND, || {
        let table = Table::new();
        table.add(5);
        let threads = {
            let [one, other] = [Arc::clone(&table), Arc::clone(&table)];
            [
                thread::spawn(move || {
                    one.incr(7);
                }),
                thread::spawn(move || other.decr(3)),
            ]
        };
        let mut drained = Drained::NOTHING;
        let _ = drained.again(&table);
        threads.into_iter().for_each(|thread| thread.join().expect("it ends"));
        drained.finish(&table);
        assert_eq!((drained.count, drained.total, drained.shown), (2, 12, Some(9)));
        assert_eq!(table.cell().decrements.load(Ordering::Relaxed), 3);
    });
}

#[test]
fn loom_a_deletion_does_not_stay_unseen() {
    check(None, || {
        let table = Table::new();
        table.add(5);
        let thread = {
            let table = Arc::clone(&table);
            thread::spawn(move || table.delete())
        };
        let mut drained = Drained::NOTHING;
        for _ in 0..2 {
            let _ = drained.again(&table);
        }
        thread.join().expect("it ends");
        drained.finish(&table);
        assert_eq!((drained.count, drained.total, drained.shown), (1, 5, None));
    });
}

#[test]
fn loom_a_cell_is_handed_out_once() {
    check(None, || {
        let cells = Arc::new(Cells::new(2, None));
        cells.prepare(0).expect("there is memory");
        let other = {
            let cells = Arc::clone(&cells);
            thread::spawn(move || cells.allocate())
        };
        let one = cells.allocate();
        assert_ne!(one, other.join().expect("it ends"));
        assert!(one.is_some() && cells.allocate().is_none());
    });
}
