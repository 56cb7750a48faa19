//! `[nrpe]`: where `check_nrpe` asks, and who may.

use std::net::SocketAddr;

use super::access;
use super::model::Nrpe;
use super::network::Network;
use super::read::Reader;
use super::section::{At, Section, or, values};
use super::sink::{Fault, Finding, Sink, shown};
use super::value;
use crate::limits;

/// Reads the section; `taken` names the one that has an address already.
pub(super) fn nrpe(
    root: &mut Section<'_>,
    default: Nrpe,
    taken: &dyn Fn(&SocketAddr) -> Option<&'static str>,
    reader: &Reader<'_>,
) -> Nrpe {
    let Some(mut section) = root.table("nrpe", "[nrpe]") else { return default };
    let listen = section.text("listen", |text| {
        if text.is_empty() { Ok(None) } else { value::address(text).map(Some) }
    });
    let address = listen.as_ref().and_then(|at| Some(At { value: at.value?, place: at.place }));
    let is_nobody = section.is_empty_list("allow");
    let allow = section.list("allow", network);
    if let Some(allow) = &allow {
        if is_nobody && address.is_some() {
            let message = "nobody may ask: `allow` names no host";
            reader.sink.error(Finding::new(allow.place, message).absence());
        }
        if section.key_place("listen").is_none() {
            let message = "nobody can ask: `allow` without `listen`";
            let help =
                "set `listen = \"127.0.0.1:5666\"`, or where else `check_nrpe` reaches this server";
            reader.sink.warn(Finding::new(allow.place, message).help(help));
        }
        if allow.value.len() > limits::NRPE_NETWORKS {
            let message = format!("`allow` names more than {} networks", limits::NRPE_NETWORKS);
            reader.sink.error(Finding::new(allow.place, message));
        }
    }
    let has_tls = section.is_given("tls_cert");
    let tls = access::tls(&mut section, reader);
    if let Some(address) = address {
        judge(&address, taken(&address.value), tls.is_some() || has_tls, reader.sink);
    }
    Nrpe { listen: or(listen, default.listen), allow: allow.map_or(default.allow, values), tls }
}

/// Refuses an address that is taken, unless it means "any free port", and warns where what is said there is heard on
/// the way.
fn judge(address: &At<SocketAddr>, taken: Option<&str>, has_tls: bool, sink: &Sink) {
    if let Some(section) = taken.filter(|_| address.value.port() != 0) {
        let message = format!("{} is listened on twice", address.value);
        sink.error(Finding::new(address.place, message).label(format!("also in {section}")));
    }
    if !has_tls && !address.value.ip().is_loopback() {
        let message = "what NRPE says at this address goes over the wire in clear text";
        let help = "set `tls_cert` and `tls_key` in [nrpe]; without them Nagios has to ask with `check_nrpe -n`";
        sink.warn(Finding::new(address.place, message).help(help));
    }
}

fn network(text: &str) -> Result<Network, Fault> {
    text.parse().map_err(|reason: String| {
        Fault::new(format!("{} is not a host that may ask", shown(text))).label(reason)
    })
}
