//! Lives of keys that end and begin anew, in memory and over the ends of processes.

use std::path::PathBuf;

use super::*;
use crate::counters::cells::Kind;
use crate::counters::tests::options;
use crate::counters::{Arithmetic, Condition, Drained, Entry, Options, Recovered, Stored};

const DAY: u64 = 24 * 60 * 60;

fn day(day: u64) -> Timestamp {
    Timestamp::from_secs(1_767_571_200) + Span::from_secs(day * DAY)
}

fn ten_days() -> Options {
    Options { idle_expiry: Some(Span::from_secs(10 * DAY)), ..options() }
}

fn set(counters: &Counters, key: &str, value: &str, now: Timestamp) -> Stored {
    let entry = Entry { key: key.as_bytes(), value: value.as_bytes(), flags: 0, expires: None };
    counters.store(entry, Condition::Always, now)
}

fn get(counters: &Counters, key: &str, now: Timestamp) -> Option<String> {
    let text = |view: crate::counters::View<'_>| String::from_utf8_lossy(view.value).into_owned();
    counters.get(key.as_bytes(), now, text)
}

fn incr(counters: &Counters, key: &str, now: Timestamp) -> Arithmetic {
    counters.incr(key.as_bytes(), 1, now)
}

/// What one tick finds: the cells that were freed, those that were drained, and the keys born.
fn tick(counters: &Counters, now: Timestamp) -> (Vec<CellId>, Vec<Drained>, Vec<String>) {
    let freed = counters.sweep(now, Some(now));
    let mut drained = Vec::new();
    let births = counters.drain(now, |one| drained.push(one));
    let names = births.iter().map(|(_, key)| String::from_utf8_lossy(key).into_owned()).collect();
    (freed, drained, names)
}

#[test]
fn a_key_that_nobody_touches_gives_its_cell_back() {
    let counters = Counters::new(ten_days());
    incr(&counters, "idle", day(0));
    incr(&counters, "counted", day(0));
    set(&counters, "set", "5", day(0));
    set(&counters, "read", "5", day(0));
    tick(&counters, day(0));
    incr(&counters, "counted", day(6));
    set(&counters, "set", "6", day(6));
    get(&counters, "read", day(6));
    tick(&counters, day(6));
    assert_eq!(tick(&counters, day(10)).0, [], "not before the time is over");
    let (freed, drained, _) = tick(&counters, day(10) + Span::from_secs(2 * 60 * 60));
    assert_eq!((freed.len(), drained.len(), counters.series()), (1, 0, 3));
    assert_eq!(get(&counters, "idle", day(11)), None);
    for key in ["counted", "set", "read"] {
        assert!(get(&counters, key, day(11)).is_some(), "{key}");
    }
    assert_eq!(tick(&counters, day(15)).0, [], "each was touched by the last look");
    tick(&counters, day(30));
    assert_eq!(counters.series(), 0, "and the overflow stays");
    assert_eq!(get(&counters, "tallyd.overflow", day(30)), None);
}

#[test]
fn a_key_that_comes_again_is_born_again_and_begins_at_zero() {
    let counters = Counters::new(ten_days());
    for _ in 0..5 {
        incr(&counters, "a", day(0));
    }
    tick(&counters, day(0));
    let (freed, ..) = tick(&counters, day(20));
    assert_eq!(incr(&counters, "a", day(20)), Arithmetic::Value(1));
    let (_, drained, births) = tick(&counters, day(20));
    assert_eq!(births, ["a"]);
    let [one] = &drained[..] else { panic!("{drained:?}") };
    assert_eq!((freed, one.kind, one.total, one.count), (vec![one.cell], Kind::Counter, 1, 1));
}

#[test]
fn what_was_not_drained_is_not_freed() {
    let counters = Counters::new(ten_days());
    incr(&counters, "a", day(0));
    tick(&counters, day(0));
    incr(&counters, "a", day(0));
    assert_eq!(counters.sweep(day(20), Some(day(20))), []);
    let (freed, drained, _) = tick(&counters, day(20));
    assert_eq!((freed.len(), drained.len(), drained[0].total), (0, 1, 2));
    assert_eq!(tick(&counters, day(40)).0.len(), 1);
}

#[test]
fn without_an_expiry_nothing_is_freed_and_a_clock_set_back_frees_nothing() {
    let counters = Counters::new(options());
    incr(&counters, "a", day(0));
    tick(&counters, day(0));
    assert_eq!(tick(&counters, day(900)).0, []);
    let counters = Counters::new(ten_days());
    incr(&counters, "a", day(100));
    tick(&counters, day(100));
    assert_eq!(tick(&counters, day(0)).0, []);
}

#[test]
fn a_text_outlives_the_cell_of_its_key() {
    let counters = Counters::new(ten_days());
    incr(&counters, "a", day(0));
    set(&counters, "a", "text", day(0));
    tick(&counters, day(0));
    assert_eq!(tick(&counters, day(20)).0.len(), 1);
    assert_eq!(get(&counters, "a", day(20)).as_deref(), Some("text"));
    assert_eq!(counters.series(), 0);
}

#[test]
fn what_is_free_is_used_when_the_table_is_full() {
    let counters = Counters::new(Options { max_series: 3, ..ten_days() });
    for key in ["a", "b", "c", "d"] {
        incr(&counters, key, day(0));
    }
    assert_eq!((counters.series(), counters.overflowed()), (3, 1));
    tick(&counters, day(0));
    incr(&counters, "c", day(19));
    assert_eq!(tick(&counters, day(19)).0.len(), 2);
    for key in ["d", "e", "f"] {
        incr(&counters, key, day(20));
    }
    assert_eq!((counters.series(), counters.overflowed()), (3, 2));
    assert_eq!(get(&counters, "c", day(20)).as_deref(), Some("2"));
    assert_eq!(get(&counters, "e", day(20)).as_deref(), Some("1"));
}

/// A table on a disk that can be dropped and opened again.
struct OnDisk {
    dir: tempfile::TempDir,
    counters: Option<Counters>,
}

impl OnDisk {
    fn new() -> Self {
        let mut disk = Self { dir: tempfile::tempdir().unwrap(), counters: None };
        disk.reopen(day(0));
        disk
    }

    fn reopen(&mut self, now: Timestamp) -> Recovered {
        self.counters = None;
        let (counters, recovered) = Counters::open(ten_days(), self.dir.path(), now).unwrap();
        self.counters = Some(counters);
        recovered
    }

    fn get(&self) -> &Counters {
        self.counters.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// With the process ended after every step, keys have the values that they would have had.
#[test]
fn lives_end_and_begin_over_the_ends_of_processes() {
    let mut disk = OnDisk::new();
    for key in ["a", "b", "c"] {
        incr(disk.get(), key, day(0));
    }
    tick(disk.get(), day(0));
    disk.reopen(day(1));
    tick(disk.get(), day(1));
    incr(disk.get(), "c", day(8));
    tick(disk.get(), day(8));
    disk.reopen(day(9));
    tick(disk.get(), day(9));
    assert_eq!(tick(disk.get(), day(12)).0.len(), 2, "what was touched when outlives the process");
    let recovered = disk.reopen(day(12));
    assert_eq!((recovered.series, recovered.reset, recovered.damaged_bytes), (2, 0, 0));
    assert_eq!(recovered.nameless, 0);
    for (key, expect) in [("a", None), ("b", None), ("c", Some("2"))] {
        assert_eq!(get(disk.get(), key, day(12)).as_deref(), expect);
    }
    // `a` comes into the cell of one of the two, another key into that of the other.
    for key in ["d", "a", "a"] {
        incr(disk.get(), key, day(12));
    }
    assert_eq!(disk.get().cells.len(), 4, "no cell is new");
    disk.reopen(day(13));
    for (key, expect) in [("a", Some("2")), ("b", None), ("c", Some("2")), ("d", Some("1"))] {
        assert_eq!(get(disk.get(), key, day(13)).as_deref(), expect);
    }
    assert_eq!(disk.get().series(), 3);
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test plays a loss of power")]
fn an_earlier_life_in_the_same_cell_is_not_taken_for_the_present_one() {
    let mut disk = OnDisk::new();
    for _ in 0..5 {
        incr(disk.get(), "a", day(0));
    }
    tick(disk.get(), day(0));
    let of_first_life = std::fs::read(disk.path("cells-0000.map")).unwrap();
    assert_eq!(tick(disk.get(), day(20)).0.len(), 1);
    incr(disk.get(), "a", day(20));
    disk.counters = None;
    // The log was brought to the medium, the cells were not.
    std::fs::write(disk.path("cells-0000.map"), of_first_life).unwrap();
    let recovered = disk.reopen(day(20));
    assert_eq!(recovered.reset, 1);
    assert_eq!(incr(disk.get(), "a", day(20)), Arithmetic::Value(1));
}

#[test]
fn the_log_of_keys_is_written_anew_when_most_of_it_is_past() {
    // Each round's keys go idle and give their cells to those of the next. A longer run by hand:
    // TALLYD_TEST_CHURN=2000 plays two million.
    let rounds = std::env::var("TALLYD_TEST_CHURN").ok().and_then(|n| n.parse().ok());
    let rounds: u64 = rounds.unwrap_or(60);
    let mut disk = OnDisk::new();
    let mut longest = 0;
    let hours = |hours: u64| day(0) + Span::from_secs(hours * 60 * 60);
    for round in 0..rounds {
        let now = hours(round * 300);
        while !tick(disk.get(), now).0.is_empty() {}
        let live = disk.get().series();
        assert!(live <= 1, "all but one of the last round are free: {live}");
        for n in 0..999 {
            let key = format!("some.counter.with.a.longer.name.{round}.{n}");
            assert_eq!(incr(disk.get(), &key, now), Arithmetic::Value(1));
        }
        incr(disk.get(), "always", now);
        tick(disk.get(), now);
        disk.get().sync().unwrap();
        if round % 7 == 0 {
            disk.reopen(now);
            tick(disk.get(), now);
        }
        let files = std::fs::read_dir(disk.dir.path()).unwrap().map(|entry| entry.unwrap());
        let logs = files.filter(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
        longest = longest.max(logs.map(|entry| entry.metadata().unwrap().len()).sum());
    }
    // Twice what a thousand keys take up, a mebibyte, and the records of one round.
    assert!(longest < (1 << 20) + 4 * 1000 * 70, "{longest} bytes");
    assert!(disk.get().cells.len() <= 1001, "no more cells than keys at one time");
    assert_eq!(disk.get().overflowed(), 0);
    if rounds > 30 {
        assert!(!disk.path("keys-000000.log").exists() && disk.path("keys.log").exists());
        assert!(std::fs::metadata(disk.path("keys.log")).unwrap().len() < 100, "it is empty");
    }
}

/// A log as the first version wrote it, byte by byte, with the cell of its key.
#[test]
#[expect(clippy::disallowed_methods, reason = "a test puts files there")]
fn a_log_of_the_first_version_is_read() {
    let mut disk = OnDisk::new();
    disk.counters = None;
    let mut log = b"tallyKEY\x01\0\0\0\0\0\0\0".to_vec();
    for (id, key) in [(0_u32, "tallyd.overflow"), (1, "orders"), (2, "errors")] {
        let mut checked = u32::try_from(5 + key.len()).unwrap().to_le_bytes().to_vec();
        checked.push(1);
        checked.extend(id.to_le_bytes());
        checked.extend(key.bytes());
        log.extend([0xa7, 0x1e]);
        log.extend(crc32fast::hash(&checked).to_le_bytes());
        log.extend(checked);
    }
    std::fs::write(disk.path("keys.log"), log).unwrap();
    let mut cells = std::fs::read(disk.path("cells-0000.map")).unwrap();
    cells[4096..].fill(0);
    // Total 42 in seven increments, shown as it is, with FNV-1a of `orders` at the end.
    let words = [42, 7, 0, 0, 0x0101, 0, 0, 0x0012_5d92_50be_8b4c_u64];
    for (at, word) in words.into_iter().enumerate() {
        let at = 4096 + 64 + at * 8;
        cells[at..at + 8].copy_from_slice(&word.to_ne_bytes());
    }
    std::fs::write(disk.path("cells-0000.map"), cells).unwrap();
    let recovered = disk.reopen(day(0));
    assert_eq!((recovered.series, recovered.reset, recovered.damaged_bytes), (3, 2, 0));
    assert_eq!(get(disk.get(), "orders", day(0)).as_deref(), Some("42"));
    tick(disk.get(), day(0));
    assert_eq!(tick(disk.get(), day(5)).0, [], "when it was touched is not known from before");
    assert_eq!(tick(disk.get(), day(20)).0.len(), 2);
    let recovered = disk.reopen(day(20));
    assert_eq!((recovered.series, recovered.reset, recovered.nameless), (1, 0, 0));
}

#[test]
fn the_expiry_of_a_value_ends_with_its_cell() {
    let counters = Counters::new(ten_days());
    for key in ["a", "b"] {
        let (key, expires) = (key.as_bytes(), Some(day(25)));
        let entry = Entry { key, value: b"5", flags: 0, expires };
        assert_eq!(counters.store(entry, Condition::Always, day(0)), Stored::Stored);
    }
    tick(&counters, day(0));
    let (freed, ..) = tick(&counters, day(20));
    assert_eq!(freed.len(), 2);
    // Each comes again, in the other's cell or its own; one of the cells stays free.
    set(&counters, "a", "6", day(20));
    tick(&counters, day(20));
    assert_eq!(tick(&counters, day(26)).1, [], "of a value that is long gone");
}
