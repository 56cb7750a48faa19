//! A problem of a configuration file, and how it is printed.
//!
//! A problem carries the one line of source that it is about and nothing else of the file, with
//! secrets already taken out; so it can be kept, logged and sent to whoever asked for a reload. What
//! makes something a problem is not known here.

use std::fmt;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) message: String,
    pub(super) at: Excerpt,
    /// What stands under the marked text; may be empty.
    pub(super) label: String,
    /// Another place that has to do with it, and what stands under that.
    pub(super) also: Option<(Excerpt, String)>,
    pub(super) help: Option<String>,
}

/// One line of the file, with one stretch of it marked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Excerpt {
    /// Counted from 1.
    pub(super) line: usize,
    /// Counted in characters of the file, from 1.
    pub(super) column: usize,
    /// The line with secrets replaced, and the marked stretch in bytes of that; `None` when it is
    /// too long to be shown.
    pub(super) shown: Option<(String, Range<usize>)>,
}

impl Problem {
    /// What is wrong, in one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Why, in a few words; may be empty.
    #[must_use]
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The line where it is, counted from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        self.at.line
    }
}

/// Everything that is wrong with one file, or everything to warn of; in the order of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems {
    pub(super) severity: Severity,
    /// The file's path, as messages name it.
    pub(super) origin: String,
    pub(super) list: Vec<Problem>,
    /// Problems that were counted but not kept.
    pub(super) beyond: usize,
    /// What the list does not tell.
    pub(super) note: Option<String>,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Severity {
    /// The file is refused.
    Error,
    /// The file is taken.
    Warning,
}

impl Problems {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len() + self.beyond
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The problems that were kept: all of them, unless there are more than a person would read.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.list.iter()
    }

    /// How many there are and where: `6 problems in tallyd.toml`.
    #[must_use]
    pub fn summary(&self) -> String {
        let noun = match self.severity {
            Severity::Error => "problem",
            Severity::Warning => "warning",
        };
        let plural = if self.len() == 1 { "" } else { "s" };
        format!("{} {noun}{plural} in {}", self.len(), self.origin)
    }

    /// All of them for people, with their lines of source, and the summary at the end. Empty when
    /// there are none. `color` adds terminal escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        if self.is_empty() {
            return String::new();
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let problems = self.list.iter().map(|problem| renderer.render(&[self.group(problem)]));
        let mut parts: Vec<String> = problems.collect();
        parts.extend((self.beyond > 0).then(|| format!("… and {} more", self.beyond)));
        parts.extend(self.note.as_ref().map(|note| format!("note: {note}")));
        parts.push(self.summary());
        parts.join("\n\n") + "\n"
    }

    fn group<'a>(&'a self, problem: &'a Problem) -> Group<'a> {
        let level = match self.severity {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let group = Group::with_title(level.primary_title(problem.message.as_str()));
        let primary = (AnnotationKind::Primary, &problem.at, problem.label.as_str());
        let group = match &problem.also {
            Some((also, label)) => {
                let context = (AnnotationKind::Context, also, label.as_str());
                if also.line == problem.at.line {
                    self.show(group, &[primary, context])
                } else {
                    self.show(self.show(group, &[primary]), &[context])
                }
            }
            None => self.show(group, &[primary]),
        };
        group.elements(problem.help.as_ref().map(|help| Level::HELP.message(help.as_str())))
    }

    /// Adds one line of source with its marks, or its place alone when it is too long.
    fn show<'a>(&'a self, group: Group<'a>, marks: &[Mark<'a>]) -> Group<'a> {
        let Some((_, at, label)) = marks.first() else { return group };
        let Some((text, _)) = &at.shown else {
            let place = Origin::path(self.origin.as_str()).line(at.line).char_column(at.column);
            let group = group.element(place);
            let note = (!label.is_empty()).then(|| Level::NOTE.message(*label));
            return group.elements(note);
        };
        let annotations = marks.iter().filter_map(|(kind, at, label)| {
            let (_, marked) = at.shown.as_ref()?;
            Some(kind.span(marked.clone()).label((!label.is_empty()).then_some(*label)))
        });
        let snippet = Snippet::source(text.as_str()).line_start(at.line);
        group.element(snippet.path(self.origin.as_str()).annotations(annotations))
    }
}

/// A stretch to mark and what stands under it.
type Mark<'a> = (AnnotationKind, &'a Excerpt, &'a str);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.render(false).trim_end())
    }
}

impl std::error::Error for Problems {}
