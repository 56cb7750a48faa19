//! What waits, is silenced, or is told again while somebody sets the clock.

use super::*;
use crate::config::Escalation;
use crate::notify::{Outcome, Silence};
use crate::time::BelievedClock;
use crate::time::clock::{Clock, ManualClock};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// How far the wall clock is set beyond the right time, from a second on.
type Sets = &'static [(i64, i64)];

/// By hours and days, for some seconds and for good, once and again.
const ALL_SETS: [(&str, Sets); 9] = [
    ("never", &[]),
    ("two hours forward for a minute", &[(100, 2 * HOUR), (160, 0)]),
    ("two hours back for a minute", &[(100, -2 * HOUR), (160, 0)]),
    ("two days forward for a moment", &[(100, 2 * DAY), (105, 0)]),
    ("two days back for a moment", &[(100, -2 * DAY), (105, 0)]),
    ("two hours forward for good", &[(100, 2 * HOUR)]),
    ("two hours back for good", &[(100, -2 * HOUR)]),
    ("two days forward for good", &[(100, 2 * DAY)]),
    ("ten minutes forward, and two days back", &[(100, 10 * MINUTE), (700, -2 * DAY)]),
];

/// A server of which somebody sets the clock.
struct Set {
    world: World,
    wall: Arc<ManualClock>,
    clock: BelievedClock<Arc<ManualClock>>,
    sets: Sets,
    second: i64,
}

impl Set {
    fn new(rule: Rule, sets: Sets) -> Self {
        let mut config = config(vec![rule]);
        config.notify.give_up = Span::from_secs(1800);
        let lead = Contact { name: "lead".to_owned(), ..config.contacts[0].clone() };
        config.contacts.push(lead);
        let start = Timestamp::from_secs(1_767_571_200);
        let wall = Arc::new(ManualClock::at(start));
        let clock = BelievedClock::new(Arc::clone(&wall));
        let world = World { engine: Engine::new(&config, clock.now()), now: start };
        Self { world, wall, clock, sets, second: 0 }
    }

    /// Lets a second pass in which errors are counted.
    fn second(&mut self) -> Ticked {
        self.second += 1;
        self.wall.pass(Span::SECOND);
        if let Some((_, beyond)) = self.sets.iter().find(|(at, _)| *at == self.second) {
            self.wall.set_beyond(beyond * 1000);
        }
        self.world.now = self.clock.now();
        self.world.send("incr errors 20\r\n");
        self.world.engine.tick(self.clock.reading())
    }
}

impl Set {
    /// Silences everything for a while; the silence's id.
    fn silence(&self, span: Span) -> Arc<str> {
        let now = self.clock.now();
        let silence = Silence {
            id: "".into(),
            rule: "*".parse().ok(),
            series: None,
            from: now,
            until: Some(now + span),
            schedule: None,
            author: String::new(),
            comment: String::new(),
            made: now,
        };
        self.world.engine.silence(silence, now).unwrap().id
    }
}

/// Seconds of the attempts at a message whose receiver is down.
fn attempts(sets: Sets) -> Vec<i64> {
    let mut set = Set::new(errors_high(), sets);
    let (mut attempts, down) =
        (Vec::new(), Outcome::Later { reason: "down".to_owned(), after: None });
    for _ in 0..HOUR {
        set.second();
        for delivery in set.world.engine.due(set.clock.reading(), 64) {
            attempts.push(set.second);
            set.world.engine.settle(delivery.id, &down, set.clock.reading());
        }
    }
    assert!(set.world.engine.view(|view| view.outbox.is_empty()), "it is given up");
    attempts
}

#[test]
fn what_waits_to_be_delivered_waits_as_long_and_is_given_up_after_as_long() {
    let expect = attempts(&[]);
    assert_eq!(expect.first(), Some(&1));
    assert_eq!(expect.last(), Some(&1801), "the last attempt is at the end: {expect:?}");
    for (name, sets) in ALL_SETS {
        assert_eq!(attempts(sets), expect, "{name}");
    }
}

/// What is told of an incident, and when, while nobody looks after it.
fn told(sets: Sets) -> Vec<String> {
    let mut rule = errors_high();
    rule.repeat = Span::from_secs(600);
    let lead = vec!["lead".to_owned()];
    rule.escalate = vec![Escalation { after: Span::from_secs(900), notify: lead }];
    let mut set = Set::new(rule, sets);
    let mut told = Vec::new();
    for _ in 0..HOUR / 2 {
        let messages = set.second().messages;
        let second = set.second;
        told.extend(messages.iter().map(|message| {
            let kind = message.notices[0].kind.word();
            format!("{second} {kind} {}", message.contact)
        }));
    }
    told
}

#[test]
fn what_nobody_looks_after_is_told_again_and_to_others_after_as_long() {
    let expect = told(&[]);
    let first = ["1 firing oncall", "601 repeat oncall", "901 escalated lead"];
    assert_eq!(expect[..3], first, "{expect:?}");
    for (name, sets) in ALL_SETS {
        assert_eq!(told(sets), expect, "{name}");
    }
}

#[test]
fn what_is_held_for_a_moment_goes_out_though_no_window_is_closed() {
    let mut rule = errors_high();
    rule.by = vec!["host".to_owned()];
    let mut set = Set::new(rule, &[(3, -2 * HOUR)]);
    let mut told = Vec::new();
    for second in 1..20 {
        if second <= 2 {
            set.world.send(&format!("incr errors;host={second} 20\r\n"));
        }
        told.extend(set.second().messages.iter().map(|message| (second, message.notices.len())));
    }
    assert_eq!(told, [(1, 2), (6, 1)]);
}

#[test]
fn a_silence_is_neither_ended_nor_made_longer_by_a_clock_that_leaps_for_a_while() {
    // For good it ends at its hour of the day, and one that is made by a clock that is behind ends early.
    for (name, sets) in ALL_SETS.iter().filter(|(name, _)| name.contains("forward for a")) {
        for asked_at in [50, 103] {
            let mut set = Set::new(errors_high(), sets);
            let (mut id, mut held) = (None, Vec::new());
            for second in 1..1000 {
                set.second();
                if second == asked_at {
                    id = Some(set.silence(Span::from_secs(600)));
                }
                let is_active =
                    |id| set.world.engine.view(|v| v.incidents.silences().is_active(id));
                held.extend(id.as_deref().filter(|id| is_active(id)).map(|_| second));
            }
            let between = (held.first().copied(), held.last().copied());
            assert_eq!(between, (Some(asked_at + 1), Some(asked_at + 599)), "{name}");
        }
    }
}
