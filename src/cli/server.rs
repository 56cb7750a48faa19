//! How a command speaks to a running server: one GET, with a bound on time and on the answer.

use std::time::Duration;

use crate::faces::VERSION;
use crate::reason;

/// What a server answered.
pub(super) struct Answer {
    /// The status.
    pub(super) code: u16,
    /// The body, as far as it was wanted.
    pub(super) text: String,
}

/// The URL of a server, and how it is called in messages.
pub(super) fn url(server: &str) -> Result<(reqwest::Url, String), String> {
    let server = server.trim_end_matches('/');
    let url = reqwest::Url::parse(server);
    let url = url.map_err(|error| format!("`{server}` is not a URL: {error}"))?;
    Ok((url, server.to_owned()))
}

/// The answer to a GET, of which no more than so many bytes are read; `Err` says in plain words why
/// there is none.
pub(super) fn get(
    url: reqwest::Url,
    server: &str,
    timeout: Duration,
    bytes_max: usize,
) -> Result<Answer, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start: {error}"))?;
    let fetched =
        runtime.block_on(async { tokio::time::timeout(timeout, fetch(url, bytes_max)).await });
    match fetched {
        Ok(answer) => answer.map_err(|error| format!("tallyd at {server} {error}")),
        Err(_) => Err(format!("tallyd at {server} did not answer within {} s", timeout.as_secs())),
    }
}

async fn fetch(url: reqwest::Url, bytes_max: usize) -> Result<Answer, String> {
    let mut client = reqwest::Client::builder()
        .user_agent(format!("tallyd/{VERSION}"))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy();
    if url.scheme() == "http" {
        // On a machine without CA certificates the client could not be built, for want of what it
        // does not need here.
        client = client.tls_certs_only([]);
    }
    let client =
        client.build().map_err(|error| format!("cannot be asked: {}", reason::of(&error)))?;
    let mut answer = client
        .get(url)
        .send()
        .await
        .map_err(|error| format!("cannot be reached: {}", reason::of(&error)))?;
    let code = answer.status().as_u16();
    let mut body = Vec::new();
    loop {
        match answer.chunk().await {
            Ok(Some(chunk)) if body.len() < bytes_max => body.extend_from_slice(&chunk),
            Ok(_) => {
                let text = String::from_utf8_lossy(&body).into_owned();
                return Ok(Answer { code, text });
            }
            Err(error) => return Err(format!("broke off: {}", reason::of(&error))),
        }
    }
}
