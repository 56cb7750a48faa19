//! What a start finds in the store: everything that an earlier process has left there, but the chunks.

use std::collections::VecDeque;
use std::sync::Arc;

use super::Coverage;
use super::checkpoint::{Checkpoint, Sliced};
use super::extent::{Extent, group_of, read_extents, width_secs};
use super::facts::Table;
use super::marks::{self, Mark, TierChange};
use super::seam::{Snapshot, Store, StoreError};
use crate::config::Tier;
use crate::rollup::row::span;
use crate::time::{Span, Timestamp};

/// The version of what is kept and how. The first knew of no pieces of values, the second had checkpoints in one
/// value; both are read as they are.
pub(super) const VERSION: u32 = 3;

pub(super) const VERSION_KEY: &[u8] = b"mversion";
pub(super) const EXTENTS_KEY: &[u8] = b"mextents";
pub(super) const DEAD_KEY: &[u8] = b"mdead";
pub(super) const CHECKPOINT_KEY: &[u8] = b"mcheckpoint";
pub(super) const COVERAGE_KEY: &[u8] = b"mcoverage";
pub(super) const FACTS_KEY: &[u8] = b"mfacts";
/// Before the keys of facts.
pub(super) const FACTS: u8 = b'f';
pub(super) const MARKS_KEY: &[u8] = b"mtiers";

/// Before the numbers of groups that a checkpoint tells of.
pub(super) const SLICE_SPACE: u8 = b'k';

/// What an earlier process has left in the store.
#[derive(Debug)]
pub struct Left {
    snapshot: Arc<dyn Snapshot>,
    /// `None` where there was none yet.
    pub checkpoint: Option<Checkpoint>,
    /// When tallyd was up until then.
    pub coverage: Coverage,
    /// What there was to know of rules and messages, and the number of the last change in it.
    pub facts: (Table, u64),
    /// What was imported, group by group.
    pub imported: Vec<(u32, Vec<u8>)>,
    /// There was nothing at all.
    pub is_new: bool,
    /// What the tiers know of the time before, tier by tier.
    pub marks: Vec<Mark>,
    /// What has become of the tiers since then.
    pub tiers: Vec<TierChange>,
}

impl Left {
    /// Shows keys and births of the series to `see`, group by group.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn each_series(&self, see: impl FnMut(u32, &[u8])) -> Result<(), StoreError> {
        each_group(&*self.snapshot, b's', see)
    }

    /// Shows what was counted and shown as of the checkpoint to `see`, group by group.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn each_total(&self, see: impl FnMut(u32, &[u8])) -> Result<(), StoreError> {
        each_group(&*self.snapshot, b't', see)
    }
}

/// The same, with what is the keeper's own.
pub(super) struct Found {
    pub(super) left: Left,
    pub(super) extents: Vec<Vec<Extent>>,
    pub(super) dead: VecDeque<(u32, Extent)>,
    pub(super) sealed: Vec<Timestamp>,
}

impl Found {
    pub(super) fn read(store: &dyn Store, tiers: &[Tier]) -> Result<Self, StoreError> {
        let snapshot = store.snapshot()?;
        let is_new = check_version(store, &*snapshot)?;
        let (lists, mut dead) =
            (lists(store, &*snapshot, EXTENTS_KEY)?, read_dead(store, &*snapshot)?);
        let mut extents = vec![Vec::new(); tiers.len()];
        for (width, list) in lists {
            match tiers.iter().zip(&mut extents).find(|(tier, _)| width_secs(tier) == width) {
                Some((_, known)) => *known = list,
                None => dead.extend(list.into_iter().map(|extent| (width, extent))),
            }
        }
        let sealed = tiers.iter().zip(&extents).map(|(tier, list)| {
            list.last().map_or(Timestamp::from_millis(i64::MIN), |last| last.window(tier).end)
        });
        let sealed = sealed.collect();
        let mut imported = Vec::new();
        each_group(&*snapshot, b'i', |group, bytes| imported.push((group, bytes.to_vec())))?;
        let checkpoint = checkpoint(store, &*snapshot, tiers)?;
        let before = match value(&*snapshot, MARKS_KEY)? {
            Some(bytes) => read(store, marks::read(&bytes))?,
            // A version that did not note them; or nobody was here yet.
            None => unmarked(checkpoint.as_ref(), tiers),
        };
        let at = checkpoint.as_ref().map_or(Timestamp::EPOCH, |checkpoint| checkpoint.at);
        let (marks, changed) = marks::now(tiers, &before, at, |index| span(tiers, index));
        let left = Left {
            imported,
            checkpoint,
            coverage: value(&*snapshot, COVERAGE_KEY)?
                .map(|bytes| read(store, Coverage::read(&bytes)))
                .transpose()?
                .unwrap_or_default(),
            facts: facts(store, &*snapshot)?,
            marks,
            tiers: changed,
            is_new,
            snapshot,
        };
        Ok(Self { left, extents, dead, sealed })
    }
}

/// The last checkpoint.
fn checkpoint(
    store: &dyn Store,
    snapshot: &dyn Snapshot,
    tiers: &[Tier],
) -> Result<Option<Checkpoint>, StoreError> {
    let Some(head) = value(snapshot, CHECKPOINT_KEY)? else { return Ok(None) };
    let mut sliced = read(store, Sliced::begin(&head, tiers))?;
    let mut is_whole = true;
    each_group(snapshot, SLICE_SPACE, |group, bytes| {
        is_whole &= sliced.take(group, bytes).is_some();
    })?;
    read(store, is_whole.then(|| Some(sliced.finish())))
}

fn read_dead(
    store: &dyn Store,
    snapshot: &dyn Snapshot,
) -> Result<VecDeque<(u32, Extent)>, StoreError> {
    let lists = lists(store, snapshot, DEAD_KEY)?.into_iter();
    Ok(lists.flat_map(|(width, list)| list.into_iter().map(move |one| (width, one))).collect())
}

/// The tiers of a store without marks: those that its checkpoint tells of.
fn unmarked(checkpoint: Option<&Checkpoint>, tiers: &[Tier]) -> Vec<Mark> {
    let mark = |tier| Mark { tier, hole: None, filled_from: None };
    let unknown_keep = |tier: Tier| Tier { keep: Span::ZERO, ..tier };
    match checkpoint {
        Some(checkpoint) => {
            checkpoint.tiers.iter().map(|its| mark(unknown_keep(its.tier))).collect()
        }
        None => tiers.iter().copied().map(mark).collect(),
    }
}

/// Whether there was no version yet, which the first job brings.
fn check_version(store: &dyn Store, snapshot: &dyn Snapshot) -> Result<bool, StoreError> {
    let Some(bytes) = value(snapshot, VERSION_KEY)? else { return Ok(true) };
    let found = bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    match read(store, found)? {
        found if found > VERSION => {
            Err(StoreError::Newer { path: store.path(), found, known: VERSION })
        }
        _ => Ok(false),
    }
}

fn lists(
    store: &dyn Store,
    snapshot: &dyn Snapshot,
    key: &[u8],
) -> Result<Vec<(u32, Vec<Extent>)>, StoreError> {
    let bytes = value(snapshot, key)?.unwrap_or_default();
    read(store, read_extents(&bytes))
}

fn value(snapshot: &dyn Snapshot, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut found = None;
    snapshot.get(key, &mut |bytes| found = Some(bytes.to_vec()))?;
    Ok(found)
}

fn each_group(
    snapshot: &dyn Snapshot,
    space: u8,
    mut see: impl FnMut(u32, &[u8]),
) -> Result<(), StoreError> {
    snapshot.scan(&[space], &mut |key, bytes| {
        if let Some(group) = group_of(key) {
            see(group, bytes);
        }
        true
    })
}

fn facts(store: &dyn Store, snapshot: &dyn Snapshot) -> Result<(Table, u64), StoreError> {
    let mut table = Table::default();
    snapshot.scan(&[FACTS], &mut |key, bytes| {
        table.put(key.strip_prefix(&[FACTS]).unwrap_or_default(), bytes);
        true
    })?;
    let Some(serial) = value(snapshot, FACTS_KEY)? else { return Ok((table, 0)) };
    let serial = serial.first_chunk::<8>().map(|bytes| u64::from_le_bytes(*bytes));
    Ok((table, read(store, serial)?))
}

/// Something that was read and has to be what was written.
fn read<T>(store: &dyn Store, found: Option<T>) -> Result<T, StoreError> {
    found.ok_or_else(|| StoreError::Damaged {
        path: store.path(),
        reason: "a value is not as it was written".to_owned(),
    })
}
