//! Every error line the protocol answers with, in memcached 1.6.18's words.
//!
//! An error here is a whole reply line without its line end; clients match on these words, so they
//! change only when memcached's do. The last few have no counterpart there: they belong to bounds
//! that memcached does not have. It does not know which command failed, nor whether `noreply`
//! silences the line: that is the parser's decision.

/// A line that tells the client what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.wording())]
pub enum Error {
    /// No such command, or the wrong number of words for it.
    Unknown,
    /// A key that is too long, or a number that is none.
    BadLine,
    /// The same, for `delete`, which says how it is used.
    BadDelete,
    /// The line end after a data block is not where the length says.
    BadChunk,
    /// `incr` or `decr` by something that is not a number of 64 bits.
    BadDelta,
    /// An expiry or a delay that is not a number.
    BadExptime,
    /// `incr` or `decr` of a value that is not a number. Only the caller can know.
    NotNumeric,
    /// A value past `Limits::item_bytes`.
    TooLarge,
    /// No room for another value. Only the caller can know.
    OutOfMemory,
    /// No room for another connection. Only the caller can know.
    TooManyConnections,
    /// More keys in one retrieval than `Limits::get_keys`.
    TooManyKeys,
    /// A retrieval line past `Limits::get_line_bytes`.
    LineTooLong,
    /// A name that the server keeps for its own figures. Only the caller can know.
    Reserved,
    /// The client has to say first who it is.
    Unauthenticated,
    /// The line end after a user and a password is not where the length says.
    BadLoginEnd,
    /// A user and a password are two words, and these are not.
    BadLogin,
    /// A user or a password that nobody knows. Only the caller can know.
    LoginFailed,
    /// `flush_all` where the server was started without it. Only the caller can know.
    FlushOff,
    /// `shutdown` where it was not allowed. Only the caller can know.
    ShutdownOff,
    /// `shutdown` with a word that is not `graceful`. Only the caller can know.
    BadShutdown,
    /// The first byte is that of memcached's binary protocol.
    Binary,
}

impl Error {
    /// The line, without its line end.
    #[must_use]
    pub const fn wording(self) -> &'static str {
        match self {
            Self::Unknown => "ERROR",
            Self::BadLine => "CLIENT_ERROR bad command line format",
            Self::BadDelete => {
                "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
            }
            Self::BadChunk => "CLIENT_ERROR bad data chunk",
            Self::BadDelta => "CLIENT_ERROR invalid numeric delta argument",
            Self::BadExptime => "CLIENT_ERROR invalid exptime argument",
            Self::NotNumeric => "CLIENT_ERROR cannot increment or decrement non-numeric value",
            Self::TooLarge => "SERVER_ERROR object too large for cache",
            Self::OutOfMemory => "SERVER_ERROR out of memory storing object",
            Self::TooManyConnections => "ERROR Too many open connections",
            Self::TooManyKeys => "CLIENT_ERROR too many keys in one request",
            Self::LineTooLong => "CLIENT_ERROR line too long",
            Self::Reserved => "CLIENT_ERROR names that begin with tallyd. are reserved",
            Self::Unauthenticated => "CLIENT_ERROR unauthenticated",
            Self::BadLoginEnd => "CLIENT_ERROR bad command line termination",
            Self::BadLogin => "CLIENT_ERROR bad authentication token format",
            Self::LoginFailed => "CLIENT_ERROR authentication failure",
            Self::FlushOff => "CLIENT_ERROR flush_all not allowed",
            Self::ShutdownOff => "ERROR: shutdown not enabled",
            Self::BadShutdown => "CLIENT_ERROR invalid shutdown mode",
            Self::Binary => {
                "CLIENT_ERROR the binary protocol is not supported, use the text protocol"
            }
        }
    }
}
