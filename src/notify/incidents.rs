//! From changes of state to messages: which incident it belongs to, whether it is told, and to whom.
//!
//! An incident opens when an instance leaves ok and closes when it returns, or when its rule is gone.
//! Beginning, worsening and recovery are told; an improvement that is no recovery is not. A recovery goes
//! to everyone who was told of the problem. While a state flaps its incident stays open: that it flaps is told,
//! then nothing until it has been still, or critical for too long. While a rule is critical on which this one
//! depends, or a silence covers it, only the end of what was told before is; what still holds when that is over
//! is told then. What nobody acknowledges is told again, and to others; what somebody acknowledged is told once
//! it is worse.
//!
//! Everything that is told waits in [`Hold`], and goes out together. Where the outbox has no room it goes on
//! waiting there. Where word of a beginning could not be sent yet, one message tells both.
//!
//! Incidents are told as facts to whoever keeps them, those that are over up to a bound.

mod acts;
mod passing_on;
mod reminders;
mod sending;
mod trial;

pub(super) use trial::MARK as TEST_MARK;
pub use trial::NoTest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::audit::Audit;
use super::hold::Hold;
use super::incident::{Change, Incident, Telling};
use super::message::{About, Closing, Message, Notice, NoticeKind};
use super::outbox::{Outbox, Recipient};
use super::plain;
use super::silences::{Silences, Subject};
use crate::config::Config;
use crate::limits;
use crate::query::{Group, Observation};
use crate::rules::{Cause, Event, Level, Policy, Rules, Transition};
use crate::store::{Facts, Table};
use crate::time::{Span, Timestamp};

pub use acts::Acknowledged;

/// Open incidents, and who is told of them.
#[derive(Debug)]
pub struct Incidents {
    open: BTreeMap<Key, Incident>,
    /// Where each of them stands, by its id.
    ids: BTreeMap<Arc<str>, Key>,
    /// Those that are over, as far as they are known, by when that was.
    past: VecDeque<Incident>,
    silences: Silences,
    /// What is to be told, until it goes out.
    hold: Hold,
    /// Those for whom the outbox had no room.
    stuck: BTreeSet<String>,
    /// When an open incident is to be told again, or to others.
    wake: Option<Timestamp>,
    /// That may have changed.
    is_restless: bool,
    contacts: BTreeMap<String, Vec<Recipient>>,
    default: Vec<String>,
    public_url: Arc<str>,
    digest_above: usize,
    /// Numbers incidents and messages; with the time before it, unique over restarts.
    serial: u64,
    /// Open ones that nobody has noted since they changed, and what else has changed.
    moved: BTreeSet<Key>,
    facts: Facts,
}

/// A rule and the group of an instance of it.
type Key = (String, Group);

/// An instant, and what is at hand then.
#[derive(Debug)]
pub struct Moment<'a> {
    /// When.
    pub now: Timestamp,
    /// As they were evaluated last.
    pub rules: &'a Rules,
    /// Where messages go.
    pub outbox: &'a mut Outbox,
    /// Where it is written down.
    pub audit: &'a mut Audit,
}

impl Moment<'_> {
    /// The second that began last: what goes by seconds does not wait for the moment at which a tick comes.
    fn second(&self) -> Timestamp {
        self.now.align_down(Span::SECOND)
    }
}

const SPACE: u8 = b'i';
const SERIAL_KEY: &[u8] = b"ni";

impl Incidents {
    /// No incident open.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut incidents = Self {
            open: BTreeMap::new(),
            past: VecDeque::new(),
            silences: Silences::default(),
            hold: Hold::default(),
            stuck: BTreeSet::new(),
            wake: None,
            is_restless: true,
            ids: BTreeMap::new(),
            digest_above: 0,
            contacts: BTreeMap::new(),
            default: Vec::new(),
            public_url: Arc::default(),
            serial: 0,
            moved: BTreeSet::new(),
            facts: Facts::default(),
        };
        incidents.configure(config);
        incidents
    }

    /// Takes over who is to be told. What is open stays as it is.
    pub fn configure(&mut self, config: &Config) {
        let contacts = config.contacts.iter();
        self.silences.configure(config);
        self.contacts = contacts.map(|c| (c.name.clone(), Recipient::of(c))).collect();
        self.default.clone_from(&config.notify.default);
        self.public_url = config.notify.public_url.as_str().into();
        self.digest_above = config.notify.digest_above;
        self.is_restless = true;
    }

    /// Takes in the events of one evaluation, and what else this instant brings, and queues what is to be
    /// told now; the messages that were queued.
    pub fn step(&mut self, events: Vec<Event>, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        let unsilenced = self.look_at_silences(moment);
        for event in events {
            self.take(&event, moment);
        }
        for key in unsilenced {
            self.announce(&key, moment);
        }
        self.remind(moment);
        self.send(moment)
    }

    /// Closes every open incident for which `why` has a reason, and tells whoever was told of it.
    pub fn close(
        &mut self,
        why: impl Fn(&Incident) -> Option<Closing>,
        moment: &mut Moment<'_>,
    ) -> Vec<Arc<Message>> {
        let (now, mut is_any) = (moment.now, false);
        for (key, incident) in &mut self.open {
            let Some(why) = why(incident) else { continue };
            is_any = true;
            self.moved.insert(key.clone());
            let from = incident.level;
            incident.change(Change { at: now, from, to: Level::Ok, value: None }, moment.audit);
            incident.closed = Some(now);
            let notice = incident.notice(NoticeKind::Closed(why), from);
            for contact in incident.everyone() {
                incident.tell(&mut self.hold, &contact, notice.clone());
            }
        }
        // What waits goes out with whatever the next step brings.
        if is_any { self.send(moment) } else { Vec::new() }
    }

    /// When something is to be told after `told`, though nothing changes; `None` while nothing is.
    #[must_use]
    pub fn next_due(&self, told: Timestamp) -> Option<Timestamp> {
        let dues = self.hold.next_due().into_iter().chain(self.wake);
        dues.filter(|due| *due > told).min()
    }

    /// Notes which open incidents a silence covers; those that none does any more.
    fn look_at_silences(&mut self, moment: &mut Moment<'_>) -> Vec<Key> {
        let mut unsilenced = Vec::new();
        if !self.silences.advance(moment.now, moment.audit) {
            return unsilenced;
        }
        for (key, incident) in &mut self.open {
            let Some(active) = moment.rules.get(&key.0) else { continue };
            let subject = Subject { rule: active.rule(), labels: &incident.labels };
            let is_silenced = self.silences.cover(subject);
            if is_silenced != incident.is_silenced {
                (incident.is_silenced, self.is_restless) = (is_silenced, true);
                self.moved.insert(key.clone());
                unsilenced.extend((!is_silenced).then(|| key.clone()));
            }
        }
        unsilenced
    }

    /// Tells an incident that a silence covered until now, and that still holds: to those who knew of it as
    /// well, since nobody told them whether it was over.
    fn announce(&mut self, key: &Key, moment: &mut Moment<'_>) {
        let now = moment.second();
        let event = moment.rules.get(&key.0).and_then(|active| active.announce(&key.1, now));
        let Some(event) = event.filter(|event| !event.is_quiet) else { return };
        let Some(incident) = self.open.get(key) else { return };
        if incident.closed.is_some() || incident.ack.is_some() {
            return;
        }
        let mut notice = incident.notice(NoticeKind::Repeat, incident.level);
        describe(&mut notice, &event);
        self.take(&event, moment);
        let Some(incident) = self.open.get_mut(key) else { return };
        incident.told_at = Some(now);
        for contact in incident.everyone() {
            if !self.hold.has(&contact, &incident.id) {
                incident.tell(&mut self.hold, &contact, notice.clone());
            }
        }
    }

    /// Takes what is over out of the open ones, and forgets the oldest of those beyond the bound.
    fn put_away(&mut self) {
        let is_over = |key: &&Key| self.open.get(*key).is_some_and(|open| open.closed.is_some());
        let over: Vec<_> = self.moved.iter().filter(is_over).cloned().collect();
        for key in over {
            self.moved.remove(&key);
            let Some(incident) = self.open.remove(&key) else { continue };
            self.ids.remove(&incident.id);
            self.facts.put(fact_key(&incident.id), plain::write(&incident));
            self.past.push_back(incident);
        }
        while self.past.len() > limits::INCIDENTS_PAST {
            self.drop_first();
        }
    }

    /// Forgets what was over before an instant.
    pub fn forget_before(&mut self, horizon: Timestamp) {
        let is_old = |first: &Incident| first.closed.is_some_and(|closed| closed < horizon);
        while self.past.front().is_some_and(is_old) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some(first) = self.past.pop_front() {
            self.facts.remove(fact_key(&first.id));
        }
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// How many notices wait for their time, or for room in the outbox.
    #[must_use]
    pub fn held(&self) -> usize {
        self.hold.len()
    }

    /// All that are known: the open ones in no particular order, then those that are over, the latest
    /// first.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().chain(self.past.iter().rev())
    }

    /// Takes in an event, and holds what is to be told of it for those concerned.
    fn take(&mut self, event: &Event, moment: &mut Moment<'_>) {
        let (cause, to) = (event.transition.cause, event.transition.to);
        let is_over = to == Level::Ok && !matches!(cause, Cause::Flapping | Cause::Flaps);
        let key = (event.rule.name.clone(), event.group.clone());
        if !self.open.contains_key(&key) {
            if is_over {
                return;
            }
            let incident = self.begin(event, moment.now);
            self.ids.insert(Arc::clone(&incident.id), key.clone());
            self.open.insert(key.clone(), incident);
        }
        let labels = event.labels();
        let is_silenced = self.silences.cover(Subject { rule: &event.rule, labels: &labels });
        let contacts = event.rule.notify.as_ref().unwrap_or(&self.default);
        let Some(incident) = self.open.get_mut(&key) else { return };
        incident.is_silenced = is_silenced;
        let (notice, audience) = incident.take(event, contacts, moment.audit);
        if notice.kind.is_alarm() {
            incident.note_told(&audience, moment.second());
        }
        for contact in audience {
            // Whoever was told last that it flaps knows no state.
            let is_new = incident.known_to(&contact) == Level::Ok;
            let kind = match notice.kind {
                NoticeKind::Worse if is_new => NoticeKind::Firing,
                kind => kind,
            };
            let notice = Notice { kind, ..notice.clone() };
            incident.tell(&mut self.hold, &contact, notice);
        }
        self.moved.insert(key);
        self.is_restless = true;
    }

    fn begin(&mut self, event: &Event, now: Timestamp) -> Incident {
        let Transition { at, value, .. } = event.transition;
        let id = self.next_id('i', now);
        let mut incident = Incident::new(id, Arc::new(About::of(&event.rule)), at, value);
        (incident.meaning, incident.labels) = (event.meaning, event.labels());
        incident.group.clone_from(&event.group);
        incident
    }

    fn next_id(&mut self, kind: char, now: Timestamp) -> Arc<str> {
        self.serial += 1;
        format!("{kind}{:x}-{:x}", now.as_millis(), self.serial).into()
    }

    /// What is silenced.
    #[must_use]
    pub fn silences(&self) -> &Silences {
        &self.silences
    }

    /// Says what has changed since the last call.
    pub fn note(&mut self, facts: &mut Facts) {
        let mut changes = std::mem::take(&mut self.facts);
        changes.append(self.silences.take_facts());
        // Somebody waits for it to be safe; for when a contact was told last, nobody does.
        facts.is_urgent |= !changes.is_empty() || !self.moved.is_empty();
        self.hold.note(&mut changes);
        for key in std::mem::take(&mut self.moved) {
            if let Some(incident) = self.open.get(&key) {
                changes.put(fact_key(&incident.id), plain::write(incident));
            }
        }
        if !changes.is_empty() {
            changes.put(SERIAL_KEY.to_vec(), plain::write(&self.serial));
            facts.append(changes);
        }
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = self.silences.recall(table) + self.hold.recall(table);
        let mut past = Vec::new();
        for (_, bytes) in table.below(SPACE) {
            match plain::read::<Incident>(bytes) {
                None => garbled += 1,
                Some(incident) if incident.closed.is_some() => past.push(incident),
                Some(incident) => {
                    let key = (incident.rule.name.clone(), incident.group.clone());
                    self.ids.insert(Arc::clone(&incident.id), key.clone());
                    self.open.insert(key, incident);
                }
            }
        }
        past.sort_by_key(|incident| incident.closed);
        self.past.extend(past);
        self.serial = table.get(SERIAL_KEY).and_then(plain::read).unwrap_or(self.serial);
        garbled
    }
}

impl Incident {
    /// Takes in an event: the notice of it, and who hears of it.
    fn take(
        &mut self,
        event: &Event,
        contacts: &[String],
        audit: &mut Audit,
    ) -> (Notice, Vec<String>) {
        let Event { rule, transition, is_quiet, .. } = event;
        let Transition { cause, from, to, at, value, .. } = *transition;
        self.grow(&Policy::of(rule), transition);
        let is_over = to == Level::Ok && !matches!(cause, Cause::Flapping | Cause::Flaps);
        let is_outgrown = self.outgrow(cause, to, at);
        let is_muted = *is_quiet || self.is_silenced;
        let change = Telling { cause, to, contacts, is_over, is_muted, is_outgrown };
        let audience = self.audience(&change);
        let may_be_told = !is_muted && !is_over && cause != Cause::Flaps;
        let is_anew = self.alarmed.is_none() || is_outgrown || cause == Cause::Announced;
        if may_be_told && is_anew {
            self.alarmed = Some(at);
        }
        let told = self.told.values().copied().max().unwrap_or(Level::Ok);
        // Who was told last that it flaps knows no state.
        let was = if told == Level::Ok { self.reached } else { told };
        if from != to {
            self.change(Change { at, from, to, value }, audit);
        }
        self.closed = is_over.then_some(at);
        if is_outgrown {
            self.alert = self.alert.saturating_add(1);
        }
        let kind = match cause {
            Cause::ScheduleEnded => NoticeKind::ScheduleEnded,
            _ if is_over => NoticeKind::Recovered,
            Cause::Flapping | Cause::Flaps => NoticeKind::Flapping,
            Cause::Settled => NoticeKind::Settled,
            _ => NoticeKind::Worse,
        };
        self.is_flapping = match cause {
            Cause::Flapping | Cause::Flaps => true,
            Cause::Settled => false,
            _ => self.is_flapping,
        };
        if kind == NoticeKind::Worse && !is_outgrown {
            self.call_again(&audience);
        }
        let mut notice = self.notice(kind, if is_over { was } else { from });
        notice.level = if kind == NoticeKind::Flapping { self.reached } else { to };
        describe(&mut notice, event);
        (notice, audience)
    }
}

/// Says in a notice what was seen, and of which rule: its thresholds may be others than when the incident
/// began.
fn describe(notice: &mut Notice, event: &Event) {
    let Event { rule, transition, state, problem, .. } = event;
    (notice.covered, notice.is_at_least) = match state.observation {
        Observation::Value { covered, .. } => (covered, false),
        Observation::AtLeast(_) => (1.0, true),
        _ => (1.0, false),
    };
    notice.rule = Arc::new(About::of(rule));
    let is_old = transition.cause == Cause::Announced;
    notice.since = if is_old { state.since } else { transition.at };
    notice.value = transition.value;
    notice.problem.clone_from(problem);
}

fn fact_key(id: &str) -> Vec<u8> {
    let mut key = vec![SPACE];
    key.extend_from_slice(id.as_bytes());
    key
}

#[cfg(test)]
mod tests;
