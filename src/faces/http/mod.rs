//! The HTTP face: checks, metrics, the API. Everything is read-only.
//!
//! An accept loop of our own, because every bound is ours to keep: connections, time to send a
//! request's head, size of a body. Without tokens only loopback is listened on, and a page from
//! elsewhere must not reach it through the browser: see `access`.

mod access;
mod api;
mod chart;

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Shared, nagios, page, prometheus, stopped};
use crate::limits;
use crate::rules::Level;

/// Serves HTTP on `listener` until `stop` says so; then answers what was asked and returns.
pub async fn serve(listener: TcpListener, shared: Shared, mut stop: watch::Receiver<bool>) {
    let router = router(shared);
    let room = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = accept(&listener, &room) => accepted,
        };
        let (stream, permit) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of descriptors, most likely: a moment later there may be one.
                tracing::warn!(%error, "cannot accept an HTTP connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(router.clone());
        let mut stop = stop.clone();
        connections.spawn(async move {
            let _permit = permit;
            let mut builder = http1::Builder::new();
            builder
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_SECS));
            let connection = builder.serve_connection(TokioIo::new(stream), service);
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = stopped(&mut stop) => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "an HTTP connection ended early");
            }
        });
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> io::Result<(tokio::net::TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    // The room first: a connection that nobody serves waits in the kernel.
    let permit = Arc::clone(room).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, permit))
}

/// All routes.
fn router(shared: Shared) -> Router {
    Router::new()
        .route("/", get(page))
        .route("/chart.svg", get(chart::svg))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/check/{rule}", get(check))
        .route("/api/v1/rules", get(api::rules))
        .route("/api/v1/alerts", get(api::alerts))
        .fallback(async || Problem::NotFound("there is nothing at this path".to_owned()))
        .method_not_allowed_fallback(async || Problem::Method)
        .layer(from_fn(access::guard))
        .layer(from_fn(finish))
        .with_state(shared)
}

/// Headers that every answer has.
async fn finish(request: Request, next: Next) -> Result<Response, Infallible> {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}

/// The page for people.
async fn page(State(shared): State<Shared>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, page::POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, page::render(&shared)).into_response()
}

/// Whether the process is alive: windows are being closed.
async fn healthz(State(shared): State<Shared>) -> Response {
    if shared.is_ticking() {
        text(StatusCode::OK, "ok\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "no window was closed for 10 s\n".to_owned())
    }
}

/// Whether it does all that it is configured to do.
async fn readyz(State(shared): State<Shared>) -> Response {
    if shared.is_ready() {
        text(StatusCode::OK, "ready\n".to_owned())
    } else {
        text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned())
    }
}

async fn metrics(State(shared): State<Shared>) -> Response {
    // A million series take a while to print; the requests of others need not wait for it.
    match tokio::task::spawn_blocking(move || prometheus::exposition(&shared)).await {
        Ok(body) => ([(CONTENT_TYPE, prometheus::CONTENT_TYPE)], body).into_response(),
        Err(error) => Problem::Internal(error.to_string()).into_response(),
    }
}

/// What a check may be asked for.
#[derive(serde::Deserialize)]
struct CheckQuery {
    /// `1`: the state is also in the HTTP status, for clients that look at nothing else.
    #[serde(default)]
    http_status: Option<String>,
}

async fn check(
    State(shared): State<Shared>,
    Path(rule): Path<String>,
    Query(query): Query<CheckQuery>,
) -> Response {
    let now = shared.now();
    let found = shared.engine.view(|view| nagios::check(view, &rule, now));
    let is_known = found.is_some();
    let check = found.unwrap_or_else(|| nagios::unknown(&rule, "there is no such rule"));
    let status = match (query.http_status.as_deref(), check.level) {
        (Some("1"), level) => http_status(level),
        (None | Some("0"), _) if is_known => StatusCode::OK,
        (None | Some("0"), _) => StatusCode::NOT_FOUND,
        (Some(_), _) => {
            let wrong = "http_status is 1 or 0".to_owned();
            return Problem::BadData(wrong).into_response();
        }
    };
    text(status, check.text + "\n")
}

/// For `check_http`, to which 4xx is a warning and 5xx is critical.
fn http_status(level: Level) -> StatusCode {
    match level {
        Level::Ok => StatusCode::OK,
        Level::Warning => StatusCode::EXPECTATION_FAILED,
        Level::Critical => StatusCode::SERVICE_UNAVAILABLE,
        Level::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn text(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

/// What went wrong, as every error of this face is answered:
/// `{"status":"error","errorType":…,"error":…}`.
enum Problem {
    BadData(String),
    Forbidden(String),
    NotFound(String),
    Method,
    TooLarge,
    Internal(String),
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind, error) = match self {
            Self::BadData(error) => (StatusCode::BAD_REQUEST, "bad_data", error),
            Self::Forbidden(error) => (StatusCode::FORBIDDEN, "forbidden", error),
            Self::NotFound(error) => (StatusCode::NOT_FOUND, "not_found", error),
            Self::Method => {
                let error = "this path is read with GET".to_owned();
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", error)
            }
            Self::TooLarge => {
                let error = format!("a body has at most {} bytes", limits::HTTP_BODY_BYTES);
                (StatusCode::PAYLOAD_TOO_LARGE, "too_large", error)
            }
            Self::Internal(error) => (StatusCode::INTERNAL_SERVER_ERROR, "internal", error),
        };
        let body = serde_json::json!({ "status": "error", "errorType": kind, "error": error });
        let mut response = json(status, &body);
        if status == StatusCode::METHOD_NOT_ALLOWED {
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        }
        response
    }
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body.to_string())).into_response()
}

impl Shared {
    /// Notes that everything listens.
    pub fn set_ready(&self, is_ready: bool) {
        self.status.is_ready.store(is_ready, Relaxed);
    }
}
