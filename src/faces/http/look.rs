//! `POST /api/v1/look`: which of some rules watch nothing, since no series is as they say.
//!
//! The body is as that of a backtest; empty, it is about the server's own rules.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::backtest::rules;
use super::desk::Desk;
use super::{Problem, blocking};
use crate::limits;

/// The path, for the bound of its body.
pub(super) const PATH: &str = "/api/v1/look";

/// See the module.
pub(super) async fn answer(State(desk): State<Desk>, body: Body) -> Response {
    let Desk { shared, turn } = desk;
    let Ok(turn) = turn.try_acquire_owned() else {
        return Problem::Busy("another look is being taken".to_owned()).into_response();
    };
    let patience = Duration::from_secs(limits::HTTP_HEADER_SECS);
    let body = to_bytes(body, limits::BACKTEST_BODY_BYTES);
    let Ok(Ok(body)) = tokio::time::timeout(patience, body).await else {
        return Problem::BadData("the body did not come".to_owned()).into_response();
    };
    blocking(move || {
        let look = rules(&shared, &body).map(|rules| shared.engine.look(&rules));
        drop(turn);
        match look {
            Ok(look) => super::json(StatusCode::OK, &json!({ "status": "success", "data": look })),
            Err(problem) => problem.into_response(),
        }
    })
    .await
}
