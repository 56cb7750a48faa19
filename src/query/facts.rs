//! What is known of series beside their windows: their kind, their birth, what they show.
//!
//! The catalogue knows it of all series, and changes with every tick. Whoever takes longer than a
//! tick may wait asks a copy of what concerns them.

use crate::counters::cells::Kind;
use crate::rollup::SeriesId;
use crate::store::{Catalogue, Known};

/// Who knows it.
pub trait Facts {
    /// What is known of one series that is asked about.
    fn of(&self, id: SeriesId) -> &Known;
}

impl Facts for Catalogue {
    fn of(&self, id: SeriesId) -> &Known {
        self.get(id)
    }
}

/// Some series, as they were at one time.
#[derive(Clone, Debug, Default)]
pub struct Selected {
    /// In order of their ids.
    series: Vec<(SeriesId, Known)>,
}

impl Selected {
    /// A copy of what is known of these series; each is named once.
    #[must_use]
    pub fn of(catalogue: &Catalogue, ids: impl Iterator<Item = SeriesId>) -> Self {
        let mut series: Vec<_> = ids.map(|id| (id, *catalogue.get(id))).collect();
        series.sort_unstable_by_key(|(id, _)| *id);
        Self { series }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether all of them are counters.
    #[must_use]
    pub fn are_counters(&self) -> bool {
        self.series.iter().all(|(_, known)| known.kind == Kind::Counter)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }
}

impl Facts for Selected {
    fn of(&self, id: SeriesId) -> &Known {
        let found = self.series.binary_search_by_key(&id, |(id, _)| *id).ok();
        let known = found.and_then(|at| self.series.get(at)).map(|(_, known)| known);
        known.expect("only what was selected is asked about")
    }
}
