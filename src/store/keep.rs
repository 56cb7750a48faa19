//! What lies in the store, and the work of putting things there: chunks of stretches that are over,
//! longer chunks in the place of short ones, and the end of those that are older than their tier keeps.
//!
//! Stretches are short at first, so that little lies in memory; eight of one length become one, as often
//! as the result is not too long. The work is done in small pieces on a thread of its own. Every
//! commit leaves the whole consistent: the list of extents changes together with the chunks in them.
//!
//! Some extents cannot become one: histograms that would be longer together than a chunk may hold, or a
//! group that is damaged. They stay as they are, nothing of them is dropped, and the others are merged all
//! the same. That is remembered for as long as the process lives.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::codec::EncodeError;
use super::copy::Copy;
use super::extent::{Extent, group_key, group_of, width_secs, write_extents};
use super::facts::Facts;
use super::group::{Group, GroupBuilder};
use super::left::{
    CHECKPOINT_KEY, COVERAGE_KEY, DEAD_KEY, EXTENTS_KEY, FACTS, FACTS_KEY, Found, Left, MARKS_KEY,
    SLICE_SPACE, VERSION, VERSION_KEY,
};
use super::marks::{self, Mark};
use super::seal::Seal;
use super::seam::{Changes, Put, Snapshot, Store, StoreError};
use super::{Coverage, ReadError, Windows, codec};
use crate::config::Tier;
use crate::limits;
use crate::rollup::row::GROUP;
use crate::time::{Span, Timestamp};

/// So many extents of one length become one, and of longer ones so many: what is young is written again
/// few times, and what is a day old is hardly ever more than one piece short of as long as it may be.
const MERGE: u16 = 8;
const MERGE_LONG: u16 = 2;
/// The first length that is long, in windows.
const LONG: u16 = 256;
/// Groups that are merged, and keys that are removed, in one commit; and after how many bytes of merged
/// groups it is enough.
const SLICE: u32 = 64;
const SLICE_BYTES: usize = 1024 * 1024;
const REMOVALS: usize = 2048;

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    store: Arc<dyn Store>,
    pub(super) tiers: Vec<Tier>,
    marks: Vec<Mark>,
    pub(super) extents: Vec<Vec<Extent>>,
    /// Nothing that begins before this is in rows any more, tier by tier.
    sealed: Vec<Timestamp>,
    /// Extents whose chunks may still lie in the store, though nobody looks at them, by their prefix.
    dead: VecDeque<(u32, Extent)>,
    merging: Option<Merging>,
    /// What cannot be made, by tier: nobody tries again before the next start.
    unmergeable: BTreeSet<(usize, Extent)>,
    /// Groups that there may be.
    groups: u32,
}

/// Several extents that are becoming one, up to a group.
#[derive(Clone, Debug)]
struct Merging {
    tier: usize,
    target: Extent,
    sources: Vec<Extent>,
    group: u32,
}

/// What is to be kept that the tick knows.
#[derive(Clone, Debug, Default)]
pub struct Job {
    /// Stretches that are over.
    pub seals: Vec<Seal>,
    /// Everything that begins before this is sealed with it, tier by tier.
    pub sealed: Vec<Timestamp>,
    /// Groups of series that there are.
    pub groups: u32,
    /// Keys and births of groups with series that are new.
    pub series: Vec<(u32, Vec<u8>)>,
    /// What was counted in groups that have changed; goes with a checkpoint.
    pub totals: Vec<(u32, Arc<[u8]>)>,
    /// With when tallyd was up until then.
    pub checkpoint: Option<(Checkpoint, Coverage)>,
    /// What changed of rules and messages since the checkpoint before.
    pub facts: Facts,
}

impl Job {
    /// Whether there is nothing to keep.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seals.is_empty() && self.series.is_empty() && self.checkpoint.is_none()
    }
}

impl Keeper {
    /// Looks at what lies in the store.
    ///
    /// # Errors
    /// [`StoreError`], where it cannot be read or is a newer version's.
    pub fn open(store: Arc<dyn Store>, tiers: &[Tier]) -> Result<(Self, Left), StoreError> {
        let Found { left, extents, dead, sealed } = Found::read(&*store, tiers)?;
        let (tiers, marks) = (tiers.to_vec(), left.marks.clone());
        let (merging, unmergeable, groups) = (None, BTreeSet::new(), 0);
        let keeper =
            Self { store, tiers, marks, extents, sealed, dead, merging, unmergeable, groups };
        Ok((keeper, left))
    }

    /// Notes how many groups of series there are, for whoever has looked at what was [`Left`].
    pub fn note_groups(&mut self, groups: u32) {
        self.groups = self.groups.max(groups);
    }

    /// The windows that lie here.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn windows(&self) -> Result<Windows, StoreError> {
        let mut windows = Windows::new(&self.tiers, self.store.snapshot()?);
        self.settle(&mut windows);
        Ok(windows)
    }

    /// Keeps a job. What it says counts once this is back: tell the windows by [`settle`] then.
    ///
    /// # Errors
    /// [`StoreError`]; nothing has changed then, and the job is to be tried again.
    ///
    /// [`settle`]: Self::settle
    pub fn keep(&mut self, job: &Job) -> Result<(), StoreError> {
        let (mut parts, mut extents) = (Vec::new(), self.extents.clone());
        for seal in &job.seals {
            let (Some(tier), Some(list)) = (self.tiers.get(seal.tier), extents.get_mut(seal.tier))
            else {
                continue;
            };
            for part in seal.parts(tier) {
                // A job that was kept already, but could not be shown, comes again.
                if !list.contains(&part.extent) {
                    list.push(part.extent);
                }
                parts.push((tier, part));
            }
        }
        let past = self.past_slices(job)?;
        self.store.commit_made(&|put| {
            for (tier, part) in &parts {
                part.put(tier, put);
            }
            for key in &past {
                put.remove(key);
            }
            self.put_values(job, &extents, put);
        })?;
        self.extents = extents;
        self.note_groups(job.groups);
        for (sealed, until) in self.sealed.iter_mut().zip(&job.sealed) {
            *sealed = (*sealed).max(*until);
        }
        Ok(())
    }

    /// What a job says beside its chunks, and what goes with every commit. What is long is made piece by
    /// piece, so that it lies in memory once.
    fn put_values(&self, job: &Job, extents: &[Vec<Extent>], put: &mut dyn Put) {
        for (group, bytes) in &job.series {
            put.put(&group_key(b's', *group), bytes);
        }
        for (group, bytes) in &job.totals {
            put.put(&group_key(b't', *group), bytes);
        }
        if let Some((checkpoint, coverage)) = &job.checkpoint {
            put_checkpoint(checkpoint, put);
            put.put(COVERAGE_KEY, &coverage.write());
            put_facts(&job.facts, put);
        }
        put.put(EXTENTS_KEY, &self.written(extents));
        put.put(DEAD_KEY, &write_dead(&self.dead));
        put.put(MARKS_KEY, &marks::write(&self.marks));
        put.put(VERSION_KEY, &VERSION.to_le_bytes());
    }

    /// The keys of slices that lie there of groups in which nothing happened as of the job's checkpoint: they
    /// are an earlier one's, and would be read as its own.
    ///
    /// The store is asked each time. What was committed last is not remembered here: a commit that was told to
    /// have failed may be in a file that is opened later.
    fn past_slices(&self, job: &Job) -> Result<Vec<Vec<u8>>, StoreError> {
        let Some((checkpoint, _)) = &job.checkpoint else { return Ok(Vec::new()) };
        let (groups, mut past) = (checkpoint.groups(), Vec::new());
        self.store.snapshot()?.keys(&[SLICE_SPACE], &mut |key| {
            if group_of(key).is_some_and(|group| !groups.contains(&group)) {
                past.push(key.to_vec());
            }
            true
        })?;
        Ok(past)
    }

    /// All that lies here, as if a job without chunks were kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn copy(&self, job: &Job) -> Result<Copy, StoreError> {
        let mut changes = Changes { removals: self.past_slices(job)?, ..Changes::default() };
        self.put_values(job, &self.extents, &mut changes);
        Ok(Copy::new(self.store.snapshot()?, changes))
    }

    /// Tells the windows what lies here now, all but the bytes themselves.
    pub fn settle(&self, windows: &mut Windows) {
        for (tier, (extents, sealed)) in self.extents.iter().zip(&self.sealed).enumerate() {
            windows.settle(tier, extents.clone(), *sealed);
        }
    }

    /// What lies here now.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.store.snapshot()
    }

    /// What it takes on the disk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.store.bytes()
    }

    /// Longer extents that cannot be made of those that are here.
    #[must_use]
    pub fn unmergeable(&self) -> usize {
        self.unmergeable.len()
    }

    /// Keeps changed windows, in these extents, with a job without chunks.
    pub(super) fn commit_edit(
        &mut self,
        extents: Vec<Vec<Extent>>,
        job: &Job,
        mut changes: Changes,
    ) -> Result<(), StoreError> {
        changes.removals.extend(self.past_slices(job)?);
        self.put_values(job, &extents, &mut changes);
        self.store.commit(&changes)?;
        self.extents = extents;
        self.note_groups(job.groups);
        Ok(())
    }

    /// Keeps what tiers there are now, so that what has become of them is told once.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn keep_tiers(&mut self) -> Result<(), StoreError> {
        self.commit_edit(self.extents.clone(), &Job::default(), Changes::default())
    }

    /// Notes that a tier that was added has its history since `from`.
    ///
    /// # Errors
    /// [`StoreError`]; it is not noted then.
    pub fn filled(&mut self, tier: usize, from: Timestamp) -> Result<(), StoreError> {
        let before = self.marks.clone();
        if let Some(mark) = self.marks.get_mut(tier) {
            mark.filled_from = Some(from);
        }
        let done = self.keep_tiers();
        if done.is_err() {
            self.marks = before;
        }
        done
    }

    /// Lets go of a longer extent that is not finished.
    pub(super) fn stop_merging(&mut self) {
        let begun = self.merging.take().and_then(|merging| merging.begun(&self.tiers));
        self.dead.extend(begun);
    }

    /// Does a piece of what can wait: removes what is too old, or merges. Whether there was any; then
    /// the windows are to be told.
    ///
    /// # Errors
    /// [`StoreError`]; nothing that is looked at has changed then. What is damaged is told once, and the next
    /// call goes on with something else.
    pub fn tidy(&mut self, now: Option<Timestamp>) -> Result<bool, StoreError> {
        let has_buried = now.map_or(Ok(false), |now| self.bury(now))?;
        if has_buried || self.remove()? {
            return Ok(true);
        }
        if self.merging.is_none() {
            self.merging = self.to_merge();
        }
        self.merge()
    }

    /// Takes extents that are wholly too old out of the lists.
    fn bury(&mut self, now: Timestamp) -> Result<bool, StoreError> {
        let (mut extents, mut dead) = (self.extents.clone(), self.dead.clone());
        for (tier, list) in self.tiers.iter().zip(&mut extents) {
            let horizon = (now - tier.keep).align_down(tier.window);
            list.retain(|extent| {
                let is_kept = extent.window(tier).end > horizon;
                if !is_kept {
                    dead.push_back((width_secs(tier), *extent));
                }
                is_kept
            });
        }
        if extents == self.extents {
            return Ok(false);
        }
        // What was being merged may be among them.
        dead.extend(self.merging.as_ref().and_then(|merging| merging.begun(&self.tiers)));
        self.change_lists(extents, dead, Changes::default())?;
        self.merging = None;
        let tiers = &self.tiers;
        self.unmergeable.retain(|(tier, target)| {
            let tier = tiers.get(*tier);
            tier.is_some_and(|tier| target.window(tier).end > now - tier.keep)
        });
        Ok(true)
    }

    /// Removes chunks that nobody looks at.
    pub(super) fn remove(&mut self) -> Result<bool, StoreError> {
        if self.dead.is_empty() {
            return Ok(false);
        }
        let (mut dead, mut changes) = (self.dead.clone(), Changes::default());
        let snapshot = self.store.snapshot()?;
        while let Some((width, extent)) = dead.front() {
            let tier = Tier { window: Span::from_secs(u64::from(*width)), keep: Span::ZERO };
            let seen = snapshot.keys(&extent.prefix(&tier), &mut |key| {
                changes.removals.push(key.to_vec());
                changes.removals.len() < REMOVALS
            });
            if let Err(error @ StoreError::Damaged { .. }) = seen {
                // It keeps its room, and holds nothing else up.
                dead.pop_front();
                self.change_lists(self.extents.clone(), dead, changes)?;
                return Err(error);
            }
            seen?;
            if changes.removals.len() >= REMOVALS {
                break;
            }
            dead.pop_front();
        }
        self.change_lists(self.extents.clone(), dead, changes)?;
        Ok(true)
    }

    /// How many extents are still to be removed.
    pub(super) fn dead(&self) -> usize {
        self.dead.len()
    }

    fn change_lists(
        &mut self,
        extents: Vec<Vec<Extent>>,
        dead: VecDeque<(u32, Extent)>,
        mut changes: Changes,
    ) -> Result<(), StoreError> {
        changes.puts.push((EXTENTS_KEY.to_vec(), self.written(&extents)));
        changes.puts.push((DEAD_KEY.to_vec(), write_dead(&dead)));
        self.store.commit(&changes)?;
        (self.extents, self.dead) = (extents, dead);
        Ok(())
    }

    fn written(&self, extents: &[Vec<Extent>]) -> Vec<u8> {
        let lists = self.tiers.iter().zip(extents);
        write_extents(lists.map(|(tier, list)| (width_secs(tier), list.as_slice())))
    }

    /// The first extents that are to become one: all of a length that lie in the stretch of the next
    /// length, once it is over.
    fn to_merge(&self) -> Option<Merging> {
        let mut each = self.tiers.iter().zip(&self.extents).zip(&self.sealed).enumerate();
        each.find_map(|(at, ((tier, list), sealed))| {
            list.iter().find_map(|first| {
                let target = long(first, tier)?;
                let end = target.window(tier).end;
                let is_inside = |extent: &&Extent| {
                    target.start <= extent.start && extent.window(tier).end <= end
                };
                let sources: Vec<_> = list.iter().filter(is_inside).copied().collect();
                let is_even = sources.iter().all(|source| source.slots == first.slots);
                let is_tried = self.unmergeable.contains(&(at, target));
                let is_due = end <= *sealed && is_even && !is_tried;
                is_due.then_some(Merging { tier: at, target, sources, group: 0 })
            })
        })
    }

    /// Merges some groups; whether there was anything to merge.
    fn merge(&mut self) -> Result<bool, StoreError> {
        let Some(merging) = self.merging.clone() else { return Ok(false) };
        let Some(tier) = self.tiers.get(merging.tier).copied() else { return Ok(false) };
        let snapshot = self.store.snapshot()?;
        let (mut changes, mut bytes) = (Changes::default(), 0);
        let mut end = self.groups.min(merging.group.saturating_add(SLICE));
        for group in merging.group..end {
            if bytes >= SLICE_BYTES {
                end = group;
                break;
            }
            match merging.group_of(group, &tier, &*snapshot) {
                Ok(None) => {}
                Ok(Some(merged)) => {
                    bytes += merged.len();
                    changes.puts.push((merging.target.key(&tier, group), merged));
                }
                Err(ReadError::Store(error @ StoreError::Io { .. })) => return Err(error),
                Err(reason) => return self.leave(&merging, &reason),
            }
        }
        if end < self.groups {
            self.store.commit(&changes)?;
            self.merging = Some(Merging { group: end, ..merging });
            return Ok(true);
        }
        let (mut extents, mut dead) = (self.extents.clone(), self.dead.clone());
        if let Some(list) = extents.get_mut(merging.tier) {
            list.retain(|extent| !merging.sources.contains(extent));
            list.push(merging.target);
            list.sort_unstable();
        }
        dead.extend(merging.sources.iter().map(|source| (width_secs(&tier), *source)));
        self.change_lists(extents, dead, changes)?;
        self.merging = None;
        Ok(true)
    }

    /// Leaves extents as they are, since they cannot become one.
    fn leave(&mut self, merging: &Merging, reason: &ReadError) -> Result<bool, StoreError> {
        let mut dead = self.dead.clone();
        dead.extend(merging.begun(&self.tiers));
        self.change_lists(self.extents.clone(), dead, Changes::default())?;
        self.unmergeable.insert((merging.tier, merging.target));
        self.merging = None;
        match reason {
            // Nothing is wrong with them, but that they are too long together.
            ReadError::Merge(EncodeError::Strings) => Ok(true),
            reason => Err(match reason {
                ReadError::Store(error) => error.clone(),
                reason => {
                    let reason = reason.to_string();
                    StoreError::Damaged { path: self.store.path(), reason }
                }
            }),
        }
    }
}

fn put_checkpoint(checkpoint: &Checkpoint, put: &mut dyn Put) {
    let mut slice = Vec::new();
    for group in checkpoint.groups() {
        slice.clear();
        checkpoint.write_group(group, &mut slice);
        put.put(&group_key(SLICE_SPACE, group), &slice);
    }
    put.put(CHECKPOINT_KEY, &checkpoint.head());
}

fn write_dead(dead: &VecDeque<(u32, Extent)>) -> Vec<u8> {
    write_extents(dead.iter().map(|(width, extent)| (*width, std::slice::from_ref(extent))))
}

/// The extent that `short` becomes part of; `None` where that would be too long for a chunk, or more
/// than an eighth of what the tier keeps: an extent goes as a whole, once all of it is too old.
pub(super) fn long(short: &Extent, tier: &Tier) -> Option<Extent> {
    let step = tier.window.as_millis().max(1);
    let most = (tier.keep.as_millis() / step / 8).min(u64::from(limits::CHUNK_SLOTS));
    let factor = if short.slots < LONG { MERGE } else { MERGE_LONG };
    let slots = short.slots.checked_mul(factor).filter(|slots| u64::from(*slots) <= most)?;
    let width = Span::from_millis(step.saturating_mul(u64::from(slots)));
    Some(Extent { start: short.start.align_down(width), slots })
}

impl Merging {
    /// What lies in the store of the target already, for nobody if the rest does not come.
    fn begun(&self, tiers: &[Tier]) -> Option<(u32, Extent)> {
        let tier = tiers.get(self.tier).filter(|_| self.group > 0)?;
        Some((width_secs(tier), self.target))
    }

    /// One group's chunks over the whole target; `None` where there are none.
    fn group_of(
        &self,
        group: u32,
        tier: &Tier,
        snapshot: &dyn Snapshot,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let mut parts: Vec<(u16, Vec<u8>)> = Vec::new();
        let step = tier.window.as_millis().max(1);
        for source in &self.sources {
            let offset = source.start.since(self.target.start).as_millis() / step;
            let offset = u16::try_from(offset).unwrap_or(u16::MAX);
            snapshot
                .get(&source.key(tier, group), &mut |bytes| parts.push((offset, bytes.to_vec())))?;
        }
        if parts.is_empty() { Ok(None) } else { merge_group(self.target.slots, &parts).map(Some) }
    }
}

fn merge_group(slots: u16, parts: &[(u16, Vec<u8>)]) -> Result<Vec<u8>, ReadError> {
    let mut members: Vec<Vec<(u16, &[u8])>> = vec![Vec::new(); GROUP as usize];
    for (offset, bytes) in parts {
        for (place, chunk) in Group::open(bytes)?.members() {
            if let Some(member) = members.get_mut(usize::from(place)) {
                member.push((*offset, chunk));
            }
        }
    }
    let (mut builder, mut chunk) = (GroupBuilder::new(), Vec::new());
    for (place, member) in (0_u8..).zip(&members).filter(|(_, member)| !member.is_empty()) {
        chunk.clear();
        codec::merge(slots, member, &mut chunk)?;
        builder.push(place, &chunk);
    }
    let mut group = Vec::new();
    builder.finish(&mut group);
    Ok(group)
}

/// Each fact is a value of its own, so a checkpoint writes those that changed, and none is long.
fn put_facts(facts: &Facts, put: &mut dyn Put) {
    for (key, value) in facts.iter() {
        let mut whole = vec![FACTS];
        whole.extend_from_slice(key);
        match value {
            Some(value) => put.put(&whole, value),
            None => put.remove(&whole),
        }
    }
    put.put(FACTS_KEY, &facts.serial.to_le_bytes());
}

#[cfg(test)]
mod tests;
