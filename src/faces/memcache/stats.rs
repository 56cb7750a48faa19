//! `stats` and its arguments: a table of answers.
//!
//! Names and their order are those of a memcached 1.6.18 without LRU crawler and maintainer, so that
//! what reads them there finds all of them here. What tallyd does not have (slabs, an LRU, a hash
//! table of its own, pools of buffers) is 0, because there is none of it.

use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use super::{VERSION, Worker};
use crate::config::Listen;
use crate::engine::tally::Counts;
use crate::limits;
use crate::protocol::{Error, Reply};
use crate::time::Timestamp;

/// Slab classes that memcached numbers; ours has the number 1.
const SLAB_CLASSES: u64 = 64;

/// Appends the answer to `stats` with these words behind it.
pub(super) fn answer(worker: &Worker, line: &[u8], now: Timestamp, out: &mut Vec<u8>) {
    let mut words = line.split(|byte| *byte == b' ').filter(|word| !word.is_empty());
    let (first, second, third) = (words.next(), words.next(), words.next());
    let status = &worker.shared.status;
    match first.unwrap_or_default() {
        b"" => general(worker, now, out),
        b"tallyd" => tallyd(worker, out),
        b"settings" => settings(worker, out),
        b"conns" => conns(worker, now, out),
        b"items" => items(worker, now, out),
        b"slabs" => {
            number(out, "active_slabs", 0_u64);
            number(out, "total_malloced", worker.shared.engine.counters().items().used_bytes());
        }
        // Sizes are not tracked, and no client can change that.
        b"sizes" | b"sizes_enable" | b"sizes_disable" => text(out, "sizes_status", "disabled"),
        b"extstore" => {}
        b"reset" => {
            let mut baseline = status.baseline.lock().unwrap_or_else(PoisonError::into_inner);
            *baseline = worker.shared.tallies.sum();
            status.reset();
            status.detail.clear();
            return Reply::Reset.write_to(out);
        }
        b"detail" => match second {
            Some(b"on") => {
                status.detail.switch(true);
                return Reply::Ok.write_to(out);
            }
            Some(b"off") => {
                status.detail.switch(false);
                return Reply::Ok.write_to(out);
            }
            Some(b"dump") => status.detail.write_to(out),
            _ => return Reply::Error(Error::BadStatsDetail).write_to(out),
        },
        b"cachedump" => {
            if let Err(error) = cachedump(worker, second, third, now, out) {
                return Reply::Error(error).write_to(out);
            }
        }
        _ => return Reply::Error(Error::Unknown).write_to(out),
    }
    Reply::End.write_to(out);
}

fn general(worker: &Worker, now: Timestamp, out: &mut Vec<u8>) {
    let shared = &worker.shared;
    let status = &shared.status;
    let baseline = *status.baseline.lock().unwrap_or_else(PoisonError::into_inner);
    let counts = shared.tallies.sum().since(&baseline);
    let started = shared.engine.view(|view| view.started);
    let counters = shared.engine.counters();
    let open = status.connections.load(Relaxed);
    number(out, "pid", u64::from(std::process::id()));
    number(out, "uptime", now.since(started).as_millis() / 1000);
    number(out, "time", now.as_secs());
    text(out, "version", VERSION);
    text(out, "libevent", "none");
    number(out, "pointer_size", usize::BITS);
    // The system's share is not told apart.
    text(out, "rusage_user", &cpu_secs());
    text(out, "rusage_system", "0.000000");
    number(out, "max_connections", status.max_connections.load(Relaxed));
    number(out, "curr_connections", open);
    number(out, "total_connections", status.accepted.load(Relaxed));
    number(out, "rejected_connections", status.refused.load(Relaxed));
    number(out, "connection_structures", open);
    zeros(
        out,
        "response_obj_oom response_obj_count response_obj_bytes read_buf_count read_buf_bytes",
    );
    zeros(out, "read_buf_bytes_free read_buf_oom reserved_fds");
    requests(worker, &counts, out);
    number(out, "limit_maxbytes", counters.items().max_bytes());
    number(out, "accepting_conns", 1_u64);
    zeros(out, "listen_disabled_num time_in_listen_disabled_us");
    number(out, "threads", status.threads.load(Relaxed));
    number(out, "conn_yields", status.yields.load(Relaxed));
    zeros(out, "hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues");
    zeros(out, "slab_reassign_chunk_rescues slab_reassign_evictions_nomem");
    zeros(out, "slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes");
    zeros(out, "slab_reassign_running slabs_moved malloc_fails log_worker_dropped");
    zeros(out, "log_worker_written log_watcher_skipped log_watcher_sent log_watchers");
    zeros(out, "unexpected_napi_ids round_robin_fallback");
    number(out, "bytes", counters.items().used_bytes());
    number(out, "curr_items", counters.values(now));
    number(out, "total_items", counts.cmd_set);
    zeros(out, "slab_global_page_pool expired_unfetched evicted_unfetched evictions reclaimed");
    zeros(out, "crawler_reclaimed crawler_items_checked lrutail_reflocked");
}

/// What clients did. Values that were asked for after they had expired are misses and no more.
fn requests(worker: &Worker, counts: &Counts, out: &mut Vec<u8>) {
    let status = &worker.shared.status;
    counts.each(|name, value| {
        match name {
            "delete_misses" => zeros(out, "get_expired get_flushed"),
            "bytes_read" => {
                number(out, "auth_cmds", status.logins.load(Relaxed));
                number(out, "auth_errors", status.failed_logins.load(Relaxed));
                if !worker.idle_timeout.is_zero() {
                    number(out, "idle_kicks", status.idle_kicks.load(Relaxed));
                }
            }
            _ => {}
        }
        // Not a name of memcached's; `stats tallyd` has it.
        if name != "errors" {
            number(out, name, value);
        }
    });
}

fn tallyd(worker: &Worker, out: &mut Vec<u8>) {
    let shared = &worker.shared;
    let counters = shared.engine.counters();
    number(out, "series", counters.series());
    number(out, "items", counters.items().len());
    number(out, "item_bytes", counters.items().used_bytes());
    number(out, "overflowed_increments", counters.overflowed());
    number(out, "errors", shared.tallies.sum().errors);
    shared.engine.view(|view| {
        number(out, "window_records", view.store.records());
        number(out, "window_records_dropped", view.store.dropped());
        number(out, "window_gaps", view.gaps);
        number(out, "tick_log_waiting", view.log_waiting);
        number(out, "tick_log_dropped", view.unlogged);
        number(out, "incidents_open", view.incidents.open());
        number(out, "outbox_waiting", view.outbox.len());
    });
}

fn settings(worker: &Worker, out: &mut Vec<u8>) {
    let status = &worker.shared.status;
    let (server, compat) = (&worker.config.server, &worker.config.compat);
    let port = server.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) => Some(*address),
        Listen::Unix(_) => None,
    });
    let socket = server.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(_) => None,
        Listen::Unix(path) => Some(path.display().to_string()),
    });
    let yes_no = |is_so: bool| if is_so { "yes" } else { "no" };
    number(out, "maxbytes", worker.shared.engine.counters().items().max_bytes());
    number(out, "maxconns", status.max_connections.load(Relaxed));
    number(out, "tcpport", port.map_or(0, |address| address.port()));
    number(out, "udpport", 0_u64);
    text(out, "inter", &port.map_or("NULL".to_owned(), |address| address.ip().to_string()));
    number(out, "verbosity", 0_u64);
    text(out, "evictions", "off");
    text(out, "domain_socket", socket.as_deref().unwrap_or("NULL"));
    text(out, "umask", &format!("{:o}", compat.socket_mode));
    text(out, "shutdown_command", yes_no(status.allows_shutdown.load(Relaxed)));
    number(out, "num_threads", status.threads.load(Relaxed));
    text(out, "stat_key_prefix", ":");
    text(out, "detail_enabled", yes_no(status.detail.is_on()));
    number(out, "reqs_per_event", compat.requests_per_turn.unwrap_or(0));
    text(out, "cas_enabled", "yes");
    number(out, "tcp_backlog", compat.backlog);
    text(out, "binding_protocol", compat.protocol);
    text(out, "auth_enabled_sasl", "no");
    text(out, "auth_enabled_ascii", yes_no(worker.shared.access.asks()));
    number(out, "item_size_max", worker.limits.item_bytes);
    text(out, "maxconns_fast", "yes");
    text(out, "slab_reassign", "no");
    text(out, "lru_crawler", "no");
    text(out, "flush_enabled", yes_no(compat.flush_all));
    text(out, "dump_enabled", "yes");
    text(out, "lru_maintainer_thread", "no");
    text(out, "lru_segmented", "no");
    number(out, "idle_timeout", worker.idle_timeout.as_millis() / 1000);
    text(out, "track_sizes", "no");
    text(out, "ssl_enabled", yes_no(server.tls.is_some()));
}

fn conns(worker: &Worker, now: Timestamp, out: &mut Vec<u8>) {
    for told in worker.shared.status.clients.list(now) {
        let name = |field: &str| format!("{}:{field}", told.number);
        text(out, &name("addr"), &told.address);
        if let Some(address) = &told.listen_address {
            text(out, &name("listen_addr"), address);
        }
        text(out, &name("state"), told.activity);
        number(out, &name("secs_since_last_cmd"), told.idle_secs);
    }
}

/// All values as one class, since a tool walks the classes that it finds here with `cachedump`.
fn items(worker: &Worker, now: Timestamp, out: &mut Vec<u8>) {
    let counters = worker.shared.engine.counters();
    let count = counters.values(now);
    if count > 0 {
        number(out, "items:1:number", count);
        number(out, "items:1:mem_requested", counters.items().used_bytes());
        zeros(out, "items:1:age items:1:evicted items:1:evicted_nonzero items:1:evicted_time");
        zeros(out, "items:1:outofmemory items:1:tailrepairs items:1:reclaimed");
    }
}

/// `stats cachedump class limit`: names of keys, with length and expiry. As many as are asked for, all
/// for 0, and no more than fit memcached's bound on such an answer.
fn cachedump(
    worker: &Worker,
    class: Option<&[u8]>,
    limit: Option<&[u8]>,
    now: Timestamp,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let (class, limit) = class.zip(limit).ok_or(Error::BadStatsLine)?;
    let plain = |word: &[u8]| std::str::from_utf8(word).ok()?.parse::<u64>().ok();
    let (class, limit) = plain(class).zip(plain(limit)).ok_or(Error::BadLine)?;
    if class >= SLAB_CLASSES {
        return Err(Error::BadSlab);
    }
    if class != 1 {
        return Ok(());
    }
    let (begin, mut shown) = (out.len(), 0);
    worker.shared.engine.counters().walk(now, |key, bytes, expires| {
        out.extend_from_slice(b"ITEM ");
        out.extend_from_slice(key);
        let expires = expires.map_or(0, Timestamp::as_secs);
        out.extend_from_slice(format!(" [{bytes} b; {expires} s]\r\n").as_bytes());
        shown += 1;
        shown != limit && out.len() - begin < limits::CACHEDUMP_BYTES
    });
    Ok(())
}

/// CPU time of the process so far.
fn cpu_secs() -> String {
    use rustix::time::{ClockId, clock_gettime};
    let used = clock_gettime(ClockId::ProcessCPUTime);
    format!("{}.{:06}", used.tv_sec, used.tv_nsec / 1000)
}

fn zeros(out: &mut Vec<u8>, names: &str) {
    names.split(' ').for_each(|name| number(out, name, 0_u64));
}

fn number(out: &mut Vec<u8>, name: &str, value: impl itoa::Integer) {
    text(out, name, itoa::Buffer::new().format(value));
}

fn text(out: &mut Vec<u8>, name: &str, value: &str) {
    Reply::Stat { name: name.as_bytes(), value: value.as_bytes() }.write_to(out);
}
