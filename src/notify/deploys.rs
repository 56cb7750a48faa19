//! What was put into use when, by whom: drawn in charts, and named in mails about what came soon after.
//!
//! It is told by people or their scripts, and decides nothing. Bounded in number and length: beyond, the
//! oldest goes. The list is kept as facts, like all that messages tell of.

use std::collections::BTreeMap;

use super::plain;
use crate::limits;
use crate::reason::{cut, one_line};
use crate::store::{Facts, Table};
use crate::time::{Span, Timestamp};

/// The first byte of its facts' keys.
const SPACE: u8 = b'y';

/// A deploy of up to so long before a problem may have caused it.
pub const RECENT: Span = Span::from_secs(60 * 60);

/// The list.
#[derive(Debug, Default)]
pub struct Deploys {
    known: BTreeMap<u64, Deploy>,
    next: u64,
    facts: Facts,
}

/// Something that was put into use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deploy {
    /// When.
    pub at: Timestamp,
    /// What, in a line; not empty.
    pub what: String,
    /// By whom; may be empty.
    pub who: String,
}

impl Deploy {
    /// One with texts of a line each, as long as they may be; `None` where nothing is said to have been
    /// put into use.
    #[must_use]
    pub fn new(at: Timestamp, what: &str, who: &str) -> Option<Self> {
        let line = |text| cut(&one_line(text), limits::DEPLOY_CHARS);
        let (what, who) = (line(what), line(who));
        (!what.is_empty()).then_some(Self { at, what, who })
    }
}

impl Deploys {
    /// Notes one; its id.
    pub fn add(&mut self, deploy: Deploy) -> u64 {
        let id = self.next;
        self.next += 1;
        self.facts.put(key(id), plain::write(&deploy));
        self.known.insert(id, deploy);
        while self.known.len() > limits::DEPLOYS {
            // Ids grow with the time of telling; who tells of old ones late loses none of today.
            let oldest = self.known.iter().min_by_key(|(id, deploy)| (deploy.at, **id));
            let Some(oldest) = oldest.map(|(id, _)| *id) else { break };
            self.remove(oldest);
        }
        id
    }

    /// Forgets one; whether it was there.
    pub fn remove(&mut self, id: u64) -> bool {
        let is_known = self.known.remove(&id).is_some();
        if is_known {
            self.facts.remove(key(id));
        }
        is_known
    }

    /// All that are known, in no order of time.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &Deploy)> {
        self.known.iter().map(|(id, deploy)| (*id, deploy))
    }

    /// Those of a stretch of time, the latest first.
    #[must_use]
    pub fn of(&self, from: Timestamp, to: Timestamp) -> Vec<Deploy> {
        let its = self.known.values().filter(|deploy| from <= deploy.at && deploy.at <= to);
        let mut its: Vec<_> = its.cloned().collect();
        its.sort_by_key(|deploy| std::cmp::Reverse(deploy.at));
        its
    }

    /// What has to be known after a start, since the last call.
    pub fn take_facts(&mut self) -> Facts {
        std::mem::take(&mut self.facts)
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = 0;
        for (key, bytes) in table.below(SPACE) {
            let id = key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            match id.zip(plain::read(bytes)) {
                Some((id, deploy)) => {
                    self.known.insert(id, deploy);
                    self.next = self.next.max(id.saturating_add(1));
                }
                None => garbled += 1,
            }
        }
        garbled
    }
}

fn key(id: u64) -> Vec<u8> {
    let mut key = vec![SPACE];
    key.extend_from_slice(&id.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deploy(secs: i64, what: &str) -> Deploy {
        Deploy::new(Timestamp::from_secs(secs), what, "kim").unwrap()
    }

    #[test]
    fn texts_are_one_bounded_line_each() {
        let at = Timestamp::from_secs(5);
        assert_eq!(Deploy::new(at, " \r\n ", "kim"), None);
        let long = Deploy::new(at, &"x\r\n".repeat(1000), "\u{202e}kim").unwrap();
        assert_eq!((long.what.chars().count(), long.who.as_str()), (limits::DEPLOY_CHARS, "kim"));
        assert!(!long.what.contains(['\r', '\n']));
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let mut deploys = Deploys::default();
        deploys.add(deploy(1_000_000, "told first, and latest"));
        for at in 0..limits::DEPLOYS {
            deploys.add(deploy(i64::try_from(at).unwrap(), "shop"));
        }
        assert_eq!(deploys.iter().count(), limits::DEPLOYS);
        assert!(deploys.iter().any(|(id, _)| id == 0) && deploys.iter().all(|(id, _)| id != 1));
    }

    #[test]
    fn what_is_kept_is_known_again_and_what_is_removed_is_not() {
        let mut deploys = Deploys::default();
        let (first, second) = (deploys.add(deploy(10, "a")), deploys.add(deploy(20, "b")));
        assert!(deploys.remove(first) && !deploys.remove(first));
        let mut table = Table::default();
        table.apply(&deploys.take_facts());
        let mut again = Deploys::default();
        assert_eq!(again.recall(&table), 0);
        assert_eq!(again.iter().collect::<Vec<_>>(), [(second, &deploy(20, "b"))]);
        assert_ne!(again.add(deploy(30, "c")), second, "no id twice");
        let at = Timestamp::from_secs;
        assert_eq!(again.of(at(20), at(29)), [deploy(20, "b")]);
        assert_eq!(again.of(at(5), at(30)), [deploy(30, "c"), deploy(20, "b")]);
    }
}
