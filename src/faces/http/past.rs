//! `GET /api/v1/incidents`, `/audit` and `/deliveries`: what happened, who was told, and what waits.
//!
//! Each answers with the newest first, at most `limit` entries, and says in `left_out` how many more there
//! are that were asked for. Instants are RFC 3339; a value that is no finite number is `null`. What is
//! asked for is copied under the engine's lock and written without it.

use std::collections::BTreeMap;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::Shared;
use super::asked::one_of;
use super::{Problem, blocking};
use crate::limits;
use crate::notify::audit::{Answer, Line, What};
use crate::notify::outbox::{Lost, Queued};
use crate::notify::{Ack, Audit, Change, Incident, Note, NoteKind, Notice};
use crate::time::Timestamp;

/// Entries where nothing else is asked for.
const LIMIT: usize = 100;

/// What may be asked for.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    rule: Option<String>,
    state: Option<String>,
    from: Option<String>,
    to: Option<String>,
    limit: Option<String>,
}

/// Whatever touches this stretch of time.
struct Between {
    from: Timestamp,
    to: Timestamp,
    limit: usize,
}

type Question = Result<Query<Asked>, QueryRejection>;

/// `GET /api/v1/incidents`: open ones and those that are over, by when they began.
pub(super) async fn incidents(State(shared): State<Shared>, asked: Question) -> Response {
    answer(shared, asked, |shared, asked, between| {
        let states = [("all", None), ("open", Some(true)), ("closed", Some(false))];
        let state = one_of(asked.state.as_deref(), &states, None, "state")?;
        let is_meant = |incident: &&Incident| {
            let end = incident.closed.unwrap_or(between.to);
            incident.opened < between.to
                && end >= between.from
                && asked.rule.as_ref().is_none_or(|rule| *rule == incident.rule.name)
                && state.is_none_or(|is_open| is_open == incident.closed.is_none())
        };
        let (found, attempts, left_out) = shared.engine.view(|view| {
            let mut found: Vec<&Incident> = view.incidents.iter().filter(is_meant).collect();
            found.sort_by_key(|incident| std::cmp::Reverse(incident.opened));
            let left_out = found.len().saturating_sub(between.limit);
            found.truncate(between.limit);
            let told = found.iter().flat_map(|incident| &incident.messages);
            let mut attempts: BTreeMap<String, Vec<Line>> =
                told.map(|told| (told.message.clone(), Vec::new())).collect();
            for line in view.audit.iter() {
                let What::Attempt { message, .. } = &line.what else { continue };
                if let Some(its) = attempts.get_mut(message) {
                    its.push(line.clone());
                }
            }
            (found.into_iter().cloned().collect::<Vec<_>>(), attempts, left_out)
        });
        let incidents: Vec<_> = found.iter().map(|one| incident(one, &attempts)).collect();
        Ok(json!({ "incidents": incidents, "left_out": left_out }))
    })
    .await
}

/// `GET /api/v1/audit`: everything that happened.
pub(super) async fn audit(State(shared): State<Shared>, asked: Question) -> Response {
    answer(shared, asked, |shared, asked, between| {
        refuse(asked.rule.as_deref(), "rule")?;
        refuse(asked.state.as_deref(), "state")?;
        let (found, left_out) = lines(shared, between, |_| true);
        let lines: Vec<_> = found.iter().map(line).collect();
        Ok(json!({ "audit": lines, "left_out": left_out }))
    })
    .await
}

/// `GET /api/v1/deliveries`: what waits, or what was given up.
pub(super) async fn deliveries(State(shared): State<Shared>, asked: Question) -> Response {
    answer(shared, asked, |shared, asked, between| {
        refuse(asked.rule.as_deref(), "rule")?;
        let states = [("waiting", true), ("failed", false)];
        if one_of(asked.state.as_deref(), &states, true, "state")? {
            let waiting = shared.engine.view(|view| view.outbox.iter().collect::<Vec<_>>());
            let is_meant = |one: &&Queued| between.holds(one.queued);
            let found: Vec<_> = waiting.iter().rev().filter(is_meant).collect();
            let left_out = found.len().saturating_sub(between.limit);
            let found: Vec<_> = found.into_iter().take(between.limit).map(queued).collect();
            return Ok(json!({ "deliveries": found, "left_out": left_out }));
        }
        let is_failed = |line: &Line| {
            let is_given_up =
                matches!(&line.what, What::Attempt { answer: Answer::GivenUp { .. }, .. });
            is_given_up || matches!(line.what, What::Lost(_))
        };
        let (found, left_out) = lines(shared, between, is_failed);
        let found: Vec<_> = found.iter().map(line).collect();
        Ok(json!({ "deliveries": found, "left_out": left_out }))
    })
    .await
}

async fn answer(
    shared: Shared,
    asked: Question,
    make: impl FnOnce(&Shared, &Asked, &Between) -> Result<Value, Problem> + Send + 'static,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(wrong) => return Problem::BadData(wrong.body_text()).into_response(),
    };
    blocking(move || {
        let made = between(&asked, shared.now()).and_then(|its| make(&shared, &asked, &its));
        match made {
            Ok(data) => super::json(StatusCode::OK, &json!({ "status": "success", "data": data })),
            Err(problem) => problem.into_response(),
        }
    })
    .await
}

fn between(asked: &Asked, now: Timestamp) -> Result<Between, Problem> {
    let instant = |text: &Option<String>, name: &str| {
        let parsed = text.as_ref().map(|text| Timestamp::parse(text, now)).transpose();
        parsed.map_err(|error| Problem::BadData(format!("`{name}`: {error}")))
    };
    let limit = asked.limit.as_ref().map(|text| text.parse::<usize>()).transpose();
    let limit = limit.ok().map(|limit| limit.unwrap_or(LIMIT));
    let limit =
        limit.filter(|limit| (1..=limits::PAST_ANSWER).contains(limit)).ok_or_else(|| {
            Problem::BadData(format!("`limit` is a number from 1 to {}", limits::PAST_ANSWER))
        })?;
    Ok(Between {
        from: instant(&asked.from, "from")?.unwrap_or(Timestamp::from_millis(i64::MIN)),
        to: instant(&asked.to, "to")?.unwrap_or(Timestamp::from_millis(i64::MAX)),
        limit,
    })
}

impl Between {
    fn holds(&self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

fn refuse(asked: Option<&str>, name: &str) -> Result<(), Problem> {
    let wrong = || Problem::BadData(format!("`{name}` cannot be asked for here"));
    asked.map_or(Ok(()), |_| Err(wrong()))
}

/// Lines of the audit that are meant, the newest first, and how many more there are.
fn lines(
    shared: &Shared,
    between: &Between,
    is_meant: impl Fn(&Line) -> bool,
) -> (Vec<Line>, usize) {
    shared.engine.view(|view| {
        let meant = view.audit.iter().filter(|line| between.holds(line.at) && is_meant(line));
        let mut meant: Vec<_> = meant.collect();
        let left_out = meant.len().saturating_sub(between.limit);
        meant.truncate(between.limit);
        (meant.into_iter().cloned().collect(), left_out)
    })
}

fn incident(incident: &Incident, attempts: &BTreeMap<String, Vec<Line>>) -> Value {
    let labels: BTreeMap<_, _> = incident.labels.iter().map(|(k, v)| (k, v)).collect();
    let messages: Vec<_> = incident
        .messages
        .iter()
        .map(|told| {
            let of_it = attempts.get(&told.message).into_iter().flatten().rev();
            let attempts: Vec<_> = of_it.map(line).collect();
            let at = told.at.rfc3339();
            json!({ "id": told.message, "contact": told.contact, "at": at, "attempts": attempts })
        })
        .collect();
    json!({
        "id": &*incident.id,
        "rule": incident.rule.name,
        "summary": incident.rule.summary,
        "labels": labels,
        "state": if incident.closed.is_some() { "closed" } else { "open" },
        "level": incident.level.word(),
        "flapping": incident.is_flapping,
        "opened": incident.opened.rfc3339(),
        "since": incident.since.rfc3339(),
        "closed": incident.closed.map(Timestamp::rfc3339),
        "began": incident.began,
        "worst": incident.worst,
        "unit": incident.rule.unit.text.trim(),
        "acknowledged": incident.ack.as_ref().map(acknowledged),
        "silenced": incident.is_silenced,
        "notes": incident.notes.iter().map(note).collect::<Vec<_>>(),
        "changes": incident.changes.iter().map(change).collect::<Vec<_>>(),
        "messages": messages,
    })
}

fn change(change: &Change) -> Value {
    let Change { at, from, to, value } = change;
    json!({ "at": at.rfc3339(), "from": from.word(), "to": to.word(), "value": value })
}

fn acknowledged(ack: &Ack) -> Value {
    json!({ "at": ack.at.rfc3339(), "author": ack.author, "comment": ack.comment })
}

fn note(note: &Note) -> Value {
    let Note { at, kind, author, text } = note;
    let kind = match kind {
        NoteKind::Acknowledged => "acknowledged",
        NoteKind::Unacknowledged => "unacknowledged",
        NoteKind::Outgrown => "acknowledgement_outgrown",
        NoteKind::Comment => "comment",
    };
    json!({ "kind": kind, "at": at.rfc3339(), "author": author, "text": text })
}

fn line(line: &Line) -> Value {
    let mut said = match &line.what {
        What::Change { title, incident, change } => {
            let mut said = self::change(change);
            merge(&mut said, json!({ "kind": "change", "rule": title, "incident": incident }));
            said
        }
        What::Message { message, contact, notices } => json!({
            "kind": "message", "message": message, "contact": contact, "notices": notices,
        }),
        What::Attempt { message, contact, recipient, attempt, answer, took } => {
            let (outcome, reason, due) = match answer {
                Answer::Delivered => ("delivered", None, None),
                Answer::Again { reason, due } => ("again", Some(reason), Some(due.rfc3339())),
                Answer::GivenUp { reason } => ("given_up", Some(reason), None),
            };
            json!({
                "kind": "attempt",
                "message": message,
                "contact": contact,
                "to": recipient,
                "attempt": attempt,
                "outcome": outcome,
                "reason": reason,
                "due": due,
                "seconds": took.as_secs_f64(),
            })
        }
        What::Reload { problem } => json!({ "kind": "reload", "problem": problem }),
        What::Lost(Lost { message, contact, recipient, notices }) => json!({
            "kind": "lost",
            "message": message,
            "contact": contact,
            "to": recipient.shown(),
            "notices": notices,
        }),
        What::Start => json!({ "kind": "start" }),
        What::Note { title, incident, note } => {
            let mut said = self::note(note);
            merge(&mut said, json!({ "rule": title, "incident": incident }));
            said
        }
        What::Silence(silence) => json!({
            "kind": "silence",
            "silence": &*silence.id,
            "rule": silence.rule.as_ref().map(ToString::to_string),
            "series": silence.series.as_ref().map(ToString::to_string),
            "from": silence.from.rfc3339(),
            "until": silence.until.map(Timestamp::rfc3339),
            "schedule": silence.schedule,
            "author": silence.author,
            "comment": silence.comment,
        }),
        What::Unsilence { silence, author } => {
            let author = Some(author).filter(|author| !author.is_empty());
            json!({ "kind": "unsilence", "silence": silence, "author": author })
        }
    };
    merge(&mut said, json!({ "at": line.at.rfc3339() }));
    said
}

/// How the attempts to deliver a message ended, in order.
pub(super) fn attempts(audit: &Audit, id: &str) -> Vec<Value> {
    let of_it = |line: &&Line| matches!(&line.what, What::Attempt { message, .. } if message == id);
    let mut found: Vec<_> = audit.iter().filter(of_it).map(line).collect();
    found.reverse();
    found
}

fn merge(into: &mut Value, more: Value) {
    if let (Value::Object(into), Value::Object(more)) = (into, more) {
        into.extend(more);
    }
}

fn queued(one: &Queued) -> Value {
    let titles: Vec<_> = one.message.notices.iter().take(20).map(Notice::title).collect();
    json!({
        "message": one.message.id,
        "contact": one.message.contact,
        "to": one.recipient.shown(),
        "attempts": one.attempts,
        "queued": one.queued.rfc3339(),
        "due": one.due.rfc3339(),
        "under_way": one.is_out,
        "about": titles,
        "notices": one.message.notices.len(),
    })
}
