//! The only place that reads the operating system's clock.
//!
//! Whoever needs the time is given a [`Clock`], so that a test can play a week in a second. The
//! wall clock says which window an increment belongs to; the monotonic clock says when to wake up.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock. It may step, in either direction.
    fn now(&self) -> Timestamp;

    /// Time since some fixed moment of this process. It never goes back.
    fn monotonic(&self) -> Duration;

    /// The same, but it goes on while the machine sleeps.
    fn steady(&self) -> Duration {
        self.monotonic()
    }
}

/// The operating system's clocks.
#[derive(Debug)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// A clock whose monotonic time begins now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the module that may")]
    pub fn new() -> Self {
        Self { origin: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the module that may")]
    fn now(&self) -> Timestamp {
        let millis = |d: Duration| i64::try_from(d.as_millis()).unwrap_or(i64::MAX);
        Timestamp::from_millis(match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(after) => millis(after),
            Err(before) => -millis(before.duration()),
        })
    }

    fn monotonic(&self) -> Duration {
        self.origin.elapsed()
    }

    fn steady(&self) -> Duration {
        let since_boot = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Duration::try_from(since_boot).unwrap_or_default()
    }
}

/// A clock that stands still until it is moved.
#[derive(Debug, Default)]
pub struct ManualClock {
    millis: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millis()) }
    }

    /// Shows `now` from here on; also an earlier time, as a wall clock that is set back would.
    pub fn set(&self, now: Timestamp) {
        self.millis.store(now.as_millis(), Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.millis.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis.load(Ordering::Relaxed)).unwrap_or(0))
    }
}
