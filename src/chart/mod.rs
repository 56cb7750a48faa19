//! A line over time as an SVG picture, with current, average and maximum.
//!
//! Pure: points in, text out. A gap in the points is a gap in the line, never a bridge and never a
//! zero. Colours follow the reader's light or dark setting, or one of the two where the picture becomes
//! dots (`png`). This module does not know where the picture is shown, nor where the points come from.

mod png;
mod scale;

pub use png::png;

use std::fmt::Write;

use crate::reason::{cut, one_line};
use crate::time::Timestamp;
use scale::Scale;

/// What is drawn.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Chart {
    /// Above the picture.
    pub title: String,
    /// What the values are counted in, behind each figure: `per minute`.
    pub unit: String,
    /// Evenly spaced instants with their values, in order of time.
    pub points: Points,
    /// What they are compared with, at the same instants.
    pub reference: Option<Reference>,
    /// Lines across: thresholds.
    pub marks: Vec<f64>,
    /// Thresholds that move with what is compared with, at the same instants.
    pub moving_marks: Vec<Points>,
    /// Lines down: what happened when. At most [`EVENTS_MAX`] are drawn, the latest.
    pub events: Vec<(Timestamp, String)>,
}

/// Instants with their values, in order of time.
pub type Points = Vec<(Timestamp, Option<f64>)>;

/// An earlier course of the same values.
#[derive(Clone, Debug, PartialEq)]
pub struct Reference {
    /// `last week`.
    pub name: String,
    /// Its values, at the instants with which they are compared.
    pub points: Points,
}

/// In which colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    /// Those that the reader's browser asks for, on whatever is behind the picture.
    Reader,
    /// On white.
    Light,
    /// On something dark.
    Dark,
}

/// Size of the picture.
pub const WIDTH: u16 = 640;
/// Size of the picture.
pub const HEIGHT: u16 = 200;

/// Events that are drawn.
pub const EVENTS_MAX: usize = 20;

const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 32.0;
const BOTTOM: f64 = 44.0;

/// A title with more characters runs out of the picture.
const TITLE_CHARS: usize = 92;
/// The words beside an event.
const EVENT_CHARS: usize = 26;
/// What these take of the width, roughly.
const EVENT_WIDTH: f64 = 150.0;

/// Colours that stand out from each other and from what is behind them, by a contrast of 4.5 where
/// they are letters.
struct Palette {
    paper: &'static str,
    text: &'static str,
    faint: &'static str,
    grid: &'static str,
    line: &'static str,
    mark: &'static str,
    event: &'static str,
}

const LIGHT: Palette = Palette {
    paper: "#ffffff",
    text: "#222222",
    faint: "#666666",
    grid: "#e2e2e2",
    line: "#1769aa",
    mark: "#c62828",
    event: "#7b4fa6",
};

const DARK: Palette = Palette {
    paper: "#1e1f22",
    text: "#e3e3e3",
    faint: "#a0a0a0",
    grid: "#3a3c40",
    line: "#64b5f6",
    mark: "#ef8a8a",
    event: "#c3a3e6",
};

impl Palette {
    fn style(&self, out: &mut String) {
        let Self { paper, text, faint, grid, line, mark, event } = self;
        let _ = write!(
            out,
            ".paper{{fill:{paper}}}text{{fill:{text}}}.faint{{fill:{faint}}}.grid{{stroke:{grid}}}\
             .line{{stroke:{line}}}.area,.dot{{fill:{line}}}.then{{stroke:{faint}}}\
             .mark{{stroke:{mark}}}.event{{stroke:{event}}}text.event{{fill:{event};stroke:none}}"
        );
    }
}

/// What is the same in all colours.
const STYLE: &str = "text{font:12px system-ui,sans-serif}.title{font-size:13px}\
    .line,.then,.mark{fill:none}.line{stroke-width:1.6;stroke-linejoin:round}.area{fill-opacity:.1}\
    .then{stroke-width:1.2;stroke-dasharray:2 3}.mark{stroke-width:1.2;stroke-dasharray:6 3}\
    text.event{font-size:11px}";

impl Chart {
    /// The picture as a whole SVG document.
    #[must_use]
    pub fn svg(&self, theme: Theme) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\"><style>{STYLE}"
        );
        match theme {
            Theme::Light => LIGHT.style(&mut out),
            Theme::Dark => DARK.style(&mut out),
            Theme::Reader => {
                LIGHT.style(&mut out);
                out.push_str("@media(prefers-color-scheme:dark){");
                DARK.style(&mut out);
                out.push('}');
            }
        }
        out.push_str("</style>");
        if theme != Theme::Reader {
            let _ = write!(out, "<rect class=\"paper\" width=\"{WIDTH}\" height=\"{HEIGHT}\"/>");
        }
        text(&mut out, 8.0, 19.0, "title", &cut(&one_line(&self.title), TITLE_CHARS));
        let scale = Scale::of(self);
        scale.grid(&mut out);
        scale.hours(&mut out);
        self.events(&scale, &mut out);
        for mark in self.marks.iter().filter(|mark| scale.holds(**mark)) {
            let y = scale.y(*mark);
            let right = width() - RIGHT;
            let _ = write!(out, "<path class=\"mark\" d=\"M{LEFT} {y:.1}L{right} {y:.1}\"/>");
        }
        for mark in &self.moving_marks {
            curve(&scale, "mark", mark, &mut out);
        }
        if let Some(reference) = &self.reference {
            curve(&scale, "then", &reference.points, &mut out);
        }
        self.area(&scale, &mut out);
        curve(&scale, "line", &self.points, &mut out);
        self.footer(&mut out);
        out.push_str("</svg>");
        out
    }

    /// What lies between the line and zero, so that the line is seen at a glance.
    fn area(&self, scale: &Scale, out: &mut String) {
        for stretch in self.points.split(|(_, value)| value.is_none()) {
            let ([(first, _), .., (last, _)], ground) = (stretch, scale.y(scale.ground())) else {
                continue;
            };
            let (first, last) = (scale.x(*first), scale.x(*last));
            let path = path(scale, stretch);
            let _ = write!(
                out,
                "<path class=\"area\" d=\"{path}L{last:.1} {ground:.1}L{first:.1} {ground:.1}Z\"/>"
            );
        }
    }

    /// What happened when; words only where there is room for them.
    fn events(&self, scale: &Scale, out: &mut String) {
        let seen = self.events.iter().filter(|(at, _)| scale.spans(*at));
        let mut seen: Vec<_> = seen.collect();
        seen.sort_by_key(|(at, _)| *at);
        let mut free = LEFT;
        for (at, what) in seen.iter().skip(seen.len().saturating_sub(EVENTS_MAX)) {
            let x = scale.x(*at);
            let bottom = height() - BOTTOM;
            let _ = write!(out, "<path class=\"event\" d=\"M{x:.1} {TOP}L{x:.1} {bottom}\"/>");
            let what = escaped(&cut(&one_line(what), EVENT_CHARS));
            let y = TOP + 9.0;
            if x + EVENT_WIDTH < width() - RIGHT && x >= free {
                let _ = write!(
                    out,
                    "<text class=\"event\" x=\"{:.1}\" y=\"{y}\">{what}</text>",
                    x + 4.0
                );
                free = x + EVENT_WIDTH;
            } else if x - EVENT_WIDTH >= free {
                let _ = write!(
                    out,
                    "<text class=\"event\" text-anchor=\"end\" x=\"{:.1}\" y=\"{y}\">{what}</text>",
                    x - 4.0
                );
                free = x;
            }
        }
    }

    /// The three figures, and what the dashes are.
    fn footer(&self, out: &mut String) {
        let values: Vec<f64> = self.points.iter().filter_map(|(_, value)| *value).collect();
        let figures = match self.points.last() {
            Some(_) if values.is_empty() => "no data".to_owned(),
            Some((_, current)) => {
                let current = current.map_or_else(|| "no data".to_owned(), short);
                let (average, maximum) = (short(mean(&values)), short(greatest(&values)));
                format!("current {current} · average {average} · maximum {maximum} · {}", self.unit)
            }
            None => "no data".to_owned(),
        };
        text(out, LEFT, height() - 8.0, "", &cut(&one_line(&figures), TITLE_CHARS));
        if let Some(reference) = &self.reference {
            let name = escaped(&format!("dotted: {}", reference.name));
            let (x, y) = (width() - RIGHT, height() - 8.0);
            let _ = write!(
                out,
                "<text class=\"faint\" text-anchor=\"end\" x=\"{x}\" y=\"{y}\">{name}</text>"
            );
        }
    }
}

/// A line, in as many pieces as there are stretches without a gap.
fn curve(scale: &Scale, class: &str, points: &[(Timestamp, Option<f64>)], out: &mut String) {
    for stretch in points.split(|(_, value)| value.is_none()) {
        match stretch {
            [] => {}
            // A single point has no length, and would not be seen.
            [(at, value)] => {
                let (x, y) = (scale.x(*at), scale.y(value.unwrap_or_default()));
                let _ =
                    write!(out, "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\"/>");
            }
            _ => {
                let path = path(scale, stretch);
                let _ = write!(out, "<path class=\"{class}\" d=\"{path}\"/>");
            }
        }
    }
}

fn path(scale: &Scale, stretch: &[(Timestamp, Option<f64>)]) -> String {
    let mut path = String::new();
    for (at, value) in stretch {
        let letter = if path.is_empty() { 'M' } else { 'L' };
        let (x, y) = (scale.x(*at), scale.y(value.unwrap_or_default()));
        let _ = write!(path, "{letter}{x:.1} {y:.1}");
    }
    path
}

fn text(out: &mut String, x: f64, y: f64, class: &str, text: &str) {
    let _ = write!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
}

fn width() -> f64 {
    f64::from(WIDTH)
}

fn height() -> f64 {
    f64::from(HEIGHT)
}

#[expect(clippy::cast_precision_loss, reason = "there are at most a thousand points")]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

fn greatest(values: &[f64]) -> f64 {
    values.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// A figure with a suffix, so that it fits beside the axis: `12.4`, `1.5k`, `20M`.
fn short(value: f64) -> String {
    let size = value.abs();
    let (scaled, suffix) = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")]
        .into_iter()
        .find(|(limit, _)| size >= *limit)
        .map_or((value, ""), |(limit, suffix)| {
            (value / if suffix == "k" { 1e3 } else { limit }, suffix)
        });
    let decimals = if scaled.abs() >= 100.0 { 0 } else { 2 };
    let text = format!("{scaled:.decimals$}");
    let text =
        if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{suffix}")
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '"' => out.push_str("&quot;"),
            // XML 1.0 has no form for most of them at all.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
