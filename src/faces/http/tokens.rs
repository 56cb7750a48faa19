//! Who may ask over HTTP, and what the server proves itself with: both may change while it runs.
//!
//! A token is compared by what it hashes to, with every one there is and all bytes of each, so how long that
//! takes tells nothing. A browser that has shown one gets a session: until when it is good, signed with that
//! token's digest. So a session ends with its token, outlives a start, and nothing is kept of it here. What a
//! request looks like is not known here.

use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, PoisonError, RwLock};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::{ConditionallySelectable, ConstantTimeEq};
use tokio_rustls::TlsAcceptor;

use crate::config::{Role, Token, TokenDigest};
use crate::limits;
use crate::time::{Span, Timestamp};

/// See the module.
#[derive(Default)]
pub struct Tokens {
    list: RwLock<Option<Arc<[Token]>>>,
    tls: RwLock<Option<TlsAcceptor>>,
    /// Requests that were turned away, since nobody or somebody else asked.
    pub(crate) refused: AtomicU64,
}

impl Tokens {
    /// From now on only these are good; with `None`, nobody is asked for one.
    pub fn admit_only(&self, tokens: Option<&[Token]>) {
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = tokens.map(Arc::from);
    }

    /// From now on connections are accepted with this; with `None`, in clear text.
    pub fn prove_with(&self, config: Option<Arc<rustls::ServerConfig>>) {
        let acceptor = config.map(TlsAcceptor::from);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }

    /// What connections are accepted with.
    pub(crate) fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether whoever asks has to say who it is.
    pub(crate) fn are_asked_for(&self) -> bool {
        self.list().is_some()
    }

    fn list(&self) -> Option<Arc<[Token]>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What may be done with a token.
    pub(super) fn role(&self, token: &[u8]) -> Option<Role> {
        let digest = TokenDigest::of(token);
        self.find(|one| one.digest.bytes().ct_eq(digest.bytes())).map(|token| token.role)
    }

    /// A session for whoever has shown a token; `None` where it is not good.
    pub(super) fn session(&self, token: &[u8], now: Timestamp) -> Option<String> {
        self.role(token)?;
        let until = (now + Span::from_secs(limits::SESSION_SECS.unsigned_abs())).as_secs();
        let signature = signature(&TokenDigest::of(token), until).finalize().into_bytes();
        let mut text = format!("{until}.");
        for byte in signature {
            let _ = write!(text, "{byte:02x}");
        }
        Some(text)
    }

    /// What may be done in a session.
    pub(super) fn role_of_session(&self, session: &str, now: Timestamp) -> Option<Role> {
        let (until, signature) = session.split_once('.')?;
        let until = until.parse::<i64>().ok().filter(|until| now.as_secs() < *until)?;
        let signature = unhex(signature)?;
        let is_its = |token: &Token| {
            let its: [u8; 32] =
                self::signature(&token.digest, until).finalize().into_bytes().into();
            its.ct_eq(&signature)
        };
        self.find(is_its).map(|token| token.role)
    }

    /// The token that is meant; all are looked at.
    fn find(&self, is_meant: impl Fn(&Token) -> subtle::Choice) -> Option<Token> {
        let list = self.list()?;
        let mut found = u32::MAX;
        for (at, token) in (0..).zip(list.iter()) {
            found.conditional_assign(&at, is_meant(token));
        }
        list.get(usize::try_from(found).ok()?).cloned()
    }
}

fn signature(digest: &TokenDigest, until: i64) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(digest.bytes()).expect("any length is good");
    mac.update(b"tallyd session 1\0");
    mac.update(&until.to_be_bytes());
    mac
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| !pair.starts_with('+'))?;
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_767_571_200);

    fn token(role: Role, text: &str) -> Token {
        Token { role, digest: TokenDigest::of(text.as_bytes()) }
    }

    #[test]
    fn a_token_is_good_for_its_role_as_long_as_it_is_listed() {
        let tokens = Tokens::default();
        assert!(!tokens.are_asked_for() && tokens.role(b"one").is_none());
        tokens.admit_only(Some(&[token(Role::Read, "one"), token(Role::Admin, "two")]));
        assert!(tokens.are_asked_for());
        assert_eq!(tokens.role(b"one"), Some(Role::Read));
        assert_eq!(tokens.role(b"two"), Some(Role::Admin));
        for other in ["", "on", "onee", "three"] {
            assert_eq!(tokens.role(other.as_bytes()), None, "{other}");
        }
        tokens.admit_only(Some(&[token(Role::Operate, "two")]));
        assert_eq!((tokens.role(b"one"), tokens.role(b"two")), (None, Some(Role::Operate)));
    }

    #[test]
    fn a_session_is_good_for_its_time_and_as_long_as_its_token() {
        let tokens = Tokens::default();
        tokens.admit_only(Some(&[token(Role::Read, "one"), token(Role::Operate, "two")]));
        assert!(tokens.session(b"three", NOW).is_none());
        let session = tokens.session(b"two", NOW).expect("the token is good");
        let role = |session: &str, now| tokens.role_of_session(session, now);
        assert_eq!(role(&session, NOW), Some(Role::Operate));
        let end = NOW + Span::from_secs(limits::SESSION_SECS.unsigned_abs());
        assert_eq!(role(&session, end), None);
        let (until, signature) = session.split_once('.').expect("two parts");
        let later = until.parse::<i64>().expect("a time") + 1;
        let longer = format!("{later}.{signature}");
        let shorter = session.get(..session.len() - 2).expect("it is longer");
        let signed = format!("{until}.+{}", signature.get(1..).expect("it is longer"));
        for forged in [&*longer, shorter, &signed, "", ".", until, "1.é", &"9".repeat(40)] {
            assert_eq!(role(forged, NOW), None, "{forged}");
        }
        tokens.admit_only(Some(&[token(Role::Admin, "two")]));
        assert_eq!(tokens.role_of_session(&session, NOW), Some(Role::Admin), "as its token is");
        tokens.admit_only(Some(&[token(Role::Read, "one")]));
        assert_eq!(tokens.role_of_session(&session, NOW), None, "it went with its token");
    }
}
