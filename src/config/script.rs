//! A file of cases for `tallyd rules test`: what happens to some series, and what rules are to make of it.
//!
//! A case has rules of its own, or those of a configuration file. Whatever is wrong with the file is told at
//! once, as for a configuration. What a case comes to is not known here.

mod act;
mod reload;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use toml::de::DeTable;

pub use act::{Act, Deed, Whose};
pub use reload::Reload;
pub use values::{Step, Steps};

use super::model::{Config, Contact, Metric, MetricKind, Secret, Webhook, WebhookFormat};
use super::nearest::nearest;
use super::read::{Reader, unique};
use super::section::{At, Place, Section, or};
use super::sink::{Fault, Finding, Sink, shown};
use super::surroundings::Surroundings;
use super::{LoadError, Problems, metric, rule, schedule, text_of, value};
use crate::limits;
use crate::series::{Pattern, Series};
use crate::time::{Span, Timestamp};

/// Monday, 2026-01-05T00:00:00Z.
const START: Timestamp = Timestamp::from_secs(1_767_571_200);

/// A file of cases.
#[derive(Clone, Debug)]
pub struct Script {
    /// In the order of the file; names are unique.
    pub cases: Vec<Case>,
    /// What its author may not have meant.
    pub warnings: Problems,
}

/// One `[[test]]`.
#[derive(Clone, Debug)]
pub struct Case {
    /// Unique in its file.
    pub name: String,
    /// When it begins: a whole second.
    pub start: Timestamp,
    /// From one step of its input to the next: whole seconds, at least one.
    pub step: Span,
    /// What happens to each series.
    pub inputs: Vec<Input>,
    /// What people do, in the order of time.
    pub acts: Vec<Act>,
    /// What is to come of it, in the order of time.
    pub expectations: Vec<Expectation>,
    /// Its rules, and what they need.
    pub config: Config,
    /// When they are others, in the order of time.
    pub reloads: Vec<Reload>,
}

/// What happens to one series.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its key.
    pub key: String,
    /// What its values are.
    pub kind: InputKind,
    /// One after the other, from the start on.
    pub steps: Steps,
}

/// What the values of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// It is incremented by them.
    Counter,
    /// It is set to them.
    Gauge,
    /// They are observed.
    Distribution,
}

/// What is to be at an instant.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The line of the file, from 1.
    pub line: usize,
    /// Time since the start: whole seconds. What holds after the evaluation at that instant is meant.
    pub at: Span,
    /// The name of a rule of the case.
    pub rule: String,
    /// Which instance; `None`: the worst of all.
    pub by: Option<BTreeMap<String, String>>,
    /// Its state; `None`: whatever.
    pub state: Option<StateWord>,
    /// The contacts that were sent something about the rule since its expectation before, in order;
    /// `None`: whoever.
    pub notified: Option<Vec<String>>,
}

/// A state by its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StateWord {
    /// All is well.
    Ok,
    /// Look at it in the morning.
    Warning,
    /// Nobody knows.
    Unknown,
    /// Look at it now.
    Critical,
}

impl StateWord {
    /// All of them with their words.
    pub const ALL: [(&'static str, Self); 4] = [
        ("ok", Self::Ok),
        ("warning", Self::Warning),
        ("unknown", Self::Unknown),
        ("critical", Self::Critical),
    ];
}

/// Reads the file of cases at `path`, which must hold at most [`limits::CONFIG_BYTES`] bytes of UTF-8. Paths
/// inside it begin at its folder.
///
/// # Errors
/// See [`LoadError`].
pub fn load_script(path: &Path, surroundings: &Surroundings<'_>) -> Result<Script, LoadError> {
    let text = text_of(path, surroundings)?;
    Ok(parse_script(&text, path, surroundings)?)
}

/// Checks the text of such a file.
///
/// # Errors
/// Every problem of the file, in the order of its lines.
pub fn parse_script(
    text: &str,
    origin: &Path,
    surroundings: &Surroundings<'_>,
) -> Result<Script, Problems> {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let sink = Sink::new(&syntax);
    let folder = origin.parent().unwrap_or(Path::new(""));
    let reader = Reader { sink: &sink, surroundings, folder };
    let line_of = |place: Place| {
        1 + text.as_bytes().iter().take(place.start).filter(|byte| **byte == b'\n').count()
    };
    let cases = cases(&mut Section::root(tree.get_ref(), &sink), &reader, &line_of);
    let (errors, warnings) = sink.finish(text, origin);
    if errors.is_empty() { Ok(Script { cases, warnings }) } else { Err(errors) }
}

fn cases(
    root: &mut Section<'_>,
    reader: &Reader<'_>,
    line_of: &dyn Fn(Place) -> usize,
) -> Vec<Case> {
    let (mut names, mut cases) = (Vec::new(), Vec::new());
    let sections = root.tables("test", "[[test]]");
    if sections.is_empty() {
        let message = "there is no case in this file";
        let finding = Finding::new(root.place(), message).absence();
        reader.sink.error(finding.help("a case begins with [[test]]"));
    }
    for mut section in sections {
        section.require("name");
        section.require("expect");
        let name = section.text("name", value::line).map(|at| At { value: at.value.clone(), ..at });
        let text = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        cases.push(case(&mut section, text, reader, line_of));
        names.extend(name);
    }
    unique(names, "test", reader.sink);
    cases
}

fn case(
    section: &mut Section<'_>,
    name: String,
    reader: &Reader<'_>,
    line_of: &dyn Fn(Place) -> usize,
) -> Case {
    let sink = reader.sink;
    let start = or(section.text("start", start), START);
    let step = or(section.text("step", whole_seconds), Span::from_secs(10));
    let mut config = rules(section, reader);
    let inputs = inputs(section, &mut config, sink);
    let reloads = reload::reloads(section, reader);
    let all = reload::all(&config, &reloads);
    let acts = act::acts(section, &all, sink, line_of);
    let expectations = expectations(section, &all, sink, line_of);
    let last = expectations.iter().map(|expected| expected.at).max().unwrap_or_default();
    for late in acts.iter().filter(|act| act.at > last) {
        let message = format!("nothing is expected after what is done at {}", late.at);
        sink.error(Finding::new(section.place(), message));
    }
    if last > Span::from_secs(limits::SCRIPT_SECS) {
        let days = limits::SCRIPT_SECS / (24 * 60 * 60);
        let message = format!("a case may last {days} days, and this one lasts {last}");
        sink.error(Finding::new(section.place(), message));
    }
    Case { name, start, step, inputs, acts, expectations, config, reloads }
}

fn start(text: &str) -> Result<Timestamp, Fault> {
    let wrong = || Fault::new(format!("{} is not an instant", shown(text)));
    let instant = Timestamp::parse(text, START).map_err(|_| wrong())?;
    if text.starts_with('-') || text == "now" || instant.align_down(Span::SECOND) != instant {
        return Err(wrong().help("write it like \"2026-01-05T00:00:00Z\""));
    }
    Ok(instant)
}

fn whole_seconds(text: &str) -> Result<Span, Fault> {
    let span = value::span(text)?;
    if span.is_zero() || !span.is_multiple_of(Span::SECOND) {
        let fault = Fault::new(format!("{} is out of range", shown(text)));
        return Err(fault.label("must be a whole number of seconds, at least 1s"));
    }
    Ok(span)
}

/// The rules of the case itself, or those of the file that it names.
fn rules(section: &mut Section<'_>, reader: &Reader<'_>) -> Config {
    let file = section.text("rules", |text| Ok(text.to_owned()));
    if section.key_place("rules").is_none() {
        return inline_rules(section, reader);
    }
    for key in ["rule", "metric", "schedule"] {
        section.forbid(key, "is taken from the file that `rules` names");
    }
    let Some(file) = file else { return Config::default() };
    let path = reader.folder.join(&file.value);
    match super::load(&path, reader.surroundings) {
        Ok(loaded) => loaded.config,
        Err(error) => {
            let message = match &error {
                LoadError::Invalid(problems) => format!("there are {}", problems.summary()),
                other => other.to_string(),
            };
            let help = format!("`tallyd config check {}` tells more", path.display());
            reader.sink.error(Finding::new(file.place, message).help(help));
            Config::default()
        }
    }
}

fn inline_rules(section: &mut Section<'_>, reader: &Reader<'_>) -> Config {
    let mut config = Config::default();
    if section.key_place("rule").is_none() {
        let message = "a case needs rules";
        let help = "write some under [[test.rule]], or name a file with `rules = \"tallyd.toml\"`";
        reader.sink.error(Finding::new(section.place(), message).absence().help(help));
    }
    config.metrics = metric::metrics(section, reader.sink);
    let reach = config.tiers.iter().map(|tier| tier.keep).max();
    let schedules = schedule::schedules(section, reader.sink);
    let context = rule::Context {
        contacts: None,
        schedules: &schedules,
        metrics: &config.metrics,
        reach: reach.unwrap_or_default(),
        somebody_by_default: true,
        sink: reader.sink,
    };
    config.rules = rule::rules(section, &context);
    config.schedules = schedules.list;
    // Whoever is named listens, and nothing is sent.
    let told = config.rules.iter().flat_map(|rule| {
        rule.notify.iter().flatten().chain(rule.escalate.iter().flat_map(|step| &step.notify))
    });
    let told: BTreeSet<&String> = told.collect();
    config.contacts = told.into_iter().map(|name| recording(name)).collect();
    config
}

/// A contact that is never called.
fn recording(name: &str) -> Contact {
    let webhook = Webhook {
        url: Secret::new("http://127.0.0.1:9/"),
        format: WebhookFormat::Alertmanager,
        secret: None,
        ca_pem: None,
        headers: BTreeMap::new(),
    };
    Contact { name: name.to_owned(), email: Vec::new(), webhook: Some(webhook) }
}

fn inputs(section: &mut Section<'_>, config: &mut Config, sink: &Sink) -> Vec<Input> {
    let words = [
        ("counter", InputKind::Counter),
        ("gauge", InputKind::Gauge),
        ("distribution", InputKind::Distribution),
    ];
    let mut inputs = Vec::new();
    for mut section in section.tables("input", "`input`") {
        section.require("series");
        section.require("values");
        let series = section.text("series", series_key);
        let kind = or(section.one_of("kind", &words), InputKind::Counter);
        let steps = section.text("values", |text| {
            values::steps(text).map_err(|word| {
                Fault::new(format!("{} is not a step", shown(word)))
                    .help("steps are like 1, 20x12, 0+5x12, _ (untouched) or !x6 (tallyd is down)")
            })
        });
        if let Some(steps) = &steps
            && kind == InputKind::Counter
            && !steps.value.are_increments()
        {
            let message = "a counter is incremented by whole numbers of 0 and more";
            let help = "kind = \"gauge\" sets, kind = \"distribution\" observes";
            sink.error(Finding::new(steps.place, message).help(help));
        }
        let (Some(series), Some(steps)) = (series, steps) else { continue };
        match kind {
            InputKind::Distribution => config.metrics.extend(unknown_distribution(&series, config)),
            InputKind::Counter | InputKind::Gauge => check_kind(&series, config, sink),
        }
        inputs.push(Input { key: series.value, kind, steps: steps.value });
    }
    inputs
}

fn series_key(text: &str) -> Result<String, Fault> {
    let fault = |label: &str| Fault::new(format!("{} is no series", shown(text))).label(label);
    let series = Series::from_key(text.as_bytes());
    if text.is_empty() || text.len() > limits::KEY_BYTES {
        return Err(fault("must have 1 to 250 bytes"));
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(fault("white space cannot be part of a key"));
    }
    if text.contains(['{', '*']) || (text.contains(';') && series.tags().is_empty()) {
        return Err(fault("write it as a client does, like orders;region=eu"));
    }
    if crate::series::is_reserved(text.as_bytes()) {
        return Err(fault("tallyd.* is reserved for figures of tallyd's own"));
    }
    Ok(text.to_owned())
}

/// What makes a series a distribution, where nothing does yet.
fn unknown_distribution(series: &At<String>, config: &Config) -> Option<Metric> {
    let known = Series::from_key(series.value.as_bytes());
    if config.metrics.iter().any(|metric| metric.series.matches(&known)) {
        return None;
    }
    let pattern: Pattern = series.value.parse().ok()?;
    Some(metric::distribution(pattern))
}

/// Reports values of a kind that the series cannot be.
fn check_kind(series: &At<String>, config: &Config, sink: &Sink) {
    let known = Series::from_key(series.value.as_bytes());
    let metric = config.metrics.iter().find(|metric| metric.series.matches(&known));
    if let Some(metric) = metric.filter(|metric| metric.kind == MetricKind::Distribution) {
        let message = format!("this series is {} by [[metric]]", metric.kind.text());
        let help = "write kind = \"distribution\" beside it";
        sink.error(Finding::new(series.place, message).help(help));
    }
}

fn expectations(
    section: &mut Section<'_>,
    config: &Config,
    sink: &Sink,
    line_of: &dyn Fn(Place) -> usize,
) -> Vec<Expectation> {
    if section.is_empty_list("expect") {
        let message = "this case expects nothing, and would hold whatever its rules do";
        let place = section.key_place("expect").unwrap_or_else(|| section.place());
        sink.error(Finding::new(place, message));
    }
    let mut list: Vec<_> = section
        .tables("expect", "`expect`")
        .into_iter()
        .filter_map(|mut section| expectation(&mut section, config, sink, line_of))
        .collect();
    // In order of time; at one instant in that of the file.
    list.sort_by_key(|expected| expected.at);
    list
}

/// The tags of an instance.
fn instance<'a>(section: &mut Section<'a>) -> Option<Vec<(At<&'a str>, String)>> {
    let by = section.free_table("by")?;
    Some(by.into_iter().map(|(tag, value)| (tag, value.value.to_owned())).collect())
}

fn expectation(
    section: &mut Section<'_>,
    config: &Config,
    sink: &Sink,
    line_of: &dyn Fn(Place) -> usize,
) -> Option<Expectation> {
    section.require("at");
    section.require("rule");
    let at = section.text("at", whole_seconds);
    let rule = section.text("rule", |text| Ok(text.to_owned()));
    let by = instance(section);
    let state = section.one_of("state", &StateWord::ALL);
    let notified = section.list("notified", value::any);
    if section.key_place("state").is_none() && section.key_place("notified").is_none() {
        let message = "this expects nothing: it has neither `state` nor `notified`";
        sink.error(Finding::new(section.place(), message).absence());
    }
    let line = line_of(section.place());
    let (at, rule) = (at?, rule?);
    check_instance(&rule, by.as_deref(), config, sink);
    for name in notified.iter().flat_map(|list| &list.value) {
        check_contact(name, config, sink);
    }
    let notified = notified.map(|list| list.value.iter().map(|at| at.value.to_owned()).collect());
    Some(Expectation {
        line,
        at: at.value,
        rule: rule.value,
        by: by.map(|by| by.into_iter().map(|(tag, value)| (tag.value.to_owned(), value)).collect()),
        state: state.map(|state| state.value),
        notified,
    })
}

/// Reports an instance that the rules of the case cannot have.
fn check_instance(
    name: &At<String>,
    by: Option<&[(At<&str>, String)]>,
    config: &Config,
    sink: &Sink,
) {
    // Rules that are wrong have been reported.
    let Some(rule) = config.rules.iter().find(|rule| rule.name == name.value) else {
        let message = format!("there is no rule {}", shown(&name.value));
        let finding = Finding::new(name.place, message).absence();
        let names = config.rules.iter().map(|rule| rule.name.as_str());
        return sink.error(match nearest(&name.value, names) {
            Some(meant) => finding.help(format!("did you mean `{meant}`?")),
            None => finding,
        });
    };
    for (tag, _) in by.unwrap_or_default() {
        if !rule.by.iter().any(|known| known == tag.value) {
            let message = format!("{} is no tag that the rule has in its `by`", shown(tag.value));
            sink.error(Finding::new(tag.place, message));
        }
    }
    if let Some(by) = by
        && let Some(lacking) = rule.by.iter().find(|tag| by.iter().all(|(at, _)| at.value != *tag))
    {
        let message = format!("`by` does not say which {} is meant", shown(lacking));
        sink.error(Finding::new(name.place, message).absence());
    }
}

fn check_contact(name: &At<&str>, config: &Config, sink: &Sink) {
    if config.contacts.iter().any(|contact| contact.name == name.value) {
        return;
    }
    let message = format!("no rule tells {}", shown(name.value));
    let finding = Finding::new(name.place, message).absence();
    let names = config.contacts.iter().map(|contact| contact.name.as_str());
    sink.error(match nearest(name.value, names) {
        Some(meant) => finding.help(format!("did you mean `{meant}`?")),
        None => finding,
    });
}

#[cfg(test)]
mod tests;
