//! Values, observations and thresholds in words, the same in mails, checks and on pages.

use crate::config::{Against, Change, Measure, OfLast, Per, Rule, Side, Threshold};
use crate::query::{Observation, Question};
use crate::time::Span;

/// A number for people: whole numbers whole, others with about three digits, U+2212 as minus sign.
#[must_use]
pub fn number(value: f64) -> String {
    let size = value.abs();
    let text = if value.is_infinite() {
        "∞".to_owned()
    } else if size < 1e15 && size.fract() == 0.0 {
        format!("{size:.0}")
    } else if !(1e-3..1e15).contains(&size) {
        format!("{size:.2e}")
    } else {
        let decimals = if size >= 1000.0 {
            0
        } else if size >= 100.0 {
            1
        } else if size >= 1.0 {
            2
        } else {
            4
        };
        let text = format!("{size:.decimals$}");
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text
        }
    };
    if value < 0.0 { format!("−{text}") } else { text }
}

/// What stands around the numbers of a rule: with it a value is said long after the rule itself was
/// changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// What is above zero has a plus sign: it is a change.
    pub is_signed: bool,
    /// What stands behind the number.
    pub text: String,
}

impl Unit {
    /// The unit of a rule's measure.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        if let (None, Some(over)) = (rule.against, &rule.over) {
            let text = format!(" of {over} over {}", rule.window);
            return Self { is_signed: false, text };
        }
        let compared = rule.against.map(|against| (against, rule.change));
        Self::new(rule.measure, rule.per, rule.window, compared)
    }

    /// The same of a question that is no rule's.
    #[must_use]
    pub fn of_question(asked: &Question) -> Self {
        let compared = asked.against.map(|against| (against, asked.change));
        Self::new(asked.measure, asked.per, asked.window, compared)
    }

    fn new(measure: Measure, per: Per, window: Span, compared: Option<(Against, Change)>) -> Self {
        if let Some((against, change)) = compared {
            let percent = if change == Change::Percent { " %" } else { "" };
            let text = format!("{percent} against {}", reference(against, window));
            return Self { is_signed: true, text };
        }
        let text = match measure {
            Measure::Rate => format!(" per {}", per.name()),
            Measure::Sum => format!(" in {window}"),
            Measure::Count => format!(" updates in {window}"),
            Measure::Mean => format!(" on average over {window}"),
            Measure::Min => format!(" at least over {window}"),
            Measure::Max => format!(" at most over {window}"),
            Measure::Last => String::new(),
            Measure::Age => " s since the last update".to_owned(),
            Measure::P50 | Measure::P90 | Measure::P95 | Measure::P99 | Measure::P999 => {
                format!(" at {} over {window}", measure.name())
            }
        };
        Self { is_signed: false, text }
    }

    /// A value with it.
    #[must_use]
    pub fn say(&self, value: f64) -> String {
        let sign = if self.is_signed && value > 0.0 { "+" } else { "" };
        format!("{sign}{}{}", number(value), self.text)
    }
}

/// A value of a rule's measure with its unit: `12.4 per minute`, `−61 % against last week`, `0.05 of
/// requests over 5m`.
#[must_use]
pub fn value(rule: &Rule, value: f64) -> String {
    Unit::of(rule).say(value)
}

/// What was seen of a rule's series: a value with its unit, or why there is none.
#[must_use]
pub fn observation(rule: &Rule, seen: Observation) -> String {
    match seen {
        Observation::Value { value: v, covered } if covered < 1.0 => {
            format!("{} (scaled from {:.0} % of the window)", value(rule, v), covered * 100.0)
        }
        Observation::Value { value: v, .. } => value(rule, v),
        Observation::AtLeast(v) => format!("at least {}", value(rule, v)),
        Observation::Missing => "no data in the window".to_owned(),
        Observation::NeverSeen => "no data yet".to_owned(),
        Observation::Unjudged(reason) => format!("not judged: {}", reason.text()),
    }
}

/// What a change is compared with: `last week`.
#[must_use]
pub fn reference(against: Against, window: Span) -> String {
    match against {
        Against::Previous => format!("the {window} before"),
        Against::Ago(Span::DAY) => "yesterday".to_owned(),
        Against::Ago(Span::WEEK) => "last week".to_owned(),
        Against::Ago(span) => format!("{span} ago"),
    }
}

/// A threshold: `above 10 for 1m, until at most 5 for 5m`, `above 10 in 3 of 5 evaluations`.
#[must_use]
pub fn threshold(threshold: &Threshold) -> String {
    let hold = |span: Span| if span.is_zero() { String::new() } else { format!(" for {span}") };
    let Threshold { value, clear, .. } = threshold;
    let (fires, clears) = match threshold.side {
        Side::Above => ("above", "at most"),
        Side::Below => ("below", "at least"),
    };
    let lasts = match threshold.of {
        Some(OfLast { needed, among }) => format!(" in {needed} of {among} evaluations"),
        None => hold(threshold.hold),
    };
    let mut text = format!("{fires} {}{lasts}", number(*value));
    if clear.total_cmp(value).is_ne() || !threshold.clear_hold.is_zero() {
        let until = format!(", until {clears} {}{}", number(*clear), hold(threshold.clear_hold));
        text.push_str(&until);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_true() {
        let check = |value: f64, expect: &str| assert_eq!(number(value), expect);
        check(0.0, "0");
        check(12.0, "12");
        check(12.375, "12.38");
        check(12.4, "12.4");
        check(-61.0, "−61");
        check(-61.25, "−61.25");
        check(123.456, "123.5");
        check(54321.6, "54322");
        check(0.5, "0.5");
        check(0.000_012, "1.20e-5");
        check(1e18, "1.00e18");
        check(f64::INFINITY, "∞");
        check(f64::NEG_INFINITY, "−∞");
    }

    #[test]
    fn thresholds_say_when_they_end_where_that_differs() {
        let plain = Threshold {
            side: Side::Above,
            value: 10.0,
            clear: 10.0,
            hold: Span::ZERO,
            of: None,
            clear_hold: Span::ZERO,
        };
        assert_eq!(threshold(&plain), "above 10");
        let wide = Threshold { clear: 5.0, hold: Span::from_secs(60), ..plain };
        assert_eq!(threshold(&wide), "above 10 for 1m, until at most 5");
        let below =
            Threshold { side: Side::Below, clear: 15.5, clear_hold: Span::from_secs(300), ..plain };
        assert_eq!(threshold(&below), "below 10, until at least 15.5 for 5m");
        let often = Threshold { of: Some(OfLast { needed: 3, among: 5 }), ..plain };
        assert_eq!(threshold(&often), "above 10 in 3 of 5 evaluations");
    }
}
