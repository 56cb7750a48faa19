//! From changes of state to messages: which incident it belongs to, whether it is told, and to whom.
//!
//! An incident opens when an instance leaves ok and closes when it returns, or when its rule is gone.
//! Beginning, worsening and recovery are told; an improvement that is no recovery is not. A recovery goes
//! to everyone who was told of the problem; where word of it could not be sent yet, one message tells
//! both. While a state flaps its incident stays open: that it flaps is told, then nothing until
//! it has been still, or critical for too long. While a rule is critical on which this one depends, only the
//! end of what was told before is. All that one evaluation brings for one contact is one message. A message for which
//! the outbox has no room was told to nobody: the next change is held against what each contact knows.
//!
//! Incidents are told as facts to whoever keeps them, those that are over up to a bound.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use super::audit::{Audit, What};
use super::message::{About, Closing, Message, Notice, NoticeKind, title};
use super::outbox::{Outbox, Recipient, Replaced};
use super::plain;
use crate::config::{Config, Contact};
use crate::limits;
use crate::query::{Group, Observation};
use crate::rules::state::worse;
use crate::rules::{Cause, Event, Level, Policy, Transition};
use crate::store::{Facts, Table};
use crate::time::Timestamp;

/// Open incidents, and who is told of them.
#[derive(Debug)]
pub struct Incidents {
    open: BTreeMap<Key, Incident>,
    /// Those that are over, as far as they are known, by when that was.
    past: VecDeque<Incident>,
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
type Telling = BTreeMap<String, Vec<(Key, Notice)>>;

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

const SPACE: u8 = b'i';
const SERIAL_KEY: &[u8] = b"ni";

impl Incidents {
    /// No incident open.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let mut incidents = Self {
            open: BTreeMap::new(),
            past: VecDeque::new(),
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
        self.contacts = contacts.map(|c| (c.name.clone(), recipients(c))).collect();
        self.default.clone_from(&config.notify.default);
        self.public_url = config.notify.public_url.as_str().into();
    }

    /// Takes in the events of one evaluation and queues what is to be told; the messages that were
    /// queued for one recipient at least. One for which the outbox has no room is counted there.
    pub fn take(
        &mut self,
        events: Vec<Event>,
        outbox: &mut Outbox,
        audit: &mut Audit,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut telling = Telling::new();
        for event in events {
            let Some((key, notice, audience)) = self.take_one(event, audit, now) else { continue };
            for contact in audience {
                telling.entry(contact).or_default().push((key.clone(), notice.clone()));
            }
        }
        self.tell(telling, outbox, audit, now)
    }

    /// Closes every open incident for which `why` has a reason, and tells whoever was told of it.
    pub fn close(
        &mut self,
        why: impl Fn(&Incident) -> Option<Closing>,
        outbox: &mut Outbox,
        audit: &mut Audit,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut telling = Telling::new();
        for (key, incident) in &mut self.open {
            let Some(why) = why(incident) else { continue };
            self.moved.insert(key.clone());
            let from = incident.level;
            incident.change(Change { at: now, from, to: Level::Ok, value: None }, audit);
            incident.closed = Some(now);
            let notice = incident.notice(NoticeKind::Closed(why), from);
            for contact in incident.told.keys() {
                telling.entry(contact.clone()).or_default().push((key.clone(), notice.clone()));
            }
        }
        self.tell(telling, outbox, audit, now)
    }

    /// Queues one message for each contact, and puts away what is over.
    fn tell(
        &mut self,
        telling: Telling,
        outbox: &mut Outbox,
        audit: &mut Audit,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut messages = Vec::new();
        for (contact, mut told) in telling {
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

    /// The incident of an event and whom to tell; `None` where there is none.
    fn take_one(
        &mut self,
        event: Event,
        audit: &mut Audit,
        now: Timestamp,
    ) -> Option<(Key, Notice, Vec<String>)> {
        let labels = event.labels();
        let Event { rule, meaning, group, transition, state, problem, is_quiet } = event;
        let Transition { cause, from, to, at, value, .. } = transition;
        let key = (rule.name.clone(), group);
        let may_be_over = !matches!(cause, Cause::Flapping | Cause::Flaps);
        let is_over = to == Level::Ok && may_be_over;
        let is_new = !self.open.contains_key(&key);
        if is_new && is_over {
            return None;
        }
        if is_new {
            let id = self.next_id('i', now);
            let mut incident = Incident::new(id, Arc::new(About::of(&rule)), at, value);
            (incident.meaning, incident.labels) = (meaning, labels);
            incident.group.clone_from(&key.1);
            self.open.insert(key.clone(), incident);
        }
        self.moved.insert(key.clone());
        let contacts = rule.notify.as_ref().unwrap_or(&self.default);
        let incident = self.open.get_mut(&key)?;
        incident.grow(&Policy::of(&rule), &transition);
        let audience = incident.audience(cause, to, contacts, is_over, is_quiet);
        let told = incident.told.values().copied().max().unwrap_or(Level::Ok);
        // Who was told last that it flaps knows no state.
        let was = if told == Level::Ok { incident.reached } else { told };
        if from != to {
            incident.change(Change { at, from, to, value }, audit);
        }
        incident.closed = is_over.then_some(at);
        let (covered, is_at_least) = match state.observation {
            Observation::Value { covered, .. } => (covered, false),
            Observation::AtLeast(_) => (1.0, true),
            _ => (1.0, false),
        };
        let kind = match cause {
            Cause::ScheduleEnded => NoticeKind::ScheduleEnded,
            _ if is_over => NoticeKind::Recovered,
            Cause::Flapping | Cause::Flaps => NoticeKind::Flapping,
            Cause::Settled => NoticeKind::Settled,
            _ if told == Level::Ok => NoticeKind::Firing,
            _ => NoticeKind::Worse,
        };
        let level = if kind == NoticeKind::Flapping { incident.reached } else { to };
        let notice = incident.notice(kind, if is_over { was } else { from });
        // Its thresholds may be others than when the incident began.
        let rule = Arc::new(About::of(&rule));
        let since = at;
        let notice = Notice { rule, level, since, value, covered, is_at_least, problem, ..notice };
        Some((key, notice, audience))
    }

    fn next_id(&mut self, kind: char, now: Timestamp) -> Arc<str> {
        self.serial += 1;
        format!("{kind}{:x}-{:x}", now.as_millis(), self.serial).into()
    }

    /// Says what has changed since the last call.
    pub fn note(&mut self, facts: &mut Facts) {
        let mut changes = std::mem::take(&mut self.facts);
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
        let (mut garbled, mut past) = (0, Vec::new());
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
    fn new(id: Arc<str>, rule: Arc<About>, opened: Timestamp, began: Option<f64>) -> Self {
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
        }
    }

    /// The rule's name with the instance behind it.
    #[must_use]
    pub fn title(&self) -> String {
        title(&self.rule.name, &self.labels)
    }

    /// Takes in how bad it was and is.
    fn grow(&mut self, policy: &Policy, transition: &Transition) {
        let Transition { from, to, value, worst, .. } = *transition;
        // What the state before came to, then what this one begins with.
        self.worst = worse(policy, from, self.worst, worst);
        if to != Level::Ok {
            self.worst = worse(policy, to, self.worst, value);
        }
        self.reached = self.reached.max(from).max(to);
    }

    /// Who hears of a change.
    fn audience(
        &self,
        cause: Cause,
        to: Level,
        contacts: &[String],
        is_over: bool,
        is_quiet: bool,
    ) -> Vec<String> {
        let all = || {
            let others = contacts.iter().filter(|contact| !self.told.contains_key(*contact));
            self.told.keys().chain(others).cloned().collect()
        };
        match cause {
            Cause::Flaps => Vec::new(),
            _ if is_over => self.told.keys().cloned().collect(),
            _ if is_quiet => Vec::new(),
            Cause::Flapping | Cause::Settled => all(),
            _ => contacts.iter().filter(|contact| to > self.known_to(contact)).cloned().collect(),
        }
    }

    /// The worst level that a contact was told; ok where it was told nothing.
    fn known_to(&self, contact: &str) -> Level {
        self.told.get(contact).copied().unwrap_or(Level::Ok)
    }

    fn change(&mut self, change: Change, audit: &mut Audit) {
        (self.level, self.since) = (change.to, change.at);
        let (title, incident) = (self.title(), self.id.to_string());
        audit.note(change.at, What::Change { title, incident, change: change.clone() });
        push_bounded(&mut self.changes, change);
    }

    /// A notice of it as it is now, with no value.
    fn notice(&self, kind: NoticeKind, from: Level) -> Notice {
        Notice {
            incident: Arc::clone(&self.id),
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

/// The first stays, since it tells how it began.
fn push_bounded<T>(list: &mut Vec<T>, one: T) {
    if list.len() >= limits::INCIDENT_LINES {
        list.remove(1);
    }
    list.push(one);
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
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::limits;
    use crate::notify::tests::rule;
    use crate::query::Reason;
    use crate::rules::State;
    use crate::time::Span;

    fn incidents() -> Incidents {
        let contact = |name: &str, email: &[&str]| Contact {
            name: name.to_owned(),
            email: email.iter().map(|&to| to.to_owned()).collect(),
            webhook: None,
        };
        let contacts = vec![
            contact("oncall", &["a@example.com", "b@example.com"]),
            contact("lead", &["l@example.com"]),
        ];
        let mut config = Config { contacts, ..Config::default() };
        config.notify.default = vec!["oncall".to_owned()];
        Incidents::new(&config)
    }

    fn event(name: &str, notify: Option<&[&str]>, secs: i64, from: Level, to: Level) -> Event {
        let at = Timestamp::from_secs(secs);
        let notify = notify.map(|names| names.iter().map(|&name| name.to_owned()).collect());
        let (since, value) = (Timestamp::EPOCH, Some(17.0));
        Event {
            rule: Arc::new(crate::config::Rule { notify, ..rule(name) }),
            meaning: 0,
            group: Vec::new(),
            transition: Transition {
                cause: Cause::Changed,
                from,
                to,
                at,
                value,
                worst: Some(30.0),
                since,
            },
            state: State {
                observation: Observation::Unjudged(Reason::Gap),
                level: to,
                ..State::new(at)
            },
            problem: None,
            is_quiet: false,
        }
    }

    /// Who is told what by these events of one rule, one evaluation each.
    fn play(notify: Option<&[&str]>, levels: &[Level]) -> Vec<String> {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut from = Level::Ok;
        let mut told = Vec::new();
        for (secs, to) in (1..).zip(levels) {
            let event = event("r", notify, secs, from, *to);
            from = *to;
            for message in incidents.take(
                vec![event],
                &mut outbox,
                &mut Audit::default(),
                Timestamp::from_secs(secs),
            ) {
                let notice = &message.notices[0];
                told.push(format!(
                    "{secs} {} {:?} {}",
                    message.contact,
                    notice.kind,
                    notice.level.word()
                ));
            }
            deliver(&mut outbox, Timestamp::from_secs(secs));
        }
        told
    }

    fn deliver(outbox: &mut Outbox, now: Timestamp) {
        for delivery in outbox.due(now, limits::OUTBOX) {
            outbox.settle(delivery.id, &crate::notify::Outcome::Delivered, now);
        }
    }

    #[test]
    fn what_began_and_ended_before_word_of_it_was_sent_is_told_in_one_message() {
        let (mut incidents, mut audit) = (incidents(), Audit::default());
        let mut outbox = Outbox::new(Span::DAY);
        let mut change = |outbox: &mut Outbox, names: &[&str], secs, from, to| {
            let events = names.iter().map(|name| event(name, None, secs, from, to)).collect();
            incidents.take(events, outbox, &mut audit, Timestamp::from_secs(secs))
        };
        let first = change(&mut outbox, &["r", "s"], 1, Ok, Warning);
        // One of two mailboxes takes it.
        let out = outbox.due(Timestamp::from_secs(1), 1);
        outbox.settle(out[0].id, &crate::notify::Outcome::Delivered, Timestamp::from_secs(1));
        change(&mut outbox, &["r"], 2, Warning, Critical);
        let last = change(&mut outbox, &["r"], 9, Critical, Ok);
        let told = |message: &Message| -> Vec<String> {
            let notices = message.notices.iter();
            notices.map(|n| format!("{} {:?} {}", n.rule.name, n.kind, n.from.word())).collect()
        };
        let all: Vec<_> = last.iter().map(|message| told(message)).collect();
        let (both, recovered) =
            (vec!["s Firing ok", "r Ended critical"], vec!["r Recovered critical"]);
        assert_eq!(all, [recovered, both], "to the first mailbox, and to the other");
        assert!(last.iter().all(|message| message.id != first[0].id));
        let waits: Vec<_> = outbox.iter().map(|one| (one.recipient, told(&one.message))).collect();
        let to = |address: &str| Recipient::Email(address.to_owned());
        let (a, b) = (to("a@example.com"), to("b@example.com"));
        assert_eq!(waits.iter().filter(|(to, _)| *to == b).count(), 1);
        assert_eq!(waits.iter().filter(|(to, _)| *to == a).count(), 2, "worse, and over");
        // What is with a courier now is not taken back.
        change(&mut outbox, &["q"], 20, Ok, Warning);
        outbox.due(Timestamp::from_secs(20), limits::OUTBOX);
        let over = change(&mut outbox, &["q"], 21, Warning, Ok);
        assert_eq!(told(&over[0]), ["q Recovered warning"]);
    }

    use Level::{Critical, Ok, Unknown, Warning};

    #[test]
    fn tells_beginning_worsening_and_recovery() {
        assert_eq!(
            play(None, &[Warning, Critical, Ok]),
            ["1 oncall Firing warning", "2 oncall Worse critical", "3 oncall Recovered ok"]
        );
    }

    #[test]
    fn an_improvement_that_is_no_recovery_is_not_told_nor_is_the_way_back() {
        assert_eq!(
            play(None, &[Critical, Warning, Critical, Unknown, Ok]),
            ["1 oncall Firing critical", "5 oncall Recovered ok"]
        );
    }

    /// Who is told what by transitions of one rule, a second each: cause, from, to, quiet.
    fn tell(steps: &[(Cause, Level, Level, bool)]) -> Vec<String> {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut told = Vec::new();
        for (secs, (cause, from, to, is_quiet)) in (1..).zip(steps) {
            let mut event = event("r", None, secs, *from, *to);
            event.transition.cause = *cause;
            event.is_quiet = *is_quiet;
            for message in incidents.take(
                vec![event],
                &mut outbox,
                &mut Audit::default(),
                Timestamp::from_secs(secs),
            ) {
                let notice = &message.notices[0];
                let (from, to) = (notice.from.word(), notice.level.word());
                told.push(format!("{secs} {:?} {from} {to}", notice.kind));
            }
            deliver(&mut outbox, Timestamp::from_secs(secs));
        }
        told.push(format!("{} open", incidents.open()));
        told
    }

    #[test]
    fn what_flaps_is_one_incident_that_ends_once_it_is_still() {
        use Cause::{Changed, Flapping, Flaps, Insists, Settled};
        let check = |steps: &[(Cause, Level, Level)], expect: &[&str]| {
            let steps = steps.iter().map(|(cause, from, to)| (*cause, *from, *to, false));
            assert_eq!(tell(&steps.collect::<Vec<_>>()), expect);
        };
        let fires = (Changed, Ok, Critical);
        check(
            &[fires, (Flapping, Critical, Ok), (Flaps, Ok, Warning), (Settled, Warning, Warning)],
            &[
                "1 Firing ok critical",
                "2 Flapping critical critical",
                "4 Settled warning warning",
                "1 open",
            ],
        );
        check(
            &[
                fires,
                (Flapping, Critical, Ok),
                (Flaps, Ok, Critical),
                (Flaps, Critical, Ok),
                (Settled, Ok, Ok),
            ],
            &[
                "1 Firing ok critical",
                "2 Flapping critical critical",
                "5 Recovered critical ok",
                "0 open",
            ],
        );
        let insists = (Insists, Critical, Critical);
        check(
            &[
                (Flapping, Critical, Ok),
                (Flaps, Ok, Critical),
                insists,
                insists,
                (Settled, Critical, Critical),
            ],
            &[
                "1 Flapping critical critical",
                "3 Firing critical critical",
                "5 Settled critical critical",
                "1 open",
            ],
        );
    }

    #[test]
    fn the_end_of_a_schedule_closes_what_was_told_and_says_so() {
        let ended = |from| (Cause::ScheduleEnded, from, Ok, false);
        assert_eq!(
            tell(&[(Cause::Changed, Ok, Critical, false), ended(Critical)]),
            ["1 Firing ok critical", "2 ScheduleEnded critical ok", "0 open"]
        );
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        for (secs, cause, from, to) in
            [(60, Cause::Changed, Ok, Critical), (3660, Cause::ScheduleEnded, Critical, Ok)]
        {
            let mut event = event("r", None, secs, from, to);
            (event.transition.cause, event.transition.value) = (cause, None);
            let peak = crate::config::Schedule {
                name: "peak".to_owned(),
                hours: crate::time::Weekly::new(
                    Vec::new(),
                    "UTC".parse().unwrap(),
                    BTreeSet::new(),
                ),
            };
            event.rule =
                Arc::new(crate::config::Rule { schedule: Some(Arc::new(peak)), ..rule("r") });
            let messages = incidents.take(
                vec![event],
                &mut outbox,
                &mut Audit::default(),
                Timestamp::from_secs(secs),
            );
            let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
            if cause == Cause::ScheduleEnded {
                insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text));
            }
            deliver(&mut outbox, Timestamp::from_secs(secs));
        }
    }

    #[test]
    fn that_it_flaps_is_told_in_words() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut event = event("r", None, 1, Critical, Ok);
        event.transition.cause = Cause::Flapping;
        let messages = incidents.take(
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(1),
        );
        let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
        insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text));
    }

    #[test]
    fn while_a_rule_is_quiet_only_the_end_of_what_was_told_is() {
        use Cause::{Announced, Changed};
        assert_eq!(
            tell(&[
                (Changed, Ok, Warning, false),
                (Changed, Warning, Critical, true),
                (Changed, Critical, Ok, true)
            ]),
            ["1 Firing ok warning", "3 Recovered warning ok", "0 open"]
        );
        assert_eq!(
            tell(&[(Changed, Ok, Critical, true), (Changed, Critical, Ok, true)]),
            ["0 open"]
        );
        assert_eq!(
            tell(&[
                (Changed, Ok, Critical, true),
                (Announced, Critical, Critical, false),
                (Changed, Critical, Ok, true)
            ]),
            ["2 Firing critical critical", "3 Recovered critical ok", "0 open"]
        );
        assert_eq!(
            tell(&[(Changed, Ok, Warning, false), (Announced, Warning, Warning, false)]),
            ["1 Firing ok warning", "1 open"],
            "who knows it is not told again"
        );
    }

    #[test]
    fn nobody_is_told_when_the_rule_says_so() {
        assert_eq!(play(Some(&[]), &[Critical, Ok]), [""; 0]);
        assert_eq!(
            play(Some(&["lead"]), &[Unknown, Ok]),
            ["1 lead Firing unknown", "2 lead Recovered ok"]
        );
    }

    #[test]
    fn one_evaluation_is_one_message_per_contact_and_one_delivery_per_recipient() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let events = vec![
            event("a", None, 1, Ok, Warning),
            event("b", Some(&["lead", "oncall"]), 1, Ok, Critical),
        ];
        let messages =
            incidents.take(events, &mut outbox, &mut Audit::default(), Timestamp::from_secs(1));
        let told: Vec<_> = messages
            .iter()
            .map(|m| (m.contact.as_str(), m.notices.iter().map(Notice::title).collect::<Vec<_>>()))
            .collect();
        assert_eq!(told[0], ("lead", vec!["b".to_owned()]));
        assert_eq!(told[1], ("oncall", vec!["b".to_owned(), "a".to_owned()]), "worst first");
        assert_eq!(outbox.len(), 3, "one for lead, two for oncall");
        assert_eq!(incidents.open(), 2);
        assert_ne!(messages[0].id, messages[1].id);
        let recovered = vec![event("a", None, 9, Warning, Ok)];
        let messages =
            incidents.take(recovered, &mut outbox, &mut Audit::default(), Timestamp::from_secs(9));
        let notice = &messages[0].notices[0];
        assert_eq!((notice.opened, notice.worst), (Timestamp::from_secs(1), Some(30.0)));
        assert_eq!(incidents.open(), 1);
    }

    #[test]
    fn a_recovery_tells_the_worst_of_the_whole_incident() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut change = |secs, from, to, value, worst| {
            let mut event = event("r", None, secs, from, to);
            event.transition.value = Some(value);
            event.transition.worst = worst;
            incidents.take(
                vec![event],
                &mut outbox,
                &mut Audit::default(),
                Timestamp::from_secs(secs),
            )
        };
        change(1, Ok, Critical, 500.0, None);
        assert!(change(5, Critical, Warning, 7.0, Some(1000.0)).is_empty());
        let messages = change(9, Warning, Ok, 2.0, Some(8.0));
        let notice = &messages[0].notices[0];
        assert_eq!(
            (notice.began, notice.worst, notice.value),
            (Some(500.0), Some(1000.0), Some(2.0))
        );
        assert_eq!(notice.from, Critical, "what was told");
    }

    #[test]
    fn a_message_without_room_was_told_to_nobody() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let filler = crate::notify::tests::message(&["other"]);
        let to = Recipient::Email("z@example.com".to_owned());
        while outbox.queue(Arc::clone(&filler), to.clone(), Timestamp::EPOCH) {}
        let mut change = |outbox: &mut Outbox, secs, from, to| {
            let event = event("r", None, secs, from, to);
            incidents.take(vec![event], outbox, &mut Audit::default(), Timestamp::from_secs(secs))
        };
        assert!(change(&mut outbox, 1, Ok, Critical).is_empty());
        assert!(change(&mut outbox, 2, Critical, Ok).is_empty(), "nobody knew of it");
        assert!(change(&mut outbox, 3, Ok, Critical).is_empty());
        let done = outbox.due(Timestamp::from_secs(3), 1)[0].id;
        outbox.settle(done, &crate::notify::Outcome::Delivered, Timestamp::from_secs(3));
        // On-call hears of it at the next change, though that is no worsening, and as a beginning.
        let told = change(&mut outbox, 4, Critical, Warning);
        assert_eq!((told.len(), told[0].notices[0].kind), (1, NoticeKind::Firing));
        assert_eq!(outbox.len(), limits::OUTBOX, "one of two recipients found room");
        let done = outbox.due(Timestamp::from_secs(4), limits::OUTBOX).last().unwrap().id;
        outbox.settle(done, &crate::notify::Outcome::Delivered, Timestamp::from_secs(4));
        let over = change(&mut outbox, 5, Warning, Ok);
        assert_eq!((over.len(), over[0].notices[0].kind), (1, NoticeKind::Recovered));
        assert_eq!(over[0].notices[0].from, Warning, "what was told");
    }

    #[test]
    fn a_lower_bound_is_told_as_one() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut event = event("r", None, 1, Ok, Critical);
        event.state.observation = Observation::AtLeast(17.0);
        let messages = incidents.take(
            vec![event],
            &mut outbox,
            &mut Audit::default(),
            Timestamp::from_secs(1),
        );
        let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
        assert_eq!(mail.subject, "[CRITICAL] r: at least 17 in 5s");
    }
}
