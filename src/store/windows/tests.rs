//! Rows in memory: reading, retention and room.

use super::*;
use crate::config::Config;
use crate::rollup::{Counts, Entry, RowBuilder};
use crate::store::{MemoryStore, Store, tier_for};

fn empty() -> Arc<dyn Snapshot> {
    MemoryStore::default().snapshot().unwrap()
}

const SERIES: SeriesId = SeriesId(3);

fn second(at: i64) -> Window {
    Window::starting(Timestamp::from_secs(at), Span::SECOND)
}

fn append(store: &mut Windows, at: i64) {
    store.cover(second(at));
    store.append(0, row(at, at.unsigned_abs()));
}

fn row(at: i64, sum: u64) -> Row {
    let record = Record::Counts(Counts::base(sum, 1, None));
    let mut builder = RowBuilder::default();
    builder.push(Entry { series: SERIES, record, runs_on: false });
    builder.finish(second(at))
}

fn starts(store: &Windows, from: i64, to: i64) -> Vec<i64> {
    let range = Window { start: Timestamp::from_secs(from), end: Timestamp::from_secs(to) };
    let mut starts = Vec::new();
    store.read(0, SERIES, range, |window, _| starts.push(window.start.as_secs())).unwrap();
    starts
}

#[test]
fn reads_the_windows_that_begin_inside_the_range() {
    let mut store = Windows::new(&Config::default().tiers, empty());
    for at in [1, 2, 5, 9] {
        append(&mut store, at);
    }
    assert_eq!(starts(&store, 2, 9), [2, 5]);
    assert_eq!(starts(&store, 0, 100), [1, 2, 5, 9]);
    let last = |at| store.last_before(0, SERIES, Timestamp::from_secs(at)).unwrap();
    assert!(matches!(last(6), Some(Record::Counts(c)) if c.sum == 5));
    assert!(matches!(last(5), Some(Record::Counts(c)) if c.sum == 2));
    assert_eq!(last(1), None);
}

#[test]
fn forgets_what_its_tier_does_not_keep() {
    let mut store = Windows::new(&Config::default().tiers, empty());
    append(&mut store, 0);
    append(&mut store, 7200);
    store.expire(Timestamp::from_secs(7201));
    assert_eq!(starts(&store, 0, 10_000), [7200]);
    let all = Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(7201) };
    assert_eq!(store.covered(0, all), Span::SECOND, "what is not kept is not known");
    assert_eq!(store.records(), 1);
    assert_eq!(store.dropped(), 0);
}

#[test]
fn a_long_life_of_coarse_windows_does_not_crowd_the_base_out() {
    let tiers = &Config::default().tiers;
    let room = 1200 * row(0, 1).memory();
    let mut store = Windows::with_room(tiers, empty(), room);
    let mut rollup = crate::rollup::Rollup::new(tiers);
    // Ten hours of one busy series; the base keeps six hundred seconds of it throughout.
    for at in 0..36_000 {
        rollup.close(row(at, 1), |tier, row| store.append(tier, row));
        store.cover(second(at));
        assert!(store.records() <= 1200);
        if at > 600 {
            let last = Window::ending(Timestamp::from_secs(at + 1), Span::from_secs(500));
            assert_eq!(store.covered(0, last), Span::from_secs(500), "at {at}");
        }
    }
    assert!(store.dropped() > 0);
}

#[test]
fn when_full_the_oldest_goes_and_no_longer_counts_as_covered() {
    let room = 200 * row(0, 1).memory();
    let mut store = Windows::with_room(&Config::default().tiers, empty(), room);
    for at in 0..150 {
        append(&mut store, at);
    }
    assert!(store.records() <= 100);
    assert!(store.dropped() >= 50);
    let first = starts(&store, 0, 150)[0];
    let range = Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(150) };
    assert_eq!(store.covered(0, range), Span::from_secs(150 - first.unsigned_abs()));
    assert_eq!(store.covered(1, range), Span::from_secs(150));
}

#[test]
fn the_tier_follows_from_the_age_alone() {
    let tiers = &Config::default().tiers;
    let tier = |text: &str| tier_for(tiers, text.parse().unwrap());
    assert_eq!(["5m", "2h", "3h", "3d", "1w", "41d", "9999d"].map(tier), [0, 0, 1, 1, 2, 3, 3]);
}
