//! What a client asks for, and how it is written.
//!
//! A request that came out of the parser is within the limits, but says nothing of whether it can
//! be fulfilled. [`Request::write_to`] is the parser's inverse, for those who send requests: the
//! load generator, the command line and the tests.

use super::{Keys, MetaFlags, MetaKey};

/// One request; it borrows from the bytes it was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the words of the protocol, under their names there"
)]
pub enum Request<'a> {
    /// `get`, or `gets` with `cas`: each value with its unique number.
    Get { keys: Keys<'a>, cas: bool },
    /// A value to keep. An `exptime` of zero is never, a negative one is past, up to thirty days it
    /// counts from now, and beyond that it is a Unix time.
    Store {
        verb: StoreVerb,
        key: &'a [u8],
        flags: u32,
        exptime: i64,
        value: &'a [u8],
        noreply: bool,
    },
    /// `gat`, or `gats` with `cas`: a retrieval that gives each key another expiry.
    GetAndTouch { keys: Keys<'a>, cas: bool, exptime: i64 },
    /// A value to keep if the key still has the unique number that `gets` gave.
    Cas { key: &'a [u8], flags: u32, exptime: i64, unique: u64, value: &'a [u8], noreply: bool },
    /// `mg`: a value, or only what is known of it.
    MetaGet { key: MetaKey<'a>, flags: MetaFlags<'a> },
    /// `ms`: a value to keep.
    MetaSet { key: MetaKey<'a>, flags: MetaFlags<'a>, value: &'a [u8] },
    /// `md`: takes a key away, or marks its value as stale.
    MetaDelete { key: MetaKey<'a>, flags: MetaFlags<'a> },
    /// `ma`: adds to a number or takes from it.
    MetaArithmetic { key: MetaKey<'a>, flags: MetaFlags<'a> },
    /// `me`: what is known of a key, for people.
    MetaDebug { key: MetaKey<'a> },
    /// `mn`: answered and nothing else, so that a client knows where quiet requests end.
    MetaNoOp,
    /// Asks the server to end.
    Shutdown { mode: ShutdownMode },
    /// Takes a key away.
    Delete { key: &'a [u8], noreply: bool },
    /// Adds to a number; past 2^64 it wraps.
    Incr { key: &'a [u8], delta: u64, noreply: bool },
    /// Takes from a number, which stops at zero.
    Decr { key: &'a [u8], delta: u64, noreply: bool },
    /// Gives a key another expiry.
    Touch { key: &'a [u8], exptime: i64, noreply: bool },
    /// Takes all keys away; `delay` is read like an expiry, and zero or less is at once.
    FlushAll { delay: i64, noreply: bool },
    /// Asks for the server's version.
    Version,
    /// Meant to change what memcached logs; answered with `OK` and otherwise ignored.
    Verbosity { noreply: bool },
    /// Asks for figures; `arg` is the rest of the line without the blanks around it.
    Stats { arg: &'a [u8] },
    /// Ends the connection, without an answer.
    Quit,
}

/// When a `Store` takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreVerb {
    /// Always.
    Set,
    /// If the key is not there.
    Add,
    /// If the key is there.
    Replace,
    /// If the key is there: behind its value, whose flags and expiry stay.
    Append,
    /// The same, before its value.
    Prepend,
}

/// How `shutdown` is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownMode {
    /// Now.
    AtOnce,
    /// When all connections are done.
    Graceful,
    /// With a word that means nothing.
    Unknown,
}

impl Request<'_> {
    /// Appends the request as a client would send it.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        let noreply = match *self {
            Self::Get { keys, cas } => {
                out.extend_from_slice(if cas { b"gets" } else { b"get" });
                keys.iter().for_each(|key| word(out, key));
                false
            }
            Self::GetAndTouch { keys, cas, exptime } => {
                out.extend_from_slice(if cas { b"gats" } else { b"gat" });
                number(out, exptime);
                keys.iter().for_each(|key| word(out, key));
                false
            }
            Self::Store { verb, key, flags, exptime, value, noreply } => {
                out.extend_from_slice(verb.word());
                word(out, key);
                number(out, flags);
                number(out, exptime);
                number(out, value.len());
                end(out, noreply);
                out.extend_from_slice(value);
                false
            }
            Self::Cas { key, flags, exptime, unique, value, noreply } => {
                out.extend_from_slice(b"cas");
                word(out, key);
                number(out, flags);
                number(out, exptime);
                number(out, value.len());
                number(out, unique);
                end(out, noreply);
                out.extend_from_slice(value);
                false
            }
            Self::MetaGet { key, flags } => meta(out, b"mg", key, flags),
            Self::MetaSet { key, flags, value } => {
                command(out, b"ms", key.text(), false);
                number(out, value.len());
                flags.words().for_each(|flag| word(out, flag));
                end(out, false);
                out.extend_from_slice(value);
                false
            }
            Self::MetaDelete { key, flags } => meta(out, b"md", key, flags),
            Self::MetaArithmetic { key, flags } => meta(out, b"ma", key, flags),
            Self::MetaDebug { key } => {
                command(out, b"me", key.text(), false);
                if key.is_base64() {
                    word(out, b"b");
                }
                false
            }
            Self::MetaNoOp => command(out, b"mn", b"", false),
            Self::Shutdown { mode } => command(out, b"shutdown", mode.word(), false),
            Self::Delete { key, noreply } => command(out, b"delete", key, noreply),
            Self::Incr { key, delta, noreply } => {
                command(out, b"incr", key, noreply);
                number(out, delta);
                noreply
            }
            Self::Decr { key, delta, noreply } => {
                command(out, b"decr", key, noreply);
                number(out, delta);
                noreply
            }
            Self::Touch { key, exptime, noreply } => {
                command(out, b"touch", key, noreply);
                number(out, exptime);
                noreply
            }
            Self::FlushAll { delay, noreply } => {
                out.extend_from_slice(b"flush_all");
                number(out, delay);
                noreply
            }
            Self::Version => command(out, b"version", b"", false),
            Self::Verbosity { noreply } => command(out, b"verbosity", b"1", noreply),
            Self::Stats { arg } => command(out, b"stats", arg, false),
            Self::Quit => command(out, b"quit", b"", false),
        };
        end(out, noreply);
    }
}

impl StoreVerb {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::Set => b"set",
            Self::Add => b"add",
            Self::Replace => b"replace",
            Self::Append => b"append",
            Self::Prepend => b"prepend",
        }
    }
}

impl ShutdownMode {
    const fn word(self) -> &'static [u8] {
        match self {
            Self::AtOnce => b"",
            Self::Graceful => b"graceful",
            Self::Unknown => b"?",
        }
    }
}

fn meta(out: &mut Vec<u8>, verb: &[u8], key: MetaKey<'_>, flags: MetaFlags<'_>) -> bool {
    command(out, verb, key.text(), false);
    flags.words().for_each(|flag| word(out, flag));
    false
}

/// The verb and its first word; hands `noreply` back, since it closes the line.
fn command(out: &mut Vec<u8>, verb: &[u8], first: &[u8], noreply: bool) -> bool {
    out.extend_from_slice(verb);
    if !first.is_empty() {
        word(out, first);
    }
    noreply
}

fn word(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b' ');
    out.extend_from_slice(text);
}

fn number(out: &mut Vec<u8>, value: impl itoa::Integer) {
    word(out, itoa::Buffer::new().format(value).as_bytes());
}

fn end(out: &mut Vec<u8>, noreply: bool) {
    out.extend_from_slice(if noreply { b" noreply\r\n" } else { b"\r\n" });
}
