//! From changes of state to messages: which incident it belongs to, whether it is told, and to whom.
//!
//! An incident opens when an instance leaves ok and closes when it returns, or when its rule is gone.
//! Beginning, worsening and recovery are told; an improvement that is no recovery is not. A recovery goes
//! to everyone who was told of the problem; where word of it could not be sent yet, one message tells
//! both. While a state flaps its incident stays open: that it flaps is told, then nothing until
//! it has been still, or critical for too long. While a rule is critical on which this one depends, or a silence covers
//! it, only the end of what was told before is; what still holds when the silence ends is told then. What somebody
//! looks after is told again once it is worse. All that one evaluation brings for one contact is one message. A message for which
//! the outbox has no room was told to nobody: the next change is held against what each contact knows.
//!
//! Incidents are told as facts to whoever keeps them, those that are over up to a bound.

mod trial;

pub(super) use trial::MARK as TEST_MARK;
pub use trial::NoTest;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::audit::{Audit, What};
use super::incident::{Ack, Change, Incident, NoteKind, Telling, Told, push_bounded};
use super::message::{About, Closing, Message, Notice, NoticeKind};
use super::outbox::{Outbox, Recipient, Replaced};
use super::plain;
use super::silences::{Refusal, Silence, Silences, Subject, check_texts};
use crate::config::{Config, Contact};
use crate::limits;
use crate::query::{Group, Observation};
use crate::rules::{Cause, Event, Level, Policy, Rules, Transition};
use crate::store::{Facts, Table};
use crate::time::Timestamp;

/// Open incidents, and who is told of them.
#[derive(Debug)]
pub struct Incidents {
    open: BTreeMap<Key, Incident>,
    /// Those that are over, as far as they are known, by when that was.
    past: VecDeque<Incident>,
    silences: Silences,
    contacts: BTreeMap<String, Vec<Recipient>>,
    default: Vec<String>,
    public_url: Arc<str>,
    /// Numbers incidents and messages; with the time before it, unique over restarts.
    serial: u64,
    /// Open ones that nobody has noted since they changed, and what else has changed.
    moved: BTreeSet<Key>,
    facts: Facts,
}

/// A rule and the group of an instance of it.
type Key = (String, Group);

/// What is to be told to each contact.
type Letters = BTreeMap<String, Vec<(Key, Notice)>>;

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

/// That somebody looks after an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Acknowledged {
    /// Who, and since when.
    pub ack: Ack,
    /// Nobody did before.
    pub is_new: bool,
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
        self.contacts = contacts.map(|c| (c.name.clone(), recipients(c))).collect();
        self.default.clone_from(&config.notify.default);
        self.public_url = config.notify.public_url.as_str().into();
    }

    /// Takes in the events of one evaluation, and what else this instant brings, and queues what is to be
    /// told; the messages that were queued for one recipient at least. One for which the outbox has no room is
    /// counted there.
    pub fn step(&mut self, events: Vec<Event>, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        let unsilenced = self.look_at_silences(moment);
        let mut letters = Letters::new();
        for event in events {
            self.take(&event, moment, &mut letters);
        }
        for key in unsilenced {
            self.announce(&key, moment, &mut letters);
        }
        self.tell(letters, moment)
    }

    /// Closes every open incident for which `why` has a reason, and tells whoever was told of it.
    pub fn close(
        &mut self,
        why: impl Fn(&Incident) -> Option<Closing>,
        moment: &mut Moment<'_>,
    ) -> Vec<Arc<Message>> {
        let (mut letters, now) = (Letters::new(), moment.now);
        for (key, incident) in &mut self.open {
            let Some(why) = why(incident) else { continue };
            self.moved.insert(key.clone());
            let from = incident.level;
            incident.change(Change { at: now, from, to: Level::Ok, value: None }, moment.audit);
            incident.closed = Some(now);
            let notice = incident.notice(NoticeKind::Closed(why), from);
            for contact in incident.told.keys() {
                letters.entry(contact.clone()).or_default().push((key.clone(), notice.clone()));
            }
        }
        self.tell(letters, moment)
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
                incident.is_silenced = is_silenced;
                self.moved.insert(key.clone());
                unsilenced.extend((!is_silenced).then(|| key.clone()));
            }
        }
        unsilenced
    }

    /// Tells an incident that a silence covered until now, and that still holds: to those who knew of it as
    /// well, since they were told that it would be quiet.
    fn announce(&mut self, key: &Key, moment: &mut Moment<'_>, letters: &mut Letters) {
        let Some(active) = moment.rules.get(&key.0) else { return };
        let Some(event) = active.announce(&key.1, moment.now) else { return };
        let Some(incident) = self.open.get(key) else { return };
        if incident.closed.is_some() || incident.ack.is_some() || event.is_quiet {
            return;
        }
        let is_told = |contact: &&String| {
            let theirs = letters.get(*contact);
            theirs.is_some_and(|told| told.iter().any(|(of, _)| of == key))
        };
        let knows = |contact: &&String| incident.known_to(contact) >= event.transition.to;
        let again = incident.told.keys().filter(knows).filter(|contact| !is_told(contact));
        let again: Vec<_> = again.cloned().collect();
        let mut notice = incident.notice(NoticeKind::Repeat, incident.level);
        describe(&mut notice, &event);
        self.take(&event, moment, letters);
        for contact in again {
            letters.entry(contact).or_default().push((key.clone(), notice.clone()));
        }
    }

    /// Queues one message for each contact, and puts away what is over.
    fn tell(&mut self, letters: Letters, moment: &mut Moment<'_>) -> Vec<Arc<Message>> {
        let Moment { now, outbox, audit, .. } = moment;
        let now = *now;
        let mut messages = Vec::new();
        for (contact, mut told) in letters {
            told.sort_by_key(|(_, notice)| std::cmp::Reverse(notice.level));
            let (keys, notices): (Vec<_>, Vec<_>) = told.into_iter().unzip();
            let queued = self.queue(&contact, &notices, outbox, now);
            if queued.is_empty() {
                continue;
            }
            let mut by_id = BTreeMap::new();
            for (key, notice) in keys.into_iter().zip(&notices) {
                if let Some(incident) = self.open.get_mut(&key) {
                    let is_flapping = notice.kind == NoticeKind::Flapping;
                    let known = if is_flapping { Level::Ok } else { notice.level };
                    incident.told.insert(contact.clone(), known);
                }
                by_id.insert(Arc::clone(&notice.incident), key);
            }
            for message in &queued {
                self.note_message(message, &by_id);
                let (id, notices) = (message.id.clone(), message.notices.len() as u64);
                let contact = contact.clone();
                audit.note(now, What::Message { message: id, contact, notices });
            }
            messages.extend(queued);
        }
        self.put_away();
        messages
    }

    /// Adds a message to the incidents that it tells of. One that took the place of another may tell of
    /// some that nothing happened to.
    fn note_message(&mut self, message: &Message, by_id: &BTreeMap<Arc<str>, Key>) {
        for notice in &message.notices {
            let group = || notice.labels.iter().map(|(_, value)| value.clone()).collect();
            let key = by_id.get(&notice.incident).cloned();
            let key = key.unwrap_or_else(|| (notice.rule.name.clone(), group()));
            let open = self.open.get_mut(&key);
            let Some(incident) = open.filter(|open| open.id == notice.incident) else { continue };
            let told = Told {
                at: message.at,
                contact: message.contact.clone(),
                message: message.id.clone(),
            };
            push_bounded(&mut incident.messages, told);
            self.moved.insert(key);
        }
    }

    /// Queues what a contact is told for each of its recipients. Mostly that is one message for all;
    /// who has not got the beginning yet gets one of its own.
    fn queue(
        &mut self,
        contact: &str,
        notices: &[Notice],
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let (mut queued, mut shared) = (Vec::new(), None);
        for recipient in self.contacts.get(contact).cloned().unwrap_or_default() {
            let next_id = || self.next_id('m', now).to_string();
            let Replaced { incidents, messages } =
                outbox.replace(&recipient, notices, now, next_id);
            queued.extend(messages);
            let message = if incidents.is_empty() {
                let made = shared.get_or_insert_with(|| {
                    let id = self.next_id('m', now);
                    Arc::new(self.message(&id, contact, notices.to_vec(), now))
                });
                Arc::clone(made)
            } else {
                let is_left = |notice: &&Notice| !incidents.contains(&notice.incident);
                let rest: Vec<_> = notices.iter().filter(is_left).cloned().collect();
                if rest.is_empty() {
                    continue;
                }
                let id = self.next_id('m', now);
                Arc::new(self.message(&id, contact, rest, now))
            };
            let is_queued = outbox.queue(Arc::clone(&message), recipient, now);
            if is_queued && !queued.iter().any(|one| Arc::ptr_eq(one, &message)) {
                queued.push(message);
            }
        }
        queued
    }

    fn message(&self, id: &str, contact: &str, notices: Vec<Notice>, at: Timestamp) -> Message {
        Message {
            id: id.to_owned(),
            contact: contact.to_owned(),
            at,
            notices,
            public_url: Arc::clone(&self.public_url),
            is_test: false,
            is_unsaved: false,
            undelivered: None,
        }
    }

    /// Takes what is over out of the open ones, and forgets the oldest of those beyond the bound.
    fn put_away(&mut self) {
        let is_over = |key: &&Key| self.open.get(*key).is_some_and(|open| open.closed.is_some());
        let over: Vec<_> = self.moved.iter().filter(is_over).cloned().collect();
        for key in over {
            self.moved.remove(&key);
            let Some(incident) = self.open.remove(&key) else { continue };
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

    /// All that are known: the open ones in no particular order, then those that are over, the latest
    /// first.
    pub fn iter(&self) -> impl Iterator<Item = &Incident> {
        self.open.values().chain(self.past.iter().rev())
    }

    /// Takes in an event, and adds what is to be told of it to the letters of those concerned.
    fn take(&mut self, event: &Event, moment: &mut Moment<'_>, letters: &mut Letters) {
        let (cause, to) = (event.transition.cause, event.transition.to);
        let is_over = to == Level::Ok && !matches!(cause, Cause::Flapping | Cause::Flaps);
        let key = (event.rule.name.clone(), event.group.clone());
        if !self.open.contains_key(&key) {
            if is_over {
                return;
            }
            let incident = self.begin(event, moment.now);
            self.open.insert(key.clone(), incident);
        }
        let labels = event.labels();
        let is_silenced = self.silences.cover(Subject { rule: &event.rule, labels: &labels });
        let contacts = event.rule.notify.as_ref().unwrap_or(&self.default);
        let Some(incident) = self.open.get_mut(&key) else { return };
        self.moved.insert(key.clone());
        incident.is_silenced = is_silenced;
        let (notice, audience) = incident.take(event, contacts, moment.audit);
        for contact in audience {
            // Whoever was told last that it flaps knows no state.
            let is_new = incident.known_to(&contact) == Level::Ok;
            let kind = match notice.kind {
                NoticeKind::Firing | NoticeKind::Worse if is_new => NoticeKind::Firing,
                NoticeKind::Firing => NoticeKind::Worse,
                kind => kind,
            };
            let notice = Notice { kind, ..notice.clone() };
            letters.entry(contact).or_default().push((key.clone(), notice));
        }
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

    /// Notes that somebody looks after an open incident. Where somebody does already, that stays.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn acknowledge(
        &mut self,
        id: &str,
        author: &str,
        comment: &str,
        moment: &mut Moment<'_>,
    ) -> Result<Acknowledged, Refusal> {
        check_texts(author, comment)?;
        let incident = self.find_open(id)?;
        if let Some(ack) = &incident.ack {
            return Ok(Acknowledged { ack: ack.clone(), is_new: false });
        }
        let (author, comment) = (author.to_owned(), comment.to_owned());
        let ack = Ack { at: moment.now, author, comment, level: incident.level };
        incident.ack = Some(ack.clone());
        incident.do_note(moment, NoteKind::Acknowledged, &ack.author, &ack.comment);
        let notice = incident.notice(NoticeKind::Acknowledged, incident.level);
        moment.outbox.acknowledge(&notice, incident.told.keys(), moment.now);
        Ok(Acknowledged { ack, is_new: true })
    }

    /// Notes that nobody looks after an incident any more.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unacknowledge(
        &mut self,
        id: &str,
        author: &str,
        comment: &str,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        check_texts(author, comment)?;
        let incident = self.find_open(id)?;
        incident.ack.take().ok_or_else(|| Refusal::NotAcknowledged(id.to_owned()))?;
        incident.do_note(moment, NoteKind::Unacknowledged, author, comment);
        Ok(())
    }

    /// Adds what somebody says to an open incident.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn comment(
        &mut self,
        id: &str,
        author: &str,
        text: &str,
        moment: &mut Moment<'_>,
    ) -> Result<(), Refusal> {
        check_texts(author, text)?;
        self.find_open(id)?.do_note(moment, NoteKind::Comment, author, text);
        Ok(())
    }

    /// The open incident with that id, which is about to change.
    fn find_open(&mut self, id: &str) -> Result<&mut Incident, Refusal> {
        // A look at each, since only people ask so.
        let Some((key, incident)) = self.open.iter_mut().find(|(_, one)| *one.id == *id) else {
            let is_past = self.past.iter().any(|one| *one.id == *id);
            let id = id.chars().take(100).collect();
            return Err(if is_past { Refusal::Over(id) } else { Refusal::NoSuchIncident(id) });
        };
        self.moved.insert(key.clone());
        Ok(incident)
    }

    /// Takes a silence, under an id of its own. What it covers is quiet from the next step on.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn silence(
        &mut self,
        silence: Silence,
        moment: &mut Moment<'_>,
    ) -> Result<Silence, Refusal> {
        self.silences.check(&silence, moment.now)?;
        let silence = Silence { id: self.next_id('s', moment.now), made: moment.now, ..silence };
        self.silences.add(silence.clone(), moment.audit, moment.now);
        Ok(silence)
    }

    /// Ends a silence before its time. What it covered is told with the next step.
    ///
    /// # Errors
    /// See [`Refusal`].
    pub fn unsilence(
        &mut self,
        id: &str,
        author: &str,
        moment: &mut Moment<'_>,
    ) -> Result<Silence, Refusal> {
        self.silences.remove(id, author, moment.audit, moment.now)
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
        for key in std::mem::take(&mut self.moved) {
            if let Some(incident) = self.open.get(&key) {
                changes.put(fact_key(&incident.id), plain::write(incident));
            }
        }
        if !changes.is_empty() {
            changes.put(SERIAL_KEY.to_vec(), plain::write(&self.serial));
            facts.is_urgent = true;
            facts.append(changes);
        }
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub fn recall(&mut self, table: &Table) -> usize {
        let (mut garbled, mut past) = (self.silences.recall(table), Vec::new());
        for (_, bytes) in table.below(SPACE) {
            match plain::read::<Incident>(bytes) {
                None => garbled += 1,
                Some(incident) if incident.closed.is_some() => past.push(incident),
                Some(incident) => {
                    let key = (incident.rule.name.clone(), incident.group.clone());
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
        let told = self.told.values().copied().max().unwrap_or(Level::Ok);
        // Who was told last that it flaps knows no state.
        let was = if told == Level::Ok { self.reached } else { told };
        if from != to {
            self.change(Change { at, from, to, value }, audit);
        }
        self.closed = is_over.then_some(at);
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
        let mut notice = self.notice(kind, if is_over { was } else { from });
        notice.level = if kind == NoticeKind::Flapping { self.reached } else { to };
        describe(&mut notice, event);
        (notice, audience)
    }

    /// Adds a line about what somebody did, here and to the audit.
    fn do_note(&mut self, moment: &mut Moment<'_>, kind: NoteKind, author: &str, text: &str) {
        self.note(moment.now, kind, author, text);
        let (title, incident) = (self.title(), self.id.to_string());
        if let Some(note) = self.notes.last().cloned() {
            moment.audit.note(moment.now, What::Note { title, incident, note });
        }
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

fn recipients(contact: &Contact) -> Vec<Recipient> {
    let mail = contact.email.iter().cloned().map(Recipient::Email);
    let webhook = contact.webhook.iter().map(|_| Recipient::Webhook(contact.name.clone()));
    mail.chain(webhook).collect()
}

#[cfg(test)]
mod tests;
