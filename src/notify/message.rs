//! What is told: one message to one contact about the transitions of one evaluation.

use std::sync::Arc;

use crate::config::Rule;
use crate::rules::Level;
use crate::time::Timestamp;

/// A message, before it has a form. Its id is the same in every attempt and for every recipient.
#[derive(Clone, Debug)]
pub struct Message {
    /// Unique; letters, digits and `-` only, so that it may stand in a header as it is.
    pub id: String,
    /// The contact's name.
    pub contact: String,
    /// When it was written.
    pub at: Timestamp,
    /// What it tells, worst first; never empty.
    pub notices: Vec<Notice>,
    /// Where this server is reached, without a slash at the end; for links.
    pub public_url: Arc<str>,
    /// It was asked for by `tallyd notify test` and is about nothing real.
    pub is_test: bool,
}

/// One transition of one instance.
#[derive(Clone, Debug)]
pub struct Notice {
    /// The incident that it belongs to: unique, stable, of the same characters as a message's id.
    pub incident: Arc<str>,
    /// When the incident began.
    pub opened: Timestamp,
    /// What happened.
    pub kind: NoticeKind,
    /// The rule.
    pub rule: Arc<Rule>,
    /// The `by` tags with their values; a series without the tag has the empty value.
    pub labels: Vec<(String, String)>,
    /// The state before; in a recovery the worst state of the incident.
    pub from: Level,
    /// The state now.
    pub level: Level,
    /// When the state now began.
    pub since: Timestamp,
    /// The value when the incident began, where there was one.
    pub began: Option<f64>,
    /// The worst value since, where there was one.
    pub worst: Option<f64>,
    /// The value now, where there is one.
    pub value: Option<f64>,
    /// The share of the window that was covered: below 1 the value was scaled up.
    pub covered: f64,
    /// The value is a lower bound: what is missing of the window may have held more.
    pub is_at_least: bool,
    /// What is wrong with the rule itself, where the notice is about that.
    pub problem: Option<String>,
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// It began.
    Firing,
    /// It got worse.
    Worse,
    /// It changes too often for each change to be told; the state is the worst of them.
    Flapping,
    /// It changes no more, and is still not well.
    Settled,
    /// It ended.
    Recovered,
    /// The rule is not watched any more, since the hours of its schedule are over.
    ScheduleEnded,
}

impl NoticeKind {
    /// Whether it ends the incident.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Recovered | Self::ScheduleEnded)
    }
}

impl Message {
    /// The worst state that it tells of; ok when it is all good news.
    #[must_use]
    pub fn level(&self) -> Level {
        self.notices.iter().map(|notice| notice.level).max().unwrap_or_default()
    }

    /// Whether every notice ends its incident.
    #[must_use]
    pub fn is_all_recovered(&self) -> bool {
        self.notices.iter().all(|notice| notice.kind.is_over())
    }
}

impl Notice {
    /// The rule's name with the instance behind it: `errors-high{host=a}`.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.rule.name, &self.labels)
    }
}

/// A rule's name with an instance behind it.
#[must_use]
pub fn title(rule: &str, labels: &[(String, String)]) -> String {
    if labels.is_empty() {
        return rule.to_owned();
    }
    let tags: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("{rule}{{{}}}", tags.join(","))
}
