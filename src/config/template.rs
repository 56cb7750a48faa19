//! What a contact writes for its webhook's body: a template in the language of Jinja.
//!
//! A template is tried on samples when the configuration is read, so that a name that is not there, or
//! a body that is not the JSON that it is sent as, is an error with a line and not a message that
//! cannot be sent. It can reach nothing but what it is given, and neither run for long nor write
//! more than a bound. What a message gives it is the concern of whoever sends it; the samples here
//! have the same names and kinds, which a test there holds.

use std::fmt;
use std::io::{self, Write};
use std::sync::Arc;

use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior, Value};
use serde::Serialize;
use serde_json::json;

use crate::limits;

/// A template that was tried, and what its bodies are.
#[derive(Clone)]
pub struct Template {
    environment: Arc<Environment<'static>>,
    source: Arc<str>,
    content_type: String,
}

/// Why a template writes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateError {
    /// Which line of it, from 1, where that is known.
    pub line: Option<usize>,
    /// In plain words.
    pub reason: String,
}

/// The name by which the environment has it.
const NAME: &str = "body";

/// How what stands in a body is escaped.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Escape {
    Json,
    Html,
    Nothing,
}

impl Template {
    /// Reads a template and tries it on every sample.
    ///
    /// # Errors
    /// Where it is no template, or cannot be applied to one of the samples.
    pub fn new(source: &str, content_type: &str) -> Result<Self, TemplateError> {
        let mut environment = Environment::new();
        let escape = match Escape::of(content_type) {
            Escape::Json => AutoEscape::Json,
            Escape::Html => AutoEscape::Html,
            Escape::Nothing => AutoEscape::None,
        };
        environment.set_auto_escape_callback(move |_| escape.clone());
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(limits::TEMPLATE_FUEL));
        environment.add_template_owned(NAME, source.to_owned()).map_err(told)?;
        let template = Self {
            environment: Arc::new(environment),
            source: source.into(),
            content_type: content_type.to_owned(),
        };
        for sample in samples() {
            let body = template.render(&sample)?;
            template.check(&body)?;
        }
        Ok(template)
    }

    /// The body that it makes of what is known about a message.
    ///
    /// # Errors
    /// Where a name is not there, or it would take too long or become too long.
    pub fn render(&self, known: &impl Serialize) -> Result<String, TemplateError> {
        let template = self.environment.get_template(NAME).map_err(told)?;
        let mut body = Bounded(Vec::new());
        let known = Value::from(Serde(known));
        template.render_captured_to(known, &mut body).map_err(told)?;
        String::from_utf8(body.0)
            .map_err(|_| TemplateError { line: None, reason: "it writes no text".to_owned() })
    }

    /// What its bodies are: `application/json`.
    #[must_use]
    pub fn content_type(&self) -> &str {
        &self.content_type
    }

    fn check(&self, body: &str) -> Result<(), TemplateError> {
        if Escape::of(&self.content_type) != Escape::Json {
            return Ok(());
        }
        let read: Result<serde_json::Value, _> = serde_json::from_str(body);
        read.map(drop).map_err(|error| TemplateError {
            line: None,
            reason: format!(
                "what it writes is not JSON: {error}. A value in {{{{ }}}} brings its own quotes"
            ),
        })
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, content_type, .. } = self;
        f.debug_struct("Template")
            .field("source", source)
            .field("content_type", content_type)
            .finish()
    }
}

impl PartialEq for Template {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.content_type) == (&other.source, &other.content_type)
    }
}

impl Eq for Template {}

impl Escape {
    fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind.ends_with("json") {
            Self::Json
        } else if kind.ends_with("html") || kind.ends_with("xml") {
            Self::Html
        } else {
            Self::Nothing
        }
    }
}

/// As much as a body may have.
struct Bounded(Vec<u8>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > limits::TEMPLATE_BYTES {
            let most = limits::TEMPLATE_BYTES / 1024;
            return Err(io::Error::other(format!("it writes more than {most} KiB")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The library's account of an error, without the name that the template has here. Causes are told
/// where they say more.
#[expect(clippy::needless_pass_by_value, reason = "it is what `map_err` hands over")]
fn told(error: Error) -> TemplateError {
    let mut reason = match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    };
    if let Some(cause) = std::error::Error::source(&error) {
        reason = format!("{reason}: {cause}");
    }
    let reason = reason.replace(&format!(" (in {NAME}:"), " (at line ");
    TemplateError { line: error.line().filter(|line| *line > 0), reason }
}

/// What a template may be given: something that begins, with several instances and every text there
/// is; something that ends, with as little as there may be; and a sign of life.
#[must_use]
pub fn samples() -> [serde_json::Value; 3] {
    let alert = json!({
        "incident": "i19b8c-1",
        "rule": "orders-drop",
        "title": "orders-drop{region=eu}",
        "labels": { "region": "eu" },
        "summary": "Orders fell by half \"against\" last week",
        "runbook": "https://wiki.example/orders",
        "status": "firing",
        "kind": "firing",
        "level": "critical",
        "was": "ok",
        "happened": "It became critical.",
        "value": 12.4,
        "value_text": "12.4 per minute",
        "began": 12.4,
        "worst": 3.0,
        "threshold": "critical below -50, until at least -40",
        "problem": "",
        "opened": "2026-01-05T00:00:00Z",
        "since": "2026-01-05T00:00:30Z",
        "ended": null,
    });
    let mut other = alert.clone();
    let mut over = alert.clone();
    let ended = json!({
        "labels": {},
        "summary": "",
        "runbook": "",
        "status": "resolved",
        "kind": "recovered",
        "level": "ok",
        "was": "critical",
        "value": null,
        "began": null,
        "worst": null,
        "threshold": "",
        "ended": "2026-01-05T00:05:00Z",
    });
    merge(&mut other, &json!({ "level": "warning", "kind": "worse" }));
    merge(&mut over, &ended);
    let begins = json!({
        "id": "m19b8c-2",
        "contact": "hub",
        "at": "2026-01-05T00:00:30Z",
        "status": "firing",
        "level": "critical",
        "subject": "[CRITICAL] 2 alerts: orders-drop{region=eu}, …",
        "is_test": true,
        "is_unsaved": true,
        "is_heartbeat": false,
        "note": "This is a test.",
        "server": "http://127.0.0.1:8311",
        "alerts": [alert, other],
    });
    let mut ends = begins.clone();
    let words = json!({
        "status": "resolved", "level": "ok", "is_test": false, "is_unsaved": false, "note": "",
        "alerts": [over],
    });
    merge(&mut ends, &words);
    let mut beats = ends.clone();
    let words = json!({
        "subject": "tallyd is well", "status": "heartbeat", "is_heartbeat": true, "alerts": [],
    });
    merge(&mut beats, &words);
    [begins, ends, beats]
}

fn merge(into: &mut serde_json::Value, more: &serde_json::Value) {
    let (Some(into), Some(more)) = (into.as_object_mut(), more.as_object()) else { return };
    into.extend(more.iter().map(|(name, value)| (name.clone(), value.clone())));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(source: &str, content_type: &str) -> (Option<usize>, String) {
        let error = Template::new(source, content_type).unwrap_err();
        (error.line, error.reason)
    }

    #[test]
    fn what_is_wrong_is_found_before_anything_is_sent() {
        let json = "application/json";
        let (line, reason) = wrong("{\n{% if %}", json);
        assert_eq!(line, Some(2), "{reason}");
        let (line, reason) = wrong("[\n{{ nobody }}]", json);
        assert_eq!((line, reason.contains("undefined")), (Some(2), true), "{reason}");
        let (_, reason) = wrong("{\"text\": \"{{ subject }}\"}", json);
        assert!(reason.starts_with("what it writes is not JSON"), "{reason}");
        let (_, reason) = wrong("{% include 'x' %}", "text/plain");
        assert!(!reason.is_empty());
        let (_, reason) = wrong("{{ alerts[0].title }}", "text/plain");
        assert!(reason.contains("undefined"), "a heartbeat has no alerts: {reason}");
    }

    #[test]
    fn neither_time_nor_room_is_without_end() {
        let nested =
            "{% for a in range(10000) %}{% for b in range(10000) %}{{ b }}{% endfor %}{% endfor %}";
        let (_, reason) = wrong(nested, "text/plain");
        assert!(reason.contains("fuel") || reason.contains("KiB"), "{reason}");
        let (_, reason) = wrong(
            "{% for a in range(90000) %}0123456789012345678901234567890{% endfor %}",
            "text/plain",
        );
        assert!(reason.contains("fuel") || reason.contains("KiB"), "{reason}");
    }

    #[test]
    fn what_stands_in_a_body_is_escaped_by_what_the_body_is() {
        let render = |source: &str, content_type: &str| {
            let template = Template::new(source, content_type).unwrap();
            let mut known = samples()[1].clone();
            merge(&mut known, &json!({ "contact": "a\"b<c>&d\n" }));
            template.render(&known).unwrap()
        };
        let json = render("{\"to\": {{ contact }}}", "application/vnd.x+json; charset=utf-8");
        let read: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(read["to"], "a\"b<c>&d\n");
        assert_eq!(render("{{ contact }}", "text/html"), "a&quot;b&lt;c&gt;&amp;d\n");
        assert_eq!(render("{{ contact }}", "text/plain"), "a\"b<c>&d\n");
        assert_eq!(
            render("to={{ contact|urlencode }}", "application/x-www-form-urlencoded"),
            "to=a%22b%3Cc%3E%26d%0A"
        );
    }
}
