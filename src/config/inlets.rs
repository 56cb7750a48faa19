//! `[statsd]` and `[graphite]`: where programs tell without being answered.

use std::net::SocketAddr;
use std::path::PathBuf;

use super::model::{Inlets, Listen, Server};
use super::section::{At, Section};
use super::sink::{Fault, Finding, Sink};
use super::value;

/// Both sections.
pub(super) struct Told {
    pub(super) statsd: Inlets,
    pub(super) graphite: Inlets,
}

/// An address with the word that the file has for it.
type Named = (&'static str, At<SocketAddr>);

/// Reads both, and reports addresses that are written twice.
pub(super) fn told(root: &mut Section<'_>, server: &Server, sink: &Sink) -> Told {
    let mut all = Vec::new();
    let statsd = root.table("statsd", "[statsd]").map(|mut section| {
        let unix = section.text("unix", socket).and_then(|path| path.value);
        Inlets { unix, ..inlets(&mut section, &mut all) }
    });
    let graphite = root.table("graphite", "[graphite]");
    let graphite = graphite.map(|mut section| inlets(&mut section, &mut all));
    distinct(&all, server, sink);
    Told { statsd: statsd.unwrap_or_default(), graphite: graphite.unwrap_or_default() }
}

fn inlets(section: &mut Section<'_>, all: &mut Vec<Named>) -> Inlets {
    let mut one = |key| {
        let found = section.text(key, address)?;
        let address = found.value?;
        all.push((key, At { value: address, place: found.place }));
        Some(address)
    };
    Inlets { udp: one("udp"), tcp: one("tcp"), unix: None }
}

/// An address, or nothing for nowhere.
fn address(text: &str) -> Result<Option<SocketAddr>, Fault> {
    if text.is_empty() { Ok(None) } else { value::address(text).map(Some) }
}

/// The path of a socket, or nothing for none.
fn socket(text: &str) -> Result<Option<PathBuf>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    match value::listen(&format!("unix:{}", text.strip_prefix("unix:").unwrap_or(text)))? {
        Listen::Unix(path) => Ok(Some(path)),
        Listen::Tcp(_) => Ok(None),
    }
}

/// Reports addresses that are taken already. Port 0 means "any free port".
fn distinct(all: &[Named], server: &Server, sink: &Sink) {
    let listens = |address: &SocketAddr| {
        server.http.contains(address) || server.listen.contains(&Listen::Tcp(*address))
    };
    for (at, (key, address)) in all.iter().enumerate().filter(|(_, (_, one))| one.value.port() != 0)
    {
        let mut before = all.iter().take(at);
        let is_same = |(other, one): &&Named| other == key && one.value == address.value;
        let message = format!("{} is listened on twice", address.value);
        if let Some((_, first)) = before.find(is_same) {
            sink.error(Finding::new(address.place, message).also(first.place, "first here"));
        } else if *key == "tcp" && listens(&address.value) {
            sink.error(Finding::new(address.place, message).label("also in [server]"));
        }
    }
}
