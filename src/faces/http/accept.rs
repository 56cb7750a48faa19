//! What a client can read: which form of `/metrics`, and whether packed.
//!
//! Source: RFC 9110, sections 12.4 and 12.5.

use std::io::Write as _;

use axum::body::{Body, to_bytes};
use axum::http::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY,
};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::body::Body as _;

use super::super::prometheus::Form;

/// What is shorter than this is not packed, in bytes: it fits into one packet either way.
const LEAST: u64 = 1000;

/// What is longer than this is sent as it is, in bytes.
const MOST: u64 = 64 * 1024 * 1024;

/// What can be packed to something.
const KINDS: [&str; 5] =
    ["application/json", "text/html", "text/plain", "image/svg+xml", "application/problem+json"];

/// How a program packs: the fastest way, which takes most of what there is to take away.
pub(super) const LEVEL: Compression = Compression::new(1);

/// The form of `/metrics` that is liked best; the text format where nothing is said.
pub(super) fn form(headers: &HeaderMap) -> Form {
    let liked = |of: &[&str]| {
        let weights = elements(headers, &ACCEPT).filter(|(name, parameters, _)| {
            let is_version = |one: &str| {
                one.trim().strip_prefix("version=").is_none_or(|v| v.trim_matches('"') == "1.0.0")
            };
            let is_open = name.eq_ignore_ascii_case("application/openmetrics-text");
            of.iter().any(|one| name.eq_ignore_ascii_case(one))
                && (!is_open || parameters.split(';').all(is_version))
        });
        weights.map(|(_, _, weight)| weight).max().unwrap_or(0)
    };
    let open = liked(&["application/openmetrics-text"]);
    if open > 0 && open >= liked(&["text/plain"]) { Form::OpenMetrics } else { Form::Text }
}

/// Whether the answer may be packed.
pub(super) fn gzip(headers: &HeaderMap) -> bool {
    let mut all = elements(headers, &ACCEPT_ENCODING);
    all.any(|(name, _, weight)| name.eq_ignore_ascii_case("gzip") && weight > 0)
}

/// The elements of a list: each with its parameters and its weight in thousandths.
fn elements<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = (&'a str, &'a str, u32)> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|text| text.split(',')).map(|element| {
        let (name, parameters) = element.split_once(';').unwrap_or((element, ""));
        let weight = parameters.split(';').find_map(|one| one.trim().strip_prefix("q="));
        (name.trim(), parameters, weight.map_or(1000, thousandths))
    })
}

/// `0.123`, `1`, `0`; nothing where it is no weight.
fn thousandths(text: &str) -> u32 {
    let (whole, part) = text.trim().split_once('.').unwrap_or((text.trim(), ""));
    let is_weight = matches!(whole, "0" | "1") && part.len() <= 3;
    let part = format!("{part:0<3}").parse::<u32>().ok().filter(|_| is_weight);
    part.map_or(0, |part| if whole == "1" { 1000 } else { part })
}

/// An answer that is there as a whole, packed where that is worth it.
pub(super) async fn packed(response: Response) -> Response {
    let (mut head, body) = response.into_parts();
    let length = body.size_hint().exact().filter(|length| (LEAST..=MOST).contains(length));
    let kind = head.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let is_text = kind.is_some_and(|kind| KINDS.iter().any(|known| kind.starts_with(known)));
    if length.is_none() || !is_text || head.headers.contains_key(CONTENT_ENCODING) {
        return Response::from_parts(head, body);
    }
    let Ok(bytes) = to_bytes(body, usize::try_from(MOST).unwrap_or(0)).await else {
        return Response::from_parts(head, Body::empty());
    };
    let whole = bytes.clone();
    let pack = tokio::task::spawn_blocking(move || {
        let mut packer = GzEncoder::new(Vec::with_capacity(whole.len() / 4), LEVEL);
        packer.write_all(&whole).and_then(|()| packer.finish())
    });
    let Ok(Ok(packed)) = pack.await else {
        return Response::from_parts(head, Body::from(bytes));
    };
    head.headers.remove(CONTENT_LENGTH);
    head.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    head.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    Response::from_parts(head, Body::from(packed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: &HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), value.parse().unwrap())])
    }

    #[test]
    fn the_form_that_is_liked_best_is_given() {
        let check = |accept: &str, expect: Form| {
            assert_eq!(form(&headers(&ACCEPT, accept)), expect, "{accept}");
        };
        assert_eq!(form(&HeaderMap::new()), Form::Text);
        // As Prometheus 2.42 asks.
        check(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
             text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            Form::OpenMetrics,
        );
        check("application/openmetrics-text; version=1.0.0; charset=utf-8", Form::OpenMetrics);
        check("application/openmetrics-text", Form::OpenMetrics);
        check("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;q=0.4", Form::Text);
        check("application/openmetrics-text;version=0.0.1", Form::Text);
        check("application/openmetrics-text;q=0", Form::Text);
        check("application/openmetrics-text;q=0.0001", Form::Text);
        check("*/*", Form::Text);
        check(",;q=,;;=", Form::Text);
    }

    #[test]
    fn it_is_packed_for_who_can_unpack() {
        let check = |accept: &str, expect: bool| {
            assert_eq!(gzip(&headers(&ACCEPT_ENCODING, accept)), expect, "{accept}");
        };
        check("gzip", true);
        check("deflate, GZIP;q=0.5", true);
        check("gzip;q=0", false);
        check("gzip;q=0.000", false);
        check("identity", false);
        check("*", false);
        assert!(!gzip(&HeaderMap::new()));
    }
}
