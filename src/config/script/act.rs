//! `act` of a case: what people do while it is played.

use std::collections::BTreeMap;

use super::super::model::Config;
use super::super::section::{Place, Section};
use super::super::sink::{Finding, Sink};
use super::super::value;
use super::{check_instance, instance, whole_seconds};
use crate::series::Pattern;
use crate::time::Span;

/// What somebody does at an instant.
#[derive(Clone, Debug)]
pub struct Act {
    /// The line of the file, from 1.
    pub line: usize,
    /// Time since the start: whole seconds. It is done after the evaluation at that instant.
    pub at: Span,
    /// What.
    pub deed: Deed,
}

/// What somebody does.
#[derive(Clone, Debug)]
pub enum Deed {
    /// Acknowledges what is open of a rule.
    Acknowledge(Whose),
    /// Takes that back.
    Unacknowledge(Whose),
    /// Silences.
    Silence {
        /// Names of rules, with tags.
        rule: Pattern,
        /// Series that they are about.
        series: Option<Pattern>,
        /// For how long.
        length: Option<Span>,
        /// In whose hours.
        schedule: Option<String>,
    },
    /// Ends all silences of that pattern.
    Unsilence(Pattern),
}

/// An incident, by what it is about.
#[derive(Clone, Debug)]
pub struct Whose {
    /// The name of a rule of the case.
    pub rule: String,
    /// Which instance; `None`: all that are open.
    pub by: Option<BTreeMap<String, String>>,
}

const DEEDS: [&str; 4] = ["ack", "unack", "silence", "unsilence"];

/// What is done in a case, in the order of time; at one instant in that of the file.
pub(super) fn acts(
    section: &mut Section<'_>,
    config: &Config,
    sink: &Sink,
    line_of: &dyn Fn(Place) -> usize,
) -> Vec<Act> {
    let sections = section.tables("act", "`act`");
    let acts =
        sections.into_iter().filter_map(|mut section| act(&mut section, config, sink, line_of));
    let mut acts: Vec<_> = acts.collect();
    acts.sort_by_key(|act| act.at);
    acts
}

fn act(
    section: &mut Section<'_>,
    config: &Config,
    sink: &Sink,
    line_of: &dyn Fn(Place) -> usize,
) -> Option<Act> {
    section.require("at");
    let at = section.text("at", whole_seconds);
    let written = DEEDS.iter().filter(|key| section.key_place(key).is_some()).count();
    let acknowledge = whose("ack", section, config, sink);
    let unacknowledge = whose("unack", section, config, sink);
    let silence = section.text("silence", value::pattern);
    let unsilence = section.text("unsilence", value::pattern);
    let series = section.text("series", value::pattern).map(|series| series.value);
    let length = section.text("for", whole_seconds).map(|length| length.value);
    let schedule = section.text("schedule", value::any).map(|name| name.value.to_owned());
    if written != 1 {
        let message = "one of `ack`, `unack`, `silence` and `unsilence` says what is done";
        sink.error(Finding::new(section.place(), message).absence());
    }
    if silence.is_some() && length.is_none() && schedule.is_none() {
        let message = "a silence has `for` or `schedule`";
        sink.error(Finding::new(section.place(), message).absence());
    }
    let silence = silence.map(|rule| Deed::Silence { rule: rule.value, series, length, schedule });
    let deed = acknowledge.map(Deed::Acknowledge);
    let deed = deed.or(unacknowledge.map(Deed::Unacknowledge)).or(silence);
    let deed = deed.or(unsilence.map(|rule| Deed::Unsilence(rule.value)));
    Some(Act { line: line_of(section.place()), at: at?.value, deed: deed? })
}

fn whose(
    key: &'static str,
    section: &mut Section<'_>,
    config: &Config,
    sink: &Sink,
) -> Option<Whose> {
    let rule = section.text(key, |text| Ok(text.to_owned()))?;
    let by = instance(section);
    check_instance(&rule, by.as_deref(), config, sink);
    let by =
        by.map(|by| by.into_iter().map(|(tag, value)| (tag.value.to_owned(), value)).collect());
    Some(Whose { rule: rule.value, by })
}
