//! The part of a `[[contact]]` that calls a webhook: its URL, what its body looks like, and what
//! proves who sends it.
//!
//! Everything that only one form of body has is refused with the others, so that no key is written in
//! vain.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{HeaderName, HeaderValue};

use super::model::{Secret, SigningKey, Webhook, WebhookFormat};
use super::read::Reader;
use super::section::{At, Place, Section};
use super::sink::{Fault, Finding, Sink, shown};
use super::template::Template;
use super::value;

/// Headers that belong to the courier, in lower case.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "webhook-id",
    "webhook-signature",
    "webhook-timestamp",
];

/// What a secret of the Standard Webhooks begins with; base64 follows.
const SECRET_PREFIX: &str = "whsec_";

/// The keys that belong to a webhook.
const KEYS: [&str; 7] =
    ["format", "template", "content_type", "routing_key_file", "secret_file", "ca_file", "headers"];

/// What `format` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Alertmanager,
    PagerDuty,
    Slack,
    Template,
}

const FORMS: [(&str, Form); 4] = [
    ("alertmanager", Form::Alertmanager),
    ("pagerduty", Form::PagerDuty),
    ("slack", Form::Slack),
    ("template", Form::Template),
];

pub(super) fn webhook(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Webhook> {
    let url = section.text("webhook", |text| value::secret_url(text).map(|_| Secret::new(text)));
    let form = section.one_of("format", &FORMS);
    let format = format(section, form, reader);
    let secret = secret(section, reader);
    let ca_pem = reader.certificates(section.text("ca_file", value::any));
    let headers = headers(section, reader.sink);
    if section.key_place("webhook").is_none() {
        for key in KEYS {
            section.forbid(key, "belongs to a `webhook`, and this contact has none");
        }
    }
    Some(Webhook { url: url?.value, format: format?, secret, ca_pem, headers })
}

/// What the body looks like; `None` where something that it needs is not there, or wrong.
fn format(
    section: &mut Section<'_>,
    form: Option<At<Form>>,
    reader: &Reader<'_>,
) -> Option<WebhookFormat> {
    // One that is no word of ours has been told; nobody knows what belongs to it.
    let is_known = form.is_some() || section.key_place("format").is_none();
    let place = form.map_or(section.place(), |form| form.place);
    let form = form.map_or(Form::Alertmanager, |form| form.value);
    let key = section.text("routing_key_file", value::any);
    let source = section.text("template", Ok);
    let content_type = section.text("content_type", content_type);
    let has_url = section.key_place("webhook").is_some();
    let only = |key: &'static str, of: Form, name: &str| {
        if is_known && has_url && form != of {
            section.forbid(key, &format!("belongs to `format = \"{name}\"`"));
        }
    };
    only("routing_key_file", Form::PagerDuty, "pagerduty");
    only("template", Form::Template, "template");
    only("content_type", Form::Template, "template");
    let lacks = |key: &str, help: &str| {
        let message = format!("this format needs `{key}`");
        reader.sink.error(Finding::new(place, message).help(help).absence());
    };
    match form {
        Form::Alertmanager => Some(WebhookFormat::Alertmanager),
        Form::Slack => Some(WebhookFormat::Slack),
        Form::PagerDuty => {
            if section.key_place("routing_key_file").is_none() {
                lacks("routing_key_file", "a file with the integration key of a PagerDuty service");
            }
            let routing_key = reader.secret(key, "the routing key", "routing key")?;
            Some(WebhookFormat::PagerDuty { routing_key })
        }
        Form::Template => {
            let Some(source) = source else {
                if section.key_place("template").is_none() {
                    lacks("template", "the text of the body, with {{ subject }} and the like");
                }
                return None;
            };
            let content_type = match content_type {
                Some(content_type) => content_type.value,
                None if section.key_place("content_type").is_some() => return None,
                None => "application/json",
            };
            template(&source, content_type, reader.sink)
        }
    }
}

fn template(source: &At<&str>, content_type: &str, sink: &Sink) -> Option<WebhookFormat> {
    match Template::new(source.value, content_type) {
        Ok(template) => Some(WebhookFormat::Template(template)),
        Err(error) => {
            let line = error.line.map(|line| format!("line {line} of it: ")).unwrap_or_default();
            // The text may be long, and hold what is nobody's business.
            let start = source.place.start;
            let place = Place { start, end: start + 1 };
            let message = "this template cannot be used";
            sink.error(Finding::new(place, message).label(format!("{line}{}", error.reason)));
            None
        }
    }
}

/// `application/json`, with parameters or without.
fn content_type(text: &str) -> Result<&str, Fault> {
    let is_token = |part: &str| {
        let good = |c: char| c.is_ascii_alphanumeric() || "!#$&-^_.+".contains(c);
        !part.is_empty() && part.chars().all(good)
    };
    let kind = text.split(';').next().unwrap_or_default().trim();
    let is_good = kind.split_once('/').is_some_and(|(of, kind)| is_token(of) && is_token(kind));
    if is_good && HeaderValue::from_str(text).is_ok() {
        return Ok(text);
    }
    let fault = Fault::new(format!("{} is not a content type", shown(text)));
    Err(fault.help("write it like \"application/json\" or \"text/plain; charset=utf-8\""))
}

/// The key that bodies are signed with: what is written behind `whsec_` in base64, or else the text.
fn secret(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<SigningKey> {
    let named = section.text("secret_file", value::any);
    let secret = reader.secret(named, "the secret", "secret")?;
    let Some(encoded) = secret.expose().strip_prefix(SECRET_PREFIX) else {
        return Some(SigningKey::new(secret.expose().as_bytes().to_vec()));
    };
    let decoded = STANDARD.decode(encoded).ok().filter(|key| !key.is_empty());
    if let (None, Some(named)) = (&decoded, named) {
        let message =
            format!("the secret in this file begins with {SECRET_PREFIX}, so base64 has to follow");
        reader.sink.error(Finding::new(named.place, message));
    }
    decoded.map(SigningKey::new)
}

/// Further headers. Their problems point at the name: the value is a secret.
fn headers(section: &mut Section<'_>, sink: &Sink) -> BTreeMap<String, Secret> {
    let mut seen = BTreeMap::new();
    let mut headers = BTreeMap::new();
    for (name, text) in section.free_table("headers").unwrap_or_default() {
        let lower = name.value.to_ascii_lowercase();
        let wrong = |message: String| sink.error(Finding::new(name.place, message));
        if HeaderName::from_bytes(name.value.as_bytes()).is_err() {
            // Perhaps the whole header was written into its name.
            sink.hide_place(name.place);
            wrong("this is not the name of a header".to_owned());
        } else if OWN_HEADERS.contains(&lower.as_str()) {
            wrong(format!("{} is set by tallyd itself", shown(name.value)));
        } else if HeaderValue::from_str(text.value).is_err() {
            wrong(format!("the value of {} holds what no header can", shown(name.value)));
        } else if let Some(first) = seen.insert(lower, name.place) {
            let message = format!("{} is written twice: case does not count", shown(name.value));
            sink.error(Finding::new(name.place, message).also(first, "first here"));
        } else {
            headers.insert(name.value.to_owned(), Secret::new(text.value));
        }
    }
    headers
}
