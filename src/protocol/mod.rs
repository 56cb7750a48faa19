//! The memcached text protocol, as memcached 1.6.18 speaks it: bytes → [`Request`], [`Reply`] →
//! bytes. Beside it, and apart from it, lie lines of StatsD and Graphite, to which nothing is answered (`statsd`,
//! `graphite`), and the packets of NRPE ([`nrpe`]).
//!
//! What always holds: a request borrows from the bytes it was read from, and nothing here allocates
//! but the reply buffer that the caller owns. The same bytes give the same requests wherever they
//! were cut between reads. No input panics, and none makes the caller wait for more than it may
//! hold: [`Limits`] bounds every line and every data block.
//!
//! It refuses to know sockets (the caller reads and writes), counters (whether a key exists, what
//! `incr` means), and time (an expiry is the number the client sent).
//!
//! A group of commands is one file: `retrieve`, `store`, `arithmetic`, `delete`, `touch`, `flush`,
//! `meta`, `service`, `admin`. Another command is a line in [`parse`](parse())'s dispatch, a function in its group's
//! file and a variant of [`Request`].

mod admin;
mod arithmetic;
mod base64;
mod delete;
mod error;
mod flush;
pub mod graphite;
mod line;
mod login;
mod meta;
mod meta_reply;
mod name;
pub mod nrpe;
mod number;
mod parse;
mod plain;
mod reply;
mod request;
mod retrieve;
mod service;
pub mod statsd;
mod store;
mod touch;
mod words;

#[cfg(test)]
mod tests;

pub use error::Error;
pub use login::{Login, login};
pub use meta::{ArithmeticMode, MetaFlag, MetaFlags, MetaKey, MetaKeyRoom, StoreMode};
pub use meta_reply::{MetaReply, MetaStatus, meta_debug};
pub use parse::{Limits, Step, parse};
pub use plain::{PlainIncr, plain_incr};
pub use reply::Reply;
pub use request::{Request, ShutdownMode, StoreVerb};
pub use retrieve::{Keys, KeysLeft};
