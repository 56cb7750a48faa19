//! One window of one tier over all series in which something happened, as bytes.
//!
//! A row is what a tick makes and what everything after it is fed with: rows merge into rows of
//! coarser tiers, lie in memory until they are put into chunks, and are what the tick log holds. Two
//! or three bytes tell of a counter, so that a hundred thousand of them fit a cache.
//!
//! Series stand in order of their ids, in groups of [`GROUP`]; a directory finds a group without
//! reading the others. Layout of a group: one entry after the other, each a head byte (the series'
//! place in the group; the high bit says "plain") and then
//!
//! - plain: the sum, of a counter that was incremented by ones in one base window, and whose value
//!   shown ran on with it;
//! - otherwise a byte of flags (below) and the fields that the flags do not tell; of a distribution those
//!   of a gauge, then its histogram's layout and buckets as `histogram` has them.
//!
//! Numbers are LEB128, doubles as [`varint::put_double`] has them.
//!
//! The value that a counter shows is left out while it *runs on*: while it is the value shown at the
//! series' record before plus the sum. Whoever makes a row says when it does not, and at least once in
//! each [`span`], so that a span of rows can be read by itself.

use std::sync::Arc;

use super::{Counts, Record, SeriesId, Values};
use crate::config::Tier;
use crate::histogram::{Layout, Sketch};
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

/// Series in one group.
pub const GROUP: u32 = 128;

const PLAIN: u8 = 0x80;
/// The low two bits of the flags: what kind of record.
const COUNTS: u8 = 0;
const VALUES: u8 = 1;
const DISTRIBUTION: u8 = 2;
const KIND: u8 = 3;
/// The number of increments: as many as their sum, one, or written out.
const COUNT_IS_SUM: u8 = 0;
const COUNT_IS_ONE: u8 = 1 << 2;
const COUNT_FOLLOWS: u8 = 2 << 2;
const COUNT: u8 = 3 << 2;
/// More than one base window: how many, the least and the greatest follow.
const BASES_FOLLOW: u8 = 1 << 4;
/// The value shown at the end: runs on, follows, or none.
const LAST_FOLLOWS: u8 = 1 << 5;
const LAST_IS_NONE: u8 = 2 << 5;
const LAST: u8 = 3 << 5;
/// Of a gauge or a distribution: set once, so that one number says it all.
const SINGLE: u8 = 1 << 2;

/// One series in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Which series.
    pub series: SeriesId,
    /// What happened; of a counter that runs on `last` is `None`.
    pub record: Record,
    /// Whether the value that a counter shows is the one before plus the sum.
    pub runs_on: bool,
}

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// When.
    pub window: Window,
    entries: usize,
    /// Groups in order.
    directory: Box<[Place]>,
    bytes: Box<[u8]>,
}

/// A group in a row. How many entries it has stands here, so that rows merge without reading what only
/// one of them has: of a distribution that would be its histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Its number times [`GROUP`], and its entries less one.
    group_and_entries: u32,
    /// Where it begins.
    start: u32,
}

impl Place {
    /// A group with one entry.
    const fn first(group: u32, start: u32) -> Self {
        Self { group_and_entries: group.saturating_mul(GROUP), start }
    }

    /// A group with so many, of which there is one at least.
    fn with(group: u32, entries: usize, start: u32) -> Self {
        let further = u32::try_from(entries.saturating_sub(1)).unwrap_or(u32::MAX).min(GROUP - 1);
        Self { group_and_entries: group.saturating_mul(GROUP) + further, start }
    }

    const fn group(self) -> u32 {
        self.group_and_entries / GROUP
    }

    const fn entries(self) -> usize {
        (self.group_and_entries % GROUP) as usize + 1
    }
}

/// Makes a row of entries that come in nearly the order of their ids.
#[derive(Debug, Default)]
pub struct RowBuilder {
    entries: usize,
    directory: Vec<Place>,
    bytes: Vec<u8>,
    last: Option<SeriesId>,
    /// Entries that came too late for their place.
    late: Vec<Entry>,
}

/// How long the stretches are that rows of a tier are put into chunks by: a minute of base windows and of
/// others of up to ten seconds, so that few rows lie in memory; five minutes, or one window, of coarser
/// ones. Each begins at a multiple of its length.
#[must_use]
pub fn span(tiers: &[Tier], tier: usize) -> Span {
    let window = tiers.get(tier).map_or(Span::SECOND, |tier| tier.window);
    let step = window.as_millis().max(1);
    let least = if tier == 0 || step <= 10_000 { 60_000 } else { 300_000_u64 };
    Span::from_millis(least.div_ceil(step).saturating_mul(step))
}

impl RowBuilder {
    /// Adds what happened in a series; each comes once.
    pub fn push(&mut self, entry: Entry) {
        if self.last.is_some_and(|last| last >= entry.series) {
            self.late.push(entry);
            return;
        }
        self.last = Some(entry.series);
        let group = entry.series.0 / GROUP;
        match self.directory.last_mut().filter(|place| place.group() == group) {
            // Its series come once each, so they are no more than a group has.
            Some(place) => place.group_and_entries += 1,
            None => self.directory.push(Place::first(group, offset(self.bytes.len()))),
        }
        self.entries += 1;
        write_entry(&mut self.bytes, &entry);
    }

    /// A row that is in the form of files; `None` where the bytes are none.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let mut builder = Self::default();
        let mut next = 0_u32;
        for _ in 0..reader.number()? {
            let group = next.checked_add(reader.number_u32()?)?;
            let len = usize::try_from(reader.number()?).ok()?;
            builder.take_group(group, reader.take(len)?)?;
            next = group.checked_add(1)?;
        }
        reader.is_empty().then_some(builder)
    }

    /// The row, and the builder as it was when it was new, with its memory.
    pub fn finish(&mut self, window: Window) -> Row {
        let row = Row {
            window,
            entries: std::mem::take(&mut self.entries),
            directory: self.directory.as_slice().into(),
            bytes: self.bytes.as_slice().into(),
        };
        self.directory.clear();
        self.bytes.clear();
        self.last = None;
        if self.late.is_empty() {
            return row;
        }
        let mut late = std::mem::take(&mut self.late);
        late.sort_unstable_by_key(|entry| entry.series);
        let mut rest = Self::default();
        for entry in late {
            rest.push(entry);
        }
        row.then(&rest.finish(window), window)
    }

    /// Takes the bytes of a group, which comes after every other; `None` where they are none.
    pub fn take_group(&mut self, group: u32, bytes: &[u8]) -> Option<()> {
        let is_next = self.directory.last().is_none_or(|place| place.group() < group);
        if !is_next || group > u32::MAX / GROUP {
            return None;
        }
        self.copy(group, bytes, check(bytes)?);
        Some(())
    }

    /// Takes a group over as it is. It comes after every other.
    fn copy(&mut self, group: u32, bytes: &[u8], entries: usize) {
        self.directory.push(Place::with(group, entries, offset(self.bytes.len())));
        self.bytes.extend_from_slice(bytes);
        self.entries += entries;
        self.last = Some(SeriesId(group.saturating_mul(GROUP).saturating_add(GROUP - 1)));
    }
}

/// Where a group begins. A row is far from 4 GiB: a series takes some fifty bytes at most, and ids of
/// cells are few enough.
fn offset(at: usize) -> u32 {
    u32::try_from(at).expect("a row is shorter than 4 GiB")
}

impl Row {
    /// A row in which nothing happened.
    #[must_use]
    pub fn empty(window: Window) -> Self {
        Self { window, entries: 0, directory: Box::default(), bytes: Box::default() }
    }

    /// How many series it tells of.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries
    }

    /// Whether nothing happened.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// What it takes in memory, in bytes.
    #[must_use]
    pub const fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + size_of::<Place>() * self.directory.len()
    }

    /// Every series, in order.
    pub fn iter(&self) -> impl Iterator<Item = Entry> {
        self.groups().flat_map(|(place, bytes)| entries(place.group(), bytes))
    }

    /// What happened in one series.
    #[must_use]
    pub fn get(&self, series: SeriesId) -> Option<Entry> {
        let group = series.0 / GROUP;
        self.group(group).take_while(|entry| entry.series <= series).find(|e| e.series == series)
    }

    /// The series of one group, in order.
    pub fn group(&self, group: u32) -> impl Iterator<Item = Entry> {
        entries(group, self.bytes_of_group(group))
    }

    /// The bytes of one group; none where nothing happened in it.
    #[must_use]
    pub fn bytes_of_group(&self, group: u32) -> &[u8] {
        let found = self.directory.binary_search_by_key(&group, |place| place.group());
        found.map_or(&[], |at| self.bytes_of(at))
    }

    /// The numbers of the groups that something happened in.
    pub fn group_numbers(&self) -> impl Iterator<Item = u32> {
        self.directory.iter().map(|place| place.group())
    }

    /// The groups that something happened in, with their bytes.
    fn groups(&self) -> impl Iterator<Item = (Place, &[u8])> {
        self.directory.iter().enumerate().map(|(at, place)| (*place, self.bytes_of(at)))
    }

    fn bytes_of(&self, at: usize) -> &[u8] {
        let start = self.directory.get(at).map_or(0, |place| place.start as usize);
        let end = self.directory.get(at + 1).map_or(self.bytes.len(), |next| next.start as usize);
        self.bytes.get(start..end).unwrap_or_default()
    }

    /// This row and the `later` one as a single row.
    #[must_use]
    pub fn then(&self, later: &Self, window: Window) -> Self {
        let mut out = RowBuilder::default();
        out.bytes.reserve(self.bytes.len().max(later.bytes.len()));
        let (mut ours, mut theirs) = (self.groups().peekable(), later.groups().peekable());
        loop {
            match (ours.peek(), theirs.peek()) {
                (Some((a, bytes)), b) if b.is_none_or(|(b, _)| a.group() < b.group()) => {
                    out.copy(a.group(), bytes, a.entries());
                    ours.next();
                }
                (a, Some((b, bytes))) if a.is_none_or(|(a, _)| b.group() < a.group()) => {
                    out.copy(b.group(), bytes, b.entries());
                    theirs.next();
                }
                (Some((place, ours_bytes)), Some((_, their_bytes))) => {
                    let group = place.group();
                    merge(entries(group, ours_bytes), entries(group, their_bytes), &mut out);
                    ours.next();
                    theirs.next();
                }
                _ => return out.finish(window),
            }
        }
    }

    /// Appends it in the form that files hold: the number of groups, then of each how far its number
    /// lies behind the one before, how long it is, and its bytes. The window is not in it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        varint::put(out, self.directory.len() as u64);
        let mut next = 0;
        for (place, bytes) in self.groups() {
            varint::put(out, u64::from(place.group() - next));
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
            next = place.group() + 1;
        }
    }

    /// And back; `None` where the bytes are no row.
    #[must_use]
    pub fn read(window: Window, bytes: &[u8]) -> Option<Self> {
        Some(RowBuilder::read(bytes)?.finish(window))
    }
}

/// How many entries a group has; `None` where the bytes are no group.
fn check(bytes: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(bytes);
    let (mut count, mut last) = (0, None);
    while !reader.is_empty() {
        let entry = read_entry(0, &mut reader)?;
        if last.is_some_and(|last| last >= entry.series) {
            return None;
        }
        last = Some(entry.series);
        count += 1;
    }
    (count > 0).then_some(count)
}

fn merge(
    ours: impl Iterator<Item = Entry>,
    theirs: impl Iterator<Item = Entry>,
    out: &mut RowBuilder,
) {
    let (mut ours, mut theirs) = (ours.peekable(), theirs.peekable());
    loop {
        match (ours.peek(), theirs.peek()) {
            (Some(a), Some(b)) if a.series == b.series => {
                if let (Some(a), Some(b)) = (ours.next(), theirs.next()) {
                    out.push(a.then(b));
                }
            }
            (Some(a), b) if b.is_none_or(|b| a.series < b.series) => {
                ours.next().into_iter().for_each(|entry| out.push(entry));
            }
            (_, Some(_)) => theirs.next().into_iter().for_each(|entry| out.push(entry)),
            (_, None) => return,
        }
    }
}

impl Entry {
    /// This one and the `later` one as a single one.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        let Self { series, record, runs_on } = later;
        if !runs_on {
            return Self { series, record: self.record.then(record), runs_on };
        }
        let runs_on = self.runs_on && matches!(self.record, Record::Counts(_));
        let last = run_on(self.record.last(), &record);
        Self { series, record: self.record.then(record), runs_on }.showing(last)
    }

    /// The record with the value shown at its end, where `before` is the one before it.
    #[must_use]
    pub fn resolve(self, before: Option<f64>) -> Record {
        let last = run_on(before, &self.record);
        if self.runs_on { self.showing(last).record } else { self.record }
    }

    fn showing(self, last: Option<f64>) -> Self {
        match self.record {
            Record::Counts(counts) => {
                Self { record: Record::Counts(Counts { last, ..counts }), ..self }
            }
            Record::Values(_) | Record::Distribution(..) => self,
        }
    }
}

/// The value shown after `record`, where it was `before` and runs on.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "windows hold doubles")]
pub fn run_on(before: Option<f64>, record: &Record) -> Option<f64> {
    match record {
        Record::Counts(counts) => before.map(|before| before + counts.sum as f64),
        Record::Values(values) | Record::Distribution(values, _) => Some(values.last),
    }
}

/// The entries of a group, as far as its bytes are entries.
fn entries(group: u32, bytes: &[u8]) -> impl Iterator<Item = Entry> {
    let mut reader = Reader::new(bytes);
    let first = group.saturating_mul(GROUP);
    std::iter::from_fn(move || read_entry(first, &mut reader))
}

fn write_entry(out: &mut Vec<u8>, entry: &Entry) {
    let place = (entry.series.0 % GROUP) as u8;
    match &entry.record {
        Record::Counts(counts) => write_counts(out, place, counts, entry.runs_on),
        Record::Values(values) => write_values(out, place, VALUES, values),
        Record::Distribution(values, spread) => {
            write_values(out, place, DISTRIBUTION, values);
            spread.layout().encode(out);
            spread.encode(out);
        }
    }
}

fn write_counts(out: &mut Vec<u8>, place: u8, counts: &Counts, runs_on: bool) {
    let is_base = counts.touched == 1 && counts.min == counts.sum && counts.max == counts.sum;
    if is_base && counts.count == counts.sum && runs_on {
        out.push(place | PLAIN);
        return varint::put(out, counts.sum);
    }
    let count = match counts.count {
        count if count == counts.sum => COUNT_IS_SUM,
        1 => COUNT_IS_ONE,
        _ => COUNT_FOLLOWS,
    };
    let last = match counts.last {
        _ if runs_on => 0,
        Some(_) => LAST_FOLLOWS,
        None => LAST_IS_NONE,
    };
    out.push(place);
    out.push(COUNTS | count | last | if is_base { 0 } else { BASES_FOLLOW });
    varint::put(out, counts.sum);
    if count == COUNT_FOLLOWS {
        varint::put(out, counts.count);
    }
    if !is_base {
        varint::put(out, u64::from(counts.touched));
        varint::put(out, counts.min);
        varint::put(out, counts.max.wrapping_sub(counts.min));
    }
    if let Some(value) = counts.last.filter(|_| last == LAST_FOLLOWS) {
        varint::put_double(out, value);
    }
}

fn write_values(out: &mut Vec<u8>, place: u8, kind: u8, values: &Values) {
    let same = |value: f64| value.to_bits() == values.last.to_bits();
    let is_single = values.count == 1 && same(values.sum) && same(values.min) && same(values.max);
    out.push(place);
    out.push(kind | if is_single { SINGLE } else { 0 });
    varint::put_double(out, values.last);
    if !is_single {
        varint::put(out, values.count);
        varint::put_double(out, values.sum);
        varint::put_double(out, values.min);
        varint::put_double(out, values.max);
    }
}

#[inline]
fn read_entry(first: u32, reader: &mut Reader<'_>) -> Option<Entry> {
    let head = reader.byte()?;
    let series = SeriesId(first + u32::from(head & !PLAIN));
    if head & PLAIN != 0 {
        let sum = reader.number()?;
        let record = Record::Counts(Counts { count: sum, ..Counts::base(sum, 1, None) });
        return Some(Entry { series, record, runs_on: true });
    }
    let flags = reader.byte()?;
    match flags & KIND {
        COUNTS => {
            let record = Record::Counts(read_counts(flags, reader)?);
            Some(Entry { series, record, runs_on: flags & LAST == 0 })
        }
        VALUES => {
            let record = Record::Values(read_values(flags, reader)?);
            Some(Entry { series, record, runs_on: false })
        }
        DISTRIBUTION => {
            let values = read_values(flags, reader)?;
            let layout = reader.decode(Layout::decode)?;
            let spread = reader.decode(|bytes| Sketch::decode(layout, bytes))?;
            let record = Record::Distribution(values, Arc::new(spread));
            Some(Entry { series, record, runs_on: false })
        }
        _ => None,
    }
}

fn read_counts(flags: u8, reader: &mut Reader<'_>) -> Option<Counts> {
    let sum = reader.number()?;
    let count = match flags & COUNT {
        COUNT_IS_SUM => sum,
        COUNT_IS_ONE => 1,
        COUNT_FOLLOWS => reader.number()?,
        _ => return None,
    };
    let (touched, min, max) = if flags & BASES_FOLLOW == 0 {
        (1, sum, sum)
    } else {
        let (touched, min) = (reader.number_u32()?, reader.number()?);
        (touched, min, min.wrapping_add(reader.number()?))
    };
    let last = match flags & LAST {
        LAST_FOLLOWS => Some(reader.double()?),
        LAST => return None,
        _ => None,
    };
    Some(Counts { sum, count, touched, min, max, last })
}

fn read_values(flags: u8, reader: &mut Reader<'_>) -> Option<Values> {
    let last = reader.double()?;
    if flags & SINGLE != 0 {
        return Some(Values { sum: last, count: 1, min: last, max: last, last });
    }
    let count = reader.number()?;
    let (sum, min, max) = (reader.double()?, reader.double()?, reader.double()?);
    Some(Values { sum, count, min, max, last })
}

/// The beginning of the latest span, of any tier, that `instant` lies in.
#[must_use]
pub fn latest_span(tiers: &[Tier], instant: Timestamp) -> Timestamp {
    let starts = (0..tiers.len()).map(|tier| instant.align_down(span(tiers, tier)));
    starts.max().unwrap_or(instant)
}

#[cfg(test)]
mod tests;
