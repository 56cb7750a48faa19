//! Numbers as memcached reads them: decimal, with the tolerance of C's `strtoull` and `strtol`.
//!
//! A number may have white space (a tab, say; a blank would have ended the word) and a sign before
//! it, any number of leading zeros, and after white space anything at all. Clients that pad numbers
//! exist, so this is kept. What is not kept is wrapping: memcached reads `-9223372036854775809` as
//! a positive delta and a length of 4294967299 as 3; here a number that does not fit is no number.

/// A number without a sign. The caller narrows it.
///
/// Nearly every number of the hot path is a few plain digits, so those are tried first.
pub(super) fn unsigned(text: &[u8]) -> Option<u64> {
    plain_digits(text).or_else(|| match tolerant(text)? {
        (false, magnitude) => Some(magnitude),
        (true, magnitude) => (magnitude == 0).then_some(0),
    })
}

/// A number that may be negative: an expiry, a delay, or a length before it is checked.
pub(super) fn signed(text: &[u8]) -> Option<i64> {
    match tolerant(text)? {
        (false, magnitude) => i64::try_from(magnitude).ok(),
        (true, magnitude) => 0_i64.checked_sub_unsigned(magnitude),
    }
}

/// At most 19 digits and nothing else: no sum of 19 digits overflows 64 bits.
fn plain_digits(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 19 {
        return None;
    }
    let mut sum = 0_u64;
    for byte in text {
        sum = sum * 10 + digit(*byte)?;
    }
    Some(sum)
}

/// Whether a minus stands before the number, and the number.
fn tolerant(text: &[u8]) -> Option<(bool, u64)> {
    let start = text.iter().position(|byte| !is_space(*byte))?;
    let (negative, digits) = match text.get(start..)? {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let count = digits.iter().position(|byte| digit(*byte).is_none()).unwrap_or(digits.len());
    let (digits, tail) = digits.split_at_checked(count)?;
    if digits.is_empty() || tail.first().is_some_and(|byte| !is_space(*byte)) {
        return None;
    }
    let magnitude = digits
        .iter()
        .try_fold(0_u64, |sum, byte| sum.checked_mul(10)?.checked_add(digit(*byte)?))?;
    Some((negative, magnitude))
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

/// C's `isspace`; `u8::is_ascii_whitespace` leaves out the vertical tab.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}
