//! Any text is either a configuration that keeps its promises or a list of problems that can be
//! printed. No file and no variable is there, so that the input alone decides.

#![no_main]

use std::collections::BTreeSet;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use tallyd::config::{self, Config, Side, Surroundings, Threshold};
use tallyd::time::Span;

fuzz_target!(|text: &str| {
    match config::parse(text, Path::new("tallyd.toml"), &Surroundings::none()) {
        Ok(loaded) => {
            holds(&loaded.config);
            let _ = loaded.warnings.render(false);
        }
        Err(problems) => {
            assert!(!problems.is_empty());
            assert!(problems.render(false).ends_with("in tallyd.toml\n"));
            let _ = problems.render(true);
        }
    }
});

/// What everything behind the configuration relies on.
fn holds(config: &Config) {
    assert!(config.server.http.iter().all(|address| address.ip().is_loopback()));
    assert!(config.memcached.max_item_bytes <= config.memcached.items_bytes);
    assert_eq!(config.tiers.first().map(|tier| tier.window), Some(Span::SECOND));
    for pair in config.tiers.windows(2) {
        assert!(pair[1].window.is_multiple_of(pair[0].window) && pair[0].keep <= pair[1].keep);
    }
    let contacts: BTreeSet<_> = config.contacts.iter().map(|contact| &contact.name).collect();
    assert_eq!(contacts.len(), config.contacts.len());
    assert!(config.notify.default.iter().all(|name| contacts.contains(name)));
    let rules: BTreeSet<_> = config.rules.iter().map(|rule| &rule.name).collect();
    assert_eq!(rules.len(), config.rules.len());
    for rule in &config.rules {
        assert!(rule.notify.iter().flatten().all(|name| contacts.contains(name)));
        assert!(rule.warning.is_some() || rule.critical.is_some());
        assert!(!rule.window.is_zero() && rule.window.is_multiple_of(Span::SECOND));
        assert!(!rule.every.is_zero() && rule.every.is_multiple_of(Span::SECOND));
        rule.warning.iter().chain(&rule.critical).for_each(threshold_holds);
        for when in &rule.when {
            assert!(when.warning.is_some() || when.critical.is_some());
            when.warning.iter().chain(&when.critical).for_each(threshold_holds);
        }
        assert!(rule.depends_on.iter().all(|name| rules.contains(name) && *name != rule.name));
    }
}

fn threshold_holds(threshold: &Threshold) {
    assert!(threshold.value.is_finite());
    assert!(threshold.of.is_none_or(|of| (1..=of.among).contains(&of.needed) && of.among <= 64));
    match threshold.side {
        Side::Above => assert!(threshold.clear <= threshold.value),
        Side::Below => assert!(threshold.clear >= threshold.value),
    }
}
