//! Ranges in the syntax of the plugin guidelines: when a value is an alert.
//!
//! Source: Monitoring Plugins Development Guidelines, "Threshold and Ranges": `10` alerts outside 0 to 10, `10:`
//! below 10, `~:10` above 10, `10:20` outside, `@10:20` inside, both ends included. `inf` and `nan`, which the
//! plugins' C library would read as numbers, are refused.

use std::fmt;
use std::str::FromStr;

/// A range, of which one side alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    least: f64,
    greatest: f64,
    alerts_inside: bool,
    /// As it was written, which is how performance data repeats it.
    text: String,
}

impl Range {
    /// Whether a value is an alert. What is no number is none.
    #[must_use]
    pub fn alerts(&self, value: f64) -> bool {
        let is_inside = self.least <= value && value <= self.greatest;
        !value.is_nan() && is_inside == self.alerts_inside
    }

    /// The same of a value of which is known that it is this or more; `None` where it depends on how much more.
    #[must_use]
    pub fn alerts_from(&self, bound: f64) -> Option<bool> {
        let is_inside = if bound > self.greatest {
            false
        } else if bound >= self.least && self.greatest.is_infinite() {
            true
        } else {
            return None;
        };
        Some(is_inside == self.alerts_inside)
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (alerts_inside, ends) = match text.strip_prefix('@') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (least, greatest) = match ends.split_once(':') {
            None => (0.0, end(ends)?),
            Some(("~", to)) => (f64::NEG_INFINITY, end_or(to, f64::INFINITY)?),
            Some((from, to)) => (end(from)?, end_or(to, f64::INFINITY)?),
        };
        if least > greatest {
            return Err(format!("`{text}` begins behind its end: write `{greatest}:{least}`"));
        }
        Ok(Self { least, greatest, alerts_inside, text: text.to_owned() })
    }
}

fn end_or(text: &str, open: f64) -> Result<f64, String> {
    if text.is_empty() { Ok(open) } else { end(text) }
}

fn end(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| number.is_finite());
    let wrong = || {
        // What a shell makes of a tilde that nobody has quoted.
        let hint = if text.starts_with('/') { " ('~:10' needs its quotes in a shell)" } else { "" };
        format!("`{text}` is no number; a range is 10, 10:, ~:10, 10:20 or @10:20{hint}")
    };
    number.ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(text: &str) -> Range {
        text.parse().expect(text)
    }

    #[test]
    fn ranges_mean_what_the_guidelines_say() {
        for (text, alerts, not) in [
            ("10", &[-1.0, 10.5][..], &[0.0, 5.0, 10.0][..]),
            ("10:", &[9.9, -1.0], &[10.0, 1e9, f64::INFINITY]),
            ("~:10", &[10.1, f64::INFINITY], &[-1e9, 10.0]),
            ("10:20", &[9.0, 21.0], &[10.0, 20.0]),
            ("@10:20", &[10.0, 15.0, 20.0], &[9.9, 20.1]),
            ("-5:-1", &[-6.0, 0.0], &[-5.0, -1.0]),
            ("@~:0", &[0.0, -3.0], &[0.1]),
            ("@~:", &[0.0, 1e300], &[f64::NAN]),
            ("0", &[0.1, -0.1], &[0.0, -0.0, f64::NAN]),
        ] {
            let of = range(text);
            assert_eq!(of.to_string(), text);
            assert!(alerts.iter().all(|value| of.alerts(*value)), "{text}");
            assert!(not.iter().all(|value| !of.alerts(*value)), "{text}");
        }
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for bad in ["", ":", "a", "20:10", "1:2:3", "nan", "inf", "@", "~", "1e999", "10;20", "1,5"]
        {
            assert!(bad.parse::<Range>().is_err(), "{bad}");
        }
        let said = "20:10".parse::<Range>().expect_err("the wrong way round");
        assert_eq!(said, "`20:10` begins behind its end: write `10:20`");
        let said = "/root:50".parse::<Range>().expect_err("what a shell makes of ~:50");
        assert!(said.ends_with("('~:10' needs its quotes in a shell)"), "{said}");
    }

    #[test]
    fn a_bound_is_an_alert_where_anything_beyond_it_is() {
        for (text, bound, expect) in [
            ("~:10", 11.0, Some(true)),
            ("~:10", 10.0, None),
            ("10", 3.0, None),
            ("20:", 25.0, Some(false)),
            ("20:", 3.0, None),
            ("@10:20", 21.0, Some(false)),
            ("@10:20", 5.0, None),
            ("@10:", 10.0, Some(true)),
        ] {
            assert_eq!(range(text).alerts_from(bound), expect, "{text} from {bound}");
        }
    }
}
