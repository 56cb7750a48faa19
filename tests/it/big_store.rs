//! A start after kill -9 with a store of 1 GB takes less than 2 s, and no more CPU: redb's repair does not go
//! over the whole file.
//!
//! It needs the disk's room and some time, so it is run by hand, with a release binary:
//! `cargo test --release --test it big_store -- --ignored --nocapture`.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use tallyd::store::seam::Changes;
use tallyd::store::{RedbStore, Store};

use crate::harness::{Server, eventually};

const BYTES: u64 = 1 << 30;
/// As long as a group of chunks is.
const VALUE: usize = 10 * 1024;

/// Puts values into the store beside what is there, and ends as a process that is killed does: without
/// a word.
fn grow(path: &Path) -> u64 {
    let store = RedbStore::open(path).expect("nobody else has it");
    let mut seed = 1_u64;
    let mut number = 0_u64;
    while store.bytes() < BYTES {
        let mut changes = Changes::default();
        for _ in 0..1600 {
            let value = std::iter::repeat_with(|| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33).to_le_bytes()[0]
            });
            let key = [&b"c\0\0\0\x09"[..], &number.to_be_bytes(), &[0; 6]].concat();
            changes.puts.push((key, value.take(VALUE).collect()));
            number += 1;
        }
        store.commit(&changes).expect("there is room");
    }
    let bytes = store.bytes();
    std::mem::forget(store);
    bytes
}

/// What the process has used of the processor, in milliseconds.
fn cpu_millis(server: &Server) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", server.id())).expect("it runs");
    let fields: Vec<_> = stat.rsplit(')').next().expect("a name").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<u64>().expect("a number");
    (ticks(11) + ticks(12)) * 10
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).and_then(|file| file.modified()).expect("it is there")
}

#[test]
#[ignore = "needs a gigabyte of disk and a release binary"]
fn a_start_after_kill_9_takes_no_longer_for_a_long_history() {
    let mut server = Server::start("");
    for series in 0..1000 {
        server.client().ask(&format!("incr orders;client={series} 1\r\n"));
    }
    let counted = "/api/v1/measure?series=orders&measure=sum&window=1m";
    eventually("they are in windows", || server.get(counted).1.contains(",1000]").then_some(()));
    server.kill();
    let path = server.dir().join("data/tallyd.redb");
    let bytes = grow(&path);
    for round in 0..5 {
        let began = Instant::now();
        server = server.again("", "");
        let (took, cpu) = (began.elapsed(), cpu_millis(&server));
        eprintln!("start {round} with {} MiB: {took:?}, CPU {cpu} ms", bytes >> 20);
        assert!(took < Duration::from_secs(2), "{took:?}");
        let shown = server.client().ask("get orders;client=7\r\n");
        assert!(shown.starts_with("VALUE"), "{shown}");
        // A kill with nothing to repair would show nothing: the store takes what was closed meanwhile.
        let opened = modified(&path);
        eventually("the store is written to", || (modified(&path) > opened).then_some(()));
        server.kill();
    }
}
