//! The cells: one cache line of atomics per series, in segments that never move.
//!
//! A cell's address stays the same for the life of the process, so a reader needs no lock to follow
//! an id. Segments have a fixed size and are allocated whole before the first id in them is handed
//! out; they are the seam where memory gives way to a mapped file, which has the same shape. This
//! module knows nothing of keys; who may write which word is said at the word.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Which cell; dense from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CellId(u32);

impl CellId {
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
    /// What is shown, less `total`, wrapping: so that an increment moves both by one addition. For
    /// [`Shown::Float`] the bits of the value itself.
    pub offset: AtomicU64,
    /// Sum of all that `decr` took from the value shown.
    pub decrements: AtomicU64,
    /// Kind, form and flags, packed: see [`Face`]; between them the marks of [`super::marks`].
    pub face: AtomicU64,
    /// When the value shown expires, in milliseconds since the epoch; 0 for never.
    pub expires: AtomicU64,
    /// The unique number that `gets` answers, less `count`, wrapping: so that an increment changes
    /// the unique number without writing here.
    pub unique_offset: AtomicU64,
    /// Keeps the cell at one cache line.
    _spare: AtomicU64,
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
}

/// What kind of series a key has become through its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only ever set to a number.
    Gauge,
    /// Incremented at least once.
    Counter,
}

/// Where the value that a client sees is to be found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// There is none: deleted, or not set yet.
    Nothing,
    /// `total + offset`, in decimal.
    Integer,
    /// `offset` is an IEEE 754 double that prints as the text that was set.
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

    /// Into one word: flags, eight bits for marks, width, shown, kind from high to low.
    #[must_use]
    pub const fn pack(self) -> u64 {
        (self.flags as u64) << 32
            | (self.width as u64) << 16
            | (self.shown as u64) << 8
            | self.kind as u64
    }

    /// And back.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "each part is masked by its type")]
    pub const fn unpack(word: u64) -> Self {
        Self {
            kind: if word as u8 == Kind::Counter as u8 { Kind::Counter } else { Kind::Gauge },
            shown: match (word >> 8) as u8 {
                1 => Shown::Integer,
                2 => Shown::Float,
                3 => Shown::Text,
                _ => Shown::Nothing,
            },
            width: (word >> 16) as u8,
            flags: (word >> 32) as u32,
        }
    }
}

/// Cells in one segment: 4 MiB.
const SEGMENT: usize = 1 << 16;
const SEGMENT_SHIFT: u32 = SEGMENT.trailing_zeros();

#[derive(Debug)]
struct Segment {
    cells: Box<[Cell]>,
    /// One bit per cell that was written since the last drain.
    dirty: Box<[AtomicU64]>,
}

/// All cells, and which of them were touched.
#[derive(Debug)]
pub struct Cells {
    segments: Box<[OnceLock<Segment>]>,
    next: AtomicU32,
    max: u32,
}

impl Cells {
    /// Room for `max` cells; memory is taken a segment at a time.
    #[must_use]
    pub fn new(max: usize) -> Self {
        let max = u32::try_from(max).unwrap_or(u32::MAX);
        let segments = (max as usize).div_ceil(SEGMENT);
        Self {
            segments: (0..segments).map(|_| OnceLock::new()).collect(),
            next: AtomicU32::new(0),
            max,
        }
    }

    /// A fresh cell, all zero; `None` when there is no room left.
    pub fn allocate(&self) -> Option<CellId> {
        let id = self
            .next
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |n| (n < self.max).then_some(n + 1))
            .ok()?;
        self.segments.get(id as usize >> SEGMENT_SHIFT)?.get_or_init(Segment::new);
        Some(CellId(id))
    }

    /// Cells handed out so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next.load(Ordering::Acquire) as usize
    }

    /// Whether none was handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cell of an id that was handed out.
    #[inline]
    #[must_use]
    pub fn get(&self, id: CellId) -> &Cell {
        self.segment(id)
            .and_then(|segment| segment.cells.get(id.index() % SEGMENT))
            .expect("an id is handed out after its segment is in place")
    }

    /// Notes that a cell was written. Call it after the write.
    ///
    /// The order is the point: the writer adds, then looks at the bit; the drain clears the bit,
    /// then reads. All four are sequentially consistent, so at least one of the two sees the other,
    /// and no write stays unseen until the next one. The bit is looked at first, because it is
    /// nearly always set already and a shared cache line costs less than one that is written.
    #[inline]
    pub fn mark(&self, id: CellId) {
        let bit = 1 << (id.index() % 64);
        let word = self.segment(id).and_then(|s| s.dirty.get(id.index() % SEGMENT / 64));
        let word = word.expect("an id is handed out after its segment is in place");
        if word.load(Ordering::SeqCst) & bit == 0 {
            word.fetch_or(bit, Ordering::SeqCst);
        }
    }

    /// Whether a cell was written since the last drain.
    #[must_use]
    pub fn is_marked(&self, id: CellId) -> bool {
        let word = self.segment(id).and_then(|s| s.dirty.get(id.index() % SEGMENT / 64));
        word.is_some_and(|word| word.load(Ordering::Relaxed) & 1 << (id.index() % 64) != 0)
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

    #[inline]
    fn segment(&self, id: CellId) -> Option<&Segment> {
        self.segments.get(id.index() >> SEGMENT_SHIFT)?.get()
    }
}

impl Segment {
    fn new() -> Self {
        Self {
            cells: (0..SEGMENT).map(|_| Cell::default()).collect(),
            dirty: (0..SEGMENT / 64).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

const _: () = assert!(size_of::<Cell>() == 64, "a cell is one cache line");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_face_survives_packing() {
        for kind in [Kind::Gauge, Kind::Counter] {
            for shown in [Shown::Nothing, Shown::Integer, Shown::Float, Shown::Text] {
                let face = Face { kind, shown, width: 20, flags: u32::MAX };
                assert_eq!(Face::unpack(face.pack()), face);
                let plain = kind == Kind::Counter && shown == Shown::Integer;
                assert_eq!(Face::is_plain_counter(face.pack()), plain);
            }
        }
        assert_eq!(Face::unpack(0).shown, Shown::Nothing, "a fresh cell shows nothing");
    }

    #[test]
    fn drains_each_marked_cell_once() {
        let cells = Cells::new(SEGMENT + 10);
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
}
