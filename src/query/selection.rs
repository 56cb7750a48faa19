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
    seen: usize,
    found: Found,
}

#[derive(Clone, Debug)]
struct Found {
    by: Vec<String>,
    groups_max: usize,
    groups: BTreeMap<Group, Vec<SeriesId>>,
    refused: usize,
}

impl Found {
    fn add(&mut self, catalogue: &Catalogue, id: SeriesId) {
        let group = group(catalogue, id, &self.by);
        if let Some(members) = self.groups.get_mut(&group) {
            members.push(id);
        } else if self.groups.len() < self.groups_max {
            self.groups.insert(group, vec![id]);
        } else {
            self.refused += 1;
        }
    }
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
        Self { pattern, seen: 0, found: Found { by, groups_max, groups, refused: 0 } }
    }

    /// Takes in the series that are new since the last call.
    pub fn refresh(&mut self, catalogue: &Catalogue) {
        if self.seen == catalogue.len() {
            return;
        }
        let new = catalogue.matching(&self.pattern, self.seen);
        new.for_each(|id| self.found.add(catalogue, id));
        self.seen = catalogue.len();
    }

    /// Takes in the first `max` series that there are; whether these are all.
    pub fn take_first(&mut self, catalogue: &Catalogue, max: usize) -> bool {
        let mut all = catalogue.matching(&self.pattern, 0);
        all.by_ref().take(max).for_each(|id| self.found.add(catalogue, id));
        self.seen = catalogue.len();
        all.next().is_none()
    }

    /// The tags that it is split by.
    #[must_use]
    pub fn by(&self) -> &[String] {
        &self.found.by
    }

    /// The groups, in order.
    pub fn groups(&self) -> impl Iterator<Item = (&Group, &[SeriesId])> {
        self.found.groups.iter().map(|(group, members)| (group, members.as_slice()))
    }

    /// The series of one group; none where there is no such group.
    #[must_use]
    pub fn members(&self, group: &Group) -> &[SeriesId] {
        self.found.groups.get(group).map_or(&[], Vec::as_slice)
    }

    /// Whether every series found its group.
    ///
    /// # Errors
    /// [`TooManyGroups`] where some did not.
    pub fn complete(&self) -> Result<(), TooManyGroups> {
        let Found { refused, groups_max: max, .. } = self.found;
        if refused == 0 { Ok(()) } else { Err(TooManyGroups { max }) }
    }
}
