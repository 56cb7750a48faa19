//! From instants and values to places in a picture, and the grid that says so.

use std::fmt::Write;

use super::{BOTTOM, Chart, LEFT, RIGHT, TOP, height, short, width};
use crate::time::Timestamp;

/// See the module.
pub(super) struct Scale {
    from: f64,
    to: f64,
    low: f64,
    high: f64,
}

/// Stretches of time between two labels of the axis, in minutes.
const STEPS: [i64; 13] = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1440, 10_080];

/// So many labels have room.
const LABELS: i64 = 7;

const DAY_MILLIS: i64 = 86_400_000;

impl Scale {
    pub(super) fn of(chart: &Chart) -> Self {
        // Kept off the ends of what a double holds, so that differences of values are finite.
        let bounded = |value: f64| value.clamp(-1e300, 1e300);
        let reference = chart.reference.iter().flat_map(|reference| &reference.points);
        let moving = chart.moving_marks.iter().flatten();
        let points = || chart.points.iter().chain(reference.clone()).chain(moving.clone());
        let values = || points().filter_map(|(_, value)| value.map(bounded));
        // Counts begin at zero, so that a small swing does not look like a large one.
        let low = values().fold(0.0, f64::min);
        let high = values().fold(0.0, f64::max);
        // A threshold is worth seeing where that does not make the line flat.
        let near = |mark: &&f64| **mark > high && **mark <= high * 2.0;
        let high = chart.marks.iter().filter(near).copied().fold(high, f64::max);
        let low = if low < -1e-300 { -round_up(-low) } else { 0.0 };
        let high = if high > 1e-300 { round_up(high) } else { 0.0 };
        let high = if high > low { high } else { low + 1.0 };
        let time =
            |point: Option<&(Timestamp, Option<f64>)>| point.map_or(0.0, |(at, _)| millis(*at));
        let (from, to) = (time(chart.points.first()), time(chart.points.last()));
        // Far from the epoch a millisecond more is the same double.
        let least = from + (from.abs() * 1e-9).max(1.0);
        Self { from, to: to.max(least), low, high }
    }

    pub(super) fn x(&self, at: Timestamp) -> f64 {
        LEFT + (millis(at) - self.from) / (self.to - self.from) * (width() - LEFT - RIGHT)
    }

    pub(super) fn y(&self, value: f64) -> f64 {
        let share = (value - self.low) / (self.high - self.low);
        height() - BOTTOM - share * (height() - TOP - BOTTOM)
    }

    pub(super) fn holds(&self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }

    pub(super) fn spans(&self, at: Timestamp) -> bool {
        (self.from..=self.to).contains(&millis(at))
    }

    /// Zero, or what is nearest to it.
    pub(super) fn ground(&self) -> f64 {
        0.0_f64.clamp(self.low, self.high)
    }

    pub(super) fn grid(&self, out: &mut String) {
        for share in [0.0, 0.5, 1.0] {
            let value = self.low + (self.high - self.low) * share;
            let (y, right, end) = (self.y(value), width() - RIGHT, LEFT - 6.0);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}L{right} {y:.1}\"/>\
                 <text class=\"faint\" text-anchor=\"end\" x=\"{end}\" y=\"{:.1}\">{}</text>",
                y + 4.0,
                short(value)
            );
        }
    }

    /// Times of day below the picture, days where it is longer than some of them.
    #[expect(clippy::cast_possible_truncation, reason = "these are milliseconds of instants")]
    pub(super) fn hours(&self, out: &mut String) {
        let (from, to) = (self.from as i64, self.to as i64);
        let minutes = to.saturating_sub(from) / 60_000;
        let fits = |step: &&i64| minutes / **step < LABELS;
        let weeks = (minutes / 10_080 / LABELS).saturating_add(1).saturating_mul(10_080);
        let step = STEPS.iter().find(fits).copied().unwrap_or(weeks).saturating_mul(60_000);
        // On multiples of what clocks on the wall show.
        let offset = Timestamp::from_millis(to).system_offset_millis();
        let first = from.saturating_add(offset).div_euclid(step).saturating_mul(step);
        let places = (1..=LABELS + 1).map(|at| first.saturating_add(at.saturating_mul(step)));
        for at in places.map(|place| Timestamp::from_millis(place.saturating_sub(offset))) {
            if !self.spans(at) {
                continue;
            }
            let label =
                if step >= DAY_MILLIS { at.day_in_system_zone() } else { at.hour_in_system_zone() };
            let (x, y) = (self.x(at), height() - BOTTOM);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{x:.1} {y}L{x:.1} {}\"/>\
                 <text class=\"faint\" text-anchor=\"middle\" x=\"{x:.1}\" y=\"{}\">{label}</text>",
                y + 4.0,
                y + 17.0
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
