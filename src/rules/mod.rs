//! Rules at work: each instance's state, stepped at the close of base windows.
//!
//! A rule is data (`config::Rule`), its state machine a pure function ([`state`]); this module
//! connects the two with a question and keeps one state per instance. A rule is evaluated at the first
//! close at or after each multiple of its `every`, by the thresholds that hold then. It does not know who is
//! told, but says of an event when a rule that this one depends on keeps it quiet.

mod kept;
mod meaning;
pub mod state;
pub mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use crate::config::{Rule, Schedule};
use crate::limits;
use crate::query::{Group, Observation, Question, Reason, Selection, Side, TooManyGroups};
use crate::series::Pattern;
use crate::store::{Catalogue, Windows};
use crate::time::{Span, Timestamp};

pub use meaning::meaning;
pub use state::{Cause, Level, Policy, State, Transition};

/// All rules, in the order of the file.
#[derive(Debug)]
pub struct Rules {
    active: Vec<Active>,
    /// Of each rule, the places of those that it depends on.
    depends_on: Vec<Vec<usize>>,
    evaluated: Option<Timestamp>,
    /// Keys of facts that nobody needs any more.
    gone: Vec<Vec<u8>>,
}

/// One rule with the states of its instances.
#[derive(Debug)]
pub struct Active {
    /// With the thresholds that hold now.
    rule: Arc<Rule>,
    /// What it means, as a number.
    meaning: u64,
    policy: Policy,
    /// The rule with its own thresholds.
    base: Arc<Rule>,
    /// The rule with those of each `when`, in the hours of its schedule.
    whens: Vec<(Arc<Schedule>, Arc<Rule>)>,
    question: Question,
    selection: Selection,
    /// What the measure is divided by, split by the same tags.
    over: Option<Selection>,
    states: BTreeMap<Group, State>,
    /// The state of the rule itself: unknown since it has a problem.
    own: State,
    evaluated: Option<Timestamp>,
    is_quiet: bool,
    /// Instances whose state nobody has noted since it changed.
    moved: BTreeSet<Group>,
}

/// A change of state of one instance, with all that a message needs.
#[derive(Clone, Debug)]
pub struct Event {
    /// The rule, with the thresholds that held.
    pub rule: Arc<Rule>,
    /// What the rule means, as a number.
    pub meaning: u64,
    /// The values of its `by` tags.
    pub group: Group,
    /// The change.
    pub transition: Transition,
    /// The state that it led to.
    pub state: State,
    /// What is wrong with the rule itself, where the event is about that and no instance.
    pub problem: Option<String>,
    /// Nobody is to hear of a problem now: a rule is critical on which this one depends, or was not evaluated
    /// yet. What still holds when that is over is announced then.
    pub is_quiet: bool,
}

impl Event {
    /// The `by` tags with their values; none where the event is about the rule itself.
    #[must_use]
    pub fn labels(&self) -> Vec<(String, String)> {
        let is_instance = self.group.len() == self.rule.by.len();
        let tags = self.rule.by.iter().cloned().zip(self.group.iter().cloned());
        tags.filter(|_| is_instance).collect()
    }
}

impl Rules {
    /// Every rule as it is before the first evaluation: one without `by` has its only instance,
    /// which is ok since `now`, others have none yet.
    #[must_use]
    pub fn new(rules: &[Rule], now: Timestamp) -> Self {
        let place = |name: &String| rules.iter().position(|rule| rule.name == *name);
        let depends_on = |rule: &Rule| rule.depends_on.iter().filter_map(place).collect();
        Self {
            active: rules.iter().map(|rule| Active::new(rule, now)).collect(),
            depends_on: rules.iter().map(depends_on).collect(),
            evaluated: None,
            gone: Vec::new(),
        }
    }

    /// Evaluates every rule that is due at `instant`, the end of the base window that was just closed.
    /// Events come in the order of the file, instances in the order of their tags; behind them what can be
    /// told again.
    pub fn evaluate(
        &mut self,
        store: &Windows,
        catalogue: &Catalogue,
        instant: Timestamp,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for active in &mut self.active {
            if active.is_due(instant) {
                active.evaluate(store, catalogue, instant, &mut events);
            }
        }
        self.quieten(instant, &mut events);
        self.evaluated = Some(instant);
        events
    }

    /// Marks what may not be told now, and announces what may again. All rules are evaluated by then, so
    /// their order in the file does not matter.
    fn quieten(&mut self, now: Timestamp, events: &mut Vec<Event>) {
        let mut verdicts = vec![None; self.active.len()];
        for (at, depends_on) in self.depends_on.iter().enumerate() {
            let silences = |on: &usize| {
                let verdict = verdicts.get_mut(*on)?;
                Some(*verdict.get_or_insert_with(|| self.active.get(*on).is_some_and(silences)))
            };
            let is_quiet = !depends_on.is_empty()
                && depends_on.iter().filter_map(silences).any(|silences| silences);
            if let Some(active) = self.active.get_mut(at) {
                active.quieten(is_quiet, now, events);
            }
        }
    }

    /// When rules were last evaluated.
    #[must_use]
    pub fn evaluated(&self) -> Option<Timestamp> {
        self.evaluated
    }

    /// The rules, in the order of the file.
    pub fn iter(&self) -> impl Iterator<Item = &Active> {
        self.active.iter()
    }

    /// The rule of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Active> {
        self.active.iter().find(|active| active.rule.name == name)
    }
}

/// Whether a rule keeps those quiet that depend on it. One that was not evaluated since the start may turn
/// out critical.
fn silences(active: &Active) -> bool {
    active.evaluated.is_none() || active.level() == Level::Critical
}

impl Active {
    fn new(rule: &Rule, now: Timestamp) -> Self {
        let question = Question {
            measure: rule.measure,
            per: rule.per,
            window: rule.window,
            against: rule.against,
            zone: rule.zone().cloned(),
            change: rule.change,
            floor: rule.floor,
        };
        let by = rule.by.clone();
        let selection = Selection::new(rule.series.clone(), by, limits::RULE_INSTANCES);
        let states: BTreeMap<_, _> =
            selection.groups().map(|(group, _)| (group.clone(), State::new(now))).collect();
        let select =
            |over: &Pattern| Selection::new(over.clone(), rule.by.clone(), limits::RULE_INSTANCES);
        let base = Arc::new(rule.clone());
        let whens = rule.when.iter().map(|when| {
            let (warning, critical) = (when.warning, when.critical);
            (Arc::clone(&when.schedule), Arc::new(Rule { warning, critical, ..rule.clone() }))
        });
        Self {
            policy: Policy::of(rule),
            question,
            selection,
            over: rule.over.as_ref().map(select),
            states,
            own: State::new(now),
            moved: BTreeSet::new(),
            meaning: meaning(rule),
            rule: Arc::clone(&base),
            base,
            whens: whens.collect(),
            evaluated: None,
            is_quiet: !rule.depends_on.is_empty(),
        }
    }

    /// Whether a multiple of `every` has passed since the last evaluation. Before the first one it has to be
    /// `instant` itself.
    fn is_due(&self, instant: Timestamp) -> bool {
        let last = self.evaluated.unwrap_or(instant - Span::SECOND);
        instant.align_down(self.base.every) > last
    }

    /// Takes the thresholds that hold at `now`.
    fn turn_to(&mut self, now: Timestamp) {
        let when = self.whens.iter().find(|(schedule, _)| schedule.is_active(now));
        let rule = when.map_or(&self.base, |(_, rule)| rule);
        if !Arc::ptr_eq(rule, &self.rule) {
            self.rule = Arc::clone(rule);
            self.policy = Policy::of(rule);
        }
    }

    /// Notes whether it is quiet, marks the events that it has among these, and adds what could not be told
    /// before.
    fn quieten(&mut self, is_quiet: bool, now: Timestamp, events: &mut Vec<Event>) {
        let ends = self.is_quiet && !is_quiet;
        self.is_quiet = is_quiet;
        if is_quiet {
            let tags = self.rule.by.len();
            let own = |event: &&mut Event| event.rule.name == self.rule.name;
            let instances = events.iter_mut().filter(own).filter(|event| event.group.len() == tags);
            instances.for_each(|event| event.is_quiet = true);
        } else if ends {
            events.extend(self.states.iter().filter_map(|(group, state)| {
                let transition = state.announcement(now)?;
                let (rule, group) = (Arc::clone(&self.rule), group.clone());
                let state = state.clone();
                let (meaning, problem) = (self.meaning, None);
                Some(Event { rule, meaning, group, transition, state, problem, is_quiet })
            }));
        }
    }

    fn evaluate(
        &mut self,
        store: &Windows,
        catalogue: &Catalogue,
        instant: Timestamp,
        events: &mut Vec<Event>,
    ) {
        self.evaluated = Some(instant);
        self.turn_to(instant);
        let is_off = self.rule.schedule.as_ref().is_some_and(|hours| !hours.is_active(instant));
        self.selection.refresh(catalogue);
        self.over.iter_mut().for_each(|over| over.refresh(catalogue));
        for (group, series) in self.selection.groups() {
            if !self.states.contains_key(group) {
                self.states.insert(group.clone(), State::new(instant));
                self.moved.insert(group.clone());
            }
            let Some(state) = self.states.get_mut(group) else { continue };
            let (next, transition) = if is_off {
                state::rest(state, instant)
            } else {
                let side = |series| Side { series, facts: catalogue };
                let observation = match &self.over {
                    Some(over) => {
                        let (part, whole) = (side(series), side(over.members(group)));
                        self.question.ask_share(store, part, whole, instant, Span::ZERO)
                    }
                    None => self.question.ask(store, catalogue, series, instant),
                };
                state::step(&self.policy, state, observation, instant)
            };
            if !next.goes_on_as(state) {
                self.moved.insert(group.clone());
            }
            *state = next;
            if let Some(transition) = transition {
                let (rule, group) = (Arc::clone(&self.rule), group.clone());
                let state = state.clone();
                let (meaning, is_quiet) = (self.meaning, false);
                let problem = None;
                events.push(Event { rule, meaning, group, transition, state, problem, is_quiet });
            }
        }
        events.extend(self.judge_itself(instant));
    }

    /// The event that the rule itself begins or ceases to have a problem.
    fn judge_itself(&mut self, now: Timestamp) -> Option<Event> {
        let problem = self.error();
        let to = if problem.is_some() { Level::Unknown } else { Level::Ok };
        let State { level: from, since, .. } = self.own;
        if to == from {
            return None;
        }
        self.own = State { level: to, ..State::new(now) };
        let cause = Cause::Changed;
        let transition = Transition { cause, from, to, at: now, value: None, worst: None, since };
        let group = self.own_group();
        self.moved.insert(group.clone());
        let rule = Arc::clone(&self.rule);
        let (meaning, state, is_quiet) = (self.meaning, self.own.clone(), false);
        Some(Event { rule, meaning, group, transition, state, problem, is_quiet })
    }

    /// The rule as it was written, but for the thresholds: they are those that hold now.
    #[must_use]
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// Whether a rule that it depends on keeps it quiet.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.is_quiet
    }

    /// What it means, as a number.
    #[must_use]
    pub fn meaning(&self) -> u64 {
        self.meaning
    }

    /// What it asks of its series.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The `by` tags with the values of a group.
    #[must_use]
    pub fn labels(&self, group: &Group) -> Vec<(String, String)> {
        self.rule.by.iter().cloned().zip(group.iter().cloned()).collect()
    }

    /// Its instances, in the order of their tags.
    pub fn instances(&self) -> impl Iterator<Item = (&Group, &State)> {
        self.states.iter()
    }

    /// The worst level of its instances; unknown at least while something is wrong with the rule
    /// itself.
    #[must_use]
    pub fn level(&self) -> Level {
        let worst = self.states.values().map(|state| state.level).max().unwrap_or_default();
        if self.error().is_some() { worst.max(Level::Unknown) } else { worst }
    }

    /// What is wrong with the rule itself, for people.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        for selection in iter::once(&self.selection).chain(&self.over) {
            if let Err(error @ TooManyGroups { .. }) = selection.complete() {
                return Some(error.to_string());
            }
        }
        let wrong_kind = Observation::Unjudged(Reason::WrongKind);
        self.states.values().any(|state| state.observation == wrong_kind).then(|| {
            let measure = self.rule.measure.name();
            format!(
                "`{measure}` means nothing for the kind of series that `{}` is",
                self.rule.series
            )
        })
    }
}
