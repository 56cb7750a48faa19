//! What clients did, counted for `stats` and `/metrics`.
//!
//! Each worker has a tally of its own and is the only one that writes it, so counting a request is a
//! plain addition; a reader adds the tallies up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! tally {
    ($($(#[doc = $doc:literal])* $name:ident,)*) => {
        /// Plain counts, of one batch of requests or of all.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[expect(missing_docs, reason = "named as memcached's `stats` names them")]
        pub struct Counts { $($(#[doc = $doc])* pub $name: u64,)* }

        /// One worker's counts.
        #[derive(Debug, Default)]
        #[repr(align(128))]
        struct Tally { $($name: AtomicU64,)* }

        impl Tally {
            /// The owner is the only writer, so no atomic addition is needed.
            fn add(&self, counts: &Counts) {
                $(if counts.$name != 0 {
                    self.$name.store(self.$name.load(Relaxed).wrapping_add(counts.$name), Relaxed);
                })*
            }

            fn add_to(&self, sum: &mut Counts) {
                $(sum.$name = sum.$name.wrapping_add(self.$name.load(Relaxed));)*
            }
        }

        impl Counts {
            /// Every count under its name.
            pub fn each(&self, mut each: impl FnMut(&'static str, u64)) {
                $(each(stringify!($name), self.$name);)*
            }

            /// What came since `earlier`.
            #[must_use]
            pub fn since(&self, earlier: &Self) -> Self {
                Self { $($name: self.$name.wrapping_sub(earlier.$name),)* }
            }
        }
    };
}

tally! {
    cmd_get,
    cmd_set,
    cmd_flush,
    cmd_touch,
    cmd_meta,
    get_hits,
    get_misses,
    delete_misses,
    delete_hits,
    incr_misses,
    incr_hits,
    decr_misses,
    decr_hits,
    cas_misses,
    cas_hits,
    cas_badval,
    touch_hits,
    touch_misses,
    store_too_large,
    store_no_memory,
    bytes_read,
    bytes_written,
    /// Requests that were answered with an error.
    errors,
}

/// The tallies of all workers.
#[derive(Clone, Debug)]
pub struct Tallies {
    workers: Arc<[Tally]>,
}

/// The right to write one worker's tally; there is one per worker.
#[derive(Debug)]
pub struct Writer {
    workers: Arc<[Tally]>,
    at: usize,
}

impl Tallies {
    /// Tallies for `workers` workers, with the right to write each.
    #[must_use]
    pub fn new(workers: usize) -> (Self, Vec<Writer>) {
        let tallies: Arc<[Tally]> = (0..workers).map(|_| Tally::default()).collect();
        let writer = |at| Writer { workers: Arc::clone(&tallies), at };
        let writers = (0..workers).map(writer).collect();
        (Self { workers: tallies }, writers)
    }

    /// The sum over all workers.
    #[must_use]
    pub fn sum(&self) -> Counts {
        let mut sum = Counts::default();
        self.workers.iter().for_each(|tally| tally.add_to(&mut sum));
        sum
    }
}

impl Writer {
    /// Adds the counts of a batch.
    pub fn add(&self, counts: &Counts) {
        if let Some(tally) = self.workers.get(self.at) {
            tally.add(counts);
        }
    }
}
