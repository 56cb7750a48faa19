//! Every value that a gauge was set to, and every observation of a distribution, until its window has
//! been handed over: a ring of records in mapped files.
//!
//! A gauge's cell knows the value shown and nothing of those before it, so what an open window holds
//! would end with the process. Here each value is a record of 16 bytes that is stored without a system
//! call and without a lock, and that the kernel keeps when the process is killed. Once a second one
//! reader folds the records into a summary per cell. What it has read is kept until the windows made of
//! it are safe elsewhere ([`Log::done`]); what lies behind that is the open window at the next start.
//!
//! **A record** is a tag and a value. The tag is written last: the number of the cell, and a check over
//! the record's number, the cell's identity and the value. So a record that was begun and not finished,
//! one of an earlier round of the ring, one of a cell that was given to another key since, and one of
//! which the power left only a part, all do not fit, and are passed over.
//!
//! **A value that stands for several** has its weight in a record of its own right behind it, which is
//! written first: either both count or neither does. The tag tells what a record is.
//!
//! **The ring** consists of stretches of records, each of which lies in one file, in any that is free
//! when it begins. Files are made when they are needed and never given back. When all are in use within
//! one window, or the disk is full, values are folded in memory at once: counted right, but not safe
//! from a kill. How many is shown. This module knows neither keys nor windows.
//!
//! Layout of `observations-NNNN.map`: a page whose first 16 bytes are magic and version; then, in words
//! of 64 bits in the machine's byte order, the number of the stretch in it, from one (0: none); of the
//! first file how many records were handed over; six words of zero; then the records.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use super::cells::{CellId, Word, Words};
use super::gauges::Open;
use super::journal::OpenError;
use crate::disk::File;
use crate::histogram::Layout;
use crate::limits;

const MAGIC: [u8; 8] = if cfg!(target_endian = "little") { *b"tallyOBS" } else { *b"tallyOBB" };

/// The version of the layout. The first had no weights.
const VERSION: u32 = 2;

/// Files at most.
const FILES: usize = limits::OBSERVATION_FILES;

/// Words before the records of a file.
const HEAD_WORDS: usize = 8;
const STRETCH_WORD: usize = 0;
const DONE_WORD: usize = 1;

/// Records in one stretch.
const STRETCH: u64 = ((Words::LEN - HEAD_WORDS) / 2) as u64;

/// Records that there will never be: a position beyond is damage.
const POSITIONS: u64 = 1 << 60;

/// What a record is, by the last bits of its tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A value that stands for itself.
    Value = 0,
    /// A value whose weight follows.
    Weighted = 1,
    /// The weight of the value before.
    Weight = 2,
}

type ByCell = HashMap<CellId, Open, foldhash::fast::RandomState>;

/// What the log asks of those who know the cells.
pub(super) trait Known {
    /// The cell of that number and its identity, where it is in use.
    fn cell(&self, number: u32) -> Option<(CellId, u64)>;
    /// The layout of its histogram, where it is a distribution.
    fn layout(&self, id: CellId) -> Option<Layout>;
}

/// The ring.
#[derive(Debug)]
pub(super) struct Log {
    dir: Option<PathBuf>,
    /// The number of the next record.
    head: AtomicU64,
    /// The number of the first record for which there is no file yet.
    limit: AtomicU64,
    /// The number of the first record whose window is not safe elsewhere.
    done: AtomicU64,
    /// In which file, counted from one, a stretch lies, by its number modulo the length.
    places: [AtomicU32; FILES],
    files: [OnceLock<Words>; FILES],
    /// Held while a file is put in place.
    growing: Mutex<()>,
    /// There was no room: until the next [`done`](Log::done) nobody tries again.
    is_stuck: AtomicBool,
    /// Why the disk refused a file when one was last wanted.
    refusal: Mutex<Option<String>>,
    reader: Mutex<Reader>,
    /// What found no room in the ring.
    early: Mutex<ByCell>,
    early_total: AtomicU64,
    /// Observations outside their layout's range.
    outside: AtomicU64,
}

#[derive(Debug, Default)]
struct Reader {
    /// The number of the next record to fold.
    next: u64,
    /// Before this one no writer is alive, so what is missing will not come.
    inherited: u64,
}

impl Log {
    /// An empty ring that ends with the process.
    pub(super) fn in_memory() -> Self {
        Self {
            dir: None,
            head: AtomicU64::new(0),
            limit: AtomicU64::new(0),
            done: AtomicU64::new(0),
            places: [const { AtomicU32::new(0) }; FILES],
            files: [const { OnceLock::new() }; FILES],
            growing: Mutex::default(),
            is_stuck: AtomicBool::new(false),
            refusal: Mutex::default(),
            reader: Mutex::default(),
            early: Mutex::default(),
            early_total: AtomicU64::new(0),
            outside: AtomicU64::new(0),
        }
    }

    /// The ring as `dir` holds it. What was not handed over comes with the next [`fold`](Log::fold).
    ///
    /// # Errors
    /// [`OpenError`], where a file cannot be used.
    pub(super) fn open(dir: &Path, known: &impl Known) -> Result<Self, OpenError> {
        let log = Self { dir: Some(dir.to_owned()), ..Self::in_memory() };
        for (at, slot) in log.files.iter().enumerate() {
            let path = file_path(dir, at);
            if !path.try_exists().map_err(OpenError::io(&path))? {
                break;
            }
            match Words::in_file(&path, MAGIC, VERSION) {
                Ok(file) => _ = slot.set(file),
                // It was begun on a full disk and never was in use: one that was has all its blocks.
                Err(OpenError::Io { error, .. }) if error.kind() == ErrorKind::StorageFull => break,
                Err(error) => return Err(error),
            }
        }
        log.resume(known);
        Ok(log)
    }

    /// Finds where the last process stopped.
    fn resume(&self, known: &impl Known) {
        let Some(first) = self.file(0) else { return };
        // A position beyond all bounds is damage; what it would have hidden does no harm.
        let done = Some(first.get(DONE_WORD).load(Relaxed)).filter(|done| *done < POSITIONS);
        let done = done.unwrap_or(0);
        let oldest = done / STRETCH;
        let mut stretches = Vec::new();
        for (number, file) in (1..).zip(self.files.iter().map_while(OnceLock::get)) {
            let stretch = file.get(STRETCH_WORD).load(Relaxed).wrapping_sub(1);
            if (oldest..oldest.saturating_add(FILES as u64)).contains(&stretch) {
                self.place(stretch).store(number, Relaxed);
                stretches.push(stretch);
            }
        }
        let Some(last) = stretches.into_iter().max() else {
            // A new stretch is begun: nobody knows what is in the one that is gone.
            let next = done.next_multiple_of(STRETCH);
            self.begin_at(next, next, next);
            return;
        };
        let begin = done.max(last * STRETCH);
        let end = (last + 1) * STRETCH;
        let written = (begin..end).rev().find(|at| self.read(*at, known).is_some());
        self.begin_at(done, written.map_or(begin, |at| at + 1), end);
    }

    fn begin_at(&self, done: u64, head: u64, limit: u64) {
        self.done.store(done, Relaxed);
        self.head.store(head, Relaxed);
        self.limit.store(limit, Relaxed);
        *self.reader() = Reader { next: done, inherited: head };
    }

    /// Keeps a value that stands for `weight` of them. The hot path of `set`: one addition and two stores.
    #[inline]
    pub(super) fn append(
        &self,
        id: CellId,
        identity: u64,
        value: f64,
        weight: u32,
        known: &impl Known,
    ) {
        let is_weighted = weight > 1;
        let Some(at) = self.take(1 + u64::from(is_weighted)) else {
            return self.fold_early(id, value, weight, known);
        };
        let write = |at, part, content| self.write(at, (id, identity), part, content);
        if is_weighted {
            write(at + 1, Part::Weight, weight.into());
        }
        let part = if is_weighted { Part::Weighted } else { Part::Value };
        write(at, part, value.to_bits());
    }

    #[inline]
    fn write(&self, at: u64, (id, identity): (CellId, u64), part: Part, content: u64) {
        let (tag, bits) =
            self.record(at).expect("a number is given out after its file is in place");
        bits.store(content, Relaxed);
        tag.store(seal(at, id.number(), identity, content) ^ part as u64, Release);
    }

    /// The number of the first of so many records that are the caller's to write; `None` where there is no
    /// room.
    #[inline]
    fn take(&self, records: u64) -> Option<u64> {
        let mut at = self.head.load(Relaxed);
        loop {
            let end = at + records;
            if end > self.limit.load(Acquire) {
                if !self.grow(end - 1) {
                    return None;
                }
                at = self.head.load(Relaxed);
                continue;
            }
            match self.head.compare_exchange_weak(at, end, Relaxed, Relaxed) {
                Ok(_) => return Some(at),
                Err(now) => at = now,
            }
        }
    }

    /// Puts a file in place for the records from `wanted` on; whether there is one now.
    #[cold]
    fn grow(&self, wanted: u64) -> bool {
        if self.is_stuck.load(Relaxed) {
            return false;
        }
        let _alone = self.growing.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = self.limit.load(Relaxed);
        if wanted < limit {
            return true;
        }
        let is_placed = self.place_stretch(limit / STRETCH);
        if is_placed {
            self.limit.store(limit + STRETCH, Release);
        } else {
            self.is_stuck.store(true, Relaxed);
        }
        is_placed
    }

    fn place_stretch(&self, stretch: u64) -> bool {
        let oldest = self.done.load(Acquire) / STRETCH;
        if stretch - oldest >= FILES as u64 {
            return false;
        }
        let in_use: Vec<_> = (oldest..stretch).map(|s| self.place(s).load(Relaxed)).collect();
        let Some((number, slot)) = (1..).zip(&self.files).find(|(n, _)| !in_use.contains(n)) else {
            return false;
        };
        if slot.get().is_none() {
            let made = match &self.dir {
                Some(dir) => Words::in_file(&file_path(dir, number as usize - 1), MAGIC, VERSION),
                None => Words::in_memory(),
            };
            match made {
                Ok(file) => {
                    *self.lock_refusal() = None;
                    let _ = slot.set(file);
                }
                Err(error) => {
                    *self.lock_refusal() = Some(error.to_string());
                    return false;
                }
            }
        }
        if let Some(file) = slot.get() {
            file.get(STRETCH_WORD).store(stretch + 1, Relaxed);
            self.place(stretch).store(number, Release);
        }
        true
    }

    #[cold]
    fn fold_early(&self, id: CellId, value: f64, weight: u32, known: &impl Known) {
        self.early_total.fetch_add(weight.into(), Relaxed);
        let mut early = self.early.lock().unwrap_or_else(PoisonError::into_inner);
        self.add(&mut early, id, value, weight, known);
    }

    fn add(&self, to: &mut ByCell, id: CellId, value: f64, weight: u32, known: &impl Known) {
        let inside = match to.entry(id) {
            Entry::Occupied(mut open) => open.get_mut().add(value, weight),
            Entry::Vacant(slot) => {
                let (open, inside) = Open::new(known.layout(id), value, weight);
                slot.insert(open);
                inside
            }
        };
        if !inside {
            self.outside.fetch_add(weight.into(), Relaxed);
        }
    }

    /// All that was kept since the last call, by cell. A value that is just being written comes with the
    /// next one.
    pub(super) fn fold(&self, known: &impl Known) -> ByCell {
        let mut reader = self.reader();
        let head = self.head.load(Acquire);
        let mut all = ByCell::default();
        while reader.next < head {
            let at = reader.next;
            let found = self.read(at, known);
            if found.is_none() && at >= reader.inherited {
                // Its writer is between two stores.
                break;
            }
            let weight = match found {
                Some((Part::Value, ..)) => Some(1),
                Some((Part::Weighted, id, _)) => self.weight(at + 1, id, known),
                // The process ended before the value that it belongs to was written.
                Some((Part::Weight, ..)) | None => None,
            };
            if let (Some((_, id, bits)), Some(weight)) = (found, weight) {
                self.add(&mut all, id, f64::from_bits(bits), weight, known);
            }
            // A weight is passed over with its value, or by itself.
            reader.next += 1;
        }
        let early = std::mem::take(&mut *self.early.lock().unwrap_or_else(PoisonError::into_inner));
        for (id, open) in early {
            match all.entry(id) {
                Entry::Occupied(mut before) => before.get_mut().then(open),
                Entry::Vacant(slot) => {
                    slot.insert(open);
                }
            }
        }
        all
    }

    /// How far [`fold`](Log::fold) has come: what to say [`done`](Log::done) of once it is safe.
    pub(super) fn position(&self) -> u64 {
        self.reader().next
    }

    /// Where the next record goes.
    pub(super) fn head(&self) -> u64 {
        self.head.load(Relaxed)
    }

    /// Begins behind `position`, up to which an earlier process has said elsewhere what was kept. After
    /// the loss of power that may lie behind all that is left here: then no number before it is given out
    /// again, since a start would pass over what is kept under it.
    pub(super) fn resume_at(&self, position: u64) {
        if position >= POSITIONS {
            return;
        }
        if position > self.limit.load(Relaxed) {
            let next = position.next_multiple_of(STRETCH);
            self.begin_at(next, next, next);
        } else {
            self.head.fetch_max(position, Relaxed);
            let mut reader = self.reader();
            reader.next = reader.next.max(position);
        }
        self.done(position);
    }

    /// Everything before `position` is safe elsewhere: its room is used again, and it does not come
    /// back at the next start.
    pub(super) fn done(&self, position: u64) {
        let reader = self.reader();
        let position = position.min(reader.next).max(self.done.load(Relaxed));
        self.done.store(position, Release);
        if let Some(first) = self.file(0) {
            first.get(DONE_WORD).store(position, Release);
        }
        drop(reader);
        self.is_stuck.store(false, Relaxed);
        // The next file before it is needed, so that no client waits for the disk.
        let (head, limit) = (self.head.load(Relaxed), self.limit.load(Relaxed));
        if limit > 0 && limit - head < STRETCH / 2 {
            self.grow(limit);
        }
    }

    /// Handles of the files, to sync through.
    pub(super) fn handles(&self) -> Vec<std::io::Result<File>> {
        self.files.iter().filter_map(OnceLock::get).filter_map(Words::handle).collect()
    }

    /// Why the disk gave no room when it was last asked for some; `None` where it did.
    pub(super) fn refusal(&self) -> Option<String> {
        self.lock_refusal().clone()
    }

    fn lock_refusal(&self) -> MutexGuard<'_, Option<String>> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Values that were folded in memory for want of room.
    pub(super) fn early(&self) -> u64 {
        self.early_total.load(Relaxed)
    }

    /// Observations outside the range of their histogram.
    pub(super) fn outside(&self) -> u64 {
        self.outside.load(Relaxed)
    }

    /// The record of that number, where it is whole: what it is, of which cell, and its content.
    fn read(&self, at: u64, known: &impl Known) -> Option<(Part, CellId, u64)> {
        let (tag, bits) = self.record(at)?;
        let tag = tag.load(Acquire);
        let bits = bits.load(Relaxed);
        let number = (tag >> 32) as u32;
        let (id, identity) = known.cell(number)?;
        let part = match seal(at, number, identity, bits) ^ tag {
            0 => Part::Value,
            1 => Part::Weighted,
            2 => Part::Weight,
            _ => return None,
        };
        Some((part, id, bits))
    }

    /// The weight that stands there for a value of this cell. Only the loss of power leaves a value without.
    fn weight(&self, at: u64, of: CellId, known: &impl Known) -> Option<u32> {
        let found = self.read(at, known);
        let (_, _, bits) = found.filter(|(part, id, _)| (*part, *id) == (Part::Weight, of))?;
        u32::try_from(bits).ok().filter(|weight| *weight > 0)
    }

    /// Where a record lies.
    #[inline]
    fn record(&self, at: u64) -> Option<(&Word, &Word)> {
        let number = self.place(at / STRETCH).load(Acquire);
        let file = self.file((number as usize).checked_sub(1)?)?;
        let word = HEAD_WORDS + (at % STRETCH) as usize * 2;
        Some((file.get(word), file.get(word + 1)))
    }

    #[inline]
    fn place(&self, stretch: u64) -> &AtomicU32 {
        #[expect(clippy::cast_possible_truncation, reason = "a remainder of a small number")]
        let at = (stretch % FILES as u64) as usize;
        self.places.get(at).expect("a remainder is in range")
    }

    fn file(&self, at: usize) -> Option<&Words> {
        self.files.get(at).and_then(OnceLock::get)
    }

    fn reader(&self) -> MutexGuard<'_, Reader> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn file_path(dir: &Path, at: usize) -> PathBuf {
    dir.join(format!("observations-{at:04}.map"))
}

/// The tag of a record: the number of the cell, and below it a check over all there is to the record.
/// Two rounds of multiply and fold are enough: it guards against what is left over, not against malice.
#[inline]
fn seal(at: u64, number: u32, identity: u64, bits: u64) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut mixed = (at ^ bits.rotate_left(32)).wrapping_mul(ODD);
    mixed = (mixed ^ (mixed >> 29) ^ identity).wrapping_mul(ODD) ^ u64::from(number);
    mixed ^= mixed >> 32;
    u64::from(number) << 32 | mixed & 0xffff_ffff
}

#[cfg(test)]
mod tests;
