//! What survives the end of the process: taking it over at a start, and keeping it.
//!
//! Each base window goes to the tick log within the second; what is over goes to the store a minute or
//! more later. Every five minutes a checkpoint says what the store does not: from it and the log since
//! then a start knows all windows and how much of every total is in them. What the cells hold beyond
//! that was counted after the last row, and is found by subtraction: neither lost nor doubled, wherever
//! the process was ended.

use std::collections::BTreeMap;
use std::io;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::thread::Builder;

use super::state::State;
use super::{Engine, options};
use crate::config::{Config, Tier};
use crate::counters::cells::{CellId, Kind};
use crate::counters::{self, Counters, Recovered, lock};
use crate::limits;
use crate::notify::audit::What;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Entry, Record, Row, SeriesId};
use crate::store::checkpoint::{Checkpoint, Shelved};
use crate::store::{
    Counted, Coverage, Facts, Imported, Job, Keeper, Left, LogRecord, RedbStore, StoreError, Table,
    TickLog, TierChange,
};
use crate::time::clock::Reading;
use crate::time::{Span, Timestamp, Window};

/// Time from one checkpoint to the next.
const CHECKPOINT: Span = Span::from_secs(300);

/// A checkpoint that waits to be kept.
#[derive(Debug)]
pub(super) struct Pending {
    checkpoint: Checkpoint,
    coverage: Coverage,
    /// Shared with the job that keeps them.
    totals: BTreeMap<u32, Arc<[u8]>>,
    facts: Facts,
    /// What the log may forget then; `None` while the log has not come to it.
    mark: Option<u32>,
}

/// What was found in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// In the live table.
    pub counters: Recovered,
    /// Base windows that were in the log.
    pub rows: usize,
    /// Bytes of the log that are damaged: windows whose increments count for the next one.
    pub damaged_bytes: usize,
    /// The log of the last minutes is not there, though it should be.
    pub is_log_missing: bool,
    /// There are counters, and no history of them.
    pub has_no_history: bool,
    /// Things that rules and messages should know and that cannot be read.
    pub garbled_facts: usize,
    /// The store is older than the log: what was counted in between is in no window.
    pub lost: Option<Window>,
    /// What has become of the tiers since the last start.
    pub tiers: Vec<TierChange>,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// One of the files of the live table, or the log.
    #[error(transparent)]
    Files(#[from] counters::OpenError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// An engine over what `dir` holds; the directory is made where there is none.
    ///
    /// # Errors
    /// [`OpenError`], where another process works on the directory, or a file in it cannot be used.
    pub fn open(config: &Config, dir: &Path, now: Timestamp) -> Result<(Self, Found), OpenError> {
        let lock = lock(dir)?;
        // Neither needs the other, so each has a processor where there are two.
        let (told, counters) = std::thread::scope(|scope| {
            let name = "tallyd-history".to_owned();
            let told =
                Builder::new().name(name).spawn_scoped(scope, || Told::read(config, dir, now));
            let counters = Counters::open_locked(options(config), dir, lock, now);
            let told = told.map_err(counters::OpenError::io(dir))?.join();
            Ok::<_, counters::OpenError>((
                told.unwrap_or_else(|panic| resume_unwind(panic)),
                counters,
            ))
        })?;
        let (counters, recovered) = counters?;
        let Told { mut state, keeper, log, kept, observed, is_new, mut found } = told?;
        found.counters = recovered;
        found.has_no_history = is_new && recovered.series > 1;
        if let Some(position) = observed {
            counters.observed_before(position);
        }
        state.outbox.begin(now);
        state.audit.note(now, What::Start);
        state.close_strays(now);
        let is_anew = is_new || found.lost.is_some();
        if is_anew {
            // It is in the totals, as what was counted before.
            counters.observed_before_start();
        }
        state.take_over(&counters, (!is_anew).then_some(&kept), now);
        state.prepare_rules();
        let is_settled = !is_anew && state.unplayed == 0;
        if !is_settled {
            // From here on everything that is counted belongs to some window; what was before does not, and
            // numbers of series in a log that lacks some of its records may be given to others.
            state.moved_groups = (0..state.groups()).collect();
            state.logged = state.closed;
            state.take_checkpoint(state.closed, &counters);
        }
        let engine = Self::of(counters, state, keeper, Some(log));
        if !is_settled {
            let kept = engine.write_log().map_err(|error| log_error(&error));
            let kept = kept.and_then(|_| engine.keep(now));
            if is_anew {
                kept?;
            }
        }
        Ok((engine, found))
    }

    /// Says that clients are served from `now` on: what a start took is no gap.
    pub fn begin(&self, now: Timestamp) {
        let mut state = self.state();
        state.started = now;
        state.closed = state.closed.max(now.align_down(Span::SECOND));
    }

    /// Writes to the log what was closed since the last call. It may take as long as the disk likes; a
    /// tick does not wait for it.
    ///
    /// What a message waits for is brought to the medium as well; whether there was any such.
    ///
    /// # Errors
    /// What the system says; what is left is tried again at the next call.
    pub fn write_log(&self) -> io::Result<bool> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(log) = log.as_mut() else { return Ok(false) };
        let mut waiting = std::mem::take(&mut self.state().log);
        let mut done = Ok(());
        let (mut logged, mut serial, mut is_urgent) = (None, None, false);
        while let Some(record) = waiting.front() {
            done = log.append(record);
            if done.is_err() {
                break;
            }
            match waiting.pop_front() {
                Some(LogRecord::Row { row, observed, facts, .. }) => {
                    logged = Some(row.window.end);
                    self.counters.observed_until(observed);
                    serial = serial.max(Some(facts.serial));
                    is_urgent |= facts.is_urgent;
                }
                Some(LogRecord::Facts(facts)) => {
                    serial = serial.max(Some(facts.serial));
                    is_urgent |= facts.is_urgent;
                }
                Some(LogRecord::Checkpoint { at }) => {
                    let mut state = self.state();
                    let pending = state.pending.as_mut();
                    if let Some(its) = pending.filter(|pending| pending.checkpoint.at == at) {
                        its.mark = Some(log.mark());
                    }
                }
                _ => {}
            }
        }
        {
            let mut state = self.state();
            state.logged = state.logged.max(logged.unwrap_or(state.logged));
            // Room for as many as once waited, when all keys were new, is not kept.
            if !waiting.is_empty() {
                waiting.append(&mut state.log);
                state.log = waiting;
            }
            is_urgent |= state.is_unsynced | std::mem::take(&mut state.owes_wake);
        }
        // What is written survives the process; a message waits for the medium. Where that fails it goes
        // out a little later all the same, and says so.
        let synced = if is_urgent { log.handle().and_then(|file| file.sync()) } else { Ok(()) };
        let mut state = self.state();
        state.is_unsynced = synced.is_err();
        if let (Ok(()), Some(serial)) = (&synced, serial) {
            state.outbox.saved(serial);
        }
        done.and(synced).map(|()| is_urgent)
    }

    /// Brings the log to the medium and puts what is over into the store; then does a piece of the
    /// store's own housekeeping. Whether there may be more of that. It may take as long as the disk
    /// likes.
    ///
    /// # Errors
    /// [`StoreError`]; everything is tried again at the next call.
    pub fn keep(&self, now: impl Into<Reading>) -> Result<bool, StoreError> {
        let reading = now.into();
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        // What is in the store rests on the rows before it, so those go to the medium first.
        let logged = self.state().logged;
        self.sync_log()?;
        let done = self.keep_in(&mut keeper, logged, reading.now);
        if done.is_err() {
            // The store may have been opened anew, and what rules and charts see of it cannot be read any
            // more then. Where this fails as well, they are told so.
            let _ = self.show(&keeper);
        } else {
            *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(reading);
        }
        done
    }

    fn keep_in(
        &self,
        keeper: &mut Keeper,
        logged: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let (job, pending, settled) = {
            let mut state = self.state();
            let (job, pending) = state.job(logged);
            (job, pending, state.windows.settled(now))
        };
        if !job.is_empty() {
            if let Err(error) = keeper.keep(&job) {
                self.state().undo(&job, pending);
                return Err(error);
            }
            self.show(keeper)?;
            if let Some(mark) = pending.and_then(|pending| pending.mark) {
                self.forget_log(mark)?;
            }
        }
        let did = keeper.tidy(settled)?;
        if did {
            self.show(keeper)?;
        }
        let did = did || self.fill_in(keeper)?;
        self.store_bytes.store(keeper.bytes(), Relaxed);
        Ok(did)
    }

    fn fill_in(&self, keeper: &mut Keeper) -> Result<bool, StoreError> {
        let did = self.fill(keeper)?;
        if did {
            self.show(keeper)?;
        }
        Ok(did)
    }

    /// What the store took on the disk when it was last kept, in bytes.
    #[must_use]
    pub fn store_bytes(&self) -> u64 {
        self.store_bytes.load(Relaxed)
    }

    pub(super) fn show(&self, keeper: &Keeper) -> Result<(), StoreError> {
        let snapshot = keeper.snapshot()?;
        let mut state = self.state();
        keeper.settle(&mut state.windows);
        state.windows.show(snapshot);
        Ok(())
    }

    fn sync_log(&self) -> Result<(), StoreError> {
        let handle = match self.log.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            None => return Ok(()),
            Some(log) => log.handle(),
        };
        // A key is there whenever its windows are.
        self.counters.sync_keys().map_err(|error| StoreError::Io {
            path: PathBuf::from("keys.log"),
            reason: error.to_string(),
        })?;
        handle.and_then(|file| file.sync()).map_err(|error| log_error(&error))
    }

    fn forget_log(&self, mark: u32) -> Result<(), StoreError> {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.as_mut().map_or(Ok(()), |log| log.forget(mark)).map_err(|error| log_error(&error))
    }
}

/// What the store and the log tell of an earlier process. Of the live table nothing is needed for it.
struct Told {
    state: State,
    keeper: Keeper,
    log: TickLog,
    /// The totals of each series that are in windows.
    kept: Vec<Counted>,
    /// How far the log of observations is in windows.
    observed: Option<u64>,
    /// There was no store.
    is_new: bool,
    found: Found,
}

impl Told {
    fn read(config: &Config, dir: &Path, now: Timestamp) -> Result<Self, OpenError> {
        let path = dir.join("tallyd.redb");
        let (mut keeper, mut left) =
            Keeper::open(Arc::new(RedbStore::open(&path)?), &config.tiers)?;
        let mut state = State::new(config, keeper.windows()?, now);
        let is_new = left.is_new;
        let mut found = Found { tiers: left.tiers.clone(), ..Found::default() };
        found.is_log_missing = !is_new && !TickLog::is_in(dir);
        let (mut table, serial) = std::mem::take(&mut left.facts);
        state.serial = serial;
        let mut kept = state.restore(left, &path)?;
        if !found.tiers.is_empty() {
            keeper.keep_tiers()?;
        }
        keeper.note_groups(state.groups());
        let (mut observed, mut is_first) = (None, true);
        let (log, damaged_bytes) = TickLog::open(dir, |record| {
            match &record {
                LogRecord::Row { observed: position, .. } => observed = Some(*position),
                // The log before it was given up for a checkpoint that this store does not have.
                LogRecord::Checkpoint { at } if is_first && !is_new && *at > state.checkpointed => {
                    found.lost = Some(Window { start: state.checkpointed, end: *at });
                }
                _ => {}
            }
            is_first = false;
            found.rows += usize::from(state.replay(record, &mut kept, &mut table));
        })?;
        // Where damage left a key twice, one of the two goes on.
        state.catalogue.index();
        found.damaged_bytes = damaged_bytes;
        state.unplayed += usize::from(damaged_bytes > 0);
        state.is_logged = true;
        found.garbled_facts = state.recall(&table);
        Ok(Self { state, keeper, log, kept, observed, is_new, found })
    }
}

fn log_error(error: &io::Error) -> StoreError {
    StoreError::Io { path: PathBuf::from("ticks.log"), reason: error.to_string() }
}

impl State {
    /// Takes over what was in the store. Gives the totals of each series that are in windows.
    fn restore(&mut self, left: Left, path: &Path) -> Result<Vec<Counted>, StoreError> {
        let damaged =
            |reason: &str| StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
        let mut is_whole = true;
        left.each_series(|group, bytes| {
            is_whole &= self.catalogue.read_series(group, bytes).is_some();
        })?;
        if !is_whole || !self.catalogue.index() {
            return Err(damaged("the list of series is not as it was written"));
        }
        let mut kept = vec![Counted::default(); self.catalogue.len()];
        left.each_total(|group, bytes| {
            let read = self.catalogue.read_totals(group, bytes, |id, counted| {
                if let Some(kept) = kept.get_mut(id.index()) {
                    *kept = counted;
                }
            });
            is_whole &= read.is_some();
        })?;
        if !is_whole {
            return Err(damaged("the totals are not as they were written"));
        }
        self.restore_imported(&left.imported)
            .ok_or_else(|| damaged("what was imported is not as it was written"))?;
        self.windows.restore_coverage(left.coverage);
        let marks = left.marks;
        if let Some(checkpoint) = left.checkpoint {
            self.closed = checkpoint.at;
            self.checkpointed = checkpoint.at;
            self.logged = checkpoint.at;
            for tier in 0..self.windows.tiers().len() {
                // What a tier did not keep then it does not know now, though tallyd was up.
                let its = checkpoint.tiers.iter().find(|its| Some(&its.tier) == self.tier(tier));
                self.windows.forget_before(tier, its.map_or(checkpoint.at, |its| its.since));
            }
            // Open windows of tiers that are gone: the next coarser one has not seen what is in them.
            let mut carried: Vec<Arc<Row>> = Vec::new();
            for shelved in checkpoint.tiers {
                let at = self.windows.tiers().iter().position(|tier| *tier == shelved.tier);
                let Some(at) = at else {
                    carried.extend(shelved.open);
                    continue;
                };
                for row in shelved.rows {
                    self.windows.append(at, row);
                }
                // The finer a tier, the later what is open in it.
                let later = carried.drain(..).rev();
                let width = shelved.tier.window;
                let parts: Vec<Arc<Row>> = shelved.open.into_iter().chain(later).collect();
                if let Some(first) = parts.first() {
                    let window = Window::holding(first.window.start, width);
                    let open = Row::empty(window);
                    let open = parts.iter().fold(open, |open, part| open.then(part, window));
                    self.rollup.reopen(at, open);
                }
            }
        }
        self.take_marks(&marks);
        Ok(kept)
    }

    /// Takes over what was imported; `None` where it is not as it was written.
    fn restore_imported(&mut self, groups: &[(u32, Vec<u8>)]) -> Option<()> {
        let mut imported = Imported::default();
        for (group, bytes) in groups {
            imported.read(*group, bytes)?;
        }
        for (id, import) in imported.iter() {
            if id.index() >= self.catalogue.len() {
                return None;
            }
            self.catalogue.get_mut(id).restore_import(import.kind, import.updated);
        }
        self.windows.restore_imported(Arc::new(imported));
        Some(())
    }

    fn tier(&self, at: usize) -> Option<&Tier> {
        self.windows.tiers().get(at)
    }

    /// Plays a record of the log again; whether it was a row that is not in the checkpoint.
    fn replay(&mut self, record: LogRecord, kept: &mut Vec<Counted>, table: &mut Table) -> bool {
        match record {
            LogRecord::Checkpoint { at } => {
                if at == self.checkpointed {
                    // Lives that began before it are in it, and others have begun since then.
                    self.born.clear();
                    for (id, before) in std::mem::take(&mut self.replaced).into_iter().rev() {
                        kept.get_mut(id.index()).into_iter().for_each(|kept| *kept = before);
                    }
                }
                false
            }
            LogRecord::Facts(facts) => {
                self.replay_facts(facts, table);
                false
            }
            LogRecord::Series { id, life, born, key } => {
                if id.index() == self.catalogue.len() {
                    self.catalogue.append(&key, CellId::NONE, born);
                    self.new_groups.insert(id.0 / GROUP);
                }
                kept.resize(self.catalogue.len(), Counted::default());
                // A record from before the checkpoint says nothing new, nor one of a series that was imported.
                if let Some(kept) =
                    kept.get_mut(id.index()).filter(|kept| life != 0 && kept.life != life)
                {
                    self.replaced.push((id, *kept));
                    *kept = Counted { life, ..Counted::default() };
                    self.born.push(id);
                }
                false
            }
            LogRecord::Row { row, is_covered, facts, .. } => {
                self.replay_facts(facts, table);
                kept.resize(self.catalogue.len(), Counted::default());
                if row.window.start < self.closed {
                    return false;
                }
                // One whose life the log does not tell of any more would be found a second time by
                // subtraction.
                let lives =
                    |entry: &Entry| kept.get(entry.series.index()).map_or(0, |its| its.life);
                if row.iter().any(|entry| lives(&entry) == 0) {
                    self.unplayed += 1;
                    return false;
                }
                self.replay_row(row, is_covered, kept);
                true
            }
        }
    }

    fn replay_row(&mut self, row: Arc<Row>, is_covered: bool, kept: &mut [Counted]) {
        for entry in row.iter() {
            let series = entry.series;
            let known = self.catalogue.get_mut(series);
            let record = entry.resolve(known.last());
            known.update(row.window.end, record.last(), None, row.window.end);
            known.kind = match record {
                Record::Counts(_) => Kind::Counter,
                Record::Values(_) => Kind::Gauge,
                Record::Distribution(..) => Kind::Distribution,
            };
            let (sum, count) = match record {
                Record::Counts(counts) => (counts.sum, counts.count),
                // Its cell counts observations.
                Record::Distribution(values, _) => (values.count, values.count),
                Record::Values(_) => (0, 0),
            };
            if let Some(kept) = kept.get_mut(series.index()) {
                kept.total = kept.total.wrapping_add(sum);
                kept.count = kept.count.wrapping_add(count);
            }
        }
        self.logged = row.window.end;
        self.file(row, is_covered);
    }

    /// Notes that a key begins a life, in which nothing was counted before.
    pub(super) fn log_life(&mut self, id: SeriesId, life: u64, born: Timestamp) {
        self.moved_groups.insert(id.0 / GROUP);
        if self.is_logged {
            let key = self.catalogue.key(id).into();
            self.log.push_back(LogRecord::Series { id, life, born, key });
        }
    }

    pub(super) fn rows_waiting(&self) -> usize {
        self.log.iter().filter(|record| matches!(record, LogRecord::Row { .. })).count()
    }

    /// Has the log told of a base window, which holds what was observed up to that position.
    pub(super) fn log_row(&mut self, row: &Arc<Row>, is_covered: bool, observed: u64) {
        // Where the disk is slow or full, rows wait up to a bound. What is dropped is not lost while
        // the process lives; after a start its increments count for the window after the last row.
        let is_row = |record: &LogRecord| matches!(record, LogRecord::Row { .. });
        let waiting = self.log.iter().filter(|record| is_row(record));
        let bytes: usize = waiting.clone().map(LogRecord::memory).sum();
        let is_full = waiting.count() >= limits::TICK_QUEUE || bytes >= limits::TICK_QUEUE_BYTES;
        if is_full && let Some(at) = self.log.iter().position(is_row) {
            if let Some(LogRecord::Row { row, facts, .. }) = self.log.remove(at) {
                let first = self.unlogged_rows.map_or(row.window.start, |rows| rows.start);
                self.unlogged_rows = Some(Window { start: first, end: row.window.end });
                self.hand_on(at, facts);
            }
            self.unlogged += 1;
        }
        let (row, facts) = (Arc::clone(row), Facts::default());
        self.log.push_back(LogRecord::Row { row, is_covered, observed, facts });
    }

    /// Takes a checkpoint where a multiple of its time lies between the last one and the base window
    /// that begins at `start`: of everything before that multiple.
    pub(super) fn checkpoint_at(&mut self, start: Timestamp, counters: &Counters) {
        let at = start.align_down(CHECKPOINT);
        if at > self.checkpointed {
            // After a start within that time, windows behind the multiple are closed, and in the totals.
            self.take_checkpoint(at.max(self.closed.min(start)), counters);
        }
    }

    fn take_checkpoint(&mut self, at: Timestamp, counters: &Counters) {
        self.checkpointed = at;
        let windows = &mut self.windows;
        self.rollup.advance(at, |tier, row| windows.append(tier, row));
        let tiers = self.windows.tiers();
        let shelved = tiers.iter().enumerate().map(|(index, tier)| {
            let is_over = |row: &&Arc<Row>| {
                let span = span(tiers, index);
                row.window.start.align_down(span) + span <= at
            };
            let rows = self.windows.rows(index).skip_while(is_over).cloned().collect();
            let (open, since) = (self.rollup.open(index).cloned(), self.windows.horizon(index));
            Shelved { tier: *tier, since, open, rows }
        });
        let checkpoint = Checkpoint { at, tiers: shelved.collect() };
        let (mut totals, mut facts) = match self.pending.take() {
            Some(pending) => (pending.totals, pending.facts),
            None => (BTreeMap::new(), Facts::default()),
        };
        facts.append(std::mem::take(&mut self.unkept));
        facts.serial = self.serial;
        for group in std::mem::take(&mut self.moved_groups) {
            totals.insert(group, self.totals(group, counters));
        }
        let coverage = self.windows.coverage().clone();
        self.pending = Some(Pending { checkpoint, coverage, totals, facts, mark: None });
        if self.is_logged {
            self.log.push_back(LogRecord::Checkpoint { at });
        }
    }

    /// The totals of a checkpoint that is not kept yet, group by group.
    pub(super) fn pending_totals(&self) -> Option<&BTreeMap<u32, Arc<[u8]>>> {
        self.pending.as_ref().map(|pending| &pending.totals)
    }

    /// What has changed of rules and messages since the last checkpoint that is kept.
    pub(super) fn facts_since_kept(&self) -> Facts {
        let mut facts = self.pending.as_ref().map(|its| its.facts.clone()).unwrap_or_default();
        facts.append(self.unkept.clone());
        facts.serial = self.serial;
        facts
    }

    /// What was counted in the series of a group, as far as it is in windows.
    pub(super) fn totals(&self, group: u32, counters: &Counters) -> Arc<[u8]> {
        let totals = self.catalogue.write_totals(group, |_, known| {
            let Some(cell) = known.cell() else { return Counted::default() };
            let ((total, count), life) = (self.rollup.seen(cell), counters.life(cell));
            Counted { total, count, life }
        });
        totals.into()
    }

    /// What is to be kept now. The checkpoint is in it once the log has come so far.
    fn job(&mut self, logged: Timestamp) -> (Job, Option<Pending>) {
        let mut until = self.closed.min(logged);
        let is_logged = self.is_logged;
        // Whatever a checkpoint leaves out has to be in chunks by then: in this job's, or before.
        let pending = self.pending.take_if(|pending| {
            pending.checkpoint.at <= until && (pending.mark.is_some() || !is_logged)
        });
        // A row that the log never got is in no total but a later checkpoint's: in a chunk before that,
        // its increments would be found a second time by subtraction.
        if let Some(rows) = self.unlogged_rows {
            if pending.as_ref().is_some_and(|pending| pending.checkpoint.at >= rows.end) {
                self.unlogged_rows = None;
            } else {
                until = until.min(rows.start);
            }
        }
        let tiers = self.windows.tiers();
        let sealed = (0..tiers.len()).map(|at| until.align_down(span(tiers, at))).collect();
        let seals = (0..tiers.len()).flat_map(|at| self.windows.ready(at, until)).collect();
        let mut job = Job { seals, sealed, groups: self.groups(), ..Job::default() };
        for group in std::mem::take(&mut self.new_groups) {
            job.series.push((group, self.catalogue.write_series(group)));
        }
        if let Some(pending) = &pending {
            job.totals =
                pending.totals.iter().map(|(at, bytes)| (*at, Arc::clone(bytes))).collect();
            job.checkpoint = Some((pending.checkpoint.clone(), pending.coverage.clone()));
            job.facts = pending.facts.clone();
        }
        (job, pending)
    }

    pub(super) fn groups(&self) -> u32 {
        u32::try_from(self.catalogue.len()).unwrap_or(u32::MAX).div_ceil(GROUP)
    }

    /// Takes a job back that could not be kept.
    fn undo(&mut self, job: &Job, pending: Option<Pending>) {
        self.new_groups.extend(job.series.iter().map(|(group, _)| *group));
        let Some(old) = pending else { return };
        if self.unlogged > 0 {
            let start = self.windows.sealed(0);
            self.unlogged_rows = Some(Window { start, end: self.logged.max(start) });
        }
        match &mut self.pending {
            // A later checkpoint says all that this one says, but for groups that did not move since.
            Some(later) => {
                for (group, bytes) in old.totals {
                    later.totals.entry(group).or_insert(bytes);
                }
                let later_facts = std::mem::replace(&mut later.facts, old.facts);
                later.facts.append(later_facts);
            }
            none => *none = Some(old),
        }
    }
}

#[cfg(test)]
mod power;
#[cfg(test)]
pub(super) mod tests;
