//! Files: the few calls by which everything that has to survive gets to the disk.
//!
//! They are few on purpose. At each of them the power may be lost or the disk may refuse, and the tests put
//! a disk behind them that does both at every single call (`lying`). Nothing here knows what is in a
//! file, and nothing is tried again: whoever calls knows what an error means.
//!
//! What a call promises: after [`File::write_at`] the bytes survive the end of the process; after
//! [`File::sync`] the loss of power; and that a file has a name survives that after [`sync_dir`]. What lies
//! in a mapping of the system's own file is the kernel's, page by page, until the next sync.
//!
//! A sync that fails is the end of the matter for the kernel: pages that it could not write are read as before, count as
//! clean, and are on no medium, and the next sync says that all is well. So what was written since the last sync
//! that did not fail is remembered ([`Debt`]), and the next one writes it again first.

use std::fs::OpenOptions;
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

mod debt;
#[cfg(test)]
pub(crate) mod lying;

pub use debt::Debt;

/// What is written again at once.
const PIECE_BYTES: usize = 64 * 1024;

/// What the file system of a directory has free for this process, and what it has in all, in bytes.
///
/// # Errors
/// What the system says.
pub fn room(dir: &Path) -> io::Result<(u64, u64)> {
    let found = rustix::fs::statvfs(dir)?;
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    Ok((bytes(found.f_bavail), bytes(found.f_blocks)))
}

/// An open file, for reading and writing.
#[derive(Debug)]
pub struct File {
    system: std::fs::File,
    debt: Debt,
    #[cfg(test)]
    lie: Option<lying::Lie>,
}

impl File {
    /// Opens a file that nobody else may read; it is made where there is none.
    ///
    /// # Errors
    /// What the system says.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_again(path, Debt::default())
    }

    /// The same for one that was open before, with what is owed to it since then.
    ///
    /// # Errors
    /// What the system says.
    pub fn open_again(path: &Path, debt: Debt) -> io::Result<Self> {
        #[cfg(test)]
        let lie = lying::open(path)?;
        let system = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        debt.begin(system.metadata()?.len());
        Ok(Self {
            system,
            debt,
            #[cfg(test)]
            lie,
        })
    }

    /// How long it is, in bytes.
    ///
    /// # Errors
    /// What the system says.
    pub fn bytes(&self) -> io::Result<u64> {
        Ok(self.system.metadata()?.len())
    }

    /// Fills `into` with what lies at `at`; an error where the file ends before.
    ///
    /// # Errors
    /// What the system says.
    pub fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<()> {
        self.system.read_exact_at(into, at)
    }

    /// Puts bytes at `at`. Where it fails some of them may be there.
    ///
    /// # Errors
    /// What the system says.
    pub fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.debt.write(at, bytes.len() as u64, || self.put(bytes, at))
    }

    fn put(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        #[cfg(test)]
        lying::write(self.lie.as_ref(), &self.system, bytes, at)?;
        self.system.write_all_at(bytes, at)
    }

    /// Makes it so long: cut off, or with zeros behind.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_len(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        lying::set_len(self.lie.as_ref(), bytes)?;
        self.debt.cut(bytes, || self.system.set_len(bytes))
    }

    /// Makes it at least so long, with a block on the disk for each byte.
    ///
    /// # Errors
    /// What the system says.
    pub fn allocate(&self, bytes: u64) -> io::Result<()> {
        #[cfg(test)]
        lying::set_len(self.lie.as_ref(), bytes.max(self.bytes()?))?;
        Ok(rustix::fs::fallocate(&self.system, FallocateFlags::empty(), 0, bytes)?)
    }

    /// Brings all that was written to the medium. What lies in a mapping has to be written again before it by
    /// whoever has that, where one has failed ([`owes`](Self::owes)).
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&self) -> io::Result<()> {
        self.debt.pay(|range| self.write_again(range), || self.sync_written())
    }

    /// Whether the last sync has failed.
    #[must_use]
    pub fn owes(&self) -> bool {
        self.debt.is_due()
    }

    /// Notes that every page of a mapping was written again.
    #[cfg_attr(
        not(test),
        expect(clippy::unused_self, reason = "the kernel knows; a test's disk has to be told")
    )]
    pub(crate) fn was_touched(&self) {
        #[cfg(test)]
        lying::touched(self.lie.as_ref());
    }

    /// Puts what is in a part of the file there once more, as far as the file goes.
    fn write_again(&self, range: Range<u64>) -> io::Result<()> {
        let mut piece = vec![0; PIECE_BYTES];
        let end = range.end.min(self.bytes()?);
        let mut at = range.start;
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
            let bytes = piece.get_mut(..len).unwrap_or_default();
            self.read_at(bytes, at)?;
            self.put(bytes, at)?;
            at += len as u64;
        }
        Ok(())
    }

    fn sync_written(&self) -> io::Result<()> {
        #[cfg(test)]
        if let Some(lie) = &self.lie {
            return lie.sync(&self.system);
        }
        self.system.sync_data()
    }

    /// A second handle, to sync through without holding anybody up.
    ///
    /// # Errors
    /// What the system says.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            system: self.system.try_clone()?,
            debt: self.debt.clone(),
            #[cfg(test)]
            lie: self.lie.clone(),
        })
    }

    /// The system's file, to map it.
    pub(crate) fn system(&self) -> &std::fs::File {
        &self.system
    }
}

/// Takes a file away.
///
/// # Errors
/// What the system says.
pub fn remove(path: &Path) -> io::Result<()> {
    #[cfg(test)]
    lying::remove(path)?;
    std::fs::remove_file(path)
}

/// Gives a file another name, in place of what had it.
///
/// # Errors
/// What the system says.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    #[cfg(test)]
    lying::rename(from, to)?;
    std::fs::rename(from, to)
}

/// The names in a directory, as far as they are UTF-8: others are not ours.
///
/// # Errors
/// What the system says.
pub fn names(dir: &Path) -> io::Result<Vec<String>> {
    let names = std::fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
    names.filter_map(io::Result::transpose).collect()
}

/// Brings the names in a directory to the medium.
///
/// # Errors
/// What the system says.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    #[cfg(test)]
    if lying::sync_dir(dir)? {
        return Ok(());
    }
    OpenOptions::new().read(true).open(dir)?.sync_all()
}
