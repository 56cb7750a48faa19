//! `tallyd check`: the Nagios plugin.
//!
//! Of rules the server writes the whole output; the plugin fetches and prints it, and takes its exit code from
//! the word that it begins with, which has to be followed by the name of the rule. A measure without a rule is
//! fetched as a number and judged here, by the ranges of the command line. Whatever goes wrong on the way is
//! UNKNOWN, on one line.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgAction, ArgGroup, Args};

use super::server::{self, Peer};
use super::{ServerArgs, measure};
use crate::config::{Against, Change, Measure, Per};
use crate::faces::GREW_FROM_NOTHING;
use crate::faces::nagios::measured::{Asked, Measured};
use crate::faces::nagios::range::Range;
use crate::faces::nagios::{self, ALL, Check, Tag, measured};
use crate::limits;
use crate::notify::message::title;
use crate::query::Question;
use crate::reason;
use crate::rules::Level;
use crate::time::Span;

/// What Nagios reads of a plugin, less the line end after it and the zero that C puts behind.
const ROOM: usize = limits::NAGIOS_BYTES - 2;

/// What a measure of its own does not go with.
const NO_SERIES: [&str; 2] = ["rule", "all"];

/// What `check` takes.
#[derive(Args, Debug)]
#[command(group = ArgGroup::new("what").required(true).args(["rule", "all", "series"]))]
pub(super) struct CheckArgs {
    /// The name of a rule.
    rule: Option<String>,
    /// All rules together.
    #[arg(long)]
    all: bool,
    /// No rule, but what was counted: a name, a glob, or either with tags. Goes with -w and -c.
    #[arg(long, value_name = "PATTERN")]
    series: Option<String>,
    /// A tag of the instances that are meant, as region=eu; with --series also a tag alone, whose values make
    /// lines of their own. May be given several times.
    #[arg(long, value_name = "TAG=VALUE", conflicts_with = "all")]
    by: Vec<String>,
    /// What is asked: sum, rate, count, mean, min, max, last, age, p50, p90, p95, p99 or p99.9.
    #[arg(long, default_value = "rate", conflicts_with_all = NO_SERIES)]
    measure: String,
    /// Unit of time of a rate: second, minute, hour or day.
    #[arg(long, value_name = "UNIT", conflicts_with_all = NO_SERIES)]
    per: Option<String>,
    /// Over how long.
    #[arg(long, default_value = "1m", value_name = "SPAN", conflicts_with_all = NO_SERIES)]
    window: String,
    /// Asks for the change: previous, 1d, 1w or 2w.
    #[arg(long, value_name = "SPAN", conflicts_with_all = NO_SERIES)]
    against: Option<String>,
    /// Whose days 1d, 1w and 2w are, as in `Europe/Berlin`; those of UTC without it.
    #[arg(long, value_name = "ZONE", conflicts_with_all = NO_SERIES)]
    zone: Option<String>,
    /// How a change is given: percent or absolute.
    #[arg(long, value_name = "FORM", conflicts_with_all = NO_SERIES)]
    change: Option<String>,
    /// Where both windows hold less than this there is no change.
    #[arg(long, value_name = "NUMBER", conflicts_with_all = NO_SERIES)]
    floor: Option<String>,
    /// When it is a warning: 10 (outside 0 to 10), 10: (below 10), '~:10' (above 10), 10:20 (outside), @10:20 (inside).
    #[arg(long, short, value_name = "RANGE", allow_hyphen_values = true, conflicts_with_all = NO_SERIES)]
    warning: Option<Range>,
    /// When it is critical, in the same form.
    #[arg(long, short, value_name = "RANGE", allow_hyphen_values = true, conflicts_with_all = NO_SERIES)]
    critical: Option<Range>,
    /// The host of the server: -H, -p and -S stand for --server `http://127.0.0.1:8311` with what they say instead.
    #[arg(long = "hostname", short = 'H', value_name = "HOST")]
    host: Option<String>,
    /// Its port for HTTP.
    #[arg(long, short, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// It speaks TLS: https.
    #[arg(long, short = 'S')]
    ssl: bool,
    /// Say in a further line what was asked.
    #[arg(long, short, action = ArgAction::Count)]
    verbose: u8,
    #[command(flatten)]
    server: ServerArgs,
}

/// An answer, or in plain words why there is none; and the URL that was asked, as far as there was one.
struct Told {
    answer: Result<Check, String>,
    url: Option<reqwest::Url>,
}

/// Prints a state; the exit code is that of a plugin.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let told = match &args.series {
        Some(series) => args.measure(series),
        None => args.rules(),
    };
    let check = told.answer.unwrap_or_else(|reason| nagios::unknown(args.name(), &reason, ROOM));
    let mut text = check.text.trim_end().to_owned();
    if let Some(url) = told.url.filter(|_| args.verbose > 0) {
        let url = format!("\nasked {url}");
        if text.len() + url.len() <= ROOM {
            text.push_str(&url);
        }
    }
    let _ = writeln!(io::stdout(), "{text}");
    ExitCode::from(check.level.exit_code())
}

/// Prints help or the version. Nothing was checked, so it is UNKNOWN, as with other plugins: a service whose command
/// line asks for help by mistake must not be OK for ever. Source: the Monitoring Plugins' guidelines.
pub(super) fn explained(text: &clap::Error) -> ExitCode {
    let _ = text.print();
    ExitCode::from(Level::Unknown.exit_code())
}

/// Says that the command line is wrong, as a plugin does: a reader of exit codes must not take it for
/// CRITICAL. How it is to be written stands on standard error.
pub(super) fn misused(error: &clap::Error) -> ExitCode {
    let _ = write!(io::stderr(), "{}", error.render());
    let text = error.render().to_string();
    let problem = text.split("\n\n").next().unwrap_or_default();
    let problem = reason::one_line(problem.trim_start_matches("error: "));
    let check = nagios::unknown("tallyd check", &problem, ROOM);
    let _ = writeln!(io::stdout(), "{}", check.text);
    ExitCode::from(check.level.exit_code())
}

/// The check that an answer about `name` holds; something else may listen there.
fn judge(name: &str, server: &str, text: String) -> Result<Check, String> {
    if let Some(level) = Level::of_output(&text, name) {
        return Ok(Check { level, text });
    }
    if let Some(said) = server::refusal_in(text.as_bytes()) {
        return Err(format!("tallyd at {server} says: {said}"));
    }
    let first = text.lines().next().unwrap_or_default();
    Err(format!("{server} is not tallyd: {first}"))
}

impl CheckArgs {
    /// What the output is about.
    fn name(&self) -> &str {
        self.rule.as_deref().or(self.series.as_deref()).unwrap_or(ALL)
    }

    fn timeout(&self) -> Duration {
        Duration::from_secs(self.server.timeout)
    }

    /// Whether the server is said in parts, as plugins have it.
    pub(super) fn has_parts(&self) -> bool {
        self.host.is_some() || self.port.is_some() || self.ssl
    }

    fn server(&self) -> String {
        if !self.has_parts() {
            return self.server.server.clone();
        }
        let scheme = if self.ssl { "https" } else { "http" };
        let host = self.host.as_deref().unwrap_or("127.0.0.1");
        let port = self.port.unwrap_or(8311);
        if host.contains(':') && !host.starts_with('[') {
            format!("{scheme}://[{host}]:{port}")
        } else {
            format!("{scheme}://{host}:{port}")
        }
    }

    /// The answer of `/check/RULE`, or of `/check`.
    fn rules(&self) -> Told {
        let (url, server) = match self.url_of_rules() {
            Ok(url) => url,
            Err(reason) => return Told { answer: Err(reason), url: None },
        };
        let got = server::get(url.clone(), &server, self.timeout(), limits::NAGIOS_BYTES);
        let answer = got.and_then(|got| judge(self.name(), &server.to_string(), got.text));
        Told { answer, url: Some(url) }
    }

    fn url_of_rules(&self) -> Result<(reqwest::Url, Peer), String> {
        let path: Vec<_> = ["check"].into_iter().chain(self.rule.as_deref()).collect();
        let (mut url, server) = server::url_of(&self.server(), &self.server.papers, &path)?;
        for by in &self.by {
            nagios::tag(by)?;
            url.query_pairs_mut().append_pair("by", by);
        }
        Ok((url, server))
    }

    /// What was measured, held against the ranges.
    fn measure(&self, series: &str) -> Told {
        let found = self.question().and_then(|question| Ok((question, self.url_of_measure()?)));
        let (question, (url, server)) = match found {
            Ok(found) => found,
            Err(reason) => return Told { answer: Err(reason), url: None },
        };
        let (warning, critical) = (self.warning.clone(), self.critical.clone());
        let asked = Asked { series: series.to_owned(), question, warning, critical };
        let answer = match measure::ask(url.clone(), &server, self.timeout()) {
            Ok(found) => self.meant(series, found.lines, &asked),
            Err(measure::Failure::Question(said) | measure::Failure::Server(said)) => Err(said),
        };
        Told { answer, url: Some(url) }
    }

    fn meant(
        &self,
        series: &str,
        lines: Vec<measure::Line>,
        asked: &Asked,
    ) -> Result<Check, String> {
        if let Some(tag) = self.by.iter().find(|tag| !tag.contains('=') && !has(&lines, tag)) {
            return Err(format!("no series has the tag `{tag}`"));
        }
        let are_there = !lines.is_empty();
        let lines: Vec<_> =
            lines.into_iter().filter_map(|line| self.measured(series, line)).collect();
        if are_there && lines.is_empty() {
            let tags: Vec<_> = self.by.iter().filter(|by| by.contains('=')).cloned().collect();
            return Err(format!("no series has {}", tags.join(" and ")));
        }
        Ok(measured::check(asked, &lines, ROOM))
    }

    /// A line with the tags that are asked for; `None` for others.
    fn measured(&self, series: &str, line: measure::Line) -> Option<Measured> {
        let mut rest = line.series.as_str();
        let mut tags: Vec<Tag> = Vec::new();
        for by in self.by.iter().rev() {
            let (front, tag) = rest.rsplit_once(';')?;
            let (name, value) = tag.split_once('=')?;
            if by.contains('=') && tag != by {
                return None;
            }
            tags.push((name.to_owned(), value.to_owned()));
            rest = front;
        }
        tags.reverse();
        let (at, value) = line.points.last().copied()?;
        let is_boundless = line.note.as_deref() == Some(GREW_FROM_NOTHING);
        Some(Measured {
            name: title(series, &tags),
            value: if is_boundless { Some(f64::INFINITY) } else { value },
            is_bound: line.is_bound(at),
            note: line.note,
        })
    }

    fn url_of_measure(&self) -> Result<(reqwest::Url, Peer), String> {
        let name = |by: &String| by.split_once('=').map_or(&**by, |(name, _)| name).to_owned();
        for by in self.by.iter().filter(|by| by.contains('=')) {
            nagios::tag(by)?;
        }
        let by: Vec<_> = self.by.iter().map(name).collect();
        let by = (!by.is_empty()).then(|| by.join(","));
        let asked = [
            ("series", self.series.as_ref()),
            ("measure", Some(&self.measure)),
            ("per", self.per.as_ref()),
            ("window", Some(&self.window)),
            ("by", by.as_ref()),
            ("against", self.against.as_ref()),
            ("zone", self.zone.as_ref()),
            ("change", self.change.as_ref()),
            ("floor", self.floor.as_ref()),
        ];
        measure::url(&self.server(), &self.server.papers, &asked)
    }

    /// The question, for the words of the answer: what it means is for the server to say.
    fn question(&self) -> Result<Question, String> {
        let window: Span = self.window.parse().map_err(|error| format!("--window: {error}"))?;
        let against = self.against.as_deref();
        Ok(Question {
            measure: word(Some(&self.measure), &Measure::ALL, Measure::Rate, "--measure")?,
            per: word(self.per.as_deref(), &Per::ALL, Per::Second, "--per")?,
            window,
            against: against
                .map(|text| word(Some(text), &Against::ALL, Against::Previous, "--against"))
                .transpose()?,
            zone: None,
            change: word(self.change.as_deref(), &Change::ALL, Change::Percent, "--change")?,
            floor: None,
        })
    }
}

/// Whether any line, where there are any, has a value for a tag.
fn has(lines: &[measure::Line], tag: &str) -> bool {
    let value = |text: &str| {
        text.split_once('=').is_some_and(|(name, value)| name == tag && !value.is_empty())
    };
    lines.is_empty() || lines.iter().any(|line| line.series.split(';').skip(1).any(value))
}

/// One of several words.
fn word<T: Copy>(
    text: Option<&str>,
    all: &[(&str, T)],
    default: T,
    name: &str,
) -> Result<T, String> {
    let Some(text) = text else { return Ok(default) };
    all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words: Vec<_> = all.iter().map(|(word, _)| *word).collect();
        format!("{name} is one of {}", words.join(", "))
    })
}

#[cfg(test)]
mod tests;
