//! Why something failed, in plain words for an operator.
//!
//! Errors of the system and of libraries are chains of wrappers, each of which says little and may
//! say too much. What is told is the one link that carries the cause, on one line. Nothing here
//! knows who asks, nor a secret.

use std::error::Error;
use std::io;

use rustls::CertificateError;
use rustls::pki_types::ServerName;

/// Longest reason that comes from an error, in characters.
const REASON_CHARS_MAX: usize = 200;

/// The cause at the bottom of a chain of errors.
#[must_use]
pub fn of(error: &(dyn Error + 'static)) -> String {
    let mut innermost = error;
    let mut next = Some(error);
    while let Some(link) = next {
        if let Some(tls) = tls_error(link) {
            return cut(&of_tls(tls), REASON_CHARS_MAX);
        }
        innermost = link;
        next = link.source();
    }
    cut(&plain(&one_line(&innermost.to_string())), REASON_CHARS_MAX)
}

/// A text without the numbers that the standard library puts behind the system's reasons, as in
/// `Connection refused (os error 111)`: they mean nothing to people.
#[must_use]
pub fn plain(text: &str) -> String {
    let mut parts = text.split(" (os error ");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match part.split_once(')') {
            Some((number, rest)) if number.parse::<i32>().is_ok() => plain.push_str(rest),
            _ => {
                plain.push_str(" (os error ");
                plain.push_str(part);
            }
        }
    }
    plain
}

/// Text on one line: control characters and those that break a line or turn its direction become
/// spaces, and runs of space one.
#[must_use]
pub fn one_line(text: &str) -> String {
    let is_kept = |c: char| {
        !c.is_control()
            && !matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let flat: String = text.chars().map(|c| if is_kept(c) { c } else { ' ' }).collect();
    flat.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters; `…` stands for what was cut off.
#[must_use]
pub fn cut(text: &str, chars_max: usize) -> String {
    if text.chars().count() <= chars_max {
        return text.to_owned();
    }
    let mut kept: String = text.chars().take(chars_max.saturating_sub(1)).collect();
    kept.push('…');
    kept
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
        return format!("TLS failed: {}", one_line(&error.to_string()));
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
        CertificateError::Other(other) => match &*other.to_string() {
            "CaUsedAsEndEntity" => {
                "its certificate is made to sign others (CA:TRUE), and not one that is trusted here"
                    .to_owned()
            }
            text => format!("its certificate is not good: {}", one_line(text)),
        },
        other => format!("its certificate is not good: {}", one_line(&other.to_string())),
    }
}

fn name(name: &ServerName<'_>) -> String {
    match name {
        ServerName::IpAddress(address) => std::net::IpAddr::from(*address).to_string(),
        _ => name.to_str().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_told_without_the_systems_number() {
        let refused = io::Error::from_raw_os_error(111);
        assert_eq!(of(&refused), "Connection refused");
        assert_eq!(of(&io::Error::other(refused)), "Connection refused");
        let check = |text: &str, expect: &str| assert_eq!(plain(text), expect);
        check(
            "a: Is a directory (os error 21); b: gone (os error 2)",
            "a: Is a directory; b: gone",
        );
        check("nothing (os error of ours) here", "nothing (os error of ours) here");
        check("cut (os error 1", "cut (os error 1");
    }

    #[test]
    fn hostile_text_becomes_one_plain_line() {
        assert_eq!(one_line("a\r\nBcc: x\0y\u{2028}z \u{202e}b"), "a Bcc: x y z b");
        assert_eq!(one_line("Zażółć — 北京"), "Zażółć — 北京");
        assert_eq!(cut("Zażółć", 4), "Zaż…");
        assert_eq!(cut("Zażó", 4), "Zażó");
    }
}
