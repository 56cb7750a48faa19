//! What became of lines: counted for `/metrics`, and for rules.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crate::counters::Told;
use crate::engine::Untaken;
use crate::protocol::{graphite, statsd};

/// Why a line, or a part of it, is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It has not the parts of a line.
    Form,
    /// It has no type, or one that is not known.
    Type,
    /// A value is no number that can be counted.
    Number,
    /// The sample rate is none, or so small that an observation would stand for too many.
    Rate,
    /// The instant is none, or too far from now.
    Time,
    /// The key is too long, has too many tags, or is one of tallyd's own.
    Key,
    /// The series is of another kind.
    Kind,
    /// There is no room for a further series, or member of a set.
    Room,
    /// A count below zero of a series that counts nothing yet.
    Below,
    /// An event that is not well formed.
    Event,
    /// An event too many in the hour.
    EventRoom,
    /// It is longer than a line may be.
    TooLong,
    /// The connection ended before it did.
    Torn,
}

impl Refusal {
    /// Every one, with its name in `/metrics`.
    pub const ALL: [(Self, &'static str); 13] = [
        (Self::Form, "form"),
        (Self::Type, "type"),
        (Self::Number, "number"),
        (Self::Rate, "rate"),
        (Self::Time, "time"),
        (Self::Key, "key"),
        (Self::Kind, "kind"),
        (Self::Room, "room"),
        (Self::Below, "below_zero"),
        (Self::Event, "event"),
        (Self::EventRoom, "event_room"),
        (Self::TooLong, "too_long"),
        (Self::Torn, "torn"),
    ];
}

impl From<statsd::Problem> for Refusal {
    fn from(problem: statsd::Problem) -> Self {
        match problem {
            statsd::Problem::NoValue => Self::Form,
            statsd::Problem::Type => Self::Type,
            statsd::Problem::Number => Self::Number,
            statsd::Problem::Rate => Self::Rate,
            statsd::Problem::Time => Self::Time,
            statsd::Problem::Key => Self::Key,
            statsd::Problem::Event => Self::Event,
        }
    }
}

impl From<graphite::Problem> for Refusal {
    fn from(problem: graphite::Problem) -> Self {
        match problem {
            graphite::Problem::Words => Self::Form,
            graphite::Problem::Number => Self::Number,
            graphite::Problem::Time => Self::Time,
            graphite::Problem::Key => Self::Key,
        }
    }
}

impl From<Untaken> for Refusal {
    fn from(untaken: Untaken) -> Self {
        match untaken {
            Untaken::TooMuch => Self::Number,
            Untaken::TooRare => Self::Rate,
            Untaken::Told(told) => Self::from(told),
        }
    }
}

impl From<Told> for Refusal {
    fn from(told: Told) -> Self {
        match told {
            Told::NoRoom => Self::Room,
            Told::Nothing => Self::Below,
            Told::NotFinite => Self::Number,
            Told::Reserved => Self::Key,
            Told::OtherKind | Told::Taken => Self::Kind,
        }
    }
}

/// Counts since the start, of one protocol.
#[derive(Debug, Default)]
pub struct Tally {
    /// Whether it listens anywhere.
    pub is_on: AtomicBool,
    /// Datagrams that were read.
    pub datagrams: AtomicU64,
    /// Those that the system dropped for want of room before they were.
    lost: AtomicU64,
    /// Lines that were taken.
    lines: AtomicU64,
    refused: [AtomicU64; Refusal::ALL.len()],
    /// Connections that are open.
    pub connections: AtomicU64,
    /// Those that were refused for want of room.
    pub connections_refused: AtomicU64,
}

impl Tally {
    /// Notes what became of a line.
    pub fn note(&self, told: Result<(), Refusal>) {
        match told {
            Ok(()) => _ = self.lines.fetch_add(1, Relaxed),
            Err(why) => self.refuse(why),
        }
    }

    /// Notes something that was not taken.
    pub fn refuse(&self, why: Refusal) {
        if let Some(count) = self.refused.get(why as usize) {
            count.fetch_add(1, Relaxed);
        }
    }

    /// Notes datagrams that were dropped.
    pub(super) fn lose(&self, datagrams: u64) {
        self.lost.fetch_add(datagrams, Relaxed);
    }

    /// Lines that were taken.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.lines.load(Relaxed)
    }

    /// Datagrams that were dropped.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    /// Lines that were not taken.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.iter().map(|count| count.load(Relaxed)).sum()
    }

    /// The same, by the names of the reasons.
    pub fn refused_by_reason(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Refusal::ALL.iter().map(|(_, name)| *name);
        names.zip(self.refused.iter().map(|count| count.load(Relaxed)))
    }
}
