//! `/ack/{incident}` and `/silence/{incident}`: where links in mails lead, and those of the page.
//!
//! GET and HEAD show a form and change nothing, whoever follows the link: programs look through mail too.
//! Only POST does something. A signed link is its own permission, so it works through any proxy, under any
//! name and from any page: whoever has it may do that one thing, to that one incident, and nothing else;
//! doing it twice is doing it once, and the second is told who was first. A request without a signature is
//! one of this machine, and was held against the rules for these before it comes here (`access`).

use axum::Form;
use axum::extract::rejection::{FormRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use serde::Deserialize;

use super::super::{Shared, page};
use super::blocking;
use crate::notify::links::{Invalid, Link, Purpose};
use crate::notify::{Incident, Refusal, Silence};
use crate::reason::{cut, one_line};
use crate::series::Pattern;
use crate::time::{Span, Timestamp};

/// What stands in a link.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Signed {
    r#for: String,
    until: String,
    signature: Option<String>,
}

/// What stands in a form.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Filled {
    who: String,
    comment: String,
    span: String,
}

type Followed = Result<Query<Signed>, QueryRejection>;

/// Within this time the same is meant.
const AGAIN: Span = Span::from_secs(5 * 60);

/// How long silences of the form are.
const SPANS: [(&str, &str); 5] =
    [("1h", "an hour"), ("4h", "4 hours"), ("12h", "12 hours"), ("1d", "a day"), ("1w", "a week")];

/// What a browser may do with these pages: show them, and send their form back to where it came from.
pub(super) const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; \
     form-action 'self'; frame-ancestors 'none'";

/// `GET /ack/{incident}`
pub(super) async fn ack(shared: State<Shared>, path: Path<String>, followed: Followed) -> Response {
    show(shared, path, followed, Purpose::Acknowledge).await
}

/// `GET /silence/{incident}`
pub(super) async fn silence(
    shared: State<Shared>,
    path: Path<String>,
    followed: Followed,
) -> Response {
    show(shared, path, followed, Purpose::Silence).await
}

/// `POST /ack/{incident}`
pub(super) async fn do_ack(
    shared: State<Shared>,
    path: Path<String>,
    followed: Followed,
    filled: Result<Form<Filled>, FormRejection>,
) -> Response {
    act(shared, path, followed, filled, Purpose::Acknowledge).await
}

/// `POST /silence/{incident}`
pub(super) async fn do_silence(
    shared: State<Shared>,
    path: Path<String>,
    followed: Followed,
    filled: Result<Form<Filled>, FormRejection>,
) -> Response {
    act(shared, path, followed, filled, Purpose::Silence).await
}

async fn show(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    followed: Followed,
    purpose: Purpose,
) -> Response {
    blocking(move || {
        let asked = Asked::of(&shared, &id, followed, purpose);
        asked.map_or_else(Answer::into_response, |asked| asked.form(&shared).into_response())
    })
    .await
}

async fn act(
    State(shared): State<Shared>,
    Path(id): Path<String>,
    followed: Followed,
    filled: Result<Form<Filled>, FormRejection>,
    purpose: Purpose,
) -> Response {
    blocking(move || {
        let Ok(Form(filled)) = filled else {
            let wrong = "What came is not the form of this page.";
            return Answer::new(StatusCode::BAD_REQUEST, "Not understood", wrong).into_response();
        };
        let done = Asked::of(&shared, &id, followed, purpose).and_then(|asked| match purpose {
            Purpose::Acknowledge => asked.acknowledge(&shared, &filled),
            Purpose::Silence => asked.silence(&shared, &filled),
        });
        done.unwrap_or_else(|problem| problem).into_response()
    })
    .await
}

/// A request that may do what it is for.
struct Asked {
    purpose: Purpose,
    incident: Incident,
    /// To whom the link was sent; none for a form of the page.
    contact: Option<String>,
    /// Where the form goes back to: the path and what makes it valid.
    action: String,
}

/// A page that says one thing, or holds a form.
struct Answer {
    status: StatusCode,
    title: String,
    text: String,
    form: Option<Markup>,
}

impl Answer {
    fn new(status: StatusCode, title: &str, text: &str) -> Self {
        Self { status, title: title.to_owned(), text: text.to_owned(), form: None }
    }
}

impl Asked {
    fn of(shared: &Shared, id: &str, followed: Followed, purpose: Purpose) -> Result<Self, Answer> {
        let forged = || Answer::of_invalid(Invalid::Forged);
        let Query(signed) = followed.map_err(|_| forged())?;
        let mut action = format!("/{}/{id}", purpose.path());
        let contact = match &signed.signature {
            None => None,
            Some(signature) => {
                let until = signed.until.parse().map(Timestamp::from_secs).map_err(|_| forged())?;
                let link = Link { purpose, incident: id, contact: &signed.r#for, until };
                let checked = shared.links.check(&link, signature, shared.now());
                checked.map_err(Answer::of_invalid)?;
                action = shared.links.url("", &link);
                Some(signed.r#for.clone())
            }
        };
        // Behind a proxy the path may begin with more than we know, so the form goes back to where it is.
        let action = action.rsplit('/').next().unwrap_or_default().to_owned();
        let found =
            shared.engine.view(|view| view.incidents.iter().find(|one| *one.id == *id).cloned());
        let incident = found.ok_or_else(|| {
            let text = "There is no such incident, or it is too long ago.";
            Answer::new(StatusCode::NOT_FOUND, "Not found", text)
        })?;
        Ok(Self { purpose, incident, contact, action })
    }

    /// What a GET shows.
    fn form(&self, shared: &Shared) -> Answer {
        if self.incident.closed.is_some() {
            return self.over();
        }
        match self.purpose {
            Purpose::Acknowledge if self.incident.ack.is_some() => self.acknowledged(false),
            Purpose::Acknowledge => self.ask("Acknowledge", "Acknowledge it", &html! {
                p { "Nothing more is told of it then, until it gets worse or is over." }
            }),
            Purpose::Silence => match self.silenced_by(shared, shared.now()) {
                Some(silence) => self.silenced(&silence, false),
                None => self.ask("Silence", "Silence it", &html! {
                    p { "Nothing is told of " code { (self.pattern()) } " then, but recoveries." }
                    p { label { "For "
                        select name="span" {
                            @for (span, name) in SPANS { option value=(span) { (name) } }
                        } } }
                }),
            },
        }
    }

    fn ask(&self, title: &str, button: &str, more: &Markup) -> Answer {
        let form = html! {
            (self.about())
            form method="post" action=(self.action) {
                (more)
                p { label { "Who are you? " input name="who" maxlength="100" autocomplete="name"
                    placeholder=(self.contact.as_deref().unwrap_or("optional")); } }
                p { label { "Comment " input name="comment" maxlength="500"; } }
                p { button type="submit" { (button) } }
            }
        };
        Answer { form: Some(form), ..Answer::new(StatusCode::OK, title, "") }
    }

    /// What it is about.
    fn about(&self) -> Markup {
        let Incident { level, since, rule, .. } = &self.incident;
        html! {
            p { strong .state .(level.word()) { (level.name()) } " " (one_line(&self.incident.title()))
                " since " (since.in_system_zone()) }
            @if !rule.summary.is_empty() { p { (rule.summary) } }
        }
    }

    fn acknowledge(&self, shared: &Shared, filled: &Filled) -> Result<Answer, Answer> {
        let (who, comment) = (self.who(filled), text(&filled.comment));
        let done = shared.engine.acknowledge(&self.incident.id, &who, &comment, shared.now());
        let done = match done {
            Ok(done) => done,
            Err(Refusal::Over(_)) => return Err(self.over()),
            Err(refusal) => return Err(Answer::of_refusal(&refusal)),
        };
        let mut incident = self.incident.clone();
        incident.ack = Some(done.ack);
        let action = self.action.clone();
        let contact = self.contact.clone();
        Ok(Self { purpose: self.purpose, incident, contact, action }.acknowledged(done.is_new))
    }

    fn acknowledged(&self, is_new: bool) -> Answer {
        let Some(ack) = &self.incident.ack else { return self.over() };
        let who = if ack.author.is_empty() { "somebody" } else { &ack.author };
        let comment = match ack.comment.as_str() {
            "" => String::new(),
            comment => format!(" “{comment}”"),
        };
        let text = format!(
            "{} is acknowledged by {who} since {}.{comment}",
            one_line(&self.incident.title()),
            ack.at.in_system_zone()
        );
        let title = if is_new { "Acknowledged" } else { "Acknowledged already" };
        Answer::new(StatusCode::OK, title, &text)
    }

    fn silence(&self, shared: &Shared, filled: &Filled) -> Result<Answer, Answer> {
        if self.incident.closed.is_some() {
            return Err(self.over());
        }
        let span = SPANS.iter().find(|(span, _)| *span == filled.span);
        let span = span.and_then(|(span, _)| span.parse::<Span>().ok()).ok_or_else(|| {
            let text = "The form says for how long: one of the lengths that it offers.";
            Answer::new(StatusCode::BAD_REQUEST, "Not understood", text)
        })?;
        let pattern: Pattern = self.pattern().parse().map_err(|_| {
            let text = "Its name cannot be written as a pattern; silence it with tallyd silence.";
            Answer::new(StatusCode::BAD_REQUEST, "Not possible", text)
        })?;
        let now = shared.now();
        // A button that is pressed twice makes one; a longer time than is left makes another.
        if let Some(silence) = self.silenced_by(shared, now + span - AGAIN) {
            return Ok(self.silenced(&silence, false));
        }
        let silence = Silence {
            id: "".into(),
            rule: Some(pattern),
            series: None,
            from: now,
            until: Some(now + span),
            schedule: None,
            author: self.who(filled),
            comment: text(&filled.comment),
            made: now,
        };
        let made = shared.engine.silence(silence, now);
        let made = made.map_err(|refusal| Answer::of_refusal(&refusal))?;
        Ok(self.silenced(&made, true))
    }

    fn silenced(&self, silence: &Silence, is_new: bool) -> Answer {
        let who = if silence.author.is_empty() { "somebody" } else { &silence.author };
        let until =
            silence.until.map_or_else(String::new, |at| format!(" until {}", at.in_system_zone()));
        let text = format!(
            "{} is silenced by {who}{until}. `tallyd unsilence {}` ends that before.",
            one_line(&self.incident.title()),
            silence.id
        );
        Answer::new(StatusCode::OK, if is_new { "Silenced" } else { "Silenced already" }, &text)
    }

    /// A silence of this very instance that holds now, and until then at least.
    fn silenced_by(&self, shared: &Shared, until: Timestamp) -> Option<Silence> {
        let now = shared.now();
        let pattern = self.pattern();
        shared.engine.view(|view| {
            let its = |one: &&Silence| {
                one.rule.as_ref().is_some_and(|rule| rule.to_string() == pattern)
                    && one.series.is_none()
                    && one.schedule.is_none()
                    && one.from <= now
                    && one.until.is_none_or(|end| end >= until)
            };
            view.incidents.silences().iter().find(its).cloned()
        })
    }

    /// The instance as a silence names it: `errors-high{host="a"}`.
    fn pattern(&self) -> String {
        let name = &self.incident.rule.name;
        let quoted = |text: &str| text.replace('\\', r"\\").replace('"', r#"\""#);
        let tags = self.incident.labels.iter();
        let tags: Vec<_> =
            tags.map(|(tag, value)| format!("{tag}=\"{}\"", quoted(value))).collect();
        if tags.is_empty() { name.clone() } else { format!("{name}{{{}}}", tags.join(",")) }
    }

    fn over(&self) -> Answer {
        let title = one_line(&self.incident.title());
        let text = match self.incident.closed {
            Some(at) => {
                format!("{title} is over since {}; there is nothing to do.", at.in_system_zone())
            }
            None => format!("{title} is over; there is nothing to do."),
        };
        Answer::new(StatusCode::OK, "Over", &text)
    }

    /// Who does it: the name that was given, and in any case to whom the link was sent.
    fn who(&self, filled: &Filled) -> String {
        let who = cut(&one_line(&filled.who), 100);
        match (&self.contact, who.is_empty()) {
            (None, true) => "the page".to_owned(),
            (None, false) => who,
            (Some(contact), true) => cut(&format!("{} (by mail)", one_line(contact)), 100),
            (Some(contact), false) => {
                format!("{} (by mail to {})", cut(&who, 60), cut(&one_line(contact), 40))
            }
        }
    }
}

fn text(comment: &str) -> String {
    cut(&one_line(comment), 500)
}

impl Answer {
    fn of_invalid(invalid: Invalid) -> Self {
        let (status, title) = match invalid {
            Invalid::Forged => (StatusCode::FORBIDDEN, "Not valid"),
            Invalid::Expired => (StatusCode::GONE, "Expired"),
        };
        let text = format!(
            "Sorry, {invalid}. Nothing was changed. `tallyd ack` and `tallyd silence` do the same."
        );
        Self::new(status, title, &text)
    }

    fn of_refusal(refusal: &Refusal) -> Self {
        Self::new(StatusCode::CONFLICT, "Not done", &format!("It was not done: {refusal}."))
    }

    fn page(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="robots" content="noindex";
                    title { (self.title) " – tallyd" }
                    style { (PreEscaped(page::STYLE)) }
                }
                body {
                    h1 { (self.title) }
                    @if !self.text.is_empty() { p { (self.text) } }
                    @if let Some(form) = &self.form { (form) }
                }
            }
        }
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        // Not `no-referrer`: with it a browser sends the form with no origin, which is turned away.
        let headers = [
            (CONTENT_TYPE, "text/html; charset=utf-8"),
            (CONTENT_SECURITY_POLICY, POLICY),
            (REFERRER_POLICY, "same-origin"),
        ];
        (self.status, headers, self.page().into_string()).into_response()
    }
}
