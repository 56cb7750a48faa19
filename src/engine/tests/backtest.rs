//! Rules over stored history against the same rules live, over random traffic.

use std::collections::BTreeMap;

use super::*;
use crate::config::Surroundings;
use crate::counters::cells::Kind;
use crate::engine::backtest::Step;
use crate::engine::{Batch, Firing, Point, Tested};
use crate::limits;
use crate::notify::{Notice, Outcome};
use crate::rules::Level;
use proptest::prelude::*;

const START: i64 = 1_767_571_200;

const CONTACT: &str = "[[contact]]\nname = 'oncall'\nwebhook = 'http://127.0.0.1/'\n\
                       [notify]\ndefault = ['oncall']\n";

fn world(rules: &str) -> World {
    world_of(&config(rules), Timestamp::from_secs(START))
}

fn config(rules: &str) -> Config {
    let loaded =
        config::parse(&format!("{CONTACT}{rules}"), Path::new("t.toml"), &Surroundings::none());
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
}

/// The same with a contact for each rule: what is told of one does not wait for what is told of another, which
/// a backtest of one rule does not know.
fn world_apart(rules: &str, now: Timestamp) -> World {
    let mut config = config(rules);
    let contact = config.contacts[0].clone();
    for rule in &mut config.rules {
        rule.notify = Some(vec![rule.name.clone()]);
        config.contacts.push(Contact { name: rule.name.clone(), ..contact.clone() });
    }
    world_of(&config, now)
}

fn world_of(config: &Config, now: Timestamp) -> World {
    World { engine: Engine::new(config, now), now }
}

impl World {
    /// A second in which closed windows are put into chunks as well; the changes and the messages of it.
    fn kept_second(&mut self) -> (Vec<StateChange>, Vec<String>) {
        self.now = self.now + Span::SECOND;
        let ticked = self.engine.tick(self.now);
        // What does not get through in time is told otherwise; here everything does, however few go to one
        // recipient at a time.
        let mut due = self.engine.due(self.now, limits::OUTBOX);
        while !due.is_empty() {
            for delivery in due {
                self.engine.settle(delivery.id, &Outcome::Delivered, self.now);
            }
            due = self.engine.due(self.now, limits::OUTBOX);
        }
        while self.engine.keep(self.now).unwrap() {}
        (ticked.changes, ticked.messages.iter().flat_map(|message| said(message)).collect())
    }

    fn tested(&self) -> Vec<Tested> {
        let span = Window { start: Timestamp::from_secs(START), end: self.now };
        self.engine.backtest(&self.engine.rules(), None, span, &|| true).unwrap()
    }
}

/// Rules of every measure and kind of judgement, with a chance to fire.
const RULES: &str = "
[[schedule]]
name = 'shift'
zone = 'Europe/Berlin'
times = ['Mon 01:05-01:20', 'Mon 01:30-01:45']
[[metric]]
match = 'ms'
kind = 'distribution'
[[rule]]
name = 'sum'
series = 'n'
measure = 'sum'
window = '20s'
warning = { above = 30, clear = 20 }
critical = { above = 45, clear = 25, for = '5s' }
repeat = '1m'
escalate = [{ after = '90s', notify = ['oncall'] }]
[[rule]]
name = 'by'
series = 'n'
by = ['h']
measure = 'rate'
window = '1m'
every = '10s'
critical = { below = 0.4, clear = 0.6, for = '20s' }
flapping = { changes = 2, within = '3m' }
[[rule]]
name = 'drop'
series = 'n'
measure = 'sum'
window = '1m'
against = 'previous'
change = 'percent'
floor = 5
critical = { below = -30, clear = -10 }
schedule = 'shift'
[[rule]]
name = 'share'
series = 'n;h=a'
over = 'n'
measure = 'sum'
window = '30s'
every = '3s'
critical = { above = 0.5, clear = 0.4, of = [2, 3] }
[[rule]]
name = 'least'
series = 'n'
measure = 'mean'
window = '15s'
every = '5s'
critical = { above = 0.6 }
[[rule.when]]
schedule = 'shift'
critical = { above = 0.9 }
[[rule]]
name = 'gauge'
series = 'g'
measure = 'last'
window = '10s'
missing = { after = '15s', state = 'unknown' }
critical = { above = 80, clear = 70 }
depends_on = ['sum']
[[rule]]
name = 'slow'
series = 'ms'
measure = 'p90'
window = '30s'
critical = { above = 90, clear = 80 }
[[rule]]
name = 'day'
series = 'n'
measure = 'max'
window = '10s'
every = '7s'
critical = { above = 8 }
[[rule]]
name = 'stale'
series = 'm*'
measure = 'age'
critical = { above = 6, clear = 2, for = '2s' }
[[rule]]
name = 'idle'
series = 'n'
by = ['h']
every = '4s'
measure = 'age'
warning = { above = 3 }
";

/// A hundred times: how long it goes on, and how likely an increment, a gauge, a value is then; or that
/// tallyd is down.
fn traffic() -> impl Strategy<Value = Vec<(u64, u8, bool)>> {
    prop::collection::vec((1..90_u64, 0..10_u8, prop::bool::weighted(0.08)), 40..80)
}

/// Numbers below the one that is asked for.
fn random(mut seed: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    }
}

/// Plays the traffic for at most an hour; the changes, and how many messages there were.
fn play(world: &mut World, traffic: &[(u64, u8, bool)], seed: u64) -> (Vec<String>, Vec<String>) {
    let end = world.now + Span::from_secs(3600);
    let (mut changes, mut messages) = (Vec::new(), Vec::new());
    let mut random = random(seed);
    for (secs, often, is_down) in traffic {
        if *is_down {
            world.now = world.now + Span::from_secs(*secs);
            continue;
        }
        for _ in 0..*secs {
            if world.now >= end {
                return (changes, messages);
            }
            for host in ["a", "b", "c"] {
                if random(12) < u64::from(*often) {
                    world.send(&format!("incr n;h={host} {}\r\n", 1 + random(4)));
                }
            }
            for key in ["g", "ms"] {
                if random(30) < u64::from(*often) {
                    let value = random(100).to_string();
                    world.send(&format!("set {key} 0 0 {}\r\n{value}\r\n", value.len()));
                }
            }
            let (all, sent) = world.kept_second();
            let now = world.now;
            changes.extend(all.iter().map(|change| told(now, change)));
            messages.extend(sent);
        }
    }
    (changes, messages)
}

/// The changes and messages of all its rules, played over what is kept of the time until `end`.
fn replayed(world: &World, end: Timestamp) -> (Vec<String>, Vec<String>) {
    let rules = world.engine.rules();
    let span = Window { start: Timestamp::from_secs(START), end };
    let (mut again, mut told_again) = (Vec::new(), Vec::new());
    for rule in &rules {
        let mut each = |step: &Step<'_>| match step {
            Step::Event(event) => {
                let change = StateChange::of(event);
                again.extend(change.map(|change| told(event.transition.at, &change)));
            }
            Step::Message(message) => told_again.extend(said(message)),
        };
        world.engine.backtest_one(&rules, rule, span, 1000, &|| true, &mut each).unwrap();
    }
    (again, told_again)
}

fn told(at: Timestamp, change: &StateChange) -> String {
    let StateChange { title, from, to, value } = change;
    let at = at.as_secs() - START;
    format!("{at} {title} {} {} {value:?}", from.word(), to.word())
}

#[test]
fn a_firing_has_a_beginning_an_end_a_worst_value_and_its_messages() {
    let mut world = world(
        "[[rule]]\nname = 'errors'\nseries = 'errors'\nby = ['h']\nmeasure = 'sum'\nwindow = '10s'\n\
         warning = { above = 5 }\ncritical = { above = 10, clear = 5 }\n",
    );
    world.seconds(60, "");
    world.seconds(5, "incr errors;h=a 2\r\n");
    world.seconds(5, "incr errors;h=a 3\r\n");
    world.seconds(50, "");
    world.seconds(4, "incr errors;h=b 2\r\n");
    let tested = world.tested().remove(0);
    let at = |secs| Timestamp::from_secs(START + secs);
    let firing = |host, level, begin, end: Option<i64>, worst| Firing {
        title: format!("errors{{h={host}}}"),
        level,
        begin: at(begin),
        end: end.map(at),
        worst: Some(worst),
    };
    assert_eq!(
        tested.firings,
        [
            firing("a", Level::Critical, 63, Some(79), 25.0),
            firing("b", Level::Warning, 123, None, 8.0)
        ]
    );
    let told = [(crate::engine::DEFAULT_CONTACT.to_owned(), 4)];
    assert_eq!(tested.messages, told.into(), "warning, critical, recovery, and the other warning");
    let (width, every) = (Some(Span::SECOND), Some(Span::SECOND));
    let span = Window { start: at(0), end: world.now };
    assert_eq!(tested.parts, [crate::engine::Part { span, width, every, known: span.width() }]);
}

#[test]
fn what_is_kept_more_coarsely_than_the_rule_asks_is_not_judged() {
    let mut world = world(
        "[[tier]]\nwindow = '1s'\nkeep = '2m'\n[[tier]]\nwindow = '10s'\nkeep = '10m'\n\
         [[tier]]\nwindow = '1m'\nkeep = '30d'\n[[rule]]\nname = 'errors'\nseries = 'errors'\n\
         measure = 'sum'\nwindow = '20s'\ncritical = { above = 10 }\n",
    );
    for _ in 0..30 {
        world.seconds(50, "");
        world.seconds(10, "incr errors 2\r\n");
    }
    let tested = world.tested().remove(0);
    let every: Vec<_> = tested.parts.iter().map(|part| (part.width, part.every)).collect();
    let secs = |secs| Some(Span::from_secs(secs));
    assert_eq!(every, [(secs(60), None), (secs(10), secs(10)), (secs(1), secs(1))]);
    let length = |at: usize| tested.parts[at].span.width();
    assert_eq!([length(1), length(2)], [Span::from_secs(480), Span::from_secs(100)]);
    assert_eq!(tested.fired, 10, "each minute of the last ten once: {tested:?}");
}

#[test]
fn an_age_is_judged_where_windows_are_no_longer_than_its_thresholds() {
    let mut world = world(
        "[[tier]]\nwindow = '1s'\nkeep = '2m'\n[[tier]]\nwindow = '10s'\nkeep = '10m'\n\
         [[tier]]\nwindow = '1m'\nkeep = '30d'\n[[rule]]\nname = 'stale'\nseries = 'job'\n\
         measure = 'age'\ncritical = { above = 50, clear = 20 }\n",
    );
    for _ in 0..30 {
        world.seconds(1, "incr job 1\r\n");
        world.seconds(99, "");
    }
    let tested = world.tested().remove(0);
    let every: Vec<_> = tested.parts.iter().map(|part| (part.width, part.every)).collect();
    let secs = |secs| Some(Span::from_secs(secs));
    assert_eq!(every, [(secs(60), None), (secs(10), secs(10)), (secs(1), secs(1))]);
    let length = |at: usize| tested.parts[at].span.width();
    assert_eq!([length(1), length(2)], [Span::from_secs(480), Span::from_secs(120)]);
    // Each update was at a multiple of 100 s; ages of the ten-second windows count from their end.
    let ends = tested.firings.iter().map(|firing| firing.end.unwrap_or(world.now));
    let ends: Vec<_> = ends.map(|end| end.as_secs() - START).collect();
    assert_eq!(ends, [2510, 2610, 2710, 2810, 2901, 3000]);
    let begins: Vec<_> =
        tested.firings.iter().map(|firing| firing.begin.as_secs() - START).collect();
    assert_eq!(begins, [2470, 2570, 2670, 2770, 2870, 2952]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_the_finest_tier_covers_is_what_happened_live(
        traffic in traffic(),
        seed in 1..u64::MAX,
    ) {
        let mut world = world_apart(RULES, Timestamp::from_secs(START));
        let (live, sent) = play(&mut world, &traffic, seed);
        let (again, told_again) = replayed(&world, world.now);
        prop_assert!(live.len() > 20, "hardly anything happened");
        prop_assert_eq!(difference(live, again), (vec![], vec![]));
        prop_assert_eq!(difference(sent, told_again), (vec![], vec![]));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2, failure_persistence: None, ..ProptestConfig::default() })]

    /// The same hour, counted second by second, and imported where nothing was counted.
    #[test]
    fn imported_history_gives_what_happened_live(
        often in prop::collection::vec(1..10_u64, 60),
        seed in 1..u64::MAX,
    ) {
        let mut live = world_apart(RULES, Timestamp::from_secs(START));
        let mut rows: BTreeMap<&str, (Kind, Vec<Point>)> = BTreeMap::new();
        let mut random = random(seed);
        let (mut changes, mut messages) = (Vec::new(), Vec::new());
        for second in 0..3600_usize {
            let often = often[second / 60];
            for host in ["n;h=a", "n;h=b", "n;h=c"] {
                // All are born in the first second, as an import has it.
                let is_one = second == 0 || random(12) < often;
                let count = if is_one { 1 + random(4) } else { 0 };
                if count > 0 {
                    live.send(&format!("incr {host} {count}\r\n"));
                }
                let rows = rows.entry(host).or_insert((Kind::Counter, Vec::new()));
                rows.1.push(Point { at: live.now, bits: count });
            }
            for (key, kind) in [("g", Kind::Gauge), ("ms", Kind::Distribution)] {
                let value = u32::try_from(random(10 * often)).unwrap();
                let text = value.to_string();
                live.send(&format!("set {key} 0 0 {}\r\n{text}\r\n", text.len()));
                let rows = rows.entry(key).or_insert((kind, Vec::new()));
                rows.1.push(Point { at: live.now, bits: f64::from(value).to_bits() });
            }
            let (all, sent) = live.kept_second();
            let now = live.now;
            changes.extend(all.iter().map(|change| told(now, change)));
            messages.extend(sent);
        }
        let mut imported = world_apart(RULES, live.now);
        imported.second();
        for (key, (kind, points)) in rows {
            let series = vec![(key.as_bytes().into(), points)];
            let batch = Batch { kind, step: Span::SECOND, overwrite: false, series };
            let outcome = imported.engine.import(&batch).unwrap();
            prop_assert_eq!(outcome.imported, 3600);
        }
        let (again, told_again) = replayed(&imported, live.now);
        prop_assert!(changes.len() > 20, "hardly anything happened");
        prop_assert_eq!(difference(changes, again), (vec![], vec![]));
        prop_assert_eq!(difference(messages, told_again), (vec![], vec![]));
    }
}

/// What one of two lists has alone.
fn difference(mut a: Vec<String>, mut b: Vec<String>) -> (Vec<String>, Vec<String>) {
    a.sort();
    b.sort();
    let only = |a: &[String], b: &[String]| {
        a.iter().filter(|line| !b.contains(line)).cloned().collect::<Vec<_>>()
    };
    (only(&a, &b), only(&b, &a))
}

/// A line for each notice of a message.
fn said(message: &Message) -> Vec<String> {
    let at = message.at.as_secs() - START;
    let line = |n: &Notice| format!("{at} {} {:?} {}", n.title(), n.kind, n.level.word());
    message.notices.iter().map(line).collect()
}
