//! Clocks that are set, leap, stand still and start wrong: no window is closed twice, a gap is a gap, and
//! every increment is in one window of each tier.

use super::*;
use crate::config::{Change, Measure, Per};
use crate::query::{Observation, Question};

const HOUR: i64 = 3600;
const YEAR: i64 = 365 * 24 * HOUR;

/// What the clock does from one tick to the next, in seconds.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// It goes on, and so does everything else, so many times.
    Goes(u32),
    /// It shows so much more, or less, than a second after the last tick it should.
    Steps(i64),
    /// The process is killed, and the next one finds it so far ahead or behind.
    IsKilledAnd(i64),
}

use Clock::{Goes, IsKilledAnd, Steps};

/// What came of it.
struct Seen {
    world: World,
    /// Windows that were closed, as they came.
    closed: Vec<Window>,
    /// How far the wall clock stands before the last of them at the end.
    behind: Span,
}

fn play(script: &[Clock]) -> Seen {
    let (mut world, mut closed, mut behind) = (World::new(), Vec::new(), Span::ZERO);
    for step in script {
        let ticks = match *step {
            Goes(ticks) => ticks,
            Steps(secs) => {
                world.now = moved(world.now, secs);
                1
            }
            IsKilledAnd(secs) => {
                world.now = moved(world.now, secs);
                world.restart(0);
                1
            }
        };
        for _ in 0..ticks {
            world.incr("a", 1);
            world.now = world.now + Span::SECOND;
            let ticked = world.engine().tick(world.now);
            world.engine().write_log().unwrap();
            while world.engine().keep(world.now).unwrap() {}
            closed.extend(ticked.closed);
            behind = ticked.behind;
        }
    }
    Seen { world, closed, behind }
}

fn moved(at: Timestamp, secs: i64) -> Timestamp {
    Timestamp::from_millis(at.as_millis() + secs * 1000)
}

impl Seen {
    /// Base windows that are in no closed one, between the first and the last.
    fn gaps(&self) -> Vec<Window> {
        let pairs = self.closed.iter().zip(self.closed.iter().skip(1));
        let gaps = pairs.map(|(one, next)| Window { start: one.end, end: next.start });
        gaps.filter(|gap| !gap.width().is_zero()).collect()
    }

    fn check(&self, name: &str, gap_secs: u64, behind_secs: u64) {
        let in_order = self.closed.iter().zip(self.closed.iter().skip(1));
        for (one, next) in in_order {
            assert!(one.end <= next.start, "{name}: {one:?}, and then {next:?}");
        }
        let gaps = self.gaps();
        let lengths = gaps.iter().map(|gap| gap.width().as_millis() / 1000).sum::<u64>();
        assert_eq!(lengths, gap_secs, "{name}: {gaps:?}");
        assert_eq!(self.behind, Span::from_secs(behind_secs), "{name}");
        // What was counted since the last closed window is open still.
        let sent = self.world.sent["a"];
        let open = {
            let state = self.world.engine().state();
            let id = state.catalogue.matching(&"a".parse().unwrap(), 0).next().unwrap();
            let cell = state.catalogue.get(id).cell().unwrap();
            self.world.engine().counters().totals(cell).0 - state.rollup.seen(cell).0
        };
        for tier in 0..4 {
            assert_eq!(self.world.stored(tier, "a") + open, sent, "{name}: in tier {tier}");
        }
        let question = Question {
            measure: Measure::Sum,
            per: Per::Second,
            window: Span::SECOND,
            against: None,
            zone: None,
            change: Change::Absolute,
            floor: None,
        };
        let state = self.world.engine().state();
        let id = state.catalogue.matching(&"a".parse().unwrap(), 0).next().unwrap();
        for gap in gaps {
            assert_eq!(state.windows.covered(0, gap), Span::ZERO, "{name}: {gap:?}");
            let middle = gap.start + Span::from_millis(gap.width().as_millis() / 2);
            let middle = middle.align_down(Span::SECOND).max(gap.start + Span::SECOND);
            let back = state.closed.since(middle);
            let seen = question.ask_back(&state.windows, &state.catalogue, &[id], middle, back);
            let is_gap = matches!(seen, Observation::Unjudged(_) | Observation::AtLeast(0.0));
            assert!(is_gap, "{name}: {middle} is {seen:?}");
        }
    }
}

#[test]
fn whatever_the_clock_does_windows_are_closed_once_and_hold_what_was_counted() {
    let hour = HOUR.unsigned_abs();
    let year = YEAR.unsigned_abs();
    for (name, script, gap_secs, behind_secs) in [
        ("nothing", vec![Goes(30)], 0, 0),
        ("a step back by a second", vec![Goes(20), Steps(-1), Goes(20)], 0, 0),
        ("many of them", [[Goes(3), Steps(-1)]; 20].concat(), 0, 0),
        ("a step back by an hour", vec![Goes(20), Steps(-HOUR), Goes(20)], 0, hour - 21),
        ("caught up with", vec![Goes(20), Steps(-HOUR), Goes(3600), Goes(20)], 0, 0),
        ("a step forward by an hour", vec![Goes(20), Steps(HOUR), Goes(20)], hour, 0),
        ("there and back", vec![Goes(20), Steps(HOUR), Steps(-HOUR), Goes(20)], hour, hour - 21),
        ("a leap by a year", vec![Goes(20), Steps(YEAR), Goes(600)], year, 0),
        ("taken back", vec![Goes(400), Steps(YEAR), Goes(60), Steps(-YEAR)], year, year - 1),
        ("a late tick", vec![Goes(20), Steps(6), Goes(20)], 6, 0),
        ("one after the other", [[Steps(2), Goes(1)]; 20].concat(), 38, 0),
        ("a night's sleep", vec![Goes(20), Steps(8 * HOUR), Goes(20)], 8 * hour, 0),
        ("short sleeps", [[Goes(30), Steps(1800)]; 3].concat(), 3 * 1800, 0),
        ("killed, and back by an hour", vec![Goes(20), IsKilledAnd(-HOUR), Goes(20)], 0, hour - 21),
        ("killed, and an hour later", vec![Goes(20), IsKilledAnd(HOUR), Goes(20)], hour, 0),
        (
            "killed, a year ahead, and back",
            vec![Goes(400), IsKilledAnd(YEAR), Goes(60), IsKilledAnd(-YEAR), Goes(5)],
            year,
            year - 6,
        ),
    ] {
        play(&script).check(name, gap_secs, behind_secs);
    }
}

/// A clock that leaps takes nothing away, until it has gone on from there for a while.
#[test]
fn old_windows_go_when_the_clock_has_settled() {
    let minutes = |minutes: u32| vec![Goes(400), Steps(YEAR), Goes(minutes * 60)];
    let base_windows = |seen: &Seen| {
        let state = seen.world.engine().state();
        let id = state.catalogue.matching(&"a".parse().unwrap(), 0).next().unwrap();
        let before = Window { start: START, end: START + Span::from_secs(400) };
        let mut windows = 0;
        state.windows.read(0, id, before, |_, _| windows += 1).unwrap();
        windows
    };
    assert_eq!(base_windows(&play(&minutes(14))), 400);
    let seen = play(&minutes(16));
    assert_eq!(base_windows(&seen), 0);
    let state = seen.world.engine().state();
    assert!(state.windows.extents(0).iter().all(|extent| extent.start > START + Span::DAY));
    let hours = state.windows.extents(3);
    assert!(hours.first().is_some_and(|hour| hour.start <= START), "which is kept for years");
}
