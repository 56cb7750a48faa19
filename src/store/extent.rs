//! Stretches of a tier whose windows are in chunks, and the keys under which things are kept.
//!
//! All groups of a tier are put into chunks over the same stretches, so a short list tells where to look
//! for a window. Layout of keys, numbers with the greatest byte first so that they stand in order:
//!
//! - `c`, width of the tier in seconds (4 bytes), start in seconds with its sign turned (8), slots (2),
//!   group (4): the chunks of a group, see [`super::group`];
//! - `s`, group (4): keys and births of its series; `t`, group (4): what was counted and shown of them;
//!   see [`super::catalogue`]; `i`, group (4): what was imported of them; see [`super::imported`];
//! - `m` and a name: single values; `mtiers` is told of in [`super::marks`].

use crate::config::Tier;
use crate::time::{Span, Timestamp, Window};
use crate::varint::{self, Reader};

/// A stretch of one tier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// When its first window begins.
    pub start: Timestamp,
    /// How many windows it is long.
    pub slots: u16,
}

impl Extent {
    /// From its first window's beginning to its last one's end.
    #[must_use]
    pub fn window(self, tier: &Tier) -> Window {
        let width = tier.window.as_millis().saturating_mul(u64::from(self.slots));
        Window::starting(self.start, Span::from_millis(width))
    }

    /// The key of all its groups up to their number.
    pub(super) fn prefix(self, tier: &Tier) -> Vec<u8> {
        let mut key = vec![b'c'];
        key.extend_from_slice(&width_secs(tier).to_be_bytes());
        let start = self.start.as_secs().cast_unsigned() ^ (1 << 63);
        key.extend_from_slice(&start.to_be_bytes());
        key.extend_from_slice(&self.slots.to_be_bytes());
        key
    }

    /// The key of one of its groups.
    pub(super) fn key(self, tier: &Tier, group: u32) -> Vec<u8> {
        let mut key = self.prefix(tier);
        key.extend_from_slice(&group.to_be_bytes());
        key
    }
}

/// What a tier is known by, whatever its place in the configuration.
pub(super) fn width_secs(tier: &Tier) -> u32 {
    u32::try_from(tier.window.as_millis() / 1000).unwrap_or(u32::MAX)
}

/// The key of something that is kept per group of series.
pub(super) fn group_key(space: u8, group: u32) -> Vec<u8> {
    let [a, b, c, d] = group.to_be_bytes();
    vec![space, a, b, c, d]
}

/// The group of such a key.
pub(super) fn group_of(key: &[u8]) -> Option<u32> {
    key.last_chunk::<4>().map(|bytes| u32::from_be_bytes(*bytes))
}

/// The extents of every tier by its width, as they are kept.
pub(super) fn write_extents<'a>(tiers: impl Iterator<Item = (u32, &'a [Extent])>) -> Vec<u8> {
    let mut out = Vec::new();
    for (width, extents) in tiers {
        varint::put(&mut out, u64::from(width));
        varint::put(&mut out, extents.len() as u64);
        for extent in extents {
            varint::put(&mut out, varint::zigzag(extent.start.as_secs()));
            varint::put(&mut out, u64::from(extent.slots));
        }
    }
    out
}

/// And back; `None` where the bytes are something else.
pub(super) fn read_extents(bytes: &[u8]) -> Option<Vec<(u32, Vec<Extent>)>> {
    let mut reader = Reader::new(bytes);
    let mut tiers = Vec::new();
    while !reader.is_empty() {
        let width = reader.number_u32()?;
        let mut extents = Vec::new();
        for _ in 0..reader.number()? {
            let start = Timestamp::from_secs(varint::unzigzag(reader.number()?));
            let slots = u16::try_from(reader.number()?).ok()?;
            extents.push(Extent { start, slots });
        }
        tiers.push((width, extents));
    }
    Some(tiers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stand_in_order_of_time() {
        let tier = Tier { window: Span::SECOND, keep: Span::DAY };
        let key = |secs: i64, group: u32| {
            Extent { start: Timestamp::from_secs(secs), slots: 60 }.key(&tier, group)
        };
        assert!(key(-60, 5) < key(0, 0));
        assert!(key(0, 0) < key(0, 256));
        assert!(key(0, 256) < key(60, 1));
        assert_eq!(group_of(&key(60, 77)), Some(77));
    }

    #[test]
    fn lists_are_read_as_they_were_written() {
        let extent = |secs, slots| Extent { start: Timestamp::from_secs(secs), slots };
        let lists = [(1, vec![extent(-60, 60), extent(0, 480)]), (3600, vec![])];
        let bytes = write_extents(lists.iter().map(|(width, list)| (*width, list.as_slice())));
        assert_eq!(read_extents(&bytes), Some(lists.to_vec()));
        assert_eq!(read_extents(&bytes[..bytes.len() - 1]), None);
    }
}
