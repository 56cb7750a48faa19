//! How long a connection has been silent, where that is bounded.
//!
//! A timer that was set anew at every request would cost each of them its place in the runtime's
//! queue. So only the moment is noted, and the timer, when it comes, looks whether it is too early.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Sleep, sleep};

use crate::time::Span;
use crate::time::clock::Clock;

/// The silence of one connection.
pub(super) struct Idle {
    /// How long it may last; zero for ever.
    max: Duration,
    /// When it was last over, by the monotonic clock.
    since: Duration,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Idle {
    pub(super) fn new(max: Span, clock: &dyn Clock) -> Self {
        let mut idle = Self { max: max.to_std(), since: Duration::ZERO, timer: None };
        idle.is_over(clock);
        idle
    }

    /// Something was heard, and answered.
    pub(super) fn is_over(&mut self, clock: &dyn Clock) {
        if !self.max.is_zero() {
            self.since = clock.monotonic();
        }
    }

    /// Ready when it has lasted too long.
    pub(super) fn poll(&mut self, context: &mut Context<'_>, clock: &dyn Clock) -> Poll<()> {
        if self.max.is_zero() {
            return Poll::Pending;
        }
        loop {
            let max = self.max;
            let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(max)));
            ready!(timer.as_mut().poll(context));
            let left = max.saturating_sub(clock.monotonic().saturating_sub(self.since));
            if left.is_zero() {
                return Poll::Ready(());
            }
            self.timer = Some(Box::pin(sleep(left)));
        }
    }
}
