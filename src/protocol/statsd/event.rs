//! Events of DogStatsD: something that happened, told to people.

use super::super::name::cut;
use super::instant;
use crate::time::Timestamp;

/// DogStatsD's `_e`. Priority, kind, tags and what events are put together by are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened; not empty.
    pub title: String,
    /// More of it; may be empty, or several lines.
    pub text: String,
    /// Where; may be empty.
    pub host: String,
    /// When, where it says so.
    pub at: Option<Timestamp>,
}

/// `5,4}:title|text|…`: lengths in bytes, then what has them.
pub(super) fn event(rest: &[u8]) -> Option<Event> {
    let (lengths, rest) = cut(rest, b'}')?;
    let (title, text) = cut(lengths, b',')?;
    let (title, text) = (length(title).filter(|title| *title > 0)?, length(text)?);
    let rest = rest.strip_prefix(b":")?;
    let (title, rest) = rest.split_at_checked(title)?;
    let (text, rest) = rest.strip_prefix(b"|")?.split_at_checked(text)?;
    if !(rest.is_empty() || rest.starts_with(b"|")) {
        return None;
    }
    let (mut host, mut at) = (String::new(), None);
    for section in rest.split(|byte| *byte == b'|') {
        match section {
            [b'h', b':', name @ ..] => host = words(name),
            [b'd', b':', text @ ..] => at = Some(instant(text)?),
            _ => {}
        }
    }
    Some(Event { title: words(title), text: words(text), host, at })
}

fn length(text: &[u8]) -> Option<usize> {
    let is_good = !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(text).ok().filter(|_| is_good)?.parse().ok()
}

/// Line ends are written `\n`.
fn words(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).replace("\\n", "\n")
}
