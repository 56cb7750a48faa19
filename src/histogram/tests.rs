//! Held against HdrHistogram's own library, and against sorted values.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "small positive numbers"
)]

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer, V2Serializer};
use proptest::prelude::*;

use super::*;

fn layout(digits: u8, high: f64) -> Layout {
    Layout::new(digits, 1.0, high).unwrap()
}

fn sketch(layout: Layout, values: &[f64]) -> Sketch {
    let mut gathering = Gathering::new(layout);
    for value in values {
        gathering.record(*value);
    }
    gathering.finish()
}

fn values() -> impl Strategy<Value = Vec<f64>> {
    // Few figures and many, as in life.
    let value = prop_oneof![0.0..20.0_f64, 0.0..4e6_f64, (0..22_i32).prop_map(|e| 2_f64.powi(e))];
    prop::collection::vec(value, 1..100)
}

#[test]
fn says_what_it_would_take() {
    assert_eq!(layout(2, 3_600_000.0).ranges(), 2012);
    assert_eq!(layout(2, 3_600_000.0).bytes(), 32_192);
    assert!(Layout::new(5, 1.0, 3_600_000.0).is_ok());
    assert_eq!(Layout::new(5, 1.0, 1e12), Err(LayoutError::Large { bytes: 49_952_048 }),);
    for (digits, low, high, error) in [
        (0, 1.0, 10.0, LayoutError::Digits),
        (6, 1.0, 10.0, LayoutError::Digits),
        (2, 0.0, 10.0, LayoutError::Range),
        (2, -1.0, 10.0, LayoutError::Range),
        (2, 10.0, 10.0, LayoutError::Range),
        (2, 10.0, 1.0, LayoutError::Range),
        (2, f64::NAN, 1.0, LayoutError::Range),
        (2, 1.0, f64::INFINITY, LayoutError::Range),
        (2, 1e-300, 1e300, LayoutError::Wide),
        (2, 1.0, 1e17, LayoutError::Wide),
    ] {
        assert_eq!(Layout::new(digits, low, high), Err(error), "{digits} {low} {high}");
    }
}

#[test]
fn what_lies_outside_is_counted_at_the_nearer_end() {
    let mut gathering = Gathering::new(layout(3, 1000.0));
    let inside = [-5.0, -0.4, 0.4, 1000.0, 1000.4, 1001.0, 1e300, f64::INFINITY]
        .map(|value| gathering.record(value));
    assert_eq!(inside, [false, true, true, true, true, false, false, false]);
    let sketch = gathering.finish();
    assert_eq!(
        (sketch.count(), sketch.quantile(0.0), sketch.quantile(1.0)),
        (8, Some(0.0), Some(1000.0))
    );
}

#[test]
fn low_is_the_unit() {
    let layout = Layout::new(2, 0.001, 60.0).unwrap();
    let sketch = sketch(layout, &[0.0101, 0.25, 0.25, 59.9]);
    let near = |q: f64, value: f64| {
        let found = sketch.quantile(q).unwrap();
        assert!((found - value).abs() <= value * 0.01, "{found} is not {value}");
    };
    near(0.25, 0.010);
    near(0.5, 0.25);
    near(1.0, 59.9);
    assert_eq!(Sketch::new(layout).quantile(0.5), None);
}

#[test]
fn of_two_layouts_the_coarser_holds_both() {
    let fine = sketch(layout(3, 1000.0), &[1.0, 500.0, 999.0]);
    let coarse = sketch(Layout::new(2, 10.0, 1e5).unwrap(), &[50.0, 90_000.0]);
    let (mut one, mut other) = (fine.clone(), coarse.clone());
    one.merge(&coarse);
    other.merge(&fine);
    assert_eq!(one, other);
    assert_eq!(one.count(), 5);
    assert!((one.quantile(1.0).unwrap() - 90_000.0).abs() < 900.0);
}

#[test]
fn a_million_observations_take_no_more_than_there_are_ranges() {
    let mut gathering = Gathering::new(layout(1, 1e6));
    for value in 0..1_000_000 {
        gathering.record(f64::from(value));
        assert!(gathering.buckets.len() + gathering.fresh.len() <= 2 * FRESH_MAX);
    }
    let sketch = gathering.finish();
    assert_eq!(sketch.count(), 1_000_000);
    assert!(sketch.buckets.len() as u64 <= layout(1, 1e6).ranges());
}

proptest! {
    // A table of theirs with five figures is large, and a debug build slow.
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The same ranges with the same counts as in HdrHistogram, and the same bytes.
    #[test]
    fn is_an_hdrhistogram(values in values(), digits in 1..=5_u8) {
        let high = 4_000_000;
        let mut theirs = Histogram::<u64>::new_with_bounds(1, high, digits).unwrap();
        for value in &values {
            theirs.saturating_record(value.round() as u64);
        }
        let ours = sketch(layout(digits, high as f64), &values);
        let recorded: Vec<_> = theirs
            .iter_recorded()
            .map(|v| (v.value_iterated_to() as f64, v.count_at_value()))
            .collect();
        let counted: Vec<_> =
            ours.buckets.iter().map(|b| (ours.layout.value(b.index), b.count)).collect();
        prop_assert_eq!(recorded, counted);

        let mut bytes = Vec::new();
        V2Serializer::new().serialize(&theirs, &mut bytes).unwrap();
        prop_assert_eq!(&ours.to_v2(), &bytes);
        prop_assert_eq!(Sketch::from_v2(&bytes, 1.0).unwrap(), ours.clone());
        let read: Histogram<u64> = Deserializer::new().deserialize(&mut ours.to_v2().as_slice()).unwrap();
        prop_assert_eq!(read, theirs);
    }

    #[test]
    fn quantiles_are_right_to_the_layouts_figures(
        mut values in values(), digits in 1..=5_u8, q in 0.0..=1.0_f64,
    ) {
        let ours = sketch(layout(digits, 4e6), &values);
        values.sort_by(f64::total_cmp);
        let rank = ((q * values.len() as f64).ceil() as usize).clamp(1, values.len());
        let exact = values[rank - 1];
        let error = exact / 10_f64.powi(i32::from(digits)) + 0.5;
        let found = ours.quantile(q).unwrap();
        prop_assert!((found - exact).abs() <= error, "{} is not {}", found, exact);
    }

    #[test]
    fn merging_is_associative_and_commutative(
        a in values(), b in values(), c in values(), digits in 1..=5_u8,
    ) {
        let layout = layout(digits, 4e6);
        let merged = |parts: &[&Sketch]| {
            let mut all = Sketch::new(layout);
            for part in parts {
                all.merge(part);
            }
            all
        };
        let [x, y, z] = [&a, &b, &c].map(|values| sketch(layout, values));
        let xy = merged(&[&x, &y]);
        let yz = merged(&[&y, &z]);
        prop_assert_eq!(merged(&[&xy, &z]), merged(&[&x, &yz]));
        prop_assert_eq!(&xy, &merged(&[&y, &x]));
        let all = [a, b, c].concat();
        prop_assert_eq!(merged(&[&xy, &z]), sketch(layout, &all), "as if gathered at once");
    }

    #[test]
    fn what_was_encoded_is_decoded(values in values(), digits in 1..=5_u8, low in 1e-3..1e3_f64) {
        let layout = Layout::new(digits, low, low * 1e6).unwrap();
        let ours = sketch(layout, &values);
        let mut bytes = Vec::new();
        layout.encode(&mut bytes);
        ours.encode(&mut bytes);
        bytes.push(42);
        let mut rest = bytes.as_slice();
        let read = Layout::decode(&mut rest).unwrap();
        prop_assert_eq!(read, layout);
        prop_assert_eq!(Sketch::decode(read, &mut rest).unwrap(), ours);
        prop_assert_eq!(rest, [42]);
    }

    /// Whatever comes in: an error, or a histogram that encodes and decodes again.
    #[test]
    fn no_bytes_do_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..200), cut in 0..3_usize) {
        if cut == 0 {
            // Past the checks of the header.
            let head = Sketch::new(layout(2, 1e6)).to_v2();
            let len = u32::try_from(bytes.len()).unwrap().to_be_bytes();
            bytes = [&head[..4], &len, &head[8..V2_HEADER], &bytes].concat();
        }
        if let Ok(ours) = Sketch::from_v2(&bytes, 1.0) {
            prop_assert_eq!(Sketch::from_v2(&ours.to_v2(), 1.0).unwrap(), ours);
        }
        let layout = Layout::decode(&mut bytes.as_slice()).unwrap_or(layout(2, 1e6));
        if let Ok(ours) = Sketch::decode(layout, &mut bytes.as_slice()) {
            let mut again = Vec::new();
            ours.encode(&mut again);
            prop_assert_eq!(Sketch::decode(layout, &mut again.as_slice()).unwrap(), ours);
        }
    }
}

const V2_HEADER: usize = 40;

proptest! {
    #[test]
    fn a_balance_has_what_was_not_taken_away(all in prop::collection::vec(values(), 1..30), stay in 0..6_usize) {
        let layout = layout(2, 3_600_000.0);
        let mut balance = Balance::new(layout);
        for (at, values) in all.iter().enumerate() {
            balance.add(&sketch(layout, values));
            if let Some(gone) = at.checked_sub(stay) {
                balance.take(&sketch(layout, &all[gone]));
            }
            let inside = all[(at + 1).saturating_sub(stay)..=at].concat();
            let whole = sketch(layout, &inside);
            prop_assert_eq!(balance.is_empty(), inside.is_empty());
            for quantile in [0.5, 0.9, 0.99, 1.0] {
                prop_assert_eq!(balance.quantile(quantile), whole.quantile(quantile));
            }
        }
    }
}
