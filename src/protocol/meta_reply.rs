//! How the answer to a meta command is written: a code, then what the flags ask for in the order in
//! which they asked, then the value if there is one.
//!
//! It writes words and knows nothing of which flag asks for what.

use super::base64;
use super::reply::decimal;

/// The code of an answer without a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaStatus {
    /// `HD`: done.
    Done,
    /// `EN`: `mg` and `me` found nothing.
    End,
    /// `NF`: there is no such key.
    NotFound,
    /// `NS`: the condition to store did not hold.
    NotStored,
    /// `EX`: the unique number is another.
    Exists,
}

/// An answer that is being written.
#[derive(Debug)]
#[must_use = "an answer ends with `end`"]
pub struct MetaReply<'o, 'v> {
    out: &'o mut Vec<u8>,
    value: Option<&'v [u8]>,
}

impl<'o, 'v> MetaReply<'o, 'v> {
    /// Begins an answer without a value.
    pub fn status(status: MetaStatus, out: &'o mut Vec<u8>) -> Self {
        out.extend_from_slice(match status {
            MetaStatus::Done => b"HD",
            MetaStatus::End => b"EN",
            MetaStatus::NotFound => b"NF",
            MetaStatus::NotStored => b"NS",
            MetaStatus::Exists => b"EX",
        });
        Self { out, value: None }
    }

    /// Begins an answer about something that is there: `VA` with its value, `HD` where none is given.
    pub fn found(value: Option<&'v [u8]>, out: &'o mut Vec<u8>) -> Self {
        let Some(bytes) = value else { return Self::status(MetaStatus::Done, out) };
        out.extend_from_slice(b"VA ");
        decimal(out, bytes.len());
        Self { out, value }
    }

    /// A flag with a number behind it.
    pub fn number(&mut self, flag: u8, number: u64) {
        self.sign(flag);
        decimal(self.out, number);
    }

    /// A flag with the seconds that are left behind it; -1 where there is no end.
    pub fn time_left(&mut self, flag: u8, secs: Option<u64>) {
        self.sign(flag);
        match secs {
            Some(secs) => decimal(self.out, secs),
            None => self.out.extend_from_slice(b"-1"),
        }
    }

    /// A flag on its own.
    pub fn sign(&mut self, flag: u8) {
        self.out.extend_from_slice(&[b' ', flag]);
    }

    /// The opaque token, as it came.
    pub fn opaque(&mut self, token: &[u8]) {
        self.sign(b'O');
        self.out.extend_from_slice(token);
    }

    /// The key, in base64 if it is kept so.
    pub fn key(&mut self, key: &[u8], is_base64: bool) {
        self.sign(b'k');
        if is_base64 {
            base64::encode(key, self.out);
            self.sign(b'b');
        } else {
            self.out.extend_from_slice(key);
        }
    }

    /// Ends the answer, with its value if it has one.
    pub fn end(self) {
        self.out.extend_from_slice(b"\r\n");
        if let Some(value) = self.value {
            self.out.extend_from_slice(value);
            self.out.extend_from_slice(b"\r\n");
        }
    }
}

/// Appends the line that `me` answers with for a key that is there; `facts` are words between blanks.
pub fn meta_debug(key: &[u8], is_base64: bool, facts: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ME ");
    if is_base64 {
        base64::encode(key, out);
    } else {
        out.extend_from_slice(key);
    }
    out.push(b' ');
    out.extend_from_slice(facts.as_bytes());
    out.extend_from_slice(b"\r\n");
}
