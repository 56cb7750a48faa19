//! From a place in the file to the line that may be shown of it.
//!
//! What always holds: no byte of a hidden stretch is in an excerpt. Where the TOML is broken nobody
//! can say which stretch is a secret, so there a line is shown whole only when nothing in it, or in
//! the section it stands in, can hold one.

use std::ops::Range;

use super::problem::Excerpt;
use super::section::Place;

/// Longer lines are not shown; their place is still told.
const LINE_BYTES_MAX: usize = 4000;

/// Stands for whatever is not shown.
const HIDDEN: char = '…';

/// Follows [`HIDDEN`] once for each further character that it stands for. The renderer prints
/// nothing for it but counts it, so columns stay those of the file and yet nobody sees how long the
/// secret is.
const UNSEEN: char = '\u{200d}';

/// Sections in which no key holds a secret.
const OPEN_SECTIONS: [&str; 7] =
    ["server", "memcached", "counters", "store", "tier", "rule", "notify"];

/// Keys of other sections that hold none either.
const OPEN_KEYS: [&str; 7] =
    ["name", "email", "format", "from", "username", "ca_file", "password_file"];

/// Words after which a secret may follow on the same line, wherever it stands.
const CLOSED_WORDS: [&str; 9] =
    ["://", "webhook", "header", "password", "secret", "token", "authorization", "bearer", "key"];

/// The text of a file, ready to be shown in parts.
pub(super) struct Source<'a> {
    text: &'a str,
    line_starts: Vec<usize>,
    /// Sorted, never overlapping.
    hidden: Vec<Range<usize>>,
    /// Whether each line stands in an open section; only for a file whose TOML is broken.
    open: Option<Vec<bool>>,
}

impl<'a> Source<'a> {
    /// `broken`: the places in `hidden` may be incomplete.
    pub(super) fn new(text: &'a str, hidden: Vec<Place>, broken: bool) -> Self {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Self {
            text,
            line_starts: std::iter::once(0).chain(newlines).collect(),
            hidden: merge(hidden.into_iter().map(|place| place.start..place.end).collect()),
            open: broken.then(|| open_lines(text)),
        }
    }

    /// The line that a byte is in, counted from 0.
    pub(super) fn line_index(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte).saturating_sub(1)
    }

    /// The first line of `place`, with what lies of `place` in it marked.
    pub(super) fn excerpt(&self, place: Place) -> Excerpt {
        let index = self.line_index(place.start);
        let first = self.line_starts.get(index).copied().unwrap_or(0);
        let line = self.text.get(first..).and_then(|rest| rest.split('\n').next()).unwrap_or("");
        let line = line.strip_suffix('\r').unwrap_or(line);
        let start = boundary(line, place.start.saturating_sub(first));
        let end = boundary(line, place.end.saturating_sub(first)).max(start);
        let column = line.get(..start).unwrap_or("").chars().count() + 1;
        let shown = (line.len() <= LINE_BYTES_MAX)
            .then(|| masked(line, &self.masks(index, first, line), start..end));
        Excerpt { line: index + 1, column, shown }
    }

    /// The stretches of a line that are not shown, in bytes of the line.
    fn masks(&self, index: usize, first: usize, line: &str) -> Vec<Range<usize>> {
        let from = self.hidden.partition_point(|range| range.end <= first);
        let known =
            self.hidden.iter().skip(from).take_while(|range| range.start < first + line.len());
        let mut masks: Vec<_> = known
            .map(|range| {
                let start = boundary(line, range.start.saturating_sub(first));
                start..boundary(line, range.end.saturating_sub(first)).max(start)
            })
            .collect();
        if let Some(open) = &self.open {
            masks.extend(suspect(line, open.get(index).copied().unwrap_or(false)));
        }
        merge(masks)
    }
}

/// Whether each line stands in an open section, judged by the last line before it that looks like a
/// header.
fn open_lines(text: &str) -> Vec<bool> {
    let mut open = false;
    text.split('\n')
        .map(|line| {
            if let Some(header) = line.trim_start().strip_prefix('[') {
                let name = header.trim_start_matches(['[', ' ', '\t', '"', '\'']);
                let end = name.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(name.len());
                open = OPEN_SECTIONS.contains(&name.get(..end).unwrap_or(""));
            }
            open
        })
        .collect()
}

/// What must not be shown of a line whose meaning is not known: all behind its first equals sign, or
/// all of it.
fn suspect(line: &str, section_is_open: bool) -> Option<Range<usize>> {
    let lower = line.to_ascii_lowercase();
    let key_is_open = lower
        .split_once('=')
        .is_some_and(|(key, value)| OPEN_KEYS.contains(&key.trim()) && !value.contains('='));
    let value = lower.find('=').map_or(0, |at| at + 1);
    let searched = if key_is_open { lower.get(value..) } else { lower.get(..) };
    let says_secret =
        searched.is_some_and(|text| CLOSED_WORDS.iter().any(|word| text.contains(word)));
    let is_header =
        value == 0 && lower.trim_start().starts_with('[') && !lower.contains(['"', '\'']);
    let shown = (section_is_open || key_is_open || is_header) && !says_secret;
    (!shown && value < line.len()).then_some(value..line.len())
}

/// Sorts ranges and joins those that touch.
fn merge(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_unstable_by_key(|range| (range.start, range.end));
    let mut merged: Vec<Range<usize>> = Vec::with_capacity(ranges.len());
    for range in ranges.into_iter().filter(|range| !range.is_empty()) {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

/// The line with each mask replaced, and where the marked stretch is now.
fn masked(line: &str, masks: &[Range<usize>], marked: Range<usize>) -> (String, Range<usize>) {
    let mut shown = String::with_capacity(line.len());
    let mut done = 0;
    let (mut start, mut end) = (None, None);
    for mask in masks.iter().cloned().chain(std::iter::once(line.len()..line.len())) {
        let visible = line.get(done..mask.start).unwrap_or("");
        // A place in visible text keeps its distance from the text's beginning.
        if (done..mask.start).contains(&marked.start) {
            start = Some(shown.len() + marked.start - done);
        }
        if (done + 1..=mask.start).contains(&marked.end) {
            end = Some(shown.len() + marked.end - done);
        }
        shown.push_str(visible);
        if mask.contains(&marked.start) {
            start = Some(shown.len());
        }
        for (nth, _) in line.get(mask.clone()).unwrap_or("").chars().enumerate() {
            shown.push(if nth == 0 { HIDDEN } else { UNSEEN });
        }
        if (mask.start + 1..=mask.end).contains(&marked.end) {
            end = Some(shown.len());
        }
        done = mask.end;
    }
    let start = start.unwrap_or(if marked.start == 0 { 0 } else { shown.len() });
    (shown, start..end.unwrap_or(start).max(start))
}

/// The last place at or before `at` where a character begins, or the end of the text.
fn boundary(text: &str, at: usize) -> usize {
    let at = at.min(text.len());
    (0..=at).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, marked: Range<usize>, hidden: Option<Range<usize>>, expect: &str) {
        let hidden = hidden.map(Place::from).into_iter().collect();
        let source = Source::new(text, hidden, false);
        let excerpt = source.excerpt(Place { start: marked.start, end: marked.end });
        let (line, column) = (excerpt.line, excerpt.column);
        let (mut shown, marked) = excerpt.shown.unwrap();
        assert_eq!(shown[..marked.start].chars().count() + 1, column);
        shown.insert(marked.end, '>');
        shown.insert(marked.start, '<');
        assert_eq!(format!("{line}:{column} {}", shown.replace(UNSEEN, "")), expect);
    }

    #[test]
    fn marks_a_stretch_of_one_line() {
        check("ab\ncd ef\r\n", 6..8, None, "2:4 cd <ef>");
        check("ab\ncd", 5..5, None, "2:3 cd<>");
        check("", 0..0, None, "1:1 <>");
        check("é = 1", 5..6, None, "1:5 é = <1>");
        check("a = [\n1]", 4..8, None, "1:5 a = <[>");
        check("abc", 9..12, None, "1:4 abc<>");
    }

    #[test]
    fn hidden_stretches_are_not_shown_and_columns_stay_those_of_the_file() {
        check("k = secret, x = 1", 12..13, Some(4..10), "1:13 k = …, <x> = 1");
        check("k = secret", 4..10, Some(4..10), "1:5 k = <…>");
        check("k = secret", 0..10, Some(4..10), "1:1 <k = …>");
        check("k = '''a\nb''' # x", 9..10, Some(4..13), "2:1 <…> # x");
    }

    #[test]
    fn of_very_long_lines_only_the_place_is_told() {
        let line = "é".repeat(5000);
        let excerpt = Source::new(&line, Vec::new(), false).excerpt(Place { start: 6, end: 8 });
        assert_eq!((excerpt.line, excerpt.column, excerpt.shown), (1, 4, None));
    }

    #[test]
    fn in_a_broken_file_only_harmless_lines_are_shown() {
        let shown = |text: &str| {
            let last = text.rfind('\n').map_or(0, |at| at + 1);
            let place = Place { start: last, end: last };
            let excerpt = Source::new(text, Vec::new(), true).excerpt(place);
            excerpt.shown.unwrap().0.replace(UNSEEN, "")
        };
        assert_eq!(shown("[[rule]]\nwindow = 5m"), "window = 5m");
        assert_eq!(shown("[[rule]]\nwebhook = x"), "webhook =…");
        assert_eq!(shown("[[contact]]\nemail = [\"a@b\" \"c@d\"]"), "email = [\"a@b\" \"c@d\"]");
        assert_eq!(shown("[[contact]]\nname = a, x = \"s\""), "name =…");
        assert_eq!(shown("[[contact]]\nnonsense s3cret"), "…");
        assert_eq!(shown("[contact.headers]\nX-Auth = \"s3cret"), "X-Auth =…");
        assert_eq!(shown("a = \"s3cret"), "a =…");
        assert_eq!(shown("[[contact"), "[[contact");
        assert_eq!(shown("[email]\npassword_file = x y"), "password_file = x y");
    }
}
