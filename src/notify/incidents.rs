//! From changes of state to messages: which incident it belongs to, whether it is told, and to whom.
//!
//! An incident opens when an instance leaves ok and closes when it returns. Beginning, worsening and
//! recovery are told; an improvement that is no recovery is not. A recovery goes to everyone who was
//! told of the problem. While a state flaps its incident stays open: that it flaps is told, then nothing until
//! it has been still, or critical for too long. While a rule is critical on which this one depends, only the
//! end of what was told before is. All that one evaluation brings for one contact is one message. A message for which
//! the outbox has no room was told to nobody: the next change is held against what each contact knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::message::{Message, Notice, NoticeKind};
use super::outbox::{Outbox, Recipient};
use crate::config::{Config, Contact};
use crate::query::{Group, Observation};
use crate::rules::state::worse;
use crate::rules::{Cause, Event, Level, Policy, Transition};
use crate::time::Timestamp;

/// Open incidents, and who is told of them.
#[derive(Debug)]
pub struct Incidents {
    open: BTreeMap<Key, Incident>,
    contacts: BTreeMap<String, Vec<Recipient>>,
    default: Vec<String>,
    public_url: Arc<str>,
    /// Numbers incidents and messages; with the time before it, unique over restarts.
    serial: u64,
}

/// A rule and the group of an instance of it.
type Key = (String, Group);

#[derive(Debug)]
struct Incident {
    id: Arc<str>,
    opened: Timestamp,
    began: Option<f64>,
    worst: Option<f64>,
    /// The worst level so far.
    reached: Level,
    /// Everyone who was told, and the worst level that each was told since; ok for who was told last that it
    /// flaps.
    told: BTreeMap<String, Level>,
}

/// An incident, and what a contact knows of it.
type Known = (Key, Level);

/// What an event comes to.
struct Telling {
    key: Key,
    notice: Notice,
    audience: Vec<String>,
    /// What the audience knows then.
    known: Level,
}

impl Incidents {
    /// No incident open.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let contacts = config.contacts.iter().map(|c| (c.name.clone(), recipients(c))).collect();
        Self {
            open: BTreeMap::new(),
            contacts,
            default: config.notify.default.clone(),
            public_url: config.notify.public_url.as_str().into(),
            serial: 0,
        }
    }

    /// Takes in the events of one evaluation and queues what is to be told; the messages that were
    /// queued for one recipient at least. One for which the outbox has no room is counted there.
    pub fn take(
        &mut self,
        events: Vec<Event>,
        outbox: &mut Outbox,
        now: Timestamp,
    ) -> Vec<Arc<Message>> {
        let mut by_contact: BTreeMap<String, (Vec<Known>, Vec<Notice>)> = BTreeMap::new();
        for event in events {
            let Some(telling) = self.note(event, now) else { continue };
            for contact in telling.audience {
                let (known, notices) = by_contact.entry(contact).or_default();
                known.push((telling.key.clone(), telling.known));
                notices.push(telling.notice.clone());
            }
        }
        let mut messages = Vec::new();
        for (contact, (known, mut notices)) in by_contact {
            notices.sort_by_key(|notice| std::cmp::Reverse(notice.level));
            let message = Arc::new(Message {
                id: self.next_id('m', now).to_string(),
                contact,
                at: now,
                notices,
                public_url: Arc::clone(&self.public_url),
                is_test: false,
            });
            let mut is_queued = false;
            for recipient in self.contacts.get(&message.contact).into_iter().flatten() {
                is_queued |= outbox.queue(Arc::clone(&message), recipient.clone(), now);
            }
            if !is_queued {
                continue;
            }
            for (key, level) in known {
                if let Some(incident) = self.open.get_mut(&key) {
                    incident.told.insert(message.contact.clone(), level);
                }
            }
            messages.push(message);
        }
        messages
    }

    /// How many are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.len()
    }

    /// The incident of an event and whom to tell; `None` where nobody is told.
    fn note(&mut self, event: Event, now: Timestamp) -> Option<Telling> {
        let labels = event.labels();
        let Event { rule, group, transition, state, problem, is_quiet } = event;
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
            self.open.insert(key.clone(), Incident::new(id, at, value));
        }
        let contacts = rule.notify.as_ref().unwrap_or(&self.default);
        let incident = self.open.get_mut(&key)?;
        incident.grow(&Policy::of(&rule), &transition);
        let audience = incident.audience(cause, to, contacts, is_over, is_quiet);
        let told = incident.told.values().copied().max().unwrap_or(Level::Ok);
        // Who was told last that it flaps knows no state.
        let was = if told == Level::Ok { incident.reached } else { told };
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
        let is_flapping = kind == NoticeKind::Flapping;
        let notice = Notice {
            incident: Arc::clone(&incident.id),
            opened: incident.opened,
            kind,
            rule,
            labels,
            from: if is_over { was } else { from },
            level: if is_flapping { incident.reached } else { to },
            since: at,
            began: incident.began,
            worst: incident.worst,
            value,
            covered,
            is_at_least,
            problem,
        };
        if is_over {
            self.open.remove(&key);
        }
        let known = if is_flapping { Level::Ok } else { to };
        (!audience.is_empty()).then_some(Telling { key, notice, audience, known })
    }

    fn next_id(&mut self, kind: char, now: Timestamp) -> Arc<str> {
        self.serial += 1;
        format!("{kind}{:x}-{:x}", now.as_millis(), self.serial).into()
    }
}

impl Incident {
    fn new(id: Arc<str>, opened: Timestamp, began: Option<f64>) -> Self {
        Self { id, opened, began, worst: began, reached: Level::Ok, told: BTreeMap::new() }
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
            for message in incidents.take(vec![event], &mut outbox, Timestamp::from_secs(secs)) {
                let notice = &message.notices[0];
                told.push(format!(
                    "{secs} {} {:?} {}",
                    message.contact,
                    notice.kind,
                    notice.level.word()
                ));
            }
        }
        told
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
            for message in incidents.take(vec![event], &mut outbox, Timestamp::from_secs(secs)) {
                let notice = &message.notices[0];
                let (from, to) = (notice.from.word(), notice.level.word());
                told.push(format!("{secs} {:?} {from} {to}", notice.kind));
            }
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
            let messages = incidents.take(vec![event], &mut outbox, Timestamp::from_secs(secs));
            let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
            if cause == Cause::ScheduleEnded {
                insta::assert_snapshot!(format!("{}\n\n{}", mail.subject, mail.text));
            }
        }
    }

    #[test]
    fn that_it_flaps_is_told_in_words() {
        let mut incidents = incidents();
        let mut outbox = Outbox::new(Span::DAY);
        let mut event = event("r", None, 1, Critical, Ok);
        event.transition.cause = Cause::Flapping;
        let messages = incidents.take(vec![event], &mut outbox, Timestamp::from_secs(1));
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
        let messages = incidents.take(events, &mut outbox, Timestamp::from_secs(1));
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
        let messages = incidents.take(recovered, &mut outbox, Timestamp::from_secs(9));
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
            incidents.take(vec![event], &mut outbox, Timestamp::from_secs(secs))
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
            incidents.take(vec![event], outbox, Timestamp::from_secs(secs))
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
        let messages = incidents.take(vec![event], &mut outbox, Timestamp::from_secs(1));
        let mail = crate::notify::mail::compose(&messages[0], Timestamp::rfc3339);
        assert_eq!(mail.subject, "[CRITICAL] r: at least 17 in 5s");
    }
}
