//! Names that belong to the configuration but not to this version of it.
//!
//! They are refused like every unknown name, but with the true reason: somebody who copied a newer
//! file should not look for a typing mistake.

/// Keys of the section with that title, which this version does not have yet.
const KEYS: [(&str, &[&str]); 5] = [
    ("", &["graphite", "http", "nrpe", "statsd"]),
    ("[server]", &["token_file"]),
    ("[[rule]]", &["escalate", "repeat"]),
    ("[[contact]]", &["content_type", "secret_file", "template"]),
    ("[notify]", &["digest_above", "fallback", "heartbeat"]),
];

/// Words of the key with that name, which this version does not have yet.
const WORDS: [(&str, &[&str]); 1] = [("format", &["pagerduty", "slack", "template"])];

/// Whether `key` is one that a later version will have in the section with that title.
pub(super) fn is_key(title: &str, key: &str) -> bool {
    KEYS.iter().any(|(section, keys)| *section == title && keys.contains(&key))
}

/// Whether `word` is one that a later version will take as a value of `key`.
pub(super) fn is_word(key: &str, word: &str) -> bool {
    WORDS.iter().any(|(of, words)| *of == key && words.contains(&word))
}
