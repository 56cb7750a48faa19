//! Who may come in, and what the server proves itself with: both may change while it runs.
//!
//! A connection asks once. Whoever is in stays in when the file changes, as with memcached; a session
//! keeps the certificate that it began with.

use std::sync::{Arc, PoisonError, RwLock};

use subtle::{Choice, ConstantTimeEq};
use tokio_rustls::TlsAcceptor;

use crate::config::Login;

/// What is asked of new connections.
#[derive(Default)]
pub struct Access {
    logins: RwLock<Option<Arc<[Login]>>>,
    tls: RwLock<Option<TlsAcceptor>>,
}

impl Access {
    /// From now on only these come in; with `None`, everybody.
    pub fn admit_only(&self, logins: Option<&[Login]>) {
        *self.logins.write().unwrap_or_else(PoisonError::into_inner) = logins.map(Arc::from);
    }

    /// From now on TCP is accepted with this; with `None`, in clear text.
    pub fn prove_with(&self, config: Option<Arc<rustls::ServerConfig>>) {
        let acceptor = config.map(TlsAcceptor::from);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }

    /// What TCP is accepted with.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a client has to say first who it is.
    #[must_use]
    pub fn asks(&self) -> bool {
        self.logins.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Whether they are among those who may come in.
    ///
    /// It looks at every line whatever it has found, and at every byte of each: how long it takes
    /// tells nothing but the lengths.
    #[must_use]
    pub fn admits(&self, user: &[u8], password: &[u8]) -> bool {
        let logins = self.logins.read().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(logins) = logins else { return true };
        let mut found = Choice::from(0);
        for login in logins.iter() {
            let same_user = login.user.as_bytes().ct_eq(user);
            found |= same_user & login.password.expose().as_bytes().ct_eq(password);
        }
        found.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;

    #[test]
    fn a_user_comes_in_with_its_own_password_only() {
        let login = |user: &str, password: &str| Login {
            user: user.to_owned(),
            password: Secret::new(password),
        };
        let access = Access::default();
        assert!(!access.asks() && access.admits(b"anybody", b""));
        access.admit_only(Some(&[login("foo", "bar"), login("baaaz", "quux")]));
        assert!(access.asks());
        assert!(access.admits(b"foo", b"bar") && access.admits(b"baaaz", b"quux"));
        for (user, password) in [("foo", "quux"), ("baaaz", "bar"), ("fo", "bar"), ("foo", "")] {
            assert!(!access.admits(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
        access.admit_only(Some(&[login("foo", "new")]));
        assert!(!access.admits(b"foo", b"bar") && access.admits(b"foo", b"new"));
    }
}
