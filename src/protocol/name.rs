//! What a name or a tag that came in another protocol is called here.
//!
//! memcached's keys hold no blanks and no control characters, and Graphite's tags have characters of their
//! own. Whatever a text may not hold becomes `_`, and so does every byte that is no UTF-8: one way for all.

use std::collections::BTreeMap;

use crate::limits;

/// Tags by their names; of two of one name the last holds.
pub(super) type Tags = BTreeMap<String, String>;

/// Appends a text with `_` for all that may not be in a key, and for what is in `not`.
pub(super) fn push_clean(out: &mut String, bytes: &[u8], not: &[char]) {
    let is_bad = |c: char| c.is_whitespace() || c.is_control() || not.contains(&c);
    for chunk in bytes.utf8_chunks() {
        out.extend(chunk.valid().chars().map(|c| if is_bad(c) { '_' } else { c }));
        out.extend(chunk.invalid().iter().map(|_| '_'));
    }
}

/// Whether a text holds nothing that [`push_clean`] would replace, and nothing of `not`: plain ASCII.
pub(super) fn is_clean(bytes: &[u8], not: &[u8]) -> bool {
    bytes.iter().all(|byte| byte.is_ascii_graphic() && !not.contains(byte))
}

/// Adds a tag; one without a name or a value is none.
pub(super) fn add_tag(tags: &mut Tags, name: &[u8], value: &[u8]) {
    let (mut clean_name, mut clean_value) = (String::new(), String::new());
    push_clean(&mut clean_name, name, &[';', '!', '^', '=']);
    push_clean(&mut clean_value, value, &[';']);
    // In Graphite a value does not begin with `~`.
    if clean_value.starts_with('~') {
        clean_value.replace_range(..1, "_");
    }
    if !clean_name.is_empty() && !clean_value.is_empty() {
        tags.insert(clean_name, clean_value);
    }
}

/// The key of a name and its tags, which are in order; `None` where it is too long, empty, or has too many.
pub(super) fn key(name: &[u8], tags: &Tags) -> Option<Vec<u8>> {
    let mut key = String::with_capacity(name.len());
    push_clean(&mut key, name, &[';']);
    let is_named = !key.is_empty();
    for (name, value) in tags {
        key.extend([";", name, "=", value]);
    }
    let fits = key.len() <= limits::KEY_BYTES && tags.len() <= limits::SERIES_TAGS;
    (is_named && fits).then(|| key.into_bytes())
}

/// A decimal number, finite: with sign, fraction and exponent if any.
pub(super) fn decimal(text: &[u8]) -> Option<f64> {
    let is_part = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    if text.len() > limits::NUMBER_BYTES || !text.iter().all(is_part) {
        return None;
    }
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

/// What stands before the first of that byte, and what behind it.
pub(super) fn cut(bytes: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let place = memchr::memchr(at, bytes)?;
    Some((bytes.get(..place)?, bytes.get(place + 1..)?))
}
