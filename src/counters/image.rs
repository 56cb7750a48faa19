//! The live table as records, for a backup, and a data directory made of them.
//!
//! Totals go on while the table is read, one shard after the other, so they are of no one instant. Whoever
//! makes a directory of the records says what a cell is to have counted; what it shows moves with
//! that. No lock is held while a record is handed on.
//!
//! Records, numbers little-endian: `1`, cell (4 bytes), the words of the cell in their order in the file (8
//! bytes each), key; `2`, then what the log of items has of a value.

use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use super::Counters;
use super::cells::{Cell, CellId, Cells, Face, Kind};
use super::disk::lock;
use super::item_log::{self, ItemLog};
use super::journal::OpenError;
use super::key_log::{KeyLog, Life};
use super::keys::SHARDS;
use crate::disk::File;
use crate::time::Timestamp;

const CELL: u8 = 1;
const ITEM: u8 = 2;

/// Bytes of a record before the key.
const CELL_BYTES: usize = 1 + 4 + 8 * 8;

/// Why a record cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The directory.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// The system refused it.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is none that was written here.
    #[error("a record of the live table is not as it was written")]
    Garbled,
}

impl Counters {
    /// Cells that records may tell of, by the greatest number among them.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.cells.len()
    }

    /// Hands every key with its cell, and every value that is live at `now`, to `each`, until it says no.
    /// Whether it never did.
    pub fn image(&self, now: Timestamp, mut each: impl FnMut(&[u8]) -> bool) -> bool {
        let mut records = Vec::new();
        for shard in 0..SHARDS {
            records.clear();
            {
                let shard = self.keys.read(shard);
                shard.iter().for_each(|(key, id)| self.note_cell(key, id, now, &mut records));
            }
            if !pieces(&records, &mut each) {
                return false;
            }
        }
        let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(self.items.len());
        self.items.walk(now, |key, _| {
            keys.push(key.into());
            true
        });
        keys.iter().all(|key| {
            records.clear();
            self.note_item(key, now, &mut records);
            pieces(&records, &mut each)
        })
    }

    /// Appends what a cell holds, and the text that it shows, where it shows one.
    fn note_cell(&self, key: &[u8], id: CellId, now: Timestamp, records: &mut Vec<u8>) {
        let cell = self.cells.get(id);
        sized(records, |out| {
            out.push(CELL);
            out.extend_from_slice(&id.number().to_le_bytes());
            // The count before the total, as whoever adds has them the other way round.
            let count = cell.count.load(Relaxed);
            for (at, word) in words(cell).into_iter().enumerate() {
                let value = if at == 1 { count } else { word.load(Relaxed) };
                out.extend_from_slice(&value.to_le_bytes());
            }
            out.extend_from_slice(key);
        });
        self.note_item(key, now, records);
    }

    fn note_item(&self, key: &[u8], now: Timestamp, records: &mut Vec<u8>) {
        self.items.see(key, now, |item| {
            sized(records, |out| {
                out.push(ITEM);
                item_log::append_put(key, item, out);
            });
        });
    }
}

fn words(cell: &Cell) -> [&super::sync::AtomicU64; 8] {
    let Cell { total, count, offset, decrements, face, expires, unique_offset, identity } = cell;
    [total, count, offset, decrements, face, expires, unique_offset, identity]
}

/// Appends a record behind its length.
fn sized(records: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = records.len();
    records.extend_from_slice(&[0; 4]);
    write(records);
    let len = u32::try_from(records.len() - at - 4).expect("a value is far shorter than 4 GiB");
    if let Some(field) = records.get_mut(at..at + 4) {
        field.copy_from_slice(&len.to_le_bytes());
    }
}

fn pieces(mut records: &[u8], each: &mut impl FnMut(&[u8]) -> bool) -> bool {
    while let Some((len, rest)) = records.split_first_chunk() {
        let Some((record, rest)) = rest.split_at_checked(u32::from_le_bytes(*len) as usize) else {
            return true;
        };
        if !each(record) {
            return false;
        }
        records = rest;
    }
    true
}

/// A directory that is being made of records.
#[derive(Debug)]
pub struct Rebuild {
    _lock: File,
    cells: Cells,
    keys: KeyLog,
    items: ItemLog,
}

impl Rebuild {
    /// Begins with a directory that is empty, for cells with numbers up to so many.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn begin(dir: &Path, cells: usize, now: Timestamp) -> Result<Self, OpenError> {
        let lock = lock(dir)?;
        let (keys, _, _) = KeyLog::open(dir)?;
        let (items, _) = ItemLog::open(dir, now, |_| {})?;
        Ok(Self { _lock: lock, cells: Cells::new(cells, Some(dir)), keys, items })
    }

    /// Takes a record in. `counted` says what a key has counted in the life with this mark: total and
    /// number of increments.
    ///
    /// # Errors
    /// [`ImageError`].
    pub fn take(
        &mut self,
        record: &[u8],
        counted: impl FnOnce(&[u8], u64) -> (u64, u64),
    ) -> Result<(), ImageError> {
        match record.split_first() {
            Some((&CELL, _)) => self.take_cell(record, counted),
            Some((&ITEM, item)) => Ok(self.items.append(item)?),
            _ => Err(ImageError::Garbled),
        }
    }

    fn take_cell(
        &mut self,
        record: &[u8],
        counted: impl FnOnce(&[u8], u64) -> (u64, u64),
    ) -> Result<(), ImageError> {
        let (head, key) = record.split_at_checked(CELL_BYTES).ok_or(ImageError::Garbled)?;
        let (number, mut rest) =
            head.get(1..).and_then(<[u8]>::split_first_chunk).ok_or(ImageError::Garbled)?;
        let mut values = [0; 8];
        for value in &mut values {
            let (bytes, further) = rest.split_first_chunk().ok_or(ImageError::Garbled)?;
            (*value, rest) = (u64::from_le_bytes(*bytes), further);
        }
        let [total, _, offset, decrements, face, expires, unique_offset, life] = values;
        let number = u32::from_le_bytes(*number);
        let adopted = self.cells.adopt(number, life)?;
        let (id, _) = adopted.filter(|_| life != 0).ok_or(ImageError::Garbled)?;
        self.keys.birth(id, Life(life), key)?;
        let (kept_total, kept_count) = counted(key, life);
        // A gauge shows what it was set to, whatever its cell had counted as another's.
        let offset = match Face::unpack(face).kind {
            Kind::Gauge => total.wrapping_add(offset).wrapping_sub(kept_total),
            Kind::Counter | Kind::Distribution => offset,
        };
        let to = [kept_total, kept_count, offset, decrements, face, expires, unique_offset, life];
        let cell = self.cells.get(id);
        words(cell).into_iter().zip(to).for_each(|(word, value)| word.store(value, Relaxed));
        Ok(())
    }

    /// Brings all of it to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub fn finish(self) -> io::Result<()> {
        self.cells.handles().into_iter().try_for_each(|file| file?.sync())?;
        self.keys.sync()?;
        self.items.sync()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::tests::options;

    const NOW: Timestamp = Timestamp::from_secs(1_767_571_200);

    #[test]
    fn a_table_is_made_of_its_records() {
        let dir = tempfile::tempdir().unwrap();
        let counters = Counters::open(options(), &dir.path().join("a"), NOW).unwrap().0;
        counters.incr(b"a", 5, NOW);
        counters.incr(b"a", 5, NOW);
        counters.incr(b"b;x=1", 3, NOW);
        let mut records = Vec::new();
        assert!(counters.image(NOW, |record| {
            records.push(record.to_vec());
            true
        }));
        let mut seen = 0;
        assert!(!counters.image(NOW, |_| {
            seen += 1;
            false
        }));
        assert_eq!(seen, 1, "nobody is asked who has had enough");
        let to = dir.path().join("b");
        let mut rebuild = Rebuild::begin(&to, counters.cells(), NOW).unwrap();
        for record in &records {
            let counted = |key: &[u8], life: u64| {
                assert_ne!(life, 0);
                if key == b"a" { (5, 1) } else { (3, 1) }
            };
            rebuild.take(record, counted).unwrap();
        }
        for garbled in [&b""[..], b"x", &[CELL], &[CELL; 40]] {
            let took = rebuild.take(garbled, |_, _| (0, 0));
            assert!(matches!(took, Err(ImageError::Garbled)), "{garbled:?}");
        }
        rebuild.finish().unwrap();
        let (again, recovered) = Counters::open(options(), &to, NOW).unwrap();
        assert_eq!((recovered.reset, recovered.damaged_bytes, recovered.torn_bytes), (0, 0, 0));
        let shown = |key: &[u8]| again.get(key, NOW, |view| view.value.to_vec());
        assert_eq!(shown(b"a").as_deref(), Some(&b"5"[..]), "as it was told, and not as it is");
        assert_eq!(shown(b"b;x=1").as_deref(), Some(&b"3"[..]));
    }
}
