//! One acceptor per address, which hands connections round to the workers.
//!
//! The kernel's own spreading (`SO_REUSEPORT`) goes by a hash of the addresses, and puts a few busy
//! clients on one core as often as not; taking turns does not.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio_rustls::TlsAcceptor;

use super::listen::{Listener, Place};
use crate::faces::memcache::stream::Stream;
use crate::faces::memcache::{Entered, Worker, refuse};
use crate::faces::{Shared, connections, stopped};
use crate::limits;

/// A connection on its way to a worker, counted and listed for as long as it lives.
struct Handed {
    socket: Socket,
    counted: Counted,
    listed: Entered,
}

/// A socket that no runtime holds.
enum Socket {
    Tcp(std::net::TcpStream, Option<TlsAcceptor>),
    Unix(std::os::unix::net::UnixStream),
}

/// One of the connections that are open.
struct Counted(Shared);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.status.connections.fetch_sub(1, Relaxed);
    }
}

/// A worker thread.
pub(super) struct WorkerThread {
    hand: mpsc::UnboundedSender<Handed>,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

/// The ways to all workers, and whose turn it is.
#[derive(Clone)]
pub(super) struct Hands {
    // Unbounded, because the number of connections is bounded already.
    workers: Arc<[mpsc::UnboundedSender<Handed>]>,
    turn: Arc<AtomicUsize>,
}

impl Hands {
    pub(super) fn new(workers: &[WorkerThread]) -> Self {
        let workers = workers.iter().map(|worker| worker.hand.clone()).collect();
        Self { workers, turn: Arc::default() }
    }

    fn give(&self, handed: Handed) {
        let turn = self.turn.fetch_add(1, Relaxed) % self.workers.len().max(1);
        if let Some(worker) = self.workers.get(turn) {
            // A worker that is gone is on its way out with the whole process.
            let _ = worker.send(handed);
        }
    }
}

impl WorkerThread {
    /// Waits until it has answered what it read.
    pub(super) async fn finished(self) {
        drop(self.hand);
        let _ = self.done.await;
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("a worker ended with a panic");
        }
    }
}

/// Starts a worker on a thread and a runtime of its own.
pub(super) fn start_worker(
    at: usize,
    make: impl FnOnce() -> Worker + Send + 'static,
    stop: watch::Receiver<bool>,
) -> anyhow::Result<WorkerThread> {
    let (hand, hands) = mpsc::unbounded_channel();
    let (finish, done) = oneshot::channel();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start a worker's runtime")?;
    let thread = std::thread::Builder::new()
        .name(format!("tallyd-worker-{at}"))
        .spawn(move || {
            LocalSet::new().block_on(&runtime, work(make(), hands, stop));
            let _ = finish.send(());
        })
        .context("cannot start a worker thread")?;
    Ok(WorkerThread { hand, done, thread })
}

/// Serves the connections that are handed over, until there will be no more.
async fn work(
    worker: Worker,
    mut hands: mpsc::UnboundedReceiver<Handed>,
    mut stop: watch::Receiver<bool>,
) {
    let worker = std::rc::Rc::new(worker);
    let mut connections: JoinSet<()> = JoinSet::new();
    loop {
        let handed = tokio::select! {
            biased;
            () = stopped(&mut stop) => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
            handed = hands.recv() => handed,
        };
        let Some(Handed { socket, counted, listed }) = handed else { break };
        let (worker, stop) = (std::rc::Rc::clone(&worker), stop.clone());
        connections.spawn_local(async move {
            let _counted = counted;
            if let Err(error) = serve(&worker, socket, &listed, stop).await {
                tracing::debug!(%error, from = listed.address(), "a connection ended early");
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

/// Serves one connection, from its handshake on where there is one.
async fn serve(
    worker: &Worker,
    socket: Socket,
    listed: &Entered,
    mut stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let mut stream = match socket {
        Socket::Tcp(stream, None) => Stream::Tcp(TcpStream::from_std(stream)?),
        Socket::Unix(stream) => Stream::Unix(UnixStream::from_std(stream)?),
        Socket::Tcp(stream, Some(tls)) => {
            let limit = Duration::from_secs(limits::TLS_HANDSHAKE_SECS);
            let shaking = tls.accept(TcpStream::from_std(stream)?);
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return Ok(()),
                shaken = tokio::time::timeout(limit, shaking) => Stream::from(shaken??),
            }
        }
    };
    let served = worker.serve(&mut stream, listed, stop).await;
    // Nobody waits for a peer that does not even take its goodbye.
    let _ = tokio::time::timeout(Duration::from_secs(1), stream.finish()).await;
    served
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended with a panic");
    }
}

/// Accepts connections until the process stops.
pub(super) async fn accept(
    listener: Listener,
    hands: Hands,
    shared: Shared,
    mut stop: watch::Receiver<bool>,
) {
    let to = listener.place().to_string();
    let _listed = shared.status.clients.enter(to.clone(), None, shared.now());
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        let handed =
            accepted.and_then(|(stream, from)| hand_over(stream, &from, &to, &hands, &shared));
        if let Err(error) = handed {
            connections::pause(&error, "the memcached port").await;
        }
    }
}

fn hand_over(
    stream: Stream,
    from: &Place,
    to: &str,
    hands: &Hands,
    shared: &Shared,
) -> io::Result<()> {
    let status = &shared.status;
    status.accepted.fetch_add(1, Relaxed);
    let open = status.connections.fetch_add(1, Relaxed);
    let counted = Counted(shared.clone());
    // TLS is spoken on TCP only: a unix socket does not leave the machine.
    let tls = if matches!(stream, Stream::Tcp(_)) { shared.access.tls() } else { None };
    if open >= status.max_connections.load(Relaxed) {
        status.refused.fetch_add(1, Relaxed);
        if tls.is_none() {
            refuse(&stream);
        }
        return Ok(());
    }
    let socket = match stream {
        Stream::Tcp(stream) => {
            stream.set_nodelay(true)?;
            Socket::Tcp(stream.into_std()?, tls)
        }
        Stream::Unix(stream) => Socket::Unix(stream.into_std()?),
        Stream::Tls(_) => unreachable!("the handshake is the worker's"),
    };
    let listed = status.clients.enter(from.to_string(), Some(to.to_owned()), shared.now());
    hands.give(Handed { socket, counted, listed });
    Ok(())
}
