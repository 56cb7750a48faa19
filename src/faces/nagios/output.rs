//! The output of a plugin within a number of bytes: who carries it reads no more of it.
//!
//! `STATE - name: text | 'label'=value[unit];warning;critical;least; …`, then lines of their own. Nothing
//! but the text of the first line is ever cut within: of data and lines there are whole ones, and the lines that
//! are worst come first, since those behind them may be left out. What a name or a value brings along can end
//! neither the line nor the text before the data.

use std::fmt::{self, Write};

use super::Check;
use crate::rules::Level;

/// Left for the text of the first line where there is little room, in bytes.
const TEXT_BYTES: usize = 400;

/// Room kept to say how many lines were left out, in bytes.
const MORE_BYTES: usize = 32;

/// What there is to say, before it is known how much of it there is room for.
pub(super) struct Said {
    pub(super) level: Level,
    /// What it is about.
    pub(super) name: String,
    /// What the first line says of it.
    pub(super) text: String,
    pub(super) data: Vec<Datum>,
    /// Further lines, each with a state of its own.
    pub(super) lines: Vec<(Level, String)>,
}

/// One value of the performance data.
#[derive(Default)]
pub(super) struct Datum {
    pub(super) label: String,
    /// `None`: it is not known.
    pub(super) value: Option<f64>,
    pub(super) unit: &'static str,
    /// Ranges as the guidelines write them, or nothing.
    pub(super) warning: String,
    pub(super) critical: String,
    pub(super) least: &'static str,
}

impl Said {
    /// As much of it as so many bytes hold.
    pub(super) fn within(mut self, room: usize) -> Check {
        let mut text =
            format!("{} - {}: {}", self.level.name(), clean(&self.name), clean(&self.text));
        truncate(&mut text, (room / 8).max(TEXT_BYTES).min(room));
        self.write_data(room, &mut text);
        // It is a stable sort: lines that are as bad stay in their order.
        self.lines.sort_by(|(one, _), (other, _)| other.cmp(one));
        self.write_lines(room, &mut text);
        Check { level: self.level, text }
    }

    fn write_data(&self, room: usize, text: &mut String) {
        // Where lines follow, half of the room is theirs.
        let room = if self.lines.is_empty() { room } else { room / 2 + text.len() / 2 };
        let mut before = " | ";
        for datum in &self.data {
            let datum = datum.to_string();
            if text.len() + before.len() + datum.len() > room {
                break;
            }
            text.push_str(before);
            text.push_str(&datum);
            before = " ";
        }
    }

    fn write_lines(&self, room: usize, text: &mut String) {
        for (at, (level, line)) in self.lines.iter().enumerate() {
            let line = format!("\n{} - {}", level.name(), clean(line));
            let is_last = at + 1 == self.lines.len();
            let kept = if is_last { 0 } else { MORE_BYTES };
            if text.len() + line.len() + kept > room {
                let more = format!("\n… and {} more", self.lines.len() - at);
                if text.len() + more.len() <= room {
                    text.push_str(&more);
                }
                return;
            }
            text.push_str(&line);
        }
    }
}

impl fmt::Display for Datum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { warning, critical, least, .. } = self;
        write!(f, "'{}'=", label(&self.label))?;
        match self.value.filter(|value| value.is_finite()) {
            Some(value) => write!(f, "{}{}", plain(value), self.unit)?,
            None => f.write_char('U')?,
        }
        write!(f, ";{warning};{critical};{least};")
    }
}

/// A number as machines read it: no exponent, at most six digits after the point, or after the zeros behind it.
pub(super) fn plain(value: f64) -> String {
    let exponent = format!("{value:.5e}");
    let exponent = exponent.rsplit('e').next().and_then(|text| text.parse::<i32>().ok());
    let zeros = exponent.map_or(0, |exponent| (-1 - exponent).max(0).unsigned_abs() as usize);
    let text = format!("{value:.*}", 6 + zeros);
    let text = text.trim_end_matches('0').trim_end_matches('.');
    if text == "-0" { "0".to_owned() } else { text.to_owned() }
}

/// A label inside its quotes: a quote is doubled, and there is no equals sign.
fn label(text: &str) -> String {
    clean(text).replace('=', ":").replace('\'', "''")
}

/// Without what ends a line or begins the performance data, and in ASCII where it is ours.
pub(super) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '|' => '/',
            '−' => '-',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect()
}

fn truncate(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end =
            (0..=bytes.saturating_sub('…'.len_utf8())).rev().find(|at| text.is_char_boundary(*at));
        text.truncate(end.unwrap_or(0));
        text.push('…');
    }
}
