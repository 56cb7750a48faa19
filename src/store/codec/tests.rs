//! What was encoded comes back to the bit, and nothing that is decoded does harm.

use super::*;
use crate::rollup::{Counts, Values};
use proptest::prelude::*;

/// The bits, since NaN is not equal to itself and 0 is to -0.
fn bits(record: &Record) -> Vec<u64> {
    match *record {
        Record::Counts(Counts { sum, count, touched, min, max, last }) => {
            let last = last.map_or([0, 0], |last| [1, last.to_bits()]);
            vec![0, sum, count, touched.into(), min, max, last[0], last[1]]
        }
        Record::Values(Values { sum, count, min, max, last })
        | Record::Distribution(Values { sum, count, min, max, last }, _) => {
            vec![1, sum.to_bits(), count, min.to_bits(), max.to_bits(), last.to_bits()]
        }
    }
}

fn all_bits(records: &[(u16, Record)]) -> Vec<(u16, Vec<u64>)> {
    records.iter().map(|(slot, record)| (*slot, bits(record))).collect()
}

fn decoded(bytes: &[u8], range: Range<u16>) -> Result<Vec<(u16, Record)>, Garbled> {
    Chunk::parse(bytes)?.records(range)?.collect()
}

fn encoded(slots: u16, records: &[(u16, Record)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(slots, records, &mut bytes).unwrap();
    bytes
}

/// Everything that a reader may ask for is as in the records.
#[track_caller]
fn check(slots: u16, records: &[(u16, Record)]) -> usize {
    let bytes = encoded(slots, records);
    let chunk = Chunk::parse(&bytes).unwrap();
    assert_eq!((chunk.slots(), chunk.len()), (slots, records.len()));
    assert_eq!(chunk.is_empty(), records.is_empty());
    for range in [0..u16::MAX, slots / 3..slots / 2, 7..7] {
        let inside: Vec<_> =
            records.iter().filter(|(slot, _)| range.contains(slot)).cloned().collect();
        assert_eq!(all_bits(&decoded(&bytes, range.clone()).unwrap()), all_bits(&inside));
        let mut sums = Vec::new();
        let add = |slot, part: &[u64]| sums.extend((slot..).zip(part.iter().copied()));
        chunk.sums(range.clone(), add).unwrap();
        assert!(sums.iter().all(|(slot, _)| range.contains(slot)));
        sums.retain(|(_, sum)| *sum > 0);
        let mut gauges = Vec::new();
        chunk.gauges(range, |slot, last| gauges.push((slot, last.to_bits()))).unwrap();
        let expect = inside.iter().filter_map(|(slot, record)| match record {
            Record::Counts(counts) => Some((*slot, counts.sum)).filter(|(_, sum)| *sum > 0),
            Record::Values(_) | Record::Distribution(..) => None,
        });
        assert_eq!(sums, expect.collect::<Vec<_>>());
        let expect = inside.iter().filter_map(|(slot, record)| match record {
            Record::Values(values) | Record::Distribution(values, _) => {
                Some((*slot, values.last.to_bits()))
            }
            Record::Counts(_) => None,
        });
        assert_eq!(gauges, expect.collect::<Vec<_>>());
    }
    bytes.len()
}

#[expect(clippy::cast_precision_loss, reason = "values are shown so")]
fn shown(value: u64) -> f64 {
    value as f64
}

fn counted(sum: u64, total: &mut u64) -> Record {
    *total += sum;
    Record::Counts(Counts::base(sum, sum, Some(shown(*total))))
}

fn set(value: f64) -> Record {
    Record::Values(Values { sum: value, count: 1, min: value, max: value, last: value })
}

/// A stream of numbers that look random, the same on every machine.
fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    }
}

#[test]
fn what_says_little_takes_little() {
    let mut total = 12_345;
    assert!(check(4096, &[]) <= 3);
    let rare: Vec<_> = (0..40).map(|at| (at * 101 + at % 7, counted(1, &mut total))).collect();
    assert!(check(4096, &rare) < 60);
    let steady: Vec<_> = (0..4096).map(|at| (at, counted(5, &mut total))).collect();
    assert!(check(4096, &steady) < 16);
    let still: Vec<_> = (0..4096).map(|at| (at, set(36.6))).collect();
    assert!(check(4096, &still) < 20);
}

#[test]
fn a_counter_that_is_reset_and_lowered_pays_for_that_alone() {
    let mut total = 0;
    let mut next = noise(1);
    let counts: Vec<_> = (0..2000).map(|at| (at, counted(next() % 8, &mut total))).collect();
    let whole = check(4096, &counts);
    let mut lowered = counts.clone();
    for (at, (_, record)) in (0..).zip(&mut lowered) {
        if let Record::Counts(counts) = record {
            counts.last =
                counts.last.map(|last| last - shown(at / 500 * 1000)).filter(|_| at != 77);
        }
    }
    assert!(check(4096, &lowered) < whole + 100);
}

#[test]
fn merged_windows_tell_their_swing() {
    let mut next = noise(2);
    let merged = |at: u16, next: &mut dyn FnMut() -> u64| {
        let base = (0..10).filter_map(|_| match next() % 5 {
            0 => None,
            sum => Some(Record::Counts(Counts::base(sum, sum, None))),
        });
        (at, base.reduce(Record::then).unwrap())
    };
    let records: Vec<_> = (0..3000).map(|at| merged(at, &mut next)).collect();
    // As columns of their own they would take more than 11 bits of each of four.
    assert!(check(4096, &records) < 3000 * 11 / 8);
    let gauges = |at: u16, next: &mut dyn FnMut() -> u64| {
        let base = (0..10).map(|_| set(shown(2000 + next() % 32) / 100.0));
        (at, base.reduce(Record::then).unwrap())
    };
    let records: Vec<_> = (0..3000).map(|at| gauges(at, &mut next)).collect();
    assert!(check(4096, &records) < 3000 * 26 / 8);
}

#[test]
fn a_gauge_may_become_a_counter() {
    let mut total = 0;
    let mixed: Vec<_> = (0..100_u16)
        .map(|at| (at * 3, if at < 50 { set(f64::from(at)) } else { counted(1, &mut total) }))
        .collect();
    check(300, &mixed);
    let turns: Vec<_> = (0..100_u16)
        .map(|at| (at, if at % 3 == 0 { set(f64::from(at)) } else { counted(1, &mut total) }))
        .collect();
    check(100, &turns);
}

#[test]
fn increments_of_zero_are_records_too() {
    let zero = |at| (at, Record::Counts(Counts::base(0, 3, Some(0.5))));
    check(64, &(0..64).map(zero).collect::<Vec<_>>());
    check(64, &[zero(5)]);
}

#[test]
fn records_out_of_place_are_refused() {
    let record = || set(1.0);
    let refused = |slots, records: &[(u16, Record)]| {
        let mut bytes = vec![1, 2, 3];
        let error = encode(slots, records, &mut bytes).unwrap_err();
        assert_eq!(bytes, [1, 2, 3]);
        error
    };
    assert_eq!(refused(4097, &[]), EncodeError::Slots);
    assert_eq!(refused(8, &[(8, record())]), EncodeError::Order);
    assert_eq!(refused(8, &[(3, record()), (3, record())]), EncodeError::Order);
    assert_eq!(refused(8, &[(4, record()), (3, record())]), EncodeError::Order);
    let strings: [&[u8]; 2] = [b"a", b"b"];
    let error = encode_with_strings(8, &[(3, record())], &strings, &mut Vec::new()).unwrap_err();
    assert_eq!(error, EncodeError::Strings);
}

#[test]
fn fragments_merge_into_what_they_would_have_been() {
    let mut total = 7;
    let mut next = noise(3);
    let records: Vec<_> = (0..1000_u16)
        .filter_map(|at| Some(next() % 4).filter(|n| *n > 0).map(|n| (at, counted(n, &mut total))))
        .collect();
    let fragments: Vec<_> = (0..1000)
        .step_by(32)
        .map(|begin| {
            let inside = records.iter().filter(|(slot, _)| (begin..begin + 32).contains(slot));
            let moved: Vec<_> =
                inside.map(|(slot, record)| (slot - begin, record.clone())).collect();
            (begin, encoded(32, &moved))
        })
        .collect();
    let parts: Vec<_> = fragments.iter().map(|(begin, bytes)| (*begin, &bytes[..])).collect();
    let mut merged = Vec::new();
    merge(1000, &parts, &mut merged).unwrap();
    assert_eq!(merged, encoded(1000, &records));
    let mut bytes = Vec::new();
    assert_eq!(merge(1000, &[(0, &[9])], &mut bytes), Err(EncodeError::Garbled(Garbled)));
    assert_eq!(merge(1000, &[(64, &merged), (0, &merged)], &mut bytes), Err(EncodeError::Order));
    assert!(bytes.is_empty());
}

#[test]
fn strings_go_with_their_records() {
    let records = [(1, set(1.0)), (4, set(2.0))];
    let mut bytes = Vec::new();
    encode_with_strings(8, &records, &[b"one", b""], &mut bytes).unwrap();
    let mut merged = Vec::new();
    merge(16, &[(0, &bytes), (8, &bytes)], &mut merged).unwrap();
    let chunk = Chunk::parse(&merged).unwrap();
    let strings = chunk.strings().unwrap().unwrap();
    assert_eq!(strings.iter().collect::<Vec<_>>(), [&b"one"[..], b"", b"one", b""]);
    assert_eq!(chunk.records(0..16).unwrap().count(), 4);
    assert_eq!(Chunk::parse(&encoded(8, &records)).unwrap().strings(), Ok(None));
}

/// Chunks of every kind that there is, as records.
fn specimens() -> Vec<(&'static str, Vec<(u16, Record)>)> {
    let mut next = noise(4);
    let mut total = 1000;
    let mut drawn = |len: u16, most: u64, skip: u64| -> Vec<(u16, Record)> {
        let mut each =
            |at| next().is_multiple_of(skip).then(|| (at, counted(next() % most + 1, &mut total)));
        (0..len).filter_map(&mut each).collect()
    };
    let (dense, rare, few) = (drawn(400, 30, 1), drawn(2000, 1, 100), drawn(32, 9, 2));
    let merge = |records: &[(u16, Record)]| -> Vec<(u16, Record)> {
        let merged =
            |part: &[(u16, Record)]| part.iter().map(|(_, r)| r.clone()).reduce(Record::then);
        (0..).zip(records.chunks(4).filter_map(merged)).collect()
    };
    let mut odd = few.clone();
    for (at, (_, record)) in (0..).zip(&mut odd) {
        if let Record::Counts(counts) = record {
            counts.count += at % 3;
            counts.last = (at % 4 > 0).then(|| shown(at) / 7.0);
        }
    }
    let gauge =
        |of: &dyn Fn(u16) -> f64| -> Vec<_> { (0..200).map(|at| (at, set(of(at)))).collect() };
    let cents = gauge(&|at| f64::from(2000 + at % 7 * 3 + at) / 100.0);
    let thirds = gauge(&|at| f64::from(at) / 3.0);
    let mixed = [&merge(&cents)[..20], &[(40, few[0].1.clone()), (41, few[1].1.clone())]].concat();
    vec![
        ("empty", vec![]),
        ("merged counts", merge(&dense)),
        ("dense counts", dense),
        ("rare counts", rare),
        ("few counts", few),
        ("odd counts", odd),
        ("merged gauge", merge(&cents)),
        ("gauge of cents", cents),
        ("gauge of thirds", thirds),
        ("one gauge", vec![(9, set(36.6))]),
        ("gauge, then counter", mixed),
    ]
}

/// All specimens as members of one group.
fn specimen_group() -> Vec<u8> {
    let mut builder = crate::store::GroupBuilder::new();
    for (place, (_, records)) in (0..).zip(specimens()) {
        assert!(builder.push(place * 3, &encoded(2048, &records)));
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    bytes
}

/// What the first version of the format wrote is read by all later ones. To add specimens, add files; a
/// file that was released is not written anew.
#[test]
fn what_version_one_wrote_is_still_read() {
    let golden = include_bytes!("golden/version-1.group");
    let group = crate::store::Group::open(golden).unwrap();
    assert_eq!(group.members().count(), specimens().len());
    for ((_, chunk), (name, records)) in group.members().zip(specimens()) {
        assert_eq!(all_bits(&decoded(chunk, 0..2048).unwrap()), all_bits(&records), "{name}");
    }
}

/// A change of what is written is not forbidden, but it is never by chance.
#[test]
fn what_is_written_is_what_version_one_wrote() {
    assert_eq!(specimen_group(), include_bytes!("golden/version-1.group"));
}

#[test]
fn a_group_with_any_bit_flipped_gives_no_numbers() {
    let bytes = specimen_group();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(crate::store::Group::open(&flipped).is_err(), "bit {bit}");
    }
    for len in 0..bytes.len() {
        assert!(crate::store::Group::open(&bytes[..len]).is_err(), "cut to {len}");
    }
}

fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => (-100_000..100_000_i32).prop_map(|cents| f64::from(cents) / 100.0),
        2 => any::<u64>().prop_map(f64::from_bits),
        1 => prop::sample::select(vec![
            0.0, -0.0, f64::MAX, f64::MIN, f64::INFINITY, f64::NAN, f64::MIN_POSITIVE, 5e-324, 1e53,
        ]),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![8 => 0..5_u64, 4 => 0..10_000_u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
}

/// As a tick makes them, and as it never would.
fn counts() -> impl Strategy<Value = Record> {
    let last = prop::option::of(prop_oneof![float(), number().prop_map(shown)]).boxed();
    let base = (number(), number(), last.clone());
    let base =
        base.prop_map(|(sum, count, last)| Record::Counts(Counts::base(sum, count, last))).boxed();
    let merged = prop::collection::vec(base.clone(), 1..5)
        .prop_map(|parts| parts.into_iter().reduce(Record::then).unwrap());
    let any = (number(), number(), any::<u32>(), number(), number(), last).prop_map(
        |(sum, count, touched, min, max, last)| {
            Record::Counts(Counts { sum, count, touched, min, max, last })
        },
    );
    prop_oneof![8 => base, 4 => merged, 1 => any]
}

fn values() -> impl Strategy<Value = Record> {
    let merged = prop::collection::vec(float().prop_map(set), 1..5)
        .prop_map(|parts| parts.into_iter().reduce(Record::then).unwrap());
    let any =
        (float(), number(), float(), float(), float()).prop_map(|(sum, count, min, max, last)| {
            Record::Values(Values { sum, count, min, max, last })
        });
    prop_oneof![8 => float().prop_map(set), 4 => merged, 1 => any]
}

fn records() -> impl Strategy<Value = Vec<(u16, Record)>> {
    let of = |record: BoxedStrategy<Record>| {
        (prop::collection::vec((1..8_u16, record), 0..300), 1..4_u16).prop_map(|(steps, far)| {
            let mut slot = 0;
            let place = |(step, record): (u16, Record)| {
                slot += if step > 4 { step % far + 1 } else { 1 };
                (slot - 1, record)
            };
            steps.into_iter().map(place).collect::<Vec<_>>()
        })
    };
    prop_oneof![
        of(counts().boxed()),
        of(values().boxed()),
        of(number().prop_map(|n| Record::Counts(Counts::base(n, n, None))).boxed()),
        of(prop_oneof![counts(), values()].boxed()),
    ]
}

proptest! {
    #[test]
    fn any_records_come_back(records in records()) {
        check(2000, &records);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    /// Nearer to what is right than random bytes are.
    #[test]
    fn a_garbled_chunk_is_read_or_refused(
        records in records(), at: prop::sample::Index, with: u8, cut: bool,
    ) {
        let mut bytes = encoded(2000, &records);
        let at = at.index(bytes.len());
        bytes[at] ^= with;
        if cut {
            bytes.truncate(at);
        }
        read_all(&bytes);
    }
}

fn read_all(bytes: &[u8]) {
    let Ok(chunk) = Chunk::parse(bytes) else { return };
    assert!(chunk.len() <= 2 * usize::from(CHUNK_SLOTS));
    let mut seen = 0;
    let _ = chunk.sums(0..u16::MAX, |slot, sums| {
        assert!(usize::from(slot) + sums.len() <= usize::from(chunk.slots()));
        seen += sums.len();
    });
    let _ = chunk.gauges(0..u16::MAX, |slot, _| assert!(slot < chunk.slots()));
    assert!(seen <= usize::from(CHUNK_SLOTS));
    if let Ok(records) = chunk.records(0..u16::MAX) {
        let slots: Vec<_> = records.map_while(Result::ok).map(|(slot, _)| slot).collect();
        assert!(slots.is_sorted_by(|a, b| a < b));
        assert!(slots.last().is_none_or(|last| *last < chunk.slots()));
    }
    let _ = chunk.strings();
}

#[test]
fn a_part_without_strings_merges_with_one_that_has_some() {
    let mut total = 0;
    let counts = [(1, counted(5, &mut total)), (3, counted(6, &mut total))];
    let (plain, mut spread) = (encoded(10, &counts), Vec::new());
    encode_with_strings(10, &[(0, set(2.0)), (4, set(3.0))], &[b"two", b"three"], &mut spread)
        .unwrap();
    for (parts, expect) in [
        ([&plain, &spread], [&b""[..], b"", b"two", b"three"]),
        ([&spread, &plain], [&b"two"[..], b"three", b"", b""]),
    ] {
        let mut merged = Vec::new();
        merge(20, &[(0, parts[0]), (10, parts[1])], &mut merged).unwrap();
        let strings = Chunk::parse(&merged).unwrap().strings().unwrap().unwrap();
        assert_eq!(strings.iter().collect::<Vec<_>>(), expect);
        assert_eq!(decoded(&merged, 0..20).unwrap().len(), 4);
    }
    let mut merged = Vec::new();
    merge(20, &[(0, &plain), (10, &plain)], &mut merged).unwrap();
    assert_eq!(Chunk::parse(&merged).unwrap().strings(), Ok(None));
}
