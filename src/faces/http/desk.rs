//! A desk: where answers are made that take long, one at a time.
//!
//! Each path that costs has a desk of its own, so that several questions of one kind take turns, or are turned
//! away, and no other kind waits for them. What is asked is not known here.

use std::sync::Arc;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use super::super::Shared;
use super::Problem;

/// See the module.
#[derive(Clone)]
pub(super) struct Desk {
    pub(super) shared: Shared,
    /// Held while an answer is made.
    pub(super) turn: Arc<Semaphore>,
}

impl Desk {
    /// A desk at which nobody sits.
    pub(super) fn new(shared: Shared) -> Self {
        Self::with_turns(shared, 1)
    }

    /// One at which several sit.
    pub(super) fn with_turns(shared: Shared, turns: usize) -> Self {
        Self { shared, turn: Arc::new(Semaphore::new(turns)) }
    }
}

#[derive(serde::Serialize)]
struct Answer<T> {
    status: &'static str,
    data: Vec<T>,
}

/// What was found as JSON, or why there is nothing.
pub(super) fn written<T: serde::Serialize>(found: Result<Vec<T>, Problem>) -> Response {
    let text = found.and_then(|data| {
        let answer = Answer { status: "success", data };
        serde_json::to_string(&answer).map_err(|error| Problem::Internal(error.to_string()))
    });
    match text {
        Ok(text) => {
            (StatusCode::OK, [(CONTENT_TYPE, "application/json")], Body::from(text)).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}
