//! `touch key exptime [noreply]`.
//!
//! memcached keeps the low 32 bits of an expiry, so that 2147483648 (January 2038) is long past for
//! it. Here the number is kept whole; what it means is for whoever knows the time.

use super::parse::{Limits, Refusal};
use super::words::{Words, is_noreply};
use super::{Error, Request, number};

pub(super) fn touch<'a>(mut words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (Some(key), Some(exptime), more, None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::Unknown.into());
    };
    let noreply = is_noreply(more.unwrap_or(exptime));
    if key.len() > limits.key_bytes {
        return Err(Refusal::unless(noreply, Error::BadLine));
    }
    match number::signed(exptime) {
        Some(exptime) => Ok(Request::Touch { key, exptime, noreply }),
        None => Err(Refusal::unless(noreply, Error::BadExptime)),
    }
}
