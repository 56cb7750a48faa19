//! What a tick works on: drain, rollup, windows, and what rules and messages came to.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use super::StateChange;
use super::fill::Fill;
use super::history::Pending;
use crate::config::Config;
use crate::counters::cells::{CellId, Kind};
use crate::counters::{Births, Counters, Drained, Observations, ShownNow};
use crate::limits;
use crate::notify::{Audit, Deploys, Incidents, Message, Moment, Outbox};
use crate::rollup::row::{GROUP, latest_span, run_on};
use crate::rollup::{Entry, Rollup, Row, RowBuilder, SeriesId};
use crate::rules::Rules;
use crate::store::{Catalogue, Counted, Facts, LogRecord, Windows};
use crate::time::{Span, Steps, Timestamp, Window};

/// Cells that are drained before they are noted, at a hundred and more bytes each.
const DRAINED: usize = 4096;

/// What a tick works on.
#[derive(Debug)]
pub(super) struct State {
    pub(super) rollup: Rollup,
    pub(super) windows: Windows,
    pub(super) catalogue: Catalogue,
    /// The series of each cell.
    pub(super) series: Vec<SeriesId>,
    /// The row of the window that is being closed; between two ticks its memory only.
    pub(super) row: RowBuilder,
    /// The same of what is drained.
    pub(super) drained: Vec<Drained>,
    pub(super) rules: Rules,
    pub(super) incidents: Incidents,
    pub(super) outbox: Outbox,
    pub(super) audit: Audit,
    pub(super) deploys: Deploys,
    pub(super) steps: Steps,
    /// The number of the last facts that were told to the log.
    pub(super) serial: u64,
    /// What changed of them since the last checkpoint.
    pub(super) unkept: Facts,
    /// Something that is in the log could not be brought to the medium, and somebody waits for it.
    pub(super) is_unsynced: bool,
    /// Something was brought to the medium by a thread that wakes no courier.
    pub(super) owes_wake: bool,
    /// The end of the last closed base window.
    pub(super) closed: Timestamp,
    pub(super) started: Timestamp,
    /// Base windows that passed without being closed in time.
    pub(super) gaps: u64,
    /// What the log has not got yet; empty where there is no log.
    pub(super) log: VecDeque<LogRecord>,
    pub(super) is_logged: bool,
    /// The end of the last base window that is in the log, or never will be.
    pub(super) logged: Timestamp,
    /// Rows that found no room in the queue to the log.
    pub(super) unlogged: u64,
    /// From the first of them to the last that no checkpoint has in its totals.
    pub(super) unlogged_rows: Option<Window>,
    /// When the last checkpoint was taken; it waits to be kept.
    pub(super) checkpointed: Timestamp,
    pub(super) pending: Option<Pending>,
    /// Groups with series that are not kept yet, and with counts that have changed since the last
    /// checkpoint.
    pub(super) new_groups: BTreeSet<u32>,
    pub(super) moved_groups: BTreeSet<u32>,
    /// Tiers that are new, whose history is being made of finer ones; the finer come first.
    pub(super) fills: VecDeque<Fill>,
    /// Whose lives the log tells of, while it is played at a start.
    pub(super) born: Vec<SeriesId>,
    /// And what was counted in their lives before.
    pub(super) replaced: Vec<(SeriesId, Counted)>,
    /// Records of the log that could not be played, or are not there any more.
    pub(super) unplayed: usize,
    /// With so many series no further one is begun.
    pub(super) series_ever: usize,
}

impl State {
    /// Nothing has happened yet.
    pub(super) fn new(config: &Config, windows: Windows, now: Timestamp) -> Self {
        Self {
            rollup: Rollup::new(&config.tiers),
            windows,
            catalogue: Catalogue::default(),
            series: Vec::new(),
            row: RowBuilder::default(),
            drained: Vec::new(),
            rules: Rules::new(&config.rules, &config.tiers, now),
            incidents: Incidents::new(config),
            outbox: Outbox::of(config),
            audit: Audit::default(),
            deploys: Deploys::default(),
            steps: Steps::default(),
            serial: 0,
            unkept: Facts::default(),
            is_unsynced: false,
            owes_wake: false,
            closed: Timestamp::from_millis(i64::MIN),
            started: now,
            gaps: 0,
            log: VecDeque::new(),
            is_logged: false,
            logged: Timestamp::from_millis(i64::MIN),
            unlogged: 0,
            unlogged_rows: None,
            checkpointed: Timestamp::from_millis(i64::MIN),
            pending: None,
            new_groups: BTreeSet::new(),
            moved_groups: BTreeSet::new(),
            fills: VecDeque::new(),
            born: Vec::new(),
            unplayed: 0,
            replaced: Vec::new(),
            series_ever: limits::SERIES_EVER,
        }
    }

    /// Takes in the cells that an earlier process has left. What was counted in them beyond `kept`, the
    /// totals by series that history holds, belongs to the window after the last one; without history
    /// nobody knows when it was counted.
    pub(super) fn take_over(
        &mut self,
        counters: &Counters,
        kept: Option<&[Counted]>,
        now: Timestamp,
    ) {
        let open = now.align_down(Span::SECOND);
        let base = Window::starting(kept.map_or(open, |_| self.closed), Span::SECOND);
        self.revive(counters, kept.unwrap_or_default());
        let births = counters.births();
        self.catalogue.reserve(births.len().saturating_sub(self.catalogue.len()));
        self.series.reserve(births.len());
        self.rollup.reserve(births.len());
        for (cell, series) in self.learn_all(counters, births, base) {
            let ((total, count), life) = (counters.totals(cell), counters.life(cell));
            let seen = match kept {
                None => Counted { total, count, life },
                Some(kept) => {
                    let seen = kept.get(series.index()).filter(|kept| kept.life == life).copied();
                    if seen.is_none() {
                        self.log_life(series, life, base.start);
                    }
                    seen.unwrap_or_default()
                }
            };
            // After the loss of power history may be ahead of the cells: it is the truth then.
            let kind = self.catalogue.get(series).kind;
            counters.at_least(cell, (seen.total, seen.count), kind, self.unplayed > 0);
            self.rollup.prime(cell, seen.total, seen.count);
            if counters.totals(cell) != (seen.total, seen.count) {
                counters.revisit(cell);
            }
            let (kind, shown) = counters.look(cell, now);
            let known = self.catalogue.get_mut(series);
            known.kind = kind;
            known.show(shown.number());
        }
        // Where the last process ended within this second, the window is still open.
        if kept.is_some() && base.end <= open {
            self.close(counters, base, now, false);
            // Nobody has judged it: the process that counted it ended before.
            self.judge(base.end, now);
        }
        self.closed = self.closed.max(open);
    }

    /// Reads the windows that rules ask about, so that the first tick has no more to do than others.
    pub(super) fn prepare_rules(&mut self) {
        self.rules.prepare(&self.windows, &self.catalogue, self.closed);
    }

    /// Gives cells to keys that began to live since the checkpoint, and that the live table lacks: the power
    /// was lost before the log of keys was on the medium, and the rows were on it.
    fn revive(&mut self, counters: &Counters, kept: &[Counted]) {
        self.replaced = Vec::new();
        for id in std::mem::take(&mut self.born) {
            let its = kept.get(id.index()).filter(|its| its.count > 0);
            if let Some(its) = its {
                counters.revive(self.catalogue.key(id), its.life);
            }
        }
    }

    /// Drains the live table into the base window `base`.
    pub(super) fn close(
        &mut self,
        counters: &Counters,
        base: Window,
        now: Timestamp,
        is_over: bool,
    ) {
        let since = latest_span(self.windows.tiers(), base.start).max(self.started);
        self.catalogue.forget_turned();
        let mut drained = std::mem::take(&mut self.drained);
        let births = counters.drain(now, |one| {
            drained.push(one);
            if drained.len() == DRAINED {
                // A cell is touched after its birth was noted, so these hold all of theirs.
                self.note_all(counters, counters.births(), &mut drained, base, since);
            }
        });
        self.note_all(counters, births, &mut drained, base, since);
        self.drained = drained;
        let observed = counters.observed_position();
        let row = Arc::new(self.row.finish(base));
        if base.start > self.closed {
            self.gaps += base.start.since(self.closed).as_millis() / Span::SECOND.as_millis();
        }
        // The second in which the engine was made was not covered from its beginning, nor is the one
        // in which it ends covered to its end.
        let is_covered = base.start >= self.started && is_over;
        if self.is_logged {
            self.log_row(&row, is_covered, observed);
        } else {
            self.logged = base.end;
            counters.observed_until(observed);
        }
        self.file(row, is_covered);
    }

    /// Has the rules judge at the end of the window that was just closed, queues what is to be told, and
    /// has the log told of all that together with the window.
    pub(super) fn judge(
        &mut self,
        instant: Timestamp,
        now: Timestamp,
    ) -> (Vec<StateChange>, Vec<Arc<Message>>) {
        let Self { rules, windows, catalogue, incidents, outbox, audit, .. } = self;
        let events = rules.evaluate(windows, catalogue, instant);
        let changes = events.iter().filter_map(StateChange::of).collect();
        let messages = incidents.step(events, &mut Moment { now, rules, outbox, audit });
        self.note_lost(now);
        self.log_facts();
        (changes, messages)
    }

    /// Puts a base window where it belongs, and every coarser one that ends with it.
    pub(super) fn file(&mut self, row: Arc<Row>, is_covered: bool) {
        let (base, windows) = (row.window, &mut self.windows);
        self.moved_groups.extend(row.group_numbers());
        self.rollup.close(row, |tier, row| windows.append(tier, row));
        if is_covered {
            self.windows.cover(base);
        }
        self.closed = base.end;
    }

    /// Notes what happened in cells, among them new ones.
    fn note_all(
        &mut self,
        counters: &Counters,
        births: Births,
        drained: &mut Vec<Drained>,
        base: Window,
        since: Timestamp,
    ) {
        for (cell, series) in self.learn_all(counters, births, base) {
            // A cell that was another key's, or this one's in an earlier life, begins at zero.
            self.rollup.prime(cell, 0, 0);
            self.log_life(series, counters.life(cell), base.start);
        }
        for one in drained.drain(..) {
            self.note(one, base, since);
        }
    }

    /// Notes what happened in one cell.
    fn note(&mut self, one: Drained, base: Window, since: Timestamp) {
        let Some(series) = self.series.get(one.cell.index()).copied() else { return };
        let kind = one.kind;
        self.catalogue.turn(series, kind);
        let known = self.catalogue.get_mut(series);
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
    fn learn_all(
        &mut self,
        counters: &Counters,
        mut births: Births,
        base: Window,
    ) -> Vec<(CellId, SeriesId)> {
        births.sort();
        let learned = births.iter().map(|(cell, key)| (cell, self.learn(cell, key, base)));
        let learned = learned.collect();
        if self.catalogue.len() >= self.series_ever {
            counters.take_no_more();
        }
        learned
    }

    /// Notes that the key of a cell is idle. Its series stays, and its windows.
    pub(super) fn forget(&mut self, cell: CellId) {
        if let Some(series) = self.series_of(cell) {
            self.catalogue.get_mut(series).rest();
            self.moved_groups.insert(series.0 / GROUP);
        }
    }

    /// The series that is counted in a cell.
    pub(super) fn series_of(&self, cell: CellId) -> Option<SeriesId> {
        self.series.get(cell.index()).copied()
    }

    fn learn(&mut self, cell: CellId, key: &[u8], base: Window) -> SeriesId {
        let known = self.catalogue.len();
        let id = self.catalogue.register(key, cell, base.start);
        if self.catalogue.len() > known {
            self.new_groups.insert(id.0 / GROUP);
        }
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
