//! What rules cost each second: many rules over one series each, and rules split by a tag.
//!
//! `cargo bench --bench rules` plays virtual time under an engine whose store is in memory: every series is
//! incremented every second, windows are five minutes long and full, and what is over goes into chunks as in
//! a server. It prints the CPU time of a tick with the rules and without (median, 99th percentile, greatest), and
//! what it costs to read every window anew instead. `--peer` has Prometheus judge equivalent rules each
//! second over series that it scrapes each second from this process, for two minutes for each load, and
//! prints the CPU time of its process beside.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::cast_precision_loss,
    reason = "a bench prints, looks at the clock, and ends at the first error"
)]

mod prometheus;

use rustix::time::{ClockId, clock_gettime};
use tallyd::config::{Change, Config, Measure, Per, Rule, Side, Threshold};
use tallyd::engine::Engine;
use tallyd::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
/// Windows are full, and the oldest of them come from chunks.
const WARM_SECS: usize = 480;
const MEASURED_SECS: usize = 120;

/// Some rules and what they are about.
struct Load {
    title: &'static str,
    rules: usize,
    /// Values of the tag that each rule is split by; without one it has one series.
    groups: Option<usize>,
}

const LOADS: [Load; 2] = [
    Load { title: "10,000 rules, a series each", rules: 10_000, groups: None },
    Load { title: "1,000 rules by 100 groups", rules: 1000, groups: Some(100) },
];

fn main() {
    let with_peer = std::env::args().any(|argument| argument == "--peer");
    println!("{:>30}  {:>8} {:>8} {:>8}  CPU ms", "each second", "median", "p99", "max");
    for load in &LOADS {
        let mut bare = World::new(load, Vec::new());
        bare.warm();
        let (without, _, _) = bare.measure("without rules");
        drop(bare);
        let mut world = World::new(load, load.rules());
        world.warm();
        let (with, _, _) = world.measure(load.title);
        let slow = world.read_anew();
        println!("{:>30}  {slow:>8.1}", "windows read anew");
        let first = world.start_again(load);
        println!("{:>30}  {first:>8.1}", "windows read at a start");
        let rules = (with - without).max(0.0);
        println!("{:>30}  {rules:>8.2}, {:.1} % of that", "rules alone", rules / slow * 100.0);
        if with_peer {
            prometheus::measure(load, with, rules);
        }
    }
}

impl Load {
    fn keys(&self) -> Vec<String> {
        let groups = self.groups.unwrap_or(1);
        let key = |at: usize| match self.groups {
            None => format!("shop.orders.placed.by.customer.{at:05}"),
            Some(_) => format!("shop.requests.{:05};host=web-{:03}", at / groups, at % groups),
        };
        (0..self.rules * groups).map(key).collect()
    }

    fn rules(&self) -> Vec<Rule> {
        let rule = |at: usize| {
            let (series, by) = match self.groups {
                None => (format!("shop.orders.placed.by.customer.{at:05}"), Vec::new()),
                Some(_) => (format!("shop.requests.{at:05}"), vec!["host".to_owned()]),
            };
            Rule {
                name: format!("rule-{at:05}"),
                summary: String::new(),
                series: series.parse().unwrap(),
                by,
                measure: Measure::Sum,
                per: Per::Second,
                window: Span::from_secs(300),
                against: None,
                change: Change::Percent,
                floor: None,
                over: None,
                every: Span::SECOND,
                when: Vec::new(),
                schedule: None,
                flapping: None,
                depends_on: Vec::new(),
                warning: None,
                critical: Some(Threshold {
                    side: Side::Above,
                    value: 1e6,
                    clear: 1e6,
                    hold: Span::ZERO,
                    of: None,
                    clear_hold: Span::ZERO,
                }),
                missing: None,
                notify: Some(Vec::new()),
                repeat: Rule::REPEAT,
                escalate: Vec::new(),
                runbook: None,
            }
        };
        (0..self.rules).map(rule).collect()
    }
}

struct World {
    engine: Engine,
    keys: Vec<String>,
    now: Timestamp,
    ticks: usize,
}

impl World {
    fn new(load: &Load, rules: Vec<Rule>) -> Self {
        let config = Config { rules, ..Config::default() };
        Self { engine: Engine::new(&config, START), keys: load.keys(), now: START, ticks: 0 }
    }

    fn second(&mut self) -> f64 {
        for (at, key) in self.keys.iter().enumerate() {
            let delta = 1 + (at + self.ticks) as u64 % 3;
            self.engine.counters().incr(key.as_bytes(), delta, self.now);
        }
        self.now = self.now + Span::SECOND;
        self.ticks += 1;
        let start = cpu_ms();
        self.engine.tick(self.now);
        let cost = cpu_ms() - start;
        while self.engine.keep(self.now).unwrap() {}
        cost
    }

    fn warm(&mut self) {
        for _ in 0..WARM_SECS {
            self.second();
        }
    }

    fn measure(&mut self, title: &str) -> (f64, f64, f64) {
        let mut costs: Vec<f64> = (0..MEASURED_SECS).map(|_| self.second()).collect();
        costs.sort_unstable_by(f64::total_cmp);
        let at = |share: usize| *costs.get((costs.len() - 1) * share / 100).unwrap();
        println!("{title:>30}  {:>8.2} {:>8.2} {:>8.2}", at(50), at(99), at(100));
        (at(50), at(99), at(100))
    }

    /// What the same questions cost when each reads its windows; all answers are held against those that
    /// the rules got.
    fn read_anew(&self) -> f64 {
        self.engine.view(|view| {
            let start = cpu_ms();
            for rule in view.rules.iter() {
                for (group, state) in rule.instances() {
                    let series = rule.series(group);
                    let question = rule.question();
                    let seen = question.ask(view.store, view.catalogue, series, view.closed);
                    assert_eq!(seen, state.observation);
                }
            }
            cpu_ms() - start
        })
    }

    /// What a start takes to read all windows: rules that are new to an engine with this history.
    fn start_again(&self, load: &Load) -> f64 {
        self.engine.view(|view| {
            let config = Config::default();
            let mut rules = tallyd::rules::Rules::new(&load.rules(), &config.tiers, self.now);
            let start = cpu_ms();
            rules.prepare(view.store, view.catalogue, view.closed);
            cpu_ms() - start
        })
    }
}

fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 / 1e6
}
