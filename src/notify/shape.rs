//! Says whether a JSON value is what a form's documentation asks for: names, kinds and greatest lengths,
//! in a notation of our own.
//!
//! `?name` need not be there; a name that is not listed may not be. So a body that passes holds nothing
//! that the other side could refuse for its form.

use serde_json::Value;

/// What a value has to be.
pub(super) enum Shape {
    /// A text of at most so many characters, and not empty.
    Text(usize),
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// An instant of RFC 3339.
    Instant,
    /// A text that begins with `http://` or `https://`, of at most so many characters.
    Link(usize),
    Bool(bool),
    /// At least one, at most so many, each of this shape.
    List(usize, Box<Self>),
    /// Names with their shapes.
    Object(Vec<(&'static str, Self)>),
    /// Any names, with texts.
    Texts,
    /// The first that has the same `type`.
    Typed(Vec<(&'static str, Self)>),
}

impl Shape {
    /// Nothing, or where it is wrong and how.
    pub(super) fn check(&self, value: &Value, at: &str) -> Result<(), String> {
        let wrong = |wanted: &str| Err(format!("{at}: {wanted} is wanted, not {value}"));
        match self {
            Self::Text(max) => match value.as_str() {
                Some(text) if !text.is_empty() && text.chars().count() <= *max => Ok(()),
                _ => wrong(&format!("a text of 1 to {max} characters")),
            },
            Self::OneOf(words) => match value.as_str() {
                Some(text) if words.contains(&text) => Ok(()),
                _ => wrong(&format!("one of {words:?}")),
            },
            Self::Instant => match value.as_str().map(str::parse::<jiff::Timestamp>) {
                Some(Ok(_)) => Ok(()),
                _ => wrong("an instant"),
            },
            Self::Link(max) => match value.as_str() {
                Some(text) if text.starts_with("http") && text.chars().count() <= *max => Ok(()),
                _ => wrong("a link"),
            },
            Self::Bool(wanted) if value.as_bool() == Some(*wanted) => Ok(()),
            Self::Bool(wanted) => wrong(&wanted.to_string()),
            Self::List(max, shape) => match value.as_array() {
                Some(list) if (1..=*max).contains(&list.len()) => {
                    let check = |(i, one)| shape.check(one, &format!("{at}[{i}]"));
                    list.iter().enumerate().try_for_each(check)
                }
                _ => wrong(&format!("a list of 1 to {max}")),
            },
            Self::Object(names) => Self::check_object(names, value, at),
            Self::Texts => match value.as_object() {
                Some(object) if object.values().all(Value::is_string) => Ok(()),
                _ => wrong("texts"),
            },
            Self::Typed(shapes) => {
                let found = shapes.iter().find(|(name, _)| value["type"] == *name);
                found.map_or_else(
                    || wrong("a type that there is"),
                    |(_, shape)| shape.check(value, at),
                )
            }
        }
    }

    fn check_object(names: &[(&'static str, Self)], value: &Value, at: &str) -> Result<(), String> {
        let Some(object) = value.as_object() else { return Err(format!("{at}: no object")) };
        for (name, shape) in names {
            let (name, is_optional) =
                name.strip_prefix('?').map_or((*name, false), |name| (name, true));
            match object.get(name) {
                Some(value) => shape.check(value, &format!("{at}.{name}"))?,
                None if is_optional => {}
                None => return Err(format!("{at}: no `{name}`")),
            }
        }
        let known =
            |name: &str| names.iter().any(|(known, _)| known.trim_start_matches('?') == name);
        match object.keys().find(|name| !known(name)) {
            Some(name) => Err(format!("{at}: `{name}` is not known")),
            None => Ok(()),
        }
    }
}
