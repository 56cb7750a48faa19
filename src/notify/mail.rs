//! A message as a mail: its subject, its text, its HTML and the pictures in it.
//!
//! Pure: how an instant is written is handed in, so a mail does not depend on the machine's zone.
//! Both parts are laid out from the same rows and say the same; `text` and `html` give them their
//! form. Every text that is not ours is on one printable line, so that it can neither forge a line of the
//! body nor a header; HTML is escaped by maud throughout. It loads nothing from anywhere. This module
//! knows nothing of SMTP.

mod html;
mod text;

use std::fmt::Write;

use super::illustration::{Illustration, Illustrations};
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
    /// The pictures that it shows, by the ids that it names them by.
    pub pictures: Vec<(String, Vec<u8>)>,
}

/// How a mail is written, beside what it says.
pub struct Style<'a> {
    /// An instant, for its readers.
    pub when: &'a dyn Fn(Timestamp) -> String,
    /// What the ids of its pictures end in; unique among all mails.
    pub picture_id: &'a str,
}

/// Longest subject, in characters.
const SUBJECT_CHARS_MAX: usize = 120;
/// With more notices than these a mail is a digest.
const DETAILED_MAX: usize = 20;
/// Lines for the notices of a digest; beyond that they are counted.
const BRIEF_MAX: usize = 500;
/// Deploys that are named.
const DEPLOYS_MAX: usize = 3;

/// Writes the mail for a message that nothing stands beside. `when` writes an instant for its readers.
#[must_use]
pub fn compose(message: &Message, when: impl Fn(Timestamp) -> String) -> Mail {
    compose_with(message, &Illustrations::new(), &Style { when: &when, picture_id: "" })
}

/// Writes the mail for a message.
#[must_use]
pub fn compose_with(message: &Message, beside: &Illustrations, style: &Style<'_>) -> Mail {
    let page = Page::of(message, beside, style);
    Mail {
        text: page.text(),
        html: page.html().into_string(),
        pictures: page.pictures,
        subject: page.subject,
    }
}

/// A mail before it has a form.
struct Page {
    subject: String,
    /// What has to be known about the message itself.
    notes: Vec<String>,
    /// How many there are of what, where there are several.
    count: Option<String>,
    sections: Vec<Section>,
    digest: Vec<Of>,
    server: String,
    commands: Vec<String>,
    pictures: Vec<(String, Vec<u8>)>,
}

/// One notice.
struct Section {
    level: Level,
    title: String,
    happened: String,
    summary: String,
    /// What matters most, and what stands behind it smaller.
    headline: (String, Option<String>),
    rows: Vec<(&'static str, String)>,
    /// The ids of the picture in light and dark, and what it shows.
    picture: Option<[String; 3]>,
    /// What a reader can do, and the address at which it is done.
    links: Vec<(&'static str, String)>,
}

/// The notices of one rule in a digest.
struct Of {
    rule: String,
    count: String,
    level: Level,
    lines: Vec<(Level, String)>,
    /// How many have no line.
    more: usize,
}

impl Page {
    fn of(message: &Message, beside: &Illustrations, style: &Style<'_>) -> Self {
        let is_digest = is_digest(message);
        let full = if is_digest { &[] } else { message.notices.as_slice() };
        let mut pictures = Vec::new();
        let none = Illustration::default();
        let sections = full.iter().map(|notice| {
            let its = beside.get(&notice.incident).unwrap_or(&none);
            Section::of(notice, its, message.at, style, &mut pictures)
        });
        let notes = [(message.is_test, words::TEST), (message.is_unsaved, words::UNSAVED)];
        let notes = notes.into_iter().filter(|(is_so, _)| *is_so).map(|(_, note)| note.to_owned());
        Self {
            subject: subject_with(message, beside),
            notes: notes.chain(words::undelivered(message)).collect(),
            count: count(&message.notices),
            sections: sections.collect(),
            digest: if is_digest { digest(&message.notices) } else { Vec::new() },
            server: words::one_line(&message.public_url),
            // Of a test there is no rule.
            commands: if message.is_test { Vec::new() } else { commands(full) },
            pictures,
        }
    }
}

/// A command for each of the rules.
fn commands(notices: &[Notice]) -> Vec<String> {
    let mut commands: Vec<String> = Vec::new();
    for notice in notices {
        let command = format!("tallyd check {}", argument(&words::one_line(&notice.rule.name)));
        if !commands.contains(&command) {
            commands.push(command);
        }
    }
    commands
}

/// Whether rules are named instead of instances: the message is such, or nobody would read it to its end.
fn is_digest(message: &Message) -> bool {
    message.is_digest || message.notices.len() > DETAILED_MAX
}

/// By rule, the worst first, each with its instances as long as there is room.
fn digest(notices: &[Notice]) -> Vec<Of> {
    let mut rules: Vec<(&str, Vec<&Notice>)> = Vec::new();
    for notice in notices {
        let name = notice.rule.name.as_str();
        match rules.iter_mut().find(|(rule, _)| *rule == name) {
            Some((_, its)) => its.push(notice),
            None => rules.push((name, vec![notice])),
        }
    }
    // Each rule has a line at least, whatever the others have.
    let mut room = BRIEF_MAX.saturating_sub(rules.len());
    let of = |(rule, its): (&str, Vec<&Notice>)| {
        let taken = its.len().min(room + 1);
        room -= taken - 1;
        let line = |notice: &&Notice| (notice.level, brief(notice));
        Of {
            rule: words::one_line(rule),
            count: levels(&its.iter().copied()),
            level: its.iter().map(|notice| notice.level).max().unwrap_or_default(),
            lines: its.iter().take(taken).map(line).collect(),
            more: its.len() - taken,
        }
    };
    rules.into_iter().map(of).collect()
}

impl Section {
    fn of(
        notice: &Notice,
        beside: &Illustration,
        at: Timestamp,
        style: &Style<'_>,
        pictures: &mut Vec<(String, Vec<u8>)>,
    ) -> Self {
        let is_over = notice.kind.is_over();
        let headline = match &beside.compared {
            Some(compared) if notice.value.is_some() => {
                (compared.now.clone(), Some(words::value(notice)))
            }
            _ => (words::value(notice), None),
        };
        let mut links: Vec<(&'static str, String)> = Vec::new();
        if !is_over {
            links.extend(beside.acknowledge.iter().map(|url| ("Acknowledge", url.clone())));
            links.extend(beside.silence.iter().map(|url| ("Silence", url.clone())));
        }
        let runbook = notice.rule.runbook.as_deref().map(words::one_line);
        links.extend(runbook.map(|url| ("Runbook", url)));
        Self {
            level: notice.level,
            title: words::title(notice),
            happened: words::happened(notice),
            summary: words::one_line(&notice.rule.summary),
            headline,
            rows: rows(notice, beside, at, style.when),
            picture: beside.picture.as_ref().map(|picture| {
                let place = pictures.len() / 2 + 1;
                let id = |theme: &str| format!("chart-{place}-{theme}.{}", style.picture_id);
                let (light, dark) = (id("light"), id("dark"));
                pictures.push((light.clone(), picture.light.clone()));
                pictures.push((dark.clone(), picture.dark.clone()));
                [light, dark, words::one_line(&picture.title)]
            }),
            links,
        }
    }
}

fn rows(
    notice: &Notice,
    beside: &Illustration,
    at: Timestamp,
    when: &dyn Fn(Timestamp) -> String,
) -> Vec<(&'static str, String)> {
    let amount = |value| notice.rule.unit.say(value);
    let mut rows = Vec::new();
    if notice.value.is_some() || !notice.kind.is_over() {
        let value = words::value(notice);
        match &beside.compared {
            Some(compared) if notice.value.is_some() => {
                rows.push(("Value now", format!("{} ({value})", compared.now)));
                rows.push(("Value then", format!("{}, {}", compared.then, compared.when)));
            }
            _ => rows.push(("Value now", value)),
        }
    }
    rows.extend(notice.began.map(|value| ("When it began", amount(value))));
    rows.extend(notice.worst.map(|value| ("Worst", amount(value))));
    rows.extend(words::scaled(notice).map(|text| ("Note", text.to_owned())));
    let threshold = words::threshold(notice);
    rows.extend((!threshold.is_empty()).then_some(("Threshold", threshold)));
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
    for (place, deploy) in beside.deploys.iter().take(DEPLOYS_MAX).enumerate() {
        let who = if deploy.who.is_empty() { String::new() } else { format!(" by {}", deploy.who) };
        let what = words::one_line(&format!("{}{who}", deploy.what));
        let name = if place == 0 { "Deployed" } else { "" };
        rows.push((
            name,
            format!("{what}, {} ({})", when(deploy.at), apart(deploy.at, notice.opened)),
        ));
    }
    let left = beside.deploys.len().saturating_sub(DEPLOYS_MAX);
    rows.extend((left > 0).then(|| ("", format!("and {left} more"))));
    rows
}

/// When something was done, seen from the beginning of the incident.
fn apart(at: Timestamp, opened: Timestamp) -> String {
    if at <= opened {
        format!("{} before it began", words::duration(opened.since(at)))
    } else {
        format!("{} after it began", words::duration(at.since(opened)))
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
    subject_with(message, &Illustrations::new())
}

fn subject_with(message: &Message, beside: &Illustrations) -> String {
    let test = if message.is_test { "[TEST] " } else { "" };
    let mut subject = format!("{test}[{}] ", message.level().name());
    if let [notice] = message.notices.as_slice() {
        // The value is what may not be lost, so a long name gives way.
        let value = words::value(notice);
        let compared = beside.get(&notice.incident).and_then(|its| its.compared.as_ref());
        let value = match compared.filter(|_| notice.value.is_some()) {
            Some(compared) => format!("{} ({value})", compared.now),
            None => value,
        };
        let room =
            SUBJECT_CHARS_MAX.saturating_sub(subject.chars().count() + value.chars().count() + 2);
        let _ = write!(subject, "{}: {value}", words::cut(&words::title(notice), room));
        return words::cut(&subject, SUBJECT_CHARS_MAX);
    }
    let _ = write!(subject, "{} alerts: ", message.notices.len());
    let room = SUBJECT_CHARS_MAX - subject.chars().count();
    if is_digest(message) {
        let rules = digest(&message.notices).into_iter();
        subject.push_str(&listed(rules.map(|of| format!("{} ({})", of.rule, of.count)), room));
    } else {
        subject.push_str(&listed(message.notices.iter().map(words::title), room));
    }
    subject
}

/// As many titles as fit, whole where that can be.
fn listed(titles: impl Iterator<Item = String>, room: usize) -> String {
    let mut list = String::new();
    let mut titles = titles.peekable();
    while let Some(title) = titles.next() {
        let is_first = list.is_empty();
        let is_last = titles.peek().is_none();
        // Every title but the last leaves room for ", …".
        let width = list.chars().count() + title.chars().count() + 2 + if is_last { 0 } else { 3 };
        if !is_first && width > room {
            list.push_str(", …");
            break;
        }
        if !is_first {
            list.push_str(", ");
        }
        list.push_str(&title);
    }
    words::cut(&list, room)
}

/// `3 alerts: 2 critical, 1 ok`
fn count(notices: &[Notice]) -> Option<String> {
    (notices.len() > 1).then(|| format!("{} alerts: {}", notices.len(), levels(&notices.iter())))
}

/// `2 critical, 1 ok`
fn levels<'a>(notices: &(impl Iterator<Item = &'a Notice> + Clone)) -> String {
    let levels = [Level::Critical, Level::Unknown, Level::Warning, Level::Ok];
    let parts: Vec<_> = levels
        .into_iter()
        .map(|level| (level, notices.clone().filter(|notice| notice.level == level).count()))
        .filter(|(_, count)| *count > 0)
        .map(|(level, count)| format!("{count} {}", level.word()))
        .collect();
    parts.join(", ")
}

/// What a digest says of one notice, behind its level: the rule is named above.
fn brief(notice: &Notice) -> String {
    let tags = notice.labels.iter().map(|(name, value)| format!("{name}={value}"));
    let tags = words::one_line(&tags.collect::<Vec<_>>().join(", "));
    let value = words::value(notice);
    if tags.is_empty() { value } else { format!("{tags}: {value}") }
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

#[cfg(test)]
mod tests;
