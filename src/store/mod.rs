//! Closed windows, the catalogue of series, and when tallyd was up.
//!
//! What is kept lies behind [`Store`], a seam of a few methods, so that another engine can take redb's
//! place. A store answers what it was given, exactly; it knows nothing of measures or rules.

mod blocks;
mod catalogue;
pub mod checkpoint;
pub mod codec;
mod copy;
mod coverage;
mod edit;
mod extent;
mod facts;
#[cfg(test)]
mod garbled;
mod group;
mod imported;
mod keep;
mod left;
mod marks;
mod pieces;
mod redb_store;
mod seal;
pub mod seam;
mod tick_log;
mod windows;

pub use catalogue::{Catalogue, Counted, Known};
pub use checkpoint::Checkpoint;
pub use copy::{Copy, Totals};
pub use coverage::Coverage;
pub use edit::{Edit, EditError};
pub use extent::Extent;
pub use facts::{Facts, Table};
pub use group::{Group, GroupBuilder, GroupError};
pub use imported::{Import, Imported};
pub use keep::{Job, Keeper};
pub use left::Left;
pub use marks::{Mark, TierChange};
pub use redb_store::RedbStore;
pub use seal::Seal;
pub use seam::{MemoryStore, Store, StoreError};
pub use tick_log::{LogRecord, TickLog};
pub use windows::{Remaking, Windows};

use crate::config::Tier;
use crate::time::Span;

/// Why windows cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The engine says so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A group of chunks is not as it was written.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// A chunk in a group that is.
    #[error(transparent)]
    Chunk(#[from] codec::Garbled),
    /// Chunks that do not become one.
    #[error(transparent)]
    Merge(#[from] codec::EncodeError),
}

/// The finest tier that keeps windows for at least `age`; the coarsest where none does.
#[must_use]
pub fn tier_for(tiers: &[Tier], age: Span) -> usize {
    tiers.iter().position(|tier| tier.keep >= age).unwrap_or(tiers.len().saturating_sub(1))
}
