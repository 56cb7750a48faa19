//! One line of Graphite's plaintext protocol: `path value instant`, with tags as `path;tag=value`.
//!
//! Source of the form: Graphite, "Feeding in your data", and carbon's `MetricLineReceiver`: three words with any
//! white space between them; an instant of -1 means now, and may have a fraction. What a key may not hold is
//! replaced: see `name`. Nothing is known of gauges, nor of the time.

use std::borrow::Cow;

use super::name::{self, decimal};
use crate::limits;
use crate::time::Timestamp;

/// A value of a series at an instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Point<'a> {
    /// The series.
    pub key: Cow<'a, [u8]>,
    /// Finite.
    pub value: f64,
    /// `None`: now.
    pub at: Option<Timestamp>,
}

/// Why a line is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// It is not three words.
    Words,
    /// The value is no finite number.
    Number,
    /// The instant is no Unix time.
    Time,
    /// The path is too long.
    Key,
}

/// Reads one line, without its line end.
///
/// # Errors
/// [`Problem`]
pub fn parse(line: &[u8]) -> Result<Point<'_>, Problem> {
    let mut words = line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    let (Some(path), Some(value), Some(at), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(Problem::Words);
    };
    let value = decimal(value).ok_or(Problem::Number)?;
    Ok(Point { key: key(path)?, value, at: instant(at)? })
}

fn key(path: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    let key = if name::is_clean(path, b"") {
        Cow::Borrowed(path)
    } else {
        let mut text = String::with_capacity(path.len());
        name::push_clean(&mut text, path, &[]);
        Cow::Owned(text.into_bytes())
    };
    if key.len() > limits::KEY_BYTES { Err(Problem::Key) } else { Ok(key) }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "far within 64 bits, and the fraction is of no use"
)]
fn instant(text: &[u8]) -> Result<Option<Timestamp>, Problem> {
    let secs = decimal(text).ok_or(Problem::Time)?;
    if secs.to_bits() == (-1.0_f64).to_bits() {
        return Ok(None);
    }
    let is_time = (0.0..1e11).contains(&secs);
    if is_time { Ok(Some(Timestamp::from_secs(secs as i64))) } else { Err(Problem::Time) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> String {
        match parse(line.as_bytes()) {
            Ok(Point { key, value, at }) => {
                let at = at.map_or("now".to_owned(), |at| at.as_secs().to_string());
                format!("{} {value} {at}", String::from_utf8_lossy(&key))
            }
            Err(problem) => format!("{problem:?}"),
        }
    }

    #[test]
    fn lines_and_what_is_none() {
        let long = "k".repeat(limits::KEY_BYTES + 1);
        for (line, expect) in [
            ("local.random.diceroll 4 1656581400", "local.random.diceroll 4 1656581400"),
            ("a 4 -1", "a 4 now"),
            ("a 4.5e3 1656581400.7", "a 4500 1656581400"),
            ("a\t-4   0", "a -4 0"),
            ("disk.used;datacenter=dc1;rack=a1 1.5 1", "disk.used;datacenter=dc1;rack=a1 1.5 1"),
            ("a\u{a0}b\u{1} 1 1", "a_b_ 1 1"),
            ("", "Words"),
            ("a 4", "Words"),
            ("a 4 1 1", "Words"),
            ("a nan 1", "Number"),
            ("a four 1", "Number"),
            ("a 4 noon", "Time"),
            ("a 4 -2", "Time"),
            ("a 4 1e12", "Time"),
            (&format!("{long} 1 1"), "Key"),
        ] {
            assert_eq!(read(line), expect, "{line}");
        }
    }
}
