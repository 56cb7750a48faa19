//! States of instances as facts: what of them has to be known again after a start.
//!
//! The key of a fact is the rule's name, what it means, and the values of its `by` tags. So the states
//! of a rule that means something else now are nobody's, and go.

use super::{Active, Rules, State};
use crate::query::Group;
use crate::store::{Facts, Table};
use crate::varint::{self, Reader};

/// The first byte of the keys.
const SPACE: u8 = b'r';

impl Rules {
    /// Says what has changed since the last call.
    pub fn note(&mut self, facts: &mut Facts) {
        for key in std::mem::take(&mut self.gone) {
            facts.remove(key);
        }
        for active in &mut self.active {
            for group in std::mem::take(&mut active.moved) {
                match active.states.get(&group) {
                    Some(state) => facts.put(active.key(&group), write(state)),
                    None if group == active.own_group() => {
                        facts.put(active.key(&group), write(&active.own));
                    }
                    None => facts.remove(active.key(&group)),
                }
            }
        }
    }

    /// Takes over what an earlier process knew of these rules; how much of it cannot be read. What it knew
    /// of others is forgotten.
    pub fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = 0;
        for (key, bytes) in table.below(SPACE) {
            let mut whole = vec![SPACE];
            whole.extend_from_slice(key);
            let Some((name, meaning, group)) = read_key(key) else {
                garbled += 1;
                self.gone.push(whole);
                continue;
            };
            let active = self.places.get(&name).and_then(|at| self.active.get_mut(*at));
            let Some(active) = active.filter(|active| active.meaning == meaning) else {
                self.gone.push(whole);
                continue;
            };
            match State::decode(bytes) {
                Err(_) => garbled += 1,
                Ok(state) if group == active.own_group() => active.own = state,
                Ok(state) => drop(active.states.insert(group, state)),
            }
        }
        garbled
    }

    /// Takes over states from rules that mean the same. The others' go.
    pub fn succeed(&mut self, old: Self) {
        self.evaluated = old.evaluated;
        self.gone = old.gone;
        for before in old.active {
            let now = self.places.get(&before.rule.name).and_then(|at| self.active.get_mut(*at));
            if let Some(now) = now.filter(|now| now.meaning == before.meaning) {
                // The words for people are those of the new file, all else goes on.
                (now.states, now.own, now.moved) = (before.states, before.own, before.moved);
                (now.evaluated, now.is_quiet) = (before.evaluated, before.is_quiet);
            } else {
                self.gone.extend(before.states.keys().map(|group| before.key(group)));
                self.gone.push(before.key(&before.own_group()));
            }
        }
    }
}

impl Active {
    /// The group under which the state of the rule itself goes: one value more than there are tags, so
    /// no instance has it.
    pub(super) fn own_group(&self) -> Group {
        vec![String::new(); self.rule.by.len() + 1]
    }

    fn key(&self, group: &Group) -> Vec<u8> {
        let mut key = vec![SPACE];
        put_text(&mut key, &self.rule.name);
        key.extend_from_slice(&self.meaning.to_be_bytes());
        for value in group {
            put_text(&mut key, value);
        }
        key
    }
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn text(from: &mut Reader<'_>) -> Option<String> {
    let len = usize::try_from(from.number()?).ok()?;
    String::from_utf8(from.take(len)?.to_vec()).ok()
}

fn read_key(key: &[u8]) -> Option<(String, u64, Group)> {
    let mut from = Reader::new(key);
    let name = text(&mut from)?;
    let meaning = u64::from_be_bytes(*from.take(8)?.first_chunk()?);
    let mut group = Group::new();
    while !from.is_empty() {
        group.push(text(&mut from)?);
    }
    Some((name, meaning, group))
}

impl State {
    /// Whether a start would go on from here as from `other`. What was seen last is seen again a moment
    /// later; nothing depends on the clock of flaps without changes, nor on how long it has been critical
    /// while it does not flap.
    pub(super) fn goes_on_as(&self, other: &Self) -> bool {
        let mut flaps = self.flaps.clone();
        if flaps.changes.is_empty() {
            flaps.clock = other.flaps.clock;
        }
        if !flaps.is_flapping || flaps.insisted {
            flaps.critical = other.flaps.critical;
        }
        let (value, observation) = (other.value, other.observation);
        Self { value, observation, flaps, ..self.clone() } == *other
    }
}

fn write(state: &State) -> Vec<u8> {
    let mut out = Vec::new();
    state.encode(&mut out);
    out
}

#[cfg(test)]
mod tests;
