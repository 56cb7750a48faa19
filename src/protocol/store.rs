//! `set|add|replace key flags exptime bytes [noreply]`, and the data block that follows the line.
//!
//! A block is not looked at until all of it is there, and is handed on untouched. Its length rules:
//! a line end inside it is data, and when there is none behind it, the block with two more bytes is
//! dropped and reading goes on from there, as in memcached.
//!
//! Once the length is known a refused block is never read as commands. memcached does so only for
//! a value that is too large; after a key that is too long or flags that are no number it takes the
//! block for the next request, and whoever chooses the value chooses the commands. Here one request
//! gets one answer. (Without a readable length there is nothing to skip, and the block is read as
//! commands here too.)

use super::line::Line;
use super::parse::{Limits, Step};
use super::words::{Words, is_noreply};
use super::{Error, Request, StoreVerb, number};

/// The line end behind a data block; memcached takes no bare `\n` here.
const BLOCK_END: &[u8] = b"\r\n";

/// memcached's bound on a length: with the line end it must fit a signed number of 32 bits.
const LENGTH_MAX: usize = (1 << 31) - 3;

/// What a store line says, as far as it can be understood.
struct Head<'a> {
    key: &'a [u8],
    /// `None` if either is out of range. memcached keeps the low 32 bits of larger flags; giving a
    /// client other flags back than it sent would be worse than refusing them.
    flags_exptime: Option<(u32, i64)>,
    /// `None` if it is no length.
    bytes: Option<usize>,
    noreply: bool,
}

pub(super) fn step<'a>(
    verb: StoreVerb,
    words: Words<'a>,
    line: &Line<'a>,
    limits: &Limits,
) -> Step<'a> {
    let Some(Head { key, flags_exptime, bytes, noreply }) = head(words) else {
        return refuse(Some(Error::Unknown), line.consumed, 0);
    };
    let silenced = |error| (!noreply).then_some(error);
    let Some(bytes) = bytes else {
        return refuse(silenced(Error::BadLine), line.consumed, 0);
    };
    let block = bytes + BLOCK_END.len();
    let Some((flags, exptime)) = flags_exptime.filter(|_| key.len() <= limits.key_bytes) else {
        return refuse(silenced(Error::BadLine), line.consumed, block);
    };
    if bytes > limits.item_bytes {
        return Step::Refuse {
            error: silenced(Error::TooLarge),
            consumed: line.consumed,
            swallow: block,
            forget: (verb == StoreVerb::Set).then_some(key),
        };
    }
    let consumed = line.consumed + block;
    let Some((value, behind)) = line.after.split_at_checked(bytes) else {
        return Step::NeedMore { at_least: consumed };
    };
    match behind.get(..BLOCK_END.len()) {
        None => Step::NeedMore { at_least: consumed },
        Some(BLOCK_END) => Step::Request {
            request: Request::Store { verb, key, flags, exptime, value, noreply },
            consumed,
        },
        Some(_) => refuse(silenced(Error::BadChunk), consumed, 0),
    }
}

/// `None` if the number of words is wrong.
fn head(mut words: Words<'_>) -> Option<Head<'_>> {
    let key = words.next()?;
    let flags = words.next()?;
    let exptime = words.next()?;
    let bytes = words.next()?;
    let last = words.next().unwrap_or(bytes);
    if words.next().is_some() {
        return None;
    }
    let flags = number::unsigned(flags).and_then(|flags| u32::try_from(flags).ok());
    Some(Head {
        key,
        flags_exptime: flags.zip(number::signed(exptime)),
        bytes: number::signed(bytes)
            .and_then(|bytes| usize::try_from(bytes).ok())
            .filter(|bytes| *bytes <= LENGTH_MAX),
        noreply: is_noreply(last),
    })
}

fn refuse<'a>(error: Option<Error>, consumed: usize, swallow: usize) -> Step<'a> {
    Step::Refuse { error, consumed, swallow, forget: None }
}
