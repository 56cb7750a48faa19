//! What every face is given, under clocks that are moved.

use std::sync::atomic::AtomicI64;
use std::time::Duration;

use super::*;
use crate::config::Config;

/// A wall clock that may be set in either direction, and a monotonic one that may not.
#[derive(Default)]
pub(super) struct Clocks {
    pub(super) wall: AtomicI64,
    pub(super) monotonic: AtomicU64,
}

impl Clock for Clocks {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.wall.load(Relaxed))
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.monotonic.load(Relaxed))
    }
}

/// The first moment of these tests: a whole hour.
pub(super) const START: Timestamp = Timestamp::from_secs(1_767_571_200);

/// What a face is given by a process that began at [`START`].
pub(super) fn shared(config: &Config) -> (Shared, Arc<Clocks>) {
    let clocks = Arc::new(Clocks::default());
    clocks.wall.store(START.as_millis(), Relaxed);
    let shared = Shared {
        links: LinkKey::new([7; 32]),
        engine: Arc::new(Engine::new(config, START)),
        clock: Arc::clone(&clocks) as Arc<dyn Clock>,
        tallies: Tallies::new(1).0,
        status: Arc::default(),
        access: Arc::default(),
        tokens: Arc::default(),
        nrpe: Arc::default(),
    };
    (shared, clocks)
}

#[test]
fn a_clock_that_is_set_back_does_not_look_like_time_standing_still() {
    let (shared, clocks) = shared(&Config::default());
    assert!(shared.is_ticking(), "it has only begun");
    clocks.wall.fetch_add(1000, Relaxed);
    clocks.monotonic.store(1000, Relaxed);
    assert!(shared.engine.tick(shared.now()).closed.is_some());
    shared.status.ticked.store(1000, Relaxed);
    // The wall clock goes back an hour: nothing is closed until it has caught up.
    clocks.wall.fetch_sub(3_600_000, Relaxed);
    for second in 0..20 {
        assert_eq!(shared.since_tick(), Span::from_secs(second));
        assert_eq!(shared.is_ticking(), second < 10, "after {second} s");
        clocks.wall.fetch_add(1000, Relaxed);
        clocks.monotonic.fetch_add(1000, Relaxed);
        assert!(shared.engine.tick(shared.now()).closed.is_none());
    }
    let page = page::render(&shared, false);
    assert!(page.contains("Nothing was evaluated for 20 s"), "{page}");
    assert!(page.contains("<title>UNKNOWN"), "{page}");
}

#[test]
fn all_is_well_while_windows_are_closed_and_kept() {
    let (shared, clocks) = shared(&Config::default());
    let at = |secs: u64| {
        clocks.monotonic.store(secs * 1000, Relaxed);
        shared.note_tick();
    };
    at(1);
    assert!(shared.is_well());
    let disk = &shared.status.disk[2];
    disk.begin(&*shared.clock);
    at(50);
    assert!(shared.is_well(), "a minute is not over");
    at(70);
    assert!(!shared.is_well(), "it hangs");
    disk.end(false);
    assert!(!shared.is_well(), "it fails");
    disk.begin(&*shared.clock);
    disk.end(true);
    assert!(shared.is_well());
    clocks.monotonic.store(90_000, Relaxed);
    assert!(!shared.is_well(), "nothing ticks");
}
