//! Finds the request line at the front of what was read, or says why there is none.
//!
//! A line ends at `\n`; one `\r` before it is not part of it. A line that is longer than it may be
//! is refused by its length alone, not by how much of it one read happened to bring: memcached
//! answers an over-long line whose end came in the same read and closes on one whose end did not,
//! which no client can rely on.

use super::Error;
use super::parse::{Limits, Step};
use memchr::{memchr, memchr2};

/// A whole line.
pub(super) struct Line<'a> {
    /// The line as far as it is read: without its end, and cut at the first NUL, where memcached's
    /// C strings end. (So `delete a\0b` deletes `a`.)
    pub(super) text: &'a [u8],
    /// What follows the line.
    pub(super) after: &'a [u8],
    /// Bytes up to and with the line end.
    pub(super) consumed: usize,
}

/// Cuts the first line off, in one pass over it.
#[inline]
pub(super) fn cut<'a>(buffer: &'a [u8], limits: &Limits) -> Result<Line<'a>, Step<'a>> {
    let found = match memchr2(b'\n', 0, buffer) {
        Some(at) if buffer.get(at) == Some(&0) => {
            let behind = buffer.get(at..).unwrap_or_default();
            memchr(b'\n', behind).map(|more| (at, at + more))
        }
        Some(at) => Some((at, at)),
        None => None,
    };
    let Some((text_end, line_end)) = found else {
        over_long(buffer, buffer.len(), limits)?;
        return Err(Step::NeedMore { at_least: buffer.len() + 1 });
    };
    if line_end > limits.line_bytes {
        over_long(buffer, line_end, limits)?;
    }
    let text = buffer.get(..text_end).unwrap_or_default();
    Ok(Line {
        text: text.strip_suffix(b"\r").filter(|_| text_end == line_end).unwrap_or(text),
        after: buffer.get(line_end + 1..).unwrap_or_default(),
        consumed: line_end + 1,
    })
}

/// Closes on a line of `bytes` or more that may not be that long. Only a retrieval may have many
/// words; anything else of that length is no memcached client, and gets no answer, as in memcached. What a
/// line is shows in as many bytes as any line may have, so it does not matter how much more was read.
#[cold]
fn over_long<'a>(buffer: &[u8], bytes: usize, limits: &Limits) -> Result<(), Step<'a>> {
    if bytes <= limits.line_bytes {
        Ok(())
    } else if !is_retrieval(buffer.get(..limits.line_bytes).unwrap_or(buffer)) {
        Err(Step::Close { error: None })
    } else if bytes > limits.get_line_bytes {
        // memcached has no bound here and would take any number of keys, so a client deserves a
        // reason before the connection goes.
        Err(Step::Close { error: Some(Error::LineTooLong) })
    } else {
        Ok(())
    }
}

/// As memcached tells: `get ` or `gets `, after at most a hundred blanks.
fn is_retrieval(line: &[u8]) -> bool {
    let blanks = line.iter().take_while(|byte| **byte == b' ').count();
    let words = line.get(blanks..).unwrap_or_default();
    blanks <= 100 && (words.starts_with(b"get ") || words.starts_with(b"gets "))
}
