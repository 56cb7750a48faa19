//! What may stand in a question about history, and what is said of what may not.

use super::Problem;
use crate::engine::TooMuch;

/// A value of the question, by the name that it has there.
pub(super) fn parse<T>(text: &str, name: &str) -> Result<T, Problem>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error| Problem::BadData(format!("`{name}`: {error}")))
}

/// One of several words.
pub(super) fn one_of<T: Copy>(
    text: Option<&str>,
    all: &[(&str, T)],
    default: T,
    name: &str,
) -> Result<T, Problem> {
    let Some(text) = text else { return Ok(default) };
    all.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
        let words = all.iter().map(|(word, _)| *word).filter(|word| !word.is_empty());
        let words: Vec<_> = words.collect();
        Problem::BadData(format!("`{name}` is one of {}", words.join(", ")))
    })
}

/// There is more of it than is looked at.
pub(super) fn too_much(error: TooMuch) -> Problem {
    Problem::BadData(format!("`series`: {error}"))
}
