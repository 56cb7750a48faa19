//! One line of StatsD: bytes → what is to be counted.
//!
//! Sources of the form: the metric types of Etsy's statsd, with several values packed into a line; the datagrams
//! of DogStatsD (lists of values, tags, instants, events, service checks); tags as Influx (`name,tag=value`),
//! Librato (`name#tag=value`) and SignalFX (`name[tag=value]`) write them, and Graphite (`name;tag=value`), which is
//! how a series is called here. What a key may not hold is replaced: see `name`.
//!
//! What always holds: a line is read as a whole or not at all, and what was read is within the limits of a key.
//! No input panics. It knows no sockets, no counters, and no time but what a line says.

mod event;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use super::name::{self, Tags, add_tag, cut, decimal};
use crate::limits;
use crate::time::Timestamp;

pub use event::Event;

/// What a line tells.
#[derive(Clone, Debug, PartialEq)]
pub enum Line<'a> {
    /// Values of one series.
    Samples(Samples<'a>),
    /// Something that happened, for people.
    Event(Event),
}

/// Values of one series, in their order.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples<'a> {
    /// The series, with its tags sorted by name.
    pub key: Cow<'a, [u8]>,
    /// Never empty.
    pub list: Vec<Sample<'a>>,
    /// When it was, where the line says so.
    pub at: Option<Timestamp>,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sample<'a> {
    /// What is told.
    pub value: Value<'a>,
    /// The share of what happened that was sent, above 0 and at most 1.
    pub rate: f64,
}

/// A value by its kind.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `c`: so much is counted; a negative one takes away.
    Count(f64),
    /// `ms`, `h`, `d`: an observation.
    Observed(f64),
    /// `g`: a gauge has this value now.
    Gauge(f64),
    /// `g` with a sign: a gauge is that much greater.
    Change(f64),
    /// `s`: a member of a set, of which the different ones are counted. Never empty.
    Member(&'a [u8]),
}

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// There is no name, or no value behind it.
    NoValue,
    /// It has no type, or one that is not known.
    Type,
    /// A value is no number.
    Number,
    /// The sample rate is not above 0 and at most 1.
    Rate,
    /// The instant is no Unix time.
    Time,
    /// The key with its tags is too long, or has too many.
    Key,
    /// An event whose lengths do not fit, or a service check without a status.
    Event,
}

/// Reads one line, without its line end.
///
/// # Errors
/// [`Problem`]
pub fn parse(line: &[u8]) -> Result<Line<'_>, Problem> {
    if let Some(rest) = line.strip_prefix(b"_e{") {
        return event::event(rest).ok_or(Problem::Event).map(Line::Event);
    }
    if let Some(rest) = line.strip_prefix(b"_sc|") {
        return service_check(rest).map(Line::Samples);
    }
    let at = name_end(line).filter(|at| *at > 0).ok_or(Problem::NoValue)?;
    let (name, rest) = line.split_at(at);
    samples(name, rest.get(1..).unwrap_or_default()).map(Line::Samples)
}

/// Where the first colon is that stands in no brackets.
fn name_end(line: &[u8]) -> Option<usize> {
    let mut is_inside = false;
    line.iter().position(|byte| {
        is_inside = match byte {
            b'[' => true,
            b']' => false,
            _ => is_inside,
        };
        *byte == b':' && !is_inside
    })
}

/// Values and what is said of them; then perhaps a colon and more of them, as Etsy's packs values.
fn samples<'a>(name: &'a [u8], mut rest: &'a [u8]) -> Result<Samples<'a>, Problem> {
    let (mut list, mut tags, mut at) = (Vec::new(), Tags::new(), None);
    loop {
        let (values, behind) = cut(rest, b'|').ok_or(Problem::Type)?;
        let said = Said::read(behind, &mut tags, &mut at)?;
        for text in values.split(|byte| *byte == b':') {
            list.push(Sample { value: value(said.kind, text)?, rate: said.rate });
        }
        match said.more {
            Some(more) => rest = more,
            None => break,
        }
    }
    Ok(Samples { key: key(name, tags)?, list, at })
}

/// What is said of values behind them.
struct Said<'a> {
    kind: &'a [u8],
    rate: f64,
    /// Values of the same series behind these.
    more: Option<&'a [u8]>,
}

impl<'a> Said<'a> {
    /// The type, and the sections that are known: a rate, tags, an instant. Others are for somebody else
    /// (DogStatsD's container, its cardinality).
    fn read(bytes: &'a [u8], tags: &mut Tags, at: &mut Option<Timestamp>) -> Result<Self, Problem> {
        let (kind, mut rest) = until(bytes, |byte| matches!(byte, b'|' | b':'));
        let (mut rate, mut more) = (1.0, rest.strip_prefix(b":"));
        while let (None, Some(sections)) = (more, rest.strip_prefix(b"|")) {
            let is_rate = sections.first() == Some(&b'@');
            // A colon ends a rate, and belongs to anything else.
            let (section, behind) =
                until(sections, |byte| byte == b'|' || (is_rate && byte == b':'));
            rest = behind;
            more = rest.strip_prefix(b":");
            match section {
                [b'@', text @ ..] => rate = sample_rate(text)?,
                [b'#', list @ ..] => read_tags(list, b':', tags),
                [b'T', text @ ..] => *at = Some(instant(text).ok_or(Problem::Time)?),
                _ => {}
            }
        }
        Ok(Self { kind, rate, more })
    }
}

/// What stands before the first byte that ends it, and that byte with what follows.
fn until(bytes: &[u8], is_end: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    bytes.split_at(bytes.iter().position(|byte| is_end(*byte)).unwrap_or(bytes.len()))
}

fn value<'a>(kind: &[u8], text: &'a [u8]) -> Result<Value<'a>, Problem> {
    let number = || decimal(text).ok_or(Problem::Number);
    Ok(match kind {
        b"c" => Value::Count(number()?),
        b"ms" | b"h" | b"d" => Value::Observed(number()?),
        b"g" if matches!(text.first(), Some(b'+' | b'-')) => Value::Change(number()?),
        b"g" => Value::Gauge(number()?),
        b"s" if text.is_empty() => return Err(Problem::NoValue),
        b"s" => Value::Member(text),
        _ => return Err(Problem::Type),
    })
}

fn sample_rate(text: &[u8]) -> Result<f64, Problem> {
    decimal(text).filter(|rate| *rate > 0.0 && *rate <= 1.0).ok_or(Problem::Rate)
}

/// Whole seconds since 1970.
fn instant(text: &[u8]) -> Option<Timestamp> {
    let is_good = (1..=11).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(text).ok().filter(|_| is_good)?;
    text.parse().ok().map(Timestamp::from_secs)
}

/// `a:1,b:2` or `a=1,b=2`. A word without a value is true.
fn read_tags(text: &[u8], between: u8, tags: &mut Tags) {
    for tag in text.split(|byte| *byte == b',').filter(|tag| !tag.is_empty()) {
        let (name, value) = cut(tag, between).unwrap_or((tag, b"true"));
        add_tag(tags, name, value);
    }
}

/// The key of a name that may carry tags of its own, in one of four forms. Those behind the value win.
fn key(name: &[u8], tags: Tags) -> Result<Cow<'_, [u8]>, Problem> {
    if tags.is_empty() && name::is_clean(name, b"[;#,") {
        return if name.len() <= limits::KEY_BYTES { Ok(name.into()) } else { Err(Problem::Key) };
    }
    let mut all = Tags::new();
    let bare: Cow<'_, [u8]> = if let Some((name, rest)) = cut(name, b'[') {
        let (inside, behind) = cut(rest, b']').ok_or(Problem::Key)?;
        read_tags(inside, b'=', &mut all);
        [name, behind].concat().into()
    } else if let Some((name, rest)) = cut(name, b';') {
        for tag in rest.split(|byte| *byte == b';') {
            read_tags(tag, b'=', &mut all);
        }
        name.into()
    } else if let Some((name, rest)) = cut(name, b'#').or_else(|| cut(name, b',')) {
        read_tags(rest, b'=', &mut all);
        name.into()
    } else {
        name.into()
    };
    all.extend(tags);
    name::key(&bare, &all).map(Cow::Owned).ok_or(Problem::Key)
}

/// `name|status|…`: a gauge of the status, 0 to 3. What is said with it (`m:`) comes last, and may hold
/// anything.
fn service_check(rest: &[u8]) -> Result<Samples<'_>, Problem> {
    let mut sections = rest.split(|byte| *byte == b'|');
    let name = sections.next().filter(|name| !name.is_empty()).ok_or(Problem::NoValue)?;
    let status = match sections.next() {
        Some([digit @ b'0'..=b'3']) => f64::from(digit - b'0'),
        _ => return Err(Problem::Event),
    };
    let (mut tags, mut at) = (Tags::new(), None);
    for section in sections.take_while(|section| !section.starts_with(b"m:")) {
        match section {
            [b'#', list @ ..] => read_tags(list, b':', &mut tags),
            [b'h', b':', host @ ..] => add_tag(&mut tags, b"host", host),
            [b'd', b':', text @ ..] => at = Some(instant(text).ok_or(Problem::Time)?),
            _ => {}
        }
    }
    let key = name::key(name, &tags).map(Cow::Owned).ok_or(Problem::Key)?;
    Ok(Samples { key, list: vec![Sample { value: Value::Gauge(status), rate: 1.0 }], at })
}
