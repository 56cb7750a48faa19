//! Every call that this face answers, each with its path, who may make it, and what it takes: one table, from
//! which the router is made. No path is answered that does not stand here, and none without saying who may.

use std::collections::BTreeMap;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::super::Shared;
use super::asks::{self, Ask};
use super::desk::Desk;
use super::{
    Problem, access, acts, api, backtest, backup, chart, check, forms, healthz, import, login,
    look, measure, metrics, openapi, page, past, readyz, reload,
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
    /// What it is for, in a line.
    pub(super) about: &'static str,
    /// What stands in its query.
    pub(super) asks: &'static [Ask],
    pub(super) takes: Takes,
    /// The content type of what it answers.
    pub(super) gives: &'static str,
    answer: Answer,
}

/// What a body holds.
#[derive(Clone, Copy)]
pub(super) enum Takes {
    Nothing,
    Json(&'static [Ask]),
    Form(&'static [Ask]),
    /// Text of this content type.
    Text(&'static str),
}

const HTML: &str = "text/html";
const TEXT: &str = "text/plain";
const JSON: &str = "application/json";

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

const fn get(path: &'static str, role: Option<Role>, about: &'static str, answer: Answer) -> Call {
    let (verb, body_max, is_page) = (Verb::Get, limits::HTTP_BODY_BYTES, false);
    let (asks, takes, gives) = (&[], Takes::Nothing, JSON);
    Call { verb, path, role, body_max, is_page, about, asks, takes, gives, answer }
}

const fn post(path: &'static str, role: Option<Role>, about: &'static str, answer: Answer) -> Call {
    Call { verb: Verb::Post, ..get(path, role, about, answer) }
}

const fn delete(
    path: &'static str,
    role: Option<Role>,
    about: &'static str,
    answer: Answer,
) -> Call {
    Call { verb: Verb::Delete, ..get(path, role, about, answer) }
}

impl Call {
    const fn page(self) -> Self {
        Self { is_page: true, gives: HTML, ..self }
    }

    const fn asks(self, asks: &'static [Ask]) -> Self {
        Self { asks, ..self }
    }

    const fn takes(self, takes: Takes) -> Self {
        Self { takes, ..self }
    }

    const fn gives(self, gives: &'static str) -> Self {
        Self { gives, ..self }
    }

    const fn body_max(self, body_max: usize) -> Self {
        Self { body_max, ..self }
    }
}

/// See the module.
pub(super) static CALLS: &[Call] = &[
    get("/", READ, "The page.", |_, m| on(m, page)).page(),
    get("/login", ANYBODY, "A form that takes a token.", |_, m| on(m, login::show))
        .asks(asks::LOGIN)
        .gives(HTML),
    post("/login", ANYBODY, "Begins a session of a browser.", |_, m| on(m, login::enter))
        .takes(Takes::Form(asks::LOGIN_FORM))
        .gives(HTML),
    post("/logout", ANYBODY, "Ends it.", |_, m| on(m, login::leave)).gives(HTML),
    get("/chart.svg", READ, "A measure over the last while, as a picture.", |d, m| {
        on(m, chart::svg).with_state(d.easel.clone())
    })
    .asks(asks::CHART)
    .gives("image/svg+xml"),
    get("/chart.png", READ, "The same, of dots.", |d, m| {
        on(m, chart::png).with_state(d.easel.clone())
    })
    .asks(asks::CHART)
    .gives("image/png"),
    get("/healthz", ANYBODY, "Whether windows are being closed.", |_, m| on(m, healthz))
        .gives(TEXT),
    get("/readyz", ANYBODY, "Whether all is done that is configured.", |_, m| on(m, readyz))
        .gives(TEXT),
    get("/metrics", READ, "Every total and gauge, for Prometheus.", |d, m| {
        on(m, metrics::answer).with_state(d.scrapes())
    })
    .gives(TEXT),
    get("/check", READ, "The state of all rules, as a Nagios plugin prints it.", |_, m| {
        on(m, check::all)
    })
    .asks(asks::CHECK_ALL)
    .gives(TEXT),
    get("/check/{rule}", READ, "The state of a rule, as a Nagios plugin prints it.", |_, m| {
        on(m, check::one)
    })
    .asks(asks::CHECK)
    .gives(TEXT),
    // A signed link in a mail is its own permission; without one it takes the role.
    get("/ack/{incident}", READ, "A form that acknowledges.", |_, m| on(m, forms::ack))
        .asks(asks::LINK)
        .page(),
    post("/ack/{incident}", OPERATE, "Acknowledges.", |_, m| on(m, forms::do_ack))
        .asks(asks::LINK)
        .takes(Takes::Form(asks::ACK_FORM))
        .page(),
    get("/silence/{incident}", READ, "A form that silences.", |_, m| on(m, forms::silence))
        .asks(asks::LINK)
        .page(),
    post("/silence/{incident}", OPERATE, "Silences.", |_, m| on(m, forms::do_silence))
        .asks(asks::LINK)
        .takes(Takes::Form(asks::SILENCE_FORM))
        .page(),
    post("/-/reload", ADMIN, "Reads the configuration again.", |_, m| on(m, reload::reload)),
    get("/api/v1/acks", READ, "Who looks after what.", |_, m| on(m, acts::acks)),
    post("/api/v1/acks", OPERATE, "Says that somebody looks after incidents.", |_, m| {
        on(m, acts::acknowledge)
    })
    .takes(Takes::Json(asks::ACK)),
    delete("/api/v1/acks/{incident}", OPERATE, "Says that nobody does any more.", |_, m| {
        on(m, acts::unacknowledge)
    })
    .asks(asks::UNACK),
    get("/api/v1/alerts", READ, "What fires, as Prometheus answers it.", |_, m| on(m, api::alerts)),
    get("/api/v1/audit", READ, "All that happened.", |_, m| on(m, past::audit)).asks(asks::PAST),
    post(
        backtest::PATH,
        OPERATE,
        "When rules would have fired; the body has them, or it is the server's own.",
        |d, m| on(m, backtest::answer).with_state(d.own()),
    )
    .asks(asks::BACKTEST)
    .takes(Takes::Text("application/toml"))
    .body_max(limits::BACKTEST_BODY_BYTES),
    get("/api/v1/backup", ADMIN, "All that the server knows, as a tar.", |d, m| {
        on(m, backup::answer).with_state(d.own())
    })
    .gives("application/x-tar"),
    get("/api/v1/deliveries", READ, "What waits, or was given up.", |_, m| on(m, past::deliveries))
        .asks(asks::PAST),
    get("/api/v1/deploys", READ, "What was put into use.", |_, m| on(m, acts::deploys)),
    post("/api/v1/deploys", OPERATE, "Notes that something was put into use.", |_, m| {
        on(m, acts::put_into_use)
    })
    .takes(Takes::Json(asks::DEPLOY)),
    delete("/api/v1/deploys/{id}", OPERATE, "Forgets it.", |_, m| on(m, acts::forget_deploy)),
    get(import::PATH, ADMIN, "What can be imported now.", |d, m| {
        on(m, import::about).with_state(d.own())
    })
    .asks(asks::IMPORT),
    post(import::PATH, ADMIN, "Takes rows of history.", |d, m| {
        on(m, import::take).with_state(d.own())
    })
    .asks(asks::IMPORT)
    .takes(Takes::Text("text/csv"))
    .body_max(limits::IMPORT_BODY_BYTES),
    get("/api/v1/incidents", READ, "What is open and what was.", |_, m| on(m, past::incidents))
        .asks(asks::PAST),
    post(
        look::PATH,
        READ,
        "Which rules watch nothing; the body has them, or it is the server's own.",
        |d, m| on(m, look::answer).with_state(d.own()),
    )
    .takes(Takes::Text("application/toml"))
    .body_max(limits::BACKTEST_BODY_BYTES),
    get("/api/v1/measure", READ, "A measure of some series, now or along a range.", |d, m| {
        on(m, measure::answer).with_state(d.own())
    })
    .asks(asks::MEASURES),
    get("/api/v1/notify/test", READ, "How a test message fared.", |_, m| on(m, acts::tested))
        .asks(asks::TESTED),
    post("/api/v1/notify/test", OPERATE, "Sends a message that says that it is a test.", |_, m| {
        on(m, acts::test)
    })
    .takes(Takes::Json(asks::TEST)),
    get("/api/v1/openapi.json", READ, "This.", |_, m| on(m, openapi::answer)),
    get("/api/v1/rules", READ, "Rules and their states, as Prometheus answers them.", |_, m| {
        on(m, api::rules)
    })
    .asks(asks::RULES),
    get("/api/v1/silences", READ, "Silences that are not over.", |_, m| on(m, acts::silences)),
    post("/api/v1/silences", OPERATE, "Silences rules or series for a while.", |_, m| {
        on(m, acts::silence_it)
    })
    .takes(Takes::Json(asks::SILENCE)),
    delete("/api/v1/silences/{id}", OPERATE, "Ends a silence before its time.", |_, m| {
        on(m, acts::unsilence)
    })
    .asks(asks::UNACK),
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
