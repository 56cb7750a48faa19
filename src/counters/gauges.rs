//! What a gauge was set to, or a distribution observed, in the open base window.

use crate::histogram::{Gathering, Layout, Sketch};

/// The values that a gauge was set to in one base window, or the observations of a distribution.
/// Never empty.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// How many.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The last.
    pub last: f64,
}

/// An [`Observed`], and of what.
#[derive(Clone, Debug, PartialEq)]
pub enum Observations {
    /// Of a gauge.
    Gauge(Observed),
    /// Of a distribution, and how they were spread.
    Distribution(Observed, Sketch),
}

impl Observed {
    fn of(value: f64, weight: u32) -> Self {
        // Rounded once, where as many additions would be rounded each.
        let sum = value * f64::from(weight);
        Self { count: weight.into(), sum, min: value, max: value, last: value }
    }

    /// Adds what came later.
    fn then(&mut self, later: &Self) {
        self.count = self.count.saturating_add(later.count);
        self.sum += later.sum;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.last = later.last;
    }
}

/// The open base window of one gauge or distribution.
#[derive(Debug)]
pub(super) struct Open {
    observed: Observed,
    /// Of a distribution.
    spread: Option<Gathering>,
}

impl Open {
    /// A window that one value has opened, which stands for `weight` of them; `layout` is that of a
    /// distribution. Whether the value lies inside the layout's range.
    pub(super) fn new(layout: Option<Layout>, value: f64, weight: u32) -> (Self, bool) {
        let spread = layout.map(Gathering::new);
        let mut open = Self { observed: Observed::of(value, weight), spread };
        let inside = open.spread(value, weight);
        (open, inside)
    }

    /// Adds a value that stands for `weight` of them; whether it lies inside the layout's range.
    pub(super) fn add(&mut self, value: f64, weight: u32) -> bool {
        self.observed.then(&Observed::of(value, weight));
        self.spread(value, weight)
    }

    fn spread(&mut self, value: f64, weight: u32) -> bool {
        let spread = self.spread.as_mut();
        spread.is_none_or(|spread| spread.record_many(value, weight.into()))
    }

    /// Adds what came later.
    pub(super) fn then(&mut self, later: Self) {
        self.observed.then(&later.observed);
        match (&mut self.spread, later.spread) {
            (Some(spread), Some(more)) => spread.add(&more.finish()),
            (spread @ None, more) => *spread = more,
            (Some(_), None) => {}
        }
    }

    /// What was gathered.
    pub(super) fn finish(self) -> Observations {
        match self.spread {
            Some(spread) => Observations::Distribution(self.observed, spread.finish()),
            None => Observations::Gauge(self.observed),
        }
    }
}
