//! What is to be told to each contact, until it goes out: at once where the contact has not heard anything for
//! a moment, and all together that moment after the last message where it has.
//!
//! An incident has one notice here for each contact at most: what happens to it while it waits changes the
//! notice, and what began and ended meanwhile is told as one. What waits is told as facts to whoever keeps them.
//! It knows neither recipients nor why something is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::message::{Notice, NoticeKind};
use super::plain;
use crate::limits;
use crate::rules::Level;
use crate::store::{Facts, Table};
use crate::time::{Span, Step, Timestamp};

/// How long after a message the next one to the same contact waits for more.
pub(super) const HOLD: Span = Span::from_secs(5);

/// The first byte of its facts' keys.
const SPACE: u8 = b'h';

/// What waits, by contact.
#[derive(Debug, Default)]
pub(super) struct Hold {
    desks: BTreeMap<String, Desk>,
    /// Contacts of whom something has changed that nobody has noted yet.
    moved: BTreeSet<String>,
    /// Notices for which there was no room.
    lost: u64,
}

/// What waits for one contact.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Desk {
    /// When a message went to it last.
    pub(super) last: Option<Timestamp>,
    /// In the order in which it began to wait.
    pub(super) held: Vec<Held>,
    places: BTreeMap<Arc<str>, usize>,
}

/// A notice that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Held {
    pub(super) notice: Notice,
    /// The contact knows nothing of the incident yet.
    pub(super) is_first: bool,
    /// The worst level that it would have been told.
    pub(super) worst: Level,
}

impl Hold {
    /// Adds what a contact is to be told of an incident, of which it knows nothing yet, or something; whether
    /// there was room.
    pub(super) fn add(&mut self, contact: &str, notice: Notice, is_first: bool) -> bool {
        if !self.desks.contains_key(contact) {
            self.desks.insert(contact.to_owned(), Desk::default());
        }
        let Some(desk) = self.desks.get_mut(contact) else { return false };
        let has_room = desk.add(notice, is_first);
        if has_room {
            self.moved.insert(contact.to_owned());
        } else {
            self.lost += 1;
        }
        has_room
    }

    /// How many notices wait.
    pub(super) fn len(&self) -> usize {
        self.desks.values().map(|desk| desk.held.len()).sum()
    }

    /// How many notices found no room since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// Whether something about that incident waits for that contact.
    pub(super) fn has(&self, contact: &str, incident: &str) -> bool {
        self.desks.get(contact).is_some_and(|desk| desk.places.contains_key(incident))
    }

    /// What waits for that contact about that incident.
    pub(super) fn notice(&self, contact: &str, incident: &str) -> Option<&Notice> {
        let desk = self.desks.get(contact)?;
        desk.held.get(*desk.places.get(incident)?).map(|held| &held.notice)
    }

    /// The contacts who may be told now.
    pub(super) fn ready(&self, now: Timestamp) -> Vec<String> {
        // A clock that was set back makes nobody wait.
        let is_ready = |desk: &Desk| {
            desk.due().is_some_and(|due| due <= now || desk.last.is_some_and(|last| last > now))
        };
        let ready = self.desks.iter().filter(|(_, desk)| is_ready(desk));
        ready.map(|(contact, _)| contact.clone()).collect()
    }

    /// Moves with a clock that was set when contacts were told last.
    pub(super) fn set_clock(&mut self, step: Step) {
        for (contact, desk) in &mut self.desks {
            if let Some(last) = desk.last.and_then(|last| step.moved(last)) {
                desk.last = Some(last);
                self.moved.insert(contact.clone());
            }
        }
    }

    /// When somebody may be told next; `None` while nothing waits.
    pub(super) fn next_due(&self) -> Option<Timestamp> {
        self.desks.values().filter_map(Desk::due).min()
    }

    /// What waits for a contact, worst first.
    pub(super) fn letter(&self, contact: &str) -> Vec<Notice> {
        let held = self.desks.get(contact).map_or(&[][..], |desk| &desk.held);
        let mut notices: Vec<_> = held.iter().map(|held| held.notice.clone()).collect();
        notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
        notices
    }

    /// Notes that a contact was told what waited, or that there is no such contact any more.
    pub(super) fn sent(&mut self, contact: &str, now: Timestamp) {
        self.desks.insert(contact.to_owned(), Desk { last: Some(now), ..Desk::default() });
        self.moved.insert(contact.to_owned());
    }

    /// Forgets when contacts were told last for whom that makes no difference any more.
    pub(super) fn tidy(&mut self, now: Timestamp) {
        let is_idle =
            |desk: &Desk| desk.held.is_empty() && desk.last.is_none_or(|last| last + HOLD <= now);
        let idle = self.desks.iter().filter(|(_, desk)| is_idle(desk));
        let idle: Vec<_> = idle.map(|(contact, _)| contact.clone()).collect();
        for contact in idle {
            self.desks.remove(&contact);
            self.moved.insert(contact);
        }
    }

    /// Says what has changed since the last call.
    pub(super) fn note(&mut self, facts: &mut Facts) {
        for contact in std::mem::take(&mut self.moved) {
            let key = fact_key(&contact);
            match self.desks.get(&contact) {
                Some(desk) => facts.put(key, plain::write(desk)),
                None => facts.remove(key),
            }
        }
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub(super) fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = 0;
        for (contact, bytes) in table.below(SPACE) {
            let contact = std::str::from_utf8(contact).ok();
            match contact.zip(plain::read::<Desk>(bytes)) {
                Some((contact, desk)) => drop(self.desks.insert(contact.to_owned(), desk)),
                None => garbled += 1,
            }
        }
        garbled
    }
}

impl Desk {
    /// What was kept.
    pub(super) fn of(last: Option<Timestamp>, held: Vec<Held>) -> Self {
        let places = held.iter().map(|held| Arc::clone(&held.notice.incident)).zip(0..).collect();
        Self { last, held, places }
    }

    fn due(&self) -> Option<Timestamp> {
        let due = self.last.map_or(Timestamp::from_millis(i64::MIN), |last| last + HOLD);
        (!self.held.is_empty()).then_some(due)
    }

    fn add(&mut self, notice: Notice, is_first: bool) -> bool {
        let place = self.places.get(&notice.incident);
        if let Some(held) = place.and_then(|place| self.held.get_mut(*place)) {
            held.become_one_with(notice);
            return true;
        }
        if self.held.len() >= limits::HELD_NOTICES {
            return false;
        }
        self.places.insert(Arc::clone(&notice.incident), self.held.len());
        let worst = notice.level;
        self.held.push(Held { notice, is_first, worst });
        true
    }
}

impl Held {
    /// Takes in what happened since. To whom nothing was told yet, the beginning is what is told.
    fn become_one_with(&mut self, later: Notice) {
        let (kind, from) = match (later.kind, self.is_first) {
            (NoticeKind::Recovered, true) => (NoticeKind::Ended, self.worst),
            (kind, true) if kind.is_over() => (kind, self.worst),
            (NoticeKind::Worse | NoticeKind::Repeat | NoticeKind::Escalated, true) => {
                (beginning(self.notice.kind), self.notice.from)
            }
            (NoticeKind::Repeat, false) => (self.notice.kind, self.notice.from),
            (kind, _) => (kind, later.from),
        };
        self.worst = self.worst.max(later.level);
        self.notice = Notice { kind, from, ..later };
    }
}

/// What somebody hears of an incident first.
fn beginning(kind: NoticeKind) -> NoticeKind {
    match kind {
        NoticeKind::Escalated => kind,
        _ => NoticeKind::Firing,
    }
}

fn fact_key(contact: &str) -> Vec<u8> {
    let mut key = vec![SPACE];
    key.extend_from_slice(contact.as_bytes());
    key
}

#[cfg(test)]
mod tests;
