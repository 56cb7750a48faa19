//! The threads of StatsD and Graphite: one for each protocol that is asked for.
//!
//! Lines come in beside the memcached port and not before it: on a thread of their own that takes no worker's
//! time, and none that ticks. Sockets are bound before anything else is started, so an address that is taken ends
//! the start.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::Ordering::Relaxed;
use std::thread::JoinHandle;

use anyhow::{Context, bail};
use tokio::sync::{oneshot, watch};
use tokio::task::LocalSet;

use super::listen::{SocketFile, unix_datagrams};
use crate::config::{Config, Inlets as Addresses};
use crate::faces::connections::keep_alive;
use crate::faces::graphite::Graphite;
use crate::faces::statsd::StatsD;
use crate::faces::told::{Datagrams, Inlets, Tally, Teller, make_room, take};
use crate::faces::{Shared, Status};

/// Who may write to a socket's file: its owner and group, since those who count are other users mostly.
const SOCKET_MODE: u32 = 0o770;

/// Sockets that no runtime holds yet.
pub(super) struct Bound {
    udp: Option<std::net::UdpSocket>,
    tcp: Option<std::net::TcpListener>,
    unix: Option<(UnixDatagram, SocketFile)>,
}

/// The threads that run.
pub(super) struct Threads {
    running: Vec<Running>,
}

struct Running {
    name: &'static str,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// Listens for StatsD and Graphite wherever that is asked for, or says about each address why not.
pub(super) async fn bind(config: &Config) -> anyhow::Result<[Bound; 2]> {
    let mut problems = Vec::new();
    let statsd = Bound::at(&config.statsd, "StatsD", &mut problems).await;
    let graphite = Bound::at(&config.graphite, "Graphite", &mut problems).await;
    if problems.is_empty() {
        return Ok([statsd, graphite]);
    }
    bail!("cannot listen on {}", problems.join("; "))
}

/// Starts a thread for each protocol that listens.
pub(super) fn start(
    [statsd, graphite]: [Bound; 2],
    shared: &Shared,
    stop: &watch::Receiver<bool>,
) -> anyhow::Result<Threads> {
    let mut running = Vec::new();
    if !statsd.is_empty() {
        let mut seed = [0; 8];
        // A seed that others know makes a rounding foreseen, and nothing worse.
        let _ = rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty());
        let seed = u64::from_ne_bytes(seed);
        let make = move |shared| StatsD::new(shared, seed);
        running.push(statsd.start("statsd", make, |status| &status.statsd, shared, stop)?);
    }
    if !graphite.is_empty() {
        running.push(graphite.start(
            "graphite",
            Graphite::new,
            |status| &status.graphite,
            shared,
            stop,
        )?);
    }
    Ok(Threads { running })
}

impl Bound {
    async fn at(addresses: &Addresses, what: &str, problems: &mut Vec<String>) -> Self {
        let mut report = |place: String, error: io::Error| {
            problems.push(format!("{place} for {what}: {error}"));
        };
        let udp = addresses.udp.and_then(|address| {
            std::net::UdpSocket::bind(address).map_err(|e| report(format!("udp:{address}"), e)).ok()
        });
        let tcp = addresses.tcp.and_then(|address| {
            std::net::TcpListener::bind(address).map_err(|e| report(address.to_string(), e)).ok()
        });
        tcp.iter().for_each(keep_alive);
        let unix = match addresses.unix.as_deref() {
            None => None,
            Some(path) => unix_datagrams(path, SOCKET_MODE)
                .await
                .map_err(|error| report(format!("unix:{}", path.display()), error))
                .ok(),
        };
        Self { udp, tcp, unix }
    }

    const fn is_empty(&self) -> bool {
        self.udp.is_none() && self.tcp.is_none() && self.unix.is_none()
    }

    fn start<T: Teller + 'static>(
        self,
        name: &'static str,
        make: impl FnOnce(Shared) -> T + Send + 'static,
        tally: fn(&Status) -> &Tally,
        shared: &Shared,
        stop: &watch::Receiver<bool>,
    ) -> anyhow::Result<Running> {
        self.say(name);
        tally(&shared.status).is_on.store(true, Relaxed);
        let (finish, done) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .thread_name(format!("tallyd-{name}-disk"))
            .build()
            .context("cannot start a runtime")?;
        let (shared, stop) = (shared.clone(), stop.clone());
        let thread = std::thread::Builder::new()
            .name(format!("tallyd-{name}"))
            .spawn(move || {
                let Self { udp, tcp, unix } = self;
                let (unix, _file) = unix.unzip();
                let taking = async move {
                    let inlets = inlets(udp, tcp, unix).expect("sockets that were just bound");
                    take(inlets, make(shared.clone()), shared, tally, stop).await;
                };
                LocalSet::new().block_on(&runtime, taking);
                let _ = finish.send(());
            })
            .context("cannot start a thread")?;
        Ok(Running { name, done, thread })
    }

    /// Says where it listens, also where port 0 was asked for, and how much may wait there.
    fn say(&self, name: &str) {
        let room = self.udp.as_ref().map_or(0, make_room);
        let mut places = Vec::new();
        places.extend(
            self.udp.iter().filter_map(|s| s.local_addr().ok()).map(|at| format!("udp:{at}")),
        );
        places.extend(
            self.tcp.iter().filter_map(|s| s.local_addr().ok()).map(|at| format!("tcp:{at}")),
        );
        places.extend(self.unix.iter().map(|(_, file)| format!("unix:{}", file.path().display())));
        tracing::info!(listens = places.join(","), udp_room_bytes = room, "{name} is on");
    }
}

/// Gives sockets to the runtime of the thread that this is called on.
fn inlets(
    udp: Option<std::net::UdpSocket>,
    tcp: Option<std::net::TcpListener>,
    unix: Option<UnixDatagram>,
) -> io::Result<Inlets> {
    let mut inlets = Inlets::default();
    if let Some(socket) = udp {
        socket.set_nonblocking(true)?;
        inlets.datagrams.push(Datagrams::Udp(tokio::net::UdpSocket::from_std(socket)?));
    }
    if let Some(socket) = unix {
        socket.set_nonblocking(true)?;
        inlets.datagrams.push(Datagrams::Unix(tokio::net::UnixDatagram::from_std(socket)?));
    }
    if let Some(listener) = tcp {
        listener.set_nonblocking(true)?;
        inlets.streams.push(tokio::net::TcpListener::from_std(listener)?);
    }
    Ok(inlets)
}

impl Threads {
    /// Waits until one of them has ended, which none does by itself; which one.
    pub(super) async fn ended(&mut self) -> &'static str {
        match self.running.as_mut_slice() {
            [] => std::future::pending().await,
            [one] => {
                let _ = (&mut one.done).await;
                one.name
            }
            [one, other, ..] => tokio::select! {
                _ = &mut one.done => one.name,
                _ = &mut other.done => other.name,
            },
        }
    }

    /// Waits until they have taken what came in before.
    pub(super) async fn finished(self) {
        for Running { name, done, thread } in self.running {
            let _ = done.await;
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("the thread {name} ended with a panic");
            }
        }
    }
}
