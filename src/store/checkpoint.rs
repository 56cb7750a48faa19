//! What the tick knows at an instant and no chunk tells: rows that are not whole stretches yet, and the
//! open windows of the coarser tiers. With it and the tick rows since then a start is where the last
//! process was.
//!
//! It lies in as many values as there are groups of series in it, and a head: so none is long, and none is
//! made before it is written. Layout of the head: version (2), the instant in seconds (zigzag); then for each tier its width in
//! seconds, since when it knows anything (seconds, zigzag), whether there is an open row (0, 1), the number of
//! rows that wait, and when each of these begins, the open one first (seconds, zigzag). A group holds of
//! each row, in the same order, the length of its bytes and those.
//!
//! The first version had all of it in the head: instead of the starts an open row, the number of others, and
//! those. A row was its start, its length and its bytes, as [`Row::write_to`] has them; an open row that there
//! was not had a length of zero. It is read still.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::extent::width_secs;
use crate::config::Tier;
use crate::rollup::{Row, RowBuilder};
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

const VERSION: u64 = 2;
/// In one piece.
const WHOLE: u64 = 1;

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Everything before it is in here or in chunks, nothing after it.
    pub at: Timestamp,
    /// Tier by tier.
    pub tiers: Vec<Shelved>,
}

/// The rows of one tier.
#[derive(Clone, Debug, PartialEq)]
pub struct Shelved {
    /// The tier.
    pub tier: Tier,
    /// Since when it knows anything: what began before is not kept.
    pub since: Timestamp,
    /// Its open window, as far as it is filled.
    pub open: Option<Arc<Row>>,
    /// Closed windows that are in no chunk.
    pub rows: Vec<Arc<Row>>,
}

/// A checkpoint that is being read, group by group.
#[derive(Debug)]
pub(super) struct Sliced {
    at: Timestamp,
    tiers: Vec<SlicedTier>,
}

#[derive(Debug)]
struct SlicedTier {
    tier: Tier,
    since: Timestamp,
    has_open: bool,
    rows: Vec<(Timestamp, RowBuilder)>,
}

impl Shelved {
    /// The open one first.
    fn all(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.open.iter().chain(&self.rows)
    }
}

impl Checkpoint {
    /// What stands before its groups.
    pub(super) fn head(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, VERSION);
        varint::put(&mut out, varint::zigzag(self.at.as_secs()));
        for shelved in &self.tiers {
            varint::put(&mut out, u64::from(width_secs(&shelved.tier)));
            varint::put(&mut out, varint::zigzag(shelved.since.as_secs()));
            out.push(u8::from(shelved.open.is_some()));
            varint::put(&mut out, shelved.rows.len() as u64);
            let starts = shelved.all().map(|row| row.window.start.as_secs());
            starts.for_each(|start| varint::put(&mut out, varint::zigzag(start)));
        }
        out
    }

    /// The groups that something happened in.
    pub(super) fn groups(&self) -> BTreeSet<u32> {
        self.rows().flat_map(|row| row.group_numbers()).collect()
    }

    /// One of them, behind what `out` holds.
    pub(super) fn write_group(&self, group: u32, out: &mut Vec<u8>) {
        for bytes in self.rows().map(|row| row.bytes_of_group(group)) {
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(bytes);
        }
    }

    fn rows(&self) -> impl Iterator<Item = &Arc<Row>> {
        self.tiers.iter().flat_map(Shelved::all)
    }
}

impl Sliced {
    /// Reads a head; `None` where the bytes are something else. A tier that there is not any more is not
    /// kept.
    pub(super) fn begin(head: &[u8], tiers: &[Tier]) -> Option<Self> {
        let mut reader = Reader::new(head);
        let version = reader.number()?;
        let at = Timestamp::from_secs(varint::unzigzag(reader.number()?));
        let mut found = Vec::new();
        while !reader.is_empty() {
            let width = reader.number_u32()?;
            let gone = Tier { window: Span::from_secs(u64::from(width)), keep: Span::ZERO };
            let tier = tiers.iter().find(|tier| width_secs(tier) == width).copied().unwrap_or(gone);
            let since = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            let (has_open, rows) = match version {
                VERSION => read_starts(&mut reader)?,
                WHOLE => read_whole(&mut reader)?,
                _ => return None,
            };
            found.push(SlicedTier { tier, since, has_open, rows });
        }
        Some(Self { at, tiers: found })
    }

    /// Takes the next group in; `None` where its bytes are something else.
    pub(super) fn take(&mut self, group: u32, bytes: &[u8]) -> Option<()> {
        let mut reader = Reader::new(bytes);
        for (_, row) in self.tiers.iter_mut().flat_map(|its| &mut its.rows) {
            let len = usize::try_from(reader.number()?).ok()?;
            let bytes = reader.take(len)?;
            if !bytes.is_empty() {
                row.take_group(group, bytes)?;
            }
        }
        reader.is_empty().then_some(())
    }

    /// All of it.
    pub(super) fn finish(self) -> Checkpoint {
        let shelved = |its: SlicedTier| {
            let SlicedTier { tier, since, has_open, rows } = its;
            let row = |(start, mut row): (Timestamp, RowBuilder)| {
                Arc::new(row.finish(Window::starting(start, tier.window)))
            };
            let mut rows = rows.into_iter().map(row);
            let open = if has_open { rows.next() } else { None };
            Shelved { tier, since, open, rows: rows.collect() }
        };
        Checkpoint { at: self.at, tiers: self.tiers.into_iter().map(shelved).collect() }
    }
}

/// Whether there is an open row, and all rows, of a tier.
type Rows = (bool, Vec<(Timestamp, RowBuilder)>);

fn read_starts(reader: &mut Reader<'_>) -> Option<Rows> {
    let has_open = reader.byte()? == 1;
    let mut rows = Vec::new();
    for _ in 0..reader.number()?.checked_add(u64::from(has_open))? {
        rows.push((read_start(reader)?, RowBuilder::default()));
    }
    Some((has_open, rows))
}

fn read_whole(reader: &mut Reader<'_>) -> Option<Rows> {
    let mut rows: Vec<_> = read_row(reader)?.into_iter().collect();
    let has_open = !rows.is_empty();
    for _ in 0..reader.number()? {
        rows.extend(read_row(reader)?);
    }
    Some((has_open, rows))
}

fn read_start(reader: &mut Reader<'_>) -> Option<Timestamp> {
    Some(Timestamp::from_secs(varint::unzigzag(reader.number()?)))
}

/// A row, or none where it is empty; the outer `None` where it is garbled.
#[expect(clippy::option_option, reason = "garbled and absent are two things")]
fn read_row(reader: &mut Reader<'_>) -> Option<Option<(Timestamp, RowBuilder)>> {
    let start = read_start(reader)?;
    let len = usize::try_from(reader.number()?).ok()?;
    let bytes = reader.take(len)?;
    if len == 0 {
        return Some(None);
    }
    Some(Some((start, RowBuilder::read(bytes)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup::{Counts, Entry, Record, SeriesId};

    const TIERS: [Tier; 2] = [
        Tier { window: Span::SECOND, keep: Span::DAY },
        Tier { window: Span::from_secs(10), keep: Span::WEEK },
    ];

    /// A window of some series, which lie in several groups.
    fn row(tier: usize, start: i64, series: &[u32]) -> Arc<Row> {
        let mut builder = RowBuilder::default();
        for series in series {
            let record = Record::Counts(Counts::base(u64::from(*series) + 1, 2, None));
            builder.push(Entry { series: SeriesId(*series), record, runs_on: false });
        }
        let window = Window::starting(Timestamp::from_secs(start), TIERS[tier].window);
        Arc::new(builder.finish(window))
    }

    fn checkpoint() -> Checkpoint {
        let since = Timestamp::from_secs(-5);
        let rows = vec![row(0, 100, &[1, 130, 700]), row(0, 103, &[]), row(0, 104, &[131, 701])];
        let open = Some(row(1, 100, &[1, 2, 700]));
        let tiers = vec![
            Shelved { tier: TIERS[0], since, open: None, rows },
            Shelved { tier: TIERS[1], since, open, rows: vec![row(1, 90, &[5])] },
        ];
        Checkpoint { at: Timestamp::from_secs(105), tiers }
    }

    #[test]
    fn is_put_together_of_its_groups() {
        let checkpoint = checkpoint();
        assert_eq!(checkpoint.groups(), [0, 1, 5].into());
        let head = checkpoint.head();
        let mut sliced = Sliced::begin(&head, &TIERS).unwrap();
        for group in checkpoint.groups() {
            let mut slice = Vec::new();
            checkpoint.write_group(group, &mut slice);
            assert!(Sliced::begin(&head, &TIERS).unwrap().take(group, &slice[1..]).is_none());
            assert!(sliced.take(group, &slice).is_some());
            assert!(sliced.take(group, &slice).is_none(), "each comes once");
        }
        assert_eq!(sliced.finish(), checkpoint);
        assert!(Sliced::begin(&head[..head.len() - 1], &TIERS).is_none());
    }

    /// As the first version wrote it.
    #[test]
    fn one_in_a_single_piece_is_read() {
        fn write_row(row: Option<&Arc<Row>>, out: &mut Vec<u8>) {
            let start = row.map_or(0, |row| row.window.start.as_secs());
            varint::put(out, varint::zigzag(start));
            let mut bytes = Vec::new();
            if let Some(row) = row {
                row.write_to(&mut bytes);
            }
            varint::put(out, bytes.len() as u64);
            out.extend_from_slice(&bytes);
        }
        let checkpoint = checkpoint();
        let mut out = vec![1];
        varint::put(&mut out, varint::zigzag(checkpoint.at.as_secs()));
        for shelved in &checkpoint.tiers {
            varint::put(&mut out, u64::from(width_secs(&shelved.tier)));
            varint::put(&mut out, varint::zigzag(shelved.since.as_secs()));
            write_row(shelved.open.as_ref(), &mut out);
            varint::put(&mut out, shelved.rows.len() as u64);
            shelved.rows.iter().for_each(|row| write_row(Some(row), &mut out));
        }
        assert_eq!(Sliced::begin(&out, &TIERS).unwrap().finish(), checkpoint);
        out[0] = 3;
        assert!(Sliced::begin(&out, &TIERS).is_none(), "of a later version");
    }
}
