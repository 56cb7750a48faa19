//! `flush_all [delay] [noreply]`.
//!
//! Without a delay it means now, which is also what a delay of zero means. A negative delay is let
//! through: memcached answers `OK` and flushes at once.

use super::parse::Refusal;
use super::words::{Words, is_noreply};
use super::{Error, Request, number};

pub(super) fn flush_all(mut words: Words<'_>) -> Result<Request<'_>, Refusal> {
    let (first, second, None) = (words.next(), words.next(), words.next()) else {
        return Err(Error::Unknown.into());
    };
    let noreply = second.or(first).is_some_and(is_noreply);
    let Some(delay) = first.filter(|_| second.is_some() || !noreply) else {
        return Ok(Request::FlushAll { delay: 0, noreply });
    };
    match number::signed(delay) {
        Some(delay) => Ok(Request::FlushAll { delay, noreply }),
        None => Err(Refusal::unless(noreply, Error::BadExptime)),
    }
}
