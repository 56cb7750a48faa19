//! Lines of an exposition, in either form, handed on in pieces.

use std::fmt::{self, Write as _};

/// How it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::faces) enum Form {
    /// Prometheus' text format.
    Text,
    /// What became of it: a counter's family goes without its `_total`, and there is an end to be missed.
    OpenMetrics,
}

impl Form {
    /// The content type.
    pub(in crate::faces) const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Bytes that are handed on together.
const PIECE: usize = 64 * 1024;

/// See the module.
pub(super) struct Page<'a> {
    form: Form,
    text: String,
    hand_on: &'a mut dyn FnMut(&str) -> bool,
    is_wanted: bool,
}

impl<'a> Page<'a> {
    pub(super) fn new(form: Form, hand_on: &'a mut dyn FnMut(&str) -> bool) -> Self {
        Self { form, text: String::with_capacity(PIECE + 4096), hand_on, is_wanted: true }
    }

    /// Begins a family: what it is called, what it is, and what there is to say of it. Its samples come next.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str, unit: &str) {
        self.turn();
        let is_open = self.form == Form::OpenMetrics;
        let family = if is_open && kind == "counter" { stem(name).unwrap_or(name) } else { name };
        let _ = write!(self.text, "# HELP {family} ");
        for c in help.chars() {
            match c {
                '\\' => self.text.push_str("\\\\"),
                '\n' => self.text.push_str("\\n"),
                '"' if is_open => self.text.push_str("\\\""),
                c => self.text.push(c),
            }
        }
        let _ = writeln!(self.text, "\n# TYPE {family} {kind}");
        // A family that says its unit has to end in it.
        let has_unit = family.strip_suffix(unit).is_some_and(|stem| stem.ends_with('_'));
        if is_open && !unit.is_empty() && has_unit {
            let _ = writeln!(self.text, "# UNIT {family} {unit}");
        }
    }

    /// Hands on what is written where that is enough; whether more is wanted. It is called between lines.
    pub(super) fn turn(&mut self) -> bool {
        if self.text.len() >= PIECE {
            self.flush();
        }
        self.is_wanted
    }

    pub(super) const fn is_unwanted(&self) -> bool {
        !self.is_wanted
    }

    /// Hands on the rest.
    pub(super) fn end(mut self) {
        if self.form == Form::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.flush();
    }

    fn flush(&mut self) {
        self.is_wanted = self.is_wanted && (self.hand_on)(&self.text);
        self.text.clear();
    }
}

impl fmt::Write for Page<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        Ok(())
    }
}

/// What a counter is called without its end; `None` where nothing would be left, or there is no such end.
pub(super) fn stem(name: &str) -> Option<&str> {
    name.strip_suffix("_total").filter(|stem| !stem.is_empty())
}

/// A number as Prometheus writes it.
pub(super) struct Number(pub(super) f64);

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_infinite() {
            f.write_str(if self.0 > 0.0 { "+Inf" } else { "-Inf" })
        } else {
            self.0.fmt(f)
        }
    }
}
