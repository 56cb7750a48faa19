//! The log of base windows since the last checkpoint: `ticks.log`, then `ticks-000001.log` and so on. Each
//! checkpoint begins a file; those before it go once it is committed.
//!
//! One record a second with a plain write: it survives the end of the process. What is in the log when a
//! start finds it is played again over the checkpoint before it. No file is ever renamed, so whichever of
//! them the disk has after the loss of power, they tell the same in the same order. Each record begins with its kind:
//!
//! - 1, a series whose key begins a life: its number, the life, when it was born (seconds, zigzag), its
//!   key;
//! - 2, a row: the start of its window (seconds, zigzag), how far the log of observations is in it, flags
//!   (1: tallyd was up for all of it; 2: the row is packed; 4: facts come first, behind their length), the row as [`Row::write_to`] has it; packed with zstd at level 1, behind its length;
//! - 3, facts that changed between two rows;
//! - 4, the first of its file: the checkpoint that the file begins at (seconds, zigzag).
//!
//! What a window led to stands in the record of its row: so both survive, or neither does, and is found
//! again when the next one is judged.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::facts::Facts;
use crate::counters::journal::{Found, Journal, OpenError};
use crate::disk::{self, File};
use crate::rollup::{Row, SeriesId};
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

const MAGIC: [u8; 8] = *b"tallyTIC";
const SERIES: u8 = 1;
const ROW: u8 = 2;
const FACTS: u8 = 3;
const CHECKPOINT: u8 = 4;
const COVERED: u8 = 1;
const PACKED: u8 = 2;
const WITH_FACTS: u8 = 4;

/// Rows shorter than this are not worth packing, in bytes.
const PACK_MIN: usize = 256;
/// A row that claims to be longer was not written here, in bytes.
const ROW_BYTES_MAX: usize = 1 << 30;

/// Something that a start has to know again.
#[derive(Clone, Debug, PartialEq)]
pub enum LogRecord {
    /// A key begins a life; where its series is new, that gets a number.
    Series {
        /// The number.
        id: SeriesId,
        /// What tells this life from others.
        life: u64,
        /// The beginning of its first window.
        born: Timestamp,
        /// Its key.
        key: Box<[u8]>,
    },
    /// A base window was closed.
    Row {
        /// What happened in it.
        row: Arc<Row>,
        /// Whether tallyd was up for all of it.
        is_covered: bool,
        /// What gauges and distributions were set to is in windows up to this position of its log.
        observed: u64,
        /// What it led to.
        facts: Facts,
    },
    /// Something changed between two windows.
    Facts(Facts),
    /// A checkpoint was taken: what comes now is to be kept when it is committed, and what was before is
    /// in the store then.
    Checkpoint {
        /// Of everything before this.
        at: Timestamp,
    },
}

impl LogRecord {
    /// What it takes in memory, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        match self {
            Self::Row { row, facts, .. } => row.memory() + facts.memory(),
            Self::Facts(facts) => facts.memory(),
            Self::Series { key, .. } => key.len(),
            Self::Checkpoint { .. } => 0,
        }
    }
}

/// The open log.
#[derive(Debug)]
pub struct TickLog {
    dir: PathBuf,
    journal: Journal,
    /// The number of the file that is written to, and those before it that are there.
    current: u32,
    past: Vec<u32>,
}

impl TickLog {
    /// Opens the log in `dir`, and hands all that it holds to `each`.
    ///
    /// # Errors
    /// [`OpenError`], where a file of it cannot be used.
    pub fn open(dir: &Path, mut each: impl FnMut(LogRecord)) -> Result<(Self, usize), OpenError> {
        let mut damaged = 0;
        let mut read = |path: &Path| {
            let (journal, Found { damaged_bytes, .. }) =
                Journal::open(path, MAGIC, |payload| match read_record(payload) {
                    Some(record) => each(record),
                    None => damaged += payload.len(),
                })?;
            damaged += damaged_bytes;
            Ok(journal)
        };
        let mut past = numbers(dir)?;
        let current = past.pop().unwrap_or(0);
        for number in &past {
            read(&path_of(dir, *number))?;
        }
        let journal = read(&path_of(dir, current))?;
        disk::sync_dir(dir).map_err(OpenError::io(dir))?;
        Ok((Self { dir: dir.to_owned(), journal, current, past }, damaged))
    }

    /// Whether `dir` holds a log that was begun.
    #[must_use]
    pub fn is_in(dir: &Path) -> bool {
        let is_begun = |number| {
            std::fs::metadata(path_of(dir, number)).is_ok_and(|metadata| metadata.len() > 0)
        };
        numbers(dir).is_ok_and(|numbers| numbers.into_iter().any(is_begun))
    }

    /// Appends a record; a checkpoint begins a file.
    ///
    /// # Errors
    /// What the system says; the log is as it was then.
    pub fn append(&mut self, record: &LogRecord) -> io::Result<()> {
        match record {
            LogRecord::Checkpoint { at } => self.begin(*at),
            LogRecord::Series { id, life, born, key } => {
                let mut head = vec![SERIES];
                varint::put(&mut head, u64::from(id.0));
                varint::put(&mut head, *life);
                varint::put(&mut head, varint::zigzag(born.as_secs()));
                self.journal.append(&[&head, key])
            }
            LogRecord::Facts(facts) => {
                let mut bytes = vec![FACTS];
                facts.write_to(&mut bytes);
                self.journal.append(&[&bytes])
            }
            LogRecord::Row { row, is_covered, observed, facts } => {
                let mut bytes = Vec::new();
                row.write_to(&mut bytes);
                let mut flags = if *is_covered { COVERED } else { 0 };
                let mut head = vec![ROW];
                varint::put(&mut head, varint::zigzag(row.window.start.as_secs()));
                varint::put(&mut head, *observed);
                let mut said = Vec::new();
                if !facts.is_empty() {
                    flags |= WITH_FACTS;
                    let mut bytes = Vec::new();
                    facts.write_to(&mut bytes);
                    varint::put(&mut said, bytes.len() as u64);
                    said.append(&mut bytes);
                }
                if bytes.len() >= PACK_MIN {
                    let packed = zstd::bulk::compress(&bytes, 1)?;
                    flags |= PACKED;
                    head.push(flags);
                    head.append(&mut said);
                    varint::put(&mut head, bytes.len() as u64);
                    return self.journal.append(&[&head, &packed]);
                }
                head.push(flags);
                head.append(&mut said);
                self.journal.append(&[&head, &bytes])
            }
        }
    }

    /// What is in the store will rest on what is in the old file, so that goes to the medium first. Where
    /// the disk is full the old one is gone on with, and the next attempt begins with what this one left.
    fn begin(&mut self, at: Timestamp) -> io::Result<()> {
        self.journal.handle()?.sync()?;
        let number = self.current.checked_add(1).ok_or(io::ErrorKind::InvalidInput)?;
        let path = path_of(&self.dir, number);
        match disk::remove(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (mut journal, _) = Journal::open(&path, MAGIC, |_| {}).map_err(io::Error::other)?;
        let mut head = vec![CHECKPOINT];
        varint::put(&mut head, varint::zigzag(at.as_secs()));
        journal.append(&[&head])?;
        disk::sync_dir(&self.dir)?;
        self.past.push(self.current);
        self.current = number;
        self.journal = journal;
        Ok(())
    }

    /// Where the log is now.
    #[must_use]
    pub fn mark(&self) -> u32 {
        self.current
    }

    /// Removes the files before `mark`: what is in them is committed.
    ///
    /// # Errors
    /// What the system says; what is left is tried again next time.
    pub fn forget(&mut self, mark: u32) -> io::Result<()> {
        while let Some(number) = self.past.first().copied().filter(|number| *number < mark) {
            match disk::remove(&path_of(&self.dir, number)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.past.remove(0),
            };
        }
        Ok(())
    }

    /// A handle to sync the current file through.
    ///
    /// # Errors
    /// What the system says.
    pub fn handle(&self) -> io::Result<File> {
        self.journal.handle()
    }
}

fn path_of(dir: &Path, number: u32) -> PathBuf {
    match number {
        0 => dir.join("ticks.log"),
        number => dir.join(format!("ticks-{number:06}.log")),
    }
}

/// The numbers of the files that are there, in order.
fn numbers(dir: &Path) -> Result<Vec<u32>, OpenError> {
    let number = |name: &String| match name.as_str() {
        "ticks.log" => Some(0),
        name => {
            let number = name.strip_prefix("ticks-")?.strip_suffix(".log")?.parse().ok();
            number.filter(|number| *number > 0)
        }
    };
    let names = disk::names(dir).map_err(OpenError::io(dir))?;
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

fn read_record(payload: &[u8]) -> Option<LogRecord> {
    let mut reader = Reader::new(payload);
    match reader.byte()? {
        SERIES => {
            let (id, life) = (SeriesId(reader.number_u32()?), reader.number()?);
            let born = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            let key = reader.take(reader.len())?.into();
            Some(LogRecord::Series { id, life, born, key })
        }
        ROW => {
            let start = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            let window = Window::starting(start, Span::SECOND);
            let observed = reader.number()?;
            let flags = reader.byte()?;
            let facts = if flags & WITH_FACTS == 0 {
                Facts::default()
            } else {
                let len = usize::try_from(reader.number()?).ok()?;
                Facts::read(&mut Reader::new(reader.take(len)?))?
            };
            let row = if flags & PACKED == 0 {
                Row::read(window, reader.take(reader.len())?)?
            } else {
                let len =
                    usize::try_from(reader.number()?).ok().filter(|len| *len < ROW_BYTES_MAX)?;
                let bytes = zstd::bulk::decompress(reader.take(reader.len())?, len).ok()?;
                Row::read(window, &bytes)?
            };
            let is_covered = flags & COVERED != 0;
            Some(LogRecord::Row { row: Arc::new(row), is_covered, observed, facts })
        }
        FACTS => Facts::read(&mut reader).map(LogRecord::Facts),
        CHECKPOINT => {
            let at = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            Some(LogRecord::Checkpoint { at })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollup::{Counts, Entry, Record, RowBuilder};

    fn row(at: i64, series: u32) -> LogRecord {
        let mut builder = RowBuilder::default();
        for series in 0..series {
            let record = Record::Counts(Counts::base(u64::from(series % 7), 1, None));
            builder.push(Entry { series: SeriesId(series), record, runs_on: true });
        }
        let window = Window::starting(Timestamp::from_secs(at), Span::SECOND);
        LogRecord::Row {
            row: Arc::new(builder.finish(window)),
            is_covered: at % 2 == 0,
            observed: 5,
            facts: if at % 3 == 0 { facts(7) } else { Facts::default() },
        }
    }

    fn facts(serial: u64) -> Facts {
        let mut facts = Facts::new(serial);
        facts.put(b"ra".to_vec(), b"1".to_vec());
        facts.remove(b"rb".to_vec());
        facts
    }
    const CHECKPOINT_AT: LogRecord = LogRecord::Checkpoint { at: Timestamp::EPOCH };

    fn open(dir: &Path) -> (TickLog, Vec<LogRecord>) {
        let mut all = Vec::new();
        let (log, damaged) = TickLog::open(dir, |record| all.push(record)).unwrap();
        assert_eq!(damaged, 0);
        (log, all)
    }

    #[test]
    fn what_was_logged_since_the_checkpoint_that_is_committed_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let born = Timestamp::from_secs(5);
        let series = LogRecord::Series { id: SeriesId(7), life: 9, born, key: (*b"a;b=c").into() };
        let (mut log, all) = open(dir.path());
        assert_eq!(all, []);
        let records =
            [series, row(10, 3), row(11, 2000), LogRecord::Facts(facts(8)), row(12, 2000)];
        for record in &records {
            log.append(record).unwrap();
        }
        log.append(&CHECKPOINT_AT).unwrap();
        let mark = log.mark();
        log.append(&row(13, 1)).unwrap();
        drop(log);
        let (mut log, all) = open(dir.path());
        assert_eq!(all[..5], records);
        assert_eq!(all[5..], [CHECKPOINT_AT, row(13, 1)]);
        log.append(&CHECKPOINT_AT).unwrap();
        log.append(&row(14, 1)).unwrap();
        log.forget(mark).unwrap();
        drop(log);
        let (_, all) = open(dir.path());
        assert_eq!(all, [CHECKPOINT_AT, row(13, 1), CHECKPOINT_AT, row(14, 1)]);
    }

    #[test]
    fn a_checkpoint_that_finds_no_room_leaves_the_log_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("ticks-000001.log");
        let (mut log, _) = open(dir.path());
        log.append(&row(10, 3)).unwrap();
        std::fs::create_dir(&in_the_way).unwrap();
        for _ in 0..2 {
            assert!(log.append(&CHECKPOINT_AT).is_err());
        }
        log.append(&row(11, 3)).unwrap();
        assert_eq!(log.mark(), 0);
        std::fs::remove_dir(&in_the_way).unwrap();
        log.append(&CHECKPOINT_AT).unwrap();
        log.append(&row(12, 3)).unwrap();
        drop(log);
        let (mut log, all) = open(dir.path());
        assert_eq!(all, [row(10, 3), row(11, 3), CHECKPOINT_AT, row(12, 3)]);
        log.forget(1).unwrap();
        drop(log);
        assert_eq!(open(dir.path()).1, [CHECKPOINT_AT, row(12, 3)]);
    }
}
