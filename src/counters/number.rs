//! Numbers as clients write them, and as memcached shows them.

use std::fmt::Write;

use crate::limits;

/// The value under a key, for arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Number {
    /// A decimal number of 64 bits, that was `width` characters long.
    Is { value: u64, width: u8 },
    /// There is a value, and it is none.
    Not,
    /// There is no value.
    Nothing,
}

/// A value that is a number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Numeric {
    /// Its magnitude; finite.
    pub(super) value: f64,
    /// A form from which the same text can be printed again, if there is one.
    pub(super) exact: Option<Exact>,
}

impl Numeric {
    /// A finite double that nobody has written; a whole one is shown as such.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "it is compared with what comes of it"
    )]
    pub(super) fn of(value: f64) -> Self {
        let whole = value.clamp(0.0, 9e15) as u64;
        let is_whole = (whole as f64).to_bits() == value.to_bits();
        let exact = if is_whole { Exact::Integer(whole) } else { Exact::Float };
        Self { value, exact: Some(exact) }
    }
}

/// A form of a number that prints as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exact {
    /// Decimal digits without leading zeros, within 64 bits.
    Integer(u64),
    /// The shortest text of a double.
    Float,
}

/// Reads a value as a number: decimal, with sign, fraction and exponent if any, finite.
#[expect(clippy::cast_precision_loss, reason = "gauges are doubles")]
pub(super) fn numeric(text: &[u8]) -> Option<Numeric> {
    let first = *text.first()?;
    if text.len() > limits::NUMBER_BYTES || !(first.is_ascii_digit() || b"-.".contains(&first)) {
        return None;
    }
    if let Number::Is { value, width } = decimal(text)
        && width == decimal_width(value)
    {
        return Some(Numeric { value: value as f64, exact: Some(Exact::Integer(value)) });
    }
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok().filter(|value: &f64| value.is_finite())?;
    let mut printed = Decimal::default();
    printed.float(value);
    let exact = (printed.as_bytes() == text.as_bytes()).then_some(Exact::Float);
    Some(Numeric { value, exact })
}

/// Reads a value as memcached's arithmetic does: digits, and blanks after them.
pub(super) fn decimal(text: &[u8]) -> Number {
    let digits = text.trim_ascii_end();
    if digits.is_empty() || text.len() > limits::NUMBER_BYTES {
        return Number::Not;
    }
    let mut value: u64 = 0;
    for byte in digits {
        let next = byte.is_ascii_digit().then(|| u64::from(byte - b'0'));
        match next.and_then(|digit| value.checked_mul(10)?.checked_add(digit)) {
            Some(next) => value = next,
            None => return Number::Not,
        }
    }
    Number::Is { value, width: u8::try_from(text.len()).unwrap_or(u8::MAX) }
}

/// How many decimal digits a number has.
#[expect(clippy::cast_possible_truncation, reason = "at most 20")]
pub(super) fn decimal_width(value: u64) -> u8 {
    value.checked_ilog10().unwrap_or(0) as u8 + 1
}

/// A short text on the stack.
#[derive(Debug)]
pub(super) struct Decimal {
    bytes: [u8; limits::NUMBER_BYTES],
    len: usize,
}

impl Default for Decimal {
    fn default() -> Self {
        Self { bytes: [b' '; limits::NUMBER_BYTES], len: 0 }
    }
}

impl Decimal {
    /// Writes an integer, padded with blanks on the right to `width` characters.
    pub(super) fn integer(&mut self, value: u64, width: u8) {
        // Twenty digits always fit.
        let _ = self.write_str(itoa::Buffer::new().format(value));
        self.len = self.len.max(usize::from(width).min(self.bytes.len()));
    }

    /// Writes the shortest text of a double; nothing when it is longer than the buffer.
    pub(super) fn float(&mut self, value: f64) {
        if write!(self, "{value}").is_err() {
            self.len = 0;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Write for Decimal {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        let end = self.len + text.len();
        let room = self.bytes.get_mut(self.len..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_numbers_from_texts() {
        let exact = |text: &str| numeric(text.as_bytes()).map(|n| n.exact);
        assert_eq!(exact("0"), Some(Some(Exact::Integer(0))));
        assert_eq!(exact("18446744073709551615"), Some(Some(Exact::Integer(u64::MAX))));
        for text in ["21.5", "-3", "0.25", "-0"] {
            assert_eq!(exact(text), Some(Some(Exact::Float)), "{text}");
        }
        for text in ["007", "21.50", "1e5", "5.", "-0.0", "18446744073709551616"] {
            assert_eq!(exact(text), Some(None), "{text}");
        }
        for text in ["", "-", ".", "abc", "1a", "nan", "inf", "-inf", "1e999", " 1", "+1"] {
            assert_eq!(exact(text), None, "{text:?}");
        }
    }

    #[test]
    fn arithmetic_takes_digits_and_trailing_blanks() {
        assert_eq!(decimal(b"007"), Number::Is { value: 7, width: 3 });
        assert_eq!(decimal(b"9 "), Number::Is { value: 9, width: 2 });
        for text in [&b""[..], b" ", b"-1", b"1.0", b"18446744073709551616", b"1 2"] {
            assert_eq!(decimal(text), Number::Not);
        }
    }

    #[test]
    fn knows_the_width_of_every_power_of_ten() {
        for power in 0..20 {
            let value = 10_u64.pow(power);
            assert_eq!(usize::from(decimal_width(value)), value.to_string().len());
            assert_eq!(usize::from(decimal_width(value - 1)), (value - 1).to_string().len());
        }
    }
}
