//! "Did you mean": the known word that an unknown one was probably meant to be.

/// Longer words are nobody's typing mistake; comparing them would only cost time.
const WORD_BYTES_MAX: usize = 64;

/// The candidate nearest to `word`, when it is near enough that saying so helps: a third of its
/// letters may differ, or `word` is how it begins.
#[must_use]
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > WORD_BYTES_MAX {
        return None;
    }
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= WORD_BYTES_MAX)
        .map(|candidate| (distance(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn distance(word: &str, candidate: &str) -> usize {
    if word.len() >= 3 && candidate.starts_with(word) {
        return 1;
    }
    strsim::damerau_levenshtein(word, &candidate.to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(word: &str, expect: Option<&str>) {
        let known = ["window", "max_connections", "max", "min", "listen"];
        assert_eq!(nearest(word, known), expect, "{word}");
    }

    #[test]
    fn finds_what_was_meant_and_nothing_else() {
        check("widnow", Some("window"));
        check("Window", Some("window"));
        check("max_conn", Some("max_connections"));
        check("mux", Some("max"));
        check("lsiten", Some("listen"));
        check("threshold", None);
        check("", None);
        check(&"window".repeat(100), None);
    }
}
