//! States that go on, and states that begin anew.

use super::*;
use crate::config::Rule;
use crate::config::Surroundings;
use crate::query::Observation;
use crate::rules::Level;
use crate::time::{Span, Timestamp};
use proptest::prelude::*;

fn rule(name: &str) -> Rule {
    let text = format!(
        "[[rule]]\nname = '{name}'\nseries = 'errors'\nmeasure = 'sum'\nwindow = '5s'\n\
         critical = {{ above = 10, clear = 5 }}\nnotify = []\n"
    );
    let loaded = crate::config::parse(&text, "".as_ref(), &Surroundings::none()).unwrap();
    loaded.config.rules.into_iter().next().unwrap()
}

fn rules(rules: &[Rule]) -> Rules {
    Rules::new(rules, &crate::config::Config::default().tiers, Timestamp::EPOCH)
}

fn by_host() -> Rule {
    Rule { by: vec!["host".to_owned()], ..rule("r") }
}

fn critical(secs: i64) -> State {
    let since = Timestamp::from_secs(secs);
    State { level: Level::Critical, began: Some(12.5), worst: Some(99.0), ..State::new(since) }
}

/// Rules of which one instance is critical, and the facts of it.
fn fired(all: &[Rule]) -> (Rules, Table) {
    let mut fired = rules(all);
    let group = vec!["a".to_owned()];
    fired.active[0].states.insert(group.clone(), critical(5));
    fired.active[0].moved.insert(group);
    let (mut facts, mut table) = (Facts::default(), Table::default());
    fired.note(&mut facts);
    table.apply(&facts);
    (fired, table)
}

fn levels(rules: &Rules) -> Vec<(String, Level)> {
    let all = rules.iter().flat_map(|active| {
        active.instances().map(|(_, state)| (active.rule().name.clone(), state.level))
    });
    all.collect()
}

#[test]
fn a_rule_that_means_the_same_keeps_its_states_and_one_that_does_not_begins_anew() {
    let same = Rule {
        summary: "other words".to_owned(),
        notify: Some(Vec::new()),
        runbook: None,
        ..by_host()
    };
    let edited = Rule { window: Span::from_secs(6), ..by_host() };
    let renamed = Rule { name: "q".to_owned(), ..by_host() };
    let kept = [("r".to_owned(), Level::Critical)];
    for (now, expect) in [(same, &kept[..]), (edited, &[]), (renamed, &[])] {
        let (before, table) = fired(&[by_host()]);
        // Over a start, and over a reload.
        let mut started = rules(&[rule("new"), now.clone()]);
        assert_eq!(started.recall(&table), 0);
        let mut reloaded = rules(&[rule("new"), now.clone()]);
        reloaded.succeed(before);
        for mut rules in [started, reloaded] {
            let found = levels(&rules);
            assert_eq!(
                found.iter().filter(|(name, _)| name != "new").collect::<Vec<_>>(),
                expect.iter().collect::<Vec<_>>()
            );
            let (mut facts, mut table) = (Facts::default(), table.clone());
            rules.note(&mut facts);
            table.apply(&facts);
            assert_eq!(table.below(SPACE).count(), expect.len(), "the others are forgotten");
            assert_eq!(rules.get(&now.name).unwrap().rule().summary, now.summary);
        }
    }
}

#[test]
fn nothing_is_kept_that_the_next_second_says_again() {
    let state = critical(5);
    let seen = State { value: Some(1.0), observation: Observation::Missing, ..state.clone() };
    assert!(seen.goes_on_as(&state));
    assert!(!State { missing: Some(Span::ZERO), ..state.clone() }.goes_on_as(&state));
}

proptest! {
    #[test]
    fn any_bytes_are_harmless(bytes: Vec<u8>) {
        let _ = read_key(&bytes);
    }
}
