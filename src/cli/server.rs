//! How a command speaks to a running server: one request, with a bound on time and on the answer; or on the
//! time between two pieces of it, where it is long. It shows the token that it was given to that server alone:
//! no redirection is followed, and no proxy asked.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use rustls::pki_types::CertificateDer;

use super::PaperArgs;
use crate::config::{Secret, Surroundings};
use crate::faces::VERSION;
use crate::limits;
use crate::reason;
use crate::trust;

/// Largest file of certificates that is read, in bytes.
const CA_BYTES: u64 = 1024 * 1024;

/// A server as it is named, what it is shown, and by what it is known.
#[derive(Debug)]
pub(super) struct Peer {
    name: String,
    token: Option<Secret>,
    named: Vec<CertificateDer<'static>>,
}

impl Peer {
    /// Trusts these certificates as well.
    pub(super) fn trust(&mut self, pem: &str) {
        self.named.extend(trust::certificates(pem.as_bytes()).unwrap_or_default());
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// What a server answered.
pub(super) struct Answer {
    /// The status.
    pub(super) code: u16,
    /// The body, as far as it was wanted.
    pub(super) text: String,
}

/// The URL of what a server answers at a path, and the server.
pub(super) fn url_of(
    server: &str,
    papers: &PaperArgs,
    path: &[&str],
) -> Result<(reqwest::Url, Peer), String> {
    let name = server.trim_end_matches('/').to_owned();
    let mut url =
        reqwest::Url::parse(&name).map_err(|error| format!("`{name}` is not a URL: {error}"))?;
    url.path_segments_mut()
        .map_err(|()| format!("`{name}` is not an http URL"))?
        .pop_if_empty()
        .extend(path);
    let surroundings = Surroundings::of_process();
    let token = match &papers.token_file {
        Some(path) => Some(token_of(path, &surroundings)?),
        None => (surroundings.variable)("TALLYD_TOKEN").filter(|text| !text.is_empty()),
    };
    let named = papers.ca_file.as_deref().map(|path| certificates(path, &surroundings));
    let named = named.transpose()?.unwrap_or_default();
    Ok((url, Peer { name, token: token.map(Secret::new), named }))
}

/// The token that a file holds: alone, or as a line of the server's own file with its role before it.
fn token_of(path: &Path, surroundings: &Surroundings<'_>) -> Result<String, String> {
    let bytes = read(path, (limits::TOKEN_BYTES * 4) as u64, surroundings)?;
    let text = String::from_utf8(bytes).unwrap_or_default();
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let lines: Vec<_> = lines.collect();
    let [line] = lines.as_slice() else {
        return Err(format!("{} holds not one token, but {} lines", path.display(), lines.len()));
    };
    Ok(line.rsplit(':').next().unwrap_or_default().to_owned())
}

fn certificates(
    path: &Path,
    surroundings: &Surroundings<'_>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(path, CA_BYTES, surroundings)?;
    let found = trust::certificates(&bytes).unwrap_or_default();
    if found.is_empty() {
        return Err(format!("{} holds no certificate in PEM form", path.display()));
    }
    Ok(found)
}

fn read(path: &Path, most: u64, surroundings: &Surroundings<'_>) -> Result<Vec<u8>, String> {
    match (surroundings.file)(path, most) {
        Ok(Some(file)) => Ok(file.bytes),
        Ok(None) => Err(format!("{} is too large", path.display())),
        Err(error) => Err(format!("cannot read {}: {}", path.display(), reason::of(&error))),
    }
}

/// The answer to a GET, of which no more than so many bytes are read; `Err` says in plain words why
/// there is none.
pub(super) fn get(
    url: reqwest::Url,
    server: &Peer,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Answer, String> {
    within(timeout, server, async {
        fetch(client(url.scheme(), server)?.get(url), bytes_max).await
    })
}

/// The answer to a POST of a text, of which little is wanted.
pub(super) fn post(
    url: reqwest::Url,
    server: &Peer,
    timeout: Duration,
    body: String,
) -> Result<Answer, String> {
    within(timeout, server, async {
        fetch(client(url.scheme(), server)?.post(url).body(body), SHORT_BYTES).await
    })
}

/// The answer to any request, with or without a body of JSON.
pub(super) fn send(
    method: reqwest::Method,
    url: reqwest::Url,
    server: &Peer,
    timeout: Duration,
    body: Option<String>,
    bytes_max: usize,
) -> Result<Answer, String> {
    within(timeout, server, async {
        let mut request = client(url.scheme(), server)?.request(method, url);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        fetch(request, bytes_max).await
    })
}

/// What is read of a short answer, in bytes.
const SHORT_BYTES: usize = 65_536;

fn within(
    timeout: Duration,
    server: &Peer,
    asked: impl Future<Output = Result<Answer, String>>,
) -> Result<Answer, String> {
    match runtime()?.block_on(async { tokio::time::timeout(timeout, asked).await }) {
        Ok(answer) => answer.map_err(|error| format!("tallyd at {server} {error}")),
        Err(_) => Err(format!("tallyd at {server} did not answer within {} s", timeout.as_secs())),
    }
}

/// The answer to a POST of a text that may take a while: `waiting` hears each second how many have passed.
pub(super) fn post_and_wait(
    url: reqwest::Url,
    server: &Peer,
    timeout: Duration,
    body: String,
    bytes_max: usize,
    mut waiting: impl FnMut(u64),
) -> Result<Answer, String> {
    runtime()?.block_on(async {
        let request = client(url.scheme(), server)?.post(url).body(body);
        let mut asked = std::pin::pin!(fetch(request, bytes_max));
        for second in 1..=timeout.as_secs() {
            let answer = tokio::time::timeout(Duration::from_secs(1), asked.as_mut()).await;
            if let Ok(answer) = answer {
                return answer.map_err(|error| format!("tallyd at {server} {error}"));
            }
            waiting(second);
        }
        Err(format!("tallyd at {server} did not answer within {} s", timeout.as_secs()))
    })
}

/// Hands the answer to a GET to `each` piece by piece, until that fails or all of it has come. `Err`
/// says why there is no answer, or not all of it: also where a piece takes longer than `patience`.
pub(super) fn stream<E>(
    url: reqwest::Url,
    server: &Peer,
    patience: Duration,
    mut each: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Result<(), E>, String> {
    let silent = |_| format!("says nothing for {} s", patience.as_secs());
    let streamed = runtime()?.block_on(async {
        let sent = client(url.scheme(), server)?.get(url).send();
        let sent = tokio::time::timeout(patience, sent).await.map_err(silent)?;
        let mut answer = sent.map_err(|error| unreached(&error))?;
        if !answer.status().is_success() {
            return Err(refusal(answer).await);
        }
        loop {
            let piece = tokio::time::timeout(patience, answer.chunk()).await.map_err(silent)?;
            match piece.map_err(|error| broken(&error))? {
                None => return Ok(Ok(())),
                Some(bytes) => {
                    if let Err(error) = each(&bytes) {
                        return Ok(Err(error));
                    }
                }
            }
        }
    });
    streamed.map_err(|error| format!("tallyd at {server} {error}"))
}

/// The words of an error as a server tells it; all that came where it has none.
pub(super) fn told(text: &str) -> String {
    refusal_in(text.as_bytes()).unwrap_or_else(|| text.to_owned())
}

/// What a server said instead of what it was asked for, in its own words where it has some.
async fn refusal(mut answer: reqwest::Response) -> String {
    let status = answer.status().as_u16();
    let text = answer.chunk().await.ok().flatten().unwrap_or_default();
    let told = refusal_in(&text);
    told.map_or_else(|| format!("answered with status {status}"), |told| format!("says: {told}"))
}

/// What a server says is wrong, where that is how its answer reads.
pub(super) fn refusal_in(answer: &[u8]) -> Option<String> {
    let told = serde_json::from_slice::<serde_json::Value>(answer).ok()?;
    Some(told.get("error")?.as_str()?.to_owned())
}

fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))
}

fn client(scheme: &str, server: &Peer) -> Result<reqwest::Client, String> {
    let mut client = reqwest::Client::builder()
        .user_agent(format!("tallyd/{VERSION}"))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if scheme == "http" {
        // On a machine without CA certificates the client could not be built, for want of what it
        // does not need here.
        client = client.tls_certs_only([]);
    } else if !server.named.is_empty() {
        let tls = trust::client(&server.named);
        let tls = tls.map_err(|error| format!("cannot be asked: {}", reason::of(&error)))?;
        client = client.tls_backend_preconfigured(tls);
    }
    if let Some(token) = &server.token {
        let value = HeaderValue::try_from(format!("Bearer {}", token.expose()));
        let mut value = value.map_err(|_| "cannot be asked: the token is no line of text")?;
        value.set_sensitive(true);
        client = client.default_headers(HeaderMap::from_iter([(AUTHORIZATION, value)]));
    }
    client.build().map_err(|error| format!("cannot be asked: {}", reason::of(&error)))
}

fn unreached(error: &reqwest::Error) -> String {
    let why = reason::of(error);
    let help =
        if why.contains("trusted here") { "; --ca-file FILE names one to trust" } else { "" };
    format!("cannot be reached: {why}{help}")
}

fn broken(error: &reqwest::Error) -> String {
    format!("broke off: {}", reason::of(error))
}

async fn fetch(request: reqwest::RequestBuilder, bytes_max: usize) -> Result<Answer, String> {
    let mut answer = request.send().await.map_err(|error| unreached(&error))?;
    let code = answer.status().as_u16();
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() < bytes_max => body.extend_from_slice(&chunk),
            Ok(_) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                return Ok(Answer { code, text });
            }
            Err(error) => return Err(broken(&error)),
        }
    }
}
