//! What is read of a client that has to say first who it is.
//!
//! memcached's way for its text protocol (`-Y`): the client sends a `set` of any key whose value is
//! `user password`; everything else is refused. Two things differ from memcached 1.6.18 on purpose:
//! `version` and `quit` are answered, so that a check can see that something lives here, and every
//! refused line has an answer, where memcached forgets those that came in one read but for the last.
//!
//! Pure like [`parse`](super::parse()), and much narrower: an unknown client is given one short line and
//! one short data block, and no more memory than that. It does not know who may come in.

use super::service::is_http;
use super::words::Words;
use super::{Error, Limits, line, number};
use crate::limits;

/// What stands at the front of the bytes read so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login<'a> {
    /// A user and a password.
    Attempt {
        /// The first word of the value.
        user: &'a [u8],
        /// The second one; what follows is ignored, as memcached does.
        password: &'a [u8],
        /// Bytes that are done with.
        consumed: usize,
    },
    /// `version`.
    Version {
        /// Bytes that are done with.
        consumed: usize,
    },
    /// `quit`.
    Quit,
    /// Not whole yet.
    NeedMore {
        /// Bytes the buffer must hold before another try can come to anything.
        at_least: usize,
    },
    /// Anything else; it is answered, and the connection goes on.
    Refuse {
        /// The answer.
        error: Error,
        /// Bytes that are done with.
        consumed: usize,
    },
    /// The peer cannot be followed any further.
    Close {
        /// What to say first, if anything.
        error: Option<Error>,
    },
}

/// Reads the attempt at the front of `buffer`.
#[must_use]
pub fn login(buffer: &[u8]) -> Login<'_> {
    if buffer.first() == Some(&0x80) {
        return Login::Close { error: Some(Error::Binary) };
    }
    // No retrieval is long here: it would be refused.
    let narrow = Limits { get_line_bytes: limits::LINE_BYTES, ..Limits::default() };
    let line = match line::cut(buffer, &narrow) {
        Ok(line) => line,
        Err(super::Step::NeedMore { at_least }) => return Login::NeedMore { at_least },
        Err(_) => return Login::Close { error: None },
    };
    let mut words = Words::new(line.text);
    let consumed = line.consumed;
    match words.next().unwrap_or_default() {
        b"version" => Login::Version { consumed },
        b"quit" => Login::Quit,
        b"set" => {
            // Key, flags and expiry are whatever the client likes; `noreply` does not silence it.
            let length = words.nth(3).and_then(number::unsigned);
            match length.and_then(|length| usize::try_from(length).ok()) {
                Some(length) => value(buffer, consumed, length),
                None => Login::Refuse { error: Error::Unauthenticated, consumed },
            }
        }
        verb if is_http(verb, words) => Login::Close { error: None },
        _ => Login::Refuse { error: Error::Unauthenticated, consumed },
    }
}

/// The data block behind a `set`: `user password`, and a line end that is written out in full.
fn value(buffer: &[u8], line: usize, length: usize) -> Login<'_> {
    if length > limits::LOGIN_BYTES {
        return Login::Close { error: Some(Error::BadLogin) };
    }
    let consumed = line + length + 2;
    let Some(block) = buffer.get(line..consumed) else {
        return Login::NeedMore { at_least: consumed };
    };
    let Some(value) = block.strip_suffix(b"\r\n") else {
        return Login::Refuse { error: Error::BadLoginEnd, consumed };
    };
    let mut words = Words::new(value);
    match (words.next(), words.next()) {
        (Some(user), Some(password)) => Login::Attempt { user, password, consumed },
        _ => Login::Refuse { error: Error::BadLogin, consumed },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_set_of_two_words_is_an_attempt() {
        let attempt = |bytes: &'static [u8]| match login(bytes) {
            Login::Attempt { user, password, consumed } => (user, password, consumed),
            other => panic!("{other:?}"),
        };
        let plain: &[u8] = b"set foo 0 0 7\r\nfoo bar\r\nget a\r\n";
        assert_eq!(
            attempt(b"set foo 0 0 7\r\nfoo bar\r\nget a\r\n"),
            (&b"foo"[..], &b"bar"[..], 24)
        );
        assert_eq!(plain.len() - 24, b"get a\r\n".len());
        attempt(b"set foo 0 0 7 noreply\r\nfoo bar\r\n");
        attempt(b"set foo 0 0 7\nfoo bar\r\n");
        attempt(b"set foo x y 8\r\nfoo bar \r\n");
    }

    #[test]
    fn everything_else_is_refused_in_memcacheds_words() {
        let refused = |bytes: &'static [u8]| match login(bytes) {
            Login::Refuse { error, consumed } if consumed == bytes.len() => error,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(bytes)),
        };
        for bytes in [
            &b"get a\r\n"[..],
            b"\r\n",
            b"set a\r\n",
            b"set a 0 0 abc\r\n",
            b"set a 0 0 -1\r\n",
            b"add a 0 0 7\r\n",
            b"versionx\r\n",
            b"gets 0 0 7\r\n",
        ] {
            assert_eq!(refused(bytes), Error::Unauthenticated, "{bytes:?}");
        }
        assert_eq!(refused(b"set a 0 0 2\r\nhi\r\n"), Error::BadLogin);
        assert_eq!(refused(b"set a 0 0 0\r\n\r\n"), Error::BadLogin);
        assert_eq!(refused(b"set a 0 0 7\r\nfoo barXX"), Error::BadLoginEnd);
    }

    #[test]
    fn a_stranger_is_given_little_memory() {
        assert_eq!(login(b"set a 0 0 513\r\n"), Login::Close { error: Some(Error::BadLogin) });
        assert_eq!(login(&[b'g'; 4096]), Login::Close { error: None });
        assert_eq!(login(b"set a 0 0 7\r\nfoo"), Login::NeedMore { at_least: 22 });
        assert_eq!(login(b"GET / HTTP/1.1\r\n"), Login::Close { error: None });
        assert_eq!(login(b"\x80"), Login::Close { error: Some(Error::Binary) });
        assert_eq!(login(b"quit\r\n"), Login::Quit);
        assert_eq!(login(b"version\r\n"), Login::Version { consumed: 9 });
    }
}
