//! What one window holds of one series, and how two neighbours become one.
//!
//! Records merge associatively, in order of time, so a tier may be fed from any finer one and holds
//! the same as if it had been fed from the base. The minimum and maximum of a counter are those of
//! its base windows, so that a coarse window still shows the swing inside it.

use std::sync::Arc;

use crate::counters::Observed;
use crate::histogram::Sketch;

/// One series in one window. A window in which nothing happened has no record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Of a counter.
    Counts(Counts),
    /// Of a gauge.
    Values(Values),
    /// Of a distribution: its observations, and how they were spread.
    Distribution(Values, Arc<Sketch>),
}

/// Increments in a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Counts {
    /// Their sum; it saturates.
    pub sum: u64,
    /// Their number; it saturates.
    pub count: u64,
    /// Base windows in here that have a record. The others were zero while tallyd was up.
    pub touched: u32,
    /// The least sum among the touched base windows.
    pub min: u64,
    /// The greatest sum of a base window.
    pub max: u64,
    /// The value shown at the end, where there was one.
    pub last: Option<f64>,
}

/// Values that a gauge was set to in a window, or the observations of a distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Values {
    /// Their sum.
    pub sum: f64,
    /// Their number; it saturates.
    pub count: u64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The last.
    pub last: f64,
}

impl Record {
    /// The value shown at the end, where there was one.
    #[must_use]
    pub const fn last(&self) -> Option<f64> {
        match self {
            Self::Counts(counts) => counts.last,
            Self::Values(values) | Self::Distribution(values, _) => Some(values.last),
        }
    }

    /// The same of a counter, without the value that it shows.
    #[must_use]
    pub fn without_last(self) -> Self {
        match self {
            Self::Counts(counts) => Self::Counts(Counts { last: None, ..counts }),
            Self::Values(_) | Self::Distribution(..) => self,
        }
    }

    /// This window and the `later` one as a single window.
    ///
    /// A gauge that becomes a counter is a counter from then on, so a window in which both occur is
    /// a counter's; before both goes a distribution, which only the configuration makes.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        match (self, later) {
            (Self::Distribution(a, mut spread), Self::Distribution(b, more)) => {
                Arc::make_mut(&mut spread).merge(&more);
                Self::Distribution(a.then(b), spread)
            }
            (one @ Self::Distribution(..), _) | (_, one @ Self::Distribution(..)) => one,
            (Self::Counts(a), Self::Counts(b)) => Self::Counts(a.then(b)),
            (Self::Values(a), Self::Values(b)) => Self::Values(a.then(b)),
            (counts @ Self::Counts(_), Self::Values(_))
            | (Self::Values(_), counts @ Self::Counts(_)) => counts,
        }
    }
}

impl Counts {
    /// One base window.
    #[must_use]
    pub fn base(sum: u64, count: u64, last: Option<f64>) -> Self {
        Self { sum, count, touched: 1, min: sum, max: sum, last }
    }

    /// This window and the `later` one as a single window.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            sum: self.sum.saturating_add(later.sum),
            count: self.count.saturating_add(later.count),
            touched: self.touched.saturating_add(later.touched),
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            last: later.last,
        }
    }
}

impl Values {
    /// One base window.
    #[must_use]
    pub const fn of(observed: &Observed) -> Self {
        let Observed { count, sum, min, max, last } = *observed;
        Self { sum, count, min, max, last }
    }

    /// This window and the `later` one as a single window.
    #[must_use]
    pub fn then(self, later: Self) -> Self {
        Self {
            sum: self.sum + later.sum,
            count: self.count.saturating_add(later.count),
            min: self.min.min(later.min),
            max: self.max.max(later.max),
            last: later.last,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::{Gathering, Layout};
    use proptest::prelude::*;

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), prop::option::of(-1e3..1e3))
                .prop_map(|(sum, count, last)| Record::Counts(Counts::base(sum, count, last))),
            // Whole numbers, so that sums are exact in any order.
            (-1000..1000_i32, 1..9_u64).prop_map(|(value, count)| {
                let value = f64::from(value);
                Record::Values(Values { sum: value, count, min: value, max: value, last: value })
            }),
            prop::collection::vec(0..1000_u32, 1..5).prop_map(|values| {
                let mut spread = Gathering::new(Layout::new(2, 1.0, 500.0).unwrap());
                let mut all = None;
                for value in values {
                    let value = f64::from(value);
                    spread.record(value);
                    let one = Values { sum: value, count: 1, min: value, max: value, last: value };
                    all = Some(all.map_or(one, |all: Values| all.then(one)));
                }
                Record::Distribution(all.unwrap(), Arc::new(spread.finish()))
            }),
        ]
    }

    proptest! {
        #[test]
        fn merging_is_associative(a in record(), b in record(), c in record()) {
            let left = a.clone().then(b.clone()).then(c.clone());
            prop_assert_eq!(left, a.then(b.then(c)));
        }
    }
}
