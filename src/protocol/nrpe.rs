//! NRPE's packets: the name of a command comes, a line and an exit code go.
//!
//! Source of the form: `common.h`, `nrpe.c` and `check_nrpe.c` of NRPE 4.1. All numbers are big-endian. Version 2 is
//! 1036 bytes whatever it holds; 3 and 4 have a header of 16 bytes and say how long their text is, where 3 counts
//! the padding of C's structure, 3 bytes more. The checksum is CRC-32 over the whole packet with its own
//! field zeroed: it tells damage, and proves nothing about who sent it. What is behind the end of a text is
//! whatever its sender had there. Pure: it knows no sockets and no rules.

use crate::limits;

/// Bytes before anything that depends on the version: version, kind, checksum, result code.
const HEAD_BYTES: usize = 10;
/// A packet of version 2.
const V2_BYTES: usize = 1036;
/// The text of one, with the zero at its end.
const V2_TEXT_BYTES: usize = 1024;
/// The header of versions 3 and 4: alignment and length follow the head.
const V3_HEAD_BYTES: usize = 16;
/// What version 3 counts beyond header and text.
const V3_MORE_BYTES: usize = 3;

const QUERY: u16 = 1;
const RESPONSE: u16 = 2;

/// Which form a packet has; the answer has the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// Of fixed length.
    V2,
    /// Of variable length, with three bytes more.
    V3,
    /// Of variable length.
    V4,
}

/// How far a query is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// It cannot be whole before there are so many bytes.
    NeedMore {
        /// In all.
        at_least: usize,
    },
    /// All of it.
    Query {
        /// Which form it has.
        version: Version,
        /// The command, with `!` before each of its arguments.
        text: &'a str,
        /// How long the packet is.
        consumed: usize,
    },
}

/// Why bytes are no query. Nobody is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither 2, 3 nor 4.
    #[error("it has no version of NRPE's; a TLS handshake, perhaps")]
    Version,
    /// It asks for nothing.
    #[error("it is no query")]
    Kind,
    /// The text would be longer than is taken.
    #[error("it is longer than {} bytes", limits::NRPE_QUERY_BYTES)]
    TooLong,
    /// It was damaged.
    #[error("its checksum does not fit")]
    Checksum,
    /// The text has no end, or is not UTF-8.
    #[error("its text has no end, or is not UTF-8")]
    Text,
}

/// Reads a query from what has come so far.
///
/// # Errors
/// Where it cannot become one, whatever follows.
pub fn parse(bytes: &[u8]) -> Result<Step<'_>, Error> {
    let Some(version) = number(bytes, 0) else { return Ok(more(HEAD_BYTES)) };
    let version = Version::of(version).ok_or(Error::Version)?;
    match number(bytes, 2) {
        None => return Ok(more(HEAD_BYTES)),
        Some(QUERY) => {}
        Some(_) => return Err(Error::Kind),
    }
    let (start, length) = match (version, number(bytes, 12), number(bytes, 14)) {
        (Version::V2, ..) => (HEAD_BYTES, V2_TEXT_BYTES),
        (_, Some(high), Some(low)) => (V3_HEAD_BYTES, usize::from(high) << 16 | usize::from(low)),
        _ => return Ok(more(V3_HEAD_BYTES)),
    };
    if length > limits::NRPE_QUERY_BYTES {
        return Err(Error::TooLong);
    }
    let consumed = match version {
        Version::V2 => V2_BYTES,
        Version::V3 => V3_HEAD_BYTES + length + V3_MORE_BYTES,
        Version::V4 => V3_HEAD_BYTES + length,
    };
    let Some(packet) = bytes.get(..consumed) else { return Ok(more(consumed)) };
    if packet.get(4..8) != Some(checksum(packet).to_be_bytes().as_slice()) {
        return Err(Error::Checksum);
    }
    let text = packet.get(start..start + length).unwrap_or_default();
    let end = text.iter().position(|byte| *byte == 0).ok_or(Error::Text)?;
    let text = std::str::from_utf8(text.get(..end).unwrap_or_default()).map_err(|_| Error::Text)?;
    Ok(Step::Query { version, text, consumed })
}

impl Version {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::V2, Self::V3, Self::V4];

    fn of(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|version| version.number() == number)
    }

    const fn number(self) -> u16 {
        match self {
            Self::V2 => 2,
            Self::V3 => 3,
            Self::V4 => 4,
        }
    }

    /// The longest answer, in bytes. Of the longer forms Nagios itself reads no more.
    #[must_use]
    pub const fn room(self) -> usize {
        match self {
            Self::V2 => V2_TEXT_BYTES - 1,
            Self::V3 | Self::V4 => limits::NAGIOS_BYTES - 1,
        }
    }
}

/// An answer in the form of its query. What is beyond the room of the form is cut, at a character's beginning.
#[must_use]
pub fn answer(version: Version, exit_code: u8, text: &str) -> Vec<u8> {
    let end = (0..=text.len().min(version.room())).rev().find(|at| text.is_char_boundary(*at));
    let text = text.get(..end.unwrap_or(0)).unwrap_or_default();
    write(version, RESPONSE, exit_code, text)
}

/// A query as `check_nrpe` sends it; `None` where the form has no room for it.
#[must_use]
pub fn query(version: Version, text: &str) -> Option<Vec<u8>> {
    let room = if version == Version::V2 { V2_TEXT_BYTES } else { limits::NRPE_QUERY_BYTES };
    (text.len() < room && !text.contains('\0')).then(|| write(version, QUERY, 0, text))
}

fn write(version: Version, kind: u16, exit_code: u8, text: &str) -> Vec<u8> {
    let mut packet = Vec::with_capacity(V2_BYTES.max(V3_HEAD_BYTES + text.len() + 4));
    packet.extend(version.number().to_be_bytes());
    packet.extend(kind.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend(u16::from(exit_code).to_be_bytes());
    if version == Version::V2 {
        packet.extend(text.as_bytes());
        packet.resize(V2_BYTES, 0);
    } else {
        let length = u32::try_from(text.len() + 1).unwrap_or(u32::MAX);
        packet.extend([0; 2]);
        packet.extend(length.to_be_bytes());
        packet.extend(text.as_bytes());
        packet.push(0);
        if version == Version::V3 {
            packet.extend([0; V3_MORE_BYTES]);
        }
    }
    let sum = checksum(&packet).to_be_bytes();
    if let Some(field) = packet.get_mut(4..8) {
        field.copy_from_slice(&sum);
    }
    packet
}

const fn more(at_least: usize) -> Step<'static> {
    Step::NeedMore { at_least }
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    let pair = bytes.get(at..at + 2)?;
    Some(u16::from_be_bytes(pair.try_into().ok()?))
}

/// Over the packet, its own field taken for zeros.
fn checksum(packet: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(packet.get(..4).unwrap_or_default());
    hasher.update(&[0; 4]);
    hasher.update(packet.get(8..).unwrap_or_default());
    hasher.finalize()
}

#[cfg(test)]
mod tests;
