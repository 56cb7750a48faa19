//! redb as the engine: one table in one file, `tallyd.redb`.
//!
//! Every commit is on the medium when it is back, and leaves what a quick start after a crash needs. A
//! page that is damaged makes redb panic or give an error, depending on where it lies; either is an error
//! here. After a commit that failed the file is opened anew, since redb takes no more changes then; what was
//! shown before cannot be read any more once that is so. Where it cannot be opened, every use tries again,
//! and says so: it is never taken for empty.

use std::fmt;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{Database, ReadOnlyTable, ReadableDatabase, TableDefinition, TableError};

use super::seam::{Changes, Snapshot, Store, StoreError};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("tallyd");

/// Pages that redb keeps in memory, in bytes. The system's own cache holds the file as well, so this is
/// for what one commit changes and one answer reads.
const CACHE_BYTES: usize = 8 * 1024 * 1024;

/// See the module.
pub struct RedbStore {
    path: PathBuf,
    /// `None` while a commit has failed and the file could not be opened again yet.
    database: RwLock<Option<Database>>,
}

struct RedbSnapshot {
    path: PathBuf,
    /// `None` where nothing was ever committed.
    table: Option<ReadOnlyTable<&'static [u8], &'static [u8]>>,
}

impl RedbStore {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// [`StoreError`], where it cannot be read, is damaged or is no file of redb's.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let database = RwLock::new(Some(open(path)?));
        Ok(Self { path: path.to_owned(), database })
    }

    fn write(&self, changes: &Changes) -> Result<(), StoreError> {
        self.with_database(|database| {
            let mut transaction = database.begin_write()?;
            transaction.set_quick_repair(true);
            {
                let mut table = transaction.open_table(TABLE)?;
                for key in &changes.removals {
                    table.remove(key.as_slice())?;
                }
                for (key, value) in &changes.puts {
                    table.insert(key.as_slice(), value.as_slice())?;
                }
            }
            transaction.commit()?;
            Ok(())
        })
    }

    /// Does something with the file, which is opened first where a failure has closed it.
    fn with_database<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let is_closed = self.database.read().unwrap_or_else(PoisonError::into_inner).is_none();
        if is_closed {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            if database.is_none() {
                *database = Some(open(&self.path)?);
            }
        }
        let database = self.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or_else(|| StoreError::Io {
            path: self.path.clone(),
            reason: "it could not be opened again after a failure".to_owned(),
        })?;
        guarded(&self.path, || work(database))
    }
}

fn open(path: &Path) -> Result<Database, StoreError> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::Io { path: path.to_owned(), reason: error.to_string() })?;
    guarded(path, || {
        let backend = FileBackend::new(file)?;
        Ok(Database::builder().set_cache_size(CACHE_BYTES).create_with_backend(backend)?)
    })
}

impl Store for RedbStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        let table =
            self.with_database(|database| match database.begin_read()?.open_table(TABLE) {
                Ok(table) => Ok(Some(table)),
                Err(TableError::TableDoesNotExist(_)) => Ok(None),
                Err(error) => Err(error.into()),
            })?;
        Ok(Arc::new(RedbSnapshot { path: self.path.clone(), table }))
    }

    fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        let done = self.write(changes);
        if done.is_err() {
            let mut database = self.database.write().unwrap_or_else(PoisonError::into_inner);
            // The old one has to be gone first: it holds the file's lock.
            *database = None;
            *database = open(&self.path).ok();
        }
        done
    }

    fn bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
    }

    fn path(&self) -> PathBuf {
        self.path.clone()
    }
}

impl Snapshot for RedbSnapshot {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let Some(table) = &self.table else { return Ok(()) };
        let found = guarded(&self.path, || Ok(table.get(key)?))?;
        if let Some(value) = found {
            see(value.value());
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let Some(table) = &self.table else { return Ok(()) };
        let mut range = guarded(&self.path, || Ok(table.range::<&[u8]>(prefix..)?))?;
        while let Some((key, value)) = guarded(&self.path, || Ok(range.next().transpose()?))? {
            if !key.value().starts_with(prefix) || !see(key.value(), value.value()) {
                break;
            }
        }
        Ok(())
    }
}

/// Takes an error or a panic of redb's for what it is: the file's. redb checks what it wrote as if
/// nobody else could have changed it.
fn guarded<T>(path: &Path, work: impl FnOnce() -> Result<T, redb::Error>) -> Result<T, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { path: path.to_owned(), reason };
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(redb::Error::Io(error))) if error.kind() == std::io::ErrorKind::InvalidData => {
            Err(damaged("it is no file of redb's".to_owned()))
        }
        Ok(Err(redb::Error::Corrupted(reason))) => Err(damaged(reason)),
        Ok(Err(error)) => Err(StoreError::Io { path: path.to_owned(), reason: error.to_string() }),
        Err(_) => Err(damaged("a page holds what redb never writes".to_owned())),
    }
}

impl fmt::Debug for RedbStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbStore").field("path", &self.path).finish_non_exhaustive()
    }
}

impl fmt::Debug for RedbSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbSnapshot").field("path", &self.path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_cannot_be_opened_is_not_taken_for_empty_and_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (path, away) = (dir.path().join("tallyd.redb"), dir.path().join("away"));
        let store = RedbStore::open(&path).unwrap();
        let changes = Changes { puts: vec![(b"k".to_vec(), b"v".to_vec())], ..Changes::default() };
        store.commit(&changes).unwrap();
        let shown = store.snapshot().unwrap();
        // As after a commit that failed, on a disk that fails altogether.
        *store.database.write().unwrap() = None;
        std::fs::rename(&path, &away).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(store.snapshot().is_err());
        assert!(store.commit(&changes).is_err());
        assert!(shown.scan(b"", &mut |_, _| true).is_err(), "it cannot be read, and says so");
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&away, &path).unwrap();
        let mut seen = Vec::new();
        store.snapshot().unwrap().get(b"k", &mut |value| seen = value.to_vec()).unwrap();
        assert_eq!(seen, b"v");
        store.commit(&changes).unwrap();
    }
}
