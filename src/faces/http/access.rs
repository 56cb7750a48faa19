//! Who may ask, while there are no tokens: programs on this machine, and pages of this server.
//!
//! A browser on this machine will fetch a loopback address on behalf of any page it shows. Three
//! things give such a page away: its `Origin`; `Sec-Fetch-Site`, where an image or a script is
//! fetched and no `Origin` is sent; and, where its name was made to resolve to loopback after it was
//! loaded (DNS rebinding), the `Host` that is not a loopback name. Following a link from elsewhere is
//! no such thing: the page that holds the link does not see the answer. Programs send neither
//! `Origin` nor `Sec-Fetch-Site`, and may send no `Host`. Browsers that know no `Sec-Fetch-Site` are
//! told by `Cross-Origin-Resource-Policy` to keep the answer to themselves.

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, HOST, ORIGIN, TRANSFER_ENCODING};
use axum::http::{HeaderMap, HeaderName, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::{IpAddr, Ipv6Addr};

use super::Problem;
use crate::limits;

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
    match judge(request.headers(), most) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn judge(headers: &HeaderMap, body_max: usize) -> Result<(), Problem> {
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
    if is_from_elsewhere && text(headers, &MODE)? != Some("navigate") {
        let why = "a page of another site may link to this server, and no more";
        return Err(Problem::Forbidden(why.to_owned()));
    }
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
        judge(&headers.collect::<HeaderMap>(), limits::HTTP_BODY_BYTES).is_ok()
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
