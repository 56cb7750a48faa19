//! All layers joined, synchronous, under a clock that is handed in.
//!
//! Requests go straight to the live table and take no lock of the engine. Once a second [`tick`]
//! closes the base window, steps the rules and queues messages; that and every view of the outcome
//! share one lock, which no request waits for. The engine knows no socket and no thread.
//!
//! [`tick`]: Engine::tick

mod acts;
mod apply;
mod backtest;
mod backup;
mod facts;
mod figures;
mod fill;
mod history;
mod import;
mod increments;
mod meta;
mod own;
mod pace;
mod past;
mod picture;
pub mod play;
mod retrieve;
mod sample;
mod sets;
mod state;
pub mod tally;
mod unmatched;

use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Config, Metric};
use crate::counters::{Counters, Options};
use crate::notify::message::title;
use crate::notify::{
    Audit, Delivery, DeliveryId, Deploys, Incidents, Message, Outbox, Outcome, Verdict,
};
use crate::rollup::SeriesId;
use crate::rules::{Event, Level, Rules, Transition};
use crate::series::Series;
use crate::store::{Catalogue, Keeper, MemoryStore, TickLog, Windows};
use crate::time::clock::Reading;
use crate::time::{Span, Timestamp, Window};

use state::State;

pub use apply::apply;
pub use backtest::{DEFAULT_CONTACT, Firing, Part, Stopped, Tested};
pub use backup::{BackupError, Contents, Frozen, Restore, RestoreError};
pub use history::{Found, OpenError};
pub use import::{Batch, ImportError, Importable, Outcome as ImportOutcome, Point};
pub use increments::{Increments, incr};
pub use own::Beside;
pub use past::{Past, TooMuch};
pub use picture::{Drawing, NoPicture};
pub use retrieve::{retrieve, retrieve_and_touch, retrieve_row};
pub use sample::{Dice, Untaken, sample};
pub use sets::Sets;
pub use unmatched::Look;

/// Everything between the socket and the courier.
#[derive(Debug)]
pub struct Engine {
    counters: Counters,
    state: Mutex<State>,
    /// Locked before the state where both are.
    keeper: Mutex<Keeper>,
    /// `None`: what is counted ends with the process. Locked after the keeper and before the state.
    log: Mutex<Option<TickLog>>,
    store_bytes: AtomicU64,
    /// When the store last took what it was given.
    kept: Mutex<Option<Reading>>,
    /// Series of tallyd's own that could not be made yet.
    unmade: AtomicUsize,
    /// What was noted last of tallyd's own figures.
    noted: Mutex<own::Noted>,
}

/// What a tick did.
#[derive(Debug, Default)]
pub struct Ticked {
    /// The base window that was closed; `None` when none was due.
    pub closed: Option<Window>,
    /// How much time before it was not covered: the clock stepped forward, or the tick came late.
    pub gap: Span,
    /// How far the wall clock stands before the last closed window, having been set back.
    pub behind: Span,
    /// Changes of state, told or not.
    pub changes: Vec<StateChange>,
    /// Messages that were queued.
    pub messages: Vec<Arc<Message>>,
}

/// A change of state of one instance of a rule, for the log.
#[derive(Clone, Debug, PartialEq)]
pub struct StateChange {
    /// The rule, with its instance behind it.
    pub title: String,
    /// The state before.
    pub from: Level,
    /// The state from now on.
    pub to: Level,
    /// The value at that time, where there was one.
    pub value: Option<f64>,
}

/// The outcome of the last tick, under the lock.
#[derive(Debug)]
pub struct View<'a> {
    /// All rules with their states.
    pub rules: &'a Rules,
    /// All series.
    pub catalogue: &'a Catalogue,
    /// Closed windows.
    pub store: &'a Windows,
    /// What waits to be delivered.
    pub outbox: &'a Outbox,
    /// What is open, and what was.
    pub incidents: &'a Incidents,
    /// What happened.
    pub audit: &'a Audit,
    /// What was put into use when.
    pub deploys: &'a Deploys,
    /// The end of the last closed base window.
    pub closed: Timestamp,
    /// When the engine was made.
    pub started: Timestamp,
    /// Base windows that passed without being closed in time.
    pub gaps: u64,
    /// Base windows that the tick log never got, since the disk was too slow or full.
    pub unlogged: u64,
    /// Base windows that wait for the tick log.
    pub log_waiting: usize,
}

/// One series with its figures of this moment.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
    /// Which series.
    pub id: SeriesId,
    /// Name and tags.
    pub series: Series,
    /// The figures.
    pub value: FigureValue,
    /// What the configuration says of it.
    pub metric: Option<&'a Metric>,
}

/// The figures of one series.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum FigureValue {
    /// Sum of all increments.
    Total(u64),
    /// The value last set.
    Gauge(f64),
    /// The observations of a distribution.
    Observed {
        /// How many there were.
        count: u64,
        /// Their sum.
        sum: f64,
    },
}

impl Engine {
    /// An engine that has seen nothing, and ends with the process. The base window that holds `now`
    /// is open.
    #[must_use]
    pub fn new(config: &Config, now: Timestamp) -> Self {
        let counters = Counters::new(options(config));
        let opened = Keeper::open(Arc::new(MemoryStore::default()), &config.tiers);
        let (keeper, _) = opened.expect("memory that is empty can be read");
        let windows = keeper.windows().expect("memory that is empty can be read");
        let mut state = State::new(config, windows, now);
        state.take_over(&counters, None, now);
        state.prepare_rules();
        Self::of(counters, state, keeper, None)
    }

    fn of(counters: Counters, state: State, keeper: Keeper, log: Option<TickLog>) -> Self {
        Self {
            counters,
            state: Mutex::new(state),
            keeper: Mutex::new(keeper),
            log: Mutex::new(log),
            store_bytes: AtomicU64::new(0),
            unmade: AtomicUsize::new(0),
            kept: Mutex::default(),
            noted: Mutex::default(),
        }
    }

    /// The live table.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Closes the base window that ended at or before `now`, unless it is closed already, and does
    /// all that follows from it.
    ///
    /// Windows that passed in between are left out as a gap: what was counted in them cannot be told
    /// apart, so it belongs to the one that is closed now, and nobody takes them for idle.
    ///
    /// Where the clock was set back nothing is closed before it has caught up; what waits for no window goes on.
    pub fn tick(&self, now: impl Into<Reading>) -> Ticked {
        let reading = now.into();
        let base = Window::ending(reading.now.align_down(Span::SECOND), Span::SECOND);
        self.tick_at(base, reading, true)
    }

    fn tick_at(&self, base: Window, reading: Reading, is_over: bool) -> Ticked {
        let mut state = self.state();
        let (now, end) = (state.keep_time(reading), base.end);
        if end <= state.closed {
            let behind = state.closed.since(now);
            let messages = if behind > Span::SECOND { state.remind(now) } else { Vec::new() };
            return Ticked { behind, messages, ..Ticked::default() };
        }
        let gap = base.start.since(state.closed);
        let settled = state.windows.settled(now);
        for cell in self.counters.sweep(now, settled) {
            state.forget(cell);
        }
        state.checkpoint_at(base.start, &self.counters);
        state.close(&self.counters, base, now, is_over);
        let (changes, messages) = state.judge(end, now);
        if let Some(settled) = state.windows.settled(now) {
            state.windows.expire(settled);
            state.forget_past(settled);
        }
        Ticked { closed: Some(base), gap, behind: Span::ZERO, changes, messages }
    }

    /// Closes the base window that holds `now` before its end, because there will be no other: what
    /// the last requests counted is judged as well. It is not covered, so it can fire `above`, and
    /// nothing else follows from it.
    pub fn finish(&self, now: Timestamp) -> Ticked {
        let mut ticked = self.tick_at(Window::holding(now, Span::SECOND), now.into(), false);
        ticked.messages.extend(self.state().release(now));
        ticked
    }

    /// Takes over rules, contacts and `[notify]` of another configuration, between two ticks. Rules that mean
    /// the same keep their states; the others begin anew. What the next tick would not tell is queued.
    pub fn reload(&self, config: &Config, now: Timestamp) -> Vec<Arc<Message>> {
        self.state().reload(config, now)
    }

    /// Notes for the audit that a configuration was not taken over, and why.
    pub fn refuse(&self, problem: String, now: Timestamp) {
        self.state().refuse(problem, now);
    }

    /// Deliveries that are due, at most `room`; each is to be settled. What is not on the disk yet is not
    /// due before it has waited for that.
    pub fn due(&self, now: impl Into<Reading>, room: usize) -> Vec<Delivery> {
        let mut state = self.state();
        let now = state.keep_time(now.into());
        state.outbox.due(now, room)
    }

    /// Notes how an attempt to deliver ended.
    pub fn settle(&self, id: DeliveryId, outcome: &Outcome, now: impl Into<Reading>) -> Verdict {
        let mut state = self.state();
        let now = state.keep_time(now.into());
        state.settle(id, outcome, now)
    }

    /// Shows the outcome of the last tick. The next tick waits until `see` is done, so it is to be
    /// short.
    pub fn view<T>(&self, see: impl FnOnce(&View<'_>) -> T) -> T {
        let state = self.state();
        see(&View {
            rules: &state.rules,
            catalogue: &state.catalogue,
            store: &state.windows,
            outbox: &state.outbox,
            incidents: &state.incidents,
            audit: &state.audit,
            deploys: &state.deploys,
            closed: state.closed,
            started: state.started,
            gaps: state.gaps,
            unlogged: state.unlogged,
            log_waiting: state.rows_waiting(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug that the log shows; the state stays usable, and paging
        // goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateChange {
    /// `None` where the state did not change, and there is something else to tell of it.
    fn of(event: &Event) -> Option<Self> {
        let Transition { from, to, value, .. } = event.transition;
        let title = title(&event.rule.name, &event.labels());
        (from != to).then_some(Self { title, from, to, value })
    }
}

fn options(config: &Config) -> Options {
    Options {
        missing_incr: config.memcached.missing_incr,
        max_series: config.counters.max_series,
        items_bytes: config.memcached.items_bytes,
        value_bytes: config.memcached.max_item_bytes,
        idle_expiry: Some(config.counters.idle_expiry).filter(|expiry| !expiry.is_zero()),
        metrics: config.metrics.clone().into(),
    }
}

#[cfg(test)]
mod standing_tests;
#[cfg(test)]
mod tests;
