//! `[[metric]]`: what the keys of a pattern are, whatever clients do with them.

use super::model::{Metric, MetricKind};
use super::section::{Place, Section, or};
use super::sink::{Finding, Sink};
use super::value;
use crate::histogram::{Layout, LayoutError};
use crate::limits;
use crate::series::Pattern;

const KINDS: [(&str, MetricKind); 4] = [
    ("counter", MetricKind::Counter),
    ("gauge", MetricKind::Gauge),
    ("distribution", MetricKind::Distribution),
    ("item", MetricKind::Item),
];

/// Significant figures of a histogram where nothing else is written.
const DIGITS: usize = 2;

/// Least and greatest value of a histogram where nothing else is written: a millisecond to an hour.
const RANGE: (f64, f64) = (1.0, 3_600_000.0);

/// A distribution of which nothing more is said.
pub(super) fn distribution(series: Pattern) -> Metric {
    let digits = u8::try_from(DIGITS).unwrap_or(u8::MAX);
    let layout = Layout::new(digits, RANGE.0, RANGE.1).expect("the defaults make a histogram");
    let (unit, description) = (String::new(), String::new());
    Metric { series, kind: MetricKind::Distribution, unit, description, layout }
}

/// Every entry of the file, in file order. One that lacks something is left out.
pub(super) fn metrics(root: &mut Section<'_>, sink: &Sink) -> Vec<Metric> {
    let sections = root.tables("metric", "[[metric]]");
    if let Some(extra) = sections.get(limits::METRICS) {
        let message = format!("there are more than {} metrics", limits::METRICS);
        sink.error(Finding::new(extra.place(), message));
    }
    let mut seen: Vec<(Metric, Place)> = Vec::new();
    for mut section in sections {
        let Some((metric, place)) = metric(&mut section, sink) else { continue };
        if let Some((_, first)) = seen.iter().find(|(before, _)| before.series == metric.series) {
            let message = "this entry is never used: the first that matches a key is";
            sink.error(Finding::new(place, message).also(*first, "matches the same keys"));
        }
        seen.push((metric, place));
    }
    seen.into_iter().map(|(metric, _)| metric).collect()
}

fn metric(section: &mut Section<'_>, sink: &Sink) -> Option<(Metric, Place)> {
    section.require("match");
    section.require("kind");
    let series = section.text("match", value::pattern);
    let kind = section.one_of("kind", &KINDS);
    let unit = section.text("unit", value::line);
    let description = section.text("description", value::line);
    let layout = layout(section, kind.map(|kind| kind.value), sink);
    let series = series?;
    let metric = Metric {
        series: series.value,
        kind: kind?.value,
        unit: or(unit, String::new()),
        description: or(description, String::new()),
        layout: layout?,
    };
    Some((metric, series.place))
}

/// The histogram's ranges where nothing says what they are.
#[must_use]
pub fn usual_layout() -> Layout {
    let digits = u8::try_from(DIGITS).expect("it is one figure");
    Layout::new(digits, RANGE.0, RANGE.1).expect("the defaults of this file are good")
}

/// The histogram's ranges; `None` after a problem was reported.
fn layout(section: &mut Section<'_>, kind: Option<MetricKind>, sink: &Sink) -> Option<Layout> {
    let digits = section.integer("digits", 1..=5);
    let range = section.numbers("range");
    if kind.is_some_and(|kind| kind != MetricKind::Distribution) {
        for key in ["digits", "range"] {
            section.forbid(key, "belongs to the histogram of a distribution");
        }
    }
    let is_wrong = |key: &str, is_read: bool| section.key_place(key).is_some() && !is_read;
    if is_wrong("digits", digits.is_some()) || is_wrong("range", range.is_some()) {
        return None;
    }
    let place = range.as_ref().map(|range| range.place);
    let place = place.or(digits.as_ref().map(|digits| digits.place)).unwrap_or(section.place());
    let (low, high) = match range.as_ref().map(|range| range.value.as_slice()) {
        None => RANGE,
        Some([low, high]) => (*low, *high),
        Some(_) => {
            let message = "`range` must be two numbers, like [1, 3600000]";
            sink.error(Finding::new(place, message));
            return None;
        }
    };
    let digits = u8::try_from(or(digits, DIGITS)).unwrap_or(u8::MAX);
    Layout::new(digits, low, high).map_err(|error| refuse(error, place, sink)).ok()
}

fn refuse(error: LayoutError, place: Place, sink: &Sink) {
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    let finding = match error {
        LayoutError::Large { bytes } => {
            let most = mib(limits::HISTOGRAM_BYTES as u64);
            let message =
                format!("one histogram could take {} MiB, and may take {most}", mib(bytes));
            Finding::new(place, message).help("fewer `digits`, or a shorter `range`")
        }
        LayoutError::Wide => {
            let help = "`range` begins with the smallest difference that matters";
            Finding::new(place, "the two ends of `range` are too far apart").help(help)
        }
        LayoutError::Digits | LayoutError::Range => {
            let message =
                "`range` must be two positive numbers, the second at least twice the first";
            Finding::new(place, message)
        }
    };
    sink.error(finding);
}

/// What is known, from the file alone, of all series that a rule is about: the entry that they all
/// fall under. `None` where some may fall under another one, or under none.
pub(super) fn of_series<'a>(metrics: &'a [Metric], series: &Pattern) -> Option<&'a Metric> {
    for metric in metrics {
        let (theirs, ours) = (&metric.series, series);
        match (theirs.exact_name(), ours.exact_name()) {
            _ if theirs == ours => return Some(metric),
            // Two names, or a name and a glob: either all of them or none, as far as names go.
            (_, Some(name)) if !theirs.matches_name(name) => {}
            (_, Some(_)) => return theirs.is_name_only().then_some(metric),
            (Some(name), None) if !ours.matches_name(name) => {}
            (None, None) if *theirs.to_string() == *"*" => return Some(metric),
            _ => return None,
        }
    }
    None
}
