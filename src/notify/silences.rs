//! Silences: what is not to be told for a while, by whom, and why.
//!
//! A silence names rules, series or both, by the patterns that rules use themselves, and holds once, from one
//! instant to another, or in the hours of a schedule. It takes no message back, and recoveries do not ask it.
//! One that is over is forgotten here; the audit knows of it. One whose schedule the configuration has no more covers
//! nothing; it waits for the schedule to come back for a while, and is over then. Who is told when a silence ends is
//! not known here.

mod coverage;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::audit::{Audit, What};
use super::plain;
use crate::config::{Config, Rule, Schedule};
use crate::limits;
use crate::series::Pattern;
use crate::store::{Facts, Table};
use crate::time::{Span, Timestamp};

pub use coverage::Coverage;

/// The first byte of their facts' keys, and of the keys of the instants since which their schedules are missing.
const SPACE: u8 = b's';
const STRAY_SPACE: u8 = b'u';

/// What is not to be told, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Silence {
    /// Unique, stable; given when it is taken.
    pub id: Arc<str>,
    /// Names of rules, with the `by` tags of their instances: `errors-*{host="a"}`; `None`: any.
    pub rule: Option<Pattern>,
    /// The series that the rule is about, with these tags and those that it asks for; `None`: any.
    pub series: Option<Pattern>,
    /// From when on.
    pub from: Timestamp,
    /// Until when; `None`: in the hours of its schedule, for good.
    pub until: Option<Timestamp>,
    /// The `[[schedule]]` in whose hours it holds; `None`: always.
    pub schedule: Option<String>,
    /// Who wants it.
    pub author: String,
    /// Why.
    pub comment: String,
    /// When it was taken.
    pub made: Timestamp,
}

/// Why something was not done that somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No incident has that id, or it is too long ago.
    #[error("there is no incident `{0}`")]
    NoSuchIncident(String),
    /// It is not open any more.
    #[error("the incident `{0}` is over")]
    Over(String),
    /// Nobody has.
    #[error("the incident `{0}` is not acknowledged")]
    NotAcknowledged(String),
    /// No silence has that id, or it is over.
    #[error("there is no silence `{0}`")]
    NoSuchSilence(String),
    /// It would cover everything, which `rule = "*"` says on purpose.
    #[error("a silence names rules or series; `*` means all of them")]
    Nothing,
    /// It would never hold.
    #[error("a silence ends after it begins, and after now")]
    Ends,
    /// It would last for ever, or begin when nobody knows of it any more.
    #[error(
        "a silence begins and ends within {}; one that is to last has a schedule",
        limits::SILENCE_MAX
    )]
    TooLate,
    /// It has no end.
    #[error("a silence has an end, or a schedule")]
    Endless,
    /// The configuration has no such schedule.
    #[error("there is no schedule `{0}`")]
    NoSuchSchedule(String),
    /// There are too many.
    #[error("there are {} silences already", limits::SILENCES)]
    TooMany,
    /// A text is too long.
    #[error("`{what}` is longer than {max} bytes")]
    TooLong {
        /// Which.
        what: &'static str,
        /// How long it may be.
        max: usize,
    },
}

/// What a silence is held against: one instance of a rule.
#[derive(Clone, Copy, Debug)]
pub(super) struct Subject<'a> {
    pub(super) rule: &'a Rule,
    /// Its `by` tags.
    pub(super) labels: &'a [(String, String)],
}

/// All silences that are not over.
#[derive(Debug, Default)]
pub struct Silences {
    list: BTreeMap<Arc<str>, Silence>,
    schedules: BTreeMap<String, Arc<Schedule>>,
    /// Those whose schedule the configuration has no more, since when that was seen first.
    strays: BTreeMap<Arc<str>, Timestamp>,
    /// Those that hold, as of the last look.
    active: BTreeSet<Arc<str>>,
    /// Whether it has to be looked again who is covered.
    is_turned: bool,
    /// Changes that nobody has noted yet.
    facts: Facts,
}

/// That a silence holds in the hours of a schedule that the configuration has no more: in none, that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingSchedule {
    /// When that was seen first.
    pub since: Timestamp,
    /// When the silence is over, unless the schedule comes back before.
    pub forgotten: Timestamp,
}

/// How long a silence waits for its schedule to come back: an edit of the configuration may be taken back.
const STRAY_KEPT: Span = Span::WEEK;

impl Silences {
    /// Takes over the schedules of a configuration.
    pub(super) fn configure(&mut self, config: &Config) {
        let schedules = config.schedules.iter();
        self.schedules = schedules.map(|one| (one.name.clone(), Arc::clone(one))).collect();
    }

    /// Whether a silence may be taken.
    pub(super) fn check(&self, silence: &Silence, now: Timestamp) -> Result<(), Refusal> {
        let Silence { rule, series, from, until, schedule, author, comment, .. } = silence;
        check_texts(author, comment)?;
        for pattern in rule.iter().chain(series) {
            check_len("pattern", &pattern.to_string(), limits::SILENCE_PATTERN_BYTES)?;
        }
        if rule.is_none() && series.is_none() {
            return Err(Refusal::Nothing);
        }
        if until.is_none() && schedule.is_none() {
            return Err(Refusal::Endless);
        }
        if until.is_some_and(|until| until <= now || until <= *from) {
            return Err(Refusal::Ends);
        }
        let last = now + limits::SILENCE_MAX;
        if *from > last || until.is_some_and(|until| until > last) {
            return Err(Refusal::TooLate);
        }
        if let Some(name) = schedule.as_ref().filter(|name| !self.schedules.contains_key(*name)) {
            return Err(Refusal::NoSuchSchedule(name.clone()));
        }
        if self.list.len() >= limits::SILENCES { Err(Refusal::TooMany) } else { Ok(()) }
    }

    /// Takes a silence that was checked.
    pub(super) fn add(&mut self, silence: Silence, audit: &mut Audit, now: Timestamp) {
        audit.note(now, What::Silence(Box::new(silence.clone())));
        self.facts.put(fact_key(SPACE, &silence.id), plain::write(&silence));
        self.list.insert(Arc::clone(&silence.id), silence);
    }

    /// Ends one before its time.
    pub(super) fn remove(
        &mut self,
        id: &str,
        author: &str,
        audit: &mut Audit,
        now: Timestamp,
    ) -> Result<Silence, Refusal> {
        check_texts(author, "")?;
        let unknown = || Refusal::NoSuchSilence(id.chars().take(100).collect());
        let silence = self.forget(id).ok_or_else(unknown)?;
        let (silence_id, author) = (id.to_owned(), author.to_owned());
        audit.note(now, What::Unsilence { silence: silence_id, author });
        Ok(silence)
    }

    /// Looks which hold at `now`, and forgets those that are over; whether others hold than before.
    pub(super) fn advance(&mut self, now: Timestamp, audit: &mut Audit) -> bool {
        if self.list.is_empty() && self.active.is_empty() && !self.is_turned {
            return false;
        }
        self.look_for_strays(now);
        let is_over = |silence: &&Silence| self.end(silence).is_some_and(|end| end <= now);
        let over: Vec<_> =
            self.list.values().filter(is_over).map(|one| Arc::clone(&one.id)).collect();
        for id in over {
            self.forget(&id);
            audit.note(now, What::Unsilence { silence: id.to_string(), author: String::new() });
        }
        let active = self.list.values().filter(|silence| self.holds(silence, now));
        let active: BTreeSet<_> = active.map(|silence| Arc::clone(&silence.id)).collect();
        let is_turned = std::mem::take(&mut self.is_turned) || active != self.active;
        self.active = active;
        is_turned
    }

    /// When it is over: at its end, or when its schedule has been missing for too long.
    fn end(&self, silence: &Silence) -> Option<Timestamp> {
        let stray = self.missing_schedule(&silence.id).map(|missing| missing.forgotten);
        silence.until.into_iter().chain(stray).min()
    }

    fn forget(&mut self, id: &str) -> Option<Silence> {
        let silence = self.list.remove(id)?;
        self.facts.remove(fact_key(SPACE, id));
        if self.strays.remove(id).is_some() {
            self.facts.remove(fact_key(STRAY_SPACE, id));
        }
        Some(silence)
    }

    /// Notes whose schedule has gone, or come back.
    fn look_for_strays(&mut self, now: Timestamp) {
        for (id, silence) in &self.list {
            let is_known = |name: &String| self.schedules.contains_key(name);
            let is_stray = !silence.schedule.as_ref().is_none_or(is_known);
            if is_stray && !self.strays.contains_key(id) {
                self.strays.insert(Arc::clone(id), now);
                self.facts.put(fact_key(STRAY_SPACE, id), plain::write(&now));
            } else if !is_stray && self.strays.remove(id).is_some() {
                self.facts.remove(fact_key(STRAY_SPACE, id));
            }
        }
    }

    /// That the configuration has the schedule of a silence no more.
    #[must_use]
    pub fn missing_schedule(&self, id: &str) -> Option<MissingSchedule> {
        let since = *self.strays.get(id)?;
        Some(MissingSchedule { since, forgotten: since + STRAY_KEPT })
    }

    fn holds(&self, silence: &Silence, now: Timestamp) -> bool {
        let in_hours = |name: &String| self.schedules.get(name).is_some_and(|it| it.is_active(now));
        silence.from <= now && silence.schedule.as_ref().is_none_or(in_hours)
    }

    /// Whether one that holds covers that instance.
    pub(super) fn cover(&self, subject: Subject<'_>) -> bool {
        let mut active = self.active.iter().filter_map(|id| self.list.get(id));
        active.any(|silence| silence.covers(subject))
    }

    /// All that are not over, by their ids.
    pub fn iter(&self) -> impl Iterator<Item = &Silence> {
        self.list.values()
    }

    /// The one with that id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Silence> {
        self.list.get(id)
    }

    /// Whether it held at the last tick.
    #[must_use]
    pub fn is_active(&self, id: &str) -> bool {
        self.active.contains(id)
    }

    /// Says what has changed since the last call.
    pub(super) fn take_facts(&mut self) -> Facts {
        std::mem::take(&mut self.facts)
    }

    /// Takes over what an earlier process knew; how much of it cannot be read.
    pub(super) fn recall(&mut self, table: &Table) -> usize {
        let mut garbled = 0;
        for (_, bytes) in table.below(SPACE) {
            match plain::read::<Silence>(bytes) {
                Some(silence) => drop(self.list.insert(Arc::clone(&silence.id), silence)),
                None => garbled += 1,
            }
        }
        for (id, bytes) in table.below(STRAY_SPACE) {
            match std::str::from_utf8(id).ok().zip(plain::read(bytes)) {
                Some((id, since)) => drop(self.strays.insert(id.into(), since)),
                None => garbled += 1,
            }
        }
        // One may have ended while nobody was there to see it.
        self.is_turned = true;
        garbled
    }
}

impl Silence {
    fn covers(&self, subject: Subject<'_>) -> bool {
        let Subject { rule, labels } = subject;
        let label =
            |tag: &str| labels.iter().find(|(name, _)| name == tag).map(|(_, value)| &**value);
        let of_rule = |tag: &str| label(tag).unwrap_or("");
        let of_series = |tag: &str| label(tag).or(rule.series.pinned(tag)).unwrap_or("");
        self.rule.as_ref().is_none_or(|pattern| pattern.matches_with(&rule.name, of_rule))
            && self
                .series
                .as_ref()
                .is_none_or(|pattern| pattern.matches_with(rule.series.name(), of_series))
    }
}

/// Whether who says something, and what, is short enough to be kept.
pub(super) fn check_texts(author: &str, comment: &str) -> Result<(), Refusal> {
    check_len("author", author, limits::AUTHOR_BYTES)?;
    check_len("comment", comment, limits::COMMENT_BYTES)
}

fn check_len(what: &'static str, text: &str, max: usize) -> Result<(), Refusal> {
    if text.len() > max { Err(Refusal::TooLong { what, max }) } else { Ok(()) }
}

fn fact_key(space: u8, id: &str) -> Vec<u8> {
    let mut key = vec![space];
    key.extend_from_slice(id.as_bytes());
    key
}

#[cfg(test)]
mod tests;
