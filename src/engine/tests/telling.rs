//! Random traffic, acknowledgements and silences: whatever happens, who has to know does, nobody hears of what is
//! not to be told, and every end reaches those who heard of the beginning.
//!
//! The rules are held, second by second, against what came out, by a reckoning that knows nothing of how it is
//! decided: how long each incident has stood as it does, and what each contact has heard of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Config, Escalation};
use crate::engine::Engine;
use crate::limits;
use crate::notify::{Incident, Notice, NoticeKind, Outcome, Silence};
use crate::rules::Level;
use crate::time::{Span, Timestamp};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const HOLD: u64 = 5;
const REPEAT: u64 = 20;
const ESCALATE: u64 = 12;

const RULES: &str = "
[[contact]]
name = 'oncall'
webhook = 'http://127.0.0.1:9/'
[[contact]]
name = 'lead'
webhook = 'http://127.0.0.1:9/'
[notify]
default = ['oncall']
[[rule]]
name = 'r'
series = 'n'
by = ['h']
measure = 'sum'
window = '1s'
warning = { above = 10 }
critical = { above = 100 }
flapping = false
";

fn config() -> Config {
    let mut config = super::read(RULES);
    // Shorter than a file may say, so that much happens.
    config.rules[0].repeat = Span::from_secs(REPEAT);
    let (after, notify) = (Span::from_secs(ESCALATE), vec!["lead".to_owned()]);
    config.rules[0].escalate = vec![Escalation { after, notify }];
    config
}

/// What somebody does.
#[derive(Clone, Copy, Debug)]
enum Act {
    Level(usize, u64),
    Acknowledge(usize),
    Unacknowledge(usize),
    Silence(usize, u64),
    Unsilence,
    Wait,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        6 => (0..3_usize, 0..3_usize).prop_map(|(host, at)| Act::Level(host, [1, 20, 200][at])),
        1 => (0..3_usize).prop_map(Act::Acknowledge),
        1 => (0..3_usize).prop_map(Act::Unacknowledge),
        1 => (0..3_usize, 1..40_u64).prop_map(|(host, secs)| Act::Silence(host, secs)),
        1 => Just(Act::Unsilence),
        8 => Just(Act::Wait),
    ]
}

/// What is known of an incident without a look at how it is told.
#[derive(Debug, Default)]
struct Reckoned {
    level: Level,
    /// For how many seconds it stands as it does: level, acknowledgement, silence.
    still: u64,
    /// For how many nobody looks after it, and no silence covers it.
    loud: u64,
    /// For how many somebody looks after it, or a silence covers it, and it got no worse.
    hushed: u64,
    /// By contact: what it heard last, and how many seconds ago an alarm.
    heard: BTreeMap<String, (Level, u64)>,
    /// For how many seconds it is over.
    over: Option<u64>,
    /// Who heard of the end.
    ended: Vec<String>,
}

struct World {
    engine: Engine,
    now: Timestamp,
    levels: [u64; 3],
    incidents: BTreeMap<Arc<str>, Reckoned>,
    /// When each contact got its last message.
    last: BTreeMap<String, Timestamp>,
}

impl World {
    fn new() -> Self {
        let engine = Engine::new(&config(), START);
        let (incidents, last) = (BTreeMap::new(), BTreeMap::new());
        Self { engine, now: START, levels: [1; 3], incidents, last }
    }

    fn open(&self, host: usize) -> Option<Arc<str>> {
        self.engine.view(|view| {
            let mut open = view.incidents.iter().filter(|one| one.closed.is_none());
            let found = open.find(|one| one.labels[0].1 == host.to_string());
            found.map(|one| Arc::clone(&one.id))
        })
    }

    fn act(&mut self, act: Act) {
        let now = self.now;
        match act {
            Act::Level(host, errors) => self.levels[host] = errors,
            Act::Acknowledge(host) => {
                let _ = self.open(host).map(|id| self.engine.acknowledge(&id, "a", "", now));
            }
            Act::Unacknowledge(host) => {
                let _ = self.open(host).map(|id| self.engine.unacknowledge(&id, "a", "", now));
            }
            Act::Silence(host, secs) => {
                let silence = Silence {
                    id: "".into(),
                    rule: Some(format!("r{{h=\"{host}\"}}").parse().unwrap()),
                    series: None,
                    from: now,
                    until: Some(now + Span::from_secs(secs)),
                    schedule: None,
                    author: "a".to_owned(),
                    comment: String::new(),
                    made: now,
                };
                self.engine.silence(silence, now).unwrap();
            }
            Act::Unsilence => {
                let first = |view: &crate::engine::View<'_>| {
                    view.incidents.silences().iter().next().map(|one| Arc::clone(&one.id))
                };
                let _ = self.engine.view(first).map(|id| self.engine.unsilence(&id, "a", now));
            }
            Act::Wait => {}
        }
    }

    /// A second, and all that has to hold after it.
    fn second(&mut self) {
        for (host, errors) in self.levels.iter().enumerate() {
            self.engine.counters().incr(format!("n;h={host}").as_bytes(), *errors, self.now);
        }
        self.now = self.now + Span::SECOND;
        self.engine.tick(self.now);
        let all: Vec<_> = self.engine.view(|view| view.incidents.iter().cloned().collect());
        for incident in &all {
            self.reckon(incident);
        }
        for delivery in self.engine.due(self.now, limits::OUTBOX) {
            let message = &delivery.message;
            let before = self.last.insert(message.contact.clone(), self.now);
            let gap = before.map(|before| self.now.since(before).as_millis() / 1000);
            assert!(gap.is_none_or(|gap| gap >= HOLD), "two messages within {gap:?} s");
            for notice in &message.notices {
                self.hear(&message.contact, notice);
            }
            self.engine.settle(delivery.id, &Outcome::Delivered, self.now);
        }
        for (id, incident) in &self.incidents {
            incident.check(id);
        }
    }

    fn reckon(&mut self, incident: &Incident) {
        let known = self.incidents.entry(Arc::clone(&incident.id)).or_default();
        if incident.closed.is_some() {
            known.over = Some(known.over.map_or(0, |secs| secs + 1));
            return;
        }
        let is_loud = incident.ack.is_none() && !incident.is_silenced;
        let has_changed = known.level != incident.level || is_loud != (known.loud > 0);
        let is_worse = incident.level > known.level;
        known.still = if has_changed { 0 } else { known.still + 1 };
        known.loud = if is_loud { known.loud + 1 } else { 0 };
        known.hushed = if is_loud || is_worse { 0 } else { known.hushed + 1 };
        known.level = incident.level;
        for (_, since) in known.heard.values_mut() {
            *since += 1;
        }
    }

    fn hear(&mut self, contact: &str, notice: &Notice) {
        let known = self.incidents.get_mut(&notice.incident).unwrap();
        let has_heard = known.heard.contains_key(contact);
        let has_ended = known.ended.iter().any(|one| one == contact);
        assert!(!has_ended, "nothing is told after the end: {notice:?}");
        match notice.kind {
            NoticeKind::Recovered => assert!(has_heard, "the end of what {contact} never heard of"),
            NoticeKind::Ended => assert!(!has_heard, "{contact} has heard of it"),
            NoticeKind::Firing | NoticeKind::Escalated => {
                assert!(!has_heard, "a second beginning for {contact}");
            }
            NoticeKind::Worse | NoticeKind::Repeat => assert!(has_heard, "no beginning"),
            other => panic!("nothing here is told as {other:?}"),
        }
        if notice.kind.is_over() {
            known.ended.push(contact.to_owned());
            return;
        }
        assert!(known.hushed <= HOLD, "told while it is not to be: {notice:?} {known:?}");
        let age = self.now.since(notice.opened).as_millis() / 1000;
        assert!(notice.kind != NoticeKind::Escalated || age >= ESCALATE, "too early: {notice:?}");
        known.heard.insert(contact.to_owned(), (notice.level, 0));
    }
}

impl Reckoned {
    fn check(&self, id: &str) {
        let said = || format!("{id} {self:?}");
        if let Some(over) = self.over {
            let waits = self.heard.keys().any(|contact| !self.ended.contains(contact));
            return assert!(over < HOLD || !waits, "somebody waits for the end: {}", said());
        }
        if self.loud > 0 && self.still > HOLD {
            let knows = self.heard.get("oncall").is_some_and(|(level, _)| *level >= self.level);
            assert!(knows, "on-call does not know: {}", said());
        }
        if self.loud > ESCALATE + HOLD + 1 {
            assert!(self.heard.contains_key("lead"), "it did not escalate: {}", said());
        }
        if self.loud > REPEAT + HOLD + 1 {
            let forgotten = self.heard.values().any(|(_, since)| *since > REPEAT + HOLD);
            assert!(!forgotten, "it was not told again: {}", said());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn who_has_to_know_does_and_every_end_reaches_who_heard_of_the_beginning(
        acts in prop::collection::vec(act(), 100..300),
    ) {
        let mut world = World::new();
        for act in acts {
            world.act(act);
            world.second();
        }
    }
}
