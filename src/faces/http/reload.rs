//! `POST /-/reload`: the configuration is read again, and the answer says what came of it.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use tokio::sync::oneshot;

use super::super::{Reloaded, Shared};
use super::Problem;

/// See the module.
pub(super) async fn reload(State(shared): State<Shared>) -> Response {
    let (reply, done) = oneshot::channel();
    let is_asked = if let Some(asked) = shared.status.reload.get() {
        asked.send(reply).await.is_ok()
    } else {
        // Nobody would ever answer.
        drop(reply);
        false
    };
    match done.await {
        Ok(Ok(Reloaded { rules, contacts, later })) => {
            let data = json!({ "rules": rules, "contacts": contacts, "at_next_start": later });
            super::json(StatusCode::OK, &json!({ "status": "success", "data": data }))
        }
        Ok(Err(problem)) => Problem::BadData(problem).into_response(),
        Err(_) if is_asked => Problem::Internal("it was not done".to_owned()).into_response(),
        Err(_) => Problem::Internal("nothing can be reloaded here".to_owned()).into_response(),
    }
}
