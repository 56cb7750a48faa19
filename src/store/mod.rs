//! Closed windows, the catalogue of series, and when tallyd was up.
//!
//! Behind the [`Store`] trait, so that the engine on disk can take the place of the one in memory.
//! A store answers what it was given, exactly; it knows nothing of measures or rules.

mod catalogue;
pub mod codec;
mod coverage;
mod group;
mod memory;

pub use catalogue::{Catalogue, Known};
pub use coverage::Coverage;
pub use group::{Group, GroupBuilder, GroupError};
pub use memory::MemoryStore;

use crate::config::Tier;
use crate::rollup::{Record, Row, SeriesId};
use crate::time::{Span, Timestamp, Window};

/// Where closed windows go.
pub trait Store: Send + std::fmt::Debug {
    /// The tiers it keeps, from fine to coarse.
    fn tiers(&self) -> &[Tier];

    /// Keeps a closed window of a tier. Windows of one tier come in order of time.
    fn append(&mut self, tier: usize, row: Row);

    /// Notes that tallyd was up for all of `base`.
    fn cover(&mut self, base: Window);

    /// How much of `range` is known in a tier: tallyd was up, and the windows are still kept.
    fn covered(&self, tier: usize, range: Window) -> Span;

    /// Hands the records of the windows that begin inside `range` to `each`, in order of time.
    fn read(
        &self,
        tier: usize,
        series: SeriesId,
        range: Window,
        each: &mut dyn FnMut(Window, &Record),
    );

    /// The last record of a tier that ends at or before `instant`, however old.
    fn last_before(&self, tier: usize, series: SeriesId, instant: Timestamp) -> Option<Record>;

    /// Drops what is older than its tier keeps.
    fn expire(&mut self, now: Timestamp);

    /// Records that are held, over all tiers and series.
    fn records(&self) -> usize;

    /// Records that were dropped before their time for want of room.
    fn dropped(&self) -> u64;
}

/// The finest tier that keeps windows for at least `age`; the coarsest where none does.
#[must_use]
pub fn tier_for(tiers: &[Tier], age: Span) -> usize {
    tiers.iter().position(|tier| tier.keep >= age).unwrap_or(tiers.len().saturating_sub(1))
}
