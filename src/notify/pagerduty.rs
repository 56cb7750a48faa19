//! A message as events of PagerDuty's Events API, version 2: one for each thing that it tells.
//!
//! Source of the form: PagerDuty's documentation of "Send an alert event". The incident is the
//! `dedup_key`, so what is sent twice is one alert there. PagerDuty drops the end of what it never heard of: what
//! began and ended before it could be told is triggered as `info`, and resolved at once.
//!
//! Once somebody has acknowledged an alert there, "it won't generate any additional notifications, even if it
//! receives new trigger events". So what got worse, and what nobody looks after any more, is a further alert, with a
//! number behind the incident in its `dedup_key`; the one before is resolved behind it, so there is no moment without
//! one. Resolving first and triggering the same key again would call people, too, and would do so once more for
//! each time that it is sent again.

use serde_json::{Map, Value, json};

use super::message::{Message, Notice, NoticeKind};
use super::words;
use crate::config::Secret;
use crate::rules::Level;

/// Longest summary, in characters.
const SUMMARY_CHARS: usize = 1024;
/// Longest `dedup_key`, in characters. Ids are a tenth of it.
const KEY_CHARS: usize = 255;
/// Alerts of an incident before the present one that are resolved. Which of them there are is not known; all but
/// one or two mostly never were, or are resolved already.
const EARLIER_MAX: u32 = 8;
/// What is sent of any other text, in characters, so that no event comes near the 512 KB that one may have.
const TEXT_CHARS: usize = 2000;

/// The bodies, as JSON, in the order in which they are to be sent.
pub(super) fn bodies(message: &Message, routing_key: &Secret) -> Vec<String> {
    let events = message.notices.iter().flat_map(|notice| events(message, notice));
    events
        .map(|mut event| {
            event.insert("routing_key".to_owned(), routing_key.expose().into());
            Value::Object(event).to_string()
        })
        .collect()
}

fn events(message: &Message, notice: &Notice) -> Vec<Map<String, Value>> {
    let trigger = || trigger(message, notice);
    let short = |action, alert| short(action, &key(message, notice, alert));
    let mut events = match notice.kind {
        NoticeKind::Acknowledged => return vec![short("acknowledge", notice.alert)],
        NoticeKind::Ended => vec![trigger(), short("resolve", notice.alert)],
        kind if kind.is_over() => vec![short("resolve", notice.alert)],
        _ => vec![trigger()],
    };
    let first = notice.alert.saturating_sub(EARLIER_MAX);
    events.extend((first..notice.alert).rev().map(|alert| short("resolve", alert)));
    events
}

fn key(message: &Message, notice: &Notice, alert: u32) -> String {
    // A test may not open or close the alert that it looks like.
    let test = if message.is_test { "test-" } else { "" };
    let number = if alert == 0 { String::new() } else { format!("-{}", u64::from(alert) + 1) };
    words::cut(&format!("{test}{}{number}", notice.incident), KEY_CHARS)
}

/// What acknowledges or resolves needs no more.
fn short(action: &str, key: &str) -> Map<String, Value> {
    [("event_action".to_owned(), action.into()), ("dedup_key".to_owned(), key.into())]
        .into_iter()
        .collect()
}

fn trigger(message: &Message, notice: &Notice) -> Map<String, Value> {
    let mut event = short("trigger", &key(message, notice, notice.alert));
    event.insert("client".to_owned(), "tallyd".into());
    event.insert("client_url".to_owned(), message.public_url.as_ref().into());
    event.insert("payload".to_owned(), payload(message, notice));
    if let Some(runbook) = &notice.rule.runbook {
        event.insert("links".to_owned(), json!([{ "href": runbook, "text": "Runbook" }]));
    }
    event
}

fn payload(message: &Message, notice: &Notice) -> Value {
    json!({
        "summary": summary(message, notice),
        "source": source(&message.public_url),
        "severity": severity(notice),
        "timestamp": notice.since.rfc3339(),
        "component": notice.rule.name,
        "custom_details": details(message, notice),
    })
}

fn summary(message: &Message, notice: &Notice) -> String {
    let test = if message.is_test { "[TEST] " } else { "" };
    let what = match notice.kind {
        NoticeKind::Ended => words::was(notice),
        _ => words::value(notice),
    };
    let mut summary = format!("{test}{}: {what}", words::title(notice));
    if !notice.rule.summary.is_empty() {
        summary = format!("{summary}. {}", words::one_line(&notice.rule.summary));
    }
    words::cut(&summary, SUMMARY_CHARS)
}

/// Where it was seen: the host of this server.
fn source(public_url: &str) -> String {
    let url = reqwest::Url::parse(public_url).ok();
    let host = url.as_ref().and_then(reqwest::Url::host_str);
    host.unwrap_or("tallyd").to_owned()
}

fn severity(notice: &Notice) -> &'static str {
    match notice.level {
        // The trigger of something that is over.
        Level::Ok => "info",
        Level::Warning => "warning",
        Level::Unknown => "error",
        Level::Critical => "critical",
    }
}

/// What stands beside the summary, each as text.
fn details(message: &Message, notice: &Notice) -> Map<String, Value> {
    let say = |value: Option<f64>| value.map(|value| notice.rule.unit.say(value));
    let labels: Vec<_> =
        notice.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let rows = [
        ("what happened", Some(words::happened(notice))),
        ("value now", Some(words::value(notice))),
        ("when it began", say(notice.began)),
        ("worst", say(notice.worst)),
        ("threshold", Some(words::threshold(notice))),
        ("note", words::scaled(notice).map(str::to_owned)),
        ("instance", (!labels.is_empty()).then(|| labels.join(", "))),
        ("since", Some(notice.opened.rfc3339())),
        ("tallyd", words::note(message)),
        ("end of the test", message.is_test.then(|| words::TEST_ENDS.to_owned())),
    ];
    let rows = rows.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let rows = rows.filter(|(_, text)| !text.is_empty());
    rows.map(|(name, text)| (name.to_owned(), words::cut(&text, TEXT_CHARS).into())).collect()
}

#[cfg(test)]
mod tests;
