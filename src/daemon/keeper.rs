//! The thread that brings what was counted to the medium every few seconds.
//!
//! It may take as long as the disk likes: nobody waits for it, and the end of the process loses
//! nothing that it has not done yet.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;

use anyhow::Context;
use tokio::sync::oneshot;

use crate::faces::Shared;
use crate::time::Span;

/// The running thread.
pub(super) struct Keeper {
    /// Dropped to end it.
    alive: mpsc::Sender<()>,
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    /// Lets it sync one last time and waits for the end.
    pub(super) async fn finish(self) {
        drop(self.alive);
        let _ = self.done.await;
        if self.thread.join().is_err() {
            tracing::error!("the thread that syncs ended with a panic");
        }
    }
}

/// Starts the thread.
pub(super) fn start(shared: Shared, every: Span) -> anyhow::Result<Keeper> {
    let (alive, life) = mpsc::channel::<()>();
    let (finish, done) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("tallyd-sync".to_owned())
        .spawn(move || {
            let mut is_failing = false;
            while let Err(RecvTimeoutError::Timeout) = life.recv_timeout(every.to_std()) {
                sync(&shared, &mut is_failing);
            }
            sync(&shared, &mut is_failing);
            let _ = finish.send(());
        })
        .context("cannot start the thread that syncs")?;
    Ok(Keeper { alive, done, thread })
}

/// Says once that it fails, and once that it works again.
fn sync(shared: &Shared, is_failing: &mut bool) {
    match shared.engine.counters().sync() {
        Err(error) if !*is_failing => {
            *is_failing = true;
            tracing::error!(%error, "cannot bring what was counted to the disk; counting goes on");
        }
        Ok(()) if *is_failing => {
            *is_failing = false;
            tracing::info!("what was counted is on the disk again");
        }
        Ok(()) | Err(_) => {}
    }
}
