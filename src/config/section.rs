//! A section of the file, read by typed getters that take its keys.
//!
//! What always holds: every key of a section is either taken or reported as unknown, because a
//! section reports what is left in it when it is dropped. A getter answers `None` for a key that is
//! absent and for one that is wrong; the wrong one has been reported. What a key means is not known
//! here.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::nearest::nearest;
use super::sink::{Fault, Finding, Sink, shown};

/// A stretch of the file, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Its first byte.
    pub(super) start: usize,
    /// The byte after its last one.
    pub(super) end: usize,
}

impl From<Range<usize>> for Place {
    fn from(range: Range<usize>) -> Self {
        Self { start: range.start, end: range.end }
    }
}

/// A value and where it was written.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    /// What was written.
    pub(super) value: T,
    /// Where.
    pub(super) place: Place,
}

/// Something that can be switched off.
pub(super) enum Switch<T> {
    /// It is `false`.
    Off,
    /// It is there.
    On(T),
}

/// One table of the file while it is read.
pub(super) struct Section<'a> {
    /// As messages name it: `[server]`, `[[rule]]`; empty for the file as a whole.
    title: &'static str,
    place: Place,
    entries: Vec<Entry<'a>>,
    asked: Vec<&'static str>,
    sink: &'a Sink,
}

struct Entry<'a> {
    key: &'a str,
    place: Place,
    value: &'a Spanned<DeValue<'a>>,
    taken: bool,
}

type Value<'a> = Spanned<DeValue<'a>>;

impl<'a> Section<'a> {
    /// The file as a whole.
    pub(super) fn root(table: &'a DeTable<'a>, sink: &'a Sink) -> Self {
        Self::new("", Place { start: 0, end: 0 }, table, sink)
    }

    fn new(title: &'static str, place: Place, table: &'a DeTable<'a>, sink: &'a Sink) -> Self {
        let entry = |(key, value): (&'a Spanned<_>, &'a _)| {
            let name: &'a std::borrow::Cow<'a, str> = key.get_ref();
            Entry { key: name, place: key.span().into(), value, taken: false }
        };
        let entries = table.iter().map(entry).collect();
        Self { title, place, entries, asked: Vec::new(), sink }
    }

    /// Leaves everything else unread, and unreported.
    pub(super) fn only(&mut self, keys: &[&str]) {
        self.entries.retain(|entry| keys.contains(&entry.key));
    }

    /// Where it begins: its header, or its braces.
    pub(super) fn place(&self) -> Place {
        self.place
    }

    /// Where a key is written; `None` when it is absent. It is not taken by that.
    pub(super) fn key_place(&self, key: &str) -> Option<Place> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.place)
    }

    /// Whether a key is there and no text with nothing in it.
    pub(super) fn is_given(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        entry.is_some_and(|entry| entry.value.get_ref().as_str() != Some(""))
    }

    /// Whether a key is a list with nothing in it.
    pub(super) fn is_empty_list(&self, key: &str) -> bool {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let list = entry.and_then(|entry| entry.value.get_ref().as_array());
        list.is_some_and(|list| list.iter().next().is_none())
    }

    /// Reports a key that has to be there and is not.
    pub(super) fn require(&self, key: &'static str) {
        if self.key_place(key).is_none() {
            let message = format!("`{key}` is missing in this {}", self.title);
            self.sink.error(Finding::new(self.place, message).absence());
        }
    }

    /// Reports a key that is there and may not be.
    pub(super) fn forbid(&self, key: &'static str, because: &str) {
        if let Some(place) = self.key_place(key) {
            self.sink.error(Finding::new(place, format!("`{key}` {because}")));
        }
    }

    /// Never shows the value of a key, whatever else is wrong near it.
    pub(super) fn hide(&self, key: &str) {
        for entry in self.entries.iter().filter(|entry| entry.key == key) {
            self.sink.hide(entry.value);
        }
    }

    /// The same for an address that may name a user and a password before its host.
    pub(super) fn hide_credentials(&self, key: &str) {
        let entry = self.entries.iter().find(|entry| entry.key == key);
        let text = entry.and_then(|entry| entry.value.get_ref().as_str());
        if text.is_some_and(|text| text.contains('@')) {
            self.hide(key);
        }
    }

    /// A string with a meaning of its own.
    pub(super) fn text<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&'a str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let value = self.take(key)?;
        self.read_text(key, value, &read)
    }

    /// A list of strings, each with a meaning of its own. Wrong elements are reported and left out.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&'a str) -> Result<T, Fault>,
    ) -> Option<At<Vec<At<T>>>> {
        let value = self.take(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            return self.wrong_type(key, value, "a list of strings");
        };
        let read = elements.iter().filter_map(|element| {
            if element.get_ref().is_str() {
                return self.read_text(key, element, &read);
            }
            self.sink.hide(element);
            let message = format!("every element of `{key}` must be a string");
            self.sink.error(Finding::new(element.span().into(), message));
            None
        });
        Some(At { value: read.collect(), place: value.span().into() })
    }

    /// One of a few words.
    pub(super) fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&'static str, T)],
    ) -> Option<At<T>> {
        self.text(key, |word| {
            let found = words.iter().find(|(name, _)| *name == word);
            found.map(|(_, value)| *value).ok_or_else(|| unknown_word(key, word, words))
        })
    }

    /// A whole number within bounds.
    pub(super) fn integer(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Option<At<usize>> {
        let value = self.take(key)?;
        let place = Place::from(value.span());
        let DeValue::Integer(integer) = value.get_ref() else {
            return self.wrong_type(key, value, "an integer");
        };
        let number = usize::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| bounds.contains(number));
        if number.is_none() {
            let (least, most) = (bounds.start(), bounds.end());
            let message = format!("`{key}` is out of range");
            let label = format!("must be {least} to {most}");
            self.sink.error(Finding::new(place, message).label(label));
        }
        Some(At { value: number?, place })
    }

    /// A finite number, whole or not.
    pub(super) fn number(&mut self, key: &'static str) -> Option<At<f64>> {
        let value = self.take(key)?;
        self.read_number(key, value)
    }

    fn read_number(&self, key: &str, value: &Value<'_>) -> Option<At<f64>> {
        let place = Place::from(value.span());
        let number = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse::<f64>().ok(),
            DeValue::Integer(integer) => whole(integer.as_str(), integer.radix()),
            _ => return self.wrong_type(key, value, "a number"),
        };
        let number = number.filter(|number| number.is_finite());
        if number.is_none() {
            self.sink.error(Finding::new(place, format!("`{key}` must be a finite number")));
        }
        Some(At { value: number?, place })
    }

    /// A list of finite numbers.
    pub(super) fn numbers(&mut self, key: &'static str) -> Option<At<Vec<f64>>> {
        let value = self.take(key)?;
        let DeValue::Array(elements) = value.get_ref() else {
            return self.wrong_type(key, value, "a list of numbers");
        };
        let numbers = elements.iter().map(|element| self.read_number(key, element));
        let numbers: Vec<_> = numbers.collect();
        let numbers: Option<Vec<_>> = numbers.into_iter().collect();
        let place = Place::from(value.span());
        Some(At { value: values(At { value: numbers?, place }), place })
    }

    /// A table inside this one.
    pub(super) fn table(&mut self, key: &'static str, title: &'static str) -> Option<Section<'a>> {
        let value = self.take(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.sink.hide(value);
            return self.wrong_type(key, value, "a table");
        };
        Some(Section::new(title, value.span().into(), table, self.sink))
    }

    /// A table inside this one, or `false` for none of it.
    pub(super) fn switch(
        &mut self,
        key: &'static str,
        title: &'static str,
    ) -> Option<Switch<Section<'a>>> {
        let entry = self.entries.iter_mut().find(|entry| entry.key == key);
        match entry {
            Some(entry) if entry.value.get_ref().is_bool() => {
                entry.taken = true;
                self.asked.push(key);
                if entry.value.get_ref().as_bool() == Some(true) {
                    let message = format!("`{key}` is either `false` or a table");
                    self.sink.error(Finding::new(entry.value.span().into(), message));
                }
                Some(Switch::Off)
            }
            _ => self.table(key, title).map(Switch::On),
        }
    }

    /// The tables of a list, in file order.
    pub(super) fn tables(&mut self, key: &'static str, title: &'static str) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let wrong = |place: Range<usize>| {
            let message = format!("`{key}` is a list of tables, each written under {title}");
            self.sink.error(Finding::new(place.into(), message));
        };
        let elements: Vec<&'a Value<'a>> = match value.get_ref() {
            DeValue::Array(elements) => elements.iter().collect(),
            // One pair of brackets forgotten: read it all the same, so that nothing else that
            // refers to it is reported too.
            DeValue::Table(_) => {
                wrong(value.span());
                vec![value]
            }
            _ => {
                self.sink.hide(value);
                wrong(value.span());
                Vec::new()
            }
        };
        let section = |element: &'a Value<'a>| {
            let DeValue::Table(table) = element.get_ref() else {
                self.sink.hide(element);
                wrong(element.span());
                return None;
            };
            Some(Section::new(title, element.span().into(), table, self.sink))
        };
        elements.into_iter().filter_map(section).collect()
    }

    /// A table whose keys are the user's own and whose values are strings.
    pub(super) fn free_table(
        &mut self,
        key: &'static str,
    ) -> Option<Vec<(At<&'a str>, At<&'a str>)>> {
        let value = self.take(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            return self.wrong_type(key, value, "a table of strings");
        };
        let pair = |(name, value): (&'a Spanned<std::borrow::Cow<'a, str>>, &'a Value<'a>)| {
            let name = At { value: &**name.get_ref(), place: name.span().into() };
            let DeValue::String(text) = value.get_ref() else {
                let message = format!("a value in `{key}` must be a string");
                self.sink.error(Finding::new(name.place, message));
                return None;
            };
            Some((name, At { value: &**text, place: value.span().into() }))
        };
        Some(table.iter().filter_map(pair).collect())
    }

    /// Takes a key; a key is asked for whether it is there or not, so that the section knows all
    /// the keys it could have.
    fn take(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.asked.push(key);
        let entry = self.entries.iter_mut().find(|entry| entry.key == key)?;
        entry.taken = true;
        Some(entry.value)
    }

    fn read_text<T>(
        &self,
        key: &'static str,
        value: &'a Value<'a>,
        read: &impl Fn(&'a str) -> Result<T, Fault>,
    ) -> Option<At<T>> {
        let place = Place::from(value.span());
        let DeValue::String(text) = value.get_ref() else {
            return self.wrong_type(key, value, "a string");
        };
        match read(text) {
            Ok(value) => Some(At { value, place }),
            Err(fault) => {
                self.sink.error(fault.at(place));
                None
            }
        }
    }

    fn wrong_type<T>(&self, key: &str, value: &Value<'_>, wanted: &str) -> Option<T> {
        let found = match value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "a list",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Table(_) => "a table",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::String(_) => "a string",
        };
        let message = format!("`{key}` must be {wanted}, not {found}");
        self.sink.error(Finding::new(value.span().into(), message));
        None
    }
}

impl Drop for Section<'_> {
    fn drop(&mut self) {
        self.sink.asked(self.title, &self.asked);
        for entry in self.entries.iter().filter(|entry| !entry.taken) {
            self.sink.unknown(self.title, entry.key, entry.place, entry.value);
        }
    }
}

/// The value that was written, or what holds where nothing was.
pub(super) fn or<T>(found: Option<At<T>>, default: T) -> T {
    found.map_or(default, |found| found.value)
}

/// The values of a list without their places.
pub(super) fn values<T>(list: At<Vec<At<T>>>) -> Vec<T> {
    list.value.into_iter().map(|element| element.value).collect()
}

/// An integer of the file as a number; beyond 2^53 the nearest one there is.
#[expect(clippy::cast_precision_loss, reason = "thresholds are floating point everywhere else too")]
fn whole(digits: &str, radix: u32) -> Option<f64> {
    i128::from_str_radix(digits, radix).ok().map(|number| number as f64)
}

fn unknown_word<T>(key: &str, word: &str, words: &[(&'static str, T)]) -> Fault {
    let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
    let fault = Fault::new(format!("{} is not a value of `{key}`", shown(word)));
    let fault = match nearest(word, names.iter().copied()) {
        Some(meant) => fault.label(format!("did you mean `{meant}`?")),
        None => fault,
    };
    fault.help(format!("allowed: {}", names.join(", ")))
}
