//! The edges one by one, and the whole against a slow, obvious model.

use proptest::prelude::*;

use super::*;
use crate::query::Reason;

const EVERY: Span = Span::SECOND;

fn above(value: f64, clear: f64, hold: u64, clear_hold: u64) -> Threshold {
    let (hold, clear_hold) = (Span::from_secs(hold), Span::from_secs(clear_hold));
    Threshold { side: Side::Above, value, clear, hold, clear_hold }
}

fn below(value: f64, clear: f64) -> Threshold {
    let (hold, clear_hold) = (Span::ZERO, Span::ZERO);
    Threshold { side: Side::Below, value, clear, hold, clear_hold }
}

fn critical(threshold: Threshold) -> Policy {
    Policy { warning: None, critical: Some(threshold), missing: None, every: EVERY }
}

fn is(value: f64) -> Observation {
    Observation::Value { value, covered: 1.0 }
}

/// Plays observations one second apart, and gives the first letter of the state after each.
fn play(policy: &Policy, observations: &[Observation]) -> String {
    let mut state = State::new(Timestamp::EPOCH);
    let mut trace = String::new();
    for (at, observation) in (0..).zip(observations) {
        let (next, transition) = step(policy, &state, *observation, Timestamp::from_secs(at));
        assert_eq!(transition.is_some(), next.level != state.level);
        state = next;
        trace.push(match state.level {
            Level::Ok => '.',
            Level::Warning => 'w',
            Level::Unknown => 'u',
            Level::Critical => 'C',
        });
    }
    trace
}

fn values(values: &[f64]) -> Vec<Observation> {
    values.iter().copied().map(is).collect()
}

#[test]
fn fires_strictly_beyond_and_clears_at_or_beyond() {
    let policy = critical(above(10.0, 5.0, 0, 0));
    assert_eq!(play(&policy, &values(&[10.0, 10.1, 10.0, 5.1, 5.0, 5.1])), ".CCC..");
    let policy = critical(below(10.0, 15.0));
    assert_eq!(play(&policy, &values(&[10.0, 9.9, 10.0, 14.9, 15.0, 14.9])), ".CCC..");
}

#[test]
fn between_clear_and_threshold_the_state_stays() {
    let policy = critical(above(10.0, 5.0, 0, 0));
    assert_eq!(play(&policy, &values(&[7.0, 8.0, 11.0, 7.0, 8.0, 6.0, 4.0, 7.0])), "..CCCC..");
}

#[test]
fn a_break_starts_the_timer_again() {
    let policy = critical(above(10.0, 5.0, 3, 2));
    assert_eq!(
        play(&policy, &values(&[11.0, 11.0, 11.0, 10.0, 11.0, 11.0, 11.0, 11.0])),
        ".......C"
    );
    let fired = [11.0, 11.0, 11.0, 11.0];
    let clearing = [4.0, 4.0, 6.0, 4.0, 4.0, 4.0];
    assert_eq!(play(&policy, &values(&[&fired[..], &clearing[..]].concat())), "...CCCCCC.");
}

#[test]
fn the_worse_of_warning_and_critical_is_the_state() {
    let policy =
        Policy { warning: Some(above(5.0, 5.0, 0, 0)), ..critical(above(10.0, 8.0, 0, 0)) };
    assert_eq!(play(&policy, &values(&[5.0, 6.0, 11.0, 9.0, 8.0, 5.0])), ".wCCw.");
}

#[test]
fn what_is_not_judged_leaves_state_and_timers() {
    let policy = critical(above(10.0, 5.0, 2, 0));
    let gap = Observation::Unjudged(Reason::Gap);
    assert_eq!(
        play(&policy, &[is(11.0), is(11.0), gap, gap, gap, is(11.0), gap, is(5.0)]),
        ".....CC."
    );
}

#[test]
fn a_lower_bound_can_fire_above_and_nothing_else() {
    let at_least = Observation::AtLeast;
    let policy = critical(above(10.0, 5.0, 0, 2));
    assert_eq!(
        play(&policy, &[at_least(3.0), at_least(11.0), at_least(3.0), at_least(0.0)]),
        ".CCC"
    );
    let seen =
        [is(11.0), is(4.0), is(4.0), at_least(6.0), is(4.0), is(4.0), at_least(0.0), is(4.0)];
    assert_eq!(play(&policy, &seen), "CCCCCCC.", "more than `clear` breaks a recovery");
    let policy = critical(below(10.0, 10.0));
    assert_eq!(play(&policy, &[at_least(3.0), is(3.0), at_least(20.0), is(20.0)]), ".CC.");
}

#[test]
fn missing_leads_where_the_rule_says_once_it_has_lasted() {
    let lost = Observation::Missing;
    let with = |state| Policy {
        missing: Some(Missing { after: Span::from_secs(2), state }),
        ..critical(above(10.0, 5.0, 0, 0))
    };
    let seen = [is(11.0), lost, lost, lost, lost, is(7.0), is(1.0)];
    let check = |state, expect| assert_eq!(play(&with(state), &seen), expect, "{state:?}");
    check(MissingState::Unknown, "CCCuuC.");
    check(MissingState::Keep, "CCCCCC.");
    check(MissingState::Ok, "CCC....");
    check(MissingState::Warning, "CCCwwC.");
    check(MissingState::Critical, "CCCCCC.");
    let quiet = [is(1.0), lost, lost, lost, is(7.0)];
    assert_eq!(play(&with(MissingState::Critical), &quiet), "...C.");
    let broken = [is(1.0), lost, lost, is(1.0), lost, lost];
    assert_eq!(play(&with(MissingState::Unknown), &broken), "......", "in a row");
}

#[test]
fn never_seen_is_ok_unless_the_rule_writes_missing_out() {
    let policy = critical(above(10.0, 5.0, 0, 0));
    let never = [Observation::NeverSeen; 400];
    assert!(!play(&policy, &never).contains('u'));
    let written = Policy { missing: Some(Missing::default()), ..policy };
    let trace = play(&written, &never);
    assert_eq!(trace.find('u'), Some(300), "after five minutes");
    let missing = [Observation::Missing; 400];
    assert_eq!(
        play(&policy, &missing).find('u'),
        Some(300),
        "a gauge that stopped is another matter"
    );
}

#[test]
fn keeps_the_values_that_people_ask_for() {
    let policy = critical(above(10.0, 5.0, 0, 0));
    let mut state = State::new(Timestamp::EPOCH);
    let mut last = None;
    for (at, value) in (1..).zip([1.0, 12.0, 30.0, 7.0, 2.0]) {
        let (next, transition) = step(&policy, &state, is(value), Timestamp::from_secs(at));
        if at == 4 {
            assert_eq!((next.began, next.worst, next.value), (Some(12.0), Some(30.0), Some(7.0)));
            assert_eq!(next.since, Timestamp::from_secs(2));
        }
        state = next;
        last = transition;
    }
    let end = last.unwrap();
    assert_eq!((end.worst, end.value, end.since), (Some(30.0), Some(2.0), Timestamp::from_secs(2)));
}

#[test]
fn pending_is_the_worst_level_that_waits() {
    let policy =
        Policy { warning: Some(above(5.0, 5.0, 9, 0)), ..critical(above(10.0, 10.0, 9, 0)) };
    let after = |value| step(&policy, &State::new(Timestamp::EPOCH), is(value), Timestamp::EPOCH).0;
    assert_eq!(after(6.0).pending(), Some(Level::Warning));
    assert_eq!(after(11.0).pending(), Some(Level::Critical));
    assert_eq!(after(1.0).pending(), None);
}

// The model: it keeps all that was ever seen, and at each step looks back over it.

#[derive(Default)]
struct Model {
    seen: Vec<Observation>,
    fired: [bool; 2],
    /// Per gate, where in `seen` its last change or the last loss to `ok` was.
    changed: [usize; 2],
}

impl Model {
    fn step(&mut self, policy: &Policy, observation: Observation) -> Level {
        self.seen.push(observation);
        for (gate, threshold) in [policy.warning, policy.critical].into_iter().enumerate() {
            if let Some(threshold) = threshold {
                self.gate(gate, &threshold);
            }
        }
        let missing = policy.missing.unwrap_or_default();
        if self.lost_for(policy).is_some_and(|secs| secs * 1000 >= missing.after.as_millis()) {
            match missing.state {
                MissingState::Unknown => return Level::Unknown,
                MissingState::Warning => return Level::Warning,
                MissingState::Critical => return Level::Critical,
                MissingState::Ok => {
                    self.fired = [false; 2];
                    self.changed = [self.seen.len(); 2];
                }
                MissingState::Keep => {}
            }
        }
        match self.fired {
            [_, true] => Level::Critical,
            [true, _] => Level::Warning,
            _ => Level::Ok,
        }
    }

    /// How many observations in a row, back from the last one and not past the gate's last change,
    /// satisfy the condition. What says nothing is left out.
    fn gate(&mut self, gate: usize, threshold: &Threshold) {
        let above = threshold.side == Side::Above;
        let fired = self.fired[gate];
        let verdict = |observation: &Observation| match *observation {
            Observation::Value { value, .. } if fired => Some(threshold.is_recovered(value)),
            Observation::Value { value, .. } => Some(threshold.is_beyond(value)),
            Observation::AtLeast(bound) if above && fired && bound > threshold.clear => Some(false),
            Observation::AtLeast(bound) if above && !fired && bound > threshold.value => Some(true),
            _ => None,
        };
        let since = &self.seen[self.changed[gate]..];
        if since.last().and_then(verdict).is_none() {
            return;
        }
        let run = since.iter().rev().filter_map(verdict).take_while(|held| *held).count() as u64;
        let needed = if fired { threshold.clear_hold } else { threshold.hold };
        if run > 0 && (run - 1) * 1000 >= needed.as_millis() {
            self.fired[gate] = !fired;
            self.changed[gate] = self.seen.len();
        }
    }

    /// Seconds for which data has been missing, back from the last observation.
    fn lost_for(&self, policy: &Policy) -> Option<u64> {
        let verdict = |observation: &Observation| match observation {
            Observation::Value { .. } | Observation::AtLeast(_) => Some(false),
            Observation::Missing => Some(true),
            Observation::NeverSeen => policy.missing.map(|_| true),
            Observation::Unjudged(_) => None,
        };
        let run =
            self.seen.iter().rev().filter_map(verdict).take_while(|lost| *lost).count() as u64;
        run.checked_sub(1)
    }
}

fn observation() -> impl Strategy<Value = Observation> {
    prop_oneof![
        8 => (0..12_i32).prop_map(|value| is(f64::from(value))),
        2 => (0..12_i32).prop_map(|value| Observation::AtLeast(f64::from(value))),
        2 => Just(Observation::Missing),
        1 => Just(Observation::NeverSeen),
        1 => Just(Observation::Unjudged(Reason::Gap)),
    ]
}

fn threshold() -> impl Strategy<Value = Threshold> {
    (any::<bool>(), 0..10_i32, 0..4_i32, 0..4_u64, 0..4_u64).prop_map(
        |(is_above, value, gap, hold, clear_hold)| {
            let (side, gap) = if is_above { (Side::Above, -gap) } else { (Side::Below, gap) };
            let (hold, clear_hold) = (Span::from_secs(hold), Span::from_secs(clear_hold));
            let (value, clear) = (f64::from(value), f64::from(value + gap));
            Threshold { side, value, clear, hold, clear_hold }
        },
    )
}

fn missing() -> impl Strategy<Value = Missing> {
    let state = prop_oneof![
        Just(MissingState::Unknown),
        Just(MissingState::Keep),
        Just(MissingState::Ok),
        Just(MissingState::Warning),
        Just(MissingState::Critical),
    ];
    (0..4_u64, state).prop_map(|(after, state)| Missing { after: Span::from_secs(after), state })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn behaves_like_the_model(
        warning in prop::option::of(threshold()),
        critical in prop::option::of(threshold()),
        missing in prop::option::of(missing()),
        seen in prop::collection::vec(observation(), 1..60),
    ) {
        let policy = Policy { warning, critical, missing, every: EVERY };
        let mut model = Model::default();
        let mut state = State::new(Timestamp::EPOCH);
        for (at, observation) in (0..).zip(seen) {
            let expect = model.step(&policy, observation);
            let (next, transition) = step(&policy, &state, observation, Timestamp::from_secs(at));
            prop_assert_eq!(next.level, expect, "at {} after {:?}", at, &model.seen);
            prop_assert_eq!(transition.map(|t| (t.from, t.to)),
                (next.level != state.level).then_some((state.level, next.level)));
            state = next;
        }
    }
}
