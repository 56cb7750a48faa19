//! A disk for tests, which refuses or loses its power at any call, and then keeps what was synced and of
//! the rest whatever it likes.
//!
//! Files are real ones in a directory that was named here, so the end of a process is to drop what it
//! had. For the loss of power all that was not synced is remembered: writes, of which any may be missing
//! or torn; lengths, of which the disk has one that the file had since its sync, and loses what lies
//! behind; pages of a mapping, of which each is as it was synced or as it is; names, of which the
//! changes since the last sync of the directory came in their order and end somewhere.
//!
//! A sync may fail as the kernel's do: what it was to bring is read as before, but the loss of power takes it,
//! however often it is synced after that, unless it was written again.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const EIO: i32 = 5;
const PAGE: usize = 4096;
/// What is looked at of a mapped file, of which tests use no more.
const MAPPED: u64 = 64 * 1024;

static DISKS: Mutex<BTreeMap<PathBuf, LyingDisk>> = Mutex::new(BTreeMap::new());

/// The disk under one directory, for as long as it lives.
#[derive(Clone, Debug)]
pub(crate) struct LyingDisk(Arc<Mutex<State>>);

/// A file on such a disk.
#[derive(Clone, Debug)]
pub(crate) struct Lie {
    disk: LyingDisk,
    inode: usize,
    is_mapped: bool,
}

/// What becomes of an operation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    #[default]
    Done,
    /// The power goes in the middle of it. Nothing works from there on.
    PowerLoss,
    /// It is refused with this, and so are those after it until `until`.
    Refused(i32, u64),
    /// Of the syncs those with these numbers fail (the first and the one behind the last), and lose what they were
    /// to bring.
    LostSync(u64, u64),
}

#[derive(Debug, Default)]
struct State {
    operations: u64,
    /// When fate comes: at the operation with this number.
    at: u64,
    fate: Fate,
    syncs: u64,
    spares_syncs: bool,
    is_dead: bool,
    inodes: Vec<Inode>,
    names: HashMap<PathBuf, usize>,
    /// Names as they were when the directory was synced, and how they changed since.
    synced_names: HashMap<PathBuf, usize>,
    changes: Vec<Change>,
}

#[derive(Debug, Default)]
struct Inode {
    synced: Vec<u8>,
    pending: Vec<Write>,
    /// Of a mapped file, when it was synced.
    len: u64,
    /// What a sync has lost and nobody has written since.
    lost: Vec<Range<usize>>,
    /// Of a mapped file such pages, as they were then.
    lost_pages: BTreeMap<usize, Vec<u8>>,
}

#[derive(Debug)]
enum Write {
    Bytes(usize, Vec<u8>),
    Len(usize),
    /// A sync has lost what was written up to there.
    Lost(usize),
}

#[derive(Clone, Debug)]
enum Change {
    Made(PathBuf, usize),
    Gone(PathBuf),
    Renamed(PathBuf, PathBuf),
}

/// Chooses what survives.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d)
    }

    /// A number below `sides`.
    pub(crate) fn throw(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from((self.0 >> 16) % sides.max(1) as u64).unwrap_or(0)
    }
}

impl LyingDisk {
    /// Puts such a disk under a directory, with what is there now synced.
    pub(crate) fn under(dir: &Path) -> Self {
        let mut state = State { at: u64::MAX, ..State::default() };
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            let inode = Inode { synced: content(&path), ..Inode::default() };
            state.names.insert(path.clone(), state.inodes.len());
            state.synced_names.insert(path, state.inodes.len());
            state.inodes.push(inode);
        }
        let disk = Self(Arc::new(Mutex::new(state)));
        disks().insert(dir.to_owned(), disk.clone());
        disk
    }

    /// Takes it away again; the directory is an ordinary one then.
    pub(crate) fn leave(dir: &Path) {
        disks().remove(dir);
    }

    /// What is to come, at which operation from now on.
    pub(crate) fn meet(&self, at: u64, fate: Fate) {
        let mut state = self.state();
        (state.operations, state.syncs, state.at, state.fate) = (0, 0, at, fate);
    }

    /// Whether something is in a file that no sync will bring.
    pub(crate) fn has_lost(&self) -> bool {
        let is_whole = |inode: &Inode| inode.lost.is_empty() && inode.lost_pages.is_empty();
        !self.state().inodes.iter().all(is_whole)
    }

    /// From here on syncs are neither counted nor lost, or they are again.
    pub(crate) fn spare_syncs(&self, is_sparing: bool) {
        self.state().spares_syncs = is_sparing;
    }

    /// Syncs since it was said what is to come.
    pub(crate) fn syncs(&self) -> u64 {
        self.state().syncs
    }

    /// Operations since then.
    pub(crate) fn operations(&self) -> u64 {
        self.state().operations
    }

    /// The power comes back: everything is as the disk kept it. Nothing may be open any more.
    pub(crate) fn lose_power(&self, dice: &mut Dice) {
        let mut state = self.state();
        let kept = dice.throw(state.changes.len() + 1);
        let mut names = state.synced_names.clone();
        for change in state.changes.iter().take(kept) {
            match change {
                Change::Made(path, inode) => _ = names.insert(path.clone(), *inode),
                Change::Gone(path) => _ = names.remove(path),
                Change::Renamed(from, to) => {
                    if let Some(inode) = names.remove(from) {
                        names.insert(to.clone(), inode);
                    }
                }
            }
        }
        // What a mapping holds is in the file alone.
        let maps = state.names.iter().filter(|(path, _)| is_mapped(path));
        let mapped: HashMap<usize, (Vec<u8>, u64)> = maps
            .map(|(path, inode)| (*inode, (content(path), path.metadata().map_or(0, |m| m.len()))))
            .collect();
        for path in state.names.keys() {
            let _ = std::fs::remove_file(path);
        }
        for (path, its) in &names {
            let inode = &state.inodes[*its];
            match mapped.get(its) {
                None => put(path, &inode.survive(dice), 0),
                // Its length is that which it was given, or none.
                Some((_, len)) if inode.len == 0 && dice.throw(2) == 0 => put(path, &[], *len),
                Some((now, len)) => {
                    let len = if inode.len == 0 { *len } else { inode.len };
                    put(path, &inode.survive_mapped(now, dice), len);
                }
            }
        }
        drop(std::mem::take(&mut *state));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Counts an operation; an error where it does not come to pass.
    fn count(&mut self) -> io::Result<()> {
        if self.is_dead {
            return Err(io::Error::other("the power is gone"));
        }
        self.operations += 1;
        let at = self.operations;
        match self.fate {
            // After a sync was lost the power goes as well.
            Fate::PowerLoss | Fate::LostSync(..) if at == self.at => {
                self.is_dead = true;
                Err(io::Error::other("the power is gone"))
            }
            Fate::Refused(errno, until) if (self.at..until).contains(&at) => {
                Err(io::Error::from_raw_os_error(errno))
            }
            _ => Ok(()),
        }
    }

    /// Whether a sync loses what it was to bring.
    fn loses_sync(&mut self) -> bool {
        if self.spares_syncs {
            return false;
        }
        self.syncs += 1;
        matches!(self.fate, Fate::LostSync(first, end) if (first..end).contains(&self.syncs))
    }
}

impl Inode {
    /// What was written is on the medium, as far as no sync has lost it.
    fn settle(&mut self, system: &File, is_mapped: bool) -> io::Result<()> {
        let len = system.metadata()?.len();
        if is_mapped {
            let mut now = vec![0; usize::try_from(len.min(MAPPED)).unwrap()];
            system.read_exact_at(&mut now, 0)?;
            self.synced.resize(now.len(), 0);
            let pages = self.synced.chunks_mut(PAGE).zip(now.chunks(PAGE));
            for (at, (old, new)) in pages.enumerate() {
                // One that has changed since was written since.
                if self.lost_pages.get(&at).is_none_or(|lost| lost != new) {
                    self.lost_pages.remove(&at);
                    old.copy_from_slice(new);
                }
            }
        }
        for write in std::mem::take(&mut self.pending) {
            match write {
                _ if is_mapped => {}
                Write::Len(len) => self.synced.resize(len, 0),
                Write::Lost(end) => self.synced.resize(self.synced.len().max(end), 0),
                Write::Bytes(at, new) => {
                    let end = at + new.len();
                    self.synced.resize(self.synced.len().max(end), 0);
                    self.synced[at..end].copy_from_slice(&new);
                }
            }
        }
        self.len = len;
        Ok(())
    }

    /// What was written is in the file and will not be on the medium; of several writes some, or all.
    fn lose(&mut self, system: &File, is_mapped: bool, dice: &mut Dice) -> io::Result<()> {
        let is_all = dice.throw(2) == 0;
        for write in &mut self.pending {
            if let Write::Bytes(at, bytes) = write
                && (is_all || dice.throw(2) == 0)
            {
                let end = *at + bytes.len();
                self.lost.push(*at..end);
                *write = Write::Lost(end);
            }
        }
        if is_mapped {
            let mut now = vec![0; usize::try_from(system.metadata()?.len().min(MAPPED)).unwrap()];
            system.read_exact_at(&mut now, 0)?;
            self.synced.resize(now.len(), 0);
            self.lost.clear();
            for (at, (old, new)) in self.synced.chunks(PAGE).zip(now.chunks(PAGE)).enumerate() {
                if old != new && (is_all || dice.throw(2) == 0) {
                    self.lost_pages.insert(at, new.to_vec());
                }
            }
        }
        Ok(())
    }

    /// Of a mapping the pages as they were synced, or as they are.
    fn survive_mapped(&self, now: &[u8], dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        bytes.resize(now.len(), 0);
        for (at, (old, new)) in bytes.chunks_mut(PAGE).zip(now.chunks(PAGE)).enumerate() {
            let is_lost = self.lost_pages.get(&at).is_some_and(|lost| lost == new);
            if old != new && !is_lost && dice.throw(2) == 0 {
                old.copy_from_slice(new);
            }
        }
        bytes
    }

    fn survive(&self, dice: &mut Dice) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        let mut lengths = vec![bytes.len()];
        // Everything, nothing, or one by one.
        let mood = dice.throw(4);
        for write in &self.pending {
            let is_kept = mood == 0 || mood > 1 && dice.throw(2) == 0;
            match write {
                Write::Len(len) => {
                    bytes.resize((*len).max(bytes.len()), 0);
                    if is_kept {
                        bytes[*len..].fill(0);
                    }
                    lengths.push(*len);
                }
                Write::Lost(end) => {
                    bytes.resize((*end).max(bytes.len()), 0);
                    lengths.push((*end).max(*lengths.last().unwrap()));
                }
                Write::Bytes(at, new) => {
                    let end = at + new.len();
                    lengths.push(end.max(*lengths.last().unwrap()));
                    bytes.resize(end.max(bytes.len()), 0);
                    // Torn somewhere, as often as it is whole.
                    let torn = mood == 3 && dice.throw(2) == 0;
                    let whole = if torn { dice.throw(new.len() + 1) } else { new.len() };
                    if is_kept {
                        bytes[*at..at + whole].copy_from_slice(&new[..whole]);
                    }
                }
            }
        }
        let len = match mood {
            0 => *lengths.last().unwrap(),
            1 => lengths[0],
            _ => lengths[dice.throw(lengths.len())],
        };
        bytes.resize(len, 0);
        bytes
    }
}

impl Inode {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        for lost in &mut self.lost {
            if (at..end).contains(&lost.start) {
                lost.start = end.min(lost.end);
            } else if (at..end).contains(&(lost.end - 1)) {
                lost.end = at;
            }
        }
        self.lost.retain(|lost| !lost.is_empty());
        self.lost_pages.retain(|page, _| !(at / PAGE..end.div_ceil(PAGE)).contains(page));
        self.pending.push(Write::Bytes(at, bytes.to_vec()));
    }
}

impl Lie {
    pub(super) fn sync(&self, system: &File) -> io::Result<()> {
        let mut state = self.disk.state();
        // Where the power goes in the middle, what was to be synced may be there or not, as before.
        state.count()?;
        if state.loses_sync() {
            let dice = &mut Dice::new(state.operations);
            state.inodes[self.inode].lose(system, self.is_mapped, dice)?;
            return Err(io::Error::from_raw_os_error(EIO));
        }
        state.inodes[self.inode].settle(system, self.is_mapped)
    }
}

/// Every page of a mapping was written again.
pub(super) fn touched(lie: Option<&Lie>) {
    if let Some(Lie { disk, inode, .. }) = lie {
        disk.state().inodes[*inode].lost_pages.clear();
    }
}

pub(super) fn open(path: &Path) -> io::Result<Option<Lie>> {
    let Some(disk) = disk_of(path) else { return Ok(None) };
    let mut state = disk.state();
    let known = state.names.get(path).copied();
    let inode = if let Some(inode) = known {
        if state.is_dead {
            state.count()?;
        }
        inode
    } else {
        state.count()?;
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(path.to_owned(), inode);
        state.changes.push(Change::Made(path.to_owned(), inode));
        inode
    };
    drop(state);
    Ok(Some(Lie { disk, inode, is_mapped: is_mapped(path) }))
}

pub(super) fn write(lie: Option<&Lie>, system: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    let Some(Lie { disk, inode, .. }) = lie else { return Ok(()) };
    let mut state = disk.state();
    let was_dead = state.is_dead;
    let done = state.count();
    let offset = usize::try_from(at).unwrap();
    // One that is cut short, by the power or for want of room, has begun.
    let written = match &done {
        Ok(()) => bytes,
        Err(_) if was_dead => return done,
        Err(_) => &bytes[..bytes.len() / 2],
    };
    state.inodes[*inode].write(offset, written);
    if done.is_err() {
        system.write_all_at(written, at)?;
    }
    done
}

pub(super) fn set_len(lie: Option<&Lie>, bytes: u64) -> io::Result<()> {
    let Some(Lie { disk, inode, .. }) = lie else { return Ok(()) };
    let mut state = disk.state();
    state.count()?;
    let (inode, len) = (&mut state.inodes[*inode], usize::try_from(bytes).unwrap());
    inode.pending.push(Write::Len(len));
    inode.lost.retain(|lost| lost.start < len);
    Ok(())
}

pub(super) fn remove(path: &Path) -> io::Result<()> {
    let Some(disk) = disk_of(path) else { return Ok(()) };
    let mut state = disk.state();
    state.count()?;
    if state.names.remove(path).is_some() {
        state.changes.push(Change::Gone(path.to_owned()));
    }
    Ok(())
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let Some(disk) = disk_of(from) else { return Ok(()) };
    let mut state = disk.state();
    state.count()?;
    if let Some(inode) = state.names.remove(from) {
        state.names.insert(to.to_owned(), inode);
        state.changes.push(Change::Renamed(from.to_owned(), to.to_owned()));
    }
    Ok(())
}

pub(super) fn sync_dir(dir: &Path) -> io::Result<bool> {
    let Some(disk) = disks().get(dir).cloned() else { return Ok(false) };
    let mut state = disk.state();
    state.count()?;
    state.synced_names = state.names.clone();
    state.changes.clear();
    Ok(true)
}

fn disk_of(path: &Path) -> Option<LyingDisk> {
    disks().get(path.parent()?).cloned()
}

fn disks() -> MutexGuard<'static, BTreeMap<PathBuf, LyingDisk>> {
    DISKS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_mapped(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "map")
}

#[expect(clippy::disallowed_methods, reason = "a disk for tests")]
fn content(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    let most = if is_mapped(path) { MAPPED } else { u64::MAX };
    if let Ok(file) = File::open(path) {
        file.take(most).read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// Puts bytes there, with zeros behind up to a length.
#[expect(clippy::disallowed_methods, reason = "a disk for tests")]
fn put(path: &Path, bytes: &[u8], len: u64) {
    std::fs::write(path, bytes).unwrap();
    if len > bytes.len() as u64 {
        File::options().write(true).open(path).unwrap().set_len(len).unwrap();
    }
}
