//! Retrievals against the live table: of one key, of many together, and with a new expiry.
//!
//! Keys that are asked for together are looked up together, so that their fetches from memory wait
//! side by side.

use super::apply::expiry;
use super::tally::Counts;
use crate::counters::Counters;
use crate::limits;
use crate::protocol::{KeysLeft, Reply};
use crate::time::Timestamp;

/// How many keys are looked up together.
const ROW: usize = 64;

/// Appends the answers to the next keys of a retrieval, as many as go together; whether it goes on.
/// Once the answers reach their bound the rest is left for another time, since every value may be
/// long.
pub fn retrieve_row(
    counters: &Counters,
    keys: &mut KeysLeft<'_>,
    wants_cas: bool,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) -> bool {
    let mut row = [&[][..]; ROW];
    let mut len = 0;
    let mut behind = keys.clone();
    for (place, key) in row.iter_mut().zip(behind.by_ref()) {
        *place = key;
        len += 1;
    }
    let row = row.get(..len).unwrap_or_default();
    let mut done = 0;
    counters.get_all(row, now, |at, view| {
        if out.len() >= limits::REPLY_BUFFER_BYTES {
            return;
        }
        done = at + 1;
        counts.cmd_get += 1;
        let (Some(key), Some(view)) = (row.get(at), view) else {
            counts.get_misses += 1;
            return;
        };
        counts.get_hits += 1;
        let cas = wants_cas.then_some(view.unique);
        Reply::Value { key, flags: view.flags, value: view.value, cas }.write_to(out);
    });
    if done == len {
        *keys = behind;
    } else {
        keys.by_ref().take(done).for_each(drop);
    }
    len > 0
}

/// Appends the answer to a retrieval of one key: a value, or nothing. Whether there was one.
pub fn retrieve(
    counters: &Counters,
    key: &[u8],
    wants_cas: bool,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) -> bool {
    counts.cmd_get += 1;
    let found = counters.get(key, now, |view| {
        let cas = wants_cas.then_some(view.unique);
        Reply::Value { key, flags: view.flags, value: view.value, cas }.write_to(out);
    });
    counts.get_hits += u64::from(found.is_some());
    counts.get_misses += u64::from(found.is_none());
    found.is_some()
}

/// The same with a new expiry, which counts as a touch and not as a retrieval.
pub fn retrieve_and_touch(
    counters: &Counters,
    key: &[u8],
    wants_cas: bool,
    exptime: i64,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) -> bool {
    counts.cmd_touch += 1;
    let found = counters.glance(key, None, now, |glance| {
        glance.expires = expiry(exptime, now);
        let cas = wants_cas.then_some(glance.unique);
        Reply::Value { key, flags: glance.flags, value: glance.value, cas }.write_to(out);
    });
    counts.touch_hits += u64::from(found.is_some());
    counts.touch_misses += u64::from(found.is_none());
    found.is_some()
}
