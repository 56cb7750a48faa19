//! `[[contact]]`: somebody to tell, by mail, by webhook, or both.
//!
//! Webhook URLs and header values may be secrets: they are hidden before anything else is read.

use std::collections::BTreeMap;

use reqwest::Url;

use super::model::Contact;
use super::read::{Names, Reader, unique};
use super::section::{At, Place, Section};
use super::sink::{Finding, Sink, shown};
use super::{value, webhook};

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
        section.hide("template");
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
    let webhook = webhook::webhook(section, reader);
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
