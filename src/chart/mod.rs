//! A line over time as an SVG picture, with current, average and maximum.
//!
//! Pure: points in, text out. A gap in the points is a gap in the line, never a bridge and never a
//! zero. Colours follow the reader's light or dark setting. This module does not know where the
//! picture is shown, nor where the points come from.

use std::fmt::Write;

use crate::time::Timestamp;

/// What is drawn.
#[derive(Clone, Debug, PartialEq)]
pub struct Chart {
    /// Above the picture.
    pub title: String,
    /// What the values are counted in, behind each figure: `per minute`.
    pub unit: String,
    /// Evenly spaced instants with their values, in order of time.
    pub points: Vec<(Timestamp, Option<f64>)>,
    /// Lines across: thresholds.
    pub marks: Vec<f64>,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 180.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 28.0;
const BOTTOM: f64 = 42.0;

const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#333}.faint{fill:#777}\
    .grid{stroke:#ddd}.line{fill:none;stroke:#1769aa;stroke-width:1.5}.dot{fill:#1769aa}\
    .mark{stroke:#c62828;stroke-dasharray:4 3}\
    @media(prefers-color-scheme:dark){text{fill:#ddd}.faint{fill:#999}.grid{stroke:#444}\
    .line{stroke:#64b5f6}.dot{fill:#64b5f6}.mark{stroke:#ef9a9a}}";

impl Chart {
    /// The picture as a whole SVG document.
    #[must_use]
    pub fn svg(&self) -> String {
        let mut out = String::new();
        let _ = write!(
            out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\"><style>{STYLE}</style>"
        );
        self.text(&mut out, 8.0, 18.0, "", &self.title);
        let scale = Scale::of(self);
        scale.grid(&mut out);
        for mark in self.marks.iter().filter(|mark| scale.holds(**mark)) {
            let y = scale.y(*mark);
            let right = WIDTH - RIGHT;
            let _ = write!(
                out,
                "<line class=\"mark\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>"
            );
        }
        self.line(&scale, &mut out);
        self.footer(&mut out);
        out.push_str("</svg>");
        out
    }

    /// The line, in as many pieces as there are stretches without a gap.
    fn line(&self, scale: &Scale, out: &mut String) {
        for stretch in self.points.split(|(_, value)| value.is_none()) {
            let mut path = String::new();
            for (at, value) in stretch {
                let letter = if path.is_empty() { 'M' } else { 'L' };
                let (x, y) = (scale.x(*at), scale.y(value.unwrap_or_default()));
                let _ = write!(path, "{letter}{x:.1} {y:.1}");
            }
            match stretch {
                [] => {}
                // A single point has no length, and would not be seen.
                [(at, value)] => {
                    let (x, y) = (scale.x(*at), scale.y(value.unwrap_or_default()));
                    let _ = write!(
                        out,
                        "<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"1.5\"/>"
                    );
                }
                _ => {
                    let _ = write!(out, "<path class=\"line\" d=\"{path}\"/>");
                }
            }
        }
    }

    /// From when to when, and the three figures.
    fn footer(&self, out: &mut String) {
        if let (Some((first, _)), Some((last, _))) = (self.points.first(), self.points.last()) {
            self.text(out, LEFT, HEIGHT - 24.0, "faint", &first.in_system_zone());
            let end = last.in_system_zone();
            self.text(out, WIDTH - RIGHT - 150.0, HEIGHT - 24.0, "faint", &end);
        }
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
        self.text(out, LEFT, HEIGHT - 7.0, "", &figures);
    }

    #[expect(clippy::unused_self, reason = "reads as the other parts do")]
    fn text(&self, out: &mut String, x: f64, y: f64, class: &str, text: &str) {
        let _ = write!(out, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(text));
    }
}

/// From instants and values to places in the picture.
struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

impl Scale {
    fn of(chart: &Chart) -> Self {
        // Kept off the ends of what a double holds, so that differences of values are finite.
        let bounded = |value: f64| value.clamp(-1e300, 1e300);
        let values = || chart.points.iter().filter_map(|(_, value)| value.map(bounded));
        // Counts begin at zero, so that a small swing does not look like a large one.
        let low = values().fold(0.0, f64::min);
        let high = values().fold(0.0, f64::max);
        let low = if low < -1e-300 { -round_up(-low) } else { 0.0 };
        let high = if high > 1e-300 { round_up(high) } else { 0.0 };
        let high = if high > low { high } else { low + 1.0 };
        let time =
            |point: Option<&(Timestamp, Option<f64>)>| point.map_or(0.0, |(at, _)| millis(*at));
        let (from, to) = (time(chart.points.first()), time(chart.points.last()));
        Self { from, to: to.max(from + 1.0), low, high }
    }

    fn x(&self, at: Timestamp) -> f64 {
        LEFT + (millis(at) - self.from) / (self.to - self.from) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    fn grid(&self, out: &mut String) {
        for share in [0.0, 0.5, 1.0] {
            let value = self.low + (self.high - self.low) * share;
            let (y, right, end) = (self.y(value), WIDTH - RIGHT, LEFT - 6.0);
            let _ = write!(
                out,
                "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
                 <text class=\"faint\" text-anchor=\"end\" x=\"{end}\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                short(value)
            );
        }
    }
}

/// 1, 2 or 5 times a power of ten, at or above a positive value.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= value);
    factor.unwrap_or(10.0) * power
}

#[expect(clippy::cast_precision_loss, reason = "a picture is some hundred points wide")]
fn millis(at: Timestamp) -> f64 {
    at.as_millis() as f64
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
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(values: &[Option<f64>]) -> Chart {
        let points = (0..).zip(values).map(|(at, value)| (Timestamp::from_secs(at * 60), *value));
        Chart {
            title: "orders".to_owned(),
            unit: "per minute".to_owned(),
            points: points.collect(),
            marks: vec![3.0, 1000.0],
        }
    }

    #[test]
    fn a_gap_is_a_gap() {
        let svg = chart(&[Some(1.0), Some(2.0), None, Some(4.0), None, Some(0.0), Some(5.0)]).svg();
        assert_eq!(svg.matches("<path").count(), 2);
        assert_eq!(svg.matches("<circle").count(), 1);
        assert_eq!(svg.matches("class=\"mark\"").count(), 1, "only what lies in the picture");
        assert!(svg.contains("current 5 · average 2.4 · maximum 5 · per minute"), "{svg}");
    }

    #[test]
    fn nothing_is_said_to_be_nothing() {
        assert!(chart(&[]).svg().contains(">no data<"));
        assert!(chart(&[None, None]).svg().contains(">no data<"));
        assert!(
            chart(&[Some(1.0), None]).svg().contains("current no data · average 1 · maximum 1")
        );
    }

    #[test]
    fn every_number_in_the_picture_is_one() {
        for values in [
            &[Some(0.0)][..],
            &[Some(-5.0), Some(-5.0)],
            &[Some(1e300), Some(-1e300)],
            &[Some(5e-324)],
        ] {
            let svg = chart(values).svg();
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        }
    }

    #[test]
    fn names_cannot_break_out_of_the_picture() {
        let svg = Chart { title: "<script>\"&\u{1}".to_owned(), ..chart(&[]) }.svg();
        assert!(svg.contains("&lt;script&gt;&quot;&amp; <"), "{svg}");
    }

    #[test]
    fn figures_are_short() {
        let check = |value: f64, expect: &str| assert_eq!(short(value), expect);
        check(0.0, "0");
        check(12.375, "12.38");
        check(1500.0, "1500");
        check(15_000.0, "15k");
        check(2.5e6, "2.5M");
        check(-7e9, "-7G");
    }
}
