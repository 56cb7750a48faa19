//! Members in one stretch and the next, and more of them than there is room for.

use super::*;
use crate::config::Config;
use crate::engine::Engine;

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

fn at(secs: u64) -> Timestamp {
    START + Span::from_secs(secs)
}

fn shown(engine: &Engine, key: &str) -> Option<String> {
    engine
        .counters()
        .get(key.as_bytes(), at(0), |view| String::from_utf8_lossy(view.value).into_owned())
}

#[test]
fn different_members_of_ten_seconds_are_counted() {
    let engine = Engine::new(&Config::default(), START);
    let mut sets = Sets::default();
    let close = |sets: &mut Sets, secs| sets.close(engine.counters(), at(secs), false);
    for (secs, member) in [(1, "kim"), (2, "kim"), (5, "sam"), (9, "kim")] {
        assert!(sets.add(b"users", member.as_bytes(), at(secs)));
        assert!(close(&mut sets, secs).is_empty());
        assert_eq!(shown(&engine, "users"), None, "the stretch is not over");
    }
    close(&mut sets, 10);
    assert_eq!(shown(&engine, "users").as_deref(), Some("2"));
    sets.add(b"users", b"kim", at(12));
    close(&mut sets, 20);
    assert_eq!(shown(&engine, "users").as_deref(), Some("1"), "a new stretch, a new set");
    close(&mut sets, 30);
    assert_eq!(shown(&engine, "users").as_deref(), Some("0"));
    assert!(sets.before.is_empty() && sets.end.is_none(), "and then nothing is known of it");
    engine.counters().incr(b"users", 1, at(31));
    sets.add(b"users", b"kim", at(31));
    assert_eq!(close(&mut sets, 40), [Told::OtherKind]);
    sets.add(b"late", b"kim", at(41));
    assert!(sets.close(engine.counters(), at(42), true).is_empty());
    assert_eq!(shown(&engine, "late").as_deref(), Some("1"), "as far as it came");
}

#[test]
fn members_and_sets_have_bounds() {
    let mut sets = Sets::default();
    for set in 0..limits::SETS {
        assert!(sets.add(format!("set{set}").as_bytes(), b"kim", START));
    }
    assert!(!sets.add(b"one more", b"kim", START));
    for member in sets.members..limits::SET_MEMBERS {
        assert!(sets.add(b"set0", format!("{member}").as_bytes(), START));
    }
    assert!(!sets.add(b"set0", b"one more", START));
    assert!(sets.add(b"set0", b"kim", START), "one that is known needs no room");
}
