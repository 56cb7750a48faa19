//! Which key has which cell, from the first one on: births and frees in the order in which they were.
//!
//! The cell of a key that was freed is used again, for another key or for the same one. What tells its
//! lives apart is the mark of a life: a number that is drawn at the birth, and is in the record and in
//! the cell. After the loss of power the two may come from different times; a cell with another mark
//! than its record was not written back, and begins at zero.
//!
//! Records, numbers little-endian: `1`, cell (4 bytes), key: a birth as the first version noted it,
//! whose mark is a checksum of the key; `2`, cell, mark (8 bytes), key: a birth; `3`, cell, mark: the
//! end of that life.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use super::births::Place;
use super::cells::{Cell, CellId};
use super::journal::{Found, OpenError};
use super::lengths::Extent;
use super::rotation::{Anew, Names, Rotation};

const NAMES: Names = Names { magic: *b"tallyKEY", name: "keys", first: Some("keys.log") };

const FIRST_BIRTH: u8 = 1;
const BIRTH: u8 = 2;
const FREE: u8 = 3;

/// What a record takes up beside its key, in bytes: ten of the journal's, thirteen of its own.
const RECORD_BYTES: u64 = 23;

/// What tells the lives of a cell apart; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Life(pub(super) u64);

impl Life {
    /// A new one.
    pub(super) fn new() -> Self {
        // The standard library's seeds are from the system's random numbers, and each is another.
        Self(RandomState::new().build_hasher().finish().max(1))
    }

    /// That of a cell in use.
    pub(super) fn of(cell: &Cell) -> Self {
        Self(cell.identity.load(Relaxed))
    }

    /// The mark of a life that the first version has noted: FNV-1a with 64 bits over the key, whose
    /// constants are those of its authors' page. It has to stay the same for as long as files do.
    fn of_first_version(key: &[u8]) -> Self {
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash.max(1))
    }
}

/// The log.
#[derive(Debug)]
pub(super) struct KeyLog {
    files: Rotation,
}

/// What a log tells: the lives that have not ended, in the order of their cells.
#[derive(Debug, Default)]
pub(super) struct Replay {
    events: Vec<Event>,
    keys: Vec<u8>,
    /// The log holds records of the first version.
    pub(super) is_old: bool,
}

/// What a record says.
#[derive(Clone, Copy, Debug)]
struct Event {
    id: CellId,
    life: Life,
    /// The key's place among all; `None` for an end.
    key: Option<Place>,
}

impl Replay {
    /// Every cell in use, with the mark of its life and the place of its key.
    pub(super) fn lives(&self) -> impl Iterator<Item = (CellId, Life, Place)> {
        self.events.iter().filter_map(|event| Some((event.id, event.life, event.key?)))
    }

    /// The key at a place.
    pub(super) fn key(&self, place: Place) -> &[u8] {
        place.of(&self.keys)
    }

    /// The bytes of all keys.
    pub(super) fn into_keys(self) -> Vec<u8> {
        self.keys
    }

    /// Whether the life of one cell in use was noted after that of another.
    pub(super) fn is_later(&self, one: CellId, other: CellId) -> bool {
        // Keys were put one behind the other as they came.
        let place = |id: CellId| {
            let at = self.events.binary_search_by_key(&id, |event| event.id).ok()?;
            self.events.get(at)?.key
        };
        place(one) > place(other)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    fn note(&mut self, payload: &[u8]) {
        let Some((&[kind, a, b, c, d], rest)) = payload.split_first_chunk() else { return };
        let id = CellId::of_number(u32::from_le_bytes([a, b, c, d]));
        if kind == FIRST_BIRTH {
            self.is_old = true;
            return self.birth(id, Life::of_first_version(rest), rest);
        }
        let Some((life, key)) = rest.split_first_chunk() else { return };
        let life = Life(u64::from_le_bytes(*life));
        match kind {
            BIRTH => self.birth(id, life, key),
            FREE => self.events.push(Event { id, life, key: None }),
            _ => {}
        }
    }

    fn birth(&mut self, id: CellId, life: Life, key: &[u8]) {
        let key = Place::push(&mut self.keys, key);
        if key.is_some() {
            self.events.push(Event { id, life, key });
        }
    }

    /// Leaves of each cell the birth that was noted last, unless it has ended.
    fn settle(&mut self) {
        // In the order of the cells, and of one cell in that of the log; most often it is so already.
        self.events.sort_by_key(|event| event.id);
        self.events.dedup_by(|next, last| {
            // The end of a life whose birth is lost in damage says nothing of another one.
            if next.id == last.id && (next.key.is_some() || next.life == last.life) {
                *last = *next;
            }
            next.id == last.id
        });
        self.events.retain(|event| event.key.is_some());
    }
}

impl KeyLog {
    /// Opens the log in `dir`.
    ///
    /// # Errors
    /// [`OpenError`], where a file of it cannot be used.
    pub(super) fn open(dir: &Path) -> Result<(Self, Replay, Found), OpenError> {
        let mut replay = Replay::default();
        let (files, found) = Rotation::open(dir, NAMES, |payload| replay.note(payload))?;
        replay.settle();
        Ok((Self { files }, replay, found))
    }

    /// Notes that a key was given a cell.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn birth(&self, id: CellId, life: Life, key: &[u8]) -> io::Result<()> {
        write_birth(id, life, key, |parts| self.files.append(parts))
    }

    /// Notes that a cell is free.
    ///
    /// # Errors
    /// What the system says; nothing was noted.
    pub(super) fn free(&self, id: CellId, life: Life) -> io::Result<()> {
        self.files.append(&[&[FREE], &id.number().to_le_bytes(), &life.0.to_le_bytes()])
    }

    /// Brings the log to the medium.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.files.sync()
    }

    /// How far the log goes.
    pub(super) fn extent(&self) -> Extent {
        self.files.extent()
    }

    /// Whether most of the log is past, when so many keys with so many bytes are live.
    pub(super) fn is_worth_rewriting(&self, keys: u64, key_bytes: u64) -> bool {
        self.files.is_worth_rewriting(keys * RECORD_BYTES + key_bytes)
    }

    /// Writes the log anew: `write_all` has to note the [`birth`](AllKeys::birth) of every life.
    ///
    /// # Errors
    /// What the system says; the old files stay until all of it is in the new one.
    pub(super) fn rewrite(
        &self,
        write_all: impl FnOnce(&AllKeys<'_, '_>) -> io::Result<()>,
    ) -> io::Result<()> {
        self.files.rewrite(|anew| write_all(&AllKeys(anew)))
    }
}

/// The log that is being written anew.
pub(super) struct AllKeys<'a, 'b>(&'a Anew<'b>);

impl AllKeys<'_, '_> {
    /// Notes that a key has a cell.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn birth(&self, id: CellId, life: Life, key: &[u8]) -> io::Result<()> {
        write_birth(id, life, key, |parts| self.0.append(parts))
    }
}

fn write_birth(
    id: CellId,
    life: Life,
    key: &[u8],
    append: impl FnOnce(&[&[u8]]) -> io::Result<()>,
) -> io::Result<()> {
    append(&[&[BIRTH], &id.number().to_le_bytes(), &life.0.to_le_bytes(), key])
}
