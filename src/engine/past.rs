//! A copy of what a long reading needs, so that no tick waits for it.
//!
//! Closed windows are shared and stay as they are; of the series that are asked about, it is copied
//! what is known of them. The lock is held while they are looked up, and no longer.

use super::Engine;
use crate::query::{Group, Selected, Selection, TooManyGroups};
use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::store::Windows;
use crate::time::Timestamp;

/// Some series and all closed windows, as they were after one tick.
#[derive(Debug)]
pub struct Past {
    /// Closed windows.
    pub windows: Windows,
    /// What is known of the series.
    pub facts: Selected,
    /// The series by the values of the tags that were asked for; without tags all in one group.
    pub groups: Vec<(Group, Vec<SeriesId>)>,
    /// The end of the last closed base window.
    pub closed: Timestamp,
}

/// Why there is no such copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooMuch {
    /// The pattern means more series than allowed.
    #[error("it means more than {max} series; name fewer")]
    Series {
        /// How many are allowed.
        max: usize,
    },
    /// They are of more combinations of tags than allowed.
    #[error(transparent)]
    Groups(#[from] TooManyGroups),
}

impl Engine {
    /// The series that a pattern means, split by these tags, with all windows.
    ///
    /// # Errors
    /// [`TooMuch`], where there are more than so many series or groups.
    pub fn past(
        &self,
        pattern: &Pattern,
        by: &[String],
        series_max: usize,
        groups_max: usize,
    ) -> Result<Past, TooMuch> {
        let state = self.state();
        let catalogue = &state.catalogue;
        let mut selection = Selection::new(pattern.clone(), by.to_vec(), groups_max);
        if !selection.take_first(catalogue, series_max) {
            return Err(TooMuch::Series { max: series_max });
        }
        selection.complete()?;
        let groups: Vec<_> =
            selection.groups().map(|(group, ids)| (group.clone(), ids.to_vec())).collect();
        let ids = groups.iter().flat_map(|(_, ids)| ids.iter().copied());
        let facts = Selected::of(catalogue, ids);
        Ok(Past { facts, windows: state.windows.clone(), closed: state.closed, groups })
    }
}
