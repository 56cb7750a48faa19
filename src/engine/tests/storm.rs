//! A thousand instances at once.

use super::*;
use crate::limits;
use crate::notify::{Message, Outcome};
use crate::rules::Level;
use std::collections::BTreeMap;

const RULES: &str = "
[[contact]]
name = 'oncall'
webhook = 'http://127.0.0.1:9/'
[[contact]]
name = 'lead'
webhook = 'http://127.0.0.1:9/'
[notify]
default = ['oncall', 'lead']
[[rule]]
name = 'errors'
series = 'errors'
by = ['host']
measure = 'sum'
window = '1s'
critical = { above = 5 }
";

/// A second in which these hosts have errors; what was sent.
fn second(world: &mut World, hosts: std::ops::Range<usize>) -> Vec<Arc<Message>> {
    for host in hosts {
        world.engine.counters().incr(format!("errors;host={host}").as_bytes(), 10, world.now);
    }
    world.now = world.now + Span::SECOND;
    world.engine.tick(world.now);
    let due = world.engine.due(world.now, limits::OUTBOX);
    for delivery in &due {
        world.engine.settle(delivery.id, &Outcome::Delivered, world.now);
    }
    due.into_iter().map(|delivery| delivery.message).collect()
}

/// For whom, whether it is a digest, and how many of which level it tells of.
type Said<'a> = (&'a str, bool, Vec<(Level, usize)>);

fn said(messages: &[Arc<Message>]) -> Vec<Said<'_>> {
    let said = messages.iter().map(|message| {
        let mut levels = BTreeMap::new();
        for notice in &message.notices {
            assert_eq!(notice.rule.name, message.notices[0].rule.name);
            *levels.entry(notice.level).or_insert(0) += 1;
        }
        (message.contact.as_str(), message.is_digest, levels.into_iter().rev().collect())
    });
    said.collect()
}

#[test]
fn a_thousand_that_open_at_once_are_one_digest_per_contact_and_one_when_they_are_over() {
    let config = read(RULES);
    let now = Timestamp::from_secs(1_767_571_200);
    let mut world = World { engine: Engine::new(&config, now), now };
    // All hosts are known, and well.
    for host in 0..1000 {
        world.engine.counters().incr(format!("errors;host={host}").as_bytes(), 1, now);
    }
    second(&mut world, 0..0);
    let digests =
        |level| vec![("lead", true, vec![(level, 1000)]), ("oncall", true, vec![(level, 1000)])];
    assert_eq!(said(&second(&mut world, 0..1000)), digests(Level::Critical), "at once");
    for _ in 0..9 {
        assert_eq!(second(&mut world, 0..1000), []);
    }
    assert_eq!(said(&second(&mut world, 0..0)), digests(Level::Ok));
    // Where they do not begin in one second, the others follow within five.
    for _ in 0..9 {
        assert_eq!(second(&mut world, 0..0), []);
    }
    let first = second(&mut world, 0..300);
    assert_eq!(said(&first)[0], ("lead", true, vec![(Level::Critical, 300)]));
    assert_eq!(second(&mut world, 0..600), []);
    for _ in 0..3 {
        assert_eq!(second(&mut world, 0..1000), []);
    }
    let rest = second(&mut world, 0..1000);
    assert_eq!(said(&rest)[0], ("lead", true, vec![(Level::Critical, 700)]));
    assert_eq!(rest.len(), 2);
}
