//! Plays a case of rules against an engine of its own, under a clock that is moved.
//!
//! One second is one tick, as in a running server; nothing is asked of the system. What was sent is what the
//! outbox hands out, so waiting, grouping and repeating are part of it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::Engine;
use crate::config::{
    Act, Case, Deed, Expectation, Input, InputKind, Reload, StateWord, Step, Whose,
};
use crate::counters::{Condition, Entry};
use crate::limits;
use crate::notify::message::title;
use crate::notify::{Incident, Outcome, Refusal, Silence};
use crate::query::Observation;
use crate::rules::{Active, Level, State};
use crate::series::Pattern;
use crate::time::{Span, Timestamp};

/// Who does what a case has somebody do.
const SOMEBODY: &str = "somebody";

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the file where it stands.
    pub line: usize,
    /// Time since the start of the case.
    pub at: Span,
    /// The instant.
    pub instant: Timestamp,
    /// The rule, with its instance behind it.
    pub title: String,
    /// What was expected and what was, for people.
    pub what: String,
}

/// Plays a case to its last expectation; those that do not hold.
#[must_use]
pub fn play(case: &Case) -> Vec<Failure> {
    let mut stage = Stage::new(case);
    let mut failures = Vec::new();
    let mut acts = case.acts.iter().peekable();
    for expected in &case.expectations {
        while let Some(act) = acts.next_if(|act| act.at <= expected.at) {
            stage.play_until(case.start + act.at);
            failures.extend(stage.act(act));
        }
        stage.play_until(case.start + expected.at);
        failures.extend(stage.hold(expected));
    }
    failures
}

/// A case that is being played.
struct Stage<'a> {
    case: &'a Case,
    engine: Engine,
    inputs: Vec<Playing<'a>>,
    now: Timestamp,
    /// When the next step of the input is due.
    next_step: Timestamp,
    is_down: bool,
    /// What is still to be read again.
    reloads: &'a [Reload],
    /// By rule, which contacts were sent something since its last expectation.
    sent: HashMap<String, Vec<String>>,
    /// Messages and contacts: one with several addresses is told once.
    seen: HashSet<(String, String)>,
}

/// A series with the steps that are still to come.
struct Playing<'a> {
    input: &'a Input,
    steps: Box<dyn Iterator<Item = Step> + 'a>,
}

impl<'a> Stage<'a> {
    fn new(case: &'a Case) -> Self {
        let playing = |input: &'a Input| Playing { input, steps: Box::new(input.steps.iter()) };
        let mut stage = Self {
            case,
            engine: Engine::new(&case.config, case.start),
            inputs: case.inputs.iter().map(playing).collect(),
            now: case.start,
            next_step: case.start,
            is_down: false,
            reloads: &case.reloads,
            sent: HashMap::new(),
            seen: HashSet::new(),
        };
        stage.step();
        stage
    }

    /// Goes on to `until`: what was counted before it is evaluated, the step that begins there has not
    /// begun.
    fn play_until(&mut self, until: Timestamp) {
        while self.now < until {
            self.reload();
            if self.now == self.next_step {
                self.step();
            }
            self.now = self.now + Span::SECOND;
            if !self.is_down {
                self.engine.tick(self.now);
                self.deliver();
            }
        }
    }

    /// Takes over the rules that hold from now on.
    fn reload(&mut self) {
        while let Some((first, rest)) = self.reloads.split_first()
            && self.case.start + first.at <= self.now
        {
            self.reloads = rest;
            self.engine.reload(&first.config, self.now);
            self.deliver();
        }
    }

    /// Lets the step happen that begins now.
    fn step(&mut self) {
        self.next_step = self.now + self.case.step;
        let steps: Vec<_> = self.inputs.iter_mut().map(|playing| playing.steps.next()).collect();
        let is_down = steps.contains(&Some(Step::Down));
        if self.is_down && !is_down {
            self.engine.begin(self.now);
        }
        self.is_down = is_down;
        for (playing, step) in self.inputs.iter().zip(steps) {
            if let Some(Step::Value(value)) = step.filter(|_| !is_down) {
                self.apply(playing.input, value);
            }
        }
    }

    fn apply(&self, input: &Input, value: f64) {
        let (counters, key) = (self.engine.counters(), input.key.as_bytes());
        if input.kind == InputKind::Counter {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "the file was checked: whole, not negative, at most 2^53"
            )]
            counters.incr(key, value as u64, self.now);
            return;
        }
        let plain = value.to_string();
        let text = if plain.len() > limits::NUMBER_BYTES { format!("{value:e}") } else { plain };
        let entry = Entry { key, value: text.as_bytes(), flags: 0, expires: None };
        counters.store(entry, Condition::Always, self.now);
    }

    /// Takes what the outbox hands out for delivered.
    fn deliver(&mut self) {
        loop {
            let due = self.engine.due(self.now, limits::COURIERS);
            if due.is_empty() {
                return;
            }
            for delivery in due {
                let message = &delivery.message;
                if self.seen.insert((message.id.clone(), message.contact.clone())) {
                    let rules = message.notices.iter().map(|notice| notice.rule.name.clone());
                    for rule in rules.collect::<HashSet<_>>() {
                        self.sent.entry(rule).or_default().push(message.contact.clone());
                    }
                }
                self.engine.settle(delivery.id, &Outcome::Delivered, self.now);
            }
        }
    }

    /// Has somebody do something; why it could not be done.
    fn act(&self, act: &Act) -> Option<Failure> {
        let done = match &act.deed {
            Deed::Acknowledge(whose) => {
                self.each(whose, |id| self.engine.acknowledge(id, SOMEBODY, "", self.now).map(drop))
            }
            Deed::Unacknowledge(whose) => {
                self.each(whose, |id| self.engine.unacknowledge(id, SOMEBODY, "", self.now))
            }
            Deed::Silence { rule, series, length, schedule } => {
                let silence = Silence {
                    id: "".into(),
                    rule: Some(rule.clone()),
                    series: series.clone(),
                    from: self.now,
                    until: length.map(|length| self.now + length),
                    schedule: schedule.clone(),
                    author: SOMEBODY.to_owned(),
                    comment: String::new(),
                    made: self.now,
                };
                let done = self.engine.silence(silence, self.now);
                done.map(drop).map_err(|error| error.to_string())
            }
            Deed::Unsilence(rule) => self.unsilence(rule),
        };
        let title = match &act.deed {
            Deed::Acknowledge(whose) | Deed::Unacknowledge(whose) => whose.rule.clone(),
            Deed::Silence { rule, .. } | Deed::Unsilence(rule) => rule.to_string(),
        };
        let what = done.err()?;
        Some(Failure { line: act.line, at: act.at, instant: self.now, title, what })
    }

    /// Does something to each open incident that is meant.
    fn each(&self, whose: &Whose, act: impl Fn(&str) -> Result<(), Refusal>) -> Result<(), String> {
        let is_meant = |incident: &&Incident| {
            let labels = || incident.labels.iter().cloned().collect::<BTreeMap<_, _>>();
            incident.closed.is_none()
                && incident.rule.name == whose.rule
                && whose.by.as_ref().is_none_or(|by| *by == labels())
        };
        let ids: Vec<_> = self.engine.view(|view| {
            let meant = view.incidents.iter().filter(is_meant);
            meant.map(|incident| Arc::clone(&incident.id)).collect()
        });
        if ids.is_empty() {
            return Err("nothing of it is open".to_owned());
        }
        ids.iter().try_for_each(|id| act(id)).map_err(|error| error.to_string())
    }

    fn unsilence(&self, rule: &Pattern) -> Result<(), String> {
        let ids: Vec<_> = self.engine.view(|view| {
            let silences = view.incidents.silences().iter();
            let meant = silences.filter(|silence| silence.rule.as_ref() == Some(rule));
            meant.map(|silence| Arc::clone(&silence.id)).collect()
        });
        if ids.is_empty() {
            return Err("there is no such silence".to_owned());
        }
        let mut ended = ids.iter().map(|id| self.engine.unsilence(id, SOMEBODY, self.now));
        ended.try_for_each(|ended| ended.map(drop)).map_err(|error| error.to_string())
    }

    /// Holds what is against what is expected.
    fn hold(&mut self, expected: &Expectation) -> Vec<Failure> {
        let labels = expected.by.iter().flatten();
        let labels: Vec<_> = labels.map(|(tag, value)| (tag.clone(), value.clone())).collect();
        let failure = |what: String| Failure {
            line: expected.line,
            at: expected.at,
            instant: self.now,
            title: title(&expected.rule, &labels),
            what,
        };
        let mut failures = Vec::new();
        if let Some(state) = expected.state {
            let (level, told) = self.found(expected);
            if level_of(state) != level {
                let wanted = level_of(state).word();
                failures.push(failure(format!("expected {wanted}, was {}{told}", level.word())));
            }
        }
        // Whether it is looked at or not, the next expectation begins from here.
        let sent = self.sent.remove(&expected.rule).unwrap_or_default();
        if let Some(wanted) = expected.notified.as_ref().filter(|wanted| **wanted != sent) {
            let (wanted, sent) = (names(wanted), names(&sent));
            failures.push(failure(format!("expected {wanted} to be notified, was {sent}")));
        }
        failures
    }

    /// The state that an expectation asks for, and what else is to be said of it.
    fn found(&self, expected: &Expectation) -> (Level, String) {
        self.engine.view(|view| {
            let Some(active) = view.rules.get(&expected.rule) else {
                return (Level::Ok, String::new());
            };
            let Some(by) = &expected.by else {
                return (active.level(), worst(active).map(said).unwrap_or_default());
            };
            let instance = active.instances().find(|(group, _)| {
                let labels: BTreeMap<_, _> = active.labels(group).into_iter().collect();
                labels == *by
            });
            match instance {
                Some((_, state)) => (state.level, said(state)),
                None => (Level::Ok, " (no such instance was seen)".to_owned()),
            }
        })
    }
}

fn worst(active: &Active) -> Option<&State> {
    active.instances().map(|(_, state)| state).max_by_key(|state| state.level)
}

/// ` (value 20; pending critical)`
fn said(state: &State) -> String {
    let value = match state.observation {
        Observation::Value { value, .. } => format!("value {value}"),
        Observation::AtLeast(bound) => format!("value at least {bound}"),
        Observation::Missing => "no value: missing".to_owned(),
        Observation::NeverSeen => "no value: no such series was seen".to_owned(),
        Observation::Unjudged(reason) => format!("not judged: {}", reason.text()),
    };
    let pending = state.pending().map(|level| format!("; pending {}", level.word()));
    format!(" ({value}{})", pending.unwrap_or_default())
}

fn names(list: &[String]) -> String {
    if list.is_empty() { "nobody".to_owned() } else { list.join(", ") }
}

fn level_of(word: StateWord) -> Level {
    match word {
        StateWord::Ok => Level::Ok,
        StateWord::Warning => Level::Warning,
        StateWord::Unknown => Level::Unknown,
        StateWord::Critical => Level::Critical,
    }
}
