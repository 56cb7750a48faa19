//! What the template of a contact is given of a message.
//!
//! Names and kinds are those of [`config::samples`], by which a template is tried when it is read; they
//! stay what they are, since people's templates rest on them. Texts are on one printable line each.
//!
//! [`config::samples`]: crate::config::samples

use serde_json::{Value, json};

use super::mail;
use super::message::{Message, Notice};
use super::words;
use crate::time::Timestamp;

/// All that there is to know of it.
pub(super) fn known(message: &Message) -> Value {
    let is_over = message.is_all_over();
    json!({
        "id": message.id,
        "contact": message.contact,
        "at": message.at.rfc3339(),
        "status": if is_over { "resolved" } else { "firing" },
        "level": message.level().word(),
        "subject": mail::subject(message),
        "is_test": message.is_test,
        "is_unsaved": message.is_unsaved,
        "is_heartbeat": false,
        "note": words::note(message).unwrap_or_default(),
        "server": *message.public_url,
        "alerts": message.notices.iter().map(alert).collect::<Vec<_>>(),
    })
}

/// The same of a sign of life, which is about nothing.
pub(super) fn heartbeat(contact: &str, public_url: &str, now: Timestamp) -> Value {
    json!({
        "id": "heartbeat",
        "contact": contact,
        "at": now.rfc3339(),
        "status": "heartbeat",
        "level": "ok",
        "subject": "tallyd is well",
        "is_test": false,
        "is_unsaved": false,
        "is_heartbeat": true,
        "note": "",
        "server": public_url,
        "alerts": [],
    })
}

fn alert(notice: &Notice) -> Value {
    let rule = &notice.rule;
    let is_over = notice.kind.is_over();
    let labels: serde_json::Map<_, _> = notice
        .labels
        .iter()
        .map(|(name, value)| (name.clone(), words::one_line(value).into()))
        .collect();
    json!({
        "incident": *notice.incident,
        "rule": rule.name,
        "title": words::title(notice),
        "labels": labels,
        "summary": words::one_line(&rule.summary),
        "runbook": rule.runbook.as_deref().map(words::one_line).unwrap_or_default(),
        "status": if is_over { "resolved" } else { "firing" },
        "kind": notice.kind.word(),
        "level": notice.level.word(),
        "was": notice.from.word(),
        "happened": words::happened(notice),
        "value": notice.value,
        "value_text": words::value(notice),
        "began": notice.began,
        "worst": notice.worst,
        "threshold": words::threshold(notice),
        "problem": notice.problem.as_deref().map(words::one_line).unwrap_or_default(),
        "opened": notice.opened.rfc3339(),
        "since": notice.since.rfc3339(),
        "ended": is_over.then(|| notice.since.rfc3339()),
    })
}

#[cfg(test)]
mod tests;
