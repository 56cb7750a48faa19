//! `tallyd restore`: makes a data directory of a backup, while no server works on it.
//!
//! All of the backup is read and held against its list before anything is touched. The directory is made
//! beside its place and gets its name when all of it is on the medium. What was there is never removed:
//! with `--force` it gets another name.

use std::fs::OpenOptions;
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::RestoreArgs;
use super::backup::{beside, sync_dir};
use super::config::complain;
use super::progress::Progress;
use crate::config::{self, Surroundings};
use crate::counters::lock;
use crate::disk::File;
use crate::engine::{Contents, Restore};
use crate::faces::manifest::{self, Manifest, Part};
use crate::limits;
use crate::time::Timestamp;
use crate::time::clock::{Clock, SystemClock};

/// Exit codes; `--help` lists them.
const FAILED: u8 = 1;
const WRONG: u8 = 2;

/// Restores it, and says what it did.
pub(super) fn run(args: &RestoreArgs) -> ExitCode {
    let data = match data_dir(args) {
        Ok(data) => data,
        Err(error) => {
            complain(&error);
            return ExitCode::from(WRONG);
        }
    };
    match restore(&args.dir, &data, args.force, SystemClock::new().now()) {
        Ok(text) => {
            let _ = writeln!(io::stdout(), "{text}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            let _ = writeln!(io::stderr(), "tallyd restore: {text}");
            ExitCode::from(FAILED)
        }
    }
}

fn data_dir(args: &RestoreArgs) -> Result<PathBuf, config::LoadError> {
    match (&args.data, &args.config) {
        (Some(data), _) => Ok(data.clone()),
        (None, Some(file)) => {
            let loaded = config::load(file, &Surroundings::of_process())?;
            Ok(loaded.config.server.data_dir)
        }
        (None, None) => Ok(config::Config::default().server.data_dir),
    }
}

fn restore(from: &Path, data: &Path, force: bool, now: Timestamp) -> Result<String, String> {
    let manifest = read_manifest(from)?;
    let terminal = io::stderr().is_terminal();
    let mut progress = Progress::new(terminal);
    for (at, part) in manifest.parts.iter().enumerate() {
        progress.show(at as u64, || format!("checked {at} of {} parts", manifest.parts.len()));
        read_part(from, part)?;
    }
    let _lock = claim(data, force)?;
    let new = beside(data, ".restoring")
        .ok_or_else(|| format!("{} is no name for a directory", data.display()))?;
    if new.is_dir() {
        // An earlier attempt may have been killed.
        std::fs::remove_dir_all(&new).map_err(told("remove", &new))?;
    }
    let made = make(from, &manifest, &new, now, &mut progress);
    progress.end();
    let series = match made {
        Ok(series) => series,
        Err(text) => {
            // Its name says what it is where it cannot be removed.
            let _ = std::fs::remove_dir_all(&new);
            return Err(text);
        }
    };
    let old = put_in_place(&new, data, now)?;
    let at = Timestamp::from_secs(manifest.at).rfc3339();
    let old = old.map(|old| format!("; what was there is in {}", old.display()));
    Ok(format!(
        "{}: {series} series as they were at {at}{}",
        data.display(),
        old.unwrap_or_default()
    ))
}

fn told<'a>(what: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> String + 'a {
    move |error| format!("cannot {what} {}: {error}", path.display())
}

fn read_manifest(from: &Path) -> Result<Manifest, String> {
    let path = from.join(manifest::NAME);
    let mut text = String::new();
    match OpenOptions::new().read(true).open(&path) {
        Ok(mut file) => file.read_to_string(&mut text).map_err(told("read", &path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(format!(
                "{} is no backup, or not all of one: it has no {}",
                from.display(),
                manifest::NAME
            ));
        }
        Err(error) => return Err(told("read", &path)(error)),
    };
    Manifest::read(&text).map_err(|error| format!("{}: {error}", from.display()))
}

/// A part that is as the list has it.
fn read_part(from: &Path, part: &Part) -> Result<Vec<u8>, String> {
    let path = from.join(&part.name);
    let damaged = |what: &str| format!("{} is damaged: {what}", path.display());
    let mut bytes = Vec::new();
    let file = OpenOptions::new().read(true).open(&path).map_err(told("read", &path))?;
    // One byte more tells that it is too long.
    let most = part.bytes.min(limits::BACKUP_PART_READ_BYTES) + 1;
    file.take(most).read_to_end(&mut bytes).map_err(told("read", &path))?;
    if bytes.len() as u64 != part.bytes {
        return Err(damaged("it is not as long as it was"));
    }
    if crc32fast::hash(&bytes) != part.crc32 {
        return Err(damaged("its checksum does not hold"));
    }
    Ok(bytes)
}

/// Sees to it that no server works on the directory, or begins to, and that nothing in it is lost.
fn claim(data: &Path, force: bool) -> Result<Option<File>, String> {
    let mut entries = match std::fs::read_dir(data) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(told("read", data)(error)),
    };
    if entries.next().is_none() {
        return Ok(None);
    }
    if !force {
        return Err(format!("{} is not empty; with --force it gets another name", data.display()));
    }
    lock(data).map(Some).map_err(|error| error.to_string())
}

fn make(
    from: &Path,
    manifest: &Manifest,
    new: &Path,
    now: Timestamp,
    progress: &mut Progress,
) -> Result<usize, String> {
    let failed = |error| format!("cannot make {}: {error}", new.display());
    let mut restore = Restore::begin(new, manifest.cells, now).map_err(failed)?;
    for (at, part) in manifest.parts.iter().enumerate() {
        progress.show(at as u64, || format!("put {at} of {} parts in", manifest.parts.len()));
        let bytes = read_part(from, part)?;
        let took = restore.take(&bytes);
        took.map_err(|error| format!("{}: {error}", from.join(&part.name).display()))?;
    }
    let (contents, series) = restore.finish().map_err(failed)?;
    let listed = Contents { stored: manifest.stored, live: manifest.live };
    if contents != listed {
        return Err(format!("{} does not hold what its list says", from.display()));
    }
    sync_dir(new).map_err(told("sync", new))?;
    Ok(series)
}

/// Gives the new directory its name; where the old one is then, if there was one.
fn put_in_place(new: &Path, data: &Path, now: Timestamp) -> Result<Option<PathBuf>, String> {
    let is_empty = std::fs::read_dir(data).is_ok_and(|mut entries| entries.next().is_none());
    let old = if data.symlink_metadata().is_err() || is_empty {
        None
    } else {
        let ending = format!(".before-{}", now.as_millis());
        let old = beside(data, &ending).ok_or("it has no name")?;
        std::fs::rename(data, &old).map_err(told("move", data))?;
        Some(old)
    };
    // In the place of an empty directory a rename puts another one.
    if let Err(error) = std::fs::rename(new, data) {
        if let Some(old) = &old {
            std::fs::rename(old, data).map_err(told("move back", old))?;
        }
        return Err(told("move", new)(error));
    }
    let parent = data.parent().unwrap_or(Path::new("."));
    sync_dir(parent).map_err(told("sync", parent))?;
    Ok(old)
}
