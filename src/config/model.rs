//! What a configuration means, once every value in it has been checked.
//!
//! Plain data with public fields. Each default is the one that `conf/tallyd.toml` shows.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use super::http::Http;
use super::network::Network;
use super::template::Template;
use crate::histogram::Layout;
use crate::limits;
use crate::series::Pattern;
use crate::time::{Span, Timestamp, Weekly, Zone};

/// Everything that a configuration file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[http]`
    pub http: Http,
    /// `[memcached]`
    pub memcached: Memcached,
    /// `[counters]`
    pub counters: Counters,
    /// `[store]`
    pub store: Store,
    /// `[[tier]]`, from fine to coarse; never empty, the first is one second wide, and each width
    /// is a multiple of the one before.
    pub tiers: Vec<Tier>,
    /// `[[metric]]`, in file order: the first that matches a key is the one that holds.
    pub metrics: Vec<Metric>,
    /// `[[schedule]]`, in file order; names are unique.
    pub schedules: Vec<Arc<Schedule>>,
    /// `[[rule]]`, in file order; names are unique, and none depends on itself.
    pub rules: Vec<Rule>,
    /// `[[contact]]`, in file order; names are unique.
    pub contacts: Vec<Contact>,
    /// `[email]`
    pub email: Email,
    /// `[notify]`
    pub notify: Notify,
    /// `[statsd]`
    pub statsd: Inlets,
    /// `[graphite]`, which has no `unix`
    pub graphite: Inlets,
    /// `[nrpe]`
    pub nrpe: Nrpe,
    /// What memcached's own start flags ask for; a file cannot say it.
    pub compat: Compat,
}

/// Where to listen and how many threads serve.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Addresses of the memcached port; may be empty.
    pub listen: Vec<Listen>,
    /// Addresses of the HTTP port, loopback only where there are no tokens; may be empty.
    pub http: Vec<SocketAddr>,
    /// Where what was counted is kept; relative to the directory that the server is started in.
    pub data_dir: PathBuf,
    /// Worker threads; 0 means one per core.
    pub threads: usize,
    /// Connections to the memcached port at once.
    pub max_connections: usize,
    /// How long a silent client is kept; zero means for ever.
    pub idle_timeout: Span,
    /// What the TCP addresses of the memcached port prove themselves with; `None`: clear text.
    pub tls: Option<Tls>,
}

/// One address of the memcached port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address and a TCP port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// An absolute path, written `unix:/path`.
    Unix(PathBuf),
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A certificate and its private key, checked against each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate, and those between it and its authority.
    pub cert: Pem,
    /// The file of the key, for a reload.
    pub key_path: PathBuf,
    /// The key, as PEM.
    pub key: Secret,
}

/// Who may speak on the memcached port, once a file says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// The file, for a reload.
    pub path: PathBuf,
    /// Its lines; at least one.
    pub logins: Vec<Login>,
}

/// A user and a password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Login {
    /// The user.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// What memcached's own start flags ask for, and what holds without them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compat {
    /// Whether they were used at all: then a server without any address is no mistake.
    pub is_on: bool,
    /// Connections that the system keeps until they are accepted.
    pub backlog: u32,
    /// Permission bits of a socket file.
    pub socket_mode: u32,
    /// Whether clients may end the server with `shutdown`.
    pub shutdown: bool,
    /// Whether clients may use `flush_all`.
    pub flush_all: bool,
    /// Requests of one connection before others have their turn; `None`: all that were read.
    pub requests_per_turn: Option<u32>,
    /// The protocol as `stats settings` names it.
    pub protocol: &'static str,
    /// Where the process id is written.
    pub pid_file: Option<PathBuf>,
    /// Where the TCP ports are written.
    pub port_file: Option<PathBuf>,
}

impl Default for Compat {
    fn default() -> Self {
        Self {
            is_on: false,
            backlog: 1024,
            // memcached's own: whoever may write to the file may count.
            socket_mode: 0o700,
            shutdown: false,
            flush_all: true,
            requests_per_turn: None,
            protocol: "ascii",
            pid_file: None,
            port_file: None,
        }
    }
}

/// The memcached face.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memcached {
    /// What `incr` of an unknown key does.
    pub missing_incr: MissingIncr,
    /// Room for values that are not numbers, in bytes.
    pub items_bytes: usize,
    /// Largest single value, in bytes.
    pub max_item_bytes: usize,
    /// Who may speak; `None`: everybody.
    pub auth: Option<Auth>,
}

/// Where a protocol listens that is told and does not answer; nowhere unless it is said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inlets {
    /// An address for datagrams.
    pub udp: Option<SocketAddr>,
    /// An address for connections.
    pub tcp: Option<SocketAddr>,
    /// The absolute path of a socket for datagrams.
    pub unix: Option<PathBuf>,
}

impl Inlets {
    /// Whether it listens nowhere.
    #[must_use]
    pub const fn is_off(&self) -> bool {
        self.udp.is_none() && self.tcp.is_none() && self.unix.is_none()
    }
}

/// What `incr` of an unknown key does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingIncr {
    /// It creates the counter at the delta.
    Create,
    /// It answers `NOT_FOUND`, as memcached does.
    NotFound,
}

/// Whether and whom the NRPE port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nrpe {
    /// Its address; `None`: there is none.
    pub listen: Option<SocketAddr>,
    /// Hosts that may ask.
    pub allow: Vec<Network>,
    /// What it proves itself with; `None`: clear text.
    pub tls: Option<Tls>,
}

/// Bounds of the live table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Series at most; increments of further ones fold into `tallyd.overflow`.
    pub max_series: usize,
    /// How often what was counted is brought to the medium; at least 100 ms.
    pub sync: Span,
    /// After how long without a touch a key loses its cell; zero for never.
    pub idle_expiry: Span,
}

/// How history is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// How often windows that are over are put into the store, and the tick log is brought to the
    /// medium; at least 100 ms.
    pub sync: Span,
}

/// One resolution of history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tier {
    /// Width of its windows.
    pub window: Span,
    /// How long they are kept; at least one window.
    pub keep: Span,
}

/// What the keys of a pattern are.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Which keys.
    pub series: Pattern,
    /// What they are, whatever clients do with them.
    pub kind: MetricKind,
    /// What their values are measured in; may be empty.
    pub unit: String,
    /// One line for people; may be empty.
    pub description: String,
    /// The ranges of a distribution's histogram.
    pub layout: Layout,
}

/// What a key can be said to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// Its increments are counted.
    Counter,
    /// It is set to values.
    Gauge,
    /// Each value that it is set to is an observation.
    Distribution,
    /// Kept and returned byte for byte, and not watched.
    Item,
}

impl MetricKind {
    /// For people: "a gauge".
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Counter => "a counter",
            Self::Gauge => "a gauge",
            Self::Distribution => "a distribution",
            Self::Item => "an item",
        }
    }
}

/// One alerting rule. The meaning of every field is in README's chapter on rules.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Unique; also the name of its Nagios check.
    pub name: String,
    /// One line for people.
    pub summary: String,
    /// Which series it reads.
    pub series: Pattern,
    /// Tags that split it into instances; empty: one instance over all series.
    pub by: Vec<String>,
    /// What is measured.
    pub measure: Measure,
    /// Unit of time of a rate.
    pub per: Per,
    /// Over how long it is measured; a positive multiple of one second.
    pub window: Span,
    /// The series whose same measure it is divided by; `None`: it is not divided.
    pub over: Option<Pattern>,
    /// Compared with what; `None`: the measure itself is judged.
    pub against: Option<Against>,
    /// How it is compared.
    pub change: Change,
    /// When both windows hold less than this, a change is not judged.
    pub floor: Option<f64>,
    /// From one evaluation to the next; a positive multiple of one second.
    pub every: Span,
    /// Threshold of the warning state.
    pub warning: Option<Threshold>,
    /// Threshold of the critical state. At least one of the two is there.
    pub critical: Option<Threshold>,
    /// Thresholds that take the place of both while their schedule is active, the first that is.
    pub when: Vec<When>,
    /// When it is evaluated at all; `None`: always.
    pub schedule: Option<Arc<Schedule>>,
    /// What to make of missing data; `None`: not written out, so the default applies and a series
    /// that was never seen is ok.
    pub missing: Option<Missing>,
    /// From how many changes of state on it is told as flapping; `None`: never.
    pub flapping: Option<Flapping>,
    /// Rules that keep this one quiet while they are critical.
    pub depends_on: Vec<String>,
    /// Contacts; `None`: the default ones; empty: nobody.
    pub notify: Option<Vec<String>>,
    /// After how long what nobody has acknowledged is told again; zero: never.
    pub repeat: Span,
    /// Who else is told of what nobody has acknowledged, one step after the other.
    pub escalate: Vec<Escalation>,
    /// Link to what to do.
    pub runbook: Option<String>,
}

impl Rule {
    /// The default `repeat`.
    pub const REPEAT: Span = Span::from_secs(4 * 60 * 60);
}

/// Who else is told, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// How long after it was told, without anybody having acknowledged it; longer than that of the step before.
    pub after: Span,
    /// Contacts.
    pub notify: Vec<String>,
}

impl Rule {
    /// The zone whose days a comparison with an earlier day counts: that of its schedule, or of the first of
    /// its `when`s.
    #[must_use]
    pub fn zone(&self) -> Option<&Zone> {
        let whens = self.when.iter().map(|when| &when.schedule);
        self.schedule.iter().chain(whens).map(|schedule| schedule.hours.zone()).next()
    }
}

/// A function over the windows of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Increments, or observations, per unit of time.
    Rate,
    /// Sum of the increments, or of the observations.
    Sum,
    /// Number of increments, or of values set.
    Count,
    /// Mean of the base windows' sums, or of the values set.
    Mean,
    /// Least base window's sum, or least value set.
    Min,
    /// Greatest base window's sum, or greatest value set.
    Max,
    /// Value shown now.
    Last,
    /// Seconds since the last update.
    Age,
    /// The value that half of the observations do not exceed.
    P50,
    /// The same of 90 in 100.
    P90,
    /// The same of 95 in 100.
    P95,
    /// The same of 99 in 100.
    P99,
    /// The same of 999 in 1000.
    P999,
}

impl Measure {
    /// Every measure under the name that a file writes.
    pub const ALL: [(&'static str, Self); 13] = [
        ("rate", Self::Rate),
        ("sum", Self::Sum),
        ("count", Self::Count),
        ("mean", Self::Mean),
        ("min", Self::Min),
        ("max", Self::Max),
        ("last", Self::Last),
        ("age", Self::Age),
        ("p50", Self::P50),
        ("p90", Self::P90),
        ("p95", Self::P95),
        ("p99", Self::P99),
        ("p99.9", Self::P999),
    ];

    /// The share of all observations that a quantile is about; `None` for every other measure.
    #[must_use]
    pub const fn quantile(self) -> Option<f64> {
        match self {
            Self::P50 => Some(0.5),
            Self::P90 => Some(0.9),
            Self::P95 => Some(0.95),
            Self::P99 => Some(0.99),
            Self::P999 => Some(0.999),
            _ => None,
        }
    }

    /// Whether it means something for series of that kind.
    #[must_use]
    pub const fn applies_to(self, kind: MetricKind) -> bool {
        match (self, kind) {
            (_, MetricKind::Item) | (Self::Sum | Self::Rate, MetricKind::Gauge) => false,
            (_, MetricKind::Counter | MetricKind::Gauge) => self.quantile().is_none(),
            (_, MetricKind::Distribution) => true,
        }
    }

    /// The name that a file writes.
    #[must_use]
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, measure)| *measure == self).map_or("", |(name, _)| name)
    }
}

/// Unit of time of a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Per {
    /// Per second.
    Second,
    /// Per minute.
    Minute,
    /// Per hour.
    Hour,
    /// Per day of 24 hours.
    Day,
}

impl Per {
    /// Every unit under the name that a file writes.
    pub const ALL: [(&'static str, Self); 4] = [
        ("second", Self::Second),
        ("minute", Self::Minute),
        ("hour", Self::Hour),
        ("day", Self::Day),
    ];

    /// Its length in seconds.
    #[must_use]
    pub const fn secs(self) -> f64 {
        match self {
            Self::Second => 1.0,
            Self::Minute => 60.0,
            Self::Hour => 3600.0,
            Self::Day => 86_400.0,
        }
    }

    /// The name that a file writes.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }
}

/// What a window is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The window just before.
    Previous,
    /// The same window that long ago: `1d`, `1w` or `2w`.
    Ago(Span),
}

impl Against {
    /// Every one under the name that a file writes.
    pub const ALL: [(&'static str, Self); 4] = [
        ("previous", Self::Previous),
        ("1d", Self::Ago(Span::DAY)),
        ("1w", Self::Ago(Span::WEEK)),
        ("2w", Self::Ago(Span::WEEK.plus(Span::WEEK))),
    ];
}

/// How two windows are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// (now − then) ÷ then × 100
    Percent,
    /// now − then
    Absolute,
}

impl Change {
    /// Both under the names that a file writes.
    pub const ALL: [(&'static str, Self); 2] =
        [("percent", Self::Percent), ("absolute", Self::Absolute)];
}

/// When a severity begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Threshold {
    /// On which side of `value` it fires.
    pub side: Side,
    /// It fires strictly beyond this.
    pub value: f64,
    /// It recovers at or on the good side of this; never on the bad side of `value`.
    pub clear: f64,
    /// How long the value must be beyond before it fires.
    pub hold: Span,
    /// On how many of the last evaluations it must be beyond, instead of `hold`.
    pub of: Option<OfLast>,
    /// How long it must be recovered before it ends.
    pub clear_hold: Span,
}

/// So many of the last evaluations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfLast {
    /// How many; at least one.
    pub needed: u8,
    /// Of how many; at least `needed`, and at most [`limits::OF_LAST`].
    pub among: u8,
}

/// Thresholds for the hours of a schedule. They stand for the rule's own, both of them.
#[derive(Clone, Debug, PartialEq)]
pub struct When {
    /// The hours.
    pub schedule: Arc<Schedule>,
    /// Threshold of the warning state.
    pub warning: Option<Threshold>,
    /// Threshold of the critical state. At least one of the two is there.
    pub critical: Option<Threshold>,
}

/// Hours of the week, by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// Unique.
    pub name: String,
    /// The hours.
    pub hours: Weekly,
}

impl Schedule {
    /// Whether `instant` lies in it.
    #[must_use]
    pub fn is_active(&self, instant: Timestamp) -> bool {
        self.hours.is_active(instant)
    }
}

/// When a rule is said to flap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flapping {
    /// More changes of state than this, at most [`limits::FLAP_CHANGES`].
    pub changes: u8,
    /// In less than this.
    pub within: Span,
}

impl Default for Flapping {
    fn default() -> Self {
        Self { changes: 5, within: Span::from_secs(600) }
    }
}

/// On which side of its value a threshold fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Strictly above.
    Above,
    /// Strictly below.
    Below,
}

/// What a rule makes of missing data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// For how long it has to be missing in a row.
    pub after: Span,
    /// The state from then on.
    pub state: MissingState,
}

impl Default for Missing {
    fn default() -> Self {
        Self { after: Span::from_secs(300), state: MissingState::Unknown }
    }
}

/// The state that missing data leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingState {
    /// Nobody knows.
    Unknown,
    /// Whatever it was.
    Keep,
    /// All is well.
    Ok,
    /// Warning.
    Warning,
    /// Critical.
    Critical,
}

/// Somebody to tell, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contact {
    /// Unique.
    pub name: String,
    /// Mail addresses, as written; each is a recipient of its own.
    pub email: Vec<String>,
    /// A webhook, when there is one. A contact has addresses, a webhook, or both.
    pub webhook: Option<Webhook>,
}

/// Where and how a webhook is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// http or https; its user part, path and query may be secret, so it is shown as its origin only.
    pub url: Secret,
    /// What the body looks like.
    pub format: WebhookFormat,
    /// The key that bodies are signed with.
    pub secret: Option<SigningKey>,
    /// A certificate authority (PEM, as read) to trust as well.
    pub ca_pem: Option<Pem>,
    /// Further headers; values may be secret.
    pub headers: BTreeMap<String, Secret>,
}

/// What a webhook's body looks like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Alertmanager's, version "4".
    Alertmanager,
    /// PagerDuty's Events API, version 2.
    PagerDuty {
        /// Which service of PagerDuty is meant; it goes into the body.
        routing_key: Secret,
    },
    /// A message in Slack, for an incoming webhook.
    Slack,
    /// What the contact's own template writes.
    Template(Template),
}

/// How mail leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Email {
    /// The relay; `None` when no contact has a mail address.
    pub server: Option<Relay>,
    /// Sender, as written.
    pub from: String,
    /// User name for the relay; empty: no authentication.
    pub username: String,
    /// Its password, from `password_file` or the environment.
    pub password: Option<Secret>,
    /// A certificate authority (PEM, as read) to trust as well.
    pub ca_pem: Option<Pem>,
}

/// An SMTP server and how the connection to it is kept private.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// How the connection is kept private.
    pub security: RelaySecurity,
}

/// How a connection to a relay is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelaySecurity {
    /// `smtp://`: STARTTLS, or nothing is sent.
    StartTls,
    /// `smtps://`: TLS from the first byte.
    Tls,
    /// `smtp+plain://`: clear text, because it was written out.
    Plain,
}

/// Who is told when a rule does not say, and for how long delivery is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notify {
    /// Default contacts.
    pub default: Vec<String>,
    /// Where this server is reached; for links in messages. No slash at the end.
    pub public_url: String,
    /// How long a message is tried.
    pub give_up: Span,
    /// Contacts that are told what others could not be.
    pub fallback: Vec<String>,
    /// Contacts whose webhook is called every minute while all is well.
    pub heartbeat: Vec<String>,
    /// A message that tells of more than that counts them instead of telling each.
    pub digest_above: usize,
}

impl Notify {
    /// Whether this server is reached over TLS, as people are told.
    #[must_use]
    pub fn is_public_tls(&self) -> bool {
        let scheme = self.public_url.split("://").next().unwrap_or_default();
        scheme.eq_ignore_ascii_case("https")
    }
}

/// PEM text that was read from a file when the configuration was checked.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem {
    /// The file, for messages.
    pub path: PathBuf,
    /// Its content; at least one certificate.
    pub text: String,
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem({})", self.path.display())
    }
}

/// A text that must not be shown. It prints as `…`; only a courier opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the one who sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

/// A key to sign with, as bytes. It prints as `…`; only a courier opens it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningKey(Vec<u8>);

impl SigningKey {
    /// Hides a key.
    #[must_use]
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The key, for the one who signs.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl Default for Config {
    fn default() -> Self {
        let mib = 1024 * 1024;
        Self {
            server: Server {
                listen: vec![Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 11311)))],
                http: vec![SocketAddr::from(([127, 0, 0, 1], 8311))],
                data_dir: PathBuf::from("data"),
                threads: 0,
                max_connections: 10_000,
                idle_timeout: Span::ZERO,
                tls: None,
            },
            http: Http::default(),
            memcached: Memcached {
                missing_incr: MissingIncr::Create,
                items_bytes: 64 * mib,
                max_item_bytes: mib,
                auth: None,
            },
            counters: Counters {
                max_series: 1_000_000,
                sync: Span::from_secs(5),
                idle_expiry: Span::from_secs(40 * 24 * 60 * 60),
            },
            store: Store { sync: Span::from_secs(5) },
            tiers: [("1s", "2h"), ("10s", "3d"), ("1m", "40d"), ("1h", "1825d")]
                .map(|(window, keep)| Tier { window: known(window), keep: known(keep) })
                .to_vec(),
            metrics: Vec::new(),
            schedules: Vec::new(),
            rules: Vec::new(),
            contacts: Vec::new(),
            email: Email {
                server: None,
                from: "tallyd <tallyd@localhost>".to_owned(),
                username: String::new(),
                password: None,
                ca_pem: None,
            },
            notify: Notify {
                default: Vec::new(),
                public_url: "http://127.0.0.1:8311".to_owned(),
                give_up: Span::DAY,
                fallback: Vec::new(),
                heartbeat: Vec::new(),
                digest_above: 20,
            },
            statsd: Inlets::default(),
            graphite: Inlets::default(),
            nrpe: Nrpe {
                listen: None,
                allow: vec![Network::of(IpAddr::from([127, 0, 0, 1]))],
                tls: None,
            },
            compat: Compat::default(),
        }
    }
}

/// A length of time that is written in this file.
fn known(text: &str) -> Span {
    text.parse().expect("a span that this file writes is well formed")
}

const _: () = assert!(limits::ITEM_BYTES_CEILING >= 1024 * 1024, "the default max_item is allowed");
