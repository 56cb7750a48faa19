//! A store whose file was garbled anywhere: what is read is what was kept, or an error; and then the same once
//! something was committed to it.
//!
//! Input: for each piece that is garbled, where (3 bytes), how long (1), with what (1).

#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use libfuzzer_sys::fuzz_target;
use tallyd::config::Tier;
use tallyd::rollup::{Counts, Entry, Record, RowBuilder, SeriesId};
use tallyd::store::{Extent, Job, Keeper, RedbStore, Seal, Store};
use tallyd::time::{Span, Timestamp, Window};

const TIER: Tier = Tier { window: Span::SECOND, keep: Span::from_secs(7200) };
const SERIES: u32 = 140;

/// What a store tells: its series, and their windows.
type Told = (Vec<(u32, Vec<u8>)>, Vec<(u32, Window, Record)>);

struct Image {
    path: PathBuf,
    bytes: Vec<u8>,
    told: Told,
}

fuzz_target!(|bytes: &[u8]| {
    static IMAGE: OnceLock<Image> = OnceLock::new();
    let image = IMAGE.get_or_init(|| {
        let_redb_panic();
        Image::new()
    });
    let mut garbled = image.bytes.clone();
    for piece in bytes.chunks_exact(5) {
        let at = u32::from_le_bytes([piece[0], piece[1], piece[2], 0]) as usize % garbled.len();
        garbled[at..].iter_mut().take(piece[3].into()).for_each(|byte| *byte ^= piece[4]);
    }
    std::fs::write(&image.path, garbled).expect("room");
    if let Ok(told) = read(&image.path) {
        assert_eq!(told, image.told);
    }
    let Ok(store) = RedbStore::open(&image.path) else { return };
    if let Ok((mut keeper, left)) = Keeper::open(Arc::new(store), &[TIER]) {
        let mut series = Vec::new();
        let _ = left.each_series(|group, bytes| series.push((group, bytes.to_vec())));
        let _ = keeper.keep(&Job { series, groups: 2, ..Job::default() });
        let _ = keeper.tidy(Some(Timestamp::from_secs(700)));
    }
    if let Ok(told) = read(&image.path) {
        assert_eq!(told, image.told);
    }
});

/// Where a page is none that it writes redb may panic, which the store catches and takes for damage. Every other
/// panic ends the run, and so does one that is not caught.
fn let_redb_panic() {
    let end = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.location().is_some_and(|at| at.file().contains("/redb-")) {
            end(panic);
        }
    }));
}

impl Image {
    fn new() -> Self {
        let dir = std::env::temp_dir().join(format!("tallyd-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&dir).expect("room");
        let path = dir.join("tallyd.redb");
        let _ = std::fs::remove_file(&path);
        let store = Arc::new(RedbStore::open(&path).expect("it is new"));
        fill(Arc::clone(&store) as Arc<dyn Store>);
        let bytes = std::fs::read(&path).expect("it is there");
        drop(store);
        std::fs::write(&path, &bytes).expect("room");
        let told = read(&path).expect("it is whole");
        Self { path, bytes, told }
    }
}

fn fill(store: Arc<dyn Store>) {
    let (mut keeper, _) = Keeper::open(store, &[TIER]).expect("it is new");
    for start in (0..540).step_by(60) {
        let rows = (start..start + 60).step_by(7).map(|at| {
            let mut row = RowBuilder::default();
            for series in 0..SERIES {
                let record = Record::Counts(Counts::base(u64::from(series) + 1, 1, None));
                row.push(Entry { series: SeriesId(series), record, runs_on: false });
            }
            Arc::new(row.finish(Window::starting(Timestamp::from_secs(at), TIER.window)))
        });
        let extent = Extent { start: Timestamp::from_secs(start), slots: 60 };
        let job = Job {
            seals: vec![Seal { tier: 0, extent, rows: rows.collect() }],
            sealed: vec![Timestamp::from_secs(start + 60)],
            groups: 2,
            series: (0..2).map(|group| (group, vec![b's'; 700])).collect(),
            ..Job::default()
        };
        keeper.keep(&job).expect("room");
        while keeper.tidy(Some(Timestamp::from_secs(start + 60))).expect("room") {}
    }
}

fn read(path: &Path) -> Result<Told, String> {
    let store = RedbStore::open(path).map_err(|error| error.to_string())?;
    let opened = Keeper::open(Arc::new(store), &[TIER]).map_err(|error| error.to_string())?;
    let (keeper, left) = opened;
    let windows = keeper.windows().map_err(|error| error.to_string())?;
    let all = Window { start: Timestamp::EPOCH, end: Timestamp::from_secs(10_000) };
    let mut told = Vec::new();
    for series in (0..SERIES).step_by(9) {
        let see = |window: Window, record: &Record| told.push((series, window, record.clone()));
        windows.read(0, SeriesId(series), all, see).map_err(|error| error.to_string())?;
    }
    let mut series = Vec::new();
    let read = left.each_series(|group, bytes| series.push((group, bytes.to_vec())));
    read.map_err(|error| error.to_string())?;
    Ok((series, told))
}
