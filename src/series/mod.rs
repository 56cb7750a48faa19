//! What a series is called: a name and a set of tags, written as Graphite writes them,
//! `orders.placed;region=eu;shop=main`.
//!
//! Applications choose keys freely, so every key is a series: one whose tag part is not well formed
//! is a name from end to end, and bytes that are not UTF-8 are written `\xNN`. Two spellings that
//! differ in the order of their tags are one series. This module knows nothing of values.

mod pattern;

pub use pattern::{Pattern, PatternError};

use std::borrow::Cow;
use std::fmt::{self, Write};

use memchr::memchr;

use crate::limits;

/// A series by name and tags. Tags are sorted by name; a name occurs once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Series {
    name: Box<str>,
    tags: Box<[Tag]>,
}

/// One `name=value` of a series.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// Left of the equals sign; never empty.
    pub name: Box<str>,
    /// Right of it; never empty.
    pub value: Box<str>,
}

impl Series {
    /// The series that a key names. Source of the form: Graphite's tag syntax, where a tag name may
    /// not hold `;`, `!`, `^` or `=`, and a value may not hold `;` or begin with `~`.
    #[must_use]
    pub fn from_key(key: &[u8]) -> Self {
        let text = printable(key);
        // A key with stray bytes has no tags: the live table does not put them in order either.
        let tagged = std::str::from_utf8(key).is_ok().then(|| Self::with_tags(&text)).flatten();
        tagged.unwrap_or_else(|| Self { name: (*text).into(), tags: Box::default() })
    }

    /// `None` where the text has no tag part, or one that is not well formed.
    fn with_tags(text: &str) -> Option<Self> {
        let (name, rest) = text.split_once(';')?;
        if name.is_empty() {
            return None;
        }
        let mut tags = Vec::new();
        for part in rest.split(';') {
            let (name, value) = part.split_once('=')?;
            let good_name = !name.is_empty() && !name.contains(['!', '^']);
            let good_value = !value.is_empty() && !value.starts_with('~');
            if !good_name || !good_value || tags.len() == limits::SERIES_TAGS {
                return None;
            }
            tags.push(Tag { name: name.into(), value: value.into() });
        }
        tags.sort_unstable();
        let twice = tags.windows(2).any(|pair| matches!(pair, [a, b] if a.name == b.name));
        (!twice).then(|| Self { name: name.into(), tags: tags.into() })
    }

    /// The name, without tags.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tags, sorted by name.
    #[must_use]
    pub fn tags(&self) -> &[Tag] {
        &self.tags
    }

    /// The value of a tag.
    #[must_use]
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags.iter().find(|tag| &*tag.name == name).map(|tag| &*tag.value)
    }
}

impl fmt::Display for Series {
    /// The canonical spelling: name, then tags in order.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        self.tags.iter().try_for_each(|tag| write!(f, ";{}={}", tag.name, tag.value))
    }
}

/// Text for any key: itself where it is UTF-8, otherwise with each stray byte written `\xNN`.
///
/// A key that holds `\\x` itself has its backslash written out too, so that no two keys read alike.
fn printable(key: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(key) {
        Ok(text) if !key.contains(&b'\\') => return Cow::Borrowed(text),
        _ => {}
    }
    let mut text = String::with_capacity(key.len());
    for chunk in key.utf8_chunks() {
        text.push_str(&chunk.valid().replace("\\x", "\\x5cx"));
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    Cow::Owned(text)
}

/// The key under which all spellings of a series meet: the same bytes with the tags in order.
///
/// Keys without tags, and with tags that are in order, are answered as they came; this is on the way
/// of every increment.
#[inline]
#[must_use]
pub fn canonical_key(key: &[u8]) -> Cow<'_, [u8]> {
    if memchr(b';', key).is_none() || has_sorted_tags(key) {
        return Cow::Borrowed(key);
    }
    match std::str::from_utf8(key).ok().and_then(Series::with_tags) {
        Some(series) => Cow::Owned(series.to_string().into_bytes()),
        None => Cow::Borrowed(key),
    }
}

fn has_sorted_tags(key: &[u8]) -> bool {
    key.split(|byte| *byte == b';').skip(1).is_sorted_by_key(|tag| {
        let end = tag.iter().position(|byte| *byte == b'=').unwrap_or(tag.len());
        tag.split_at(end).0
    })
}

/// The name of a series that has tags; `None` for one that has none. For keys as they are written most
/// often it takes no memory.
#[must_use]
pub fn name_before_tags(key: &[u8]) -> Option<Cow<'_, str>> {
    let at = memchr(b';', key)?;
    if is_plainly_tagged(key) {
        return std::str::from_utf8(key.get(..at)?).ok().map(Cow::Borrowed);
    }
    let series = Series::from_key(key);
    (!series.tags().is_empty()).then(|| Cow::Owned(series.name.into()))
}

/// Whether a key names a series with tags for certain: all of it is shown as it is, and its tags are well
/// formed and in order.
fn is_plainly_tagged(key: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(key) else { return false };
    let mut parts = text.split(';');
    let mut is_good = parts.next().is_some_and(|name| !name.is_empty()) && !text.contains('\\');
    let (mut before, mut count) = ("", 0);
    for part in parts {
        let Some((name, value)) = part.split_once('=') else { return false };
        is_good &= before < name && !name.contains(['!', '^']);
        is_good &= !value.is_empty() && !value.starts_with('~');
        before = name;
        count += 1;
    }
    is_good && (1..=limits::SERIES_TAGS).contains(&count)
}

/// The series that takes the increments of keys for which there is no room.
pub const OVERFLOW: &str = "tallyd.overflow";

/// Whether tallyd keeps a name for its own figures. Clients may not write under it.
#[must_use]
pub fn is_reserved(key: &[u8]) -> bool {
    key.starts_with(b"tallyd.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_are_sorted_so_that_spellings_meet() {
        let series = Series::from_key(b"orders.placed;shop=main;region=eu");
        assert_eq!(series.name(), "orders.placed");
        assert_eq!(series.tag("region"), Some("eu"));
        assert_eq!(series.to_string(), "orders.placed;region=eu;shop=main");
        assert_eq!(series, Series::from_key(b"orders.placed;region=eu;shop=main"));
    }

    #[test]
    fn one_key_stands_for_all_spellings() {
        let check = |key: &str, expect: &str| {
            assert_eq!(canonical_key(key.as_bytes()), expect.as_bytes());
        };
        check("a;b=1;c=2", "a;b=1;c=2");
        check("a;c=2;b=1", "a;b=1;c=2");
        check("a;bb=1;b=2", "a;b=2;bb=1");
        check("a;c;b", "a;c;b");
        check("plain", "plain");
    }

    #[test]
    fn what_is_not_a_tag_stays_in_the_name() {
        for key in ["a;b", "a;=x", "a;b=", "a;b=~x", ";a=b", "a;b=1;b=2", "a;b!=1", "a;", "plain"] {
            let series = Series::from_key(key.as_bytes());
            assert_eq!(series.name(), key);
            assert!(series.tags().is_empty(), "{key}");
        }
    }

    #[test]
    fn the_name_before_tags_is_that_of_the_series() {
        let odd = ["a;b", "a;=x", "a;b=", "a;b=~x", ";a=b", "a;b=1;b=2", "a;b!=1", "a;", "plain"];
        let tagged = ["a;b=1", "a;b=1;c=2", "a;c=2;b=1", "a\\x;b=1", "a;b=\\x", "a;q=x=y", "é;b=ü"];
        for key in odd.into_iter().chain(tagged).map(str::as_bytes).chain([&b"a\xe9;b=1"[..]]) {
            let series = Series::from_key(key);
            let name = (!series.tags().is_empty()).then(|| series.name());
            assert_eq!(name_before_tags(key).as_deref(), name, "{series}");
        }
    }

    #[test]
    fn stray_bytes_are_written_out() {
        assert_eq!(Series::from_key(b"caf\xe9").name(), "caf\\xe9");
        assert_eq!(Series::from_key("café".as_bytes()).name(), "café");
        assert_eq!(Series::from_key(b"caf\\xe9").name(), "caf\\x5cxe9", "not the same series");
    }

    #[test]
    fn an_equals_sign_may_stand_in_a_value() {
        assert_eq!(Series::from_key(b"a;q=x=y").tag("q"), Some("x=y"));
    }
}
