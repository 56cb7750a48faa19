//! A message as a mail: its subject, its text and its HTML.
//!
//! Pure: how an instant is written is handed in, so a mail does not depend on the machine's zone.
//! Both parts are laid out from the same rows and say the same. Every text that is not ours is on
//! one printable line, so that it can neither forge a line of the body nor a header; HTML is escaped
//! by maud throughout. It loads nothing from anywhere. This module knows nothing of SMTP.

use std::fmt::Write;

use maud::{DOCTYPE, Markup, html};

use super::message::{Message, Notice, NoticeKind};
use super::words;
use crate::rules::Level;
use crate::time::Timestamp;

/// What a mail says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mail {
    /// One line, at most about 120 characters.
    pub subject: String,
    /// The text part, in lines of 78 columns; a longer word, such as a link, is left whole.
    pub text: String,
    /// The HTML part.
    pub html: String,
}

/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 120;
/// Notices that are told in full; further ones have a line each.
const DETAILED_MAX: usize = 20;
/// Lines for further notices; beyond that they are counted.
const BRIEF_MAX: usize = 500;
/// Columns of the text part.
const COLUMNS: usize = 78;
/// Where the second column of the text part begins.
const INDENT: usize = 15;

/// Writes the mail for a message. `when` writes an instant for its readers.
#[must_use]
pub fn compose(message: &Message, when: impl Fn(Timestamp) -> String) -> Mail {
    let page = Page::of(message, &when);
    Mail { text: page.text(), html: page.html().into_string(), subject: page.subject }
}

/// A mail before it has a form.
struct Page {
    subject: String,
    is_test: bool,
    is_unsaved: bool,
    /// Why it comes to somebody for whom it was not.
    undelivered: Option<String>,
    /// How many there are of what, where there are several.
    count: Option<String>,
    sections: Vec<Section>,
    /// What is beyond the sections, a line each.
    brief: Vec<String>,
    /// How many are beyond those.
    uncounted: usize,
    server: String,
    commands: Vec<String>,
}

/// One notice.
struct Section {
    level: Level,
    title: String,
    happened: String,
    summary: String,
    rows: Vec<(&'static str, String)>,
    runbook: Option<String>,
}

impl Page {
    fn of(message: &Message, when: &dyn Fn(Timestamp) -> String) -> Self {
        let (full, rest) = message.notices.split_at(message.notices.len().min(DETAILED_MAX));
        let mut commands: Vec<String> = Vec::new();
        for notice in full {
            let command = format!("tallyd check {}", argument(&words::one_line(&notice.rule.name)));
            if !commands.contains(&command) {
                commands.push(command);
            }
        }
        Self {
            subject: subject(message),
            is_test: message.is_test,
            is_unsaved: message.is_unsaved,
            undelivered: words::undelivered(message),
            count: count(&message.notices),
            sections: full.iter().map(|notice| Section::of(notice, message.at, when)).collect(),
            brief: rest.iter().take(BRIEF_MAX).map(brief).collect(),
            uncounted: rest.len().saturating_sub(BRIEF_MAX),
            server: words::one_line(&message.public_url),
            commands,
        }
    }
}

impl Section {
    fn of(notice: &Notice, at: Timestamp, when: &dyn Fn(Timestamp) -> String) -> Self {
        let amount = |value| notice.rule.unit.say(value);
        let mut rows = Vec::new();
        if notice.value.is_some() || !notice.kind.is_over() {
            rows.push(("Value now", words::value(notice)));
        }
        rows.extend(notice.began.map(|value| ("When it began", amount(value))));
        rows.extend(notice.worst.map(|value| ("Worst", amount(value))));
        rows.extend(words::scaled(notice).map(|text| ("Note", text.to_owned())));
        rows.push(("Threshold", words::threshold(notice)));
        if notice.kind.is_over() {
            let lasted = words::duration(notice.since.since(notice.opened));
            rows.push(("Lasted", format!("{lasted}, since {}", when(notice.opened))));
            let ended = match notice.kind {
                NoticeKind::Recovered => "Recovered",
                NoticeKind::Closed(_) => "Closed",
                _ => "Ended",
            };
            rows.push((ended, moment(notice.since, at, when)));
        } else {
            if notice.opened < notice.since {
                rows.push(("Incident since", moment(notice.opened, at, when)));
            }
            rows.push(("Since", moment(notice.since, at, when)));
        }
        if !notice.labels.is_empty() {
            let tags = notice.labels.iter().map(|(name, value)| format!("{name}={value}"));
            rows.push(("Instance", words::one_line(&tags.collect::<Vec<_>>().join(", "))));
        }
        Self {
            level: notice.level,
            title: words::title(notice),
            happened: words::happened(notice),
            summary: words::one_line(&notice.rule.summary),
            rows,
            runbook: notice.rule.runbook.as_deref().map(words::one_line),
        }
    }
}

/// An instant with its age.
fn moment(instant: Timestamp, at: Timestamp, when: &dyn Fn(Timestamp) -> String) -> String {
    let age = at.since(instant);
    let age = if age.as_millis() < 1000 {
        "just now".to_owned()
    } else {
        format!("{} ago", words::duration(age))
    };
    format!("{} ({age})", when(instant))
}

/// One line that says the most important, also for other forms than mail.
pub(super) fn subject(message: &Message) -> String {
    let test = if message.is_test { "[TEST] " } else { "" };
    let mut subject = format!("{test}[{}] ", message.level().name());
    if let [notice] = message.notices.as_slice() {
        // The value is what may not be lost, so a long name gives way.
        let value = words::value(notice);
        let room =
            SUBJECT_CHARS_MAX.saturating_sub(subject.chars().count() + value.chars().count() + 2);
        let _ = write!(subject, "{}: {value}", words::cut(&words::title(notice), room));
        return subject;
    }
    let _ = write!(subject, "{} alerts: ", message.notices.len());
    let room = SUBJECT_CHARS_MAX - subject.chars().count();
    subject.push_str(&listed(&message.notices, room));
    subject
}

/// As many titles as fit, whole where that can be.
fn listed(notices: &[Notice], room: usize) -> String {
    let mut list = String::new();
    for (index, notice) in notices.iter().enumerate() {
        let title = words::title(notice);
        let is_last = index + 1 == notices.len();
        // Every title but the last leaves room for ", …".
        let width = list.chars().count() + title.chars().count() + 2 + if is_last { 0 } else { 3 };
        if index > 0 && width > room {
            list.push_str(", …");
            break;
        }
        if index > 0 {
            list.push_str(", ");
        }
        list.push_str(&title);
    }
    words::cut(&list, room)
}

/// `3 alerts: 2 critical, 1 ok`
fn count(notices: &[Notice]) -> Option<String> {
    if notices.len() < 2 {
        return None;
    }
    let levels = [Level::Critical, Level::Unknown, Level::Warning, Level::Ok];
    let parts: Vec<_> = levels
        .into_iter()
        .map(|level| (level, notices.iter().filter(|notice| notice.level == level).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| format!("{count} {}", level.word()))
        .collect();
    Some(format!("{} alerts: {}", notices.len(), parts.join(", ")))
}

fn brief(notice: &Notice) -> String {
    format!("{}: {}: {}", notice.level.name(), words::title(notice), words::value(notice))
}

/// A name as one argument of a shell's command line.
fn argument(name: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
    if !name.is_empty() && name.chars().all(is_plain) {
        name.to_owned()
    } else {
        format!("'{}'", name.replace('\'', r"'\''"))
    }
}

// Text.

impl Page {
    fn text(&self) -> String {
        let mut out = String::new();
        if self.is_test {
            paragraph(&mut out, words::TEST);
            out.push('\n');
        }
        if self.is_unsaved {
            paragraph(&mut out, words::UNSAVED);
            out.push('\n');
        }
        if let Some(undelivered) = &self.undelivered {
            paragraph(&mut out, undelivered);
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
        if !self.brief.is_empty() {
            self.brief.iter().for_each(|line| paragraph(&mut out, line));
            if self.uncounted > 0 {
                paragraph(&mut out, &format!("… and {} more", self.uncounted));
            }
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
        if let Some(runbook) = &self.runbook {
            row(out, "Runbook", runbook);
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

// HTML. Colours are set only where both the letters and what is behind them are ours, so that the
// reader's own light or dark scheme holds for all the rest.

impl Page {
    fn html(&self) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="color-scheme" content="light dark";
                    meta name="supported-color-schemes" content="light dark";
                    title { (self.subject) }
                }
                body style="font-family:sans-serif;font-size:15px;line-height:1.4" {
                    @if self.is_test { p { strong { (words::TEST) } } }
                    @if self.is_unsaved { p { strong { (words::UNSAVED) } } }
                    @if let Some(text) = &self.undelivered { p { strong { (text) } } }
                    @if let Some(count) = &self.count { p { (count) } }
                    @for section in &self.sections { (section.html()) }
                    @if !self.brief.is_empty() {
                        ul {
                            @for line in &self.brief { li { (line) } }
                            @if self.uncounted > 0 { li { "… and " (self.uncounted) " more" } }
                        }
                    }
                    p { "Server: " (link(&self.server)) }
                    @for command in &self.commands { p { code { (command) } } }
                }
            }
        }
    }
}

impl Section {
    fn html(&self) -> Markup {
        let badge = format!(
            "background-color:{};color:#ffffff;padding:2px 8px;border-radius:3px",
            colour(self.level)
        );
        html! {
            h2 style="font-size:18px;margin:24px 0 4px" {
                span style=(badge) { (self.level.name()) } " " (self.title)
            }
            p style="margin:4px 0" { (self.happened) }
            @if !self.summary.is_empty() { p style="margin:4px 0" { (self.summary) } }
            table style="border-collapse:collapse;margin:8px 0" {
                @for (name, text) in &self.rows { (html_row(name, &html! { (text) })) }
                @if let Some(runbook) = &self.runbook { (html_row("Runbook", &link(runbook))) }
            }
        }
    }
}

fn html_row(name: &str, content: &Markup) -> Markup {
    const CELL: &str = "text-align:left;vertical-align:top;padding:3px 12px 3px 0;\
        border-bottom:1px solid #888888";
    html! {
        tr {
            th scope="row" style=(CELL) { (name) }
            td style=(CELL) { (content) }
        }
    }
}

/// A link where the text is one that a reader may follow; other schemes, such as `javascript:`, are
/// text.
fn link(url: &str) -> Markup {
    if url.starts_with("http://") || url.starts_with("https://") {
        html! { a href=(url) { (url) } }
    } else {
        html! { (url) }
    }
}

/// White letters stand out from each of these by a contrast of 4.5 or more.
fn colour(level: Level) -> &'static str {
    match level {
        Level::Ok => "#1e6b34",
        Level::Warning => "#8a5a00",
        Level::Unknown => "#5b4a8a",
        Level::Critical => "#b3261e",
    }
}

#[cfg(test)]
mod tests;
