//! The threads that bring what was counted to the disk: the cells' and logs' sync, the tick log, and the
//! store.
//!
//! Each may take as long as the disk likes: no request and no tick waits for it, and what it has not done
//! when the process is killed is lost to nobody but where its own module says so.

use std::fmt::Display;
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, oneshot};

use crate::config::Config;
use crate::disk::room;
use crate::faces::Shared;
use crate::time::Span;

/// A running thread that does one thing again and again.
struct Keeper {
    /// Dropped to end it.
    alive: Arc<SyncSender<()>>,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
    name: &'static str,
}

/// All threads that have to do with the disk.
pub(super) struct Keepers {
    syncing: Keeper,
    /// `None` at the end.
    logging: Option<Keeper>,
    storing: Keeper,
}

impl Keepers {
    /// Starts them.
    pub(super) fn start(
        shared: &Shared,
        config: &Config,
        mail: &Arc<Notify>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            syncing: sync(shared.clone(), config.counters.sync)?,
            logging: Some(log(shared.clone(), Arc::clone(mail))?),
            storing: store(shared.clone(), config)?,
        })
    }

    /// Wakes the one that writes the tick log.
    pub(super) fn waker(&self) -> Waker {
        Waker(
            self.logging.as_ref().map(|logging| Arc::downgrade(&logging.alive)).unwrap_or_default(),
        )
    }

    /// Comes back when one of them has ended by itself, which it does only by a panic; its name.
    pub(super) async fn ended(&mut self) -> &'static str {
        let logging = async {
            match &mut self.logging {
                Some(logging) => logging.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            name = self.syncing.ended() => name,
            name = logging => name,
            name = self.storing.ended() => name,
        }
    }

    /// Lets the log be written one last time.
    pub(super) async fn finish_log(&mut self) {
        if let Some(logging) = self.logging.take() {
            logging.finish().await;
        }
    }

    /// Lets all do their work one last time.
    pub(super) async fn finish(mut self) {
        self.finish_log().await;
        self.storing.finish().await;
        self.syncing.finish().await;
    }
}

/// Has a thread do its work now rather than when it is time.
#[derive(Clone)]
pub(super) struct Waker(Weak<SyncSender<()>>);

impl Waker {
    pub(super) fn wake(&self) {
        // Where it is to wake already, once is enough; where it has ended, there is nobody to wake.
        if let Some(alive) = self.0.upgrade() {
            let _ = alive.try_send(());
        }
    }
}

impl Keeper {
    /// Comes back when the thread has ended by itself, which it does only by a panic; its name.
    async fn ended(&mut self) -> &'static str {
        let _ = (&mut self.done).await;
        self.name
    }

    async fn finish(self) {
        drop(self.alive);
        let _ = self.done.await;
        if self.thread.join().is_err() {
            tracing::error!("the thread {} ended with a panic", self.name);
        }
    }
}

/// Brings the cells and logs of the live table to the medium.
fn sync(shared: Shared, every: Span) -> anyhow::Result<Keeper> {
    let mut health = Health::new(
        &shared,
        0,
        "what was counted is not brought to the disk; counting goes on",
        "what was counted is on the disk again",
    );
    start("tallyd-sync", every.to_std(), move || {
        health.begin();
        health.note(shared.engine.counters().sync());
    })
}

/// Writes closed windows to the tick log, and what they led to; it is woken after each tick, and wakes
/// the couriers when what they wait for is safe.
fn log(shared: Shared, mail: Arc<Notify>) -> anyhow::Result<Keeper> {
    let mut health = Health::new(
        &shared,
        1,
        "windows wait for the tick log; counting and alerting go on",
        "windows are in the tick log again",
    );
    start("tallyd-log", Duration::from_secs(1), move || {
        health.begin();
        let written = shared.engine.write_log();
        if let Ok(true) = written {
            mail.notify_one();
        }
        health.note(written);
    })
}

/// Puts windows into the store, keeps house there, and looks how much room there is.
fn store(shared: Shared, config: &Config) -> anyhow::Result<Keeper> {
    let (every, dir) = (config.store.sync, config.server.data_dir.clone());
    look_for_room(&shared, &dir);
    let mut health = Health::new(
        &shared,
        2,
        "history is not kept; counting and alerting go on",
        "history is kept again",
    );
    start("tallyd-store", every.to_std(), move || {
        health.begin();
        let mut done = shared.engine.keep(shared.reading());
        // A bounded piece at a time, and not for so long that the next stretch waits.
        for _ in 0..64 {
            if !matches!(done, Ok(true)) {
                break;
            }
            health.begin();
            done = shared.engine.keep(shared.reading());
        }
        health.note(done);
        look_for_room(&shared, &dir);
    })
}

fn look_for_room(shared: &Shared, dir: &Path) {
    let (free, size) = room(dir).map_or((0, 0), |(free, size)| (free.saturating_add(1), size));
    shared.status.disk_size.store(size, Relaxed);
    shared.status.disk_free.store(free, Relaxed);
}

fn start(
    name: &'static str,
    every: Duration,
    mut work: impl FnMut() + Send + 'static,
) -> anyhow::Result<Keeper> {
    let (alive, life) = mpsc::sync_channel::<()>(1);
    let (finish, done) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            while !matches!(life.recv_timeout(every), Err(RecvTimeoutError::Disconnected)) {
                work();
            }
            work();
            let _ = finish.send(());
        })
        .with_context(|| format!("cannot start the thread {name}"))?;
    Ok(Keeper { alive: Arc::new(alive), done, thread, name })
}

/// Says once that something fails, and once that it works again; and to whoever asks how it goes.
struct Health {
    shared: Shared,
    /// Which of the threads it is.
    at: usize,
    failing: &'static str,
    again: &'static str,
    is_failing: bool,
}

impl Health {
    fn new(shared: &Shared, at: usize, failing: &'static str, again: &'static str) -> Self {
        Self { shared: shared.clone(), at, failing, again, is_failing: false }
    }

    /// Another round begins.
    fn begin(&self) {
        if let Some(pulse) = self.shared.status.disk.get(self.at) {
            pulse.begin(&*self.shared.clock);
        }
    }

    fn note<T, E: Display>(&mut self, done: Result<T, E>) {
        if let Some(pulse) = self.shared.status.disk.get(self.at) {
            pulse.end(done.is_ok());
        }
        match done {
            Err(error) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!(%error, "{}", self.failing);
            }
            Ok(_) if self.is_failing => {
                self.is_failing = false;
                tracing::info!("{}", self.again);
            }
            Ok(_) | Err(_) => {}
        }
    }
}
