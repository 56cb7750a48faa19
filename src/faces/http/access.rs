//! Who may ask: whoever has a token of the role that a call takes; without tokens, programs on this machine and
//! pages of this server; and whoever has a signed link from a mail.
//!
//! A browser on this machine will fetch a loopback address on behalf of any page it shows. Three
//! things give such a page away: its `Origin`; `Sec-Fetch-Site`, where an image or a script is
//! fetched and no `Origin` is sent; and, where its name was made to resolve to loopback after it was
//! loaded (DNS rebinding), the `Host` that is not a loopback name. Following a link from elsewhere is
//! no such thing: the page that holds the link does not see the answer. Programs send neither
//! `Origin` nor `Sec-Fetch-Site`, and may send no `Host`. Browsers that know no `Sec-Fetch-Site` are
//! told by `Cross-Origin-Resource-Policy` to keep the answer to themselves. What a page of another site may do
//! is follow a link: it may send no form.
//!
//! With tokens the `Host` may be any, since a page under another name has neither token nor session. A session is
//! sent by the browser whoever's page asks, so there the same is looked at, but a `Sec-Fetch-Site` is
//! believed before an `Origin`: behind a proxy the name that the browser knows may not be the one that comes here.
//! A token that a program sends is proof enough: no browser sends it for a page of another site, as that would
//! take an answer to `OPTIONS` that is not given here.
//!
//! A signed link is followed wherever its reader is, through a proxy that may keep the name it was asked under or
//! not, and from a web mailer's page. Its signature says more than any of these headers, and it is looked at
//! before anything is shown or done (`forms`), so they are not looked at.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::{Query, Request, State};
use axum::http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, COOKIE, HOST, ORIGIN, TRANSFER_ENCODING,
};
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::login;
use super::problem::{Problem, Stranger};
use super::routes::{self, Call, Verb};
use crate::limits;
use crate::notify::links::Purpose;

/// Whose page a browser fetches for, and what it does with the answer. Source: W3C, "Fetch Metadata
/// Request Headers".
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Turns away what may not ask at all, whatever it asks.
pub(super) async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let most = routes::body_max(request.method().as_str(), request.uri().path());
    let judged = judge_head(&request).and_then(|()| judge_uri(request.uri())).and_then(|()| {
        if !shared.tokens.are_asked_for() && !is_signed(request.uri()) {
            judge(request.headers(), is_safe(request.method()))?;
        }
        judge_body(request.headers(), most)
    });
    match judged {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// A call, and what is needed to say who may make it.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) shared: Shared,
    pub(super) call: &'static Call,
}

/// Who was let in.
#[derive(Clone, Copy)]
pub(super) struct Visitor {
    /// A browser, by its session.
    pub(super) has_session: bool,
}

/// Lets a request come to its call where it may.
pub(super) async fn admit(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    match door.visitor(&request) {
        Ok(visitor) => {
            request.extensions_mut().insert(visitor);
            next.run(request).await
        }
        Err(problem) => door.turn_away(problem, &request),
    }
}

impl Door {
    fn visitor(&self, request: &Request) -> Result<Visitor, Problem> {
        let stranger = Ok(Visitor { has_session: false });
        let tokens = &self.shared.tokens;
        let Some(needed) = self.call.role else { return stranger };
        if !tokens.are_asked_for() || is_signed(request.uri()) {
            return stranger;
        }
        let headers = request.headers();
        let (role, has_session) = if let Some(token) = bearer(headers)? {
            (tokens.role(token.as_bytes()).ok_or(Problem::Unauthorized(Stranger::Wrong))?, false)
        } else {
            let now = self.shared.now();
            let role = session(headers).and_then(|text| tokens.role_of_session(text, now));
            let role = role.ok_or(Problem::Unauthorized(Stranger::Silent))?;
            judge_page(headers, is_safe(request.method()))?;
            (role, true)
        };
        if role < needed { Err(Problem::Needs(needed)) } else { Ok(Visitor { has_session }) }
    }

    fn turn_away(&self, problem: Problem, request: &Request) -> Response {
        let path = request.uri().path();
        if matches!(problem, Problem::Unauthorized(_) | Problem::Needs(_)) {
            self.shared.tokens.refused.fetch_add(1, Relaxed);
        }
        match problem {
            Problem::Unauthorized(stranger) if self.is_for_people(request) => login::ask(
                stranger,
                request.uri().path_and_query().map_or(path, |all| all.as_str()),
            ),
            problem => problem.into_response(),
        }
    }

    /// Whether somebody looks at the answer who may type a token.
    fn is_for_people(&self, request: &Request) -> bool {
        let mut accepted = request.headers().get_all(ACCEPT).iter();
        self.call.is_page
            && self.call.verb == Verb::Get
            && accepted.any(|value| value.to_str().is_ok_and(|value| value.contains("text/html")))
    }
}

/// The token that a program sends. Source: RFC 6750, section 2.1.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let said = text(headers, &AUTHORIZATION)?.and_then(|text| text.split_once(' '));
    let is_bearer = |(scheme, _): &(&str, &str)| scheme.eq_ignore_ascii_case("bearer");
    Ok(said.filter(is_bearer).map(|(_, token)| token.trim()))
}

/// What a browser was given when it showed a token.
pub(super) fn session(headers: &HeaderMap) -> Option<&str> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|text| text.split(';')).filter_map(|one| one.split_once('='));
    pairs.find(|(name, _)| name.trim() == login::COOKIE_NAME).map(|(_, value)| value.trim())
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Refuses what no client of ours says so long.
fn judge_head(request: &Request) -> Result<(), Problem> {
    let uri = request.uri().path_and_query().map_or(0, |all| all.as_str().len());
    if uri > limits::HTTP_URI_BYTES {
        return Err(Problem::LongUri);
    }
    let headers = request.headers();
    let bytes: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if bytes > limits::HTTP_HEAD_BYTES { Err(Problem::LongHead) } else { Ok(()) }
}

/// Refuses a token where everybody on the way writes it down.
fn judge_uri(uri: &Uri) -> Result<(), Problem> {
    let names = ["token", "access_token"];
    // As whoever answers reads it: `%74oken` is the same word.
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri).unwrap_or_default().0;
    let is_token = |name: &str| names.iter().any(|token| name.eq_ignore_ascii_case(token));
    if pairs.iter().any(|(name, _)| is_token(name)) {
        let why = "a token does not belong into an address, which logs and histories keep: send it as \
                   `Authorization: Bearer …`, and take another one, as this one is known now";
        return Err(Problem::BadData(why.to_owned()));
    }
    Ok(())
}

/// Whether a browser asks for a page of ours. Where it does not say so itself, the page's origin has to be where it
/// asks.
pub(super) fn judge_page(headers: &HeaderMap, is_safe: bool) -> Result<(), Problem> {
    if text(headers, &SITE)?.is_some() {
        judge_site(headers, is_safe)
    } else {
        judge_origin(headers)
    }
}

/// Whether it is a link that has a signature, good or not.
fn is_signed(uri: &Uri) -> bool {
    let of_form = |purpose: Purpose| {
        let rest = uri.path().strip_prefix('/').and_then(|path| path.strip_prefix(purpose.path()));
        rest.is_some_and(|rest| rest.starts_with('/'))
    };
    let mut pairs = uri.query().unwrap_or_default().split('&');
    (of_form(Purpose::Acknowledge) || of_form(Purpose::Silence))
        && pairs.any(|pair| pair.starts_with("signature="))
}

fn judge(headers: &HeaderMap, is_safe: bool) -> Result<(), Problem> {
    if text(headers, &HOST)?.is_some_and(|host| !is_loopback(host)) {
        let why = "without tokens this server answers to loopback names only: 127.0.0.1, ::1 or localhost";
        return Err(Problem::Forbidden(why.to_owned()));
    }
    judge_origin(headers)?;
    judge_site(headers, is_safe)
}

fn judge_origin(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(origin) = text(headers, &ORIGIN)? else { return Ok(()) };
    let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    if authority.is_none() || authority != text(headers, &HOST)? {
        let why = "a page of another origin may not read this server";
        return Err(Problem::Forbidden(why.to_owned()));
    }
    Ok(())
}

fn judge_site(headers: &HeaderMap, is_safe: bool) -> Result<(), Problem> {
    let is_from_elsewhere = !matches!(text(headers, &SITE)?, None | Some("same-origin" | "none"));
    if is_from_elsewhere && (!is_safe || text(headers, &MODE)? != Some("navigate")) {
        let why = "a page of another site may link to this server, and no more";
        return Err(Problem::Forbidden(why.to_owned()));
    }
    Ok(())
}

fn judge_body(headers: &HeaderMap, body_max: usize) -> Result<(), Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::Length);
    }
    let length = text(headers, &CONTENT_LENGTH)?.map(str::parse::<usize>);
    match length {
        None => Ok(()),
        Some(Ok(length)) if length <= body_max => Ok(()),
        Some(_) => Err(Problem::TooLarge(body_max)),
    }
}

/// The text of a header that may occur once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, Problem> {
    let mut values = headers.get_all(name).iter();
    match (values.next().map(|value| value.to_str()), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(value)), None) => Ok(Some(value)),
        _ => Err(Problem::BadData(format!("the header {name} is not clear"))),
    }
}

/// Whether an authority, with or without a port, names this machine.
fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => {
            let Some((host, port)) = rest.split_once(']') else { return false };
            return is_port(port) && host.parse::<Ipv6Addr>().is_ok_and(|ip| ip.is_loopback());
        }
        None => match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            Some(_) => return false,
            None => authority,
        },
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

fn is_port(text: &str) -> bool {
    text.is_empty() || text.strip_prefix(':').is_some_and(|p| p.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(headers: &[(HeaderName, &str)]) -> bool {
        let headers = headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
        let headers = headers.collect::<HeaderMap>();
        judge(&headers, true).and(judge_body(&headers, limits::HTTP_BODY_BYTES)).is_ok()
    }

    #[test]
    fn a_form_of_another_site_may_not() {
        let send = |headers: &[(HeaderName, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            judge(&headers.collect::<HeaderMap>(), false).is_ok()
        };
        let elsewhere = [(HOST, "localhost"), (SITE, "cross-site"), (MODE, "navigate")];
        assert!(may(&elsewhere) && !send(&elsewhere));
        assert!(!send(&[(HOST, "localhost"), (ORIGIN, "null")]), "a page that hides where it is");
        assert!(send(&[(HOST, "localhost"), (SITE, "same-origin"), (MODE, "navigate")]));
        assert!(send(&[(HOST, "localhost")]), "a program");
    }

    #[test]
    fn only_links_for_a_purpose_count_as_signed() {
        let check = |uri: &str, expect: bool| {
            assert_eq!(is_signed(&uri.parse().unwrap()), expect, "{uri}");
        };
        check("/ack/i-1?for=oncall&until=5&signature=00", true);
        check("/silence/i-1?signature=", true);
        check("/ack/i-1?for=signature=00", false);
        check("/ack/i-1", false);
        check("/acks/i-1?signature=00", false);
        check("/api/v1/acks?signature=00", false);
        check("/?signature=00", false);
    }

    #[test]
    fn programs_on_this_machine_may() {
        assert!(may(&[]));
        for host in [
            "127.0.0.1",
            "127.0.0.1:8311",
            "localhost:8311",
            "LOCALHOST",
            "[::1]:8311",
            "[::1]",
            "127.1.2.3",
        ] {
            assert!(may(&[(HOST, host)]), "{host}");
            assert!(may(&[(HOST, host), (ORIGIN, &format!("http://{host}"))]), "{host}");
        }
    }

    #[test]
    fn pages_from_elsewhere_may_not() {
        for host in [
            "evil.example",
            "evil.example:8311",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "[::2]",
            "[::1]x",
            "localhost:x",
            "",
        ] {
            assert!(!may(&[(HOST, host)]), "{host}");
        }
        for origin in [
            "http://evil.example",
            "null",
            "http://localhost:1",
            "file://",
            "http://127.0.0.1:8311@evil.example",
        ] {
            assert!(!may(&[(HOST, "127.0.0.1:8311"), (ORIGIN, origin)]), "{origin}");
        }
        assert!(!may(&[(HOST, "127.0.0.1"), (HOST, "evil.example")]));
    }

    #[test]
    fn an_image_or_a_script_of_another_site_may_not() {
        let fetch =
            |site: &str, mode: &str| may(&[(HOST, "localhost"), (SITE, site), (MODE, mode)]);
        for site in ["cross-site", "same-site"] {
            assert!(!fetch(site, "no-cors"), "{site}");
            assert!(!fetch(site, "cors"), "{site}");
            assert!(!may(&[(SITE, site)]), "{site}");
            assert!(fetch(site, "navigate"), "a link from {site}");
        }
        assert!(fetch("same-origin", "no-cors"), "our own page");
        assert!(fetch("none", "navigate"), "the address bar");
        assert!(!may(&[(SITE, "none"), (SITE, "cross-site"), (MODE, "no-cors")]));
    }

    #[test]
    fn a_session_is_good_for_pages_of_ours() {
        let may = |is_safe: bool, headers: &[(HeaderName, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            judge_page(&headers.collect::<HeaderMap>(), is_safe).is_ok()
        };
        let (there, here) = ("https://tallyd.example", "http://127.0.0.1:8311");
        assert!(may(false, &[(SITE, "same-origin"), (ORIGIN, there), (HOST, "127.0.0.1:8311")]));
        assert!(may(false, &[(ORIGIN, here), (HOST, "127.0.0.1:8311")]));
        assert!(may(true, &[(SITE, "cross-site"), (MODE, "navigate")]), "a link in a web mailer");
        for headers in [
            &[(SITE, "cross-site"), (MODE, "navigate")][..],
            &[(SITE, "same-site"), (MODE, "navigate")],
            &[(SITE, "what"), (ORIGIN, "http://evil.example"), (HOST, "tallyd.example")],
            &[(ORIGIN, "http://evil.example"), (HOST, "tallyd.example")],
            &[(ORIGIN, "null"), (HOST, "tallyd.example")],
        ] {
            assert!(!may(false, headers), "{headers:?}");
        }
        assert!(!may(true, &[(SITE, "cross-site"), (MODE, "no-cors")]), "an image elsewhere");
    }

    #[test]
    fn what_is_sent_as_a_token_and_as_a_session_is_found() {
        let headers = |name: HeaderName, values: &[&str]| {
            let values = values.iter().map(|value| (name.clone(), value.parse().unwrap()));
            values.collect::<HeaderMap>()
        };
        let token = |values: &[&str]| {
            let headers = headers(AUTHORIZATION, values);
            bearer(&headers).map(|token| token.map(str::to_owned)).ok()
        };
        assert_eq!(token(&["Bearer abc"]), Some(Some("abc".to_owned())));
        assert_eq!(token(&["bearer  abc "]), Some(Some("abc".to_owned())));
        assert_eq!(token(&["Basic abc"]), Some(None));
        assert_eq!(token(&["Bearer"]), Some(None));
        assert_eq!(token(&["Bearer a", "Bearer b"]), None, "which of them");
        let its = headers(COOKIE, &["a=b; tallyd-session=1.ff ;c=d", "x=y"]);
        assert_eq!(session(&its), Some("1.ff"));
        assert_eq!(session(&headers(COOKIE, &["xtallyd-session=1", "tallyd-session"])), None);
    }

    #[test]
    fn a_token_in_an_address_is_refused() {
        let check = |uri: &str| judge_uri(&uri.parse().unwrap()).is_ok();
        for good in ["/", "/metrics?", "/a?tokens=1", "/a?series=token", "/a?x=1&y=token=2"] {
            assert!(check(good), "{good}");
        }
        for bad in [
            "/?token=x",
            "/?token",
            "/a?b=c&access_token=x",
            "/a?Token=x",
            "/?%74oken=x",
            "/?%54%6fken",
        ] {
            assert!(!check(bad), "{bad}");
        }
    }

    #[test]
    fn long_bodies_may_not() {
        assert!(may(&[(CONTENT_LENGTH, "0")]));
        assert!(may(&[(CONTENT_LENGTH, "65536")]));
        for length in ["65537", "99999999999999999999999", "-1", "x"] {
            assert!(!may(&[(CONTENT_LENGTH, length)]), "{length}");
        }
        assert!(!may(&[(TRANSFER_ENCODING, "chunked")]));
    }
}
