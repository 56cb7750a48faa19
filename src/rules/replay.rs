//! Rules over again: stepped with what was seen in the past, by the code that steps them live.
//!
//! Whoever replays brings the observations, and says how far apart they are; windows are not read here.

use std::sync::Arc;

use super::{Active, Event, Policy, Rules, State, state};
use crate::config::Rule;
use crate::query::{Group, Observation};
use crate::time::{Span, Timestamp};

impl Rules {
    /// The rules as they were written, whatever schedule is active.
    pub fn written(&self) -> impl Iterator<Item = &Rule> {
        self.active.iter().map(|active| &*active.base)
    }

    /// From now on the rule in that place is evaluated at that pace: finer windows are not kept so long.
    pub fn set_pace(&mut self, place: usize, every: Span) {
        if let Some(active) = self.active.get_mut(place) {
            active.set_pace(every);
        }
    }

    /// Steps the rules in these places with what their instances saw at `instant`. Instances come in the
    /// order of their tags, and begin with the first that was seen of them.
    pub fn replay<'a, Seen>(
        &mut self,
        instant: Timestamp,
        due: impl Iterator<Item = (usize, Seen)>,
    ) -> Vec<Event>
    where
        Seen: Iterator<Item = (&'a Group, Observation)>,
    {
        let mut events = Vec::new();
        for (place, seen) in due {
            if let Some(active) = self.active.get_mut(place) {
                active.replay(instant, seen, &mut events);
            }
        }
        self.quieten(instant, &mut events);
        self.evaluated = Some(instant);
        events
    }
}

impl Active {
    fn set_pace(&mut self, every: Span) {
        let now = |rule: &Arc<Rule>| Arc::new(Rule { every, ..Rule::clone(rule) });
        let of_when = self.whens.iter().position(|(_, rule)| Arc::ptr_eq(rule, &self.rule));
        self.base = now(&self.base);
        self.whens.iter_mut().for_each(|(_, rule)| *rule = now(rule));
        let rule = of_when.and_then(|at| self.whens.get(at)).map_or(&self.base, |(_, rule)| rule);
        self.rule = Arc::clone(rule);
        self.policy = Policy::of(rule);
    }

    fn replay<'a>(
        &mut self,
        instant: Timestamp,
        seen: impl Iterator<Item = (&'a Group, Observation)>,
        events: &mut Vec<Event>,
    ) {
        self.evaluated = Some(instant);
        self.turn_to(instant);
        let is_off = self.rule.schedule.as_ref().is_some_and(|hours| !hours.is_active(instant));
        for (group, observation) in seen {
            if !self.states.contains_key(group) {
                self.states.insert(group.clone(), State::new(instant));
            }
            let Some(state) = self.states.get_mut(group) else { continue };
            let (next, transition) = if is_off {
                state::rest(state, instant)
            } else {
                state::step(&self.policy, state, observation, instant)
            };
            *state = next;
            if let Some(transition) = transition {
                let (rule, group) = (Arc::clone(&self.rule), group.clone());
                let (state, problem, is_quiet) = (state.clone(), None, false);
                let meaning = self.meaning;
                events.push(Event { rule, meaning, group, transition, state, problem, is_quiet });
            }
        }
    }
}
