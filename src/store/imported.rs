//! What windows hold of a series that was not counted here, but imported: how much it was, and when it
//! is known for. With it the windows of a counter come to its total and what was imported.
//!
//! That tallyd was up says something of every series; that one was imported says something of that
//! one alone. So several series together are known where tallyd was up, or where all of them were imported.
//!
//! Layout of a group's value: for each series that something was imported of its place in the group (1
//! byte), its kind (1), the sum (varint), the end of the last window in seconds (varint), and its coverage behind its length.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Coverage;
use crate::counters::cells::Kind;
use crate::rollup::SeriesId;
use crate::rollup::row::GROUP;
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

/// What was imported, by series.
#[derive(Clone, Debug, Default)]
pub struct Imported {
    of: BTreeMap<SeriesId, Arc<Import>>,
}

/// What was imported of one series.
#[derive(Clone, Debug)]
pub struct Import {
    /// What kind of series it was imported as.
    pub kind: Kind,
    /// What its windows hold beyond what was counted, wrapping: less where counted ones were replaced.
    pub sum: u64,
    /// The end of the last window that was imported.
    pub updated: Timestamp,
    /// When it is known for.
    pub coverage: Coverage,
}

impl Imported {
    /// What was imported of a series.
    #[must_use]
    pub fn get(&self, series: SeriesId) -> Option<&Import> {
        self.of.get(&series).map(|import| &**import)
    }

    /// Whether nothing was.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }

    /// Takes in what is imported of a series now.
    pub fn put(&mut self, series: SeriesId, import: Import) {
        self.of.insert(series, Arc::new(import));
    }

    /// All of it.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Import)> {
        self.of.iter().map(|(series, import)| (*series, &**import))
    }

    /// How much more of `range` is known of these series together than `coverage` says.
    #[must_use]
    pub fn beyond(&self, coverage: &Coverage, range: Window, series: &[SeriesId]) -> Span {
        // No series would be known wherever all of none were imported.
        if self.of.is_empty() || series.is_empty() || coverage.within(range) == range.width() {
            return Span::ZERO;
        }
        let mut common = vec![range];
        for id in series {
            let Some(import) = self.of.get(id) else { return Span::ZERO };
            common = common.iter().flat_map(|part| import.coverage.parts(*part)).collect();
            if common.is_empty() {
                return Span::ZERO;
            }
        }
        let unknown = |part: &Window| {
            part.width().as_millis().saturating_sub(coverage.within(*part).as_millis())
        };
        Span::from_millis(common.iter().map(unknown).sum())
    }

    /// What is kept of a group.
    #[must_use]
    pub fn write(&self, group: u32) -> Vec<u8> {
        let mut out = Vec::new();
        let first = SeriesId(group.saturating_mul(GROUP));
        let last = SeriesId(first.0.saturating_add(GROUP - 1));
        for (id, import) in self.of.range(first..=last) {
            out.push((id.0 % GROUP) as u8);
            out.push(import.kind as u8);
            varint::put(&mut out, import.sum);
            varint::put(&mut out, u64::try_from(import.updated.as_secs()).unwrap_or(0));
            let coverage = import.coverage.write();
            varint::put(&mut out, coverage.len() as u64);
            out.extend_from_slice(&coverage);
        }
        out
    }

    /// And back; `None` where the bytes are something else.
    pub fn read(&mut self, group: u32, bytes: &[u8]) -> Option<()> {
        let mut reader = Reader::new(bytes);
        while !reader.is_empty() {
            let place = u32::from(reader.byte()?);
            let id = group.checked_mul(GROUP)?.checked_add(place).filter(|_| place < GROUP)?;
            let kind = match reader.byte()? {
                0 => Kind::Gauge,
                1 => Kind::Counter,
                2 => Kind::Distribution,
                _ => return None,
            };
            let sum = reader.number()?;
            let updated = Timestamp::from_secs(i64::try_from(reader.number()?).ok()?);
            let len = usize::try_from(reader.number()?).ok()?;
            let coverage = Coverage::read(reader.take(len)?)?;
            self.put(SeriesId(id), Import { kind, sum, updated, coverage });
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(start: i64, end: i64) -> Window {
        Window { start: Timestamp::from_secs(start), end: Timestamp::from_secs(end) }
    }

    fn import(stretches: &[(i64, i64)]) -> Import {
        let mut coverage = Coverage::default();
        for (start, end) in stretches {
            coverage.insert(window(*start, *end));
        }
        let updated = coverage.end().unwrap();
        Import { kind: Kind::Counter, sum: 7, updated, coverage }
    }

    #[test]
    fn several_series_are_known_where_all_are() {
        let mut imported = Imported::default();
        imported.put(SeriesId(1), import(&[(0, 100), (200, 300)]));
        imported.put(SeriesId(2), import(&[(50, 250)]));
        let mut up = Coverage::default();
        up.add(window(90, 110));
        let check = |range: (i64, i64), series: &[u32], expect: u64| {
            let series: Vec<_> = series.iter().map(|id| SeriesId(*id)).collect();
            let beyond = imported.beyond(&up, window(range.0, range.1), &series);
            assert_eq!(beyond, Span::from_secs(expect), "{range:?} {series:?}");
        };
        check((0, 300), &[1], 190);
        check((0, 300), &[1, 2], 90);
        check((0, 300), &[1, 2, 3], 0);
        check((90, 110), &[1], 0);
        check((80, 110), &[1], 10);
        let mut again = Imported::default();
        again.read(0, &imported.write(0)).unwrap();
        assert_eq!(format!("{again:?}"), format!("{imported:?}"));
        assert!(again.read(0, &imported.write(0)[..9]).is_none());
        assert!(imported.write(1).is_empty());
    }
}
