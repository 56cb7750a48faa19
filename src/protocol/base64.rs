//! Base64 as memcached reads and writes it: the standard alphabet with `=` at the end.
//!
//! Reading follows memcached 1.6.18 to the letter, since the same text has to lead to the same key:
//! bytes outside the alphabet are passed over, what is left must be groups of four, and whatever
//! stands behind a group with `=` is not looked at.

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Decodes `text` into `room`; how many bytes it came to. `None` when it is not base64, when nothing
/// would be left, or when `room` is too small.
pub(super) fn decode(text: &[u8], room: &mut [u8]) -> Option<usize> {
    let digits = || text.iter().filter_map(|byte| digit(*byte));
    let count = digits().count();
    // memcached asks for room for whole groups, padding included, which any text has for itself.
    if count == 0 || count % 4 != 0 {
        return None;
    }
    let mut digits = digits();
    let mut len = 0;
    while let (Some(a), Some(b), Some(c), Some(d)) =
        (digits.next(), digits.next(), digits.next(), digits.next())
    {
        let padding = [a, b, c, d].iter().filter(|digit| digit.is_none()).count();
        let bits = [a, b, c, d]
            .iter()
            .fold(0_u32, |bits, digit| bits << 6 | u32::from(digit.unwrap_or_default()));
        let [_, bytes @ ..] = bits.to_be_bytes();
        let kept = 3_usize.checked_sub(padding).filter(|kept| *kept > 0)?;
        room.get_mut(len..len + kept)?.copy_from_slice(bytes.get(..kept)?);
        len += kept;
        if padding > 0 {
            break;
        }
    }
    Some(len)
}

/// The six bits of a letter; `Some(None)` for padding, `None` for a byte outside the alphabet.
#[expect(clippy::option_option, reason = "a byte is a digit, padding, or neither")]
fn digit(byte: u8) -> Option<Option<u8>> {
    match byte {
        b'A'..=b'Z' => Some(Some(byte - b'A')),
        b'a'..=b'z' => Some(Some(byte - b'a' + 26)),
        b'0'..=b'9' => Some(Some(byte - b'0' + 52)),
        b'+' => Some(Some(62)),
        b'/' => Some(Some(63)),
        b'=' => Some(None),
        _ => None,
    }
}

/// Appends `bytes` as base64.
pub(super) fn encode(bytes: &[u8], out: &mut Vec<u8>) {
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for (at, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let letter = ALPHABET.get((bits >> shift & 63) as usize).copied().unwrap_or(b'=');
            out.push(if at <= group.len() { letter } else { b'=' });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expect: Option<&[u8]>) {
        let mut room = [0; 250];
        let got = decode(text.as_bytes(), &mut room).map(|len| &room[..len]);
        assert_eq!(got, expect, "{text}");
    }

    #[test]
    fn reads_what_memcached_reads() {
        check("Zm9v", Some(b"foo"));
        check("Zm9vYg==", Some(b"foob"));
        check("Zm9vYmE=", Some(b"fooba"));
        check("/+8=", Some(b"\xff\xef"));
        check("Z%m9%v", Some(b"foo"));
        check("Zg==Zm9v", Some(b"f"));
        for bad in ["", "%%", "Zm9", "Zm9v=", "Z===", "====", "Zm9vZ==="] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(bytes in prop::collection::vec(any::<u8>(), 1..187)) {
            let mut text = Vec::new();
            encode(&bytes, &mut text);
            let mut room = [0; 250];
            let len = decode(&text, &mut room);
            prop_assert_eq!(len.map(|len| &room[..len]), Some(&*bytes));
        }
    }
}
