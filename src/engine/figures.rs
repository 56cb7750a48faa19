//! What every series comes to at this moment: totals, gauges, observations.
//!
//! They are handed out in parts, so that neither the lock is held nor room taken for all of them at once. A
//! series keeps its id, so who has seen it in one part asks for it again by that.

use super::{Engine, Figure, FigureValue, State};
use crate::counters::cells::Kind;
use crate::rollup::SeriesId;

impl Engine {
    /// The figures of the series from the `seen`-th to before the `seen + most`-th in order of first sight, of
    /// those that have any; `None` once there are no such series. The lock is held for these alone.
    #[must_use]
    pub fn figures_since(&self, seen: usize, most: usize) -> Option<Vec<Figure<'_>>> {
        let state = self.state();
        let part = state.catalogue.since(seen).take(most);
        (seen < state.catalogue.len())
            .then(|| part.filter_map(|id| self.figure(&state, id)).collect())
    }

    /// The figures of these series, of those that have any still.
    #[must_use]
    pub fn figures_of(&self, ids: &[SeriesId]) -> Vec<Figure<'_>> {
        let state = self.state();
        ids.iter().filter_map(|id| self.figure(&state, *id)).collect()
    }

    fn figure(&self, state: &State, id: SeriesId) -> Option<Figure<'_>> {
        let known = state.catalogue.get(id);
        let value = match known.kind {
            Kind::Counter => FigureValue::Total(self.counters.totals(known.cell()?).0),
            Kind::Gauge => FigureValue::Gauge(known.last()?),
            Kind::Distribution => {
                let (count, sum) = self.counters.observed(known.cell()?);
                FigureValue::Observed { count, sum }
            }
        };
        let metric = known.cell().and_then(|cell| self.counters.metric(cell));
        Some(Figure { id, series: state.catalogue.series(id), value, metric })
    }
}
