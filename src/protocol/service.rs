//! The commands that are about the server and not about a key: `verbosity`, `stats`, `shutdown`
//! (`version` and `quit` have no words that count); and how a stray HTTP request is told.
//!
//! Which arguments `stats` has is known to whoever has the figures, not here.

use super::parse::Refusal;
use super::words::{Words, is_noreply};
use super::{Error, Request, ShutdownMode, number};

/// `verbosity level [noreply]`. The level is checked, as in memcached, and then dropped: what is
/// logged is not for any client to change.
pub(super) fn verbosity(mut words: Words<'_>) -> Result<Request<'_>, Refusal> {
    let (Some(level), more, None) = (words.next(), words.next(), words.next()) else {
        return Err(Error::Unknown.into());
    };
    let noreply = is_noreply(more.unwrap_or(level));
    match number::unsigned(level) {
        Some(_) => Ok(Request::Verbosity { noreply }),
        None => Err(Refusal::unless(noreply, Error::BadLine)),
    }
}

/// `stats [arguments]`. It knows no `noreply`: memcached takes the word for an argument.
pub(super) fn stats<'a>(words: &Words<'a>) -> Request<'a> {
    Request::Stats { arg: words.rest() }
}

/// `shutdown [graceful]`. Whether it is allowed is asked before its word is, and not here.
pub(super) fn shutdown(mut words: Words<'_>) -> Request<'_> {
    let mode = match (words.next(), words.next()) {
        (None, _) => ShutdownMode::AtOnce,
        (Some(b"graceful"), None) => ShutdownMode::Graceful,
        _ => ShutdownMode::Unknown,
    };
    Request::Shutdown { mode }
}

/// Whether a line whose verb is unknown is an HTTP request: its last word is `HTTP/…`.
///
/// A web page can make a browser send such a line, with a body of the page's choosing. Answering
/// `ERROR` to each header and then running the body would let any page count; closing at the first
/// line does not. memcached tells it the same way and says nothing.
pub(super) fn is_http(verb: &[u8], words: Words<'_>) -> bool {
    verb.len() > 1 && words.last().unwrap_or(verb).starts_with(b"HTTP/")
}
