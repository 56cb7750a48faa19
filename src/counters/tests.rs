//! What clients see and what is counted, told apart.

use proptest::prelude::*;

use super::cells::Kind;
use super::*;
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn later(secs: i64) -> Timestamp {
    Timestamp::from_secs(1_000_000 + secs)
}

pub(super) fn options() -> Options {
    Options {
        missing_incr: MissingIncr::Create,
        max_series: 1000,
        items_bytes: 10_000,
        value_bytes: 10_000,
        idle_expiry: None,
        metrics: [].into(),
    }
}

fn table(missing_incr: MissingIncr, max_series: usize) -> Counters {
    Counters::new(Options { missing_incr, max_series, ..options() })
}

fn counters() -> Counters {
    table(MissingIncr::Create, 1000)
}

fn set(counters: &Counters, key: &str, value: &str) -> Stored {
    store(counters, key, value, Condition::Always, None)
}

fn store(
    counters: &Counters,
    key: &str,
    value: &str,
    condition: Condition,
    expires: Option<Timestamp>,
) -> Stored {
    let entry = Entry { key: key.as_bytes(), value: value.as_bytes(), flags: 0, expires };
    counters.store(entry, condition, NOW)
}

fn get_at(counters: &Counters, key: &str, now: Timestamp) -> Option<String> {
    let text = |view: View<'_>| String::from_utf8_lossy(view.value).into_owned();
    counters.get(key.as_bytes(), now, text)
}

fn get(counters: &Counters, key: &str) -> Option<String> {
    get_at(counters, key, NOW)
}

fn incr(counters: &Counters, key: &str, delta: u64) -> Arithmetic {
    counters.incr(key.as_bytes(), delta, NOW)
}

/// The drained cell of one key, with the keys that were born on the way.
fn drain(counters: &Counters) -> (Vec<Drained>, Vec<String>) {
    let mut cells = Vec::new();
    let births = counters.drain(NOW, |drained| cells.push(drained));
    let names = births.iter().map(|(_, key)| String::from_utf8_lossy(key).into_owned()).collect();
    (cells, names)
}

#[test]
fn incr_creates_at_the_delta_unless_told_otherwise() {
    let counters = counters();
    assert_eq!(incr(&counters, "a", 5), Arithmetic::Value(5));
    assert_eq!(incr(&counters, "a", 2), Arithmetic::Value(7));
    let strict = table(MissingIncr::NotFound, 10);
    assert_eq!(incr(&strict, "a", 5), Arithmetic::NotFound);
    assert_eq!(strict.series(), 0);
}

#[test]
fn set_moves_what_is_shown_and_never_the_total() {
    let counters = counters();
    incr(&counters, "a", 5);
    assert_eq!(set(&counters, "a", "100"), Stored::Stored);
    assert_eq!(incr(&counters, "a", 1), Arithmetic::Value(101));
    let (cells, _) = drain(&counters);
    assert_eq!((cells[0].kind, cells[0].total, cells[0].count), (Kind::Counter, 6, 2));
    assert_eq!(cells[0].shown, ShownNow::Number(101.0));
}

#[test]
fn delete_and_flush_take_the_value_away_and_keep_the_history() {
    let counters = counters();
    incr(&counters, "a", 5);
    assert!(counters.delete(b"a", NOW));
    assert!(!counters.delete(b"a", NOW));
    assert_eq!(get(&counters, "a"), None);
    assert_eq!(incr(&counters, "a", 2), Arithmetic::Value(2));
    counters.flush_all(NOW, NOW);
    assert_eq!(get(&counters, "a"), None);
    assert_eq!(incr(&counters, "a", 3), Arithmetic::Value(3));
    assert_eq!(drain(&counters).0.last().map(|cell| cell.total), Some(10));
}

#[test]
fn a_delayed_flush_waits_for_its_time() {
    let counters = counters();
    incr(&counters, "a", 5);
    set(&counters, "b", "text");
    counters.flush_all(later(10), NOW);
    counters.sweep(later(9), Some(later(9)));
    assert_eq!(get(&counters, "a").as_deref(), Some("5"));
    counters.sweep(later(10), Some(later(10)));
    assert_eq!((get(&counters, "a"), get(&counters, "b")), (None, None));
    incr(&counters, "a", 1);
    counters.sweep(later(11), Some(later(11)));
    assert_eq!(get(&counters, "a").as_deref(), Some("1"));
}

#[test]
fn decr_stops_at_zero_and_pads_as_memcached_does() {
    let counters = counters();
    set(&counters, "n", "10");
    assert_eq!(counters.decr(b"n", 1, NOW), Arithmetic::Value(9));
    assert_eq!(get(&counters, "n").as_deref(), Some("9 "));
    assert_eq!(counters.decr(b"n", 100, NOW), Arithmetic::Value(0));
    assert_eq!(counters.decr(b"absent", 1, NOW), Arithmetic::NotFound);
    assert_eq!(incr(&counters, "n", 12), Arithmetic::Value(12));
    assert_eq!(drain(&counters).0[0].total, 12);
}

#[test]
fn numbers_wrap_at_64_bits() {
    let counters = counters();
    set(&counters, "n", "18446744073709551615");
    assert_eq!(incr(&counters, "n", 2), Arithmetic::Value(1));
}

#[test]
fn values_come_back_byte_for_byte() {
    let counters = counters();
    for value in ["5", "007", "21.5", "21.50", "-3", "1e5", "text", "", "\r\n\0"] {
        assert_eq!(set(&counters, "k", value), Stored::Stored);
        assert_eq!(get(&counters, "k").as_deref(), Some(value));
        incr(&counters, "c", 1);
        assert_eq!(set(&counters, "c", value), Stored::Stored);
        assert_eq!(get(&counters, "c").as_deref(), Some(value), "on a counter");
    }
}

#[test]
fn incr_of_what_is_not_a_decimal_number_is_refused() {
    let counters = counters();
    for value in ["text", "21.5", "-3", "", "1 2"] {
        set(&counters, "k", value);
        assert_eq!(incr(&counters, "k", 1), Arithmetic::NotNumeric, "{value:?}");
        assert_eq!(get(&counters, "k").as_deref(), Some(value));
    }
    set(&counters, "k", "007");
    assert_eq!(incr(&counters, "k", 1), Arithmetic::Value(8));
    assert_eq!(get(&counters, "k").as_deref(), Some("8  "));
}

#[test]
fn a_gauge_keeps_the_summary_of_what_it_was_set_to() {
    let counters = counters();
    for value in ["3", "-1.5", "2"] {
        set(&counters, "g", value);
    }
    let (cells, births) = drain(&counters);
    assert_eq!(births, ["tallyd.overflow", "g"]);
    let observed = Observed { count: 3, sum: 3.5, min: -1.5, max: 3.0, last: 2.0 };
    assert_eq!(
        (cells[0].kind, cells[0].observed.clone()),
        (Kind::Gauge, Some(Observations::Gauge(observed)))
    );
    assert_eq!(drain(&counters).0, []);
    incr(&counters, "g", 1);
    let (cells, _) = drain(&counters);
    assert_eq!(
        (cells[0].kind, cells[0].total, cells[0].shown),
        (Kind::Counter, 1, ShownNow::Number(3.0))
    );
}

#[test]
fn add_and_replace_look_at_what_is_shown() {
    let counters = counters();
    let store = |value, condition| store(&counters, "k", value, condition, None);
    assert_eq!(store("1", Condition::Present), Stored::NotStored);
    assert_eq!(store("1", Condition::Absent), Stored::Stored);
    assert_eq!(store("x", Condition::Absent), Stored::NotStored);
    assert_eq!(store("x", Condition::Present), Stored::Stored);
    assert_eq!(store("2", Condition::Present), Stored::Stored);
    assert!(counters.delete(b"k", NOW));
    assert_eq!(store("y", Condition::Absent), Stored::Stored);
}

#[test]
fn what_has_expired_is_not_there() {
    let counters = counters();
    for (key, value) in [("n", "5"), ("t", "text")] {
        store(&counters, key, value, Condition::Always, Some(later(10)));
        assert_eq!(get_at(&counters, key, later(9)).as_deref(), Some(value));
        assert_eq!(get_at(&counters, key, later(10)), None);
        assert!(!counters.touch(key.as_bytes(), None, later(10)));
    }
    assert_eq!(counters.incr(b"n", 2, later(10)), Arithmetic::Value(2));
    assert_eq!(get_at(&counters, "n", later(1000)).as_deref(), Some("2"), "a new life, no expiry");
    assert!(counters.touch(b"n", Some(later(20)), later(11)));
    assert_eq!(get_at(&counters, "n", later(20)), None);
    counters.sweep(later(20), Some(later(20)));
    assert!(counters.items().is_empty());
}

#[test]
fn the_unique_number_changes_with_every_change() {
    let counters = counters();
    let mut seen = std::collections::HashSet::new();
    let mut note = |what: &str| {
        let unique = counters.get(b"k", NOW, |view| view.unique).expect(what);
        assert!(seen.insert(unique), "{what} repeated {unique}");
    };
    for _ in 0..5 {
        set(&counters, "k", "5");
        note("set");
        for _ in 0..3 {
            incr(&counters, "k", 1);
            note("incr");
        }
        set(&counters, "k", "text");
        note("text");
    }
}

#[test]
fn spellings_of_one_series_share_a_cell() {
    let counters = counters();
    incr(&counters, "o;a=1;b=2", 1);
    assert_eq!(incr(&counters, "o;b=2;a=1", 1), Arithmetic::Value(2));
    assert_eq!(get(&counters, "o;b=2;a=1").as_deref(), Some("2"));
    assert_eq!(counters.series(), 1);
}

#[test]
fn without_room_increments_fold_into_the_overflow() {
    let counters = table(MissingIncr::Create, 2);
    for key in ["a", "b", "c", "d"] {
        incr(&counters, key, 10);
    }
    assert_eq!(counters.series(), 2);
    assert_eq!(counters.overflowed(), 2);
    assert_eq!(get(&counters, "tallyd.overflow").as_deref(), Some("20"));
    assert_eq!(set(&counters, "e", "5"), Stored::Stored, "a number can still be kept");
    assert_eq!(get(&counters, "e").as_deref(), Some("5"));
    assert_eq!(incr(&counters, "a", 1), Arithmetic::Value(11));
}

#[test]
fn our_own_names_are_not_for_clients() {
    let counters = counters();
    assert_eq!(incr(&counters, "tallyd.overflow", 1), Arithmetic::Reserved);
    assert_eq!(counters.decr(b"tallyd.x", 1, NOW), Arithmetic::Reserved);
    assert_eq!(set(&counters, "tallyd.x", "1"), Stored::Reserved);
}

#[test]
fn what_our_own_names_show_is_not_for_clients_to_take() {
    let counters = table(MissingIncr::Create, 0);
    incr(&counters, "no-room", 7);
    let key = OVERFLOW_KEY;
    assert!(!counters.delete(key, NOW));
    assert_eq!(counters.condemn(key, None, None, NOW), Condemned::NotFound);
    counters.touch(key, Some(later(-1)), NOW);
    counters.glance(key, None, NOW, |glance| glance.expires = Some(later(-1)));
    counters.flush_all(NOW, NOW);
    assert_eq!(get(&counters, "tallyd.overflow").as_deref(), Some("7"));
}

#[test]
fn items_are_refused_when_the_room_is_full() {
    let counters = counters();
    let long = "x".repeat(9_000);
    assert_eq!(set(&counters, "a", &long), Stored::Stored);
    assert_eq!(set(&counters, "b", &long), Stored::Full);
    assert_eq!(get(&counters, "b"), None);
    assert_eq!(incr(&counters, "c", 1), Arithmetic::Value(1), "counting goes on");
}

#[test]
fn a_batch_answers_as_its_requests_one_after_the_other() {
    let [one, many] = [table(MissingIncr::Create, 3), table(MissingIncr::Create, 3)];
    for counters in [&one, &many] {
        incr(counters, "known", 1);
        set(counters, "gauge", "5");
        set(counters, "text", "text");
    }
    let keys = ["known", "new", "known", "gauge", "text", "tallyd.x", "new", "gauge", "no-room"];
    let mut batch = keys.map(|key| Increment::new(key.as_bytes(), 10));
    many.incr_all(&mut batch, NOW);
    assert_eq!(batch.map(|one| one.done), keys.map(|key| incr(&one, key, 10)));
    let mut seen = Vec::new();
    let asked = keys.map(str::as_bytes);
    many.get_all(&asked, NOW, |at, view| {
        seen.push((at, view.map(|view| String::from_utf8_lossy(view.value).into_owned())));
    });
    let expect: Vec<_> = keys.iter().map(|key| get(&one, key)).enumerate().collect();
    assert_eq!(seen, expect);
}

#[test]
fn long_batches_go_in_runs_and_miss_nobody() {
    let counters = table(MissingIncr::Create, 300);
    let keys: Vec<_> = (0..1000).map(|n| format!("k{};b=1;a=2", n % 250)).collect();
    let mixed = keys.iter().enumerate();
    let keys: Vec<_> =
        mixed.map(|(n, key)| if n % 40 == 0 { &key[..] } else { &key[..key.len() - 8] }).collect();
    for round in 1..=3_u64 {
        let mut batch: Vec<_> =
            keys.iter().map(|key| Increment::new(key.as_bytes(), round)).collect();
        counters.incr_all(&mut batch, NOW);
        assert!(batch.iter().all(|one| matches!(one.done, Arithmetic::Value(_))));
    }
    let (cells, _) = drain(&counters);
    assert_eq!(cells.iter().map(|cell| cell.total).sum::<u64>(), 1000 * 6);
    let asked: Vec<_> = keys.iter().map(|key| key.as_bytes()).collect();
    let mut seen = Vec::new();
    counters.get_all(&asked, NOW, |at, view| {
        seen.push((at, view.map(|view| String::from_utf8_lossy(view.value).into_owned())));
    });
    let alone: Vec<_> = keys.iter().map(|key| get(&counters, key)).enumerate().collect();
    assert_eq!(seen, alone);
}

/// Eight threads add while a ninth drains: nothing is lost, nothing is left unseen.
#[test]
fn increments_from_many_threads_all_arrive() {
    let counters = &counters();
    std::thread::scope(|scope| {
        let adders: Vec<_> = (0..8)
            .map(|thread: u64| {
                scope.spawn(move || {
                    for n in 0..20_000_u64 {
                        incr(counters, ["a", "b", "c"][((n + thread) % 3) as usize], 1);
                    }
                })
            })
            .collect();
        let mut totals = std::collections::HashMap::new();
        let mut note = |drained: Drained| {
            totals.insert(drained.cell, drained.total);
        };
        while adders.iter().any(|adder| !adder.is_finished()) {
            counters.drain(NOW, &mut note);
        }
        counters.drain(NOW, &mut note);
        assert_eq!(totals.values().sum::<u64>(), 160_000);
    });
}

#[derive(Clone, Debug)]
enum Op {
    Incr(u64),
    Decr(u64),
    Set(u64),
    Text,
    Delete,
    Flush,
}

proptest! {
    /// Against a plain model: an optional value shown, and a total that only increments move.
    #[test]
    fn behaves_like_the_model(ops in prop::collection::vec(prop_oneof![
        (0..1000_u64).prop_map(Op::Incr),
        (0..1000_u64).prop_map(Op::Decr),
        (0..1000_u64).prop_map(Op::Set),
        Just(Op::Text),
        Just(Op::Delete),
        Just(Op::Flush),
    ], 1..60)) {
        let counters = counters();
        let mut shown: Option<Result<u64, &str>> = None;
        let (mut total, mut count) = (0, 0);
        for op in ops {
            match op {
                Op::Incr(n) => {
                    let expect = match shown.unwrap_or(Ok(0)) {
                        Err(_) => Arithmetic::NotNumeric,
                        Ok(value) => {
                            shown = Some(Ok(value + n));
                            total += n;
                            count += 1;
                            Arithmetic::Value(value + n)
                        }
                    };
                    prop_assert_eq!(incr(&counters, "k", n), expect);
                }
                Op::Decr(n) => {
                    let expect = match shown {
                        None => Arithmetic::NotFound,
                        Some(Err(_)) => Arithmetic::NotNumeric,
                        Some(Ok(value)) => {
                            shown = Some(Ok(value.saturating_sub(n)));
                            Arithmetic::Value(value.saturating_sub(n))
                        }
                    };
                    prop_assert_eq!(counters.decr(b"k", n, NOW), expect);
                }
                Op::Set(n) => {
                    set(&counters, "k", &n.to_string());
                    shown = Some(Ok(n));
                }
                Op::Text => {
                    set(&counters, "k", "text");
                    shown = Some(Err("text"));
                }
                Op::Delete => {
                    prop_assert_eq!(counters.delete(b"k", NOW), shown.is_some());
                    shown = None;
                }
                Op::Flush => {
                    counters.flush_all(NOW, NOW);
                    shown = None;
                }
            }
            let expect = shown.map(|value| value.map_or_else(str::to_owned, |n| n.to_string()));
            let got = get(&counters, "k").map(|text| text.trim_end().to_owned());
            prop_assert_eq!(got, expect);
        }
        let (mut cells, _) = drain(&counters);
        cells.retain(|drained| drained.cell != counters.overflow);
        let got = cells.first().map_or((0, 0), |cell| (cell.total, cell.count));
        prop_assert_eq!(got, (total, count));
    }
}

/// A table on a disk, that can be dropped and opened again. What is dropped unsynced is in the
/// system's page cache, as after a kill.
struct OnDisk {
    dir: tempfile::TempDir,
    counters: Option<Counters>,
}

impl OnDisk {
    fn new() -> Self {
        let mut disk = Self { dir: tempfile::tempdir().unwrap(), counters: None };
        disk.reopen();
        disk
    }

    fn reopen(&mut self) -> Recovered {
        self.reopen_at(NOW)
    }

    fn reopen_at(&mut self, now: Timestamp) -> Recovered {
        self.try_reopen(now).unwrap()
    }

    fn try_reopen(&mut self, now: Timestamp) -> Result<Recovered, OpenError> {
        self.counters = None;
        let options = Options { items_bytes: 100_000, value_bytes: 100_000, ..options() };
        let (counters, recovered) = Counters::open(options, self.dir.path(), now)?;
        self.counters = Some(counters);
        Ok(recovered)
    }

    fn get(&self) -> &Counters {
        self.counters.as_ref().unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }
}

#[test]
fn everything_is_there_again_after_the_end_of_the_process() {
    let mut disk = OnDisk::new();
    incr(disk.get(), "a", 5);
    set(disk.get(), "a", "100");
    set(disk.get(), "g", "21.5");
    set(disk.get(), "t", "text");
    set(disk.get(), "gone", "text");
    store(disk.get(), "soon", "text", Condition::Always, Some(later(10)));
    set(disk.get(), "number-now", "text");
    set(disk.get(), "number-now", "7");
    set(disk.get(), "text-now", "7");
    set(disk.get(), "text-now", "text");
    assert!(disk.get().delete(b"gone", NOW));
    let unique = disk.get().get(b"t", NOW, |view| view.unique).unwrap();
    let recovered = disk.reopen();
    assert_eq!((recovered.series, recovered.items), (5, 3));
    let counters = disk.get();
    for (key, expect) in [
        ("a", Some("100")),
        ("g", Some("21.5")),
        ("t", Some("text")),
        ("gone", None),
        ("number-now", Some("7")),
        ("text-now", Some("text")),
        ("soon", Some("text")),
    ] {
        assert_eq!(get(counters, key).as_deref(), expect, "{key}");
    }
    assert_eq!(get_at(counters, "soon", later(10)), None);
    assert_eq!(incr(counters, "a", 1), Arithmetic::Value(101));
    let a = drain(counters).0.into_iter().find(|cell| cell.count == 2);
    assert_eq!(a.map(|cell| cell.total), Some(6));
    assert_eq!(counters.get(b"t", NOW, |view| view.unique), Some(unique));
    set(counters, "new", "text");
    assert!(counters.get(b"new", NOW, |view| view.unique).unwrap() > unique);
}

#[test]
fn a_directory_has_one_master() {
    let disk = OnDisk::new();
    let options = Options { max_series: 10, ..options() };
    let error = Counters::open(options, disk.dir.path(), NOW).unwrap_err();
    assert!(matches!(error, OpenError::Locked { .. }));
    assert!(error.to_string().starts_with("another tallyd works on"), "{error}");
}

#[test]
fn the_item_log_is_rewritten_when_most_of_it_is_past() {
    let mut disk = OnDisk::new();
    let long = "x".repeat(50_000);
    for _ in 0..40 {
        set(disk.get(), "a", &long);
    }
    set(disk.get(), "b", "kept");
    let before = std::fs::metadata(disk.path("items-000000.log")).unwrap().len();
    assert!(before > 2_000_000);
    disk.get().sync().unwrap();
    assert!(!disk.path("items-000000.log").exists());
    assert!(std::fs::metadata(disk.path("items-000001.log")).unwrap().len() < 60_000);
    set(disk.get(), "c", "after");
    disk.reopen();
    for (key, expect) in [("a", long.as_str()), ("b", "kept"), ("c", "after")] {
        assert_eq!(get(disk.get(), key).as_deref(), Some(expect));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test garbles files")]
fn damage_is_reported_and_the_rest_is_kept() {
    let mut disk = OnDisk::new();
    for key in ["a", "b", "c"] {
        incr(disk.get(), key, 5);
        set(disk.get(), &format!("item-{key}"), "text");
    }
    disk.counters = None;
    // The second key's record, and a byte of the second item's.
    for (file, needle) in [("keys.log", &b"\x02\x02\0\0\0"[..]), ("items-000000.log", b"item-b")] {
        let mut bytes = std::fs::read(disk.path(file)).unwrap();
        let at = memchr::memmem::find(&bytes, needle).expect(file);
        bytes[at] ^= 0xff;
        std::fs::write(disk.path(file), bytes).unwrap();
    }
    let recovered = disk.reopen();
    assert!(recovered.damaged_bytes > 0);
    let shown = |key: &str| get(disk.get(), key);
    assert_eq!([shown("a"), shown("b"), shown("c")], [Some("5".into()), None, Some("5".into())]);
    assert_eq!([shown("item-a"), shown("item-b")], [Some("text".into()), None]);
    assert_eq!(
        incr(disk.get(), "b", 1),
        Arithmetic::Value(1),
        "a cell of its own, not the old one"
    );
    assert_eq!(incr(disk.get(), "d", 1), Arithmetic::Value(1));
}

/// Three counters and three items, and what of them is there after `spoil` had its way with a file.
/// Whatever is missing was told of.
#[expect(clippy::disallowed_methods, reason = "a test garbles files")]
fn spoiled(file: &str, spoil: impl FnOnce(&mut Vec<u8>)) -> Option<Recovered> {
    let mut disk = OnDisk::new();
    for key in ["a", "b", "c"] {
        incr(disk.get(), key, 5);
        set(disk.get(), &format!("item-{key}"), "text");
    }
    disk.get().sync().unwrap();
    disk.counters = None;
    let mut bytes = std::fs::read(disk.path(file)).unwrap();
    spoil(&mut bytes);
    std::fs::write(disk.path(file), &bytes).unwrap();
    let recovered = disk.try_reopen(NOW).ok()?;
    let there = |key: &str, expect: &str| {
        let got = get(disk.get(), key);
        assert!(got.is_none() || got.as_deref() == Some(expect), "{key}: {got:?}");
        got.is_some()
    };
    let lost = ["a", "b", "c"].into_iter().filter(|key| !there(key, "5")).count();
    let lost_items =
        ["item-a", "item-b", "item-c"].iter().filter(|key| !there(key, "text")).count();
    let Recovered { reset, nameless, torn_bytes, damaged_bytes, .. } = recovered;
    let Recovered { lost_key_bytes, lost_item_bytes, .. } = recovered;
    let is_told = reset + nameless + torn_bytes + damaged_bytes > 0;
    let is_told = is_told || lost_key_bytes + lost_item_bytes > 0;
    assert!(is_told || lost + lost_items == 0, "{file}: {lost} {lost_items} {recovered:?}");
    assert_eq!(incr(disk.get(), "new", 3), Arithmetic::Value(3), "it goes on");
    let again = disk.reopen();
    assert_eq!(get(disk.get(), "new").as_deref(), Some("3"));
    assert_eq!(again.lost_key_bytes + again.lost_item_bytes, 0, "it is told once");
    Some(recovered)
}

#[test]
fn no_byte_of_a_log_is_lost_in_silence() {
    for (file, len) in [("keys.log", 90), ("items-000000.log", 200)] {
        for at in (0..len).step_by(3) {
            spoiled(file, |bytes| bytes.truncate(at));
            spoiled(file, |bytes| bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 0x11));
            spoiled(file, |bytes| bytes.iter_mut().skip(at).for_each(|byte| *byte = 0));
        }
    }
}

#[test]
fn a_log_that_is_missing_is_missed() {
    for (file, is_of_keys) in [("keys.log", true), ("items-000000.log", false)] {
        let mut disk = OnDisk::new();
        incr(disk.get(), "a", 5);
        set(disk.get(), "item", "text");
        disk.get().sync().unwrap();
        let bytes = std::fs::metadata(disk.path(file)).unwrap().len() - 20;
        disk.counters = None;
        std::fs::remove_file(disk.path(file)).unwrap();
        let recovered = disk.reopen();
        let lost = (recovered.lost_key_bytes, recovered.lost_item_bytes);
        assert_eq!(lost, if is_of_keys { (bytes, 0) } else { (0, bytes) }, "{file}");
    }
}

#[test]
fn a_log_that_was_written_anew_is_not_missed() {
    let mut disk = OnDisk::new();
    let long = "x".repeat(50_000);
    for _ in 0..40 {
        set(disk.get(), "a", &long);
    }
    // The log is written anew in this one, and what is noted then is the old one's length.
    disk.get().sync().unwrap();
    assert!(disk.path("items-000001.log").exists());
    assert_eq!(disk.reopen().lost_item_bytes, 0);
    disk.get().sync().unwrap();
    assert_eq!(disk.reopen().lost_item_bytes, 0);
    disk.counters = None;
    std::fs::remove_file(disk.path("items-000001.log")).unwrap();
    assert!(disk.reopen().lost_item_bytes > 50_000);
}

#[test]
fn a_cut_file_of_cells_costs_what_was_cut_and_says_so() {
    for (len, reset) in
        [(0, 4), (5, 4), (4095, 4), (4096 + 64, 3), (4096 + 130, 2), (4096 + 256, 0)]
    {
        let recovered = spoiled("cells-0000.map", |bytes| bytes.truncate(len)).unwrap();
        assert_eq!(recovered.reset, reset, "cut at {len}");
    }
    assert_eq!(spoiled("cells-0000.map", |bytes| bytes[3] ^= 1), None, "not ours");
}

#[test]
fn a_flush_that_is_to_come_outlives_the_process() {
    let mut disk = OnDisk::new();
    let fill = |counters: &Counters| {
        assert_eq!(set(counters, "text", "t"), Stored::Stored);
        incr(counters, "n", 5);
    };
    let shown = |counters: &Counters| ["text", "n"].map(|key| get(counters, key).is_some());
    fill(disk.get());
    disk.get().flush_all(later(60), NOW);
    disk.reopen();
    assert_eq!(shown(disk.get()), [true, true], "not yet");
    disk.get().sweep(later(60), Some(later(60)));
    assert_eq!(shown(disk.get()), [false, false]);
    fill(disk.get());
    disk.reopen();
    disk.get().sweep(later(61), Some(later(61)));
    assert_eq!(shown(disk.get()), [true, true], "once is enough");
    // One that comes due while nobody is there.
    disk.get().flush_all(later(60), NOW);
    disk.reopen_at(later(100));
    assert_eq!(shown(disk.get()), [false, false]);
    // One that another has made idle.
    disk.get().flush_all(later(60), NOW);
    disk.get().flush_all(NOW, NOW);
    fill(disk.get());
    disk.reopen_at(later(100));
    assert_eq!(shown(disk.get()), [true, true]);
    // And one in a log that is written anew.
    disk.get().flush_all(later(60), NOW);
    for _ in 0..300 {
        set(disk.get(), "text", &"x".repeat(5000));
    }
    disk.get().sync().unwrap();
    assert!(!disk.path("items-000000.log").exists());
    disk.reopen_at(later(100));
    assert_eq!(shown(disk.get()), [false, false]);
}

#[test]
fn cells_that_were_not_written_back_begin_at_zero_and_are_reported() {
    let mut disk = OnDisk::new();
    incr(disk.get(), "a", 5);
    disk.counters = None;
    std::fs::remove_file(disk.path("cells-0000.map")).unwrap();
    let recovered = disk.reopen();
    assert_eq!((recovered.series, recovered.reset), (2, 2));
    assert_eq!(incr(disk.get(), "a", 1), Arithmetic::Value(1));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test garbles files")]
fn files_of_a_newer_version_are_refused() {
    for file in ["keys.log", "items-000000.log", "cells-0000.map"] {
        let mut disk = OnDisk::new();
        incr(disk.get(), "a", 5);
        disk.counters = None;
        let mut bytes = std::fs::read(disk.path(file)).unwrap();
        bytes[8] = 9;
        std::fs::write(disk.path(file), bytes).unwrap();
        let options = Options { max_series: 10, ..options() };
        let error = Counters::open(options, disk.dir.path(), NOW).unwrap_err();
        assert!(error.to_string().contains("newer tallyd (format 9"), "{file}: {error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// With the process ended at any moment between two requests, what is there afterwards is what
    /// was there before.
    #[test]
    fn survives_the_end_of_the_process_at_any_time(ops in prop::collection::vec(
        (0..6_u8, 0..5_u8, 0..100_u64), 1..80,
    )) {
        let mut disk = OnDisk::new();
        for (op, key, n) in ops {
            let key = format!("k{key}");
            match op {
                0 | 1 => { incr(disk.get(), &key, n); }
                2 => { set(disk.get(), &key, &n.to_string()); }
                3 => { set(disk.get(), &key, &format!("text{n}")); }
                4 => { disk.get().delete(key.as_bytes(), NOW); }
                _ => {
                    let see = |disk: &OnDisk| -> Vec<_> {
                        (0..5).map(|key| get(disk.get(), &format!("k{key}"))).collect()
                    };
                    let totals = |disk: &OnDisk| -> Vec<_> {
                        let cells = 0..disk.get().cells.len();
                        cells.map(|at| disk.get().totals(Cells::nth(at))).collect()
                    };
                    let before = (see(&disk), totals(&disk));
                    let recovered = disk.reopen();
                    prop_assert_eq!(recovered.reset + recovered.damaged_bytes, 0);
                    prop_assert_eq!((see(&disk), totals(&disk)), before);
                }
            }
        }
    }
}

#[test]
fn a_value_that_expires_is_drained_once_as_gone() {
    let counters = counters();
    incr(&counters, "a", 5);
    incr(&counters, "b", 5);
    assert!(counters.touch(b"a", Some(later(10)), NOW));
    assert!(counters.touch(b"b", Some(later(10)), NOW));
    assert!(counters.touch(b"b", None, NOW));
    drain(&counters);
    let at = |secs| {
        let mut cells = Vec::new();
        counters.drain(later(secs), |drained| cells.push((drained.total, drained.shown)));
        cells
    };
    assert_eq!(at(9), []);
    assert_eq!(at(10), [(5, ShownNow::Nothing)]);
    assert_eq!(at(11), []);
}

#[test]
fn a_refused_value_leaves_the_old_one_with_its_unique_number() {
    let counters = counters();
    incr(&counters, "a", 5);
    let unique = || counters.get(b"a", NOW, |view| view.unique);
    let before = unique();
    assert_eq!(set(&counters, "a", &"x".repeat(20_000)), Stored::Full);
    assert_eq!((unique(), get(&counters, "a").as_deref()), (before, Some("5")));
}

#[test]
fn a_number_that_finds_no_room_leaves_the_text_that_was_there() {
    let counters = counters();
    set(&counters, "k", "y");
    let overhead = counters.items().used_bytes() - 2;
    let left = counters.items().max_bytes() - counters.items().used_bytes();
    let fill = "x".repeat(left - overhead - "fill".len() - 5);
    assert_eq!(set(&counters, "fill", &fill), Stored::Stored);
    // A number that does not print as it is written, so it is kept as a text, and five bytes are left.
    assert_eq!(set(&counters, "k", "21.500000"), Stored::Full);
    assert_eq!(get(&counters, "k").as_deref(), Some("y"));
    assert_eq!(set(&counters, "k", "21.5"), Stored::Stored, "this one needs no room");
    assert_eq!(get(&counters, "k").as_deref(), Some("21.5"));
}

#[test]
fn a_number_kept_without_a_cell_is_not_told_the_sum_of_strangers() {
    let counters = table(MissingIncr::Create, 1);
    incr(&counters, "a", 1);
    incr(&counters, "stranger", 20);
    set(&counters, "e", "5");
    assert_eq!(incr(&counters, "e", 1), Arithmetic::Full);
    assert_eq!(get(&counters, "e").as_deref(), Some("5"));
}

/// Setting, deleting and flushing go on while the log is written anew, again and again; what is there
/// at the end is what is there after a start.
#[test]
fn rewriting_the_item_log_under_load_loses_and_revives_nothing() {
    for round in 0..6 {
        let mut disk = OnDisk::new();
        let counters = disk.get();
        let long = "x".repeat(2_000);
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..3_u64)
                .map(|worker| {
                    let (long, stop) = (&long, &stop);
                    scope.spawn(move || {
                        let mut n = worker + round * 7 + 1;
                        while !stop.load(Relaxed) {
                            n = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                            let key = format!("w{worker}.{}", (n >> 33) % 8);
                            match (n >> 40) % 40 {
                                0 if worker == 0 => counters.flush_all(NOW, NOW),
                                1..=9 => {
                                    counters.delete(key.as_bytes(), NOW);
                                }
                                _ => {
                                    set(counters, &key, &format!("{n} {long}"));
                                }
                            }
                        }
                    })
                })
                .collect();
            let fifth = disk.path("items-000005.log");
            let tries = (0..100_000).take_while(|_| {
                counters.sync().unwrap();
                !fifth.exists()
            });
            assert!(tries.count() < 100_000, "it is written anew now and then");
            stop.store(true, Relaxed);
            for worker in workers {
                worker.join().unwrap();
            }
        });
        let see = |disk: &OnDisk| -> Vec<_> {
            let keys = (0..3).flat_map(|w| (0..8).map(move |k| format!("w{w}.{k}")));
            keys.map(|key| get(disk.get(), &key)).collect()
        };
        let before = see(&disk);
        disk.reopen();
        assert_eq!(see(&disk), before, "round {round}");
    }
}

#[test]
fn a_value_is_counted_as_long_as_it_is_shown() {
    let counters = counters();
    assert_eq!(counters.values(NOW), 0, "the overflow series is nobody's value");
    incr(&counters, "number", 1);
    incr(&counters, "deleted", 1);
    set(&counters, "item", "hello");
    // A counter that shows a text is one value, not two.
    incr(&counters, "text", 1);
    set(&counters, "text", "hello");
    store(&counters, "brief", "5", Condition::Always, Some(later(10)));
    assert_eq!(counters.values(NOW), 5);
    counters.delete(b"deleted", NOW);
    assert_eq!((counters.values(NOW), counters.values(later(10))), (4, 3));
    counters.flush_all(NOW, NOW);
    assert_eq!(counters.values(NOW), 0);
    incr(&counters, "deleted", 1);
    assert_eq!(counters.values(NOW), 1);
}
