//! Rules that watch nothing: no series is as their pattern says. Most such patterns are mistyped, or their series
//! have a new name.

use std::collections::BTreeSet;

use super::Engine;
use crate::config::{Rule, Unmatched, nearest};
use crate::limits;
use crate::series::{Pattern, is_reserved};
use crate::store::Catalogue;

/// What came of looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Look {
    /// Whether any series is known, beside tallyd's own. Where none is, everything matches nothing, and
    /// that says nothing about rules.
    pub is_counting: bool,
    /// Patterns that match nothing, in the order of the rules.
    pub unmatched: Vec<Unmatched>,
}

impl Engine {
    /// Looks for the series of rules. The engine's lock is held for one pattern at a time.
    #[must_use]
    pub fn look(&self, rules: &[Rule]) -> Look {
        let is_counting = self.view(|view| is_counting(view.catalogue));
        let mut unmatched: Vec<_> = rules
            .iter()
            .flat_map(patterns)
            .filter(|(.., pattern)| {
                self.view(|view| view.catalogue.matching(pattern, 0).next().is_none())
            })
            .map(|(rule, key, pattern)| Unmatched {
                rule: rule.name.clone(),
                key: key.to_owned(),
                pattern: pattern.to_string(),
                meant: None,
            })
            .collect();
        if is_counting && !unmatched.is_empty() {
            let names = self.view(|view| some_names(view.catalogue));
            for one in unmatched.iter_mut().take(limits::UNMATCHED_HELPED) {
                let name = one.pattern.parse().ok();
                let name = name.as_ref().and_then(Pattern::exact_name);
                let meant = name.and_then(|name| nearest(name, names.iter().map(|n| &**n)));
                // Where a series has the name, it is its tags that do not match.
                one.meant = meant.filter(|meant| Some(*meant) != name).map(str::to_owned);
            }
        }
        Look { is_counting, unmatched }
    }
}

fn patterns(rule: &Rule) -> impl Iterator<Item = (&Rule, &'static str, &Pattern)> {
    let over = rule.over.iter().map(move |over| (rule, "over", over));
    std::iter::once((rule, "series", &rule.series)).chain(over)
}

fn is_counting(catalogue: &Catalogue) -> bool {
    catalogue.iter().any(|(id, _)| !is_reserved(catalogue.key(id)))
}

/// The names of some series; of very many the first.
fn some_names(catalogue: &Catalogue) -> BTreeSet<Box<str>> {
    let series = catalogue.iter().take(limits::UNMATCHED_NAMES);
    series.map(|(id, _)| catalogue.series(id).name().into()).collect()
}
