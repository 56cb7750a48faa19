//! Histograms as windows keep them: how often each small range of values occurred, the empty ranges
//! left out.
//!
//! The ranges are HdrHistogram's: a value is kept to a number of significant figures, whatever its
//! size, so any quantile is known to that many figures, and two histograms merge by adding. Most
//! windows hold few observations, so what is kept are sorted pairs of range and count, not the table
//! of all ranges. This module knows nothing of series and windows.
//!
//! Values are counted in units of the layout's `low`, rounded: what lies closer together than that
//! cannot be told apart. What lies outside 0 to `high` is counted at the nearer end.
//! Source of the ranges and of the interchange form: HdrHistogram, `AbstractHistogram.java`.

mod balance;
mod codec;
#[cfg(test)]
mod tests;

pub use balance::Balance;
pub use codec::Malformed;

use crate::limits;

/// Which ranges there are.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Layout {
    digits: u8,
    low: f64,
    /// `high` in units of `low`, rounded up.
    units: u64,
}

/// Why there is no such layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// It keeps 1 to 5 significant figures.
    #[error("a histogram keeps 1 to 5 significant figures")]
    Digits,
    /// The range is empty, or its ends are no positive numbers.
    #[error("the range must be two positive numbers, the second at least twice the first")]
    Range,
    /// The ends are so far apart that units of `low` do not count up to `high` exactly.
    #[error("the ends of the range are too far apart")]
    Wide,
    /// With every range in use it would take more than [`limits::HISTOGRAM_BYTES`].
    #[error("with every range in use it would take {bytes} bytes")]
    Large {
        /// How much.
        bytes: u64,
    },
}

/// Units beyond this are not whole numbers of a double any more.
const UNITS_MAX: u64 = 1 << 53;

impl Layout {
    /// For values from `low` to `high`, with so many significant figures.
    ///
    /// # Errors
    /// [`LayoutError`], where there is no such layout or it would be too large.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "positive and at most 2^53"
    )]
    pub fn new(digits: u8, low: f64, high: f64) -> Result<Self, LayoutError> {
        let is_range = low.is_finite() && high.is_finite() && low > 0.0 && high / low >= 2.0;
        if !is_range {
            return Err(LayoutError::Range);
        }
        let units = (high / low).ceil();
        if units > UNITS_MAX as f64 {
            return Err(LayoutError::Wide);
        }
        Self::of_units(digits, low, units as u64)
    }

    fn of_units(digits: u8, low: f64, units: u64) -> Result<Self, LayoutError> {
        if !(1..=5).contains(&digits) {
            return Err(LayoutError::Digits);
        }
        if !(low.is_finite() && low > 0.0 && (2..=UNITS_MAX).contains(&units)) {
            return Err(LayoutError::Range);
        }
        let layout = Self { digits, low, units };
        let bytes = layout.bytes();
        if bytes > limits::HISTOGRAM_BYTES as u64 {
            return Err(LayoutError::Large { bytes });
        }
        Ok(layout)
    }

    /// Significant figures.
    #[must_use]
    pub const fn digits(&self) -> u8 {
        self.digits
    }

    /// The unit: the smallest value that is told apart from zero.
    #[must_use]
    pub const fn low(&self) -> f64 {
        self.low
    }

    /// What a histogram takes with every range in use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges() * size_of::<Bucket>() as u64
    }

    /// How many ranges there are.
    #[must_use]
    pub fn ranges(&self) -> u64 {
        u64::from(self.index_of_units(self.units)) + 1
    }

    /// The exponent of the number of ranges of equal width that one power of two is cut into: enough
    /// that each is narrower than the last significant figure.
    const fn half_bits(self) -> u32 {
        // ⌈log2(2 × 10^digits)⌉ − 1
        match self.digits {
            1 => 4,
            2 => 7,
            3 => 10,
            4 => 14,
            _ => 17,
        }
    }

    /// The range that a value falls into, and whether the layout reaches as far as the value.
    #[must_use]
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a conversion to an integer saturates, and the limit is below 2^53"
    )]
    pub fn place(&self, value: f64) -> (u32, bool) {
        let units = (value / self.low).round();
        let inside = units >= 0.0 && units <= self.units as f64;
        (self.index_of_units((units as u64).min(self.units)), inside)
    }

    #[expect(clippy::cast_possible_truncation, reason = "at most 53 × 2^17")]
    const fn index_of_units(self, units: u64) -> u32 {
        let half_bits = self.half_bits();
        let mask = (2 << half_bits) - 1;
        let power = (units | mask).ilog2() - half_bits;
        let within = units >> power;
        ((((power as u64) + 1) << half_bits) + within - (1 << half_bits)) as u32
    }

    /// The least and the greatest number of units in a range.
    const fn units_of_index(self, index: u32) -> (u64, u64) {
        let half_bits = self.half_bits();
        let half = 1 << half_bits;
        let (row, column) = (index >> half_bits, (index as u64) & (half - 1));
        let (power, within) = if row == 0 { (0, column) } else { (row - 1, column + half) };
        let least = within << power;
        (least, least + ((1 << power) - 1))
    }

    /// The value that stands for a range: its greatest, as in HdrHistogram.
    #[expect(clippy::cast_precision_loss, reason = "units stay below 2^54")]
    fn value(&self, index: u32) -> f64 {
        self.units_of_index(index).1 as f64 * self.low
    }

    /// The layout that the counts of both fit into: the coarser of the two in every respect.
    #[expect(clippy::cast_precision_loss, reason = "units stay below 2^54")]
    fn join(&self, other: &Self) -> Self {
        let high = (self.low * self.units as f64).max(other.low * other.units as f64);
        let (digits, low) = (self.digits.min(other.digits), self.low.max(other.low));
        // Only where the ends of the two are worlds apart is there no layout for both.
        Self::new(digits, low, high).unwrap_or(*self)
    }
}

/// A range and how often it occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Bucket {
    index: u32,
    count: u64,
}

/// A histogram: what occurred, in order.
#[derive(Clone, Debug, PartialEq)]
pub struct Sketch {
    layout: Layout,
    /// In order of index, each once, none of them zero.
    buckets: Vec<Bucket>,
}

impl Sketch {
    /// Nothing has occurred.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout, buckets: Vec::new() }
    }

    /// Its ranges.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// How many observations it holds; it saturates.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, bucket| sum.saturating_add(bucket.count))
    }

    /// Whether it holds none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// What it takes in memory beside itself.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Adds what another one holds. Of two with one layout it does not matter which is added to which,
    /// nor in which order; of two layouts the coarser is taken.
    pub fn merge(&mut self, other: &Self) {
        let mut both = Gathering::new(self.layout);
        both.buckets = std::mem::take(&mut self.buckets);
        both.add(other);
        *self = both.finish();
    }

    /// The least value that at least the share `quantile` of all observations does not exceed, to the
    /// layout's figures; `None` while there is none.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        ranked(&self.layout, &self.buckets, quantile)
    }
}

/// The value that at least a share of all observations does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count; beyond 2^53 observations the rank is rounded"
)]
fn ranked(layout: &Layout, buckets: &[Bucket], quantile: f64) -> Option<f64> {
    let count = buckets.iter().fold(0_u64, |sum, bucket| sum.saturating_add(bucket.count));
    // 0.99 × 200 is 198.00000000000003 or so of a double: that is the 198th, not the 199th.
    let rank = (quantile.clamp(0.0, 1.0) * count as f64 * (1.0 - f64::EPSILON)).ceil();
    let rank = (rank as u64).clamp(1, count.max(1));
    let mut seen: u64 = 0;
    for bucket in buckets {
        seen = seen.saturating_add(bucket.count);
        if seen >= rank {
            return Some(layout.value(bucket.index));
        }
    }
    None
}

/// Observations that wait to be put in order, so that one costs no more than a push.
const FRESH_MAX: usize = 4096;

/// A histogram that is being made.
#[derive(Clone, Debug)]
pub struct Gathering {
    layout: Layout,
    buckets: Vec<Bucket>,
    fresh: Vec<Bucket>,
}

impl Gathering {
    /// Nothing has occurred yet.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout, buckets: Vec::new(), fresh: Vec::new() }
    }

    /// Notes one observation; whether it lies inside the layout's range.
    pub fn record(&mut self, value: f64) -> bool {
        self.record_many(value, 1)
    }

    /// Notes one value that was observed so often, which is at least once. A range that holds 2^64 - 1 of them
    /// holds no more.
    pub fn record_many(&mut self, value: f64, count: u64) -> bool {
        let (index, inside) = self.layout.place(value);
        self.push(Bucket { index, count });
        inside
    }

    /// Adds a whole histogram.
    pub fn add(&mut self, other: &Sketch) {
        let joint =
            if self.layout == other.layout { self.layout } else { self.layout.join(&other.layout) };
        if joint != self.layout {
            self.convert(joint);
        }
        for bucket in &other.buckets {
            let index = if joint == other.layout {
                bucket.index
            } else {
                joint.place(other.layout.value(bucket.index)).0
            };
            self.push(Bucket { index, ..*bucket });
        }
    }

    /// What was gathered.
    #[must_use]
    pub fn finish(mut self) -> Sketch {
        self.settle();
        self.buckets.shrink_to_fit();
        Sketch { layout: self.layout, buckets: self.buckets }
    }

    fn push(&mut self, bucket: Bucket) {
        self.fresh.push(bucket);
        // In step with what is there already, so that putting in order stays cheap for each.
        if self.fresh.len() >= FRESH_MAX.max(self.buckets.len()) {
            self.settle();
        }
    }

    /// Puts everything in order. At most as many buckets are left as there are ranges.
    fn settle(&mut self) {
        if self.fresh.is_empty() {
            return;
        }
        self.fresh.append(&mut self.buckets);
        // Runs that are in order already, such as the old buckets, are found and merged.
        self.fresh.sort_by_key(|bucket| bucket.index);
        for bucket in self.fresh.drain(..) {
            match self.buckets.last_mut() {
                Some(last) if last.index == bucket.index => {
                    last.count = last.count.saturating_add(bucket.count);
                }
                _ => self.buckets.push(bucket),
            }
        }
    }

    fn convert(&mut self, layout: Layout) {
        let before = std::mem::replace(self, Self::new(layout)).finish();
        for bucket in &before.buckets {
            let (index, _) = layout.place(before.layout.value(bucket.index));
            self.push(Bucket { index, ..*bucket });
        }
    }
}
