//! Taking over what an earlier process has left in a data directory, and bringing to the medium
//! what this one has counted.

use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::Ordering::Relaxed;

use super::births::Births;
use super::cells::{CellId, Cells, Face, Held, Kind, Shown};
use super::disk::{Disk, lock};
use super::idle::Vacant;
use super::items::Items;
use super::journal::OpenError;
use super::key_log::{Life, Replay};
use super::keys::SHARDS;
use super::lengths::{Both, Extent};
use super::marks::Marks;
use super::number::Decimal;
use super::observations::Log;
use super::{Class, Counters, Entry, Options};
use crate::disk::File;
use crate::limits;
use crate::series;
use crate::time::Timestamp;

/// What was found in a data directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Series that were taken over, our own included.
    pub series: usize,
    /// Items that were taken over.
    pub items: usize,
    /// Series whose cell was not written back before the power was lost: they begin at zero.
    pub reset: usize,
    /// Cells behind the last one that has a key: theirs is lost, or never reached the disk.
    pub nameless: usize,
    /// Series that `max_series` has no room for; they stay in the files.
    pub beyond_room: usize,
    /// Bytes of torn records at the ends of logs: changes that nobody was told of.
    pub torn_bytes: usize,
    /// Bytes of logs that are damaged.
    pub damaged_bytes: usize,
    /// Bytes that the log of keys has lost at its end, or all that it had.
    pub lost_key_bytes: u64,
    /// The same of the log of items.
    pub lost_item_bytes: u64,
}

impl Recovered {
    /// Holds the logs, which were so long when they were found, against what was noted of them.
    fn compare(&mut self, disk: &Disk, items: &Items, key_bytes: u64, item_bytes: u64) {
        let (noted, now) = (disk.noted(), Both { keys: disk.extent(), items: items.extent() });
        let found = |extent: Extent, bytes| Extent { bytes, ..extent };
        self.lost_key_bytes = noted.keys.missing(found(now.keys, key_bytes));
        self.lost_item_bytes = noted.items.missing(found(now.items, item_bytes));
        if noted.keys.missing(now.keys) + noted.items.missing(now.items) > 0 {
            // It is told once; so is what was cut off because of damage, as that.
            disk.note(now);
        }
    }
}

impl Counters {
    /// The table as `dir` holds it; the directory is made where there is none. What was acknowledged
    /// before the last process ended, however it ended, is there.
    ///
    /// # Errors
    /// [`OpenError`], where another process works on the directory, or a file in it cannot be used.
    pub fn open(
        options: Options,
        dir: &Path,
        now: Timestamp,
    ) -> Result<(Self, Recovered), OpenError> {
        Self::open_locked(options, dir, lock(dir)?, now)
    }

    /// The same, of a directory that was [locked](lock) already.
    ///
    /// # Errors
    /// [`OpenError`], where a file in it cannot be used.
    pub fn open_locked(
        options: Options,
        dir: &Path,
        lock: File,
        now: Timestamp,
    ) -> Result<(Self, Recovered), OpenError> {
        let mut recovered = Recovered::default();
        let (disk, replay, keys) = Disk::open(dir, lock)?;
        let (items, found) = Items::open(options.items_bytes, dir, now)?;
        recovered.damaged_bytes = keys.damaged_bytes + found.damaged_bytes;
        recovered.torn_bytes = keys.torn_bytes + found.torn_bytes;
        recovered.items = items.len();
        recovered.compare(&disk, &items, keys.file_bytes, found.file_bytes);
        let own = replay.lives().filter(|(_, _, place)| series::is_reserved(replay.key(*place)));
        let room = own.count().clamp(1, limits::OWN_SERIES);
        let cells = Cells::new(options.max_series.saturating_add(room), Some(dir));
        let mut unique = items.unique_max();
        let mut counters = Self::over(options, cells, items);
        counters.disk = Some(disk);
        let others = counters.name_cells(&replay);
        let mut births = Vec::with_capacity(replay.len());
        let has_items = recovered.items > 0;
        let mut vacant = Vec::new();
        let mut next = 0;
        for (id, life, place) in replay.lives() {
            let key = replay.key(place);
            // One segment after the other, also where one holds no cell in use any more.
            while next < id.number() && counters.cells.has_room(next) {
                counters.cells.prepare(next)?;
                vacant.push(CellId::of_number(next));
                next += 1;
            }
            next = id.number() + 1;
            let Some((id, is_kept)) = counters.cells.adopt(id.number(), life.0)? else {
                recovered.beyond_room += 1;
                continue;
            };
            if others.binary_search(&id).is_ok() {
                vacant.push(id);
                continue;
            }
            recovered.series += 1;
            let cell = counters.cells.get(id);
            unique = unique.max(cell.unique());
            counters.expiring.note(id, cell.expires());
            recovered.reset += usize::from(!is_kept);
            if has_items && counters.face(id).shown != Shown::Text {
                // Left over from a change that was under way when the process ended.
                counters.items.forget(key);
            }
            counters.impose(id, key, now);
            births.push((id, place));
        }
        // The lowest is given out first, so that those in use lie close together.
        vacant.reverse();
        counters.vacant = Vacant::of(vacant);
        counters.may_rewrite = recovered.beyond_room == 0;
        counters.births = Mutex::new(Births::inherited(births, replay.into_keys()));
        counters.unique.store(unique + 1, Relaxed);
        counters.observations = Log::open(dir, &counters)?;
        counters.cells.prepare(0)?;
        recovered.nameless = counters.cells.nameless();
        counters.overflow = counters.ensure_overflow();
        if counters.items.take_flush(now) {
            // It came due while nobody was there.
            counters.flush_now();
        }
        Ok((counters, recovered))
    }

    /// Makes a cell of an earlier process what the configuration says now. What was counted stays, and
    /// so does the value shown, as far as the new kind can show it.
    fn impose(&self, id: CellId, key: &[u8], now: Timestamp) {
        let cell = self.cells.get(id);
        let face = self.face(id);
        if self.metrics.is_empty() && face.held == Held::No {
            return;
        }
        let (class, metric) = self.metrics.classify(key);
        self.metrics.note(id, metric);
        if class == Class::of(face) || (class == Class::Free && face.held == Held::Use) {
            return;
        }
        let kind = match class {
            Class::Is(kind) => kind,
            // Without its entry a distribution goes on as the counter of its observations.
            _ if face.kind == Kind::Distribution => Kind::Counter,
            _ => face.kind,
        };
        let is_shown_elsewhere = class == Class::Item || kind == Kind::Counter;
        if is_shown_elsewhere && (class == Class::Item || face.shown == Shown::Float) {
            self.show_as_text(id, key, now);
        }
        let shown = self.face(id).shown;
        let shown = match shown {
            Shown::Text => shown,
            _ if kind == Kind::Distribution && face.kind != kind => Shown::Nothing,
            _ => shown,
        };
        if kind != face.kind {
            cell.decrements.store(0, Relaxed);
            if kind == Kind::Distribution {
                // It has observed nothing yet.
                cell.show(0);
            }
        }
        let word = cell.face.load(Relaxed);
        let (_, held) = class.held();
        let face = Face { kind, shown, held, ..Face::unpack(word) };
        cell.face.store(face.pack() | Marks::of_face(word).face_bits(), Relaxed);
    }

    /// Moves the value that a cell shows to the table of items. Where there is no room it stays.
    fn show_as_text(&self, id: CellId, key: &[u8], now: Timestamp) {
        let cell = self.cells.get(id);
        let face = self.face(id);
        let mut text = Decimal::default();
        if cell.is_live(now) && cell.write_shown(face, &mut text) {
            let (flags, expires) = (face.flags, cell.expires());
            self.store_text(Some(id), Entry { key, value: text.as_bytes(), flags, expires }, now);
        }
    }

    /// Takes the keys of an earlier process in. Gives the cells, in order, that have none for all that: of
    /// two with the same key it has the one that it was given later, since the record that freed the
    /// other is lost in damage.
    fn name_cells(&mut self, replay: &Replay) -> Vec<CellId> {
        let mut filling = self.keys.fill(replay.len());
        let mut without = Vec::new();
        for (id, _, place) in replay.lives() {
            if self.cells.has_room(id.number()) && !filling.push(replay.key(place), id) {
                without.push(id);
            }
        }
        without.extend(filling.finish(|one, other| replay.is_later(one, other)));
        without.sort_unstable();
        without
    }

    /// Brings what was counted to the medium, so that it survives the loss of power as well. It may
    /// take as long as the disk likes; nobody waits for it.
    ///
    /// # Errors
    /// What the system says; everything is tried all the same.
    pub fn sync(&self) -> io::Result<()> {
        let Some(disk) = &self.disk else { return Ok(()) };
        // As they are now: what comes in between need not be on the medium.
        let lengths = Both { keys: disk.extent(), items: self.items.extent() };
        // Keys before cells: a cell without its key would be nobody's.
        let keys = disk.sync().and_then(|()| self.rewrite_keys(disk));
        let cells = self.cells.handles().into_iter().try_for_each(|file| file?.sync());
        let items = self.items.sync();
        if keys.is_ok() && items.is_ok() {
            disk.note(lengths);
        }
        let observations = match self.observations.refusal() {
            Some(reason) => Err(io::Error::other(reason)),
            None => self.observations.handles().into_iter().try_for_each(|file| file?.sync()),
        };
        keys.and(cells).and(items).and(observations)
    }

    /// Brings keys to the medium, so that what rests on them may follow.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync_keys(&self) -> io::Result<()> {
        self.disk.as_ref().map_or(Ok(()), Disk::sync_log)
    }

    /// Writes the log of keys anew when most of it is past.
    fn rewrite_keys(&self, disk: &Disk) -> io::Result<()> {
        if !self.may_rewrite || !disk.is_worth_rewriting() {
            return Ok(());
        }
        disk.rewrite(|all| {
            (0..SHARDS).try_for_each(|shard| {
                // The guard is held meanwhile, so that nothing is told of these keys in between.
                let shard = self.keys.read(shard);
                shard
                    .iter()
                    .try_for_each(|(key, id)| all.birth(id, Life::of(self.cells.get(id)), key))
            })
        })
    }

    /// Keys that are not on the disk yet, since it is full; they would be lost with the process.
    #[must_use]
    pub fn unsaved_keys(&self) -> u64 {
        self.disk.as_ref().map_or(0, Disk::waiting)
    }
}
