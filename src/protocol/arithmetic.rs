//! `incr key delta [noreply]` and `decr key delta [noreply]`.
//!
//! The hot path of the whole program. A third word that is not `noreply` is let pass, as memcached
//! does. Whether the key exists, and what the sum is, is not known here.

use super::parse::{Limits, Refusal};
use super::words::{Words, is_noreply};
use super::{Error, Request, number};

#[inline]
pub(super) fn incr<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (key, delta, noreply) = change(words, limits)?;
    Ok(Request::Incr { key, delta, noreply })
}

#[inline]
pub(super) fn decr<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (key, delta, noreply) = change(words, limits)?;
    Ok(Request::Decr { key, delta, noreply })
}

#[inline]
fn change<'a>(mut words: Words<'a>, limits: &Limits) -> Result<(&'a [u8], u64, bool), Refusal> {
    let (Some(key), Some(delta), more, None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::Unknown.into());
    };
    let noreply = is_noreply(more.unwrap_or(delta));
    if key.len() > limits.key_bytes {
        return Err(Refusal::unless(noreply, Error::BadLine));
    }
    match number::unsigned(delta) {
        Some(delta) => Ok((key, delta, noreply)),
        None => Err(Refusal::unless(noreply, Error::BadDelta)),
    }
}
