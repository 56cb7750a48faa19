//! What a measure of some series was over a while, as a picture: of a rule or one of its instances, or of
//! series that somebody names.
//!
//! The windows come from a copy that no tick waits for; under the lock that a tick wants, series are
//! looked up and no more. A picture that would look at more than [`limits::CHART_COST`] windows gets
//! fewer points, or is refused. A rule that judges a change is drawn as what it compares: the values
//! and those of the earlier time, with its thresholds between them.

use std::sync::Arc;

use super::{Engine, Past, TooMuch};
use crate::chart::{Chart, Points, Reference};
use crate::config::{Against, Change, Measure, Per, Rule, Tier};
use crate::limits;
use crate::notify::message::title;
use crate::notify::{About, Compared, Deploy, Notice, deploys};
use crate::query::{Facts, Group, Observation, Question, Range, Side};
use crate::rollup::SeriesId;
use crate::rules::wording::{number, reference};
use crate::rules::{Active, wording};
use crate::series::Pattern;
use crate::store::tier_for;
use crate::time::{Span, Timestamp, Window};

/// Points in one picture: about one for each two of its dots.
const POINTS: u64 = 240;

/// With fewer points than this a picture says nothing.
const POINTS_MIN: u64 = 40;

/// Finding the windows of one series for one point costs about as much as looking at so many: they
/// are found by bisection.
const FINDING: u64 = 8;

/// A question with its series and the words around it.
#[derive(Clone, Debug)]
pub struct Drawing {
    title: String,
    unit: String,
    pattern: Pattern,
    /// Whether there is no picture where there is no such series.
    must_be_known: bool,
    /// What the measure is divided by.
    over: Option<Pattern>,
    /// The tags of a rule, and their values in the instance that is drawn; without them all series together.
    by: Vec<String>,
    group: Group,
    question: Question,
    /// What fires.
    marks: Vec<f64>,
}

/// Why there is no picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPicture {
    /// The pattern means too much.
    #[error(transparent)]
    TooMuch(#[from] TooMuch),
    /// One series was named, and it is not known.
    #[error("there is no such series")]
    Unknown,
    /// To look at all windows would take too long.
    #[error("{0} are too many series for one picture; name fewer")]
    TooLong(u64),
}

impl Drawing {
    /// A rule: of all its series together, or of one instance.
    #[must_use]
    pub fn of_rule(active: &Active, group: Option<&Group>) -> Self {
        let rule = active.rule();
        let limits = [rule.warning, rule.critical];
        let labels = group.map_or_else(Vec::new, |group| active.labels(group));
        let over = rule.over.as_ref().map_or_else(String::new, |over| format!(" ÷ {over}"));
        let name = title(&rule.name, &labels);
        Self {
            title: format!("{name}: {} of {}{over}", rule.measure.name(), rule.series),
            unit: match rule.measure {
                _ if rule.over.is_some() => format!("over {}", rule.window),
                Measure::Rate => format!("per {}", rule.per.name()),
                _ => format!("over {}", rule.window),
            },
            pattern: rule.series.clone(),
            must_be_known: false,
            over: rule.over.clone(),
            by: if group.is_some() { rule.by.clone() } else { Vec::new() },
            group: group.cloned().unwrap_or_default(),
            question: active.question().clone(),
            marks: limits.into_iter().flatten().map(|limit| limit.value).collect(),
        }
    }

    /// A measure of all series that a pattern means; where it is but a name, there has to be one.
    #[must_use]
    pub fn of_series(pattern: Pattern, measure: Measure, per: Per, window: Span) -> Self {
        let (change, marks) = (Change::Percent, Vec::new());
        Self {
            title: format!("{} of {pattern}", measure.name()),
            unit: match measure {
                Measure::Rate => format!("per {}", per.name()),
                _ => format!("over {window}"),
            },
            question: Question {
                measure,
                per,
                window,
                against: None,
                zone: None,
                change,
                floor: None,
            },
            must_be_known: pattern.is_name_only() && pattern.exact_name().is_some(),
            pattern,
            over: None,
            by: Vec::new(),
            group: Group::new(),
            marks,
        }
    }

    /// The question without what it is compared with.
    fn plain(&self) -> Question {
        Question { against: None, floor: None, ..self.question.clone() }
    }
}

impl Engine {
    /// The picture of a stretch of time that ends at `end`, or now.
    ///
    /// # Errors
    /// [`NoPicture`], where it would take too long, or is of nothing.
    pub fn draw(
        &self,
        drawing: &Drawing,
        span: Span,
        end: Option<Timestamp>,
    ) -> Result<Chart, NoPicture> {
        let sides = Sides::of(self, drawing)?;
        if drawing.must_be_known && sides.series() == 0 {
            return Err(NoPicture::Unknown);
        }
        let past = &sides.part.past;
        let step = step(&drawing.question, span, past.windows.tiers(), sides.series())?;
        let end = end.unwrap_or(past.closed).min(past.closed).align_down(step);
        // Whole steps, so that points lie where windows of the tier begin.
        let steps = (span.as_millis() / step.as_millis().max(1)).max(1);
        let span = Span::from_millis(step.as_millis().saturating_mul(steps));
        let range = Range { span: Window::ending(end, span), step, now: past.closed };
        let points = sides.points(&drawing.plain(), range);
        let earlier = drawing.question.against.map(|against| {
            (sides.earlier(&drawing.question, against, range), drawing.question.change)
        });
        let (marks, moving_marks, reference) = match (earlier, drawing.question.against) {
            (Some((earlier, change)), Some(against)) => {
                let moving = drawing.marks.iter().map(|mark| moved(&earlier, change, *mark));
                let name = reference(against, drawing.question.window);
                (Vec::new(), moving.collect(), Some(Reference { name, points: earlier }))
            }
            _ => (drawing.marks.clone(), Vec::new(), None),
        };
        let first = points.first().map_or(end, |(at, _)| *at);
        let deploys = self.state().deploys.of(first, end);
        let events = deploys.into_iter().map(|deploy| (deploy.at, deploy.what)).collect();
        let (title, unit) = (drawing.title.clone(), drawing.unit.clone());
        Ok(Chart { title, unit, points, reference, marks, moving_marks, events })
    }

    /// What a notice is about, as the rule has it now; `None` where the rule is another one by now.
    #[must_use]
    pub fn drawing_of(&self, notice: &Notice) -> Option<(Drawing, Arc<Rule>)> {
        let state = self.state();
        let active = state.rules.get(&notice.rule.name)?;
        if About::of(active.rule()) != *notice.rule {
            return None;
        }
        let group: Group = notice.labels.iter().map(|(_, value)| value.clone()).collect();
        Some((Drawing::of_rule(active, Some(&group)), Arc::clone(active.rule())))
    }

    /// What was put into use shortly before an incident, or since; the latest first.
    #[must_use]
    pub fn deploys_around(&self, opened: Timestamp, now: Timestamp) -> Vec<Deploy> {
        self.state().deploys.of(opened - deploys::RECENT, now)
    }

    /// What a rule that judges a change compared at an instant; `None` for other rules, and where it
    /// cannot be told any more.
    #[must_use]
    pub fn compared(&self, drawing: &Drawing, rule: &Rule, at: Timestamp) -> Option<Compared> {
        let against = drawing.question.against?;
        let sides = Sides::of(self, drawing).ok()?;
        let tiers = sides.part.past.windows.tiers();
        if sides.series().saturating_mul(cost(&drawing.question, tiers)) > limits::CHART_COST {
            return None;
        }
        let at = at.min(sides.part.past.closed);
        let plain = Rule { against: None, ..rule.clone() };
        let say = |value| match rule.over {
            Some(_) => number(value),
            None => wording::value(&plain, value),
        };
        let question = drawing.plain();
        let now = sides.ask(&question, at);
        let then = sides.ask(&question, drawing.question.reference_end(against, at));
        Some(Compared {
            now: say(value_of(now)?),
            then: say(value_of(then)?),
            when: reference(against, rule.window),
        })
    }
}

/// A threshold of a change, beside the values that it is a change of.
fn moved(earlier: &Points, change: Change, mark: f64) -> Points {
    let moved = |value: f64| match change {
        Change::Percent => value * (1.0 + mark / 100.0),
        Change::Absolute => value + mark,
    };
    earlier.iter().map(|(at, value)| (*at, value.map(moved))).collect()
}

/// The series of a drawing, with a copy of what is known of them.
struct Sides {
    part: Gathered,
    whole: Option<Gathered>,
}

struct Gathered {
    past: Past,
    series: Vec<SeriesId>,
}

impl Sides {
    fn of(engine: &Engine, drawing: &Drawing) -> Result<Self, TooMuch> {
        let part = Gathered::of(engine, &drawing.pattern, drawing)?;
        let over = drawing.over.as_ref();
        let whole = over.map(|over| Gathered::of(engine, over, drawing)).transpose()?;
        Ok(Self { part, whole })
    }

    fn series(&self) -> u64 {
        (self.part.series.len() + self.whole.as_ref().map_or(0, |whole| whole.series.len())) as u64
    }

    /// The values along a range.
    fn points(&self, question: &Question, range: Range) -> Points {
        let Gathered { past, series } = &self.part;
        if self.whole.is_some() {
            return range.instants().map(|at| (at, value_of(self.ask(question, at)))).collect();
        }
        let seen = range.ask(question, &past.windows, &past.facts, series);
        seen.into_iter().map(|(at, observation)| (at, value_of(observation))).collect()
    }

    /// The values that are compared with, as far as there was anything then.
    fn earlier(&self, question: &Question, against: Against, range: Range) -> Points {
        let Gathered { past, series } = &self.part;
        let born = series.iter().map(|id| past.facts.of(*id).born()).min();
        let plain = Question { against: None, floor: None, ..question.clone() };
        let value = |at| {
            let then = question.reference_end(against, at);
            let was_there = born.is_some_and(|born| then - question.window >= born);
            if was_there { value_of(self.ask(&plain, then)) } else { None }
        };
        range.instants().map(|at| (at, value(at))).collect()
    }

    /// What is known at an instant.
    fn ask(&self, question: &Question, at: Timestamp) -> Observation {
        let Gathered { past, series } = &self.part;
        let back = past.closed.since(at);
        match &self.whole {
            None => question.ask_back(&past.windows, &past.facts, series, at, back),
            Some(whole) => {
                question.ask_share(&past.windows, self.part.side(), whole.side(), at, back)
            }
        }
    }
}

impl Gathered {
    fn of(engine: &Engine, pattern: &Pattern, drawing: &Drawing) -> Result<Self, TooMuch> {
        let groups = if drawing.by.is_empty() { 1 } else { limits::RULE_INSTANCES };
        let past = engine.past(pattern, &drawing.by, limits::MEASURE_SERIES, groups)?;
        let of_it = past.groups.iter().filter(|(group, _)| *group == drawing.group);
        let series = of_it.flat_map(|(_, ids)| ids).copied().collect();
        Ok(Self { past, series })
    }

    fn side(&self) -> Side<'_> {
        Side { series: &self.series, facts: &self.past.facts }
    }
}

fn value_of(observation: Observation) -> Option<f64> {
    match observation {
        Observation::Value { value, .. } if value.is_finite() => Some(value),
        _ => None,
    }
}

/// The time from one point to the next: as many points as the picture shows, or as can be had at
/// its price, on a step that the tier has.
fn step(question: &Question, span: Span, tiers: &[Tier], series: u64) -> Result<Span, NoPicture> {
    let each = series.saturating_mul(cost(question, tiers)).max(1);
    let wanted = (limits::CHART_COST / each).clamp(POINTS_MIN, POINTS);
    let reach = question.against.map_or(Span::ZERO, |against| question.reach(against));
    let age = span.plus(question.window).plus(reach);
    let base = tiers.get(tier_for(tiers, age)).map_or(Span::SECOND, |tier| tier.window);
    let steps = (span.as_millis() / wanted).div_ceil(base.as_millis()).max(1);
    let step = Span::from_millis(steps.saturating_mul(base.as_millis()));
    let points = span.as_millis() / step.as_millis();
    if points.saturating_mul(each) > limits::CHART_COST {
        return Err(NoPicture::TooLong(series));
    }
    Ok(step)
}

/// Windows that one point looks at in each series; those of a reference are as many again.
fn cost(question: &Question, tiers: &[Tier]) -> u64 {
    // A question is answered from the finest tier that keeps its window.
    let tier = tiers.get(tier_for(tiers, question.window));
    let width = tier.map_or(Span::SECOND, |tier| tier.window);
    let windows = FINDING + question.window.as_millis() / width.as_millis().max(1);
    if question.against.is_some() { 2 * windows } else { windows }
}

#[cfg(test)]
mod tests;
