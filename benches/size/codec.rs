//! The data set through the codec: bytes of groups, and CPU time of each way through them.

use std::hint::black_box;

use anyhow::Context;
use rustix::time::{ClockId, clock_gettime};
use tallyd::limits::GROUP_SERIES;
use tallyd::rollup::{Counts, Record, Values};
use tallyd::store::codec::{self, Chunk};
use tallyd::store::{Group, GroupBuilder};

use crate::data::{Class, SLOTS, Series};

/// What a way of laying out the set came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) samples: u64,
    pub(crate) bytes: u64,
    /// Nanoseconds of CPU, over all samples.
    pub(crate) encode: u64,
    pub(crate) sums: u64,
    pub(crate) records: u64,
}

impl Figures {
    /// Bytes of one sample.
    pub(crate) fn size(&self) -> f64 {
        self.bytes as f64 / self.samples.max(1) as f64
    }

    /// Nanoseconds of one sample.
    pub(crate) fn nanos(&self, all: u64) -> f64 {
        all as f64 / self.samples.max(1) as f64
    }
}

/// Lays the series out in groups of chunks of so many slots, reads them back, and holds what was read
/// against what was written.
pub(crate) fn measure(series: &[Series], slots: u16, live: bool) -> anyhow::Result<Figures> {
    let mut figures = Figures::default();
    for members in series.chunks(GROUP_SERIES) {
        let records: Vec<_> = members.iter().map(|series| records_of(series, live)).collect();
        for begin in (0..SLOTS).step_by(slots.into()) {
            let end = SLOTS.min(begin + usize::from(slots));
            let parts: Vec<_> = records.iter().map(|records| part(records, begin, end)).collect();
            group(&parts, u16::try_from(end - begin)?, &mut figures)?;
        }
        figures.samples += (members.len() * SLOTS) as u64;
    }
    Ok(figures)
}

/// What compaction costs: CPU nanoseconds of a sample to merge chunks of 32 slots into one of `slots`,
/// and bytes of a sample before.
pub(crate) fn compaction(series: &[Series], slots: u16) -> anyhow::Result<(f64, f64)> {
    const FRAGMENT: u16 = 32;
    let (mut nanos, mut bytes, mut samples) = (0, 0, 0);
    for series in series {
        let records = records_of(series, false);
        let fragment = |begin: u16| {
            let end = begin + FRAGMENT.min(slots - begin);
            let mut chunk = Vec::new();
            let records = part(&records, begin.into(), end.into());
            codec::encode(end - begin, &records, &mut chunk).map(|()| (begin, chunk))
        };
        let parts: Result<Vec<_>, _> = (0..slots).step_by(FRAGMENT.into()).map(fragment).collect();
        let parts = parts?;
        bytes += parts.iter().map(|(_, chunk)| chunk.len()).sum::<usize>();
        let parts: Vec<_> = parts.iter().map(|(begin, chunk)| (*begin, &chunk[..])).collect();
        let mut merged = Vec::new();
        let began = cpu_nanos();
        codec::merge(slots, &parts, &mut merged)?;
        nanos += cpu_nanos() - began;
        samples += u64::from(slots);
    }
    Ok((nanos as f64 / samples as f64, bytes as f64 / samples as f64))
}

/// One group: made, then read in each way.
fn group(parts: &[Vec<(u16, Record)>], slots: u16, figures: &mut Figures) -> anyhow::Result<()> {
    let began = cpu_nanos();
    let mut builder = GroupBuilder::new();
    let mut chunk = Vec::new();
    for (place, records) in (0..).zip(parts).filter(|(_, records)| !records.is_empty()) {
        chunk.clear();
        codec::encode(slots, records, &mut chunk)?;
        anyhow::ensure!(builder.push(place, &chunk), "a group has room for its series");
    }
    if builder.is_empty() {
        return Ok(());
    }
    let mut bytes = Vec::new();
    builder.finish(&mut bytes);
    figures.encode += cpu_nanos() - began;
    figures.bytes += bytes.len() as u64;

    let began = cpu_nanos();
    black_box(minutes(&bytes, slots)?);
    figures.sums += cpu_nanos() - began;

    let began = cpu_nanos();
    let mut seen = 0;
    for (_, chunk) in Group::open(&bytes)?.members() {
        for record in Chunk::parse(chunk)?.records(0..slots)? {
            black_box(record?);
            seen += 1;
        }
    }
    figures.records += cpu_nanos() - began;
    anyhow::ensure!(seen == parts.iter().map(Vec::len).sum::<usize>(), "all records come back");
    same(&bytes, parts)
}

/// Sums, or last values, by the minute: what a chart reads.
fn minutes(bytes: &[u8], slots: u16) -> anyhow::Result<(Vec<u64>, f64)> {
    let mut sums = vec![0_u64; usize::from(slots) / 6 + 1];
    let mut last = 0.0;
    for (_, chunk) in Group::open(bytes)?.members() {
        let chunk = Chunk::parse(chunk)?;
        chunk.sums(0..slots, |mut slot, mut part| {
            while let Some((ahead, rest)) = part
                .split_at_checked(part.len().min(6 - usize::from(slot % 6)))
                .filter(|(a, _)| !a.is_empty())
            {
                sums[usize::from(slot) / 6] += ahead.iter().sum::<u64>();
                slot += ahead.len() as u16;
                part = rest;
            }
        })?;
        chunk.gauges(0..slots, |_, value| last += value)?;
    }
    Ok((sums, last))
}

fn same(bytes: &[u8], parts: &[Vec<(u16, Record)>]) -> anyhow::Result<()> {
    let group = Group::open(bytes)?;
    for (place, records) in (0..).zip(parts).filter(|(_, records)| !records.is_empty()) {
        let chunk = group.get(place).context("every member is there")?;
        let back: Result<Vec<_>, _> = Chunk::parse(chunk)?.records(0..u16::MAX)?.collect();
        anyhow::ensure!(&back? == records, "member {place} came back changed");
    }
    Ok(())
}

fn part(records: &[(usize, Record)], begin: usize, end: usize) -> Vec<(u16, Record)> {
    let from = records.partition_point(|(slot, _)| *slot < begin);
    let to = records.partition_point(|(slot, _)| *slot < end);
    let moved = |(slot, record): &(usize, Record)| ((slot - begin) as u16, record.clone());
    records[from..to].iter().map(moved).collect()
}

/// A day's records of a series: as imported, one number for a slot; or live, merged from ten seconds,
/// with the least and the greatest of them.
fn records_of(series: &Series, live: bool) -> Vec<(usize, Record)> {
    let per_slot = if live { 10 } else { 1 };
    let samples = if live { series.seconds() } else { series.samples() };
    let mut total = 0.0;
    let base = |sample: &i64| {
        if series.class == Class::Gauge {
            let value = *sample as f64 / 100.0;
            return Some(Record::Values(Values {
                sum: value,
                count: 1,
                min: value,
                max: value,
                last: value,
            }));
        }
        let sum = u64::try_from(*sample).unwrap_or(0);
        total += sum as f64;
        (sum > 0).then(|| Record::Counts(Counts::base(sum, sum, Some(total))))
    };
    let base: Vec<_> = samples.iter().map(base).collect();
    let merged = |(slot, parts): (usize, &[Option<Record>])| {
        parts.iter().flatten().cloned().reduce(Record::then).map(|record| (slot, record))
    };
    base.chunks(per_slot).enumerate().filter_map(merged).collect()
}

/// What this thread has computed so far.
pub(crate) fn cpu_nanos() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.cast_unsigned() * 1_000_000_000 + time.tv_nsec.cast_unsigned()
}
