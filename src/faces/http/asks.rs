//! What each call may be asked with, and what for: the words of `openapi.json`.
//!
//! What a call does with them stands where it is answered. A test asks each call what it takes, where it says so,
//! and holds this page against that.

/// One thing that may be said to a call.
#[derive(Clone, Copy)]
pub(super) struct Ask {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    /// Whether it is an error to leave it out.
    pub(super) is_needed: bool,
}

const fn may(name: &'static str, about: &'static str) -> Ask {
    Ask { name, about, is_needed: false }
}

const fn must(name: &'static str, about: &'static str) -> Ask {
    Ask { name, about, is_needed: true }
}

const AUTHOR: Ask = may("author", "Who does it.");
const COMMENT: Ask = may("comment", "Why, or what there is to say about it.");
const RULE: Ask = may("rule", "The name of a rule.");
const FROM: Ask = may("from", "Where it begins: -1h, 2026-01-05T00:00:00Z, or seconds since 1970.");
const TO: Ask = may("to", "Where it ends, in the same forms.");
const LIMIT: Ask = may("limit", "How many are listed at most.");
const STATE: Ask = may("state", "In which state.");
const SERIES: Ask = may("series", "A name, a glob, or either with tags.");
const MEASURE: Ask =
    may("measure", "rate, sum, count, mean, min, max, last, age, p50, p90, p95, p99 or p99.9.");
const PER: Ask = may("per", "The unit of a rate: second, minute, hour or day.");
const WINDOW: Ask = may("window", "Over how long, as in 5m.");
const STEP: Ask = may("step", "From one value to the next, as in 10s.");
const KIND: Ask = may("kind", "counter, gauge or distribution.");
const OVERWRITE: Ask = may("overwrite", "true: windows that are there already are replaced.");
const WHO: Ask = may("who", "Who does it.");

pub(super) const CHART: &[Ask] = &[
    RULE,
    may("by", "Which instance of the rule, as region=eu; several with commas between them."),
    SERIES,
    MEASURE,
    PER,
    WINDOW,
    FROM,
    may("theme", "light or dark."),
];
pub(super) const CHECK: &[Ask] = &[
    may("by", "Instances with this tag alone, as region=eu; several times."),
    may("http_status", "1: the state is in the status as well: 200, 417, 503, or 500 for UNKNOWN."),
];
pub(super) const CHECK_ALL: &[Ask] = &[may(
    "http_status",
    "1: the state is in the status as well: 200, 417, 503, or 500 for UNKNOWN.",
)];
pub(super) const LOGIN: &[Ask] = &[may("next", "The path to go on to.")];
pub(super) const LOGIN_FORM: &[Ask] =
    &[must("token", "The token."), may("next", "The path to go on to.")];
pub(super) const LINK: &[Ask] = &[
    may("for", "Whom a signed link was sent to."),
    may("until", "Until when it is good."),
    may("signature", "What makes it good without a token."),
];
pub(super) const ACK_FORM: &[Ask] = &[WHO, COMMENT];
pub(super) const SILENCE_FORM: &[Ask] =
    &[WHO, COMMENT, must("span", "For how long: 1h, 4h, 12h, 1d or 1w.")];
pub(super) const ACK: &[Ask] = &[
    may("incident", "The id of an incident; or, instead of it,"),
    may("rule", "the name of a rule, for all its open incidents."),
    may("labels", "Those with these tags alone: an object."),
    AUTHOR,
    COMMENT,
];
pub(super) const UNACK: &[Ask] = &[AUTHOR, COMMENT];
pub(super) const SILENCE: &[Ask] = &[
    may("rule", "Which rules: a name or a glob, with or without tags."),
    may("series", "Which series."),
    FROM,
    may("until", "Where it ends."),
    may("for", "How long it lasts, instead of `until`."),
    may("schedule", "The name of a schedule in whose hours it holds."),
    AUTHOR,
    COMMENT,
];
pub(super) const DEPLOY: &[Ask] =
    &[may("at", "When, if not now."), must("what", "What was put into use, in a line."), WHO];
pub(super) const TEST: &[Ask] = &[must("contact", "The contact.")];
pub(super) const TESTED: &[Ask] = &[must("message", "The id of the message.")];
pub(super) const PAST: &[Ask] = &[RULE, STATE, FROM, TO, LIMIT];
pub(super) const RULES: &[Ask] = &[
    may("rule_name[]", "These rules alone; several times."),
    may("type", "alert, or record, of which there are none."),
];
pub(super) const BACKTEST: &[Ask] = &[
    RULE,
    must("from", "Where it begins: -30d, 2026-01-05T00:00:00Z, or seconds since 1970."),
    TO,
];
pub(super) const IMPORT: &[Ask] = &[KIND, STEP, OVERWRITE];
pub(super) const MEASURES: &[Ask] = &[
    must("series", "A name, a glob, or either with tags."),
    MEASURE,
    PER,
    WINDOW,
    may("by", "Tags whose values make lines of their own, with commas between them."),
    may("against", "Asks for the change: previous, 1d, 1w or 2w."),
    may("zone", "Whose days 1d, 1w and 2w are, as in Europe/Berlin."),
    may("change", "How a change is given: percent or absolute."),
    may("floor", "Where both windows hold less than this there is no change."),
    FROM,
    TO,
    STEP,
];
