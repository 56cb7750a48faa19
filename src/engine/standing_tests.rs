//! What rules see of windows that are moved from tick to tick is what they would see if they read them anew:
//! over random series, rules and clocks, through the engine with its store.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use proptest::prelude::*;

use super::*;
use crate::config::{Against, Change, Measure, MetricKind, Per, Rule, Tier};
use crate::counters::cells::Kind;
use crate::histogram::Layout;
use crate::query::{Observation, Question, Side};
use crate::rules::Active;

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

/// What happens in a second, and how long it is.
#[derive(Clone, Debug)]
struct Step {
    /// Series, and what is done to them.
    touched: Vec<(usize, Touch)>,
    clock: Clock,
    keeps: bool,
}

#[derive(Clone, Copy, Debug)]
enum Touch {
    Incr(u64),
    Set(i32),
    Delete,
}

#[derive(Clone, Copy, Debug)]
enum Clock {
    Second,
    Millis(u64),
    Gap(u64),
    Back(u64),
    /// The process ends, and another one goes on.
    Restart,
    /// So many seconds without anything else.
    Quiet(u64),
}

const KEYS: [&str; 12] = [
    "c;h=a",
    "c;h=b",
    "c;h=c",
    "c",
    "d;h=a",
    "g;h=a",
    "g;h=b",
    "g.x",
    "l.ms;h=a",
    "l.ms;h=b",
    "e",
    "c.new;h=b",
];

fn touch() -> impl Strategy<Value = (usize, Touch)> {
    let touch = prop_oneof![
        20 => (0..50_u64).prop_map(Touch::Incr),
        1 => Just(Touch::Incr(u64::MAX / 3)),
        8 => (-2000..5000_i32).prop_map(Touch::Set),
        1 => Just(Touch::Delete),
    ];
    (0..KEYS.len(), touch)
}

fn clock() -> impl Strategy<Value = Clock> {
    prop_oneof![
        60 => Just(Clock::Second),
        2 => (1..2500_u64).prop_map(Clock::Millis),
        1 => (2..300_u64).prop_map(Clock::Gap),
        1 => (300..9000_u64).prop_map(Clock::Gap),
        1 => Just(Clock::Restart),
        1 => (1..100_u64).prop_map(Clock::Back),
        3 => (1..200_u64).prop_map(Clock::Quiet),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let touched = prop::collection::vec(touch(), 0..6);
    (touched, clock(), prop::bool::weighted(0.2)).prop_map(|(touched, clock, keeps)| Step {
        touched,
        clock,
        keeps,
    })
}

fn rule() -> impl Strategy<Value = Rule> {
    let window = prop_oneof![
        4 => 1..40_u64,
        2 => Just(60),
        2 => 40..150_u64,
        2 => 150..900_u64,
        1 => 900..1500_u64,
    ];
    let against = prop_oneof![
        3 => Just(None),
        1 => Just(Some(Against::Previous)),
        1 => prop_oneof![Just(60), Just(300), 1..900_u64]
            .prop_map(|secs| Some(Against::Ago(Span::from_secs(secs)))),
    ];
    let series = prop_oneof![
        Just("c"),
        Just("*"),
        Just("g*"),
        Just("l.ms"),
        Just("c*"),
        Just("g.x"),
        Just("c;h=a"),
        Just("d"),
        Just("c{h!=\"a\"}"),
        Just("nothing"),
    ];
    let measure = (0..Measure::ALL.len()).prop_map(|at| Measure::ALL[at].1);
    let over = prop_oneof![4 => Just(None), 1 => Just(Some("c")), 1 => Just(Some("l*"))];
    (series, any::<bool>(), measure, window, against, any::<bool>(), over).prop_map(
        |(series, is_by, measure, window, against, is_percent, over)| Rule {
            over: over.map(|over| over.parse().unwrap()),
            series: series.parse().unwrap(),
            by: if is_by { vec!["h".to_owned()] } else { Vec::new() },
            measure,
            per: Per::Minute,
            window: Span::from_secs(window),
            against,
            change: if is_percent { Change::Percent } else { Change::Absolute },
            floor: is_percent.then_some(3.0),
            ..crate::notify::tests::rule("any")
        },
    )
}

fn config(rules: Vec<Rule>) -> Config {
    let tier = |window, keep| Tier { window: Span::from_secs(window), keep: Span::from_secs(keep) };
    let metric = Metric {
        series: "*.ms".parse().unwrap(),
        kind: MetricKind::Distribution,
        unit: String::new(),
        layout: Layout::new(2, 1.0, 3.6e6).unwrap(),
        description: String::new(),
    };
    let mut config = Config {
        rules: rules.into_iter().enumerate().map(named).collect(),
        tiers: vec![tier(1, 150), tier(10, 900), tier(60, 3600)],
        metrics: vec![metric],
        ..Config::default()
    };
    config.counters.idle_expiry = Span::from_secs(3600);
    config
}

fn named((at, rule): (usize, Rule)) -> Rule {
    Rule { name: format!("r{at}"), ..rule }
}

/// Instances that were looked at, and of how many of them the windows were kept.
static JUDGED: AtomicU64 = AtomicU64::new(0);
static KEPT: AtomicU64 = AtomicU64::new(0);

struct World {
    engine: Engine,
    config: Config,
    /// Where what is counted outlives the engine.
    dir: Option<tempfile::TempDir>,
    now: Timestamp,
}

impl World {
    fn new(rules: Vec<Rule>, is_kept: bool) -> Self {
        let config = config(rules);
        let dir = is_kept.then(|| tempfile::tempdir().unwrap());
        let engine = match &dir {
            Some(dir) => Engine::open(&config, dir.path(), START).unwrap().0,
            None => Engine::new(&config, START),
        };
        Self { engine, config, dir, now: START }
    }

    fn restart(&mut self) {
        let Some(dir) = &self.dir else { return };
        self.engine.write_log().unwrap();
        // Two engines do not work on one directory.
        self.engine = Engine::new(&Config::default(), self.now);
        self.engine = Engine::open(&self.config, dir.path(), self.now).unwrap().0;
        self.engine.begin(self.now);
    }

    fn play(&mut self, step: &Step) {
        for (key, touch) in &step.touched {
            let (key, now) = (KEYS[*key].as_bytes(), self.now);
            let counters = self.engine.counters();
            match touch {
                Touch::Incr(by) => drop(counters.incr(key, *by, now)),
                Touch::Set(tenths) => set(counters, key, f64::from(*tenths) / 10.0, now),
                Touch::Delete => drop(counters.delete(key, now)),
            }
        }
        let (step_by, seconds) = match step.clock {
            Clock::Second => (Span::SECOND, 1),
            Clock::Millis(millis) => (Span::from_millis(millis), 1),
            Clock::Gap(secs) => (Span::from_secs(secs), 1),
            Clock::Quiet(secs) => (Span::SECOND, secs),
            Clock::Back(secs) => {
                self.now = self.now - Span::from_secs(secs);
                (Span::SECOND, 1)
            }
            Clock::Restart => {
                self.restart();
                (Span::SECOND, 1)
            }
        };
        for _ in 0..seconds {
            self.now = self.now + step_by;
            let ticked = self.engine.tick(self.now);
            if step.keeps {
                self.engine.write_log().unwrap();
                while self.engine.keep(self.now).unwrap() {}
            }
            if let Some(closed) = ticked.closed {
                self.check(closed.end);
            }
        }
    }

    fn check(&self, instant: Timestamp) {
        self.engine.view(|view| {
            KEPT.fetch_add(view.rules.kept() as u64, Relaxed);
            for rule in view.rules.iter() {
                let question = rule.question();
                // What a counter showed then is asked each time, of all that is kept; old windows have gone
                // since the rules were evaluated.
                if question.measure == Measure::Last && question.against.is_some() {
                    continue;
                }
                for (group, state) in rule.instances() {
                    let side = |series| Side { series, facts: view.catalogue };
                    let series = rule.series(group);
                    let expect = match rule.over() {
                        None => question.ask(view.store, view.catalogue, series, instant),
                        Some(over) => {
                            let whole = over.place(group).map_or(&[][..], |at| over.members(at));
                            let (part, whole) = (side(series), side(whole));
                            question.ask_share(view.store, part, whole, instant, Span::ZERO)
                        }
                    };
                    let at = instant.since(START);
                    assert_same(
                        rule,
                        question,
                        state.observation,
                        expect,
                        &format!("{group:?} at {at}"),
                    );
                    JUDGED.fetch_add(1, Relaxed);
                }
            }
        });
    }
}

fn set(counters: &Counters, key: &[u8], value: f64, now: Timestamp) {
    let text = value.to_string();
    let request = format!("set {} 0 0 {}\r\n{text}\r\n", String::from_utf8_lossy(key), text.len());
    let limits = crate::protocol::Limits::default();
    let step = crate::protocol::parse(request.as_bytes(), &limits);
    let crate::protocol::Step::Request { request, .. } = step else { panic!("not a request") };
    apply(counters, &request, now, &mut tally::Counts::default(), &mut Vec::new());
}

fn assert_same(
    rule: &Active,
    question: &Question,
    seen: Observation,
    expect: Observation,
    at: &str,
) {
    let same = |a: f64, b: f64| a.to_bits() == b.to_bits();
    let near =
        |a: f64, b: f64| same(a, b) || (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1e-3);
    let is_same = match (seen, expect) {
        (
            Observation::Value { value, covered },
            Observation::Value { value: expected, covered: cover },
        ) => near(value, expected) && same(covered, cover),
        (Observation::AtLeast(value), Observation::AtLeast(expected)) => near(value, expected),
        (seen, expect) => seen == expect,
    };
    assert!(is_same, "{seen:?} is not {expect:?}: {} {question:?} {at}", rule.rule().series);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), failure_persistence: None, ..ProptestConfig::default() })]

    fn moved_windows_say_what_windows_say_that_are_read_anew(
        rules in prop::collection::vec(rule(), 1..10),
        steps in prop::collection::vec(step(), 1..250),
        is_kept in prop::bool::weighted(0.3),
    ) {
        let mut world = World::new(rules, is_kept);
        for step in &steps {
            world.play(step);
        }
    }
}

#[test]
fn moved_windows_are_what_is_looked_at() {
    moved_windows_say_what_windows_say_that_are_read_anew();
    let (judged, kept) = (JUDGED.load(Relaxed), KEPT.load(Relaxed));
    assert!(kept * 2 > judged, "{kept} of {judged}");
    println!("{kept} of {judged} instances");
}

/// More of them: `TALLYD_TEST_CASES=2000 cargo test --release --lib standing`.
fn cases() -> u32 {
    std::env::var("TALLYD_TEST_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(5)
}

#[test]
fn what_is_imported_is_seen_at_the_next_tick() {
    let sum = |series: &str, window, against| Rule {
        series: series.parse().unwrap(),
        window: Span::from_secs(window),
        against,
        change: Change::Absolute,
        ..crate::notify::tests::rule("any")
    };
    let ago = Some(Against::Ago(Span::from_secs(1200)));
    let mut world = World::new(vec![sum("c", 60, ago), sum("d", 3000, None)], false);
    let step = Step { touched: vec![(3, Touch::Incr(1))], clock: Clock::Second, keeps: true };
    let seen = |world: &World| {
        world.engine.view(|view| {
            let states = view.rules.iter().flat_map(Active::instances);
            states.map(|(_, state)| state.observation).collect::<Vec<_>>()
        })
    };
    for _ in 0..600 {
        world.play(&step);
    }
    let unjudged = Observation::Unjudged(crate::query::Reason::NoReference);
    assert_eq!(seen(&world), [unjudged, Observation::NeverSeen]);
    let points = |minutes: std::ops::Range<u64>| {
        minutes.map(|at| Point { at: START - Span::from_secs(at * 60), bits: 5 }).rev().collect()
    };
    let series: Vec<_> =
        ["c", "d;h=a"].map(|key| (Box::from(key.as_bytes()), points(5..31))).into();
    let (step_of, overwrite) = (Span::from_secs(60), false);
    let batch = Batch { kind: Kind::Counter, step: step_of, overwrite, series };
    world.engine.import(&batch).unwrap();
    world.play(&step);
    let [change, total] = seen(&world)[..] else { panic!("two rules") };
    assert_eq!(change, Observation::Value { value: 55.0, covered: 1.0 });
    assert_ne!(total, Observation::NeverSeen);
}
