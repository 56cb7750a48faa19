//! What is asked, in the words of each server, and what the right answer is.

use std::fmt::Write;

use anyhow::{Context, ensure};
use serde_json::Value;

use crate::set::{POINTS, Set};

/// One row of the table for each server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Question {
    One,
    All,
    ByHost,
    Month,
}

/// Whose words are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tallyd,
    Prometheus,
    Victoria,
}

/// Points that Prometheus answers at once, at most.
const PROMETHEUS_POINTS: u64 = 11_000;

impl Question {
    pub(crate) const ALL: [Self; 4] = [Self::One, Self::All, Self::ByHost, Self::Month];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::One => "a day: sum of one counter",
            Self::All => "a day: sum over all counters",
            Self::ByHost => "a day: five-minute rate by a tag of 100 values",
            Self::Month => "a month: sum of one counter",
        }
    }
}

/// Asks one server about the set.
pub(crate) struct Asker<'a> {
    pub(crate) kind: Kind,
    pub(crate) set: &'a Set,
}

impl Asker<'_> {
    /// The paths that are asked for, one after the other.
    pub(crate) fn requests(&self, question: Question) -> Vec<String> {
        let start = match question {
            Question::Month => self.set.month_start(),
            _ => self.set.day(),
        };
        let end = self.set.end;
        if self.kind == Kind::Tallyd {
            let asked = self.words(question);
            return vec![format!("/api/v1/measure?{asked}&from={start}&to={end}&step=60s")];
        }
        // Their range begins with its first point, ours behind it.
        let points = (end - start) / 60;
        let part = if self.kind == Kind::Prometheus { PROMETHEUS_POINTS } else { points };
        let parts = (0..points.div_ceil(part)).map(|at| {
            let (first, last) = (at * part + 1, points.min((at + 1) * part));
            let (from, to) = (start + first * 60, start + last * 60);
            let query = self.words(question);
            format!("/api/v1/query_range?query={query}&start={from}&end={to}&step=60&nocache=1")
        });
        parts.collect()
    }

    fn words(&self, question: Question) -> String {
        let one = self.set.one().map(|one| (one.key(), one.name.clone())).unwrap_or_default();
        let words = match (self.kind, question) {
            (Kind::Tallyd, Question::One) => format!("measure=sum&series={}", escaped(&one.0)),
            (Kind::Tallyd, Question::All) => "measure=sum&series=shop.counter.*".to_owned(),
            (Kind::Tallyd, Question::ByHost) => {
                "measure=rate&window=5m&by=host&series=shop.counter.*".to_owned()
            }
            (Kind::Tallyd, Question::Month) => "measure=sum&series=shop.month".to_owned(),
            (_, Question::One) => {
                format!("increase(shop_counter_total{{series=\"{}\"}}[1m])", one.1)
            }
            (_, Question::All) => "sum(increase(shop_counter_total[1m]))".to_owned(),
            (_, Question::ByHost) => "sum by (host) (rate(shop_counter_total[5m]))".to_owned(),
            // It has one number a minute, and they need two in a window.
            (_, Question::Month) => "increase(shop_month_total[2m])".to_owned(),
        };
        if self.kind == Kind::Tallyd { words } else { escaped(&words) }
    }

    /// Holds an answer against the set. Peers are only asked for as many lines and points.
    pub(crate) fn check(&self, question: Question, answers: &[Vec<u8>]) -> anyhow::Result<()> {
        let mut lines: Vec<Vec<f64>> = Vec::new();
        for answer in answers {
            let answer: Value = serde_json::from_slice(answer)?;
            ensure!(answer["status"] == "success", "{:?}: {answer}", self.kind);
            let (data, points) = match self.kind {
                Kind::Tallyd => (&answer["data"], "points"),
                _ => (&answer["data"]["result"], "values"),
            };
            let data = data.as_array().context("there are lines")?;
            lines.resize(lines.len().max(data.len()), Vec::new());
            for (line, data) in lines.iter_mut().zip(data) {
                let points = data[points].as_array().context("a line has points")?;
                line.extend(points.iter().map(|point| number(&point[1])));
            }
        }
        let what = format!("{:?} on {}", self.kind, question.name());
        let of_all = if question == Question::Month { self.set.month.len() } else { POINTS };
        let points = lines.iter().map(Vec::len);
        ensure!(points.clone().all(|len| len + 5 >= of_all), "{what}: {:?} points", points.max());
        let expect = self.expect(question)?;
        ensure!(lines.len() == expect.len(), "{what}: {} lines", lines.len());
        if self.kind == Kind::Tallyd {
            for (line, expect) in lines.iter().zip(&expect) {
                let is_same = line.iter().zip(expect).all(|(seen, expect)| same(*seen, *expect));
                ensure!(is_same, "{what}: wrong numbers");
            }
        }
        Ok(())
    }

    /// What comes out, from the numbers that went in.
    fn expect(&self, question: Question) -> anyhow::Result<Vec<Vec<f64>>> {
        let day = |minutes: &[i64]| minutes.iter().map(|sum| *sum as f64).collect();
        Ok(match question {
            Question::One => vec![day(&self.set.one()?.minutes().collect::<Vec<_>>())],
            Question::All => vec![day(&self.added(|_| true))],
            Question::Month => vec![self.set.month.iter().map(|sum| *sum as f64).collect()],
            Question::ByHost => {
                let mut hosts: Vec<_> = self.set.members.iter().map(|one| &one.host).collect();
                hosts.sort_unstable();
                hosts.dedup();
                hosts.into_iter().map(|host| rates(&self.added(|of| of == host))).collect()
            }
        })
    }

    /// Increments by the minute, of the counters on some hosts together.
    fn added(&self, is_meant: impl Fn(&str) -> bool) -> Vec<i64> {
        let mut all = vec![0; POINTS];
        for member in self.set.members.iter().filter(|one| one.is_counter() && is_meant(&one.host))
        {
            all.iter_mut().zip(member.minutes()).for_each(|(all, sum)| *all += sum);
        }
        all
    }
}

/// Over the five minutes that end with each; nothing was counted before the day.
fn rates(minutes: &[i64]) -> Vec<f64> {
    let window = |at: usize| minutes[at.saturating_sub(4)..=at].iter().sum::<i64>();
    (0..minutes.len()).map(|at| window(at) as f64 / 300.0).collect()
}

/// Whether it is this number, or the next one to it: JSON that is read here may be off by so much.
fn same(seen: f64, expect: f64) -> bool {
    seen.to_bits().abs_diff(expect.to_bits()) <= 1
}

fn number(value: &Value) -> f64 {
    value.as_f64().or_else(|| value.as_str()?.parse().ok()).unwrap_or(f64::NAN)
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.*".contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}
