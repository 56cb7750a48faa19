//! Who may ask over NRPE, and what the server proves itself with: both may change while it runs. And what came
//! of it, in numbers.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use crate::config::Network;
use crate::faces::millis;
use crate::time::clock::Clock;

/// From one line about who was not answered to the next of its kind, in milliseconds: they may come often.
const TELL_MILLIS: u64 = 60_000;

/// When a line was last written, in milliseconds of [`Clock::monotonic`]; 0 before the first.
#[derive(Default)]
struct Told(AtomicU64);

impl Told {
    /// Whether it is time for one; then it counts as written.
    fn is_due(&self, clock: &dyn Clock) -> bool {
        let (now, told) = (millis(clock).max(1), self.0.load(Relaxed));
        let is_due = told == 0 || now.saturating_sub(told) >= TELL_MILLIS;
        if is_due {
            self.0.store(now, Relaxed);
        }
        is_due
    }
}

/// See the module. Before it is told otherwise it lets nobody in.
pub struct Gate {
    allow: RwLock<Arc<[Network]>>,
    tls: RwLock<Option<TlsAcceptor>>,
    /// Queries that were answered.
    pub answered: AtomicU64,
    /// Connections of hosts that are not allowed.
    pub refused: AtomicU64,
    /// Connections of others that ended without an answer.
    pub failed: AtomicU64,
    refusals: Told,
    misreadings: Told,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            allow: RwLock::new(Arc::new([])),
            tls: RwLock::default(),
            answered: AtomicU64::default(),
            refused: AtomicU64::default(),
            failed: AtomicU64::default(),
            refusals: Told::default(),
            misreadings: Told::default(),
        }
    }
}

impl Gate {
    /// From now on hosts of these networks may ask, and no others.
    pub fn allow_only(&self, networks: &[Network]) {
        *self.allow.write().unwrap_or_else(PoisonError::into_inner) = Arc::from(networks);
    }

    /// From now on connections are accepted with this; with `None`, in clear text.
    pub fn prove_with(&self, config: Option<Arc<rustls::ServerConfig>>) {
        let acceptor = config.map(TlsAcceptor::from);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = acceptor;
    }

    /// What connections are accepted with.
    #[must_use]
    pub fn tls(&self) -> Option<TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether a host may ask. Where it may not, that is counted, and told now and then.
    #[must_use]
    pub fn admits(&self, address: IpAddr, clock: &dyn Clock) -> bool {
        let networks = self.allow.read().unwrap_or_else(PoisonError::into_inner).clone();
        if networks.iter().any(|network| network.contains(address)) {
            return true;
        }
        self.refused.fetch_add(1, Relaxed);
        if self.refusals.is_due(clock) {
            let from = address.to_canonical();
            tracing::warn!(%from, "a host that is not in nrpe.allow was refused");
        }
        false
    }

    /// Tells now and then of a host that may ask, and speaks something else than is spoken here.
    pub fn misread(&self, from: SocketAddr, error: &io::Error, clock: &dyn Clock) {
        if self.misreadings.is_due(clock) {
            let from = from.ip().to_canonical();
            let expected = if self.tls().is_some() {
                "TLS 1.2 or 1.3 with a certificate: check_nrpe without -n"
            } else {
                "clear text, since nrpe.tls_cert is not set: check_nrpe -n"
            };
            tracing::info!(%from, %error, expected, "a query of NRPE could not be read");
        }
    }
}
