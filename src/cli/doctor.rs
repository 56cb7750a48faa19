//! `tallyd doctor`: looks at all that a server needs, before it is started or while it runs.
//!
//! Each finding is one line with what to do about it. It changes nothing: no file is made, no lock is taken, and
//! nobody is told anything, since the mail server is asked for its name and the password, and no more.

mod machine;
mod places;
mod reach;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::DoctorArgs;
use super::config::{complain, say};
use crate::config::{Config, Surroundings, load};
use crate::reason::one_line;
use crate::time::clock::SystemClock;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It could not be looked at, or is said for the record.
    Note,
    /// It works, and may not for long, or not as meant.
    Warning,
    /// A server would not start, or not do what it is configured to do.
    Failure,
}

impl Verdict {
    const fn word(self) -> &'static str {
        match self {
            Self::Good => "ok",
            Self::Note => "note",
            Self::Warning => "WARN",
            Self::Failure => "FAIL",
        }
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Finding {
    verdict: Verdict,
    what: &'static str,
    text: String,
}

/// All that was found, in the order in which it was looked at; each is printed at once.
#[derive(Debug, Default)]
struct Findings {
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, verdict: Verdict, what: &'static str, text: impl Into<String>) {
        let finding = Finding { verdict, what, text: text.into() };
        // Nobody reads it: then there is nobody to tell, either.
        let _ = io::stdout().write_all(line(&finding).as_bytes());
        self.all.push(finding);
    }

    fn good(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(Verdict::Good, what, text);
    }

    fn note(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(Verdict::Note, what, text);
    }

    fn warn(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(Verdict::Warning, what, text);
    }

    fn fail(&mut self, what: &'static str, text: impl Into<String>) {
        self.add(Verdict::Failure, what, text);
    }

    fn count(&self, verdict: Verdict) -> usize {
        self.all.iter().filter(|finding| finding.verdict == verdict).count()
    }

    /// The last line: how much of it is bad.
    fn summary(&self) -> String {
        let (failures, warnings) = (self.count(Verdict::Failure), self.count(Verdict::Warning));
        if failures + warnings == 0 {
            return "All is well.\n".to_owned();
        }
        format!("{}, {}.\n", counted(failures, "failure"), counted(warnings, "warning"))
    }
}

/// `FAIL  data directory   /var/lib/tallyd: …`
fn line(finding: &Finding) -> String {
    let Finding { verdict, what, text } = finding;
    format!("{:<5} {what:<14} {}\n", verdict.word(), one_line(text))
}

/// `no failure`, `1 failure`, `2 failures`
fn counted(count: usize, what: &str) -> String {
    match count {
        0 => format!("no {what}"),
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    }
}

/// Looks at everything; the exit code says whether anything fails.
pub(super) fn run(args: &DoctorArgs) -> ExitCode {
    let mut findings = Findings::default();
    if let Some(config) = configuration(args, &mut findings) {
        let clock = SystemClock::new();
        let is_up = reach::server(&config, args, &mut findings);
        reach::ports(&config, is_up, &mut findings);
        places::look(&config, is_up, &clock, &mut findings);
        machine::look(&config, &clock, &mut findings);
        reach::mail(&config, &mut findings);
        reach::webhooks(&config, &mut findings);
    }
    let _ = io::stdout().write_all(findings.summary().as_bytes());
    if findings.count(Verdict::Failure) > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What is configured; `None` where that cannot be said.
fn configuration(args: &DoctorArgs, findings: &mut Findings) -> Option<Config> {
    const WHAT: &str = "configuration";
    let Some(file) = &args.config else {
        findings.good(WHAT, "the built-in defaults; --config FILE names another");
        return Some(Config::default());
    };
    let shown = file.display();
    match load(file, &Surroundings::of_process()) {
        Ok(loaded) => {
            let (rules, contacts) = (loaded.config.rules.len(), loaded.config.contacts.len());
            let counts = format!("{}, {}", counted(rules, "rule"), counted(contacts, "contact"));
            if loaded.warnings.is_empty() {
                findings.good(WHAT, format!("{shown}: {counts}"));
            } else {
                say(&loaded.warnings.render(io::stderr().is_terminal()));
                findings.warn(
                    WHAT,
                    format!("{shown}: {counts}; what standard error tells may not be meant"),
                );
            }
            Some(loaded.config)
        }
        Err(error) => {
            complain(&error);
            findings.fail(WHAT, format!("{shown} cannot be used; standard error says why"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_one_line_and_the_last_one_counts() {
        let mut findings = Findings::default();
        assert_eq!(findings.summary(), "All is well.\n");
        findings.good("clock", "right");
        findings.note("mail", "none");
        assert_eq!(findings.summary(), "All is well.\n");
        findings.warn("disk", "full\nsoon");
        assert_eq!(findings.summary(), "no failure, 1 warning.\n");
        findings.fail("port", "taken");
        findings.fail("port", "taken");
        assert_eq!(findings.summary(), "2 failures, 1 warning.\n");
        let warned = findings.all.get(2).map(line);
        assert_eq!(warned.as_deref(), Some("WARN  disk           full soon\n"));
    }
}
