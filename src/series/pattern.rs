//! Which series are meant: a bare name, a glob, `name;tag=value` or `name{tag="v",tag=~"regex"}`.
//!
//! A bare name means that name with every set of tags. In a glob `*` stands for any characters,
//! dots too, and `?` for one; it means what clients count, and tallyd's own figures only where it begins with
//! `tallyd.` itself. Matchers in braces follow Prometheus: `=`, `!=`, `=~`, `!~`, regular
//! expressions match the whole value, and a tag that is absent has the empty value.

use std::fmt;
use std::str::FromStr;

use regex::Regex;

use super::{OVERFLOW, Series, is_reserved, printable};

/// A predicate over series, with the text it was written as.
#[derive(Clone, Debug)]
pub struct Pattern {
    text: Box<str>,
    name: Box<str>,
    is_glob: bool,
    matchers: Vec<Matcher>,
}

#[derive(Clone, Debug)]
struct Matcher {
    tag: Box<str>,
    negated: bool,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Equal(Box<str>),
    Regex(Regex),
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No name, and no `*` to say "any".
    #[error("the name is empty; `*` matches every name")]
    EmptyName,
    /// A brace that is opened and not closed at the end.
    #[error("the braces are not closed")]
    Unclosed,
    /// Something in braces that is not `tag op "value"`.
    #[error("`{0}` is not a matcher such as region=\"eu\" or host=~\"web-.*\"")]
    Matcher(String),
    /// Something after `;` that is not `tag=value`.
    #[error("`{0}` is not a tag such as region=eu")]
    Tag(String),
    /// A regular expression that does not compile.
    #[error("the regular expression `{0}` is not valid: {1}")]
    Regex(String, String),
    /// White space in a name: no key can hold it, so it would never match.
    #[error("a series name holds no white space")]
    Space,
}

impl Pattern {
    /// Whether a series is meant.
    #[must_use]
    pub fn matches(&self, series: &Series) -> bool {
        self.matches_name(series.name()) && self.matchers.iter().all(|m| m.matches(series))
    }

    /// Whether the series is meant that a key names.
    #[must_use]
    pub fn matches_key(&self, key: &[u8]) -> bool {
        // What has no tags is judged without taking it apart.
        if key.contains(&b';') {
            return self.matches(&Series::from_key(key));
        }
        self.matches_name(&printable(key)) && self.matchers.iter().all(|m| m.matches_value(""))
    }

    /// Whether something else is meant that has a name and tags. A tag that it has not is empty.
    pub fn matches_with<'a>(&self, name: &str, tag: impl Fn(&str) -> &'a str) -> bool {
        self.matches_name(name) && self.matchers.iter().all(|m| m.matches_value(tag(&m.tag)))
    }

    /// The name, which may be a glob.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The one value that it asks a tag to have, where it does.
    #[must_use]
    pub fn pinned(&self, tag: &str) -> Option<&str> {
        let mut its = self.matchers.iter().filter(|m| *m.tag == *tag && !m.negated);
        its.find_map(|m| if let Test::Equal(value) = &m.test { Some(&**value) } else { None })
    }

    /// Whether the name alone is meant; what an index by name is asked first.
    #[must_use]
    pub fn matches_name(&self, name: &str) -> bool {
        if self.is_glob {
            glob(&self.name, name) && !self.leaves_out(name)
        } else {
            *self.name == *name
        }
    }

    /// Whether a glob leaves a name out though it fits. What clients counted beyond the room for series is
    /// theirs all the same.
    fn leaves_out(&self, name: &str) -> bool {
        is_reserved(name.as_bytes()) && name != OVERFLOW && !is_reserved(self.name.as_bytes())
    }

    /// Whether it asks for no tags, so that the name alone decides.
    #[must_use]
    pub fn is_name_only(&self) -> bool {
        self.matchers.is_empty()
    }

    /// The one name that can match, when it is not a glob.
    #[must_use]
    pub fn exact_name(&self) -> Option<&str> {
        (!self.is_glob).then_some(&self.name)
    }
}

impl Matcher {
    fn matches(&self, series: &Series) -> bool {
        self.matches_value(series.tag(&self.tag).unwrap_or(""))
    }

    fn matches_value(&self, value: &str) -> bool {
        let met = match &self.test {
            Test::Equal(wanted) => **wanted == *value,
            Test::Regex(regex) => regex.is_match(value),
        };
        met != self.negated
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let text = text.trim();
        let (name, matchers) = if let Some((name, rest)) = text.split_once('{') {
            let inside = rest.strip_suffix('}').ok_or(PatternError::Unclosed)?;
            (name.trim_end(), braces(inside)?)
        } else if let Some((name, rest)) = text.split_once(';') {
            (name, rest.split(';').map(tag).collect::<Result<_, _>>()?)
        } else {
            (text, Vec::new())
        };
        if name.is_empty() {
            return Err(PatternError::EmptyName);
        }
        if name.contains(char::is_whitespace) {
            return Err(PatternError::Space);
        }
        Ok(Self {
            text: text.into(),
            name: name.into(),
            is_glob: name.contains(['*', '?']),
            matchers,
        })
    }
}

/// `tag=value`, the form of the key itself.
fn tag(part: &str) -> Result<Matcher, PatternError> {
    match part.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok(Matcher { tag: name.into(), negated: false, test: Test::Equal(value.into()) })
        }
        _ => Err(PatternError::Tag(part.to_owned())),
    }
}

/// What stands between the braces: matchers with commas between them, one may trail.
fn braces(mut rest: &str) -> Result<Vec<Matcher>, PatternError> {
    let mut matchers = Vec::new();
    loop {
        rest = rest.trim_start();
        if rest.is_empty() {
            return Ok(matchers);
        }
        let (matcher, tail) = matcher(rest)?;
        matchers.push(matcher);
        let tail = tail.trim_start();
        rest = match tail.strip_prefix(',') {
            Some(after) => after,
            None if tail.is_empty() => tail,
            None => return Err(PatternError::Matcher(tail.to_owned())),
        };
    }
}

fn matcher(text: &str) -> Result<(Matcher, &str), PatternError> {
    let bad = || PatternError::Matcher(text.to_owned());
    let end = text.find(['=', '!']).ok_or_else(bad)?;
    let (tag, rest) = text.split_at(end);
    let tag = tag.trim();
    if tag.is_empty() {
        return Err(bad());
    }
    let operators =
        [("=~", true, false), ("!~", true, true), ("!=", false, true), ("=", false, false)];
    let (rest, is_regex, negated) = operators
        .into_iter()
        .find_map(|(op, is_regex, negated)| Some((rest.strip_prefix(op)?, is_regex, negated)))
        .ok_or_else(bad)?;
    let (value, rest) = quoted(rest.trim_start()).ok_or_else(bad)?;
    let test = if is_regex {
        let anchored = format!("^(?:{value})$");
        let regex = Regex::new(&anchored)
            .map_err(|error| PatternError::Regex(value.clone(), last_line(&error.to_string())))?;
        Test::Regex(regex)
    } else {
        Test::Equal(value.into())
    };
    Ok((Matcher { tag: tag.into(), negated, test }, rest))
}

/// A value in double quotes, with `\"` and `\\` inside, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut chars = text.strip_prefix('"')?.char_indices();
    let mut value = String::new();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, text.get(at + 2..)?)),
            '\\' => match chars.next()?.1 {
                escaped @ ('"' | '\\') => value.push(escaped),
                other => value.extend(['\\', other]),
            },
            _ => value.push(c),
        }
    }
    None
}

/// The regex crate prints a drawing over several lines; the last one says what is wrong.
fn last_line(text: &str) -> String {
    text.lines().last().unwrap_or(text).trim_start_matches("error: ").to_owned()
}

/// Glob match in time proportional to the product of both lengths at worst: on a mismatch only the
/// last `*` is tried again, one character further on.
fn glob(pattern: &str, text: &str) -> bool {
    let (mut pattern, mut text) = (pattern.chars(), text.chars());
    let mut retry: Option<(std::str::Chars<'_>, std::str::Chars<'_>)> = None;
    loop {
        let mut rest = pattern.clone();
        match (rest.next(), text.clone().next()) {
            (Some('*'), _) => {
                retry = Some((rest.clone(), text.clone()));
                pattern = rest;
            }
            (None, None) => return true,
            (Some(p), Some(t)) if p == '?' || p == t => {
                pattern = rest;
                text.next();
            }
            _ => match &mut retry {
                Some((after_star, from)) => {
                    if from.next().is_none() {
                        return false;
                    }
                    pattern = after_star.clone();
                    text = from.clone();
                }
                None => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(pattern: &str, yes: &[&str], no: &[&str]) {
        let parsed: Pattern = pattern.parse().expect(pattern);
        assert_eq!(parsed.to_string(), pattern);
        for key in yes {
            assert!(parsed.matches_key(key.as_bytes()), "{pattern} should match {key}");
            assert!(parsed.matches(&Series::from_key(key.as_bytes())), "{pattern}, {key}");
        }
        for key in no {
            assert!(!parsed.matches_key(key.as_bytes()), "{pattern} matched {key}");
            assert!(!parsed.matches(&Series::from_key(key.as_bytes())), "{pattern}, {key}");
        }
    }

    #[test]
    fn bare_names_match_every_tag_set() {
        check("orders", &["orders", "orders;region=eu"], &["orders.placed", "order"]);
    }

    #[test]
    fn globs_cross_dots() {
        check("web.*.ms", &["web.a.ms", "web.a.b.ms", "web..ms"], &["web.ms", "web.a.msx"]);
        check("*", &["a", "a.b;c=d"], &[]);
        check("*", &["tallyd", "tallyd.overflow"], &["tallyd.disk_free"]);
        check("tallyd.*", &["tallyd.disk_free", "tallyd.overflow"], &["tallyd", "a"]);
        check("tallyd.disk_free", &["tallyd.disk_free"], &["tallyd.disk"]);
        check("a?c*", &["abc", "aéc.d"], &["ac", "abbc"]);
        check("*a*b*", &["xxaxxbxx", "ab"], &["ba"]);
    }

    #[test]
    fn tags_narrow_it_down() {
        check("o;region=eu", &["o;region=eu", "o;a=b;region=eu"], &["o", "o;region=us"]);
        check(
            r#"o{region="eu",host=~"web-.*"}"#,
            &["o;host=web-1;region=eu"],
            &["o;host=db;region=eu", "o;host=xweb-1;region=eu", "o;region=eu"],
        );
        check(r#"o{region!="eu"}"#, &["o", "o;region=us"], &["o;region=eu"]);
        check(r#"o{host!~"web|db",}"#, &["o;host=a"], &["o;host=web"]);
        check(r#"o{q="a\"b\\"}"#, &["o;q=a\"b\\"], &["o;q=ab"]);
    }

    #[test]
    fn says_what_is_wrong() {
        let error = |text: &str| text.parse::<Pattern>().unwrap_err().to_string();
        assert_eq!(error(""), "the name is empty; `*` matches every name");
        assert_eq!(error("a{b=\"c\""), "the braces are not closed");
        assert_eq!(
            error("a{b=c}"),
            "`b=c` is not a matcher such as region=\"eu\" or host=~\"web-.*\""
        );
        assert_eq!(error("a;b"), "`b` is not a tag such as region=eu");
        assert_eq!(error("a b"), "a series name holds no white space");
        assert!(
            error("a{b=~\"(\"}")
                .starts_with("the regular expression `(` is not valid: unclosed group")
        );
        assert!(error("a{b=\"c\" d=\"e\"}").starts_with("`d=\"e\"` is not a matcher"));
    }
}
