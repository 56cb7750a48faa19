//! The edges one by one, and the whole against a slow, obvious model.

use proptest::prelude::*;

use super::*;
use crate::config::OfLast;
use crate::query::Reason;

const EVERY: Span = Span::SECOND;

fn above(value: f64, clear: f64, hold: u64, clear_hold: u64) -> Threshold {
    let (hold, clear_hold) = (Span::from_secs(hold), Span::from_secs(clear_hold));
    Threshold { side: Side::Above, value, clear, hold, of: None, clear_hold }
}

fn below(value: f64, clear: f64) -> Threshold {
    let (hold, clear_hold) = (Span::ZERO, Span::ZERO);
    Threshold { side: Side::Below, value, clear, hold, of: None, clear_hold }
}

fn critical(threshold: Threshold) -> Policy {
    Policy { warning: None, critical: Some(threshold), missing: None, every: EVERY, flapping: None }
}

fn of(needed: u8, among: u8, threshold: Threshold) -> Threshold {
    Threshold { of: Some(OfLast { needed, among }), ..threshold }
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
        assert_eq!(transition.is_some(), next.level != state.level, "none of them flaps");
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

#[test]
fn of_the_last_evaluations_so_many_fire_whatever_lies_between() {
    let policy = critical(of(3, 5, above(10.0, 5.0, 0, 0)));
    let play = |seen: &[f64]| play(&policy, &values(seen));
    assert_eq!(play(&[11.0, 11.0, 11.0]), "..C", "three of three are three of five");
    assert_eq!(play(&[11.0, 1.0, 11.0, 1.0, 11.0]), "....C");
    assert_eq!(play(&[11.0, 1.0, 1.0, 11.0, 1.0, 11.0, 11.0]), "......C");
    assert_eq!(play(&[11.0, 11.0, 1.0, 1.0, 1.0, 11.0, 11.0]), ".......", "two have gone by then");
    assert_eq!(
        play(&[11.0, 11.0, 11.0, 5.0, 11.0, 11.0, 11.0]),
        "..C...C",
        "what was before it ended does not count again"
    );
}

#[test]
fn of_counts_what_said_something() {
    let policy = critical(of(2, 3, above(10.0, 5.0, 0, 0)));
    let gap = Observation::Unjudged(Reason::Gap);
    let (lost, bound) = (Observation::Missing, Observation::AtLeast);
    assert_eq!(play(&policy, &[is(11.0), gap, gap, gap, is(11.0)]), "....C");
    assert_eq!(play(&policy, &[is(11.0), lost, lost, lost, is(11.0)]), "....C");
    assert_eq!(
        play(&policy, &[is(11.0), bound(3.0), bound(3.0), bound(3.0), bound(12.0)]),
        "....C"
    );
    assert_eq!(play(&policy, &[is(11.0), is(1.0), is(1.0), gap, is(11.0)]), ".....");
}

#[test]
fn what_some_evaluations_ask_for_is_pending() {
    let policy = critical(of(2, 3, above(10.0, 5.0, 0, 0)));
    let mut state = State::new(Timestamp::EPOCH);
    let pending: Vec<_> = [11.0, 1.0, 1.0, 1.0, 11.0, 11.0]
        .map(|value| {
            state = step(&policy, &state, is(value), Timestamp::EPOCH).0;
            state.pending().is_some()
        })
        .to_vec();
    assert_eq!(pending, [true, true, true, false, true, false]);
}

/// Plays values under thresholds that change: each value with the policy that holds then.
fn play_each(seen: &[(&Policy, f64)]) -> String {
    let mut state = State::new(Timestamp::EPOCH);
    let letters = seen.iter().map(|(policy, value)| {
        state = step(policy, &state, is(*value), Timestamp::EPOCH).0;
        state.level.word().chars().next().unwrap()
    });
    letters.collect()
}

#[test]
fn other_thresholds_judge_from_their_first_evaluation_on() {
    let day = critical(below(10.0, 10.0));
    let night = critical(below(5.0, 8.0));
    assert_eq!(play_each(&[(&day, 7.0), (&night, 9.0)]), "co", "recovered by the new `clear`");
    assert_eq!(play_each(&[(&day, 7.0), (&night, 7.0), (&night, 8.0)]), "cco", "between, it stays");
    assert_eq!(play_each(&[(&night, 7.0), (&day, 7.0)]), "oc");
    let slow = critical(above(10.0, 10.0, 3, 0));
    let slower = critical(above(20.0, 20.0, 3, 0));
    let held = [(&slow, 30.0), (&slow, 30.0), (&slower, 30.0), (&slower, 30.0)];
    assert_eq!(play_each(&held), "oooc", "what holds by both has held without a break");
    let broken = [(&slow, 15.0), (&slow, 15.0), (&slower, 15.0), (&slow, 15.0), (&slow, 15.0)];
    assert_eq!(play_each(&broken), "ooooo");
    let both = Policy { warning: Some(above(5.0, 5.0, 0, 0)), ..slow };
    assert_eq!(play_each(&[(&both, 7.0), (&slow, 7.0)]), "wo", "no warning is left to be one");
}

#[test]
fn a_schedule_that_ends_closes_and_what_holds_when_it_begins_fires_anew() {
    let policy = Policy { flapping: Some(Flapping::default()), ..critical(above(10.0, 5.0, 1, 0)) };
    let at = Timestamp::from_secs;
    let mut state = State::new(at(0));
    for secs in 0..2 {
        state = step(&policy, &state, is(11.0), at(secs)).0;
    }
    assert_eq!(state.level, Level::Critical);
    let (off, told) = rest(&state, at(2));
    let told = told.unwrap();
    assert_eq!(
        (told.cause, told.from, told.to),
        (Cause::ScheduleEnded, Level::Critical, Level::Ok)
    );
    assert_eq!((off.level, off.since, off.is_off()), (Level::Ok, at(2), true));
    let (off, told) = rest(&off, at(3));
    assert_eq!((told, off.since), (None, at(2)), "once");
    let (on, told) = step(&policy, &off, is(11.0), at(4));
    assert_eq!((on.level, on.pending(), told), (Level::Ok, Some(Level::Critical), None));
    let (on, told) = step(&policy, &on, is(11.0), at(5));
    assert_eq!((on.level, told.unwrap().cause), (Level::Critical, Cause::Changed));
    let quiet = rest(&State::new(at(0)), at(9)).0;
    assert_eq!(quiet.since, at(0), "it was well before, and is");
}

/// What comes of values one second apart under `flapping`: each transition with its second.
fn flaps(policy: &Policy, seen: &[(usize, f64)]) -> Vec<String> {
    let mut state = State::new(Timestamp::EPOCH);
    let all = seen.iter().flat_map(|(times, value)| std::iter::repeat_n(*value, *times));
    let told = (0..).zip(all).filter_map(|(at, value)| {
        let (next, transition) = step(policy, &state, is(value), Timestamp::from_secs(at));
        state = next;
        transition.map(|told| format!("{at} {:?} {}", told.cause, told.to.word()))
    });
    told.collect()
}

#[test]
fn more_than_five_changes_in_ten_minutes_are_flapping() {
    let flapping = Some(Flapping::default());
    let policy = Policy { flapping, ..critical(above(10.0, 5.0, 0, 0)) };
    let up_and_down = [(60, 1.0), (60, 11.0), (60, 1.0), (60, 11.0), (60, 1.0), (60, 11.0)];
    let changed = [
        "60 Changed critical",
        "120 Changed ok",
        "180 Changed critical",
        "240 Changed ok",
        "300 Changed critical",
    ];
    let check = |more: &[(usize, f64)], expect: &[&str]| {
        let told = flaps(&policy, &[&up_and_down[..], more].concat());
        assert_eq!(told, [&changed[..], expect].concat());
    };
    check(&[(700, 1.0)], &["360 Flapping ok", "960 Settled ok"]);
    check(
        &[(60, 1.0), (30, 11.0), (700, 1.0)],
        &["360 Flapping ok", "420 Flaps critical", "450 Flaps ok", "1050 Settled ok"],
    );
    // Critical for two minutes is told even so, and once; the true state is told in the end.
    check(
        &[(60, 1.0), (700, 11.0)],
        &["360 Flapping ok", "420 Flaps critical", "540 Insists critical", "1020 Settled critical"],
    );
    // After that it is as before.
    check(
        &[(620, 1.0), (10, 11.0)],
        &["360 Flapping ok", "960 Settled ok", "980 Changed critical"],
    );
    // The sixth change comes ten minutes after the first.
    let told = flaps(&policy, &[&up_and_down[..], &[(10, 11.0)], &[(1, 1.0)]].concat());
    assert!(told.last().unwrap().contains("Flapping"));
    let told = flaps(&policy, &[&up_and_down[..], &[(300, 11.0)], &[(1, 1.0)]].concat());
    assert!(told.last().unwrap().contains("660 Changed ok"), "half-open, like a window: {told:?}");
}

#[test]
fn flapping_insists_after_for_where_that_is_longer_and_not_on_what_nobody_sees() {
    let flapping = Some(Flapping { changes: 1, within: Span::from_secs(1000) });
    let policy = Policy { flapping, ..critical(above(10.0, 5.0, 200, 0)) };
    let told = flaps(&policy, &[(201, 11.0), (1, 1.0), (600, 11.0)]);
    assert_eq!(
        told,
        ["200 Changed critical", "201 Flapping ok", "402 Flaps critical", "602 Insists critical"]
    );
    let policy = Policy { flapping, ..critical(above(10.0, 5.0, 0, 0)) };
    let mut state = State::new(Timestamp::EPOCH);
    for value in [11.0, 1.0, 11.0] {
        state = step(&policy, &state, is(value), Timestamp::EPOCH).0;
    }
    let gap = Observation::Unjudged(Reason::Gap);
    let (mut insists, mut settles) = (None, None);
    for at in 1.. {
        let (next, told) = step(&policy, &state, gap, Timestamp::EPOCH);
        state = next;
        match told.map(|told| told.cause) {
            Some(Cause::Insists) => insists = Some(at),
            Some(Cause::Settled) => settles = Some(at),
            _ => {}
        }
        if settles.is_some() {
            break;
        }
    }
    assert_eq!((insists, settles), (None, Some(1000)), "the state is still all the same");
}

#[test]
fn without_flapping_every_change_is_one() {
    let policy = critical(above(10.0, 5.0, 0, 0));
    let told = flaps(&policy, &[(1, 11.0), (1, 1.0)].repeat(50));
    assert!(told.len() == 100 && told.iter().all(|told| told.contains("Changed")));
}

// The model: it keeps all that was ever seen, and at each step looks back over it.

/// One evaluation; `None` outside the hours of the schedule.
type Seen = (Policy, Option<Observation>);

#[derive(Default)]
struct Model {
    seen: Vec<Seen>,
    fired: [bool; 2],
    /// Per gate, where in `seen` its last change or the last loss to `ok` was.
    changed: [usize; 2],
    /// Where in `seen` the schedule was inactive last, and behind that.
    on_since: usize,
    /// The level after each of `seen`.
    levels: Vec<Level>,
    is_flapping: bool,
    /// Where in `seen` it insisted last.
    insisted: usize,
}

/// What a condition came to in one evaluation, by its own policy: the threshold it was judged by, and
/// whether it held.
type Verdict = (Threshold, bool);

impl Model {
    fn step(&mut self, seen: Seen) -> (Level, Option<Cause>) {
        let before = self.levels.last().copied().unwrap_or_default();
        self.seen.push(seen);
        let Some(_) = seen.1 else {
            let is_open = before != Level::Ok || self.is_flapping;
            let levels = vec![Level::Ok; self.seen.len()];
            let on_since = self.seen.len();
            let changed = [on_since; 2];
            *self = Self {
                seen: std::mem::take(&mut self.seen),
                levels,
                on_since,
                changed,
                ..Self::default()
            };
            return (Level::Ok, is_open.then_some(Cause::ScheduleEnded));
        };
        let level = self.level(&seen.0);
        self.levels.push(level);
        let has_changed = level != before;
        let cause = match seen.0.flapping {
            Some(flapping) => self.flapping(&seen.0, flapping, has_changed),
            None => has_changed.then_some(Cause::Changed),
        };
        (level, cause)
    }

    fn level(&mut self, policy: &Policy) -> Level {
        for gate in 0..2 {
            self.gate(gate);
        }
        let missing = policy.missing.unwrap_or_default();
        if self.lost_for().is_some_and(|secs| secs * 1000 >= missing.after.as_millis()) {
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

    /// How the last evaluations, back from the last one and not past the gate's last change, satisfy the
    /// condition. What says nothing is left out.
    fn gate(&mut self, gate: usize) {
        let fired = self.fired[gate];
        let threshold = |policy: &Policy| [policy.warning, policy.critical][gate];
        let (policy, observation) = self.seen[self.seen.len() - 1];
        if threshold(&policy).is_none() {
            let says =
                matches!(observation, Some(Observation::Value { .. } | Observation::AtLeast(_)));
            if says {
                self.fired[gate] = false;
                self.changed[gate] = self.seen.len();
            }
            return;
        }
        let verdict = |(policy, observation): &Seen| -> Option<Verdict> {
            let t = threshold(policy)?;
            let above = t.side == Side::Above;
            let holds = match (*observation)? {
                Observation::Value { value, .. } if fired => t.is_recovered(value),
                Observation::Value { value, .. } => t.is_beyond(value),
                Observation::AtLeast(bound) if above && fired && bound > t.clear => false,
                Observation::AtLeast(bound) if above && !fired && bound > t.value => true,
                _ => return None,
            };
            Some((t, holds))
        };
        let since = &self.seen[self.changed[gate]..];
        let verdicts: Vec<Verdict> = since.iter().rev().filter_map(verdict).collect();
        let (Some((now, holds)), true) =
            (verdicts.first(), since.last().and_then(verdict).is_some())
        else {
            return;
        };
        let is_over = if let Some(of) = now.of.filter(|_| !fired) {
            // The bits that other thresholds with `of` have left are among them.
            let bits = verdicts.iter().take_while(|(t, _)| t.of.is_some());
            let last = remembered(bits.map(|(t, held)| (t.of.unwrap().among, *held)));
            let count = last.iter().take(of.among.into()).filter(|held| **held).count();
            *holds && count >= of.needed.into()
        } else {
            let same = |(t, held): &&Verdict| *held && (fired || t.of.is_none());
            let run = verdicts.iter().take_while(same).count() as u64;
            let needed = if fired { now.clear_hold } else { now.hold };
            run > 0 && (run - 1) * 1000 >= needed.as_millis()
        };
        if is_over {
            self.fired[gate] = !fired;
            self.changed[gate] = self.seen.len();
        }
    }

    /// Seconds for which data has been missing, back from the last observation.
    fn lost_for(&self) -> Option<u64> {
        let verdict = |(policy, observation): &Seen| match (*observation)? {
            Observation::Value { .. } | Observation::AtLeast(_) => Some(false),
            Observation::Missing => Some(true),
            Observation::NeverSeen => policy.missing.map(|_| true),
            Observation::Unjudged(_) => None,
        };
        let since = &self.seen[self.on_since..];
        let run = since.iter().rev().filter_map(verdict).take_while(|lost| *lost).count() as u64;
        run.checked_sub(1)
    }

    fn flapping(
        &mut self,
        policy: &Policy,
        flapping: Flapping,
        has_changed: bool,
    ) -> Option<Cause> {
        let last = self.levels.len() - 1;
        let within = usize::try_from(flapping.within.as_millis() / 1000).unwrap();
        let level_before = |at: usize| if at == 0 { Level::Ok } else { self.levels[at - 1] };
        let is_change = |at: &usize| self.levels[*at] != level_before(*at);
        let recent =
            (self.on_since..=last).filter(is_change).filter(|at| last - at < within).count();
        if has_changed {
            let cause = match (self.is_flapping, recent > usize::from(flapping.changes)) {
                (true, _) => Cause::Flaps,
                (false, true) => Cause::Flapping,
                (false, false) => Cause::Changed,
            };
            self.is_flapping |= cause == Cause::Flapping;
            return Some(cause);
        }
        if self.is_flapping && recent == 0 {
            self.is_flapping = false;
            return Some(Cause::Settled);
        }
        let began = (0..=last).rev().find(is_change).unwrap_or(0);
        let judged = |(_, seen): &&Seen| !matches!(seen, Some(Observation::Unjudged(_)));
        let critical = self.seen[began + 1..].iter().filter(judged).count();
        let hold = policy.critical.map_or(0, |threshold| threshold.hold.as_millis() / 1000);
        let is_critical = self.levels[last] == Level::Critical;
        let must = critical as u64 >= hold.max(120) && is_critical && self.insisted <= began;
        if self.is_flapping && must {
            self.insisted = last;
            return Some(Cause::Insists);
        }
        None
    }
}

/// What is left of evaluations, the last first, of which each remembers no more than its own threshold
/// looks back over.
fn remembered(last_first: impl Iterator<Item = (u8, bool)>) -> Vec<bool> {
    let mut least = usize::MAX;
    let mut kept = Vec::new();
    for (age, (among, held)) in last_first.enumerate() {
        least = least.min(age + usize::from(among));
        if age >= least {
            break;
        }
        kept.push(held);
    }
    kept
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

fn of_last() -> impl Strategy<Value = OfLast> {
    (1..5_u8, 0..4_u8).prop_map(|(needed, more)| OfLast { needed, among: needed + more })
}

fn threshold() -> impl Strategy<Value = Threshold> {
    (any::<bool>(), 0..10_i32, 0..4_i32, 0..4_u64, 0..4_u64, prop::option::of(of_last())).prop_map(
        |(is_above, value, gap, hold, clear_hold, of)| {
            let (side, gap) = if is_above { (Side::Above, -gap) } else { (Side::Below, gap) };
            let (hold, clear_hold) = (Span::from_secs(hold), Span::from_secs(clear_hold));
            let hold = if of.is_some() { Span::ZERO } else { hold };
            let (value, clear) = (f64::from(value), f64::from(value + gap));
            Threshold { side, value, clear, hold, of, clear_hold }
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

fn flapping() -> impl Strategy<Value = Flapping> {
    (1..4_u8, 1..300_u64)
        .prop_map(|(changes, within)| Flapping { changes, within: Span::from_secs(within) })
}

/// A rule's policies: the thresholds change, the rest is one.
fn policies() -> impl Strategy<Value = Vec<Policy>> {
    let pair = (prop::option::of(threshold()), prop::option::of(threshold()));
    let pairs = prop::collection::vec(pair, 1..4);
    (pairs, prop::option::of(missing()), prop::option::of(flapping())).prop_map(
        |(pairs, missing, flapping)| {
            let policy =
                |(warning, critical)| Policy { warning, critical, missing, every: EVERY, flapping };
            pairs.into_iter().map(policy).collect()
        },
    )
}

/// Runs of one observation under one of the policies; long ones, so that something settles.
fn run() -> impl Strategy<Value = (usize, Option<Observation>, usize)> {
    let times = prop_oneof![12 => 1..4_usize, 1 => 100..320_usize];
    let seen = prop_oneof![30 => observation().prop_map(Some), 1 => Just(None)];
    (prop_oneof![4 => Just(0_usize), 1 => 0..9_usize], seen, times)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]
    #[test]
    fn behaves_like_the_model(
        policies in policies(),
        runs in prop::collection::vec(run(), 1..60),
    ) {
        let mut model = Model::default();
        let mut state = State::new(Timestamp::EPOCH);
        let each = runs.iter().flat_map(|(policy, seen, times)| {
            let policy = policies[policy % policies.len()];
            std::iter::repeat_n((policy, *seen), *times)
        });
        for (at, (policy, seen)) in (0..).zip(each) {
            let (level, cause) = model.step((policy, seen));
            let now = Timestamp::from_secs(at);
            let (next, transition) = match seen {
                Some(observation) => step(&policy, &state, observation, now),
                None => rest(&state, now),
            };
            prop_assert_eq!(next.level, level, "at {}", at);
            let expect = cause.map(|cause| (cause, state.level, level));
            prop_assert_eq!(transition.map(|t| (t.cause, t.from, t.to)), expect, "at {}", at);
            // What was kept in between is the same state.
            let mut bytes = Vec::new();
            next.encode(&mut bytes);
            state = State::decode(&bytes).unwrap();
            prop_assert_eq!(&state, &next);
        }
    }
}
