//! What a rule means, as a number: the same for two texts that judge alike.
//!
//! States go on over a start and over a reload where it is the same. Comments, the order of keys and
//! rules, what is said to people and who is told are no part of it; a default that is written out is none
//! either. A key that a later version adds has no part in the numbers of rules that do without it.

use std::fmt::Write;

use crate::config::{Flapping, Missing, Rule, Schedule, Threshold};
use crate::time::Span;

/// The number of what a rule means.
#[must_use]
pub fn meaning(rule: &Rule) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    // FNV-1a: it stays the same over versions and machines.
    canonical(rule).bytes().fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}

/// What it means, key by key; never shown.
fn canonical(rule: &Rule) -> String {
    let Rule {
        name: _,
        summary: _,
        series,
        by,
        measure,
        per,
        window,
        over,
        against,
        change,
        floor,
        every,
        warning,
        critical,
        when,
        schedule,
        missing,
        flapping,
        depends_on: _,
        notify: _,
        repeat: _,
        escalate: _,
        runbook: _,
    } = rule;
    let mut text = format!("series {series}\nmeasure {}\n", measure.name());
    let _ = write!(text, "per {}\nwindow {}\n", per.name(), window.as_millis());
    for tag in by {
        let _ = writeln!(text, "by {tag}");
    }
    if let Some(against) = against {
        let _ = writeln!(text, "against {against:?} {change:?}");
    }
    if let Some(floor) = floor {
        let _ = writeln!(text, "floor {:x}", floor.to_bits());
    }
    if let Some(over) = over {
        let _ = writeln!(text, "over {over}");
    }
    if *every != Span::SECOND {
        let _ = writeln!(text, "every {}", every.as_millis());
    }
    thresholds(&mut text, warning.as_ref(), critical.as_ref());
    for when in when {
        hours(&mut text, "when", &when.schedule);
        thresholds(&mut text, when.warning.as_ref(), when.critical.as_ref());
    }
    if let Some(schedule) = schedule {
        hours(&mut text, "schedule", schedule);
    }
    if *flapping != Some(Flapping::default()) {
        let _ = writeln!(text, "flapping {:?}", flapping.map(|its| (its.changes, its.within)));
    }
    if let Some(Missing { after, state }) = missing {
        let _ = writeln!(text, "missing {} {state:?}", after.as_millis());
    }
    text
}

fn thresholds(text: &mut String, warning: Option<&Threshold>, critical: Option<&Threshold>) {
    for (level, threshold) in [("warning", warning), ("critical", critical)] {
        let Some(threshold) = threshold else { continue };
        let Threshold { side, value, clear, hold, of, clear_hold } = threshold;
        let _ = writeln!(text, "{level} {side:?} {:x} {:x}", value.to_bits(), clear.to_bits());
        let _ = writeln!(text, "for {} {}", hold.as_millis(), clear_hold.as_millis());
        if let Some(of) = of {
            let _ = writeln!(text, "of {} {}", of.needed, of.among);
        }
    }
}

/// The hours themselves; what they are called is no matter.
fn hours(text: &mut String, key: &str, schedule: &Schedule) {
    let _ = writeln!(text, "{key} {:?}", schedule.hours);
}
