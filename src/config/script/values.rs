//! What happens to a series in a script, step by step: `1x12 20x12 _x6 !x6 0+5x12`.
//!
//! Kept as it is written, in runs, so that a year of zeros takes no more room than its text.

/// What happens to a series in one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    /// Nothing: `_`.
    Untouched,
    /// Nothing either, since tallyd is not running: `!`.
    Down,
    /// It is added, set or observed.
    Value(f64),
}

/// The steps of one series, from the start of the test on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Steps {
    runs: Vec<Run>,
}

/// Steps in a row that follow from the first of them.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Run {
    first: Step,
    rise: f64,
    times: u64,
}

impl Steps {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.runs.iter().fold(0, |sum, run| sum.saturating_add(run.times))
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = Step> {
        self.runs.iter().flat_map(|run| (0..run.times).map(|at| run.step(at)))
    }

    /// Whether all values are numbers that a counter can be incremented by.
    #[must_use]
    pub(super) fn are_increments(&self) -> bool {
        let ends = |run: &Run| [run.step(0), run.step(run.times.saturating_sub(1))];
        let is_increment = |step| match step {
            Step::Value(value) => (0.0..=MAX_WHOLE).contains(&value) && value.fract() == 0.0,
            Step::Untouched | Step::Down => true,
        };
        self.runs
            .iter()
            .all(|run| run.rise.fract() == 0.0 && ends(run).into_iter().all(is_increment))
    }
}

/// Up to here every whole number is a double: 2^53.
const MAX_WHOLE: f64 = 9_007_199_254_740_992.0;

impl Run {
    #[expect(clippy::cast_precision_loss, reason = "runs are far shorter than 2^53")]
    fn step(&self, at: u64) -> Step {
        match self.first {
            Step::Value(value) => Step::Value(value + self.rise * at as f64),
            other => other,
        }
    }
}

/// Reads the steps; the first word that is none of the forms is the error.
pub(super) fn steps(text: &str) -> Result<Steps, &str> {
    let runs = text.split_whitespace().map(|word| run(word).ok_or(word));
    Ok(Steps { runs: runs.collect::<Result<_, _>>()? })
}

/// `_`, `!x6`, `1x12`, `0+5x12`, `9-1x3`.
fn run(word: &str) -> Option<Run> {
    let (head, times) = match word.rsplit_once('x') {
        Some((head, times)) => (head, times.parse().ok().filter(|times| *times > 0)?),
        None => (word, 1),
    };
    let still = |first| Some(Run { first, rise: 0.0, times });
    match head {
        "_" => return still(Step::Untouched),
        "!" => return still(Step::Down),
        _ => {}
    }
    if let Some(value) = number(head) {
        return still(Step::Value(value));
    }
    // The sign that is not the number's own, nor its exponent's.
    let signs = head.char_indices().skip(1).filter(|(_, c)| matches!(c, '+' | '-'));
    let mut splits = signs.filter_map(|(at, _)| {
        let (first, rise) = head.split_at_checked(at)?;
        Some((number(first)?, number(rise)?))
    });
    let (first, rise) = splits.next()?;
    Some(Run { first: Step::Value(first), rise, times })
}

fn number(text: &str) -> Option<f64> {
    // Words like `inf` and `nan` are numbers to the library.
    let is_plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    text.parse().ok().filter(|value: &f64| is_plain && value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expect: &str) {
        let shown = match steps(text) {
            Ok(steps) => {
                let each = steps.iter().map(|step| match step {
                    Step::Untouched => "_".to_owned(),
                    Step::Down => "!".to_owned(),
                    Step::Value(value) => value.to_string(),
                });
                each.collect::<Vec<_>>().join(" ")
            }
            Err(word) => format!("not: {word}"),
        };
        assert_eq!(shown, expect, "{text}");
    }

    #[test]
    fn every_form_of_a_run() {
        check("", "");
        check("1 2.5 -3 1e3", "1 2.5 -3 1000");
        check("1x3 _x2 !x2 _ !", "1 1 1 _ _ ! ! _ !");
        check("0+5x4", "0 5 10 15");
        check("9-2x3 -1-1x2 1e-1+1e0x2", "9 7 5 -1 -2 0.1 1.1");
    }

    #[test]
    fn what_is_no_run_is_told() {
        for word in
            ["x3", "1x", "1x0", "1x-1", "abc", "_+1x2", "!!", "nan", "infx2", "1++2x3", "1xx2"]
        {
            check(&format!("1 {word} 2"), &format!("not: {word}"));
        }
    }

    #[test]
    fn counters_take_whole_numbers_that_are_not_negative() {
        let are_increments = |text| steps(text).unwrap().are_increments();
        assert!(are_increments("0 5x3 0+2x4 _ !"));
        assert!(are_increments("9-3x4"));
        assert!(!are_increments("9-3x5"));
        assert!(!are_increments("0.5"));
        assert!(!are_increments("0+0.5x3"));
    }
}
