//! Any bytes at all as a chunk, and as a group of them: they are read, or refused.
//!
//! That nothing panics is the least of it. What is handed out is in order and within the chunk, the ways
//! of reading agree with each other, and what was read is encoded and comes back the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tallyd::limits::CHUNK_SLOTS;
use tallyd::rollup::Record;
use tallyd::store::Group;
use tallyd::store::codec::{self, Chunk, Garbled};

fuzz_target!(|bytes: &[u8]| {
    chunk(bytes);
    if let Ok(group) = Group::open(bytes) {
        group.members().for_each(|(_, bytes)| chunk(bytes));
    }
});

fn chunk(bytes: &[u8]) {
    let Ok(chunk) = Chunk::parse(bytes) else { return };
    assert!(chunk.slots() <= CHUNK_SLOTS);
    let mut sums = vec![0; usize::from(chunk.slots())];
    let told = chunk.sums(0..CHUNK_SLOTS, |slot, part| {
        let begin = usize::from(slot);
        sums[begin..begin + part.len()].copy_from_slice(part);
    });
    let mut gauges = Vec::new();
    let told_too = chunk.gauges(0..CHUNK_SLOTS, |slot, last| gauges.push((slot, last.to_bits())));
    let strings = chunk.strings();
    let records: Result<Vec<_>, Garbled> =
        chunk.records(0..CHUNK_SLOTS).and_then(Iterator::collect);
    let Ok(records) = records else { return };
    assert!(records.is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(records.iter().all(|(slot, _)| *slot < chunk.slots()));
    assert_eq!(records.len(), chunk.len());
    // Whoever reads more columns has seen all that these say.
    assert!(told.is_ok() && told_too.is_ok());
    for (slot, record) in &records {
        if let Record::Counts(counts) = record {
            assert_eq!(std::mem::take(&mut sums[usize::from(*slot)]), counts.sum);
        }
    }
    assert!(sums.iter().all(|sum| *sum == 0));
    let lasts = records.iter().filter_map(|(slot, record)| match record {
        Record::Values(values) | Record::Distribution(values, _) => {
            Some((*slot, values.last.to_bits()))
        }
        Record::Counts(_) => None,
    });
    assert!(lasts.eq(gauges));
    again(chunk.slots(), &records);
    if let Ok(Some(strings)) = strings {
        assert_eq!(strings.iter().count(), records.len());
    }
}

/// The debug form of NaN leaves its bits out, so it is the encoder that compares: the same records make
/// the same bytes.
fn again(slots: u16, records: &[(u16, Record)]) {
    let mut once = Vec::new();
    codec::encode(slots, records, &mut once).expect("they were in order");
    let back: Result<Vec<_>, _> =
        Chunk::parse(&once).and_then(|chunk| chunk.records(0..slots)).and_then(Iterator::collect);
    let mut twice = Vec::new();
    codec::encode(slots, &back.expect("it was just encoded"), &mut twice).expect("still");
    assert_eq!(once, twice);
    let mut merged = Vec::new();
    codec::merge(slots, &[(0, &once)], &mut merged).expect("it is whole");
    assert_eq!(once, merged);
}
