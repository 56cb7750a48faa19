//! What was written to a file and may be on no medium: all since the last sync that did not fail.
//!
//! It is shared by all handles of a file, and goes on to whoever opens it again in the same process. Of what an
//! earlier process wrote nothing is known until the first sync that does not fail; that one of its syncs failed
//! the next process never learns. Writing again reads from the kernel's memory, where
//! pages stay that could not be written; one that was given up there in between is as the medium has it, which
//! is what checksums are for.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Debt(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    /// Held while the file is synced: of two that wait for the same pages one alone would be told that they
    /// were not written.
    syncing: Mutex<()>,
    written: Mutex<Written>,
}

#[derive(Debug, Default)]
struct Written {
    /// Parts of the file, none of which touch, by their beginning: with the end of each.
    parts: BTreeMap<u64, u64>,
    is_due: bool,
    is_begun: bool,
}

impl Debt {
    /// Notes that a file is open that is so long. What an earlier process wrote to it may be on no medium yet
    /// either, and a sync that fails would lose it.
    pub(super) fn begin(&self, bytes: u64) {
        let mut written = self.written();
        if !written.is_begun && bytes > 0 {
            written.note(0, bytes);
        }
        written.is_begun = true;
    }

    /// Whether the last sync has failed.
    pub(super) fn is_due(&self) -> bool {
        self.written().is_due
    }

    /// Notes what is written, which no sync may fall between.
    pub(super) fn write<T>(&self, at: u64, len: u64, write: impl FnOnce() -> T) -> T {
        let mut written = self.written();
        written.note(at, at.saturating_add(len));
        write()
    }

    /// Notes that the file goes no further.
    pub(super) fn cut<T>(&self, end: u64, cut: impl FnOnce() -> T) -> T {
        let mut written = self.written();
        written.cut(end);
        cut()
    }

    /// Syncs, after writing again what has to be.
    pub(super) fn pay(
        &self,
        write_again: impl Fn(Range<u64>) -> io::Result<()>,
        sync: impl FnOnce() -> io::Result<()>,
    ) -> io::Result<()> {
        let _one = self.0.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let parts = {
            let mut written = self.written();
            if written.is_due {
                written.parts.iter().try_for_each(|(start, end)| write_again(*start..*end))?;
            }
            std::mem::take(&mut written.parts)
        };
        // Outside the lock, which writers want: it may take as long as the disk likes.
        let done = sync();
        let mut written = self.written();
        written.is_due = done.is_err();
        if done.is_err() {
            for (start, end) in parts {
                written.note(start, end);
            }
        }
        done
    }

    fn written(&self) -> MutexGuard<'_, Written> {
        self.0.written.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    fn note(&mut self, mut start: u64, mut end: u64) {
        if let Some((before, its)) = self.parts.range(..start).next_back()
            && *its >= start
        {
            (start, end) = (*before, end.max(*its));
        }
        while let Some((next, its)) = self.parts.range(start..=end).next() {
            let (next, its) = (*next, *its);
            self.parts.remove(&next);
            end = end.max(its);
        }
        self.parts.insert(start, end);
    }

    fn cut(&mut self, end: u64) {
        drop(self.parts.split_off(&end));
        if let Some(mut last) = self.parts.last_entry() {
            let kept = (*last.get()).min(end);
            last.insert(kept);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn refused() -> io::Error {
        io::Error::from_raw_os_error(5)
    }

    #[test]
    fn what_a_failed_sync_was_to_bring_is_written_again_with_what_came_since() {
        let (debt, again) = (Debt::default(), Mutex::new(Vec::new()));
        debt.begin(0);
        let write_again = |range: Range<u64>| {
            again.lock().unwrap().push(range);
            Ok(())
        };
        debt.write(0, 10, || ());
        debt.pay(write_again, || Ok(())).unwrap();
        debt.write(10, 5, || ());
        debt.pay(write_again, || Err(refused())).unwrap_err();
        assert!(debt.is_due() && again.lock().unwrap().is_empty());
        debt.clone().write(20, 5, || ());
        // While it is written again the disk refuses, and the next sync does.
        debt.pay(|_| Err(refused()), || Ok(())).unwrap_err();
        debt.pay(write_again, || Err(refused())).unwrap_err();
        debt.pay(write_again, || Ok(())).unwrap();
        assert_eq!(*again.lock().unwrap(), [10..15, 20..25, 10..15, 20..25]);
        debt.pay(write_again, || Ok(())).unwrap();
        assert_eq!(again.lock().unwrap().len(), 4);
    }

    #[test]
    fn what_was_there_before_is_written_again_until_it_was_synced() {
        let (debt, again) = (Debt::default(), Mutex::new(Vec::new()));
        let write_again = |range: Range<u64>| {
            again.lock().unwrap().push(range);
            Ok(())
        };
        debt.begin(100);
        debt.write(120, 5, || ());
        debt.pay(write_again, || Err(refused())).unwrap_err();
        debt.pay(write_again, || Ok(())).unwrap();
        debt.begin(125);
        debt.pay(write_again, || Err(refused())).unwrap_err();
        debt.pay(write_again, || Ok(())).unwrap();
        assert_eq!(*again.lock().unwrap(), [0..100, 120..125]);
    }

    proptest! {
        #[test]
        fn parts_are_the_bytes_that_were_noted(
            acts in prop::collection::vec((any::<bool>(), 0..60_u64, 1..12_u64), 0..40),
        ) {
            let (mut written, mut bytes) = (Written::default(), BTreeSet::new());
            for (is_cut, at, len) in acts {
                if is_cut && len == 1 {
                    written.cut(at);
                    bytes.retain(|byte| *byte < at);
                } else {
                    written.note(at, at + len);
                    bytes.extend(at..at + len);
                }
                let parts: Vec<_> = written.parts.iter().map(|(start, end)| *start..*end).collect();
                let all: Vec<u64> = parts.iter().cloned().flatten().collect();
                prop_assert_eq!(&all, &bytes.iter().copied().collect::<Vec<_>>());
                prop_assert!(parts.is_sorted_by(|a, b| a.end < b.start));
            }
        }
    }
}
