//! `get key…`, `gets key…`, and with a new expiry `gat exptime key…`, `gats exptime key…`.
//!
//! All keys are checked before the first is looked up, so a client never gets some values and then
//! an error. What a key leads to is not known here.

use super::parse::{Limits, Refusal};
use super::words::Words;
use super::{Error, Request, number};
use std::fmt;

/// The keys of one retrieval, in the order and as often as they were asked for.
///
/// It holds the line, not a list, so it costs nothing to make and little to walk. Every key in it is
/// within the limits. At least one is there, but behind `gat`, which memcached answers without any.
#[derive(Clone, Copy)]
pub struct Keys<'a> {
    line: &'a [u8],
}

impl<'a> Keys<'a> {
    /// Takes keys that stand in a row with blanks between them; none if they break a limit. For
    /// whoever writes requests rather than reads them.
    #[must_use]
    pub fn new(line: &'a [u8], limits: &Limits) -> Option<Self> {
        let clean = !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let words = Words::new(line);
        if clean { checked(&words, limits).ok() } else { None }
    }

    /// Walks the keys.
    #[must_use]
    pub fn iter(self) -> KeysLeft<'a> {
        KeysLeft(Words::new(self.line))
    }
}

/// Keys of a retrieval that were not walked yet.
#[derive(Clone, Debug)]
pub struct KeysLeft<'a>(Words<'a>);

impl<'a> Iterator for KeysLeft<'a> {
    type Item = &'a [u8];

    #[inline]
    fn next(&mut self) -> Option<&'a [u8]> {
        self.0.next()
    }
}

impl PartialEq for Keys<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Keys<'_> {}

impl fmt::Debug for Keys<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(<[u8]>::escape_ascii)).finish()
    }
}

pub(super) fn get<'a>(words: &Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    Ok(Request::Get { keys: checked(words, limits)?, cas: false })
}

pub(super) fn gets<'a>(words: &Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    Ok(Request::Get { keys: checked(words, limits)?, cas: true })
}

pub(super) fn gat<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (keys, exptime) = touching(words, limits)?;
    Ok(Request::GetAndTouch { keys, cas: false, exptime })
}

pub(super) fn gats<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (keys, exptime) = touching(words, limits)?;
    Ok(Request::GetAndTouch { keys, cas: true, exptime })
}

/// The expiry comes first, and is looked at before the keys.
fn touching<'a>(mut words: Words<'a>, limits: &Limits) -> Result<(Keys<'a>, i64), Error> {
    let exptime = number::signed(words.next().ok_or(Error::Unknown)?).ok_or(Error::BadExptime)?;
    let keys = Keys { line: words.rest() };
    let keys = if keys.line.is_empty() { keys } else { checked(&words, limits)? };
    Ok((keys, exptime))
}

fn checked<'a>(words: &Words<'a>, limits: &Limits) -> Result<Keys<'a>, Error> {
    let mut count = 0_usize;
    for key in words.clone() {
        if key.len() > limits.key_bytes {
            return Err(Error::BadLine);
        }
        count += 1;
        // A line of one-byte keys asks for far more than it sends; memcached has no bound here.
        if count > limits.get_keys {
            return Err(Error::TooManyKeys);
        }
    }
    if count == 0 { Err(Error::Unknown) } else { Ok(Keys { line: words.rest() }) }
}
