//! `[[rule]]`: what is watched, when it is bad, and who is told.

use std::collections::BTreeMap;

use super::depends::{self, Depends};
use super::metric;
use super::model::{
    Against, Change, Escalation, Flapping, Measure, Metric, MetricKind, Missing, MissingState, Per,
    Rule,
};
use super::read::{Names, references, unique};
use super::schedule::Schedules;
use super::section::{At, Place, Section, Switch, or, values};
use super::sink::{Fault, Finding, Sink, shown};
use super::threshold::{Around, Thresholds, of_last, thresholds, whens};
use super::value;
use crate::limits;
use crate::series::Pattern;
use crate::time::{Span, Zone};

const BY_TAGS_MAX: usize = 8;

/// What is told more often than that is ignored.
const REPEAT_MIN: Span = Span::from_secs(60);

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
    pub(super) schedules: &'a Schedules,
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
    let mut depends: Vec<Depends<'_>> = Vec::new();
    for mut section in sections {
        section.require("name");
        let name = section.text("name", value::name);
        let place = name.as_ref().map_or(section.place(), |name| name.place);
        if section.key_place("notify").is_none() && !context.somebody_by_default {
            telling_nobody.push(place);
        }
        let text = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
        let depends_on = depends_on(&mut section, sink);
        list.extend(rule(&mut section, text.clone(), &depends_on, context));
        depends.push((text, depends_on));
        names.extend(name);
    }
    let names = unique(names, "rule", sink);
    depends::check(&depends, &names, sink);
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

fn rule(
    section: &mut Section<'_>,
    name: String,
    depends_on: &[At<&str>],
    context: &Context<'_>,
) -> Option<Rule> {
    let sink = context.sink;
    section.require("series");
    section.require("measure");
    let summary = section.text("summary", value::line);
    let series = section.text("series", value::pattern);
    let by = by(section, sink);
    let measure = section.one_of("measure", &Measure::ALL);
    let over = over(section, measure, sink);
    if let Some(measure) = measure {
        series.iter().chain(&over).for_each(|series| check_kind(series, measure, context));
    }
    let per = per(section, measure);
    let window = window(section, measure, sink);
    let comparison = comparison(section, measure, sink);
    let every = every(section);
    let is_every_written = section.key_place("every").is_some();
    let of = of_last(section, is_every_written, sink);
    let around = Around { of, is_every_written, sink };
    let Thresholds { warning, critical } = thresholds(section, "a rule", &around);
    let named = section.text("schedule", value::any);
    let schedule = context.schedules.named(named.as_ref(), sink);
    let when = whens(section, context.schedules, &around);
    let has_zone = schedule.is_some() || !when.is_empty();
    check_reach(section, window, &comparison, has_zone, context);
    let missing = missing(section);
    let flapping = flapping(section);
    let told = section.list("notify", value::any);
    let notify = told.map(|told| references(told, context.contacts, sink));
    let repeat = section.text("repeat", repeat);
    let escalate = escalate(section, context);
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
        over: known(over),
        against: comparison.against.map(|against| against.value),
        change: comparison.change,
        floor: comparison.floor,
        every,
        warning,
        critical,
        when,
        schedule,
        missing,
        flapping,
        depends_on: depends_on.iter().map(|name| name.value.to_owned()).collect(),
        notify,
        repeat: or(repeat, Rule::REPEAT),
        escalate,
        runbook: known(runbook),
    })
}

/// The series that the measure is divided by.
fn over(
    section: &mut Section<'_>,
    measure: Option<At<Measure>>,
    sink: &Sink,
) -> Option<At<Pattern>> {
    let over = section.text("over", value::pattern);
    if let (Some(over), Some(At { value: Measure::Age, place })) = (&over, measure) {
        let message = "a share of an age means nothing";
        sink.error(Finding::new(over.place, message).also(place, "seconds since the last update"));
    }
    over
}

/// Rules are evaluated where base windows end, so as often as that at most.
fn every(section: &mut Section<'_>) -> Span {
    let every = section.text("every", |text| {
        let every = value::span(text)?;
        if !(Span::SECOND..=Span::DAY).contains(&every) || !every.is_multiple_of(Span::SECOND) {
            let fault = Fault::new("`every` is out of range");
            return Err(fault.label("must be a whole number of seconds, 1s to 1d"));
        }
        Ok(every)
    });
    or(every, Span::SECOND)
}

/// The rules whose critical state keeps this one quiet.
fn depends_on<'a>(section: &mut Section<'a>, sink: &Sink) -> Vec<At<&'a str>> {
    let Some(list) = section.list("depends_on", value::any) else { return Vec::new() };
    if let Some(extra) = list.value.get(limits::RULE_DEPENDS) {
        let message = format!("`depends_on` names more than {} rules", limits::RULE_DEPENDS);
        sink.error(Finding::new(extra.place, message));
    }
    let mut seen = BTreeMap::new();
    for name in &list.value {
        if let Some(first) = seen.insert(name.value, name.place) {
            let message = format!("{} is written twice", shown(name.value));
            sink.error(Finding::new(name.place, message).also(first, "first here"));
        }
    }
    list.value
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
    has_zone: bool,
    context: &Context<'_>,
) {
    // A day may be longer than 24 hours where clocks are turned.
    let turn = if has_zone { Zone::TURN } else { Span::ZERO };
    let (back, against) = match comparison.against {
        None => (Span::ZERO, window.place),
        Some(At { value: Against::Previous, place }) => (window.value, place),
        Some(At { value: Against::Ago(span), place }) => (span.plus(turn), place),
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

fn missing(section: &mut Section<'_>) -> Option<Missing> {
    let mut section = section.table("missing", "`missing`")?;
    let default = Missing::default();
    Some(Missing {
        after: or(section.text("after", value::span), default.after),
        state: or(section.one_of("state", &MISSING_STATE), default.state),
    })
}

/// Zero, or long enough not to be a nuisance.
fn repeat(text: &str) -> Result<Span, Fault> {
    let repeat = value::span(text)?;
    if !repeat.is_zero() && repeat < REPEAT_MIN {
        let fault = Fault::new("`repeat` is out of range");
        return Err(fault.label("must be at least 1m; \"0s\" means never"));
    }
    Ok(repeat)
}

/// Who else is told, and after how long; each step later than the one before.
fn escalate(section: &mut Section<'_>, context: &Context<'_>) -> Vec<Escalation> {
    let sink = context.sink;
    let sections = section.tables("escalate", "`escalate`");
    if let Some(extra) = sections.get(limits::RULE_ESCALATIONS) {
        let message = format!("`escalate` has more than {} steps", limits::RULE_ESCALATIONS);
        sink.error(Finding::new(extra.place(), message));
    }
    let (mut steps, mut before): (Vec<Escalation>, Option<At<Span>>) = (Vec::new(), None);
    for mut section in sections {
        section.require("after");
        section.require("notify");
        let after = section.text("after", value::span);
        if let (Some(after), Some(before)) = (after, before)
            && after.value <= before.value
        {
            let message = "each step of `escalate` comes later than the one before";
            sink.error(Finding::new(after.place, message).also(before.place, "the one before"));
        }
        before = after.or(before);
        let told = section.list("notify", value::any);
        if let Some(nobody) = told.as_ref().filter(|told| told.value.is_empty()) {
            sink.error(Finding::new(nobody.place, "this step of `escalate` tells nobody"));
        }
        let notify = told.map(|told| references(told, context.contacts, sink));
        if let (Some(after), Some(notify)) = (after, notify) {
            steps.push(Escalation { after: after.value, notify });
        }
    }
    steps
}

fn flapping(section: &mut Section<'_>) -> Option<Flapping> {
    let default = Flapping::default();
    let mut section = match section.switch("flapping", "`flapping`") {
        Some(Switch::Off) => return None,
        None => return Some(default),
        Some(Switch::On(section)) => section,
    };
    let within = section.text("within", |text| {
        let within = value::span(text)?;
        if within.is_zero() || within > Span::DAY {
            return Err(Fault::new("`within` is out of range").label("must be at most 1d"));
        }
        Ok(within)
    });
    let changes = section.integer("changes", 1..=usize::from(limits::FLAP_CHANGES));
    let changes = changes.and_then(|changes| u8::try_from(changes.value).ok());
    Some(Flapping {
        changes: changes.unwrap_or(default.changes),
        within: or(within, default.within),
    })
}
