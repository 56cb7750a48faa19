//! Rows to import as text: `time,series,value`, as `tallyd query --format csv` prints them.
//!
//! The time is seconds since 1970 or RFC 3339. What stands behind the value is not looked at. A value that
//! is empty says that nothing is known. Source of the quoting: RFC 4180; a name has no line ends.

use std::borrow::Cow;

use crate::counters::cells::Kind;
use crate::limits;
use crate::time::Timestamp;

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// When, to the second.
    pub secs: i64,
    /// What it is called, as it was written.
    pub series: Cow<'a, str>,
    /// Of a counter what was counted, otherwise the bits of the value; none where it is empty.
    pub bits: Option<u64>,
}

/// Whether a line is the head of a table.
#[must_use]
pub fn is_head(line: &str) -> bool {
    let first = line.trim_start_matches('\u{feff}').split(',').next().unwrap_or_default();
    ["time", "timestamp"]
        .iter()
        .any(|word| first.trim().trim_matches('"').eq_ignore_ascii_case(word))
}

/// The head of what `tallyd query --format csv` prints. The times below it are the ends of its steps.
pub const QUERY_HEAD: &str = "time,series,value,note";

/// Whether a line is that head.
#[must_use]
pub fn is_of_query(line: &str) -> bool {
    line.trim_start_matches('\u{feff}').trim_end() == QUERY_HEAD
}

/// Whether a row of a query's answer is one that can be imported.
///
/// # Errors
/// Why it is none, in plain words.
pub fn check_answer(series: &str, line: &str) -> Result<(), &'static str> {
    if series.contains(['*', '{']) {
        return Err("its series is a pattern, and not a name: ask for one, or with --by");
    }
    if line.trim_end().ends_with(",at least") {
        return Err("it is a lower bound, since tallyd was down for a part of the time");
    }
    Ok(())
}

/// Reads a line.
///
/// # Errors
/// What is wrong with it, in plain words.
pub fn read(line: &str, kind: Kind) -> Result<Row<'_>, &'static str> {
    let (time, rest) = field(line)?;
    let (series, rest) = field(rest.ok_or("it has one field, and should have three")?)?;
    let (value, _) = field(rest.ok_or("it has two fields, and should have three")?)?;
    let secs = secs(time.trim()).ok_or("its time is neither seconds since 1970 nor RFC 3339")?;
    if secs < 0 {
        return Err("its time is before 1970, of which nothing is kept");
    }
    if series.is_empty() {
        return Err("its series has no name");
    }
    let value = value.trim();
    let bits = if value.is_empty() { None } else { Some(bits(value, kind)?) };
    Ok(Row { secs, series, bits })
}

/// Whether a client could count under this name.
///
/// # Errors
/// What is wrong with it, in plain words.
pub fn check_name(series: &str) -> Result<(), &'static str> {
    if series.len() > limits::KEY_BYTES {
        return Err("its series has more than 250 bytes");
    }
    if series.bytes().any(|byte| byte <= b' ' || byte == 0x7f) {
        return Err("its series has a blank or a control character in it");
    }
    Ok(())
}

/// Writes a line, with its end.
pub fn write(secs: i64, series: &str, bits: u64, kind: Kind, out: &mut String) {
    use std::fmt::Write;
    // Writing to a String cannot fail.
    let _ = write!(out, "{secs},");
    if series.contains([',', '"']) {
        let _ = write!(out, "\"{}\"", series.replace('"', "\"\""));
    } else {
        out.push_str(series);
    }
    let _ = match kind {
        Kind::Counter => writeln!(out, ",{bits}"),
        Kind::Gauge | Kind::Distribution => writeln!(out, ",{}", f64::from_bits(bits)),
    };
}

/// The first field, and what stands behind its comma.
fn field(line: &str) -> Result<(Cow<'_, str>, Option<&str>), &'static str> {
    let Some(quoted) = line.strip_prefix('"') else {
        return Ok(match line.split_once(',') {
            Some((field, rest)) => (Cow::Borrowed(field), Some(rest)),
            None => (Cow::Borrowed(line), None),
        });
    };
    let mut text = String::new();
    let mut rest = quoted;
    loop {
        let (part, behind) = rest.split_once('"').ok_or("a quote in it has no end")?;
        text.push_str(part);
        match behind.strip_prefix('"') {
            Some(more) => {
                text.push('"');
                rest = more;
            }
            None if behind.is_empty() => return Ok((Cow::Owned(text), None)),
            None => {
                let rest = behind.strip_prefix(',').ok_or("a quoted field of it goes on")?;
                return Ok((Cow::Owned(text), Some(rest)));
            }
        }
    }
}

fn secs(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !whole.is_empty() && is_number(whole) && is_number(part) {
        return whole.parse().ok();
    }
    if !text.contains(['T', 't', ' ']) {
        return None;
    }
    Timestamp::parse(text, Timestamp::EPOCH).ok().map(Timestamp::as_secs)
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is whole and fits")]
fn bits(text: &str, kind: Kind) -> Result<u64, &'static str> {
    let number = || text.parse::<f64>().ok().filter(|value| value.is_finite());
    if kind != Kind::Counter {
        return number().map(f64::to_bits).ok_or("its value is no number");
    }
    if let Ok(whole) = text.parse() {
        return Ok(whole);
    }
    // As JSON and other programs write whole numbers; beyond 2^53 they are not exact.
    let fits =
        |value: &f64| *value >= 0.0 && value.fract() == 0.0 && *value <= 9_007_199_254_740_992.0;
    let whole = number().filter(fits).ok_or("a counter's value is a whole number, zero or more")?;
    Ok(whole as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_are_read_as_people_and_programs_write_them() {
        let check = |line: &str, expect: (i64, &str, Option<u64>)| {
            let row = read(line, Kind::Counter).unwrap();
            assert_eq!((row.secs, &*row.series, row.bits), expect, "{line}");
        };
        check("1767571200,orders,5", (1_767_571_200, "orders", Some(5)));
        check("1767571200.9,a;b=c,5.0", (1_767_571_200, "a;b=c", Some(5)));
        check("2026-01-05T01:00:00+01:00,a, 7 ,at least", (1_767_571_200, "a", Some(7)));
        check(
            "\"2026-01-05T00:00:00Z\",\"a,\"\"b\"\"\",\"18446744073709551615\"",
            (1_767_571_200, "a,\"b\"", Some(u64::MAX)),
        );
        check("0,a,,", (0, "a", None));
        let gauge = read("5,g,-1.5e3", Kind::Gauge).unwrap();
        assert_eq!(gauge.bits, Some((-1500_f64).to_bits()));
        assert!(is_head("time,series,value") && is_head("\u{feff}Timestamp,x,y"));
        assert!(!is_head("5,time,7"));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (line, kind, words) in [
            ("", Kind::Counter, "it has one field"),
            ("5,a", Kind::Counter, "it has two fields"),
            ("now,a,5", Kind::Counter, "its time is neither"),
            ("-5,a,5", Kind::Counter, "its time is neither"),
            ("99999999999999999999,a,5", Kind::Counter, "its time is neither"),
            ("1969-12-31T23:59:59Z,a,5", Kind::Counter, "its time is before 1970"),
            ("5,,5", Kind::Counter, "its series has no name"),
            ("5,a,-1", Kind::Counter, "a counter's value is a whole number"),
            ("5,a,1.5", Kind::Counter, "a counter's value is a whole number"),
            ("5,a,inf", Kind::Gauge, "its value is no number"),
            ("5,a,NaN", Kind::Distribution, "its value is no number"),
            ("5,\"a,5", Kind::Counter, "a quote in it has no end"),
            ("5,\"a\"b,5", Kind::Counter, "a quoted field of it goes on"),
        ] {
            let wrong = read(line, kind).unwrap_err();
            assert!(wrong.starts_with(words), "{line}: {wrong}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(
            secs in 0..10_000_000_000_i64,
            series in "[a-z,\";= ]{1,20}",
            bits in any::<u64>(),
            value in prop::num::f64::NORMAL,
        ) {
            for (kind, bits) in [(Kind::Counter, bits), (Kind::Gauge, value.to_bits())] {
                let mut line = String::new();
                write(secs, &series, bits, kind, &mut line);
                let row = read(line.trim_end_matches('\n'), kind).unwrap();
                prop_assert_eq!((row.secs, &*row.series, row.bits), (secs, series.as_str(), Some(bits)));
            }
        }

        #[test]
        fn any_line_is_read_or_refused(line in "\\PC{0,60}") {
            let _ = read(&line, Kind::Counter);
        }
    }
}
