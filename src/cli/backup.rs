//! `tallyd backup`: fetches all that a running server knows into a directory.
//!
//! It is written beside the directory's place, under another name, and gets its own once all of it is
//! there, is what the server's list says, and is on the medium: half a backup is never taken for one.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use super::server;
use super::{BackupArgs, progress::Progress};
use crate::faces::manifest::{self, Manifest, Part};
use crate::faces::tar::{self, Piece};
use crate::time::Timestamp;

/// Exit codes; `--help` lists them.
const FAILED: u8 = 1;
const NO_SERVER: u8 = 3;

/// Longest list of parts that is taken, in bytes: each takes some hundred.
const MANIFEST_BYTES: u64 = 4 * 1024 * 1024 * 1024;

/// Why there is no backup.
enum Failure {
    /// The server, or the way to it.
    Server(String),
    /// Something here.
    Here(String),
}

impl From<tar::Garbled> for Failure {
    fn from(garbled: tar::Garbled) -> Self {
        Self::Server(garbled.to_string())
    }
}

/// Fetches it, and says what it is.
pub(super) fn run(args: &BackupArgs) -> ExitCode {
    let (code, text) = match fetch(args) {
        Ok(text) => {
            let _ = writeln!(io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(Failure::Server(text)) => (NO_SERVER, text),
        Err(Failure::Here(text)) => (FAILED, text),
    };
    let _ = writeln!(io::stderr(), "tallyd backup: {text}");
    ExitCode::from(code)
}

fn fetch(args: &BackupArgs) -> Result<String, Failure> {
    let path = ["api", "v1", "backup"];
    let (url, name) =
        server::url_of(&args.server.server, &args.server.papers, &path).map_err(Failure::Server)?;
    let dir = &args.dir;
    if dir.symlink_metadata().is_ok() {
        let text = format!("{} is there already; a backup overwrites nothing", dir.display());
        return Err(Failure::Here(text));
    }
    let beside = beside(dir, ".tmp")
        .ok_or_else(|| Failure::Here(format!("{} is no name for a directory", dir.display())))?;
    let mut writing = Writing::begin(&beside)?;
    let timeout = Duration::from_secs(args.server.timeout);
    let done = server::stream(url, &name, timeout, |bytes| writing.take(bytes))
        .map_err(Failure::Server)
        .and_then(|done| done)
        .and_then(|()| writing.finish(dir));
    if done.is_err() {
        // What is there of it is good for nothing; where it cannot be removed its name says so.
        let _ = std::fs::remove_dir_all(&beside);
    }
    done
}

/// The path with something behind its name.
pub(super) fn beside(path: &Path, ending: &str) -> Option<PathBuf> {
    let mut name = path.file_name()?.to_owned();
    name.push(ending);
    Some(path.with_file_name(name))
}

/// Brings what a directory lists to the medium.
pub(super) fn sync_dir(dir: &Path) -> io::Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    OpenOptions::new().read(true).open(dir)?.sync_all()
}

/// The files as they come in.
struct Writing {
    dir: PathBuf,
    reader: tar::Reader,
    file: Option<Open>,
    parts: Vec<Part>,
    manifest: Option<String>,
    progress: Progress,
    bytes: u64,
}

/// The file that is being written.
struct Open {
    name: String,
    path: PathBuf,
    file: File,
    bytes: u64,
    crc: crc32fast::Hasher,
    /// The bytes of the list, which is read as well.
    text: Option<Vec<u8>>,
}

fn here(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Here(format!("cannot write {}: {error}", path.display()))
}

impl Writing {
    fn begin(dir: &Path) -> Result<Self, Failure> {
        // An earlier attempt may have been killed.
        if dir.is_dir() {
            std::fs::remove_dir_all(dir).map_err(here(dir))?;
        }
        DirBuilder::new().mode(0o700).create(dir).map_err(here(dir))?;
        Ok(Self {
            dir: dir.to_owned(),
            reader: tar::Reader::default(),
            file: None,
            parts: Vec::new(),
            manifest: None,
            progress: Progress::new(io::stderr().is_terminal()),
            bytes: 0,
        })
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.bytes += bytes.len() as u64;
        let mebibytes = self.bytes >> 20;
        self.progress.show(mebibytes, || format!("{mebibytes} MiB"));
        let mut reader = std::mem::take(&mut self.reader);
        let took = reader.take(bytes, |piece| match piece {
            Piece::Begin(entry) => self.open(entry),
            Piece::Bytes(bytes) => self.write(bytes),
            Piece::End => self.close(),
        });
        self.reader = reader;
        took
    }

    fn open(&mut self, tar::Entry { name, bytes }: tar::Entry) -> Result<(), Failure> {
        let is_manifest = name == manifest::NAME;
        let is_next = name == manifest::part_name(self.parts.len());
        if self.manifest.is_some() || !(is_next || is_manifest && bytes < MANIFEST_BYTES) {
            return Err(tar::Garbled.into());
        }
        let path = self.dir.join(&name);
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(here(&path))?;
        let (crc, text) = (crc32fast::Hasher::new(), is_manifest.then(Vec::new));
        self.file = Some(Open { name, path, file, bytes: 0, crc, text });
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(open) = &mut self.file else { return Ok(()) };
        open.file.write_all(bytes).map_err(here(&open.path))?;
        open.bytes += bytes.len() as u64;
        open.crc.update(bytes);
        if let Some(text) = &mut open.text {
            text.extend_from_slice(bytes);
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(Open { name, path, file, bytes, crc, text }) = self.file.take() else {
            return Ok(());
        };
        file.sync_data().map_err(here(&path))?;
        match text {
            Some(text) => self.manifest = Some(String::from_utf8_lossy(&text).into_owned()),
            None => self.parts.push(Part { name, bytes, crc32: crc.finalize() }),
        }
        Ok(())
    }

    /// Holds what came against the list, and gives the directory its name.
    fn finish(mut self, dir: &Path) -> Result<String, Failure> {
        self.progress.end();
        let broken = || {
            let text = "the answer ended before the backup did; the server's log may tell why";
            Failure::Server(text.to_owned())
        };
        let text = self.manifest.filter(|_| self.reader.is_over()).ok_or_else(broken)?;
        let manifest = Manifest::read(&text).map_err(Failure::Server)?;
        if manifest.parts != self.parts {
            return Err(Failure::Server("what came is not what was sent".to_owned()));
        }
        sync_dir(&self.dir).map_err(here(&self.dir))?;
        std::fs::rename(&self.dir, dir).map_err(here(dir))?;
        let parent = dir.parent().unwrap_or(Path::new("."));
        sync_dir(parent).map_err(here(parent))?;
        let at = Timestamp::from_secs(manifest.at).rfc3339();
        let (dir, parts, mebibytes) = (dir.display(), manifest.parts.len(), self.bytes >> 20);
        Ok(format!("{dir}: as it was at {at}; {mebibytes} MiB in {parts} parts"))
    }
}
