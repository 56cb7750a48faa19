//! All layers joined, synchronous, under a clock that is handed in.
//!
//! Requests go straight to the live table and take no lock of the engine. Once a second [`tick`]
//! closes the base window, steps the rules and queues messages; that and every view of the outcome
//! share one lock, which no request waits for. The engine knows no socket and no thread.
//!
//! [`tick`]: Engine::tick

mod apply;
mod increments;
mod meta;
mod retrieve;
pub mod tally;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::config::{Config, Metric};
use crate::counters::cells::{CellId, Kind};
use crate::counters::{Births, Counters, Drained, Observations, Options, ShownNow};
pub use crate::counters::{OpenError, Recovered};
use crate::notify::message::title;
use crate::notify::{Delivery, DeliveryId, Incidents, Message, Outbox, Outcome, Verdict};
use crate::rollup::row::{latest_span, run_on};
use crate::rollup::{Entry, Rollup, RowBuilder, SeriesId};
use crate::rules::{Event, Level, Rules};
use crate::series::Series;
use crate::store::{Catalogue, Known, MemoryStore, Store};
use crate::time::{Span, Timestamp, Window};

pub use apply::apply;
pub use increments::{Increments, incr};
pub use retrieve::{retrieve, retrieve_and_touch, retrieve_row};

/// Everything between the socket and the courier.
#[derive(Debug)]
pub struct Engine {
    counters: Counters,
    state: Mutex<State>,
}

/// What a tick works on.
#[derive(Debug)]
struct State {
    rollup: Rollup,
    store: MemoryStore,
    catalogue: Catalogue,
    /// The series of each cell.
    series: Vec<SeriesId>,
    /// The row of the window that is being closed; between two ticks its memory only.
    row: RowBuilder,
    /// The same of what is drained.
    drained: Vec<Drained>,
    rules: Rules,
    incidents: Incidents,
    outbox: Outbox,
    /// The end of the last closed base window.
    closed: Timestamp,
    started: Timestamp,
    /// Base windows that passed without being closed in time.
    gaps: u64,
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
    pub store: &'a dyn Store,
    /// What waits to be delivered.
    pub outbox: &'a Outbox,
    /// Incidents that are open.
    pub incidents: usize,
    /// The end of the last closed base window.
    pub closed: Timestamp,
    /// When the engine was made.
    pub started: Timestamp,
    /// Base windows that passed without being closed in time.
    pub gaps: u64,
}

/// One series with its figures of this moment.
#[derive(Clone, Debug)]
pub struct Figure<'a> {
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
    /// An engine over the counters that `dir` holds. Their windows begin anew.
    ///
    /// # Errors
    /// [`OpenError`], where another process works on the directory, or a file in it cannot be used.
    pub fn open(
        config: &Config,
        dir: &Path,
        now: Timestamp,
    ) -> Result<(Self, Recovered), OpenError> {
        let (counters, recovered) = Counters::open(options(config), dir, now)?;
        let engine = Self::over(config, counters, now);
        Ok((engine, recovered))
    }

    /// An engine that has seen nothing, and ends with the process. The base window that holds `now`
    /// is open.
    #[must_use]
    pub fn new(config: &Config, now: Timestamp) -> Self {
        Self::over(config, Counters::new(options(config)), now)
    }

    fn over(config: &Config, counters: Counters, now: Timestamp) -> Self {
        let state = State {
            rollup: Rollup::new(&config.tiers),
            store: MemoryStore::new(&config.tiers),
            catalogue: Catalogue::default(),
            series: Vec::new(),
            row: RowBuilder::default(),
            drained: Vec::new(),
            rules: Rules::new(&config.rules, now),
            incidents: Incidents::new(config),
            outbox: Outbox::new(config.notify.give_up),
            closed: now.align_down(Span::SECOND),
            started: now,
            gaps: 0,
        };
        let engine = Self { counters, state: Mutex::new(state) };
        engine.state().take_over(&engine.counters, now);
        engine
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
    pub fn tick(&self, now: Timestamp) -> Ticked {
        let base = Window::ending(now.align_down(Span::SECOND), Span::SECOND);
        self.tick_at(base, now, true)
    }

    fn tick_at(&self, base: Window, now: Timestamp, is_over: bool) -> Ticked {
        let mut state = self.state();
        let end = base.end;
        if end <= state.closed {
            return Ticked { behind: state.closed.since(now), ..Ticked::default() };
        }
        let gap = base.start.since(state.closed);
        for cell in self.counters.sweep(now) {
            state.forget(cell);
        }
        state.close(&self.counters, base, now, is_over);
        let State { rules, store, catalogue, incidents, outbox, .. } = &mut *state;
        let events = rules.evaluate(store, catalogue, end);
        let changes = events.iter().map(StateChange::of).collect();
        let messages = incidents.take(events, outbox, now);
        store.expire(now);
        Ticked { closed: Some(base), gap, behind: Span::ZERO, changes, messages }
    }

    /// Closes the base window that holds `now` before its end, because there will be no other: what
    /// the last requests counted is judged as well. It is not covered, so it can fire `above`, and
    /// nothing else follows from it.
    pub fn finish(&self, now: Timestamp) -> Ticked {
        self.tick_at(Window::holding(now, Span::SECOND), now, false)
    }

    /// Deliveries that are due, at most `room`; each is to be settled.
    pub fn due(&self, now: Timestamp, room: usize) -> Vec<Delivery> {
        self.state().outbox.due(now, room)
    }

    /// Notes how an attempt to deliver ended.
    pub fn settle(&self, id: DeliveryId, outcome: &Outcome, now: Timestamp) -> Verdict {
        self.state().outbox.settle(id, outcome, now)
    }

    /// Shows the outcome of the last tick. The next tick waits until `see` is done, so it is to be
    /// short.
    pub fn view<T>(&self, see: impl FnOnce(&View<'_>) -> T) -> T {
        let state = self.state();
        see(&View {
            rules: &state.rules,
            catalogue: &state.catalogue,
            store: &state.store,
            outbox: &state.outbox,
            incidents: state.incidents.open(),
            closed: state.closed,
            started: state.started,
            gaps: state.gaps,
        })
    }

    /// Every series with its total or gauge of this moment. The lock is held for the list alone.
    #[must_use]
    pub fn figures(&self) -> Vec<Figure<'_>> {
        let state = self.state();
        let figure = |(id, known): (SeriesId, &Known)| {
            let value = match known.kind {
                Kind::Counter => FigureValue::Total(self.counters.totals(known.cell()?).0),
                Kind::Gauge => FigureValue::Gauge(known.last()?),
                Kind::Distribution => {
                    let (count, sum) = self.counters.observed(known.cell()?);
                    FigureValue::Observed { count, sum }
                }
            };
            let metric = known.cell().and_then(|cell| self.counters.metric(cell));
            Some(Figure { series: state.catalogue.series(id), value, metric })
        };
        state.catalogue.iter().filter_map(figure).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic under the lock is a bug that the log shows; the state stays usable, and paging
        // goes on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StateChange {
    fn of(event: &Event) -> Self {
        Self {
            title: title(&event.rule.name, &event.labels()),
            from: event.transition.from,
            to: event.transition.to,
            value: event.transition.value,
        }
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

impl State {
    /// Takes in the cells that an earlier process has left. What they hold was counted before.
    fn take_over(&mut self, counters: &Counters, now: Timestamp) {
        let base = Window::holding(now, Span::SECOND);
        let births = counters.births();
        self.catalogue.reserve(births.len());
        self.series.reserve(births.len());
        self.rollup.reserve(births.len());
        for (cell, series) in self.learn_all(births, base) {
            let (total, count) = counters.totals(cell);
            self.rollup.prime(cell, total, count);
            let (kind, shown) = counters.look(cell, now);
            let known = self.catalogue.get_mut(series);
            known.kind = kind;
            known.show(shown.number());
        }
    }

    /// Drains the live table into the base window `base`.
    fn close(&mut self, counters: &Counters, base: Window, now: Timestamp, is_over: bool) {
        let mut drained = std::mem::take(&mut self.drained);
        let births = counters.drain(now, |one| drained.push(one));
        let observed = counters.observed_position();
        for (cell, _) in self.learn_all(births, base) {
            // A cell that was another key's, or this one's in an earlier life, begins at zero.
            self.rollup.prime(cell, 0, 0);
        }
        let since = latest_span(self.store.tiers(), base.start).max(self.started);
        for one in drained.drain(..) {
            self.note(one, base, since);
        }
        self.drained = drained;
        let row = self.row.finish(base);
        let store = &mut self.store;
        self.rollup.close(row, |tier, row| store.append(tier, row));
        counters.observed_until(observed);
        // The second in which the engine was made was not covered from its beginning, nor is the one
        // in which it ends covered to its end.
        if base.start >= self.started && is_over {
            self.store.cover(base);
        }
        if base.start > self.closed {
            self.gaps += base.start.since(self.closed).as_millis() / Span::SECOND.as_millis();
        }
        self.closed = base.end;
    }

    /// Notes what happened in one cell.
    fn note(&mut self, one: Drained, base: Window, since: Timestamp) {
        let Some(series) = self.series.get(one.cell.index()).copied() else { return };
        let known = self.catalogue.get_mut(series);
        known.kind = one.kind;
        let kind = one.kind;
        let shown = match (one.shown, &one.observed) {
            (ShownNow::Nothing, _) | (ShownNow::Text, Some(Observations::Distribution(..))) => None,
            (ShownNow::Number(value), _) => Some(value),
            // A text that is a number: a gauge was set to it, now or before.
            (ShownNow::Text, Some(Observations::Gauge(observed))) => Some(observed.last),
            (ShownNow::Text, None) => known.last().filter(|_| kind == Kind::Gauge),
        };
        let Some(record) = self.rollup.delta(one) else { return known.show(shown) };
        let run_on = run_on(known.last(), &record).filter(|_| kind == Kind::Counter);
        let runs_on = known.update(base.end, shown, run_on, since);
        let record = if runs_on { record.without_last() } else { record };
        self.row.push(Entry { series, record, runs_on });
    }

    /// The series of new cells, in the order of the cells: so they stand in the order of their drain.
    fn learn_all(&mut self, mut births: Births, base: Window) -> Vec<(CellId, SeriesId)> {
        births.sort();
        births.iter().map(|(cell, key)| (cell, self.learn(cell, key, base))).collect()
    }

    /// Notes that the key of a cell is idle. Its series stays, and its windows.
    fn forget(&mut self, cell: CellId) {
        if let Some(series) = self.series.get(cell.index()) {
            self.catalogue.get_mut(*series).rest();
        }
    }

    fn learn(&mut self, cell: CellId, key: &[u8], base: Window) -> SeriesId {
        let id = self.catalogue.register(key, cell, base.start);
        if self.series.len() <= cell.index() {
            // Births come in no particular order; what is skipped here is filled by its own.
            self.series.resize(cell.index() + 1, id);
        }
        if let Some(series) = self.series.get_mut(cell.index()) {
            *series = id;
        }
        id
    }
}

#[cfg(test)]
mod tests;
