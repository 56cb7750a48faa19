//! The thread that ticks: it sleeps until a second of the wall clock is over, closes the window, and
//! wakes the couriers when there is something to tell.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use tokio::sync::{Notify, oneshot};

use super::keeper::Waker;
use crate::engine::Ticked;
use crate::faces::Shared;
use crate::time::{Span, Timestamp};

/// The running ticker.
pub(super) struct Ticker {
    /// Dropped to end it.
    alive: mpsc::Sender<()>,
    /// Answers, or is closed, when the thread is at its end.
    done: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Ticker {
    /// Comes back when the ticker has ended by itself, which it does only by a panic.
    pub(super) async fn ended(&mut self) {
        let _ = (&mut self.done).await;
    }

    /// Lets it tick one last time and waits for the end.
    pub(super) async fn finish(self) {
        drop(self.alive);
        let _ = self.done.await;
        if self.thread.join().is_err() {
            tracing::error!("the ticker ended with a panic");
        }
    }
}

/// Starts the ticker.
pub(super) fn start(shared: Shared, mail: Arc<Notify>, log: Waker) -> anyhow::Result<Ticker> {
    let (alive, life) = mpsc::channel::<()>();
    let (finish, done) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("tallyd-tick".to_owned())
        .spawn(move || {
            let (mut notes, mut was_in_doubt) = (Vec::new(), false);
            shared.note_tick();
            while let Err(RecvTimeoutError::Timeout) = life.recv_timeout(until_next(shared.now())) {
                let reading = shared.reading();
                shared.status.rounds.fetch_add(1, Relaxed);
                tell_doubt(&shared, &mut was_in_doubt);
                let unmade = shared.engine.unmade();
                let is_told = shared.engine.note_itself(&shared.beside(), reading);
                if unmade > 0 && shared.engine.unmade() == 0 {
                    tracing::info!("all series of what tallyd knows of itself are there now");
                }
                let ticked = shared.engine.tick(reading);
                if is_told {
                    mail.notify_one();
                }
                if ticked.closed.is_some() {
                    shared.note_tick();
                }
                if ticked.closed.is_some() || !ticked.messages.is_empty() {
                    log.wake();
                }
                tell(&ticked, &mail, &mut notes);
            }
            let reading = shared.reading();
            for last in [shared.engine.tick(reading), shared.engine.finish(reading.now)] {
                tell(&last, &mail, &mut notes);
            }
            let _ = finish.send(());
        })
        .context("cannot start the ticker")?;
    Ok(Ticker { alive, done, thread })
}

/// Says once when the wall clock is not believed, and once when it is again.
fn tell_doubt(shared: &Shared, was_in_doubt: &mut bool) {
    let doubt = shared.clock.doubt();
    match (*was_in_doubt, doubt) {
        (false, Some(leap)) => {
            tracing::warn!(%leap, "the clock leapt forward; all goes on by the time before until it has kept to this for a quarter of an hour");
        }
        (true, None) => tracing::warn!("time goes by the clock again"),
        _ => {}
    }
    *was_in_doubt = doubt.is_some();
}

/// Time to the end of the second that holds `now`, and one millisecond so as not to be early.
fn until_next(now: Timestamp) -> Duration {
    let next = now.align_down(Span::SECOND) + Span::SECOND;
    next.since(now).to_std() + Duration::from_millis(1)
}

/// Logs what a tick did, and wakes the couriers where it brought them something.
fn tell(ticked: &Ticked, mail: &Notify, notes: &mut Vec<&'static str>) {
    report(ticked, notes);
    for change in &ticked.changes {
        let (from, to) = (change.from.word(), change.to.word());
        tracing::info!(rule = change.title, from, to, value = change.value, "change of state");
    }
    if !ticked.messages.is_empty() {
        mail.notify_one();
    }
}

/// Says once when the clock misbehaves, and once when it is well again.
fn report(ticked: &Ticked, notes: &mut Vec<&'static str>) {
    if !ticked.gap.is_zero() && ticked.closed.is_some() {
        tracing::warn!(gap = %ticked.gap, "windows passed without being closed in time: the clock stepped forward, or the machine or a long reading held the ticker up; that time counts as not covered");
    }
    let is_behind = ticked.behind > Span::SECOND;
    if is_behind && notes.is_empty() {
        notes.push("behind");
        tracing::warn!(behind = %ticked.behind, "the clock was set back; windows go on when it has caught up. Where that is too long to wait for, restore a backup of before it was wrong");
    } else if !is_behind && ticked.closed.is_some() {
        notes.clear();
    }
}
