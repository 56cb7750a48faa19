//! Ends at any moment, under virtual time: what was counted is in exactly one window of each tier.

use std::collections::BTreeMap;

use super::*;
use crate::config::{Metric, MetricKind};
use crate::engine::tally::Counts;
use crate::histogram::Layout;
use crate::protocol::{Limits, Request, Step, parse};
use crate::time::Window;
use proptest::prelude::*;

mod clocks;
mod weights;

pub(in crate::engine) const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const KEYS: [&str; 4] = ["a", "b;x=1", "c", "d"];

/// The default, with times as distributions.
fn config() -> Config {
    let metric = Metric {
        series: "*.ms".parse().unwrap(),
        kind: MetricKind::Distribution,
        unit: String::new(),
        layout: Layout::new(2, 1.0, 3.6e6).unwrap(),
        description: String::new(),
    };
    Config { metrics: vec![metric], ..Config::default() }
}

/// One server after the other on the same directory.
pub(in crate::engine) struct World {
    dir: tempfile::TempDir,
    engine: Option<Engine>,
    pub(in crate::engine) now: Timestamp,
    sent: BTreeMap<&'static str, u64>,
}

impl World {
    pub(in crate::engine) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { dir, engine: None, now: START, sent: BTreeMap::new() };
        world.restart(0);
        world
    }

    pub(in crate::engine) fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Ends the server without a word, and starts another one that many seconds later.
    pub(in crate::engine) fn restart(&mut self, secs: u64) {
        self.engine = None;
        self.now = self.now + Span::from_secs(secs);
        let (engine, found) = Engine::open(&config(), self.dir.path(), self.now).unwrap();
        assert_eq!(found.damaged_bytes, 0);
        self.engine = Some(engine);
    }

    /// Goes on with a directory that is made of a backup; what was counted after the backup's instant is
    /// not in it.
    fn restore(&mut self) {
        self.tick();
        let engine = Arc::new(self.engine.take().unwrap());
        let frozen = engine.freeze().unwrap();
        let before = engine.counters().get(b"a", self.now, |view| view.value.to_vec());
        engine.counters().incr(b"a", 7, self.now);
        engine.counters().incr(b"born.later", 7, self.now);
        self.now = self.now + Span::SECOND;
        engine.tick(self.now);
        engine.write_log().unwrap();
        engine.keep(self.now).unwrap();
        let mut parts = Vec::new();
        let contents = frozen.read(self.now, |part| {
            parts.push(part);
            true
        });
        let dir = tempfile::tempdir().unwrap();
        let mut restore =
            crate::engine::Restore::begin(dir.path(), frozen.cells(), self.now).unwrap();
        for part in &parts {
            restore.take(part).unwrap();
        }
        assert_eq!(restore.finish().unwrap().0, contents.unwrap());
        drop((frozen, engine));
        self.dir = dir;
        self.restart(0);
        let after = self.engine().counters().get(b"a", self.now, |view| view.value.to_vec());
        assert!(after == before || before.is_none() && after.as_deref() == Some(b"0"), "{after:?}");
    }

    /// The same, with other tiers, given as width and keep in seconds.
    fn restart_with(&mut self, tiers: &[(u64, u64)]) -> Vec<TierChange> {
        self.engine = None;
        let tier = |(window, keep): &(u64, u64)| Tier {
            window: Span::from_secs(*window),
            keep: Span::from_secs(*keep),
        };
        let config = Config { tiers: tiers.iter().map(tier).collect(), ..config() };
        let (engine, found) = Engine::open(&config, self.dir.path(), self.now).unwrap();
        self.engine = Some(engine);
        found.tiers
    }

    pub(in crate::engine) fn incr(&mut self, key: &'static str, delta: u64) {
        self.engine().counters().incr(key.as_bytes(), delta, self.now);
        *self.sent.entry(key).or_default() += delta;
    }

    pub(in crate::engine) fn set(&self, key: &str, value: &str) {
        let text = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
        let Step::Request { request, .. } = parse(text.as_bytes(), &Limits::default()) else {
            panic!("a request")
        };
        assert!(matches!(request, Request::Store { .. }));
        let (mut counts, mut out) = (Counts::default(), Vec::new());
        crate::engine::apply(self.engine().counters(), &request, self.now, &mut counts, &mut out);
        assert_eq!(out, b"STORED\r\n");
    }

    pub(in crate::engine) fn tick(&mut self) {
        self.now = self.now + Span::SECOND;
        self.engine().tick(self.now);
    }

    /// A second with all that the threads of a server do in it.
    pub(in crate::engine) fn second(&mut self) {
        self.tick();
        self.engine().write_log().unwrap();
        while self.engine().keep(self.now).unwrap() {}
    }

    fn stored(&self, tier: usize, key: &str) -> u64 {
        in_windows(self.engine(), self.now, tier, key)
    }

    /// Every increment is in one window of each tier, once the second is over.
    fn check(&mut self) {
        self.tick();
        for (key, sent) in &self.sent {
            let answer = self.engine().counters().get(key.as_bytes(), self.now, |view| {
                String::from_utf8_lossy(view.value).into_owned()
            });
            assert_eq!(answer, Some(sent.to_string()), "the total of {key}");
            for tier in 0..4 {
                assert_eq!(self.stored(tier, key), *sent, "{key} in tier {tier}");
            }
        }
    }
}

/// What the windows of a tier hold of a key, the open ones included.
pub(super) fn in_windows(engine: &Engine, now: Timestamp, tier: usize, key: &str) -> u64 {
    let state = engine.state();
    let Some(id) = state.catalogue.matching(&key.parse().unwrap(), 0).next() else { return 0 };
    let all = Window { start: Timestamp::EPOCH, end: now.max(state.closed) + Span::WEEK };
    let mut stored = 0;
    let sum = |record: &Record| match record {
        Record::Counts(counts) => counts.sum,
        Record::Values(_) | Record::Distribution(..) => 0,
    };
    state.windows.read(tier, id, all, |_, record| stored += sum(record)).unwrap();
    for finer in 1..=tier {
        let open = state.rollup.open(finer).and_then(|row| row.get(id));
        stored += open.map_or(0, |entry| sum(&entry.record));
    }
    stored
}

#[test]
fn windows_survive_the_end_of_the_process() {
    let mut world = World::new();
    for second in 0..700 {
        world.incr("a", 1);
        if second % 7 == 0 {
            world.incr("b;x=1", 5);
        }
        world.set("g", &second.to_string());
        world.second();
    }
    world.incr("a", 3);
    world.restart(30);
    world.check();
    let state = world.engine().state();
    let all = Window { start: START, end: world.now };
    assert_eq!(
        state.windows.covered(0, all),
        Span::from_secs(701),
        "and not the second that was cut"
    );
    let id = state.catalogue.matching(&"a".parse().unwrap(), 0).next().unwrap();
    let mut windows = Vec::new();
    let sum = |window: Window, record: &Record| {
        if let Record::Counts(counts) = record {
            windows.push((window.start.since(START).as_millis() / 1000, counts.sum, counts.last));
        }
    };
    state.windows.read(0, id, all, sum).unwrap();
    assert_eq!(windows.len(), 701);
    assert_eq!(windows[100], (100, 1, Some(101.0)));
    assert_eq!(
        windows[700],
        (700, 3, Some(703.0)),
        "what was open is in the window after the last"
    );
    let id = state.catalogue.matching(&"g".parse().unwrap(), 0).next().unwrap();
    let mut last = Vec::new();
    state.windows.read(1, id, all, |_, record| last.extend(record.last())).unwrap();
    assert_eq!((last[0], last[1], last[2]), (9.0, 19.0, 29.0));
}

#[test]
fn chunks_become_longer_and_old_ones_go() {
    let mut world = World::new();
    let config = Config::default();
    for _ in 0..9000 {
        world.incr("a", 1);
        world.second();
    }
    let state = world.engine().state();
    let slots = |tier: usize| {
        let mut slots: Vec<_> = state.windows.extents(tier).iter().map(|e| e.slots).collect();
        slots.dedup();
        slots
    };
    assert_eq!(slots(0), [480, 60]);
    assert_eq!(slots(1), [768, 384, 48, 6]);
    let oldest = state.windows.extents(0)[0].window(&config.tiers[0]);
    assert!(oldest.end > world.now - config.tiers[0].keep);
    assert!(oldest.start <= world.now - config.tiers[0].keep);
    let id = state.catalogue.matching(&"a".parse().unwrap(), 0).next().unwrap();
    for (tier, expect) in [(0, 7200), (1, 900), (2, 150), (3, 2)] {
        let all = Window { start: Timestamp::EPOCH, end: world.now };
        let mut windows = 0;
        state.windows.read(tier, id, all, |_, _| windows += 1).unwrap();
        assert_eq!(windows, expect, "tier {tier}");
    }
}

#[test]
fn the_file_stops_growing_once_every_tier_is_full() {
    let mut world = World::new();
    let mut short = config();
    short.tiers = [(1, 120), (10, 600), (60, 1200)]
        .map(|(width, keep)| Tier { window: Span::from_secs(width), keep: Span::from_secs(keep) })
        .to_vec();
    let dir = tempfile::tempdir().unwrap();
    world.engine = Some(Engine::open(&short, dir.path(), world.now).unwrap().0);
    let mut sizes = Vec::new();
    for second in 1..=3600_u64 {
        world.incr("a", second % 7 + 1);
        world.set("g", &(second * 7919 % 1000).to_string());
        world.second();
        if second % 900 == 0 {
            sizes.push(world.engine().store_bytes());
        }
    }
    // 1,800 seconds fill the last of them, with the extent that goes as a whole.
    assert!(sizes[3] <= sizes[1] + 32 * 1024, "{sizes:?}");
}

#[test]
fn after_the_loss_of_power_the_larger_total_holds() {
    let mut world = World::new();
    world.incr("a", 10);
    world.second();
    world.engine = None;
    // The cells were not written back.
    let path = world.dir.path().join("cells-0000.map");
    let len = std::fs::metadata(&path).unwrap().len();
    std::fs::remove_file(&path).unwrap();
    world.restart(5);
    assert_eq!(std::fs::metadata(&path).unwrap().len(), len);
    world.incr("a", 1);
    world.tick();
    assert_eq!(world.stored(0, "a"), 11);
}

/// Gauges and distributions: each value is in one window, with its place in the histogram, whether the
/// log and the store had it when the process ended or not.
#[test]
fn every_observation_is_in_one_window_of_each_tier() {
    let mut world = World::new();
    for (round, secs) in [0, 3, 61, 299, 400, 1].into_iter().enumerate() {
        for _ in 0..secs {
            world.set("a.ms", "20");
            world.set("g", "7");
            world.second();
        }
        world.set("a.ms", "30");
        world.set("g", "8");
        if round % 2 == 0 {
            world.tick();
        }
        world.restart(2);
    }
    world.tick();
    let sets = 3 + 61 + 299 + 400 + 1 + 6;
    let all = Window { start: Timestamp::EPOCH, end: world.now + Span::WEEK };
    let state = world.engine().state();
    for (key, is_distribution) in [("a.ms", true), ("g", false)] {
        let id = state.catalogue.matching(&key.parse().unwrap(), 0).next().unwrap();
        for tier in 0..4 {
            let mut count = 0;
            let mut add = |record: &Record| match record {
                Record::Distribution(values, spread) if is_distribution => {
                    assert_eq!(values.count, spread.count());
                    count += values.count;
                }
                Record::Values(values) if !is_distribution => count += values.count,
                other => panic!("{key}: {other:?}"),
            };
            state.windows.read(tier, id, all, |_, record| add(record)).unwrap();
            for finer in 1..=tier {
                let open = state.rollup.open(finer).and_then(|row| row.get(id));
                if let Some(entry) = open {
                    add(&entry.record);
                }
            }
            assert_eq!(count, sets, "{key} in tier {tier}");
        }
    }
}

/// Without its store a server knows totals and not when they were counted. What was observed in the open second
/// is in the total like everything before, and in no window.
#[test]
fn what_was_observed_before_the_store_was_lost_is_counted_once() {
    for has_log in [true, false] {
        let mut world = World::new();
        for _ in 0..5 {
            world.set("a.ms", "20");
            world.second();
        }
        world.set("a.ms", "30");
        world.set("a.ms", "40");
        world.engine = None;
        for entry in std::fs::read_dir(world.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if name == "tallyd.redb" || name.starts_with("ticks") && !has_log {
                std::fs::remove_file(&path).unwrap();
            }
        }
        world.restart(3);
        world.second();
        world.set("a.ms", "50");
        world.second();
        world.restart(1);
        world.second();
        let total = world.engine().counters().get(b"a.ms", world.now, |view| view.value.to_vec());
        assert_eq!(total.as_deref(), Some(&b"8"[..]), "with its log: {has_log}");
        let all = Window { start: Timestamp::EPOCH, end: world.now + Span::WEEK };
        let state = world.engine().state();
        let id = state.catalogue.matching(&"a.ms".parse().unwrap(), 0).next().unwrap();
        let mut count = 0;
        let see = |_: Window, record: &Record| match record {
            Record::Distribution(values, _) => count += values.count,
            other => panic!("{other:?}"),
        };
        state.windows.read(0, id, all, see).unwrap();
        assert_eq!(count, 1, "with its log: {has_log}");
    }
}

#[test]
fn a_tier_that_is_new_or_keeps_longer_knows_nothing_of_the_past() {
    let mut world = World::new();
    let mut fewer = config();
    fewer.tiers.remove(2);
    fewer.tiers[0].keep = Span::from_secs(300);
    let dir = tempfile::tempdir().unwrap();
    world.engine = Some(Engine::open(&fewer, dir.path(), world.now).unwrap().0);
    for _ in 0..700 {
        world.incr("a", 1);
        world.second();
    }
    world.engine = None;
    world.dir = dir;
    world.restart(1);
    let state = world.engine().state();
    let covered = |tier, from, to| {
        let window =
            Window { start: START + Span::from_secs(from), end: START + Span::from_secs(to) };
        state.windows.covered(tier, window)
    };
    assert_eq!(covered(1, 0, 600), Span::from_secs(600));
    assert_eq!(covered(2, 0, 600), Span::ZERO, "it was not there");
    assert_eq!(covered(2, 600, 700), Span::from_secs(100));
    assert_eq!(covered(0, 0, 300), Span::ZERO, "it was not kept");
    assert_eq!(covered(0, 400, 700), Span::from_secs(300));
}

/// What a checkpoint leaves out is in chunks; so it waits for the log to have all before it.
#[test]
fn a_checkpoint_waits_for_the_rows_before_it() {
    let mut world = World::new();
    for _ in 0..299 {
        world.incr("a", 1);
        world.second();
    }
    world.incr("a", 1);
    world.tick();
    world.tick();
    let logged = world.engine().state().logged;
    let mut state = world.engine().state();
    let at = state.pending.as_ref().unwrap().checkpoint.at;
    assert!(logged < at);
    // As when the log has come to the checkpoint, and does not say yet how far it is.
    state.pending.as_mut().unwrap().mark = Some(1);
    assert!(state.job(logged).1.is_none());
    assert!(state.job(at).1.is_some());
}

/// What a tier of the default knows when others come and go; minutes are those since the first server.
#[test]
fn tiers_that_change_keep_what_history_they_can() {
    const USUAL: [(u64, u64); 4] = [(1, 7200), (10, 259_200), (60, 3_456_000), (3600, 157_680_000)];
    let (secs, at) = (Span::from_secs, |minutes: u64| START + Span::from_secs(minutes * 60));
    let mut world = World::new();
    // An end at an odd second, with windows open in every tier.
    for _ in 0..30 * 60 + 17 {
        world.incr("a", 1);
        world.second();
    }
    let sent = world.sent["a"];
    let stored = |world: &World, tiers: usize| {
        (0..tiers).map(|tier| world.stored(tier, "a")).collect::<Vec<_>>()
    };
    let known = |world: &World, tier, from, to| {
        let window = Window { start: at(from), end: at(to) };
        let state = world.engine().state();
        let id = state.catalogue.find(b"a").unwrap();
        let mut sum = 0;
        let mut add = |record: &Record| match record {
            Record::Counts(counts) => sum += counts.sum,
            other => panic!("{other:?}"),
        };
        state.windows.read(tier, id, window, |_, record| add(record)).unwrap();
        (sum, state.windows.covered(tier, window))
    };

    // One goes: what was open in it is in the coarser ones.
    let changes = world.restart_with(&[USUAL[0], USUAL[2], USUAL[3]]);
    assert_eq!(changes, [TierChange::Gone(secs(10))]);
    world.second();
    assert_eq!(stored(&world, 3), [sent; 3]);

    // Two come, between others and behind them: they are made of the finer ones.
    let more = [USUAL[0], (30, 200_000), USUAL[2], (300, 3_456_000), USUAL[3]];
    let changes = world.restart_with(&more);
    assert_eq!(changes, [TierChange::New(secs(30)), TierChange::New(secs(300))]);
    assert_eq!(known(&world, 1, 0, 25).1, Span::ZERO, "not yet");
    for _ in 0..15 * 60 {
        world.incr("a", 1);
        world.second();
    }
    for tier in [1, 3] {
        assert_eq!(known(&world, tier, 0, 25), (25 * 60, secs(25 * 60)), "tier {tier}");
        assert_eq!(known(&world, tier, 35, 45), (600, secs(600)), "tier {tier}");
    }
    for tier in [0, 2, 4] {
        assert_eq!(world.stored(tier, "a"), world.sent["a"], "tier {tier}");
    }
    // That stays so after an end without a word, and is said once.
    assert_eq!(world.restart_with(&more), []);
    world.second();
    assert_eq!(known(&world, 3, 0, 25), (25 * 60, secs(25 * 60)));
    assert_eq!(known(&world, 4, 0, 25).1, secs(25 * 60));

    // One that is kept for less loses what is older; for more, it does not come back.
    let short = [(1, 600), more[1], more[2], more[3], more[4]];
    let keep = |was, is| TierChange::Keep { width: secs(1), was: secs(was), is: secs(is) };
    assert_eq!(world.restart_with(&short), [keep(7200, 600)]);
    for _ in 0..400 {
        world.second();
    }
    assert_eq!(known(&world, 0, 0, 25), (0, Span::ZERO));
    assert_eq!(world.restart_with(&more), [keep(600, 7200)]);
    world.second();
    assert_eq!(known(&world, 0, 0, 25), (0, Span::ZERO));
    // Its width is another: the old one goes and a new one comes.
    let other = [more[0], (15, 200_000), more[2], more[3], more[4]];
    let changes = world.restart_with(&other);
    assert_eq!(changes, [TierChange::Gone(secs(30)), TierChange::New(secs(15))]);
    world.second();
    assert_eq!(world.stored(4, "a"), world.sent["a"]);
}

#[derive(Clone, Debug)]
enum Act {
    Incr(usize, u64),
    Set(usize),
    Tick,
    Wait(u64),
    Log,
    Keep,
    Restart(u64),
    Restore,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..KEYS.len(), 1..100_u64).prop_map(|(key, delta)| Act::Incr(key, delta)),
        1 => (0..KEYS.len()).prop_map(Act::Set),
        8 => Just(Act::Tick),
        1 => (1..400_u64).prop_map(Act::Wait),
        4 => Just(Act::Log),
        3 => Just(Act::Keep),
        1 => (0..100_u64).prop_map(Act::Restart),
        1 => Just(Act::Restore),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Whatever happens between a tick, the log, the store and the end of the process.
    #[test]
    fn every_increment_is_in_one_window_of_each_tier(acts in prop::collection::vec(act(), 1..120)) {
        let mut world = World::new();
        for act in acts {
            match act {
                Act::Incr(key, delta) => world.incr(KEYS[key], delta),
                Act::Set(key) => world.set(&format!("{}.g", KEYS[key]), "1.5"),
                Act::Tick => world.tick(),
                Act::Wait(secs) => world.now = world.now + Span::from_secs(secs),
                Act::Log => world.engine().write_log().map(drop).unwrap(),
                Act::Keep => { world.engine().keep(world.now).unwrap(); }
                Act::Restart(secs) => world.restart(secs),
                Act::Restore => world.restore(),
            }
        }
        world.check();
        world.restart(1);
        world.check();
    }
}

#[test]
fn an_increment_that_comes_round_is_not_undone() {
    for is_logged in [false, true] {
        let mut world = World::new();
        world.incr("a", 100);
        world.second();
        let answer = world.engine().counters().incr(b"a", u64::MAX, world.now);
        assert_eq!(answer, crate::counters::Arithmetic::Value(99));
        if is_logged {
            world.second();
        }
        world.restart(1);
        let text = world.engine().counters().get(b"a", world.now, |view| view.value.to_vec());
        assert_eq!(text.as_deref(), Some(&b"99"[..]), "{is_logged}");
    }
}

/// When its entry in the configuration goes, a distribution goes on as a counter; what it has observed
/// before is in windows already.
#[test]
fn observations_do_not_become_increments_when_their_entry_goes() {
    // Without a checkpoint between, and with one.
    for secs in [7, 400] {
        let mut world = World::new();
        for _ in 0..secs {
            world.set("a.ms", "20");
            world.set("a.ms", "30");
            world.second();
        }
        // A start in between, for the log is read at each.
        world.restart(1);
        world.second();
        world.engine = None;
        let (engine, _) = Engine::open(&Config::default(), world.dir.path(), world.now).unwrap();
        world.engine = Some(engine);
        world.second();
        world.second();
        assert_eq!(world.stored(0, "a.ms"), 0, "after {secs}");
        world.engine().counters().incr(b"a.ms", 3, world.now);
        world.second();
        assert_eq!(world.stored(0, "a.ms"), 3, "after {secs}");
    }
}
