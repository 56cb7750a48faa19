//! `tallyd config check`: every problem in a file at once.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{LoadError, Surroundings, load};
use crate::reason;

/// Reports the problems of a file; the exit code says whether there are any.
pub(super) fn check(file: &Path) -> ExitCode {
    match load(file, &Surroundings::of_process()) {
        Ok(loaded) => {
            let config = loaded.config;
            if !loaded.warnings.is_empty() {
                say(&loaded.warnings.render(io::stderr().is_terminal()));
            }
            let (rules, contacts) = (config.rules.len(), config.contacts.len());
            let line = format!("{}: good, {rules} rules, {contacts} contacts", file.display());
            // Nobody reads it: then there is nobody to tell, either.
            let _ = writeln!(io::stdout(), "{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Says on standard error why a file cannot be used.
pub(super) fn complain(error: &LoadError) {
    match error {
        LoadError::Invalid(problems) => say(&problems.render(io::stderr().is_terminal())),
        other => {
            let cause = other.source().map(|cause| format!(": {}", reason::of(cause)));
            say(&format!("error: {other}{}", cause.unwrap_or_default()));
        }
    }
}

fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
