//! Signs of life for systemd, where the unit has `WatchdogSec`.
//!
//! One is given as long as the ticker goes round, since a process whose windows stand still counts, and judges
//! nothing. systemd ends a process that gives none and starts it anew, by which nothing is lost.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use sd_notify::NotifyState;

use super::tell_systemd;
use crate::faces::Status;

/// Gives signs of life until it is dropped; comes back at once where nobody waits for them.
pub(super) async fn watch(status: Arc<Status>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    tracing::debug!(patience = ?patience, "systemd waits for signs of life");
    let mut rounds = Rounds::default();
    loop {
        if rounds.go_on(status.rounds.load(Relaxed)) {
            tell_systemd(&[NotifyState::Watchdog]);
        } else {
            tracing::error!("the ticker stands still: no sign of life is given to systemd");
        }
        tokio::time::sleep(between(patience)).await;
    }
}

/// Three signs in the time that systemd waits, so that one may come late.
fn between(patience: Duration) -> Duration {
    patience / 3
}

/// What was seen of the ticker last.
#[derive(Debug, Default)]
struct Rounds {
    last: Option<u64>,
}

impl Rounds {
    /// Whether it has gone round since it was looked at last.
    fn go_on(&mut self, rounds: u64) -> bool {
        self.last.replace(rounds) != Some(rounds)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticker_that_stands_still_gives_no_sign() {
        let mut rounds = Rounds::default();
        assert!(rounds.go_on(0), "nothing was seen before");
        assert!(!rounds.go_on(0));
        assert!(rounds.go_on(1));
        assert!(!rounds.go_on(1));
        assert!(rounds.go_on(9));
    }
}
