//! `set|add|replace|append|prepend key flags exptime bytes [noreply]` and
//! `cas key flags exptime bytes unique [noreply]`, with the data block that follows the line.
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
use super::{Error, MetaKey, Request, StoreVerb, number};

/// The line end behind a data block; memcached takes no bare `\n` here.
pub(super) const BLOCK_END: &[u8] = b"\r\n";

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
    /// For `cas`; `None` if it is no number.
    unique: Option<u64>,
    noreply: bool,
}

pub(super) fn step<'a>(
    verb: StoreVerb,
    words: Words<'a>,
    line: &Line<'a>,
    limits: &Limits,
) -> Step<'a> {
    let Some(head) = head(words, false) else {
        return refuse(Some(Error::Unknown), line.consumed, 0);
    };
    let is_set = verb == StoreVerb::Set;
    block(&head, is_set, line, limits, |flags, exptime, value| {
        let Head { key, noreply, .. } = head;
        Request::Store { verb, key, flags, exptime, value, noreply }
    })
}

pub(super) fn cas<'a>(words: Words<'a>, line: &Line<'a>, limits: &Limits) -> Step<'a> {
    let Some(head) = head(words, true) else {
        return refuse(Some(Error::Unknown), line.consumed, 0);
    };
    let Some(unique) = head.unique else {
        // The length stands before it, so the block can be dropped.
        let swallow = head.bytes.map_or(0, |bytes| bytes + BLOCK_END.len());
        return refuse((!head.noreply).then_some(Error::BadLine), line.consumed, swallow);
    };
    block(&head, false, line, limits, |flags, exptime, value| {
        let Head { key, noreply, .. } = head;
        Request::Cas { key, flags, exptime, unique, value, noreply }
    })
}

/// Takes the data block that the head announces.
fn block<'a>(
    head: &Head<'a>,
    is_set: bool,
    line: &Line<'a>,
    limits: &Limits,
    request: impl FnOnce(u32, i64, &'a [u8]) -> Request<'a>,
) -> Step<'a> {
    let Head { key, flags_exptime, bytes, noreply, .. } = *head;
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
            forget: is_set.then_some(MetaKey::plain(key)),
        };
    }
    let consumed = line.consumed + block;
    match Block::of(line, bytes) {
        Block::Partial => Step::NeedMore { at_least: consumed },
        Block::Whole(value) => Step::Request { request: request(flags, exptime, value), consumed },
        Block::Bad => refuse(silenced(Error::BadChunk), consumed, 0),
    }
}

/// The block behind a line.
pub(super) enum Block<'a> {
    /// All of it is there.
    Whole(&'a [u8]),
    /// Some of it is still to come.
    Partial,
    /// Its end is not where the length says.
    Bad,
}

impl<'a> Block<'a> {
    pub(super) fn of(line: &Line<'a>, bytes: usize) -> Self {
        let Some((value, behind)) = line.after.split_at_checked(bytes) else {
            return Self::Partial;
        };
        match behind.get(..BLOCK_END.len()) {
            None => Self::Partial,
            Some(BLOCK_END) => Self::Whole(value),
            Some(_) => Self::Bad,
        }
    }
}

/// `None` if the number of words is wrong.
fn head(mut words: Words<'_>, has_unique: bool) -> Option<Head<'_>> {
    let key = words.next()?;
    let flags = words.next()?;
    let exptime = words.next()?;
    let bytes = words.next()?;
    let unique = if has_unique { words.next()? } else { bytes };
    let last = words.next().unwrap_or(unique);
    if words.next().is_some() {
        return None;
    }
    let flags = number::unsigned(flags).and_then(|flags| u32::try_from(flags).ok());
    Some(Head {
        key,
        flags_exptime: flags.zip(number::signed(exptime)),
        bytes: length(bytes),
        unique: number::unsigned(unique),
        noreply: is_noreply(last),
    })
}

/// The length of a data block; `None` if it is none.
pub(super) fn length(text: &[u8]) -> Option<usize> {
    number::signed(text)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .filter(|bytes| *bytes <= LENGTH_MAX)
}

pub(super) fn refuse<'a>(error: Option<Error>, consumed: usize, swallow: usize) -> Step<'a> {
    Step::Refuse { error, consumed, swallow, forget: None }
}
