//! The table against a slow model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::counters::cells::CellId;

/// Everything that the model holds, and nothing else, is found.
fn check(keys: &Keys, model: &BTreeMap<Vec<u8>, CellId>) -> Result<(), TestCaseError> {
    for (key, id) in model {
        let hash = keys.hash(key);
        let shard = keys.read(hash.shard());
        prop_assert_eq!(shard.get(hash, key), Some(*id));
        prop_assert!(shard.candidate(hash).is_some());
    }
    let mut seen = BTreeMap::new();
    for shard in 0..SHARDS {
        for (key, id) in keys.read(shard).iter() {
            prop_assert_eq!(seen.insert(key.to_vec(), id), None);
        }
    }
    prop_assert_eq!(&seen, model);
    let len: usize = (0..SHARDS).map(|shard| keys.read(shard).len()).sum();
    prop_assert_eq!(len, model.len());
    Ok(())
}

/// Many keys in few shards: all of a test's keys begin with their number, and few of them are asked
/// for, so that tables grow, shrink, wrap around and are moved together.
fn key(number: u16) -> Vec<u8> {
    let len = usize::from(number % 251);
    number.to_le_bytes().into_iter().chain(std::iter::repeat(b'x')).take(len.max(2)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn behaves_like_a_map(ops in prop::collection::vec(
        (any::<bool>(), 0..3000_u16, 1..400_u16), 1..40,
    )) {
        let keys = Keys::new();
        let mut model = BTreeMap::new();
        for (is_insert, from, many) in ops {
            for number in from..from + many {
                let key = key(number);
                let hash = keys.hash(&key);
                let mut shard = keys.write(hash.shard());
                let there = shard.get(hash, &key);
                prop_assert_eq!(there, model.get(&key).copied());
                if is_insert && there.is_none() {
                    let id = CellId::of_number(u32::from(number));
                    prop_assert!(shard.insert(hash, &key, id, |key| keys.hash(key)));
                    model.insert(key, id);
                } else if !is_insert {
                    prop_assert_eq!(shard.remove(hash, &key, |key| keys.hash(key)), model.remove(&key));
                }
            }
            check(&keys, &model)?;
        }
    }
}

#[test]
fn filling_at_once_gives_what_putting_in_one_by_one_does() {
    let mut keys = Keys::new();
    let mut filling = keys.fill(3000);
    let mut model = BTreeMap::new();
    for number in 0..3000 {
        assert!(filling.push(&key(number), CellId::of_number(number.into())));
        model.insert(key(number), CellId::of_number(number.into()));
    }
    // Three keys have another cell as well; of the last the first one is the later.
    for (number, cell) in [(5, 4000), (700, 4001), (2999, 4002)] {
        assert!(filling.push(&key(number), CellId::of_number(cell)));
        model.insert(key(number), CellId::of_number(if cell == 4002 { 2999 } else { cell }));
    }
    assert!(!filling.push(&[b'x'; 256], CellId::of_number(4003)), "longer than keys are");
    let later = |one: CellId, other: CellId| other == CellId::of_number(4002) || one > other;
    let mut others = filling.finish(later);
    others.sort_unstable();
    assert_eq!(others, [5, 700, 4002].map(CellId::of_number));
    check(&keys, &model).unwrap();
}

#[test]
fn what_is_taken_out_gives_its_room_back() {
    let keys = Keys::new();
    let name = |n: u32| format!("some.counter.with.a.name.of.39.bytes.{n:07}").into_bytes();
    let room =
        || -> usize { (0..SHARDS).map(|shard| keys.read(shard)).map(|s| s.room_bytes()).sum() };
    let mut most = 0;
    // Keys come and go, ten thousand of them at a time.
    for n in 0..150_000_u32 {
        let key = name(n);
        let hash = keys.hash(&key);
        let id = CellId::of_number(n % 100_000);
        assert!(keys.write(hash.shard()).insert(hash, &key, id, |key| keys.hash(key)));
        if let Some(old) = n.checked_sub(10_000) {
            let key = name(old);
            let hash = keys.hash(&key);
            let gone = keys.write(hash.shard()).remove(hash, &key, |key| keys.hash(key));
            assert_eq!(gone, Some(CellId::of_number(old % 100_000)));
        }
        if n % 10_000 == 0 {
            most = most.max(room());
        }
    }
    // What ten thousand keys of 45 bytes take up, twice, and blocks that have only begun.
    assert!(most < 2 * 10_000 * (45 + 12) + 3 * SHARDS * (16 << 10), "{most} bytes");
}

#[test]
fn a_key_costs_its_bytes_and_little_more() {
    let keys = Keys::new();
    for n in 0..200_000_u32 {
        let key = format!("some.counter.with.39.bytes.name.{n:07}").into_bytes();
        assert_eq!(key.len(), 39);
        let hash = keys.hash(&key);
        let id = CellId::of_number(n);
        assert!(keys.write(hash.shard()).insert(hash, &key, id, |key| keys.hash(key)));
    }
    let room: usize = (0..SHARDS).map(|shard| keys.read(shard).room_bytes()).sum();
    let each = room / 200_000;
    assert!((40 + 10..=40 + 18).contains(&each), "{each} bytes");
}
