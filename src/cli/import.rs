//! `tallyd import`: history of elsewhere, from CSV into a running server.
//!
//! The whole file is read first, and where a line is wrong nothing is sent. Then rows are put in order and
//! sent in batches, each of which holds all rows of a series in a slice of time that the server names: it
//! imports a batch whole or not at all, and what it has answered survives. So an import that broke off is
//! simply run again: what is there already is found to be the same.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::progress::Progress;
use super::{ImportArgs, server};
use crate::counters::cells::Kind;
use crate::engine::ImportOutcome as Outcome;
use crate::faces::rows;
use crate::limits;
use crate::reason;
use crate::time::{Span, Timestamp};

/// Exit codes; `--help` lists them.
const NOT_ALL: u8 = 1;
const WRONG: u8 = 2;
const NO_SERVER: u8 = 3;

/// Wrong lines that are told one by one.
const TOLD: usize = 10;

/// Why it was not done.
struct Failure {
    code: u8,
    text: String,
}

fn wrong(text: impl Into<String>) -> Failure {
    Failure { code: WRONG, text: text.into() }
}

/// Reads, sends, and says what became of it.
pub(super) fn run(args: &ImportArgs) -> ExitCode {
    let mut done = Done::default();
    let result = import(args, &mut done);
    let _ = io::stdout().write_all(done.text().as_bytes());
    match result {
        Ok(()) if done.is_all() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::from(NOT_ALL),
        Err(failure) => {
            let _ = writeln!(io::stderr(), "tallyd import: {}", reason::plain(&failure.text));
            ExitCode::from(failure.code)
        }
    }
}

/// What became of the rows.
#[derive(Default)]
struct Done {
    outcome: Outcome,
    series: usize,
    may: Option<Importable>,
}

/// What the server says can be imported.
#[derive(Clone, Copy, serde::Deserialize)]
struct Importable {
    from: i64,
    until: i64,
    slice: i64,
}

#[derive(serde::Deserialize)]
struct Answer<T> {
    data: Option<T>,
    error: Option<String>,
}

fn import(args: &ImportArgs, done: &mut Done) -> Result<(), Failure> {
    let mut progress = Progress::new(io::stderr().is_terminal());
    let mut table = read(args, &mut progress)?;
    progress.end();
    let server = Server::new(args)?;
    let may: Importable = server.ask()?;
    (done.may, done.series) = (Some(may), table.names.len());
    let slice = may.slice.max(1);
    // By slice and series, and in these as they stand in the file.
    table.rows.sort_by_key(|row| (row.secs.div_euclid(slice), row.series));
    let all = table.rows.len();
    let mut rest = table.rows.as_slice();
    while !rest.is_empty() {
        let (batch, further) = rest.split_at(fitting(rest, slice, &table)?);
        send(&server, batch, slice, &table, &mut done.outcome)?;
        rest = further;
        let sent = all - rest.len();
        progress.show(sent as u64 * 1000 / all as u64, || {
            format!("imported {sent} of {all} rows, {} %", sent * 100 / all)
        });
    }
    progress.end();
    Ok(())
}

/// All rows of a file.
struct Table {
    kind: Kind,
    names: Vec<Box<str>>,
    rows: Vec<Row>,
}

#[derive(Clone, Copy)]
struct Row {
    secs: i64,
    bits: u64,
    series: u32,
}

fn read(args: &ImportArgs, progress: &mut Progress) -> Result<Table, Failure> {
    let cannot = |error| wrong(format!("cannot read {}: {error}", args.file.display()));
    if args.file.as_os_str() == "-" {
        return read_from(io::stdin().lock(), args, progress).map_err(|error| error.or(cannot));
    }
    let file = OpenOptions::new().read(true).open(&args.file).map_err(cannot)?;
    read_from(BufReader::with_capacity(1 << 20, file), args, progress)
        .map_err(|error| error.or(cannot))
}

/// What is wrong with it is told by the server.
fn step_secs(step: &str) -> i64 {
    step.parse::<Span>()
        .map_or(0, |step| i64::try_from(step.as_millis() / 1000).unwrap_or(i64::MAX))
}

/// Why a table was not read.
enum Unread {
    Io(io::Error),
    Said(Failure),
}

impl Unread {
    fn or(self, cannot: impl FnOnce(io::Error) -> Failure) -> Failure {
        match self {
            Self::Io(error) => cannot(error),
            Self::Said(failure) => failure,
        }
    }
}

fn read_from(
    mut input: impl BufRead,
    args: &ImportArgs,
    progress: &mut Progress,
) -> Result<Table, Unread> {
    let kind = args.kind.kind();
    let mut table = Table { kind, names: Vec::new(), rows: Vec::new() };
    let mut places: HashMap<Box<str>, u32, foldhash::fast::RandomState> = HashMap::default();
    let (mut line, mut number, mut bad) = (Vec::new(), 0_u64, Vec::new());
    // What a query printed has the ends of its steps, and a row here says when one begins.
    let mut before = None;
    loop {
        line.clear();
        let most = limits::IMPORT_LINE_BYTES as u64 + 1;
        if io::Read::take(&mut input, most).read_until(b'\n', &mut line).map_err(Unread::Io)? == 0 {
            break;
        }
        number += 1;
        if line.len() > limits::IMPORT_LINE_BYTES {
            bad.push((number, "it is too long"));
            // Its rest would be told as lines that there are not.
            break;
        }
        let text = std::str::from_utf8(&line).map(|text| text.trim_end_matches(['\n', '\r']));
        let row = match text {
            Ok("") => continue,
            Ok(text) if number == 1 && rows::is_head(text) => {
                before = rows::is_of_query(text).then(|| step_secs(&args.step));
                continue;
            }
            Ok(text) => rows::read(text, kind).and_then(|row| {
                rows::check_name(&row.series)?;
                before.map_or(Ok(()), |_| rows::check_answer(&row.series, text))?;
                let secs = row.secs.saturating_sub(before.unwrap_or(0));
                if secs < 0 {
                    return Err("its step begins before 1970, of which nothing is kept");
                }
                Ok(rows::Row { secs, ..row })
            }),
            Err(_) => Err("it is not UTF-8"),
        };
        match row {
            Ok(rows::Row { bits: None, .. }) => {}
            Ok(rows::Row { secs, series, bits: Some(bits) }) => {
                let series = match places.get(&*series) {
                    Some(at) => *at,
                    None => table.name(&series, &mut places),
                };
                table.rows.push(Row { secs, bits, series });
            }
            Err(wrong) => bad.push((number, wrong)),
        }
        if table.rows.len() > limits::IMPORT_ROWS {
            let most = limits::IMPORT_ROWS;
            let text = format!("there are more than {most} rows; import it in several parts");
            return Err(Unread::Said(wrong(text)));
        }
        if bad.len() > TOLD {
            break;
        }
        progress.show(number >> 16, || format!("read {number} lines"));
    }
    if bad.is_empty() { Ok(table) } else { Err(Unread::Said(wrong(told(&bad)))) }
}

/// What is wrong with which lines.
fn told(bad: &[(u64, &str)]) -> String {
    let mut text = String::from("nothing was imported:");
    for (number, wrong) in bad.iter().take(TOLD) {
        let _ = write!(text, " line {number}: {wrong};");
    }
    text.pop();
    if bad.len() > TOLD {
        text.push_str("; and more");
    }
    text
}

impl Table {
    fn name(
        &mut self,
        series: &str,
        places: &mut HashMap<Box<str>, u32, foldhash::fast::RandomState>,
    ) -> u32 {
        let at = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(series.into());
        places.insert(series.into(), at);
        at
    }

    fn line(&self, row: &Row, out: &mut String) {
        let name = self.names.get(row.series as usize).map_or("", |name| name);
        rows::write(row.secs, name, row.bits, self.kind, out);
    }
}

/// How many rows fit one request: whole slices of whole series.
fn fitting(rest: &[Row], slice: i64, table: &Table) -> Result<usize, Failure> {
    let (mut line, mut bytes, mut rows) = (String::new(), 0, 0);
    for unit in units(rest, slice) {
        for row in unit {
            line.clear();
            table.line(row, &mut line);
            bytes += line.len();
        }
        if bytes > limits::IMPORT_BODY_BYTES {
            break;
        }
        rows += unit.len();
    }
    if rows > 0 {
        return Ok(rows);
    }
    let first =
        rest.first().map_or("", |row| table.names.get(row.series as usize).map_or("", |n| n));
    Err(wrong(format!("`{first}` has more rows in {slice} s than fit one request")))
}

fn units(rows: &[Row], slice: i64) -> impl Iterator<Item = &[Row]> {
    let unit = move |row: &Row| (row.secs.div_euclid(slice), row.series);
    rows.chunk_by(move |a, b| unit(a) == unit(b))
}

/// Sends rows, by halves where they are too many windows at once.
fn send(
    server: &Server,
    rows: &[Row],
    slice: i64,
    table: &Table,
    outcome: &mut Outcome,
) -> Result<(), Failure> {
    let mut body = String::with_capacity(limits::IMPORT_BODY_BYTES);
    for row in rows {
        table.line(row, &mut body);
    }
    if let Some(one) = server.send(body)? {
        add(outcome, &one);
        return Ok(());
    }
    let mut half = 0;
    for unit in units(rows, slice) {
        if half > 0 && half + unit.len() > rows.len() / 2 {
            break;
        }
        half += unit.len();
    }
    let (first, second) = rows.split_at(half);
    if second.is_empty() {
        return Err(wrong("one series makes too many windows in one slice of time"));
    }
    send(server, first, slice, table, outcome)?;
    send(server, second, slice, table, outcome)
}

fn add(all: &mut Outcome, one: &Outcome) {
    all.imported += one.imported;
    all.replaced += one.replaced;
    all.same += one.same;
    all.held += one.held;
    all.open += one.open;
    all.old += one.old;
}

/// Where rows go.
struct Server {
    url: reqwest::Url,
    name: server::Peer,
    timeout: Duration,
}

impl Server {
    fn new(args: &ImportArgs) -> Result<Self, Failure> {
        let path = ["api", "v1", "import"];
        let (mut url, name) =
            server::url_of(&args.server.server, &args.server.papers, &path).map_err(wrong)?;
        let (kind, overwrite) = (args.kind.word(), args.overwrite.to_string());
        let asked = [("kind", kind), ("step", &args.step), ("overwrite", &overwrite)];
        url.query_pairs_mut().extend_pairs(asked);
        Ok(Self { url, name, timeout: Duration::from_secs(args.server.timeout) })
    }

    fn ask(&self) -> Result<Importable, Failure> {
        let got = server::get(self.url.clone(), &self.name, self.timeout, 65_536);
        let got = got.map_err(|text| Failure { code: NO_SERVER, text })?;
        self.data(&got)?.ok_or_else(|| self.stranger(got.code))
    }

    /// What became of rows; `None` where they are too many for one request.
    fn send(&self, body: String) -> Result<Option<Outcome>, Failure> {
        let got = server::post(self.url.clone(), &self.name, self.timeout, body);
        let got = got.map_err(|text| Failure {
            code: NO_SERVER,
            text: format!("{text}; what was imported stays, and is found when this is run again"),
        })?;
        if got.code == 413 { Ok(None) } else { self.data(&got) }
    }

    fn data<T: serde::de::DeserializeOwned>(
        &self,
        got: &server::Answer,
    ) -> Result<Option<T>, Failure> {
        let Ok(answer) = serde_json::from_str::<Answer<T>>(&got.text) else {
            return Err(self.stranger(got.code));
        };
        match answer.error {
            Some(text) if got.code == 400 => Err(wrong(text)),
            Some(text) => Err(Failure { code: NO_SERVER, text: format!("{}: {text}", self.name) }),
            None => Ok(answer.data),
        }
    }

    fn stranger(&self, code: u16) -> Failure {
        let text = format!("{} does not answer as tallyd does ({code})", self.name);
        Failure { code: NO_SERVER, text }
    }
}

impl Done {
    fn is_all(&self) -> bool {
        let Outcome { held, open, old, .. } = self.outcome;
        held + open + old == 0
    }

    fn text(&self) -> String {
        let Some(may) = self.may else { return String::new() };
        let time = |secs| Timestamp::from_secs(secs).rfc3339();
        let Outcome { imported, replaced, same, held, open, old } = self.outcome;
        let mut text = format!("{imported} rows imported, of {} series\n", self.series);
        let mut tell = |rows: u64, what: &str| {
            if rows > 0 {
                let _ = writeln!(text, "{rows} rows {what}");
            }
        };
        tell(replaced, "imported in the place of other windows");
        tell(same, "were there already");
        tell(held, "not imported: there are other windows then; --overwrite replaces them");
        let until = time(may.until);
        tell(open, &format!("not imported: some window of after {until} is open yet"));
        let from = time(may.from);
        tell(old, &format!("not imported: nothing of before {from} is kept"));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(rows: &[(i64, u32)]) -> Table {
        let row = |(secs, series): &(i64, u32)| Row { secs: *secs, bits: 1, series: *series };
        let names = vec!["a".into(), "b".into()];
        Table { kind: Kind::Counter, names, rows: rows.iter().map(row).collect() }
    }

    #[test]
    fn a_request_holds_whole_slices_of_whole_series() {
        let table = table(&[(0, 0), (50, 0), (0, 1), (100, 0), (150, 1)]);
        let lens: Vec<_> = units(&table.rows, 100).map(<[Row]>::len).collect();
        assert_eq!(lens, [2, 1, 1, 1]);
        assert_eq!(fitting(&table.rows, 100, &table).ok(), Some(5));
        let many: Vec<_> = (0..800_000).map(|_| (5, 0)).collect();
        let many = self::table(&many);
        assert!(fitting(&many.rows, 100, &many).is_err(), "they belong together");
    }

    #[test]
    fn what_became_of_it_is_told() {
        let may = Importable { from: 0, until: 3600, slice: 3600 };
        let outcome = Outcome { imported: 5, same: 1, held: 2, open: 3, old: 4, replaced: 0 };
        let done = Done { outcome, series: 2, may: Some(may) };
        assert!(!done.is_all());
        assert_eq!(
            done.text(),
            "5 rows imported, of 2 series\n\
             1 rows were there already\n\
             2 rows not imported: there are other windows then; --overwrite replaces them\n\
             3 rows not imported: some window of after 1970-01-01T01:00:00Z is open yet\n\
             4 rows not imported: nothing of before 1970-01-01T00:00:00Z is kept\n"
        );
    }
}
