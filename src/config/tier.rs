//! `[[tier]]`: the resolutions of history.

use super::model::Tier;
use super::section::{Place, Section};
use super::sink::{Finding, Sink};
use super::value;
use crate::time::Span;

const TIERS_MAX: usize = 8;

/// The tiers of the file, or the default ones; `None` when one of them is wrong in itself.
pub(super) fn tiers(root: &mut Section<'_>, default: Vec<Tier>, sink: &Sink) -> Option<Vec<Tier>> {
    let sections = root.tables("tier", "[[tier]]");
    if sections.is_empty() {
        return Some(default);
    }
    if let Some(extra) = sections.get(TIERS_MAX) {
        let message = format!("there are more than {TIERS_MAX} tiers");
        sink.error(Finding::new(extra.place(), message));
    }
    // All are read before the first wrong one ends it, so that each is reported.
    let tiers: Vec<_> = sections.into_iter().map(|section| tier(section, sink)).collect();
    let tiers: Vec<_> = tiers.into_iter().collect::<Option<_>>()?;
    order(&tiers, sink);
    Some(tiers.into_iter().map(|tier| tier.tier).collect())
}

struct Placed {
    tier: Tier,
    window: Place,
    keep: Place,
}

fn tier(mut section: Section<'_>, sink: &Sink) -> Option<Placed> {
    section.require("window");
    section.require("keep");
    let window = section.text("window", value::span);
    let keep = section.text("keep", value::span);
    let (window, keep) = (window?, keep?);
    if !window.value.is_multiple_of(Span::SECOND)
        || window.value > Span::DAY
        || window.value.is_zero()
    {
        let finding = Finding::new(window.place, "`window` is out of range");
        sink.error(finding.label("must be a whole number of seconds, 1s to 1d"));
        return None;
    }
    if keep.value < window.value {
        let label = format!("must be at least {}", window.value);
        sink.error(Finding::new(keep.place, "`keep` is shorter than one window").label(label));
        return None;
    }
    let tier = Tier { window: window.value, keep: keep.value };
    Some(Placed { tier, window: window.place, keep: keep.place })
}

/// Reports tiers that do not build on each other.
fn order(tiers: &[Placed], sink: &Sink) {
    if let Some(first) = tiers.first().filter(|first| first.tier.window != Span::SECOND) {
        let finding = Finding::new(first.window, "the first tier must be 1s wide");
        sink.error(finding.help("every other tier is merged from it"));
    }
    for (finer, tier) in tiers.iter().zip(tiers.iter().skip(1)) {
        let (before, width) = (finer.tier.window, tier.tier.window);
        if width <= before || !width.is_multiple_of(before) {
            let message = "each tier must be wider than the one before, and a multiple of it";
            let finding = Finding::new(tier.window, message);
            sink.error(
                finding
                    .label(format!("must be a multiple of {before}"))
                    .also(finer.window, "the one before"),
            );
        }
        if tier.tier.keep < finer.tier.keep {
            let message = "a tier must be kept at least as long as the finer one before it";
            let finding = Finding::new(tier.keep, message);
            sink.error(
                finding
                    .label(format!("must be at least {}", finer.tier.keep))
                    .also(finer.keep, "the one before"),
            );
        }
    }
}
