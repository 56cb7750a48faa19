//! Each kind of line on each kind of key, and what a start makes of a distribution that nobody configured.

use super::*;
use crate::config::{Metric, Surroundings, parse};
use crate::counters::tests::options;
use crate::counters::{Condition, Drained, Observations, Options, Stored};

const NOW: Timestamp = Timestamp::from_secs(1_000_000);

fn with(metrics: &str) -> Options {
    let parsed = parse(metrics, "t.toml".as_ref(), &Surroundings::none()).unwrap();
    let metrics: Vec<Metric> = parsed.config.metrics;
    Options { metrics: metrics.into(), ..options() }
}

fn table(metrics: &str) -> Counters {
    Counters::new(with(metrics))
}

fn get(counters: &Counters, key: &str) -> Option<String> {
    counters.get(key.as_bytes(), NOW, |view| String::from_utf8_lossy(view.value).into_owned())
}

fn set(counters: &Counters, key: &str, value: &str) -> Stored {
    let entry = Entry { key: key.as_bytes(), value: value.as_bytes(), flags: 0, expires: None };
    counters.store(entry, Condition::Always, NOW)
}

/// One of each kind of line on a key.
fn each(counters: &Counters, key: &str) -> [Told; 4] {
    let key = key.as_bytes();
    [
        counters.count(key, 1, NOW),
        counters.count_down(key, 1, NOW),
        counters.gauge(key, NOW, |_| 5.0),
        counters.observe_key(key, 5.0, 1, NOW),
    ]
}

fn drain(counters: &Counters) -> Vec<Drained> {
    let mut drained = Vec::new();
    counters.drain(NOW, |one| drained.push(one));
    drained
}

#[test]
fn a_line_is_for_keys_of_its_kind() {
    use Told::{OtherKind as No, Taken as Yes};
    let kinds = "[[metric]]\nmatch = 'c'\nkind = 'counter'\n[[metric]]\nmatch = 'g'\nkind = 'gauge'\n\
                 [[metric]]\nmatch = 'd'\nkind = 'distribution'\n[[metric]]\nmatch = 'i'\nkind = 'item'\n";
    let counters = table(kinds);
    for (key, expect) in [
        ("c", [Yes, Yes, No, No]),
        ("g", [No, No, Yes, No]),
        ("d", [No, No, No, Yes]),
        ("i", [No, No, No, No]),
        ("counted first", [Yes, Yes, No, No]),
    ] {
        assert_eq!(each(&counters, key), expect, "{key}");
    }
    assert_eq!(counters.gauge(b"set first", NOW, |_| 5.0), Yes);
    // A gauge becomes a counter by its first increment, as with `incr`.
    assert_eq!(each(&counters, "set first"), [Yes, Yes, No, No]);
    assert_eq!(get(&counters, "set first").as_deref(), Some("5"));
    assert_eq!(counters.observe_key(b"observed first", 1.0, 1, NOW), Yes);
    assert_eq!(each(&counters, "observed first"), [No, No, No, Yes]);
    assert_eq!(each(&counters, "tallyd.overflow"), [Told::Reserved; 4]);
}

#[test]
fn counting_makes_keys_and_takes_away_from_none() {
    let counters = Counters::new(Options { missing_incr: MissingIncr::NotFound, ..options() });
    assert_eq!(counters.count_down(b"a", 1, NOW), Told::Nothing);
    assert_eq!(counters.count(b"a;y=1;x=2", 3, NOW), Told::Taken);
    assert_eq!(counters.count_down(b"a;x=2;y=1", 5, NOW), Told::Taken);
    assert_eq!(get(&counters, "a;x=2;y=1").as_deref(), Some("0"), "not below zero");
    let drained = drain(&counters);
    assert_eq!((drained[0].total, drained[0].count), (3, 1), "what was counted stays");
}

#[test]
fn a_gauge_is_set_and_changed() {
    let counters = table("");
    let change = |by: f64| counters.gauge(b"g", NOW, |before| before + by);
    assert_eq!(change(4.0), Told::Taken);
    assert_eq!(get(&counters, "g").as_deref(), Some("4"));
    change(-10.5);
    assert_eq!(get(&counters, "g").as_deref(), Some("-6.5"));
    change(1.0);
    assert_eq!(get(&counters, "g").as_deref(), Some("-5.5"));
    set(&counters, "g", "007");
    change(1.0);
    assert_eq!(get(&counters, "g").as_deref(), Some("8"));
    set(&counters, "g", "no number");
    change(1.0);
    assert_eq!(get(&counters, "g").as_deref(), Some("1"));
    counters.delete(b"g", NOW);
    change(2.0);
    assert_eq!(get(&counters, "g").as_deref(), Some("2"));
    assert_eq!(counters.gauge(b"g", NOW, |_| f64::MAX), Told::Taken);
    assert_eq!(change(f64::MAX), Told::NotFinite);
    let observed = drain(&counters).remove(0).observed;
    assert!(matches!(observed, Some(Observations::Gauge(of)) if of.count == 8), "{observed:?}");
}

#[test]
fn where_there_is_no_room_nothing_is_kept() {
    let counters = Counters::new(Options { max_series: 1, ..options() });
    assert_eq!(counters.count(b"a", 1, NOW), Told::Taken);
    assert_eq!(counters.gauge(b"g", NOW, |_| 1.0), Told::NoRoom);
    assert_eq!(counters.observe_key(b"d", 1.0, 1, NOW), Told::NoRoom);
    assert_eq!((get(&counters, "g"), get(&counters, "d")), (None, None));
    // Increments are counted where they can be seen.
    assert_eq!((counters.count(b"b", 1, NOW), counters.overflowed()), (Told::Taken, 1));
}

#[test]
fn an_observation_may_stand_for_several() {
    let counters = table("");
    assert_eq!(counters.observe_key(b"d", 20.0, 3, NOW), Told::Taken);
    assert_eq!(counters.observe_key(b"d", 5.0, 1, NOW), Told::Taken);
    assert_eq!(get(&counters, "d").as_deref(), Some("4"), "as many as there were");
    let Some(Observations::Distribution(of, spread)) = drain(&counters).remove(0).observed else {
        panic!("a distribution")
    };
    assert_eq!((of.count, of.sum, of.min, of.max), (4, 65.0, 5.0, 20.0));
    assert_eq!(spread.quantile(0.5), Some(20.0));
}

#[test]
fn a_distribution_that_nobody_configured_stays_one() {
    let dir = tempfile::tempdir().unwrap();
    let open = |metrics: &str| Counters::open(with(metrics), dir.path(), NOW).unwrap().0;
    let kinds = |counters: &Counters| each(counters, "d");
    let (yes, no) = (Told::Taken, Told::OtherKind);
    {
        let counters = open("");
        assert_eq!(counters.observe_key(b"d", 3.0, 1, NOW), yes);
        assert_eq!(kinds(&counters), [no, no, no, yes]);
        // To memcached's clients it is what a configured one is to them.
        assert_eq!(set(&counters, "d", "7"), Stored::Stored);
        assert_eq!(set(&counters, "d", "seven"), Stored::NotNumeric);
        assert_eq!(counters.incr(b"d", 1, NOW), Arithmetic::NotNumeric);
    }
    for metrics in ["", "[[metric]]\nmatch = 'other'\nkind = 'gauge'\n"] {
        let counters = open(metrics);
        assert_eq!(
            get(&counters, "d").as_deref(),
            Some(if metrics.is_empty() { "3" } else { "4" })
        );
        let inherited = drain(&counters).into_iter().find_map(|one| match one.observed {
            Some(Observations::Distribution(of, _)) => Some(of.count),
            _ => None,
        });
        assert!(inherited.is_some(), "what was observed before the end is in a window");
        assert_eq!(kinds(&counters), [no, no, no, yes]);
    }
    {
        let counters =
            open("[[metric]]\nmatch = 'd'\nkind = 'distribution'\nrange = [0.001, 10]\n");
        counters.observe_key(b"d", 0.25, 1, NOW);
        let observed = drain(&counters).into_iter().find_map(|one| one.observed);
        let Some(Observations::Distribution(_, spread)) = observed else { panic!("{observed:?}") };
        assert!(spread.layout().low() < 0.01, "the configuration says how it is spread");
    }
    let counters = open("[[metric]]\nmatch = 'd'\nkind = 'counter'\n");
    assert_eq!(kinds(&counters), [yes, yes, no, no], "and what it is");
}

#[test]
fn a_key_that_lost_its_cell_with_the_power_may_become_a_distribution() {
    let counters = table("");
    counters.gauge(b"d", NOW, |_| 2.5);
    assert_eq!(counters.observe_key(b"d", 1.0, 1, NOW), Told::OtherKind);
    // As a cell is that was not written back: a gauge that shows nothing.
    counters.delete(b"d", NOW);
    assert_eq!(counters.observe_key(b"d", 1.0, 1, NOW), Told::Taken);
    assert_eq!(get(&counters, "d").as_deref(), Some("1"));
}
