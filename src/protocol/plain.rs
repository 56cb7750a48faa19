//! The usual form of an `incr`, read in one pass over its bytes.
//!
//! Nearly all that a counting client sends is `incr KEY DIGITS\r\n` or the same with ` noreply`. This
//! recognises just that, eight bytes at a time, and leaves every other spelling (more blanks, a sign,
//! a control byte in the key, a line that is not whole) to [`parse`](super::parse()), which reads what is
//! recognised here in the same way. So it may decline whatever it likes, and decides nothing alone.

use super::parse::Limits;

const VERB: &[u8; 5] = b"incr ";
const SILENTLY: &[u8; 10] = b" noreply\r\n";

/// Digits that cannot overflow 64 bits.
const DIGITS_MAX: usize = 19;

/// An `incr` that was recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlainIncr<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What to add.
    pub delta: u64,
    /// Whether nobody waits for the answer.
    pub noreply: bool,
    /// Bytes that are done with.
    pub consumed: usize,
}

/// Reads the `incr` at the front of `buffer`, where it is one in its usual form.
#[must_use]
#[inline]
pub fn plain_incr<'a>(buffer: &'a [u8], limits: &Limits) -> Option<PlainIncr<'a>> {
    let words = buffer.strip_prefix(VERB)?;
    let key_len = printable(words);
    let (key, rest) = words.split_at_checked(key_len)?;
    let (delta, digits) = number(rest.strip_prefix(b" ")?)?;
    let end = rest.get(1 + digits..)?;
    let (noreply, end_len) = match end {
        [b'\r', b'\n', ..] => (false, 2),
        _ if end.starts_with(SILENTLY) => (true, SILENTLY.len()),
        _ => return None,
    };
    let consumed = VERB.len() + key_len + 1 + digits + end_len;
    let fits = (1..=limits.key_bytes).contains(&key_len) && consumed <= limits.line_bytes;
    fits.then_some(PlainIncr { key, delta, noreply, consumed })
}

/// How many bytes there are before the first blank or control byte, or the end.
#[inline]
fn printable(bytes: &[u8]) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let mut at = 0;
    let (chunks, _) = bytes.as_chunks::<8>();
    for chunk in chunks {
        let word = u64::from_le_bytes(*chunk);
        // The top bit of each byte that is at most a blank. A borrow can set one too many behind the
        // first, never before it, and only the first is asked for.
        let small = word.wrapping_sub(ONES * 0x21) & !word & (ONES * 0x80);
        if small != 0 {
            return at + (small.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    let tail = bytes.get(at..).unwrap_or_default();
    at + tail.iter().position(|byte| *byte <= b' ').unwrap_or(tail.len())
}

/// The digits at the front, and how many they are.
#[inline]
fn number(text: &[u8]) -> Option<(u64, usize)> {
    let mut sum = 0_u64;
    for (at, byte) in text.iter().take(DIGITS_MAX + 1).enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (at > 0).then_some((sum, at));
        }
        sum = sum.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    None
}
