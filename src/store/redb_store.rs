//! redb as the engine: one file, `tallyd.redb`, in whose tables values lie as [`super::pieces`] says.
//!
//! Every commit is on the medium when it is back, and leaves what a quick start after a crash needs: a start
//! reads a few pages, however long the file. What is damaged is found by [`super::blocks`], and redb refuses
//! it with an error, or a panic in a debug build; either is an error here that names the file.
//!
//! After a commit that failed the file is opened anew, since redb takes no more changes then, and reads nothing
//! either. A snapshot of the last commit that did not fail is found again in the file that was opened, so whoever
//! reads sees nothing of it; an older one is lost, and says so. Each commit has a number in the file: one that
//! failed and is found there all the same has not failed. Pages that a failed sync left in the kernel's memory alone
//! look as if they were in the file; they are written again and synced before it counts as opened. Where the
//! file cannot be opened, every use tries again, and says so: it is never taken for empty.

use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::{
    Database, Key, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, StorageError,
    TableDefinition, TableError, Value,
};

use super::blocks::{Blocks, Damage};
use super::pieces::{self, PIECES, RESTS};
use super::seam::{Put, Snapshot, Store, StoreError};
use crate::disk::Debt;

/// Pages that redb keeps in memory, in bytes. The system's own cache holds the file as well, so this is
/// for what one commit changes and one answer reads.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// See the module.
pub struct RedbStore(Arc<Shared>);

/// What a store and its snapshots have together.
struct Shared {
    path: PathBuf,
    /// What is owed to the file, whoever has it open.
    debt: Debt,
    /// `None` while a commit has failed and the file could not be opened again yet.
    database: RwLock<Option<Opened>>,
}

/// The number of the last commit.
const NUMBER: TableDefinition<'static, (), u64> = TableDefinition::new("commits");

/// The file, as it was opened.
struct Opened {
    database: Database,
    damage: Arc<Damage>,
}

type Reading = ReadOnlyTable<&'static [u8], &'static [u8]>;

struct RedbSnapshot {
    shared: Arc<Shared>,
    tables: Tables,
}

/// What a snapshot reads.
struct Tables {
    path: PathBuf,
    damage: Arc<Damage>,
    /// `None` where nothing was ever committed.
    rests: Option<Reading>,
    /// `None` where no value was ever cut.
    pieces: Option<Reading>,
    /// Of the last commit that is seen.
    number: u64,
}

/// A commit that is being made.
struct Writing<'a, 'b> {
    rests: &'a mut pieces::Writing<'b>,
    pieces: &'a mut pieces::Writing<'b>,
    /// With the first that failed, nothing more is done.
    done: Result<(), StorageError>,
}

impl Put for Writing<'_, '_> {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        if self.done.is_ok() {
            self.done = pieces::put(self.rests, self.pieces, key, value);
        }
    }

    fn remove(&mut self, key: &[u8]) {
        if self.done.is_ok() {
            self.done = pieces::remove(self.rests, self.pieces, key);
        }
    }
}

impl RedbStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`], where it cannot be read, is damaged or is no file of redb's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let debt = Debt::default();
        let database = RwLock::new(Some(open(path, &debt)?));
        Ok(Self(Arc::new(Shared { path: path.to_owned(), debt, database })))
    }

    /// Moves pages forward until the file has no room inside that is free. A server does not: what is free is
    /// used by the next chunks. It is for measurements, and needs the store for itself.
    ///
    /// # Errors
    /// [`StoreError`], where a commit fails or a snapshot is still read.
    pub fn compact(&mut self) -> Result<(), StoreError> {
        let mut opened = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Opened { database, damage }) = opened.as_mut() else { return Ok(()) };
        guarded(&self.0.path, damage, || {
            while database.compact()? {}
            Ok(())
        })
    }
}

impl Shared {
    /// Makes a commit, and says as which `number` before it may fail.
    fn write(
        &self,
        make: &dyn Fn(&mut dyn Put),
        number: &mut Option<u64>,
    ) -> Result<(), StoreError> {
        self.with_database(|opened| {
            let mut transaction = opened.database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut numbers = transaction.open_table(NUMBER)?;
                let last = numbers.get(())?.map_or(0, |last| last.value());
                numbers.insert((), last + 1)?;
                *number = Some(last + 1);
                let mut rests = transaction.open_table(RESTS)?;
                let mut pieces = transaction.open_table(PIECES)?;
                let (rests, pieces) = (&mut rests, &mut pieces);
                let mut writing = Writing { rests, pieces, done: Ok(()) };
                make(&mut writing);
                writing.done?;
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// What was committed last.
    fn tables(&self) -> Result<Tables, StoreError> {
        self.with_database(|opened| {
            let transaction = opened.database.begin_read()?;
            let (path, damage) = (self.path.clone(), Arc::clone(&opened.damage));
            let (rests, pieces) = (table(&transaction, RESTS)?, table(&transaction, PIECES)?);
            let number = match table(&transaction, NUMBER)? {
                Some(numbers) => numbers.get(())?.map_or(0, |last| last.value()),
                None => 0,
            };
            Ok(Tables { path, damage, rests, pieces, number })
        })
    }

    /// Does something with the file, which is opened first where a failure has closed it.
    fn with_database<T>(
        &self,
        work: impl FnOnce(&Opened) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let is_closed = self.database.read().unwrap_or_else(PoisonError::into_inner).is_none();
        if is_closed {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some(open(&self.path, &self.debt)?);
            }
        }
        let opened = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let opened = opened.as_ref().ok_or_else(|| StoreError::Io {
            path: self.path.clone(),
            reason: "it could not be opened again after a failure".to_owned(),
        })?;
        guarded(&self.path, &opened.damage, || work(opened))
    }
}

fn open(path: &Path, debt: &Debt) -> Result<Opened, StoreError> {
    let blocks = Blocks::open(path, debt.clone())?;
    let (damage, was_torn) = (blocks.damage(), blocks.was_torn());
    let database = guarded(path, &damage, || {
        let mut builder = Database::builder();
        // Which of the two headers was the last is not sure then, so every page is looked at.
        builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(was_torn);
        Ok(builder.create_with_backend(blocks)?)
    })?;
    Ok(Opened { database, damage })
}

impl Store for RedbStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        let tables = self.0.tables()?;
        Ok(Arc::new(RedbSnapshot { shared: Arc::clone(&self.0), tables }))
    }

    fn commit_made(&self, make: &dyn Fn(&mut dyn Put)) -> Result<(), StoreError> {
        let mut number = None;
        let done = self.0.write(make, &mut number);
        if done.is_ok() {
            return done;
        }
        {
            let mut database = self.0.database.write().unwrap_or_else(PoisonError::into_inner);
            // The old one has to be gone first: it holds the file's lock.
            *database = None;
            *database = open(&self.0.path, &self.0.debt).ok();
        }
        // What is in a file that was opened is on the medium: opening it writes again what a failed sync was to
        // bring, and fails where that does.
        let is_there =
            number.is_some() && self.0.tables().is_ok_and(|its| Some(its.number) == number);
        if is_there { Ok(()) } else { done }
    }

    fn bytes(&self) -> u64 {
        // The file is longer: redb makes it so ahead of time, and the rest is a hole.
        std::fs::metadata(&self.0.path).map_or(0, |metadata| metadata.blocks() * 512)
    }

    fn path(&self) -> PathBuf {
        self.0.path.clone()
    }
}

impl Snapshot for RedbSnapshot {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        self.with_tables(&mut |tables| tables.get(key, see))
    }

    fn scan(
        &self,
        prefix: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let mut next = prefix.to_vec();
        self.with_tables(&mut |tables| {
            let from = next.clone();
            let mut done = Ok(());
            tables.walk(prefix, &from, &mut |key, rest| {
                let mut goes_on = true;
                done = tables.show(key, rest, |value| goes_on = see(key, value));
                go_behind(key, done.is_ok(), &mut next);
                goes_on && done.is_ok()
            })?;
            done
        })
    }

    fn keys(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        let mut next = prefix.to_vec();
        self.with_tables(&mut |tables| {
            let from = next.clone();
            tables.walk(prefix, &from, &mut |key, _| {
                go_behind(key, true, &mut next);
                see(key)
            })
        })
    }
}

/// Notes the first key behind one that was seen.
fn go_behind(key: &[u8], is_seen: bool, next: &mut Vec<u8>) {
    if is_seen {
        next.clear();
        next.extend_from_slice(key);
        next.push(0);
    }
}

impl RedbSnapshot {
    /// Does something with the tables, and once more where they cannot be read any more but the same is in
    /// the file that was opened anew. `work` goes on where it was then.
    fn with_tables(
        &self,
        work: &mut dyn FnMut(&Tables) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let done = work(&self.tables);
        if !matches!(done, Err(StoreError::Io { .. })) {
            return done;
        }
        let tables = self.shared.tables()?;
        if tables.number == self.tables.number { work(&tables) } else { done }
    }
}

impl Tables {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let Some(rests) = &self.rests else { return Ok(()) };
        let found = guarded(&self.path, &self.damage, || Ok(rests.get(key)?))?;
        let Some(rest) = found else { return Ok(()) };
        self.show(key, rest.value(), see)
    }

    /// Shows a value of which this is left.
    fn show(&self, key: &[u8], rest: &[u8], see: impl FnOnce(&[u8])) -> Result<(), StoreError> {
        let whole = guarded(&self.path, &self.damage, || {
            Ok(pieces::whole(self.pieces.as_ref(), key, rest)?)
        })?;
        see(&whole);
        Ok(())
    }

    /// Shows keys with this prefix and what is left of their values, from a key on.
    fn walk(
        &self,
        prefix: &[u8],
        from: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(rests) = &self.rests else { return Ok(()) };
        let mut range = guarded(&self.path, &self.damage, || Ok(rests.range::<&[u8]>(from..)?))?;
        while let Some((key, rest)) =
            guarded(&self.path, &self.damage, || Ok(range.next().transpose()?))?
        {
            if !key.value().starts_with(prefix) || !see(key.value(), rest.value()) {
                break;
            }
        }
        Ok(())
    }
}

fn table<K: Key + 'static, V: Value + 'static>(
    transaction: &ReadTransaction,
    definition: TableDefinition<'static, K, V>,
) -> Result<Option<ReadOnlyTable<K, V>>, redb::Error> {
    match transaction.open_table(definition) {
        Ok(table) => Ok(Some(table)),
        Err(TableError::TableDoesNotExist(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Takes an error or a panic of redb's for what it is: the file's. redb checks what it wrote as if
/// nobody else could have changed it.
fn guarded<T>(
    path: &Path,
    damage: &Damage,
    work: impl FnOnce() -> Result<T, redb::Error>,
) -> Result<T, StoreError> {
    let damaged = |reason: &str| {
        let reason = damage.found().map_or(reason.to_owned(), |block| {
            format!("its block {block} of 4096 bytes is not as it was written")
        });
        StoreError::Damaged { path: path.to_owned(), reason }
    };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Corrupted(reason))) => Err(damaged(&reason)),
        Ok(Err(error)) => Err(StoreError::Io { path: path.to_owned(), reason: error.to_string() }),
        Err(_) => Err(damaged("a page holds what redb never writes")),
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.0.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedbSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbSnapshot").field("path", &self.tables.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::lying::{Dice, Fate, LyingDisk};
    use crate::store::seam::Changes;

    /// Values of every length around that of a piece, put over one another and removed, beside keys that
    /// are the beginning of others.
    #[test]
    fn values_are_what_was_put_however_they_are_cut() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("tallyd.redb")).unwrap();
        let keys = [b"a".to_vec(), b"ab".to_vec(), b"a\0\0\0\0".to_vec(), b"b".to_vec()];
        let mut expect = std::collections::BTreeMap::new();
        let lengths = [0, 1, 4078, 4079, 4080, 9000, 8158, 100_000, 4079, 0, 70_000, 5];
        for (round, length) in lengths.into_iter().enumerate() {
            let mut changes = Changes::default();
            for (at, key) in keys.iter().enumerate() {
                if (round + at) % 5 == 4 {
                    changes.removals.push(key.clone());
                    expect.remove(key);
                } else {
                    let value: Vec<u8> = (0..length + at)
                        .map(|n| ((n * 31 + round) % 251).to_le_bytes()[0])
                        .collect();
                    changes.puts.push((key.clone(), value.clone()));
                    expect.insert(key.clone(), value);
                }
            }
            store.commit(&changes).unwrap();
            let (snapshot, mut seen) = (store.snapshot().unwrap(), Vec::new());
            let take = &mut |key: &[u8], value: &[u8]| {
                seen.push((key.to_vec(), value.to_vec()));
                true
            };
            snapshot.scan(b"", take).unwrap();
            assert_eq!(seen, expect.clone().into_iter().collect::<Vec<_>>(), "round {round}");
            let mut names = Vec::new();
            let take = &mut |key: &[u8]| {
                names.push(key.to_vec());
                names.len() < 2
            };
            snapshot.keys(b"a", take).unwrap();
            assert!(names.iter().all(|name| expect.contains_key(name)) && names.len() <= 2);
            for key in &keys {
                let mut seen = None;
                snapshot.get(key, &mut |value| seen = Some(value.to_vec())).unwrap();
                assert_eq!(seen.as_ref(), expect.get(key), "round {round}");
            }
        }
    }

    /// Chunks come and go; the file takes little more than what is in it.
    #[test]
    fn what_is_freed_is_used_again_and_values_fill_their_pages() {
        let dir = tempfile::tempdir().unwrap();
        let store = RedbStore::open(&dir.path().join("tallyd.redb")).unwrap();
        let key = |round: u32, at: u32| [round.to_be_bytes(), at.to_be_bytes()].concat();
        let length = |round: u32, at: u32| 60_000 + (round * 977 + at * 7919) as usize % 20_000;
        for round in 0..60 {
            let mut changes = Changes::default();
            for at in 0..8_u32 {
                let value = vec![at.to_le_bytes()[0]; length(round, at)];
                changes.puts.push((key(round, at), value));
                changes.removals.extend(round.checked_sub(20).map(|gone| key(gone, at)));
            }
            store.commit(&changes).unwrap();
        }
        let held: usize = (40..60).flat_map(|round| (0..8).map(move |at| length(round, at))).sum();
        let (bytes, held) = (store.bytes(), held as u64);
        assert!(bytes * 4 < held * 5, "{bytes} for {held}");
    }

    #[test]
    fn a_file_that_cannot_be_opened_is_not_taken_for_empty_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("tallyd.redb"), dir.path().join("away"));
        let store = RedbStore::open(&path).unwrap();
        let changes = Changes { puts: vec![(b"k".to_vec(), b"v".to_vec())], ..Changes::default() };
        store.commit(&changes).unwrap();
        let shown = store.snapshot().unwrap();
        // As after a commit that failed, on a disk that fails altogether.
        *store.0.database.write().unwrap() = None;
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(store.snapshot().is_err());
        assert!(store.commit(&changes).is_err());
        let all = |shown: &dyn Snapshot| {
            let mut count = 0;
            shown
                .scan(b"", &mut |_, _| {
                    count += 1;
                    true
                })
                .map(|()| count)
        };
        assert!(all(&*shown).is_err(), "it cannot be read, and says so");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        let mut seen = Vec::new();
        store.snapshot().unwrap().get(b"k", &mut |value| seen = value.to_vec()).unwrap();
        assert_eq!(seen, b"v");
        assert_eq!(all(&*shown), Ok(1));
        store.commit(&changes).unwrap();
    }

    /// A commit that fails, at each operation of its own and with the disk refusing for a while: whoever has
    /// the last snapshot goes on reading it, from where he is.
    #[test]
    fn the_last_snapshot_is_read_over_a_commit_that_failed() {
        for at in 1..40 {
            let dir = tempfile::tempdir().unwrap();
            let disk = LyingDisk::under(dir.path());
            let store = RedbStore::open(&dir.path().join("tallyd.redb")).unwrap();
            let puts = (0..50_u8).map(|n| (vec![n], vec![n; 9000])).collect::<Vec<_>>();
            store.commit(&Changes { puts: puts.clone(), ..Changes::default() }).unwrap();
            let last = store.snapshot().unwrap();
            disk.meet(at, Fate::Refused(28, at + 1));
            let more =
                Changes { puts: vec![(b"z".to_vec(), vec![0; 20_000])], ..Changes::default() };
            let (mut failed, mut seen) = (false, Vec::new());
            let done = last.scan(b"", &mut |key, value| {
                if seen.len() == 20 {
                    failed = store.commit(&more).is_err();
                }
                seen.push((key.to_vec(), value.to_vec()));
                true
            });
            assert!(seen.len() > 20 && puts.starts_with(&seen), "with the refusal at {at}");
            if !failed {
                // Where it was found in the file that was opened anew, what was before is lost.
                assert!(at > 3, "some of its operations were refused");
                LyingDisk::leave(dir.path());
                continue;
            }
            done.unwrap();
            assert_eq!(seen.len(), puts.len(), "with the refusal at {at}");
            last.get(&[7], &mut |value| assert_eq!(value, [7; 9000])).unwrap();
            disk.meet(u64::MAX, Fate::Done);
            store.commit(&more).unwrap();
            LyingDisk::leave(dir.path());
        }
    }

    /// What is in the file was committed, whatever the disk said last.
    #[test]
    fn a_commit_has_failed_where_it_is_not_in_the_file_and_only_there() {
        let mut outcomes = [0, 0];
        for at in 1..60 {
            let dir = tempfile::tempdir().unwrap();
            let disk = LyingDisk::under(dir.path());
            let store = RedbStore::open(&dir.path().join("tallyd.redb")).unwrap();
            let put = |value: u8| Changes {
                puts: vec![(b"k".to_vec(), vec![value])],
                ..Changes::default()
            };
            store.commit(&put(1)).unwrap();
            disk.meet(at, Fate::Refused(5, at + 1));
            let is_done = store.commit(&put(2)).is_ok();
            let mut seen = None;
            store.snapshot().unwrap().get(b"k", &mut |value| seen = Some(value[0])).unwrap();
            assert_eq!(seen, Some(1 + u8::from(is_done)), "with the refusal at {at}");
            outcomes[usize::from(is_done)] += 1;
            LyingDisk::leave(dir.path());
        }
        assert!(outcomes.iter().all(|count| *count > 0), "{outcomes:?}");
    }

    /// Syncs that fail and lose what they were to bring, though it can be read, and the loss of power later: a
    /// commit that was told to be done is on the medium.
    #[test]
    fn what_was_committed_is_there_whichever_syncs_were_lost() {
        for (first, seed) in (1..14).flat_map(|first| (0..2_u64).map(move |seed| (first, seed))) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("tallyd.redb");
            drop(RedbStore::open(&path).unwrap());
            let disk = LyingDisk::under(dir.path());
            let store = RedbStore::open(&path).unwrap();
            disk.meet(u64::MAX, Fate::LostSync(first, first + 1 + seed));
            let (mut done, mut tried) = (None, 0);
            for round in 0..6_u8 {
                let keys = (0..40_u8).filter(|key| round == 0 || (key + round) % 3 > 0);
                let puts = keys.map(|key| (vec![key], vec![round; 300 * usize::from(key)]));
                let number = (b"number".to_vec(), vec![round]);
                let puts = puts.chain([number]).collect();
                tried = round;
                if store.commit(&Changes { puts, ..Changes::default() }).is_ok() {
                    done = Some(round);
                }
            }
            drop(store);
            disk.lose_power(&mut Dice::new(seed));
            LyingDisk::leave(dir.path());
            let snapshot = RedbStore::open(&path).unwrap().snapshot().unwrap();
            let (mut number, mut count) = (None, 0);
            snapshot.get(b"number", &mut |value| number = Some(value[0])).unwrap();
            assert!(
                number >= done && number <= Some(tried),
                "{number:?} of {done:?}, {first} {seed}"
            );
            let mut see = |_: &[u8], _: &[u8]| {
                count += 1;
                true
            };
            snapshot.scan(b"", &mut see).unwrap();
            assert!(count == 41 || number.is_none(), "{count} with the sync {first} lost, {seed}");
        }
    }
}
