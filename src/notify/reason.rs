//! Why an attempt failed, in plain words for an operator.
//!
//! Errors of the libraries below are chains of wrappers, each of which says little and may say too
//! much. What is told is the one link that carries the cause. Nothing here knows a secret.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use rustls::pki_types::ServerName;

use super::outbox::Outcome;
use super::words;

/// Longest reason that comes from an error, in characters.
const REASON_CHARS_MAX: usize = 200;

/// Not now, because of this.
pub(super) fn later(reason: impl Into<String>) -> Outcome {
    Outcome::Later { reason: reason.into(), after: None }
}

/// Never, because of this.
pub(super) fn refused(reason: impl Into<String>) -> Outcome {
    Outcome::Refused { reason: reason.into() }
}

/// The cause at the bottom of a chain of errors.
pub(super) fn of(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(tls) = tls_error(link) {
            return words::cut(&of_tls(tls), REASON_CHARS_MAX);
        }
        innermost = link;
        next = link.source();
    }
    let text = words::one_line(&innermost.to_string());
    // The number means nothing to people.
    let text = text.split(" (os error").next().unwrap_or_default();
    words::cut(text, REASON_CHARS_MAX)
}

/// An error of TLS often hides inside I/O errors, whose `source` steps over what they hold.
fn tls_error<'a>(link: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    if let Some(tls) = link.downcast_ref() {
        return Some(tls);
    }
    tls_error(link.downcast_ref::<io::Error>()?.get_ref()?)
}

fn of_tls(error: &rustls::Error) -> String {
    let rustls::Error::InvalidCertificate(certificate) = error else {
        return format!("TLS failed: {}", words::one_line(&error.to_string()));
    };
    match certificate {
        // A bad signature: an authority of that name is trusted, but it is not the one that signed.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its certificate is not signed by an authority that is trusted here".to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "its certificate has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet".to_owned()
        }
        CertificateError::NotValidForName => "its certificate is for another name".to_owned(),
        CertificateError::NotValidForNameContext { expected, .. } => {
            // The names that it is for are left out: they are the other side's text.
            format!("its certificate is for another name than {}", name(expected))
        }
        other => format!("its certificate is not good: {}", words::one_line(&other.to_string())),
    }
}

fn name(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        _ => name.to_str().into_owned(),
    }
}
