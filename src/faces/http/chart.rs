//! `GET /chart.svg`: a measure of some series over the last while, as a picture.

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::Problem;
use crate::chart::Chart;
use crate::config::{Change, Measure, Per};
use crate::query::{Question, range};
use crate::rules::Active;
use crate::series::Pattern;
use crate::store::tier_for;
use crate::time::{Span, Window};

/// Points in one picture: about one for each two of its dots.
const POINTS: u64 = 240;

/// Window records that one picture may read. It bounds how long a picture holds the lock that a tick
/// wants: to some tens of milliseconds.
const READS_MAX: u64 = 5_000_000;

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
pub(super) async fn svg(State(shared): State<Shared>, Query(asked): Query<Asked>) -> Response {
    match draw(&shared, &asked) {
        Ok(chart) => {
            let headers = [
                (CONTENT_TYPE, "image/svg+xml"),
                (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
            ];
            (StatusCode::OK, headers, chart.svg()).into_response()
        }
        Err(problem) => problem.into_response(),
    }
}

/// A question with its series and the words around it.
struct Plan {
    title: String,
    unit: String,
    pattern: Pattern,
    question: Question,
    marks: Vec<f64>,
}

fn draw(shared: &Shared, asked: &Asked) -> Result<Chart, Problem> {
    let span = asked.from.as_deref().map_or(Ok(Span::from_secs(3600)), |from| {
        parse::<Span>(from.trim_start_matches('-'), "from")
    })?;
    shared.engine.view(|view| {
        let plan = match (&asked.rule, &asked.series) {
            (Some(rule), None) => {
                let wrong = || Problem::NotFound("there is no such rule".to_owned());
                Plan::of_rule(view.rules.get(rule).ok_or_else(wrong)?)
            }
            (None, Some(series)) => Plan::of_series(series, asked)?,
            _ => return Err(Problem::BadData("either `rule` or `series` is needed".to_owned())),
        };
        let series: Vec<_> = view.catalogue.matching(&plan.pattern, 0).map(|(id, _)| id).collect();
        // As many points as the picture shows, on a step that the tier has.
        let tiers = view.store.tiers();
        let age = span.plus(plan.question.window);
        let base = tiers.get(tier_for(tiers, age)).map_or(Span::SECOND, |tier| tier.window);
        let steps = (span.as_millis() / POINTS).div_ceil(base.as_millis()).max(1);
        let step = Span::from_millis(steps.saturating_mul(base.as_millis()));
        let points = span.as_millis() / step.as_millis();
        let per_point = (plan.question.window.as_millis() / base.as_millis()).max(1);
        let reads = (series.len() as u64).saturating_mul(points).saturating_mul(per_point);
        if reads > READS_MAX {
            let wrong = format!("{} series are too many for one picture; name fewer", series.len());
            return Err(Problem::BadData(wrong));
        }
        let end = view.closed.align_down(step);
        let window = Window::ending(end, span);
        let points = range(&plan.question, view.store, view.catalogue, &series, window, step);
        Ok(Chart { title: plan.title, unit: plan.unit, points, marks: plan.marks })
    })
}

impl Plan {
    fn of_rule(active: &Active) -> Self {
        let rule = active.rule();
        let limits = [rule.warning, rule.critical];
        Self {
            title: format!("{}: {} of {}", rule.name, rule.measure.name(), rule.series),
            unit: match (rule.against, rule.change, rule.measure) {
                (Some(_), Change::Percent, _) => "% change".to_owned(),
                (None, _, Measure::Rate) => format!("per {}", rule.per.name()),
                _ => format!("over {}", rule.window),
            },
            pattern: rule.series.clone(),
            question: *active.question(),
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
                change: Change::Percent,
                floor: None,
            },
            pattern,
            marks: Vec::new(),
        })
    }
}

fn parse<T>(text: &str, name: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| Problem::BadData(format!("`{name}`: {error}")))
}

fn one_of<T: Copy>(
    text: Option<&str>,
    all: &[(&str, T)],
    default: T,
    name: &str,
) -> Result<T, Problem> {
    let Some(text) = text else { return Ok(default) };
    all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|(word, _)| *word).collect();
        Problem::BadData(format!("`{name}` is one of {}", words.join(", ")))
    })
}
