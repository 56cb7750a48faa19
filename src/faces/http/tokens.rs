//! Who may ask over HTTP, and what the server proves itself with: both may change while it runs.
//!
//! A token is compared by what it hashes to, with every one there is and all bytes of each, so how long that
//! takes tells nothing. A browser that has shown one gets a session: a random number that is known here, by what it
//! hashes to, until its time is over, it is ended, or its token goes. Nothing of it is on the disk, so a start ends
//! all of them: what was ended once never comes back. What a request looks like is not known here.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

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
    /// By what their numbers hash to.
    sessions: Mutex<HashMap<TokenDigest, Session>>,
    /// Whether browsers come over TLS, as they are told, whatever they come by in the end.
    is_public_tls: AtomicBool,
    /// Requests that were turned away, since nobody or somebody else asked.
    pub(crate) refused: AtomicU64,
}

#[derive(Clone, Copy)]
struct Session {
    token: TokenDigest,
    until: Timestamp,
}

impl Tokens {
    /// From now on only these are good, and sessions of theirs; with `None`, nobody is asked for one.
    pub fn admit_only(&self, tokens: Option<&[Token]>) {
        let mut sessions = self.sessions();
        *self.list.write().unwrap_or_else(PoisonError::into_inner) = tokens.map(Arc::from);
        let list = tokens.unwrap_or_default();
        sessions.retain(|_, one| list.iter().any(|token| token.digest == one.token));
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
        // Before it is asked what is good: of a token that goes in this moment none begins.
        let mut sessions = self.sessions();
        self.role(token)?;
        let token = TokenDigest::of(token);
        let until = now + Span::from_secs(limits::SESSION_SECS.unsigned_abs());
        let text = random_text();
        sessions.retain(|_, one| now < one.until);
        let its = sessions.iter().filter(|(_, one)| one.token == token);
        if its.clone().count() >= limits::SESSIONS_EACH {
            let first = its.min_by_key(|(_, one)| one.until).map(|(digest, _)| *digest);
            first.and_then(|first| sessions.remove(&first));
        }
        sessions.insert(TokenDigest::of(text.as_bytes()), Session { token, until });
        Some(text)
    }

    /// What may be done in a session.
    pub(super) fn role_of_session(&self, session: &str, now: Timestamp) -> Option<Role> {
        let known = self.sessions().get(&TokenDigest::of(session.as_bytes())).copied()?;
        let list = self.list().filter(|_| now < known.until)?;
        list.iter().find(|token| token.digest == known.token).map(|token| token.role)
    }

    /// It is good for nothing from now on.
    pub(super) fn end_session(&self, session: &str) {
        self.sessions().remove(&TokenDigest::of(session.as_bytes()));
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<TokenDigest, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the address that people are told is one of TLS.
    pub fn set_public_tls(&self, is_public_tls: bool) {
        self.is_public_tls.store(is_public_tls, Relaxed);
    }

    pub(super) fn is_public_tls(&self) -> bool {
        self.is_public_tls.load(Relaxed)
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

/// 256 bits that nobody guesses, as text.
fn random_text() -> String {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the kernel has random bytes once it has started");
    let mut text = String::new();
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
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
        let shorter = session.get(..session.len() - 2).expect("it is longer");
        for forged in [shorter, "", ".", "1.é", &"9".repeat(64)] {
            assert_eq!(role(forged, NOW), None, "{forged}");
        }
        tokens.admit_only(Some(&[token(Role::Admin, "two")]));
        assert_eq!(tokens.role_of_session(&session, NOW), Some(Role::Admin), "as its token is");
        tokens.admit_only(Some(&[token(Role::Read, "one")]));
        assert_eq!(tokens.role_of_session(&session, NOW), None, "it went with its token");
        tokens.admit_only(Some(&[token(Role::Admin, "two")]));
        assert_eq!(tokens.role_of_session(&session, NOW), None, "and does not come back with it");
    }

    #[test]
    fn a_session_that_was_ended_is_over_and_no_other() {
        let tokens = Tokens::default();
        tokens.admit_only(Some(&[token(Role::Read, "one"), token(Role::Admin, "two")]));
        let session = |text: &str, now| tokens.session(text.as_bytes(), now).expect("it is good");
        let (first, second) = (session("one", NOW), session("one", NOW));
        assert_ne!(first, second, "within a second");
        tokens.end_session(&first);
        assert_eq!(tokens.role_of_session(&first, NOW), None);
        assert_eq!(tokens.role_of_session(&second, NOW), Some(Role::Read));
        // One token's take no other's room, and the first of them go.
        let other = session("two", NOW);
        for at in 1..=limits::SESSIONS_EACH {
            session("one", NOW + Span::from_secs(at as u64));
        }
        assert_eq!(tokens.role_of_session(&second, NOW), None);
        assert_eq!(tokens.role_of_session(&other, NOW), Some(Role::Admin));
        assert_eq!(tokens.sessions().len(), limits::SESSIONS_EACH + 1);
        session("two", NOW + Span::from_secs(2 * limits::SESSION_SECS.unsigned_abs()));
        assert_eq!(tokens.sessions().len(), 1, "what is over is forgotten");
    }
}
