//! The meta commands against the live table, and what is told of a value besides itself.
//!
//! What each flag of `mg`, `ms`, `md` and `ma` means is said here, as memcached 1.6.18's
//! `doc/protocol.txt` and its replies have it. Flags take effect and are answered in the order in
//! which they were sent, so `t T30` shows the seconds that were left and `T30 t` those that are.

use std::fmt::Write;

use super::apply::expiry;
use super::tally::Counts;
use crate::counters::marks::Marks;
use crate::counters::{
    Arithmetic, Condemned, Condition, Counters, Entry, Glance, Side, Step, Stepped, Stored, Written,
};
use crate::protocol::{
    ArithmeticMode, Error, MetaFlag, MetaFlags, MetaKey, MetaKeyRoom, MetaReply, MetaStatus, Reply,
    StoreMode, meta_debug,
};
use crate::time::Timestamp;

/// What the flags ask for that does not depend on their order.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "flags are what they are")]
struct Asked {
    is_quiet: bool,
    wants_value: bool,
    is_access: bool,
    touches: bool,
    expires: Option<Timestamp>,
    vivify: Option<i64>,
    client_flags: u32,
    compare: Option<u64>,
    is_invalidation: bool,
    delta: u64,
    initial: u64,
    marks: Marks,
}

impl Asked {
    fn of(key: MetaKey<'_>, flags: MetaFlags<'_>, now: Timestamp) -> Self {
        let marks = if key.is_base64() { Marks::ENCODED } else { Marks::NONE };
        let mut asked = Self { is_access: true, delta: 1, marks, ..Self::default() };
        for flag in flags.iter() {
            match flag {
                MetaFlag::Quiet => asked.is_quiet = true,
                MetaFlag::Value => asked.wants_value = true,
                MetaFlag::NoAccess => asked.is_access = false,
                MetaFlag::Vivify(exptime) => asked.vivify = Some(exptime),
                MetaFlag::Expire(exptime) => {
                    asked.touches = true;
                    asked.expires = expiry(exptime, now);
                }
                MetaFlag::SetClientFlags(flags) => asked.client_flags = flags,
                MetaFlag::Compare(unique) => asked.compare = Some(unique),
                MetaFlag::Invalidate => asked.is_invalidation = true,
                MetaFlag::Delta(delta) => asked.delta = delta,
                MetaFlag::Initial(initial) => asked.initial = initial,
                _ => {}
            }
        }
        asked
    }
}

/// `mg`: shows a value, and makes one if it is told to.
pub(super) fn get(
    counters: &Counters,
    key: MetaKey<'_>,
    flags: MetaFlags<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let mut room = MetaKeyRoom::default();
    let (asked, text) = (Asked::of(key, flags, now), key.decode(&mut room));
    let make = asked.vivify.map(|_| asked.marks);
    let found = counters.glance(text, make, now, |glance| {
        glance.is_access = asked.is_access;
        answer_get(text, flags, asked.wants_value, glance, now, out);
    });
    let (hits, misses) = if asked.touches {
        counts.cmd_touch += 1;
        (&mut counts.touch_hits, &mut counts.touch_misses)
    } else {
        counts.cmd_get += 1;
        (&mut counts.get_hits, &mut counts.get_misses)
    };
    *hits += u64::from(found.is_some());
    *misses += u64::from(found.is_none());
    if found.is_none() && !asked.is_quiet {
        answer_bare(MetaStatus::End, key, text, flags, out);
    }
}

fn answer_get(
    key: &[u8],
    flags: MetaFlags<'_>,
    wants_value: bool,
    glance: &mut Glance<'_>,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let mut reply = MetaReply::found(wants_value.then_some(glance.value), out);
    let was_won = glance.marks.has(Marks::WON);
    let mut wins = false;
    for flag in flags.iter() {
        match flag {
            MetaFlag::Expire(exptime) => glance.expires = expiry(exptime, now),
            MetaFlag::Vivify(exptime) if glance.is_new => {
                glance.expires = expiry(exptime, now);
                wins = true;
            }
            MetaFlag::Recache(exptime) if !was_won && !glance.is_new => {
                let left = secs_left(glance.expires, now);
                wins |= left.zip(secs_left(expiry(exptime, now), now)).is_some_and(|(l, r)| l < r);
            }
            MetaFlag::Size => reply.number(b's', glance.value.len() as u64),
            MetaFlag::TimeLeft => reply.time_left(b't', secs_left(glance.expires, now)),
            MetaFlag::Unique => reply.number(b'c', glance.unique),
            MetaFlag::ClientFlags => reply.number(b'f', glance.flags.into()),
            MetaFlag::LastAccess => reply.number(b'l', glance.idle_secs),
            MetaFlag::WasFetched => {
                reply.number(b'h', glance.marks.has(Marks::FETCHED).into());
            }
            MetaFlag::Opaque(token) => reply.opaque(token),
            MetaFlag::Key => reply.key(key, glance.marks.has(Marks::ENCODED)),
            _ => {}
        }
    }
    if was_won {
        reply.sign(b'Z');
    }
    if glance.marks.has(Marks::STALE) {
        reply.sign(b'X');
        // Somebody has to make it anew, and nobody was told to yet.
        wins |= !was_won;
    }
    if wins {
        reply.sign(b'W');
        glance.marks = glance.marks.with(Marks::WON);
    }
    reply.end();
}

/// `ms`: stores a value, in one of five ways.
pub(super) fn set(
    counters: &Counters,
    key: MetaKey<'_>,
    flags: MetaFlags<'_>,
    value: &[u8],
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    counts.cmd_set += 1;
    let mut room = MetaKeyRoom::default();
    let (asked, text) = (Asked::of(key, flags, now), key.decode(&mut room));
    let Asked { client_flags, expires, compare, marks, .. } = asked;
    let store = |condition| {
        let entry = Entry { key: text, value, flags: client_flags, expires };
        counters.store_marked(entry, condition, marks, now)
    };
    // For a value to be joined, memcached takes the number 0 for none.
    let join = |side| counters.join(text, value, side, compare.filter(|unique| *unique != 0), now);
    let mode = flags.store_mode().unwrap_or(StoreMode::Set);
    let Written { outcome, unique } = match (mode, compare) {
        (StoreMode::Append, _) => join(Side::Back),
        (StoreMode::Prepend, _) => join(Side::Front),
        (StoreMode::Add, _) => store(Condition::Absent),
        (_, Some(unique)) if asked.is_invalidation => store(Condition::UniqueOrOlder(unique)),
        (_, Some(unique)) => store(Condition::Unique(unique)),
        (StoreMode::Replace, None) => store(Condition::Present),
        (StoreMode::Set, None) => store(Condition::Always),
    };
    if compare.is_some() && matches!(mode, StoreMode::Set | StoreMode::Replace) {
        count_cas(outcome, counts);
    }
    let status = match outcome {
        Stored::Stored if asked.is_quiet => return,
        Stored::Stored => MetaStatus::Done,
        Stored::NotStored => MetaStatus::NotStored,
        Stored::Exists => MetaStatus::Exists,
        Stored::NotFound => MetaStatus::NotFound,
        Stored::Full => return refuse(Error::OutOfMemory, counts, out),
        Stored::Reserved => return refuse(Error::Reserved, counts, out),
        Stored::NotNumeric => return refuse(Error::NotAnObservation, counts, out),
    };
    let mut reply = MetaReply::status(status, out);
    for flag in flags.iter() {
        match flag {
            MetaFlag::Opaque(token) => reply.opaque(token),
            MetaFlag::Key => reply.key(text, key.is_base64()),
            MetaFlag::Unique => reply.number(b'c', unique),
            _ => {}
        }
    }
    reply.end();
}

/// `md`: takes a value away, or marks it as stale.
pub(super) fn delete(
    counters: &Counters,
    key: MetaKey<'_>,
    flags: MetaFlags<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let mut room = MetaKeyRoom::default();
    let (asked, text) = (Asked::of(key, flags, now), key.decode(&mut room));
    let stale = asked.is_invalidation.then(|| asked.touches.then_some(asked.expires));
    let condemned = counters.condemn(text, asked.compare, stale, now);
    let status = match condemned {
        Condemned::Deleted | Condemned::Marked => MetaStatus::Done,
        Condemned::Exists => MetaStatus::Exists,
        Condemned::NotFound => MetaStatus::NotFound,
    };
    match condemned {
        Condemned::Deleted => counts.delete_hits += 1,
        Condemned::Marked => {}
        Condemned::Exists | Condemned::NotFound => counts.delete_misses += 1,
    }
    if !(asked.is_quiet && status == MetaStatus::Done) {
        answer_bare(status, key, text, flags, out);
    }
}

/// `ma`: adds to a number or takes from it, and makes one if it is told to.
///
/// Unlike `incr`, it makes nothing unless flag `N` says so, whatever the configuration says: who
/// sends it can say what he wants.
pub(super) fn arithmetic(
    counters: &Counters,
    key: MetaKey<'_>,
    flags: MetaFlags<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    let mut room = MetaKeyRoom::default();
    let (asked, text) = (Asked::of(key, flags, now), key.decode(&mut room));
    let is_decr = flags.arithmetic_mode() == Some(ArithmeticMode::Decr);
    let step = Step {
        key: text,
        delta: asked.delta,
        is_decr,
        unique: asked.compare.filter(|unique| *unique != 0),
        initial: asked.vivify.map(|_| asked.initial),
        marks: asked.marks,
    };
    let mut was_made = false;
    let stepped = counters.step(step, now, |glance| {
        was_made = glance.is_new;
        glance.is_access = false;
        // What is made is told of even to who wants to hear nothing, as in memcached.
        let is_silent = asked.is_quiet && !was_made;
        let begin = out.len();
        answer_arithmetic(key, text, flags, asked.wants_value, glance, now, out);
        if is_silent {
            out.truncate(begin);
        }
    });
    let (hits, misses) = if is_decr {
        (&mut counts.decr_hits, &mut counts.decr_misses)
    } else {
        (&mut counts.incr_hits, &mut counts.incr_misses)
    };
    match stepped {
        Stepped::Seen(()) => *hits += u64::from(!was_made),
        Stepped::Exists => answer_bare(MetaStatus::Exists, key, text, flags, out),
        Stepped::Not(Arithmetic::NotNumeric) => refuse(Error::NotNumeric, counts, out),
        Stepped::Not(Arithmetic::Full) => refuse(Error::OutOfMemory, counts, out),
        Stepped::Not(Arithmetic::Reserved) => refuse(Error::Reserved, counts, out),
        Stepped::Not(Arithmetic::NotFound | Arithmetic::Value(_)) => {
            *misses += 1;
            answer_bare(MetaStatus::NotFound, key, text, flags, out);
        }
    }
}

fn answer_arithmetic(
    key: MetaKey<'_>,
    text: &[u8],
    flags: MetaFlags<'_>,
    wants_value: bool,
    glance: &mut Glance<'_>,
    now: Timestamp,
    out: &mut Vec<u8>,
) {
    let mut reply = MetaReply::found(wants_value.then_some(glance.value), out);
    for flag in flags.iter() {
        match flag {
            MetaFlag::Unique => reply.number(b'c', glance.unique),
            MetaFlag::TimeLeft => reply.time_left(b't', secs_left(glance.expires, now)),
            MetaFlag::Expire(exptime) => glance.expires = expiry(exptime, now),
            MetaFlag::Vivify(exptime) if glance.is_new => glance.expires = expiry(exptime, now),
            MetaFlag::Opaque(token) => reply.opaque(token),
            MetaFlag::Key => reply.key(text, key.is_base64()),
            _ => {}
        }
    }
    reply.end();
}

/// `me`: one line about a value, for people. memcached shows the time to its expiry below zero there,
/// and so does this.
pub(super) fn debug(
    counters: &Counters,
    key: MetaKey<'_>,
    now: Timestamp,
    counts: &mut Counts,
    out: &mut Vec<u8>,
) {
    counts.cmd_meta += 1;
    let mut room = MetaKeyRoom::default();
    let text = key.decode(&mut room);
    let found = counters.glance(text, None, now, |glance| {
        glance.is_access = false;
        let expires = secs_left(glance.expires, now).map_or(1, |left| left);
        let fetched = if glance.marks.has(Marks::FETCHED) { "yes" } else { "no" };
        let mut facts = String::new();
        // Writing to a string does not fail.
        let _ = write!(
            facts,
            "exp=-{expires} la={} cas={} fetch={fetched} cls=1 size={}",
            glance.idle_secs, glance.unique, glance.room_bytes
        );
        meta_debug(text, glance.marks.has(Marks::ENCODED), &facts, out);
    });
    if found.is_none() {
        MetaReply::status(MetaStatus::End, out).end();
    }
}

/// `cas` and `ms` with a unique number are counted alike.
pub(super) fn count_cas(outcome: Stored, counts: &mut Counts) {
    match outcome {
        Stored::Stored => counts.cas_hits += 1,
        Stored::NotFound => counts.cas_misses += 1,
        Stored::Exists => counts.cas_badval += 1,
        _ => {}
    }
}

/// The answer where there is no value to tell of.
fn answer_bare(
    status: MetaStatus,
    key: MetaKey<'_>,
    text: &[u8],
    flags: MetaFlags<'_>,
    out: &mut Vec<u8>,
) {
    let mut reply = MetaReply::status(status, out);
    for flag in flags.iter() {
        match flag {
            MetaFlag::Opaque(token) => reply.opaque(token),
            MetaFlag::Key => reply.key(text, key.is_base64()),
            _ => {}
        }
    }
    reply.end();
}

/// An error is told to quiet clients as well.
fn refuse(error: Error, counts: &mut Counts, out: &mut Vec<u8>) {
    counts.errors += 1;
    counts.store_no_memory += u64::from(error == Error::OutOfMemory);
    Reply::Error(error).write_to(out);
}

/// Seconds until a value expires, begun ones included, so that a value that is there has some left.
fn secs_left(expires: Option<Timestamp>, now: Timestamp) -> Option<u64> {
    expires.map(|at| at.since(now).as_millis().div_ceil(1000))
}

#[cfg(test)]
mod tests;
