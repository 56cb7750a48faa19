//! Names that belong to the configuration but not to this version of it.
//!
//! They are refused like every unknown name, but with the true reason: somebody who copied a newer
//! file should not look for a typing mistake.

/// Keys of the section with that title, which this version does not have yet.
const KEYS: [(&str, &[&str]); 1] = [("", &["nrpe"])];

/// Whether `key` is one that a later version will have in the section with that title.
pub(super) fn is_key(title: &str, key: &str) -> bool {
    KEYS.iter().any(|(section, keys)| *section == title && keys.contains(&key))
}
