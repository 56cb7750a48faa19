//! Every call that this face answers, each with its path, who may make it, and what it takes: one table, from
//! which the router is made. No path is answered that does not stand here, and none without saying who may.

use std::collections::BTreeMap;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::super::Shared;
use super::desk::Desk;
use super::{
    Problem, access, acts, api, backtest, backup, chart, check, forms, healthz, import, login,
    look, measure, metrics, page, past, readyz, reload,
};
use crate::config::Role;
use crate::limits;

/// One call.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) verb: Verb,
    /// With `{names}` of the parts that differ.
    pub(super) path: &'static str,
    /// `None`: anybody, or whoever shows otherwise that they may.
    pub(super) role: Option<Role>,
    /// Largest body, in bytes.
    pub(super) body_max: usize,
    /// Whether it answers people in a browser: whoever is not known there is asked for a token.
    pub(super) is_page: bool,
    answer: fn(&Desks, MethodFilter) -> MethodRouter<Shared>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
    Delete,
}

impl Verb {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }

    const fn filter(self) -> MethodFilter {
        match self {
            // HEAD is answered as GET is, without the body.
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// Where answers are made that take turns with others.
pub(super) struct Desks {
    shared: Shared,
    easel: Desk,
}

impl Desks {
    fn own(&self) -> Desk {
        Desk::new(self.shared.clone())
    }

    fn scrapes(&self) -> Desk {
        Desk::with_turns(self.shared.clone(), limits::SCRAPES)
    }
}

const ANYBODY: Option<Role> = None;
const READ: Option<Role> = Some(Role::Read);
const OPERATE: Option<Role> = Some(Role::Operate);
const ADMIN: Option<Role> = Some(Role::Admin);

type Answer = fn(&Desks, MethodFilter) -> MethodRouter<Shared>;

const fn get(path: &'static str, role: Option<Role>, answer: Answer) -> Call {
    let (verb, body_max) = (Verb::Get, limits::HTTP_BODY_BYTES);
    Call { verb, path, role, body_max, is_page: false, answer }
}

const fn post(path: &'static str, role: Option<Role>, answer: Answer) -> Call {
    Call { verb: Verb::Post, ..get(path, role, answer) }
}

const fn delete(path: &'static str, role: Option<Role>, answer: Answer) -> Call {
    Call { verb: Verb::Delete, ..get(path, role, answer) }
}

impl Call {
    const fn page(self) -> Self {
        Self { is_page: true, ..self }
    }

    const fn body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }
}

/// See the module.
pub(super) static CALLS: &[Call] = &[
    get("/", READ, |_, m| on(m, page)).page(),
    get("/login", ANYBODY, |_, m| on(m, login::show)),
    post("/login", ANYBODY, |_, m| on(m, login::enter)),
    post("/logout", ANYBODY, |_, m| on(m, login::leave)),
    get("/chart.svg", READ, |d, m| on(m, chart::svg).with_state(d.easel.clone())),
    get("/chart.png", READ, |d, m| on(m, chart::png).with_state(d.easel.clone())),
    get("/healthz", ANYBODY, |_, m| on(m, healthz)),
    get("/readyz", ANYBODY, |_, m| on(m, readyz)),
    get("/metrics", READ, |d, m| on(m, metrics::answer).with_state(d.scrapes())),
    get("/check", READ, |_, m| on(m, check::all)),
    get("/check/{rule}", READ, |_, m| on(m, check::one)),
    // A signed link in a mail is its own permission; without one it takes the role.
    get("/ack/{incident}", READ, |_, m| on(m, forms::ack)).page(),
    post("/ack/{incident}", OPERATE, |_, m| on(m, forms::do_ack)).page(),
    get("/silence/{incident}", READ, |_, m| on(m, forms::silence)).page(),
    post("/silence/{incident}", OPERATE, |_, m| on(m, forms::do_silence)).page(),
    post("/-/reload", ADMIN, |_, m| on(m, reload::reload)),
    get("/api/v1/acks", READ, |_, m| on(m, acts::acks)),
    post("/api/v1/acks", OPERATE, |_, m| on(m, acts::acknowledge)),
    delete("/api/v1/acks/{incident}", OPERATE, |_, m| on(m, acts::unacknowledge)),
    get("/api/v1/alerts", READ, |_, m| on(m, api::alerts)),
    get("/api/v1/audit", READ, |_, m| on(m, past::audit)),
    post(backtest::PATH, OPERATE, |d, m| on(m, backtest::answer).with_state(d.own()))
        .body_max(limits::BACKTEST_BODY_BYTES),
    get("/api/v1/backup", ADMIN, |d, m| on(m, backup::answer).with_state(d.own())),
    get("/api/v1/deliveries", READ, |_, m| on(m, past::deliveries)),
    get("/api/v1/deploys", READ, |_, m| on(m, acts::deploys)),
    post("/api/v1/deploys", OPERATE, |_, m| on(m, acts::put_into_use)),
    delete("/api/v1/deploys/{id}", OPERATE, |_, m| on(m, acts::forget_deploy)),
    get(import::PATH, ADMIN, |d, m| on(m, import::about).with_state(d.own())),
    post(import::PATH, ADMIN, |d, m| on(m, import::take).with_state(d.own()))
        .body_max(limits::IMPORT_BODY_BYTES),
    get("/api/v1/incidents", READ, |_, m| on(m, past::incidents)),
    post(look::PATH, READ, |d, m| on(m, look::answer).with_state(d.own()))
        .body_max(limits::BACKTEST_BODY_BYTES),
    get("/api/v1/measure", READ, |d, m| on(m, measure::answer).with_state(d.own())),
    get("/api/v1/notify/test", READ, |_, m| on(m, acts::tested)),
    post("/api/v1/notify/test", OPERATE, |_, m| on(m, acts::test)),
    get("/api/v1/rules", READ, |_, m| on(m, api::rules)),
    get("/api/v1/silences", READ, |_, m| on(m, acts::silences)),
    post("/api/v1/silences", OPERATE, |_, m| on(m, acts::silence_it)),
    delete("/api/v1/silences/{id}", OPERATE, |_, m| on(m, acts::unsilence)),
];

/// The router of all calls; whoever makes one that is not theirs to make is turned away before it is looked at.
pub(super) fn router(shared: &Shared) -> Router<Shared> {
    let desks = Desks { shared: shared.clone(), easel: Desk::new(shared.clone()) };
    let mut paths: BTreeMap<&str, Vec<&'static Call>> = BTreeMap::new();
    for call in CALLS {
        paths.entry(call.path).or_default().push(call);
    }
    paths.into_iter().fold(Router::new(), |router, (path, calls)| {
        let methods = methods(&calls);
        let other = move || std::future::ready(Problem::Methods(methods.clone()));
        let answers = calls.into_iter().fold(MethodRouter::new(), |answers, call| {
            let door = access::Door { shared: shared.clone(), call };
            let answer = (call.answer)(&desks, call.verb.filter());
            answers.merge(answer.route_layer(from_fn_with_state(door, access::admit)))
        });
        router.route(path, answers.fallback(other))
    })
}

/// As `Allow` lists them.
fn methods(calls: &[&Call]) -> String {
    let words = calls.iter().map(|call| match call.verb {
        Verb::Get => "GET, HEAD",
        verb => verb.word(),
    });
    words.collect::<Vec<_>>().join(", ")
}

/// The largest body that is taken at this path.
pub(super) fn body_max(method: &str, path: &str) -> usize {
    let its = CALLS.iter().find(|call| call.path == path && call.verb.word() == method);
    its.map_or(limits::HTTP_BODY_BYTES, |call| call.body_max)
}
