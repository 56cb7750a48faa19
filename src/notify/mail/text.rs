//! The text part: lines of 78 columns, in two columns where there are rows.

use std::fmt::Write;

use super::{Of, Page, Section};

/// Columns of a line.
pub(super) const COLUMNS: usize = 78;
/// Where the second column begins.
const INDENT: usize = 15;

impl Page {
    pub(super) fn text(&self) -> String {
        let mut out = String::new();
        for note in &self.notes {
            paragraph(&mut out, note);
            out.push('\n');
        }
        if let Some(count) = &self.count {
            paragraph(&mut out, count);
            out.push('\n');
        }
        for section in &self.sections {
            section.text(&mut out);
            out.push('\n');
        }
        for of in &self.digest {
            of.text(&mut out);
            out.push('\n');
        }
        row(&mut out, "Server", &self.server);
        for (index, command) in self.commands.iter().enumerate() {
            row(&mut out, if index == 0 { "Command" } else { "" }, command);
        }
        out
    }
}

impl Section {
    fn text(&self, out: &mut String) {
        paragraph(out, &format!("{}: {}", self.level.name(), self.title));
        paragraph(out, &self.happened);
        if !self.summary.is_empty() {
            paragraph(out, &self.summary);
        }
        out.push('\n');
        self.rows.iter().for_each(|(name, text)| row(out, name, text));
        self.links.iter().for_each(|(name, url)| row(out, name, url));
    }
}

impl Of {
    fn text(&self, out: &mut String) {
        paragraph(out, &format!("{}: {}", self.rule, self.count));
        for (level, line) in &self.lines {
            let name = level.name();
            let _ = write!(out, "  {name:9}");
            wrap(out, 11, 11, line);
        }
        if self.more > 0 {
            paragraph(out, &format!("  … and {} more of {}", self.more, self.rule));
        }
    }
}

fn paragraph(out: &mut String, text: &str) {
    wrap(out, 0, 0, text);
}

fn row(out: &mut String, name: &str, text: &str) {
    let _ = write!(out, "{name:INDENT$}");
    wrap(out, INDENT, INDENT, text);
}

/// Appends lines of at most [`COLUMNS`], the first from column `from` on, the others indented.
fn wrap(out: &mut String, from: usize, indent: usize, text: &str) {
    let mut column = from;
    let mut is_first = true;
    for word in text.split(' ') {
        let width = word.chars().count();
        if !is_first && column + 1 + width > COLUMNS {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        } else if !is_first {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        is_first = false;
    }
    out.push('\n');
}
