//! All that lies in the store at one instant, with a job over it that is not kept yet; and what such a
//! copy tells of totals.
//!
//! A copy is a list of keys and values in order. It is read from a snapshot, so it costs no memory
//! beside the job's, and nobody waits for whoever reads it. Whoever copies holds the keeper while the
//! job is made, so that what is in rows is in no chunk, and the other way round.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::catalogue::{Catalogue, Counted};
use super::extent::group_of;
use super::seam::{Changes, Snapshot, StoreError};

/// See the module.
#[derive(Debug)]
pub struct Copy {
    snapshot: Arc<dyn Snapshot>,
    /// `None`: the key is gone.
    over: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Copy {
    /// What `snapshot` shows, with these changes made.
    pub(super) fn new(snapshot: Arc<dyn Snapshot>, changes: Changes) -> Self {
        let gone = changes.removals.into_iter().map(|key| (key, None));
        let puts = changes.puts.into_iter().map(|(key, value)| (key, Some(value)));
        Self { snapshot, over: gone.chain(puts).collect() }
    }

    /// Hands every key with its value to `each`, in order, until it says no; whether it never did.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn each(&self, each: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<bool, StoreError> {
        let mut over = self.over.iter().peekable();
        let mut goes_on = true;
        self.snapshot.scan(b"", &mut |key, value| {
            while let Some((newer, value)) = over.next_if(|(newer, _)| newer.as_slice() < key) {
                goes_on = goes_on && value.as_ref().is_none_or(|value| each(newer, value));
            }
            let newer = over.next_if(|(newer, _)| newer.as_slice() == key);
            let holds = newer.map_or(Some(value), |(_, value)| value.as_deref());
            goes_on = goes_on && holds.is_none_or(|value| each(key, value));
            goes_on
        })?;
        for (key, value) in over {
            goes_on = goes_on && value.as_ref().is_none_or(|value| each(key, value));
        }
        Ok(goes_on)
    }
}

/// What a copy tells of the totals that are in windows, by key.
#[derive(Debug, Default)]
pub struct Totals {
    catalogue: Catalogue,
    counted: Vec<Counted>,
}

impl Totals {
    /// Takes in what is told under a key of the store; `None` where that is not as it was written.
    pub fn take(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key.first() {
            Some(b's') => {
                self.catalogue.read_series(group_of(key)?, value)?;
                self.catalogue.index().then_some(())
            }
            Some(b't') => {
                self.counted.resize(self.catalogue.len(), Counted::default());
                let counted = &mut self.counted;
                self.catalogue.read_totals(group_of(key)?, value, |id, its| {
                    if let Some(counted) = counted.get_mut(id.index()) {
                        *counted = its;
                    }
                })
            }
            _ => Some(()),
        }
    }

    /// How many series there are.
    #[must_use]
    pub fn series(&self) -> usize {
        self.catalogue.len()
    }

    /// What is in windows of a key's present life, where that is the one it says.
    #[must_use]
    pub fn of(&self, key: &[u8], life: u64) -> Option<Counted> {
        let id = self.catalogue.find(key)?;
        self.counted.get(id.index()).copied().filter(|counted| counted.life == life)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::seam::{MemoryStore, Store};

    #[test]
    fn what_is_over_it_stands_in_its_place() {
        let store = MemoryStore::default();
        let pairs = |pairs: &[(&str, &str)]| Changes {
            puts: pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            ..Changes::default()
        };
        store.commit(&pairs(&[("b", "1"), ("bb", "7"), ("d", "2")])).unwrap();
        let removals = vec![b"bb".to_vec(), b"f".to_vec()];
        let over = Changes { removals, ..pairs(&[("a", "3"), ("c", "4"), ("d", "5"), ("e", "6")]) };
        let copy = Copy::new(store.snapshot().unwrap(), over);
        let mut all = String::new();
        let mut see = |key: &[u8], value: &[u8]| {
            all += &String::from_utf8([key, value].concat()).unwrap();
            all.len() < 8
        };
        assert!(!copy.each(&mut see).unwrap());
        assert_eq!(all, "a3b1c4d5");
        all.clear();
        assert!(
            copy.each(&mut |key, value| {
                all += &String::from_utf8([key, value].concat()).unwrap();
                true
            })
            .unwrap()
        );
        assert_eq!(all, "a3b1c4d5e6");
    }
}
