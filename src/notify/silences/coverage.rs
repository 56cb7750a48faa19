//! What a silence covers now, for who has just made it: one that covers nothing is mostly mistyped.

use super::{Silence, Subject};
use crate::config::nearest;
use crate::rules::{Active, Rules};
use crate::series::Pattern;

/// What a silence covers at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Coverage {
    /// Rules of which it covers some instance, or which have none yet.
    pub rules: usize,
    /// Their instances that it covers.
    pub instances: usize,
    /// What may have been meant, where it covers nothing: the name of a rule, or of a rule's series.
    pub meant: Option<String>,
}

impl Silence {
    /// What it covers of these rules.
    #[must_use]
    pub fn coverage(&self, rules: &Rules) -> Coverage {
        let mut coverage = Coverage::default();
        for active in rules.iter() {
            let instances = self.instances(active);
            coverage.instances += instances;
            coverage.rules += usize::from(instances > 0 || self.covers_rule(active));
        }
        if coverage.rules == 0 {
            coverage.meant = self.meant(rules);
        }
        coverage
    }

    fn instances(&self, active: &Active) -> usize {
        let rule = active.rule();
        let asks_tags = !self.patterns().all(Pattern::is_name_only);
        if !asks_tags {
            let is_covered = self.covers(Subject { rule, labels: &[] });
            return if is_covered { active.instances().count() } else { 0 };
        }
        if !self.names_match(active) {
            return 0;
        }
        let labels = active.instances().map(|(group, _)| active.labels(group));
        labels.filter(|labels| self.covers(Subject { rule, labels })).count()
    }

    /// Whether it covers a rule that has no instance yet.
    fn covers_rule(&self, active: &Active) -> bool {
        let has_none = active.instances().next().is_none();
        has_none && self.covers(Subject { rule: active.rule(), labels: &[] })
    }

    fn names_match(&self, active: &Active) -> bool {
        let rule = active.rule();
        self.rule.as_ref().is_none_or(|pattern| pattern.matches_name(&rule.name))
            && self.series.as_ref().is_none_or(|pattern| pattern.matches_name(rule.series.name()))
    }

    fn patterns(&self) -> impl Iterator<Item = &Pattern> {
        self.rule.iter().chain(&self.series)
    }

    /// The known name that is nearest to one that nothing has.
    fn meant(&self, rules: &Rules) -> Option<String> {
        let of = |pattern: &Option<Pattern>, names: Vec<&str>| {
            let name = pattern.as_ref()?.exact_name()?;
            // Where something has the name, it is the tags that do not match.
            if names.contains(&name) {
                return None;
            }
            nearest(name, names).map(str::to_owned)
        };
        let rule = of(&self.rule, rules.iter().map(|active| &*active.rule().name).collect());
        rule.or_else(|| {
            of(&self.series, rules.iter().map(|active| active.rule().series.name()).collect())
        })
    }
}
