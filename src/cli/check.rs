//! `tallyd check`: the Nagios plugin.
//!
//! The server writes the whole output; the plugin fetches and prints it, and takes its exit code from
//! the word that it begins with, which has to be followed by the name of the rule. Whatever goes wrong on the way is UNKNOWN, on one line.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use super::{CheckArgs, server};
use crate::faces::nagios::{Check, unknown};
use crate::limits;
use crate::reason;
use crate::rules::Level;

/// Prints the state of a rule; the exit code is that of a plugin.
pub(super) fn run(args: &CheckArgs) -> ExitCode {
    let check = match ask(args) {
        Ok(text) => judge(args, text),
        Err(reason) => unknown(&args.rule, &reason),
    };
    let _ = writeln!(io::stdout(), "{}", check.text.trim_end());
    ExitCode::from(check.level.exit_code())
}

/// Says that the command line is wrong, as a plugin does: a reader of exit codes must not take it for
/// CRITICAL. How it is to be written stands on standard error.
pub(super) fn misused(error: &clap::Error) -> ExitCode {
    let _ = write!(io::stderr(), "{}", error.render());
    let text = error.render().to_string();
    let problem = text.split("\n\n").next().unwrap_or_default();
    let problem = reason::one_line(problem.trim_start_matches("error: "));
    let check = unknown("tallyd check", &problem);
    let _ = writeln!(io::stdout(), "{}", check.text);
    ExitCode::from(check.level.exit_code())
}

/// The check that an answer holds; something else may listen there.
fn judge(args: &CheckArgs, text: String) -> Check {
    if let Some(level) = Level::of_output(&text, &args.rule) {
        return Check { level, text };
    }
    let first = text.lines().next().unwrap_or_default();
    unknown(&args.rule, &format!("{} is not tallyd: {first}", args.server.server))
}

/// The answer of `/check/RULE`; `Err` says in plain words why there is none.
fn ask(args: &CheckArgs) -> Result<String, String> {
    let path = ["check", &args.rule];
    let (url, server) = server::url_of(&args.server.server, &args.server.papers, &path)?;
    let answer =
        server::get(url, &server, Duration::from_secs(args.server.timeout), limits::NAGIOS_BYTES)?;
    match answer.code {
        401 | 403 => Err(format!("tallyd at {server} says: {}", server::told(&answer.text))),
        _ => Ok(answer.text),
    }
}
