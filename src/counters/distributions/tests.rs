//! Every command on every kind that the configuration can make of a key, and the change of its mind.

use std::path::Path;

use super::*;
use crate::config::{self, MissingIncr, Surroundings};
use crate::counters::marks::Marks;
use crate::counters::{
    Arithmetic, Condition, Counters, Drained, Entry, Observations, Options, Side, Step, Stepped,
    Stored,
};
use crate::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

/// One entry of each kind.
const ALL: &str = "[[metric]]
match = 'd*'
kind = 'distribution'
[[metric]]
match = 'g'
kind = 'gauge'
[[metric]]
match = 'c'
kind = 'counter'
[[metric]]
match = 'i'
kind = 'item'
";

fn metrics(text: &str) -> Arc<[Metric]> {
    let file = |_: &Path, _: u64| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = Surroundings { variable: &|_| None, file: &file };
    let loaded = config::parse(text, Path::new("tallyd.toml"), &surroundings);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config.metrics.into()
}

fn options(text: &str) -> Options {
    Options {
        missing_incr: MissingIncr::Create,
        max_series: 6,
        items_bytes: 100_000,
        value_bytes: 100_000,
        idle_expiry: None,
        metrics: metrics(text),
    }
}

/// A table with what was said to it, as a client would.
struct Talk(Counters);

impl Talk {
    fn new(text: &str) -> Self {
        Self(Counters::new(options(text)))
    }

    fn open(dir: &Path, text: &str) -> Self {
        Self(Counters::open(options(text), dir, NOW).unwrap().0)
    }

    fn store(&self, key: &str, value: &str, condition: Condition) -> Stored {
        let entry = Entry { key: key.as_bytes(), value: value.as_bytes(), flags: 3, expires: None };
        self.0.store(entry, condition, NOW)
    }

    fn set(&self, key: &str, value: &str) -> Stored {
        self.store(key, value, Condition::Always)
    }

    fn incr(&self, key: &str, delta: u64) -> Arithmetic {
        self.0.incr(key.as_bytes(), delta, NOW)
    }

    fn decr(&self, key: &str, delta: u64) -> Arithmetic {
        self.0.decr(key.as_bytes(), delta, NOW)
    }

    fn get(&self, key: &str) -> Option<String> {
        self.0.get(key.as_bytes(), NOW, |view| String::from_utf8_lossy(view.value).into_owned())
    }

    fn unique(&self, key: &str) -> u64 {
        self.0.get(key.as_bytes(), NOW, |view| view.unique).unwrap()
    }

    /// Kind, and count and sum of what was observed, of every drained cell that is not our own.
    fn drain(&self) -> Vec<(Kind, u64, f64)> {
        let mut drained = Vec::new();
        self.0.drain(NOW, |one| drained.push(one));
        drained.into_iter().filter(|one| one.cell.index() > 0).map(|one| seen(&one)).collect()
    }
}

fn seen(one: &Drained) -> (Kind, u64, f64) {
    let (count, sum) = match &one.observed {
        Some(Observations::Gauge(o)) => (o.count, o.sum),
        Some(Observations::Distribution(o, spread)) => {
            assert_eq!(spread.count(), o.count);
            (o.count, o.sum)
        }
        None => (0, 0.0),
    };
    (one.kind, count, sum)
}

#[test]
fn each_set_of_a_distribution_is_an_observation() {
    let talk = Talk::new(ALL);
    assert_eq!(talk.set("d", "12.5"), Stored::Stored);
    assert_eq!(talk.get("d").as_deref(), Some("1"));
    assert_eq!(talk.store("d", "1", Condition::Absent), Stored::NotStored);
    assert_eq!(talk.store("d", "007", Condition::Present), Stored::Stored);
    let unique = talk.unique("d");
    assert_eq!(talk.store("d", "2", Condition::Unique(unique + 1)), Stored::Exists);
    assert_eq!(talk.store("d", "-2", Condition::Unique(unique)), Stored::Stored);
    assert_ne!(talk.unique("d"), unique);
    assert_eq!(talk.get("d").as_deref(), Some("3"));
    assert_eq!(talk.drain(), [(Kind::Distribution, 3, 17.5)]);
    assert_eq!(talk.drain(), []);
    // What is shown goes, what was observed does not.
    assert!(talk.0.delete(b"d", NOW));
    assert_eq!(
        (talk.get("d"), talk.store("d", "1", Condition::Present)),
        (None, Stored::NotStored)
    );
    assert_eq!(talk.store("d", "1", Condition::Absent), Stored::Stored);
    assert_eq!(talk.get("d").as_deref(), Some("4"));
    talk.0.flush_all(NOW, NOW);
    assert_eq!(talk.get("d"), None);
    let soon = Some(Timestamp::from_secs(1_000_010));
    let entry = Entry { key: b"d", value: b"1", flags: 0, expires: soon };
    assert_eq!(talk.0.store(entry, Condition::Always, NOW), Stored::Stored);
    let at = |secs| talk.0.get(b"d", Timestamp::from_secs(secs), |view| view.value.to_vec());
    assert_eq!((at(1_000_009), at(1_000_010)), (Some(b"5".to_vec()), None));
}

#[test]
fn a_distribution_takes_nothing_but_numbers() {
    let talk = Talk::new(ALL);
    for key in ["d", "d.new"] {
        assert_eq!(talk.set("d", "1"), Stored::Stored);
        assert_eq!(talk.set(key, "text"), Stored::NotNumeric);
        assert_eq!(talk.incr(key, 1), Arithmetic::NotNumeric);
        assert_eq!(talk.decr(key, 1), Arithmetic::NotNumeric);
        for side in [Side::Front, Side::Back] {
            let done = talk.0.join(key.as_bytes(), b"1", side, None, NOW).outcome;
            assert_eq!(done, Stored::NotNumeric);
        }
        let step = Step {
            key: key.as_bytes(),
            delta: 1,
            is_decr: true,
            unique: None,
            initial: Some(5),
            marks: Marks::NONE,
        };
        let stepped = talk.0.step(step, NOW, |_| ());
        assert_eq!(stepped, Stepped::Not(Arithmetic::NotNumeric));
        assert!(
            talk.0.glance(b"d.new", Some(Marks::NONE), NOW, |_| ()).is_none(),
            "made for nobody"
        );
    }
    assert_eq!(talk.0.series(), 1);
    assert_eq!(talk.drain(), [(Kind::Distribution, 2, 2.0)]);
}

#[test]
fn a_distribution_for_which_there_is_no_room_is_refused() {
    let talk = Talk::new(ALL);
    for key in 0..6 {
        assert_eq!(talk.set(&format!("d{key}"), "1"), Stored::Stored);
    }
    assert_eq!(talk.set("d6", "1"), Stored::Full);
    assert_eq!((talk.get("d6"), talk.incr("g", 1)), (None, Arithmetic::Full));
}

#[test]
fn a_configured_gauge_stays_one() {
    let talk = Talk::new(ALL);
    assert_eq!(talk.incr("g", 5), Arithmetic::Value(5));
    assert_eq!(talk.incr("g", 2), Arithmetic::Value(7));
    assert_eq!(talk.decr("g", 3), Arithmetic::Value(4));
    assert_eq!(talk.drain(), [(Kind::Gauge, 3, 16.0)]);
    assert_eq!((talk.set("g", "1.5"), talk.incr("g", 1)), (Stored::Stored, Arithmetic::NotNumeric));
    assert_eq!(talk.get("g").as_deref(), Some("1.5"));
    assert_eq!((talk.set("g", "text"), talk.get("g").as_deref()), (Stored::Stored, Some("text")));
    assert_eq!((talk.set("g", "9"), talk.incr("g", 1)), (Stored::Stored, Arithmetic::Value(10)));
    assert_eq!(talk.get("g").as_deref(), Some("10"));
    assert_eq!(talk.drain(), [(Kind::Gauge, 3, 20.5)]);
}

#[test]
fn a_configured_counter_is_one_before_it_is_incremented() {
    let talk = Talk::new(ALL);
    assert_eq!(talk.set("c", "100"), Stored::Stored);
    assert_eq!(talk.drain(), [(Kind::Counter, 0, 0.0)]);
    assert_eq!(talk.incr("c", 1), Arithmetic::Value(101));
    assert_eq!((talk.set("c", "1.5"), talk.get("c").as_deref()), (Stored::Stored, Some("1.5")));
    assert_eq!(talk.incr("c", 1), Arithmetic::NotNumeric);
}

#[test]
fn a_configured_item_is_no_series_and_behaves_as_memcacheds() {
    let talk = Talk::new(ALL);
    assert_eq!((talk.set("i", "007"), talk.get("i").as_deref()), (Stored::Stored, Some("007")));
    assert_eq!((talk.set("i", "99"), talk.incr("i", 1)), (Stored::Stored, Arithmetic::Value(100)));
    let before = talk.unique("i");
    assert_eq!(talk.decr("i", 99), Arithmetic::Value(1));
    assert_eq!(talk.get("i").as_deref(), Some("1  "), "it does not get shorter");
    assert_eq!(talk.0.get(b"i", NOW, |view| view.flags), Some(3));
    assert!(talk.unique("i") > before);
    assert_eq!(talk.0.join(b"i", b"5", Side::Front, None, NOW).outcome, Stored::Stored);
    assert_eq!(
        (talk.set("i", "text"), talk.incr("i", 1)),
        (Stored::Stored, Arithmetic::NotNumeric)
    );
    assert!(talk.0.delete(b"i", NOW));
    assert_eq!(talk.decr("i", 1), Arithmetic::NotFound);
    assert_eq!((talk.incr("i", 4), talk.get("i").as_deref()), (Arithmetic::Value(4), Some("4")));
    assert_eq!((talk.0.series(), talk.drain()), (0, vec![]));
}

#[test]
fn the_first_entry_that_matches_holds() {
    let text =
        "[[metric]]\nmatch = 'a.b'\nkind = 'item'\n[[metric]]\nmatch = 'a.*'\nkind = 'gauge'\n";
    let metrics = Metrics::new(metrics(text));
    assert_eq!(metrics.classify(b"a.b;x=y"), (Class::Item, 1));
    assert_eq!(metrics.classify(b"a.c"), (Class::Is(Kind::Gauge), 2));
    assert_eq!(metrics.classify(b"b"), (Class::Free, 0));
}

#[test]
fn a_pattern_for_everything_does_not_mean_our_own_names() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[[metric]]\nmatch = '*'\nkind = 'distribution'\n";
    for _ in 0..3 {
        let talk = Talk::open(dir.path(), text);
        let overflow = talk.0.look(CellId::default(), NOW).0;
        assert_eq!((overflow, talk.set("a", "1")), (Kind::Counter, Stored::Stored));
        assert_eq!(talk.drain(), [(Kind::Distribution, 1, 1.0)]);
        talk.0.observed_until(talk.0.observed_position());
    }
}

#[test]
fn open_windows_are_there_after_the_end_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let talk = Talk::open(dir.path(), ALL);
    for value in ["1", "2", "4.5"] {
        talk.set("d", value);
        talk.set("free", value);
    }
    talk.incr("g", 3);
    drop(talk);
    let talk = Talk::open(dir.path(), ALL);
    assert_eq!(talk.0.births().len(), 4);
    talk.set("d", "0.5");
    let mut drained = talk.drain();
    drained.sort_by_key(|(_, count, _)| *count);
    let expect = [(Kind::Gauge, 1, 3.0), (Kind::Gauge, 3, 7.5), (Kind::Distribution, 4, 8.0)];
    assert_eq!(drained, expect);
    drop(talk);
    let talk = Talk::open(dir.path(), ALL);
    let mut drained = Vec::new();
    talk.0.drain(NOW, |one| drained.push(one));
    assert_eq!(drained.len(), 3, "the windows were not safe yet");
    talk.0.observed_until(talk.0.observed_position());
    assert_eq!(talk.get("d").as_deref(), Some("4"));
    let id = drained.iter().find(|one| one.kind == Kind::Distribution).unwrap().cell;
    assert_eq!(talk.0.observed(id), (4, 8.0));
    drop(talk);
    assert_eq!(Talk::open(dir.path(), ALL).drain(), []);
}

/// What becomes of a key when the configuration changes its mind between two starts.
#[test]
fn a_key_becomes_what_the_new_file_says() {
    let entry = |kind: &str| match kind {
        "" => String::new(),
        kind => format!("[[metric]]\nmatch = 'k'\nkind = '{kind}'\n"),
    };
    // Before, what was done, then what is shown after, and what the key is.
    for (before, value, after, shown, kind) in [
        ("", "7", "distribution", None, Kind::Distribution),
        ("gauge", "1.5", "counter", Some("1.5"), Kind::Counter),
        ("gauge", "7", "counter", Some("7"), Kind::Counter),
        ("distribution", "7", "", Some("1"), Kind::Counter),
        ("distribution", "7", "gauge", Some("1"), Kind::Gauge),
        ("distribution", "7", "item", Some("1"), Kind::Counter),
        ("gauge", "1.5", "item", Some("1.5"), Kind::Gauge),
        ("item", "7", "gauge", Some("7"), Kind::Gauge),
        ("item", "text", "distribution", Some("text"), Kind::Distribution),
        ("gauge", "1.5", "", Some("1.5"), Kind::Gauge),
        ("counter", "7", "counter", Some("7"), Kind::Counter),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let talk = Talk::open(dir.path(), &entry(before));
        talk.set("k", value);
        drop(talk);
        for _ in 0..2 {
            let talk = Talk::open(dir.path(), &entry(after));
            assert_eq!(talk.get("k").as_deref(), shown, "{before} to {after}");
        }
        let talk = Talk::open(dir.path(), &entry(after));
        assert_eq!(talk.set("k", "3"), Stored::Stored);
        let expect = if after == "distribution" { "1" } else { "3" };
        assert_eq!(talk.get("k").as_deref(), Some(expect), "{before} to {after}");
        let mut kinds = Vec::new();
        talk.0.drain(NOW, |one| kinds.push((one.cell.index(), one.kind)));
        let is_series = after != "item" || before != "item";
        let found = kinds.iter().find(|(cell, _)| *cell == 1).map(|(_, kind)| *kind);
        assert_eq!(found, is_series.then_some(kind), "{before} to {after}");
    }
}
