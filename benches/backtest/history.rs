//! The history: a CSV file of counters, a row for each series and minute.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

const SERIES: u64 = 50;
const MINUTE: u64 = 60;

/// Writes rows that end two hours ago, so that their windows are over in every tier; how many.
pub(crate) fn write(file: &Path, days: u32) -> anyhow::Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let end = now / 3600 * 3600 - 2 * 3600;
    let start = end - u64::from(days) * 86_400;
    let mut out = BufWriter::new(File::create(file)?);
    let (mut random, mut rows) = (1_u64, 0);
    writeln!(out, "time,series,value")?;
    for minute in start / MINUTE..end / MINUTE {
        // One hour in 77 is busy.
        let most = if (minute / 60).is_multiple_of(77) { 40 } else { 7 };
        for n in 0..SERIES {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            // Rare as such things are: every other minute has none.
            let count = if random & 1 == 0 { (random >> 32) % most } else { 0 };
            writeln!(out, "{},orders;host=web-{};n={n},{count}", minute * MINUTE, n % 5)?;
            rows += 1;
        }
    }
    out.flush()?;
    Ok(rows)
}
