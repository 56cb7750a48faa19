//! Who may ask, while there are no tokens: programs on this machine, pages of this server, and whoever has a
//! signed link from a mail.
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
//! A signed link is followed wherever its reader is, through a proxy that may keep the name it was asked under or
//! not, and from a web mailer's page. Its signature says more than any of these headers, and it is looked at
//! before anything is shown or done (`forms`), so they are not looked at.

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr};

use super::Problem;
use crate::limits;
use crate::notify::links::Purpose;

/// Whose page a browser fetches for, and what it does with the answer. Source: W3C, "Fetch Metadata
/// Request Headers".
const SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");

/// Turns away what may not ask.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let is_post = request.method() == Method::POST;
    let most = match request.uri().path() {
        super::backtest::PATH | super::look::PATH if is_post => limits::BACKTEST_BODY_BYTES,
        super::import::PATH if is_post => limits::IMPORT_BODY_BYTES,
        _ => limits::HTTP_BODY_BYTES,
    };
    let judged = if is_signed(request.uri()) {
        judge_body(request.headers(), most)
    } else {
        let is_safe = matches!(*request.method(), Method::GET | Method::HEAD);
        judge(request.headers(), most, is_safe)
    };
    match judged {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
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

fn judge(headers: &HeaderMap, body_max: usize, is_safe: bool) -> Result<(), Problem> {
    let host = text(headers, &HOST)?;
    if host.is_some_and(|host| !is_loopback(host)) {
        let why = "without tokens this server answers to loopback names only: 127.0.0.1, ::1 or localhost";
        return Err(Problem::Forbidden(why.to_owned()));
    }
    if let Some(origin) = text(headers, &ORIGIN)? {
        let authority = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if authority.is_none() || authority != host {
            let why = "a page of another origin may not read this server";
            return Err(Problem::Forbidden(why.to_owned()));
        }
    }
    let is_from_elsewhere = matches!(text(headers, &SITE)?, Some("cross-site" | "same-site"));
    if is_from_elsewhere && (!is_safe || text(headers, &MODE)? != Some("navigate")) {
        let why = "a page of another site may link to this server, and no more";
        return Err(Problem::Forbidden(why.to_owned()));
    }
    judge_body(headers, body_max)
}

fn judge_body(headers: &HeaderMap, body_max: usize) -> Result<(), Problem> {
    if headers.contains_key(TRANSFER_ENCODING) {
        return Err(Problem::TooLarge(body_max));
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
        judge(&headers.collect::<HeaderMap>(), limits::HTTP_BODY_BYTES, true).is_ok()
    }

    #[test]
    fn a_form_of_another_site_may_not() {
        let send = |headers: &[(HeaderName, &str)]| {
            let headers =
                headers.iter().map(|(name, value)| (name.clone(), value.parse().unwrap()));
            judge(&headers.collect::<HeaderMap>(), limits::HTTP_BODY_BYTES, false).is_ok()
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
    fn long_bodies_may_not() {
        assert!(may(&[(CONTENT_LENGTH, "0")]));
        assert!(may(&[(CONTENT_LENGTH, "65536")]));
        for length in ["65537", "99999999999999999999999", "-1", "x"] {
            assert!(!may(&[(CONTENT_LENGTH, length)]), "{length}");
        }
        assert!(!may(&[(TRANSFER_ENCODING, "chunked")]));
    }
}
