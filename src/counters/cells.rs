//! The cells: one cache line of atomics per series, in segments that never move.
//!
//! A cell's address stays the same for the life of the process, so a reader needs no lock to follow
//! an id. A segment has a fixed size, is allocated whole before the first id in it is handed out, and
//! is never moved. It lies in a shared mapping of a file, so what was written survives the end of
//! the process without a system call; or, without a directory, in memory. This module knows nothing
//! of keys; who may write which word is said at the word.
//!
//! Layout of `cells-NNNN.map`: a page whose first 16 bytes are magic and version, then the cells, 64
//! bytes each, in the machine's byte order (the magic tells which).

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::Ordering;

use super::journal::{OpenError, check_header, header, open_file};
use super::sync::{AtomicU32, AtomicU64};
use crate::disk::File;
use crate::limits;
use mapping::Mapping;

/// Which cell; dense from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(u32);

impl CellId {
    /// No cell: that of a series whose key is idle.
    pub const NONE: Self = Self(u32::MAX);

    /// The number that files know it by.
    #[must_use]
    pub(super) const fn number(self) -> u32 {
        self.0
    }

    /// And back.
    pub(super) const fn of_number(number: u32) -> Self {
        Self(number)
    }

    /// Position in a dense table beside the cells.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// What has been counted under one key.
///
/// `incr` writes `total` and `count` under the read guard of the key's shard, from many threads at
/// once; every other word is written under the write guard, so there only one thread is at work.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct Cell {
    /// Sum of all increments ever, wrapping at 2^64.
    pub total: AtomicU64,
    /// Number of increments ever.
    pub count: AtomicU64,
    /// What is shown, less `total`, wrapping: so that an increment moves both by one addition.
    pub offset: AtomicU64,
    /// Of a counter the sum of all that `decr` took from the value shown; of a gauge that shows a
    /// [`Shown::Float`] the bits of the value, so that no change of form passes through a third value;
    /// of a distribution the bits of the sum of all observations.
    pub decrements: AtomicU64,
    /// Kind, form and flags, packed: see [`Face`]; between them the marks of [`super::marks`].
    pub face: AtomicU64,
    /// When the value shown expires, in milliseconds since the epoch; 0 for never. In the high bits
    /// when the key was last touched: see `super::idle`.
    pub expires: AtomicU64,
    /// The unique number that `gets` answers, less `count`, wrapping: so that an increment changes
    /// the unique number without writing here.
    pub unique_offset: AtomicU64,
    /// The mark of the key's present life, never zero once the cell is in use: what tells, after the
    /// power was lost, a cell that was not written back from one that was. See `super::key_log`.
    pub identity: AtomicU64,
}

/// What a drain finds in a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// The rarely written part.
    pub(super) face: Face,
    /// Number of increments ever.
    pub(super) count: u64,
    /// Sum of all increments ever; of `count` of them at least.
    pub(super) total: u64,
}

/// The rarely written part of a cell, packed into one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Face {
    /// What kind of series it is.
    pub kind: Kind,
    /// Where the value shown is to be found.
    pub shown: Shown,
    /// Least number of characters shown; memcached pads a number that has shrunk with blanks.
    pub width: u8,
    /// The client's own 32 bits.
    pub flags: u32,
    /// Whether the configuration says what the key is.
    pub held: Held,
}

/// Whether the configuration says what a key is. It is looked up when the key gets its cell, and at
/// each start, and read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// Its use does.
    No,
    /// It stays of its kind.
    Kind,
    /// It is an item, and was a series before; the cell is kept for what was counted.
    Item,
    /// Its first use said that it is a distribution, and nothing else says what it is.
    Use,
}

/// What kind of series a key has become through its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever set to a number.
    Gauge,
    /// Incremented at least once.
    Counter,
    /// Made by the configuration, or by its first use: each value that it is set to is an observation.
    Distribution,
}

/// Where the value that a client sees is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// There is none: deleted, or not set yet.
    Nothing,
    /// `total + offset`, in decimal.
    Integer,
    /// `decrements` is an IEEE 754 double that prints as the text that was set.
    Float,
    /// In the table of items, byte for byte.
    Text,
}

impl Face {
    /// The face of a counter in its plain form: what the hot path hopes to find.
    #[must_use]
    pub const fn is_plain_counter(word: u64) -> bool {
        word & 0xffff == (Kind::Counter as u64) | ((Shown::Integer as u64) << 8)
    }

    /// Into one word: flags, two bits for `held`, six for marks, width, shown, kind from high to low.
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.flags as u64) << 32
            | (self.held as u64) << 30
            | (self.width as u64) << 16
            | (self.shown as u64) << 8
            | self.kind as u64
    }

    /// And back.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each part is masked by its type")]
    pub const fn unpack(word: u64) -> Self {
        Self {
            kind: match word as u8 {
                1 => Kind::Counter,
                2 => Kind::Distribution,
                _ => Kind::Gauge,
            },
            shown: match (word >> 8) as u8 {
                1 => Shown::Integer,
                2 => Shown::Float,
                3 => Shown::Text,
                _ => Shown::Nothing,
            },
            width: (word >> 16) as u8,
            flags: (word >> 32) as u32,
            held: match (word >> 30) & 3 {
                1 => Held::Kind,
                2 => Held::Item,
                3 => Held::Use,
                _ => Held::No,
            },
        }
    }
}

/// Cells in one segment: 4 MiB; few where a model checker watches each of them.
const SEGMENT: usize = if cfg!(tallyd_loom) { 1 << 1 } else { 1 << 16 };
const SEGMENT_SHIFT: u32 = SEGMENT.trailing_zeros();

/// Where the cells begin in their file: behind a page, so that the mapping is aligned.
const DATA_OFFSET: u64 = 4096;
/// The least that the kernel takes for dirty at once.
const PAGE_BYTES: usize = 4096;
const SEGMENT_BYTES: usize = SEGMENT * size_of::<Cell>();
/// Words of dirty bits in one segment.
const DIRTY_WORDS: usize = SEGMENT.div_ceil(64);
/// The version of the layout.
const VERSION: u32 = 1;
const MAGIC: [u8; 8] = if cfg!(target_endian = "little") { *b"tallyCEL" } else { *b"tallyCEB" };

#[derive(Debug)]
struct Segment {
    words: Words,
    /// One bit per cell that was written since the last drain.
    dirty: Box<[AtomicU64]>,
}

/// What a file of cells holds, seen as single words: for other logs that outlive the process in the
/// same way.
#[derive(Debug)]
pub(super) struct Words {
    cells: Mapping,
    file: Option<File>,
}

/// One of [`Words`].
pub(super) type Word = AtomicU64;

impl Words {
    /// How many there are.
    pub(super) const LEN: usize = SEGMENT * 8;

    /// Zeroed, and gone with the process.
    pub(super) fn in_memory() -> Result<Self, OpenError> {
        let cells = Mapping::anonymous().map_err(OpenError::io(Path::new("memory")))?;
        Ok(Self { cells, file: None })
    }

    /// Those of a file, which is made where there is none: behind a page that begins with `magic`.
    pub(super) fn in_file(path: &Path, magic: [u8; 8], version: u32) -> Result<Self, OpenError> {
        let file = open_file(path)?;
        let (mut first, whole) = ([0; 12], header(magic, version));
        let bytes = file.bytes().map_err(OpenError::io(path))?.min(first.len() as u64);
        let first = first.get_mut(..usize::try_from(bytes).unwrap_or(0)).unwrap_or_default();
        file.read_at(first, 0).map_err(OpenError::io(path))?;
        // New, or its maker was stopped while it wrote the header, or the power went before that
        // was on the medium: what was counted in it then has no mark that fits. One of an older version may
        // hold from now on what only this one knows.
        if is_unfinished(first, &whole) || check_header(path, magic, version, first)? < version {
            file.write_at(&whole, 0).map_err(OpenError::io(path))?;
        }
        // Every block is there before the first write through the mapping: a write into a hole of a
        // full disk would end the process.
        let whole = DATA_OFFSET + SEGMENT_BYTES as u64;
        file.allocate(whole).map_err(OpenError::io(path))?;
        let cells = Mapping::of_file(file.system()).map_err(OpenError::io(path))?;
        Ok(Self { cells, file: Some(file) })
    }

    /// One of them.
    #[inline]
    pub(super) fn get(&self, at: usize) -> &Word {
        self.cells.word(at)
    }

    /// A handle to sync through; `None` in memory.
    pub(super) fn handle(&self) -> Option<std::io::Result<File>> {
        let file = self.file.as_ref()?;
        if file.owes() {
            self.write_again();
            file.was_touched();
        }
        Some(file.try_clone())
    }

    /// Writes to every page what is there: those that the kernel could not bring to the medium count as clean.
    fn write_again(&self) {
        for at in (0..Self::LEN).step_by(PAGE_BYTES / size_of::<Word>()) {
            // What is added must not be known, or nothing would be written.
            self.get(at).fetch_or(std::hint::black_box(0), Ordering::Relaxed);
        }
    }
}

/// Whether these are the first bytes of a file that nothing was kept in: the beginning of its header, or
/// room that was never written to.
fn is_unfinished(first: &[u8], header: &[u8]) -> bool {
    first.len() < header.len() && header.starts_with(first) || first.iter().all(|byte| *byte == 0)
}

/// All cells, and which of them were touched.
#[derive(Debug)]
pub struct Cells {
    segments: Box<[OnceLock<Segment>]>,
    next: AtomicU32,
    max: AtomicU32,
    dir: Option<PathBuf>,
}

impl Cells {
    /// Room for `max` cells; memory is taken a segment at a time, in files of `dir` where there is
    /// one. What such files hold already comes back by [`adopt`].
    ///
    /// [`adopt`]: Self::adopt
    #[must_use]
    pub fn new(max: usize, dir: Option<&Path>) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let segments = (max as usize).saturating_add(limits::OWN_SERIES).div_ceil(SEGMENT);
        Self {
            segments: (0..segments).map(|_| OnceLock::new()).collect(),
            next: AtomicU32::new(0),
            max: AtomicU32::new(max),
            dir: dir.map(Path::to_owned),
        }
    }

    /// Makes room for one cell more; at most [`limits::OWN_SERIES`] times.
    pub(super) fn widen(&self) {
        self.max.fetch_add(1, Ordering::AcqRel);
    }

    /// Takes the room back that nobody has used.
    pub(super) fn narrow(&self) {
        self.max.fetch_sub(1, Ordering::AcqRel);
    }

    /// A fresh cell, all zero; `None` when there is no room left, in the table or on the disk.
    pub fn allocate(&self) -> Option<CellId> {
        loop {
            let next = self.next.load(Ordering::Acquire);
            if next >= self.max() || self.prepare(next).is_err() {
                return None;
            }
            let taken =
                self.next.compare_exchange(next, next + 1, Ordering::AcqRel, Ordering::Acquire);
            if taken.is_ok() {
                return Some(CellId(next));
            }
        }
    }

    /// Takes a cell back into use that an earlier process handed out for a key with this checksum.
    /// Whether what it holds is what was counted under that key; it is zeroed where it is not.
    ///
    /// # Errors
    /// [`OpenError`], where its file cannot be used, or it does not fit into the table.
    pub fn adopt(&self, id: u32, identity: u64) -> Result<Option<(CellId, bool)>, OpenError> {
        if id >= self.max() {
            return Ok(None);
        }
        self.prepare(id)?;
        self.next.fetch_max(id + 1, Ordering::AcqRel);
        let cell = self.get(CellId(id));
        let is_kept = cell.identity.load(Ordering::Relaxed) == identity;
        if !is_kept {
            cell.renew(identity);
        }
        Ok(Some((CellId(id), is_kept)))
    }

    /// Whether the table goes so far.
    pub(super) fn has_room(&self, id: u32) -> bool {
        id < self.max()
    }

    fn max(&self) -> u32 {
        self.max.load(Ordering::Acquire)
    }

    /// Puts the segment in place that holds an id.
    pub(super) fn prepare(&self, id: u32) -> Result<(), OpenError> {
        let at = id as usize >> SEGMENT_SHIFT;
        let Some(slot) = self.segments.get(at) else { return Ok(()) };
        if slot.get().is_none() {
            // Two threads may come here at once; the one that is late drops its mapping again.
            let segment = match &self.dir {
                Some(dir) => Segment::in_file(&dir.join(format!("cells-{at:04}.map")))?,
                None => Segment::in_memory()?,
            };
            let _ = slot.set(segment);
        }
        Ok(())
    }

    /// Cells behind those in use that an earlier process had in use, up to the first that it had not.
    pub(super) fn nameless(&self) -> usize {
        let behind = self.next.load(Ordering::Acquire)..self.max();
        let is_used = |id: &u32| {
            let segment = self.segment(CellId(*id));
            segment.is_some_and(|_| self.get(CellId(*id)).identity.load(Ordering::Relaxed) != 0)
        };
        behind.take_while(is_used).count()
    }

    /// Handles of the files that the cells lie in, to sync through.
    pub(super) fn handles(&self) -> Vec<std::io::Result<File>> {
        let files = self.segments.iter().map_while(OnceLock::get);
        files.filter_map(|segment| segment.words.handle()).collect()
    }

    /// Cells handed out so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next.load(Ordering::Acquire) as usize
    }

    /// All that were handed out, those that are vacant again included.
    pub(super) fn iter(&self) -> impl Iterator<Item = (CellId, &Cell)> {
        let ids = (0..self.next.load(Ordering::Acquire)).map(CellId);
        ids.filter_map(|id| {
            let segment = self.segment(id)?;
            Some((id, segment.words.cells.get(id.index() % SEGMENT)))
        })
    }

    /// The cell that was handed out as the `at`-th, for tests.
    #[cfg(test)]
    pub(super) fn nth(at: usize) -> CellId {
        CellId(u32::try_from(at).expect("a test has few"))
    }

    /// Whether none was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The id with that number, where it was handed out.
    pub(super) fn known(&self, number: u32) -> Option<CellId> {
        ((number as usize) < self.len()).then_some(CellId(number))
    }

    /// The cell of an id that was handed out.
    #[inline]
    #[must_use]
    pub fn get(&self, id: CellId) -> &Cell {
        let segment = self.segment(id).expect("an id is handed out after its segment is in place");
        segment.words.cells.get(id.index() % SEGMENT)
    }

    /// Loads a word of a cell and the bits of its neighbours: both lines are near then.
    #[inline]
    pub(super) fn touch(&self, id: CellId) -> u64 {
        let Some(segment) = self.segment(id) else { return 0 };
        let bits = segment.dirty.get(id.index() % SEGMENT / 64);
        let face = segment.words.cells.get(id.index() % SEGMENT).face.load(Ordering::Relaxed);
        face ^ bits.map_or(0, |bits| bits.load(Ordering::Relaxed))
    }

    /// Adds to a counter, and gives what it shows then. The count follows the total, the look at the
    /// dirty bit follows both.
    ///
    /// The order is the point: the writer adds, then looks at the bit; the drain clears the bit,
    /// then reads. All four are sequentially consistent, so at least one of the two sees the other,
    /// and no increment stays unseen until the next one. The bit is looked at first, because it is
    /// nearly always set already and a shared cache line costs less than one that is written.
    #[inline]
    pub(super) fn add(&self, id: CellId, cell: &Cell, delta: u64) -> u64 {
        let total = cell.total.fetch_add(delta, Ordering::SeqCst).wrapping_add(delta);
        cell.count.fetch_add(1, Ordering::SeqCst);
        let (word, bit) = self.dirty(id);
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
        total.wrapping_add(cell.offset.load(Ordering::Relaxed))
    }

    /// Notes that a cell was written, in whatever order; for everything but [`add`](Self::add). Call
    /// it after the writes.
    ///
    /// It does not look first: plain stores are not ordered before a look. But whichever of this and
    /// the drain's clearing comes first, the drain that finds the bit sees what was written before.
    pub(super) fn mark(&self, id: CellId) {
        let (word, bit) = self.dirty(id);
        word.fetch_or(bit, Ordering::Release);
    }

    /// Whether a cell was written since the last drain.
    #[must_use]
    pub fn is_marked(&self, id: CellId) -> bool {
        let (word, bit) = self.dirty(id);
        word.load(Ordering::Relaxed) & bit != 0
    }

    /// Hands every cell that was marked since the last call to `each`, in order of id.
    #[expect(clippy::cast_possible_truncation, reason = "ids are 32 bits wide")]
    pub fn drain(&self, mut each: impl FnMut(CellId)) {
        for (at, segment) in self.segments.iter().map_while(OnceLock::get).enumerate() {
            for (word_at, word) in segment.dirty.iter().enumerate() {
                if word.load(Ordering::Relaxed) == 0 {
                    continue;
                }
                let mut bits = word.swap(0, Ordering::SeqCst);
                while bits != 0 {
                    let bit = bits.trailing_zeros() as usize;
                    bits &= bits - 1;
                    each(CellId((at * SEGMENT + word_at * 64 + bit) as u32));
                }
            }
        }
    }

    /// The word with the dirty bit of a cell, and the bit.
    #[inline]
    fn dirty(&self, id: CellId) -> (&AtomicU64, u64) {
        let word = self.segment(id).and_then(|s| s.dirty.get(id.index() % SEGMENT / 64));
        let word = word.expect("an id is handed out after its segment is in place");
        (word, 1 << (id.index() % SEGMENT % 64))
    }

    #[inline]
    fn segment(&self, id: CellId) -> Option<&Segment> {
        self.segments.get(id.index() >> SEGMENT_SHIFT)?.get()
    }
}

impl Segment {
    fn in_memory() -> Result<Self, OpenError> {
        Ok(Self { words: Words::in_memory()?, dirty: clean() })
    }

    fn in_file(path: &Path) -> Result<Self, OpenError> {
        Ok(Self { words: Words::in_file(path, MAGIC, VERSION)?, dirty: clean() })
    }
}

fn clean() -> Box<[AtomicU64]> {
    (0..DIRTY_WORDS).map(|_| AtomicU64::new(0)).collect()
}

impl Cell {
    /// Reads what was counted, as a drain does it.
    ///
    /// The count first: an increment that falls between the two reads is then in the total of this
    /// window and in the count of the next, and neither is lost.
    pub(super) fn read(&self) -> Reading {
        let face = self.face.load(Ordering::SeqCst);
        let count = self.count.load(Ordering::SeqCst);
        let total = self.total.load(Ordering::SeqCst);
        Reading { face: Face::unpack(face), count, total }
    }

    /// Zero but for the checksum of its key.
    pub(super) fn renew(&self, identity: u64) {
        self.zero();
        self.identity.store(identity, Ordering::Relaxed);
    }

    fn zero(&self) {
        let Self { total, count, offset, decrements, face, expires, unique_offset, identity } =
            self;
        for word in [total, count, offset, decrements, face, expires, unique_offset, identity] {
            word.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(not(tallyd_loom))]
#[expect(unsafe_code, reason = "the one place where memory is taken from a mapping")]
mod mapping {
    use std::fs::File;
    use std::io;
    use std::ptr::NonNull;

    use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};

    use super::{AtomicU64, Cell, DATA_OFFSET, SEGMENT, SEGMENT_BYTES};

    /// [`SEGMENT`] cells in mapped memory.
    #[derive(Debug)]
    pub(super) struct Mapping {
        start: NonNull<Cell>,
    }

    // SAFETY: a mapping owns its memory until it is dropped, and hands out nothing but shared
    // references to atomics, so it may be used from any thread and moved to any.
    unsafe impl Send for Mapping {}
    // SAFETY: as above.
    unsafe impl Sync for Mapping {}

    impl Mapping {
        /// Zeroed memory that belongs to this process.
        pub(super) fn anonymous() -> io::Result<Self> {
            let (read_write, private) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
            // SAFETY: without a wish for an address, a new mapping overlaps nothing.
            let start =
                unsafe { mmap_anonymous(std::ptr::null_mut(), SEGMENT_BYTES, read_write, private) };
            Self::checked(start?)
        }

        /// The cells of a file that is at least as long as they are.
        pub(super) fn of_file(file: &File) -> io::Result<Self> {
            let (read_write, shared) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED);
            // SAFETY: without a wish for an address, a new mapping overlaps nothing. The file stays
            // as long as it is: the lock of the directory keeps other tallyds away, and this one
            // never shortens it.
            let start = unsafe {
                mmap(std::ptr::null_mut(), SEGMENT_BYTES, read_write, shared, file, DATA_OFFSET)
            };
            Self::checked(start?)
        }

        fn checked(start: *mut core::ffi::c_void) -> io::Result<Self> {
            let start = NonNull::new(start.cast::<Cell>()).ok_or(io::ErrorKind::OutOfMemory)?;
            assert!(start.is_aligned(), "a mapping begins at a page");
            Ok(Self { start })
        }

        /// A cell by its place.
        #[inline]
        pub(super) fn get(&self, at: usize) -> &Cell {
            assert!(at < SEGMENT, "a remainder is in range");
            // SAFETY: `at` is in range, so the cell lies inside the mapping, which lives as long as
            // `self`. It is aligned, since the mapping is and a cell is one cache line long. It
            // consists of atomics alone, for which every pattern of bits is a value, and which may
            // be written by anybody at any time.
            unsafe { self.start.add(at).as_ref() }
        }

        /// A word by its place.
        #[inline]
        pub(super) fn word(&self, at: usize) -> &AtomicU64 {
            assert!(at < SEGMENT_BYTES / size_of::<AtomicU64>(), "the caller counts from zero");
            // SAFETY: as above: a cell is eight such words and nothing else.
            unsafe { self.start.cast::<AtomicU64>().add(at).as_ref() }
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: the memory was mapped with this length and nothing refers to it any more. An
            // error would mean that it was not, and would leave it mapped, which is harmless.
            let _ = unsafe { munmap(self.start.as_ptr().cast(), SEGMENT_BYTES) };
        }
    }
}

/// The same in plain memory, for the model checker.
#[cfg(tallyd_loom)]
mod mapping {
    use std::fs::File;
    use std::io;

    use super::{AtomicU64, Cell, SEGMENT};

    #[derive(Debug)]
    pub(super) struct Mapping(Box<[Cell]>);

    impl Mapping {
        #[expect(clippy::unnecessary_wraps, reason = "as the other one")]
        pub(super) fn anonymous() -> io::Result<Self> {
            Ok(Self((0..SEGMENT).map(|_| Cell::default()).collect()))
        }

        pub(super) fn of_file(_: &File) -> io::Result<Self> {
            Err(io::ErrorKind::Unsupported.into())
        }

        pub(super) fn get(&self, at: usize) -> &Cell {
            self.0.get(at).expect("a remainder is in range")
        }

        pub(super) fn word(&self, at: usize) -> &AtomicU64 {
            let cell = self.get(at / 8);
            match at % 8 {
                0 => &cell.total,
                1 => &cell.count,
                2 => &cell.offset,
                3 => &cell.decrements,
                4 => &cell.face,
                5 => &cell.expires,
                6 => &cell.unique_offset,
                _ => &cell.identity,
            }
        }
    }
}

const _: () = assert!(cfg!(tallyd_loom) || size_of::<Cell>() == 64, "a cell is one cache line");

#[cfg(all(test, tallyd_loom))]
mod model;

#[cfg(all(test, not(tallyd_loom)))]
mod tests {
    use super::*;
    use crate::disk::lying::{Dice, Fate, LyingDisk};

    #[test]
    fn a_face_survives_packing() {
        for kind in [Kind::Gauge, Kind::Counter, Kind::Distribution] {
            for shown in [Shown::Nothing, Shown::Integer, Shown::Float, Shown::Text] {
                for held in [Held::No, Held::Kind, Held::Item, Held::Use] {
                    let face = Face { kind, shown, width: 20, flags: u32::MAX, held };
                    assert_eq!(Face::unpack(face.pack()), face);
                    let plain = kind == Kind::Counter && shown == Shown::Integer;
                    assert_eq!(Face::is_plain_counter(face.pack()), plain);
                }
            }
        }
        assert_eq!(Face::unpack(0).shown, Shown::Nothing, "a fresh cell shows nothing");
    }

    #[test]
    fn drains_each_marked_cell_once() {
        let cells = Cells::new(SEGMENT + 10, None);
        let ids: Vec<_> = std::iter::from_fn(|| cells.allocate()).collect();
        assert_eq!(ids.len(), SEGMENT + 10);
        let marked = [0, 63, 64, SEGMENT - 1, SEGMENT, SEGMENT + 9].map(|at| ids[at]);
        for id in marked {
            cells.mark(id);
            cells.mark(id);
        }
        let mut seen = Vec::new();
        cells.drain(|id| seen.push(id));
        assert_eq!(seen, marked);
        cells.drain(|id| panic!("{id:?} was drained twice"));
    }

    #[test]
    fn what_was_written_to_a_file_is_there_again() {
        let dir = tempfile::tempdir().unwrap();
        {
            let cells = Cells::new(100, Some(dir.path()));
            let id = cells.allocate().unwrap();
            cells.get(id).identity.store(7, Ordering::Relaxed);
            cells.get(id).total.store(42, Ordering::Relaxed);
        }
        let cells = Cells::new(100, Some(dir.path()));
        let (id, is_kept) = cells.adopt(0, 7).unwrap().unwrap();
        assert!(is_kept);
        assert_eq!(cells.get(id).total.load(Ordering::Relaxed), 42);
        assert_ne!(cells.allocate(), Some(id));
        let (id, is_kept) = cells.adopt(0, 8).unwrap().unwrap();
        assert!(!is_kept, "another key's");
        assert_eq!(cells.get(id).total.load(Ordering::Relaxed), 0);
        assert_eq!(cells.adopt(100, 1).unwrap(), None, "past the table");
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cells-0000.map");
        open_file(&path).unwrap().write_at(b"something else entirely", 0).unwrap();
        let cells = Cells::new(100, Some(dir.path()));
        assert!(matches!(cells.adopt(0, 1), Err(OpenError::Foreign { .. })));
        assert_eq!(cells.allocate(), None);
    }

    /// A page that nobody writes to any more, after a sync that has lost it.
    #[test]
    fn what_a_sync_has_lost_is_there_after_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let disk = LyingDisk::under(dir.path());
        let path = dir.path().join("cells-0000.map");
        let words = Words::in_file(&path, MAGIC, VERSION).unwrap();
        disk.meet(u64::MAX, Fate::LostSync(1, 2));
        words.get(1000).store(7, Ordering::Relaxed);
        words.handle().unwrap().unwrap().sync().unwrap_err();
        words.handle().unwrap().unwrap().sync().unwrap();
        assert!(!disk.has_lost());
        drop(words);
        disk.lose_power(&mut Dice::new(1));
        LyingDisk::leave(dir.path());
        let words = Words::in_file(&path, MAGIC, VERSION).unwrap();
        assert_eq!(words.get(1000).load(Ordering::Relaxed), 7);
    }
}
