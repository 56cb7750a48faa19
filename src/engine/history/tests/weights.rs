//! An observation that stands for many, beside as many observations: in cells, windows and after each end.

use super::*;
use crate::counters::Told;

#[derive(Clone, Debug)]
enum Step {
    /// Key, value and weight.
    Observe(usize, u32, u32),
    /// A second with all that threads do in it, or with the tick alone.
    Second,
    Tick,
    /// An end without a word, and how long until the next start.
    End(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0..2_usize, 0..5_000_000_u32, 1..40_u32).prop_map(|(k, v, w)| Step::Observe(k, v, w)),
        2 => Just(Step::Second),
        1 => Just(Step::Tick),
        1 => (0..20_u64).prop_map(Step::End),
    ]
}

/// One is a distribution by the configuration, the other by its use.
const KEYS: [&str; 2] = ["render.ms", "other"];

impl World {
    fn observe(&self, key: usize, value: u32, weight: u32) {
        let counters = self.engine().counters();
        let told = counters.observe_key(KEYS[key].as_bytes(), value.into(), weight, self.now);
        assert_eq!(told, Told::Taken);
    }

    fn go(&mut self, step: &Step) {
        match step {
            Step::Observe(key, value, weight) => self.observe(*key, *value, *weight),
            Step::Second => self.second(),
            Step::Tick => self.tick(),
            Step::End(secs) => self.restart(*secs),
        }
    }

    /// Count and sum of its cell.
    fn observed(&self, key: &str) -> Option<(u64, f64)> {
        let state = self.engine().state();
        let id = state.catalogue.matching(&key.parse().unwrap(), 0).next()?;
        state.catalogue.get(id).cell().map(|cell| self.engine().counters().observed(cell))
    }

    /// The windows of the finest two tiers.
    fn windows(&self, key: &str) -> Vec<(usize, Timestamp, Record)> {
        let state = self.engine().state();
        let Some(id) = state.catalogue.matching(&key.parse().unwrap(), 0).next() else {
            return Vec::new();
        };
        let all = Window { start: Timestamp::EPOCH, end: self.now + Span::WEEK };
        let mut windows = Vec::new();
        for tier in 0..2 {
            let each = |window: Window, record: &Record| {
                windows.push((tier, window.start, record.clone()));
            };
            state.windows.read(tier, id, all, each).unwrap();
        }
        windows
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn one_that_stands_for_many_is_as_many(steps in prop::collection::vec(step(), 1..40)) {
        let (mut one, mut many) = (World::new(), World::new());
        for step in &steps {
            one.go(step);
            match step {
                Step::Observe(key, value, weight) => {
                    (0..*weight).for_each(|_| many.observe(*key, *value, 1));
                }
                step => many.go(step),
            }
        }
        for last in [Step::Tick, Step::End(30), Step::Second] {
            one.go(&last);
            many.go(&last);
            for key in KEYS {
                prop_assert_eq!(one.observed(key), many.observed(key));
                prop_assert_eq!(one.windows(key), many.windows(key));
            }
            let figures = |world: &World| {
                let counters = world.engine().counters();
                (counters.saturated_observations(), counters.unsafe_observations())
            };
            prop_assert_eq!(figures(&one), figures(&many));
        }
    }
}
