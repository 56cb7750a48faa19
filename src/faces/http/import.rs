//! `POST /api/v1/import`: rows of `time,series,value` become windows of the past; and `GET`: what can be
//! imported now.
//!
//! One request is one batch: all of it is imported or nothing, and when it is answered it survives. Rows of
//! a series in one slice of time, which `GET` tells, belong into one request; a later one finds their windows
//! held. One request at a time is read and worked on.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::{Shared, rows};
use super::asked::{one_of, parse};
use super::desk::Desk;
use super::{Problem, blocking, json};
use crate::counters::cells::Kind;
use crate::engine::{Batch, ImportError, Point};
use crate::limits;
use crate::series::canonical_key;
use crate::store::EditError;
use crate::time::{Span, Timestamp};

/// The path, for the bound of its body.
pub(super) const PATH: &str = "/api/v1/import";

/// What a row stands for where nothing is said.
const STEP: Span = Span::from_secs(60);

const KINDS: [(&str, Kind); 3] =
    [("counter", Kind::Counter), ("gauge", Kind::Gauge), ("distribution", Kind::Distribution)];

/// How rows are to be taken.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    kind: Option<String>,
    step: Option<String>,
    overwrite: Option<bool>,
}

impl Asked {
    fn kind(&self) -> Result<Kind, Problem> {
        one_of(self.kind.as_deref(), &KINDS, Kind::Counter, "kind")
    }

    fn step(&self) -> Result<Span, Problem> {
        let step = self.step.as_deref().map_or(Ok(STEP), |text| parse(text, "step"))?;
        if step.is_zero() || !step.is_multiple_of(Span::SECOND) || step > Span::DAY {
            return Err(Problem::BadData("`step` is whole seconds, 1s to 1d".to_owned()));
        }
        Ok(step)
    }
}

fn asked(asked: Result<Query<Asked>, QueryRejection>) -> Result<Asked, Problem> {
    asked.map(|Query(asked)| asked).map_err(|wrong| Problem::BadData(wrong.body_text()))
}

/// What can be imported now.
pub(super) async fn about(
    State(desk): State<Desk>,
    query: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let step = match asked(query).and_then(|asked| asked.step()) {
        Ok(step) => step,
        Err(problem) => return problem.into_response(),
    };
    blocking(move || match desk.shared.engine.importable(step) {
        Ok(may) => {
            let slice = may.slice.as_millis() / 1000;
            let (from, until) = (may.from.as_secs(), may.until.as_secs());
            let data = serde_json::json!({ "from": from, "until": until, "slice": slice });
            json(StatusCode::OK, &serde_json::json!({ "status": "success", "data": data }))
        }
        Err(error) => problem(error).into_response(),
    })
    .await
}

/// Takes rows.
pub(super) async fn take(
    State(desk): State<Desk>,
    query: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Response {
    let asked = match asked(query) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    let Ok(turn) = desk.turn.try_acquire_owned() else {
        return Problem::Busy("another import is under way".to_owned()).into_response();
    };
    let patience = Duration::from_secs(limits::HTTP_FAREWELL_SECS);
    let body = tokio::time::timeout(patience, to_bytes(body, limits::IMPORT_BODY_BYTES)).await;
    let Ok(Ok(body)) = body else {
        let wrong = "the rows did not come in time, or are too many".to_owned();
        return Problem::BadData(wrong).into_response();
    };
    blocking(move || {
        let took = import(&desk.shared, &asked, &body);
        drop(turn);
        took.unwrap_or_else(IntoResponse::into_response)
    })
    .await
}

fn import(shared: &Shared, asked: &Asked, body: &[u8]) -> Result<Response, Problem> {
    let (kind, step) = (asked.kind()?, asked.step()?);
    let text = std::str::from_utf8(body);
    let text = text.map_err(|_| Problem::BadData("the rows are not UTF-8".to_owned()))?;
    let series = grouped(text, kind)?;
    let batch = Batch { kind, step, overwrite: asked.overwrite.unwrap_or(false), series };
    let outcome = shared.engine.import(&batch).map_err(problem)?;
    Ok(json(StatusCode::OK, &serde_json::json!({ "status": "success", "data": outcome })))
}

type Grouped = Vec<(Box<[u8]>, Vec<Point>)>;

/// Rows by series, in order of time.
fn grouped(text: &str, kind: Kind) -> Result<Grouped, Problem> {
    let mut places: HashMap<Box<[u8]>, usize> = HashMap::new();
    let mut series = Grouped::new();
    for (number, line) in (1..).zip(text.lines()) {
        if line.is_empty() || number == 1 && rows::is_head(line) {
            continue;
        }
        let wrong = |wrong: &str| Problem::BadData(format!("line {number}: {wrong}"));
        let row = rows::read(line, kind).map_err(wrong)?;
        rows::check_name(&row.series).map_err(wrong)?;
        let Some(bits) = row.bits else { continue };
        let key = canonical_key(row.series.as_bytes());
        let known = places.get(&*key).copied();
        let at = known.unwrap_or(series.len());
        if known.is_none() {
            series.push((key.as_ref().into(), Vec::new()));
            places.insert(key.into_owned().into(), at);
        }
        let point = Point { at: Timestamp::from_secs(row.secs), bits };
        if let Some((_, points)) = series.get_mut(at) {
            points.push(point);
        }
    }
    for (_, points) in &mut series {
        points.sort_by_key(|point| point.at);
    }
    Ok(series)
}

fn problem(error: ImportError) -> Problem {
    match error {
        ImportError::TooMany => Problem::TooMuch(error.to_string()),
        ImportError::Edit(EditError::Busy(_)) => Problem::Busy(error.to_string()),
        ImportError::Edit(EditError::Store(_) | EditError::Read(_)) => {
            tracing::error!(%error, "an import was not done");
            Problem::Internal(error.to_string())
        }
        error => Problem::BadData(error.to_string()),
    }
}
