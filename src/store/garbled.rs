//! Bytes of a store that are not as they were written: whatever is garbled, zeroed or cut off, what is read
//! is what was kept, or an error that names the file and what to do; never other numbers, never a panic.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{Checkpoint, Shelved};
use super::*;
use crate::rollup::row::RowBuilder;
use crate::rollup::{Counts, Entry, Record, Row, SeriesId};
use crate::time::{Timestamp, Window};

const TIER: Tier = Tier { window: Span::SECOND, keep: Span::from_secs(7200) };
const TIERS: [Tier; 2] = [TIER, Tier { window: Span::from_secs(10), keep: Span::DAY }];
const BLOCK: usize = 4096;
/// A group and a bit.
const SERIES: u32 = 140;

/// All that a store tells.
#[derive(Debug, PartialEq)]
struct Told {
    series: Vec<(u32, Vec<u8>)>,
    totals: Vec<(u32, Vec<u8>)>,
    checkpoint: Option<Checkpoint>,
    coverage: Vec<u8>,
    windows: Vec<(usize, u32, Window, Record)>,
}

fn secs(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn row(tier: usize, at: i64) -> Row {
    let mut builder = RowBuilder::default();
    for series in (0..SERIES).filter(|series| (i64::from(*series) + at) % 3 == 0) {
        let record = Record::Counts(Counts::base(u64::from(series) + 1, 2, None));
        builder.push(Entry { series: SeriesId(series), record, runs_on: false });
    }
    builder.finish(Window::starting(secs(at), TIERS[tier].window))
}

/// Puts some minutes into a store, with all that goes with them, and merges them.
fn fill(store: Arc<dyn Store>) {
    let (mut keeper, left) = Keeper::open(store, &TIERS).unwrap();
    assert!(left.is_new);
    for minute in 0..9 {
        let start = minute * 60;
        let extent = Extent { start: secs(start), slots: 60 };
        let rows = (start..start + 60).step_by(7).map(|at| Arc::new(row(0, at))).collect();
        let mut coverage = Coverage::default();
        coverage.add(Window { start: secs(0), end: secs(start + 60) });
        let open = Some(Arc::new(row(1, start)));
        let shelved = [
            Shelved { tier: TIER, since: secs(0), open: None, rows: Vec::new() },
            Shelved { tier: TIERS[1], since: secs(0), open, rows: vec![Arc::new(row(1, start))] },
        ];
        let checkpoint = Checkpoint { at: secs(start + 60), tiers: shelved.into() };
        let groups = |what: u8| (0..2).map(|group| (group, vec![what; 700])).collect::<Vec<_>>();
        let job = Job {
            seals: vec![Seal { tier: 0, extent, rows }],
            sealed: vec![secs(start + 60); 2],
            groups: 2,
            series: groups(b's'),
            totals: groups(u8::try_from(minute).unwrap())
                .into_iter()
                .map(|(group, bytes)| (group, bytes.into()))
                .collect(),
            checkpoint: Some((checkpoint, coverage)),
            facts: crate::store::Facts::default(),
        };
        keeper.keep(&job).unwrap();
        while keeper.tidy(Some(secs(start + 60))).unwrap() {}
    }
    assert!(keeper.snapshot().is_ok());
}

/// Reads all that a store tells.
fn read(path: &Path) -> Result<Told, String> {
    let store = RedbStore::open(path).map_err(|error| error.to_string())?;
    let opened = Keeper::open(Arc::new(store), &TIERS).map_err(|error| error.to_string())?;
    let (keeper, left) = opened;
    let windows = keeper.windows().map_err(|error| error.to_string())?;
    let (mut series, mut totals) = (Vec::new(), Vec::new());
    let read = left.each_series(|group, bytes| series.push((group, bytes.to_vec())));
    let read = read.and(left.each_total(|group, bytes| totals.push((group, bytes.to_vec()))));
    read.map_err(|error| error.to_string())?;
    let mut told = Told {
        series,
        totals,
        checkpoint: left.checkpoint,
        coverage: left.coverage.write(),
        windows: Vec::new(),
    };
    let all = Window { start: secs(0), end: secs(100_000) };
    for (tier, series) in (0..2).flat_map(|tier| (0..SERIES).map(move |series| (tier, series))) {
        let see = |window: Window, record: &Record| {
            told.windows.push((tier, series, window, record.clone()));
        };
        windows.read(tier, SeriesId(series), all, see).map_err(|error| error.to_string())?;
    }
    Ok(told)
}

/// A store's file, and what it tells.
struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
    bytes: Vec<u8>,
    told: Told,
}

impl Image {
    /// As its server leaves it; by kill -9, or in order.
    #[expect(clippy::disallowed_methods, reason = "a test looks into files")]
    fn new(is_killed: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tallyd.redb");
        let store = Arc::new(RedbStore::open(&path).unwrap());
        fill(Arc::clone(&store) as Arc<dyn Store>);
        let killed = std::fs::read(&path).unwrap();
        drop(store);
        let bytes = if is_killed { killed } else { std::fs::read(&path).unwrap() };
        std::fs::write(&path, &bytes).unwrap();
        let told = read(&path).unwrap();
        assert!(told.windows.len() > 3000, "{}", told.windows.len());
        assert_eq!((told.series.len(), told.totals.len()), (2, 2));
        Self { _dir: dir, path, bytes, told }
    }

    /// Reads it with other bytes; whether it told the truth, rather than say that it cannot.
    #[expect(clippy::disallowed_methods, reason = "a test garbles files")]
    fn tells(&self, bytes: &[u8], what: &str) -> bool {
        std::fs::write(&self.path, bytes).unwrap();
        match read(&self.path) {
            Ok(told) => {
                assert!(told == self.told, "{what}: other numbers");
                true
            }
            Err(error) => {
                assert!(error.contains("tallyd.redb"), "{what}: {error}");
                assert!(
                    error.contains("move it away") || error.contains("run that one"),
                    "{error}"
                );
                false
            }
        }
    }
}

/// Every so many bytes; `TALLYD_TEST_EVERY=1` takes each.
fn every(usual: usize) -> usize {
    let every = std::env::var("TALLYD_TEST_EVERY").ok().and_then(|every| every.parse().ok());
    every.map_or(usual, |every: usize| every * usual.min(8))
}

#[test]
fn a_byte_that_is_garbled_is_noticed_or_does_no_harm() {
    for is_killed in [false, true] {
        let image = Image::new(is_killed);
        let (mut noticed, mut all) = (0, 0);
        for at in (0..image.bytes.len()).step_by(every(997)) {
            let mut bytes = image.bytes.clone();
            bytes[at] ^= [0x01, 0x80, 0xff][at % 3];
            noticed += usize::from(!image.tells(&bytes, &format!("byte {at}")));
            all += 1;
        }
        // All of the first block, and of the headers where there is something.
        for at in (0..32).chain(BLOCK..BLOCK + 340).chain(2 * BLOCK..2 * BLOCK + 340).step_by(5) {
            let mut bytes = image.bytes.clone();
            bytes[at] ^= 0x10;
            image.tells(&bytes, &format!("byte {at} of the headers"));
        }
        assert!(noticed > all / 10, "{noticed} of {all} were noticed");
    }
}

#[test]
fn many_bytes_that_are_garbled_are_noticed_or_do_no_harm() {
    let image = Image::new(true);
    let mut dice = crate::disk::lying::Dice::new(7);
    for round in 0..20_000 / every(199) {
        let mut bytes = image.bytes.clone();
        for _ in 0..=dice.throw(12) {
            let (at, len) = (dice.throw(bytes.len()), 1 + dice.throw(40));
            let with = u8::try_from(dice.throw(256)).unwrap();
            bytes[at..].iter_mut().take(len).for_each(|byte| *byte = with);
        }
        image.tells(&bytes, &format!("round {round}"));
    }
}

#[test]
fn a_block_that_is_empty_or_in_the_place_of_another_is_noticed() {
    let image = Image::new(false);
    let blocks = image.bytes.len() / BLOCK;
    for at in 0..blocks {
        let mut bytes = image.bytes.clone();
        bytes[at * BLOCK..(at + 1) * BLOCK].fill(0);
        image.tells(&bytes, &format!("block {at} is empty"));
        let other = (at + 1) % blocks;
        bytes[at * BLOCK..(at + 1) * BLOCK]
            .copy_from_slice(&image.bytes[other * BLOCK..(other + 1) * BLOCK]);
        image.tells(&bytes, &format!("block {at} is {other}"));
    }
}

#[test]
fn a_file_that_was_cut_off_is_noticed() {
    for is_killed in [false, true] {
        let image = Image::new(is_killed);
        // Of nothing at all, and of a first block alone, a new store is made.
        for len in (BLOCK + 1..image.bytes.len()).step_by(every(1777)) {
            assert!(!image.tells(&image.bytes[..len], &format!("cut at {len}")));
        }
        let longer = [&image.bytes[..], &[0; 3 * BLOCK]].concat();
        image.tells(&longer, "longer");
        image.tells(&[&longer[..], b"x"].concat(), "longer by a byte");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a test garbles files")]
fn a_newer_version_is_not_called_damaged() {
    let image = Image::new(false);
    let crc = |bytes: &mut [u8], checked: std::ops::Range<usize>, at: usize| {
        let crc = crc32fast::hash(&bytes[checked]).to_le_bytes();
        bytes[at..at + 4].copy_from_slice(&crc);
    };
    // Of our layout; of redb's own format, in both copies of its header; of what we keep in it.
    let mut ours = image.bytes.clone();
    ours[8] = 2;
    crc(&mut ours, 0..12, 12);
    let mut redbs = image.bytes.clone();
    for place in [BLOCK, 2 * BLOCK] {
        redbs[place + 12 + 64] = 4;
        crc(&mut redbs, place + 4..place + BLOCK, place);
    }
    for (bytes, found, known) in [(ours, 2, 1), (redbs, 4, 3)] {
        std::fs::write(&image.path, bytes).unwrap();
        let error = read(&image.path).unwrap_err();
        let says = format!("newer tallyd (format {found}, this one knows {known}); run that one");
        assert!(error.contains(&says), "{error}");
    }
    std::fs::write(&image.path, &image.bytes).unwrap();
    let newer = vec![(b"mversion".to_vec(), 4_u32.to_le_bytes().to_vec())];
    let changes = seam::Changes { puts: newer, ..seam::Changes::default() };
    RedbStore::open(&image.path).unwrap().commit(&changes).unwrap();
    let error = read(&image.path).unwrap_err();
    assert!(error.contains("newer tallyd (format 4, this one knows 3)"), "{error}");
}
