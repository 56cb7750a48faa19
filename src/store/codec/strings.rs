//! A string of bytes for each record of a chunk, for what no column above understands: histograms.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | 0 the strings as they are, 1 compressed (zstd, level 1), whichever is shorter |
//! | | their lengths, a column of [`super::integers`] with one number for each record |
//! | the rest | the strings one after the other |

use super::bytes::Input;
use super::integers::{self, Packed};
use super::{EncodeError, Garbled};
use crate::limits::CHUNK_STRING_BYTES;

const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
const LEVEL: i32 = 1;

/// Appends strings, of which there is one at least.
pub(super) fn encode(strings: &[&[u8]], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    let plain = strings.concat();
    if plain.len() > CHUNK_STRING_BYTES {
        return Err(EncodeError::Strings);
    }
    let compressed = zstd::bulk::compress(&plain, LEVEL).ok();
    let shorter = compressed.filter(|compressed| compressed.len() < plain.len());
    out.push(if shorter.is_some() { ZSTD } else { PLAIN });
    integers::encode(&strings.iter().map(|s| s.len() as u64).collect::<Vec<_>>(), out);
    out.extend_from_slice(shorter.as_deref().unwrap_or(&plain));
    Ok(())
}

/// The strings of a chunk, in the order of its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings {
    bytes: Vec<u8>,
    /// Where each one ends.
    ends: Vec<usize>,
}

impl Strings {
    pub(super) fn read(bytes: &[u8], len: usize) -> Result<Self, Garbled> {
        let mut input = Input::new(bytes);
        let method = input.byte()?;
        let mut lens = vec![0; len];
        Packed::read(&mut input)?.open(len)?.fill(&mut lens)?;
        let mut ends = Vec::with_capacity(len);
        let mut end = 0_usize;
        for len in lens {
            let len = usize::try_from(len).map_err(|_| Garbled)?;
            end = end.checked_add(len).filter(|end| *end <= CHUNK_STRING_BYTES).ok_or(Garbled)?;
            ends.push(end);
        }
        let bytes = match method {
            PLAIN => input.rest().to_vec(),
            ZSTD => zstd::bulk::decompress(input.rest(), end).map_err(|_| Garbled)?,
            _ => return Err(Garbled),
        };
        if bytes.len() == end { Ok(Self { bytes, ends }) } else { Err(Garbled) }
    }

    /// So many that say nothing.
    pub(super) fn empty(len: usize) -> Self {
        Self { bytes: Vec::new(), ends: vec![0; len] }
    }

    /// How long they are together.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The strings, one for each record.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, end)| self.bytes.get(begin..*end).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn strings_come_back(
            strings in prop::collection::vec(prop::collection::vec(0..4_u8, 0..50), 1..50),
        ) {
            let strings: Vec<_> = strings.iter().map(Vec::as_slice).collect();
            let mut bytes = Vec::new();
            encode(&strings, &mut bytes).unwrap();
            let back = Strings::read(&bytes, strings.len()).unwrap();
            prop_assert_eq!(back.iter().collect::<Vec<_>>(), strings);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let _ = Strings::read(&bytes, 10);
        }
    }

    #[test]
    fn what_claims_to_become_too_long_is_refused_before_it_does() {
        let mut bytes = vec![ZSTD];
        integers::encode(&[CHUNK_STRING_BYTES as u64, 1], &mut bytes);
        bytes.extend(zstd::bulk::compress(&vec![0; CHUNK_STRING_BYTES + 1], LEVEL).unwrap());
        assert_eq!(Strings::read(&bytes, 2), Err(Garbled));
    }
}
