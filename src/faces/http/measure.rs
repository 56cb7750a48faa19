//! `GET /api/v1/measure`: a measure of some series, now or along a range, as numbers.
//!
//! It is read on a blocking thread, one answer at a time, from a copy that no tick waits for. What would
//! look at more than [`limits::MEASURE_COST`] windows is refused, and so is a resolution that is not kept
//! any more: nothing is put in place of what was asked.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};

use super::super::{GREW_FROM_NOTHING, Shared};
use super::asked::{one_of, parse, too_much};
use super::desk::{Desk, written};
use super::{Problem, blocking};
use crate::config::{Against, Change, Measure, Per};
use crate::engine::Past;
use crate::limits;
use crate::query::{Group, Observation, Question, Range};
use crate::rollup::SeriesId;
use crate::series::Pattern;
use crate::time::{Span, Timestamp, Window, Zone};

/// The window where none is asked for, nor a range.
const WINDOW: Span = Span::from_secs(60);

/// Points along a range for which no step is asked for, at most.
const POINTS: u64 = 240;

/// Tags that lines are split by.
const BY_MAX: usize = 8;

/// Steps that people count in, in seconds. Beyond them go whole days.
const STEPS: [u64; 18] =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400];

/// What may be asked for.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    series: Option<String>,
    measure: Option<String>,
    per: Option<String>,
    window: Option<String>,
    by: Option<String>,
    against: Option<String>,
    zone: Option<String>,
    change: Option<String>,
    floor: Option<String>,
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
}

/// The series of one combination of the `by` tags.
#[derive(serde::Serialize)]
struct Line {
    series: String,
    /// Seconds since the epoch, and the value; none where nothing can be said.
    points: Vec<(i64, Option<Number>)>,
    /// The points whose window is known in part: the value is this or more.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    at_least: Vec<i64>,
    /// Why the last point has no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'static str>,
}

/// See the module.
pub(super) async fn answer(
    State(desk): State<Desk>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(wrong) => return Problem::BadData(wrong.body_text()).into_response(),
    };
    let Desk { shared, turn } = desk;
    let turn = turn.acquire_owned().await;
    blocking(move || {
        let read = read(&shared, &asked);
        drop(turn);
        written(read)
    })
    .await
}

fn read(shared: &Shared, asked: &Asked) -> Result<Vec<Line>, Problem> {
    let series = asked.series.as_deref().ok_or_else(|| bad("`series` is needed"))?;
    let (pattern, by) = (parse::<Pattern>(series, "series")?, by(asked.by.as_deref())?);
    let question = question(asked)?;
    let past = shared.engine.past(&pattern, &by, limits::MEASURE_SERIES, limits::MEASURE_LINES);
    let past = past.map_err(too_much)?;
    let plan = plan(asked, question, &past)?;
    let lines = past.groups.iter().filter(|(_, ids)| !ids.is_empty());
    let (groups, series): (Vec<_>, Vec<_>) = lines.map(|(group, ids)| (group, &**ids)).unzip();
    let lines = groups.into_iter().zip(plan.ask(&past, &series));
    Ok(lines.map(|(group, seen)| line(name(&pattern, &by, group), &plan, &seen)).collect())
}

/// A question, at one instant or along a range.
struct Plan {
    question: Question,
    at: At,
}

enum At {
    Instant(Timestamp),
    Range(Range),
}

fn plan(asked: &Asked, mut question: Question, past: &Past) -> Result<Plan, Problem> {
    if question.measure == Measure::Age && (asked.from.is_some() || asked.to.is_some()) {
        return Err(bad("`age` is known of now alone; ask without `from` and `to`"));
    }
    let now = past.closed;
    let instant = |text: Option<&str>, name: &str| {
        let parsed = text.map(|text| Timestamp::parse(text, now));
        parsed.transpose().map_err(|error| bad(&format!("`{name}`: {error}")))
    };
    let to = instant(asked.to.as_deref(), "to")?.unwrap_or(now).min(now);
    let Some(from) = instant(asked.from.as_deref(), "from")? else {
        if asked.step.is_some() {
            return Err(bad("`step` needs `from`"));
        }
        let at = to.align_down(Span::SECOND);
        let one = Range { span: Window::ending(at, Span::SECOND), step: Span::SECOND, now };
        affordable(one, &question, past)?;
        return Ok(Plan { question, at: At::Instant(at) });
    };
    if from >= to {
        let (from, to) = (from.rfc3339(), to.rfc3339());
        let wrong =
            format!("`from` ({from}) has to be before `to` ({to}, which is now or earlier)");
        return Err(bad(&wrong));
    }
    let step = match asked.step.as_deref() {
        Some(text) => length(text, "step")?,
        None => fitting(from, to, past, &question),
    };
    if asked.window.is_none() {
        question.window = step;
    }
    let span = Window { start: from.align_down(step), end: to.align_down(step) };
    let range = Range { span, step, now };
    check(range, &question, past)?;
    Ok(Plan { question, at: At::Range(range) })
}

/// The least step that makes few enough points, and that there are windows for.
fn fitting(from: Timestamp, to: Timestamp, past: &Past, question: &Question) -> Span {
    let span = Window { start: from, end: to };
    let day = Span::DAY.as_millis() / 1000;
    let days = (span.width().as_millis() / 1000).div_ceil(day * POINTS).max(1) * day;
    let fits = |step: &Span| {
        let question = Question { window: question.window.max(*step), ..question.clone() };
        let width = Range { span, step: *step, now: past.closed }.width(&question, &past.windows);
        step.is_multiple_of(width) && span.width().as_millis() / step.as_millis().max(1) <= POINTS
    };
    STEPS.map(Span::from_secs).into_iter().find(fits).unwrap_or(Span::from_secs(days))
}

/// Whether it is kept so fine, and may be asked for at once.
fn check(range: Range, question: &Question, past: &Past) -> Result<(), Problem> {
    let points = range.span.width().as_millis() / range.step.as_millis().max(1);
    if points > limits::MEASURE_POINTS as u64 {
        let max = limits::MEASURE_POINTS;
        return Err(bad(&format!("{points} points are more than {max}; take a longer `step`")));
    }
    let lines = past.groups.len() as u64;
    if points.saturating_mul(lines) > limits::MEASURE_ALL_POINTS as u64 {
        let max = limits::MEASURE_ALL_POINTS;
        let wrong = format!("{points} points in {lines} lines are more than {max} in all");
        return Err(bad(&wrong));
    }
    let width = range.width(question, &past.windows);
    for (name, length) in [("step", range.step), ("window", question.window)] {
        if !length.is_multiple_of(width) {
            let wrong = format!("`{name}`: so long ago it has to be a multiple of {width}");
            return Err(bad(&wrong));
        }
    }
    affordable(range, question, past)
}

fn affordable(range: Range, question: &Question, past: &Past) -> Result<(), Problem> {
    let series = past.facts.len() as u64;
    let are_counters = past.facts.are_counters();
    if range.cost(question, &past.windows, series, are_counters) > limits::MEASURE_COST {
        let wrong = "this looks at too many windows; name fewer series, a longer `step`, or a \
                     shorter range";
        return Err(bad(wrong));
    }
    Ok(())
}

impl Plan {
    /// What is known at each point, of each group of series.
    fn ask(&self, past: &Past, groups: &[&[SeriesId]]) -> Vec<Vec<Observation>> {
        let Past { windows, facts, closed, .. } = past;
        match self.at {
            At::Range(range) => range.ask_all(&self.question, windows, facts, groups),
            At::Instant(at) => {
                let (question, back) = (&self.question, closed.since(at));
                let ask =
                    |ids: &&[SeriesId]| vec![question.ask_back(windows, facts, ids, at, back)];
                groups.iter().map(ask).collect()
            }
        }
    }

    /// When the points are.
    fn instants(&self) -> impl Iterator<Item = Timestamp> {
        let (range, one) = match self.at {
            At::Range(range) => (Some(range.instants()), None),
            At::Instant(at) => (None, Some(at)),
        };
        range.into_iter().flatten().chain(one)
    }
}

fn line(series: String, plan: &Plan, observations: &[Observation]) -> Line {
    let mut at_least = Vec::new();
    let mut points = Vec::with_capacity(observations.len());
    for (at, observation) in plan.instants().zip(observations) {
        let value = match observation {
            Observation::Value { value, .. } => Some(*value),
            Observation::AtLeast(value) if *value > 0.0 => {
                at_least.push(at.as_secs());
                Some(*value)
            }
            _ => None,
        };
        points.push((at.as_secs(), value.filter(|value| value.is_finite()).map(Number)));
    }
    let note = observations.last().and_then(|observation| note(*observation));
    Line { series, points, at_least, note }
}

/// A number that is written without a point where it is whole: shorter, and in a fifth of the time.
#[derive(Clone, Copy)]
struct Number(f64);

impl serde::Serialize for Number {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "it is compared"
    )]
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if (whole as f64).to_bits() == self.0.to_bits() && whole.unsigned_abs() < 1 << 53 {
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f64(self.0)
        }
    }
}

fn note(observation: Observation) -> Option<&'static str> {
    match observation {
        Observation::Value { value, .. } if value.is_finite() => None,
        Observation::Value { .. } => Some(GREW_FROM_NOTHING),
        Observation::AtLeast(_) => Some("tallyd was not running for part of the window"),
        Observation::Missing => Some("nothing was set in the window"),
        Observation::NeverSeen => Some("no series like that was ever seen"),
        Observation::Unjudged(reason) => Some(reason.text()),
    }
}

/// The pattern, with the values of the tags behind it.
fn name(pattern: &Pattern, by: &[String], group: &Group) -> String {
    let tags = by.iter().zip(group);
    tags.fold(pattern.to_string(), |name, (tag, value)| name + ";" + tag + "=" + value)
}

fn question(asked: &Asked) -> Result<Question, Problem> {
    let measure = one_of(asked.measure.as_deref(), &Measure::ALL, Measure::Rate, "measure")?;
    let per = one_of(asked.per.as_deref(), &Per::ALL, Per::Second, "per")?;
    let against = match asked.against.as_deref() {
        None => None,
        text => Some(one_of(text, &Against::ALL, Against::Previous, "against")?),
    };
    let zone = asked.zone.as_deref().map(|text| parse::<Zone>(text, "zone")).transpose()?;
    let change = one_of(asked.change.as_deref(), &Change::ALL, Change::Percent, "change")?;
    let floor = asked.floor.as_deref().map(|text| parse::<f64>(text, "floor")).transpose()?;
    if floor.is_some_and(|floor| !floor.is_finite() || floor < 0.0) {
        return Err(bad("`floor` is a number that is not negative"));
    }
    let window = asked.window.as_deref().map_or(Ok(WINDOW), |text| length(text, "window"))?;
    Ok(Question { measure, per, window, against, zone, change, floor })
}

fn length(text: &str, name: &str) -> Result<Span, Problem> {
    let span: Span = parse(text, name)?;
    if span.is_zero() || !span.is_multiple_of(Span::SECOND) {
        return Err(bad(&format!("`{name}` is one or more whole seconds")));
    }
    Ok(span)
}

fn by(text: Option<&str>) -> Result<Vec<String>, Problem> {
    let names: Vec<_> = text.into_iter().flat_map(|text| text.split(',')).map(str::trim).collect();
    if names.len() > BY_MAX || names.iter().any(|name| name.is_empty()) {
        return Err(bad(&format!(
            "`by` is one to {BY_MAX} names of tags with commas between them"
        )));
    }
    Ok(names.into_iter().map(str::to_owned).collect())
}

fn bad(wrong: &str) -> Problem {
    Problem::BadData(wrong.to_owned())
}
