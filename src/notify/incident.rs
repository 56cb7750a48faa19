//! One incident: what happened to an instance from leaving ok to returning to it, who knows of it, and
//! who looks after it.
//!
//! Plain data, and what can be said from it alone. When it is told, and how, is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit::{Audit, What};
use super::hold::Hold;
use super::message::{About, Notice, NoticeKind, title};
use crate::config::{Escalation, Rule};
use crate::limits;
use crate::query::Group;
use crate::rules::state::worse;
use crate::rules::{Cause, Level, Policy, Transition};
use crate::time::Timestamp;

/// What happened to one instance of a rule, from leaving ok to returning to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Unique, stable.
    pub id: Arc<str>,
    /// The rule, as it was.
    pub rule: Arc<About>,
    /// What the rule meant, as a number.
    pub meaning: u64,
    /// The `by` tags with their values.
    pub labels: Vec<(String, String)>,
    pub(super) group: Group,
    /// When it began.
    pub opened: Timestamp,
    /// The value then, where there was one.
    pub began: Option<f64>,
    /// The worst value since, where there was one.
    pub worst: Option<f64>,
    /// The state now.
    pub level: Level,
    /// Since when.
    pub since: Timestamp,
    /// The worst level so far.
    pub reached: Level,
    /// Everyone who was told, and the worst level that each was told since; ok for who was told last that it
    /// flaps.
    pub told: BTreeMap<String, Level>,
    /// Its changes of state.
    pub changes: Vec<Change>,
    /// The messages about it.
    pub messages: Vec<Told>,
    /// When it was over.
    pub closed: Option<Timestamp>,
    /// Who looks after it.
    pub ack: Option<Ack>,
    /// What people said and did about it.
    pub notes: Vec<Note>,
    /// A silence covers it.
    pub is_silenced: bool,
    /// It is told no more because it flaps.
    pub is_flapping: bool,
    /// When word of it went out last: it is repeated so long after.
    pub told_at: Option<Timestamp>,
    /// Since when it may be told: it escalates so long after.
    pub alarmed: Option<Timestamp>,
    /// How many steps of its rule's `escalate` were taken.
    pub escalated: u32,
    /// Those who were told since others could not be reached.
    pub stand_ins: Vec<String>,
    /// Which alert about it is the present one, to receivers that call nobody twice for the same.
    pub alert: u32,
}

/// A change of state.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: Timestamp,
    /// The state before.
    pub from: Level,
    /// The state from then on.
    pub to: Level,
    /// The value then, where there was one.
    pub value: Option<f64>,
}

/// A message about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Told {
    /// When it was queued.
    pub at: Timestamp,
    /// For whom.
    pub contact: String,
    /// Its id.
    pub message: String,
}

/// That somebody looks after an incident. It lasts until that is over, or worse than it was then.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack {
    /// Since when.
    pub at: Timestamp,
    /// Who.
    pub author: String,
    /// What they said; may be empty.
    pub comment: String,
    /// The state then: a worse one ends it.
    pub level: Level,
}

/// What somebody said or did about an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// What was done.
    pub kind: NoteKind,
    /// Who; empty where nobody did it.
    pub author: String,
    /// What they said; may be empty.
    pub text: String,
}

/// What was done about an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoteKind {
    /// Somebody looks after it.
    Acknowledged,
    /// They do not any more.
    Unacknowledged,
    /// It got worse, so nobody does any more.
    Outgrown,
    /// Something was said.
    Comment,
}

impl Incident {
    pub(super) fn new(
        id: Arc<str>,
        rule: Arc<About>,
        opened: Timestamp,
        began: Option<f64>,
    ) -> Self {
        Self {
            id,
            rule,
            meaning: 0,
            labels: Vec::new(),
            group: Group::new(),
            opened,
            began,
            worst: began,
            level: Level::Ok,
            since: opened,
            reached: Level::Ok,
            told: BTreeMap::new(),
            changes: Vec::new(),
            messages: Vec::new(),
            closed: None,
            ack: None,
            notes: Vec::new(),
            is_silenced: false,
            is_flapping: false,
            told_at: None,
            alarmed: None,
            escalated: 0,
            stand_ins: Vec::new(),
            alert: 0,
        }
    }

    /// The rule's name with the instance behind it.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.rule.name, &self.labels)
    }

    /// Takes in how bad it was and is.
    pub(super) fn grow(&mut self, policy: &Policy, transition: &Transition) {
        let Transition { from, to, value, worst, .. } = *transition;
        // What the state before came to, then what this one begins with.
        self.worst = worse(policy, from, self.worst, worst);
        if to != Level::Ok {
            self.worst = worse(policy, to, self.worst, value);
        }
        self.reached = self.reached.max(from).max(to);
    }

    /// Ends the acknowledgement where the state is worse now than what was acknowledged; whether it did.
    pub(super) fn outgrow(&mut self, cause: Cause, to: Level, at: Timestamp) -> bool {
        // A change that is told to nobody because the state flaps may be gone in a second.
        let is_lasting = !matches!(cause, Cause::Flapping | Cause::Flaps);
        if !is_lasting || self.ack.as_ref().is_none_or(|ack| to <= ack.level) {
            return false;
        }
        self.ack = None;
        self.note(at, NoteKind::Outgrown, "", "");
        true
    }

    /// Begins a further alert where one of these, who were told before, is to be called again: it got worse. Who
    /// looks after what it was then may have said so to the receiver alone.
    pub(super) fn call_again(&mut self, whom: &[String]) {
        if whom.iter().any(|contact| self.told.contains_key(contact)) {
            self.alert = self.alert.saturating_add(1);
        }
    }

    /// Whether it is to be told again while it lasts: nobody looks after it, no silence covers it, and it
    /// does not flap.
    fn is_urging(&self) -> bool {
        self.closed.is_none()
            && self.ack.is_none()
            && self.level != Level::Ok
            && !self.is_silenced
            && !self.is_flapping
    }

    /// When it is to be told again.
    pub(super) fn repeat_due(&self, rule: &Rule) -> Option<Timestamp> {
        let is_repeated = self.is_urging() && !rule.repeat.is_zero() && !self.told.is_empty();
        self.told_at.filter(|_| is_repeated).map(|told| told + rule.repeat)
    }

    /// When the next others are to be told, and who.
    pub(super) fn escalation_due<'a>(&self, rule: &'a Rule) -> Option<(Timestamp, &'a Escalation)> {
        let step = rule.escalate.get(usize::try_from(self.escalated).ok()?)?;
        let alarmed = self.alarmed.filter(|_| self.is_urging())?;
        Some((alarmed + step.after, step))
    }

    /// Those of some contacts who do not know how bad it is.
    pub(super) fn unaware(&self, contacts: &[String]) -> Vec<String> {
        let unaware = contacts.iter().filter(|contact| self.known_to(contact) < self.level);
        unaware.cloned().collect()
    }

    /// Whether one of them should.
    pub(super) fn has_unaware(&self, contacts: &[String]) -> bool {
        self.is_urging() && contacts.iter().any(|contact| self.known_to(contact) < self.level)
    }

    /// When something is to be told of it, though nothing changes.
    pub(super) fn next_due(&self, rule: &Rule) -> Option<Timestamp> {
        let escalation = self.escalation_due(rule).map(|(due, _)| due);
        self.repeat_due(rule).into_iter().chain(escalation).min()
    }

    /// Everyone who was told.
    pub(super) fn everyone(&self) -> Vec<String> {
        self.told.keys().cloned().collect()
    }

    /// Has a contact told of it.
    pub(super) fn tell(&mut self, hold: &mut Hold, contact: &str, notice: Notice) {
        let is_first = !self.told.contains_key(contact);
        let (kind, level) = (notice.kind, notice.level);
        if !hold.add(contact, notice, is_first) {
            return;
        }
        // Who hears that it flaps knows no state.
        let known = if kind == NoticeKind::Flapping { Level::Ok } else { level };
        self.told.insert(contact.to_owned(), known);
    }

    /// Notes that these were told now how bad it is. It is to be repeated from then on where nobody else
    /// waits for that.
    pub(super) fn note_told(&mut self, audience: &[String], now: Timestamp) {
        let is_everyone = self.told.keys().all(|contact| audience.contains(contact));
        if is_everyone && !audience.is_empty() {
            self.told_at = Some(now);
        }
    }

    /// Who hears of a change.
    pub(super) fn audience(&self, change: &Telling<'_>) -> Vec<String> {
        let Telling { cause, to, contacts, is_over, is_muted, is_outgrown } = *change;
        let others = || contacts.iter().filter(|contact| !self.told.contains_key(*contact));
        let all = || self.told.keys().chain(others());
        match cause {
            Cause::Flaps => Vec::new(),
            _ if is_over => self.told.keys().cloned().collect(),
            _ if is_muted => Vec::new(),
            _ if is_outgrown => all().cloned().collect(),
            // Whoever looks after it knows.
            _ if self.ack.is_some() => Vec::new(),
            Cause::Flapping | Cause::Settled => all().cloned().collect(),
            _ => all().filter(|contact| to > self.known_to(contact)).cloned().collect(),
        }
    }

    /// The worst level that a contact was told; ok where it was told nothing.
    pub(super) fn known_to(&self, contact: &str) -> Level {
        self.told.get(contact).copied().unwrap_or(Level::Ok)
    }

    pub(super) fn change(&mut self, change: Change, audit: &mut Audit) {
        (self.level, self.since) = (change.to, change.at);
        let (title, incident) = (self.title(), self.id.to_string());
        audit.note(change.at, What::Change { title, incident, change: change.clone() });
        push_bounded(&mut self.changes, change);
    }

    /// Adds a line about what somebody did.
    pub(super) fn note(&mut self, at: Timestamp, kind: NoteKind, author: &str, text: &str) {
        let (author, text) = (author.to_owned(), text.to_owned());
        push_bounded(&mut self.notes, Note { at, kind, author, text });
    }

    /// A notice of it as it is now, with no value.
    pub(super) fn notice(&self, kind: NoticeKind, from: Level) -> Notice {
        Notice {
            incident: Arc::clone(&self.id),
            alert: self.alert,
            opened: self.opened,
            kind,
            rule: Arc::clone(&self.rule),
            labels: self.labels.clone(),
            from,
            level: self.level,
            since: self.since,
            began: self.began,
            worst: self.worst,
            value: None,
            covered: 1.0,
            is_at_least: false,
            problem: None,
        }
    }
}

/// What decides who hears of a change.
#[derive(Clone, Copy)]
pub(super) struct Telling<'a> {
    pub(super) cause: Cause,
    pub(super) to: Level,
    /// Whom the rule names.
    pub(super) contacts: &'a [String],
    pub(super) is_over: bool,
    /// Nobody is to hear of a problem now.
    pub(super) is_muted: bool,
    /// It got worse than what was acknowledged.
    pub(super) is_outgrown: bool,
}

/// The first stays, since it tells how it began.
pub(super) fn push_bounded<T>(list: &mut Vec<T>, one: T) {
    if list.len() >= limits::INCIDENT_LINES {
        list.remove(1);
    }
    list.push(one);
}
