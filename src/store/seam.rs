//! The seam to what keeps bytes: an ordered table of keys and values, changed all at once or not at all.
//!
//! The store needs no more of an engine than this, so another one can take the place of redb, and tests
//! put one here that lies. Keys and values are `super::keep`'s affair.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Where bytes are kept.
pub trait Store: Send + Sync + Debug {
    /// What is kept now, unmoved by later changes.
    ///
    /// # Errors
    /// [`StoreError`].
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError>;

    /// Makes all changes that `make` hands to what it is given, or none where it fails; when it is back they
    /// survive the loss of power. Values are taken one by one, so they need not lie in memory together.
    ///
    /// # Errors
    /// [`StoreError`].
    fn commit_made(&self, make: &dyn Fn(&mut dyn Put)) -> Result<(), StoreError>;

    /// The same with changes that are there already.
    ///
    /// # Errors
    /// [`StoreError`].
    fn commit(&self, changes: &Changes) -> Result<(), StoreError> {
        self.commit_made(&|put| changes.hand_to(put))
    }

    /// What it takes on the disk, in bytes.
    fn bytes(&self) -> u64;

    /// The file that it lies in, for messages.
    fn path(&self) -> PathBuf;
}

/// What was kept at one time.
pub trait Snapshot: Send + Sync + Debug {
    /// Shows the value of a key to `see`, where there is one.
    ///
    /// # Errors
    /// [`StoreError`].
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), StoreError>;

    /// Shows keys that begin with `prefix` to `see`, in order, until it says no.
    ///
    /// # Errors
    /// [`StoreError`].
    fn scan(
        &self,
        prefix: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError>;

    /// The same without the values, which need not be read for it.
    ///
    /// # Errors
    /// [`StoreError`].
    fn keys(&self, prefix: &[u8], see: &mut dyn FnMut(&[u8]) -> bool) -> Result<(), StoreError> {
        self.scan(prefix, &mut |key, _| see(key))
    }
}

/// Takes changes that belong together, in the order in which they are to be made. That one fails is told
/// when all were handed over.
pub trait Put {
    /// Puts a value in the place of the one that a key has.
    fn put(&mut self, key: &[u8], value: &[u8]);

    /// Removes a key.
    fn remove(&mut self, key: &[u8]);
}

/// Changes that belong together; what is removed goes before anything is put.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// Keys and their new values.
    pub puts: Vec<(Vec<u8>, Vec<u8>)>,
    /// Keys that go.
    pub removals: Vec<Vec<u8>>,
}

impl Changes {
    fn hand_to(&self, put: &mut dyn Put) {
        self.removals.iter().for_each(|key| put.remove(key));
        self.puts.iter().for_each(|(key, value)| put.put(key, value));
    }
}

impl Put for Changes {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.puts.push((key.to_vec(), value.to_vec()));
    }

    fn remove(&mut self, key: &[u8]) {
        self.removals.push(key.to_vec());
    }
}

/// Why the store cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The system refused it.
    #[error("cannot use {}: {reason}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// It is damaged, or not ours.
    #[error(
        "{} is damaged ({reason}); put a backup in its place, or move it away to start without the windows of the past: totals stay",
        path.display()
    )]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It was written by a later version of this program.
    #[error("{} was written by a newer tallyd (format {found}, this one knows {known}); run that one", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// The version in it.
        found: u32,
        /// The latest that is known here.
        known: u32,
    },
}

/// Values are shared, so that a snapshot costs a pointer each once the table changes under it.
type Table = BTreeMap<Vec<u8>, Arc<[u8]>>;

/// In memory: for an engine that ends with the process, and for tests.
#[derive(Debug, Default)]
pub struct MemoryStore {
    table: Mutex<Arc<Table>>,
}

impl Store for MemoryStore {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::new(MemorySnapshot(Arc::clone(&table))))
    }

    fn commit_made(&self, make: &dyn Fn(&mut dyn Put)) -> Result<(), StoreError> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let table: &mut Table = Arc::make_mut(&mut table);
        make(table);
        Ok(())
    }

    fn bytes(&self) -> u64 {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        table.iter().map(|(key, value)| (key.len() + value.len()) as u64).sum()
    }

    fn path(&self) -> PathBuf {
        PathBuf::from("memory")
    }
}

impl Put for Table {
    fn put(&mut self, key: &[u8], value: &[u8]) {
        self.insert(key.to_vec(), value.into());
    }

    fn remove(&mut self, key: &[u8]) {
        Self::remove(self, key);
    }
}

#[derive(Debug)]
struct MemorySnapshot(Arc<Table>);

impl Snapshot for MemorySnapshot {
    fn get(&self, key: &[u8], see: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(value) = self.0.get(key) {
            see(value);
        }
        Ok(())
    }

    fn scan(
        &self,
        prefix: &[u8],
        see: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        for (key, value) in self.0.range::<[u8], _>(from) {
            if !key.starts_with(prefix) || !see(key, value) {
                break;
            }
        }
        Ok(())
    }
}
