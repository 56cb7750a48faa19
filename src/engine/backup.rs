//! A backup: all that a server knows at the last tick, as a stream of parts, and a data directory made
//! of them.
//!
//! At one instant, between two ticks, the engine is asked for what the store holds, with the windows on
//! it that are not there yet, and for how much of every total is in windows. That is quick, since the
//! store shows a snapshot and rows are shared. Everything else is read without the engine's lock: the
//! store from its snapshot, the live table shard by shard. In the directory that is made of it a total
//! is what windows come to, so the two agree to the increment; what clients counted since the tick is in
//! neither. Values that are shown, flags and items are those of a moment later.
//!
//! A part is a magic, a version, and records: a byte for what it is of, the lengths of key and value
//! (varints), both. The list of parts with their checksums is the face's to write; this module knows
//! neither files of a backup nor the wire.

use std::path::Path;
use std::sync::Arc;

use super::Engine;
use super::state::State;
use crate::counters::{ImageError, OpenError, Rebuild};
use crate::limits;
use crate::store::checkpoint::{Checkpoint, Shelved};
use crate::store::seam::Changes;
use crate::store::{Copy, Job, RedbStore, Store, StoreError, TickLog, Totals};
use crate::time::Timestamp;
use crate::varint::{self, Reader};

const MAGIC: &[u8; 8] = b"tallyBAK";
const VERSION: u8 = 1;

/// A record of the store, and one of the live table.
const STORED: u8 = 1;
const LIVE: u8 = 2;

/// What is put into the new store in one commit, in bytes.
const COMMIT_BYTES: usize = 8 * 1024 * 1024;

/// All that is known at one instant.
#[derive(Debug)]
pub struct Frozen {
    /// That instant: the end of the last base window.
    pub at: Timestamp,
    engine: Arc<Engine>,
    copy: Copy,
}

/// What a backup came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Records of the store.
    pub stored: u64,
    /// Records of the live table.
    pub live: u64,
}

/// Why there is no backup, or not all of it.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// More waits for the disk than is held in memory for this.
    #[error(
        "the disk does not take history, and what waits for it is too much to copy; see `tallyd_window_records_dropped_total` and the log"
    )]
    Unkept,
    /// Nobody takes what is read.
    #[error("it is not read any more")]
    Unwanted,
}

/// Why there is no data directory of a backup.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The new store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Another file of the new directory.
    #[error(transparent)]
    Files(#[from] OpenError),
    /// The live table.
    #[error(transparent)]
    Image(#[from] ImageError),
    /// The system refused something.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// The part is none of this program's.
    #[error("it is no part of a backup of tallyd's")]
    Foreign,
    /// A later version of this program made it.
    #[error("a newer tallyd made it (format {0}, this one knows {VERSION}); run that one")]
    Newer(u8),
    /// A record in it is not as it was written.
    #[error("a record in it is not as it was written")]
    Garbled,
}

impl Engine {
    /// All that is known now, to be read in any time.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn freeze(self: &Arc<Self>) -> Result<Frozen, BackupError> {
        // While the keeper is held nothing moves from rows into chunks.
        let keeper = self.keeper.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (at, job) = {
            let state = self.state();
            (state.closed, state.frozen(&self.counters)?)
        };
        let copy = keeper.copy(&job)?;
        Ok(Frozen { at, engine: Arc::clone(self), copy })
    }
}

impl State {
    /// A checkpoint of this instant, with every row that is in no chunk.
    fn frozen(&self, counters: &crate::counters::Counters) -> Result<Job, BackupError> {
        let tiers = self.windows.tiers();
        let shelved = tiers.iter().enumerate().map(|(index, tier)| Shelved {
            tier: *tier,
            since: self.windows.horizon(index),
            open: self.rollup.open(index).cloned(),
            rows: self.windows.rows(index).cloned().collect(),
        });
        let checkpoint = Checkpoint { at: self.closed, tiers: shelved.collect() };
        let rows = checkpoint.tiers.iter().flat_map(|its| its.rows.iter());
        if rows.map(|row| row.memory()).sum::<usize>() > limits::BACKUP_ROW_BYTES {
            return Err(BackupError::Unkept);
        }
        let mut totals = self.pending_totals().cloned().unwrap_or_default();
        for group in &self.moved_groups {
            totals.insert(*group, self.totals(*group, counters));
        }
        let series = self.new_groups.iter();
        let facts = self.facts_since_kept();
        Ok(Job {
            series: series.map(|group| (*group, self.catalogue.write_series(*group))).collect(),
            totals: totals.into_iter().collect(),
            checkpoint: Some((checkpoint, self.windows.coverage().clone())),
            facts,
            ..Job::default()
        })
    }
}

impl Frozen {
    /// How many cells it may tell of.
    #[must_use]
    pub fn cells(&self) -> usize {
        self.engine.counters.cells()
    }

    /// Reads it part by part. `each` is given a part and says whether it is to go on.
    ///
    /// # Errors
    /// [`BackupError`].
    pub fn read(
        &self,
        now: Timestamp,
        each: impl FnMut(Vec<u8>) -> bool,
    ) -> Result<Contents, BackupError> {
        let mut parts = Parts { bytes: Vec::new(), each, contents: Contents::default() };
        let mut goes_on = self.copy.each(&mut |key, value| parts.push(STORED, key, value))?;
        goes_on =
            goes_on && self.engine.counters.image(now, |record| parts.push(LIVE, b"", record));
        if !goes_on || !parts.hand_on() {
            return Err(BackupError::Unwanted);
        }
        Ok(parts.contents)
    }
}

/// Records on their way into parts.
struct Parts<F> {
    bytes: Vec<u8>,
    each: F,
    contents: Contents,
}

impl<F: FnMut(Vec<u8>) -> bool> Parts<F> {
    fn push(&mut self, kind: u8, key: &[u8], value: &[u8]) -> bool {
        if self.bytes.is_empty() {
            self.bytes.extend_from_slice(MAGIC);
            self.bytes.push(VERSION);
        }
        self.bytes.push(kind);
        varint::put(&mut self.bytes, key.len() as u64);
        varint::put(&mut self.bytes, value.len() as u64);
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(value);
        let count =
            if kind == STORED { &mut self.contents.stored } else { &mut self.contents.live };
        *count += 1;
        self.bytes.len() < limits::BACKUP_PART_BYTES || self.hand_on()
    }

    fn hand_on(&mut self) -> bool {
        self.bytes.is_empty() || (self.each)(std::mem::take(&mut self.bytes))
    }
}

/// A data directory that is being made of a backup's parts, in their order.
#[derive(Debug)]
pub struct Restore {
    store: RedbStore,
    live: Rebuild,
    totals: Totals,
    changes: Changes,
    bytes: usize,
    contents: Contents,
}

impl Restore {
    /// Begins with a directory that is empty, or not there yet.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn begin(dir: &Path, cells: usize, now: Timestamp) -> Result<Self, RestoreError> {
        let live = Rebuild::begin(dir, cells, now)?;
        // What was counted since the last checkpoint is in the checkpoint, so the log is empty.
        TickLog::open(dir, |_| {})?;
        Ok(Self {
            store: RedbStore::open(&dir.join("tallyd.redb"))?,
            live,
            totals: Totals::default(),
            changes: Changes::default(),
            bytes: 0,
            contents: Contents::default(),
        })
    }

    /// Takes a part in.
    ///
    /// # Errors
    /// [`RestoreError`]; the directory is good for nothing then.
    pub fn take(&mut self, part: &[u8]) -> Result<(), RestoreError> {
        let rest = part.strip_prefix(MAGIC).ok_or(RestoreError::Foreign)?;
        let mut reader = match rest.split_first() {
            Some((&VERSION, records)) => Reader::new(records),
            Some((&version, _)) => return Err(RestoreError::Newer(version)),
            None => return Err(RestoreError::Foreign),
        };
        while !reader.is_empty() {
            let (kind, key, value) = record(&mut reader).ok_or(RestoreError::Garbled)?;
            match kind {
                STORED => self.take_stored(key, value)?,
                LIVE => self.take_live(value)?,
                _ => return Err(RestoreError::Garbled),
            }
        }
        Ok(())
    }

    fn take_stored(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        self.totals.take(key, value).ok_or(RestoreError::Garbled)?;
        self.contents.stored += 1;
        self.bytes += key.len() + value.len();
        self.changes.puts.push((key.to_vec(), value.to_vec()));
        if self.bytes >= COMMIT_BYTES { self.commit() } else { Ok(()) }
    }

    fn take_live(&mut self, record: &[u8]) -> Result<(), RestoreError> {
        self.contents.live += 1;
        let totals = &self.totals;
        self.live.take(record, |key, life| {
            let counted = totals.of(key, life).unwrap_or_default();
            (counted.total, counted.count)
        })?;
        Ok(())
    }

    fn commit(&mut self) -> Result<(), RestoreError> {
        self.store.commit(&self.changes)?;
        (self.changes, self.bytes) = (Changes::default(), 0);
        Ok(())
    }

    /// Brings all of it to the medium; what it came to, and how many series.
    ///
    /// # Errors
    /// [`RestoreError`].
    pub fn finish(mut self) -> Result<(Contents, usize), RestoreError> {
        self.commit()?;
        self.live.finish()?;
        Ok((self.contents, self.totals.series()))
    }
}

fn record<'a>(reader: &mut Reader<'a>) -> Option<(u8, &'a [u8], &'a [u8])> {
    let kind = reader.byte()?;
    let key = usize::try_from(reader.number()?).ok()?;
    let value = usize::try_from(reader.number()?).ok()?;
    Some((kind, reader.take(key)?, reader.take(value)?))
}
