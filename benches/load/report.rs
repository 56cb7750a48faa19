//! The table: valid Markdown, and readable as it is in a hundred columns.

use std::fmt::Write;
use std::fs;

use crate::client::Round;
use crate::servers;

pub(crate) const LEGEND: &str = "\
One op is one request. xN: N requests in one write on one connection, the next when all are
answered; cN: the same on each of N connections at once; noreply: incr without reply, confirmed by a
`version` every 10 000; get: 100 keys a request; zipf: skewed by s = 0.99, all else uniform. Keys
are 35 bytes long. p50, p99, p99.9: microseconds from writing a batch to having read its whole
reply. CPU: microseconds of the server process per op, median and range over the rounds; share: of
memcached's. echo answers without counting; all other totals were read back and are exact.";

const HEAD: [&str; 8] =
    ["workload", "server", "kop/s", "p50", "p99", "p99.9", "CPU µs/op", "share"];

/// One workload on one server, over all rounds.
pub(crate) struct Row {
    workload: String,
    server: &'static str,
    ops_per_sec: f64,
    /// Microseconds at [`QUANTILES`]; nothing without replies.
    latency: [Option<f64>; 3],
    cpu: Spread,
}

const QUANTILES: [f64; 3] = [0.5, 0.99, 0.999];

/// CPU microseconds per op.
struct Spread {
    min: f64,
    median: f64,
    max: f64,
}

impl Row {
    pub(crate) fn new(workload: String, server: &'static str, rounds: &[Round]) -> Self {
        let over = |figure: &dyn Fn(&Round) -> f64| Spread::of(rounds.iter().map(figure).collect());
        let latency = QUANTILES.map(|quantile| {
            let at = |histogram: &hdrhistogram::Histogram<u64>| {
                histogram.value_at_quantile(quantile) as f64 / 1e3
            };
            let values: Option<Vec<_>> =
                rounds.iter().map(|round| round.latency.as_ref().map(at)).collect();
            values.map(|values| Spread::of(values).median)
        });
        Self {
            workload,
            server,
            ops_per_sec: over(&|round| round.requests as f64 / round.wall.as_secs_f64()).median,
            latency,
            cpu: over(&|round| round.cpu_nanos as f64 / 1e3 / round.requests as f64),
        }
    }

    fn cells(&self, reference: Option<&Row>) -> [String; 8] {
        let [p50, p99, p999] = self.latency.map(|micros| micros.map_or("–".to_owned(), digits));
        let Spread { min, median, max } = self.cpu;
        let share =
            reference.map(|reference| format!("{:.0}%", 100.0 * median / reference.cpu.median));
        [
            self.workload.clone(),
            self.server.to_owned(),
            digits(self.ops_per_sec / 1e3),
            p50,
            p99,
            p999,
            format!("{} {}–{}", digits(median), digits(min), digits(max)),
            share.unwrap_or("–".to_owned()),
        ]
    }
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        let last = values.len().saturating_sub(1);
        // The two middle ones are one and the same when there is an odd number of them.
        let median = f64::midpoint(at(last / 2), at(values.len() / 2));
        Self { min: at(0), median, max: at(last) }
    }
}

pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![HEAD.map(str::to_owned)];
    for row in rows {
        let reference = rows
            .iter()
            .find(|other| other.workload == row.workload && other.server == servers::REFERENCE);
        lines.push(row.cells(reference));
    }
    let widths: [usize; 8] = std::array::from_fn(|column| {
        let cells = lines.iter().filter_map(|line| line.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    });
    lines.insert(1, rule(widths));
    lines.iter().fold(String::new(), |text, cells| text + &line(cells, widths))
}

/// The Markdown line under the head, which also aligns: words left, figures right.
fn rule(widths: [usize; 8]) -> [String; 8] {
    let mut column = 0;
    widths.map(|width| {
        column += 1;
        if column <= 2 { "-".repeat(width) } else { "-".repeat(width - 1) + ":" }
    })
}

fn line(cells: &[String; 8], widths: [usize; 8]) -> String {
    let mut text = String::new();
    for (column, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let _ = match column {
            0 => write!(text, "{cell:width$}"),
            1 => write!(text, " | {cell:width$}"),
            _ => write!(text, " | {cell:>width$}"),
        };
    }
    text + "\n"
}

/// Three digits are as many as a shared machine can vouch for.
fn digits(value: f64) -> String {
    match value {
        value if value < 9.995 => format!("{value:.2}"),
        value if value < 99.95 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

/// The processor and the kernel.
pub(crate) fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, model)| model);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{model}, {cores} core(s), Linux {}", kernel.trim_end())
}
