//! `[[rule]]`: what is watched, when it is bad, and who is told.

use std::collections::BTreeMap;

use super::metric;
use super::model::{
    Against, Change, Measure, Metric, MetricKind, Missing, MissingState, Per, Rule, Side, Threshold,
};
use super::read::{Names, references, unique};
use super::section::{At, Place, Section, or, values};
use super::sink::{Fault, Finding, Sink, shown};
use super::value;
use crate::limits;
use crate::series::Pattern;
use crate::time::Span;

const BY_TAGS_MAX: usize = 8;

const MISSING_STATE: [(&str, MissingState); 5] = [
    ("unknown", MissingState::Unknown),
    ("keep", MissingState::Keep),
    ("ok", MissingState::Ok),
    ("warning", MissingState::Warning),
    ("critical", MissingState::Critical),
];

/// What a rule has to fit into.
pub(super) struct Context<'a> {
    /// The contacts that there are; `None`: whoever is named.
    pub(super) contacts: Option<&'a Names>,
    /// What is said of series elsewhere in the file.
    pub(super) metrics: &'a [Metric],
    /// How long the longest tier is kept.
    pub(super) reach: Span,
    /// Whether a rule without `notify` tells anybody.
    pub(super) somebody_by_default: bool,
    pub(super) sink: &'a Sink,
}

/// Every rule of the file. One that lacks something is left out.
pub(super) fn rules(root: &mut Section<'_>, context: &Context<'_>) -> Vec<Rule> {
    let sink = context.sink;
    let sections = root.tables("rule", "[[rule]]");
    if let Some(extra) = sections.get(limits::RULES) {
        let message = format!("there are more than {} rules", limits::RULES);
        sink.error(Finding::new(extra.place(), message));
    }
    let (mut names, mut list, mut telling_nobody) = (Vec::new(), Vec::new(), Vec::new());
    for mut section in sections {
        section.require("name");
        let name = section.text("name", value::name);
        let place = name.as_ref().map_or(section.place(), |name| name.place);
        if section.key_place("notify").is_none() && !context.somebody_by_default {
            telling_nobody.push(place);
        }
        let text = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        list.extend(rule(&mut section, text, context));
        names.extend(name);
    }
    unique(names, "rule", sink);
    warn_of_silence(&telling_nobody, sink);
    list
}

/// One warning however many rules it concerns: the cause is one.
fn warn_of_silence(telling_nobody: &[Place], sink: &Sink) {
    let Some(first) = telling_nobody.first() else { return };
    let message = match telling_nobody.len() {
        1 => "this rule notifies nobody: it has no `notify`, and there is no default".to_owned(),
        n => format!("{n} rules notify nobody: they have no `notify`, and there is no default"),
    };
    let help = "set `default` in [notify]; or write `notify = []` where nobody is meant";
    sink.warn(Finding::new(*first, message).help(help));
}

fn rule(section: &mut Section<'_>, name: String, context: &Context<'_>) -> Option<Rule> {
    let sink = context.sink;
    section.require("series");
    section.require("measure");
    let summary = section.text("summary", value::line);
    let series = section.text("series", value::pattern);
    let by = by(section, sink);
    let measure = section.one_of("measure", &Measure::ALL);
    if let (Some(series), Some(measure)) = (&series, measure) {
        check_kind(series, measure, context);
    }
    let per = per(section, measure);
    let window = window(section, measure, sink);
    let comparison = comparison(section, measure, sink);
    check_reach(section, window, &comparison, context);
    let (warning, critical) = thresholds(section, sink);
    let missing = missing(section);
    let told = section.list("notify", value::any);
    let notify = told.map(|told| references(told, context.contacts, sink));
    section.hide_credentials("runbook");
    let runbook = section.text("runbook", value::open_url);
    Some(Rule {
        name,
        summary: or(summary, String::new()),
        series: known::<Pattern>(series)?,
        by,
        measure: known(measure)?,
        per,
        window: window.value,
        against: comparison.against.map(|against| against.value),
        change: comparison.change,
        floor: comparison.floor,
        warning,
        critical,
        missing,
        notify,
        runbook: known(runbook),
    })
}

/// Reports a measure that means nothing for series of the kind that the file says these are.
fn check_kind(series: &At<Pattern>, measure: At<Measure>, context: &Context<'_>) {
    let Some(metric) = metric::of_series(context.metrics, &series.value) else { return };
    if measure.value.applies_to(metric.kind) {
        return;
    }
    let pattern = shown(&metric.series.to_string());
    let what = format!("{} by [[metric]] {pattern}", metric.kind.text());
    let finding = if metric.kind == MetricKind::Item {
        Finding::new(series.place, "items are not watched").label(format!("each is {what}"))
    } else {
        let name = measure.value.name();
        let message = format!("there is no `{name}` of {}", metric.kind.text());
        Finding::new(measure.place, message).also(series.place, format!("each is {what}"))
    };
    context.sink.error(finding);
}

fn known<T>(found: Option<At<T>>) -> Option<T> {
    found.map(|found| found.value)
}

fn by(section: &mut Section<'_>, sink: &Sink) -> Vec<String> {
    let Some(tags) = section.list("by", value::tag) else { return Vec::new() };
    if tags.value.len() > BY_TAGS_MAX {
        let message = format!("`by` names more than {BY_TAGS_MAX} tags");
        sink.error(Finding::new(tags.place, message));
    }
    let mut seen = BTreeMap::new();
    for tag in &tags.value {
        if let Some(first) = seen.insert(tag.value.as_str(), tag.place) {
            let message = format!("{} is written twice", shown(&tag.value));
            sink.error(Finding::new(tag.place, message).also(first, "first here"));
        }
    }
    values(tags)
}

fn per(section: &mut Section<'_>, measure: Option<At<Measure>>) -> Per {
    let per = section.one_of("per", &Per::ALL);
    if known(measure).is_some_and(|measure| measure != Measure::Rate) {
        section.forbid("per", "is the unit of a rate; no other measure has one");
    }
    or(per, Per::Second)
}

fn window(section: &mut Section<'_>, measure: Option<At<Measure>>, sink: &Sink) -> At<Span> {
    let window = section.text("window", |text| {
        let window = value::span(text)?;
        if window.is_zero() || !window.is_multiple_of(Span::SECOND) {
            let fault = Fault::new("`window` is out of range");
            return Err(fault.label("must be a whole number of seconds, at least 1s"));
        }
        Ok(window)
    });
    if let (Some(window), Some(Measure::Age)) = (&window, known(measure)) {
        let message = "`window` does nothing here: an age is the time since the last update";
        sink.warn(Finding::new(window.place, message));
    }
    window.unwrap_or(At { value: Span::from_secs(60), place: section.place() })
}

/// How a rule compares its window with an earlier one.
struct Comparison {
    against: Option<At<Against>>,
    change: Change,
    floor: Option<f64>,
}

fn comparison(section: &mut Section<'_>, measure: Option<At<Measure>>, sink: &Sink) -> Comparison {
    let against = section.one_of("against", &Against::ALL);
    let change = section.one_of("change", &Change::ALL);
    let floor = section.number("floor");
    if section.key_place("against").is_none() {
        for key in ["change", "floor"] {
            section.forbid(key, "belongs to a comparison, and this rule has no `against`");
        }
    }
    if let Some(floor) = floor.filter(|floor| floor.value < 0.0) {
        let finding = Finding::new(floor.place, "`floor` is out of range");
        sink.error(finding.label("must be 0 or more"));
    }
    let change_is_percent = section.key_place("change").is_none()
        || change.is_some_and(|change| change.value == Change::Percent);
    if let Some(against) = against {
        if known(measure) == Some(Measure::Age) {
            let message = "an age has no earlier value to be compared with";
            sink.error(Finding::new(against.place, message));
        } else if change_is_percent && section.key_place("floor").is_none() {
            let message = "a change in percent needs a `floor`";
            let help = "with less than the floor in both windows nothing is judged: from 1 to 3 is \
                        also +200 %; `floor = 0` judges always";
            sink.error(Finding::new(against.place, message).help(help).absence());
        }
    }
    Comparison { against, change: or(change, Change::Percent), floor: known(floor) }
}

/// Reports a rule that looks further back than anything is kept.
fn check_reach(
    section: &Section<'_>,
    window: At<Span>,
    comparison: &Comparison,
    context: &Context<'_>,
) {
    let (back, against) = match comparison.against {
        None => (Span::ZERO, window.place),
        Some(At { value: Against::Previous, place }) => (window.value, place),
        Some(At { value: Against::Ago(span), place }) => (span, place),
    };
    let needed = window.value.plus(back);
    if needed <= context.reach {
        return;
    }
    let place = if window.value > context.reach { window.place } else { against };
    let message = format!("this rule looks {needed} back, and nothing is kept so long");
    let label = format!("the longest tier keeps {}", context.reach);
    let mut finding = Finding::new(place, message).label(label).absence();
    if place != window.place && section.key_place("window").is_some() {
        finding = finding.also(window.place, "this much before that");
    }
    context.sink.error(finding.help("lengthen `keep` of the last [[tier]]"));
}

fn thresholds(section: &mut Section<'_>, sink: &Sink) -> (Option<Threshold>, Option<Threshold>) {
    let warning = section.table("warning", "`warning`").map(|table| threshold(table, sink));
    let critical = section.table("critical", "`critical`").map(|table| threshold(table, sink));
    if section.key_place("warning").is_none() && section.key_place("critical").is_none() {
        let message = "a rule needs `warning` or `critical`";
        let finding = Finding::new(section.place(), message).absence();
        sink.error(finding.help("write for example: critical = { above = 100, clear = 80 }"));
    }
    let (warning, critical) = (warning.flatten(), critical.flatten());
    if let (Some(warning), Some(critical)) = (&warning, &critical)
        && warning.value.side == critical.value.side
        && is_beyond(warning.value.side, warning.value.value, critical.value.value)
    {
        let message = "critical is milder than warning, so warning is never seen alone";
        sink.warn(Finding::new(critical.place, message).also(warning.place, "warning is here"));
    }
    (known(warning), known(critical))
}

/// Whether `value` lies strictly on the bad side of `limit`.
fn is_beyond(side: Side, value: f64, limit: f64) -> bool {
    match side {
        Side::Above => value > limit,
        Side::Below => value < limit,
    }
}

/// A threshold at the place of its value.
fn threshold(mut section: Section<'_>, sink: &Sink) -> Option<At<Threshold>> {
    let above = section.number("above");
    let below = section.number("below");
    let clear = section.number("clear");
    let hold = or(section.text("for", value::span), Span::ZERO);
    let clear_hold = or(section.text("clear_for", value::span), Span::ZERO);
    let (side, limit) = match (section.key_place("above"), section.key_place("below")) {
        (Some(above), Some(below)) => {
            let message = "a threshold is either `above` or `below`";
            let help = "two rules can watch both sides";
            sink.error(Finding::new(below, message).also(above, "and here").help(help));
            return None;
        }
        (None, None) => {
            let message = "a threshold needs `above` or `below`";
            sink.error(Finding::new(section.place(), message).absence());
            return None;
        }
        (Some(_), None) => (Side::Above, above?),
        (None, Some(_)) => (Side::Below, below?),
    };
    if let Some(clear) = clear.filter(|clear| is_beyond(side, clear.value, limit.value)) {
        let sides = match side {
            Side::Above => "must be at or below it",
            Side::Below => "must be at or above it",
        };
        let message = "`clear` lies on the wrong side of the threshold";
        sink.error(
            Finding::new(clear.place, message).label(sides).also(limit.place, "the threshold"),
        );
    }
    let clear = or(clear, limit.value);
    let value = Threshold { side, value: limit.value, clear, hold, clear_hold };
    Some(At { value, place: limit.place })
}

fn missing(section: &mut Section<'_>) -> Option<Missing> {
    let mut section = section.table("missing", "`missing`")?;
    let default = Missing::default();
    Some(Missing {
        after: or(section.text("after", value::span), default.after),
        state: or(section.one_of("state", &MISSING_STATE), default.state),
    })
}
