//! `[[schedule]]`: hours of the week under a name, for rules to be bound to.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::model::Schedule;
use super::nearest::nearest;
use super::read::{Names, unique};
use super::section::{At, Section, values};
use super::sink::{Finding, Sink, shown};
use super::value;
use crate::limits;
use crate::time::Weekly;

/// The schedules of the file, for the rules that name one.
pub(super) struct Schedules {
    /// Those without a mistake, in file order.
    pub(super) list: Vec<Arc<Schedule>>,
    /// All of them.
    names: Names,
}

/// Every schedule of the file.
pub(super) fn schedules(root: &mut Section<'_>, sink: &Sink) -> Schedules {
    let sections = root.tables("schedule", "[[schedule]]");
    if let Some(extra) = sections.get(limits::SCHEDULES) {
        let message = format!("there are more than {} schedules", limits::SCHEDULES);
        sink.error(Finding::new(extra.place(), message));
    }
    let (mut list, mut names) = (Vec::new(), Vec::new());
    for mut section in sections {
        section.require("name");
        let name = section.text("name", value::name);
        let hours = hours(&mut section, sink);
        if let (Some(name), Some(hours)) = (&name, hours) {
            list.push(Arc::new(Schedule { name: name.value.clone(), hours }));
        }
        names.extend(name);
    }
    Schedules { list, names: unique(names, "schedule", sink) }
}

fn hours(section: &mut Section<'_>, sink: &Sink) -> Option<Weekly> {
    section.require("times");
    if section.key_place("zone").is_none() {
        let finding = Finding::new(section.place(), "`zone` is missing in this [[schedule]]");
        let help = "write for example: zone = \"America/Los_Angeles\", or \"UTC\"";
        sink.error(finding.help(help).absence());
    }
    if section.is_empty_list("times") {
        let place = section.key_place("times").unwrap_or(section.place());
        sink.error(Finding::new(place, "a schedule without `times` is never active"));
    }
    let times = section.list("times", value::stretch);
    let zone = section.text("zone", value::zone);
    let except = section.list("except", value::date);
    bounded("times", times.as_ref(), limits::SCHEDULE_TIMES, sink);
    bounded("except", except.as_ref(), limits::SCHEDULE_DATES, sink);
    if let Some(except) = &except {
        once(except, sink);
    }
    let except = except.map(values).unwrap_or_default().into_iter().collect();
    Some(Weekly::new(values(times?), zone?.value, except))
}

fn bounded<T>(key: &str, list: Option<&At<Vec<At<T>>>>, most: usize, sink: &Sink) {
    if let Some(extra) = list.and_then(|list| list.value.get(most)) {
        sink.error(Finding::new(extra.place, format!("`{key}` has more than {most} entries")));
    }
}

fn once(dates: &At<Vec<At<jiff::civil::Date>>>, sink: &Sink) {
    let mut seen = BTreeMap::new();
    for date in &dates.value {
        if let Some(first) = seen.insert(date.value, date.place) {
            let finding = Finding::new(date.place, format!("{} is written twice", date.value));
            sink.error(finding.also(first, "first here"));
        }
    }
}

impl Schedules {
    /// The schedule that a key names; `None` where none is named, and after a problem was reported.
    pub(super) fn named(&self, named: Option<&At<&str>>, sink: &Sink) -> Option<Arc<Schedule>> {
        let named = named?;
        if !self.names.contains_key(named.value) {
            let message = format!("there is no schedule {}", shown(named.value));
            let help = match nearest(named.value, self.names.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "a schedule is defined under [[schedule]]".to_owned(),
            };
            sink.error(Finding::new(named.place, message).help(help).absence());
        }
        self.list.iter().find(|schedule| schedule.name == named.value).cloned()
    }
}
