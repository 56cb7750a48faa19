//! What is to be reached: the server itself, the ports that it listens on, the mail server, the hosts of webhooks.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::super::DoctorArgs;
use super::super::config::{own_server, reachable};
use super::super::server;
use super::{Findings, counted};
use crate::config::{Config, Listen};
use crate::notify::Couriers;
use crate::reason;

/// For a server on the same machine, and for the first word of one elsewhere.
const PATIENCE: Duration = Duration::from_secs(5);

/// Hosts that are asked at once.
const AT_ONCE: usize = 32;

/// Whether the server that is meant runs, which is no matter of good or bad.
pub(super) fn server(config: &Config, args: &DoctorArgs, findings: &mut Findings) -> bool {
    const WHAT: &str = "server";
    let Some(url) = args.server.clone().or_else(|| own_server(config)) else {
        findings.note(WHAT, "server.http is empty, so none can be asked");
        return false;
    };
    let answer = server::url_of(&url, &args.papers, &["healthz"]).and_then(|(url, mut peer)| {
        // Who runs this on the server's machine has its certificate.
        if let Some(tls) = config.http.tls.as_ref().filter(|_| args.server.is_none()) {
            peer.trust(&tls.cert.text);
        }
        server::get(url, &peer, PATIENCE, 1024)
    });
    match answer {
        Ok(answer) if answer.code == 200 && answer.text == "ok\n" => {
            findings.good(WHAT, format!("runs at {url}"));
            true
        }
        Ok(answer) if answer.text.contains("no window") => {
            findings.fail(WHAT, format!("runs at {url} and is not well: {}", answer.text));
            true
        }
        Ok(answer) => {
            findings.fail(WHAT, format!("something else answers at {url}, with {}", answer.code));
            false
        }
        // Whatever it is, it is up.
        Err(why) if why.contains("its certificate") => {
            findings.warn(WHAT, format!("something answers here, but is not believed: {why}"));
            true
        }
        Err(why) => {
            findings.note(WHAT, format!("none runs: {why}"));
            false
        }
    }
}

/// Whether each address can be listened on, or is.
pub(super) fn ports(config: &Config, is_up: bool, findings: &mut Findings) {
    for listen in &config.server.listen {
        match listen {
            Listen::Tcp(address) => port("memcached", *address, is_up, findings),
            Listen::Unix(path) => socket("memcached", path, findings),
        }
    }
    for address in &config.server.http {
        port("http", *address, is_up, findings);
    }
    if let Some(address) = config.nrpe.listen {
        // A connection without a query is a failure there, or that of a host that may not ask.
        let bind = || TcpListener::bind(address).map(drop);
        quiet("nrpe", &address.to_string(), bind, is_up, findings);
    }
    for (what, inlets) in [("statsd", &config.statsd), ("graphite", &config.graphite)] {
        if let Some(address) = inlets.tcp {
            port(what, address, is_up, findings);
        }
        if let Some(address) = inlets.udp {
            datagrams(what, address, is_up, findings);
        }
        if let Some(path) = &inlets.unix {
            socket(what, path, findings);
        }
    }
}

fn socket(what: &'static str, path: &Path, findings: &mut Findings) {
    let shown = path.display();
    if path.parent().is_some_and(Path::is_dir) {
        findings.good(what, format!("unix:{shown}"));
    } else {
        findings.fail(what, format!("unix:{shown}: its directory is not there"));
    }
}

/// Nobody answers a datagram, so all that is seen is whether somebody has the address.
fn datagrams(what: &'static str, address: SocketAddr, is_up: bool, findings: &mut Findings) {
    let bind = || UdpSocket::bind(address).map(drop);
    quiet(what, &format!("{address} (UDP)"), bind, is_up, findings);
}

/// Looks whether an address is listened on, and says nothing to whoever does.
fn quiet(
    what: &'static str,
    place: &str,
    bind: impl FnOnce() -> io::Result<()>,
    is_up: bool,
    findings: &mut Findings,
) {
    match bind() {
        Ok(()) if is_up => {
            findings.fail(what, format!("{place}: nobody listens; a new address takes a restart"));
        }
        Ok(()) => findings.good(what, format!("{place} can be listened on")),
        Err(error) if is_up && error.kind() == ErrorKind::AddrInUse => {
            findings.good(what, format!("{place} is listened on"));
        }
        // A port below 1024, mostly: the server has what it takes to listen there.
        Err(error) if is_up && error.kind() == ErrorKind::PermissionDenied => {
            findings.warn(
                what,
                format!(
                    "{place}: who is not the server's user cannot tell whether it is listened on"
                ),
            );
        }
        Err(error) => findings.fail(what, format!("{place} cannot be listened on: {error}")),
    }
}

fn port(what: &'static str, address: SocketAddr, is_up: bool, findings: &mut Findings) {
    if is_up {
        // The one that runs has it, or one whose addresses were changed since.
        return match connects(&reachable(address).to_string()) {
            Ok(()) => findings.good(what, format!("{address} is answered")),
            Err(why) => {
                findings.fail(what, format!("{address}: {why}; a new address takes a restart"));
            }
        };
    }
    match TcpListener::bind(address) {
        Ok(_) => findings.good(what, format!("{address} can be listened on")),
        Err(error) => findings.fail(what, format!("{address} cannot be listened on: {error}")),
    }
}

/// Whether the mail server takes a connection, TLS and the password.
pub(super) fn mail(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "mail server";
    let Some(relay) = &config.email.server else {
        return findings.note(WHAT, "email.server is empty: no mail is sent");
    };
    let place = format!("{}:{}", relay.host, relay.port);
    let couriers = Couriers::new(config);
    match run(couriers.greet_relay()) {
        Ok(Ok(())) if config.email.password.is_some() => {
            findings.good(WHAT, format!("{place} takes the connection and the password"));
        }
        Ok(Ok(())) => findings.good(WHAT, format!("{place} takes the connection")),
        Ok(Err(why)) | Err(why) => findings.fail(WHAT, why),
    }
}

/// Whether the hosts of webhooks take a connection. They are not called: that may page somebody.
pub(super) fn webhooks(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "webhooks";
    let places = config.contacts.iter().filter_map(|contact| {
        let url: reqwest::Url = contact.webhook.as_ref()?.url.expose().parse().ok()?;
        let place = format!("{}:{}", url.host_str()?, url.port_or_known_default()?);
        Some((contact.name.clone(), place))
    });
    let places: Vec<_> = places.collect();
    if places.is_empty() {
        return;
    }
    let count = places.len();
    let tried = run(async move {
        let (mut outcomes, mut waiting) = (Vec::new(), JoinSet::new());
        for (name, place) in places {
            if waiting.len() >= AT_ONCE {
                outcomes.extend(waiting.join_next().await.and_then(Result::ok));
            }
            waiting.spawn(async move {
                let tried = connect(&place).await;
                (name, place, tried)
            });
        }
        outcomes.extend(waiting.join_all().await);
        outcomes
    });
    let mut tried = match tried {
        Ok(tried) => tried,
        Err(why) => return findings.note(WHAT, why),
    };
    tried.sort();
    let mut unreached = 0;
    for (name, place, outcome) in tried {
        if let Err(why) = outcome {
            unreached += 1;
            findings.fail(WHAT, format!("{name}: {place}: {why}"));
        }
    }
    if unreached == 0 {
        let text = format!(
            "{} can be reached; `tallyd notify test NAME` sends through one",
            counted(count, "contact")
        );
        findings.good(WHAT, text);
    }
}

fn connects(place: &str) -> Result<(), String> {
    let place = place.to_owned();
    run(async move { connect(&place).await })?
}

#[expect(clippy::disallowed_methods, reason = "a command that connects to see whether it can")]
async fn connect(place: &str) -> Result<(), String> {
    match timeout(PATIENCE, TcpStream::connect(place)).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(reason::of(&error)),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

fn run<T>(work: impl Future<Output = T>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot look: {error}"))?;
    let done = runtime.block_on(work);
    // A name that is still looked up would hold the end up.
    runtime.shutdown_background();
    Ok(done)
}
