//! Who may ask over NRPE, and what the server proves itself with: both may change while it runs. And what came
//! of it, in numbers.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};

use tokio_rustls::TlsAcceptor;

use crate::config::{Network, Nrpe, TlsFault, server_config};
use crate::faces::millis;
use crate::time::clock::Clock;

/// From one warning of refused hosts to the next, in milliseconds: whoever is refused may come often.
const WARN_MILLIS: u64 = 60_000;

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
    /// When a warning was last written, in milliseconds of [`Clock::monotonic`]; 0 before the first.
    warned: AtomicU64,
}

impl Default for Gate {
    fn default() -> Self {
        Self {
            allow: RwLock::new(Arc::new([])),
            tls: RwLock::default(),
            answered: AtomicU64::default(),
            refused: AtomicU64::default(),
            failed: AtomicU64::default(),
            warned: AtomicU64::default(),
        }
    }
}

impl Gate {
    /// From now on it is as the configuration says, but for the address.
    ///
    /// # Errors
    /// Where the certificate cannot be used; then nothing has changed.
    pub fn take_over(&self, config: &Nrpe) -> Result<(), TlsFault> {
        let tls = config.tls.as_ref().map(server_config).transpose()?.map(TlsAcceptor::from);
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = tls;
        let allow = Arc::from(config.allow.as_slice());
        *self.allow.write().unwrap_or_else(PoisonError::into_inner) = allow;
        Ok(())
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
        let (now, warned) = (millis(clock).max(1), self.warned.load(Relaxed));
        if warned == 0 || now.saturating_sub(warned) >= WARN_MILLIS {
            self.warned.store(now, Relaxed);
            let from = address.to_canonical();
            tracing::warn!(%from, "a host that is not in nrpe.allow was refused");
        }
        false
    }
}
