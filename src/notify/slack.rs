//! A message for an incoming webhook of Slack: a line of text, and blocks in attachments whose colour
//! says how bad it is.
//!
//! Source of the form and its limits: Slack's reference of Block Kit and of secondary attachments.
//! Slack refuses a whole message for one text that is too long, so each is cut, and what is beyond
//! the room for attachments has a line each, and beyond those is counted. Names and summaries stand
//! only where Slack reads no markup: nobody can call a channel by naming a series.

use std::fmt::Write;

use serde_json::{Value, json};

use super::mail;
use super::message::{Message, Notice, NoticeKind};
use super::words;
use crate::rules::Level;
use crate::time::Timestamp;

/// Notices that have an attachment each. Slack advises against more than twenty of these.
const DETAILED_MAX: usize = 10;
/// Lines for further notices; beyond that they are counted.
const BRIEF_MAX: usize = 50;
/// Longest header, in characters.
const HEADER_CHARS: usize = 150;
/// Longest text of a section, in characters.
const SECTION_CHARS: usize = 3000;
/// Longest text of one of its fields, in characters.
const FIELD_CHARS: usize = 2000;
/// What a notification shows, in characters.
const TEXT_CHARS: usize = 500;
/// Longest link. Others are left out.
const LINK_CHARS: usize = 1000;

/// The body, as JSON.
pub(super) fn body(message: &Message) -> String {
    let (full, rest) = message.notices.split_at(message.notices.len().min(DETAILED_MAX));
    let mut attachments: Vec<_> = full.iter().map(|notice| attachment(message, notice)).collect();
    if !rest.is_empty() {
        attachments.push(brief(rest));
    }
    if let Some(note) = words::note(message) {
        attachments.push(json!({ "blocks": [plain_section(&note)] }));
    }
    json!({
        "text": escaped(&words::cut(&mail::subject(message), TEXT_CHARS)),
        "mrkdwn": false,
        "attachments": attachments,
    })
    .to_string()
}

/// A sign of life.
pub(super) fn heartbeat(public_url: &str) -> String {
    let text = format!("tallyd is well (heartbeat of {public_url})");
    json!({ "text": escaped(&words::cut(&text, TEXT_CHARS)), "mrkdwn": false }).to_string()
}

fn attachment(message: &Message, notice: &Notice) -> Value {
    let title = words::title(notice);
    let header = format!("{}: {title}", notice.level.name());
    let mut said = words::happened(notice);
    if !notice.rule.summary.is_empty() {
        let _ = write!(said, "\n{}", words::one_line(&notice.rule.summary));
    }
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&header, HEADER_CHARS) }),
        plain_section(&said),
        json!({ "type": "section", "fields": fields(notice) }),
    ];
    if let Some(links) = links(message, notice) {
        let elements = json!([{ "type": "mrkdwn", "text": links }]);
        blocks.push(json!({ "type": "context", "elements": elements }));
    }
    json!({ "color": colour(notice.level), "blocks": blocks })
}

/// At most ten, as many as a section may have.
fn fields(notice: &Notice) -> Vec<Value> {
    let say = |value: Option<f64>| value.map(|value| notice.rule.unit.say(value));
    let rows = [
        ("Value now", Some(words::value(notice))),
        ("When it began", say(notice.began)),
        ("Worst", say(notice.worst)),
        ("Threshold", Some(words::threshold(notice)).filter(|text| !text.is_empty())),
        ("Note", words::scaled(notice).map(str::to_owned)),
    ];
    let rows = rows.into_iter().filter_map(|(name, text)| Some((name, text?)));
    let mut fields: Vec<_> =
        rows.map(|(name, text)| plain(&format!("{name}\n{text}"), FIELD_CHARS)).collect();
    fields.push(moment("Began", notice.opened));
    match notice.kind {
        kind if kind.is_over() => fields.push(moment("Ended", notice.since)),
        NoticeKind::Firing => {}
        _ => fields.push(moment("Since", notice.since)),
    }
    fields
}

/// An instant, which Slack shows in the zone of whoever reads it.
fn moment(name: &str, at: Timestamp) -> Value {
    let (secs, text) = (at.as_secs(), at.rfc3339());
    let text = format!("{name}\n<!date^{secs}^{{date_short_pretty}} {{time_secs}}|{text}>");
    json!({ "type": "mrkdwn", "text": text })
}

fn links(message: &Message, notice: &Notice) -> Option<String> {
    let runbook = notice.rule.runbook.as_deref().and_then(|url| link(url, "Runbook"));
    let server = link(&message.public_url, "tallyd");
    let links: Vec<_> = runbook.into_iter().chain(server).collect();
    (!links.is_empty()).then(|| links.join("  ·  "))
}

/// A link, where it is one and can stand in the markup.
fn link(url: &str, text: &str) -> Option<String> {
    let is_web = url.starts_with("http://") || url.starts_with("https://");
    let is_plain =
        !url.contains(|c: char| "<>|".contains(c) || c.is_whitespace() || c.is_control());
    let fits = url.chars().count() <= LINK_CHARS;
    (is_web && is_plain && fits).then(|| format!("<{}|{text}>", url.replace('&', "&amp;")))
}

/// A line for each, as far as a section holds them; how many are left.
fn brief(notices: &[Notice]) -> Value {
    let mut lines = String::new();
    let mut told = 0;
    for notice in notices.iter().take(BRIEF_MAX) {
        let line = format!(
            "{}: {}: {}\n",
            notice.level.name(),
            words::title(notice),
            words::value(notice)
        );
        let line = words::cut(&line, HEADER_CHARS);
        if lines.chars().count() + line.chars().count() > SECTION_CHARS - 100 {
            break;
        }
        lines.push_str(line.trim_end());
        lines.push('\n');
        told += 1;
    }
    let left = notices.len() - told;
    if left > 0 {
        let _ = write!(lines, "… and {left} more");
    }
    let worst = notices.iter().map(|notice| notice.level).max().unwrap_or_default();
    json!({ "color": colour(worst), "blocks": [plain_section(lines.trim_end())] })
}

fn plain_section(text: &str) -> Value {
    json!({ "type": "section", "text": plain(text, SECTION_CHARS) })
}

fn plain(text: &str, chars: usize) -> Value {
    json!({ "type": "plain_text", "text": words::cut(text, chars), "emoji": false })
}

/// The three characters by which Slack's markup begins.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

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
