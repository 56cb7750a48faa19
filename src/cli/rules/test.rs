//! `tallyd rules test`: plays a file of cases and says which do not hold.

use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use super::super::config;
use crate::config::{Case, LoadError, Script, Surroundings, load_script};
use crate::engine::play::{Failure, play};

/// Something does not hold.
const FAILED: u8 = 1;
/// The file itself is wrong.
const MISUSED: u8 = 2;

/// Plays the cases of `file`.
pub(in crate::cli) fn test(file: &Path) -> ExitCode {
    match load_script(file, &Surroundings::of_process()) {
        Ok(script) => run(file, &script),
        Err(LoadError::Missing { .. }) => {
            let _ = writeln!(io::stderr(), "error: there is no file {}", file.display());
            ExitCode::from(MISUSED)
        }
        Err(error) => {
            config::complain(&error);
            ExitCode::from(MISUSED)
        }
    }
}

fn run(file: &Path, script: &Script) -> ExitCode {
    let _ = io::stderr().write_all(script.warnings.render(io::stderr().is_terminal()).as_bytes());
    let mut failed = 0;
    for case in &script.cases {
        progress(case);
        let failures = play(case);
        failed += usize::from(!failures.is_empty());
        // Nobody reads it: the exit code says it all the same.
        let _ = io::stdout().write_all(verdict(file, case, &failures).as_bytes());
    }
    let passed = script.cases.len() - failed;
    let _ = writeln!(io::stdout(), "{passed} passed, {failed} failed");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) }
}

/// Says which case is played, where somebody watches.
fn progress(case: &Case) {
    if io::stdout().is_terminal() {
        let _ = write!(io::stdout(), "…     {}\r", case.name);
        let _ = io::stdout().flush();
    }
}

fn verdict(file: &Path, case: &Case, failures: &[Failure]) -> String {
    if failures.is_empty() {
        return format!("ok    {}\n", case.name);
    }
    let told = failures.iter().map(|failure| told(file, failure));
    format!("FAIL  {}\n{}", case.name, told.collect::<String>())
}

fn told(file: &Path, failure: &Failure) -> String {
    let Failure { line, at, instant, title, what } = failure;
    let (file, instant) = (file.display(), instant.rfc3339());
    format!("      {file}:{line}: {title} at {at} ({instant}): {what}\n")
}
