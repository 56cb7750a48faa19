//! The state of one instance of a rule, as a pure function:
//! `(policy, state, observation, now) → (state, transition)`.
//!
//! Warning and critical are judged apart, each by a gate with hysteresis of its own, and the worse
//! one is the state. A timer does not measure the clock: it adds up the time between evaluations
//! that said something. So it stands still while nothing can be said, and while tallyd is down, and
//! never runs out by itself.

use crate::config::{Missing, MissingState, Rule, Side, Threshold};
use crate::query::Observation;
use crate::time::{Span, Timestamp};

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
}

impl Policy {
    /// The policy of a rule that is evaluated at each close of a base window.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        let Rule { warning, critical, missing, .. } = rule;
        Self { warning: *warning, critical: *critical, missing: *missing, every: Span::SECOND }
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
}

/// All that is remembered of one instance.
#[derive(Clone, Copy, Debug, PartialEq)]
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
        }
    }

    /// The worst level whose timer runs towards firing.
    #[must_use]
    pub fn pending(&self) -> Option<Level> {
        let waits = |gate: Gate| !gate.firing && gate.held.is_some();
        match (waits(self.critical), waits(self.warning)) {
            (true, _) if self.level < Level::Critical => Some(Level::Critical),
            (_, true) if self.level < Level::Warning => Some(Level::Warning),
            _ => None,
        }
    }
}

/// A change of state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transition {
    /// The state before.
    pub from: Level,
    /// The state from now on.
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
    let mut next = State { observation, ..*state };
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
            next.missing = Some(state.missing.map_or(Span::ZERO, |held| held.plus(policy.every)));
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
    let value = if is_lost { None } else { next.value };
    if level == state.level {
        next.worst = worse(policy, level, state.worst, value);
        return (next, None);
    }
    let transition = Transition {
        from: state.level,
        to: level,
        at: now,
        value,
        worst: state.worst,
        since: state.since,
    };
    next = State { level, since: now, began: value, worst: value, ..next };
    (next, Some(transition))
}

/// A value against a threshold.
fn judge(threshold: Option<Threshold>, every: Span, gate: Gate, value: f64) -> Gate {
    let Some(threshold) = threshold else { return Gate::default() };
    let (holds, needed) = if gate.firing {
        (threshold.is_recovered(value), threshold.clear_hold)
    } else {
        (threshold.is_beyond(value), threshold.hold)
    };
    advance(gate, holds, every, needed)
}

/// A lower bound against a threshold: it can be beyond `above`, and it can rule a recovery from it
/// out. About anything else it says nothing, and the gate stays.
fn judge_bound(threshold: Option<Threshold>, every: Span, gate: Gate, bound: f64) -> Gate {
    match threshold {
        Some(t) if t.side == Side::Above && gate.firing && !t.is_recovered(bound) => {
            Gate { held: None, ..gate }
        }
        Some(t) if t.side == Side::Above && !gate.firing && t.is_beyond(bound) => {
            advance(gate, true, every, t.hold)
        }
        Some(_) => gate,
        None => Gate::default(),
    }
}

fn advance(gate: Gate, holds: bool, every: Span, needed: Span) -> Gate {
    if !holds {
        return Gate { held: None, ..gate };
    }
    let held = gate.held.map_or(Span::ZERO, |held| held.plus(every));
    if held >= needed {
        Gate { firing: !gate.firing, held: None }
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
