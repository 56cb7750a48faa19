//! `GET /check/RULE` and `GET /check`: what a Nagios plugin prints, as text; on demand also as a status, for
//! clients that look at nothing else.
//!
//! `by=region=eu` asks for the instances with that tag; it may be there several times.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};

use super::super::{Shared, nagios};
use super::{Problem, blocking, text};
use crate::limits;
use crate::rules::Level;

type Pairs = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// What may be asked for.
#[derive(Default)]
struct Asked {
    tags: Vec<nagios::Tag>,
    /// The state is also in the HTTP status.
    is_in_status: bool,
}

/// `GET /check/RULE`
pub(super) async fn one(
    State(shared): State<Shared>,
    Path(rule): Path<String>,
    pairs: Pairs,
) -> Response {
    answer(shared, Some(rule), pairs).await
}

/// `GET /check`
pub(super) async fn all(State(shared): State<Shared>, pairs: Pairs) -> Response {
    answer(shared, None, pairs).await
}

async fn answer(shared: Shared, rule: Option<String>, pairs: Pairs) -> Response {
    let asked = match read(pairs) {
        Ok(asked) => asked,
        Err(problem) => return problem.into_response(),
    };
    if rule.is_none() && !asked.tags.is_empty() {
        return Problem::BadData("`by` goes with a rule".to_owned()).into_response();
    }
    blocking(move || check(&shared, rule.as_deref(), &asked)).await
}

fn read(pairs: Pairs) -> Result<Asked, Problem> {
    let Query(pairs) = pairs.map_err(|wrong| Problem::BadData(wrong.body_text()))?;
    let mut asked = Asked::default();
    for (name, value) in pairs {
        match (&*name, &*value) {
            ("by", tag) => asked.tags.push(nagios::tag(tag).map_err(Problem::BadData)?),
            ("http_status", "1") => asked.is_in_status = true,
            ("http_status", "0") => asked.is_in_status = false,
            ("http_status", _) => {
                return Err(Problem::BadData("http_status is 1 or 0".to_owned()));
            }
            _ => return Err(Problem::BadData(format!("there is no `{name}` to be asked for"))),
        }
    }
    Ok(asked)
}

fn check(shared: &Shared, rule: Option<&str>, asked: &Asked) -> Response {
    let (age, room) = (shared.since_tick(), limits::NAGIOS_BYTES - 1);
    let found = shared.engine.view(|view| match rule {
        Some(rule) => nagios::check(view, rule, &asked.tags, age, room),
        None => Some(nagios::all(view, age, room)),
    });
    let is_known = found.is_some();
    let check = found.unwrap_or_else(|| {
        nagios::unknown(rule.unwrap_or_default(), "there is no such rule", room)
    });
    let status = match (asked.is_in_status, is_known) {
        (true, _) => status_of(check.level),
        (false, true) => StatusCode::OK,
        (false, false) => StatusCode::NOT_FOUND,
    };
    text(status, check.text + "\n")
}

/// For `check_http`, to which 4xx is a warning and 5xx is critical. It has no status for UNKNOWN, so
/// that is critical to it: somebody has to look.
fn status_of(level: Level) -> StatusCode {
    match level {
        Level::Ok => StatusCode::OK,
        Level::Warning => StatusCode::EXPECTATION_FAILED,
        Level::Critical => StatusCode::SERVICE_UNAVAILABLE,
        Level::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}
