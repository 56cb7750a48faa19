//! All series that were ever seen, and an index that finds them by pattern.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

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
#[derive(Debug, Default)]
pub struct Catalogue {
    known: Vec<Known>,
    ids: HashMap<Arc<Series>, SeriesId>,
    by_name: BTreeMap<Box<str>, Vec<SeriesId>>,
}

impl Catalogue {
    /// The id of a series, which is new where it was not seen before.
    pub fn register(&mut self, series: Series, cell: CellId, born: Timestamp) -> SeriesId {
        if let Some(id) = self.ids.get(&series) {
            return *id;
        }
        let id = SeriesId(u32::try_from(self.known.len()).expect("cells are fewer than 2^32"));
        let series = Arc::new(series);
        match self.by_name.get_mut(series.name()) {
            Some(ids) => ids.push(id),
            None => {
                self.by_name.insert(series.name().into(), vec![id]);
            }
        }
        self.ids.insert(Arc::clone(&series), id);
        let kind = Kind::Gauge;
        self.known.push(Known { series, kind, cell, born, updated: born, last: None });
        id
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
        self.known.iter().enumerate().map(|(at, known)| {
            (SeriesId(u32::try_from(at).expect("cells are fewer than 2^32")), known)
        })
    }

    /// The series that a pattern means, among those from the `seen`-th on. Only names that can match
    /// are looked at.
    pub fn matching(
        &self,
        pattern: &Pattern,
        seen: usize,
    ) -> impl Iterator<Item = (SeriesId, &Known)> {
        let exact = pattern.exact_name().and_then(|name| self.by_name.get(name));
        let globbed = pattern.exact_name().is_none().then(|| {
            self.by_name.iter().filter(|(name, _)| pattern.matches_name(name)).map(|(_, ids)| ids)
        });
        exact
            .into_iter()
            .chain(globbed.into_iter().flatten())
            .flat_map(move |ids| ids.iter().skip(ids.partition_point(|id| id.index() < seen)))
            .map(|id| (*id, self.get(*id)))
            .filter(|(_, known)| pattern.matches(&known.series))
    }
}
