//! SIGHUP and `POST /-/reload`: the configuration is read again, with all files that it names.
//!
//! All of it is taken or nothing: every file is read and checked before anything is swapped, and what is wrong with
//! any leaves all as it was, and is told in the log. Nothing that was read is. Rules, whoever is told and whoever
//! may come in take effect; the rest is what threads, sockets and files were made by, and waits for the next
//! start, which is told as well. So does what would leave an address without its guard: where it listens stays as it
//! is, and the new file may speak of another place.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};

use crate::config::{
    self, Config, LoadError, Loaded, Surroundings, Tls, TlsFault, Unmatched, server_config,
};
use crate::engine::Look;
use crate::faces::{Reloaded, Shared};
use crate::notify::Couriers;
use crate::reason;

/// What is needed to take over another configuration.
pub(super) struct Reloads {
    /// `None`: there is no file, and the defaults hold, or what the command line says.
    path: Option<PathBuf>,
    /// What the process was started with.
    config: Arc<Config>,
    couriers: watch::Sender<Arc<Couriers>>,
    /// Woken when there is something to deliver.
    mail: Arc<Notify>,
    /// Whoever asks for it over HTTP.
    pub(super) asked: mpsc::Receiver<crate::faces::ReloadReply>,
}

/// What was read, and what is made of it: all that can be wrong is known.
struct Read {
    config: Config,
    proofs: Proofs,
}

/// What the addresses of each face prove themselves with.
struct Proofs {
    memcached: Option<Arc<rustls::ServerConfig>>,
    http: Option<Arc<rustls::ServerConfig>>,
    nrpe: Option<Arc<rustls::ServerConfig>>,
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

    /// Reads everything again; what was taken over, or why nothing was.
    pub(super) async fn reload(&mut self, shared: &Shared) -> Result<Reloaded, String> {
        let (path, config) = (self.path.clone(), Arc::clone(&self.config));
        let read = tokio::task::spawn_blocking(move || read(path.as_deref(), &config));
        let now = shared.now();
        let engine = Arc::clone(&shared.engine);
        let Read { config: new, proofs } = match read
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
        {
            Ok(read) => read,
            Err(problem) => {
                let reason = reason::plain(&problem);
                tracing::error!(
                    "the configuration was not reloaded, what was read before still holds: {reason}"
                );
                let kept = problem.clone();
                let _ = tokio::task::spawn_blocking(move || engine.refuse(kept, now)).await;
                return Err(problem);
            }
        };
        let new = Arc::new(new);
        let mut later = later(&self.config, &new);
        later.extend(guard(shared, &new, proofs));
        // What is told from here on is told as the new file says.
        self.couriers.send_replace(Arc::new(Couriers::new(&new)));
        let its = Arc::clone(&new);
        let _ = tokio::task::spawn_blocking(move || engine.reload(&its, now)).await;
        self.mail.notify_one();
        let (rules, contacts) = (new.rules.len(), new.contacts.len());
        let users = new.memcached.auth.as_ref().map_or(0, |auth| auth.logins.len());
        let tokens = new.http.tokens.as_ref().map_or(0, |tokens| tokens.list.len());
        tracing::info!(rules, contacts, users, tokens, "reloaded the configuration");
        if !later.is_empty() {
            let later = later.join(", ");
            tracing::warn!("what was changed in {later} takes effect at the next start");
        }
        warn_of_unmatched(shared);
        Ok(Reloaded { rules, contacts, later })
    }
}

/// The configuration as it is now, and all that is made of files that it names.
fn read(path: Option<&Path>, known: &Config) -> Result<Read, String> {
    let surroundings = Surroundings::of_process();
    let config = match path {
        Some(path) => {
            let loaded = config::load(path, &surroundings).map_err(|error| problems(&error))?;
            let Loaded { config, warnings } = loaded;
            for warning in warnings.iter() {
                tracing::warn!(line = warning.line(), "configuration: {}", warning.message());
            }
            config
        }
        None => again(known, &surroundings)?,
    };
    let proofs = Proofs::of(&config).map_err(|fault| fault.to_string())?;
    Ok(Read { config, proofs })
}

/// What the command line says, with the files that it names as they are now.
fn again(known: &Config, surroundings: &Surroundings<'_>) -> Result<Config, String> {
    let mut config = known.clone();
    let auth = known.memcached.auth.as_ref().map(|auth| auth.reread(surroundings));
    config.memcached.auth = auth.transpose()?;
    let tls = known.server.tls.as_ref().map(|tls| tls.reread(surroundings));
    config.server.tls = tls.transpose()?;
    Ok(config)
}

impl Proofs {
    fn of(config: &Config) -> Result<Self, TlsFault> {
        let proof = |tls: &Option<Tls>| tls.as_ref().map(server_config).transpose();
        Ok(Self {
            memcached: proof(&config.server.tls)?,
            http: proof(&config.http.tls)?,
            nrpe: proof(&config.nrpe.tls)?,
        })
    }
}

/// Takes over who may come in, and what proves it. What there is no more in the new file stays, since it may guard an
/// address that the next start has no more either: its keys are given.
fn guard(shared: &Shared, new: &Config, proofs: Proofs) -> Vec<&'static str> {
    let (access, tokens, nrpe) = (&shared.access, &shared.tokens, &shared.nrpe);
    if new.nrpe.listen.is_some() {
        nrpe.allow_only(&new.nrpe.allow);
    }
    tokens.set_public_tls(new.notify.is_public_tls());
    let logins = new.memcached.auth.as_ref().map(|auth| access.admit_only(Some(&auth.logins)));
    let list = new.http.tokens.as_ref().map(|new| tokens.admit_only(Some(&new.list)));
    let memcached_tls = proofs.memcached.map(|proof| access.prove_with(Some(proof)));
    let http_tls = proofs.http.map(|proof| tokens.prove_with(Some(proof)));
    let nrpe_tls = proofs.nrpe.map(|proof| nrpe.prove_with(Some(proof)));
    let kept = [
        ("memcached.auth_file", logins.is_none() && access.asks()),
        ("http.token_file", list.is_none() && tokens.are_asked_for()),
        ("server.tls_cert", memcached_tls.is_none() && access.tls().is_some()),
        ("http.tls_cert", http_tls.is_none() && tokens.tls().is_some()),
        ("nrpe.tls_cert", nrpe_tls.is_none() && nrpe.tls().is_some()),
    ];
    kept.into_iter().filter(|(_, is_kept)| *is_kept).map(|(key, _)| key).collect()
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
    let line = |problem: &config::Problem| {
        let (line, message) = (problem.line(), problem.message());
        match problem.label() {
            "" => format!("line {line}: {message}"),
            label => format!("line {line}: {message} ({label})"),
        }
    };
    problems.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Whether two configurations say the same of something.
type IsSame = fn(&Config, &Config) -> bool;

/// What needs a start. All else takes effect at once; README lists both.
const AT_START: [(&str, IsSame); 16] = [
    ("server.listen", |old, new| old.server.listen == new.server.listen),
    ("server.http", |old, new| old.server.http == new.server.http),
    ("server.data_dir", |old, new| old.server.data_dir == new.server.data_dir),
    ("server.threads", |old, new| old.server.threads == new.server.threads),
    ("server.max_connections", |old, new| old.server.max_connections == new.server.max_connections),
    ("server.idle_timeout", |old, new| old.server.idle_timeout == new.server.idle_timeout),
    ("memcached.missing_incr", |old, new| old.memcached.missing_incr == new.memcached.missing_incr),
    ("memcached.items", |old, new| old.memcached.items_bytes == new.memcached.items_bytes),
    ("memcached.max_item", |old, new| old.memcached.max_item_bytes == new.memcached.max_item_bytes),
    ("[counters]", |old, new| old.counters == new.counters),
    ("[store]", |old, new| old.store == new.store),
    ("[[tier]]", |old, new| old.tiers == new.tiers),
    ("[[metric]]", |old, new| old.metrics == new.metrics),
    ("[statsd]", |old, new| old.statsd == new.statsd),
    ("[graphite]", |old, new| old.graphite == new.graphite),
    ("nrpe.listen", |old, new| old.nrpe.listen == new.nrpe.listen),
];

/// What differs and needs a start.
fn later(old: &Config, new: &Config) -> Vec<&'static str> {
    let differs = AT_START.iter().filter(|(_, is_same)| !is_same(old, new));
    differs.map(|(name, _)| *name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const README: &str = include_str!("../../README.md");
    const EVERY_KEY: &str = include_str!("../../conf/tallyd.toml");

    /// The names in a row of README.
    fn row(begins: &str) -> Vec<&'static str> {
        let row = README.lines().find_map(|line| line.strip_prefix(begins)).expect(begins);
        row.split('`').skip(1).step_by(2).collect()
    }

    #[test]
    fn readme_lists_every_key_as_it_is_reloaded() {
        let (at_once, at_start) = (row("| at once |"), row("| at the next start |"));
        assert_eq!(at_start, AT_START.map(|(name, _)| name));
        let mut section = "";
        let mut keys = Vec::new();
        for line in EVERY_KEY.lines().map(|line| line.trim_start_matches("#: ")) {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let is_name = |c: char| c.is_ascii_lowercase() || c == '_';
            let key =
                line.split_once(" = ").map(|(key, _)| key).filter(|key| key.chars().all(is_name));
            let name = section.trim_matches(['[', ']']);
            let outer = name.split('.').next().unwrap_or_default();
            keys.extend(key.map(|key| (outer, format!("{name}.{key}"))));
        }
        assert!(keys.len() > 60, "{keys:?}");
        for (section, key) in &keys {
            let all = at_once.iter().chain(&at_start).map(|name| name.trim_matches(['[', ']']));
            let found = all.filter(|name| name == section || name == key).count();
            assert_eq!(found, 1, "{key} stands in one of the two rows");
        }
    }
}
