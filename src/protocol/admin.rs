//! The commands that steer what tallyd does not have: slabs, an LRU and its crawler, a log to watch,
//! room that clients may change.
//!
//! Each is answered with the words of a memcached in which the same is switched off, so that a tool
//! that tries one learns the truth in a form that it knows. `lru`, `extstore` and `refresh_certs` are
//! not even here: without their feature memcached says `ERROR`, as to any unknown verb.

use super::Error;
use super::number;
use super::parse::Refusal;
use super::words::{Words, is_noreply};

/// `cache_memlimit megabytes [noreply]`. How much room items have is for the operator to say; a
/// client that could raise it could also use up the machine.
pub(super) fn cache_memlimit(mut words: Words<'_>) -> Refusal {
    let (Some(megabytes), more, None) = (words.next(), words.next(), words.next()) else {
        return Error::Unknown.into();
    };
    let noreply = is_noreply(more.unwrap_or(megabytes));
    let error = match number::unsigned(megabytes) {
        None => Error::Unknown,
        Some(0..8) => Error::MemlimitTooSmall,
        Some(8..=1_000_000_000) => Error::MemlimitFixed,
        Some(_) => Error::MemlimitInBytes,
    };
    Refusal::unless(noreply, error)
}

/// `slabs reassign source destination`, `slabs automove …`.
pub(super) fn slabs(mut words: Words<'_>) -> Refusal {
    match (words.next(), words.clone().count()) {
        (Some(b"reassign"), 2) => Error::ReassignOff.into(),
        (Some(b"automove"), 1..) => automove(words),
        _ => Error::Unknown.into(),
    }
}

/// A level that is no number is told as such; one that is finds nothing that it could be the level of.
fn automove(mut words: Words<'_>) -> Refusal {
    let noreply = words.clone().last().is_some_and(is_noreply);
    let level = words.next().unwrap_or_default();
    let is_known = level == b"ratio" || number::unsigned(level).is_some();
    Refusal::unless(noreply, if is_known { Error::Unknown } else { Error::BadLine })
}

/// `lru_crawler crawl|metadump|tocrawl|sleep word`, `lru_crawler enable|disable`.
pub(super) fn lru_crawler(mut words: Words<'_>) -> Refusal {
    match (words.next(), words.count()) {
        (Some(b"crawl" | b"metadump" | b"tocrawl" | b"sleep"), 1)
        | (Some(b"enable" | b"disable"), 0) => Error::CrawlerOff.into(),
        _ => Error::Unknown.into(),
    }
}

/// `watch word…`.
pub(super) fn watch(words: Words<'_>) -> Refusal {
    Refusal::unless(words.last().is_some_and(is_noreply), Error::WatchOff)
}
