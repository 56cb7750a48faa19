//! The loss of power, a disk that refuses, and one that loses what a sync was to bring, at every single operation,
//! under virtual time: whatever the
//! disk kept, the next start works, what was synced is there, and each increment that is there is in
//! one window of each tier.

use std::collections::BTreeMap;

use super::tests::in_windows;
use super::*;
use crate::disk::lying::{Dice, Fate, LyingDisk};
use proptest::prelude::*;

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const KEYS: [&str; 3] = ["a", "b;x=1", "c"];
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

#[derive(Clone, Copy, Debug)]
enum Act {
    Incr(usize, u64),
    Tick,
    Wait(u64),
    Log,
    Keep,
    Sync,
    Restart,
}

/// Every kind of thing that a server does with its disk, more than once: births, seals, checkpoints,
/// merges, syncs, a start.
fn script() -> Vec<Act> {
    let mut acts = Vec::new();
    for round in 0..11 {
        acts.extend([Act::Incr(0, 1), Act::Incr(usize::from(round > 3), 2), Act::Tick, Act::Log]);
        acts.extend([Act::Incr(0, 3), Act::Sync, Act::Incr(2, 1), Act::Tick, Act::Log, Act::Keep]);
        if round == 6 {
            acts.push(Act::Restart);
        }
        acts.push(Act::Wait(61));
    }
    acts
}

/// One server after the other on a directory whose disk lies.
struct World {
    dir: tempfile::TempDir,
    disk: LyingDisk,
    engine: Option<Engine>,
    now: Timestamp,
    sent: BTreeMap<&'static str, u64>,
    /// What survives the loss of power.
    synced: BTreeMap<&'static str, u64>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = LyingDisk::under(dir.path());
        let (sent, synced) = (BTreeMap::new(), BTreeMap::new());
        Self { dir, disk, engine: None, now: START, sent, synced }
    }

    /// Starts a server, after the end of the one before.
    fn start(&mut self) -> Result<Found, OpenError> {
        self.engine = None;
        self.disk.spare_syncs(true);
        let (engine, found) = Engine::open(&Config::default(), self.dir.path(), self.now)?;
        self.disk.spare_syncs(false);
        self.engine = Some(engine);
        Ok(found)
    }

    /// Whatever the disk does. A server that could not start is started again, as somebody would.
    fn act(&mut self, act: Act) {
        // A key that the disk refused is gone with the process, as is said of `tallyd_unsaved_keys`.
        let keys = self.engine.as_ref().map_or(0, |engine| engine.counters().unsaved_keys());
        // What a process knows that its disk owes ends with it.
        let is_whole = keys == 0 && !self.disk.has_lost();
        if matches!(act, Act::Restart) && is_whole || self.engine.is_none() {
            let _ = self.start();
        }
        let Some(engine) = &self.engine else { return };
        match act {
            Act::Incr(key, delta) => {
                let key = KEYS[key];
                engine.counters().incr(key.as_bytes(), delta, self.now);
                *self.sent.entry(key).or_default() += delta;
            }
            Act::Tick => {
                self.now = self.now + Span::SECOND;
                engine.tick(self.now);
            }
            Act::Wait(secs) => self.now = self.now + Span::from_secs(secs),
            Act::Log => _ = engine.write_log(),
            // As the server does: a bounded number of pieces.
            Act::Keep => _ = (0..64).find(|_| !matches!(engine.keep(self.now), Ok(true))),
            Act::Sync => {
                if engine.counters().sync().is_ok() {
                    self.synced.clone_from(&self.sent);
                }
            }
            Act::Restart => {}
        }
    }

    fn play(&mut self, acts: &[Act]) {
        for act in acts {
            self.act(*act);
        }
    }

    /// The power is gone, and comes back. The disk is an ordinary one from there on.
    fn lose_power(&mut self, seed: u64) {
        self.engine = None;
        self.disk.lose_power(&mut Dice::new(seed));
        LyingDisk::leave(self.dir.path());
        self.now = self.now + Span::from_secs(5);
    }

    fn second(&mut self) {
        for act in [Act::Tick, Act::Log, Act::Keep] {
            self.act(act);
        }
    }

    /// Every increment that is there is in one window of each tier; none that is safe is missing, none is
    /// made up. What is there now is what goes on.
    fn check(&mut self) {
        self.act(Act::Tick);
        for key in KEYS {
            let counters = self.engine.as_ref().unwrap().counters();
            let total = counters.get(key.as_bytes(), self.now, |view| {
                String::from_utf8_lossy(view.value).parse().unwrap()
            });
            let total: u64 = total.unwrap_or(0);
            for tier in 0..4 {
                assert_eq!(
                    in_windows(self.engine.as_ref().unwrap(), self.now, tier, key),
                    total,
                    "{key} in tier {tier}"
                );
            }
            let [sent, synced] = [&self.sent, &self.synced].map(|of| of.get(key).copied());
            assert!(total >= synced.unwrap_or(0), "{key}: {total} of {synced:?} that were safe");
            assert!(total <= sent.unwrap_or(0), "{key}: {total} of {sent:?} that were sent");
            self.sent.insert(key, total);
        }
    }

    /// Goes on for a while, ends without a word, and starts again.
    fn go_on(&mut self) {
        for round in 0..3 {
            KEYS.iter().enumerate().for_each(|(key, _)| self.act(Act::Incr(key, 10 + round)));
            self.second();
        }
        self.synced.clone_from(&self.sent);
        self.now = self.now + Span::from_secs(2);
        self.start().unwrap();
        self.check();
    }
}

impl Drop for World {
    fn drop(&mut self) {
        LyingDisk::leave(self.dir.path());
    }
}

/// Plays a script up to the operation at which the power goes, and looks at what there is then.
fn survive(acts: &[Act], at: u64, seed: u64) {
    eprintln!("the power goes at operation {at}, seed {seed}");
    let mut world = World::new();
    world.disk.meet(at, Fate::PowerLoss);
    world.play(acts);
    world.lose_power(seed);
    world.start().unwrap_or_else(|error| panic!("operation {at}, seed {seed}: {error}"));
    world.check();
    world.go_on();
}

/// Plays a script on a disk that refuses a while, and holds that nothing is lost by it.
fn endure(acts: &[Act], at: u64, errno: i32, operations: u64) {
    eprintln!("error {errno} at {operations} operations from {at}");
    let mut world = World::new();
    world.disk.meet(at, Fate::Refused(errno, at + operations));
    world.play(acts);
    world.disk.meet(u64::MAX, Fate::Done);
    world.second();
    world.synced.clone_from(&world.sent);
    world.check();
    world.engine().write_log().unwrap();
    world.start().unwrap_or_else(|error| panic!("operation {at}, error {errno}: {error}"));
    world.check();
    world.go_on();
}

/// Plays a script on a disk that loses what a sync was to bring, and has it be read as if nothing were; at some
/// later operation the power goes. `syncs` is the first that is lost, and how many are.
fn outlive(acts: &[Act], syncs: (u64, u64), power: u64, seed: u64) {
    eprintln!("{syncs:?} are lost, the power goes at operation {power}, seed {seed}");
    let mut world = World::new();
    world.disk.meet(power, Fate::LostSync(syncs.0, syncs.0 + syncs.1));
    world.play(acts);
    world.lose_power(seed);
    world.start().unwrap_or_else(|error| panic!("{syncs:?}, {power}, seed {seed}: {error}"));
    world.check();
    world.go_on();
}

impl World {
    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }
}

fn operations(acts: &[Act]) -> u64 {
    let mut world = World::new();
    world.play(acts);
    world.disk.operations()
}

/// Every so many operations; `TALLYD_TEST_EVERY=1` takes each, with several outcomes.
fn every() -> (usize, u64) {
    let every = std::env::var("TALLYD_TEST_EVERY").ok().and_then(|every| every.parse().ok());
    (every.unwrap_or(7), if every == Some(1) { 4 } else { 1 })
}

#[test]
fn the_power_may_go_at_any_operation() {
    let (acts, (every, seeds)) = (script(), every());
    let all = operations(&acts);
    eprintln!("{all} operations");
    for at in (1..=all + 1).step_by(every) {
        (0..seeds).for_each(|seed| survive(&acts, at, at * 31 + seed));
    }
}

#[test]
fn the_disk_may_refuse_any_operation() {
    let (acts, (every, _)) = (script(), every());
    for at in (1..=operations(&acts)).step_by(every) {
        endure(&acts, at, ENOSPC, 1);
        endure(&acts, at, EIO, 1 + at % 40);
    }
}

#[test]
fn a_sync_may_be_lost_and_the_power_go_later() {
    let (acts, (every, seeds)) = (script(), every());
    let mut world = World::new();
    world.play(&acts);
    let (syncs, all) = (world.disk.syncs(), world.disk.operations());
    eprintln!("{syncs} syncs, {all} operations");
    let mut dice = Dice::new(syncs);
    for sync in (1..=syncs).step_by(every) {
        for seed in 0..seeds {
            for power in [all * 2, dice.throw(usize::try_from(all).unwrap()) as u64] {
                outlive(&acts, (sync, 1 + seed), power, sync * 31 + seed);
            }
        }
    }
}

/// A checkpoint that is taken late is of the moment at which it is taken.
#[test]
fn a_checkpoint_after_a_start_counts_nothing_twice() {
    use Act::{Incr, Keep, Log, Restart, Tick, Wait};
    let acts = [Wait(300), Incr(0, 1), Tick, Log, Restart, Tick, Log, Keep];
    for at in 1..=operations(&acts) {
        survive(&acts, at, 38_237_913_576_423_031);
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..KEYS.len(), 1..100_u64).prop_map(|(key, delta)| Act::Incr(key, delta)),
        8 => Just(Act::Tick),
        2 => (1..400_u64).prop_map(Act::Wait),
        5 => Just(Act::Log),
        4 => Just(Act::Keep),
        3 => Just(Act::Sync),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn the_power_may_go_in_the_middle_of_anything(
        acts in prop::collection::vec(act(), 1..80),
        at in 1..600_u64,
        seed in any::<u64>(),
    ) {
        survive(&acts, at, seed);
    }

    #[test]
    fn syncs_may_be_lost_in_the_middle_of_anything(
        acts in prop::collection::vec(act(), 1..80),
        syncs in (1..40_u64, 1..4_u64),
        power in 1..900_u64,
        seed in any::<u64>(),
    ) {
        outlive(&acts, syncs, power, seed);
    }
}
