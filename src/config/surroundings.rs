//! What lies outside the file: environment variables and further files.
//!
//! The one place of this layer that touches the system. Every read is bounded, because a path may
//! lead to something endless. It knows nothing of what is in a file.

use std::io::{self, Read};
use std::path::Path;

/// How a configuration reaches outside itself.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// The value of an environment variable; `None` when it is not set.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// A file's content; `None` when it is longer than the given number of bytes.
    pub file: &'a dyn Fn(&Path, u64) -> io::Result<Option<FileRead>>,
}

/// A file that was read.
#[derive(Clone, PartialEq, Eq)]
pub struct FileRead {
    /// Its content.
    pub bytes: Vec<u8>,
    /// Its permission bits, as `chmod` takes them.
    pub mode: u32,
}

impl Surroundings<'static> {
    /// Those of the running process.
    #[must_use]
    pub fn of_process() -> Self {
        Self { variable: &|name| std::env::var(name).ok(), file: &read_bounded }
    }

    /// None at all: no variable is set and no file is there.
    #[must_use]
    pub fn none() -> Self {
        Self { variable: &|_| None, file: &|_, _| Err(io::ErrorKind::NotFound.into()) }
    }
}

fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<Option<FileRead>> {
    #[expect(clippy::disallowed_methods, reason = "the one place where this layer reads files")]
    let file = std::fs::File::open(path)?;
    let mode = mode(&file.metadata()?);
    let mut bytes = Vec::new();
    // One byte more than allowed tells "just fits" from "too long".
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|len| len <= bytes_max);
    Ok(fits.then_some(FileRead { bytes, mode }))
}

#[cfg(unix)]
fn mode(metadata: &std::fs::Metadata) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    metadata.permissions().mode() & 0o7777
}

/// Elsewhere permission bits do not exist; the answer is one that nobody is warned of.
#[cfg(not(unix))]
fn mode(_: &std::fs::Metadata) -> u32 {
    0o600
}
