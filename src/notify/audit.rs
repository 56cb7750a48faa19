//! What happened, in order: changes of state, messages, and every attempt to deliver one.
//!
//! Bounded in number and age. It is for people who ask later; nothing is decided by it.

use std::collections::VecDeque;

use super::incident::{Change, Note};
use super::outbox::Lost;
use super::plain;
use super::silences::Silence;
use crate::limits;
use crate::store::{Facts, Table};
use crate::time::{Span, Timestamp};

/// The first byte of its facts' keys.
const SPACE: u8 = b'a';

/// The list.
#[derive(Debug, Default)]
pub struct Audit {
    lines: VecDeque<(u64, Line)>,
    next: u64,
    /// Changes of the list that nobody has noted yet.
    facts: Facts,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Line {
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// An instance changed its state.
    Change {
        /// The rule, with its instance behind it.
        title: String,
        /// The incident that it belongs to.
        incident: String,
        /// The change.
        change: Change,
    },
    /// A message was queued.
    Message {
        /// Its id.
        message: String,
        /// For whom.
        contact: String,
        /// How many things it tells of.
        notices: u64,
    },
    /// A courier tried to deliver one.
    Attempt {
        /// The message's id.
        message: String,
        /// For whom.
        contact: String,
        /// The address, or the contact whose webhook it is.
        recipient: String,
        /// Which attempt it was, from 1.
        attempt: u32,
        /// How it ended.
        answer: Answer,
        /// How long it took.
        took: Span,
    },
    /// The configuration was read again.
    Reload {
        /// Why it was not taken; `None` where it was.
        problem: Option<String>,
    },
    /// A message found no room in the outbox.
    Lost(Lost),
    /// The process started.
    Start,
    /// Somebody said or did something about an incident.
    Note {
        /// The rule, with its instance behind it.
        title: String,
        /// The incident.
        incident: String,
        /// What it was.
        note: Note,
    },
    /// A silence was taken.
    Silence(Box<Silence>),
    /// A silence ended.
    Unsilence {
        /// Its id.
        silence: String,
        /// Who ended it; empty where its time was over.
        author: String,
    },
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// The other side took it.
    Delivered,
    /// It is tried again.
    Again {
        /// Why.
        reason: String,
        /// When.
        due: Timestamp,
    },
    /// It is not, and nobody got it.
    GivenUp {
        /// Why.
        reason: String,
    },
}

impl Audit {
    /// Notes that something happened.
    pub fn note(&mut self, at: Timestamp, what: What) {
        let line = Line { at, what };
        let number = self.next;
        self.next += 1;
        self.facts.put(key(number), plain::write(&line));
        self.lines.push_back((number, line));
        if self.lines.len() > limits::AUDIT_LINES {
            self.drop_first();
        }
    }

    /// Forgets what happened before an instant.
    pub fn forget_before(&mut self, horizon: Timestamp) {
        while self.lines.front().is_some_and(|(_, first)| first.at < horizon) {
            self.drop_first();
        }
    }

    fn drop_first(&mut self) {
        if let Some((number, _)) = self.lines.pop_front() {
            self.facts.remove(key(number));
        }
    }

    /// All that is known, the newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().rev().map(|(_, line)| line)
    }

    /// What has to be known after a start, since the last call.
    pub fn take_facts(&mut self) -> Facts {
        std::mem::take(&mut self.facts)
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = 0;
        for (key, bytes) in table.below(SPACE) {
            let number = key.first_chunk().map(|bytes| u64::from_be_bytes(*bytes));
            match number.zip(plain::read(bytes)) {
                Some((number, line)) => {
                    self.lines.push_back((number, line));
                    self.next = number + 1;
                }
                None => garbled += 1,
            }
        }
        garbled
    }
}

fn key(number: u64) -> Vec<u8> {
    let mut key = vec![SPACE];
    key.extend_from_slice(&number.to_be_bytes());
    key
}
