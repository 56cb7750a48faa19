//! A rule's state as a Nagios plugin prints it: one line, performance data, more lines.
//!
//! Source of the form: the Monitoring Plugins Development Guidelines (output, ranges, performance
//! data). The line begins with the state, from which the exit code follows, so whoever carries it
//! needs nothing else. How long an answer may be is for whoever carries it to say: `output` cuts it.

pub mod measured;
mod output;
pub mod range;

use crate::config::{Change, Measure, Rule, Side, Threshold};
use crate::engine::View;
use crate::notify::message::title;
use crate::query::{Group, Observation};
use crate::rules::wording::{observation, threshold};
use crate::rules::{Active, Level, State};
use crate::time::Span;
use output::{Datum, Said, clean, plain};

/// Without an evaluation for this long nothing can be said.
pub const STALE: Span = Span::from_secs(10);

/// What an answer about all rules is called.
pub const ALL: &str = "all rules";

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The state.
    pub level: Level,
    /// The whole output, without a line end after it; never longer than it was asked to be.
    pub text: String,
}

/// A tag that an instance is asked for by, and its value.
pub type Tag = (String, String);

/// `region=eu`; `Err` says how it is to be written.
///
/// # Errors
/// Where the tag or the value is empty.
pub fn tag(text: &str) -> Result<Tag, String> {
    let pair = text.split_once('=').filter(|(name, value)| !name.is_empty() && !value.is_empty());
    let (name, value) = pair.ok_or_else(|| format!("`{text}` is no tag: write region=eu"))?;
    Ok((name.to_owned(), value.to_owned()))
}

impl Level {
    /// The exit code of a plugin.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    /// The state that the output about `name` begins with; `None` where it does not begin as every
    /// check of that name does, so something else wrote it.
    #[must_use]
    pub fn of_output(text: &str, name: &str) -> Option<Self> {
        let (word, rest) = text.split_once(" - ")?;
        rest.strip_prefix(clean(name).as_str())?.strip_prefix(": ")?;
        [Self::Ok, Self::Warning, Self::Unknown, Self::Critical]
            .into_iter()
            .find(|level| level.name() == word)
    }
}

/// The check of a rule, or of its instances that have all of these tags; last evaluated that long ago.
/// `None` where there is no such rule.
#[must_use]
pub fn check(view: &View<'_>, rule: &str, tags: &[Tag], age: Span, room: usize) -> Option<Check> {
    let active = view.rules.get(rule)?;
    let name = &active.rule().name;
    if age >= STALE {
        return Some(unknown(name, &stale(age), room));
    }
    let by = &active.rule().by;
    if let Some((tag, _)) = tags.iter().find(|(tag, _)| !by.contains(tag)) {
        let reason = format!("it has no instances by `{tag}`; `by` of the rule says by which");
        return Some(unknown(name, &reason, room));
    }
    let is_meant = |group: &Group| {
        let has = |(tag, value): &Tag| by.iter().zip(group).any(|of| of == (tag, value));
        tags.iter().all(has)
    };
    let instances: Vec<_> = active.instances().filter(|(group, _)| is_meant(group)).collect();
    if instances.is_empty() && !tags.is_empty() {
        let tags: Vec<_> = tags.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let reason = format!("no instance has {}", tags.join(" and "));
        return Some(unknown(name, &reason, room));
    }
    Some(said(active, &instances).within(room))
}

/// The check of all rules together: how many are how bad, and a line for each that is not well.
#[must_use]
pub fn all(view: &View<'_>, age: Span, room: usize) -> Check {
    if age >= STALE {
        return unknown(ALL, &stale(age), room);
    }
    let rules: Vec<_> = view.rules.iter().map(|active| (active.level(), active)).collect();
    let Some(worst) = rules.iter().map(|(level, _)| *level).max() else {
        return unknown(ALL, "there are none", room);
    };
    let count = |level: Level| rules.iter().filter(|(of, _)| *of == level).count();
    let counts = [Level::Critical, Level::Unknown, Level::Warning, Level::Ok]
        .map(|level| (level, count(level)));
    let words = counts.iter().filter(|(_, count)| *count > 0);
    let words: Vec<_> = words.map(|(level, count)| format!("{count} {}", level.word())).collect();
    let not_ok = rules.iter().filter(|(level, _)| *level != Level::Ok);
    let line = |(level, active): &(Level, &Active)| {
        let instances: Vec<_> = active.instances().collect();
        (*level, format!("{}: {}", active.rule().name, summary(active, &instances)))
    };
    let datum = |(level, count): (Level, usize)| Datum {
        label: level.word().to_owned(),
        value: Some(f64::from(u32::try_from(count).unwrap_or(u32::MAX))),
        least: "0",
        ..Datum::default()
    };
    let (level, name) = (worst, ALL.to_owned());
    let lines: Vec<_> = not_ok.map(line).collect();
    Said { level, name, text: words.join(", "), data: counts.map(datum).into(), lines }.within(room)
}

/// An answer that nothing can be said.
#[must_use]
pub fn unknown(name: &str, reason: &str, room: usize) -> Check {
    let (name, text) = (name.to_owned(), reason.to_owned());
    Said { level: Level::Unknown, name, text, data: Vec::new(), lines: Vec::new() }.within(room)
}

fn stale(age: Span) -> String {
    format!("nothing was evaluated for {} s", age.as_millis() / 1000)
}

/// What there is to say of some instances of a rule. What is wrong with the rule itself concerns them all.
fn said(active: &Active, instances: &[(&Group, &State)]) -> Said {
    let worst = instances.iter().map(|(_, state)| state.level).max().unwrap_or_default();
    let is_wrong = active.error().is_some();
    let level = if is_wrong { worst.max(Level::Unknown) } else { worst };
    let line = |(group, state): &(&Group, &State)| {
        let name = title(&active.rule().name, &active.labels(group));
        (state.level, format!("{name}: {}", describe(active, state)))
    };
    let lines = if instances.len() > 1 { instances.iter().map(line).collect() } else { Vec::new() };
    let (name, text) = (active.rule().name.clone(), summary(active, instances));
    Said { level, name, text, data: data(active, instances), lines }
}

/// The first line behind the name.
fn summary(active: &Active, instances: &[(&Group, &State)]) -> String {
    if let Some(error) = active.error() {
        return error;
    }
    if let [(_, state)] = instances {
        return describe(active, state);
    }
    let bad = instances.iter().filter(|(_, state)| state.level != Level::Ok).count();
    let worst = instances.iter().max_by_key(|(_, state)| state.level);
    match (instances.len(), bad, worst) {
        (0, ..) | (_, _, None) => "no data yet".to_owned(),
        (all, 0, _) => format!("{all} instances, all ok"),
        (all, bad, Some((group, state))) => {
            let name = title(&active.rule().name, &active.labels(group));
            format!("{bad} of {all} not ok, {name}: {}", describe(active, state))
        }
    }
}

fn describe(active: &Active, state: &State) -> String {
    let rule = active.rule();
    let seen = observation(rule, state.observation);
    let limit = |limit: Option<Threshold>| limit.map(|limit| threshold(&limit));
    let why = match state.level {
        Level::Critical => limit(rule.critical).map(|limit| format!("critical {limit}")),
        Level::Warning => limit(rule.warning).map(|limit| format!("warning {limit}")),
        Level::Ok | Level::Unknown => None,
    };
    let pending = state.pending().map(|level| format!("{} pending", level.word()));
    let flapping = state.flaps.is_flapping.then(|| "flapping".to_owned());
    let since = (state.level != Level::Ok).then(|| format!("since {}", state.since));
    [Some(seen), why, pending, flapping, since].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The performance data of each instance, with the thresholds that hold now.
fn data(active: &Active, instances: &[(&Group, &State)]) -> Vec<Datum> {
    let rule = active.rule();
    let datum = |(group, state): &(&Group, &State)| Datum {
        label: title(&rule.name, &active.labels(group)),
        value: match state.observation {
            Observation::Value { value, .. } | Observation::AtLeast(value) => Some(value),
            _ => None,
        },
        unit: unit(rule.measure, rule.against.is_some().then_some(rule.change)),
        warning: rule.warning.map(range).unwrap_or_default(),
        critical: rule.critical.map(range).unwrap_or_default(),
        least: least(rule),
    };
    instances.iter().map(datum).collect()
}

/// The unit that performance data has for this, if any.
fn unit(measure: Measure, change: Option<Change>) -> &'static str {
    match (change, measure) {
        (Some(Change::Percent), _) => "%",
        (_, Measure::Age) => "s",
        _ => "",
    }
}

/// The least value that there can be. A change may be negative, and so may a gauge, or what is divided by one.
fn least(rule: &Rule) -> &'static str {
    let is_plain = rule.against.is_none() && rule.over.is_none();
    if is_plain && is_amount(rule.measure) { "0" } else { "" }
}

fn is_amount(measure: Measure) -> bool {
    matches!(measure, Measure::Sum | Measure::Rate | Measure::Count | Measure::Age)
}

/// The range of good values: outside it the plugin alerts.
fn range(threshold: Threshold) -> String {
    match threshold.side {
        Side::Above => format!("~:{}", plain(threshold.value)),
        Side::Below => format!("{}:", plain(threshold.value)),
    }
}

#[cfg(test)]
mod tests;
