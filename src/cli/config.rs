//! `tallyd config check`: every problem in a file at once.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use crate::config::{LoadError, Metric, MetricKind, Surroundings, load};
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
            let mut text =
                format!("{}: good, {rules} rules, {contacts} contacts\n", file.display());
            config.metrics.iter().for_each(|metric| text += &described(metric));
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// `web.*.ms: a distribution in ms, 2 digits, at most 32 KiB a window: Time to answer`
fn described(metric: &Metric) -> String {
    let Metric { series, kind, unit, description, layout } = metric;
    let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
    let histogram = if *kind == MetricKind::Distribution {
        let most = layout.bytes().div_ceil(1024);
        format!(", {} digits, at most {most} KiB a window", layout.digits())
    } else {
        String::new()
    };
    let end = if description.is_empty() { String::new() } else { format!(": {description}") };
    format!("{series}: {}{unit}{histogram}{end}\n", kind.text())
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
