//! Sets of StatsD: how many different members were seen in each stretch of ten seconds, as a gauge.
//!
//! StatsD counts members from one flush to the next, every ten seconds unless it is told otherwise, and so does
//! this; how many there were in an hour cannot be had by adding. A member is known by 64 bits of a hash that
//! others cannot foresee: exact but for one in billions, and a few bytes each. What is gathered is in memory
//! alone, so the end of the process takes the stretch that is open.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;

use crate::counters::{Counters, Told};
use crate::limits;
use crate::time::{Span, Timestamp};

/// How long members are gathered: what StatsD and its agents do unless they are told otherwise.
const STRETCH: Span = Span::from_secs(10);

/// The sets of one stretch.
#[derive(Debug, Default)]
pub struct Sets {
    gathered: HashMap<Box<[u8]>, HashSet<u64, foldhash::fast::RandomState>>,
    members: usize,
    /// Those of the stretch before that had members.
    before: Vec<Box<[u8]>>,
    /// When the stretch ends; `None` before the first member.
    end: Option<Timestamp>,
    hasher: foldhash::quality::RandomState,
}

impl Sets {
    /// Notes a member; whether there was room for it.
    pub fn add(&mut self, key: &[u8], member: &[u8], now: Timestamp) -> bool {
        if self.end.is_none() {
            self.end = Some(now.align_down(STRETCH) + STRETCH);
        }
        let member = self.hasher.hash_one(member);
        let has_room = self.members < limits::SET_MEMBERS;
        if let Some(set) = self.gathered.get_mut(key) {
            if set.contains(&member) {
                return true;
            }
            if has_room {
                set.insert(member);
                self.members += 1;
            }
            return has_room;
        }
        if !has_room || self.gathered.len() >= limits::SETS {
            return false;
        }
        self.gathered.insert(key.into(), HashSet::from_iter([member]));
        self.members += 1;
        true
    }

    /// Sets the gauges of a stretch that is over, or of any where all of it ends. A set that had members
    /// in the stretch before and has none in this one is empty, and told so once. What could not be set.
    pub fn close(&mut self, counters: &Counters, now: Timestamp, is_last: bool) -> Vec<Told> {
        // Where the clock was set back its end may be far away.
        let is_open = |end| now < end && end <= now + STRETCH && !is_last;
        if self.end.is_none_or(is_open) {
            return Vec::new();
        }
        let sets = std::mem::take(&mut self.gathered);
        let before = std::mem::take(&mut self.before);
        let empty = before.into_iter().filter(|key| !is_last && !sets.contains_key(key));
        let empty: Vec<_> = empty.map(|key| (key, 0)).collect();
        let full = sets.into_iter().map(|(key, members)| (key, members.len()));
        let mut untaken = Vec::new();
        for (key, members) in full.chain(empty) {
            match counters.gauge(&key, now, |_| count(members)) {
                Told::Taken if members > 0 => self.before.push(key),
                Told::Taken => {}
                told => untaken.push(told),
            }
        }
        self.members = 0;
        self.end = (!self.before.is_empty()).then(|| now.align_down(STRETCH) + STRETCH);
        untaken
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn count(members: usize) -> f64 {
    members as f64
}

#[cfg(test)]
mod tests;
