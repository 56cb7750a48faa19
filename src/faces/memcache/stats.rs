//! What `stats` answers: memcached's figures under memcached's names, and our own under `tallyd`.
//!
//! A figure that memcached has and that can only be nought here (evictions, say) is given as nought,
//! since monitoring asks for it by name. One about slabs, the LRU or its threads is left out: there is
//! nothing that it could be said of.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{VERSION, Worker};
use crate::config::{Listen, MissingIncr};
use crate::engine::tally::Counts;
use crate::protocol::{Error, Reply};
use crate::time::Timestamp;

impl Worker {
    /// Answers `stats` and its argument.
    pub(super) fn stats(&self, arg: &[u8], now: Timestamp, out: &mut Vec<u8>) {
        let sum = self.shared.tallies.sum();
        let mut baseline =
            self.shared.status.baseline.lock().unwrap_or_else(PoisonError::into_inner);
        match arg {
            b"" => self.stats_general(&sum.since(&baseline), now, out),
            b"tallyd" => self.stats_tallyd(&sum.since(&baseline), out),
            b"settings" => self.stats_settings(out),
            b"conns" => self.shared.connections.each(now, |name, value| text(out, name, value)),
            b"reset" => {
                *baseline = sum;
                self.shared.status.reset();
                return Reply::Reset.write_to(out);
            }
            // There are no slabs, so there is nothing to list.
            b"items" | b"slabs" | b"sizes" => {}
            _ => return Reply::Error(Error::Unknown).write_to(out),
        }
        Reply::End.write_to(out);
    }

    fn stats_general(&self, counts: &Counts, now: Timestamp, out: &mut Vec<u8>) {
        let started = self.shared.engine.view(|view| view.started);
        let counters = self.shared.engine.counters();
        let status = &self.shared.status;
        stat(out, "pid", u64::from(std::process::id()));
        stat(out, "uptime", now.since(started).as_millis() / 1000);
        stat(out, "time", now.as_secs());
        text(out, "version", VERSION);
        stat(out, "pointer_size", usize::BITS);
        stat(out, "max_connections", status.max_connections.load(Relaxed));
        stat(out, "curr_connections", status.connections.load(Relaxed));
        stat(out, "total_connections", status.accepted.load(Relaxed));
        stat(out, "rejected_connections", status.refused.load(Relaxed));
        counts.each(|name, value| {
            if name != "errors" {
                stat(out, name, value);
            }
        });
        stat(out, "auth_cmds", status.logins.load(Relaxed));
        stat(out, "auth_errors", status.failed_logins.load(Relaxed));
        if !self.idle_timeout.is_zero() {
            stat(out, "idle_kicks", status.idle_kicks.load(Relaxed));
        }
        stat(out, "limit_maxbytes", counters.items().max_bytes());
        stat(out, "accepting_conns", 1_u32);
        stat(out, "listen_disabled_num", 0_u32);
        stat(out, "time_in_listen_disabled_us", 0_u32);
        stat(out, "threads", status.threads.load(Relaxed));
        stat(out, "conn_yields", status.yields.load(Relaxed));
        stat(out, "malloc_fails", 0_u32);
        stat(out, "bytes", counters.items().used_bytes());
        stat(out, "curr_items", counters.series() + counters.items().len());
        stat(out, "evictions", 0_u32);
        stat(out, "lrutail_reflocked", 0_u32);
    }

    fn stats_tallyd(&self, counts: &Counts, out: &mut Vec<u8>) {
        let counters = self.shared.engine.counters();
        stat(out, "series", counters.series());
        stat(out, "items", counters.items().len());
        stat(out, "item_bytes", counters.items().used_bytes());
        stat(out, "errors", counts.errors);
        stat(out, "overflowed_increments", counters.overflowed());
        self.shared.engine.view(|view| {
            stat(out, "window_records", view.store.records());
            stat(out, "window_records_dropped", view.store.dropped());
            stat(out, "window_gaps", view.gaps);
            stat(out, "incidents_open", view.incidents);
            stat(out, "outbox_waiting", view.outbox.len());
        });
    }

    fn stats_settings(&self, out: &mut Vec<u8>) {
        let (server, compat) = (&self.config.server, &self.config.compat);
        let port = server.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(address) => Some(*address),
            Listen::Unix(_) => None,
        });
        let socket = server.listen.iter().find_map(|listen| match listen {
            Listen::Tcp(_) => None,
            Listen::Unix(path) => Some(path.display().to_string()),
        });
        let yes = |is: bool| if is { "yes" } else { "no" };
        stat(out, "maxbytes", self.shared.engine.counters().items().max_bytes());
        stat(out, "maxconns", self.shared.status.max_connections.load(Relaxed));
        stat(out, "tcpport", port.map_or(0, |address| address.port()));
        stat(out, "udpport", 0_u32);
        text(out, "inter", &port.map_or("NULL".to_owned(), |address| address.ip().to_string()));
        text(out, "evictions", "off");
        text(out, "domain_socket", socket.as_deref().unwrap_or("NULL"));
        text(out, "umask", &format!("{:o}", compat.socket_mode));
        text(out, "shutdown_command", yes(compat.shutdown));
        stat(out, "num_threads", self.shared.status.threads.load(Relaxed));
        stat(out, "reqs_per_event", compat.requests_per_turn.unwrap_or(0));
        text(out, "cas_enabled", "yes");
        stat(out, "tcp_backlog", compat.backlog);
        text(out, "binding_protocol", compat.protocol);
        text(out, "auth_enabled_sasl", "no");
        text(out, "auth_enabled_ascii", yes(self.shared.access.asks()));
        stat(out, "item_size_max", self.limits.item_bytes);
        text(out, "maxconns_fast", "yes");
        text(out, "flush_enabled", yes(compat.flush_all));
        stat(out, "idle_timeout", self.idle_timeout.as_millis() / 1000);
        text(out, "ssl_enabled", yes(self.config.server.tls.is_some()));
        let creates = self.config.memcached.missing_incr == MissingIncr::Create;
        text(out, "missing_incr", if creates { "create" } else { "not_found" });
    }
}

fn stat(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    text(out, name, itoa::Buffer::new().format(value));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    Reply::Stat { name: name.as_bytes(), value: value.as_bytes() }.write_to(out);
}
