//! What went wrong, as every error of this face is answered:
//! `{"status":"error","errorType":…,"error":…}`.

use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use crate::config::Role;
use crate::limits;

/// See the module.
pub(super) enum Problem {
    BadData(String),
    Unauthorized(Stranger),
    /// It is known who asks, and that this takes another role.
    Needs(Role),
    Forbidden(String),
    NotFound(String),
    /// The path is called with these methods.
    Methods(String),
    /// A body whose length is not said.
    Length,
    /// A body that did not come.
    Slow,
    TooLarge(usize),
    LongUri,
    LongHead,
    TooMuch(String),
    Busy(String),
    Conflict(String),
    Internal(String),
}

/// Who is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stranger {
    /// No token came.
    Silent,
    /// One came that is not good.
    Wrong,
}

impl Problem {
    fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::BadData(_) => (StatusCode::BAD_REQUEST, "bad_data"),
            Self::Unauthorized(_) => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Needs(_) | Self::Forbidden(_) => (StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound(_) => (StatusCode::NOT_FOUND, "not_found"),
            Self::Methods(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::Length => (StatusCode::LENGTH_REQUIRED, "length_required"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "timeout"),
            Self::TooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
            Self::LongUri => (StatusCode::URI_TOO_LONG, "too_large"),
            Self::LongHead => (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "too_large"),
            Self::TooMuch(_) => (StatusCode::PAYLOAD_TOO_LARGE, "too_much"),
            Self::Busy(_) => (StatusCode::CONFLICT, "busy"),
            Self::Conflict(_) => (StatusCode::CONFLICT, "conflict"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// What beside the body tells a program what to do.
    fn header(&self) -> Option<(HeaderName, HeaderValue)> {
        let fixed = HeaderValue::from_static;
        match self {
            Self::Methods(methods) => HeaderValue::from_str(methods).ok().map(|all| (ALLOW, all)),
            Self::Unauthorized(stranger) => Some((WWW_AUTHENTICATE, stranger.challenge())),
            Self::Needs(_) => {
                let missing = "Bearer realm=\"tallyd\", error=\"insufficient_scope\"";
                Some((WWW_AUTHENTICATE, fixed(missing)))
            }
            // What follows it may be its body, or another request.
            Self::Length | Self::Slow | Self::TooLarge(_) => Some((CONNECTION, fixed("close"))),
            _ => None,
        }
    }

    fn text(self) -> String {
        match self {
            Self::BadData(error)
            | Self::Forbidden(error)
            | Self::NotFound(error)
            | Self::TooMuch(error)
            | Self::Busy(error)
            | Self::Conflict(error)
            | Self::Internal(error) => error,
            Self::Unauthorized(stranger) => stranger.text().to_owned(),
            Self::Needs(role) => format!("this takes a token of the role {}", role.word()),
            Self::Methods(methods) => format!("this path is called with {methods}"),
            Self::Length => "a body comes with its length, and not in chunks".to_owned(),
            Self::Slow => "the body did not come in time".to_owned(),
            Self::TooLarge(most) => format!("a body has at most {most} bytes"),
            Self::LongUri => format!("an address has at most {} bytes", limits::HTTP_URI_BYTES),
            Self::LongHead => format!("headers have at most {} bytes", limits::HTTP_HEAD_BYTES),
        }
    }
}

impl Stranger {
    /// Source: RFC 6750, section 3.
    pub(super) const fn challenge(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Silent => "Bearer realm=\"tallyd\"",
            Self::Wrong => "Bearer realm=\"tallyd\", error=\"invalid_token\"",
        })
    }

    const fn text(self) -> &'static str {
        match self {
            Self::Silent => {
                "this server asks for a token: a header `Authorization: Bearer …`, or --token-file of a command"
            }
            Self::Wrong => "this token is not one that this server knows",
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, kind) = self.status();
        let header = self.header();
        let error = self.text();
        let body = serde_json::json!({ "status": "error", "errorType": kind, "error": error });
        let mut response = json(status, &body);
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

/// An answer of JSON.
pub(super) fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], Body::from(body.to_string())).into_response()
}
