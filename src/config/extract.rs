//! The part of a file that says what rules judge: `[[rule]]`, and the `[[schedule]]` and `[[metric]]` that they
//! need.
//!
//! It is what may be sent to a server that plays these rules, or looks whether they match anything: addresses,
//! users, paths and whatever else stands in the file stay where they are, and so do comments. Values are taken
//! over as they are written.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// What is taken over.
const SECTIONS: [&str; 3] = ["metric", "schedule", "rule"];

/// The rules of a file that is good, and what they need, as a file of their own.
#[must_use]
pub fn rules_alone(text: &str) -> String {
    let (tree, _) = DeTable::parse_recoverable(text);
    let mut out = String::new();
    for name in SECTIONS {
        let sections = tree.get_ref().get(name).and_then(|value| value.get_ref().as_array());
        for section in sections.into_iter().flat_map(|all| all.iter()) {
            let DeValue::Table(table) = section.get_ref() else { continue };
            out.push_str("[[");
            out.push_str(name);
            out.push_str("]]\n");
            for (key, value) in table {
                entry(text, key.get_ref(), value, &mut out);
                out.push('\n');
            }
        }
    }
    out
}

/// `key = value`. The keys of a good file are bare words.
fn entry(text: &str, key: &str, value: &Spanned<DeValue<'_>>, out: &mut String) {
    out.push_str(key);
    out.push_str(" = ");
    write(text, value, out);
}

/// A value in one line, whether it was written with brackets, headers or dotted keys. It nests no deeper than
/// a good file does.
fn write(text: &str, value: &Spanned<DeValue<'_>>, out: &mut String) {
    match value.get_ref() {
        DeValue::Table(table) => {
            out.push_str("{ ");
            for (at, (key, value)) in table.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                entry(text, key.get_ref(), value, out);
            }
            out.push_str(" }");
        }
        DeValue::Array(all) => {
            out.push('[');
            for (at, value) in all.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                write(text, value, out);
            }
            out.push(']');
        }
        _ => out.push_str(text.get(value.span()).unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Surroundings, parse, parse_rules};
    use crate::time::Span;

    const FILE: &str = r#"
[server]
data_dir = "somewhere"
[[contact]]
name = "pager"
webhook = "https://user:secret@events.example/enqueue"   # a secret
[[rule]]
name = "errors\u002dhigh"
summary = '''Too many "errors"'''
series = 'errors{host=~"web-.*"}'
by = [
    "host",   # one for each
]
measure = "sum"
critical.above = 1_000
critical.for = "1m"
schedule = "peak"
notify = ["pager"]
[[rule.when]]
schedule = "night"
[rule.when.critical]
above = 5.5
[[schedule]]
name = "peak"
zone = "Europe/Berlin"
times = ["Mon-Fri 08:00-20:00"]
[[schedule]]
name = "night"
zone = "Europe/Berlin"
times = ["Mon-Sun 22:00-06:00"]
[[metric]]
match = "*.ms"
kind = "distribution"
range = [1, 1000]
"#;

    #[test]
    fn rules_mean_the_same_without_the_rest_of_the_file() {
        let whole = parse(FILE, "t.toml".as_ref(), &Surroundings::none()).expect("it is good");
        let alone = rules_alone(FILE);
        let rules = parse_rules(&alone, Span::from_secs(1_000_000)).expect("they are good");
        assert_eq!(format!("{rules:?}"), format!("{:?}", whole.config.rules));
        for other in ["secret", "somewhere", "events.example", "one for each", "server"] {
            assert!(!alone.contains(other), "{alone}");
        }
        assert!(alone.starts_with("[[metric]]\n"), "{alone}");
        assert_eq!(rules_alone(&alone), alone);
    }

    #[test]
    fn a_file_without_rules_is_nothing() {
        assert_eq!(rules_alone("[server]\ndata_dir = 'x'\n"), "");
        assert_eq!(rules_alone("rule = 5\n"), "");
    }
}
