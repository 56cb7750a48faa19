//! A client that has not said yet who it is: what it may ask, and how it comes in.

use std::sync::atomic::Ordering::Relaxed;

use super::gather::Rest;
use super::{End, VERSION, Worker};
use crate::engine::tally::Counts;
use crate::protocol::{Error, Login, Reply, login};

impl Worker {
    /// Answers one request of a client that has not said yet who it is: how many bytes are done with,
    /// or why it does not go on.
    pub(super) fn greet(
        &self,
        bytes: &[u8],
        rest: &mut Rest,
        counts: &mut Counts,
        out: &mut Vec<u8>,
    ) -> Result<usize, Option<End>> {
        let refused = match login(bytes) {
            Login::Attempt { user, password, consumed } => {
                let is_admitted = self.shared.access.admits(user, password);
                self.shared.status.logins.fetch_add(1, Relaxed);
                if is_admitted {
                    rest.is_stranger = false;
                    Reply::Stored.write_to(out);
                    return Ok(consumed);
                }
                self.shared.status.failed_logins.fetch_add(1, Relaxed);
                (Error::LoginFailed, consumed)
            }
            Login::Version { consumed } => {
                Reply::Version(VERSION).write_to(out);
                return Ok(consumed);
            }
            Login::Refuse { error, consumed } => (error, consumed),
            Login::Quit => return Err(Some(End::Closed)),
            Login::NeedMore { at_least } => {
                rest.wanted = at_least;
                return Err(None);
            }
            Login::Close { error } => {
                counts.errors += 1;
                if let Some(error) = error {
                    Reply::Error(error).write_to(out);
                }
                return Err(Some(End::Refused));
            }
        };
        counts.errors += 1;
        Reply::Error(refused.0).write_to(out);
        Ok(refused.1)
    }
}
