//! The whole way from the bytes of a request to a queued message, under a clock that is moved.

use std::path::Path;

use super::*;
use crate::config::{self, Change, Contact, Measure, Per, Rule};
use crate::notify::NoticeKind;
use crate::protocol::{Limits, Step, parse};
use crate::query::{Observation, Question, Range};
use crate::rollup::Record;
use crate::rules::Level;

mod backtest;
mod clocks;
mod delivery;
mod fallback;
mod pictures;
mod rules;
mod storm;
mod telling;

/// What a file says.
fn read(text: &str) -> Config {
    config::parse(text, Path::new("t.toml"), &config::Surroundings::none()).unwrap().config
}

/// A config of rules written as a file would.
fn config(rules: Vec<Rule>) -> Config {
    let oncall = Contact {
        name: "oncall".to_owned(),
        email: vec!["a@example.com".to_owned()],
        webhook: None,
    };
    let mut config = Config { rules, contacts: vec![oncall], ..Config::default() };
    config.notify.default = vec!["oncall".to_owned()];
    config
}

struct World {
    engine: Engine,
    now: Timestamp,
}

impl World {
    fn new(rules: Vec<Rule>) -> Self {
        let now = Timestamp::from_secs(1_767_571_200);
        Self { engine: Engine::new(&config(rules), now), now }
    }

    /// Sends requests as a client would, and gives the answer.
    fn send(&self, bytes: &str) -> String {
        let mut rest = bytes.as_bytes();
        let mut out = Vec::new();
        while !rest.is_empty() {
            let Step::Request { request, consumed } = parse(rest, &Limits::default()) else {
                panic!("not a request: {bytes:?}")
            };
            let mut counts = tally::Counts::default();
            apply(self.engine.counters(), &request, self.now, &mut counts, &mut out);
            rest = &rest[consumed..];
        }
        String::from_utf8(out).unwrap()
    }

    /// Lets one second pass; what was told in it.
    fn second(&mut self) -> Vec<String> {
        self.now = self.now + Span::SECOND;
        let ticked = self.engine.tick(self.now);
        assert!(ticked.closed.is_some());
        for delivery in self.engine.due(self.now, 64) {
            self.engine.settle(delivery.id, &crate::notify::Outcome::Delivered, self.now);
        }
        let notices = ticked.messages.iter().flat_map(|message| &message.notices);
        notices.map(|n| format!("{:?} {} {}", n.kind, n.title(), n.level.word())).collect()
    }

    /// Lets seconds pass with `bytes` sent in each; what was told, with the second it was told in.
    fn seconds(&mut self, count: usize, bytes: &str) -> Vec<(usize, String)> {
        let mut told = Vec::new();
        for second in 1..=count {
            if !bytes.is_empty() {
                self.send(bytes);
            }
            told.extend(self.second().into_iter().map(|text| (second, text)));
        }
        told
    }

    fn level(&self, rule: &str) -> Level {
        self.engine.view(|view| view.rules.get(rule).unwrap().level())
    }
}

/// The errors rule of the notify tests: `sum` over `5s` above 10, clear 5.
fn errors_high() -> Rule {
    crate::notify::tests::rule("errors-high")
}

#[test]
fn fifty_errors_in_a_second_fire_once_and_recover_once() {
    let mut world = World::new(vec![errors_high()]);
    assert_eq!(world.seconds(5, ""), []);
    assert_eq!(world.send("incr errors 1\r\n"), "1\r\n");
    for _ in 0..49 {
        world.send("incr errors 1 noreply\r\n");
    }
    assert_eq!(world.second(), ["Firing errors-high critical"]);
    let told = world.seconds(20, "");
    assert_eq!(told, [(5, "Recovered errors-high ok".to_owned())], "when the window has passed");
}

#[test]
fn the_first_increment_counts_also_right_after_the_start() {
    let mut world = World::new(vec![errors_high()]);
    world.send("incr errors 11\r\n");
    assert_eq!(world.second(), ["Firing errors-high critical"], "a lower bound is enough");
}

#[test]
fn between_clear_and_threshold_nothing_is_told() {
    let mut world = World::new(vec![errors_high()]);
    world.seconds(10, "");
    // Two in each second: ten in five, equal to the threshold.
    assert_eq!(world.seconds(20, "incr errors 2\r\n"), []);
    world.send("incr errors 1\r\n");
    assert_eq!(
        world.seconds(1, "incr errors 2\r\n"),
        [(1, "Firing errors-high critical".to_owned())]
    );
    // Back to ten, then eight or so: between, so it stays.
    assert_eq!(world.seconds(20, "incr errors 2\r\n"), []);
    assert_eq!(world.level("errors-high"), Level::Critical);
    // One in each second: five in five, equal to clear.
    let told = world.seconds(20, "incr errors 1\r\n");
    assert_eq!(told, [(5, "Recovered errors-high ok".to_owned())]);
}

fn drop_rule(floor: f64) -> Rule {
    let text = |name: &str| name.to_owned();
    Rule {
        name: text("orders-drop"),
        series: "orders".parse().unwrap(),
        against: Some(config::Against::Previous),
        floor: Some(floor),
        critical: Some(config::Threshold {
            side: config::Side::Below,
            value: -45.0,
            clear: -10.0,
            hold: Span::ZERO,
            of: None,
            clear_hold: Span::ZERO,
        }),
        ..errors_high()
    }
}

#[test]
fn a_drop_to_half_fires_and_the_same_drop_below_the_floor_does_not() {
    for (floor, expect) in [(50.0, true), (51.0, false)] {
        let mut world = World::new(vec![drop_rule(floor)]);
        assert_eq!(world.seconds(20, "incr orders 10\r\n"), []);
        let told = world.seconds(10, "incr orders 5\r\n");
        let fired = told.iter().any(|(at, text)| *at == 5 && text.starts_with("Firing"));
        assert_eq!(fired, expect, "floor {floor}: {told:?}");
    }
}

#[test]
fn each_combination_of_tags_is_an_instance_of_its_own() {
    let mut world = World::new(vec![Rule { by: vec!["host".to_owned()], ..errors_high() }]);
    world.send("incr errors;host=a 11\r\nincr errors;host=b 5\r\nincr errors 20\r\n");
    assert_eq!(
        world.second(),
        ["Firing errors-high{host=} critical", "Firing errors-high{host=a} critical"]
    );
}

#[test]
fn a_gauge_that_stops_becomes_unknown_and_a_counter_never_does() {
    let gauge = Rule {
        name: "queue-long".to_owned(),
        series: "queue".parse().unwrap(),
        measure: config::Measure::Max,
        ..errors_high()
    };
    let mut world = World::new(vec![gauge, errors_high()]);
    world.send("set queue 0 0 1\r\n5\r\nincr errors 1\r\n");
    let told = world.seconds(400, "");
    // Set in the first second, gone from the window after five more, unknown five minutes later.
    assert_eq!(told, [(306, "Firing queue-long unknown".to_owned())]);
    assert_eq!(world.level("errors-high"), Level::Ok);
    world.send("set queue 0 0 1\r\n5\r\n");
    assert_eq!(world.second(), ["Recovered queue-long ok"]);
}

#[test]
fn a_series_that_was_never_seen_is_ok() {
    let mut world = World::new(vec![errors_high()]);
    assert_eq!(world.seconds(400, ""), []);
    assert_eq!(world.level("errors-high"), Level::Ok);
}

#[test]
fn a_clock_that_steps_back_reopens_nothing_and_one_that_steps_forward_leaves_a_gap() {
    let mut world = World::new(vec![errors_high()]);
    world.seconds(10, "");
    let back = world.engine.tick(world.now - Span::from_secs(5));
    assert_eq!((back.closed, back.behind), (None, Span::from_secs(5)));
    world.now = world.now + Span::from_secs(60);
    world.send("incr errors 50\r\n");
    let ticked = world.engine.tick(world.now + Span::SECOND);
    assert_eq!(ticked.gap, Span::from_secs(60));
    assert_eq!(ticked.messages[0].notices[0].kind, NoticeKind::Firing);
    let (gaps, covered) = world.engine.view(|view| {
        let all = Window { start: Timestamp::EPOCH, end: world.now + Span::WEEK };
        (view.gaps, view.store.covered(0, all))
    });
    assert_eq!((gaps, covered), (60, Span::from_secs(11)));
}

#[test]
fn totals_and_gauges_are_shown_as_they_are() {
    let mut world = World::new(Vec::new());
    world.send(
        "incr a;x=1 5\r\nset g 0 0 4\r\n21.5\r\nset t 0 0 4\r\ntext\r\nset a;x=1 0 0 1\r\n0\r\n",
    );
    world.second();
    let figures: Vec<_> = world
        .engine
        .figures_since(0, usize::MAX)
        .unwrap_or_default()
        .into_iter()
        .map(|figure| (figure.series.to_string(), figure.value))
        .collect();
    assert_eq!(
        figures,
        [
            ("tallyd.overflow".to_owned(), FigureValue::Total(0)),
            ("a;x=1".to_owned(), FigureValue::Total(5)),
            ("g".to_owned(), FigureValue::Gauge(21.5)),
        ]
    );
}

/// Conservation: over many series and random load, all base windows add up to the total.
#[test]
fn windows_add_up_to_the_total() {
    let mut world = World::new(Vec::new());
    let mut sent = 0_u64;
    let mut random = 1_u64;
    for _ in 0..500 {
        for _ in 0..20 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let (key, delta) = ((random >> 33) % 50, (random >> 40) % 1000);
            world.send(&format!("incr k{key} {delta}\r\n"));
            sent += delta;
        }
        world.second();
    }
    let stored = world.engine.view(|view| {
        let all = Window { start: Timestamp::EPOCH, end: world.now };
        let mut sum = 0;
        for (id, _) in view.catalogue.iter() {
            let add = |_, record: &Record| match record {
                Record::Counts(counts) => sum += counts.sum,
                Record::Values(_) | Record::Distribution(..) => {}
            };
            view.store.read(0, id, all, add).unwrap();
        }
        sum
    });
    assert_eq!(stored, sent);
}

#[test]
fn what_was_counted_before_the_start_is_shown_and_judged_where_it_belongs() {
    let dir = tempfile::tempdir().unwrap();
    let now = Timestamp::from_secs(1_767_571_200);
    let open = |now| Engine::open(&config(vec![errors_high()]), dir.path(), now).unwrap().0;
    {
        let world = World { engine: open(now), now };
        world.send("incr errors 50\r\nset g 0 0 4\r\n21.5\r\n");
    }
    let now = now + Span::from_secs(60);
    let mut world = World { engine: open(now), now };
    // Nobody has judged the second in which the process ended. It is told now, with its own time, and
    // over once the start has seen a whole window.
    let begun = world.engine.due(now, 9).into_iter().next().map(|delivery| delivery.message);
    assert_eq!(begun, None, "it is not on the disk yet");
    world.engine.write_log().unwrap();
    let message = Arc::clone(&world.engine.due(now, 9)[0].message);
    let begun = &message.notices[0];
    assert_eq!((begun.kind, begun.since.as_secs()), (NoticeKind::Firing, 1_767_571_201));
    assert_eq!(world.seconds(10, ""), [(5, "Recovered errors-high ok".to_owned())]);
    let figures: Vec<_> = world
        .engine
        .figures_since(0, usize::MAX)
        .unwrap_or_default()
        .into_iter()
        .map(|figure| figure.value)
        .collect();
    assert_eq!(figures[1..], [FigureValue::Total(50), FigureValue::Gauge(21.5)]);
    world.send("incr errors 11\r\n");
    assert_eq!(world.second(), ["Firing errors-high critical"]);
}

/// A key that was idle for so long that its cell went to another one, and that comes again: neither of
/// the two is told what the other or it itself has counted before.
#[test]
fn a_series_goes_on_where_its_key_comes_again() {
    let now = Timestamp::from_secs(1_767_571_200);
    let mut config = config(Vec::new());
    config.counters.idle_expiry = Span::from_secs(3600);
    config.counters.max_series = 1;
    let mut world = World { engine: Engine::new(&config, now), now };
    let sums = |world: &World| -> Vec<_> {
        world.engine.view(|view| {
            let last = Window::ending(view.closed, Span::SECOND);
            let mut sums = Vec::new();
            for (id, _) in view.catalogue.iter() {
                view.store
                    .read(0, id, last, |_, record: &Record| {
                        if let Record::Counts(counts) = record {
                            sums.push((view.catalogue.series(id).to_string(), counts.sum));
                        }
                    })
                    .unwrap();
            }
            sums
        })
    };
    world.send("incr a 5\r\n");
    world.second();
    for (key, delta) in [("b", 2), ("a", 3), ("a", 4), ("b", 1)] {
        if delta != 4 {
            world.now = world.now + Span::from_secs(3 * 3600);
            world.second();
            assert_eq!(
                world.engine.figures_since(0, usize::MAX).unwrap_or_default().len(),
                2,
                "the clock may be wrong"
            );
            world.seconds(900, "");
            assert_eq!(
                world.engine.figures_since(0, usize::MAX).unwrap_or_default().len(),
                1,
                "the overflow alone has a cell"
            );
        }
        world.send(&format!("incr {key} {delta}\r\n"));
        world.second();
        assert_eq!(sums(&world), [(key.to_owned(), delta)]);
    }
    let figures: Vec<_> = world
        .engine
        .figures_since(0, usize::MAX)
        .unwrap_or_default()
        .into_iter()
        .map(|figure| figure.value)
        .collect();
    assert_eq!(figures, [FigureValue::Total(0), FigureValue::Total(1)]);
    assert_eq!(world.engine.view(|view| view.catalogue.len()), 3, "no series twice");
    assert_eq!(world.engine.counters().overflowed(), 0);
}

#[test]
fn the_last_requests_are_judged_before_the_end() {
    let world = World::new(vec![errors_high()]);
    world.send("incr errors 11\r\n");
    let ticked = world.engine.finish(world.now + Span::from_millis(300));
    let notices: Vec<_> = ticked.messages.iter().flat_map(|message| &message.notices).collect();
    assert_eq!(notices.len(), 1);
    assert!(notices[0].is_at_least);
    assert_eq!(world.engine.due(world.now + Span::SECOND, 10).len(), 1);
}

#[test]
fn only_an_increment_is_an_update_of_a_counter() {
    let old = Rule {
        name: "stale".to_owned(),
        measure: config::Measure::Age,
        critical: errors_high().critical.map(|c| config::Threshold { value: 5.0, clear: 5.0, ..c }),
        ..errors_high()
    };
    let mut world = World::new(vec![old]);
    world.send("incr errors 1\r\n");
    assert_eq!(world.seconds(7, ""), [(7, "Firing stale critical".to_owned())]);
    world.send("flush_all\r\nset errors 0 0 1\r\n0\r\ndelete errors\r\n");
    assert_eq!(world.seconds(4, ""), [], "nothing was counted");
    assert_eq!(world.seconds(1, "incr errors 1\r\n"), [(1, "Recovered stale ok".to_owned())]);
}

#[test]
fn the_value_shown_is_gone_when_it_has_expired() {
    let shown = Rule {
        name: "shown".to_owned(),
        measure: config::Measure::Last,
        critical: errors_high().critical.map(|c| config::Threshold {
            value: 100.0,
            clear: 100.0,
            ..c
        }),
        missing: Some(config::Missing {
            after: Span::from_secs(2),
            state: config::MissingState::Ok,
        }),
        ..errors_high()
    };
    let mut world = World::new(vec![shown]);
    world.send("incr errors 500\r\ntouch errors 4\r\n");
    let told = world.seconds(10, "");
    let expect = [(1, "Firing shown critical".to_owned()), (6, "Recovered shown ok".to_owned())];
    assert_eq!(told, expect);
    world.send("set g 0 0 1\r\n9\r\n");
    world.second();
    let gauges = |world: &World| {
        world
            .engine
            .figures_since(0, usize::MAX)
            .unwrap_or_default()
            .iter()
            .filter(|f| matches!(f.value, FigureValue::Gauge(_)))
            .count()
    };
    assert_eq!(gauges(&world), 1);
    world.send("delete g\r\n");
    world.second();
    assert_eq!(gauges(&world), 0);
}

#[test]
fn a_rule_that_cannot_work_is_told_and_so_is_its_mending() {
    let mut world = World::new(vec![errors_high()]);
    world.send("set errors 0 0 1\r\n5\r\n");
    let told = world.seconds(6, "");
    assert_eq!(told, [(1, "Firing errors-high unknown".to_owned())], "a gauge has no sum");
    let told = world.seconds(6, "incr errors 1\r\n");
    assert_eq!(told, [(1, "Recovered errors-high ok".to_owned())], "now it is a counter");
}

/// A config with one entry of each kind that is not made by use.
fn kinds(rules: Vec<Rule>) -> Config {
    let text = "[[metric]]\nmatch = '*.ms'\nkind = 'distribution'\n\
                [[metric]]\nmatch = 'g'\nkind = 'gauge'\n\
                [[metric]]\nmatch = 'i'\nkind = 'item'\n";
    let file = |_: &Path, _: u64| Err(std::io::ErrorKind::NotFound.into());
    let surroundings = config::Surroundings { variable: &|_| None, file: &file };
    let loaded = config::parse(text, Path::new("tallyd.toml"), &surroundings).unwrap();
    Config { metrics: loaded.config.metrics, ..config(rules) }
}

fn slow() -> Rule {
    let threshold = |above: f64| config::Threshold {
        side: config::Side::Above,
        value: above,
        clear: above,
        hold: Span::ZERO,
        of: None,
        clear_hold: Span::ZERO,
    };
    Rule {
        name: "slow".to_owned(),
        series: "*.ms".parse().unwrap(),
        measure: config::Measure::P99,
        window: Span::from_secs(5),
        warning: None,
        critical: Some(threshold(500.0)),
        ..errors_high()
    }
}

#[test]
fn a_quantile_fires_and_recovers() {
    let now = Timestamp::from_secs(1_767_571_200);
    let mut world = World { engine: Engine::new(&kinds(vec![slow()]), now), now };
    let fast = "set a.ms 0 0 2\r\n20\r\n".repeat(50);
    assert_eq!(world.seconds(10, &fast), []);
    // One in a hundred and more is slow, on another series.
    let told = world.seconds(5, &(fast.clone() + "set b.ms 0 0 3\r\n900\r\n"));
    assert_eq!(
        told,
        [(3, "Firing slow critical".to_owned())],
        "three of 253 are more than one in a hundred"
    );
    let told = world.seconds(10, &fast);
    assert_eq!(told, [(3, "Recovered slow ok".to_owned())]);
}

#[test]
fn every_command_answers_for_every_kind() {
    let now = Timestamp::from_secs(1_767_571_200);
    let world = World { engine: Engine::new(&kinds(vec![]), now), now };
    let bad = "CLIENT_ERROR bad data: this key is a distribution, set it to a number\r\n";
    let not_numeric = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
    for (request, answer) in [
        ("set a.ms 0 0 2\r\n20\r\n", "STORED\r\n"),
        ("set a.ms 0 0 1\r\nx\r\n", bad),
        ("set new.ms 0 0 1\r\nx\r\n", bad),
        ("add a.ms 0 0 2\r\n20\r\n", "NOT_STORED\r\n"),
        ("add c.ms 0 0 1\r\nx\r\n", bad),
        ("replace a.ms 0 0 4\r\n20.5\r\n", "STORED\r\n"),
        ("append a.ms 0 0 1\r\n1\r\n", bad),
        ("prepend a.ms 0 0 1\r\n1\r\n", bad),
        ("cas a.ms 0 0 1 99999\r\n1\r\n", "EXISTS\r\n"),
        ("incr a.ms 1\r\n", not_numeric),
        ("decr a.ms 1\r\n", not_numeric),
        ("ma a.ms\r\n", not_numeric),
        ("ma new.ms N0 J5\r\n", not_numeric),
        ("ms a.ms 2\r\n30\r\n", "HD\r\n"),
        ("ms a.ms 1\r\nx\r\n", bad),
        ("ms a.ms 1 MA\r\n1\r\n", bad),
        ("mg a.ms v\r\n", "VA 1\r\n3\r\n"),
        ("mg new.ms N30 v\r\n", "EN\r\n"),
        ("touch a.ms 10\r\n", "TOUCHED\r\n"),
        ("delete a.ms\r\n", "DELETED\r\n"),
        ("mg a.ms v\r\n", "EN\r\n"),
        ("set a.ms 0 0 1\r\n1\r\n", "STORED\r\n"),
        ("mg a.ms v\r\n", "VA 1\r\n4\r\n"),
        ("md a.ms\r\n", "HD\r\n"),
        ("incr g 5\r\n", "5\r\n"),
        ("ma g v D2\r\n", "VA 1\r\n7\r\n"),
        ("append g 0 0 2\r\n.5\r\n", "STORED\r\n"),
        ("mg g v\r\n", "VA 3\r\n7.5\r\n"),
        ("incr g 1\r\n", not_numeric),
        ("set i 0 0 3\r\n007\r\n", "STORED\r\n"),
        ("incr i 1\r\n", "8\r\n"),
        ("mg i v\r\n", "VA 3\r\n8  \r\n"),
        ("ma i MD v\r\n", "VA 1\r\n7\r\n"),
        ("flush_all\r\n", "OK\r\n"),
        ("mg i v\r\n", "EN\r\n"),
    ] {
        assert_eq!(world.send(request), answer, "{request}");
    }
    assert_eq!(world.engine.counters().series(), 2);
}

#[test]
fn when_there_were_too_many_names_the_overflow_takes_new_ones() {
    let mut world = World::new(Vec::new());
    // The overflow is one of them.
    world.engine.state().series_ever = 3;
    world.seconds(1, "incr a 1\r\n");
    world.seconds(1, "incr b 1\r\n");
    let answers = world.send("incr a 1\r\nincr c 1\r\nincr d 1\r\n");
    assert_eq!(answers, "2\r\n1\r\n2\r\n");
    world.second();
    assert_eq!(world.engine.counters().overflowed(), 2);
    assert_eq!(world.engine.state().catalogue.len(), 3);
    let shown = |key: &str| {
        let text = |view: crate::counters::View<'_>| String::from_utf8_lossy(view.value).into();
        world.engine.counters().get(key.as_bytes(), world.now, text)
    };
    let shown: Vec<Option<String>> = ["a", "c", "tallyd.overflow"].map(shown).into();
    assert_eq!(shown, [Some("2".to_owned()), None, Some("2".to_owned())]);
}

#[test]
fn the_past_is_the_same_from_rows_and_from_chunks_and_stands_still() {
    let mut world = World::new(Vec::new());
    world.seconds(700, "incr orders;region=eu 2\r\nincr orders;region=us 1\r\n");
    let question = Question {
        measure: Measure::Sum,
        per: Per::Second,
        window: Span::from_secs(20),
        against: None,
        zone: None,
        change: Change::Percent,
        floor: None,
    };
    let pattern = "orders".parse().unwrap();
    let past = |world: &World| world.engine.past(&pattern, &["region".to_owned()], 10, 10).unwrap();
    let ask = |past: &Past, now: Timestamp| {
        let span = Window::ending(now.align_down(Span::from_secs(20)), Span::from_secs(600));
        let range = Range { span, step: Span::from_secs(20), now };
        let groups = past.groups.iter();
        groups
            .map(|(group, ids)| {
                let points = range.ask(&question, &past.windows, &past.facts, ids);
                (group.clone(), points)
            })
            .collect::<Vec<_>>()
    };
    let (before, now) = (past(&world), world.now);
    let from_rows = ask(&before, now);
    assert_eq!(from_rows.len(), 2);
    for ((group, points), sum) in from_rows.iter().zip([40.0, 20.0]) {
        let expect = Observation::Value { value: sum, covered: 1.0 };
        assert_eq!(points.len(), 30);
        assert!(points.iter().all(|(_, seen)| *seen == expect), "{group:?}: {points:?}");
    }
    while world.engine.keep(world.now).unwrap() {}
    world.engine.view(|view| assert!(!view.store.extents(0).is_empty(), "there are chunks"));
    assert_eq!(ask(&past(&world), now), from_rows);
    world.seconds(100, "incr orders;region=eu 9\r\n");
    while world.engine.keep(world.now).unwrap() {}
    assert_eq!(ask(&before, now), from_rows, "whatever has become of it since");
    let too_many = world.engine.past(&pattern, &[], 1, 10).unwrap_err();
    assert_eq!(too_many, TooMuch::Series { max: 1 });
}
