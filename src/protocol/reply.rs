//! What the server answers, and how it is written.
//!
//! A reply is appended to a buffer that the caller owns and writes out once per batch; writing one
//! allocates nothing beyond that buffer's growth. It does not know `noreply`: whoever answers
//! decides whether to.

use super::Error;

/// One answer, or one part of an answer of several parts: values and figures are closed by `End`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    missing_docs,
    reason = "the fields are the words of the protocol, under their names there"
)]
pub enum Reply<'a> {
    /// The value is kept.
    Stored,
    /// `add` found the key, or `replace`, `append`, `prepend` did not.
    NotStored,
    /// The key is gone.
    Deleted,
    /// The key has another expiry.
    Touched,
    /// `cas` found another unique number.
    Exists,
    /// No such key.
    NotFound,
    /// Done: `flush_all`, `verbosity`.
    Ok,
    /// Done: `stats reset`.
    Reset,
    /// The last of the values or figures.
    End,
    /// The answer to `mn`.
    MetaNoOp,
    /// What `incr` or `decr` came to.
    Number(u64),
    /// A value; its unique number only where `gets` asked.
    Value { key: &'a [u8], flags: u32, value: &'a [u8], cas: Option<u64> },
    /// The server's version.
    Version(&'a str),
    /// One figure.
    Stat { name: &'a [u8], value: &'a [u8] },
    /// Something was wrong.
    Error(Error),
}

impl Reply<'_> {
    /// Appends the reply with its line end.
    #[inline]
    pub fn write_to(&self, out: &mut Vec<u8>) {
        match *self {
            Self::Number(number) => number_line(out, number),
            Self::Stored => out.extend_from_slice(b"STORED\r\n"),
            Self::NotStored => out.extend_from_slice(b"NOT_STORED\r\n"),
            Self::Deleted => out.extend_from_slice(b"DELETED\r\n"),
            Self::Touched => out.extend_from_slice(b"TOUCHED\r\n"),
            Self::Exists => out.extend_from_slice(b"EXISTS\r\n"),
            Self::NotFound => out.extend_from_slice(b"NOT_FOUND\r\n"),
            Self::Ok => out.extend_from_slice(b"OK\r\n"),
            Self::Reset => out.extend_from_slice(b"RESET\r\n"),
            Self::MetaNoOp => out.extend_from_slice(b"MN\r\n"),
            Self::End => out.extend_from_slice(b"END\r\n"),
            Self::Value { key, flags, value, cas } => value_block(out, key, flags, value, cas),
            Self::Version(version) => line(out, &[b"VERSION ", version.as_bytes()]),
            Self::Stat { name, value } => line(out, &[b"STAT ", name, b" ", value]),
            Self::Error(error) => line(out, &[error.wording().as_bytes()]),
        }
    }
}

/// A number on a line of its own, the answer that is given most.
///
/// It is laid out in an array and copied as a whole: how many bytes are copied is then known when
/// this is compiled, and they are moved without a call. What is too much is cut off again.
#[inline]
fn number_line(out: &mut Vec<u8>, number: u64) {
    let mut line = [0; 24];
    let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
    let mut left = number;
    for place in line.iter_mut().take(digits).rev() {
        *place = b'0' + (left % 10) as u8;
        left /= 10;
    }
    if let Some([carriage, feed, ..]) = line.get_mut(digits..) {
        (*carriage, *feed) = (b'\r', b'\n');
    }
    let end = out.len() + digits + 2;
    out.extend_from_slice(&line);
    out.truncate(end);
}

fn value_block(out: &mut Vec<u8>, key: &[u8], flags: u32, value: &[u8], cas: Option<u64>) {
    // Once for all parts: the line's own words take less than the 64.
    out.reserve(key.len() + value.len() + 64);
    out.extend_from_slice(b"VALUE ");
    out.extend_from_slice(key);
    out.push(b' ');
    decimal(out, flags);
    out.push(b' ');
    decimal(out, value.len());
    if let Some(cas) = cas {
        out.push(b' ');
        decimal(out, cas);
    }
    line(out, &[b"\r\n", value]);
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
    out.extend_from_slice(b"\r\n");
}

pub(super) fn decimal(out: &mut Vec<u8>, number: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}
