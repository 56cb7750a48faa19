//! Where problems are gathered while a file is read.
//!
//! The readers share one sink and only ever add to it. At the end it sorts what it holds by line,
//! says of each unknown key what may have been meant, and leaves out what a broken part of the file
//! makes doubtful. It also knows which stretches of the file are secrets.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use annotate_snippets::normalize_untrusted_str;
use toml::Spanned;
use toml::de::{DeValue, Error as SyntaxError};

use super::excerpt::Source;
use super::nearest::nearest;
use super::problem::{Problem, Problems, Severity};
use super::section::Place;

/// Problems that are kept; more are only counted. Nobody reads a thousand messages, and a file of
/// the greatest size could be nothing but mistakes.
const KEPT_MAX: usize = 1000;

/// What is shown of a text in a message, in characters.
const SHOWN_CHARS: usize = 60;

/// What is shown of a path, in characters.
const FILE_CHARS: usize = 150;

/// What is shown of a message, in characters.
const MESSAGE_CHARS: usize = 400;

/// What is wrong with a text, before anybody says where it stands.
pub(super) struct Fault {
    message: String,
    label: String,
    help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), label: String::new(), help: None }
    }

    /// What stands under the marked text.
    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// What to do about it.
    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn at(self, place: Place) -> Finding {
        Finding { fault: self, place, also: None, doubt: Doubt::None }
    }
}

/// A fault and its place.
pub(super) struct Finding {
    fault: Fault,
    place: Place,
    also: Option<(Place, String)>,
    doubt: Doubt,
}

impl Finding {
    pub(super) fn new(place: Place, message: impl Into<String>) -> Self {
        Fault::new(message).at(place)
    }

    pub(super) fn label(mut self, label: impl Into<String>) -> Self {
        self.fault = self.fault.label(label);
        self
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.fault = self.fault.help(help);
        self
    }

    /// Another place that has to do with it.
    pub(super) fn also(mut self, place: Place, label: impl Into<String>) -> Self {
        self.also = Some((place, label.into()));
        self
    }

    /// It is wrong because something is not there. In a file with a broken part it may well be there.
    pub(super) fn absence(mut self) -> Self {
        self.doubt = Doubt::Absence;
        self
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Doubt {
    None,
    Absence,
    Syntax,
}

struct UnknownKey {
    title: &'static str,
    name: String,
    place: Place,
}

/// From where on the tree of a broken file says nothing certain, and the lines with syntax errors.
struct Breaks {
    places: Vec<Place>,
    certain_until: usize,
}

/// Gathers problems, warnings and secrets.
pub(super) struct Sink {
    errors: RefCell<Vec<Finding>>,
    warnings: RefCell<Vec<Finding>>,
    unknown: RefCell<Vec<UnknownKey>>,
    hidden: RefCell<Vec<Place>>,
    /// Keys that were asked for, by section title.
    asked: RefCell<BTreeMap<&'static str, Vec<&'static str>>>,
    breaks: Breaks,
}

impl Sink {
    /// A sink that holds the errors of the TOML itself.
    pub(super) fn new(syntax: &[SyntaxError]) -> Self {
        let mut breaks = Breaks { places: Vec::new(), certain_until: usize::MAX };
        let mut findings = Vec::new();
        for error in syntax {
            let place = Place::from(error.span().unwrap_or(0..0));
            breaks.places.push(place);
            if !is_local(error.message()) {
                breaks.certain_until = breaks.certain_until.min(place.start);
            }
            findings.push(syntax_finding(error.message(), place));
        }
        Self {
            errors: RefCell::new(findings),
            warnings: RefCell::default(),
            unknown: RefCell::default(),
            hidden: RefCell::default(),
            asked: RefCell::default(),
            breaks,
        }
    }

    /// Something that makes the file unusable.
    pub(super) fn error(&self, finding: Finding) {
        self.errors.borrow_mut().push(finding);
    }

    /// Something that the author may not have meant.
    pub(super) fn warn(&self, finding: Finding) {
        self.warnings.borrow_mut().push(finding);
    }

    /// A key that nobody asked for. Nobody knows what it holds, so its value is not shown.
    pub(super) fn unknown(
        &self,
        title: &'static str,
        name: &str,
        place: Place,
        value: &Spanned<DeValue<'_>>,
    ) {
        self.hide(value);
        self.unknown.borrow_mut().push(UnknownKey { title, name: name.to_owned(), place });
    }

    /// Never shows this value, nor anything inside it. A list instead of recursion, because dotted
    /// keys nest as deep as a line is long.
    pub(super) fn hide(&self, value: &Spanned<DeValue<'_>>) {
        let mut hidden = self.hidden.borrow_mut();
        let mut rest = vec![value];
        while let Some(value) = rest.pop() {
            match value.get_ref() {
                // The place of a table may be its header or a key, which are no secrets.
                DeValue::Table(table) => rest.extend(table.values()),
                DeValue::Array(array) => rest.extend(array.iter()),
                _ => hidden.push(Place::from(value.span())),
            }
        }
    }

    /// Never shows what is written there.
    pub(super) fn hide_place(&self, place: Place) {
        self.hidden.borrow_mut().push(place);
    }

    /// Remembers which keys a section has.
    pub(super) fn asked(&self, title: &'static str, keys: &[&'static str]) {
        let mut asked = self.asked.borrow_mut();
        let known = asked.entry(title).or_default();
        known.extend(keys.iter().filter(|key| !known.contains(key)).collect::<Vec<_>>());
    }

    /// Every key that was asked for so far, by section title.
    #[cfg(test)]
    pub(super) fn keys(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        self.asked.borrow().clone()
    }

    /// All problems and all warnings of the file with that text.
    pub(super) fn finish(self, text: &str, origin: &Path) -> (Problems, Problems) {
        let asked = self.asked.into_inner();
        let mut errors = self.errors.into_inner();
        errors.extend(self.unknown.into_inner().iter().map(|key| unknown_key(key, &asked)));

        let broken = !self.breaks.places.is_empty();
        let source = Source::new(text, self.hidden.into_inner(), broken);
        let errors = self.breaks.sift(errors, &source);
        let note = (self.breaks.certain_until != usize::MAX).then(|| {
            let line = source.line_index(self.breaks.certain_until) + 1;
            format!("what follows line {line} can only be checked once the syntax there is mended")
        });
        (
            problems(Severity::Error, errors, &source, origin, note),
            problems(Severity::Warning, self.warnings.into_inner(), &source, origin, None),
        )
    }
}

impl Breaks {
    /// Leaves out what a broken part of the file makes doubtful, and all but the first syntax error
    /// of a line: the others follow from it.
    fn sift(&self, findings: Vec<Finding>, source: &Source<'_>) -> Vec<Finding> {
        let line = |place: &Place| source.line_index(place.start);
        let broken: BTreeSet<_> = self.places.iter().map(line).collect();
        let mut told = BTreeSet::new();
        let is_certain = |finding: &Finding| match finding.doubt {
            Doubt::Syntax => told.insert(line(&finding.place)),
            Doubt::Absence => self.certain_until == usize::MAX,
            Doubt::None => {
                finding.place.start < self.certain_until && !broken.contains(&line(&finding.place))
            }
        };
        findings.into_iter().filter(is_certain).collect()
    }
}

/// Whether a syntax error leaves the rest of the tree as it was meant. The library has no kinds of
/// errors, only texts; one that is not known here is taken to break everything after it.
fn is_local(message: &str) -> bool {
    message == "duplicate key" || message.starts_with("string values must be quoted")
}

/// The library's messages read "what is wrong, expected this, that".
fn syntax_finding(message: &str, place: Place) -> Finding {
    let (message, label) = match message.split_once(", expected ") {
        // Quotes are what is missing; which kind is the author's choice.
        Some((message, "literal string")) => (message, String::new()),
        Some((message, expected)) => (message, format!("expected {expected}")),
        None => (message, String::new()),
    };
    let mut finding = Finding::new(place, message).label(label);
    finding.doubt = Doubt::Syntax;
    finding
}

fn unknown_key(key: &UnknownKey, asked: &BTreeMap<&'static str, Vec<&'static str>>) -> Finding {
    let name = shown(&key.name);
    let message = match key.title {
        "" => format!("unknown key or section {name}"),
        title => format!("unknown key {name} in {title}"),
    };
    let finding = Finding::new(key.place, message);
    let siblings = asked.get(key.title).map(Vec::as_slice).unwrap_or_default();
    if let Some(meant) = nearest(&key.name, siblings.iter().copied()) {
        return finding.help(format!("did you mean `{meant}`?"));
    }
    let homes: Vec<_> = asked
        .iter()
        .filter(|(title, keys)| !title.is_empty() && keys.contains(&key.name.as_str()))
        .map(|(title, _)| *title)
        .collect();
    if homes.is_empty() {
        let mut all = siblings.to_vec();
        all.sort_unstable();
        finding.help(format!("known here: {}", all.join(", ")))
    } else {
        finding.help(format!("it is a key of {}", homes.join(" and of ")))
    }
}

fn problems(
    severity: Severity,
    mut findings: Vec<Finding>,
    source: &Source<'_>,
    origin: &Path,
    note: Option<String>,
) -> Problems {
    findings.sort_by_key(|finding| finding.place.start);
    let beyond = findings.len().saturating_sub(KEPT_MAX);
    findings.truncate(KEPT_MAX);
    let problem = |finding: Finding| Problem {
        message: one_line(&finding.fault.message),
        at: source.excerpt(finding.place),
        label: one_line(&finding.fault.label),
        also: finding.also.map(|(place, label)| (source.excerpt(place), one_line(&label))),
        help: finding.fault.help.map(|help| one_line(&help)),
    };
    let list = findings.into_iter().map(problem).collect();
    let origin = normalize_untrusted_str(&origin.display().to_string());
    Problems { severity, origin, list, beyond, note }
}

/// A text from the file as a message shows it: in backquotes, of bounded length, and with nothing in
/// it that a terminal would obey.
pub(super) fn shown(text: &str) -> String {
    format!("`{}`", start(text, SHOWN_CHARS))
}

/// The same of the path of a file, of which the end matters.
pub(super) fn file_shown(path: &Path) -> String {
    format!("`{}`", start(&path.display().to_string(), FILE_CHARS))
}

/// What is printed of a message: whatever a library put into it, it stays one line.
fn one_line(text: &str) -> String {
    start(text, MESSAGE_CHARS)
}

fn start(text: &str, chars_max: usize) -> String {
    let start: String = text.chars().take(chars_max).collect();
    let rest = if text.chars().nth(chars_max).is_some() { "…" } else { "" };
    normalize_untrusted_str(&start).replace('\n', "␊") + rest
}
