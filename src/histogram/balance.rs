//! A histogram that others are added to and taken away from again: that of a sliding window.
//!
//! Ranges that became empty stay until they are half of all, so that what comes and goes costs no moving
//! about.

use super::{Bucket, Layout, Sketch, ranked};

/// What was added less what was taken away, in one layout.
#[derive(Clone, Debug)]
pub struct Balance {
    layout: Layout,
    /// In order of index, each once; some are empty.
    buckets: Vec<Bucket>,
    empty: usize,
}

impl Balance {
    /// Nothing yet.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout, buckets: Vec::new(), empty: 0 }
    }

    /// Its ranges.
    #[must_use]
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether nothing is left.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.buckets.len() == self.empty
    }

    /// What it takes in memory beside itself.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.buckets.capacity() * size_of::<Bucket>()
    }

    /// Adds a histogram of the same layout.
    pub fn add(&mut self, other: &Sketch) {
        self.add_buckets(&other.buckets);
    }

    /// Adds what another one of the same layout holds.
    pub fn add_all(&mut self, other: &Self) {
        self.add_buckets(&other.buckets);
    }

    fn add_buckets(&mut self, others: &[Bucket]) {
        let mut from = 0;
        for other in others {
            let rest = self.buckets.get(from..).unwrap_or_default();
            from += rest.partition_point(|bucket| bucket.index < other.index);
            match self.buckets.get_mut(from).filter(|bucket| bucket.index == other.index) {
                Some(bucket) => {
                    self.empty -= usize::from(bucket.count == 0 && other.count > 0);
                    bucket.count = bucket.count.saturating_add(other.count);
                }
                None if other.count == 0 => {}
                None => self.buckets.insert(from, *other),
            }
        }
    }

    /// Takes away what was added.
    pub fn take(&mut self, other: &Sketch) {
        let mut from = 0;
        for other in &other.buckets {
            let rest = self.buckets.get(from..).unwrap_or_default();
            from += rest.partition_point(|bucket| bucket.index < other.index);
            let found = self.buckets.get_mut(from);
            let Some(bucket) = found.filter(|bucket| bucket.index == other.index) else { continue };
            let before = std::mem::replace(&mut bucket.count, 0);
            bucket.count = before.saturating_sub(other.count);
            self.empty += usize::from(before > 0 && bucket.count == 0);
        }
        if self.empty > 16 && self.empty * 2 > self.buckets.len() {
            self.buckets.retain(|bucket| bucket.count > 0);
            self.buckets.shrink_to(self.buckets.len() * 2);
            self.empty = 0;
        }
    }

    /// As [`Sketch::quantile`] has it.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<f64> {
        ranked(&self.layout, &self.buckets, quantile)
    }
}
