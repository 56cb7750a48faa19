//! `/login` and `/logout`: how somebody in a browser shows a token.
//!
//! It is typed once, into a form and never into an address, and the browser gets a session for it (`tokens`) in a
//! cookie that no script reads. `SameSite=Lax`, and not `Strict`: who follows a link from a web mailer's page is to
//! see what it leads to, and what changes something is held against the page that it comes from (`access`).

use std::sync::atomic::Ordering::Relaxed;

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Extension, Query, State};
use axum::http::header::{
    CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, SET_COOKIE, WWW_AUTHENTICATE,
};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, PreEscaped, html};
use serde::Deserialize;

use super::super::{Shared, page};
use super::problem::{Problem, Stranger};
use super::{Carrier, access};
use crate::limits;

/// What the cookie is called.
pub(super) const COOKIE_NAME: &str = "tallyd-session";

/// Longest address that somebody is led back to, in bytes.
const NEXT_BYTES: usize = 2000;

/// Where to go on.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Coming {
    next: String,
}

/// What stands in the form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    token: String,
    next: String,
}

/// `GET /login`
pub(super) async fn show(
    State(shared): State<Shared>,
    coming: Result<Query<Coming>, QueryRejection>,
) -> Response {
    let Query(Coming { next }) = coming.unwrap_or_default();
    if shared.tokens.are_asked_for() { form(StatusCode::OK, None, &next) } else { go(&next, None) }
}

/// `POST /login`
pub(super) async fn enter(
    State(shared): State<Shared>,
    Extension(carrier): Extension<Carrier>,
    headers: HeaderMap,
    filled: Result<Form<Filled>, FormRejection>,
) -> Response {
    if let Err(problem) = access::judge_page(&headers, false) {
        return problem.into_response();
    }
    let Ok(Form(Filled { token, next })) = filled else {
        return Problem::BadData("this is not the form of /login".to_owned()).into_response();
    };
    if !shared.tokens.are_asked_for() {
        return go(&next, None);
    }
    let Some(session) = shared.tokens.session(token.trim().as_bytes(), shared.now()) else {
        shared.tokens.refused.fetch_add(1, Relaxed);
        return ask(Stranger::Wrong, &next);
    };
    let is_secure = is_secure(&shared, carrier);
    go(&next, Some(cookie(&session, limits::SESSION_SECS, is_secure)))
}

/// `POST /logout`
pub(super) async fn leave(
    State(shared): State<Shared>,
    Extension(carrier): Extension<Carrier>,
    headers: HeaderMap,
) -> Response {
    if let Err(problem) = access::judge_page(&headers, false) {
        return problem.into_response();
    }
    if let Some(session) = access::session(&headers) {
        shared.tokens.end_session(session);
    }
    go("/login", Some(cookie("", 0, is_secure(&shared, carrier))))
}

/// Whether browsers come over TLS: here, or to a proxy in front of it, which `notify.public_url` tells.
fn is_secure(shared: &Shared, carrier: Carrier) -> bool {
    carrier == Carrier::Tls || shared.tokens.is_public_tls()
}

/// Asks for a token, and leads back to where somebody wanted to go.
pub(super) fn ask(stranger: Stranger, next: &str) -> Response {
    let said = (stranger == Stranger::Wrong).then_some("That is not a token of this server.");
    let mut response = form(StatusCode::UNAUTHORIZED, said, next);
    response.headers_mut().insert(WWW_AUTHENTICATE, stranger.challenge());
    response
}

fn form(status: StatusCode, said: Option<&str>, next: &str) -> Response {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="robots" content="noindex";
                title { "Log in – tallyd" }
                style { (PreEscaped(page::STYLE)) }
            }
            body {
                h1 { "tallyd" }
                @if let Some(said) = said { p .critical { (said) } }
                form method="post" action="/login" {
                    input type="hidden" name="next" value=(safe(next));
                    p { label { "Token " input type="password" name="token" required autofocus
                        autocomplete="current-password"; } }
                    p { button type="submit" { "Log in" } }
                }
            }
        }
    };
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CONTENT_SECURITY_POLICY, super::forms::POLICY),
        // Not `no-referrer`: with it a browser sends the form with no origin, which is turned away.
        (REFERRER_POLICY, "same-origin"),
    ];
    (status, headers, page.into_string()).into_response()
}

fn go(next: &str, cookie: Option<HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    let there = HeaderValue::from_str(safe(next)).unwrap_or(HeaderValue::from_static("/"));
    headers.insert(LOCATION, there);
    if let Some(cookie) = cookie {
        headers.insert(SET_COOKIE, cookie);
    }
    response
}

/// A path of this server, and nothing that a browser could take for another one.
fn safe(next: &str) -> &str {
    let is_path = next.starts_with('/') && !next.starts_with("//");
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
    if is_path && next.len() <= NEXT_BYTES && next.bytes().all(is_plain) { next } else { "/" }
}

fn cookie(session: &str, secs: i64, is_secure: bool) -> HeaderValue {
    let secure = if is_secure { "; Secure" } else { "" };
    let text =
        format!("{COOKIE_NAME}={session}; Path=/; Max-Age={secs}; HttpOnly; SameSite=Lax{secure}");
    HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn somebody_is_led_to_pages_of_this_server_only() {
        for good in ["/", "/ack/i1?for=x", "/chart.svg?series=a%20b"] {
            assert_eq!(safe(good), good);
        }
        let long = "/".to_owned() + &"x".repeat(NEXT_BYTES);
        for bad in [
            "",
            "x",
            "//evil.example",
            "/\\evil.example",
            "https://evil.example",
            "/a\r\nb",
            "/a b",
            "/é",
            &long,
        ] {
            assert_eq!(safe(bad), "/", "{bad}");
        }
    }
}
