//! Takes what is due out of the outbox, lets couriers deliver it, and reports how that ended.
//!
//! Deliveries run beside each other, up to a bound; one that hangs delays no other.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use super::illustrate::Easel;
use super::keeper::Waker;
use crate::faces::{Shared, stopped};
use crate::limits;
use crate::notify::{Couriers, Delivery, Outcome, Recipient, Verdict};
use crate::time::{Span, Timestamp};

/// Delivers until `stop` says that there will be no more messages; then once more what is due, and
/// waits for what is on its way.
pub(super) async fn drive(
    shared: Shared,
    couriers: watch::Receiver<Arc<Couriers>>,
    mail: Arc<Notify>,
    log: Waker,
    mut stop: watch::Receiver<bool>,
) {
    let mut under_way = JoinSet::new();
    let easel = Easel::new();
    let send_due = |under_way: &mut JoinSet<()>| {
        send_due(&shared, &couriers, &easel, &log, under_way);
    };
    loop {
        send_due(&mut under_way);
        let wait = until_due(&shared, under_way.len());
        tokio::select! {
            () = stopped(&mut stop) => break,
            () = mail.notified() => {}
            Some(_) = under_way.join_next(), if !under_way.is_empty() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
    // As long as the end of one makes room for another that is due; what is to be tried again later
    // is left.
    send_due(&mut under_way);
    while under_way.join_next().await.is_some() {
        send_due(&mut under_way);
    }
}

fn send_due(
    shared: &Shared,
    couriers: &watch::Receiver<Arc<Couriers>>,
    easel: &Easel,
    log: &Waker,
    under_way: &mut JoinSet<()>,
) {
    let room = limits::COURIERS.saturating_sub(under_way.len());
    for delivery in shared.engine.due(shared.reading(), room) {
        let (shared, couriers, log) = (shared.clone(), Arc::clone(&couriers.borrow()), log.clone());
        let easel = easel.clone();
        if delivery.message.is_unsaved {
            let message_id = &delivery.message.id;
            tracing::error!(message_id, "a message goes out that is not on the disk");
        }
        under_way.spawn(async move {
            let (sent, began) = (shared.now(), shared.clock.monotonic());
            let attempt = {
                let (shared, delivery) = (shared.clone(), delivery.clone());
                tokio::spawn(async move {
                    let beside = easel.illustrate(&shared, &delivery).await;
                    couriers.deliver(&delivery, &beside, sent).await
                })
            };
            // A courier that panics is a bug, and no reason to hold back what comes after.
            let outcome = attempt.await.unwrap_or_else(|_| Outcome::Later {
                reason: "the courier failed".to_owned(),
                after: None,
            });
            let reading = shared.reading();
            let verdict = shared.engine.settle(delivery.id, &outcome, reading);
            // Until it is in the log, a kill would have it delivered again.
            log.wake();
            let took = shared.clock.monotonic().saturating_sub(began);
            report(&delivery, &outcome, verdict, took, reading.now);
        });
    }
}

/// So long it waits at most: a clock that was set in the moment of a look delays nothing for longer.
const LONGEST: Duration = Duration::from_secs(60);

/// How long until something may be due. What is held back behind another delivery, or for want of a
/// courier, waits for the end of one, which wakes the driver by itself.
fn until_due(shared: &Shared, under_way: usize) -> Duration {
    let next = shared.engine.view(|view| view.outbox.next_due());
    match next {
        Some(due) if under_way < limits::COURIERS => {
            due.since(shared.now()).to_std().clamp(Duration::from_millis(10), LONGEST)
        }
        _ => LONGEST,
    }
}

fn report(
    delivery: &Delivery,
    outcome: &Outcome,
    verdict: Verdict,
    took: Duration,
    now: Timestamp,
) {
    let (contact, message_id) = (&delivery.message.contact, &delivery.message.id);
    let to = match &delivery.recipient {
        Recipient::Email(address) => address.as_str(),
        Recipient::Webhook(_) => "webhook",
    };
    let (attempt, took) = (delivery.attempt, rounded(took));
    match (outcome, verdict) {
        (Outcome::Delivered, _) => {
            tracing::info!(contact, to, message_id, attempt, %took, "delivered");
        }
        (Outcome::Later { reason, .. }, Verdict::Again(due)) => {
            let again = due.since(now);
            tracing::warn!(contact, to, message_id, attempt, %took, reason, %again, "not delivered yet");
        }
        (Outcome::Later { reason, .. } | Outcome::Refused { reason }, _) => {
            tracing::error!(contact, to, message_id, attempt, %took, reason, "not delivered, given up");
        }
    }
}

fn rounded(took: Duration) -> Span {
    Span::from_millis(u64::try_from(took.as_millis()).unwrap_or(u64::MAX))
}
