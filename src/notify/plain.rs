//! What this layer has to know again after a start, as bytes: each thing field by field, numbers in as
//! few bytes as they need.
//!
//! Reading takes any bytes; what was not written here is `None`, and nothing is reserved that the
//! bytes do not hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::audit::{Answer, Line, What};
use super::deploys::Deploy;
use super::hold::{Desk, Held};
use super::incident::{Ack, Change, Incident, Note, NoteKind, Told};
use super::incidents::TEST_MARK;
use super::message::{About, Closing, Message, Notice, NoticeKind, Undelivered};
use super::outbox::{Lost, Raised, Recipient, Waiting};
use super::silences::Silence;
use crate::rules::Level;
use crate::rules::wording::Unit;
use crate::series::Pattern;
use crate::time::{Span, Timestamp};
use crate::varint::{self, Reader};

/// The version of all that is written here.
const VERSION: u8 = 1;

/// Something that can be written and read again.
pub(super) trait Plain: Sized {
    /// Appends it.
    fn put(&self, out: &mut Vec<u8>);

    /// The next one.
    fn read(from: &mut Reader<'_>) -> Option<Self>;
}

/// A whole value, with its version.
pub(super) fn write(value: &impl Plain) -> Vec<u8> {
    let mut out = vec![VERSION];
    value.put(&mut out);
    out
}

/// And back; `None` where it is something else.
pub(super) fn read<T: Plain>(bytes: &[u8]) -> Option<T> {
    let mut from = Reader::new(bytes);
    if from.byte()? != VERSION {
        return None;
    }
    T::read(&mut from).filter(|_| from.is_empty())
}

/// Writes the fields of a struct in their order, and reads them in the same.
macro_rules! plain {
    ($($name:ident { $($field:ident),* })*) => {$(
        impl Plain for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let Self { $($field),* } = self;
                $($field.put(out);)*
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                $(let $field = Plain::read(from)?;)*
                Some(Self { $($field),* })
            }
        }
    )*};
}

/// Writes each case as its place in the list. New ones go to its end.
macro_rules! plain_cases {
    ($($name:ident { $($case:expr),* })*) => {$(
        impl Plain for $name {
            fn put(&self, out: &mut Vec<u8>) {
                let place = [$($case),*].iter().zip(0..).find(|(case, _)| *case == self);
                out.push(place.map_or(u8::MAX, |(_, place)| place));
            }

            fn read(from: &mut Reader<'_>) -> Option<Self> {
                [$($case),*].get(usize::from(from.byte()?)).copied()
            }
        }
    )*};
}

plain! {
    About { name, summary, runbook, unit, warning, critical, schedule, flapping, insists }
    Unit { is_signed, text }
    Waiting { message, recipient, attempts, queued, due }
    Change { at, from, to, value }
    Ack { at, author, comment, level }
    Note { at, kind, author, text }
    Silence { id, rule, series, from, until, schedule, author, comment, made }
    Deploy { at, what, who }
    Told { at, contact, message }
    Undelivered { contact, to, reason }
    Raised { incident, since, figure, told }
    Line { at, what }
}

plain_cases! {
    Level { Self::Ok, Self::Warning, Self::Unknown, Self::Critical }
    NoticeKind {
        Self::Firing,
        Self::Worse,
        Self::Recovered,
        Self::Ended,
        Self::Closed(Closing::Edited),
        Self::Closed(Closing::Removed),
        Self::Flapping,
        Self::Settled,
        Self::ScheduleEnded,
        Self::Repeat,
        Self::Acknowledged,
        Self::Escalated
    }
    NoteKind { Self::Acknowledged, Self::Unacknowledged, Self::Outgrown, Self::Comment }
    bool { false, true }
}

/// What version 1 did not know stands behind all that it did: it is absent there.
impl Plain for Incident {
    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        self.rule.put(out);
        self.meaning.put(out);
        self.labels.put(out);
        self.group.put(out);
        self.opened.put(out);
        self.began.put(out);
        self.worst.put(out);
        self.level.put(out);
        self.since.put(out);
        self.reached.put(out);
        self.told.put(out);
        self.changes.put(out);
        self.messages.put(out);
        self.closed.put(out);
        self.ack.put(out);
        self.notes.put(out);
        self.is_silenced.put(out);
        self.is_flapping.put(out);
        self.told_at.put(out);
        self.alarmed.put(out);
        self.escalated.put(out);
        self.stand_ins.put(out);
        self.alert.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let mut incident = Self {
            id: Plain::read(from)?,
            rule: Plain::read(from)?,
            meaning: Plain::read(from)?,
            labels: Plain::read(from)?,
            group: Plain::read(from)?,
            opened: Plain::read(from)?,
            began: Plain::read(from)?,
            worst: Plain::read(from)?,
            level: Plain::read(from)?,
            since: Plain::read(from)?,
            reached: Plain::read(from)?,
            told: Plain::read(from)?,
            changes: Plain::read(from)?,
            messages: Plain::read(from)?,
            closed: Plain::read(from)?,
            ack: None,
            notes: Vec::new(),
            is_silenced: false,
            is_flapping: false,
            told_at: None,
            alarmed: None,
            escalated: 0,
            stand_ins: Vec::new(),
            alert: 0,
        };
        if from.is_empty() {
            // It is repeated, and others are told, as if it had been told by this version.
            incident.told_at = incident.messages.last().map(|told| told.at);
            incident.alarmed = incident.messages.first().map(|told| told.at);
            return Some(incident);
        }
        incident.ack = Plain::read(from)?;
        incident.notes = Plain::read(from)?;
        incident.is_silenced = Plain::read(from)?;
        incident.is_flapping = Plain::read(from)?;
        incident.told_at = Plain::read(from)?;
        incident.alarmed = Plain::read(from)?;
        incident.escalated = Plain::read(from)?;
        if !from.is_empty() {
            incident.stand_ins = Plain::read(from)?;
            incident.alert = Plain::read(from)?;
        }
        Some(incident)
    }
}

/// Rules stand once in a message, however many of their instances it tells of.
impl Plain for Message {
    fn put(&self, out: &mut Vec<u8>) {
        self.id.put(out);
        self.contact.put(out);
        self.at.put(out);
        self.public_url.put(out);
        put_notices(self.notices.iter(), out);
        let alerts = alerts(self.notices.iter());
        if self.is_digest || self.undelivered.is_some() || alerts.is_some() {
            self.is_digest.put(out);
            self.undelivered.put(out);
        }
        if let Some(alerts) = alerts {
            alerts.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (id, contact, at) = (String::read(from)?, Plain::read(from)?, Plain::read(from)?);
        let public_url = Plain::read(from)?;
        let mut notices = read_notices(from)?;
        let (is_digest, undelivered) =
            if from.is_empty() { (false, None) } else { Plain::read(from)? };
        if !from.is_empty() {
            read_alerts(notices.iter_mut(), from)?;
        }
        let (is_test, is_unsaved) = (id.starts_with(TEST_MARK), false);
        Some(Self {
            id,
            contact,
            at,
            notices,
            public_url,
            is_test,
            is_digest,
            is_unsaved,
            undelivered,
        })
    }
}

/// Which alert each notice is about, where one is not about the first. They stand behind all else, since
/// they came later.
fn alerts<'a>(notices: impl Iterator<Item = &'a Notice> + Clone) -> Option<Vec<u32>> {
    let is_any = notices.clone().any(|notice| notice.alert > 0);
    is_any.then(|| notices.map(|notice| notice.alert).collect())
}

fn read_alerts<'a>(
    notices: impl ExactSizeIterator<Item = &'a mut Notice>,
    from: &mut Reader<'_>,
) -> Option<()> {
    let alerts = Vec::<u32>::read(from).filter(|alerts| alerts.len() == notices.len())?;
    notices.zip(alerts).for_each(|(notice, alert)| notice.alert = alert);
    Some(())
}

fn put_notices<'a>(notices: impl ExactSizeIterator<Item = &'a Notice> + Clone, out: &mut Vec<u8>) {
    let mut rules: Vec<&Arc<About>> = Vec::new();
    let mut places = Vec::with_capacity(notices.len());
    for notice in notices.clone() {
        // They stand beside each other mostly, so the last is looked at first.
        let place = rules.iter().rposition(|rule| **rule == notice.rule);
        places.push(place.unwrap_or(rules.len()));
        if place.is_none() {
            rules.push(&notice.rule);
        }
    }
    varint::put(out, rules.len() as u64);
    for rule in rules {
        rule.put(out);
    }
    varint::put(out, notices.len() as u64);
    for (notice, place) in notices.zip(places) {
        varint::put(out, place as u64);
        put_notice(notice, out);
    }
}

fn read_notices(from: &mut Reader<'_>) -> Option<Vec<Notice>> {
    let rules = Vec::<Arc<About>>::read(from)?;
    let mut notices = Vec::new();
    for _ in 0..from.number()? {
        let rule = rules.get(usize::try_from(from.number()?).ok()?)?;
        notices.push(read_notice(Arc::clone(rule), from)?);
    }
    Some(notices)
}

impl Plain for Desk {
    fn put(&self, out: &mut Vec<u8>) {
        self.last.put(out);
        put_notices(self.held.iter().map(|held| &held.notice), out);
        for held in &self.held {
            held.is_first.put(out);
            held.worst.put(out);
        }
        if let Some(alerts) = alerts(self.held.iter().map(|held| &held.notice)) {
            alerts.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let last = Plain::read(from)?;
        let held = read_notices(from)?.into_iter().map(|notice| {
            let (is_first, worst) = (Plain::read(from)?, Plain::read(from)?);
            Some(Held { notice, is_first, worst })
        });
        let mut held: Vec<Held> = held.collect::<Option<_>>()?;
        if !from.is_empty() {
            read_alerts(held.iter_mut().map(|held| &mut held.notice), from)?;
        }
        Some(Self::of(last, held))
    }
}

fn put_notice(notice: &Notice, out: &mut Vec<u8>) {
    notice.incident.put(out);
    notice.opened.put(out);
    notice.kind.put(out);
    notice.labels.put(out);
    notice.from.put(out);
    notice.level.put(out);
    notice.since.put(out);
    notice.began.put(out);
    notice.worst.put(out);
    notice.value.put(out);
    notice.covered.put(out);
    notice.is_at_least.put(out);
    notice.problem.put(out);
}

fn read_notice(rule: Arc<About>, from: &mut Reader<'_>) -> Option<Notice> {
    Some(Notice {
        rule,
        alert: 0,
        incident: Plain::read(from)?,
        opened: Plain::read(from)?,
        kind: Plain::read(from)?,
        labels: Plain::read(from)?,
        from: Plain::read(from)?,
        level: Plain::read(from)?,
        since: Plain::read(from)?,
        began: Plain::read(from)?,
        worst: Plain::read(from)?,
        value: Plain::read(from)?,
        covered: Plain::read(from)?,
        is_at_least: Plain::read(from)?,
        problem: Plain::read(from)?,
    })
}

impl Plain for Recipient {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Email(address) => (false, address.clone()),
            Self::Webhook(contact) => (true, contact.clone()),
        }
        .put(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let (is_webhook, to) = Plain::read(from)?;
        Some(if is_webhook { Self::Webhook(to) } else { Self::Email(to) })
    }
}

impl Plain for What {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Change { title, incident, change } => {
                out.push(0);
                title.put(out);
                incident.put(out);
                change.put(out);
            }
            Self::Message { message, contact, notices } => {
                out.push(1);
                message.put(out);
                contact.put(out);
                notices.put(out);
            }
            Self::Attempt { message, contact, recipient, attempt, answer, took } => {
                out.push(2);
                message.put(out);
                contact.put(out);
                recipient.put(out);
                attempt.put(out);
                answer.put(out);
                took.put(out);
            }
            Self::Reload { problem } => {
                out.push(3);
                problem.put(out);
            }
            Self::Start => out.push(4),
            Self::Note { title, incident, note } => {
                out.push(5);
                title.put(out);
                incident.put(out);
                note.put(out);
            }
            Self::Silence(silence) => {
                out.push(6);
                silence.put(out);
            }
            Self::Unsilence { silence, author } => {
                out.push(7);
                silence.put(out);
                author.put(out);
            }
            Self::Lost(Lost { message, contact, recipient, notices }) => {
                out.push(20);
                message.put(out);
                contact.put(out);
                recipient.put(out);
                notices.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.byte()? {
            0 => Self::Change {
                title: Plain::read(from)?,
                incident: Plain::read(from)?,
                change: Plain::read(from)?,
            },
            1 => Self::Message {
                message: Plain::read(from)?,
                contact: Plain::read(from)?,
                notices: Plain::read(from)?,
            },
            2 => Self::Attempt {
                message: Plain::read(from)?,
                contact: Plain::read(from)?,
                recipient: Plain::read(from)?,
                attempt: Plain::read(from)?,
                answer: Plain::read(from)?,
                took: Plain::read(from)?,
            },
            3 => Self::Reload { problem: Plain::read(from)? },
            4 => Self::Start,
            5 => Self::Note {
                title: Plain::read(from)?,
                incident: Plain::read(from)?,
                note: Plain::read(from)?,
            },
            6 => Self::Silence(Box::new(Plain::read(from)?)),
            7 => Self::Unsilence { silence: Plain::read(from)?, author: Plain::read(from)? },
            20 => Self::Lost(Lost {
                message: Plain::read(from)?,
                contact: Plain::read(from)?,
                recipient: Plain::read(from)?,
                notices: Plain::read(from)?,
            }),
            _ => return None,
        })
    }
}

impl Plain for Answer {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Delivered => out.push(0),
            Self::Again { reason, due } => {
                out.push(1);
                reason.put(out);
                due.put(out);
            }
            Self::GivenUp { reason } => {
                out.push(2);
                reason.put(out);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(match from.byte()? {
            0 => Self::Delivered,
            1 => Self::Again { reason: Plain::read(from)?, due: Plain::read(from)? },
            2 => Self::GivenUp { reason: Plain::read(from)? },
            _ => return None,
        })
    }
}

impl Plain for u64 {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, *self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.number()
    }
}

impl Plain for u32 {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, u64::from(*self));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.number_u32()
    }
}

impl Plain for f64 {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put_double(out, *self);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        from.double()
    }
}

impl Plain for Timestamp {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, varint::zigzag(self.as_millis()));
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self::from_millis(varint::unzigzag(from.number()?)))
    }
}

impl Plain for Span {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.as_millis());
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self::from_millis(from.number()?))
    }
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    varint::put(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

fn read_text<'a>(from: &mut Reader<'a>) -> Option<&'a str> {
    let len = usize::try_from(from.number()?).ok()?;
    std::str::from_utf8(from.take(len)?).ok()
}

impl Plain for String {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        read_text(from).map(str::to_owned)
    }
}

impl Plain for Arc<str> {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        read_text(from).map(Into::into)
    }
}

/// A pattern is the text that it was written as.
impl Plain for Pattern {
    fn put(&self, out: &mut Vec<u8>) {
        put_text(&self.to_string(), out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        read_text(from)?.parse().ok()
    }
}

impl Plain for Arc<About> {
    fn put(&self, out: &mut Vec<u8>) {
        About::put(self, out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        About::read(from).map(Self::new)
    }
}

impl<T: Plain> Plain for Option<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.is_some().put(out);
        if let Some(value) = self {
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        if bool::read(from)? { Some(Some(T::read(from)?)) } else { Some(None) }
    }
}

impl<A: Plain, B: Plain> Plain for (A, B) {
    fn put(&self, out: &mut Vec<u8>) {
        self.0.put(out);
        self.1.put(out);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some((A::read(from)?, B::read(from)?))
    }
}

impl<T: Plain> Plain for Vec<T> {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.len() as u64);
        for one in self {
            one.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        // Each takes a byte at least, so no count makes this longer than what there is.
        (0..from.number()?).map(|_| T::read(from)).collect()
    }
}

impl<K: Plain + Ord, V: Plain> Plain for BTreeMap<K, V> {
    fn put(&self, out: &mut Vec<u8>) {
        varint::put(out, self.len() as u64);
        for (key, value) in self {
            key.put(out);
            value.put(out);
        }
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Vec::<(K, V)>::read(from)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests;
