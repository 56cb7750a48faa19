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
    /// Their places in `members`.
    groups: BTreeMap<Group, usize>,
    /// In the order in which the groups were first seen.
    members: Vec<Vec<SeriesId>>,
    refused: usize,
}

impl Found {
    /// The place of its group; `None` where there is no room for one.
    fn add(&mut self, catalogue: &Catalogue, id: SeriesId) -> Option<usize> {
        let group = group(catalogue, id, &self.by);
        let place = match self.groups.get(&group) {
            Some(place) => *place,
            None if self.groups.len() < self.groups_max => self.begin(group),
            None => {
                self.refused += 1;
                return None;
            }
        };
        self.members.get_mut(place)?.push(id);
        Some(place)
    }

    fn begin(&mut self, group: Group) -> usize {
        self.groups.insert(group, self.members.len());
        self.members.push(Vec::new());
        self.members.len() - 1
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
        let mut found =
            Found { by, groups_max, groups: BTreeMap::new(), members: Vec::new(), refused: 0 };
        if found.by.is_empty() {
            found.begin(Group::new());
        }
        Self { pattern, seen: 0, found }
    }

    /// What it is about.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        &self.pattern
    }

    /// So many groups are allowed.
    pub(super) const fn groups_max(&self) -> usize {
        self.found.groups_max
    }

    /// So many series of the catalogue were looked at.
    pub(super) const fn seen(&self) -> usize {
        self.seen
    }

    /// Notes that so many were.
    pub(super) fn have_seen(&mut self, seen: usize) {
        self.seen = seen;
    }

    /// Takes in a series that it is about; the place of its group, where there is room for it.
    pub(super) fn add(&mut self, catalogue: &Catalogue, id: SeriesId) -> Option<usize> {
        self.found.add(catalogue, id)
    }

    /// Takes in the series that are new since the last call.
    pub fn refresh(&mut self, catalogue: &Catalogue) {
        if self.seen == catalogue.len() {
            return;
        }
        let new = catalogue.matching(&self.pattern, self.seen);
        for id in new {
            self.found.add(catalogue, id);
        }
        self.seen = catalogue.len();
    }

    /// Takes in the first `max` series that there are; whether these are all.
    pub fn take_first(&mut self, catalogue: &Catalogue, max: usize) -> bool {
        let mut all = catalogue.matching(&self.pattern, 0);
        for id in all.by_ref().take(max) {
            self.found.add(catalogue, id);
        }
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
        self.places().map(|(group, place)| (group, self.members(place)))
    }

    /// The groups with their places, in order of the groups.
    pub(super) fn places(&self) -> impl Iterator<Item = (&Group, usize)> {
        self.found.groups.iter().map(|(group, place)| (group, *place))
    }

    /// The place of a group.
    pub(super) fn place(&self, group: &Group) -> Option<usize> {
        self.found.groups.get(group).copied()
    }

    /// The series of a group.
    pub(super) fn members(&self, place: usize) -> &[SeriesId] {
        self.found.members.get(place).map_or(&[], Vec::as_slice)
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
