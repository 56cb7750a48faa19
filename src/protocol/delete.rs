//! `delete key [0] [noreply]`.
//!
//! The zero is what is left of a hold time that memcached once had; old clients still send it, and
//! any other number is an error that tells how the command is used.

use super::parse::{Limits, Refusal};
use super::words::{Words, is_noreply};
use super::{Error, Request};

pub(super) fn delete<'a>(mut words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (Some(key), second, third, None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Error::Unknown.into());
    };
    let noreply = third.or(second).is_some_and(is_noreply);
    let well_formed = match (second, third) {
        (None, _) => true,
        (Some(hold), None) => hold == b"0" || noreply,
        (Some(hold), Some(_)) => hold == b"0" && noreply,
    };
    if !well_formed {
        return Err(Refusal::unless(noreply, Error::BadDelete));
    }
    if key.len() > limits.key_bytes {
        return Err(Refusal::unless(noreply, Error::BadLine));
    }
    Ok(Request::Delete { key, noreply })
}
