//! `[[test.reload]]`: the rules are others from an instant on, as if the configuration had been edited and read
//! again.

use crate::config::model::Config;
use crate::config::read::Reader;
use crate::config::section::Section;
use crate::time::Span;

/// Other rules, and what they need.
#[derive(Clone, Debug)]
pub struct Reload {
    /// Time since the start: whole seconds. They take over after the evaluation at that instant.
    pub at: Span,
    /// The rules.
    pub config: Config,
}

/// Those of a case, in the order of time.
pub(super) fn reloads(section: &mut Section<'_>, reader: &Reader<'_>) -> Vec<Reload> {
    let mut list = Vec::new();
    for mut section in section.tables("reload", "[[test.reload]]") {
        section.require("at");
        let at = section.text("at", super::whole_seconds);
        let config = super::rules(&mut section, reader);
        list.extend(at.map(|at| Reload { at: at.value, config }));
    }
    list.sort_by_key(|reload: &Reload| reload.at);
    list
}

/// All rules and contacts that a case has at any time: what may be expected of it.
pub(super) fn all(config: &Config, reloads: &[Reload]) -> Config {
    let mut all = config.clone();
    for Reload { config, .. } in reloads {
        for rule in &config.rules {
            if all.rules.iter().all(|known| known.name != rule.name) {
                all.rules.push(rule.clone());
            }
        }
        for contact in &config.contacts {
            if all.contacts.iter().all(|known| known.name != contact.name) {
                all.contacts.push(contact.clone());
            }
        }
    }
    all
}
