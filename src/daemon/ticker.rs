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
use crate::time::{Belief, Span, Timestamp};

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
            let (mut notes, mut belief) = (Vec::new(), Belief::default());
            shared.note_tick();
            let mut now = || believed(&mut belief, shared.now(), shared.clock.steady());
            while let Err(RecvTimeoutError::Timeout) = life.recv_timeout(until_next(now())) {
                let now = now();
                shared.status.rounds.fetch_add(1, Relaxed);
                let is_told = shared.engine.note_itself(&shared.beside(), now);
                let ticked = shared.engine.tick(now);
                if is_told {
                    mail.notify_one();
                }
                if ticked.closed.is_some() {
                    shared.note_tick();
                    log.wake();
                }
                tell(&ticked, &mail, &mut notes);
            }
            let now = now();
            for last in [shared.engine.tick(now), shared.engine.finish(now)] {
                tell(&last, &mail, &mut notes);
            }
            let _ = finish.send(());
        })
        .context("cannot start the ticker")?;
    Ok(Ticker { alive, done, thread })
}

/// The time to tick by. It says once when the wall clock is not believed, and once when it is again.
fn believed(belief: &mut Belief, wall: Timestamp, steady: Duration) -> Timestamp {
    let was_in_doubt = belief.is_in_doubt();
    let now = belief.tell(wall, steady);
    match (was_in_doubt, belief.is_in_doubt()) {
        (false, true) => {
            let leap = wall.since(now);
            tracing::warn!(%leap, "the clock leapt forward; windows go on by the time before until it has kept to this for a quarter of an hour");
        }
        (true, false) => tracing::warn!("windows go by the clock again"),
        _ => {}
    }
    now
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
