//! SIGHUP: who may come in, and the certificate, are read again.
//!
//! Each file is taken whole or not at all: one that is wrong leaves what was there before, and is told
//! in the log. Nothing that was read is.

use crate::config::{Config, Surroundings, server_config};
use crate::faces::memcache::access::Access;

/// Reads the files that the configuration names again.
pub(super) fn reload(config: &Config, access: &Access) {
    let surroundings = Surroundings::of_process();
    if let Some(auth) = &config.memcached.auth {
        match auth.reread(&surroundings) {
            Ok(auth) => {
                access.admit_only(Some(&auth.logins));
                tracing::info!(users = auth.logins.len(), "reloaded memcached.auth_file");
            }
            Err(reason) => keep("memcached.auth_file", &reason),
        }
    }
    if let Some(tls) = &config.server.tls {
        let read = tls.reread(&surroundings);
        match read.and_then(|tls| server_config(&tls).map_err(|fault| fault.to_string())) {
            Ok(config) => {
                access.prove_with(Some(config));
                tracing::info!("reloaded server.tls_cert and server.tls_key");
            }
            Err(reason) => keep("server.tls_cert", &reason),
        }
    }
}

fn keep(key: &str, reason: &str) {
    tracing::error!("{key} was not reloaded, what was read before still holds: {reason}");
}
