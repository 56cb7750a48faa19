//! Who may speak on the memcached port, and what the server proves itself with.
//!
//! The same readers serve the start, `config check` and the reload, so a file that was refused at one
//! of them is refused at all. No message repeats what is in a file of passwords or keys: it names
//! lines, and never quotes them.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::model::{Auth, Login, Pem, Secret, Tls};
use super::read::Reader;
use super::section::{At, Section};
use super::sink::{Finding, file_shown};
use super::surroundings::Surroundings;
use super::value;
use crate::limits;

/// Largest file of passwords, certificates or keys that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The users of `auth_file`.
pub(super) fn auth(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Auth> {
    let (path, file) = reader.file(section.text("auth_file", value::any))?;
    reader.warn_if_open("the passwords", &path, file.mode);
    match logins(&file.bytes) {
        Ok(logins) => Some(Auth { path: path.value, logins }),
        Err(reason) => {
            let message = format!("{} does not say who may speak", file_shown(&path.value));
            let help = "write `user:password` on each line";
            reader.sink.error(Finding::new(path.place, message).label(reason).help(help));
            None
        }
    }
}

/// The certificate of `tls_cert` and the key of `tls_key`: both or none.
pub(super) fn tls(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Tls> {
    let named = |at: &At<&str>| !at.value.is_empty();
    let cert_at = section.text("tls_cert", value::any).filter(named);
    let key_at = section.text("tls_key", value::any).filter(named);
    let alone = match (&cert_at, &key_at) {
        (Some(cert), None) => Some((cert.place, "a certificate needs its key: set `tls_key`")),
        (None, Some(key)) => Some((key.place, "a key needs its certificate: set `tls_cert`")),
        _ => None,
    };
    if let Some((place, message)) = alone {
        reader.sink.error(Finding::new(place, message).absence());
    }
    let (cert_place, key_place) = (cert_at?.place, key_at?.place);
    let (cert, key) = (reader.certificates(cert_at), reader.file(key_at));
    let (cert, (key_path, file)) = (cert?, key?);
    let (cert_shown, key_shown) = (file_shown(&cert.path), file_shown(&key_path.value));
    reader.warn_if_open("the key", &key_path, file.mode);
    let key = Secret::new(String::from_utf8(file.bytes).unwrap_or_default());
    let tls = Tls { cert, key_path: key_path.value, key };
    if let Err(fault) = server_config(&tls) {
        let (place, message) = match &fault {
            TlsFault::Certificate(_) => {
                (cert_place, format!("the certificate {cert_shown} cannot be used"))
            }
            TlsFault::Key => (key_place, format!("{key_shown} holds no private key in PEM form")),
            TlsFault::Pair(_) => {
                (key_place, format!("{cert_shown} and {key_shown} do not fit each other"))
            }
        };
        reader.sink.error(Finding::new(place, message).label(fault.to_string()));
    }
    Some(tls)
}

/// Why a certificate and a key are of no use. None of them quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum TlsFault {
    /// The certificate is not one.
    #[error("{0}")]
    Certificate(String),
    /// The key is not one.
    #[error("no `-----BEGIN PRIVATE KEY-----` or the like in it")]
    Key,
    /// Each may be good, but not with the other.
    #[error("{0}")]
    Pair(String),
}

/// What a TLS connection is accepted with.
///
/// # Errors
/// Where certificate or key cannot be used.
pub fn server_config(tls: &Tls) -> Result<Arc<rustls::ServerConfig>, TlsFault> {
    let certificate = |error: rustls::pki_types::pem::Error| {
        TlsFault::Certificate(format!("it is not whole: {error}"))
    };
    let chain = CertificateDer::pem_slice_iter(tls.cert.text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(certificate)?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.expose().as_bytes());
    let key = key.map_err(|_| TlsFault::Key)?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |error: rustls::Error| TlsFault::Pair(error.to_string());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    Ok(Arc::new(config))
}

impl Auth {
    /// The same file as it is now.
    ///
    /// # Errors
    /// What is wrong with it, in words for the log.
    pub fn reread(&self, surroundings: &Surroundings<'_>) -> Result<Self, String> {
        let bytes = bytes(&self.path, surroundings)?;
        let logins = logins(&bytes).map_err(|reason| named(&self.path, reason))?;
        Ok(Self { path: self.path.clone(), logins })
    }
}

impl Tls {
    /// The same files as they are now.
    ///
    /// # Errors
    /// What is wrong with them, in words for the log.
    pub fn reread(&self, surroundings: &Surroundings<'_>) -> Result<Self, String> {
        let text = |path: &Path| {
            let bytes = bytes(path, surroundings)?;
            String::from_utf8(bytes).map_err(|_| named(path, "it is not text"))
        };
        let cert = Pem { path: self.cert.path.clone(), text: text(&self.cert.path)? };
        let key = Secret::new(text(&self.key_path)?);
        Ok(Self { cert, key_path: self.key_path.clone(), key })
    }
}

/// The file as it is now, or why it cannot be read.
fn bytes(path: &Path, surroundings: &Surroundings<'_>) -> Result<Vec<u8>, String> {
    match (surroundings.file)(path, FILE_BYTES_MAX) {
        Ok(Some(file)) => Ok(file.bytes),
        Ok(None) => Err(named(path, "it is too large")),
        Err(error) => Err(named(path, error)),
    }
}

/// A reason, with the file that it is about.
fn named(path: &Path, reason: impl std::fmt::Display) -> String {
    format!("{}: {reason}", path.display())
}

/// `user:password`, one on each line; lines with nothing in them count for nothing.
///
/// A client sends the two with a blank between them, so neither can hold one: such a line could never
/// be met, and is an error instead.
fn logins(bytes: &[u8]) -> Result<Vec<Login>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut logins = Vec::new();
    for (line, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let unusable = |part: &str| part.contains(|c: char| c == ' ' || c.is_control());
        let (user, password) =
            text.split_once(':').ok_or_else(|| format!("line {line} has no `:`"))?;
        if user.is_empty() || password.is_empty() {
            return Err(format!("line {line} lacks the user or the password"));
        }
        if unusable(user) || unusable(password) {
            return Err(format!("line {line} holds a blank or a control character"));
        }
        if text.len() > limits::LOGIN_BYTES {
            return Err(format!("line {line} is longer than {} bytes", limits::LOGIN_BYTES));
        }
        logins.push(Login { user: user.to_owned(), password: Secret::new(password) });
    }
    if logins.is_empty() { Err("there is no line in it".to_owned()) } else { Ok(logins) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_logins_is_read_line_by_line() {
        let read = logins(b"foo:bar\n\nbaaaz:qu:ux\r\n").expect("two good lines");
        let pairs = read.iter().map(|login| (&*login.user, login.password.expose()));
        assert_eq!(pairs.collect::<Vec<_>>(), [("foo", "bar"), ("baaaz", "qu:ux")]);
    }

    #[test]
    fn a_line_that_nobody_could_ever_meet_is_an_error_that_does_not_quote_it() {
        let long = format!("u:{}\n", "p4nted".repeat(100));
        for text in ["", "\n", "p4nted\n", ":p4nted", "a:b\np4nted:", "a:p4nted x\n", &long] {
            let reason = logins(text.as_bytes()).expect_err(text);
            assert!(!reason.contains("p4nted"), "{reason}");
        }
        assert_eq!(logins(b"a:b\n\nx\n").expect_err("line 3"), "line 3 has no `:`");
        assert!(logins(b"a:\xff\n").is_err());
    }
}
