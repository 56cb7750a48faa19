//! The meta commands: `mg key flag…`, `ms key bytes flag…` with its data block, `md key flag…`,
//! `ma key flag…`, `me key [b]`, `mn`.
//!
//! A flag is a letter, some with a value behind it. All commands take all flags and pass over those
//! that mean nothing to them, as in memcached 1.6.18; so what a flag does is for whoever answers.
//! A request keeps the flags as they stand in the line, because the reply repeats their order. That
//! none is there twice and every value can be read has been seen to before there is a request.
//!
//! Differences from memcached: the opaque token's length is checked before anything is done and
//! not after, and the data block of a refused `ms` is always dropped, not run as commands.

use super::line::Line;
use super::parse::{Limits, Refusal, Step};
use super::store::{self, Block, refuse};
use super::words::Words;
use super::{Error, Request, base64, number};
use crate::limits;
use std::fmt;

/// Words in a meta line, the verb included, as memcached counts them.
const WORDS_MAX: usize = 19;

/// Longest value of flag `O`; memcached counts the letter as well.
const OPAQUE_BYTES: usize = 31;

/// A key as a meta command names it: as it is, or in base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct MetaKey<'a> {
    text: &'a [u8],
    is_base64: bool,
}

/// Room for a key that has to be decoded, on its user's stack.
#[derive(Debug)]
pub struct MetaKeyRoom([u8; limits::KEY_BYTES]);

impl Default for MetaKeyRoom {
    fn default() -> Self {
        Self([0; limits::KEY_BYTES])
    }
}

impl<'a> MetaKey<'a> {
    /// A key that is written as it is.
    #[must_use]
    pub const fn plain(text: &'a [u8]) -> Self {
        Self { text, is_base64: false }
    }

    /// The key as it was written.
    #[must_use]
    pub const fn text(self) -> &'a [u8] {
        self.text
    }

    /// Whether it was written in base64.
    #[must_use]
    pub const fn is_base64(self) -> bool {
        self.is_base64
    }

    /// The key itself. May hold any byte, blanks and line ends included.
    #[must_use]
    pub fn decode(self, room: &'a mut MetaKeyRoom) -> &'a [u8] {
        if !self.is_base64 {
            return self.text;
        }
        let len = base64::decode(self.text, &mut room.0).unwrap_or_default();
        room.0.get(..len).unwrap_or_default()
    }

    fn is_decodable(self) -> bool {
        base64::decode(self.text, &mut MetaKeyRoom::default().0).is_some()
    }
}

impl fmt::Debug for MetaKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text.escape_ascii(), if self.is_base64 { " b" } else { "" })
    }
}

/// One flag. What it asks for is said for the command that has it; others pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaFlag<'a> {
    /// `b`: the key is base64.
    Base64,
    /// `c`: show the unique number.
    Unique,
    /// `f`: show the client's flags.
    ClientFlags,
    /// `h`: show whether it was fetched before.
    WasFetched,
    /// `k`: show the key.
    Key,
    /// `l`: show the seconds since the last access.
    LastAccess,
    /// `O`: repeat this.
    Opaque(&'a [u8]),
    /// `q`: say nothing where all went as hoped.
    Quiet,
    /// `s`: show the length of the value.
    Size,
    /// `t`: show the seconds that are left.
    TimeLeft,
    /// `u`: this is no access.
    NoAccess,
    /// `v`: show the value.
    Value,
    /// `C`: only if the unique number is this one.
    Compare(u64),
    /// `D`: how much to add or take.
    Delta(u64),
    /// `F`: the client's flags.
    SetClientFlags(u32),
    /// `I`: mark as stale in place of deleting; store although the unique number is older.
    Invalidate,
    /// `J`: the value to begin with.
    Initial(u64),
    /// `M`: the mode, not checked.
    Mode(u8),
    /// `N`: make it if it is not there, with this expiry.
    Vivify(i64),
    /// `R`: win if fewer seconds are left than this.
    Recache(i64),
    /// `T`: the expiry.
    Expire(i64),
    /// `L`, `P`: meant for proxies.
    Ignored,
}

/// The flags of one request, in their order. No letter is there twice.
#[derive(Clone, Copy)]
pub struct MetaFlags<'a> {
    line: &'a [u8],
}

/// What `ms` does, by its flag `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreMode {
    /// Store in any case.
    Set,
    /// Store if the key is not there.
    Add,
    /// Store if the key is there.
    Replace,
    /// Store behind the value that is there.
    Append,
    /// Store before the value that is there.
    Prepend,
}

/// What `ma` does, by its flag `M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArithmeticMode {
    /// Add.
    Incr,
    /// Take, down to zero.
    Decr,
}

impl<'a> MetaFlags<'a> {
    /// Takes flags that stand in a row with blanks between them; none if memcached would not take
    /// them. For whoever writes requests rather than reads them.
    #[must_use]
    pub fn new(line: &'a [u8]) -> Option<Self> {
        let clean = !line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
        let flags = Self { line };
        let fits = flags.words().count() <= WORDS_MAX - 3 && flags.opaque_fits();
        (clean && fits && check(flags, None).is_ok()).then_some(flags)
    }

    /// Walks the flags.
    pub fn iter(self) -> impl Iterator<Item = MetaFlag<'a>> {
        self.words().filter_map(|word| MetaFlag::read(word).ok())
    }

    /// The flags as they were written.
    pub fn words(self) -> impl Iterator<Item = &'a [u8]> {
        Words::new(self.line)
    }

    /// What `ms` is to do; `None` for a mode that it does not have.
    #[must_use]
    pub fn store_mode(self) -> Option<StoreMode> {
        match self.mode() {
            None | Some(b'S') => Some(StoreMode::Set),
            Some(b'E') => Some(StoreMode::Add),
            Some(b'R') => Some(StoreMode::Replace),
            Some(b'A') => Some(StoreMode::Append),
            Some(b'P') => Some(StoreMode::Prepend),
            Some(_) => None,
        }
    }

    /// What `ma` is to do; `None` for a mode that it does not have.
    #[must_use]
    pub fn arithmetic_mode(self) -> Option<ArithmeticMode> {
        match self.mode() {
            None | Some(b'I' | b'+') => Some(ArithmeticMode::Incr),
            Some(b'D' | b'-') => Some(ArithmeticMode::Decr),
            Some(_) => None,
        }
    }

    fn mode(self) -> Option<u8> {
        self.iter().find_map(|flag| match flag {
            MetaFlag::Mode(mode) => Some(mode),
            _ => None,
        })
    }

    fn is_base64(self) -> bool {
        self.iter().any(|flag| flag == MetaFlag::Base64)
    }

    fn opaque_fits(self) -> bool {
        let is_too_long =
            |flag| matches!(flag, MetaFlag::Opaque(text) if text.len() > OPAQUE_BYTES);
        !self.iter().any(is_too_long)
    }
}

impl PartialEq for MetaFlags<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.words().eq(other.words())
    }
}

impl Eq for MetaFlags<'_> {}

impl fmt::Debug for MetaFlags<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.words().map(<[u8]>::escape_ascii)).finish()
    }
}

impl<'a> MetaFlag<'a> {
    /// Reads one word. What stands behind a letter that takes no value does not count.
    fn read(word: &'a [u8]) -> Result<Self, Error> {
        let (letter, value) = word.split_first().ok_or(Error::InvalidFlag)?;
        let exptime = || number::signed(value).ok_or(Error::BadToken);
        let unsigned = |error| number::unsigned(value).ok_or(error);
        Ok(match letter {
            b'b' => Self::Base64,
            b'c' => Self::Unique,
            b'f' => Self::ClientFlags,
            b'h' => Self::WasFetched,
            b'k' => Self::Key,
            b'l' => Self::LastAccess,
            b'O' => Self::Opaque(value),
            b'q' => Self::Quiet,
            b's' => Self::Size,
            b't' => Self::TimeLeft,
            b'u' => Self::NoAccess,
            b'v' => Self::Value,
            b'C' => Self::Compare(unsigned(Error::BadToken)?),
            b'D' => Self::Delta(unsigned(Error::BadMetaDelta)?),
            b'F' => {
                let flags = u32::try_from(unsigned(Error::BadLine)?);
                Self::SetClientFlags(flags.map_err(|_| Error::BadLine)?)
            }
            b'I' => Self::Invalidate,
            b'J' => Self::Initial(unsigned(Error::BadInitial)?),
            b'M' => match value {
                [mode] => Self::Mode(*mode),
                _ => return Err(Error::BadModeToken),
            },
            b'N' => Self::Vivify(exptime()?),
            b'R' => Self::Recache(exptime()?),
            b'T' => Self::Expire(exptime()?),
            b'L' | b'P' => Self::Ignored,
            _ => return Err(Error::InvalidFlag),
        })
    }
}

pub(super) fn get<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (key, flags) = key_and_flags(words, limits, Error::TooManyMetaGetFlags)?;
    check(flags, Some(key))?;
    if flags.opaque_fits() {
        Ok(Request::MetaGet { key, flags })
    } else {
        Err(Error::OpaqueTooLong.into())
    }
}

pub(super) fn delete<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (key, flags) = key_and_flags(words, limits, Error::TooManyMetaFlags)?;
    check(flags, Some(key)).map_err(|_| Error::BadFlags)?;
    if flags.opaque_fits() {
        Ok(Request::MetaDelete { key, flags })
    } else {
        Err(Error::OpaqueTooLong.into())
    }
}

pub(super) fn arithmetic<'a>(words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let (key, flags) = key_and_flags(words, limits, Error::TooManyMetaFlags)?;
    check(flags, Some(key)).map_err(|_| Error::BadFlags)?;
    flags.arithmetic_mode().ok_or(Error::BadArithmeticMode)?;
    if flags.opaque_fits() {
        Ok(Request::MetaArithmetic { key, flags })
    } else {
        Err(Error::OpaqueTooLong.into())
    }
}

/// `me key [b]`; what else stands in the line does not count.
pub(super) fn debug<'a>(mut words: Words<'a>, limits: &Limits) -> Result<Request<'a>, Refusal> {
    let text = words.next().filter(|key| key.len() <= limits.key_bytes).ok_or(Error::BadLine)?;
    let key = MetaKey { text, is_base64: words.next() == Some(b"b") };
    if key.is_base64 && !key.is_decodable() {
        return Err(Error::BadLine.into());
    }
    Ok(Request::MetaDebug { key })
}

pub(super) fn store<'a>(mut words: Words<'a>, line: &Line<'a>, limits: &Limits) -> Step<'a> {
    let refuse = |error, swallow| refuse(Some(error), line.consumed, swallow);
    let Some(key) = words.next() else {
        return refuse(Error::Unknown, 0);
    };
    let Some(bytes) = words.next().and_then(store::length) else {
        return refuse(Error::BadLine, 0);
    };
    let block = bytes + store::BLOCK_END.len();
    let flags = MetaFlags { line: words.rest() };
    let key = MetaKey { text: key, is_base64: flags.is_base64() };
    if let Err(error) = check_store(key, flags, limits) {
        return refuse(error, block);
    }
    if bytes > limits.item_bytes {
        return Step::Refuse {
            error: Some(Error::TooLarge),
            consumed: line.consumed,
            swallow: block,
            forget: Some(key),
        };
    }
    let consumed = line.consumed + block;
    match Block::of(line, bytes) {
        Block::Partial => Step::NeedMore { at_least: consumed },
        Block::Whole(value) => {
            Step::Request { request: Request::MetaSet { key, flags, value }, consumed }
        }
        Block::Bad => store::refuse(Some(Error::BadChunk), consumed, 0),
    }
}

fn check_store(key: MetaKey<'_>, flags: MetaFlags<'_>, limits: &Limits) -> Result<(), Error> {
    if key.text.len() > limits.key_bytes {
        return Err(Error::BadLine);
    }
    if flags.words().count() > WORDS_MAX - 3 {
        return Err(Error::TooManyMetaFlags);
    }
    check(flags, Some(key))?;
    flags.store_mode().ok_or(Error::BadStoreMode)?;
    if flags.opaque_fits() { Ok(()) } else { Err(Error::OpaqueTooLong) }
}

fn key_and_flags<'a>(
    mut words: Words<'a>,
    limits: &Limits,
    too_many: Error,
) -> Result<(MetaKey<'a>, MetaFlags<'a>), Error> {
    let text = words.next().ok_or(Error::Unknown)?;
    if text.len() > limits.key_bytes {
        return Err(Error::BadLine);
    }
    let flags = MetaFlags { line: words.rest() };
    if flags.words().count() > WORDS_MAX - 2 {
        return Err(too_many);
    }
    Ok((MetaKey { text, is_base64: flags.is_base64() }, flags))
}

/// Which error a client is told when there are several: the first flag that is there twice or is
/// unknown; else the last whose value cannot be read. A bad `F` has no words of its own.
fn check(flags: MetaFlags<'_>, key: Option<MetaKey<'_>>) -> Result<(), Error> {
    let mut seen = 0_u128;
    let mut bad = None;
    for word in flags.words() {
        let letter = word.first().copied().unwrap_or_default();
        let bit = 1_u128.checked_shl(letter.into()).unwrap_or_default();
        // Letters past ASCII are "duplicate" there, since no note can be taken of them.
        if letter >= 127 || seen & bit != 0 {
            return Err(Error::DuplicateFlag);
        }
        seen |= bit;
        match MetaFlag::read(word) {
            Err(Error::InvalidFlag) => return Err(Error::InvalidFlag),
            Err(Error::BadLine) => bad = bad.or(Some(Error::BadLine)),
            Err(error) => bad = Some(error),
            Ok(MetaFlag::Base64) if key.is_some_and(|key| !key.is_decodable()) => {
                bad = Some(Error::BadKeyEncoding);
            }
            Ok(_) => {}
        }
    }
    bad.map_or(Ok(()), Err)
}
