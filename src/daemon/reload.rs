//! SIGHUP and `POST /-/reload`: the configuration is read again, who may come in, and the certificate.
//!
//! Each file is taken whole or not at all: one that is wrong leaves what was there before, and is told
//! in the log. Nothing that was read is. Of the configuration itself rules and whoever is told take
//! effect; the rest is what threads, sockets and files were made by, and waits for the next start, which
//! is told as well.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use crate::config::{self, Config, LoadError, Surroundings, Unmatched, server_config};
use crate::engine::Look;
use crate::faces::http::tokens::Tokens;
use crate::faces::memcache::access::Access;
use crate::faces::{Reloaded, Shared};
use crate::notify::Couriers;
use crate::reason;

/// What is needed to take over another configuration.
pub(super) struct Reloads {
    /// `None`: there is no file, and the defaults hold.
    path: Option<PathBuf>,
    /// What the process was started with.
    config: Arc<Config>,
    couriers: watch::Sender<Arc<Couriers>>,
    /// Woken when there is something to deliver.
    mail: Arc<Notify>,
    /// Whoever asks for it over HTTP.
    pub(super) asked: mpsc::Receiver<crate::faces::ReloadReply>,
}

impl Reloads {
    /// Ready for whoever asks; and the couriers that hold at any time.
    pub(super) fn new(
        path: Option<PathBuf>,
        config: &Arc<Config>,
        shared: &Shared,
        mail: &Arc<Notify>,
    ) -> (Self, watch::Receiver<Arc<Couriers>>) {
        let (couriers, present) = watch::channel(Arc::new(Couriers::new(config)));
        let (ask, asked) = mpsc::channel(1);
        // This is the only one of the process.
        let _ = shared.status.reload.set(ask);
        let (config, mail) = (Arc::clone(config), Arc::clone(mail));
        (Self { path, config, couriers, mail, asked }, present)
    }

    /// Reads everything again; what was taken over of the configuration, or why nothing was.
    pub(super) async fn reload(&mut self, shared: &Shared) -> Result<Reloaded, String> {
        reread(&self.config, &shared.access);
        reread_http(&self.config, &shared.tokens);
        let Some(path) = self.path.clone() else { return Ok(Reloaded::default()) };
        let read = tokio::task::spawn_blocking(move || {
            config::load(&path, &Surroundings::of_process()).map_err(|error| problems(&error))
        });
        let now = shared.now();
        let engine = Arc::clone(&shared.engine);
        let loaded = match read.await.unwrap_or_else(|error| Err(error.to_string())) {
            Ok(loaded) => loaded,
            Err(problem) => {
                keep("the configuration", &reason::plain(&problem));
                let kept = problem.clone();
                let _ = tokio::task::spawn_blocking(move || engine.refuse(kept, now)).await;
                return Err(problem);
            }
        };
        for warning in loaded.warnings.iter() {
            tracing::warn!(line = warning.line(), "configuration: {}", warning.message());
        }
        let new = Arc::new(loaded.config);
        if let Err(fault) = shared.nrpe.take_over(&new.nrpe) {
            keep("nrpe.tls_cert", &fault.to_string());
        }
        // What is told from here on is told as the new file says.
        self.couriers.send_replace(Arc::new(Couriers::new(&new)));
        let its = Arc::clone(&new);
        let _ = tokio::task::spawn_blocking(move || engine.reload(&its, now)).await;
        self.mail.notify_one();
        let later = later(&self.config, &new);
        let (rules, contacts) = (new.rules.len(), new.contacts.len());
        tracing::info!(rules, contacts, "reloaded the configuration");
        if !later.is_empty() {
            let later = later.join(", ");
            tracing::warn!("what was changed in {later} takes effect at the next start");
        }
        warn_of_unmatched(shared);
        Ok(Reloaded { rules, contacts, later })
    }
}

/// Rules that are warned of one by one.
const NAMED: usize = 10;

/// Warns of rules that watch nothing, on a thread where looking may take its time. Where nothing is counted
/// yet, nothing is said.
pub(super) fn warn_of_unmatched(shared: &Shared) {
    let engine = Arc::clone(&shared.engine);
    drop(tokio::task::spawn_blocking(move || {
        let Look { is_counting, unmatched } = engine.look(&engine.rules());
        let unmatched = if is_counting { unmatched } else { Vec::new() };
        for Unmatched { rule, pattern, meant, .. } in unmatched.iter().take(NAMED) {
            tracing::warn!(rule, pattern, meant, "a rule watches nothing: no series matches");
        }
        if let Some(more) = unmatched.len().checked_sub(NAMED).filter(|more| *more > 0) {
            tracing::warn!(more, "further rules watch nothing: see `tallyd rules list`");
        }
    }));
}

/// What is wrong with a file, without its text: that may hold what is nobody's business.
fn problems(error: &LoadError) -> String {
    let LoadError::Invalid(problems) = error else { return error.to_string() };
    let line =
        |problem: &config::Problem| format!("line {}: {}", problem.line(), problem.message());
    problems.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Sections that differ and need a start.
fn later(old: &Config, new: &Config) -> Vec<&'static str> {
    let sections = [
        ("[server]", old.server == new.server),
        ("[http]", old.http.is_like(&new.http)),
        ("[memcached]", old.memcached == new.memcached),
        ("[counters]", old.counters == new.counters),
        ("[store]", old.store == new.store),
        ("[[tier]]", old.tiers == new.tiers),
        ("[[metric]]", old.metrics == new.metrics),
        ("[statsd]", old.statsd == new.statsd),
        ("[graphite]", old.graphite == new.graphite),
        ("[nrpe] listen", old.nrpe.listen == new.nrpe.listen),
    ];
    sections.into_iter().filter(|(_, is_same)| !is_same).map(|(name, _)| name).collect()
}

/// Reads the files again that say who may come in.
fn reread(config: &Config, access: &Access) {
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

/// The same for HTTP.
fn reread_http(config: &Config, tokens: &Tokens) {
    let surroundings = Surroundings::of_process();
    if let Some(known) = &config.http.tokens {
        match known.reread(&surroundings) {
            Ok(new) => {
                tokens.admit_only(Some(&new.list));
                tracing::info!(tokens = new.list.len(), "reloaded http.token_file");
            }
            Err(reason) => keep("http.token_file", &reason),
        }
    }
    if let Some(tls) = &config.http.tls {
        let read = tls.reread(&surroundings);
        match read.and_then(|tls| server_config(&tls).map_err(|fault| fault.to_string())) {
            Ok(config) => {
                tokens.prove_with(Some(config));
                tracing::info!("reloaded http.tls_cert and http.tls_key");
            }
            Err(reason) => keep("http.tls_cert", &reason),
        }
    }
}

fn keep(key: &str, reason: &str) {
    tracing::error!("{key} was not reloaded, what was read before still holds: {reason}");
}
