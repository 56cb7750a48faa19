//! Rows against maps of entries, and against bytes that are none.

use super::*;
use crate::histogram::Gathering;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn window() -> Window {
    Window::starting(Timestamp::from_secs(60), Span::SECOND)
}

fn row(entries: impl IntoIterator<Item = Entry>) -> Row {
    let mut builder = RowBuilder::default();
    entries.into_iter().for_each(|entry| builder.push(entry));
    builder.finish(window())
}

fn counted(series: u32, sum: u64) -> Entry {
    let record = Record::Counts(Counts::base(sum, sum, None));
    Entry { series: SeriesId(series), record, runs_on: true }
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![0..5_u64, 0..100_000_u64, any::<u64>()]
}

fn double() -> impl Strategy<Value = f64> {
    prop_oneof![
        (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
        any::<f64>().prop_filter("set by clients", |value| value.is_finite()),
    ]
}

prop_compose! {
    fn counts()(
        sum in number(), count in number(), touched in 1..5_u32, min in number(),
        max in number(), last in prop::option::of(double()), is_base: bool,
    ) -> Counts {
        if is_base {
            Counts::base(sum, count, last)
        } else {
            Counts { sum, count, touched, min, max, last }
        }
    }
}

prop_compose! {
    fn values()(
        sum in double(), count in number(), min in double(), max in double(),
        last in double(), is_single: bool,
    ) -> Values {
        if is_single {
            Values { sum: last, count: 1, min: last, max: last, last }
        } else {
            Values { sum, count, min, max, last }
        }
    }
}

fn entry() -> impl Strategy<Value = Entry> {
    let series = prop_oneof![0..10_u32, 0..2000_u32, Just(u32::MAX / 2)].prop_map(SeriesId);
    let counter = (series.clone(), counts(), any::<bool>()).prop_map(|(series, c, runs_on)| {
        let record = Record::Counts(Counts { last: c.last.filter(|_| !runs_on), ..c });
        Entry { series, record, runs_on }
    });
    let gauge = (series, values()).prop_map(|(series, values)| Entry {
        series,
        record: Record::Values(values),
        runs_on: false,
    });
    let spread = prop::collection::vec(-5.0..2e4_f64, 1..40).prop_map(|values| {
        let mut spread = Gathering::new(Layout::new(2, 0.5, 1e4).unwrap());
        for value in values {
            spread.record(value);
        }
        Arc::new(spread.finish())
    });
    let distribution = (0..2000_u32, values(), spread).prop_map(|(series, values, spread)| Entry {
        series: SeriesId(series),
        record: Record::Distribution(values, spread),
        runs_on: false,
    });
    prop_oneof![counter, gauge, distribution]
}

/// Entries in any order, each series once.
fn entries_once() -> impl Strategy<Value = Vec<Entry>> {
    prop::collection::vec(entry(), 0..60).prop_map(|entries| {
        let mut seen = std::collections::BTreeSet::new();
        entries.into_iter().filter(|entry| seen.insert(entry.series)).collect()
    })
}

#[test]
fn a_plain_counter_takes_two_bytes() {
    let entries: Vec<_> = (0..1000).map(|series| counted(series, 3)).collect();
    let row = row(entries.clone());
    assert_eq!(row.bytes.len(), 2000);
    assert_eq!(row.iter().collect::<Vec<_>>(), entries);
    assert_eq!(row.get(SeriesId(777)), Some(entries[777].clone()));
    assert_eq!(row.get(SeriesId(1000)), None);
}

#[test]
fn a_group_that_only_one_row_has_is_not_read_when_they_merge() {
    let mut builder = RowBuilder::default();
    builder.copy(3, b"no entries at all", 77);
    let merged = row([counted(0, 1)]).then(&builder.finish(window()), window());
    let merged = merged.then(&row([counted(1, 1), counted(2, 1), counted(5000, 1)]), window());
    assert_eq!(merged.len(), 3 + 77 + 1);
    let entries: Vec<_> = merged.directory.iter().map(|place| place.entries()).collect();
    assert_eq!(entries, [3, 77, 1]);
    assert_eq!(merged.group_numbers().collect::<Vec<_>>(), [0, 3, 39]);
}

#[test]
fn spans_follow_from_the_tiers_alone() {
    let tiers = crate::config::Config::default().tiers;
    let spans: Vec<_> = (0..4).map(|tier| span(&tiers, tier).to_string()).collect();
    assert_eq!(spans, ["1m", "1m", "5m", "1h"]);
    assert_eq!(latest_span(&tiers, Timestamp::from_secs(3725)).as_secs(), 3720);
}

proptest! {
    #[test]
    fn reads_what_was_pushed(entries in entries_once()) {
        let row = row(entries.iter().cloned());
        let expect: BTreeMap<_, _> = entries.iter().map(|e| (e.series, e.clone())).collect();
        prop_assert_eq!(row.len(), expect.len());
        for place in &row.directory {
            prop_assert_eq!(row.group(place.group()).count(), place.entries());
        }
        prop_assert_eq!(row.iter().collect::<Vec<_>>(), expect.values().cloned().collect::<Vec<_>>());
        for entry in &entries {
            prop_assert_eq!(row.get(entry.series), Some(entry.clone()));
        }
        let mut bytes = Vec::new();
        row.write_to(&mut bytes);
        prop_assert_eq!(Row::read(window(), &bytes), Some(row));
    }

    #[test]
    fn merges_series_by_series(a in entries_once(), b in entries_once()) {
        let merged = row(a.iter().cloned()).then(&row(b.iter().cloned()), window());
        let mut expect: BTreeMap<_, _> = a.iter().map(|e| (e.series, e.clone())).collect();
        for entry in b {
            let merged = match expect.remove(&entry.series) {
                Some(before) => before.then(entry),
                None => entry,
            };
            expect.insert(merged.series, merged);
        }
        prop_assert_eq!(merged.len(), expect.len());
        prop_assert_eq!(merged.iter().collect::<Vec<_>>(), expect.into_values().collect::<Vec<_>>());
    }

    /// What a counter shows at the end is the same whether windows are merged first or last.
    #[test]
    fn a_merged_entry_shows_what_its_parts_show(
        before in prop::option::of(0..1000_i32),
        steps in prop::collection::vec((0..9_u64, prop::option::of(0..100_i32), any::<bool>()), 1..6),
    ) {
        let entries: Vec<_> = steps
            .into_iter()
            .map(|(sum, last, runs_on)| {
                let last = last.filter(|_| !runs_on).map(f64::from);
                let record = Record::Counts(Counts::base(sum, sum, last));
                Entry { series: SeriesId(1), record, runs_on }
            })
            .collect();
        let before = before.map(f64::from);
        let one_by_one = entries.iter().fold(before, |shown, entry| entry.clone().resolve(shown).last());
        let merged = entries.into_iter().reduce(Entry::then).expect("one at least");
        prop_assert_eq!(merged.resolve(before).last(), one_by_one);
    }

    #[test]
    fn any_bytes_are_a_row_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Some(row) = Row::read(window(), &bytes) {
            prop_assert_eq!(row.iter().count(), row.len());
        }
    }
}
