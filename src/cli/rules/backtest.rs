//! `tallyd rules backtest`: when rules would have fired, over the history of a running server.
//!
//! A file of rules is checked here first, so that each mistake is told with its line; the server plays them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::super::progress::Progress;
use super::super::{BacktestArgs, TextFormat, config, server};
use crate::config::{Surroundings, load, rules_alone};
use crate::limits;
use crate::reason::one_line;
use crate::time::Timestamp;

/// Exit codes; `--help` lists them.
const NO_SUCH_RULE: u8 = 1;
const WRONG: u8 = 2;
const NO_SERVER: u8 = 3;

/// What the server answers.
#[derive(serde::Deserialize)]
struct Answer {
    #[serde(default)]
    data: Vec<Tested>,
    #[serde(default)]
    error: Option<String>,
}

#[derive(serde::Deserialize)]
struct Tested {
    rule: String,
    problem: Option<String>,
    parts: Vec<Part>,
    fired: u64,
    firings: Vec<Firing>,
    messages: BTreeMap<String, u64>,
    messages_per_week: Option<f64>,
}

#[derive(serde::Deserialize)]
struct Part {
    from: i64,
    to: i64,
    width: Option<u64>,
    every: Option<u64>,
    known: u64,
}

#[derive(serde::Deserialize)]
struct Firing {
    title: String,
    level: String,
    begin: i64,
    end: Option<i64>,
    worst: Option<f64>,
}

/// Why there is nothing to print.
struct Failure {
    code: u8,
    text: String,
}

/// Asks, and prints the answer.
pub(in crate::cli) fn backtest(args: &BacktestArgs) -> ExitCode {
    let rules = match args.config.as_deref().map(read).transpose() {
        Ok(rules) => rules.unwrap_or_default(),
        Err(code) => return code,
    };
    match ask(args, rules) {
        Ok(text) => {
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(Failure { code, text }) => {
            let _ = writeln!(io::stderr(), "tallyd rules backtest: {}", text.trim_end());
            ExitCode::from(code)
        }
    }
}

/// What a file that is good says of rules; otherwise says why it is not. The rest of it is nobody else's business.
fn read(file: &Path) -> Result<String, ExitCode> {
    let surroundings = Surroundings::of_process();
    if let Err(error) = load(file, &surroundings) {
        config::complain(&error);
        return Err(ExitCode::from(WRONG));
    }
    let read = (surroundings.file)(file, limits::CONFIG_BYTES);
    let text = read.ok().flatten().and_then(|read| String::from_utf8(read.bytes).ok());
    // Nothing at all would mean the server's own.
    let rules = text.map(|text| rules_alone(&text) + "\n");
    rules.filter(|rules| rules.len() <= limits::BACKTEST_BODY_BYTES).ok_or_else(|| {
        let most = limits::BACKTEST_BODY_BYTES / 1024;
        let file = file.display();
        let _ = writeln!(io::stderr(), "error: the rules of {file} take more than {most} KiB");
        ExitCode::from(WRONG)
    })
}

fn ask(args: &BacktestArgs, rules: String) -> Result<String, Failure> {
    let no_server = |text| Failure { code: NO_SERVER, text };
    let url = server::url_of(&args.server, &args.papers, &["api", "v1", "backtest"]);
    let (mut url, name) = url.map_err(|text| Failure { code: WRONG, text })?;
    let asked = [("rule", args.rule.as_ref()), ("from", Some(&args.from)), ("to", Some(&args.to))];
    let asked = asked.into_iter().filter_map(|(name, value)| Some((name, value?)));
    url.query_pairs_mut().extend_pairs(asked);
    // Longer than the server takes at most.
    let timeout = Duration::from_secs(limits::BACKTEST_SECS + 15);
    let mut progress = Progress::new(io::stderr().is_terminal());
    let waiting = |secs| progress.show(secs, || format!("the rules are being played: {secs} s"));
    let most = limits::BACKTEST_ANSWER_BYTES;
    let got = server::post_and_wait(url, &name, timeout, rules, most, waiting);
    progress.end();
    let got = got.map_err(no_server)?;
    let answer = serde_json::from_str::<Answer>(&got.text);
    match (got.code, answer) {
        (200, Ok(_)) if args.format == TextFormat::Json => {
            Ok(got.text.trim_end().to_owned() + "\n")
        }
        (200, Ok(answer)) => Ok(told(&answer.data)),
        (404, Ok(Answer { error: Some(text), .. })) if args.rule.is_some() => {
            Err(Failure { code: NO_SUCH_RULE, text })
        }
        (400..=499, Ok(Answer { error: Some(text), .. })) => Err(Failure { code: WRONG, text }),
        (code, _) => Err(no_server(format!("{name} answered with status {code}"))),
    }
}

fn told(all: &[Tested]) -> String {
    if all.is_empty() {
        return "there are no rules\n".to_owned();
    }
    all.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// One rule: a line of what it comes to, at which resolution, and each time that it fired.
fn one(tested: &Tested) -> String {
    let rule = one_line(&tested.rule);
    if let Some(problem) = &tested.problem {
        return format!("{rule}: {}\n", one_line(problem));
    }
    let fired = match tested.fired {
        0 => "would not have fired".to_owned(),
        1 => "would have fired once".to_owned(),
        times => format!("would have fired {times} times"),
    };
    let mut text = format!("{rule}: {fired}; {}\n", messages(tested));
    let parts: Vec<_> = tested.parts.iter().rev().map(part).collect();
    let _ = writeln!(text, "  played {}", parts.join(", "));
    for firing in &tested.firings {
        let _ = writeln!(text, "  {}", fire(firing));
    }
    let more = tested.fired.saturating_sub(tested.firings.len() as u64);
    match more {
        0 => {}
        1 => text.push_str("  and once more\n"),
        _ => drop(writeln!(text, "  and {more} times more")),
    }
    text
}

fn messages(tested: &Tested) -> String {
    let Some(weekly) = tested.messages_per_week else {
        return "nothing is known of that time".to_owned();
    };
    let to = |(contact, count): (&String, &u64)| format!("{count} to {}", one_line(contact));
    let to: Vec<_> = tested.messages.iter().map(to).collect();
    let to = if to.is_empty() { String::new() } else { format!(" ({})", to.join(", ")) };
    format!("{weekly:.1} messages a week{to}")
}

/// `3d at 10s (2d known)`
fn part(part: &Part) -> String {
    let length = rough(seconds(part.from, part.to));
    let width = part.width.map(rough);
    match (part.every, width) {
        (_, None) => format!("{length} not at all (nothing is kept so long)"),
        (None, Some(width)) => {
            format!("{length} not at all (windows of {width} do not make up the rule's)")
        }
        (Some(every), Some(_)) => {
            let is_whole = part.known >= seconds(part.from, part.to);
            let known =
                if is_whole { String::new() } else { format!(" ({} known)", rough(part.known)) };
            format!("{length} at {}{known}", rough(every))
        }
    }
}

fn fire(firing: &Firing) -> String {
    let begin = Timestamp::from_secs(firing.begin).in_system_zone();
    let length = match firing.end {
        Some(end) => format!("for {}", rough(seconds(firing.begin, end))),
        None => "and still at the end".to_owned(),
    };
    let worst = firing.worst.map(|worst| format!(", worst {}", short(worst)));
    let (title, level) = (one_line(&firing.title), &firing.level);
    format!("{begin}  {level} {length}  {title}{}", worst.unwrap_or_default())
}

fn seconds(from: i64, to: i64) -> u64 {
    u64::try_from(to.saturating_sub(from)).unwrap_or(0)
}

/// Its two largest units: `3d4h`.
fn rough(secs: u64) -> String {
    let units = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, unit)| secs >= *unit).unwrap_or(units.len() - 1);
    let (mut rest, mut text) = (secs, String::new());
    for (name, unit) in units.iter().skip(first).take(2) {
        if rest >= *unit || text.is_empty() {
            let _ = write!(text, "{}{name}", rest / unit);
        }
        rest %= unit;
    }
    text
}

/// Four places are enough for people; whole numbers are whole.
fn short(value: f64) -> String {
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_when_and_how_long_and_at_which_resolution() {
        let part = |from, to, width, every, known| Part { from, to, width, every, known };
        let start = 1_767_571_200;
        let tested = Tested {
            rule: "errors-high".to_owned(),
            problem: None,
            parts: vec![
                part(start, start + 40 * 86_400, Some(3600), None, 0),
                part(start + 40 * 86_400, start + 43 * 86_400, Some(60), Some(60), 86_400),
                part(start + 43 * 86_400, start + 43 * 86_400 + 7200, Some(1), Some(1), 7200),
            ],
            fired: 2,
            firings: vec![Firing {
                title: "errors-high{host=a}".to_owned(),
                level: "critical".to_owned(),
                begin: start,
                end: Some(start + 5460),
                worst: Some(12.50),
            }],
            messages: [("oncall".to_owned(), 4)].into(),
            messages_per_week: Some(25.84),
        };
        let text = told(&[tested]);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines[0],
            "errors-high: would have fired 2 times; 25.8 messages a week (4 to oncall)"
        );
        assert_eq!(
            lines[1],
            "  played 2h at 1s, 3d at 1m (1d known), \
             40d not at all (windows of 1h do not make up the rule's)"
        );
        assert!(
            lines[2].ends_with("  critical for 1h31m  errors-high{host=a}, worst 12.5"),
            "{text}"
        );
        assert_eq!(lines[3], "  and once more");
    }
}
