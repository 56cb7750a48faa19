//! `tallyd query`: a measure over history, for people and for scripts.
//!
//! The server does the work; here its answer is printed. A question that it refuses is told in its own
//! words.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::measure::{self, Line};
use super::server::Peer;
use super::{Format, QueryArgs};
use crate::faces::rows;
use crate::time::Timestamp;

/// Exit codes; `--help` lists them.
const NO_SUCH_SERIES: u8 = 1;
const WRONG: u8 = 2;
const NO_SERVER: u8 = 3;

/// Signs of a sparkline, from low to high.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Signs in one sparkline, at most.
const SPARKS: usize = 72;

/// Why there is nothing to print.
struct Failure {
    code: u8,
    text: String,
}

/// Asks, and prints the answer.
pub(super) fn run(args: &QueryArgs) -> ExitCode {
    match ask(args) {
        Ok(text) => {
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "tallyd query: {}", plain(&failure.text));
            ExitCode::from(failure.code)
        }
    }
}

fn ask(args: &QueryArgs) -> Result<String, Failure> {
    let (url, name) = url(args).map_err(|text| Failure { code: WRONG, text })?;
    let found = measure::ask(url, &name, Duration::from_secs(args.server.timeout));
    let found = found.map_err(|failure| match failure {
        measure::Failure::Question(text) => Failure { code: WRONG, text },
        measure::Failure::Server(text) => Failure { code: NO_SERVER, text },
    })?;
    if found.lines.is_empty() {
        let text = format!("no series `{}` was ever seen", args.series);
        return Err(Failure { code: NO_SUCH_SERIES, text });
    }
    Ok(match args.format {
        Format::Json => found.text.trim_end().to_owned() + "\n",
        Format::Csv => csv(&found.lines),
        Format::Table => table(&found.lines, io::stdout().is_terminal()),
    })
}

fn url(args: &QueryArgs) -> Result<(reqwest::Url, Peer), String> {
    let asked = [
        ("series", Some(&args.series)),
        ("measure", Some(&args.measure)),
        ("per", args.per.as_ref()),
        ("window", args.window.as_ref()),
        ("by", args.by.as_ref()),
        ("against", args.against.as_ref()),
        ("zone", args.zone.as_ref()),
        ("change", args.change.as_ref()),
        ("floor", args.floor.as_ref()),
        ("from", args.from.as_ref()),
        ("to", args.to.as_ref()),
        ("step", args.step.as_ref()),
    ];
    measure::url(&args.server.server, &args.server.papers, &asked)
}

impl Line {
    fn value(&self, at: i64, value: Option<f64>) -> String {
        let bound = if self.is_bound(at) { "≥ " } else { "" };
        value.map_or_else(|| "–".to_owned(), |value| format!("{bound}{}", short(value)))
    }
}

/// Time, series, value and what is to be said of it, with a head. What has no value has a line, too.
fn csv(lines: &[Line]) -> String {
    let mut text = format!("{}\n", rows::QUERY_HEAD);
    for line in lines {
        let series = quoted(&line.series);
        for (at, value) in &line.points {
            let time = Timestamp::from_secs(*at).rfc3339();
            let value = value.map(|value| value.to_string()).unwrap_or_default();
            let note = if line.is_bound(*at) { "at least" } else { "" };
            let _ = writeln!(text, "{time},{series},{value},{note}");
        }
    }
    text
}

/// A field of CSV. Source: RFC 4180.
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", field.replace('"', "\"\""));
    }
    field.to_owned()
}

fn table(lines: &[Line], is_terminal: bool) -> String {
    if lines.iter().all(|line| line.points.len() == 1) {
        return values(lines);
    }
    let blocks = lines.iter().map(|line| course(line, is_terminal));
    blocks.collect::<Vec<_>>().join("\n")
}

/// One value each: names in one column, values in the other.
fn values(lines: &[Line]) -> String {
    let width = lines.iter().map(|line| plain(&line.series).chars().count()).max().unwrap_or(0);
    let mut text = String::new();
    for line in lines {
        let Some((at, value)) = line.points.first() else { continue };
        let note = line.note.as_ref().map(|note| format!("  ({})", plain(note)));
        let (series, value) = (plain(&line.series), line.value(*at, *value));
        let _ = writeln!(text, "{series:<width$}  {value}{}", note.unwrap_or_default());
    }
    text
}

/// One series along a range.
fn course(line: &Line, is_terminal: bool) -> String {
    let mut text = plain(&line.series) + "\n";
    if is_terminal {
        let _ = writeln!(text, "{}", sparkline(&line.points));
    }
    for (at, value) in &line.points {
        let time = Timestamp::from_secs(*at).in_system_zone();
        let _ = writeln!(text, "{time}  {}", line.value(*at, *value));
    }
    text
}

/// The course of the values in one line, between its least and its greatest; several points share a
/// sign where there are many, and the greatest of them is shown.
fn sparkline(points: &[(i64, Option<f64>)]) -> String {
    let each = points.len().div_ceil(SPARKS).max(1);
    let known = || points.iter().filter_map(|(_, value)| *value);
    let (low, high) =
        (known().fold(f64::INFINITY, f64::min), known().fold(f64::NEG_INFINITY, f64::max));
    if low > high {
        return "nothing is known of this time".to_owned();
    }
    let signs = points.chunks(each).map(|some| {
        let greatest = some.iter().filter_map(|(_, value)| *value).reduce(f64::max);
        greatest.map_or(' ', |value| bar(value, low, high))
    });
    format!("{}  {} to {}", signs.collect::<String>(), short(low), short(high))
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is 0 to 7")]
fn bar(value: f64, low: f64, high: f64) -> char {
    let share = if high > low { (value - low) / (high - low) } else { 0.0 };
    let at = (share * 8.0).clamp(0.0, 7.0) as usize;
    BARS.get(at).copied().unwrap_or(' ')
}

/// Four places are enough for people; whole numbers are whole.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A terminal is not to obey what a name says.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> Vec<Line> {
        vec![
            Line {
                series: "orders;region=eu".to_owned(),
                points: vec![
                    (1_767_571_200, Some(1.5)),
                    (1_767_571_210, None),
                    (1_767_571_220, Some(12.0)),
                ],
                at_least: vec![1_767_571_220],
                note: None,
            },
            Line {
                series: "a,\"b\"".to_owned(),
                points: vec![(1_767_571_200, Some(0.1))],
                at_least: Vec::new(),
                note: None,
            },
        ]
    }

    #[test]
    fn csv_has_a_line_for_every_point() {
        assert_eq!(
            csv(&lines()),
            "time,series,value,note\n\
             2026-01-05T00:00:00Z,orders;region=eu,1.5,\n\
             2026-01-05T00:00:10Z,orders;region=eu,,\n\
             2026-01-05T00:00:20Z,orders;region=eu,12,at least\n\
             2026-01-05T00:00:00Z,\"a,\"\"b\"\"\",0.1,\n"
        );
    }

    #[test]
    fn a_terminal_sees_the_course_and_a_pipe_does_not() {
        let shown = table(&lines(), true);
        assert!(shown.starts_with("orders;region=eu\n▁ █  1.5 to 12\n"), "{shown}");
        assert!(shown.contains("  ≥ 12\n") && shown.contains("  –\n"), "{shown}");
        assert!(!table(&lines(), false).contains('█'));
    }

    #[test]
    fn a_sparkline_is_never_longer_than_a_line() {
        let points: Vec<_> = (0..1000).map(|at| (at, Some(5.0))).collect();
        assert_eq!(sparkline(&points).chars().filter(|sign| *sign == '▁').count(), 72);
        assert_eq!(sparkline(&[(0, None)]), "nothing is known of this time");
    }

    #[test]
    fn single_values_stand_in_columns_and_names_give_no_orders() {
        let line = |series: &str, value, note: Option<&str>| Line {
            series: series.to_owned(),
            points: vec![(0, value)],
            at_least: Vec::new(),
            note: note.map(str::to_owned),
        };
        let lines = [line("a\u{1b}[2J", Some(3.0), None), line("b", None, Some("why"))];
        assert_eq!(table(&lines, true), "a?[2J  3\nb      –  (why)\n");
    }
}
