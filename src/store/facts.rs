//! What rules and messages have to know again after a start: facts, each a key with a few bytes that only
//! their owner can read.
//!
//! The last word on a key holds, so facts may be said twice, and changes that wait together become one.
//! Each set of changes has a number that grows. A checkpoint keeps the table as of such a number; what
//! the log says up to it is in there.

use std::collections::BTreeMap;

use crate::varint::{self, Reader};

/// Changes of facts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Grows from one set to the next.
    pub serial: u64,
    /// Somebody waits for them to be on the medium: a message may not go out before.
    pub is_urgent: bool,
    changes: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    bytes: usize,
}

impl Facts {
    /// No change, under that number.
    #[must_use]
    pub fn new(serial: u64) -> Self {
        Self { serial, ..Self::default() }
    }

    /// Says what a key holds from now on.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.set(key, Some(value));
    }

    /// Says that a key is gone.
    pub fn remove(&mut self, key: Vec<u8>) {
        self.set(key, None);
    }

    fn set(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let len = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
        let (key_len, value_len) = (key.len(), len(&value));
        match self.changes.insert(key, value) {
            Some(old) => self.bytes = self.bytes + value_len - len(&old),
            None => self.bytes += key_len + value_len,
        }
    }

    /// Takes in what was said after this.
    pub fn append(&mut self, later: Self) {
        self.serial = self.serial.max(later.serial);
        self.is_urgent |= later.is_urgent;
        for (key, value) in later.changes {
            self.set(key, value);
        }
    }

    /// Whether nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// The keys with what they hold from now on; `None`: they are gone.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
        self.changes.iter().map(|(key, value)| (key.as_slice(), value.as_deref()))
    }

    /// What it takes in memory, in bytes; about.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.bytes + self.changes.len() * 80
    }

    /// Appends them.
    pub fn write_to(&self, out: &mut Vec<u8>) {
        varint::put(out, self.serial);
        varint::put(out, self.changes.len() as u64);
        for (key, value) in &self.changes {
            put_bytes(out, key);
            out.push(u8::from(value.is_some()));
            if let Some(value) = value {
                put_bytes(out, value);
            }
        }
    }

    /// And back.
    pub fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut facts = Self { serial: from.number()?, ..Self::default() };
        for _ in 0..from.number()? {
            let key = bytes(from)?.to_vec();
            match from.byte()? {
                0 => facts.remove(key),
                1 => facts.put(key, bytes(from)?.to_vec()),
                _ => return None,
            }
        }
        Some(facts)
    }
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn bytes<'a>(from: &mut Reader<'a>) -> Option<&'a [u8]> {
    let len = usize::try_from(from.number()?).ok()?;
    from.take(len)
}

/// All facts that hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table(BTreeMap<Vec<u8>, Vec<u8>>);

impl Table {
    /// Takes in a key and what it holds.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    /// Makes changes.
    pub fn apply(&mut self, facts: &Facts) {
        for (key, value) in facts.iter() {
            match value {
                Some(value) => self.put(key, value),
                None => drop(self.0.remove(key)),
            }
        }
    }

    /// What a key holds.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&[u8]> {
        self.0.get(key).map(Vec::as_slice)
    }

    /// Keys that begin with that byte, without it, with what they hold.
    pub fn below(&self, space: u8) -> impl Iterator<Item = (&[u8], &[u8])> {
        let all = self.0.range(vec![space]..);
        all.map_while(move |(key, value)| Some((key.strip_prefix(&[space])?, value.as_slice())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_word_on_a_key_holds() {
        let mut facts = Facts { serial: 7, ..Facts::default() };
        facts.put(b"ra".to_vec(), b"1".to_vec());
        facts.put(b"rb".to_vec(), b"2".to_vec());
        facts.put(b"s".to_vec(), b"3".to_vec());
        let mut later = Facts { serial: 8, is_urgent: true, ..Facts::default() };
        later.remove(b"ra".to_vec());
        later.put(b"rb".to_vec(), b"22".to_vec());
        facts.append(later);
        assert_eq!((facts.serial, facts.is_urgent, facts.bytes), (8, true, 2 + 4 + 2));
        let mut table = Table::default();
        table.put(b"ra", b"0");
        table.apply(&facts);
        let below: Vec<_> = table.below(b'r').collect();
        assert_eq!(below, [(&b"b"[..], &b"22"[..])]);
        assert_eq!(table.get(b"s"), Some(&b"3"[..]));
    }

    proptest! {
        #[test]
        fn any_facts_are_read_as_they_were_written_and_any_bytes_are_harmless(
            changes: Vec<(Vec<u8>, Option<Vec<u8>>)>, serial: u64, bytes: Vec<u8>,
        ) {
            let mut facts = Facts { serial, ..Facts::default() };
            for (key, value) in changes {
                facts.set(key, value);
            }
            let mut out = Vec::new();
            facts.write_to(&mut out);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(Facts::read(&mut reader), Some(facts));
            prop_assert!(reader.is_empty());
            let _ = Facts::read(&mut Reader::new(&bytes));
        }
    }
}
