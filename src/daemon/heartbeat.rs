//! Calls contacts every minute while all is well, so that their silence is an alarm.
//!
//! Well is: windows are closed in time, and what they hold is brought to the disk. While it is not, nobody
//! is called, and whoever waits for the call says so. A call that fails is not tried again: the next one
//! is a minute away. The first comes a minute after the start, so a process that is started again and
//! again gives none.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};

use crate::faces::{Shared, stopped};
use crate::limits;
use crate::notify::{Couriers, Outcome};

/// Beats until `stop`.
pub(super) async fn beat(
    shared: Shared,
    couriers: watch::Receiver<Arc<Couriers>>,
    mut stop: watch::Receiver<bool>,
) {
    let minute = Duration::from_secs(limits::HEARTBEAT_SECS);
    let mut minutes = tokio::time::interval_at(Instant::now() + minute, minute);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_well = true;
    loop {
        tokio::select! {
            () = stopped(&mut stop) => return,
            _ = minutes.tick() => {}
        }
        let couriers = Arc::clone(&couriers.borrow());
        if couriers.heartbeats().next().is_none() {
            continue;
        }
        let was_well = std::mem::replace(&mut is_well, shared.is_well());
        if !is_well && was_well {
            tracing::error!("all is not well: contacts get no sign of life until it is");
        }
        if is_well {
            call_all(&shared, &couriers).await;
        }
    }
}

/// Beside each other; each ends by itself before the next minute.
async fn call_all(shared: &Shared, couriers: &Arc<Couriers>) {
    let mut calls = JoinSet::new();
    for contact in couriers.heartbeats().map(str::to_owned) {
        let (couriers, now) = (Arc::clone(couriers), shared.now());
        calls.spawn(async move {
            let outcome = couriers.beat(&contact, now).await;
            (contact, outcome)
        });
    }
    while let Some(called) = calls.join_next().await {
        let Ok((contact, outcome)) = called else { continue };
        match outcome {
            Outcome::Delivered => {
                shared.status.heartbeats.fetch_add(1, Relaxed);
                tracing::debug!(contact, "gave a sign of life");
            }
            Outcome::Later { reason, .. } | Outcome::Refused { reason } => {
                shared.status.failed_heartbeats.fetch_add(1, Relaxed);
                tracing::warn!(contact, reason, "a sign of life did not arrive");
            }
        }
    }
}
