//! What pictures cost, and what is in them.

use super::*;
use crate::config::Config;

fn question(window: &str, against: Option<Against>) -> Question {
    let window = window.parse().unwrap();
    let (measure, per, change) = (Measure::Sum, Per::Second, Change::Percent);
    Question { measure, per, window, against, zone: None, change, floor: None }
}

/// The step and the cost of a picture, or `None` where it is refused.
fn check(window: &str, against: Option<Against>, from: &str, series: u64) -> Option<String> {
    let tiers = Config::default().tiers;
    let (question, span) = (question(window, against), from.parse::<Span>().unwrap());
    let step = step(&question, span, &tiers, series).ok()?;
    let cost = span.as_millis() / step.as_millis() * series * cost(&question, &tiers);
    assert!(cost <= limits::CHART_COST, "{cost}");
    Some(step.to_string())
}

#[test]
fn what_costs_more_has_fewer_points_and_what_costs_too_much_is_refused() {
    let against = Some(Against::Previous);
    assert_eq!(check("1m", None, "1h", 1).as_deref(), Some("15s"));
    assert_eq!(check("1m", None, "1h", 0).as_deref(), Some("15s"));
    assert_eq!(check("1m", None, "1h", 61).as_deref(), Some("15s"));
    assert_eq!(check("1m", None, "1h", 120).as_deref(), Some("30s"));
    assert_eq!(check("1m", against, "1h", 60).as_deref(), Some("30s"), "twice the windows");
    assert_eq!(check("1m", None, "1h", 367).as_deref(), Some("1m30s"));
    assert_eq!(check("1m", None, "1h", 368), None);
    assert_eq!(check("1m", against, "1h", 184), None);
    assert_eq!(check("1s", None, "1h", 1_000_000), None, "to find them costs as well");
    assert_eq!(check("1s", None, "1s", 100_000).as_deref(), Some("1s"), "a single point");
    assert_eq!(check("1h", None, "9999999w", u64::MAX), None);
}
