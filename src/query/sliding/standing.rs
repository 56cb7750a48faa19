//! A question with the series that it is asked of, group by group, and the windows of each group.

use super::{Kept, Plan, Watch};
use crate::query::measure::View;
use crate::query::{Facts, Group, Observation, Question, Selection, Side, TooManyGroups};
use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::store::{Catalogue, Windows};
use crate::time::{Span, Timestamp};

/// See the module.
#[derive(Debug)]
pub struct Standing {
    question: Question,
    selection: Selection,
    /// `None` where it is asked each time.
    plan: Option<Plan>,
    /// The slots of each group, in the order of the plan; groups in the order of first sight.
    slots: Vec<u32>,
}

impl Standing {
    /// A question about the series of a pattern; none is known yet.
    #[must_use]
    pub fn new(
        question: Question,
        pattern: Pattern,
        by: Vec<String>,
        groups_max: usize,
        watch: &mut Watch,
    ) -> Self {
        let plan = watch.plan(&question);
        let selection = Selection::new(pattern, by, groups_max);
        Self { question, selection, plan, slots: Vec::new() }
    }

    /// As it was when it was new: the windows of the past have changed, or what is known of its series.
    pub fn start_over(&mut self, watch: &mut Watch) {
        let (pattern, by) = (self.pattern().clone(), self.selection.by().to_vec());
        let groups_max = self.selection.groups_max();
        *self = Self::new(self.question.clone(), pattern, by, groups_max, watch);
    }

    /// What is asked.
    #[must_use]
    pub fn question(&self) -> &Question {
        &self.question
    }

    /// The pattern of its series.
    #[must_use]
    pub fn pattern(&self) -> &Pattern {
        self.selection.pattern()
    }

    /// Takes in all series that there are and that it does not know.
    pub fn refresh(&mut self, catalogue: &Catalogue, watch: &mut Watch) {
        let new: Vec<_> = catalogue.matching(self.pattern(), self.selection.seen()).collect();
        for id in new {
            self.add(catalogue, id, watch);
        }
        self.selection.have_seen(catalogue.len());
    }

    /// Takes in a series that it may be about.
    pub fn offer(&mut self, catalogue: &Catalogue, id: SeriesId, watch: &mut Watch) {
        if self.pattern().matches_key(catalogue.key(id)) {
            self.add(catalogue, id, watch);
        }
    }

    fn add(&mut self, catalogue: &Catalogue, id: SeriesId, watch: &mut Watch) {
        let Some(place) = self.selection.add(catalogue, id) else { return };
        let Some(plan) = &self.plan else { return };
        let first = place * plan.len();
        while self.slots.len() < first + plan.len() {
            for track in plan.tracks() {
                let track = watch.tracks.get_mut(track);
                self.slots.push(track.map_or(u32::MAX, |track| track.begin(self.question.measure)));
            }
        }
        for (track, slot) in plan.tracks().zip(self.slots.iter().skip(first)) {
            if let Some(track) = watch.tracks.get_mut(track) {
                track.join(*slot, id, catalogue);
            }
        }
    }

    /// The groups with their places, in order of the groups.
    pub fn groups(&self) -> impl Iterator<Item = (&Group, usize)> {
        self.selection.places()
    }

    /// The place of a group.
    #[must_use]
    pub fn place(&self, group: &Group) -> Option<usize> {
        self.selection.place(group)
    }

    /// The series of a group.
    #[must_use]
    pub fn members(&self, place: usize) -> &[SeriesId] {
        self.selection.members(place)
    }

    /// Whether no series matches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.complete().is_ok() && self.groups().all(|(_, place)| self.members(place).is_empty())
    }

    /// Whether every series found its group.
    ///
    /// # Errors
    /// [`TooManyGroups`] where some did not.
    pub fn complete(&self) -> Result<(), TooManyGroups> {
        self.selection.complete()
    }

    /// What is known of a group at `instant`, to which the windows were moved: what
    /// [`Question::ask`] says.
    #[must_use]
    pub fn observe(
        &self,
        watch: &Watch,
        store: &Windows,
        facts: &dyn Facts,
        place: usize,
        instant: Timestamp,
    ) -> Observation {
        let series = self.members(place);
        let view = View { store, facts, series, question: &self.question, now: instant };
        let kept = self.kept(place).and_then(|kept| watch.observe(kept, &view));
        kept.unwrap_or_else(|| self.question.ask(store, facts, series, instant))
    }

    /// The same divided by what is known of the same group of the series that `over` is about:
    /// [`Question::ask_share`].
    #[must_use]
    pub fn observe_share(
        &self,
        over: &Self,
        watch: &Watch,
        store: &Windows,
        facts: &dyn Facts,
        group: &Group,
        instant: Timestamp,
    ) -> Observation {
        let (part, whole) = (self.place(group), over.place(group));
        let view = |series| View { store, facts, series, question: &self.question, now: instant };
        if let (Some(part), Some(whole)) = (part, whole)
            && let (Some(a), Some(b)) = (self.kept(part), over.kept(whole))
            && let (a_view, b_view) = (view(self.members(part)), view(over.members(whole)))
            && let Some(share) = watch.observe_share((a, &a_view), (b, &b_view))
        {
            return share;
        }
        let part = part.map_or(&[][..], |place| self.members(place));
        let whole = whole.map_or(&[][..], |place| over.members(place));
        let side = |series| Side { series, facts };
        self.question.ask_share(store, side(part), side(whole), instant, Span::ZERO)
    }

    /// Whether the windows of a group are kept, so that it need not be asked.
    #[must_use]
    pub fn is_kept(&self, watch: &Watch, place: usize) -> bool {
        self.kept(place).is_some_and(|kept| watch.are_sound(&kept.plan.now, kept.slots))
    }

    fn kept(&self, place: usize) -> Option<Kept<'_>> {
        let plan = self.plan.as_ref().filter(|_| !self.members(place).is_empty())?;
        let first = place * plan.len();
        Some(Kept { plan, slots: self.slots.get(first..first + plan.len())? })
    }
}
