//! The HTTP face: checks, metrics, the API. What it changes is history that is imported, and what people say
//! about incidents, silences and deploys.
//!
//! An accept loop of our own, because every bound is ours to keep: connections, time to send a
//! request's head, size of a body, time to read an answer. Whatever takes the engine's lock runs on a
//! blocking thread, since the thread that accepts has others to serve. What is answered stands in `routes`,
//! each call with who may make it, which `access` holds. Without tokens only loopback is listened on.

mod accept;
mod access;
mod acts;
mod api;
mod asked;
mod backtest;
mod backup;
mod chart;
mod check;
mod desk;
mod forms;
mod import;
mod login;
mod look;
mod measure;
mod metrics;
mod past;
mod problem;
mod reload;
mod routes;
pub mod tokens;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use access::Visitor;
use problem::{Problem, json};

use super::{Shared, page, stopped};
use crate::limits;

/// What is answered, and the room for connections: one for all listeners.
#[derive(Clone)]
pub struct Face {
    shared: Shared,
    router: Router,
    room: Arc<Semaphore>,
    patience: Patience,
}

/// How long a connection is kept.
#[derive(Clone, Copy, Debug)]
struct Patience {
    /// Then it is asked for nothing new.
    asking: Duration,
    /// For so long after that it may fetch what it has asked for.
    farewell: Duration,
}

impl Face {
    /// A face that shows `shared`.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self {
            router: router(shared.clone()),
            shared,
            room: Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS)),
            patience: Patience {
                asking: Duration::from_secs(limits::HTTP_CONNECTION_SECS),
                farewell: Duration::from_secs(limits::HTTP_FAREWELL_SECS),
            },
        }
    }

    /// Serves HTTP on `listener` until `stop` says so; then answers what was asked and returns.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: a moment later there may be one.
                    tracing::warn!(%error, "cannot accept an HTTP connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            // The room comes second: one that was taken before there is a connection would be
            // missing from the other listeners.
            let permit = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                permit = Arc::clone(&self.room).acquire_owned() => permit,
            };
            // It matters to speed alone.
            let _ = stream.set_nodelay(true);
            let (face, stop) = (self.clone(), stop.clone());
            connections.spawn(async move {
                face.welcome(stream, stop).await;
                drop(permit);
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// Serves one connection, from its handshake on where there is one.
    async fn welcome(self, stream: TcpStream, mut stop: watch::Receiver<bool>) {
        let Self { router, patience, .. } = self;
        let Some(tls) = self.shared.tokens.tls() else {
            return attend(stream, Carrier::Clear, router, patience, stop).await;
        };
        let limit = Duration::from_secs(limits::TLS_HANDSHAKE_SECS);
        let shaken = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            shaken = tokio::time::timeout(limit, tls.accept(stream)) => shaken,
        };
        match shaken.map_err(std::io::Error::from).and_then(|shaken| shaken) {
            Ok(stream) => attend(stream, Carrier::Tls, router, patience, stop).await,
            Err(error) => tracing::debug!(%error, "an HTTP connection ended in its handshake"),
        }
    }
}

/// What a request came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carrier {
    Clear,
    Tls,
}

/// Tells of a connection that a long answer on it is being read: while it is, its time is not over.
#[derive(Clone, Debug, Default)]
struct Reading(Arc<AtomicU64>);

impl Reading {
    /// Notes that a piece was taken.
    fn note(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    fn pieces(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Answers one connection until it ends, or its time is over, or the process stops.
async fn attend(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    carrier: Carrier,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_SECS));
    let (router, reading) = (TowerToHyperService::new(router), Reading::default());
    let its = reading.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(its.clone());
        request.extensions_mut().insert(carrier);
        router.call(request)
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => Some(ended),
        () = stopped(&mut stop) => None,
        () = tokio::time::sleep(patience.asking) => None,
    };
    let ended = if let Some(ended) = ended {
        ended
    } else {
        connection.as_mut().graceful_shutdown();
        let mut pieces = reading.pieces();
        loop {
            if let Ok(ended) = tokio::time::timeout(patience.farewell, connection.as_mut()).await {
                break ended;
            }
            if std::mem::replace(&mut pieces, reading.pieces()) == pieces {
                tracing::debug!("an HTTP connection was cut off: its answer was not read");
                return;
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "an HTTP connection ended early");
    }
}

/// All that is answered, and what stands before it.
fn router(shared: Shared) -> Router {
    routes::router(&shared)
        .fallback(async || Problem::NotFound("there is nothing at this path".to_owned()))
        .layer(from_fn_with_state(shared.clone(), access::guard))
        .layer(from_fn(finish))
        .with_state(shared)
}

/// Makes an answer on a thread where it may take its time, and wait for the engine's lock: a tick
/// holds that for as long as a million series take, and the requests of others need not wait for it.
async fn blocking(make: impl FnOnce() -> Response + Send + 'static) -> Response {
    match tokio::task::spawn_blocking(make).await {
        Ok(response) => response,
        Err(error) => {
            tracing::error!(%error, "an HTTP answer was not made");
            Problem::Internal("the answer could not be made".to_owned()).into_response()
        }
    }
}

/// Tells browsers to show an answer to no page but our own. Source: Fetch, "CORP check".
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Headers that every answer has.
async fn finish(request: Request, next: Next) -> Result<Response, Infallible> {
    let may_be_packed = accept::gzip(request.headers());
    let mut response = next.run(request).await;
    if may_be_packed {
        response = accept::packed(response).await;
    }
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(RESOURCE_POLICY, HeaderValue::from_static("same-origin"));
    Ok(response)
}

/// The page for people.
async fn page(State(shared): State<Shared>, Extension(visitor): Extension<Visitor>) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, page::POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    blocking(move || (headers, page::render(&shared, visitor.has_session)).into_response()).await
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

fn text(status: StatusCode, body: String) -> Response {
    (status, [(CONTENT_TYPE, "text/plain; charset=utf-8")], body).into_response()
}

impl Shared {
    /// Notes that everything listens.
    pub fn set_ready(&self, is_ready: bool) {
        self.status.is_ready.store(is_ready, Relaxed);
    }
}

#[cfg(test)]
mod tests;
