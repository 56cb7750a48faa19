//! A message as Alertmanager's webhook body, version "4".
//!
//! Source of the form: `webhook_config` in Alertmanager's documentation, and its own `template.Data`. Receivers match a resolved alert to the firing one, so identity
//! is what this form has to get right:
//!
//! - An alert is its rule and its instance. Its severity changes while it lasts, so `fingerprint`
//!   is taken over the labels without `severity`; it is Alertmanager's own function. `startsAt` is
//!   that of the incident and stays as well.
//! - `severity` is the state now while firing, and the state that ended once resolved.
//! - `status` is said of a whole group in this form. A group that held more than the message tells
//!   of would be closed while part of it still fires. So `groupKey` names exactly the set of alerts
//!   in the message: for one alert, the usual case, the instance itself.
//! - A message of very many goes in parts, of one group: all but the alerts is the same in each, and
//!   `truncatedAlerts` is how many stand in the others. Nobody would hear of a recovery that was cut off.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde::Serialize;

use super::fingerprint;
use super::message::{Message, Notice, NoticeKind};
use super::words;
use crate::time::Timestamp;

/// Alerts in one body; one of them is some 500 bytes.
const ALERTS_MAX: usize = 1000;

/// What Alertmanager writes while an alert has no end.
const NO_END: &str = "0001-01-01T00:00:00Z";

/// The bodies, as JSON: mostly one.
#[must_use]
pub fn bodies(message: &Message) -> Vec<String> {
    let json = |body| serde_json::to_string(body).expect("text and maps of text are always JSON");
    parts(message).iter().map(json).collect()
}

/// A sign of life: an alert that always fires, as a watchdog of Prometheus does.
pub(super) fn heartbeat(contact: &str, public_url: &str, now: Timestamp) -> String {
    let labels = |all: &[(&str, &str)]| -> Labels {
        all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let identity = labels(&[("alertname", HEARTBEAT)]);
    let all = labels(&[("alertname", HEARTBEAT), ("severity", "none")]);
    let annotations = labels(&[("summary", "tallyd is well")]);
    let fingerprint = fingerprint::of(["alertname", HEARTBEAT]);
    let alert = Alert {
        status: FIRING,
        labels: all.clone(),
        annotations: annotations.clone(),
        starts_at: now.rfc3339(),
        ends_at: NO_END.to_owned(),
        generator_url: public_url.to_owned(),
        fingerprint: format!("{fingerprint:016x}"),
    };
    let alerts = vec![alert];
    let body = Body {
        receiver: contact,
        status: FIRING,
        group_key: group_key(&alerts, &identity),
        alerts,
        group_labels: identity,
        common_labels: all,
        common_annotations: annotations,
        external_url: public_url,
        version: "4",
        truncated_alerts: 0,
    };
    serde_json::to_string(&body).expect("text and maps of text are always JSON")
}

/// What a sign of life is called.
const HEARTBEAT: &str = "tallyd-heartbeat";

type Labels = BTreeMap<String, String>;

/// Fields in Alertmanager's order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    receiver: &'a str,
    status: &'static str,
    alerts: Vec<Alert>,
    group_labels: Labels,
    common_labels: Labels,
    common_annotations: Labels,
    #[serde(rename = "externalURL")]
    external_url: &'a str,
    version: &'static str,
    group_key: String,
    truncated_alerts: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: &'static str,
    labels: Labels,
    annotations: Labels,
    starts_at: String,
    ends_at: String,
    #[serde(rename = "generatorURL")]
    generator_url: String,
    fingerprint: String,
}

const FIRING: &str = "firing";
const RESOLVED: &str = "resolved";

fn parts(message: &Message) -> Vec<Body<'_>> {
    let mut alerts: Vec<_> =
        message.notices.iter().map(|notice| Alert::of(message, notice)).collect();
    let common_labels = shared(alerts.iter().map(|alert| &alert.labels));
    let common_annotations = shared(alerts.iter().map(|alert| &alert.annotations));
    let mut group_labels = common_labels.clone();
    group_labels.remove("severity");
    let group_key = group_key(&alerts, &group_labels);
    let all = alerts.len();
    let mut parts = Vec::with_capacity(all.div_ceil(ALERTS_MAX));
    while !alerts.is_empty() {
        let rest = alerts.split_off(alerts.len().min(ALERTS_MAX));
        parts.push(Body {
            receiver: &message.contact,
            status: if message.is_all_over() { RESOLVED } else { FIRING },
            group_key: group_key.clone(),
            common_annotations: common_annotations.clone(),
            common_labels: common_labels.clone(),
            group_labels: group_labels.clone(),
            external_url: &message.public_url,
            version: "4",
            truncated_alerts: all - alerts.len(),
            alerts: std::mem::replace(&mut alerts, rest),
        });
    }
    parts
}

impl Alert {
    fn of(message: &Message, notice: &Notice) -> Self {
        let is_over = notice.kind.is_over();
        let mut labels = identity(message, notice);
        let fingerprint =
            fingerprint::of(labels.iter().flat_map(|(name, value)| [&**name, &**value]));
        let severity = if is_over { notice.from } else { notice.level };
        labels.insert("severity".to_owned(), severity.word().to_owned());
        let rule = &notice.rule.name;
        Self {
            status: if is_over { RESOLVED } else { FIRING },
            labels,
            annotations: annotations(message, notice),
            starts_at: notice.opened.rfc3339(),
            ends_at: if is_over { notice.since.rfc3339() } else { NO_END.to_owned() },
            generator_url: format!("{}/check/{}", message.public_url, path_segment(rule)),
            fingerprint: format!("{fingerprint:016x}"),
        }
    }
}

/// The labels that make an alert what it is. An empty label is no label, as everywhere in this
/// world; a tag with a name of ours is renamed as Prometheus does it.
fn identity(message: &Message, notice: &Notice) -> Labels {
    let tags = notice.labels.iter().filter(|(_, value)| !value.is_empty());
    let mut labels: Labels = tags
        .map(|(name, value)| match name.as_str() {
            "alertname" | "severity" | "test" => (format!("exported_{name}"), value.clone()),
            _ => (name.clone(), value.clone()),
        })
        .collect();
    labels.insert("alertname".to_owned(), notice.rule.name.clone());
    if message.is_test {
        // Part of what it is: a test may not open or close the alert that it looks like.
        labels.insert("test".to_owned(), "true".to_owned());
    }
    labels
}

fn annotations(message: &Message, notice: &Notice) -> Labels {
    let rule = &notice.rule;
    let summary =
        if message.is_test { format!("[TEST] {}", rule.summary) } else { rule.summary.clone() };
    let mut description = format!("{}; {}", words::value(notice), words::threshold(notice));
    if let Some(scaled) = words::scaled(notice) {
        let _ = write!(description, " ({scaled})");
    }
    if let NoticeKind::Ended | NoticeKind::Closed(_) = notice.kind {
        description = words::happened(notice);
    }
    let note =
        if message.is_test { Some(words::TEST_ENDS.to_owned()) } else { words::note(message) };
    let all = [
        ("summary", Some(summary)),
        ("description", Some(description)),
        ("note", note),
        ("runbook_url", rule.runbook.clone()),
        ("value", notice.value.map(plain)),
    ];
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// A number for programs, infinities as Prometheus writes them.
fn plain(value: f64) -> String {
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    value.to_string()
}

/// What all of them have with the same value.
fn shared<'a>(mut all: impl Iterator<Item = &'a Labels>) -> Labels {
    let mut common = all.next().cloned().unwrap_or_default();
    for labels in all {
        common.retain(|name, value| labels.get(name) == Some(value));
    }
    common
}

/// Alertmanager's form, `{route matchers}:{group labels}`. The set of several alerts takes the
/// place of a further route.
fn group_key(alerts: &[Alert], group_labels: &Labels) -> String {
    let labels: Vec<_> =
        group_labels.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    let labels = labels.join(", ");
    if let [_] = alerts {
        return format!("{{}}:{{{labels}}}");
    }
    let mut set: Vec<_> = alerts.iter().map(|alert| &*alert.fingerprint).collect();
    set.sort_unstable();
    format!("{{}}/{{alerts=\"{:016x}\"}}:{{{labels}}}", fingerprint::of(set))
}

/// A name as one segment of a URL's path.
fn path_segment(name: &str) -> String {
    let mut segment = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            segment.push(char::from(byte));
        } else {
            let _ = write!(segment, "%{byte:02X}");
        }
    }
    segment
}

#[cfg(test)]
mod tests;
