//! What the tick knows at an instant and no chunk tells: rows that are not whole stretches yet, and the
//! open windows of the coarser tiers. With it and the tick rows since then a start is where the last
//! process was.
//!
//! Layout: version (1), the instant in seconds (zigzag); then for each tier its width in seconds, since
//! when it knows anything (seconds, zigzag), the open row, the number of rows that wait, and those. A row is its start in seconds (zigzag), its length and
//! its bytes; an open row that there is not has a length of zero.

use std::sync::Arc;

use super::extent::width_secs;
use crate::config::Tier;
use crate::rollup::Row;
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

const VERSION: u64 = 1;

/// See the module.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Everything before it is in here or in chunks, nothing after it.
    pub at: Timestamp,
    /// Tier by tier.
    pub tiers: Vec<Shelved>,
}

/// The rows of one tier.
#[derive(Clone, Debug)]
pub struct Shelved {
    /// The tier.
    pub tier: Tier,
    /// Since when it knows anything: what began before is not kept.
    pub since: Timestamp,
    /// Its open window, as far as it is filled.
    pub open: Option<Row>,
    /// Closed windows that are in no chunk.
    pub rows: Vec<Arc<Row>>,
}

impl Checkpoint {
    /// In bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, VERSION);
        varint::put(&mut out, varint::zigzag(self.at.as_secs()));
        for shelved in &self.tiers {
            varint::put(&mut out, u64::from(width_secs(&shelved.tier)));
            varint::put(&mut out, varint::zigzag(shelved.since.as_secs()));
            write_row(shelved.open.as_ref(), &mut out);
            varint::put(&mut out, shelved.rows.len() as u64);
            shelved.rows.iter().for_each(|row| write_row(Some(row), &mut out));
        }
        out
    }

    /// And back; `None` where the bytes are something else. A tier that there is not any more is not kept.
    #[must_use]
    pub fn read(bytes: &[u8], tiers: &[Tier]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.number()? != VERSION {
            return None;
        }
        let at = Timestamp::from_secs(varint::unzigzag(reader.number()?));
        let mut found = Vec::new();
        while !reader.is_empty() {
            let width = reader.number_u32()?;
            let gone = Tier { window: Span::from_secs(u64::from(width)), keep: Span::ZERO };
            let tier = tiers.iter().find(|tier| width_secs(tier) == width).copied().unwrap_or(gone);
            let since = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            let open = read_row(&tier, &mut reader)?;
            let mut rows = Vec::new();
            for _ in 0..reader.number()? {
                rows.extend(read_row(&tier, &mut reader)?.map(Arc::new));
            }
            found.push(Shelved { tier, since, open, rows });
        }
        Some(Self { at, tiers: found })
    }
}

fn write_row(row: Option<&Row>, out: &mut Vec<u8>) {
    let start = row.map_or(0, |row| row.window.start.as_secs());
    varint::put(out, varint::zigzag(start));
    let mut bytes = Vec::new();
    if let Some(row) = row {
        row.write_to(&mut bytes);
    }
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(&bytes);
}

/// A row, or none where it is empty; the outer `None` where it is garbled.
#[expect(clippy::option_option, reason = "garbled and absent are two things")]
fn read_row(tier: &Tier, reader: &mut Reader<'_>) -> Option<Option<Row>> {
    let start = Timestamp::from_secs(varint::unzigzag(reader.number()?));
    let len = usize::try_from(reader.number()?).ok()?;
    let bytes = reader.take(len)?;
    if len == 0 {
        return Some(None);
    }
    Some(Some(Row::read(Window::starting(start, tier.window), bytes)?))
}
