//! Rules at work: each instance's state, stepped at every close of a base window.
//!
//! A rule is data (`config::Rule`), its state machine a pure function ([`state`]); this module
//! connects the two with a question and keeps one state per instance. It does not know who is told.

pub mod state;
pub mod wording;

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::Rule;
use crate::limits;
use crate::query::{Group, Observation, Question, Reason, Selection, TooManyGroups};
use crate::store::{Catalogue, Windows};
use crate::time::Timestamp;

pub use state::{Level, Policy, State, Transition};

/// All rules, in the order of the file.
#[derive(Debug)]
pub struct Rules {
    active: Vec<Active>,
    evaluated: Option<Timestamp>,
}

/// One rule with the states of its instances.
#[derive(Debug)]
pub struct Active {
    rule: Arc<Rule>,
    policy: Policy,
    question: Question,
    selection: Selection,
    states: BTreeMap<Group, State>,
    /// The state of the rule itself: unknown since it has a problem.
    own: State,
}

/// A change of state of one instance, with all that a message needs.
#[derive(Clone, Debug)]
pub struct Event {
    /// The rule.
    pub rule: Arc<Rule>,
    /// The values of its `by` tags.
    pub group: Group,
    /// The change.
    pub transition: Transition,
    /// The state that it led to.
    pub state: State,
    /// What is wrong with the rule itself, where the event is about that and no instance.
    pub problem: Option<String>,
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
        let active = rules.iter().map(|rule| Active::new(rule, now)).collect();
        Self { active, evaluated: None }
    }

    /// Evaluates every rule at `instant`, the end of the base window that was just closed. Events
    /// come in the order of the file, instances in the order of their tags.
    pub fn evaluate(
        &mut self,
        store: &Windows,
        catalogue: &Catalogue,
        instant: Timestamp,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for active in &mut self.active {
            active.evaluate(store, catalogue, instant, &mut events);
        }
        self.evaluated = Some(instant);
        events
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

impl Active {
    fn new(rule: &Rule, now: Timestamp) -> Self {
        let question = Question {
            measure: rule.measure,
            per: rule.per,
            window: rule.window,
            against: rule.against,
            zone: None,
            change: rule.change,
            floor: rule.floor,
        };
        let by = rule.by.clone();
        let selection = Selection::new(rule.series.clone(), by, limits::RULE_INSTANCES);
        let states =
            selection.groups().map(|(group, _)| (group.clone(), State::new(now))).collect();
        let policy = Policy::of(rule);
        let own = State::new(now);
        Self { policy, question, selection, states, own, rule: Arc::new(rule.clone()) }
    }

    fn evaluate(
        &mut self,
        store: &Windows,
        catalogue: &Catalogue,
        instant: Timestamp,
        events: &mut Vec<Event>,
    ) {
        self.selection.refresh(catalogue);
        for (group, series) in self.selection.groups() {
            let observation = self.question.ask(store, catalogue, series, instant);
            if !self.states.contains_key(group) {
                self.states.insert(group.clone(), State::new(instant));
            }
            let Some(state) = self.states.get_mut(group) else { continue };
            let (next, transition) = state::step(&self.policy, state, observation, instant);
            *state = next;
            if let Some(transition) = transition {
                let (rule, group) = (Arc::clone(&self.rule), group.clone());
                events.push(Event { rule, group, transition, state: next, problem: None });
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
        let transition = Transition { from, to, at: now, value: None, worst: None, since };
        // One value more than there are tags: no instance has such a group.
        let group = vec![String::new(); self.rule.by.len() + 1];
        let rule = Arc::clone(&self.rule);
        Some(Event { rule, group, transition, state: self.own, problem })
    }

    /// The rule as it was written.
    #[must_use]
    pub fn rule(&self) -> &Arc<Rule> {
        &self.rule
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
        if let Err(error @ TooManyGroups { .. }) = self.selection.complete() {
            return Some(error.to_string());
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
