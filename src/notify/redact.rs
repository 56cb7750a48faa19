//! Keeps secrets out of what other servers are quoted with.
//!
//! A server may well answer with what it was sent: an error page with the path in it, an error
//! text with the header it did not like. Such an answer is not shown at all, since a secret that
//! is cut out leaves a hole of its own shape.

use std::fmt;

use super::words;
use crate::config::Secret;

/// Pieces of secrets, in small letters, that a quotation may not hold.
#[derive(Default)]
pub(super) struct Redact {
    pieces: Vec<String>,
    /// A secret travels in a form that pieces do not match, such as base64: nothing is quoted.
    is_closed: bool,
}

/// Shorter pieces occur in any text by chance, and protect nothing.
const PIECE_CHARS_MIN: usize = 4;
/// A run of letters and digits this long is looked for by itself, so that a secret is found also
/// when the characters between were escaped.
const RUN_CHARS_MIN: usize = 6;
/// Characters of a server's answer that are quoted.
const QUOTE_CHARS_MAX: usize = 200;

impl Redact {
    /// Looks for this secret from now on.
    pub(super) fn add(&mut self, secret: &str) {
        let secret = secret.to_lowercase();
        let runs = secret.split(|c: char| !c.is_alphanumeric());
        self.pieces.extend(runs.filter(|run| run.len() >= RUN_CHARS_MIN).map(str::to_owned));
        if secret.len() >= PIECE_CHARS_MIN {
            self.pieces.push(secret);
        }
    }

    /// Looks for the secret parts of a URL, which are all but its origin, from now on.
    pub(super) fn add_url(&mut self, url: &reqwest::Url) {
        // The user part is sent as base64, and an escaped character may be echoed as itself.
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_escaped =
            url.path().contains('%') || url.query().is_some_and(|query| query.contains('%'));
        self.is_closed |= has_user || is_escaped;
        let parts = url.path().split('/').chain(url.query().unwrap_or("").split(['&', '=']));
        parts.for_each(|part| self.add(part));
        self.add(url.path());
    }

    /// Looks for a header's value from now on; the scheme before a token is nothing secret.
    pub(super) fn add_header(&mut self, value: &Secret) {
        let words = value.expose().split_whitespace();
        words
            .filter(|word| !matches!(*word, "Bearer" | "Basic" | "Token"))
            .for_each(|word| self.add(word));
        // The server may have taken it apart.
        self.is_closed |= value.expose().starts_with("Basic ");
    }

    /// A server's text as it may be shown: one line, bounded; `None` when there is nothing to show.
    pub(super) fn quote(&self, text: &str) -> Option<String> {
        let line = words::one_line(text);
        if line.is_empty() || self.is_closed {
            return None;
        }
        (!self.is_in(&line)).then(|| words::cut(&line, QUOTE_CHARS_MAX))
    }

    /// A cause in our own words or a library's, or `instead` where a secret happens to be in it. No
    /// server had a hand in it, so it is told also where a server is not quoted.
    pub(super) fn cause(&self, cause: String, instead: &str) -> String {
        if self.is_in(&cause) { instead.to_owned() } else { cause }
    }

    fn is_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        self.pieces.iter().any(|piece| text.contains(piece.as_str()))
    }
}

impl fmt::Debug for Redact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redact(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact() -> Redact {
        let mut redact = Redact::default();
        redact.add_url(
            &"https://example.test/services/T0/hunter2-token?key=a=sesame".parse().unwrap(),
        );
        redact.add_header(&Secret::new("Bearer ab-cd-ef-gh"));
        redact
    }

    #[test]
    fn an_answer_without_a_secret_is_quoted_on_one_bounded_line() {
        assert_eq!(redact().quote("no\r\nBearer token"), Some("no Bearer token".to_owned()));
        assert_eq!(redact().quote(&"é".repeat(1000)).unwrap().chars().count(), QUOTE_CHARS_MAX);
        assert_eq!(redact().quote(" \r\n"), None);
    }

    #[test]
    fn an_answer_that_repeats_a_secret_is_not_quoted() {
        for text in ["not here: HUNTER2-token", "hunter2\\-token", "sesame!", "header AB-CD-EF-GH"]
        {
            assert_eq!(redact().quote(text), None, "{text}");
        }
    }

    #[test]
    fn a_cause_that_holds_a_secret_is_replaced() {
        assert_eq!(redact().cause("cannot parse sesame".to_owned(), "it failed"), "it failed");
    }

    #[test]
    fn nothing_is_quoted_where_a_secret_travels_in_another_form() {
        for url in ["https://u:p@example.test/", "https://example.test/a%20b"] {
            let mut redact = Redact::default();
            redact.add_url(&url.parse().unwrap());
            assert_eq!(redact.quote("anything"), None, "{url}");
            assert_eq!(redact.cause("Connection refused".to_owned(), "-"), "Connection refused");
        }
    }
}
