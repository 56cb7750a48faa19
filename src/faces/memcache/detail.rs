//! `stats detail`: what is asked for by prefix, the part of a key before its first `:`.
//!
//! Off until a client switches it on, and while it is off a request pays one look at a flag. As in
//! memcached only `get`, `gets`, `gat`, `gats`, `delete` and the storage commands are counted, keys without a
//! `:` are not, and prefixes are kept until `stats reset`. Unlike there, their number is bounded.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::limits;

/// What is counted of one prefix.
#[derive(Clone, Copy, Debug, Default)]
struct Prefix {
    gets: u64,
    hits: u64,
    sets: u64,
    deletes: u64,
}

/// One thing that was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asked {
    /// A retrieval, and whether it found something.
    Get { is_hit: bool },
    /// A value to store, whether or not it was.
    Set,
    /// A key to take away, whether or not it was there.
    Delete,
}

/// The counts of all prefixes.
#[derive(Debug, Default)]
pub struct Detail {
    is_on: AtomicBool,
    prefixes: Mutex<BTreeMap<Box<[u8]>, Prefix>>,
}

impl Detail {
    /// Whether anything is counted.
    pub(super) fn is_on(&self) -> bool {
        self.is_on.load(Relaxed)
    }

    /// Begins to count, or stops; what was counted stays.
    pub fn switch(&self, is_on: bool) {
        self.is_on.store(is_on, Relaxed);
    }

    pub(super) fn clear(&self) {
        self.prefixes().clear();
    }

    pub(super) fn note(&self, key: &[u8], asked: Asked) {
        let Some(end) = key.iter().position(|byte| *byte == b':') else { return };
        let name = key.get(..end).unwrap_or_default();
        let mut prefixes = self.prefixes();
        if !prefixes.contains_key(name) {
            // Whoever chooses the keys chooses the prefixes; those that come too late go uncounted.
            if prefixes.len() >= limits::STATS_PREFIXES {
                return;
            }
            prefixes.insert(name.into(), Prefix::default());
        }
        let Some(prefix) = prefixes.get_mut(name) else { return };
        match asked {
            Asked::Get { is_hit } => {
                prefix.gets += 1;
                prefix.hits += u64::from(is_hit);
            }
            Asked::Set => prefix.sets += 1,
            Asked::Delete => prefix.deletes += 1,
        }
    }

    /// Appends a line for each prefix, in order of their names.
    pub(super) fn write_to(&self, out: &mut Vec<u8>) {
        for (name, prefix) in self.prefixes().iter() {
            let Prefix { gets, hits, sets, deletes } = prefix;
            out.extend_from_slice(b"PREFIX ");
            out.extend_from_slice(name);
            let counts = format!(" get {gets} hit {hits} set {sets} del {deletes}\r\n");
            out.extend_from_slice(counts.as_bytes());
        }
    }

    fn prefixes(&self) -> MutexGuard<'_, BTreeMap<Box<[u8]>, Prefix>> {
        // Every change leaves the map whole.
        self.prefixes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_prefix_up_to_a_bound() {
        let detail = Detail::default();
        detail.note(b"foo:1", Asked::Set);
        detail.note(b"foo:2", Asked::Get { is_hit: false });
        detail.note(b"foo:1", Asked::Get { is_hit: true });
        detail.note(b"foo:1:x", Asked::Delete);
        detail.note(b"none", Asked::Set);
        detail.note(b":", Asked::Set);
        let mut out = Vec::new();
        detail.write_to(&mut out);
        assert_eq!(
            String::from_utf8_lossy(&out),
            "PREFIX  get 0 hit 0 set 1 del 0\r\nPREFIX foo get 2 hit 1 set 1 del 1\r\n"
        );
        for n in 0..2 * limits::STATS_PREFIXES {
            detail.note(format!("p{n}:").as_bytes(), Asked::Set);
        }
        assert_eq!(detail.prefixes().len(), limits::STATS_PREFIXES);
        detail.clear();
        assert!(detail.prefixes().is_empty());
    }
}
