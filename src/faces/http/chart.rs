//! `GET /chart.svg`: a measure of some series over the last while, as a picture.
//!
//! It is drawn on a blocking thread, one picture at a time, from a copy that no tick waits for; one that
//! would look at more than [`limits::CHART_COST`] windows gets fewer points, or is refused. Under the
//! lock that a tick wants, the names of all series are looked through, unless the pattern begins with a
//! whole name.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::asked::{one_of, parse, too_much};
use super::desk::Desk;
use super::{Problem, blocking};
use crate::chart::Chart;
use crate::config::{Change, Measure, Per, Tier};
use crate::engine::Past;
use crate::limits;
use crate::query::{Observation, Question, Range, Side};
use crate::rollup::SeriesId;
use crate::rules::Active;
use crate::series::Pattern;
use crate::store::tier_for;
use crate::time::{Span, Window};

/// Points in one picture: about one for each two of its dots.
const POINTS: u64 = 240;

/// With fewer points than this a picture says nothing.
const POINTS_MIN: u64 = 40;

/// Finding the windows of one series for one point costs about as much as looking at so many: they
/// are found by bisection.
const FINDING: u64 = 8;

/// What may be asked for; either a rule, or a series with a measure.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    rule: Option<String>,
    series: Option<String>,
    measure: Option<String>,
    per: Option<String>,
    window: Option<String>,
    from: Option<String>,
}

/// See the module.
pub(super) async fn svg(State(desk): State<Desk>, Query(asked): Query<Asked>) -> Response {
    let Desk { shared, turn } = desk;
    let turn = turn.acquire_owned().await;
    blocking(move || {
        let drawn = draw(&shared, &asked);
        drop(turn);
        match drawn {
            Ok(chart) => {
                let headers = [
                    (CONTENT_TYPE, "image/svg+xml"),
                    (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
                ];
                (StatusCode::OK, headers, chart.svg()).into_response()
            }
            Err(problem) => problem.into_response(),
        }
    })
    .await
}

/// A question with its series and the words around it.
struct Plan {
    title: String,
    unit: String,
    pattern: Pattern,
    /// What the measure is divided by.
    over: Option<Pattern>,
    question: Question,
    marks: Vec<f64>,
}

fn draw(shared: &Shared, asked: &Asked) -> Result<Chart, Problem> {
    let span = asked.from.as_deref().map_or(Ok(Span::from_secs(3600)), |from| {
        parse::<Span>(from.trim_start_matches('-'), "from")
    })?;
    let plan = match (&asked.rule, &asked.series) {
        (Some(rule), None) => {
            let wrong = || Problem::NotFound("there is no such rule".to_owned());
            let plan = shared.engine.view(|view| view.rules.get(rule).map(Plan::of_rule));
            plan.ok_or_else(wrong)?
        }
        (None, Some(series)) => Plan::of_series(series, asked)?,
        _ => return Err(Problem::BadData("either `rule` or `series` is needed".to_owned())),
    };
    let part = Gathered::of(shared, &plan.pattern)?;
    let whole = plan.over.as_ref().map(|over| Gathered::of(shared, over)).transpose()?;
    let windows = &part.past.windows;
    let series = part.series.len() + whole.as_ref().map_or(0, |whole| whole.series.len());
    let step = step(&plan.question, span, windows.tiers(), series as u64)?;
    let end = part.past.closed.align_down(step);
    let range = Range { span: Window::ending(end, span), step, now: end };
    let points = match &whole {
        None => range.ask(&plan.question, windows, &part.past.facts, &part.series),
        Some(whole) => {
            let (part, whole) = (part.side(), whole.side());
            let ask = |at| plan.question.ask_share(windows, part, whole, at, end.since(at));
            range.instants().map(|at| (at, ask(at))).collect()
        }
    };
    let points = points.into_iter().map(|(at, observation)| match observation {
        Observation::Value { value, .. } if value.is_finite() => (at, Some(value)),
        _ => (at, None),
    });
    Ok(Chart { title: plan.title, unit: plan.unit, points: points.collect(), marks: plan.marks })
}

/// Some series together, with a copy of what is known of them.
struct Gathered {
    past: Past,
    series: Vec<SeriesId>,
}

impl Gathered {
    fn of(shared: &Shared, pattern: &Pattern) -> Result<Self, Problem> {
        let past = shared.engine.past(pattern, &[], limits::MEASURE_SERIES, 1).map_err(too_much)?;
        let series = past.groups.iter().flat_map(|(_, ids)| ids).copied().collect();
        Ok(Self { past, series })
    }

    fn side(&self) -> Side<'_> {
        Side { series: &self.series, facts: &self.past.facts }
    }
}

/// The time from one point to the next: as many points as the picture shows, or as can be had at
/// its price, on a step that the tier has.
fn step(question: &Question, span: Span, tiers: &[Tier], series: u64) -> Result<Span, Problem> {
    let each = series.saturating_mul(cost(question, tiers)).max(1);
    let wanted = (limits::CHART_COST / each).clamp(POINTS_MIN, POINTS);
    let age = span.plus(question.window);
    let base = tiers.get(tier_for(tiers, age)).map_or(Span::SECOND, |tier| tier.window);
    let steps = (span.as_millis() / wanted).div_ceil(base.as_millis()).max(1);
    let step = Span::from_millis(steps.saturating_mul(base.as_millis()));
    let points = span.as_millis() / step.as_millis();
    if points.saturating_mul(each) > limits::CHART_COST {
        let wrong = format!("{series} are too many series for one picture; name fewer");
        return Err(Problem::BadData(wrong));
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

impl Plan {
    fn of_rule(active: &Active) -> Self {
        let rule = active.rule();
        let limits = [rule.warning, rule.critical];
        Self {
            title: match &rule.over {
                Some(over) => {
                    format!("{}: {} of {} ÷ {over}", rule.name, rule.measure.name(), rule.series)
                }
                None => format!("{}: {} of {}", rule.name, rule.measure.name(), rule.series),
            },
            unit: match (rule.against, rule.change, rule.measure) {
                (Some(_), Change::Percent, _) => "% change".to_owned(),
                _ if rule.over.is_some() => format!("over {}", rule.window),
                (None, _, Measure::Rate) => format!("per {}", rule.per.name()),
                _ => format!("over {}", rule.window),
            },
            pattern: rule.series.clone(),
            over: rule.over.clone(),
            question: active.question().clone(),
            marks: limits.into_iter().flatten().map(|limit| limit.value).collect(),
        }
    }

    fn of_series(series: &str, asked: &Asked) -> Result<Self, Problem> {
        let pattern: Pattern = parse(series, "series")?;
        let measure = one_of(asked.measure.as_deref(), &Measure::ALL, Measure::Rate, "measure")?;
        let per = one_of(asked.per.as_deref(), &Per::ALL, Per::Second, "per")?;
        let window = match asked.window.as_deref() {
            Some(text) => parse(text, "window")?,
            None => Span::from_secs(60),
        };
        if window.is_zero() || !window.is_multiple_of(Span::SECOND) {
            return Err(Problem::BadData("`window` is one or more whole seconds".to_owned()));
        }
        Ok(Self {
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
                change: Change::Percent,
                floor: None,
            },
            pattern,
            over: None,
            marks: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Against, Config};

    fn question(window: &str, against: Option<Against>) -> Question {
        let window = window.parse().unwrap();
        let (measure, per, change) = (Measure::Sum, Per::Second, Change::Percent);
        Question { measure, per, window, against, zone: None, change, floor: None }
    }

    /// The step and the cost of a picture, or `None` where it is refused.
    fn check(window: &str, against: Option<Against>, from: &str, series: u64) -> Option<String> {
        let tiers = Config::default().tiers;
        let (question, span) = (question(window, against), from.parse::<Span>().unwrap());
        let step = step(&question, span, &tiers, series).ok()?;
        let cost = span.as_millis() / step.as_millis() * series * cost(&question, &tiers);
        assert!(cost <= limits::CHART_COST, "{cost}");
        Some(step.to_string())
    }

    #[test]
    fn what_costs_more_has_fewer_points_and_what_costs_too_much_is_refused() {
        let against = Some(Against::Previous);
        assert_eq!(check("1m", None, "1h", 1).as_deref(), Some("15s"));
        assert_eq!(check("1m", None, "1h", 0).as_deref(), Some("15s"));
        assert_eq!(check("1m", None, "1h", 61).as_deref(), Some("15s"));
        assert_eq!(check("1m", None, "1h", 120).as_deref(), Some("30s"));
        assert_eq!(check("1m", against, "1h", 60).as_deref(), Some("30s"), "twice the windows");
        assert_eq!(check("1m", None, "1h", 367).as_deref(), Some("1m30s"));
        assert_eq!(check("1m", None, "1h", 368), None);
        assert_eq!(check("1m", against, "1h", 184), None);
        assert_eq!(check("1s", None, "1h", 1_000_000), None, "to find them costs as well");
        assert_eq!(check("1s", None, "1s", 100_000).as_deref(), Some("1s"), "a single point");
        assert_eq!(check("1h", None, "9999999w", u64::MAX), None);
    }
}
