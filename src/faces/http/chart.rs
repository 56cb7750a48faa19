//! `GET /chart.svg` and `/chart.png`: a measure of some series over the last while, as a picture.
//!
//! It is drawn on a blocking thread, one picture at a time ([`Engine::draw`] says at what price), of dots
//! as of lines: a PNG takes some more milliseconds, and is of a fixed size.
//!
//! [`Engine::draw`]: crate::engine::Engine::draw

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::asked::{one_of, parse, too_much};
use super::desk::Desk;
use super::{Problem, blocking};
use crate::chart::{Chart, Theme, png as dots};
use crate::config::{Measure, Per};
use crate::engine::{Drawing, NoPicture};
use crate::rules::Active;
use crate::time::Span;

/// What may be asked for; either a rule, or a series with a measure.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    rule: Option<String>,
    by: Option<String>,
    series: Option<String>,
    measure: Option<String>,
    per: Option<String>,
    window: Option<String>,
    from: Option<String>,
    theme: Option<String>,
}

type Question = Result<Query<Asked>, QueryRejection>;

const THEMES: [(&str, Theme); 2] = [("light", Theme::Light), ("dark", Theme::Dark)];

/// `GET /chart.svg`
pub(super) async fn svg(State(desk): State<Desk>, asked: Question) -> Response {
    answer(desk, asked, |chart, theme| {
        let headers = [
            (CONTENT_TYPE, "image/svg+xml"),
            (CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        ];
        Ok((headers, chart.svg(theme.unwrap_or(Theme::Reader))).into_response())
    })
    .await
}

/// `GET /chart.png`
pub(super) async fn png(State(desk): State<Desk>, asked: Question) -> Response {
    answer(desk, asked, |chart, theme| {
        let dots = dots(chart, theme.unwrap_or(Theme::Light));
        let dots = dots.ok_or_else(|| Problem::Internal("it cannot be drawn".to_owned()))?;
        Ok((StatusCode::OK, [(CONTENT_TYPE, "image/png")], dots).into_response())
    })
    .await
}

async fn answer(
    desk: Desk,
    asked: Question,
    write: impl FnOnce(&Chart, Option<Theme>) -> Result<Response, Problem> + Send + 'static,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(wrong) => return Problem::BadData(wrong.body_text()).into_response(),
    };
    let Desk { shared, turn } = desk;
    let turn = turn.acquire_owned().await;
    blocking(move || {
        let themes = THEMES.map(|(name, theme)| (name, Some(theme)));
        let theme = one_of(asked.theme.as_deref(), &themes, None, "theme");
        let drawn = theme.and_then(|theme| write(&draw(&shared, &asked)?, theme));
        drop(turn);
        drawn.unwrap_or_else(IntoResponse::into_response)
    })
    .await
}

fn draw(shared: &Shared, asked: &Asked) -> Result<Chart, Problem> {
    let span = asked.from.as_deref().map_or(Ok(Span::from_secs(3600)), |from| {
        parse::<Span>(from.trim_start_matches('-'), "from")
    })?;
    let drawing = match (&asked.rule, &asked.series) {
        (Some(rule), None) => shared.engine.view(|view| match view.rules.get(rule) {
            Some(active) => of_rule(active, asked.by.as_deref()),
            None => Err(Problem::NotFound("there is no such rule".to_owned())),
        }),
        (None, Some(series)) => of_series(series, asked),
        _ => Err(Problem::BadData("either `rule` or `series` is needed".to_owned())),
    }?;
    shared.engine.draw(&drawing, span, None).map_err(|error| match error {
        NoPicture::TooMuch(error) => too_much(error),
        NoPicture::Unknown => Problem::NotFound(error.to_string()),
        NoPicture::TooLong(_) => Problem::BadData(error.to_string()),
    })
}

/// All of a rule, or the instance that `by` names: `region=eu,host=a`.
fn of_rule(active: &Active, by: Option<&str>) -> Result<Drawing, Problem> {
    let Some(by) = by else { return Ok(Drawing::of_rule(active, None)) };
    let tags = &active.rule().by;
    let wrong = || Problem::BadData(format!("`by` names each of {}: tag=value", tags.join(", ")));
    let pairs: Vec<_> = by.splitn(tags.len().max(1), ',').collect();
    let value = |tag: &String| {
        pairs.iter().find_map(|pair| Some(pair.strip_prefix(tag)?.strip_prefix('=')?.to_owned()))
    };
    let group = tags.iter().map(value).collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
    if pairs.len() != tags.len() {
        return Err(wrong());
    }
    Ok(Drawing::of_rule(active, Some(&group)))
}

fn of_series(series: &str, asked: &Asked) -> Result<Drawing, Problem> {
    if asked.by.is_some() {
        return Err(Problem::BadData("`by` goes with `rule`".to_owned()));
    }
    let measure = one_of(asked.measure.as_deref(), &Measure::ALL, Measure::Rate, "measure")?;
    let per = one_of(asked.per.as_deref(), &Per::ALL, Per::Second, "per")?;
    let window = match asked.window.as_deref() {
        Some(text) => parse(text, "window")?,
        None => Span::from_secs(60),
    };
    if window.is_zero() || !window.is_multiple_of(Span::SECOND) {
        return Err(Problem::BadData("`window` is one or more whole seconds".to_owned()));
    }
    Ok(Drawing::of_series(parse(series, "series")?, measure, per, window))
}
