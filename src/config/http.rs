//! `[http]`: who may ask over HTTP, and what its addresses prove themselves with.
//!
//! A token is kept as its digest alone: whoever reads this process' memory, or a bug that shows the
//! configuration, learns none. No message repeats what is in the file of tokens: it names lines, and never
//! quotes them.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use sha2::{Digest, Sha256};

use super::access;
use super::model::Tls;
use super::read::Reader;
use super::section::{At, Section};
use super::sink::{Finding, Sink, file_shown};
use super::value;
use crate::limits;

/// What may be done over HTTP, each with all that comes before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Look at everything that is shown.
    Read,
    /// Acknowledge, silence, note a deploy, try a contact, play rules.
    Operate,
    /// Fetch a backup, import history, have the configuration read again.
    Admin,
}

impl Role {
    /// Every role under the name that a file writes.
    pub const ALL: [(&'static str, Self); 3] =
        [("read", Self::Read), ("operate", Self::Operate), ("admin", Self::Admin)];

    /// The name that a file writes.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// A token as far as it is kept: what it hashes to. It prints as `…`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TokenDigest([u8; 32]);

impl TokenDigest {
    /// That of a token.
    #[must_use]
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// Its bytes, to be compared in constant time.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for TokenDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Whoever has it may do what the role says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What may be done with it.
    pub role: Role,
    /// What it hashes to.
    pub digest: TokenDigest,
}

/// The tokens of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Its lines; at least one.
    pub list: Vec<Token>,
}

/// What `[http]` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Http {
    /// Who may ask; `None`: whoever is on this machine, and nobody else.
    pub tokens: Option<Tokens>,
    /// What its addresses prove themselves with; `None`: clear text.
    pub tls: Option<Tls>,
}

/// Shorter ones can be guessed.
const TOKEN_BYTES_MIN: usize = 16;

/// The section, and which of its parts were asked for, be they good or not.
pub(super) struct Read {
    pub(super) http: Http,
    has_tokens: bool,
    has_tls: bool,
}

/// Reads the section.
pub(super) fn http(root: &mut Section<'_>, reader: &Reader<'_>) -> Read {
    let Some(mut section) = root.table("http", "[http]") else {
        return Read { http: Http::default(), has_tokens: false, has_tls: false };
    };
    let named = section.text("token_file", value::any).filter(|at| !at.value.is_empty());
    let has_tokens = named.is_some();
    let tokens = tokens(named, reader);
    let has_tls = section.is_given("tls_cert");
    let tls = access::tls(&mut section, reader);
    Read { http: Http { tokens, tls }, has_tokens, has_tls }
}

impl Read {
    /// Refuses addresses that others than this machine reach where nothing asks them who they are, and warns
    /// where what they say is heard on the way.
    pub(super) fn judge(&self, addresses: &[At<SocketAddr>], sink: &Sink) {
        for address in addresses.iter().filter(|address| !address.value.ip().is_loopback()) {
            if !self.has_tokens {
                let message = "HTTP beyond this machine needs tokens: set `token_file` in [http]";
                let label = "not a loopback address";
                sink.error(Finding::new(address.place, message).label(label).absence());
            } else if self.http.tls.is_none() && !self.has_tls {
                let message = "tokens for this address go over the wire in clear text";
                let help = "set `tls_cert` and `tls_key` in [http], or listen on loopback behind a proxy that speaks TLS";
                sink.warn(Finding::new(address.place, message).help(help));
            }
        }
    }
}

fn tokens(named: Option<At<&str>>, reader: &Reader<'_>) -> Option<Tokens> {
    let (path, file) = reader.file(named)?;
    reader.warn_if_open("the tokens", &path, file.mode);
    match lines(&file.bytes) {
        Ok(list) => Some(Tokens { list }),
        Err(reason) => {
            let message = format!("{} does not say who may ask", file_shown(&path.value));
            let help = "write `role:token` on each line; `openssl rand -hex 24` makes a token";
            reader.sink.error(Finding::new(path.place, message).label(reason).help(help));
            None
        }
    }
}

/// `role:token`, one on each line; lines with nothing in them count for nothing, and so do those that begin
/// with `#`, where it can be said whose the next one is.
fn lines(bytes: &[u8]) -> Result<Vec<Token>, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not UTF-8 text".to_owned())?;
    let mut seen = BTreeMap::new();
    let mut list = Vec::new();
    let is_said = |(_, text): &(usize, &str)| !text.is_empty() && !text.starts_with('#');
    for (line, text) in (1..).zip(text.lines().map(str::trim)).filter(is_said) {
        let (role, token) =
            text.split_once(':').ok_or_else(|| format!("line {line} has no `:`"))?;
        let role = Role::ALL.into_iter().find(|(word, _)| *word == role);
        let (_, role) =
            role.ok_or_else(|| format!("line {line} does not begin with read, operate or admin"))?;
        check(token).map_err(|wrong| format!("the token of line {line} {wrong}"))?;
        let digest = TokenDigest::of(token.as_bytes());
        if let Some(first) = seen.insert(digest, line) {
            return Err(format!("lines {first} and {line} have the same token"));
        }
        list.push(Token { role, digest });
    }
    match list.len() {
        0 => Err("there is no line in it".to_owned()),
        1..=limits::TOKENS => Ok(list),
        _ => Err(format!("it has more than {} tokens", limits::TOKENS)),
    }
}

/// Whether a token can be sent as one. Source: RFC 6750, section 2.1.
fn check(token: &str) -> Result<(), String> {
    let body = token.trim_end_matches('=');
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte);
    if token.len() < TOKEN_BYTES_MIN {
        return Err(format!("has less than {TOKEN_BYTES_MIN} characters"));
    }
    if token.len() > limits::TOKEN_BYTES {
        return Err(format!("has more than {} characters", limits::TOKEN_BYTES));
    }
    if body.is_empty() || !body.bytes().all(is_allowed) {
        return Err("holds what no token may: letters, digits and -._~+/ are allowed".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "0123456789abcdef";
    const TWO: &str = "q1w2e3r4t5y6u7i8+/-._~==";

    #[test]
    fn a_file_of_tokens_is_read_line_by_line() {
        let text = format!("# of the dashboard\nread:{ONE}\r\n\n  admin:{TWO}\n");
        let list = lines(text.as_bytes()).expect("two good lines");
        let told = list.iter().map(|token| (token.role, token.digest));
        let of = |token: &str| TokenDigest::of(token.as_bytes());
        assert_eq!(told.collect::<Vec<_>>(), [(Role::Read, of(ONE)), (Role::Admin, of(TWO))]);
        assert!(!format!("{list:?}").contains("48"), "no digest is shown either: {list:?}");
        assert!(Role::Read < Role::Operate && Role::Operate < Role::Admin);
    }

    #[test]
    fn a_line_that_is_no_token_is_an_error_that_does_not_quote_it() {
        let line = |text: &str| lines(text.as_bytes()).expect_err(text);
        assert_eq!(line("\n# none\n"), "there is no line in it");
        assert_eq!(line(&format!("read:{ONE}\n{TWO}\n")), "line 2 has no `:`");
        let role = "line 1 does not begin with read, operate or admin";
        assert_eq!(line(&format!("reader:{ONE}")), role);
        assert_eq!(line("read:short"), "the token of line 1 has less than 16 characters");
        let long = "x".repeat(257);
        assert_eq!(
            line(&format!("read:{long}")),
            "the token of line 1 has more than 256 characters"
        );
        for bad in ["0123456789 abcdef", "0123456789:abcdef", "=0123456789abcdef", &"=".repeat(20)]
        {
            let wrong = line(&format!("operate:{bad}"));
            assert!(wrong.contains("holds what no token may"), "{wrong}");
            assert!(!wrong.contains("0123"), "{wrong}");
        }
        assert_eq!(line(&format!("read:{ONE}\nadmin:{ONE}")), "lines 1 and 2 have the same token");
        assert!(lines(b"read:\xff\xff").is_err());
    }
}
