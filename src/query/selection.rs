//! Which series a question is about, split by tags.
//!
//! Resolved once and kept up to date as series appear: the catalogue only grows, so each look takes
//! up where the last one ended.

use std::collections::BTreeMap;

use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::store::Catalogue;

/// The series that a pattern means, one group per combination of the `by` tags.
#[derive(Clone, Debug)]
pub struct Selection {
    pattern: Pattern,
    by: Vec<String>,
    groups_max: usize,
    seen: usize,
    groups: BTreeMap<Group, Vec<SeriesId>>,
    refused: usize,
}

fn group(catalogue: &Catalogue, id: SeriesId, by: &[String]) -> Group {
    if by.is_empty() {
        return Group::new();
    }
    let series = catalogue.series(id);
    by.iter().map(|name| series.tag(name).unwrap_or("").to_owned()).collect()
}

/// The values of the `by` tags, in the order of `by`; empty without any. An absent tag is empty.
pub type Group = Vec<String>;

/// More groups than allowed; series that would begin further ones are left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {max} combinations of the `by` tags")]
pub struct TooManyGroups {
    /// How many are allowed.
    pub max: usize,
}

impl Selection {
    /// Nothing found yet. Without `by` there is one group, also while it is empty.
    #[must_use]
    pub fn new(pattern: Pattern, by: Vec<String>, groups_max: usize) -> Self {
        let mut groups = BTreeMap::new();
        if by.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        Self { pattern, by, groups_max, seen: 0, groups, refused: 0 }
    }

    /// Takes in the series that are new since the last call.
    pub fn refresh(&mut self, catalogue: &Catalogue) {
        if self.seen == catalogue.len() {
            return;
        }
        for id in catalogue.matching(&self.pattern, self.seen) {
            let group = group(catalogue, id, &self.by);
            if let Some(members) = self.groups.get_mut(&group) {
                members.push(id);
            } else if self.groups.len() < self.groups_max {
                self.groups.insert(group, vec![id]);
            } else {
                self.refused += 1;
            }
        }
        self.seen = catalogue.len();
    }

    /// The tags that it is split by.
    #[must_use]
    pub fn by(&self) -> &[String] {
        &self.by
    }

    /// The groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = (&Group, &[SeriesId])> {
        self.groups.iter().map(|(group, members)| (group, members.as_slice()))
    }

    /// Whether every series found its group.
    ///
    /// # Errors
    /// [`TooManyGroups`] where some did not.
    pub fn complete(&self) -> Result<(), TooManyGroups> {
        if self.refused == 0 { Ok(()) } else { Err(TooManyGroups { max: self.groups_max }) }
    }
}
