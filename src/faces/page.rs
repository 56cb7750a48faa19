//! The page at `/`: every rule with its state and a picture, for a person in a browser.
//!
//! Made on the server, without scripts; it comes anew every ten seconds. Everything that a client
//! or a file named is escaped by the template.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::nagios::STALE;
use super::{Shared, VERSION};
use crate::engine::View;
use crate::notify::Incident;
use crate::notify::audit::{Answer, What};
use crate::notify::message::title;
use crate::reason::one_line;
use crate::rules::wording::{observation, threshold, value};
use crate::rules::{Active, Level, State};
use crate::time::Span;

/// Rows of one rule that are shown; more are counted.
const ROWS: usize = 50;

/// Messages that were not delivered that are shown.
const FAILURES: usize = 10;

/// Rules that have a picture; with more of them a page would ask for more than a browser shows.
const PICTURES: usize = 30;

pub(super) const STYLE: &str = "
:root{color-scheme:light dark;font:15px/1.45 system-ui,sans-serif}
body{max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.3rem}h2{font-size:1.05rem;margin:1.6rem 0 .3rem}
table{border-collapse:collapse;width:100%}td{padding:.15rem .6rem .15rem 0;vertical-align:top}
.state{font-weight:600;white-space:nowrap}.ok{color:#2e7d32}.warning{color:#b26a00}
.critical{color:#c62828}.unknown{color:#6a4fb3}.faint{opacity:.7}
img{max-width:100%;height:auto}
input,select,button{font:inherit;padding:.25rem .5rem}
@media(prefers-color-scheme:dark){.ok{color:#81c784}.warning{color:#ffb74d}
.critical{color:#ef9a9a}.unknown{color:#b39ddb}}";

/// What a browser may do with the page: show it, with its own pictures.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// The whole page; for a browser that has a session, with a button that ends it.
pub(super) fn render(shared: &Shared, has_session: bool) -> String {
    let series = shared.engine.counters().series();
    let age = shared.since_tick();
    shared.engine.view(|view| page(view, series, age, has_session).into_string())
}

fn page(view: &View<'_>, series: usize, age: Span, has_session: bool) -> Markup {
    let is_stale = age >= STALE;
    let worst = view.rules.iter().map(Active::level).max().unwrap_or_default();
    let worst = if is_stale { worst.max(Level::Unknown) } else { worst };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="10";
                title { (worst.name()) " – tallyd" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "tallyd " span .state .(worst.word()) { (worst.name()) } }
                p .faint {
                    (series) " series · open incidents: " (view.incidents.open())
                    " · messages waiting: " (view.outbox.len()) " · windows closed up to "
                    (view.closed.in_system_zone())
                }
                @if is_stale {
                    p .unknown { "Nothing was evaluated for " (age.as_millis() / 1000)
                        " s: what stands below was true then." }
                }
                @if view.rules.iter().next().is_none() {
                    p { "There are no rules yet. Write one as a " code { "[[rule]]" }
                        " in the configuration file, and start tallyd with "
                        code { "--config FILE" } "." }
                }
                (incidents(view))
                (failures(view))
                @for (at, active) in view.rules.iter().enumerate() {
                    (rule(active, at < PICTURES))
                }
                p .faint { "tallyd " (VERSION) " · " a href="/metrics" { "metrics" } " · "
                    a href="/api/v1/rules" { "rules as JSON" } }
                @if has_session {
                    form method="post" action="/logout" { button type="submit" { "Log out" } }
                }
            }
        }
    }
}

/// What is open, who looks after it, and where that is said.
fn incidents(view: &View<'_>) -> Markup {
    let mut open: Vec<_> = view.incidents.iter().filter(|one| one.closed.is_none()).collect();
    open.sort_by_key(|one| std::cmp::Reverse((one.level, one.opened)));
    html! {
        @if !open.is_empty() {
            h2 { "Open incidents" }
            table {
                @for one in open.iter().take(ROWS) { (incident(one)) }
            }
            @if open.len() > ROWS { p .faint { "and " (open.len() - ROWS) " more" } }
        }
    }
}

fn incident(one: &Incident) -> Markup {
    html! {
        tr {
            td .state .(one.level.word()) { (one.level.name()) }
            td { (one_line(&one.title())) @if one.is_flapping { " (flapping)" } }
            td .faint { "since " (one.opened.in_system_zone()) }
            td {
                @if let Some(ack) = &one.ack {
                    "acknowledged by " (if ack.author.is_empty() { "somebody" } else { &ack.author })
                    @if !ack.comment.is_empty() { ": " (ack.comment) }
                } @else {
                    a href={ "/ack/" (one.id) } { "acknowledge" }
                }
                @if one.is_silenced { " · silenced" }
                @else { " · " a href={ "/silence/" (one.id) } { "silence" } }
            }
        }
    }
}

/// Messages that nobody got, the latest first.
fn failures(view: &View<'_>) -> Markup {
    let failed = view.audit.iter().filter_map(|line| match &line.what {
        What::Attempt { contact, recipient, answer: Answer::GivenUp { reason }, .. } => {
            Some((line.at, contact, recipient, reason))
        }
        _ => None,
    });
    let failed: Vec<_> = failed.take(FAILURES).collect();
    html! {
        @if !failed.is_empty() {
            h2 { "Messages that were not delivered" }
            table {
                @for (at, contact, recipient, reason) in failed {
                    tr {
                        td .faint { (at.in_system_zone()) }
                        td { (contact) @if recipient != contact { ", " (recipient) } }
                        td { (one_line(reason)) }
                    }
                }
            }
        }
    }
}

fn rule(active: &Active, has_picture: bool) -> Markup {
    let rule = active.rule();
    let level = active.level();
    let instances: Vec<_> = active.instances().collect();
    html! {
        h2 id=(rule.name) {
            span .state .(level.word()) { (level.name()) } " " (rule.name)
        }
        @if !rule.summary.is_empty() { p { (rule.summary) } }
        @if let Some(error) = active.error() { p .unknown { (error) } }
        p .faint {
            (rule.measure.name()) " of " code { (rule.series) }
            @if let Some(over) = &rule.over { " ÷ " code { (over) } }
            " over " (rule.window)
            @if let Some(limit) = rule.warning { " · warning " (threshold(&limit)) }
            @if let Some(limit) = rule.critical { " · critical " (threshold(&limit)) }
            @if let Some(schedule) = &rule.schedule { " · in the hours of " (schedule.name) }
            @if active.is_quiet() { " · quiet, for " (rule.depends_on.join(", ")) }
            @if let Some(runbook) = &rule.runbook {
                " · " a href=(runbook) rel="noreferrer" { "runbook" }
            }
        }
        table {
            @for (group, state) in instances.iter().take(ROWS) {
                (instance(active, &title(&rule.name, &active.labels(group)), state))
            }
        }
        @if instances.len() > ROWS { p .faint { "and " (instances.len() - ROWS) " more" } }
        @if has_picture {
            img loading="lazy" width="640" height="200" alt={ "the last hour of " (rule.name) }
                src={ "/chart.svg?rule=" (rule.name) };
        }
    }
}

fn instance(active: &Active, name: &str, state: &State) -> Markup {
    let rule = active.rule();
    html! {
        tr {
            td .state .(state.level.word()) { (state.level.name()) }
            td { (name) }
            td { (observation(rule, state.observation)) }
            td .faint {
                @if state.flaps.is_flapping { "flapping " }
                @if let Some(level) = state.pending() { (level.word()) " pending" }
                @else if state.level != Level::Ok {
                    "since " (state.since.in_system_zone())
                    @if let Some(worst) = state.worst { ", worst " (value(rule, worst)) }
                }
            }
        }
    }
}
