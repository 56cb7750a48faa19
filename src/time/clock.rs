//! The only place that reads the operating system's clock.
//!
//! Whoever needs the time is given a [`Clock`], so that a test can play a week in a second. The
//! wall clock says which window an increment belongs to; the monotonic clock says when to wake up.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Span, Timestamp};

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

    /// How far the wall clock has leapt beyond what [`now`](Self::now) says, where it is not believed.
    fn doubt(&self) -> Option<Span> {
        None
    }

    /// The wall clock, and beside it the one that tells whether somebody has set it.
    fn reading(&self) -> Reading {
        Reading { now: self.now(), steady: Some(self.steady()) }
    }
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn now(&self) -> Timestamp {
        (**self).now()
    }

    fn monotonic(&self) -> Duration {
        (**self).monotonic()
    }

    fn steady(&self) -> Duration {
        (**self).steady()
    }

    fn doubt(&self) -> Option<Span> {
        (**self).doubt()
    }
}

/// What clocks show at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The wall clock.
    pub now: Timestamp,
    /// See [`Clock::steady`]; `None` where there is the wall clock alone, and nobody sets it.
    pub steady: Option<Duration>,
}

impl Reading {
    /// How long ago the earlier one was, whoever has set the wall clock meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> Span {
        let steady = self.steady.zip(earlier.steady).map(|(now, then)| now.saturating_sub(then));
        let millis = steady.map(|passed| u64::try_from(passed.as_millis()).unwrap_or(u64::MAX));
        millis.map_or_else(|| self.now.since(earlier.now), Span::from_millis)
    }
}

impl From<Timestamp> for Reading {
    fn from(now: Timestamp) -> Self {
        Self { now, steady: None }
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
    /// How far the wall clock alone was set.
    beyond: AtomicI64,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> Self {
        Self { millis: AtomicI64::new(now.as_millis()), beyond: AtomicI64::new(0) }
    }

    /// Lets time pass.
    pub fn pass(&self, span: Span) {
        self.millis.fetch_add(span.as_millis_i64(), Ordering::Relaxed);
    }

    /// Has the wall clock show so many milliseconds more than it would had nobody set it, or less.
    pub fn set_beyond(&self, millis: i64) {
        self.beyond.store(millis, Ordering::Relaxed);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        let millis = self.millis.load(Ordering::Relaxed);
        Timestamp::from_millis(millis.saturating_add(self.beyond.load(Ordering::Relaxed)))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.millis.load(Ordering::Relaxed)).unwrap_or(0))
    }
}
