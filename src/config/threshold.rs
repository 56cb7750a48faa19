//! When a rule is a warning and when it is critical: its thresholds, and others that take their place
//! in the hours of a schedule.

use super::model::{OfLast, Side, Threshold, When};
use super::schedule::Schedules;
use super::section::{At, Place, Section, or};
use super::sink::{Finding, Sink};
use super::value;
use crate::limits;
use crate::time::Span;

/// Both thresholds of a rule, or of one of its `when`s. At least one is there.
#[derive(Clone, Copy, Default)]
pub(super) struct Thresholds {
    pub(super) warning: Option<Threshold>,
    pub(super) critical: Option<Threshold>,
}

/// What thresholds are read with.
pub(super) struct Around<'a> {
    /// `of` of the rule, for thresholds that do not say how long they hold.
    pub(super) of: Option<OfLast>,
    /// Whether the rule says how often it is evaluated.
    pub(super) is_every_written: bool,
    pub(super) sink: &'a Sink,
}

/// `warning` and `critical` of a section; `what` it is, for messages.
pub(super) fn thresholds(section: &mut Section<'_>, what: &str, around: &Around<'_>) -> Thresholds {
    let sink = around.sink;
    let warning = section.table("warning", "`warning`").map(|table| threshold(table, around));
    let critical = section.table("critical", "`critical`").map(|table| threshold(table, around));
    if section.key_place("warning").is_none() && section.key_place("critical").is_none() {
        let message = format!("{what} needs `warning` or `critical`");
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
    let value = |found: Option<At<Threshold>>| found.map(|found| found.value);
    Thresholds { warning: value(warning), critical: value(critical) }
}

/// `[[rule.when]]`, in file order.
pub(super) fn whens(
    section: &mut Section<'_>,
    schedules: &Schedules,
    around: &Around<'_>,
) -> Vec<When> {
    let sink = around.sink;
    let sections = section.tables("when", "[[rule.when]]");
    if let Some(extra) = sections.get(limits::RULE_WHENS) {
        let message = format!("a rule has more than {} [[rule.when]]", limits::RULE_WHENS);
        sink.error(Finding::new(extra.place(), message));
    }
    let (mut whens, mut seen) = (Vec::new(), Vec::<(&str, Place)>::new());
    for mut section in sections {
        section.require("schedule");
        let named = section.text("schedule", value::any);
        if let Some(named) = &named {
            if let Some((_, first)) = seen.iter().find(|(name, _)| *name == named.value) {
                let message = "this entry is never used: the first whose schedule is active is";
                sink.error(Finding::new(named.place, message).also(*first, "the same schedule"));
            }
            seen.push((named.value, named.place));
        }
        let schedule = schedules.named(named.as_ref(), sink);
        let Thresholds { warning, critical } = thresholds(&mut section, "[[rule.when]]", around);
        whens.extend(schedule.map(|schedule| When { schedule, warning, critical }));
    }
    whens
}

/// Whether `value` lies strictly on the bad side of `limit`.
fn is_beyond(side: Side, value: f64, limit: f64) -> bool {
    match side {
        Side::Above => value > limit,
        Side::Below => value < limit,
    }
}

/// A threshold at the place of its value.
fn threshold(mut section: Section<'_>, around: &Around<'_>) -> Option<At<Threshold>> {
    let sink = around.sink;
    let above = section.number("above");
    let below = section.number("below");
    let clear = section.number("clear");
    let hold = section.text("for", value::span);
    let clear_hold = or(section.text("clear_for", value::span), Span::ZERO);
    let of = of_last(&mut section, around.is_every_written, sink);
    if let (Some(of), Some(hold)) = (section.key_place("of"), section.key_place("for")) {
        let message = "a threshold fires either after `for` or on `of`";
        sink.error(Finding::new(of, message).also(hold, "and here"));
    }
    let has_hold = section.key_place("for").is_some();
    let of = of.or(around.of.filter(|_| !has_hold));
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
    check_clear(side, limit, clear, sink);
    let (clear, hold) = (or(clear, limit.value), or(hold, Span::ZERO));
    let value = Threshold { side, value: limit.value, clear, hold, of, clear_hold };
    Some(At { value, place: limit.place })
}

fn check_clear(side: Side, limit: At<f64>, clear: Option<At<f64>>, sink: &Sink) {
    let Some(clear) = clear.filter(|clear| is_beyond(side, clear.value, limit.value)) else {
        return;
    };
    let sides = match side {
        Side::Above => "must be at or below it",
        Side::Below => "must be at or above it",
    };
    let finding = Finding::new(clear.place, "`clear` lies on the wrong side of the threshold");
    sink.error(finding.label(sides).also(limit.place, "the threshold"));
}

/// `of = [3, 5]`: it fires on three of the last five evaluations.
pub(super) fn of_last(
    section: &mut Section<'_>,
    is_every_written: bool,
    sink: &Sink,
) -> Option<OfLast> {
    let list = section.numbers("of")?;
    if !is_every_written {
        let message = "`of` counts evaluations, and this rule does not say how often they are";
        let help = "write for example: every = \"10s\"";
        sink.error(Finding::new(list.place, message).help(help).absence());
    }
    let whole = |number: f64| {
        let most = f64::from(limits::OF_LAST);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is 1 to 64"
        )]
        (number.fract() == 0.0 && (1.0..=most).contains(&number)).then_some(number as u8)
    };
    let pair = match list.value.as_slice() {
        [needed, among] => whole(*needed).zip(whole(*among)),
        _ => None,
    };
    let label = match pair {
        Some((needed, among)) if needed <= among => return Some(OfLast { needed, among }),
        Some((needed, among)) => format!("there are no {needed} among {among}"),
        None => format!("two whole numbers from 1 to {}: so many of the last", limits::OF_LAST),
    };
    let finding = Finding::new(list.place, "`of` must be two numbers, like [3, 5]");
    sink.error(finding.label(label));
    None
}
