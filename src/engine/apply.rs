//! One request of the memcached protocol against the live table.

use super::tally::Counts;
use crate::counters::{Arithmetic, Condition, Counters, Entry, Stored};
use crate::protocol::{Error, Reply, Request, StoreVerb};
use crate::time::{Span, Timestamp};

/// Expiry times up to this many seconds are relative, longer ones are Unix times: thirty days, as in
/// memcached's `doc/protocol.txt`.
const RELATIVE_SECS_MAX: i64 = 60 * 60 * 24 * 30;

/// Applies a request that touches one key or the whole table, and appends the answer to `out`.
///
/// Retrievals are not for here, since their answers are as long as the client likes; nor is what the
/// connection itself answers (`quit`, `version`, `verbosity`, `stats`): they leave `out` as it is.
#[inline]
pub fn apply(
    counters: &Counters,
    request: &Request<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let (reply, is_silent) = match *request {
        Request::Incr { key, delta, noreply } => {
            let done = counters.incr(key, delta, now);
            match done {
                Arithmetic::Value(_) => counts.incr_hits += 1,
                Arithmetic::NotFound => counts.incr_misses += 1,
                _ => counts.errors += 1,
            }
            (arithmetic(done), noreply)
        }
        Request::Decr { key, delta, noreply } => {
            let done = counters.decr(key, delta, now);
            match done {
                Arithmetic::Value(_) => counts.decr_hits += 1,
                Arithmetic::NotFound => counts.decr_misses += 1,
                _ => counts.errors += 1,
            }
            (arithmetic(done), noreply)
        }
        Request::Store { verb, key, flags, exptime, value, noreply } => {
            counts.cmd_set += 1;
            let condition = match verb {
                StoreVerb::Set => Condition::Always,
                StoreVerb::Add => Condition::Absent,
                StoreVerb::Replace => Condition::Present,
            };
            let entry = Entry { key, value, flags, expires: expiry(exptime, now) };
            let reply = match counters.store(entry, condition, now) {
                Stored::Stored => Reply::Stored,
                Stored::NotStored => Reply::NotStored,
                Stored::Full => Reply::Error(Error::OutOfMemory),
                Stored::Reserved => Reply::Error(Error::Reserved),
            };
            counts.errors += u64::from(matches!(reply, Reply::Error(_)));
            (reply, noreply)
        }
        Request::Delete { key, noreply } => {
            let was_there = counters.delete(key, now);
            counts.delete_hits += u64::from(was_there);
            counts.delete_misses += u64::from(!was_there);
            (if was_there { Reply::Deleted } else { Reply::NotFound }, noreply)
        }
        Request::Touch { key, exptime, noreply } => {
            counts.cmd_touch += 1;
            let was_there = counters.touch(key, expiry(exptime, now), now);
            counts.touch_hits += u64::from(was_there);
            counts.touch_misses += u64::from(!was_there);
            (if was_there { Reply::Touched } else { Reply::NotFound }, noreply)
        }
        Request::FlushAll { delay, noreply } => {
            counts.cmd_flush += 1;
            // Nought and less mean now.
            counters.flush_all(expiry(delay.max(0), now).unwrap_or(now), now);
            (Reply::Ok, noreply)
        }
        Request::Get { .. }
        | Request::Version
        | Request::Verbosity { .. }
        | Request::Stats { .. }
        | Request::Shutdown { .. }
        | Request::Quit => return,
    };
    if !is_silent {
        reply.write_to(out);
    }
}

/// Appends the answer to a retrieval of one key: a value, or nothing.
pub fn retrieve(
    counters: &Counters,
    key: &[u8],
    wants_cas: bool,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    counts.cmd_get += 1;
    let found = counters.get(key, now, |view| {
        let cas = wants_cas.then_some(view.unique);
        Reply::Value { key, flags: view.flags, value: view.value, cas }.write_to(out);
    });
    counts.get_hits += u64::from(found.is_some());
    counts.get_misses += u64::from(found.is_none());
}

fn arithmetic(done: Arithmetic) -> Reply<'static> {
    match done {
        Arithmetic::Value(value) => Reply::Number(value),
        Arithmetic::NotFound => Reply::NotFound,
        Arithmetic::NotNumeric => Reply::Error(Error::NotNumeric),
        Arithmetic::Full => Reply::Error(Error::OutOfMemory),
        Arithmetic::Reserved => Reply::Error(Error::Reserved),
    }
}

/// When a value expires: never for 0, already for a negative number.
fn expiry(exptime: i64, now: Timestamp) -> Option<Timestamp> {
    match exptime {
        0 => None,
        i64::MIN..0 => Some(now),
        1..=RELATIVE_SECS_MAX => Some(now + Span::from_secs(exptime.unsigned_abs())),
        _ => Some(Timestamp::from_secs(exptime)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry_times_are_read_as_memcached_reads_them() {
        let now = Timestamp::from_secs(1_000_000_000);
        assert_eq!(expiry(0, now), None);
        assert_eq!(expiry(-1, now), Some(now));
        assert_eq!(expiry(10, now), Some(Timestamp::from_secs(1_000_000_010)));
        assert_eq!(expiry(2_592_000, now), Some(Timestamp::from_secs(1_002_592_000)));
        assert_eq!(expiry(2_592_001, now), Some(Timestamp::from_secs(2_592_001)));
        assert_eq!(expiry(i64::MAX, now), Some(Timestamp::from_millis(i64::MAX)));
    }
}
