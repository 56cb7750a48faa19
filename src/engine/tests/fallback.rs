//! Contacts that are told what another could not be: they hear what follows, and the end, once.

use crate::config::Config;
use crate::engine::{Beside, Engine};
use crate::limits;
use crate::notify::{Message, Outcome};
use crate::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

const RULES: &str = "
[[contact]]
name = 'oncall'
webhook = 'http://127.0.0.1:9/'
[[contact]]
name = 'backup'
email = ['a@example.com', 'b@example.com']
[email]
server = 'smtp+plain://127.0.0.1:1'
from = 'tallyd@example.com'
[notify]
default = ['oncall']
fallback = ['backup']
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
    super::read(RULES)
}

fn refused() -> Outcome {
    Outcome::Refused { reason: "no such user".to_owned() }
}

struct World {
    engine: Engine,
    dir: tempfile::TempDir,
    now: Timestamp,
    /// What `backup` got, at its first address.
    got: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(&config(), dir.path(), START).unwrap().0;
        Self { engine, dir, now: START, got: Vec::new() }
    }

    /// The process ends without a word, and another begins.
    fn again(mut self) -> Self {
        self.engine.write_log().unwrap();
        drop(self.engine);
        self.engine = Engine::open(&config(), self.dir.path(), self.now).unwrap().0;
        self
    }

    fn second(&mut self, errors: u64) {
        self.engine.counters().incr(b"n;h=1", errors, self.now);
        self.now = self.now + Span::SECOND;
        self.engine.tick(self.now);
        self.engine.write_log().unwrap();
    }

    /// Some seconds in which nothing more happens, and everything is handed out; `oncall` answers so.
    fn seconds(&mut self, errors: u64, answer: impl Fn(&Message) -> Outcome) {
        for _ in 0..8 {
            self.second(errors);
            for delivery in self.engine.due(self.now, limits::OUTBOX) {
                let message = &delivery.message;
                let is_backup = message.contact == "backup";
                if delivery.recipient.shown() == "a@example.com" {
                    self.got.push(said(message));
                }
                let outcome = if is_backup { Outcome::Delivered } else { answer(message) };
                self.engine.settle(delivery.id, &outcome, self.now);
            }
        }
    }
}

fn said(message: &Message) -> String {
    let notice = &message.notices[0];
    let of = message.undelivered.as_ref().map_or("", |_| " for oncall");
    format!("{} {} to {}{of}", notice.kind.word(), notice.from.word(), notice.level.word())
}

#[test]
fn who_is_told_in_the_place_of_another_hears_the_rest_and_once() {
    let mut world = World::new();
    world.seconds(20, |_| refused());
    assert_eq!(world.got, ["firing ok to warning for oncall"]);
    let mut world = world.again();
    world.seconds(200, |_| refused());
    assert_eq!(world.got[1..], ["worse warning to critical"]);
    world.seconds(0, |_| refused());
    assert_eq!(world.got[2..], ["recovered critical to ok"]);
    assert_eq!(world.engine.view(|view| view.outbox.len()), 0);
    let told = world.engine.view(|view| {
        let incident = view.incidents.iter().next().unwrap();
        let to_backup = incident.messages.iter().filter(|told| told.contact == "backup");
        (incident.told.contains_key("backup"), to_backup.count())
    });
    assert_eq!(told, (true, 3));
}

#[test]
fn who_was_told_and_heard_nothing_of_the_end_hears_it_when_the_other_can_be_reached_again() {
    let mut world = World::new();
    world.seconds(20, |_| refused());
    world.seconds(0, |_| Outcome::Delivered);
    assert_eq!(world.got, ["firing ok to warning for oncall", "recovered warning to ok"]);
}

#[test]
fn only_what_is_refused_is_passed_on() {
    let mut world = World::new();
    world.seconds(20, |_| Outcome::Delivered);
    world.seconds(200, |_| refused());
    world.seconds(0, |_| Outcome::Delivered);
    let expect = ["worse warning to critical for oncall", "recovered critical to ok"];
    assert_eq!(world.got, expect);
}

#[test]
fn what_is_over_before_it_is_given_up_is_passed_on_as_over() {
    // The end waits behind the beginning, in the outbox, or until five seconds are over.
    for quiet in [2, 8] {
        let mut world = World::new();
        world.second(20);
        let out = world.engine.due(world.now, limits::OUTBOX);
        for _ in 0..quiet {
            world.second(0);
        }
        world.engine.settle(out[0].id, &refused(), world.now);
        world.seconds(0, |_| Outcome::Delivered);
        assert_eq!(world.got, ["ended warning to ok for oncall"], "after {quiet} s");
    }
}

/// A while in which the store fails or does not; `oncall` answers so.
fn watch(world: &mut World, is_failing: bool, answer: fn(&Message) -> Outcome) {
    for _ in 0..20 {
        let beside = Beside { is_failing, ..Beside::default() };
        world.engine.note_itself(&beside, world.now + Span::SECOND);
        world.seconds(0, answer);
    }
}

#[test]
fn who_hears_of_an_alarm_of_our_own_in_the_place_of_another_hears_of_its_end_once() {
    for answer in [|_: &Message| Outcome::Delivered, |_: &Message| refused()] {
        let mut world = World::new();
        watch(&mut world, true, |_| refused());
        assert_eq!(world.got, ["firing ok to critical for oncall"]);
        watch(&mut world, false, answer);
        assert_eq!(world.got[1..], ["recovered critical to ok"]);
    }
}

#[test]
fn an_alarm_of_our_own_that_is_given_up_once_it_is_over_is_told_as_over_once() {
    let mut world = World::new();
    let mut begun = Vec::new();
    for second in 0..60 {
        let beside = Beside { is_failing: second < 20, ..Beside::default() };
        world.engine.note_itself(&beside, world.now + Span::SECOND);
        world.second(0);
        begun.extend(world.engine.due(world.now, limits::OUTBOX));
    }
    // Nobody has answered so far.
    world.engine.settle(begun[0].id, &refused(), world.now);
    world.seconds(0, |_| refused());
    assert_eq!(world.got, ["ended critical to ok for oncall"]);
}

#[test]
fn what_is_over_is_never_passed_on_as_a_beginning_whose_end_nobody_tells() {
    let mut world = World::new();
    world.second(20);
    let out = world.engine.due(world.now, limits::OUTBOX);
    // There is no such contact any more, so nothing is queued for it when it ends.
    let mut config = config();
    config.contacts.retain(|contact| contact.name != "oncall");
    config.notify.default.clear();
    world.engine.reload(&config, world.now);
    for _ in 0..8 {
        world.second(0);
    }
    world.engine.settle(out[0].id, &refused(), world.now);
    world.seconds(0, |_| Outcome::Delivered);
    assert_eq!(world.got, ["ended warning to ok for oncall"]);
}
