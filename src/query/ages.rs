//! How long ago some series were last updated, seen from instants of the past.
//!
//! Live the catalogue knows the last update of a series. Of the past the windows tell: an update is known by
//! the end of the window that holds it, so an age comes out too young by up to the width of the windows that are
//! kept of its time, and exact where these are base windows.

use super::measure::unreadable;
use super::{Facts, Observation};
use crate::config::Measure;
use crate::rollup::SeriesId;
use crate::store::{ReadError, Windows, tier_for};
use crate::time::{Span, Timestamp, Window};

/// How far back the last update is looked for at first; then eight times as far, and so on.
const FIRST_LOOK: Span = Span::from_secs(64);

/// Some series together, and where their updates are found.
#[derive(Clone, Copy)]
pub struct Ages<'a> {
    /// All windows.
    pub store: &'a Windows,
    /// What is known of the series.
    pub facts: &'a dyn Facts,
    /// The series.
    pub series: &'a [SeriesId],
    /// The end of the last closed base window: what is older lies in coarser tiers.
    pub now: Timestamp,
}

impl Ages<'_> {
    /// The age at each of the instants, which are in order, from the windows of a tier that holds all of
    /// their time; [`Observation::NeverSeen`] before the first birth.
    #[must_use]
    pub fn ask(&self, tier: usize, instants: &[Timestamp]) -> Vec<Observation> {
        let updates = match self.updates(tier, instants) {
            Ok(updates) => updates,
            Err(error) => return vec![unreadable(&error).judge(Measure::Age); instants.len()],
        };
        let age = |(instant, update): (&Timestamp, Option<Timestamp>)| {
            update.map_or(Observation::NeverSeen, |update| Observation::Value {
                value: instant.since(update).as_secs_f64(),
                covered: 1.0,
            })
        };
        instants.iter().zip(updates).map(age).collect()
    }

    /// The last update that was known at each of the instants.
    fn updates(
        &self,
        tier: usize,
        instants: &[Timestamp],
    ) -> Result<Vec<Option<Timestamp>>, ReadError> {
        let (Some(first), Some(last)) = (instants.first(), instants.last()) else {
            return Ok(Vec::new());
        };
        let mut latest = vec![None; instants.len()];
        let mut note = |place: usize, update: Option<Timestamp>| {
            if let Some(known) = latest.get_mut(place) {
                *known = update.max(*known);
            }
        };
        note(0, self.before(tier, *first)?);
        let range = Window { start: *first, end: *last };
        for id in self.series {
            let born = self.facts.of(*id).born();
            // It was known at the end of the window in which it was born.
            note(instants.partition_point(|instant| *instant <= born), Some(born));
            self.store.read(tier, *id, range, |window, _| {
                let place = instants.partition_point(|instant| *instant < window.end);
                note(place, Some(window.end));
            })?;
        }
        let mut known = None;
        for update in &mut latest {
            known = known.max(*update);
            *update = known;
        }
        Ok(latest)
    }

    /// The last update at an instant or before, from this tier as far as it goes, and from coarser ones.
    fn before(&self, tier: usize, instant: Timestamp) -> Result<Option<Timestamp>, ReadError> {
        let births = self.series.iter().map(|id| self.facts.of(*id).born());
        let Some(born) = births.min().filter(|born| *born < instant) else { return Ok(None) };
        let mut back = FIRST_LOOK;
        loop {
            let age = self.now.since(instant).plus(back);
            let coarsest = tier_for(self.store.tiers(), age).max(tier);
            let range = Window { start: instant - back, end: instant };
            let mut last = None;
            for tier in tier..=coarsest {
                for id in self.series {
                    self.store.read(tier, *id, range, |window, _| {
                        last = last.max(Some(window.end).filter(|end| *end <= instant));
                    })?;
                }
            }
            if last.is_some() || range.start <= born {
                return Ok(last);
            }
            back = Span::from_millis(back.as_millis().saturating_mul(8));
        }
    }
}
