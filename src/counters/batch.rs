//! Many keys at once: what a client has sent in one go is looked up and counted together.
//!
//! The answers are those that the same calls one after the other would give: in the order of the
//! batch, each seeing what the ones before it did.

use super::{Arithmetic, Counters, View};
use crate::time::Timestamp;

/// One increment of a batch.
#[derive(Clone, Copy, Debug)]
pub struct Increment<'a> {
    /// The key.
    pub key: &'a [u8],
    /// How much.
    pub delta: u64,
    /// What it did, once the batch is done.
    pub done: Arithmetic,
}

impl<'a> Increment<'a> {
    /// One that is still to be done.
    #[must_use]
    pub const fn new(key: &'a [u8], delta: u64) -> Self {
        Self { key, delta, done: Arithmetic::NotFound }
    }
}

impl Counters {
    /// Adds to many counters, in the order of the batch; what each did is noted in it.
    pub fn incr_all(&self, batch: &mut [Increment<'_>], now: Timestamp) {
        for one in batch {
            one.done = self.incr(one.key, one.delta, now);
        }
    }

    /// Shows the values of many keys to `see`, in their order, each with its place in `keys`; `None`
    /// for a key that shows nothing.
    pub fn get_all(
        &self,
        keys: &[&[u8]],
        now: Timestamp,
        mut see: impl FnMut(usize, Option<View<'_>>),
    ) {
        for (at, key) in keys.iter().enumerate() {
            if self.get(key, now, |view| see(at, Some(view))).is_none() {
                see(at, None);
            }
        }
    }
}
