//! What became of lines of StatsD and Graphite. A protocol that listens nowhere has no figures.

use std::fmt::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::Shared;
use super::page::Page;
use crate::faces::told::Tally;

/// Each protocol that is on, with its name.
fn on(shared: &Shared) -> impl Iterator<Item = (&'static str, &Tally)> {
    let all = [("statsd", &shared.status.statsd), ("graphite", &shared.status.graphite)];
    all.into_iter().filter(|(_, tally)| tally.is_on.load(Relaxed))
}

/// Writes figures that are one number each.
pub(super) fn told(shared: &Shared, one: &mut impl FnMut(&str, &str, &str, u64)) {
    for (name, tally) in on(shared) {
        let mut one = |figure: &str, kind, help, value| {
            one(&format!("{name}_{figure}"), kind, help, value);
        };
        let read = tally.datagrams.load(Relaxed);
        one("lines_total", "counter", "Lines that were taken.", tally.lines());
        one("datagrams_total", "counter", "Datagrams that were read.", read);
        one(
            "datagrams_lost_total",
            "counter",
            "Datagrams that the system dropped, since they came faster than they were read.",
            tally.lost(),
        );
        one("connections", "gauge", "Connections that are open.", tally.connections.load(Relaxed));
        one(
            "connections_refused_total",
            "counter",
            "Connections that were refused for want of room.",
            tally.connections_refused.load(Relaxed),
        );
    }
}

/// Writes how many lines were refused, by reason.
pub(super) fn refused(shared: &Shared, page: &mut Page<'_>) {
    for (name, tally) in on(shared) {
        let name = format!("tallyd_{name}_refused_total");
        page.family(&name, "counter", "Lines that were not taken, or not wholly, by reason.", "");
        for (reason, count) in tally.refused_by_reason() {
            let _ = writeln!(page, "{name}{{reason=\"{reason}\"}} {count}");
        }
    }
}
