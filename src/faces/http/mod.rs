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
mod asks;
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
mod openapi;
mod past;
mod problem;
mod reload;
mod room;
mod routes;
pub mod tokens;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Extension, Request, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
    X_FRAME_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use access::Visitor;
use problem::{Problem, json};
use room::{Room, Seat};

use super::{Shared, connections, page, stopped};
use crate::limits;

/// What is answered, and the room for connections: one for all listeners.
#[derive(Clone)]
pub struct Face {
    shared: Shared,
    router: Router,
    room: Room,
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
            room: Room::new(limits::HTTP_CONNECTIONS),
            patience: Patience {
                asking: Duration::from_secs(limits::HTTP_CONNECTION_SECS),
                farewell: Duration::from_secs(limits::HTTP_FAREWELL_SECS),
            },
        }
    }

    /// Serves HTTP on `listener` until `stop` says so; then answers what was asked and returns.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        while let Some((stream, from)) =
            connections::next(&listener, &mut connections, &mut stop, "HTTP").await
        {
            // The room comes second: one that was taken before there is a connection would be
            // missing from the other listeners.
            let seat = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                seat = self.room.seat() => seat,
            };
            // It matters to speed alone.
            let _ = stream.set_nodelay(true);
            let (face, stop) = (self.clone(), stop.clone());
            connections.spawn(face.welcome(stream, from, seat, stop));
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }

    /// What `GET` of this path and query is answered on this machine, as a status and a body; `None` where the text
    /// can be no address. No connection is needed for it: `tests/fuzz` asks so.
    #[doc(hidden)]
    pub async fn get(&self, target: &str) -> Option<(u16, Vec<u8>)> {
        let mut request = hyper::Request::get(target).body(Body::empty()).ok()?;
        request.extensions_mut().insert(Reading::default());
        request.extensions_mut().insert(Carrier::Clear);
        let answered = TowerToHyperService::new(self.router.clone()).call(request).await;
        let Ok(response) = answered;
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), usize::MAX).await.ok()?;
        Some((status, body.into()))
    }

    /// Serves one connection, from its handshake on where there is one, as long as it has its seat.
    async fn welcome(
        self,
        stream: TcpStream,
        from: SocketAddr,
        seat: Seat,
        mut stop: watch::Receiver<bool>,
    ) {
        let Self { router, patience, .. } = self;
        let from = Some(from);
        let guest = |carrier| Guest { carrier, from, seat: Some(seat.clone()) };
        let Some(tls) = self.shared.tokens.tls() else {
            let served = attend(stream, guest(Carrier::Clear), router, patience, stop);
            return tokio::select! { () = served => {}, () = seat.given_up() => {} };
        };
        let limit = Duration::from_secs(limits::TLS_HANDSHAKE_SECS);
        let shaken = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            () = seat.given_up() => return,
            shaken = tokio::time::timeout(limit, tls.accept(stream)) => shaken,
        };
        match shaken.map_err(std::io::Error::from).and_then(|shaken| shaken) {
            Ok(stream) => {
                let served = attend(stream, guest(Carrier::Tls), router, patience, stop);
                tokio::select! { () = served => {}, () = seat.given_up() => {} }
            }
            Err(error) => tracing::debug!(%error, "an HTTP connection ended in its handshake"),
        }
    }
}

/// What a request came over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Carrier {
    #[default]
    Clear,
    Tls,
}

/// Who is connected, and by what.
#[derive(Clone, Default)]
struct Guest {
    carrier: Carrier,
    from: Option<SocketAddr>,
    seat: Option<Seat>,
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
    guest: Guest,
    router: Router,
    patience: Patience,
    mut stop: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        // A client that has asked may close its half, as `nc` does, and still reads.
        .half_close(true)
        .header_read_timeout(Duration::from_secs(limits::HTTP_HEADER_SECS))
        // Ours are less, and have an answer in words; what is longer than these gets a bare status.
        .max_buf_size(limits::HTTP_BUFFER_BYTES);
    let (router, reading) = (TowerToHyperService::new(router), Reading::default());
    let its = reading.clone();
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(its.clone());
        request.extensions_mut().insert(guest.carrier);
        let asked = Asked::of(&request, guest.from);
        let (router, seat) = (router.clone(), guest.seat.clone());
        async move {
            // Until all of a short body is here, it may be that none will come: nothing is done for it.
            let request = whole(request).await;
            let asking = seat.as_ref().map(Seat::ask);
            let response = match request {
                Ok(request) => router.call(request).await?,
                Err(problem) => problem.into_response(),
            };
            asked.note(&response);
            Ok::<_, Infallible>(match asking {
                Some(asking) => asking.over(response),
                None => response,
            })
        }
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

/// The request with its body, where that is short; longer ones are read by whoever takes them, one at a time.
async fn whole(request: hyper::Request<Incoming>) -> Result<Request, Problem> {
    let (head, body) = request.into_parts();
    let most = limits::HTTP_BODY_BYTES;
    let is_short = body.size_hint().exact().is_some_and(|length| length <= most as u64);
    if !is_short {
        return Ok(Request::from_parts(head, Body::new(body)));
    }
    let patience = Duration::from_secs(limits::HTTP_HEADER_SECS);
    let body = tokio::time::timeout(patience, to_bytes(Body::new(body), most)).await;
    let Ok(Ok(body)) = body else { return Err(Problem::Slow) };
    Ok(Request::from_parts(head, Body::from(body)))
}

/// A request as it is logged: by its path alone. What stands in a query may be the signature of a link.
struct Asked {
    method: Method,
    path: String,
    from: Option<SocketAddr>,
    since: tokio::time::Instant,
}

impl Asked {
    fn of(request: &hyper::Request<Incoming>, from: Option<SocketAddr>) -> Self {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        Self { method, path, from, since: tokio::time::Instant::now() }
    }

    /// Logs how it was answered.
    fn note(self, response: &Response) {
        let Self { method, path, from, since } = self;
        let (status, millis) = (response.status().as_u16(), since.elapsed().as_millis());
        let from = from.map_or_else(String::new, |from| from.to_string());
        tracing::debug!(%method, path, status, %millis, from, "an HTTP request was answered");
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

const NO_POLICY: &str = "default-src 'none'; frame-ancestors 'none'";

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
    headers.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    // A page says more of itself; what is no page loads nothing and is shown in no other.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(NO_POLICY));
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
