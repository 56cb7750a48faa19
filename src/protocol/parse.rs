//! One step of reading: what stands at the front of the bytes read so far.
//!
//! Pure: the answer depends on the bytes and the limits alone, so the caller may read as much or as
//! little at a time as it likes. Every step either takes at least one byte away, asks for more
//! bytes than there are, or ends the connection; a loop over [`parse`] always ends.
//!
//! It knows which command a line is and hands the words to that command's file; it does not know
//! what any command's words mean.

use super::words::Words;
use super::{Error, MetaKey, Request, StoreVerb};
use super::{admin, arithmetic, delete, flush, line, meta, retrieve, service, store, touch};
use crate::limits;

/// The bounds a request is held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest key.
    pub key_bytes: usize,
    /// Longest line before its `\n`, for every command but a retrieval.
    pub line_bytes: usize,
    /// Longest retrieval line before its `\n`.
    pub get_line_bytes: usize,
    /// Keys in one retrieval.
    pub get_keys: usize,
    /// Longest value; `memcached.max_item` in the configuration.
    pub item_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            key_bytes: limits::KEY_BYTES,
            line_bytes: limits::LINE_BYTES,
            get_line_bytes: limits::GET_LINE_BYTES,
            get_keys: limits::GET_KEYS,
            item_bytes: 1024 * 1024,
        }
    }
}

/// What the bytes read so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A whole request.
    Request {
        /// The request.
        request: Request<'a>,
        /// Bytes that are done with.
        consumed: usize,
    },
    /// Not whole yet.
    NeedMore {
        /// Bytes the buffer must hold, those of now included, before another try can come to
        /// anything. Known exactly once a data block's length is, so that a large value is not
        /// parsed again at every read.
        at_least: usize,
    },
    /// A request that is answered with an error; the connection goes on.
    Refuse {
        /// The answer; none where `noreply` silences it.
        error: Option<Error>,
        /// Bytes that are done with.
        consumed: usize,
        /// Bytes after those that belong to the refused request's data block. They are to be
        /// dropped as they come, not gathered.
        swallow: usize,
        /// A key whose old value must go: a `set` was refused for its size, and memcached would
        /// rather have no value than the one the client meant to replace.
        forget: Option<MetaKey<'a>>,
    },
    /// The peer is no client of this protocol, or cannot be followed any further.
    Close {
        /// What to say first, if anything.
        error: Option<Error>,
    },
}

/// Why a line is no request: the error to answer with, or none where `noreply` silences it.
pub(super) struct Refusal(pub(super) Option<Error>);

impl Refusal {
    /// memcached looks for `noreply` before it looks at a command's words, so their errors are
    /// silent as well.
    pub(super) fn unless(noreply: bool, error: Error) -> Self {
        Self((!noreply).then_some(error))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(Some(error))
    }
}

/// Reads the request at the front of `buffer`.
#[must_use]
#[inline]
pub fn parse<'a>(buffer: &'a [u8], limits: &Limits) -> Step<'a> {
    // memcached tells the binary protocol by a connection's first byte. No text command starts with
    // that byte either, so it needs no memory of where the connection is.
    if buffer.first() == Some(&0x80) {
        return Step::Close { error: Some(Error::Binary) };
    }
    let line = match line::cut(buffer, limits) {
        Ok(line) => line,
        Err(step) => return step,
    };
    let mut words = Words::new(line.text);
    let outcome = match words.next().unwrap_or_default() {
        b"incr" => arithmetic::incr(words, limits),
        b"decr" => arithmetic::decr(words, limits),
        // The second is an old name for it, which memcached still knows.
        b"get" | b"bget" => retrieve::get(&words, limits),
        b"gets" => retrieve::gets(&words, limits),
        b"set" => return store::step(StoreVerb::Set, words, &line, limits),
        b"add" => return store::step(StoreVerb::Add, words, &line, limits),
        b"replace" => return store::step(StoreVerb::Replace, words, &line, limits),
        b"append" => return store::step(StoreVerb::Append, words, &line, limits),
        b"prepend" => return store::step(StoreVerb::Prepend, words, &line, limits),
        b"cas" => return store::cas(words, &line, limits),
        b"mg" => meta::get(words, limits),
        b"ms" => return meta::store(words, &line, limits),
        b"md" => meta::delete(words, limits),
        b"ma" => meta::arithmetic(words, limits),
        b"me" => meta::debug(words, limits),
        b"mn" => Ok(Request::MetaNoOp),
        b"gat" => retrieve::gat(words, limits),
        b"gats" => retrieve::gats(words, limits),
        b"delete" => delete::delete(words, limits),
        b"touch" => touch::touch(words, limits),
        b"flush_all" => flush::flush_all(words),
        b"version" => Ok(Request::Version),
        b"verbosity" => service::verbosity(words),
        b"stats" => Ok(service::stats(&words)),
        b"quit" => Ok(Request::Quit),
        b"shutdown" => Ok(service::shutdown(words)),
        b"cache_memlimit" => Err(admin::cache_memlimit(words)),
        b"slabs" => Err(admin::slabs(words)),
        b"lru_crawler" => Err(admin::lru_crawler(words)),
        b"watch" => Err(admin::watch(words)),
        verb if service::is_http(verb, words) => return Step::Close { error: None },
        _ => Err(Error::Unknown.into()),
    };
    let consumed = line.consumed;
    match outcome {
        Ok(request) => Step::Request { request, consumed },
        Err(Refusal(error)) => Step::Refuse { error, consumed, swallow: 0, forget: None },
    }
}
