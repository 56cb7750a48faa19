//! Windows of the past that are put into chunks, or changed there: what is imported.
//!
//! Where an extent holds the time already, its groups are written anew with the windows in their place.
//! Elsewhere the longest extent that fits between its neighbours is made. Everything goes into one commit,
//! so that a kill leaves all of a batch or nothing.

use std::collections::BTreeMap;

use super::codec::{self, EncodeError};
use super::extent::{Extent, group_key};
use super::group::{Group, GroupBuilder};
use super::keep::{Job, Keeper, long};
use super::seam::{Changes, Snapshot, StoreError};
use super::{ReadError, seal};
use crate::config::Tier;
use crate::rollup::row::{GROUP, span};
use crate::rollup::{Record, SeriesId};
use crate::time::{Span, Timestamp};

/// Pieces of housekeeping that are done before windows are changed; with more the batch waits.
const PIECES: usize = 64;

/// One window of one series.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Which tier, counted from the finest.
    pub tier: usize,
    /// Which series.
    pub series: SeriesId,
    /// When it begins.
    pub start: Timestamp,
    /// What happened in it; `None` for nothing.
    pub record: Option<Record>,
}

/// Why windows were not changed. Nothing was, then.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// The engine says so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What lies there cannot be read.
    #[error("what is there cannot be read: {0}")]
    Read(#[from] ReadError),
    /// The histograms of a stretch take more than a chunk may hold.
    #[error("the histograms of one stretch are too long together; import fewer of them")]
    TooLong,
    /// Old history is being removed.
    #[error("old history is being removed, {0} stretches of it; try again in a minute")]
    Busy(usize),
}

/// The windows of a group in an extent that change: place, slot, and what is there then.
type Changed = Vec<(u8, u16, Option<Record>)>;

impl Keeper {
    /// Has nothing under way that would write windows of the past, or remove some.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn make_way(&mut self) -> Result<(), EditError> {
        self.stop_merging();
        for _ in 0..PIECES {
            if !self.remove()? {
                return Ok(());
            }
        }
        Err(EditError::Busy(self.dead()))
    }

    /// Puts windows in place, with keys and births of series and what is imported of them. Each of them
    /// ends by the job's `sealed`: no row of before that is in memory, or will be.
    ///
    /// # Errors
    /// [`EditError`].
    pub fn edit(
        &mut self,
        edits: Vec<Edit>,
        job: &Job,
        imported: &[(u32, Vec<u8>)],
    ) -> Result<(), EditError> {
        let mut extents = self.extents.clone();
        let mut groups: BTreeMap<(usize, Extent, u32), Changed> = BTreeMap::new();
        for Edit { tier: at, series, start, record } in edits {
            let (Some(tier), Some(list)) = (self.tiers.get(at), extents.get_mut(at)) else {
                continue;
            };
            let is_short = matches!(record, Some(Record::Distribution(..)));
            let room = Room {
                span: span(&self.tiers, at),
                until: job.sealed.get(at).copied().unwrap_or(Timestamp::EPOCH),
                is_short,
                is_needed: record.is_some(),
            };
            let Some(extent) = holding(list, tier, start, &room) else { continue };
            let slot = start.since(extent.start).as_millis() / tier.window.as_millis().max(1);
            let place = u8::try_from(series.0 % GROUP).unwrap_or(u8::MAX);
            let changed = groups.entry((at, extent, series.0 / GROUP)).or_default();
            changed.push((place, u16::try_from(slot).unwrap_or(u16::MAX), record));
        }
        let snapshot = self.snapshot()?;
        let mut changes = Changes::default();
        for ((at, extent, group), changed) in groups {
            let Some(tier) = self.tiers.get(at) else { continue };
            let key = extent.key(tier, group);
            match rewrite(&*snapshot, &key, extent.slots, changed)? {
                Some(bytes) => changes.puts.push((key, bytes)),
                None => changes.removals.push(key),
            }
        }
        let put = |(group, bytes): &(u32, Vec<u8>)| (group_key(b'i', *group), bytes.clone());
        changes.puts.extend(imported.iter().map(put));
        self.commit_edit(extents, job, changes)?;
        Ok(())
    }
}

/// What an extent may be that is made.
struct Room {
    /// The shortest that a tier has.
    span: Span,
    /// From here on live windows make their own.
    until: Timestamp,
    /// It is not to be longer than the shortest: histograms may be long.
    is_short: bool,
    /// There is something to put into it.
    is_needed: bool,
}

/// The extent that holds a window; it is made where there is none and one is needed.
fn holding(list: &mut Vec<Extent>, tier: &Tier, start: Timestamp, room: &Room) -> Option<Extent> {
    let next = list.partition_point(|extent| extent.window(tier).end <= start);
    let found = list.get(next).copied();
    if let Some(extent) = found.filter(|extent| extent.start <= start) {
        return Some(extent);
    }
    if !room.is_needed {
        return None;
    }
    let slots = room.span.as_millis() / tier.window.as_millis().max(1);
    let mut extent = Extent {
        start: start.align_down(room.span),
        slots: u16::try_from(slots).unwrap_or(u16::MAX),
    };
    let before = next.checked_sub(1).and_then(|at| list.get(at)).map(|e| e.window(tier).end);
    let is_free = |extent: &Extent| {
        before.is_none_or(|end| end <= extent.start)
            && extent.window(tier).end
                <= found.map_or(room.until, |next| next.start.min(room.until))
    };
    while let Some(longer) = long(&extent, tier).filter(is_free).filter(|_| !room.is_short) {
        extent = longer;
    }
    list.insert(next, extent);
    Some(extent)
}

/// A group with some of its windows changed; `None` where none is left.
fn rewrite(
    snapshot: &dyn Snapshot,
    key: &[u8],
    slots: u16,
    mut changed: Changed,
) -> Result<Option<Vec<u8>>, EditError> {
    let mut old = None;
    snapshot.get(key, &mut |bytes| old = Some(bytes.to_vec()))?;
    let mut chunks: BTreeMap<u8, &[u8]> = BTreeMap::new();
    if let Some(bytes) = &old {
        chunks.extend(Group::open(bytes).map_err(ReadError::from)?.members());
    }
    changed.sort_by_key(|(place, slot, _)| (*place, *slot));
    let mut changed = changed.into_iter().peekable();
    let (mut builder, mut chunk, mut is_empty) = (GroupBuilder::new(), Vec::new(), true);
    for place in 0..u8::try_from(GROUP).unwrap_or(u8::MAX) {
        let old = chunks.get(&place).copied();
        let mut edits = Vec::new();
        while let Some((_, slot, record)) = changed.next_if(|(its, _, _)| *its == place) {
            edits.push((slot, record));
        }
        let new = if edits.is_empty() {
            old
        } else {
            let windows = applied(old, slots, edits)?;
            chunk.clear();
            encode(slots, &windows, &mut chunk)?;
            (!windows.is_empty()).then_some(chunk.as_slice())
        };
        if let Some(new) = new {
            builder.push(place, new);
            is_empty = false;
        }
    }
    let mut group = Vec::new();
    builder.finish(&mut group);
    Ok((!is_empty).then_some(group))
}

/// The windows of a chunk with some of them changed. A later change of the same window holds.
fn applied(
    chunk: Option<&[u8]>,
    slots: u16,
    edits: Vec<(u16, Option<Record>)>,
) -> Result<Vec<(u16, Record)>, ReadError> {
    let mut windows = Vec::new();
    if let Some(chunk) = chunk {
        seal::read(chunk, 0..slots, |slot, record| windows.push((slot, Some(record.clone()))))?;
    }
    if windows.is_empty() {
        windows = edits;
    } else {
        windows.extend(edits);
    }
    // Of one window the change stands behind what was there.
    windows.sort_by_key(|(slot, _)| *slot);
    windows.reverse();
    windows.dedup_by_key(|(slot, _)| *slot);
    windows.reverse();
    Ok(windows.into_iter().filter_map(|(slot, record)| Some((slot, record?))).collect())
}

fn encode(slots: u16, windows: &[(u16, Record)], chunk: &mut Vec<u8>) -> Result<(), EditError> {
    seal::encode_whole(slots, windows, chunk).map_err(|error| match error {
        EncodeError::Strings => EditError::TooLong,
        EncodeError::Garbled(garbled) => EditError::Read(garbled.into()),
        // They are in order and inside, as they were sorted and cut here.
        EncodeError::Slots | EncodeError::Order => EditError::Read(codec::Garbled.into()),
    })
}
