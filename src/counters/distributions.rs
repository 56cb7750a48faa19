//! What the configuration says of keys: which entry holds for a cell, and so what the cell is.
//!
//! A key is held against the entries when it gets its cell, or when a value comes for a key without
//! one; from then on the cell's face tells the kind, and a table of two bytes a cell the entry. Where
//! there are no entries, none of this costs anything.

use std::sync::{Arc, PoisonError, RwLock};

use super::cells::{CellId, Face, Held, Kind};
use crate::config::{Metric, MetricKind, usual_layout};
use crate::histogram::Layout;
use crate::limits;
use crate::series::{self, Series};

/// The entries, and which of them holds for which cell.
#[derive(Debug)]
pub(super) struct Metrics {
    entries: Arc<[Metric]>,
    /// The number of the entry, counted from one; zero: none.
    of_cell: RwLock<Vec<u16>>,
}

/// What a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// What its use makes of it.
    Free,
    /// What the configuration says, or a use that did not leave it open.
    Is(Kind),
    /// An item, by the configuration.
    Item,
}

impl Class {
    /// What the face of a cell says.
    pub(super) const fn of(face: Face) -> Self {
        match face.held {
            Held::No => Self::Free,
            Held::Kind | Held::Use => Self::Is(face.kind),
            Held::Item => Self::Item,
        }
    }

    /// What the face of a new cell says.
    pub(super) const fn held(self) -> (Kind, Held) {
        match self {
            Self::Free => (Kind::Gauge, Held::No),
            Self::Is(kind) => (kind, Held::Kind),
            Self::Item => (Kind::Gauge, Held::Item),
        }
    }
}

const _: () = assert!(limits::METRICS < u16::MAX as usize, "an entry has a number of 16 bits");

impl Metrics {
    pub(super) fn new(entries: Arc<[Metric]>) -> Self {
        Self { entries, of_cell: RwLock::default() }
    }

    /// Whether there are none, so that every key is free.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// What a key is, and the number of the entry that says so.
    pub(super) fn classify(&self, key: &[u8]) -> (Class, u16) {
        // Our own names are nobody's to configure.
        if self.entries.is_empty() || series::is_reserved(key) {
            return (Class::Free, 0);
        }
        let series = Series::from_key(key);
        let found = (1..).zip(&*self.entries).find(|(_, entry)| entry.series.matches(&series));
        let Some((number, entry)) = found else { return (Class::Free, 0) };
        let class = match entry.kind {
            MetricKind::Counter => Class::Is(Kind::Counter),
            MetricKind::Gauge => Class::Is(Kind::Gauge),
            MetricKind::Distribution => Class::Is(Kind::Distribution),
            MetricKind::Item => Class::Item,
        };
        (class, number)
    }

    /// Notes which entry holds for a cell.
    pub(super) fn note(&self, id: CellId, number: u16) {
        if self.entries.is_empty() {
            return;
        }
        let mut of_cell = self.of_cell.write().unwrap_or_else(PoisonError::into_inner);
        if of_cell.len() <= id.index() {
            if number == 0 {
                return;
            }
            of_cell.resize(id.index() + 1, 0);
        }
        if let Some(place) = of_cell.get_mut(id.index()) {
            *place = number;
        }
    }

    /// The entry that holds for a cell.
    pub(super) fn get(&self, id: CellId) -> Option<&Metric> {
        if self.entries.is_empty() {
            return None;
        }
        let of_cell = self.of_cell.read().unwrap_or_else(PoisonError::into_inner);
        let number = of_cell.get(id.index()).copied().unwrap_or(0);
        self.entries.get(usize::from(number).checked_sub(1)?)
    }

    /// The layout of a key's histograms, also where it is none by the entries.
    pub(super) fn layout_of(&self, key: &[u8]) -> Layout {
        let number = usize::from(self.classify(key).1);
        let entry = number.checked_sub(1).and_then(|at| self.entries.get(at));
        entry.map_or_else(usual_layout, |metric| metric.layout)
    }

    /// The layout of a cell's histogram; `None` where it is no distribution.
    pub(super) fn layout(&self, id: CellId) -> Option<Layout> {
        let metric = self.get(id).filter(|metric| metric.kind == MetricKind::Distribution);
        metric.map(|metric| metric.layout)
    }
}

#[cfg(test)]
mod tests;
