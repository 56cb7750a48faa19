//! `/api/v1/acks`, `/silences`, `/deploys` and `/notify/test`: what people and their programs do.
//!
//! GET lists, POST does something with a JSON object, DELETE takes one back by its id. What was done is in
//! the tick log before it is answered, so the end of the process takes none of it back.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::super::Shared;
use super::asked::parse;
use super::{Problem, blocking, past};
use crate::limits;
use crate::notify::outbox::end_of_test;
use crate::notify::{Deploy, Incident, MissingSchedule, NoTest, Refusal, Silence};
use crate::series::Pattern;
use crate::time::{Span, Timestamp};

/// An answer, or why there is none.
type Done = Result<Value, Problem>;

/// Who does it, where that goes with a DELETE.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct By {
    author: String,
    comment: String,
}

type ByWhom = Result<Query<By>, QueryRejection>;

/// What is to be acknowledged: one incident, or those of a rule that have these tags.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    incident: Option<String>,
    rule: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    comment: String,
}

/// What is to be silenced.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Quiet {
    rule: Option<String>,
    series: Option<String>,
    from: Option<String>,
    until: Option<String>,
    /// Instead of `until`.
    r#for: Option<String>,
    schedule: Option<String>,
    #[serde(default)]
    author: String,
    #[serde(default)]
    comment: String,
}

/// What was put into use.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PutIntoUse {
    at: Option<String>,
    what: String,
    #[serde(default)]
    who: String,
}

/// Who is to get a message that says that it is a test.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    contact: String,
}

/// Which test is asked about.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Tested {
    message: String,
}

/// `GET /api/v1/acks`: who looks after what, the latest first.
pub(super) async fn acks(State(shared): State<Shared>) -> Response {
    answer(move || {
        let mut acks: Vec<Incident> = shared.engine.view(|view| {
            let open = view.incidents.iter().filter(|one| one.closed.is_none());
            open.filter(|one| one.ack.is_some()).cloned().collect()
        });
        acks.sort_by_key(|one| std::cmp::Reverse(one.ack.as_ref().map(|ack| ack.at)));
        Ok(json!({ "acks": acks.iter().map(ack).collect::<Vec<_>>() }))
    })
    .await
}

/// `POST /api/v1/acks`
pub(super) async fn acknowledge(State(shared): State<Shared>, body: Bytes) -> Response {
    answer(move || {
        let asked: Ack = read(&body)?;
        let now = shared.now();
        let meant = meant(&shared, &asked)?;
        let mut acks = Vec::new();
        for id in meant {
            let done = shared.engine.acknowledge(&id, &asked.author, &asked.comment, now);
            let is_new = match done {
                Ok(done) => done.is_new,
                // It ended between the two looks.
                Err(Refusal::Over(_)) if asked.rule.is_some() => continue,
                Err(refusal) => return Err(refusal.into()),
            };
            let found = shared.engine.view(|view| find(view.incidents.iter(), &id).map(ack));
            if let Some(Value::Object(mut found)) = found {
                found.insert("new".to_owned(), is_new.into());
                acks.push(found);
            }
        }
        Ok(json!({ "acks": acks }))
    })
    .await
}

/// `DELETE /api/v1/acks/{incident}`
pub(super) async fn unacknowledge(
    State(shared): State<Shared>,
    Path(incident): Path<String>,
    by: ByWhom,
) -> Response {
    answer(move || {
        let By { author, comment } = whom(by)?;
        shared.engine.unacknowledge(&incident, &author, &comment, shared.now())?;
        Ok(json!({ "incident": incident }))
    })
    .await
}

/// `GET /api/v1/silences`: those that are not over, the latest first.
pub(super) async fn silences(State(shared): State<Shared>) -> Response {
    answer(move || {
        let all = shared.engine.view(|view| {
            let silences = view.incidents.silences();
            let state = |one: &Silence| {
                (one.clone(), silences.is_active(&one.id), silences.missing_schedule(&one.id))
            };
            let mut all: Vec<_> = silences.iter().map(state).collect();
            all.sort_by_key(|(silence, ..)| std::cmp::Reverse(silence.made));
            all
        });
        let listed = |(one, is_active, missing): &(Silence, bool, Option<MissingSchedule>)| {
            let mut said = silence(one);
            add(&mut said, "active", json!(is_active));
            add(&mut said, "missing_schedule", json!(missing.map(missing_schedule)));
            said
        };
        Ok(json!({ "silences": all.iter().map(listed).collect::<Vec<_>>() }))
    })
    .await
}

/// `POST /api/v1/silences`: what was made, and what it covers now.
pub(super) async fn silence_it(State(shared): State<Shared>, body: Bytes) -> Response {
    answer(move || {
        let now = shared.now();
        let made = shared.engine.silence(quiet(read(&body)?, now)?, now)?;
        let covers = shared.engine.view(|view| made.coverage(view.rules));
        let mut said = silence(&made);
        add(&mut said, "covers", json!(covers));
        Ok(said)
    })
    .await
}

/// `DELETE /api/v1/silences/{id}`
pub(super) async fn unsilence(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    by: ByWhom,
) -> Response {
    answer(move || {
        let ended = shared.engine.unsilence(&id, &whom(by)?.author, shared.now())?;
        Ok(silence(&ended))
    })
    .await
}

/// `GET /api/v1/deploys`: the latest first.
pub(super) async fn deploys(State(shared): State<Shared>) -> Response {
    answer(move || {
        let known = shared.engine.view(|view| {
            view.deploys.iter().map(|(id, one)| (id, one.clone())).collect::<Vec<_>>()
        });
        let mut known = known;
        known.sort_by_key(|(id, one)| std::cmp::Reverse((one.at, *id)));
        let known: Vec<_> = known.iter().map(|(id, one)| deploy(*id, one)).collect();
        Ok(json!({ "deploys": known }))
    })
    .await
}

/// `POST /api/v1/deploys`
pub(super) async fn put_into_use(State(shared): State<Shared>, body: Bytes) -> Response {
    answer(move || {
        let asked: PutIntoUse = read(&body)?;
        let now = shared.now();
        let at = instant(asked.at.as_deref(), "at", now)?.unwrap_or(now);
        let made = Deploy::new(at, &asked.what, &asked.who);
        let made = made.ok_or_else(|| Problem::BadData("`what` is empty".to_owned()))?;
        let id = shared.engine.deploy(made.clone());
        Ok(deploy(id, &made))
    })
    .await
}

/// `DELETE /api/v1/deploys/{id}`
pub(super) async fn forget_deploy(
    State(shared): State<Shared>,
    Path(id): Path<String>,
) -> Response {
    answer(move || {
        let is_known = id.parse().is_ok_and(|id| shared.engine.forget_deploy(id));
        if !is_known {
            return Err(Problem::NotFound("there is no such deploy".to_owned()));
        }
        Ok(json!({ "id": id }))
    })
    .await
}

/// `POST /api/v1/notify/test`: a message that says what it is, through the courier that real ones take.
pub(super) async fn test(State(shared): State<Shared>, body: Bytes) -> Response {
    answer(move || {
        let asked: Test = read(&body)?;
        let sent = shared.engine.test_contact(&asked.contact, shared.now());
        let message = sent.map_err(|error| match error {
            NoTest::NoSuchContact => Problem::NotFound(error.to_string()),
            NoTest::Full => Problem::Conflict(error.to_string()),
        })?;
        Ok(json!({ "message": message.id }))
    })
    .await
}

/// `GET /api/v1/notify/test?message=`: how attempts to deliver one ended, and how many are still to come.
pub(super) async fn tested(
    State(shared): State<Shared>,
    asked: Result<Query<Tested>, QueryRejection>,
) -> Response {
    answer(move || {
        let Query(Tested { message }) = asked.map_err(|error| bad(&error.body_text()))?;
        let (waiting, end, attempts) = shared.engine.view(|view| {
            let of = |id: &str| view.outbox.iter().filter(|one| one.message.id == id).count();
            (of(&message), of(&end_of_test(&message)), past::attempts(view.audit, &message))
        });
        // Where a receiver keeps an alert open, its end follows.
        Ok(json!({ "message": message, "waiting": waiting, "ends": end > 0, "attempts": attempts }))
    })
    .await
}

/// Makes an answer where it may wait for the engine.
async fn answer(make: impl FnOnce() -> Done + Send + 'static) -> Response {
    blocking(move || match make() {
        Ok(data) => super::json(StatusCode::OK, &json!({ "status": "success", "data": data })),
        Err(problem) => problem.into_response(),
    })
    .await
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| bad(&wrong::<T>(body, &error)))
}

/// What is wrong with a body, by the name of what it is about. The library tells a place in the text instead.
fn wrong<T: DeserializeOwned>(body: &[u8], error: &serde_json::Error) -> String {
    let value = match serde_json::from_slice(body) {
        Ok(Value::Object(value)) => value,
        Ok(_) => return "the body is no object of JSON: {…}".to_owned(),
        Err(error) => return format!("the body is not JSON: {error}"),
    };
    let said = error.to_string();
    let said = said.rsplit_once(" at line ").map_or(&*said, |(said, _)| said);
    if let Some(name) = said.strip_prefix("missing field ") {
        return format!("{name} is missing");
    }
    // Alone, a value that is right is not complained of, but for what is missing beside it.
    value.into_iter().find_map(|one| wrong_type::<T>(&one)).unwrap_or_else(|| said.to_owned())
}

/// What is wrong with a value by itself.
fn wrong_type<T: DeserializeOwned>((name, value): &(String, Value)) -> Option<String> {
    let alone = Value::Object([(name.clone(), value.clone())].into_iter().collect());
    let said = serde_json::from_value::<T>(alone).err()?.to_string();
    let is = if value.is_object() { "holds" } else { "is" };
    said.strip_prefix("invalid type: ").map(|said| format!("`{name}` {is} {said}"))
}

fn whom(by: ByWhom) -> Result<By, Problem> {
    by.map(|Query(by)| by).map_err(|error| bad(&error.body_text()))
}

fn bad(wrong: &str) -> Problem {
    Problem::BadData(wrong.to_owned())
}

fn instant(text: Option<&str>, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
    let parsed = text.map(|text| Timestamp::parse(text, now)).transpose();
    parsed.map_err(|error| bad(&format!("`{name}`: {error}")))
}

fn find<'a>(mut all: impl Iterator<Item = &'a Incident>, id: &str) -> Option<&'a Incident> {
    all.find(|one| *one.id == *id)
}

/// The ids of the incidents that are to be acknowledged.
fn meant(shared: &Shared, asked: &Ack) -> Result<Vec<Arc<str>>, Problem> {
    let rule = match (&asked.incident, &asked.rule) {
        (Some(incident), None) if asked.labels.is_empty() => {
            return Ok(vec![incident.as_str().into()]);
        }
        (None, Some(rule)) => rule,
        _ => {
            return Err(bad(
                "either `incident` is needed, or `rule`, with `labels` of an instance",
            ));
        }
    };
    let ids = shared.engine.view(|view| {
        let open = view.incidents.iter().filter(|one| one.closed.is_none());
        let its = open.filter(|one| one.rule.name == *rule && has(one, &asked.labels));
        its.map(|one| Arc::clone(&one.id)).collect::<Vec<_>>()
    });
    if ids.is_empty() {
        return Err(Problem::NotFound(
            "no incident of that rule and those labels is open".to_owned(),
        ));
    }
    Ok(ids)
}

fn has(incident: &Incident, labels: &BTreeMap<String, String>) -> bool {
    labels
        .iter()
        .all(|(name, value)| incident.labels.iter().any(|(its, has)| its == name && has == value))
}

fn quiet(asked: Quiet, now: Timestamp) -> Result<Silence, Problem> {
    let pattern =
        |text: Option<String>, name| text.map(|text| parse::<Pattern>(&text, name)).transpose();
    let from = instant(asked.from.as_deref(), "from", now)?.unwrap_or(now);
    let until = match (asked.until.as_deref(), asked.r#for.as_deref()) {
        (Some(_), Some(_)) => return Err(bad("`for` and `until` say the same thing; write one")),
        (until, None) => instant(until, "until", now)?,
        (None, Some(span)) => Some(from + parse::<Span>(span, "for")?),
    };
    Ok(Silence {
        id: "".into(),
        rule: pattern(asked.rule, "rule")?,
        series: pattern(asked.series, "series")?,
        from,
        until,
        schedule: asked.schedule,
        author: asked.author,
        comment: asked.comment,
        made: now,
    })
}

fn ack(incident: &Incident) -> Value {
    let labels: BTreeMap<_, _> = incident.labels.iter().map(|(k, v)| (k, v)).collect();
    let ack = incident.ack.as_ref();
    json!({
        "incident": &*incident.id,
        "rule": incident.rule.name,
        "labels": labels,
        "level": incident.level.word(),
        "flapping": incident.is_flapping,
        "opened": incident.opened.rfc3339(),
        "at": ack.map(|ack| ack.at.rfc3339()),
        "author": ack.map(|ack| &ack.author),
        "comment": ack.map(|ack| &ack.comment),
    })
}

fn silence(silence: &Silence) -> Value {
    json!({
        "id": &*silence.id,
        "rule": silence.rule.as_ref().map(Pattern::to_string),
        "series": silence.series.as_ref().map(Pattern::to_string),
        "from": silence.from.rfc3339(),
        "until": silence.until.map(Timestamp::rfc3339),
        "schedule": silence.schedule,
        "author": silence.author,
        "comment": silence.comment,
        "made": silence.made.rfc3339(),
    })
}

fn missing_schedule(missing: MissingSchedule) -> Value {
    let MissingSchedule { since, forgotten } = missing;
    json!({ "since": since.rfc3339(), "forgotten": forgotten.rfc3339() })
}

fn add(to: &mut Value, name: &str, value: Value) {
    if let Some(to) = to.as_object_mut() {
        to.insert(name.to_owned(), value);
    }
}

fn deploy(id: u64, deploy: &Deploy) -> Value {
    let Deploy { at, what, who } = deploy;
    json!({ "id": id, "at": at.rfc3339(), "what": what, "who": who })
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let words = refusal.to_string();
        match refusal {
            Refusal::NoSuchIncident(_) | Refusal::NoSuchSilence(_) => Self::NotFound(words),
            Refusal::Over(_) | Refusal::NotAcknowledged(_) => Self::Conflict(words),
            Refusal::TooMany => Self::TooMuch(words),
            Refusal::Nothing
            | Refusal::Ends
            | Refusal::Endless
            | Refusal::TooLate
            | Refusal::NoSuchSchedule(_)
            | Refusal::TooLong { .. } => Self::BadData(words),
        }
    }
}

const _: () = assert!(limits::COMMENT_BYTES * 4 < limits::HTTP_BODY_BYTES);
