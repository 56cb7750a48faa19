//! What is told: one message to one contact about the transitions of one evaluation.

use std::sync::Arc;

use crate::config::Rule;
use crate::rules::Level;
use crate::rules::state::flaps::INSIST_AFTER;
use crate::rules::wording::{self, Unit};
use crate::time::{Span, Timestamp};

/// A message, before it has a form. Its id is the same in every attempt.
#[derive(Clone, Debug, PartialEq)]
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
    /// It tells of more than is read one by one: they are counted by rule, and listed.
    pub is_digest: bool,
    /// It is sent though it is not on the disk: nobody will know of it after an end of the process.
    pub is_unsaved: bool,
    /// It was for somebody else, who could not be reached.
    pub undelivered: Option<Undelivered>,
}

/// Why somebody is told what was for somebody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undelivered {
    /// For whom it was.
    pub contact: String,
    /// Which address of theirs; the contact's name again where that is a webhook.
    pub to: String,
    /// Why it could not be delivered.
    pub reason: String,
}

/// One transition of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// The incident that it belongs to: unique, stable, of the same characters as a message's id.
    pub incident: Arc<str>,
    /// Which alert about the incident it is, from 0, to receivers that keep one and call nobody twice for it: a
    /// further one begins where somebody is to be called again.
    pub alert: u32,
    /// When the incident began.
    pub opened: Timestamp,
    /// What happened.
    pub kind: NoticeKind,
    /// The rule, as it was then.
    pub rule: Arc<About>,
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

/// What a message says of a rule. It is a copy: no edit of the configuration changes what is on its
/// way, and what was told is known after the rule is gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    /// Its name.
    pub name: String,
    /// One line for people; may be empty.
    pub summary: String,
    /// Link to what to do.
    pub runbook: Option<String>,
    /// What stands behind its values.
    pub unit: Unit,
    /// When it is a warning, in words.
    pub warning: Option<String>,
    /// When it is critical, in words.
    pub critical: Option<String>,
    /// The name of the schedule that it is limited to.
    pub schedule: Option<String>,
    /// How many changes of state are too many, and in what time.
    pub flapping: (u32, Span),
    /// Critical for so long is told though it flaps.
    pub insists: Option<Span>,
}

impl About {
    /// What there is to say of a rule.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let flapping = rule.flapping.unwrap_or_default();
        Self {
            name: rule.name.clone(),
            summary: rule.summary.clone(),
            runbook: rule.runbook.clone(),
            unit: Unit::of(rule),
            warning: rule.warning.as_ref().map(wording::threshold),
            critical: rule.critical.as_ref().map(wording::threshold),
            schedule: rule.schedule.as_ref().map(|schedule| schedule.name.clone()),
            flapping: (u32::from(flapping.changes), flapping.within),
            insists: rule.critical.map(|threshold| INSIST_AFTER.max(threshold.hold)),
        }
    }
}

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeKind {
    /// It began.
    Firing,
    /// It got worse.
    Worse,
    /// It holds still, and is told again.
    Repeat,
    /// Somebody looks after it. Only those hear of it who keep a record of that.
    Acknowledged,
    /// Nobody acknowledged it in time, so others are told.
    Escalated,
    /// It changes too often for each change to be told; the state is the worst of them.
    Flapping,
    /// It changes no more, and is still not well.
    Settled,
    /// It ended.
    Recovered,
    /// The rule is not watched any more, since the hours of its schedule are over.
    ScheduleEnded,
    /// It began and ended before anybody could be told.
    Ended,
    /// It is not followed any further: the rule is another one now, or there is none.
    Closed(Closing),
}

/// Why an incident is closed that did not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closing {
    /// The rule means something else now, and begins anew.
    Edited,
    /// The configuration has no such rule any more.
    Removed,
}

impl NoticeKind {
    /// One word for it, for programs.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Worse => "worse",
            Self::Repeat => "repeat",
            Self::Acknowledged => "acknowledged",
            Self::Escalated => "escalated",
            Self::Flapping => "flapping",
            Self::Settled => "settled",
            Self::Recovered => "recovered",
            Self::ScheduleEnded => "schedule_ended",
            Self::Ended => "ended",
            Self::Closed(Closing::Edited) => "edited",
            Self::Closed(Closing::Removed) => "removed",
        }
    }

    /// Whether it is what somebody hears of an incident first.
    #[must_use]
    pub const fn is_beginning(self) -> bool {
        matches!(self, Self::Firing | Self::Escalated)
    }

    /// Whether it says that something is wrong now, to those who are told first.
    #[must_use]
    pub const fn is_alarm(self) -> bool {
        matches!(self, Self::Firing | Self::Worse | Self::Repeat | Self::Settled)
    }

    /// Whether it ends the incident.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Recovered | Self::ScheduleEnded | Self::Ended | Self::Closed(_))
    }
}

impl Message {
    /// One that tells this, from nobody to nobody.
    #[must_use]
    pub fn about(notices: Vec<Notice>) -> Self {
        Self {
            id: String::new(),
            contact: String::new(),
            at: Timestamp::EPOCH,
            notices,
            public_url: Arc::default(),
            is_test: false,
            is_digest: false,
            is_unsaved: false,
            undelivered: None,
        }
    }

    /// The worst state that it tells of; ok when it is all good news.
    #[must_use]
    pub fn level(&self) -> Level {
        self.notices.iter().map(|notice| notice.level).max().unwrap_or_default()
    }

    /// Whether every notice is of an end.
    #[must_use]
    pub fn is_all_over(&self) -> bool {
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
