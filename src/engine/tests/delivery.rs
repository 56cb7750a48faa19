//! Receivers that cannot be reached for a while.

use std::collections::BTreeMap;

use super::*;
use crate::notify::Outcome;

/// What a receiver got about each incident, in order, once each.
type Got = BTreeMap<String, Vec<String>>;

fn by_host() -> Rule {
    let mut rule = errors_high();
    rule.by = vec!["host".to_owned()];
    rule
}

/// Lets a second pass in which the receiver answers so; what it took.
fn second(world: &mut World, answer: &Outcome, got: &mut Got) {
    world.now = world.now + Span::SECOND;
    world.engine.tick(world.now);
    for delivery in world.engine.due(world.now, 64) {
        if *answer == Outcome::Delivered {
            for notice in &delivery.message.notices {
                let lasted = notice.since.since(notice.opened);
                let told = format!("{} {} {lasted}", notice.kind.word(), notice.from.word());
                got.entry(notice.title()).or_default().push(told);
            }
        }
        world.engine.settle(delivery.id, answer, world.now);
    }
}

#[test]
fn after_an_hour_without_the_receiver_everything_arrives_and_what_is_over_is_told_at_once() {
    let mut world = World::new(vec![by_host()]);
    let mut got = Got::new();
    let down = Outcome::Later { reason: "Connection refused".to_owned(), after: None };
    // One begins before, is told, and ends meanwhile; one begins and ends meanwhile; one begins
    // meanwhile and lasts.
    for at in 0..10_800_u64 {
        if (10..700).contains(&at) {
            world.send("incr errors;host=before 20\r\n");
        }
        if (1000..1300).contains(&at) {
            world.send("incr errors;host=meanwhile 20\r\n");
        }
        if at >= 2000 {
            world.send("incr errors;host=lasts 20\r\n");
        }
        let is_down = (600..4200).contains(&at);
        second(&mut world, if is_down { &down } else { &Outcome::Delivered }, &mut got);
        if at == 4199 {
            assert_eq!(got.keys().count(), 1, "{got:#?}");
            assert_eq!(world.engine.view(|view| view.outbox.len()), 3);
        }
        if at == 4200 + 12 * 60 {
            assert!(world.engine.view(|view| view.outbox.is_empty()), "the longest wait is over");
        }
    }
    let expect = [
        ("errors-high{host=before}", vec!["firing ok 0s", "recovered critical 11m34s"]),
        ("errors-high{host=lasts}", vec!["firing ok 0s"]),
        ("errors-high{host=meanwhile}", vec!["ended critical 5m4s"]),
    ];
    let got: Vec<_> = got
        .iter()
        .map(|(title, told)| (title.as_str(), told.iter().map(String::as_str).collect()))
        .collect();
    assert_eq!(got, expect);
}
