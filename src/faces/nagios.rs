//! A rule's state as a Nagios plugin prints it: one line, performance data, more lines.
//!
//! Source of the form: the Monitoring Plugins Development Guidelines (output, ranges, performance
//! data). The line begins with the state, from which the exit code follows, so whoever carries it
//! needs nothing else.

use std::fmt::Write;

use crate::config::{Change, Measure, Side, Threshold};
use crate::engine::View;
use crate::limits;
use crate::notify::message::title;
use crate::query::{Group, Observation};
use crate::rules::wording::{observation, threshold};
use crate::rules::{Active, Level, State};
use crate::time::Span;

/// Without an evaluation for this long nothing can be said.
pub const STALE: Span = Span::from_secs(10);

/// The answer to a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The state.
    pub level: Level,
    /// The whole output, without a line end after it; at most [`limits::NAGIOS_BYTES`].
    pub text: String,
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

    /// The state that the output for a rule begins with; `None` where it does not begin as every
    /// check of that rule does, so something else wrote it.
    #[must_use]
    pub fn of_output(text: &str, rule: &str) -> Option<Self> {
        let (word, rest) = text.split_once(" - ")?;
        rest.strip_prefix(clean(rule).as_str())?.strip_prefix(": ")?;
        [Self::Ok, Self::Warning, Self::Unknown, Self::Critical]
            .into_iter()
            .find(|level| level.name() == word)
    }
}

/// The check of a rule, last evaluated that long ago; `None` where there is no such rule.
#[must_use]
pub fn check(view: &View<'_>, rule: &str, age: Span) -> Option<Check> {
    let active = view.rules.get(rule)?;
    let name = &active.rule().name;
    if age >= STALE {
        let reason = format!("nothing was evaluated for {} s", age.as_millis() / 1000);
        return Some(unknown(name, &reason));
    }
    let level = active.level();
    let instances: Vec<_> = active.instances().collect();
    let mut text = format!("{} - {name}: ", level.name());
    if let Some(error) = active.error() {
        text.push_str(&clean(&error));
    } else if let [(_, state)] = instances.as_slice() {
        text.push_str(&clean(&describe(active, state)));
    } else {
        text.push_str(&clean(&summarize(active, &instances)));
    }
    truncate(&mut text, limits::NAGIOS_BYTES / 8);
    let perfdata = perfdata(active, &instances, limits::NAGIOS_BYTES / 2);
    if !perfdata.is_empty() {
        let _ = write!(text, " | {perfdata}");
    }
    if instances.len() > 1 {
        long_output(active, &instances, &mut text);
    }
    Some(Check { level, text })
}

/// An answer that nothing can be said.
#[must_use]
pub fn unknown(name: &str, reason: &str) -> Check {
    let mut text = format!("UNKNOWN - {}: {}", clean(name), clean(reason));
    truncate(&mut text, limits::NAGIOS_BYTES / 8);
    Check { level: Level::Unknown, text }
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

fn summarize(active: &Active, instances: &[(&Group, &State)]) -> String {
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

/// One line for each instance, as far as the room goes.
fn long_output(active: &Active, instances: &[(&Group, &State)], text: &mut String) {
    let room = limits::NAGIOS_BYTES - 64;
    for (at, (group, state)) in instances.iter().enumerate() {
        let name = title(&active.rule().name, &active.labels(group));
        let line = format!("{} - {name}: {}", state.level.name(), describe(active, state));
        let line = clean(&line);
        if text.len() + line.len() + 1 > room {
            let _ = write!(text, "\n… and {} more", instances.len() - at);
            return;
        }
        text.push('\n');
        text.push_str(&line);
    }
}

/// `'label'=value[unit];warn;crit;min;` for each instance, whole ones only.
fn perfdata(active: &Active, instances: &[(&Group, &State)], room: usize) -> String {
    let rule = active.rule();
    let is_percent = rule.against.is_some() && rule.change == Change::Percent;
    let unit = match (is_percent, rule.measure) {
        (true, _) => "%",
        (false, Measure::Age) => "s",
        _ => "",
    };
    let warning = rule.warning.map(range).unwrap_or_default();
    let critical = rule.critical.map(range).unwrap_or_default();
    // A change may be negative, and so may a gauge.
    let is_amount =
        matches!(rule.measure, Measure::Sum | Measure::Rate | Measure::Count | Measure::Age);
    let least = if is_amount && rule.against.is_none() { "0" } else { "" };
    let mut text = String::new();
    for (group, state) in instances {
        let label = label(&title(&rule.name, &active.labels(group)));
        let (value, unit) = match state.observation {
            Observation::Value { value, .. } | Observation::AtLeast(value) if value.is_finite() => {
                (plain(value), unit)
            }
            _ => ("U".to_owned(), ""),
        };
        let one = format!("'{label}'={value}{unit};{warning};{critical};{least};");
        if text.len() + one.len() + 1 > room {
            break;
        }
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(&one);
    }
    text
}

/// The range of good values: outside it the plugin alerts.
fn range(threshold: Threshold) -> String {
    match threshold.side {
        Side::Above => format!("~:{}", plain(threshold.value)),
        Side::Below => format!("{}:", plain(threshold.value)),
    }
}

/// A number as machines read it: no exponent, at most six digits after the point.
fn plain(value: f64) -> String {
    let text = format!("{value:.6}");
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A label inside its quotes: a quote is doubled, and there is no equals sign.
fn label(text: &str) -> String {
    clean(text).replace('=', ":").replace('\'', "''")
}

/// Without what ends a line or begins the performance data, and in ASCII where it is ours.
fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '|' => '/',
            '−' => '-',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end =
            (0..=bytes.saturating_sub('…'.len_utf8())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}

#[cfg(test)]
mod tests;
