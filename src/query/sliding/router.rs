//! Which of many patterns a new series may match: found by its name, not by trying them all.
//!
//! Only patterns with a glob are tried one by one.

use std::collections::BTreeMap;

use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::store::Catalogue;

/// See the module.
#[derive(Debug, Default)]
pub struct Router {
    names: BTreeMap<Box<str>, Vec<usize>>,
    globs: Vec<usize>,
    seen: usize,
}

impl Router {
    /// For patterns under these numbers; no series was looked at.
    pub fn new<'a>(patterns: impl Iterator<Item = (usize, &'a Pattern)>) -> Self {
        let mut router = Self::default();
        for (number, pattern) in patterns {
            match pattern.exact_name() {
                Some(name) => router.names.entry(name.into()).or_default().push(number),
                None => router.globs.push(number),
            }
        }
        router
    }

    /// So many series were looked at.
    #[must_use]
    pub const fn seen(&self) -> usize {
        self.seen
    }

    /// Notes that so many were.
    pub fn have_seen(&mut self, seen: usize) {
        self.seen = seen;
    }

    /// Hands every series that is new since the last call to `each`, with the number of each pattern that
    /// it may match.
    pub fn route(&mut self, catalogue: &Catalogue, mut each: impl FnMut(usize, SeriesId)) {
        for id in catalogue.since(self.seen) {
            let named = self.names.get(catalogue.series(id).name());
            let numbers = named.into_iter().flatten().chain(&self.globs);
            numbers.for_each(|number| each(*number, id));
        }
        self.seen = catalogue.len();
    }
}
