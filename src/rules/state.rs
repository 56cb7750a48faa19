//! The state of one instance of a rule, as a pure function:
//! `(policy, state, observation, now) → (state, transition)`.
//!
//! Warning and critical are judged apart, each by a gate with hysteresis of its own, and the worse
//! one is the state. A timer does not measure the clock: it adds up the time between evaluations
//! that said something. So it stands still while nothing can be said, and while tallyd is down, and
//! never runs out by itself. The evaluations that `of` counts are the same: those that said something,
//! since the gate last opened or closed.
//!
//! Each evaluation is judged by the thresholds that hold at its instant. Where others take their place,
//! gates and timers go on: what fires ends at the new `clear`, and a condition that holds by the old
//! threshold and then by the new one has held without a break. A gate whose threshold is not there any more
//! is closed by the next evaluation that says something.

pub mod codec;
pub mod flaps;

use crate::config::{Flapping, Missing, MissingState, Rule, Side, Threshold};
use crate::query::{Observation, Reason};
use crate::time::{Span, Timestamp};

use flaps::{Evaluation, Flaps};

/// How bad it is, from good to bad. Unknown is worse than a warning: somebody has to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All is well, as far as anybody knows.
    #[default]
    Ok,
    /// Look at it in the morning.
    Warning,
    /// Data stopped coming, so nobody knows.
    Unknown,
    /// Look at it now.
    Critical,
}

impl Level {
    /// The word that people read, in capitals.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Unknown => "UNKNOWN",
            Self::Critical => "CRITICAL",
        }
    }

    /// The word that programs read, in small letters.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Unknown => "unknown",
            Self::Critical => "critical",
        }
    }
}

/// What a rule says about states: the part of it that this function needs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Policy {
    /// When it is a warning.
    pub warning: Option<Threshold>,
    /// When it is critical.
    pub critical: Option<Threshold>,
    /// What missing data leads to; `None`: the default, and a series never seen is ok.
    pub missing: Option<Missing>,
    /// Time from one evaluation to the next.
    pub every: Span,
    /// From how many changes on each one is told no more.
    pub flapping: Option<Flapping>,
}

impl Policy {
    /// The policy of a rule.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let Rule { warning, critical, missing, every, flapping, .. } = *rule;
        Self { warning, critical, missing, every, flapping }
    }

    /// The threshold of a level.
    #[must_use]
    pub fn threshold(&self, level: Level) -> Option<Threshold> {
        match level {
            Level::Warning => self.warning,
            Level::Critical => self.critical,
            Level::Ok | Level::Unknown => None,
        }
    }
}

/// One threshold with hysteresis.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Gate {
    /// Whether it has fired and not ended.
    pub firing: bool,
    /// For how long the condition that would change `firing` has held; `None` while it does not.
    pub held: Option<Span>,
    /// Where `of` decides: a bit for each of the last evaluations, the last one lowest, set where it was
    /// beyond the threshold. Those alone are in it that said something since the gate last closed.
    pub beyond: u64,
}

/// All that is remembered of one instance.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The state.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// The value when it began, where there was one.
    pub began: Option<f64>,
    /// The worst value since, where there was one.
    pub worst: Option<f64>,
    /// The last value, where there was one.
    pub value: Option<f64>,
    /// What was seen last.
    pub observation: Observation,
    /// The gate of the warning.
    pub warning: Gate,
    /// The gate of the critical state.
    pub critical: Gate,
    /// For how long data has been missing; `None` while it is not.
    pub missing: Option<Span>,
    /// How often the state changed of late.
    pub flaps: Flaps,
}

impl State {
    /// Before the first evaluation: ok since `now`.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            level: Level::Ok,
            since: now,
            began: None,
            worst: None,
            value: None,
            observation: Observation::NeverSeen,
            warning: Gate::default(),
            critical: Gate::default(),
            missing: None,
            flaps: Flaps::default(),
        }
    }

    /// Whether it is not judged because the rule's schedule is not active.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.observation == Observation::Unjudged(Reason::OffSchedule)
    }

    /// What is to be told once telling is possible again: that it flaps, or how bad it is. `None` where all
    /// is well, and where the change is of this very moment.
    #[must_use]
    pub fn announcement(&self, now: Timestamp) -> Option<Transition> {
        self.standing(now).filter(|_| self.since < now)
    }

    /// How it stands, as something to tell: that it flaps, or how bad it is. `None` where all is well.
    #[must_use]
    pub fn standing(&self, now: Timestamp) -> Option<Transition> {
        let cause = match (self.flaps.is_flapping, self.level) {
            (true, _) => Cause::Flapping,
            (false, Level::Ok) => return None,
            (false, _) => Cause::Announced,
        };
        let State { level: from, value, worst, since, .. } = *self;
        Some(Transition { cause, from, to: from, at: now, value, worst, since })
    }

    /// The worst level whose timer runs towards firing, or which some of the last evaluations ask for.
    #[must_use]
    pub fn pending(&self) -> Option<Level> {
        let waits = |gate: Gate| !gate.firing && (gate.held.is_some() || gate.beyond != 0);
        match (waits(self.critical), waits(self.warning)) {
            (true, _) if self.level < Level::Critical => Some(Level::Critical),
            (_, true) if self.level < Level::Warning => Some(Level::Warning),
            _ => None,
        }
    }
}

/// Why there is a transition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cause {
    /// The state changed.
    #[default]
    Changed,
    /// It changed, and with that too often of late: this is told instead of the change.
    Flapping,
    /// It changed while it flaps, which is told to nobody.
    Flaps,
    /// It did not change, but has been critical for so long that this is told though it flaps.
    Insists,
    /// It did not change for so long that it flaps no more: the state is told, whatever it is.
    Settled,
    /// The hours of the rule's schedule are over, and with them what was open.
    ScheduleEnded,
    /// It did not change; it could not be told before, because a rule was critical on which this one depends.
    Announced,
}

/// A change of state, or something else about it that may have to be told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// What it is.
    pub cause: Cause,
    /// The state before.
    pub from: Level,
    /// The state from now on; the same where it did not change.
    pub to: Level,
    /// When.
    pub at: Timestamp,
    /// The value at that time, where there was one.
    pub value: Option<f64>,
    /// The worst value of the state before, where there was one.
    pub worst: Option<f64>,
    /// When the state before began.
    pub since: Timestamp,
}

/// One evaluation.
#[must_use]
pub fn step(
    policy: &Policy,
    state: &State,
    observation: Observation,
    now: Timestamp,
) -> (State, Option<Transition>) {
    let mut next = State { observation, ..state.clone() };
    match observation {
        Observation::Value { value, .. } => {
            next.missing = None;
            next.value = Some(value);
            next.warning = judge(policy.warning, policy.every, state.warning, value);
            next.critical = judge(policy.critical, policy.every, state.critical, value);
        }
        Observation::AtLeast(bound) => {
            next.missing = None;
            next.value = Some(bound);
            next.warning = judge_bound(policy.warning, policy.every, state.warning, bound);
            next.critical = judge_bound(policy.critical, policy.every, state.critical, bound);
        }
        Observation::NeverSeen if policy.missing.is_none() => {}
        Observation::Missing | Observation::NeverSeen => {
            // Beyond `after` nothing depends on it, so it stands still: there is nothing to keep then.
            let after = policy.missing.unwrap_or_default().after;
            let held = state.missing.map_or(Span::ZERO, |held| held.plus(policy.every));
            next.missing = Some(held.min(after));
        }
        Observation::Unjudged(_) => {}
    }
    let missing = policy.missing.unwrap_or_default();
    let is_lost = next.missing.is_some_and(|held| held >= missing.after);
    if is_lost && missing.state == MissingState::Ok {
        next.warning = Gate::default();
        next.critical = Gate::default();
    }
    let level = match missing.state {
        MissingState::Unknown if is_lost => Level::Unknown,
        MissingState::Ok if is_lost => Level::Ok,
        MissingState::Warning if is_lost => Level::Warning,
        MissingState::Critical if is_lost => Level::Critical,
        _ if next.critical.firing => Level::Critical,
        _ if next.warning.firing => Level::Warning,
        _ => Level::Ok,
    };
    let has_changed = level != state.level;
    let cause = next.flaps.step(
        policy.flapping,
        &Evaluation {
            every: policy.every,
            has_changed,
            level,
            is_judged: !matches!(observation, Observation::Unjudged(_)),
            hold: policy.critical.map_or(Span::ZERO, |threshold| threshold.hold),
        },
    );
    let value = if is_lost { None } else { next.value };
    let State { level: from, since, worst, .. } = *state;
    let transition = cause.map(|cause| Transition {
        cause,
        from,
        to: level,
        at: now,
        value,
        worst: if has_changed { worst } else { worse(policy, level, worst, value) },
        since,
    });
    if has_changed {
        next = State { level, since: now, began: value, worst: value, ..next };
    } else {
        next.worst = worse(policy, level, worst, value);
    }
    (next, transition)
}

/// An evaluation outside the hours of the rule's schedule. Nothing is judged, and nothing of what was
/// before is remembered: what holds when the schedule begins again fires anew.
#[must_use]
pub fn rest(state: &State, now: Timestamp) -> (State, Option<Transition>) {
    let State { level: from, since, worst, .. } = *state;
    let observation = Observation::Unjudged(Reason::OffSchedule);
    let is_open = from != Level::Ok || state.flaps.is_flapping;
    let off_since = if from == Level::Ok { since } else { now };
    let transition = Transition {
        cause: Cause::ScheduleEnded,
        from,
        to: Level::Ok,
        at: now,
        value: None,
        worst,
        since,
    };
    (State { observation, ..State::new(off_since) }, is_open.then_some(transition))
}

/// A value against a threshold.
fn judge(threshold: Option<Threshold>, every: Span, gate: Gate, value: f64) -> Gate {
    match threshold {
        Some(t) if gate.firing => advance(gate, t.is_recovered(value), every, t.clear_hold),
        Some(t) => towards_firing(&t, every, gate, t.is_beyond(value)),
        None => Gate::default(),
    }
}

/// A lower bound against a threshold: it can be beyond `above`, and it can rule a recovery from it
/// out. About anything else it says nothing, and the gate stays.
fn judge_bound(threshold: Option<Threshold>, every: Span, gate: Gate, bound: f64) -> Gate {
    match threshold {
        Some(t) if t.side == Side::Above && gate.firing && !t.is_recovered(bound) => {
            Gate { held: None, ..gate }
        }
        Some(t) if t.side == Side::Above && !gate.firing && t.is_beyond(bound) => {
            towards_firing(&t, every, gate, true)
        }
        Some(_) => gate,
        None => Gate::default(),
    }
}

fn towards_firing(threshold: &Threshold, every: Span, gate: Gate, is_beyond: bool) -> Gate {
    let Some(of) = threshold.of else {
        return advance(Gate { beyond: 0, ..gate }, is_beyond, every, threshold.hold);
    };
    let last = u64::MAX >> u64::BITS.saturating_sub(of.among.into()).min(u64::BITS - 1);
    let beyond = (gate.beyond << 1 | u64::from(is_beyond)) & last;
    if is_beyond && beyond.count_ones() >= of.needed.into() {
        Gate { firing: true, ..Gate::default() }
    } else {
        Gate { firing: false, held: None, beyond }
    }
}

fn advance(gate: Gate, holds: bool, every: Span, needed: Span) -> Gate {
    if !holds {
        return Gate { held: None, ..gate };
    }
    let held = gate.held.map_or(Span::ZERO, |held| held.plus(every));
    if held >= needed {
        Gate { firing: !gate.firing, ..Gate::default() }
    } else {
        Gate { held: Some(held), ..gate }
    }
}

impl Threshold {
    /// Strictly beyond: it fires.
    #[must_use]
    pub fn is_beyond(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value > self.value,
            Side::Below => value < self.value,
        }
    }

    /// At the clearing value or on its good side: it recovers.
    #[must_use]
    pub fn is_recovered(&self, value: f64) -> bool {
        match self.side {
            Side::Above => value <= self.clear,
            Side::Below => value >= self.clear,
        }
    }
}

/// The worse of two values in the eyes of a level's threshold; of the rule's other one where the
/// level has none of its own.
#[must_use]
pub fn worse(policy: &Policy, level: Level, a: Option<f64>, b: Option<f64>) -> Option<f64> {
    let side = policy.threshold(level).or(policy.critical).or(policy.warning).map(|t| t.side);
    match (a, b) {
        (Some(a), Some(b)) if side == Some(Side::Below) => Some(a.min(b)),
        (Some(a), Some(b)) => Some(a.max(b)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests;
