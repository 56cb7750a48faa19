//! Many keys at once: what a client has sent in one go is looked up and counted together.
//!
//! The answers are those that the same calls one after the other would give: in the order of the
//! batch, each seeing what the ones before it did.
//!
//! A look-up waits for memory three times, one wait after the other: for the key's place in the
//! table, for its bytes, and for its cell. A batch takes the guards of all its shards, then goes over
//! its keys once for each of these, so that the same wait of many keys is one. Whatever is not a
//! counter in its plain form ends the run: the guards are given back, the request takes the way that
//! it would take alone, and a new run begins behind it.

use std::hint::black_box;
use std::sync::RwLockReadGuard;

use super::cells::CellId;
use super::keys::{Entry, Hash, SHARDS, Shard};
use super::{Arithmetic, Counters, View};
use crate::series;
use crate::time::Timestamp;

/// Keys that are looked up at once. Beyond it nothing is gained: a core has no more fetches under way.
const RUN: usize = 64;

/// Fewer than this are looked up one after the other: guards of a run would cost more than they save.
const WORTH_A_RUN: usize = 4;

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

/// What is known of one key of a run.
#[derive(Clone, Copy)]
struct Sought {
    hash: Hash,
    entry: Option<Entry>,
    id: Option<CellId>,
}

const NOT_SOUGHT: Sought = Sought { hash: Hash::NONE, entry: None, id: None };

impl Counters {
    /// Adds to many counters, in the order of the batch; what each did is noted in it.
    pub fn incr_all(&self, batch: &mut [Increment<'_>], now: Timestamp) {
        let mut rest = batch;
        while !rest.is_empty() {
            let run = rest.len().min(RUN);
            let done = if run < WORTH_A_RUN { 0 } else { self.incr_run(rest, now) };
            (_, rest) = std::mem::take(&mut rest).split_at_mut(done);
            if done < run
                && let Some((first, behind)) = std::mem::take(&mut rest).split_first_mut()
            {
                first.done = self.incr(first.key, first.delta, now);
                rest = behind;
            }
        }
    }

    /// Adds to the counters that a batch begins with, as far as they are in their plain form and one
    /// run goes; how many.
    fn incr_run(&self, batch: &mut [Increment<'_>], now: Timestamp) -> usize {
        let mut run = [NOT_SOUGHT; RUN];
        let keys = batch.iter().map(|one| one.key);
        let (run, guards) = self.seek(keys, |key| !series::is_reserved(key), &mut run);
        let mut done = 0;
        for (one, sought) in batch.iter_mut().zip(run.iter()) {
            let Some(id) = sought.id else { break };
            let cell = self.cells.get(id);
            if !cell.is_plain_counter(now) {
                break;
            }
            one.done = Arithmetic::Value(self.cells.add(id, cell, one.delta));
            done += 1;
        }
        drop(guards);
        done
    }

    /// Shows the values of many keys to `see`, in their order, each with its place in `keys`; `None`
    /// for a key that shows nothing.
    pub fn get_all(
        &self,
        keys: &[&[u8]],
        now: Timestamp,
        mut see: impl FnMut(usize, Option<View<'_>>),
    ) {
        let mut at = 0;
        while let Some(key) = keys.get(at) {
            let rest = keys.get(at..).unwrap_or_default();
            let seen = self.get_run(rest, now, |behind, view| see(at + behind, view));
            at += seen;
            if seen == 0 {
                if self.get(key, now, |view| see(at, Some(view))).is_none() {
                    see(at, None);
                }
                at += 1;
            }
        }
    }

    /// Shows the values of the keys that `keys` begins with, as far as one run goes; how many.
    fn get_run(
        &self,
        keys: &[&[u8]],
        now: Timestamp,
        mut see: impl FnMut(usize, Option<View<'_>>),
    ) -> usize {
        if keys.len() < WORTH_A_RUN {
            return 0;
        }
        let mut run = [NOT_SOUGHT; RUN];
        let (run, guards) = self.seek(keys.iter().copied(), |_| true, &mut run);
        for (at, (key, sought)) in keys.iter().zip(run.iter()).enumerate() {
            if self.show(sought.id, key, now, |view| see(at, Some(view))).is_none() {
                see(at, None);
            }
        }
        drop(guards);
        run.len()
    }

    /// Finds the cells of the first keys, as far as they are `fit` to be looked up as they came and one
    /// run goes. As long as the guards are held, no key changes its cell.
    fn seek<'s, 'k>(
        &'s self,
        keys: impl Iterator<Item = &'k [u8]> + Clone,
        fit: impl Fn(&[u8]) -> bool,
        run: &'s mut [Sought; RUN],
    ) -> (&'s [Sought], Guards<'s>) {
        let mut len = 0;
        let mut shards = 0;
        for (key, sought) in keys.clone().zip(run.iter_mut()) {
            // Tags may have to be put in order first.
            if !fit(key) || memchr::memchr(b';', key).is_some() {
                break;
            }
            sought.hash = self.keys.hash(key);
            shards |= 1 << sought.hash.shard();
            len += 1;
        }
        let run = run.get_mut(..len).unwrap_or_default();
        let guards = self.guards(shards);
        self.follow(keys, run, &guards);
        (run, guards)
    }

    /// Follows hashes to places, places to keys and cells: one look at all of a run at a time.
    fn follow<'k>(
        &self,
        keys: impl Iterator<Item = &'k [u8]>,
        run: &mut [Sought],
        guards: &Guards<'_>,
    ) {
        for sought in run.iter_mut() {
            sought.entry = guards.shard(sought.hash).and_then(|shard| shard.candidate(sought.hash));
        }
        // What is loaded is of no interest yet; that it is on its way is.
        let mut near = 0;
        for sought in run.iter() {
            if let (Some(entry), Some(shard)) = (sought.entry, guards.shard(sought.hash)) {
                near ^= u64::from(shard.touch(entry)) ^ self.cells.touch(entry.id());
            }
        }
        black_box(near);
        for (key, sought) in keys.zip(run) {
            let (Some(entry), Some(shard)) = (sought.entry, guards.shard(sought.hash)) else {
                continue;
            };
            let is_it = shard.key(entry) == key;
            sought.id = if is_it { Some(entry.id()) } else { shard.get(sought.hash, key) };
        }
    }

    /// The guards of the shards in a set.
    fn guards(&self, shards: u64) -> Guards<'_> {
        let mut guards = Guards([const { None }; SHARDS]);
        let mut rest = shards;
        while rest != 0 {
            let shard = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            if let Some(guard) = guards.0.get_mut(shard) {
                *guard = Some(self.keys.read(shard));
            }
        }
        guards
    }
}

/// Read guards of some shards. They were taken in order, and nobody holds a write guard while he waits
/// for another, so nobody waits in a circle.
struct Guards<'a>([Option<RwLockReadGuard<'a, Shard>>; SHARDS]);

impl Guards<'_> {
    #[inline]
    fn shard(&self, hash: Hash) -> Option<&Shard> {
        self.0.get(hash.shard())?.as_deref()
    }
}

const _: () = assert!(SHARDS == u64::BITS as usize, "a set of shards is one word");
