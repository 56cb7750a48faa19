//! How far a long work is, for people: one line on a terminal that is written over, and nothing anywhere
//! else.

use std::io::{self, Write};

/// See the module.
#[derive(Debug)]
pub(super) struct Progress {
    is_terminal: bool,
    shown: Option<u64>,
}

impl Progress {
    /// Nothing shown yet.
    pub(super) fn new(is_terminal: bool) -> Self {
        Self { is_terminal, shown: None }
    }

    /// Shows a text where `mark` has changed since the last one.
    pub(super) fn show(&mut self, mark: u64, text: impl FnOnce() -> String) {
        if self.is_terminal && self.shown != Some(mark) {
            self.shown = Some(mark);
            let _ = write!(io::stderr(), "\r{}\x1b[K", text());
        }
    }

    /// Takes the line away.
    pub(super) fn end(&mut self) {
        if self.shown.take().is_some() {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
