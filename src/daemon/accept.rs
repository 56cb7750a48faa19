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
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet};

use crate::faces::memcache::{Worker, refuse};
use crate::faces::{Shared, stopped};

/// A connection on its way to a worker, counted for as long as it lives.
struct Handed {
    stream: std::net::TcpStream,
    counted: Counted,
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
        let Some(Handed { stream, counted }) = handed else { break };
        let stream = match TcpStream::from_std(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot take over a connection");
                continue;
            }
        };
        let (worker, stop) = (std::rc::Rc::clone(&worker), stop.clone());
        connections.spawn_local(async move {
            let _counted = counted;
            if let Err(error) = worker.serve(stream, stop).await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    while let Some(ended) = connections.join_next().await {
        report(ended);
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a connection ended with a panic");
    }
}

/// Accepts connections until the process stops.
pub(super) async fn accept(
    listener: TcpListener,
    hands: Hands,
    shared: Shared,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stopped(&mut stop) => return,
            accepted = listener.accept() => accepted,
        };
        if let Err(error) = accepted.and_then(|(stream, _)| hand_over(stream, &hands, &shared)) {
            // Out of descriptors, most likely: a moment later there may be one.
            tracing::warn!(%error, "cannot accept a connection");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn hand_over(stream: TcpStream, hands: &Hands, shared: &Shared) -> io::Result<()> {
    let status = &shared.status;
    status.accepted.fetch_add(1, Relaxed);
    let open = status.connections.fetch_add(1, Relaxed);
    let counted = Counted(shared.clone());
    if open >= status.max_connections.load(Relaxed) {
        status.refused.fetch_add(1, Relaxed);
        refuse(&stream);
        return Ok(());
    }
    stream.set_nodelay(true)?;
    hands.give(Handed { stream: stream.into_std()?, counted });
    Ok(())
}
