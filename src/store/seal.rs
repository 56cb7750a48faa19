//! Rows become chunks: the windows of each series over a stretch, group by group.
//!
//! Histograms are strings beside a chunk's records: layout and buckets as [`crate::histogram`] has them,
//! nothing for a record without one.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::ReadError;
use super::codec::{self, Chunk, EncodeError, Garbled};
use super::extent::Extent;
use super::group::GroupBuilder;
use super::seam::Put;
use crate::config::Tier;
use crate::histogram::{Layout, Sketch};
use crate::limits::CHUNK_STRING_BYTES;
use crate::rollup::row::GROUP;
use crate::rollup::{Record, Row};

/// A stretch of a tier that is over, with its rows.
#[derive(Clone, Debug)]
pub struct Seal {
    /// Which tier, counted from the finest.
    pub tier: usize,
    /// When.
    pub extent: Extent,
    /// The windows in it that something happened in, in order of time.
    pub rows: Vec<Arc<Row>>,
}

impl Seal {
    /// The stretch, in so short parts that the windows of each group fit a chunk with their histograms; as
    /// it is nearly always.
    pub(super) fn parts(&self, tier: &Tier) -> Vec<Self> {
        let slots = self.extent.slots;
        if slots <= 1 || !self.is_long() {
            return vec![self.clone()];
        }
        let half = Extent { slots: slots / 2, ..self.extent };
        let rest = Extent { start: half.window(tier).end, slots: slots - half.slots };
        let halves = [half, rest].into_iter().flat_map(|extent| {
            let window = extent.window(tier);
            let is_inside = |row: &&Arc<Row>| window.contains(row.window.start);
            let rows = self.rows.iter().filter(is_inside).cloned().collect();
            Self { tier: self.tier, extent, rows }.parts(tier)
        });
        halves.collect()
    }

    /// Whether the windows of some group take more than a chunk may hold of histograms. What rows take is
    /// little more than what their histograms do, where that is much.
    fn is_long(&self) -> bool {
        let all: usize = self.rows.iter().map(|row| row.memory()).sum();
        let of_group = |group: u32| -> usize {
            self.rows.iter().map(|row| row.bytes_of_group(group).len()).sum()
        };
        all > CHUNK_STRING_BYTES
            && self.groups().into_iter().any(|at| of_group(at) > CHUNK_STRING_BYTES)
    }

    fn groups(&self) -> BTreeSet<u32> {
        self.rows.iter().flat_map(|row| row.group_numbers()).collect()
    }

    /// Hands over its chunks under their keys.
    pub(super) fn put(&self, tier: &Tier, put: &mut dyn Put) {
        let mut members = Members::default();
        for group in self.groups() {
            for row in &self.rows {
                members.take(row, group, self.slot(row, tier));
            }
            put.put(&self.extent.key(tier, group), &members.encode(self.extent.slots));
        }
    }

    fn slot(&self, row: &Row, tier: &Tier) -> u16 {
        let since = row.window.start.since(self.extent.start).as_millis();
        u16::try_from(since / tier.window.as_millis().max(1)).unwrap_or(u16::MAX)
    }
}

/// The windows of one group's series; between two groups their memory only.
#[derive(Debug, Default)]
pub(super) struct Members {
    places: Vec<Vec<(u16, Record)>>,
}

impl Members {
    fn take(&mut self, row: &Row, group: u32, slot: u16) {
        self.places.resize_with(GROUP as usize, Vec::new);
        for entry in row.group(group) {
            let place = (entry.series.0 % GROUP) as usize;
            let Some(windows) = self.places.get_mut(place) else { continue };
            let shown = windows.last().and_then(|(_, record)| record.last());
            windows.push((slot, entry.resolve(shown)));
        }
    }

    fn encode(&mut self, slots: u16) -> Vec<u8> {
        let (mut builder, mut chunk) = (GroupBuilder::new(), Vec::new());
        for (place, windows) in (0_u8..).zip(&mut self.places) {
            if windows.is_empty() {
                continue;
            }
            chunk.clear();
            encode(slots, windows, &mut chunk);
            builder.push(place, &chunk);
            windows.clear();
        }
        let mut group = Vec::new();
        builder.finish(&mut group);
        group
    }
}

/// Appends a chunk of these windows, with their histograms.
///
/// # Errors
/// [`EncodeError`], where the histograms take more than a chunk may hold; nothing is appended.
pub(super) fn encode_whole(
    slots: u16,
    windows: &[(u16, Record)],
    chunk: &mut Vec<u8>,
) -> Result<(), EncodeError> {
    let strings: Vec<Vec<u8>> = windows.iter().map(|(_, record)| spread(record)).collect();
    let has_some = strings.iter().any(|string| !string.is_empty());
    let strings: Vec<&[u8]> = strings.iter().filter(|_| has_some).map(Vec::as_slice).collect();
    codec::encode_with_strings(slots, windows, &strings, chunk)
}

fn encode(slots: u16, windows: &[(u16, Record)], chunk: &mut Vec<u8>) {
    if encode_whole(slots, windows, chunk).is_err() {
        // Those of a single window that take more than a chunk may hold: their values stay. No layout of
        // the configuration's comes to that.
        codec::encode(slots, windows, chunk).expect("rows come in order, within their stretch");
    }
}

fn spread(record: &Record) -> Vec<u8> {
    let mut out = Vec::new();
    if let Record::Distribution(_, spread) = record {
        spread.layout().encode(&mut out);
        spread.encode(&mut out);
    }
    out
}

/// Hands the records of a chunk that lie in these slots to `each`, with their histograms.
pub(super) fn read(
    chunk: &[u8],
    slots: Range<u16>,
    mut each: impl FnMut(u16, &Record),
) -> Result<(), ReadError> {
    let chunk = Chunk::parse(chunk)?;
    let Some(strings) = chunk.strings()? else {
        for record in chunk.records(slots)? {
            let (slot, record) = record?;
            each(slot, &record);
        }
        return Ok(());
    };
    for (record, string) in chunk.records(0..u16::MAX)?.zip(strings.iter()) {
        let (slot, record) = record?;
        if slots.contains(&slot) {
            each(slot, &with_spread(record, string)?);
        }
    }
    Ok(())
}

fn with_spread(record: Record, mut string: &[u8]) -> Result<Record, Garbled> {
    match record {
        Record::Values(values) if !string.is_empty() => {
            let layout = Layout::decode(&mut string).map_err(|_| Garbled)?;
            let spread = Sketch::decode(layout, &mut string).map_err(|_| Garbled)?;
            Ok(Record::Distribution(values, Arc::new(spread)))
        }
        record => Ok(record),
    }
}
