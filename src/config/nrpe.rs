//! `[nrpe]`: where `check_nrpe` asks, and who may.

use super::access;
use super::model::Nrpe;
use super::network::Network;
use super::read::Reader;
use super::section::{Section, or, values};
use super::sink::{Fault, Finding, shown};
use super::value;
use crate::limits;

pub(super) fn nrpe(root: &mut Section<'_>, default: Nrpe, reader: &Reader<'_>) -> Nrpe {
    let Some(mut section) = root.table("nrpe", "[nrpe]") else { return default };
    let listen = section.text("listen", |text| {
        if text.is_empty() { Ok(None) } else { value::address(text).map(Some) }
    });
    let allow = section.list("allow", network);
    if let Some(allow) = &allow {
        let is_on = listen.as_ref().is_some_and(|listen| listen.value.is_some());
        if allow.value.is_empty() && is_on {
            let message = "nobody may ask: `allow` names no host";
            reader.sink.error(Finding::new(allow.place, message).absence());
        }
        if allow.value.len() > limits::NRPE_NETWORKS {
            let message = format!("`allow` names more than {} networks", limits::NRPE_NETWORKS);
            reader.sink.error(Finding::new(allow.place, message));
        }
    }
    Nrpe {
        listen: or(listen, default.listen),
        allow: allow.map_or(default.allow, values),
        tls: access::tls(&mut section, reader),
    }
}

fn network(text: &str) -> Result<Network, Fault> {
    text.parse().map_err(|reason: String| {
        Fault::new(format!("{} is not a host that may ask", shown(text))).label(reason)
    })
}
