//! Any bytes at all as lines of StatsD, and of Graphite, and what they say done to a live table.
//!
//! That nothing panics is the least of it. What is read must be a key that memcached's clients could write, with its
//! tags in order, and numbers that are finite; a line means the same without what stands around it; and a series that
//! a line was taken for shows a value.

#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;
use tallyd::config::Config;
use tallyd::engine::{Dice, Engine, Sets};
use tallyd::limits::{KEY_BYTES, TOLD_LINE_BYTES};
use tallyd::protocol::{graphite, statsd};
use tallyd::series::canonical_key;
use tallyd::time::Timestamp;

const NOW: Timestamp = Timestamp::from_secs(1_767_571_200);

static ENGINE: OnceLock<Engine> = OnceLock::new();

fuzz_target!(|bytes: &[u8]| {
    let mut sets = Sets::default();
    for line in bytes.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
        if line.len() > TOLD_LINE_BYTES {
            continue;
        }
        if let Ok(statsd::Line::Samples(samples)) = statsd::parse(line) {
            check_key(&samples.key);
            assert!(!samples.list.is_empty());
            for sample in &samples.list {
                tell(&samples.key, sample, &mut sets);
            }
        }
        if let Ok(point) = graphite::parse(line) {
            assert!((1..=KEY_BYTES).contains(&point.key.len()) && point.value.is_finite());
            check_bytes(&point.key);
            // What is already clean stays as it is.
            let again = format!("{} {} -1", String::from_utf8_lossy(&point.key), point.value);
            if again.len() - point.key.len() < 30 {
                let again = graphite::parse(again.as_bytes()).expect("a line");
                assert_eq!((again.key, again.value.to_bits()), (point.key, point.value.to_bits()));
            }
        }
    }
    assert!(sets.close(engine().counters(), NOW, true).len() <= bytes.len());
});

fn engine() -> &'static Engine {
    ENGINE.get_or_init(|| {
        let mut config = Config::default();
        config.counters.max_series = 1000;
        Engine::new(&config, NOW)
    })
}

fn tell(key: &[u8], sample: &statsd::Sample<'_>, sets: &mut Sets) {
    let statsd::Sample { value, rate } = *sample;
    assert!(rate > 0.0 && rate <= 1.0);
    match value {
        statsd::Value::Member(member) => {
            assert!(!member.is_empty());
            sets.add(key, member, NOW);
            return;
        }
        statsd::Value::Count(number)
        | statsd::Value::Observed(number)
        | statsd::Value::Gauge(number)
        | statsd::Value::Change(number) => assert!(number.is_finite()),
    }
    let counters = engine().counters();
    let overflowed = counters.overflowed();
    let taken = tallyd::engine::sample(counters, key, value, rate, NOW, &mut Dice::new(1)).is_ok();
    if taken && counters.overflowed() == overflowed {
        assert!(counters.get(key, NOW, |view| !view.value.is_empty()).unwrap_or(false));
    }
}

fn check_key(key: &[u8]) {
    assert!((1..=KEY_BYTES).contains(&key.len()));
    check_bytes(key);
    assert_eq!(&*canonical_key(key), key, "tags are in order");
}

fn check_bytes(key: &[u8]) {
    assert!(!key.iter().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control()));
    assert!(std::str::from_utf8(key).is_ok());
}
