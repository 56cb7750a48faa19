//! The atomics that cells are made of: the standard library's, or those of a model checker.
//!
//! With `--cfg tallyd_loom` (see `tests/run`) the very code of [`cells`] runs under loom, which tries
//! every order of its steps, and every value that a read may return. This module knows neither cells
//! nor what is claimed of them.
//!
//! loom takes a sequentially consistent access for an acquiring or releasing one, and would report
//! faults that are none; its fences are exact. So here a sequentially consistent read that follows a
//! sequentially consistent write of the same thread has a fence before it. Between two such pairs
//! that is what the standard promises. It is more than that in one respect: a relaxed write before
//! the pair is ordered as well. No claim may rest on that: what is weakened is to be argued, too.
//!
//! And loom overlooks that two threads meet at an atomic when one of them reads it before it changes
//! it. So here each atomic has a companion that every access changes, relaxed, first.
//!
//! [`cells`]: super::cells

#[cfg(not(tallyd_loom))]
pub(super) use std::sync::atomic::{AtomicU32, AtomicU64};

#[cfg(tallyd_loom)]
pub(super) use model::{AtomicU32, AtomicU64};

#[cfg(tallyd_loom)]
mod model {
    use std::cell::Cell;
    use std::sync::atomic::Ordering;

    use loom::sync::atomic::{self, fence};

    loom::thread_local! {
        /// Whether this thread wrote with sequential consistency since its last fence.
        static OWES_FENCE: Cell<bool> = Cell::new(false);
    }

    /// What loom is told of an access.
    fn read(order: Ordering) -> Ordering {
        if order != Ordering::SeqCst {
            return order;
        }
        if OWES_FENCE.with(Cell::take) {
            fence(Ordering::SeqCst);
        }
        Ordering::Acquire
    }

    fn change(order: Ordering) -> Ordering {
        if order != Ordering::SeqCst {
            return order;
        }
        OWES_FENCE.with(|owes| owes.set(true));
        Ordering::AcqRel
    }

    macro_rules! atomic {
        ($name:ident, $of:ty) => {
            /// As in the standard library, as far as cells need it.
            #[derive(Debug, Default)]
            pub struct $name {
                value: atomic::$name,
                companion: atomic::AtomicBool,
            }

            #[allow(dead_code, reason = "not every width needs every operation")]
            impl $name {
                pub fn new(value: $of) -> Self {
                    Self { value: atomic::$name::new(value), ..Self::default() }
                }

                pub fn load(&self, order: Ordering) -> $of {
                    let order = read(order);
                    self.meet().load(order)
                }

                pub fn store(&self, value: $of, order: Ordering) {
                    match change(order) {
                        Ordering::AcqRel => self.meet().store(value, Ordering::Release),
                        order => self.meet().store(value, order),
                    }
                }

                pub fn swap(&self, value: $of, order: Ordering) -> $of {
                    self.meet().swap(value, change(order))
                }

                pub fn fetch_add(&self, value: $of, order: Ordering) -> $of {
                    self.meet().fetch_add(value, change(order))
                }

                pub fn fetch_sub(&self, value: $of, order: Ordering) -> $of {
                    self.meet().fetch_sub(value, change(order))
                }

                pub fn fetch_or(&self, value: $of, order: Ordering) -> $of {
                    self.meet().fetch_or(value, change(order))
                }

                pub fn fetch_and(&self, value: $of, order: Ordering) -> $of {
                    self.meet().fetch_and(value, change(order))
                }

                pub fn fetch_max(&self, value: $of, order: Ordering) -> $of {
                    self.meet().fetch_max(value, change(order))
                }

                pub fn compare_exchange(
                    &self,
                    current: $of,
                    new: $of,
                    order: Ordering,
                    failure: Ordering,
                ) -> Result<$of, $of> {
                    self.meet().compare_exchange(current, new, change(order), failure)
                }

                pub fn fetch_update(
                    &self,
                    order: Ordering,
                    failure: Ordering,
                    update: impl FnMut($of) -> Option<$of>,
                ) -> Result<$of, $of> {
                    self.meet().fetch_update(change(order), failure, update)
                }

                fn meet(&self) -> &atomic::$name {
                    self.companion.swap(true, Ordering::Relaxed);
                    &self.value
                }
            }
        };
    }

    atomic!(AtomicU32, u32);
    atomic!(AtomicU64, u64);
}
