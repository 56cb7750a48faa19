//! Rules of a file that is good, and whose series nothing matches: warnings with the line of the pattern.
//!
//! Which series there are is known to a running server alone, so this comes after everything else.

use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::problem::Problems;
use super::section::Place;
use super::sink::{Finding, Sink, shown};

/// A pattern of a rule that matches nothing.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Unmatched {
    /// The rule.
    pub rule: String,
    /// The key of the pattern: `series`, or `over`.
    pub key: String,
    /// The pattern.
    pub pattern: String,
    /// The name of a series that may have been meant.
    pub meant: Option<String>,
}

/// A warning for each of them, at its place in the file with that text.
#[must_use]
pub fn warn_unmatched(text: &str, origin: &Path, all: &[Unmatched]) -> Problems {
    let (tree, syntax) = DeTable::parse_recoverable(text);
    let sink = Sink::new(&syntax);
    for one in all {
        let Some(place) = place(tree.get_ref(), one) else { continue };
        let finding = Finding::new(place, format!("no series matches {}", shown(&one.pattern)));
        let help = match &one.meant {
            Some(meant) => format!("did you mean {}?", shown(meant)),
            None => "until one does, the rule is ok".to_owned(),
        };
        sink.warn(finding.help(help));
    }
    sink.finish(text, origin).1
}

/// Where the pattern stands.
fn place(tree: &DeTable<'_>, of: &Unmatched) -> Option<Place> {
    let rules = tree.get("rule")?.get_ref().as_array()?;
    let text = |table: &DeTable<'_>, key: &str| {
        table.get(key).and_then(|value| value.get_ref().as_str()).map(str::to_owned)
    };
    let rule = rules.iter().find_map(|rule| match rule.get_ref() {
        DeValue::Table(table) => {
            (text(table, "name").as_deref() == Some(&*of.rule)).then_some(table)
        }
        _ => None,
    })?;
    Some(rule.get(&*of.key)?.span().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_at_the_pattern() {
        let text = "[[rule]]\nname = 'a'\nseries = 'orders'\n[[rule]]\nname = 'b'\n\
                    series = 'erorrs'\nover = 'r*'\n";
        let one = |key: &str, pattern: &str, meant: Option<&str>| Unmatched {
            rule: "b".to_owned(),
            key: key.to_owned(),
            pattern: pattern.to_owned(),
            meant: meant.map(str::to_owned),
        };
        let all = [one("series", "erorrs", Some("errors")), one("over", "r*", None)];
        let warnings = warn_unmatched(text, "t.toml".as_ref(), &all);
        let told: Vec<_> =
            warnings.iter().map(|warning| (warning.line(), warning.message())).collect();
        assert_eq!(told, [(6, "no series matches `erorrs`"), (7, "no series matches `r*`")]);
        let text = warnings.render(false);
        assert!(text.contains("did you mean `errors`?"), "{text}");
        assert!(text.contains("until one does, the rule is ok"), "{text}");
    }

    #[test]
    fn a_rule_that_is_not_there_is_nothing() {
        let gone = Unmatched {
            rule: "gone".to_owned(),
            key: "series".to_owned(),
            pattern: "x".to_owned(),
            meant: None,
        };
        assert!(warn_unmatched("[[rule]]\nname = 5\n", "t.toml".as_ref(), &[gone]).is_empty());
    }
}
