//! All series that were ever seen, and an index that finds them by pattern.
//!
//! Made for a million series: their keys lie one behind the other in one piece of memory, with 32 bytes
//! and a place in one table each. A key without tags is found through that table by its name; only
//! series with tags have an index by name beside it.

use std::hash::BuildHasher;

use hashbrown::raw::RawTable;

use crate::counters::cells::{CellId, Kind};
use crate::rollup::SeriesId;
use crate::rollup::row::GROUP;
use crate::series::{Pattern, Series, name_before_tags};
use crate::time::Timestamp;
use crate::varint::{self, Reader};

/// What is known of one series apart from its name and its windows.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// Where its key begins.
    key_at: u64,
    /// The value shown at the last close; NaN for none.
    last: f64,
    /// In seconds since the epoch: enough until 2106.
    born: u32,
    updated: u32,
    /// The cell that is counted in now; [`CellId::NONE`] while its key is idle.
    cell: CellId,
    /// Counter or gauge, by its last use.
    pub kind: Kind,
    /// The value shown has changed since the last record, other than by what was counted.
    is_moved: bool,
}

/// What of a series is in windows, of the present life of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Sum of increments.
    pub total: u64,
    /// Their number.
    pub count: u64,
    /// What tells this life from others.
    pub life: u64,
}

/// The series, in order of first sight.
#[derive(Default)]
pub struct Catalogue {
    known: Vec<Known>,
    keys: Vec<u8>,
    ids: RawTable<SeriesId>,
    /// Series with tags, each with the position of the next one that has its name.
    tagged: Vec<(SeriesId, Option<u32>)>,
    /// The first and the last of each name, as positions in `tagged`.
    names: RawTable<(u32, u32)>,
    hasher: foldhash::fast::RandomState,
    /// The series after the one that was asked for last. A start asks for nearly all, in nearly this order,
    /// and finds them without a look into the table.
    next: u32,
    /// So many series are in `ids`.
    indexed: usize,
    /// Series that turned into another kind.
    turned: Vec<SeriesId>,
}

/// Parts of the table that are filled one after the other: of a million series each takes 160 KiB.
const PARTS: usize = 64;

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Known {
    /// The beginning of the first base window that has a record.
    #[must_use]
    pub fn born(&self) -> Timestamp {
        Timestamp::from_secs(i64::from(self.born))
    }

    /// The end of the last base window that has a record.
    #[must_use]
    pub fn updated(&self) -> Timestamp {
        Timestamp::from_secs(i64::from(self.updated))
    }

    /// The value shown at the last close, where there was one.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        Some(self.last).filter(|last| !last.is_nan())
    }

    /// Whether there is a window of it, or a cell, so that it is of a kind.
    #[must_use]
    pub fn was_used(&self) -> bool {
        self.updated != self.born || self.cell().is_some()
    }

    /// The cell that is counted in now; none while the key is idle.
    #[must_use]
    pub fn cell(&self) -> Option<CellId> {
        Some(self.cell).filter(|cell| *cell != CellId::NONE)
    }

    /// Notes that windows of before its birth were imported, and of up to `updated`.
    pub fn reach_back(&mut self, kind: Kind, born: Timestamp, updated: Timestamp) {
        if !self.was_used() {
            self.kind = kind;
        }
        self.born = self.born.min(secs(born));
        self.updated = self.updated.max(secs(updated));
    }

    /// Takes over that windows up to `updated` were imported. A checkpoint of before does not tell.
    pub fn restore_import(&mut self, kind: Kind, updated: Timestamp) {
        if self.kind == Kind::Gauge {
            // What a key is that was never used; one in use says so itself.
            self.kind = kind;
        }
        self.updated = self.updated.max(secs(updated));
    }

    /// Notes that the key is idle: it has no cell any more, and shows nothing.
    pub fn rest(&mut self) {
        self.cell = CellId::NONE;
        self.show(None);
    }

    /// Notes a value that is shown without a record of it.
    pub fn show(&mut self, last: Option<f64>) {
        let last = last.unwrap_or(f64::NAN);
        self.is_moved |= self.last.to_bits() != last.to_bits();
        self.last = last;
    }

    /// Notes a record of the base window that ends at `end`, after which `last` is shown. Whether that
    /// is what `run_on` says, and has been since the record before, which lies at or after `since`.
    pub fn update(
        &mut self,
        end: Timestamp,
        last: Option<f64>,
        run_on: Option<f64>,
        since: Timestamp,
    ) -> bool {
        let is_recent = self.updated() > since;
        let runs_on = is_recent && !self.is_moved && run_on.is_some() && run_on == last;
        self.updated = secs(end);
        self.last = last.unwrap_or(f64::NAN);
        self.is_moved = false;
        runs_on
    }
}

fn secs(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs().max(0)).unwrap_or(u32::MAX)
}

impl Catalogue {
    /// Makes room for that many further series at once, instead of a little at a time.
    pub fn reserve(&mut self, further: usize) {
        let Self { known, keys, ids, hasher, .. } = self;
        ids.reserve(further, |id| hasher.hash_one(key_of(known, keys, *id)));
        known.reserve(further);
    }

    /// The id of the series with this key, whose tags are in order; it is new where the key was not
    /// seen before.
    pub fn register(&mut self, key: &[u8], cell: CellId, born: Timestamp) -> SeriesId {
        debug_assert_eq!(self.indexed, self.len(), "whoever appends, indexes");
        let is_it = |id: &SeriesId| self.key(*id) == key;
        let next = Some(SeriesId(self.next)).filter(|id| id.index() < self.len() && is_it(id));
        let hash = if next.is_some() { 0 } else { self.hasher.hash_one(key) };
        if let Some(id) = next.or_else(|| self.ids.get(hash, is_it).copied()) {
            self.get_mut(id).cell = cell;
            self.next = id.0 + 1;
            return id;
        }
        let id = self.append(key, cell, born);
        self.next = id.0 + 1;
        let Self { known, keys, ids, hasher, .. } = self;
        ids.insert(hash, id, |id| hasher.hash_one(key_of(known, keys, *id)));
        self.indexed = self.known.len();
        id
    }

    /// Puts a series with a key that is new behind the others. It is not found by its key before
    /// [`index`](Self::index): a start puts very many in, and each would wait for the memory of its own
    /// place in the table.
    pub fn append(&mut self, key: &[u8], cell: CellId, born: Timestamp) -> SeriesId {
        let id = SeriesId(u32::try_from(self.known.len()).expect("cells are fewer than 2^32"));
        let key_at = self.keys.len() as u64;
        self.keys.extend_from_slice(key);
        let (kind, born) = (Kind::Gauge, secs(born));
        self.known.push(Known {
            key_at,
            last: f64::NAN,
            born,
            updated: born,
            cell,
            kind,
            is_moved: false,
        });
        self.chain(id);
        id
    }

    /// The series with this key, whose tags are in order.
    #[must_use]
    pub fn find(&self, key: &[u8]) -> Option<SeriesId> {
        debug_assert_eq!(self.indexed, self.len(), "whoever appends, indexes");
        self.ids.get(self.hasher.hash_one(key), |id| self.key(*id) == key).copied()
    }

    /// Has all that was appended found by its key; `false` where a key is there twice, of which one is
    /// found. They are put into the table part by part, so that a part stays near the processor.
    pub fn index(&mut self) -> bool {
        let Self { known, keys, ids, hasher, indexed, .. } = self;
        let further = known.len() - *indexed;
        let rehash = |id: &SeriesId| hasher.hash_one(key_of(known, keys, *id));
        ids.reserve(further, rehash);
        let places = ids.buckets() as u64;
        let count = if further > PARTS * PARTS { PARTS } else { 1 };
        let room = further / count * 9 / 8;
        let mut parts: Vec<_> = (0..count).map(|_| Vec::with_capacity(room)).collect();
        for id in (*indexed..known.len()).filter_map(|at| u32::try_from(at).ok()).map(SeriesId) {
            let hash = rehash(&id);
            let part = (hash & (places - 1)) * count as u64 / places;
            parts.get_mut(usize::try_from(part).unwrap_or(0)).expect("a fraction").push((hash, id));
        }
        let mut is_single = true;
        for (hash, id) in parts.into_iter().flatten() {
            let key = key_of(known, keys, id);
            if ids.get(hash, |other| key_of(known, keys, *other) == key).is_some() {
                is_single = false;
            } else {
                ids.insert(hash, id, rehash);
            }
        }
        *indexed = known.len();
        is_single
    }

    /// Puts a new series with tags behind the last one of its name.
    fn chain(&mut self, id: SeriesId) {
        let Self { known, keys, names, tagged, hasher, .. } = self;
        let Some(name) = name_before_tags(key_of(known, keys, id)) else { return };
        let at = u32::try_from(tagged.len()).expect("cells are fewer than 2^32");
        tagged.push((id, None));
        let name_at = |at: u32| {
            let id = tagged.get(at as usize).map_or(id, |(id, _)| *id);
            name_before_tags(key_of(known, keys, id)).unwrap_or_default()
        };
        let hash = hasher.hash_one(&*name);
        if let Some((_, last)) = names.get_mut(hash, |(first, _)| name_at(*first) == name) {
            let before = std::mem::replace(last, at);
            if let Some((_, next)) = tagged.get_mut(before as usize) {
                *next = Some(at);
            }
        } else {
            names.insert(hash, (at, at), |(first, _)| hasher.hash_one(&*name_at(*first)));
        }
    }

    /// The key of a series.
    #[must_use]
    pub fn key(&self, id: SeriesId) -> &[u8] {
        key_of(&self.known, &self.keys, id)
    }

    /// Name and tags of a series.
    #[must_use]
    pub fn series(&self, id: SeriesId) -> Series {
        Series::from_key(self.key(id))
    }

    /// One series.
    #[must_use]
    pub fn get(&self, id: SeriesId) -> &Known {
        self.known.get(id.index()).expect("ids come from this catalogue")
    }

    /// One series, to note what has become of it.
    pub fn get_mut(&mut self, id: SeriesId) -> &mut Known {
        self.known.get_mut(id.index()).expect("ids come from this catalogue")
    }

    /// Notes of what kind a series is now.
    pub fn turn(&mut self, id: SeriesId, kind: Kind) {
        let known = self.get_mut(id);
        if known.kind != kind {
            known.kind = kind;
            self.turned.push(id);
        }
    }

    /// The series that turned into another kind since they were last forgotten.
    #[must_use]
    pub fn turned(&self) -> &[SeriesId] {
        &self.turned
    }

    /// Forgets which they were.
    pub fn forget_turned(&mut self) {
        self.turned.clear();
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All series, in order of first sight.
    pub fn iter(&self) -> impl Iterator<Item = (SeriesId, &Known)> {
        self.since(0).map(|id| (id, self.get(id)))
    }

    /// The series from the `seen`-th on, in order of first sight.
    pub fn since(&self, seen: usize) -> impl Iterator<Item = SeriesId> + use<> {
        let end = u32::try_from(self.known.len()).expect("cells are fewer than 2^32");
        (u32::try_from(seen).unwrap_or(end)..end).map(SeriesId)
    }

    /// The series that a pattern means, among those from the `seen`-th on, in order of first sight.
    pub fn matching(&self, pattern: &Pattern, seen: usize) -> impl Iterator<Item = SeriesId> {
        // The first look at one name follows its chain. Later looks, and those at many names, go
        // through what is new.
        let named = pattern.exact_name().filter(|_| seen == 0).map(|name| self.of_name(name));
        let others = named.is_none().then(|| self.since(seen));
        named
            .into_iter()
            .flatten()
            .chain(others.into_iter().flatten())
            .filter(|id| pattern.matches_key(self.key(*id)))
    }

    /// Keys and births of a group's series: of each the length of its key (varint), the key, its birth in
    /// seconds (varint).
    #[must_use]
    pub fn write_series(&self, group: u32) -> Vec<u8> {
        let mut out = Vec::new();
        for id in self.of_group(group) {
            let key = self.key(id);
            varint::put(&mut out, key.len() as u64);
            out.extend_from_slice(key);
            varint::put(&mut out, u64::from(self.get(id).born));
        }
        out
    }

    /// Takes the series of a group in, which comes after all that are known; `None` where the bytes are
    /// something else. They are to be [indexed](Self::index).
    pub fn read_series(&mut self, group: u32, bytes: &[u8]) -> Option<()> {
        let mut reader = Reader::new(bytes);
        let mut next = group.checked_mul(GROUP)?;
        while !reader.is_empty() {
            let len = usize::try_from(reader.number()?).ok()?;
            let key = reader.take(len)?;
            let born = Timestamp::from_secs(i64::from(reader.number_u32()?));
            if self.append(key, CellId::NONE, born) != SeriesId(next) {
                return None;
            }
            next += 1;
        }
        Some(())
    }

    /// What was counted of a group's series and what they show: of each flags (1: it is a counter; 4:
    /// a distribution; 2: a value is shown), total, number of increments, the life that they were counted in, time of the
    /// last update in seconds (varints), and the value shown.
    #[must_use]
    pub fn write_totals(
        &self,
        group: u32,
        counted: impl Fn(SeriesId, &Known) -> Counted,
    ) -> Vec<u8> {
        let mut out = Vec::new();
        for id in self.of_group(group) {
            let known = self.get(id);
            let Counted { total, count, life } = counted(id, known);
            let kind = match known.kind {
                Kind::Gauge => 0,
                Kind::Counter => 1,
                Kind::Distribution => 4,
            };
            out.push(kind | u8::from(known.last().is_some()) << 1);
            varint::put(&mut out, total);
            varint::put(&mut out, count);
            varint::put(&mut out, life);
            varint::put(&mut out, u64::from(known.updated));
            if let Some(last) = known.last() {
                varint::put_double(&mut out, last);
            }
        }
        out
    }

    /// And back, for series that are known; `None` where the bytes are something else.
    pub fn read_totals(
        &mut self,
        group: u32,
        bytes: &[u8],
        mut counted: impl FnMut(SeriesId, Counted),
    ) -> Option<()> {
        let mut reader = Reader::new(bytes);
        let mut next = group.checked_mul(GROUP)?;
        while !reader.is_empty() {
            let flags = reader.byte()?;
            let (total, count, life) = (reader.number()?, reader.number()?, reader.number()?);
            let updated = reader.number_u32()?;
            let last = if flags & 2 == 0 { None } else { Some(reader.double()?) };
            let known = self.known.get_mut(next as usize)?;
            known.kind = match flags & 5 {
                0 => Kind::Gauge,
                1 => Kind::Counter,
                _ => Kind::Distribution,
            };
            known.updated = updated;
            known.last = last.unwrap_or(f64::NAN);
            counted(SeriesId(next), Counted { total, count, life });
            next += 1;
        }
        Some(())
    }

    fn of_group(&self, group: u32) -> impl Iterator<Item = SeriesId> {
        let first = group as usize * GROUP as usize;
        self.since(first).take(GROUP as usize)
    }

    /// The series of a name, in order of first sight.
    fn of_name(&self, name: &str) -> Vec<SeriesId> {
        let series = |at: u32| self.tagged.get(at as usize).map(|(id, next)| (*id, *next));
        let is_of = |at: u32| series(at).is_some_and(|(id, _)| self.series(id).name() == name);
        let found = self.names.get(self.hasher.hash_one(name), |(first, _)| is_of(*first));
        let mut at = found.map(|(first, _)| *first);
        let mut ids = Vec::new();
        while let Some((id, next)) = at.and_then(series) {
            ids.push(id);
            at = next;
        }
        ids.extend(self.without_tags(name));
        ids.sort_unstable();
        ids
    }

    /// The series that is called so and has no tags.
    fn without_tags(&self, name: &str) -> Option<SeriesId> {
        if name.contains("\\x") {
            return self.spelt(name);
        }
        let is_it = |id: &SeriesId| self.key(*id) == name.as_bytes();
        self.ids.get(self.hasher.hash_one(name.as_bytes()), is_it).copied()
    }

    /// The same of a name that is not spelt as its key is, since that holds stray bytes.
    #[cold]
    fn spelt(&self, name: &str) -> Option<SeriesId> {
        let is_odd = |key: &[u8]| key.contains(&b'\\') || !key.is_ascii();
        self.since(0).find(|id| is_odd(self.key(*id)) && self.series(*id).to_string() == name)
    }
}

fn key_of<'a>(known: &[Known], keys: &'a [u8], id: SeriesId) -> &'a [u8] {
    let at = |index: usize| known.get(index).map(|known| known.key_at);
    let end = at(id.index() + 1).unwrap_or(keys.len() as u64);
    let start = at(id.index()).unwrap_or(end);
    let range = usize::try_from(start).ok().zip(usize::try_from(end).ok());
    range.and_then(|(start, end)| keys.get(start..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::cells::Cells;

    #[test]
    fn finds_by_name_by_glob_and_what_is_new() {
        let cells = Cells::new(100, None);
        let mut catalogue = Catalogue::default();
        let keys = ["a", "b;x=1", "b;x=2", "a.b", "b", "c", "c;d"];
        for (at, key) in keys.iter().enumerate() {
            let key = key.as_bytes();
            let id = catalogue.register(key, cells.allocate().unwrap(), Timestamp::EPOCH);
            assert_eq!(id.index(), at);
            assert_eq!(catalogue.register(key, CellId::default(), Timestamp::EPOCH), id);
        }
        let check = |pattern: &str, seen: usize, expect: &[&str]| {
            let pattern: Pattern = pattern.parse().unwrap();
            let found = catalogue.matching(&pattern, seen);
            let found: Vec<_> = found.map(|id| catalogue.series(id).to_string()).collect();
            assert_eq!(found, expect, "{pattern} from {seen}");
        };
        check("b", 0, &["b;x=1", "b;x=2", "b"]);
        check("b", 2, &["b;x=2", "b"]);
        check("b;x=2", 0, &["b;x=2"]);
        check("a*", 0, &["a", "a.b"]);
        check("*", 4, &["b", "c", "c;d"]);
        check("nothing", 0, &[]);
    }

    #[test]
    fn what_was_appended_is_found_once_it_is_indexed() {
        let mut catalogue = Catalogue::default();
        let key = |at: u32| format!("a{at};b={at}");
        let register = |catalogue: &mut Catalogue, at| {
            catalogue.register(key(at).as_bytes(), CellId::NONE, Timestamp::EPOCH)
        };
        for at in 0..9000 {
            let id = catalogue.append(key(at).as_bytes(), CellId::NONE, Timestamp::EPOCH);
            assert_eq!(id, SeriesId(at));
            if at % 4500 == 0 {
                assert!(catalogue.index());
            }
        }
        assert!(catalogue.index());
        // In order, as a start asks for them; and against it.
        for at in (0..9000).chain((0..9000).rev()) {
            assert_eq!(register(&mut catalogue, at), SeriesId(at));
        }
        assert_eq!(register(&mut catalogue, 9000), SeriesId(9000));
        catalogue.append(key(7).as_bytes(), CellId::NONE, Timestamp::EPOCH);
        assert!(!catalogue.index(), "it is there twice");
        assert_eq!([5, 7].map(|at| register(&mut catalogue, at).index()), [5, 7]);
    }

    #[test]
    fn a_name_with_a_stray_byte_is_found_as_it_is_shown() {
        let cells = Cells::new(100, None);
        let mut catalogue = Catalogue::default();
        for key in [&b"plain"[..], b"caf\xe9", b"caf\\xe9", b"caf\\xe8"] {
            catalogue.register(key, cells.allocate().unwrap(), Timestamp::EPOCH);
        }
        let found = |name: &str| {
            let pattern: Pattern = name.parse().unwrap();
            catalogue.matching(&pattern, 0).map(SeriesId::index).collect::<Vec<_>>()
        };
        assert_eq!(found("caf\\xe9"), [1]);
        assert_eq!(found("caf\\x5cxe9"), [2]);
    }

    #[test]
    fn tells_when_the_value_shown_runs_on() {
        let cells = Cells::new(100, None);
        let mut catalogue = Catalogue::default();
        let at = Timestamp::from_secs;
        let id = catalogue.register(b"a", cells.allocate().unwrap(), at(100));
        let mut update = |end: i64, last: f64, run_on: Option<f64>| {
            catalogue.get_mut(id).update(at(end), Some(last), run_on, at(100))
        };
        assert!(!update(101, 5.0, None), "the first says what is shown");
        assert!(update(102, 7.0, Some(7.0)));
        assert!(!update(103, 9.0, Some(8.0)), "set in between");
        catalogue.get_mut(id).show(Some(9.0));
        assert!(catalogue.get_mut(id).update(at(104), Some(10.0), Some(10.0), at(100)));
        catalogue.get_mut(id).show(None);
        catalogue.get_mut(id).show(Some(10.0));
        assert!(!catalogue.get_mut(id).update(at(105), Some(11.0), Some(11.0), at(100)));
        assert!(!catalogue.get_mut(id).update(at(200), Some(12.0), Some(12.0), at(180)), "too old");
    }
}
