//! All series that were ever seen, and an index that finds them by pattern.
//!
//! Made to be filled with a million series at a start: beside the series themselves it holds two
//! tables of numbers, one by the whole series and one by the name alone, whose series are chained.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::raw::RawTable;

use crate::counters::cells::{CellId, Kind};
use crate::rollup::SeriesId;
use crate::series::{Pattern, Series};
use crate::time::Timestamp;

/// What is known of one series apart from its windows.
#[derive(Clone, Debug)]
pub struct Known {
    /// Name and tags.
    pub series: Arc<Series>,
    /// Counter or gauge, by its last use.
    pub kind: Kind,
    /// The cell that is counted in now.
    pub cell: CellId,
    /// The beginning of the first base window that has a record.
    pub born: Timestamp,
    /// The end of the last base window that has a record.
    pub updated: Timestamp,
    /// The value shown at that time, where there was one.
    pub last: Option<f64>,
}

/// The series, in order of first sight.
#[derive(Default)]
pub struct Catalogue {
    known: Vec<Known>,
    /// The series after this one with the same name, for each.
    next_of_name: Vec<Option<SeriesId>>,
    ids: RawTable<SeriesId>,
    /// The first and the last series of each name.
    names: RawTable<(SeriesId, SeriesId)>,
    hasher: foldhash::fast::RandomState,
}

impl std::fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Catalogue").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Catalogue {
    /// Makes room for that many further series at once, instead of a little at a time.
    pub fn reserve(&mut self, further: usize) {
        let Self { known, ids, names, hasher, next_of_name } = self;
        ids.reserve(further, |id| {
            known.get(id.index()).map_or(0, |known| hasher.hash_one(&*known.series))
        });
        names.reserve(further, |(first, _)| {
            known.get(first.index()).map_or(0, |known| hasher.hash_one(known.series.name()))
        });
        known.reserve(further);
        next_of_name.reserve(further);
    }

    /// The id of a series, which is new where it was not seen before.
    pub fn register(&mut self, series: Series, cell: CellId, born: Timestamp) -> SeriesId {
        let hash = self.hasher.hash_one(&series);
        if let Some(id) = self.ids.get(hash, |id| *self.get(*id).series == series) {
            return *id;
        }
        let id = SeriesId(u32::try_from(self.known.len()).expect("cells are fewer than 2^32"));
        let kind = Kind::Gauge;
        let series = Arc::new(series);
        self.known.push(Known { series, kind, cell, born, updated: born, last: None });
        self.next_of_name.push(None);
        let Self { known, ids, hasher, .. } = self;
        ids.insert(hash, id, |id| known.get(id.index()).map_or(0, |k| hasher.hash_one(&*k.series)));
        self.chain(id);
        id
    }

    /// Puts a new series behind the last one of its name.
    fn chain(&mut self, id: SeriesId) {
        let Self { known, names, hasher, next_of_name, .. } = self;
        let name = |id: SeriesId| known.get(id.index()).map_or("", |known| known.series.name());
        let hash = hasher.hash_one(name(id));
        if let Some((_, last)) = names.get_mut(hash, |(first, _)| name(*first) == name(id)) {
            if let Some(next) = next_of_name.get_mut(last.index()) {
                *next = Some(id);
            }
            *last = id;
        } else {
            names.insert(hash, (id, id), |(first, _)| hasher.hash_one(name(*first)));
        }
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
        self.from(0)
    }

    fn from(&self, seen: usize) -> impl Iterator<Item = (SeriesId, &Known)> {
        self.known.iter().enumerate().skip(seen).map(|(at, known)| {
            (SeriesId(u32::try_from(at).expect("cells are fewer than 2^32")), known)
        })
    }

    /// The series that a pattern means, among those from the `seen`-th on, in order of first sight.
    pub fn matching(
        &self,
        pattern: &Pattern,
        seen: usize,
    ) -> impl Iterator<Item = (SeriesId, &Known)> {
        // The first look at one name follows its chain. Later looks, and those at many names, go
        // through what is new.
        let chained = pattern.exact_name().filter(|_| seen == 0).map(|name| self.of_name(name));
        let others = chained.is_none().then(|| self.from(seen));
        chained
            .into_iter()
            .flatten()
            .chain(others.into_iter().flatten())
            .filter(|(_, known)| pattern.matches(&known.series))
    }

    fn of_name(&self, name: &str) -> impl Iterator<Item = (SeriesId, &Known)> {
        let hash = self.hasher.hash_one(name);
        let found = self.names.get(hash, |(first, _)| self.get(*first).series.name() == name);
        let first = found.map(|(first, _)| *first);
        let next = |id: &SeriesId| self.next_of_name.get(id.index()).copied().flatten();
        std::iter::successors(first, next).map(|id| (id, self.get(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::counters::cells::Cells;

    #[test]
    fn finds_by_name_by_glob_and_what_is_new() {
        let cells = Cells::new(100, None);
        let mut catalogue = Catalogue::default();
        let keys = ["a", "b;x=1", "b;x=2", "a.b", "b", "c"];
        for (at, key) in keys.iter().enumerate() {
            let series = Series::from_key(key.as_bytes());
            let id =
                catalogue.register(series.clone(), cells.allocate().unwrap(), Timestamp::EPOCH);
            assert_eq!(id.index(), at);
            assert_eq!(catalogue.register(series, CellId::default(), Timestamp::EPOCH), id);
        }
        let check = |pattern: &str, seen: usize, expect: &[&str]| {
            let pattern: Pattern = pattern.parse().unwrap();
            let found: Vec<_> = catalogue
                .matching(&pattern, seen)
                .map(|(_, known)| known.series.to_string())
                .collect();
            assert_eq!(found, expect, "{pattern} from {seen}");
        };
        check("b", 0, &["b;x=1", "b;x=2", "b"]);
        check("b", 2, &["b;x=2", "b"]);
        check("b;x=2", 0, &["b;x=2"]);
        check("a*", 0, &["a", "a.b"]);
        check("*", 4, &["b", "c"]);
        check("nothing", 0, &[]);
    }
}
