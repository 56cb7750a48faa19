//! A measure held against ranges that whoever asks brings along, where no rule was written.
//!
//! It has no memory: what cannot be judged now is UNKNOWN, where a rule would keep its state. A lower bound, known
//! since tallyd was not running for part of the window, is judged where any greater value would be judged alike.

use super::output::{Datum, Said};
use super::range::Range;
use super::{Check, is_amount, unit, unknown};
use crate::query::Question;
use crate::rules::Level;
use crate::rules::wording::Unit;

/// What is asked for.
pub struct Asked {
    /// The series, as it was written.
    pub series: String,
    /// The measure.
    pub question: Question,
    /// When it is a warning.
    pub warning: Option<Range>,
    /// When it is critical.
    pub critical: Option<Range>,
}

/// What was measured of the series, or of one combination of tags.
pub struct Measured {
    /// Its name.
    pub name: String,
    /// The value; without a bound where it grew from nothing.
    pub value: Option<f64>,
    /// The value is this or more.
    pub is_bound: bool,
    /// Why there is no value, or no more than a bound.
    pub note: Option<String>,
}

/// The check of what was measured. Of several lines the worst decides.
#[must_use]
pub fn check(asked: &Asked, measured: &[Measured], room: usize) -> Check {
    let judged: Vec<_> = measured.iter().map(|one| (asked.level(one), one)).collect();
    let Some((worst, first)) = judged.iter().rev().max_by_key(|(level, _)| *level) else {
        return unknown(&asked.series, "no series like that was ever seen", room);
    };
    let bad = judged.iter().filter(|(level, _)| *level != Level::Ok).count();
    let text = match (judged.len(), bad) {
        (1, _) => asked.describe(*worst, first),
        (all, 0) => format!("{all} lines, all ok"),
        (all, bad) => {
            format!("{bad} of {all} not ok, {}: {}", first.name, asked.describe(*worst, first))
        }
    };
    let line = |(level, one): &(Level, &Measured)| {
        (*level, format!("{}: {}", one.name, asked.describe(*level, one)))
    };
    let lines = if judged.len() > 1 { judged.iter().map(line).collect() } else { Vec::new() };
    let data = measured.iter().map(|one| asked.datum(one)).collect();
    Said { level: *worst, name: asked.series.clone(), text, data, lines }.within(room)
}

impl Asked {
    fn level(&self, measured: &Measured) -> Level {
        let Some(value) = measured.value else { return Level::Unknown };
        let alerts = |range: &Option<Range>| match range {
            None => Some(false),
            Some(range) if measured.is_bound => range.alerts_from(value),
            Some(range) => Some(range.alerts(value)),
        };
        match (alerts(&self.critical), alerts(&self.warning)) {
            (Some(true), _) => Level::Critical,
            (_, Some(true)) => Level::Warning,
            (Some(false), Some(false)) => Level::Ok,
            _ => Level::Unknown,
        }
    }

    fn describe(&self, level: Level, measured: &Measured) -> String {
        let note = measured.note.clone().unwrap_or_else(|| "not known".to_owned());
        let Some(value) = measured.value else { return note };
        let bound = if measured.is_bound { "at least " } else { "" };
        let seen = format!("{bound}{}", Unit::of_question(&self.question).say(value));
        let range = |range: &Option<Range>| range.as_ref().map(ToString::to_string);
        let why = match level {
            Level::Ok => None,
            Level::Warning => range(&self.warning).map(|range| format!("warning range {range}")),
            Level::Critical => range(&self.critical).map(|range| format!("critical range {range}")),
            Level::Unknown => Some(note),
        };
        [Some(seen), why].into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn datum(&self, measured: &Measured) -> Datum {
        let Question { measure, against, change, .. } = &self.question;
        let range = |range: &Option<Range>| range.as_ref().map(ToString::to_string);
        Datum {
            label: measured.name.clone(),
            value: measured.value,
            unit: unit(*measure, against.is_some().then_some(*change)),
            warning: range(&self.warning).unwrap_or_default(),
            critical: range(&self.critical).unwrap_or_default(),
            least: if against.is_none() && is_amount(*measure) { "0" } else { "" },
        }
    }
}
