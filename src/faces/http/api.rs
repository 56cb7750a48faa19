//! `/api/v1/rules` and `/api/v1/alerts`, in the form that Prometheus gives them.
//!
//! Source: Prometheus HTTP API, "Rules" and "Alerts". A rule of ours has up to two thresholds where
//! Prometheus has one, so a rule's own labels are empty and each alert says its `severity`; what
//! Prometheus has no field for (level, worst value, missing data) stands in `instances`.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::super::Shared;
use super::asked::one_of;
use super::blocking;
use crate::config::{Rule, Schedule};
use crate::query::Group;
use crate::rules::wording::{observation, threshold};
use crate::rules::{Active, Level, State as RuleState};
use crate::time::Timestamp;

/// What `type` may be; empty means all.
const TYPES: [(&str, bool); 3] = [("", true), ("alert", true), ("record", false)];

/// `GET /api/v1/rules`; with `rule_name[]`, which may stand there several times, of these alone. Of the `type`
/// `record` there are none.
pub(super) async fn rules(
    State(shared): State<Shared>,
    Query(asked): Query<Vec<(String, String)>>,
) -> Response {
    let kind = asked.iter().find(|(key, _)| key == "type").map(|(_, kind)| kind.to_lowercase());
    let are_alerts = match one_of(kind.as_deref(), &TYPES, true, "type") {
        Ok(are_alerts) => are_alerts,
        Err(problem) => return problem.into_response(),
    };
    blocking(move || {
        let names: Vec<_> =
            asked.iter().filter(|(key, _)| key == "rule_name[]").map(|(_, name)| name).collect();
        success(&shared.engine.view(|view| {
            let last = view.rules.evaluated();
            let is_asked = |active: &&Active| {
                are_alerts && (names.is_empty() || names.contains(&&active.rule().name))
            };
            let rules = view.rules.iter().filter(is_asked);
            let rules: Vec<_> = rules.map(|active| rule(active, last)).collect();
            let evaluated = last.map(Timestamp::rfc3339).unwrap_or_default();
            json!({ "groups": [{
                "name": "tallyd",
                "file": "",
                "interval": 1,
                "limit": 0,
                "rules": rules,
                "evaluationTime": 0,
                "lastEvaluation": evaluated,
            }] })
        }))
    })
    .await
}

/// `GET /api/v1/alerts`
pub(super) async fn alerts(State(shared): State<Shared>) -> Response {
    blocking(move || {
        let alerts: Vec<_> =
            shared.engine.view(|view| view.rules.iter().flat_map(active_alerts).collect());
        success(&json!({ "alerts": alerts }))
    })
    .await
}

fn success(data: &Value) -> Response {
    super::json(StatusCode::OK, &json!({ "status": "success", "data": data }))
}

fn rule(active: &Active, evaluated: Option<Timestamp>) -> Value {
    let rule = active.rule();
    let alerts = active_alerts(active);
    let is = |state: &str| alerts.iter().any(|alert| alert.get("state") == Some(&state.into()));
    let state = if is("firing") {
        "firing"
    } else if is("pending") {
        "pending"
    } else {
        "inactive"
    };
    let hold = rule.critical.or(rule.warning).map_or(0.0, |limit| limit.hold.as_secs_f64());
    let instances: Vec<_> =
        active.instances().map(|(group, state)| instance(active, group, state)).collect();
    let mut value = json!({
        "type": "alerting",
        "name": rule.name,
        "query": query(active),
        "duration": hold,
        "keepFiringFor": rule
            .critical
            .or(rule.warning)
            .map_or(0.0, |limit| limit.clear_hold.as_secs_f64()),
        "labels": {},
        "annotations": annotations(active),
        "alerts": alerts,
        "state": state,
        "health": if active.error().is_some() { "err" } else { "ok" },
        "evaluationTime": 0,
        "lastEvaluation": evaluated.map(Timestamp::rfc3339).unwrap_or_default(),
        "level": active.level().word(),
        "quiet": active.is_quiet(),
        "unmatched": active.unmatched().map(ToString::to_string),
        "schedule": rule.schedule.as_ref().map(|schedule| hours(schedule, evaluated)),
        "instances": instances,
    });
    if let (Some(error), Some(object)) = (active.error(), value.as_object_mut()) {
        object.insert("lastError".to_owned(), error.into());
    }
    value
}

/// The hours that a rule is bound to: whether they are now, and until when that stays.
fn hours(schedule: &Schedule, evaluated: Option<Timestamp>) -> Value {
    let now = evaluated.unwrap_or_default();
    json!({
        "name": schedule.name,
        "active": schedule.is_active(now),
        "until": schedule.hours.next_change(now).map(Timestamp::rfc3339),
    })
}

/// What is measured and when it fires, in words: it is not a query that Prometheus could run.
fn query(active: &Active) -> String {
    let rule = active.rule();
    let limit = |name: &str, limit| {
        Option::map(limit, |limit| format!("{name} {}", threshold(&limit))).into_iter()
    };
    let limits: Vec<_> =
        limit("critical", rule.critical).chain(limit("warning", rule.warning)).collect();
    let Rule { measure, series, window, .. } = &**rule;
    let over = rule.over.as_ref().map(|over| format!(" / {}({over})", measure.name()));
    let over = over.unwrap_or_default();
    format!("{}({series}){over} over {window}: {}", measure.name(), limits.join("; "))
}

fn annotations(active: &Active) -> Value {
    let rule = active.rule();
    let mut map = Map::new();
    if !rule.summary.is_empty() {
        map.insert("summary".to_owned(), rule.summary.clone().into());
    }
    if let Some(runbook) = &rule.runbook {
        map.insert("runbook_url".to_owned(), runbook.clone().into());
    }
    Value::Object(map)
}

/// The instances that fire or are about to.
fn active_alerts(active: &Active) -> Vec<Value> {
    let alert = |(group, state): (&Group, &RuleState)| {
        let (level, word) = match (state.level, state.pending()) {
            (Level::Ok, None) => return None,
            (Level::Ok, Some(pending)) => (pending, "pending"),
            (level, _) => (level, "firing"),
        };
        let mut labels = labels(active, group);
        labels.insert("alertname".to_owned(), active.rule().name.clone().into());
        labels.insert("severity".to_owned(), level.word().into());
        Some(json!({
            "labels": labels,
            "annotations": annotations(active),
            "state": word,
            "activeAt": state.since.rfc3339(),
            "value": state.value.map_or_else(String::new, exponential),
        }))
    };
    active.instances().filter_map(alert).collect()
}

/// A number as Prometheus writes that of an alert: `5e+01`.
fn exponential(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let text = format!("{value:e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |rest| ('-', rest));
    format!("{digits}e{sign}{exponent:0>2}")
}

fn instance(active: &Active, group: &Group, state: &RuleState) -> Value {
    // JSON has no infinity; what is not a finite number is left to the words.
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    json!({
        "labels": labels(active, group),
        "level": state.level.word(),
        "pending": state.pending().map(Level::word),
        "flapping": state.flaps.is_flapping,
        "since": state.since.rfc3339(),
        "began": finite(state.began),
        "worst": finite(state.worst),
        "value": finite(state.value),
        "seen": observation(active.rule(), state.observation),
    })
}

fn labels(active: &Active, group: &Group) -> Map<String, Value> {
    active.labels(group).into_iter().map(|(name, value)| (name, value.into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_does() {
        for (value, text) in [
            (50.0, "5e+01"),
            (0.0, "0e+00"),
            (-1.5, "-1.5e+00"),
            (0.000_25, "2.5e-04"),
            (1e300, "1e+300"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(exponential(value), text);
        }
    }
}
