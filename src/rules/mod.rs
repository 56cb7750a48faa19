//! Rules at work: each instance's state, stepped at the close of base windows.
//!
//! A rule is data (`config::Rule`), its state machine a pure function ([`state`]); this module
//! connects the two with a question and keeps one state per instance. A rule is evaluated at the first
//! close at or after each multiple of its `every`, by the thresholds that hold then. It does not know who is
//! told, but says of an event when a rule that this one depends on keeps it quiet.

mod kept;
mod meaning;
mod replay;
pub mod state;
pub mod wording;

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::Arc;

use crate::config::{Rule, Schedule, Tier};
use crate::limits;
use crate::query::{Group, Observation, Question, Reason, Router, Standing, TooManyGroups, Watch};
use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::store::{Catalogue, Windows};
use crate::time::{Span, Timestamp};

pub use meaning::meaning;
pub use state::{Cause, Level, Policy, State, Transition};

/// All rules, in the order of the file.
#[derive(Debug)]
pub struct Rules {
    active: Vec<Active>,
    /// Where the rule of each name stands.
    places: BTreeMap<String, usize>,
    /// Of each rule, the places of those that it depends on.
    depends_on: Vec<Vec<usize>>,
    /// The windows that they ask about, kept from tick to tick.
    watch: Watch,
    /// Finds what a new series concerns: under twice the place of a rule its series, under the next
    /// number those that it is divided by.
    router: Router,
    /// Windows of the past have changed.
    is_stale: bool,
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
    standing: Standing,
    /// What the measure is divided by, split by the same tags.
    over: Option<Standing>,
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
    pub fn new(rules: &[Rule], tiers: &[Tier], now: Timestamp) -> Self {
        let places: BTreeMap<_, _> = rules.iter().map(|rule| rule.name.clone()).zip(0..).collect();
        let place = |name: &String| places.get(name).copied();
        let depends_on = |rule: &Rule| rule.depends_on.iter().filter_map(place).collect();
        let mut watch = Watch::new(tiers);
        let active: Vec<_> = rules.iter().map(|rule| Active::new(rule, &mut watch, now)).collect();
        let patterns = active.iter().enumerate().flat_map(|(at, one)| {
            let over = one.over.iter().map(move |over| (2 * at + 1, over.pattern()));
            iter::once((2 * at, one.standing.pattern())).chain(over)
        });
        let router = Router::new(patterns);
        let depends_on = rules.iter().map(depends_on).collect();
        let (is_stale, evaluated, gone) = (false, None, Vec::new());
        Self { active, places, depends_on, watch, router, is_stale, evaluated, gone }
    }

    /// Has all windows read anew at the next evaluation: those of the past have changed.
    pub fn renew(&mut self) {
        self.is_stale = true;
    }

    fn start_over(&mut self) {
        let Self { active, watch, router, .. } = self;
        watch.start_over();
        for Active { standing, over, .. } in active {
            for standing in iter::once(standing).chain(over) {
                standing.start_over(watch);
            }
        }
        router.have_seen(0);
    }

    /// Reads what rules ask about up to `instant`, the end of the last closed base window, and evaluates
    /// none: so that the first evaluation has no more to do than any other.
    pub fn prepare(&mut self, store: &Windows, catalogue: &Catalogue, instant: Timestamp) {
        if std::mem::take(&mut self.is_stale) {
            self.start_over();
        }
        self.follow(catalogue);
        self.watch.advance(store, instant);
    }

    /// Takes in new series.
    fn follow(&mut self, catalogue: &Catalogue) {
        let Self { active, watch, router, .. } = self;
        if router.seen() > 0 {
            watch.turn(catalogue, router.seen());
            router.route(catalogue, |number, id| {
                let active = active.get_mut(number / 2);
                let standing = active.and_then(|active| match number % 2 {
                    0 => Some(&mut active.standing),
                    _ => active.over.as_mut(),
                });
                if let Some(standing) = standing {
                    standing.offer(catalogue, id, watch);
                }
            });
            return;
        }
        // The first look goes by the catalogue's own index.
        for Active { standing, over, .. } in active {
            for standing in iter::once(standing).chain(over) {
                standing.refresh(catalogue, watch);
            }
        }
        router.have_seen(catalogue.len());
    }

    /// Of how many instances the windows are kept from tick to tick; those of others are read each time.
    #[must_use]
    pub fn kept(&self) -> usize {
        let standings = self.active.iter().map(|active| &active.standing);
        let kept = standings.map(|standing| {
            standing.groups().filter(|(_, place)| standing.is_kept(&self.watch, *place)).count()
        });
        kept.sum()
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
        self.prepare(store, catalogue, instant);
        let mut events = Vec::new();
        let Self { active, watch, .. } = self;
        for active in active {
            if active.is_due(instant) {
                active.evaluate(watch, store, catalogue, instant, &mut events);
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
        self.places.get(name).and_then(|at| self.active.get(*at))
    }
}

/// Whether a rule keeps those quiet that depend on it. One that was not evaluated since the start may turn
/// out critical.
fn silences(active: &Active) -> bool {
    active.evaluated.is_none() || active.level() == Level::Critical
}

impl Active {
    fn new(rule: &Rule, watch: &mut Watch, now: Timestamp) -> Self {
        let question = Question {
            measure: rule.measure,
            per: rule.per,
            window: rule.window,
            against: rule.against,
            zone: rule.zone().cloned(),
            change: rule.change,
            floor: rule.floor,
        };
        let mut stand = |series: &Pattern| {
            let (series, by) = (series.clone(), rule.by.clone());
            Standing::new(question.clone(), series, by, limits::RULE_INSTANCES, watch)
        };
        let standing = stand(&rule.series);
        let over = rule.over.as_ref().map(stand);
        let states: BTreeMap<_, _> =
            standing.groups().map(|(group, _)| (group.clone(), State::new(now))).collect();
        let base = Arc::new(rule.clone());
        let whens = rule.when.iter().map(|when| {
            let (warning, critical) = (when.warning, when.critical);
            (Arc::clone(&when.schedule), Arc::new(Rule { warning, critical, ..rule.clone() }))
        });
        Self {
            policy: Policy::of(rule),
            standing,
            over,
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
        watch: &Watch,
        store: &Windows,
        catalogue: &Catalogue,
        instant: Timestamp,
        events: &mut Vec<Event>,
    ) {
        self.evaluated = Some(instant);
        self.turn_to(instant);
        let is_off = self.rule.schedule.as_ref().is_some_and(|hours| !hours.is_active(instant));
        let new = self.standing.groups().map(|(group, _)| group);
        let new: Vec<_> = missing_in(&self.states, new).cloned().collect();
        self.moved.extend(new.iter().cloned());
        self.states.extend(new.into_iter().map(|group| (group, State::new(instant))));
        // Both are in the order of the groups, and every group has its state.
        let mut states = self.states.iter_mut();
        for (group, place) in self.standing.groups() {
            let Some((_, state)) = states.find(|(of, _)| *of == group) else { break };
            let (next, transition) = if is_off {
                state::rest(state, instant)
            } else {
                let standing = &self.standing;
                let observation = match &self.over {
                    Some(over) => {
                        standing.observe_share(over, watch, store, catalogue, group, instant)
                    }
                    None => standing.observe(watch, store, catalogue, place, instant),
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

    /// What there is to tell of an instance at `now`, or of the rule itself, though nothing has changed;
    /// `None` where all is well, and where there is no such instance.
    #[must_use]
    pub fn announce(&self, group: &Group, now: Timestamp) -> Option<Event> {
        let (state, problem) = if *group == self.own_group() {
            (&self.own, self.error())
        } else {
            (self.states.get(group)?, None)
        };
        let transition = state.standing(now)?;
        let (rule, meaning, is_quiet) = (Arc::clone(&self.rule), self.meaning, self.is_quiet);
        let (group, state) = (group.clone(), state.clone());
        let is_quiet = is_quiet && problem.is_none();
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
        self.standing.question()
    }

    /// The `by` tags with the values of a group.
    #[must_use]
    pub fn labels(&self, group: &Group) -> Vec<(String, String)> {
        self.rule.by.iter().cloned().zip(group.iter().cloned()).collect()
    }

    /// What the measure is divided by.
    #[must_use]
    pub fn over(&self) -> Option<&Standing> {
        self.over.as_ref()
    }

    /// The series of an instance.
    #[must_use]
    pub fn series(&self, group: &Group) -> &[SeriesId] {
        self.standing.place(group).map_or(&[], |place| self.standing.members(place))
    }

    /// Its instances, in the order of their tags.
    pub fn instances(&self) -> impl Iterator<Item = (&Group, &State)> {
        self.states.iter()
    }

    /// What of it no series matches yet.
    #[must_use]
    pub fn unmatched(&self) -> Option<&Pattern> {
        let mut sides = iter::once(&self.standing).chain(&self.over);
        sides.find(|side| side.is_empty()).map(Standing::pattern)
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
        for standing in iter::once(&self.standing).chain(&self.over) {
            if let Err(error @ TooManyGroups { .. }) = standing.complete() {
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

/// The groups without a state. Both are in the same order, and mostly the same.
fn missing_in<'a>(
    states: &BTreeMap<Group, State>,
    groups: impl Iterator<Item = &'a Group>,
) -> impl Iterator<Item = &'a Group> {
    let mut states = states.keys().peekable();
    groups.filter(move |group| {
        while states.next_if(|of| of < group).is_some() {}
        states.next_if(|of| of == group).is_none()
    })
}
