//! A request line as words between blanks.
//!
//! Only the blank (0x20) parts words: a tab or a carriage return inside a key is part of the key,
//! as in memcached. Blanks before, between and after words do not count. It does not know what a
//! word means, but for `noreply`, which memcached finds by its place at the end of the line, also
//! where another word was due: `incr n noreply` is a bad delta that nobody is told of.

use memchr::memchr;

/// The words that are left of a line.
#[derive(Clone, Debug)]
pub(super) struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    pub(super) const fn new(line: &'a [u8]) -> Self {
        Self { rest: line }
    }

    /// What is left of the line, without the blanks around it.
    pub(super) fn rest(&self) -> &'a [u8] {
        let mut rest = self.rest;
        while let [b' ', tail @ ..] = rest {
            rest = tail;
        }
        while let [head @ .., b' '] = rest {
            rest = head;
        }
        rest
    }
}

impl<'a> Iterator for Words<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        while let [b' ', tail @ ..] = self.rest {
            self.rest = tail;
        }
        if self.rest.is_empty() {
            return None;
        }
        let end = memchr(b' ', self.rest).unwrap_or(self.rest.len());
        let (word, tail) = self.rest.split_at_checked(end)?;
        self.rest = tail;
        Some(word)
    }
}

/// Whether the last word of a line asks for silence. Case counts, as everywhere in the protocol.
pub(super) fn is_noreply(last: &[u8]) -> bool {
    last == b"noreply"
}
