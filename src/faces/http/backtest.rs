//! `POST /api/v1/backtest`: when rules would have fired, over the history that is kept.
//!
//! The body is TOML with `[[rule]]`s, and the schedules and metrics that they need; empty, the server's own
//! rules are played. One is played at a time, on a blocking thread and from copies, so no tick waits for it. It
//! ends when the client goes, and after [`limits::BACKTEST_SECS`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};

use super::super::Shared;
use super::desk::{Desk, written};
use super::{Problem, blocking};
use crate::config::{Rule, Tier, parse_rules};
use crate::engine::{Firing, Part, Tested};
use crate::limits;
use crate::time::{Span, Timestamp, Window};

/// The path, for the bound of its body.
pub(super) const PATH: &str = "/api/v1/backtest";

/// What may be asked for.
#[derive(Default, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Asked {
    rule: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// Says that nobody waits for the answer any more.
struct Waits(Arc<AtomicBool>);

impl Drop for Waits {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// See the module.
pub(super) async fn answer(
    State(desk): State<Desk>,
    asked: Result<Query<Asked>, QueryRejection>,
    body: Body,
) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(wrong) => return Problem::BadData(wrong.body_text()).into_response(),
    };
    let Desk { shared, turn } = desk;
    let Ok(turn) = turn.try_acquire_owned() else {
        return Problem::Busy("another backtest is being made".to_owned()).into_response();
    };
    let patience = Duration::from_secs(limits::HTTP_HEADER_SECS);
    let body = to_bytes(body, limits::BACKTEST_BODY_BYTES);
    let Ok(Ok(body)) = tokio::time::timeout(patience, body).await else {
        return Problem::BadData("the body did not come".to_owned()).into_response();
    };
    let is_over = Arc::new(AtomicBool::new(false));
    let _waits = Waits(Arc::clone(&is_over));
    blocking(move || {
        let played = play(&shared, &asked, &body, &is_over);
        drop(turn);
        written(played)
    })
    .await
}

fn play(
    shared: &Shared,
    asked: &Asked,
    body: &[u8],
    is_over: &AtomicBool,
) -> Result<Vec<Told>, Problem> {
    let span = span(asked, shared.engine.view(|view| view.closed))?;
    let rules = rules(shared, body)?;
    let name = asked.rule.as_deref();
    if let Some(name) = name.filter(|name| rules.iter().all(|rule| rule.name != *name)) {
        return Err(Problem::NotFound(format!("there is no rule `{name}`")));
    }
    let until = shared.clock.monotonic() + Duration::from_secs(limits::BACKTEST_SECS);
    let goes_on = || !is_over.load(Relaxed) && shared.clock.monotonic() < until;
    let tested = shared.engine.backtest(&rules, name, span, &goes_on).map_err(|_| {
        let secs = limits::BACKTEST_SECS;
        bad(&format!("it takes more than {secs} s; ask for one rule, or for less time"))
    })?;
    Ok(tested.into_iter().map(Told::from).collect())
}

/// The rules of a body; without one those of the server.
pub(super) fn rules(shared: &Shared, body: &[u8]) -> Result<Vec<Rule>, Problem> {
    if body.is_empty() {
        return Ok(shared.engine.rules());
    }
    let keep = |tier: &Tier| tier.keep;
    let reach = shared.engine.view(|view| view.store.tiers().iter().map(keep).max());
    let reach = reach.unwrap_or_default();
    let text = std::str::from_utf8(body).map_err(|_| bad("the rules are not UTF-8 text"))?;
    parse_rules(text, reach).map_err(|problems| Problem::BadData(problems.to_string()))
}

fn span(asked: &Asked, now: Timestamp) -> Result<Window, Problem> {
    let instant = |text: &str, name: &str| {
        let parsed = Timestamp::parse(text, now);
        parsed.map_err(|error| bad(&format!("`{name}`: {error}")))
    };
    let from = asked.from.as_deref().ok_or_else(|| bad("`from` is needed"))?;
    let start = instant(from, "from")?.align_down(Span::SECOND);
    let end = asked.to.as_deref().map_or(Ok(now), |text| instant(text, "to"))?;
    let end = end.min(now).align_down(Span::SECOND);
    if start >= end {
        return Err(bad("`from` has to lie before `to`, and before now"));
    }
    Ok(Window { start, end })
}

fn bad(wrong: &str) -> Problem {
    Problem::BadData(wrong.to_owned())
}

#[derive(serde::Serialize)]
struct Told {
    rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    parts: Vec<ToldPart>,
    fired: u64,
    firings: Vec<ToldFiring>,
    messages: BTreeMap<String, u64>,
    messages_per_week: Option<f64>,
}

#[derive(serde::Serialize)]
struct ToldPart {
    from: i64,
    to: i64,
    /// The width of the windows that were read.
    width: Option<u64>,
    /// From one evaluation to the next; none where nothing was judged.
    every: Option<u64>,
    known: u64,
}

#[derive(serde::Serialize)]
struct ToldFiring {
    title: String,
    level: &'static str,
    begin: i64,
    end: Option<i64>,
    worst: Option<f64>,
}

const fn secs(span: Span) -> u64 {
    span.as_millis() / 1000
}

impl From<Tested> for Told {
    fn from(tested: Tested) -> Self {
        Self {
            messages_per_week: tested.messages_per_week(),
            parts: tested.parts.iter().map(ToldPart::from).collect(),
            firings: tested.firings.into_iter().map(ToldFiring::from).collect(),
            rule: tested.rule,
            problem: tested.problem,
            fired: tested.fired,
            messages: tested.messages,
        }
    }
}

impl From<&Part> for ToldPart {
    fn from(part: &Part) -> Self {
        Self {
            from: part.span.start.as_secs(),
            to: part.span.end.as_secs(),
            width: part.width.map(secs),
            every: part.every.map(secs),
            known: secs(part.known),
        }
    }
}

impl From<Firing> for ToldFiring {
    fn from(firing: Firing) -> Self {
        let Firing { title, level, begin, end, worst } = firing;
        let (begin, end) = (begin.as_secs(), end.map(Timestamp::as_secs));
        // JSON has no infinity: a change from nothing is one.
        let worst = worst.filter(|worst| worst.is_finite());
        Self { title, level: level.word(), begin, end, worst }
    }
}
