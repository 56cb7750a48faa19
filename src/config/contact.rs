//! `[[contact]]`: somebody to tell, by mail, by webhook, or both.
//!
//! Webhook URLs and header values may be secrets: they are hidden before anything else is read.

use std::collections::BTreeMap;

use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};

use super::model::{Contact, Secret, Webhook, WebhookFormat};
use super::read::{Names, Reader, unique};
use super::section::{At, Place, Section};
use super::sink::{Finding, Sink, shown};
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

/// What `[[contact]]` says.
pub(super) struct Contacts {
    pub(super) list: Vec<Contact>,
    pub(super) names: Names,
    /// One that is reached elsewhere than on this machine.
    pub(super) outside: Option<Place>,
}

/// Every contact of the file.
pub(super) fn contacts(
    root: &mut Section<'_>,
    relay_is_set: bool,
    reader: &Reader<'_>,
) -> Contacts {
    let (mut names, mut list, mut outside) = (Vec::new(), Vec::new(), None);
    for mut section in root.tables("contact", "[[contact]]") {
        section.hide("webhook");
        section.hide("headers");
        let (name, contact) = contact(&mut section, relay_is_set, reader);
        let place = name.as_ref().map_or(section.place(), |name| name.place);
        names.extend(name);
        outside = outside.or(is_outside(&contact).then_some(place));
        list.push(contact);
    }
    Contacts { list, names: unique(names, "contact", reader.sink), outside }
}

fn contact(
    section: &mut Section<'_>,
    relay_is_set: bool,
    reader: &Reader<'_>,
) -> (Option<At<String>>, Contact) {
    section.require("name");
    let name = section.text("name", value::name);
    let email = email(section, relay_is_set, reader.sink);
    let webhook = webhook(section, reader);
    if section.key_place("email").is_none() && section.key_place("webhook").is_none() {
        let message = "a contact needs `email` or `webhook`";
        reader.sink.error(Finding::new(section.place(), message).absence());
    }
    let text = name.as_ref().map(|name| name.value.clone()).unwrap_or_default();
    (name, Contact { name: text, email, webhook })
}

fn is_outside(contact: &Contact) -> bool {
    let url = contact.webhook.as_ref().and_then(|hook| Url::parse(hook.url.expose()).ok());
    !contact.email.is_empty() || url.is_some_and(|url| !value::is_loopback(&url))
}

fn email(section: &mut Section<'_>, relay_is_set: bool, sink: &Sink) -> Vec<String> {
    let Some(list) = section.list("email", |text| Ok((text, value::mailbox(text)?))) else {
        return Vec::new();
    };
    if section.is_empty_list("email") {
        let message = "`email` names nobody";
        sink.error(Finding::new(list.place, message).help("leave it out, or write an address"));
    } else if !relay_is_set {
        let message = "mail needs a server";
        let finding = Finding::new(list.place, message).absence();
        sink.error(finding.help("set `server` in [email], like \"smtps://mail.example:465\""));
    }
    let mut seen = BTreeMap::new();
    for address in &list.value {
        if let Some(first) = seen.insert(address.value.0, address.place) {
            let message = format!("{} is written twice", shown(address.value.0));
            sink.error(Finding::new(address.place, message).also(first, "first here"));
        }
    }
    list.value.into_iter().map(|address| address.value.1).collect()
}

fn webhook(section: &mut Section<'_>, reader: &Reader<'_>) -> Option<Webhook> {
    let url = section.text("webhook", |text| value::secret_url(text).map(|_| Secret::new(text)));
    let format = section.one_of("format", &[("alertmanager", WebhookFormat::Alertmanager)]);
    let ca_pem = reader.certificates(section.text("ca_file", value::any));
    let headers = headers(section, reader.sink);
    if section.key_place("webhook").is_none() {
        for key in ["format", "ca_file", "headers"] {
            section.forbid(key, "belongs to a `webhook`, and this contact has none");
        }
    }
    Some(Webhook {
        url: url?.value,
        format: format.map_or(WebhookFormat::Alertmanager, |format| format.value),
        ca_pem,
        headers,
    })
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
