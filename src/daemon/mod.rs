//! Starts the threads, wires clock, sockets and couriers to the engine, and shuts down in order.
//!
//! One thread per worker serves the memcached port. One does nothing but tick, so that no request of
//! the memcached port can make a window late; an HTTP answer can, by as long as it reads under the
//! engine's lock: a picture some 30 ms, the list of metrics, the page and the rules as long as it
//! takes to gather them. One thread syncs, and one each takes lines of StatsD and Graphite. Everything
//! else (accepting, HTTP, couriers, signals) runs on the main thread.

mod accept;
mod couriers;
mod files;
mod heartbeat;
mod illustrate;
mod keeper;
mod listen;
mod reload;
mod ticker;
mod told;
mod watchdog;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::config::{Config, server_config};
use crate::counters::Recovered;
use crate::engine::tally::{Tallies, Writer};
use crate::engine::{Engine, Found};
use crate::faces::http::tokens::Tokens;
use crate::faces::memcache::Worker;
use crate::faces::memcache::access::Access;
use crate::faces::{Shared, Status, VERSION, http, nrpe};
use crate::limits;
use crate::store::TierChange;
use crate::time::clock::{Clock, SystemClock};
use crate::time::{BelievedClock, Timestamp, Window};
use files::PidFile;
use keeper::Keepers;
use listen::{Listener, Place};
use reload::Reloads;
use ticker::Ticker;

/// A process that is told something from outside from here on, and not ended by it: to be made before anything
/// that takes a while, since a SIGHUP may come as soon as somebody knows the process.
pub struct Prepared(anyhow::Result<(Runtime, Signals)>);

/// Makes it. Where that fails, [`Prepared::run`] says so.
#[must_use]
pub fn prepare() -> Prepared {
    Prepared(begin())
}

impl Prepared {
    /// Runs until SIGTERM or SIGINT, or a client's `shutdown` where it is allowed. `path` is where the
    /// configuration was read, and is read again when that is asked for.
    ///
    /// # Errors
    /// Where it cannot listen on an address, or start a thread.
    pub fn run(self, config: Config, path: Option<PathBuf>) -> anyhow::Result<()> {
        let (runtime, signals) = self.0?;
        raise_descriptor_limit();
        let done = runtime.block_on(serve(&Arc::new(config), path, signals));
        // Whatever still formats an answer on a blocking thread has nobody to send it to.
        runtime.shutdown_background();
        done
    }
}

fn begin() -> anyhow::Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Names are looked up here too, by couriers, and where the resolver is dead each waits for long: answers need
        // a thread all the same. Whoever asks for much has a turn of his own (`faces::http::desk`).
        .max_blocking_threads(limits::BLOCKING_THREADS)
        .thread_name("tallyd-blocking")
        .build()
        .context("cannot start the runtime")?;
    let inside = runtime.enter();
    let signals = Signals::new()?;
    drop(inside);
    Ok((runtime, signals))
}

async fn serve(
    config: &Arc<Config>,
    path: Option<PathBuf>,
    mut signals: Signals,
) -> anyhow::Result<()> {
    let listeners = listen::bind(&config.server.listen, &config.compat).await?;
    let http_listeners = bind(&config.server.http, "HTTP").await?;
    let nrpe_listeners = bind(config.nrpe.listen.as_slice(), "NRPE").await?;
    let inlets = told::bind(config).await?;
    if listeners.is_empty() && http_listeners.is_empty() && !config.compat.is_on {
        bail!("nothing to do: both server.listen and server.http are empty");
    }
    let memcached = joined(listeners.iter().map(Listener::address));
    let (http_addresses, nrpe_address) = (addresses(&http_listeners), addresses(&nrpe_listeners));
    let _pid_file = leave_traces(config, &listeners)?;
    let (access, tokens, nrpe) = (access(config)?, tokens(config)?, gate(config)?);

    let threads = worker_threads(config);
    let clock: Arc<dyn Clock> = Arc::new(BelievedClock::new(SystemClock::new()));
    let engine = Arc::new(open(config, clock.now())?);
    let (tallies, writers) = Tallies::new(threads);
    let status = Arc::new(Status::default());
    status.threads.store(threads, Relaxed);
    status.max_connections.store(config.server.max_connections, Relaxed);
    status.allows_shutdown.store(config.compat.shutdown, Relaxed);
    let (access, tokens) = (Arc::new(access), Arc::new(tokens));
    let links = files::link_key(config);
    let shared = Shared { engine, clock, tallies, status, access, tokens, nrpe, links };
    let (stop, stopped) = watch::channel(false);

    let workers = start_workers(writers, &shared, config, &stopped)?;
    let mut told = told::start(inlets, &shared, &stopped)?;
    let mail = Arc::new(Notify::new());
    shared.engine.begin(shared.now());
    let mut keepers = Keepers::start(&shared, config, &mail)?;
    let mut ticker = ticker::start(shared.clone(), Arc::clone(&mail), keepers.waker())?;

    let mut accepting = JoinSet::new();
    let hands = accept::Hands::new(&workers);
    for listener in listeners {
        accepting.spawn(accept::accept(listener, hands.clone(), shared.clone(), stopped.clone()));
    }
    let mut serving = show(&shared, http_listeners, nrpe_listeners, &stopped);
    let (mut reloads, couriers) = Reloads::new(path, config, &shared, &mail);
    let beating = tokio::spawn(heartbeat::beat(shared.clone(), couriers.clone(), stopped.clone()));
    // The couriers stop after the ticker, since its last tick may bring them something.
    let (close_mail, last_call) = watch::channel(false);
    let delivering =
        tokio::spawn(couriers::drive(shared.clone(), couriers, mail, keepers.waker(), last_call));

    shared.set_ready(true);
    tell_systemd(&[sd_notify::NotifyState::Ready]);
    let living = tokio::spawn(watchdog::watch(Arc::clone(&shared.status)));
    say_ready(config, &memcached, &http_addresses, &nrpe_address, threads);

    reload::warn_of_unmatched(&shared);

    let name = signals
        .until_the_end(&mut reloads, &shared, (&mut ticker, &mut keepers, &mut told))
        .await?;
    tracing::info!("{name}: stopping");
    tell_systemd(&[sd_notify::NotifyState::Stopping]);
    shared.set_ready(false);
    // Everyone hears it at once: acceptors close their sockets, workers answer what they have read,
    // HTTP answers what it was asked, couriers finish what is on its way.
    let _ = stop.send(true);
    // Half of the time is the clients', the rest is for what they counted.
    let share = Duration::from_millis(limits::SHUTDOWN_SECS * 500);
    let clients = async {
        while accepting.join_next().await.is_some() {}
        drop(hands);
        for worker in workers {
            worker.finished().await;
        }
        told.finished().await;
        while serving.join_next().await.is_some() {}
    };
    // Nobody waits for the last of these.
    beating.abort();
    living.abort();
    if tokio::time::timeout(share, clients).await.is_err() {
        tracing::warn!("some clients did not finish in {} s and were cut off", share.as_secs());
    }
    let shared_last = shared.clone();
    let last = async {
        // What the last requests counted is judged and told, though their second is not over.
        ticker.finish().await;
        // What it led to goes out once that is on the disk.
        keepers.finish_log().await;
        let _ = close_mail.send(true);
        keepers.finish().await;
        if let Err(error) = delivering.await {
            tracing::error!(%error, "the couriers ended with a panic");
        }
        write_last(shared_last).await;
    };
    if tokio::time::timeout(share, last).await.is_err() {
        tracing::warn!("the last messages or the last sync took longer than {} s", share.as_secs());
    }
    let waiting = shared.engine.view(|view| view.outbox.len());
    if waiting > 0 {
        tracing::warn!(waiting, "messages wait for the next start");
    }
    tracing::info!("stopped");
    Ok(())
}

/// The line by which others see that it is ready, and where.
fn say_ready(config: &Config, memcached: &str, http: &str, nrpe: &str, threads: usize) {
    tracing::info!(
        memcached,
        http,
        nrpe,
        data = %config.server.data_dir.display(),
        threads,
        rules = config.rules.len(),
        contacts = config.contacts.len(),
        "tallyd {VERSION} is ready"
    );
}

/// Starts a worker for each of those who count what clients do.
fn start_workers(
    writers: Vec<Writer>,
    shared: &Shared,
    config: &Arc<Config>,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Vec<accept::WorkerThread>> {
    let start = |(at, writer)| {
        let (shared, config) = (shared.clone(), Arc::clone(config));
        accept::start_worker(at, move || Worker::new(shared, config, writer), stop.clone())
    };
    writers.into_iter().enumerate().map(start).collect()
}

/// As many as are asked for, or one for each core.
fn worker_threads(config: &Config) -> usize {
    match config.server.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    }
}

/// Writes down how the last deliveries ended; that somebody is told twice would be the worst of it.
async fn write_last(shared: Shared) {
    let written = tokio::task::spawn_blocking(move || shared.engine.write_log());
    if let Ok(Err(error)) = written.await {
        tracing::warn!(%error, "how the last deliveries ended is not on the disk");
    }
}

/// The engine over what the data directory holds.
fn open(config: &Config, now: Timestamp) -> anyhow::Result<Engine> {
    if config.compat.is_on {
        // As memcached: what it holds ends with it.
        return Ok(Engine::new(config, now));
    }
    let (engine, found) = Engine::open(config, &config.server.data_dir, now)?;
    report(&found, &config.server.data_dir);
    // Nobody is there yet who could take the room.
    let unmade = engine.know_itself();
    if unmade > 0 {
        tracing::error!(
            "{unmade} series of what tallyd knows of itself cannot be made: is the disk full? rules that watch them see nothing until they are"
        );
    }
    Ok(engine)
}

/// Says what was found in the data directory, and loudly what was not.
fn report(found: &Found, dir: &Path) {
    let Recovered {
        series, items, reset, nameless, beyond_room, torn_bytes, damaged_bytes, ..
    } = found.counters;
    let Recovered { lost_key_bytes, lost_item_bytes, .. } = found.counters;
    let dir = dir.display();
    if series > 0 || items > 0 {
        tracing::info!(series, items, rows = found.rows, "took over {dir}");
    }
    found.tiers.iter().copied().for_each(|change| report_tier(change, &dir.to_string()));
    if found.is_log_missing {
        tracing::error!(
            "ticks*.log is missing in {dir}, or empty: what was counted in the last minutes belongs to the window after the last that is kept"
        );
    }
    if found.has_no_history {
        tracing::error!(
            "tallyd.redb is missing in {dir}, or empty: the windows of what was counted there are gone, and history begins now; totals stay. Stop, put the file back and start again to have them"
        );
    }
    if let Some(Window { start, end }) = found.lost {
        tracing::error!(
            "tallyd.redb in {dir} is older than ticks.log: what was counted between {start} and {end} is in the totals and in no window"
        );
    }
    if found.garbled_facts > 0 {
        tracing::error!(
            facts = found.garbled_facts,
            "states of rules, incidents or messages in {dir} cannot be read; what they are about begins anew"
        );
    }
    if found.damaged_bytes > 0 {
        tracing::error!(
            damaged_bytes = found.damaged_bytes,
            "the tick log in {dir} is damaged; what was counted then belongs to the window after it"
        );
    }
    if torn_bytes > 0 {
        tracing::info!(
            torn_bytes,
            "cut off changes that were not finished, nor acknowledged, in {dir}"
        );
    }
    if reset > 0 {
        tracing::error!(
            series = reset,
            "some series begin at zero: {dir} lacks what they had counted"
        );
    }
    if nameless > 0 {
        tracing::error!(
            series = nameless,
            "some series are gone: {dir} has their cells, and not their keys"
        );
    }
    if damaged_bytes > 0 {
        tracing::error!(damaged_bytes, "a log in {dir} is damaged; the rest of it was taken over");
    }
    if lost_key_bytes > 0 {
        tracing::error!(
            bytes = lost_key_bytes,
            "keys.log is missing in {dir}, or its end is: put a copy in its place before anything is counted; see \"When a file is lost\" in the README"
        );
    }
    if lost_item_bytes > 0 {
        tracing::error!(
            bytes = lost_item_bytes,
            "the log of items is missing in {dir}, or its end is: values that are no numbers are gone, or stand as they stood before"
        );
    }
    if beyond_room > 0 {
        tracing::error!(
            series = beyond_room,
            "counters.max_series is too small for what {dir} holds"
        );
    }
}

/// Says what becomes of the history of a tier whose configuration has changed.
fn report_tier(change: TierChange, dir: &str) {
    match change {
        TierChange::Gone(width) => {
            tracing::warn!("no [[tier]] is {width} wide any more: its history in {dir} is removed");
        }
        TierChange::New(width) => tracing::info!(
            "the [[tier]] of {width} is new: its history is made of the next finer one, as far back as that reaches"
        ),
        TierChange::Keep { width, was, is } if is < was => {
            tracing::warn!(
                "the [[tier]] of {width} is kept for {is}, and was for {was}: what is older is removed"
            );
        }
        TierChange::Keep { width, was, is } => tracing::info!(
            "the [[tier]] of {width} is kept for {is}, and was for {was}: what is older is gone already"
        ),
    }
}

/// What may be said to the process from outside.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on they do not end the process by themselves.
    fn new() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("cannot wait for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("cannot wait for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("cannot wait for SIGHUP")?,
        })
    }

    /// Waits until somebody says that it is over; who that was. A reload is done on the way.
    async fn until_the_end(
        &mut self,
        reloads: &mut Reloads,
        shared: &Shared,
        (ticker, keepers, told): (&mut Ticker, &mut Keepers, &mut told::Threads),
    ) -> anyhow::Result<&'static str> {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return Ok("SIGTERM"),
                _ = self.interrupt.recv() => return Ok("SIGINT"),
                () = shared.status.shutdown.notified() => return Ok("a client's shutdown"),
                // Whatever is wrong with it is in the log.
                _ = self.hangup.recv() => drop(reloads.reload(shared).await),
                Some(reply) = reloads.asked.recv() => {
                    let _ = reply.send(reloads.reload(shared).await);
                }
                // Nothing is judged any more. Whoever supervises the process had better start it
                // anew.
                () = ticker.ended() => bail!("the ticker ended with a panic"),
                name = told.ended() => bail!("the thread {name} ended with a panic"),
                name = keepers.ended() => bail!("the thread {name} ended with a panic"),
            }
        }
    }
}

/// What the configuration asks of new connections.
fn access(config: &Config) -> anyhow::Result<Access> {
    let access = Access::default();
    access.admit_only(config.memcached.auth.as_ref().map(|auth| auth.logins.as_slice()));
    let tls = config.server.tls.as_ref().map(server_config).transpose();
    access.prove_with(tls.context("cannot use the certificate of server.tls_cert")?);
    Ok(access)
}

/// The same for HTTP.
fn tokens(config: &Config) -> anyhow::Result<Tokens> {
    let tokens = Tokens::default();
    tokens.admit_only(config.http.tokens.as_ref().map(|tokens| tokens.list.as_slice()));
    tokens.set_public_tls(config.notify.is_public_tls());
    let tls = config.http.tls.as_ref().map(server_config).transpose();
    tokens.prove_with(tls.context("cannot use the certificate of http.tls_cert")?);
    Ok(tokens)
}

/// What it asks of whoever asks over NRPE.
fn gate(config: &Config) -> anyhow::Result<Arc<nrpe::Gate>> {
    let gate = nrpe::Gate::default();
    gate.allow_only(&config.nrpe.allow);
    let tls = config.nrpe.tls.as_ref().map(server_config).transpose();
    gate.prove_with(tls.context("cannot use the certificate of nrpe.tls_cert")?);
    Ok(Arc::new(gate))
}

/// Serves whoever only looks, until the process is asked to stop.
fn show(
    shared: &Shared,
    http_listeners: Vec<TcpListener>,
    nrpe_listeners: Vec<TcpListener>,
    stopped: &watch::Receiver<bool>,
) -> JoinSet<()> {
    let mut serving = JoinSet::new();
    let face = http::Face::new(shared.clone());
    for listener in http_listeners {
        serving.spawn(face.clone().serve(listener, stopped.clone()));
    }
    let face = nrpe::Face::new(shared.clone());
    for listener in nrpe_listeners {
        serving.spawn(face.clone().serve(listener, stopped.clone()));
    }
    serving
}

/// The files by which others find this server, where they were asked for.
fn leave_traces(config: &Config, listeners: &[Listener]) -> anyhow::Result<Option<PidFile>> {
    if let Some(path) = &config.compat.port_file {
        let ports = listeners.iter().filter_map(|listener| match listener.place() {
            Place::Tcp(address) => Some(address),
            Place::Unix(_) => None,
        });
        files::write_ports(path, &ports.collect::<Vec<_>>())?;
    }
    config.compat.pid_file.as_deref().map(PidFile::write).transpose()
}

/// Listens on every address, or says about each why not.
async fn bind(addresses: &[SocketAddr], what: &str) -> anyhow::Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    let mut problems = Vec::new();
    for address in addresses {
        match TcpListener::bind(address).await {
            Ok(listener) => listeners.push(listener),
            Err(error) => problems.push(format!("{address} for {what}: {error}")),
        }
    }
    if problems.is_empty() {
        return Ok(listeners);
    }
    bail!("cannot listen on {}", problems.join("; "))
}

/// Where these really listen, for the log.
fn addresses(listeners: &[TcpListener]) -> String {
    let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok());
    joined(addresses.map(|address| address.to_string()))
}

/// Several of them, for the log.
fn joined(addresses: impl Iterator<Item = String>) -> String {
    let texts: Vec<_> = addresses.collect();
    if texts.is_empty() { "off".to_owned() } else { texts.join(",") }
}

/// As many descriptors as the system allows: each client takes one.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Says how we are to whoever started us, where that is systemd.
fn tell_systemd(state: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
