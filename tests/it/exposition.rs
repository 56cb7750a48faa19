//! A strict reader of Prometheus' text exposition format, version 0.0.4, and of OpenMetrics, version 1.0.0, as far as
//! it is written here.
//!
//! Stricter than Prometheus: every family has its type before its samples and stands in one piece,
//! counters end in `_total`, and no sample is there twice. The source's own tests include this file as
//! well, since a real server cannot be given every name. Source of the form: Prometheus, "Exposition
//! formats".

use std::collections::{BTreeMap, BTreeSet};

/// One sample: its family's name with its labels.
pub(crate) type Sample = (String, BTreeMap<String, String>);

/// Every sample with its value, or what is wrong with which line.
pub(crate) fn parse(text: &str) -> Result<Vec<(Sample, f64)>, String> {
    let mut reader = Reader::default();
    if !text.is_empty() && !text.ends_with('\n') {
        return Err("the last line has no end".to_owned());
    }
    // `lines` would take a carriage return for part of the line's end.
    for line in text.split('\n').filter(|line| !line.is_empty()) {
        reader.line(line).map_err(|wrong| format!("{wrong}: {line}"))?;
    }
    Ok(reader.samples)
}

/// The same of OpenMetrics: the end is there, a counter's family goes without `_total`, and no family has the name of
/// another's samples.
pub(crate) fn parse_open(text: &str) -> Result<Vec<(Sample, f64)>, String> {
    let body = text.strip_suffix("# EOF\n").ok_or("the end is missing")?;
    let mut reader = Reader { is_open: true, ..Reader::default() };
    for line in body.split('\n').filter(|line| !line.is_empty()) {
        reader.line(line).map_err(|wrong| format!("{wrong}: {line}"))?;
    }
    Ok(reader.samples)
}

#[derive(Default)]
struct Reader {
    is_open: bool,
    /// The family that lines belong to now.
    family: Option<String>,
    is_counter: bool,
    is_summary: bool,
    families: BTreeSet<String>,
    helped: BTreeSet<String>,
    seen: BTreeSet<Sample>,
    samples: Vec<(Sample, f64)>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix("# HELP ") {
            let (name, _) = comment.split_once(' ').ok_or("help without a text")?;
            check_name(name, true)?;
            self.family = None;
            return is_new(self.helped.insert(name.to_owned()), "a second HELP");
        }
        if let Some(comment) = line.strip_prefix("# TYPE ") {
            let (name, kind) = comment.split_once(' ').ok_or("a type without a name")?;
            check_name(name, true)?;
            self.is_counter = match kind {
                "counter" => true,
                "gauge" | "summary" => false,
                _ => return Err("a type that is not ours".to_owned()),
            };
            self.is_summary = kind == "summary";
            if self.is_counter && !self.is_open && !name.ends_with("_total") {
                return Err("a counter without _total".to_owned());
            }
            if self.is_open && !self.helped.contains(name) {
                return Err("a family without help".to_owned());
            }
            self.family = Some(name.to_owned());
            return is_new(self.families.insert(name.to_owned()), "a second TYPE");
        }
        if let Some(comment) = line.strip_prefix("# UNIT ").filter(|_| self.is_open) {
            let (name, unit) = comment.split_once(' ').ok_or("a unit without a name")?;
            let is_its =
                self.family.as_deref() == Some(name) && name.ends_with(&format!("_{unit}"));
            return is_new(is_its, "a unit that is not the family's");
        }
        let at = line.find(['{', ' ']).ok_or("no value")?;
        let (name, rest) = line.split_at(at);
        // Of a summary without quantiles.
        let family = match (name.strip_suffix("_sum"), name.strip_suffix("_count")) {
            (Some(family), _) | (_, Some(family)) if self.is_summary => family,
            _ if self.is_summary => "",
            _ if self.is_counter && self.is_open => name.strip_suffix("_total").unwrap_or(""),
            _ => name,
        };
        if self.family.as_deref() != Some(family) {
            return Err("a sample outside its family".to_owned());
        }
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest)?,
            None => (BTreeMap::new(), rest),
        };
        let value = rest.strip_prefix(' ').ok_or("no space before the value")?;
        let value: f64 = value.parse().map_err(|_| "the value is no number")?;
        if self.is_counter && (value < 0.0 || value.is_nan()) {
            return Err("a counter below zero".to_owned());
        }
        let sample = (name.to_owned(), labels);
        self.samples.push((sample.clone(), value));
        is_new(self.seen.insert(sample), "a sample twice")
    }
}

fn is_new(is_new: bool, wrong: &str) -> Result<(), String> {
    if is_new { Ok(()) } else { Err(wrong.to_owned()) }
}

fn check_name(name: &str, may_have_colons: bool) -> Result<(), String> {
    let is_good = |c: char| c.is_ascii_alphanumeric() || c == '_' || (c == ':' && may_have_colons);
    let begins_well = !name.starts_with(|c: char| c.is_ascii_digit()) && !name.is_empty();
    if begins_well && name.chars().all(is_good) { Ok(()) } else { Err("a bad name".to_owned()) }
}

/// The labels, from behind the opening brace, and what comes after the closing one.
fn labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str), String> {
    let mut labels = BTreeMap::new();
    loop {
        let (name, after) = rest.split_once("=\"").ok_or("no label")?;
        check_name(name, false)?;
        if name.starts_with("__") {
            return Err("a label that belongs to Prometheus".to_owned());
        }
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next().ok_or("a label without an end")? {
                (at, '"') => break at,
                (_, '\\') => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, c @ ('\\' | '"'))) => value.push(c),
                    _ => return Err("a bad escape".to_owned()),
                },
                (_, c) => value.push(c),
            }
        };
        is_new(labels.insert(name.to_owned(), value).is_none(), "a label twice")?;
        let after = after.get(end + 1..).unwrap_or_default();
        if let Some(after) = after.strip_prefix('}') {
            return Ok((labels, after));
        }
        rest = after.strip_prefix(',').ok_or("no comma between labels")?;
    }
}

#[test]
fn the_reader_is_strict() {
    let good =
        "# HELP a_total x y\n# TYPE a_total counter\na_total 1\na_total{b=\"\\\\\\\"\\n\"} 2\n";
    let samples = parse(good).expect("it is good");
    assert_eq!(samples.len(), 2);
    assert_eq!(
        samples.last().and_then(|((_, labels), _)| labels.get("b")),
        Some(&"\\\"\n".to_owned())
    );
    for bad in [
        "a 1\n",
        "# TYPE a gauge\na 1",
        "# TYPE a gauge\na 1\na 1\n",
        "# TYPE a gauge\na{b=\"1\",b=\"2\"} 1\n",
        "# TYPE a gauge\na{b=\"1\"}1\n",
        "# TYPE a gauge\na{b=\"\\x\"} 1\n",
        "# TYPE a gauge\na{__b=\"1\"} 1\n",
        "# TYPE a gauge\na{b:c=\"1\"} 1\n",
        "# TYPE a gauge\na{b=\"1\n\"} 1\n",
        "# TYPE a gauge\na x\n",
        "# TYPE a gauge\n# TYPE a gauge\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\na{c=\"d\"} 1\n",
        "# TYPE a counter\na 1\n",
        "# TYPE a summary\na 1\n",
        "# TYPE a gauge\na_sum 1\n",
        "# TYPE a-b gauge\na-b 1\n",
        "# TYPE 2a gauge\n2a 1\n",
    ] {
        assert!(parse(bad).is_err(), "{bad}");
    }
}
