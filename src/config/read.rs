//! The file from top to bottom, and the sections that occur once.
//!
//! What a wrong value is replaced by does not matter: a file with an error becomes no configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::contact::Contacts;
use super::model::{
    Config, Counters, Inlets, Listen, Memcached, MissingIncr, Notify, Pem, Secret, Server, Store,
    WebhookFormat,
};
use super::nearest::nearest;
use super::section::{At, Place, Section, or, values};
use super::sink::{Fault, Finding, Sink, file_shown, shown};
use super::surroundings::{FileRead, Surroundings};
use super::{access, contact, email, http, inlets, metric, nrpe, rule, schedule, tier, value};
use crate::limits;
use crate::reason;
use crate::time::Span;

/// Largest file that a configuration names, in bytes. A bundle of every public certificate
/// authority has a quarter of that.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// A message is tried at least that long: the first retries come within a minute.
const GIVE_UP_MIN: Span = Span::from_secs(60);

/// What every section is read with.
pub(super) struct Reader<'a> {
    pub(super) sink: &'a Sink,
    pub(super) surroundings: &'a Surroundings<'a>,
    /// Where relative paths begin.
    pub(super) folder: &'a Path,
}

/// Names that were given, with the place of the first of each.
pub(super) type Names = BTreeMap<String, Place>;

/// Everything that a file says. What it holds is of use only when the sink has no errors.
pub(super) fn config(mut root: Section<'_>, reader: &Reader<'_>) -> Config {
    let default = Config::default();
    let tiers = tier::tiers(&mut root, default.tiers, reader.sink);
    let (email, relay_is_set) = email::email(&mut root, default.email, reader);
    let contacts = contact::contacts(&mut root, relay_is_set, reader);
    let notify = notify(&mut root, default.notify, &contacts, reader.sink);
    // Tiers that are wrong have been reported; how far they reach is anybody's guess.
    let reach = tiers.iter().flatten().map(|tier| tier.keep).max();
    let metrics = metric::metrics(&mut root, reader.sink);
    let schedules = schedule::schedules(&mut root, reader.sink);
    let context = rule::Context {
        contacts: Some(&contacts.names),
        schedules: &schedules,
        metrics: &metrics,
        reach: reach.unwrap_or(Span::from_millis(u64::MAX)),
        somebody_by_default: !notify.default.is_empty(),
        sink: reader.sink,
    };
    let http = http::http(&mut root, reader);
    let server = server(&mut root, default.server, &http, reader);
    let inlets::Told { statsd, graphite } = inlets::told(&mut root, &server, reader.sink);
    let taken = |address: &SocketAddr| {
        let is_server =
            server.http.contains(address) || server.listen.contains(&Listen::Tcp(*address));
        let is_inlet = |inlets: &Inlets| inlets.tcp.as_ref() == Some(address);
        let places = [
            (is_server, "[server]"),
            (is_inlet(&statsd), "[statsd]"),
            (is_inlet(&graphite), "[graphite]"),
        ];
        places.into_iter().find_map(|(is_there, place)| is_there.then_some(place))
    };
    let nrpe = nrpe::nrpe(&mut root, default.nrpe, &taken, reader);
    Config {
        server,
        http: http.http,
        memcached: memcached(&mut root, default.memcached, reader),
        counters: counters(&mut root, default.counters),
        store: store(&mut root, default.store),
        tiers: tiers.unwrap_or_default(),
        rules: rule::rules(&mut root, &context),
        schedules: schedules.list,
        metrics,
        contacts: contacts.list,
        email,
        notify,
        statsd,
        graphite,
        nrpe,
        compat: default.compat,
    }
}

fn server(
    root: &mut Section<'_>,
    default: Server,
    asked: &http::Read,
    reader: &Reader<'_>,
) -> Server {
    let Some(mut section) = root.table("server", "[server]") else { return default };
    let sink = reader.sink;
    let listen = section.list("listen", value::listen);
    let http = section.list("http", value::address);
    let addresses = http.iter().flat_map(|list| &list.value);
    let addresses = addresses.map(|at| At { value: Listen::Tcp(at.value), place: at.place });
    distinct(listen.iter().flat_map(|list| list.value.iter().cloned()).chain(addresses), sink);
    asked.judge(http.as_ref().map_or(&[], |list| &list.value), sink);
    Server {
        listen: listen.map_or(default.listen, values),
        http: http.map_or(default.http, values),
        data_dir: or(section.text("data_dir", value::path), default.data_dir),
        threads: or(section.integer("threads", 0..=1024), default.threads),
        max_connections: or(
            section.integer("max_connections", 1..=1_000_000),
            default.max_connections,
        ),
        idle_timeout: or(section.text("idle_timeout", value::span), default.idle_timeout),
        tls: access::tls(&mut section, reader),
    }
}

/// Reports addresses that are written twice. Port 0 means "any free port", so it may be.
fn distinct(addresses: impl Iterator<Item = At<Listen>>, sink: &Sink) {
    let mut seen = BTreeMap::new();
    let is_any = |listen: &Listen| matches!(listen, Listen::Tcp(address) if address.port() == 0);
    for address in addresses.filter(|address| !is_any(&address.value)) {
        let text = address.value.to_string();
        if let Some(first) = seen.insert(text.clone(), address.place) {
            let message = format!("{text} is listened on twice");
            sink.error(Finding::new(address.place, message).also(first, "first here"));
        }
    }
}

fn memcached(root: &mut Section<'_>, default: Memcached, reader: &Reader<'_>) -> Memcached {
    let Some(mut section) = root.table("memcached", "[memcached]") else { return default };
    let sink = reader.sink;
    let words = [("create", MissingIncr::Create), ("not_found", MissingIncr::NotFound)];
    let missing_incr = or(section.one_of("missing_incr", &words), default.missing_incr);
    let items = section.text("items", value::size);
    let max_item = section.text("max_item", value::size);
    let items_bytes = or(items, default.items_bytes);
    let max_item_bytes = or(max_item, default.max_item_bytes);
    if let Some(max_item) = max_item.filter(|max| max.value > limits::ITEM_BYTES_CEILING) {
        let label = format!("must be at most {} MiB", limits::ITEM_BYTES_CEILING / 1024 / 1024);
        sink.error(Finding::new(max_item.place, "`max_item` is out of range").label(label));
    } else if max_item_bytes > items_bytes {
        // One of the two is written out: the defaults agree with each other.
        let place = max_item.or(items).map_or(section.place(), |found| found.place);
        let message = "`max_item` is larger than `items`, the room for all of them";
        sink.error(Finding::new(place, message));
    }
    let auth = access::auth(&mut section, reader);
    Memcached { missing_incr, items_bytes, max_item_bytes, auth }
}

fn counters(root: &mut Section<'_>, default: Counters) -> Counters {
    let Some(mut section) = root.table("counters", "[counters]") else { return default };
    Counters {
        max_series: or(section.integer("max_series", 1..=100_000_000), default.max_series),
        sync: or(section.text("sync", value::pause), default.sync),
        idle_expiry: or(section.text("idle_expiry", value::idle_expiry), default.idle_expiry),
    }
}

fn store(root: &mut Section<'_>, default: Store) -> Store {
    let Some(mut section) = root.table("store", "[store]") else { return default };
    Store { sync: or(section.text("sync", value::pause), default.sync) }
}

fn notify(root: &mut Section<'_>, default: Notify, contacts: &Contacts, sink: &Sink) -> Notify {
    let Some(mut section) = root.table("notify", "[notify]") else {
        warn_of_loopback(&default.public_url, None, contacts.outside, sink);
        return default;
    };
    section.hide_credentials("public_url");
    let public_url = section.text("public_url", value::public_url);
    let place = public_url.as_ref().map(|url| url.place);
    let public_url = or(public_url, default.public_url);
    warn_of_loopback(&public_url, place, contacts.outside, sink);
    let told = section.list("default", value::any);
    let give_up = section.text("give_up", |text| {
        let give_up = value::span(text)?;
        if give_up < GIVE_UP_MIN {
            return Err(Fault::new("`give_up` is out of range").label("must be at least 1m"));
        }
        Ok(give_up)
    });
    let fallback = section.list("fallback", value::any);
    let heartbeat = section.list("heartbeat", value::any);
    for name in heartbeat.iter().flat_map(|list| &list.value) {
        refuse_heartbeat(name, contacts, sink);
    }
    let names = |list: Option<At<Vec<At<&str>>>>, default| {
        list.map_or(default, |list| references(list, Some(&contacts.names), sink))
    };
    Notify {
        default: names(told, default.default),
        public_url,
        give_up: or(give_up, default.give_up),
        fallback: names(fallback, default.fallback),
        heartbeat: names(heartbeat, default.heartbeat),
        digest_above: or(section.integer("digest_above", 1..=1000), default.digest_above),
    }
}

/// Refuses a contact that cannot tell a sign of life from a problem: a mail each minute is read by nobody,
/// and PagerDuty would call somebody.
fn refuse_heartbeat(name: &At<&str>, contacts: &Contacts, sink: &Sink) {
    let Some(contact) = contacts.list.iter().find(|one| one.name == name.value) else { return };
    let message = match contact.webhook.as_ref().map(|hook| &hook.format) {
        Some(WebhookFormat::PagerDuty { .. }) => "a sign of life each minute would page somebody",
        // A webhook with a mistake in it is told elsewhere.
        None if !contact.email.is_empty() => "a sign of life each minute needs a webhook",
        _ => return,
    };
    sink.error(Finding::new(name.place, message));
}

/// Warns of links in messages that nobody elsewhere can follow.
fn warn_of_loopback(url: &str, place: Option<Place>, outside: Option<Place>, sink: &Sink) {
    let Some(outside) = outside else { return };
    if reqwest::Url::parse(url).is_ok_and(|url| value::is_loopback(&url)) {
        let message = format!("links in messages lead to {url}, which works on this machine only");
        let finding = Finding::new(place.unwrap_or(outside), message);
        let label = "this contact is elsewhere";
        let finding = match place {
            Some(_) => finding.also(outside, label),
            None => finding.label(label),
        };
        sink.warn(finding.help("set `public_url` in [notify] to where others reach this server"));
    }
}

/// The names of contacts that are to be told; reports those that do not exist, and repetitions.
pub(super) fn references(
    told: At<Vec<At<&str>>>,
    contacts: Option<&Names>,
    sink: &Sink,
) -> Vec<String> {
    let mut seen = BTreeMap::new();
    for name in &told.value {
        if let Some(first) = seen.insert(name.value, name.place) {
            let message = format!("{} is told twice", shown(name.value));
            sink.error(Finding::new(name.place, message).also(first, "first here"));
        } else if let Some(contacts) = contacts.filter(|known| !known.contains_key(name.value)) {
            sink.error(unknown_contact(name, contacts));
        }
    }
    values(told).into_iter().map(str::to_owned).collect()
}

fn unknown_contact(name: &At<&str>, contacts: &Names) -> Finding {
    let message = format!("there is no contact {}", shown(name.value));
    let finding = Finding::new(name.place, message).absence();
    match nearest(name.value, contacts.keys().map(String::as_str)) {
        Some(meant) => finding.help(format!("did you mean `{meant}`?")),
        None => finding.help("a contact is defined under [[contact]]"),
    }
}

/// The names that were given, each once; reports those given twice.
pub(super) fn unique(given: Vec<At<String>>, what: &str, sink: &Sink) -> Names {
    let mut names = Names::new();
    for name in given {
        if let Some(first) = names.get(&name.value) {
            let message = format!("there are two {what}s {}", shown(&name.value));
            sink.error(Finding::new(name.place, message).also(*first, "first here"));
        } else {
            names.insert(name.value, name.place);
        }
    }
    names
}

impl Reader<'_> {
    /// The file that a key names, with its path; `None` when the key is absent or empty, or after a
    /// problem was reported.
    pub(super) fn file(&self, named: Option<At<&str>>) -> Option<(At<PathBuf>, FileRead)> {
        let named = named.filter(|path| !path.value.is_empty())?;
        let path = self.folder.join(named.value);
        let reason = match (self.surroundings.file)(&path, FILE_BYTES_MAX) {
            Ok(Some(file)) => return Some((At { value: path, place: named.place }, file)),
            Ok(None) => format!("it is larger than {} KiB", FILE_BYTES_MAX / 1024),
            Err(error) => reason::of(&error),
        };
        let message = format!("cannot read {}", file_shown(&path));
        self.sink.error(Finding::new(named.place, message).label(reason));
        None
    }

    /// Warns of a file with passwords or keys that others than its owner can read.
    pub(super) fn warn_if_open(&self, what: &str, path: &At<PathBuf>, mode: u32) {
        if mode & 0o077 != 0 {
            let message = format!("{what} can be read by others: mode {mode:04o}");
            let help = format!("chmod 600 {}", path.value.display());
            self.sink.warn(Finding::new(path.place, message).help(help));
        }
    }

    /// The one line of text in a file that a key names; `None` when the key is absent or empty, or after a
    /// problem was reported. `what` is the secret in a sentence, `noun` what the file should hold.
    pub(super) fn secret(&self, named: Option<At<&str>>, what: &str, noun: &str) -> Option<Secret> {
        let (path, file) = self.file(named)?;
        self.warn_if_open(what, &path, file.mode);
        let text = String::from_utf8(file.bytes).unwrap_or_default();
        let text = text.trim_end_matches(['\r', '\n']);
        if text.is_empty() || text.contains(char::is_control) {
            let shown = file_shown(&path.value);
            let message = format!("{shown} holds no {noun}: it is empty, or not one line of text");
            self.sink.error(Finding::new(path.place, message));
            return None;
        }
        Some(Secret::new(text))
    }

    /// Certificates from the file that a key names.
    pub(super) fn certificates(&self, named: Option<At<&str>>) -> Option<Pem> {
        let (path, file) = self.file(named)?;
        match String::from_utf8(file.bytes) {
            Ok(text) if text.contains("-----BEGIN CERTIFICATE-----") => {
                Some(Pem { path: path.value, text })
            }
            _ => {
                let shown = file_shown(&path.value);
                let message = format!("{shown} holds no certificate in PEM form");
                let label = "no `-----BEGIN CERTIFICATE-----` in it";
                self.sink.error(Finding::new(path.place, message).label(label));
                None
            }
        }
    }
}
