//! Links in messages by which a reader does something about an incident without being known otherwise.
//!
//! Each is signed (HMAC-SHA256, the first 128 bits of it) for one purpose, one incident and one contact, until a
//! certain instant, with a key that the data directory holds. Whoever has the link may do that one thing and
//! nothing else; what is done twice is done once. It is followed by people and by programs that look
//! through their mail, so opening one changes nothing; that is held where it is answered.

use std::fmt;
use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::time::{Span, Timestamp};

/// How long a link is good for.
pub const LASTS: Span = Span::from_secs(7 * 24 * 60 * 60);

/// Bytes of the key.
pub const KEY_BYTES: usize = 32;

/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 16;

/// What a key file begins with. Another number is another form.
const FORM: &str = "tallyd links 1 ";

/// What links are signed with. It is printed as `…`.
#[derive(Clone)]
pub struct LinkKey([u8; KEY_BYTES]);

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To say that somebody looks after the incident.
    Acknowledge,
    /// To be told no more of what it is about for a while.
    Silence,
}

/// A link, before it has a signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The incident's id.
    pub incident: &'a str,
    /// Whom it was sent to.
    pub contact: &'a str,
    /// Until when it is good.
    pub until: Timestamp,
}

/// Why a link does nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// It was made by somebody else, changed, or signed with an earlier key.
    #[error("this link is not one that this server has made, or not whole")]
    Forged,
    /// Its time is over.
    #[error("this link has expired")]
    Expired,
}

impl Purpose {
    /// The path below which such links lie.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::Acknowledge => "ack",
            Self::Silence => "silence",
        }
    }
}

impl LinkKey {
    /// A key of these bytes, which have to be random.
    #[must_use]
    pub const fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The key that a file holds; `None` where it holds something else.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let bytes = unhex(text.strip_prefix(FORM)?.trim_end_matches('\n'))?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// What its file holds.
    #[must_use]
    pub fn write(&self) -> String {
        format!("{FORM}{}\n", hex(&self.0))
    }

    /// The whole link, below the address where this server is reached.
    #[must_use]
    pub fn url(&self, public_url: &str, link: &Link<'_>) -> String {
        let Link { purpose, incident, contact, until } = *link;
        let signature =
            hex(self.sign(link).finalize().into_bytes().get(..SIGNATURE_BYTES).unwrap_or(&[]));
        format!(
            "{public_url}/{}/{}?for={}&until={}&signature={signature}",
            purpose.path(),
            encoded(incident),
            encoded(contact),
            until.as_secs()
        )
    }

    /// Whether a link is good at `now`.
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, link: &Link<'_>, signature: &str, now: Timestamp) -> Result<(), Invalid> {
        let bytes = unhex(signature).filter(|bytes| bytes.len() == SIGNATURE_BYTES);
        let bytes = bytes.ok_or(Invalid::Forged)?;
        // It takes as long wherever the two differ.
        self.sign(link).verify_truncated_left(&bytes).map_err(|_| Invalid::Forged)?;
        if now > link.until { Err(Invalid::Expired) } else { Ok(()) }
    }

    fn sign(&self, link: &Link<'_>) -> Hmac<Sha256> {
        let Link { purpose, incident, contact, until } = *link;
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length is good");
        mac.update(b"tallyd link 1\0");
        // With their lengths, so that no part can pass for the beginning of the next.
        for part in [purpose.path(), incident, contact] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&until.as_secs().to_be_bytes());
        mac
    }
}

impl fmt::Debug for LinkKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LinkKey(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [a, b] => Some(digit(a)? << 4 | digit(b)?),
            _ => None,
        })
        .collect()
}

/// A text within a URL. Source: RFC 3986, unreserved characters.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => drop(write!(out, "%{byte:02X}")),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: LinkKey = LinkKey::new([7; KEY_BYTES]);

    fn link() -> Link<'static> {
        let until = Timestamp::from_secs(1_768_176_000);
        Link { purpose: Purpose::Acknowledge, incident: "i19b-2", contact: "on call", until }
    }

    fn signature(url: &str) -> &str {
        url.split_once("&signature=").unwrap().1
    }

    #[test]
    fn a_link_is_good_until_its_time_is_over() {
        let url = KEY.url("https://tallyd.example.com", &link());
        let (rest, signature) = url.split_once("&signature=").unwrap();
        assert_eq!(rest, "https://tallyd.example.com/ack/i19b-2?for=on%20call&until=1768176000");
        assert_eq!(signature.len(), 32);
        let until = link().until;
        assert_eq!(KEY.check(&link(), signature, until), Ok(()));
        let late = until + Span::SECOND;
        assert_eq!(KEY.check(&link(), signature, late), Err(Invalid::Expired));
    }

    #[test]
    fn nothing_of_it_can_be_changed() {
        let url = KEY.url("", &link());
        let good = signature(&url);
        let now = Timestamp::from_secs(0);
        let later = link().until + Span::SECOND;
        let others = [
            Link { purpose: Purpose::Silence, ..link() },
            Link { incident: "i19b-3", ..link() },
            Link { contact: "lead", ..link() },
            Link { until: later, ..link() },
            // The same bytes, cut elsewhere.
            Link { incident: "i19b-2on", contact: " call", ..link() },
        ];
        for other in others {
            assert_eq!(KEY.check(&other, good, now), Err(Invalid::Forged), "{other:?}");
        }
        for bad in ["", "00", &good[1..], &good[..31], &format!("{good}00"), &"0".repeat(32), "é"]
        {
            assert_eq!(KEY.check(&link(), bad, now), Err(Invalid::Forged), "{bad}");
        }
        let other = LinkKey::new([8; KEY_BYTES]);
        assert_eq!(other.check(&link(), good, now), Err(Invalid::Forged), "another key");
    }

    #[test]
    fn a_key_is_read_as_it_was_written_and_never_printed() {
        let text = KEY.write();
        assert_eq!(LinkKey::read(&text).unwrap().0, KEY.0);
        for bad in ["", "tallyd links 2 00", "tallyd links 1 07", &text.replace("07", "0g")] {
            assert!(LinkKey::read(bad).is_none(), "{bad}");
        }
        assert_eq!(format!("{KEY:?}"), "LinkKey(…)");
    }

    proptest! {
        #[test]
        fn any_signature_is_judged(text in "\\PC{0,40}") {
            prop_assert_eq!(KEY.check(&link(), &text, link().until), Err(Invalid::Forged));
        }
    }
}
