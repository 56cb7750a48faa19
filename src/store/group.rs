//! Groups: the chunks of about a hundred series, of one tier and time, in one value of the store.
//!
//! One row for each series and chunk would cost a B-tree 25 to 70 times what is written; grouped it is about
//! twice. A group does not know which series its members are, nor what their chunks say; that it is
//! whole it does know: any bit that is not as it was written makes it an error.
//!
//! | bytes | what |
//! |---|---|
//! | 1 | the version of this layout and of the chunks in it, 1 |
//! | 1 | the number of places; one is a member or empty, and the last one is a member |
//! | places ÷ 8, up | one bit for each place, the lowest of the first byte first: whether it is a member |
//! | varints | for each member the length of its chunk |
//! | | the chunks, one after the other |
//! | 4 | CRC-32 (IEEE) of all before, little-endian |

use super::codec::Garbled;
use super::codec::bytes::{Input, put_varint};
use crate::limits::GROUP_SERIES;

/// The version of the layout that this program writes.
const VERSION: u8 = 1;

const CRC_BYTES: usize = 4;

/// Why bytes are not a group that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// A later version of this program wrote it.
    #[error("written by a newer tallyd (format {version}, this one knows {VERSION}); run that one")]
    Newer {
        /// The version in it.
        version: u8,
    },
    /// It is not as it was written.
    #[error("garbled: its checksum does not hold")]
    Garbled,
}

/// A group that is being made.
#[derive(Debug, Default)]
pub struct GroupBuilder {
    present: Vec<u8>,
    lengths: Vec<u8>,
    chunks: Vec<u8>,
    places: u8,
}

impl GroupBuilder {
    /// No member yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a member, behind all others; whether there was such a place.
    pub fn push(&mut self, place: u8, chunk: &[u8]) -> bool {
        if place < self.places || usize::from(place) >= GROUP_SERIES {
            return false;
        }
        self.places = place + 1;
        self.present.resize(usize::from(self.places.div_ceil(8)), 0);
        if let Some(byte) = self.present.last_mut() {
            *byte |= 1 << (place % 8);
        }
        put_varint(&mut self.lengths, chunk.len() as u64);
        self.chunks.extend_from_slice(chunk);
        true
    }

    /// How long it would be now. A store that keeps values in pages sees from it when to begin the next.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        2 + self.present.len() + self.lengths.len() + self.chunks.len() + CRC_BYTES
    }

    /// Whether it has no member.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places == 0
    }

    /// Appends the group.
    pub fn finish(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.reserve(self.encoded_len());
        out.push(VERSION);
        out.push(self.places);
        out.extend_from_slice(&self.present);
        out.extend_from_slice(&self.lengths);
        out.extend_from_slice(&self.chunks);
        let crc = crc32fast::hash(out.get(begin..).unwrap_or_default());
        out.extend_from_slice(&crc.to_le_bytes());
    }
}

/// A group whose checksum holds.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    present: &'a [u8],
    lengths: Input<'a>,
    chunks: &'a [u8],
}

impl<'a> Group<'a> {
    /// Holds the bytes against their checksum.
    ///
    /// # Errors
    /// [`GroupError`].
    pub fn open(bytes: &'a [u8]) -> Result<Self, GroupError> {
        let (body, crc) = bytes.split_last_chunk::<CRC_BYTES>().ok_or(GroupError::Garbled)?;
        match body.first() {
            Some(&VERSION) if crc32fast::hash(body) == u32::from_le_bytes(*crc) => {}
            // Where a newer one has its checksum is not known here.
            Some(&version) if version > VERSION => return Err(GroupError::Newer { version }),
            _ => return Err(GroupError::Garbled),
        }
        Self::read(Input::new(body)).map_err(|Garbled| GroupError::Garbled)
    }

    /// Checked bytes may still be from elsewhere, so they are held against the layout too.
    fn read(mut input: Input<'a>) -> Result<Self, Garbled> {
        input.byte()?;
        let places = usize::from(input.byte()?);
        let present = input.take(places.div_ceil(8))?;
        let last = present.last().map_or(0, |byte| 8 - byte.leading_zeros() as usize);
        if places > GROUP_SERIES || last + present.len().saturating_sub(1) * 8 != places {
            return Err(Garbled);
        }
        let lengths = input;
        let mut total = 0_usize;
        for _ in 0..present.iter().map(|byte| byte.count_ones()).sum() {
            total = total.saturating_add(input.varint_up_to(input.rest().len())?);
        }
        let group = Self { present, lengths, chunks: input.rest() };
        if total == group.chunks.len() { Ok(group) } else { Err(Garbled) }
    }

    /// Places and chunks of all members.
    pub fn members(&self) -> impl Iterator<Item = (u8, &'a [u8])> + use<'a> {
        let mut lengths = self.lengths;
        let mut rest = self.chunks;
        self.places().map(move |place| {
            let len = lengths.varint_up_to(rest.len()).unwrap_or(0);
            let (chunk, behind) = rest.split_at_checked(len).unwrap_or_default();
            rest = behind;
            (place, chunk)
        })
    }

    fn places(&self) -> impl Iterator<Item = u8> + use<'a> {
        let present = self.present;
        let is_set = move |place: &u8| {
            present.get(usize::from(place / 8)).is_some_and(|byte| byte >> (place % 8) & 1 == 1)
        };
        (0..=u8::MAX).filter(is_set)
    }

    /// The chunk of one member. It walks over the lengths before it: a tenth of a microsecond.
    #[must_use]
    pub fn get(&self, place: u8) -> Option<&'a [u8]> {
        let byte = self.present.get(usize::from(place / 8))?;
        if byte >> (place % 8) & 1 == 0 {
            return None;
        }
        let below = |byte: &u8| byte.count_ones();
        let bytes: u32 = self.present.iter().take(usize::from(place / 8)).map(below).sum();
        let before = bytes + (byte & ((1 << (place % 8)) - 1)).count_ones();
        let mut lengths = self.lengths;
        let mut begin = 0;
        for _ in 0..before {
            begin += lengths.varint_up_to(self.chunks.len()).ok()?;
        }
        let len = lengths.varint_up_to(self.chunks.len()).ok()?;
        self.chunks.get(begin..)?.get(..len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn built(members: &[(u8, Vec<u8>)]) -> Vec<u8> {
        let mut builder = GroupBuilder::new();
        assert!(builder.is_empty());
        for (place, chunk) in members {
            assert!(builder.push(*place, chunk));
        }
        let mut bytes = vec![9];
        builder.finish(&mut bytes);
        assert_eq!(bytes.len(), 1 + builder.encoded_len());
        bytes.split_off(1)
    }

    fn sealed(body: &[u8]) -> Vec<u8> {
        [body, &crc32fast::hash(body).to_le_bytes()].concat()
    }

    #[test]
    fn a_place_is_taken_once_and_in_order() {
        let mut builder = GroupBuilder::new();
        assert!(builder.push(4, b"x"));
        assert!(!builder.push(4, b"y") && !builder.push(3, b"y") && !builder.push(128, b"y"));
        let mut bytes = Vec::new();
        builder.finish(&mut bytes);
        assert_eq!(Group::open(&bytes).unwrap().members().collect::<Vec<_>>(), [(4, &b"x"[..])]);
    }

    #[test]
    fn a_newer_version_is_not_called_garbled() {
        let mut bytes = built(&[(0, vec![1])]);
        bytes[0] = 2;
        assert_eq!(Group::open(&bytes).unwrap_err(), GroupError::Newer { version: 2 });
    }

    #[test]
    fn what_has_a_checksum_but_not_the_layout_is_refused() {
        assert!(Group::open(&sealed(&[1, 0])).is_ok());
        assert!(Group::open(&sealed(&[1, 1, 1, 1, 9])).is_ok());
        for body in [
            &[][..],
            &[1],
            &[0, 0],
            &[1, 0, 0],
            &[1, 1],
            &[1, 1, 2, 1, 9],
            &[1, 2, 1, 1, 9],
            &[1, 1, 1, 2, 9],
            &[1, 1, 1, 0, 9],
            &[1, 200, 0],
            &[1, 8, 0],
        ] {
            assert_eq!(Group::open(&sealed(body)).unwrap_err(), GroupError::Garbled, "{body:?}");
        }
    }

    fn members() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
        prop::collection::btree_map(0..128_u8, prop::collection::vec(any::<u8>(), 0..200), 0..128)
            .prop_map(|members| members.into_iter().collect())
    }

    proptest! {
        #[test]
        fn members_come_back(members in members()) {
            let bytes = built(&members);
            let group = Group::open(&bytes).unwrap();
            let all: Vec<_> = group.members().map(|(place, chunk)| (place, chunk.to_vec())).collect();
            prop_assert_eq!(&all, &members);
            for place in 0..=u8::MAX {
                let there = members.iter().find(|(at, _)| *at == place);
                prop_assert_eq!(group.get(place), there.map(|(_, chunk)| &chunk[..]));
            }
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for bytes in [sealed(&bytes), sealed(&[&[1], &bytes[..]].concat())] {
                if let Ok(group) = Group::open(&bytes) {
                    let len = group.members().map(|(_, chunk)| chunk.len()).sum::<usize>();
                    prop_assert!(len < bytes.len());
                    prop_assert!(group.members().all(|(place, chunk)| group.get(place) == Some(chunk)));
                }
            }
        }
    }
}
