//! One request of the memcached protocol against the live table.

use super::tally::Counts;
use super::{increments, meta};
use crate::counters::{Arithmetic, Condition, Counters, Entry, Side, Stored};
use crate::protocol::{Error, Reply, Request, StoreVerb};
use crate::time::{Span, Timestamp};

/// Expiry times up to this many seconds are relative, longer ones are Unix times: thirty days, as in
/// memcached's `doc/protocol.txt`.
const RELATIVE_SECS_MAX: i64 = 60 * 60 * 24 * 30;

/// Applies a request that touches one key or the whole table, and appends the answer to `out`.
///
/// Retrievals are not for here, since their answers are as long as the client likes; nor is what the
/// connection itself answers (`quit`, `version`, `verbosity`, `stats`, `mn`, `shutdown`): they leave `out` as it is.
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
            increments::count(done, counts);
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
            let entry = Entry { key, value, flags, expires: expiry(exptime, now) };
            let done = match verb {
                StoreVerb::Set => counters.store(entry, Condition::Always, now),
                StoreVerb::Add => counters.store(entry, Condition::Absent, now),
                StoreVerb::Replace => counters.store(entry, Condition::Present, now),
                StoreVerb::Append => counters.join(key, value, Side::Back, None, now).outcome,
                StoreVerb::Prepend => counters.join(key, value, Side::Front, None, now).outcome,
            };
            (stored(done, counts), noreply)
        }
        Request::Cas { key, flags, exptime, unique, value, noreply } => {
            counts.cmd_set += 1;
            let entry = Entry { key, value, flags, expires: expiry(exptime, now) };
            let done = counters.store(entry, Condition::Unique(unique), now);
            meta::count_cas(done, counts);
            (stored(done, counts), noreply)
        }
        Request::MetaGet { key, flags } => {
            return meta::get(counters, key, flags, now, counts, out);
        }
        Request::MetaSet { key, flags, value } => {
            return meta::set(counters, key, flags, value, now, counts, out);
        }
        Request::MetaDelete { key, flags } => {
            return meta::delete(counters, key, flags, now, counts, out);
        }
        Request::MetaArithmetic { key, flags } => {
            return meta::arithmetic(counters, key, flags, now, counts, out);
        }
        Request::MetaDebug { key } => return meta::debug(counters, key, now, counts, out),
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
        | Request::GetAndTouch { .. }
        | Request::MetaNoOp
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

fn stored(done: Stored, counts: &mut Counts) -> Reply<'static> {
    let error = match done {
        Stored::Stored => return Reply::Stored,
        Stored::NotStored => return Reply::NotStored,
        Stored::Exists => return Reply::Exists,
        Stored::NotFound => return Reply::NotFound,
        Stored::Full => Error::OutOfMemory,
        Stored::Reserved => Error::Reserved,
        Stored::NotNumeric => Error::NotAnObservation,
    };
    counts.errors += 1;
    counts.store_no_memory += u64::from(error == Error::OutOfMemory);
    Reply::Error(error)
}

pub(super) fn arithmetic(done: Arithmetic) -> Reply<'static> {
    match done {
        Arithmetic::Value(value) => Reply::Number(value),
        Arithmetic::NotFound => Reply::NotFound,
        Arithmetic::NotNumeric => Reply::Error(Error::NotNumeric),
        Arithmetic::Full => Reply::Error(Error::OutOfMemory),
        Arithmetic::Reserved => Reply::Error(Error::Reserved),
    }
}

/// When a value expires: never for 0, already for a negative number.
pub(super) fn expiry(exptime: i64, now: Timestamp) -> Option<Timestamp> {
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
