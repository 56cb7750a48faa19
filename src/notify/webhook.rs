//! The courier that calls a webhook.
//!
//! Each attempt is one POST over a connection of its own, directly to the host in the URL: no
//! redirect is followed, since it would carry the headers to whoever the answer names, and no proxy
//! is taken from the environment. Of the URL only the origin is ever told, and a server's answer is
//! told only where it repeats nothing secret.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER, USER_AGENT};
use reqwest::{Client, Response, StatusCode, Url};

use super::message::Message;
use super::outbox::{Outcome, Progress};
use super::reason::{self, later, refused};
use super::redact::Redact;
use super::{alertmanager, fingerprint, pagerduty, signature, slack, template};
use crate::config::{Webhook, WebhookFormat};
use crate::limits;
use crate::time::{Span, Timestamp};
use crate::trust;

/// Calls one contact's webhook.
pub(super) struct WebhookCourier {
    webhook: Webhook,
    redact: Redact,
    /// A number of where it calls, and in which form.
    form: u64,
    /// Made when first needed, since that reads the system's certificates and may fail.
    client: OnceLock<Client>,
}

/// Longest wait that a server may ask for.
const RETRY_AFTER_MAX: Span = Span::from_secs(3600);

/// For an answer's body; what it would add to the reason is not worth more.
const REPLY_PATIENCE: Duration = Duration::from_secs(2);

impl WebhookCourier {
    pub(super) fn new(webhook: &Webhook) -> Self {
        let mut redact = Redact::default();
        if let Ok(url) = webhook.url.expose().parse() {
            redact.add_url(&url);
        }
        webhook.headers.values().for_each(|value| redact.add_header(value));
        if let WebhookFormat::PagerDuty { routing_key } = &webhook.format {
            redact.add(routing_key.expose());
        }
        Self { webhook: webhook.clone(), redact, form: form(webhook), client: OnceLock::new() }
    }

    /// One attempt, made at `now`. Where a message goes in parts, those that were dealt with before
    /// are left out.
    pub(super) async fn send(
        &self,
        message: &Message,
        progress: &Progress,
        now: Timestamp,
    ) -> Outcome {
        let bodies = match self.bodies(message) {
            Ok(bodies) => bodies,
            Err(outcome) => return outcome,
        };
        progress.begin(self.form);
        for (part, body) in bodies.iter().enumerate().skip(progress.parts()) {
            let id = part_id(&message.id, part);
            match self.call(&id, body.clone(), now).await {
                Outcome::Later { reason, after } => return Outcome::Later { reason, after },
                Outcome::Delivered => progress.pass(None),
                Outcome::Refused { reason } => progress.pass(Some(reason)),
            }
        }
        match progress.refused() {
            None => Outcome::Delivered,
            Some((_, reason)) if bodies.len() == 1 => refused(reason),
            Some((count, reason)) => refused(format!(
                "{count} of its {} parts were refused, the first because {reason}",
                bodies.len()
            )),
        }
    }

    /// A sign of life, which is not tried again: the next one follows in a minute.
    pub(super) async fn beat(&self, contact: &str, public_url: &str, now: Timestamp) -> Outcome {
        let body = match &self.webhook.format {
            WebhookFormat::Alertmanager => alertmanager::heartbeat(contact, public_url, now),
            WebhookFormat::Slack => slack::heartbeat(public_url),
            WebhookFormat::PagerDuty { .. } => return refused("PagerDuty knows no sign of life"),
            WebhookFormat::Template(template) => {
                match template.render(&template::heartbeat(contact, public_url, now)) {
                    Ok(body) => body,
                    Err(error) => return refused(error.reason),
                }
            }
        };
        let id = format!("heartbeat-{:x}", now.as_millis());
        self.call(&id, body, now).await
    }

    /// What is to be sent, in order: mostly one.
    fn bodies(&self, message: &Message) -> Result<Vec<String>, Outcome> {
        Ok(match &self.webhook.format {
            WebhookFormat::Alertmanager => alertmanager::bodies(message),
            WebhookFormat::Slack => vec![slack::body(message)],
            WebhookFormat::PagerDuty { routing_key } => pagerduty::bodies(message, routing_key),
            WebhookFormat::Template(template) => {
                let body = template.render(&template::known(message)).map_err(|error| {
                    refused(format!("the contact's template cannot be used: {}", error.reason))
                })?;
                vec![body]
            }
        })
    }

    /// One POST.
    async fn call(&self, id: &str, body: String, now: Timestamp) -> Outcome {
        let Ok(url) = self.webhook.url.expose().parse::<Url>() else {
            return refused("the webhook's URL cannot be read");
        };
        let origin = url.origin().ascii_serialization();
        let headers = match self.headers(id, &body, now) {
            Ok(headers) => headers,
            Err(name) => return refused(format!("the header `{name}` cannot be sent")),
        };
        let client = match self.client(&url) {
            Ok(client) => client,
            Err(cause) => return later(format!("cannot prepare a call to {origin}: {cause}")),
        };
        match client.post(url).headers(headers).body(body).send().await {
            Ok(response) => self.judge(response, &origin, now).await,
            Err(error) => {
                let cause = reason::of(&error.without_url());
                // Such a cause is not known to hold anything of the URL; this makes sure.
                let cause = self.redact.cause(cause, "the call failed");
                later(format!("{origin}: {cause}"))
            }
        }
    }

    /// All headers, or the name of one that is not well formed. The contact's own may replace the
    /// first, not those that identify the message or say what it is.
    fn headers(&self, id: &str, body: &str, now: Timestamp) -> Result<HeaderMap, String> {
        const AGENT: &str = concat!("tallyd/", env!("CARGO_PKG_VERSION"));
        let content_type = match &self.webhook.format {
            WebhookFormat::Template(template) => template.content_type(),
            _ => "application/json",
        };
        let mut headers = HeaderMap::new();
        headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
        for (name, value) in &self.webhook.headers {
            let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| name.clone())?;
            let mut value = HeaderValue::from_str(value.expose()).map_err(|_| name.clone())?;
            value.set_sensitive(true);
            headers.insert(key, value);
        }
        let mut own = |name: &'static str, value: &str| -> Result<(), String> {
            let value = HeaderValue::from_str(value).map_err(|_| name.to_owned())?;
            headers.insert(name, value);
            Ok(())
        };
        own(CONTENT_TYPE.as_str(), content_type)?;
        own("webhook-id", id)?;
        own("webhook-timestamp", &now.as_secs().to_string())?;
        if let Some(key) = &self.webhook.secret {
            own("webhook-signature", &signature::of(key, id, now.as_secs(), body))?;
        }
        Ok(headers)
    }

    fn client(&self, url: &Url) -> Result<&Client, String> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let mut builder = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .no_proxy()
            // Messages are rare: a connection that was kept would mostly be found dead.
            .pool_max_idle_per_host(0);
        if url.scheme() == "http" {
            // So clear text works also where the system has no certificates at all.
            builder = builder.tls_certs_only([]);
        } else if let Some(pem) = &self.webhook.ca_pem {
            let named =
                trust::certificates(pem.text.as_bytes()).map_err(|error| error.to_string())?;
            let tls = trust::client(&named).map_err(|error| reason::of(&error))?;
            builder = builder.tls_backend_preconfigured(tls);
        }
        let client = builder.build().map_err(|error| reason::of(&error.without_url()))?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn judge(&self, response: Response, origin: &str, now: Timestamp) -> Outcome {
        let status = response.status();
        if status.is_success() {
            // Its body is not waited for: nothing in it could make the message undelivered.
            return Outcome::Delivered;
        }
        let mut reason = format!("{origin} answered {}", words(status));
        if status.is_redirection() {
            reason.push_str("; redirects are not followed");
            return refused(reason);
        }
        let after = retry_after(response.headers(), now);
        if let Some(quote) = self.redact.quote(&reply(response).await) {
            reason.push_str(": ");
            reason.push_str(&quote);
        }
        let is_passing = status.is_server_error() || matches!(status.as_u16(), 408 | 425 | 429);
        if is_passing { Outcome::Later { reason, after } } else { refused(reason) }
    }
}

impl fmt::Debug for WebhookCourier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WebhookCourier").field(&self.webhook).finish()
    }
}

/// Parts that went to another address, with another key or in another form are none of this webhook's.
fn form(webhook: &Webhook) -> u64 {
    let format = match &webhook.format {
        WebhookFormat::Alertmanager => ["alertmanager", ""],
        WebhookFormat::Slack => ["slack", ""],
        WebhookFormat::PagerDuty { routing_key } => ["pagerduty", routing_key.expose()],
        // It is one part, so none of it is ever left out.
        WebhookFormat::Template(_) => ["template", ""],
    };
    let headers = webhook.headers.iter().flat_map(|(name, value)| [name.as_str(), value.expose()]);
    fingerprint::of([webhook.url.expose()].into_iter().chain(format).chain(headers))
}

/// What a receiver knows a part again by, in every attempt.
fn part_id(message: &str, part: usize) -> String {
    if part == 0 { message.to_owned() } else { format!("{message}-{part}") }
}

/// `404 Not Found`; the phrase is the standard's, not the server's.
fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(phrase) => format!("{} {phrase}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// The beginning of an answer's body, as far as it comes soon.
async fn reply(mut response: Response) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while let Ok(Some(chunk)) = response.chunk().await {
            let room = limits::WEBHOOK_REPLY_BYTES - bytes.len();
            bytes.extend(chunk.iter().take(room));
            if bytes.len() == limits::WEBHOOK_REPLY_BYTES {
                break;
            }
        }
    };
    // What came until then is enough.
    let _ = tokio::time::timeout(REPLY_PATIENCE, read).await;
    String::from_utf8_lossy(&bytes).into_owned()
}

/// How long the server asks to wait: seconds, or an HTTP date (RFC 9110, section 10.2.3), which is
/// one of RFC 2822's forms. What cannot be read is as good as absent.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Span> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Too many digits for the type ask for more than the most that is granted.
        Span::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Timestamp::from_millis(date.as_millisecond()).since(now)
    };
    (!text.is_empty()).then_some(wait.min(RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests;
