//! What cannot be merged stays, and holds nothing else up; what a commit that is told to have failed has left does
//! no harm.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use super::*;
use crate::histogram::{Gathering, Layout};
use crate::limits::CHUNK_STRING_BYTES;
use crate::rollup::{Counts, Entry, Record, RowBuilder, SeriesId, Values};
use crate::store::checkpoint::Shelved;
use crate::store::seam::MemoryStore;
use crate::time::Window;

const TIER: Tier = Tier { window: Span::SECOND, keep: Span::from_secs(7200) };
/// More than one commit's worth, so that something of a target lies there when it is left.
const GROUPS: u32 = SLICE + 3;

fn extent(secs: i64, slots: u16) -> Extent {
    Extent { start: Timestamp::from_secs(secs), slots }
}

/// A group with one series, whose only window has a string that long.
fn group(string_bytes: usize) -> Vec<u8> {
    let values = Values { sum: 1.0, count: 1, min: 1.0, max: 1.0, last: 1.0 };
    let (mut chunk, mut group) = (Vec::new(), Vec::new());
    let string = vec![7; string_bytes];
    codec::encode_with_strings(60, &[(5, Record::Values(values))], &[&string], &mut chunk).unwrap();
    let mut builder = GroupBuilder::new();
    builder.push(0, &chunk);
    builder.finish(&mut group);
    group
}

#[test]
fn what_cannot_become_one_stays_and_holds_nothing_else_up() {
    let store = Arc::new(MemoryStore::default());
    let (mut keeper, _) = Keeper::open(Arc::clone(&store) as Arc<dyn Store>, &[TIER]).unwrap();
    let mut changes = Changes::default();
    // Three stretches of eight: too long together, damaged, and as it should be.
    for secs in (0..1440).step_by(60) {
        let short = extent(secs, 60);
        keeper.extents[0].push(short);
        for at in 0..GROUPS {
            let bytes = match (secs / 480, at) {
                (0, 66) => group(CHUNK_STRING_BYTES / 7),
                (1, 66) => b"damaged".to_vec(),
                _ => group(1),
            };
            changes.puts.push((short.key(&TIER, at), bytes));
        }
    }
    store.commit(&changes).unwrap();
    (keeper.groups, keeper.sealed) = (GROUPS, vec![Timestamp::from_secs(1440)]);

    let now = Timestamp::from_secs(1440);
    let mut errors = Vec::new();
    loop {
        match keeper.tidy(Some(now)) {
            Ok(false) => break,
            Ok(true) => {}
            Err(error) => errors.push(error.to_string()),
        }
    }
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("damaged"), "{errors:?}");
    assert_eq!(keeper.unmergeable(), 2);
    let mut expect: Vec<_> = (0..960).step_by(60).map(|secs| extent(secs, 60)).collect();
    expect.push(extent(960, 480));
    assert_eq!(keeper.extents[0], expect);

    let count = |extent: Extent| {
        let mut count = 0;
        let mut see = |_: &[u8], _: &[u8]| {
            count += 1;
            true
        };
        store.snapshot().unwrap().scan(&extent.prefix(&TIER), &mut see).unwrap();
        count
    };
    for (secs, slots, groups) in [(0, 480, 0), (480, 480, 0), (960, 480, GROUPS), (0, 60, GROUPS)] {
        assert_eq!(count(extent(secs, slots)), groups, "{slots} from {secs}");
    }

    // Once they are too old there is nothing to remember.
    while keeper.tidy(Some(Timestamp::from_secs(1440 + 7200))).unwrap() {}
    assert_eq!((keeper.unmergeable(), keeper.extents[0].len()), (0, 0));
}

/// A series whose histograms are too long for one chunk, beside one that is not: nothing of either is missing.
#[test]
fn histograms_that_are_too_long_for_a_chunk_lie_in_several() {
    const RANGES: u32 = 400_000;
    let mut gathering = Gathering::new(Layout::new(5, 1.0, 3.6e6).unwrap());
    (1..=RANGES).for_each(|value| _ = gathering.record(f64::from(value)));
    let (spread, one) = (Arc::new(gathering.finish()), 1.0);
    let of = |count: u64| Values { sum: one, count, min: one, max: one, last: one };
    let mut rows = Vec::new();
    for at in 0..60 {
        let mut row = RowBuilder::default();
        let small = Record::Values(of(1));
        let long = Record::Distribution(of(spread.count()), Arc::clone(&spread));
        for (series, record) in [(0, small), (7, long)] {
            row.push(Entry { series: SeriesId(series), record, runs_on: false });
        }
        rows.push(Arc::new(row.finish(Window::starting(Timestamp::from_secs(at), TIER.window))));
    }
    assert!(rows[0].memory() * rows.len() > 2 * CHUNK_STRING_BYTES, "{}", rows[0].memory());

    let store = Arc::new(MemoryStore::default());
    let (mut keeper, _) = Keeper::open(Arc::clone(&store) as Arc<dyn Store>, &[TIER]).unwrap();
    let until = Timestamp::from_secs(60);
    let seals = vec![Seal { tier: 0, extent: extent(0, 60), rows }];
    let job = Job { seals, sealed: vec![until], groups: 1, ..Job::default() };
    keeper.keep(&job).unwrap();
    // Once more, as after a commit that was not seen to come through.
    keeper.keep(&job).unwrap();
    assert!(keeper.extents[0].len() > 2, "{:?}", keeper.extents);
    let starts = keeper.extents[0].iter().map(|extent| extent.start).collect::<Vec<_>>();
    assert!(starts.is_sorted_by(|a, b| a < b), "{starts:?}");

    let windows = keeper.windows().unwrap();
    let all = Window { start: Timestamp::EPOCH, end: until };
    let (mut small, mut long) = (0, 0);
    windows.read(0, SeriesId(0), all, |_, _| small += 1).unwrap();
    let see = |_: Window, record: &Record| {
        let Record::Distribution(_, its) = record else { panic!("its histogram is missing") };
        assert!(*its == spread);
        long += 1;
    };
    windows.read(0, SeriesId(7), all, see).unwrap();
    assert_eq!((small, long), (60, 60));
    assert!(!keeper.tidy(Some(until)).unwrap(), "there is nothing to merge yet");
}

/// A store whose commits are made, and told to have failed: as in a file that could not be opened anew at once,
/// and can be later.
#[derive(Debug, Default)]
struct Unheard(MemoryStore, AtomicBool);

impl Store for Unheard {
    fn snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.0.snapshot()
    }

    fn commit_made(&self, make: &dyn Fn(&mut dyn Put)) -> Result<(), StoreError> {
        self.0.commit_made(make)?;
        if self.1.load(Relaxed) {
            return Err(StoreError::Io { path: self.path(), reason: "as was asked".to_owned() });
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.0.bytes()
    }

    fn path(&self) -> PathBuf {
        self.0.path()
    }
}

/// A checkpoint with one row, in which these series were counted.
fn checkpoint(at: i64, series: &[u32]) -> Job {
    let mut row = RowBuilder::default();
    for series in series {
        let record = Record::Counts(Counts::base(3, 1, None));
        row.push(Entry { series: SeriesId(*series), record, runs_on: false });
    }
    let row = row.finish(Window::starting(Timestamp::from_secs(at - 1), TIER.window));
    let since = Timestamp::EPOCH;
    let shelved = Shelved { tier: TIER, since, open: None, rows: vec![Arc::new(row)] };
    let checkpoint = Checkpoint { at: Timestamp::from_secs(at), tiers: vec![shelved] };
    Job { checkpoint: Some((checkpoint, Coverage::default())), ..Job::default() }
}

#[test]
fn a_checkpoint_that_was_told_to_have_failed_leaves_nothing_to_the_next() {
    let store = Arc::new(Unheard::default());
    let open = || Keeper::open(Arc::clone(&store) as Arc<dyn Store>, &[TIER]).unwrap();
    let (mut keeper, _) = open();
    keeper.keep(&checkpoint(300, &[1])).unwrap();
    store.1.store(true, Relaxed);
    keeper.keep(&checkpoint(600, &[1, 130, 700])).unwrap_err();
    store.1.store(false, Relaxed);
    let next = checkpoint(900, &[2, 131]);
    // What a backup would have, and what a start finds.
    let copy = MemoryStore::default();
    let each = &mut |key: &[u8], value: &[u8]| {
        copy.commit_made(&|put| put.put(key, value)).unwrap();
        true
    };
    keeper.copy(&next).unwrap().each(each).unwrap();
    let (_, copied) = Keeper::open(Arc::new(copy), &[TIER]).unwrap();
    keeper.keep(&next).unwrap();
    let (_, left) = open();
    let expect = next.checkpoint.map(|(checkpoint, _)| checkpoint);
    assert_eq!(copied.checkpoint, expect);
    assert_eq!(left.checkpoint, expect);
}
