//! The file under the engine, in blocks of which each has a checksum.
//!
//! redb takes what it reads for what it wrote: a damaged page may make it find nothing where there was
//! something, panic, or go round in circles. So each block is held against its checksum before redb sees
//! it, and one that does not fit is handed on as zeros, which are no page of any kind: redb refuses those,
//! whoever asked gets an error, and everything else can still be read. What was found is remembered
//! ([`Damage`]). This module knows nothing of trees or transactions, but relies on two things: a
//! page that is in use is never written again, and whatever the header refers to was synced before it.
//!
//! Layout, numbers little-endian, in blocks of 4096 bytes:
//!
//! | block | what |
//! |---|---|
//! | 0 | magic (8 bytes), version (4), CRC-32 of these (4) |
//! | 1, 2 | redb's header, twice: CRC-32 of what follows (4), its number (8), the header |
//! | then | bands: a block with the checksums of the up to 1024 blocks behind it, and those |
//!
//! A header is written over one of its places, synced, and then written over the other one. So one whole
//! copy of what was synced is always there, whenever the power goes; at rest there are two of the last one, and
//! damage to either does no harm. The one with the greater number holds.
//!
//! A checksum is CRC-32 over the block's number and its bytes, so a block in another one's place is
//! noticed too. Checksums of blocks in use stay as they are while others beside them are written, so a
//! block of checksums that is torn by the loss of power says the right thing of all that is in use.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::StorageBackend;

use super::seam::StoreError;
use crate::disk::{self, Debt, File};

const BLOCK: usize = 4096;
const MAGIC: [u8; 8] = *b"tallySTO";
/// The version of the layout that this program writes.
const VERSION: u32 = 1;
/// The version of redb's own format that is known here, and where its header has it.
const REDB_VERSION: u8 = 3;
const REDB_VERSION_AT: [usize; 2] = [64, 192];
const REDB_HEADER_BYTES: usize = 320;

const REDB_MAGIC: &[u8] = b"redb\x1a\x0a\xa9\x0d\x0a";

/// Blocks before the first band.
const BEFORE: u64 = 3;
/// Blocks with checksums in one band.
const BAND: u64 = (BLOCK / 4) as u64;
/// Blocks of checksums in memory; beyond these, those that are as on the disk are dropped. They do for a
/// file of 16 GiB.
const CHECKSUMS_MAX: usize = 4096;

const SLOT_HEAD: usize = 12;

/// What was found to be damaged, as far as anybody has read.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<Option<u64>>);

impl Damage {
    /// Which block of the file was the last that did not fit its checksum, if any.
    pub(super) fn found(&self) -> Option<u64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, block: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(block);
    }
}

/// The file, as redb wants it.
pub(super) struct Blocks {
    file: File,
    state: Mutex<State>,
    damage: Arc<Damage>,
    was_torn: bool,
}

struct State {
    /// By band.
    checksums: BTreeMap<u64, Checksums>,
    header: Header,
}

struct Checksums {
    bytes: Box<[u8]>,
    is_changed: bool,
}

/// redb's header, and where it lies.
struct Header {
    bytes: Vec<u8>,
    number: u64,
    /// Which of the two places holds what was synced last.
    synced: u64,
    is_changed: bool,
}

impl Blocks {
    /// Opens the file, or makes it. What an earlier opening of it owes is on the medium then.
    pub(super) fn open(path: &Path, debt: Debt) -> Result<Self, StoreError> {
        let failed =
            |error: io::Error| StoreError::Io { path: path.to_owned(), reason: error.to_string() };
        let file = File::open_again(path, debt).map_err(failed)?;
        let bytes = file.bytes().map_err(failed)?;
        check_head(&file, bytes, path)?;
        // Whatever is here is on the medium before anything is written over.
        file.sync().map_err(failed)?;
        disk::sync_dir(path.parent().unwrap_or(Path::new("."))).map_err(failed)?;
        let (header, was_torn) = Header::read(&file, bytes, path)?;
        let state = Mutex::new(State { checksums: BTreeMap::new(), header });
        Ok(Self { file, state, damage: Arc::default(), was_torn })
    }

    /// What was found to be damaged.
    pub(super) fn damage(&self) -> Arc<Damage> {
        Arc::clone(&self.damage)
    }

    /// Whether one of the two headers is not whole, as after the loss of power in the middle of writing it,
    /// or by damage. The other one holds, but nobody knows whether it is the last.
    pub(super) fn was_torn(&self) -> bool {
        self.was_torn
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads a block; whether it is as it was written.
    fn read_block(&self, page: u64, into: &mut [u8]) -> io::Result<bool> {
        let at = block_of(page);
        let read = self.file.read_at(into, at * BLOCK as u64);
        // Where the file ends before, that is damage too.
        let is_there = match read {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => false,
            read => read.map(|()| true)?,
        };
        let expect = self.state().checksum(&self.file, page)?;
        let is_whole = is_there && expect == checksum(at, into);
        if !is_whole {
            self.damage.note(at);
        }
        Ok(is_whole)
    }
}

impl State {
    fn band(&mut self, file: &File, band: u64) -> io::Result<&mut Checksums> {
        if !self.checksums.contains_key(&band) {
            if self.checksums.len() >= CHECKSUMS_MAX {
                self.checksums.retain(|_, checksums| checksums.is_changed);
            }
            let mut bytes = vec![0; BLOCK].into_boxed_slice();
            let at = band_start(band) * BLOCK as u64;
            if at + BLOCK as u64 <= file.bytes()? {
                file.read_at(&mut bytes, at)?;
            }
            self.checksums.insert(band, Checksums { bytes, is_changed: false });
        }
        self.checksums.get_mut(&band).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn checksum(&mut self, file: &File, page: u64) -> io::Result<u32> {
        let (band, place) = place_of(page);
        let checksums = self.band(file, band)?;
        let bytes = checksums.bytes.get(place..).and_then(|bytes| bytes.first_chunk());
        Ok(bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes)))
    }

    fn note(&mut self, file: &File, page: u64, checksum: u32) -> io::Result<()> {
        let (band, place) = place_of(page);
        let checksums = self.band(file, band)?;
        if let Some(bytes) = checksums.bytes.get_mut(place..place + 4) {
            bytes.copy_from_slice(&checksum.to_le_bytes());
        }
        checksums.is_changed = true;
        Ok(())
    }
}

impl Header {
    /// The header in a file that is so long, and whether one of its places is neither whole nor empty.
    fn read(file: &File, bytes: u64, path: &Path) -> Result<(Self, bool), StoreError> {
        let failed =
            |error: io::Error| StoreError::Io { path: path.to_owned(), reason: error.to_string() };
        let mut header = Self::none();
        let mut was_torn = false;
        for place in 0..2 {
            let at = (1 + place) * BLOCK as u64;
            let mut block = vec![0; BLOCK];
            if at + BLOCK as u64 > bytes {
                break;
            }
            file.read_at(&mut block, at).map_err(failed)?;
            match whole(&block) {
                Some((number, bytes)) if number > header.number => {
                    header =
                        Self { bytes: bytes.to_vec(), number, synced: place, is_changed: false };
                }
                Some(_) => {}
                None => was_torn |= block.iter().any(|byte| *byte != 0),
            }
        }
        if header.bytes.starts_with(REDB_MAGIC) {
            header.check_version(path)?;
            return Ok((header, was_torn));
        }
        let mut checksums = vec![0; BLOCK];
        if bytes > BEFORE * BLOCK as u64 {
            file.read_at(&mut checksums, BEFORE * BLOCK as u64).map_err(failed)?;
        }
        if checksums.iter().any(|byte| *byte != 0) {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                reason: "both copies of its header are garbled".to_owned(),
            });
        }
        // redb writes its magic once all else of a new file is on the medium: the power went before, and
        // no page was written yet.
        file.set_len(BLOCK as u64).map_err(failed)?;
        Ok((Self::none(), false))
    }

    fn none() -> Self {
        Self { bytes: vec![0; BLOCK - SLOT_HEAD], number: 0, synced: 1, is_changed: false }
    }

    /// A format of redb's that is newer than the one in this program is no damage.
    fn check_version(&self, path: &Path) -> Result<(), StoreError> {
        let versions = REDB_VERSION_AT.map(|at| self.bytes.get(at).copied().unwrap_or(0));
        match versions.into_iter().max() {
            Some(found) if found > REDB_VERSION => Err(StoreError::Newer {
                path: path.to_owned(),
                found: u32::from(found),
                known: u32::from(REDB_VERSION),
            }),
            _ => Ok(()),
        }
    }

    fn write(&mut self, file: &File, bytes: &[u8], at: usize) -> io::Result<()> {
        let end = at.checked_add(bytes.len());
        let part = end.and_then(|end| self.bytes.get_mut(at..end));
        part.ok_or(io::ErrorKind::InvalidInput)?.copy_from_slice(bytes);
        self.number += 1;
        self.is_changed = true;
        self.put(file)
    }

    /// Writes it to the place that does not hold what was synced last.
    fn put(&self, file: &File) -> io::Result<()> {
        let mut block = vec![0; 4];
        block.extend_from_slice(&self.number.to_le_bytes());
        block.extend_from_slice(&self.bytes);
        let crc = crc32fast::hash(block.get(4..).unwrap_or_default());
        if let Some(field) = block.first_chunk_mut() {
            *field = crc.to_le_bytes();
        }
        file.write_at(&block, (1 + (1 - self.synced)) * BLOCK as u64)
    }
}

/// Number and bytes of a header that is as it was written.
fn whole(block: &[u8]) -> Option<(u64, &[u8])> {
    let (crc, checked) = block.split_first_chunk()?;
    let (number, header) = checked.split_first_chunk()?;
    let number = u64::from_le_bytes(*number);
    (crc32fast::hash(checked) == u32::from_le_bytes(*crc) && number > 0).then_some((number, header))
}

/// What the first block begins with.
fn head() -> [u8; 16] {
    let mut head = [0; 16];
    let parts = MAGIC.into_iter().chain(VERSION.to_le_bytes());
    head.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
    if let Some((checked, crc)) = head.split_last_chunk_mut::<4>() {
        *crc = crc32fast::hash(checked).to_le_bytes();
    }
    head
}

/// Holds the first block against what it should be; one of which there is only the beginning, and
/// nothing behind, is written.
fn check_head(file: &File, bytes: u64, path: &Path) -> Result<(), StoreError> {
    let failed =
        |error: io::Error| StoreError::Io { path: path.to_owned(), reason: error.to_string() };
    let damaged =
        |reason: &str| StoreError::Damaged { path: path.to_owned(), reason: reason.to_owned() };
    let mut found = vec![0; usize::try_from(bytes.min(BLOCK as u64)).unwrap_or(BLOCK)];
    file.read_at(&mut found, 0).map_err(failed)?;
    let written = found.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    if bytes <= BLOCK as u64 && head().starts_with(found.get(..written).unwrap_or_default()) {
        let mut block = head().to_vec();
        block.resize(BLOCK, 0);
        file.write_at(&block, 0).map_err(failed)?;
        return file.sync().map_err(failed);
    }
    match found.get(..16) {
        Some(bytes) if bytes == head() => {}
        Some(bytes) if bytes.starts_with(&MAGIC) => {
            let (checked, crc) = bytes.split_last_chunk::<4>().unwrap_or((bytes, &[0; 4]));
            let found = checked.last_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
            if crc32fast::hash(checked) == u32::from_le_bytes(*crc) && found > VERSION {
                return Err(StoreError::Newer { path: path.to_owned(), found, known: VERSION });
            }
            return Err(damaged("its first block is garbled"));
        }
        _ => return Err(damaged("it is no store of tallyd's, or its first block is garbled")),
    }
    if bytes.is_multiple_of(BLOCK as u64) { Ok(()) } else { Err(damaged("it was cut off")) }
}

/// The band of a page of redb's, and where in its block of checksums the page's is. Page 0 is the header.
fn place_of(page: u64) -> (u64, usize) {
    let at = page.saturating_sub(1);
    (at / BAND, usize::try_from(at % BAND).unwrap_or(0) * 4)
}

/// Where a band begins, in blocks.
fn band_start(band: u64) -> u64 {
    BEFORE + band * (BAND + 1)
}

/// Where a page lies, in blocks.
fn block_of(page: u64) -> u64 {
    let at = page.saturating_sub(1);
    band_start(at / BAND) + 1 + at % BAND
}

/// How many bytes from a page on lie side by side.
fn room(page: u64) -> usize {
    usize::try_from(BAND - page.saturating_sub(1) % BAND).unwrap_or(1) * BLOCK
}

/// How long the file is that holds so many pages, in blocks.
fn blocks_of(pages: u64) -> u64 {
    if pages > 1 { block_of(pages - 1) + 1 } else { BEFORE }
}

/// And back: the pages in so many blocks.
fn pages_of(blocks: u64) -> u64 {
    match blocks.checked_sub(BEFORE) {
        None => 0,
        Some(behind) => {
            let (bands, rest) = (behind / (BAND + 1), behind % (BAND + 1));
            1 + bands * BAND + rest.saturating_sub(1)
        }
    }
}

fn checksum(block: u64, bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&block.to_le_bytes());
    crc.update(bytes);
    crc.finalize()
}

/// The pages that a piece of redb's touches, which is always some whole ones.
fn pages(at: u64, len: usize) -> io::Result<u64> {
    let is_whole = at.is_multiple_of(BLOCK as u64) && len.is_multiple_of(BLOCK);
    if is_whole { Ok(at / BLOCK as u64) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

impl StorageBackend for Blocks {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(pages_of(self.file.bytes()? / BLOCK as u64) * BLOCK as u64)
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), io::Error> {
        if at < BLOCK as u64 {
            let state = self.state();
            let from = usize::try_from(at).unwrap_or(BLOCK);
            let part = state.header.bytes.get(from..).and_then(|bytes| bytes.get(..out.len()));
            out.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
            return Ok(());
        }
        let first = pages(at, out.len())?;
        let mut is_whole = true;
        for (page, block) in (first..).zip(out.chunks_mut(BLOCK)) {
            is_whole &= self.read_block(page, block)?;
        }
        if !is_whole {
            // A page goes as a whole: redb looks at its first byte only.
            out.fill(0);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let pages = len / BLOCK as u64;
        let mut state = self.state();
        self.file.set_len(blocks_of(pages) * BLOCK as u64)?;
        // What is cut off has no checksums any more.
        state.checksums.retain(|band, _| band_start(*band) < blocks_of(pages));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        for (band, checksums) in &mut self.state().checksums {
            if checksums.is_changed {
                self.file.write_at(&checksums.bytes, band_start(*band) * BLOCK as u64)?;
                checksums.is_changed = false;
            }
        }
        // Outside the lock, which readers want: it may take as long as the disk likes. Nobody writes
        // meanwhile; redb has one writer.
        self.file.sync()?;
        let header = &mut self.state().header;
        if std::mem::take(&mut header.is_changed) {
            header.synced = 1 - header.synced;
            header.put(&self.file)?;
        }
        Ok(())
    }

    fn write(&self, at: u64, data: &[u8]) -> Result<(), io::Error> {
        if at < BLOCK as u64 {
            let at = usize::try_from(at).unwrap_or(BLOCK);
            return self.state().header.write(&self.file, data, at);
        }
        let first = pages(at, data.len())?;
        for (page, block) in (first..).zip(data.chunks(BLOCK)) {
            let checksum = checksum(block_of(page), block);
            self.state().note(&self.file, page, checksum)?;
        }
        // What lies side by side goes in one piece.
        let (mut page, mut rest) = (first, data);
        while !rest.is_empty() {
            let (piece, behind) = rest.split_at(rest.len().min(room(page)));
            self.file.write_at(piece, block_of(page) * BLOCK as u64)?;
            page += (piece.len() / BLOCK) as u64;
            rest = behind;
        }
        Ok(())
    }
}

impl fmt::Debug for Blocks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocks").field("file", &self.file).finish_non_exhaustive()
    }
}

const _: () = assert!(REDB_HEADER_BYTES <= BLOCK - SLOT_HEAD, "redb's header has room in a block");
