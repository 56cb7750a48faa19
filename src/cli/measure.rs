//! `GET /api/v1/measure` as commands ask it: the question goes as it was typed, and a refusal is told in the
//! server's own words.

use std::time::Duration;

use super::PaperArgs;
use super::server::{self, Peer};
use crate::limits;

/// What was found.
pub(super) struct Found {
    /// The answer as it came.
    pub(super) text: String,
    /// The same, read; none where no such series was ever seen.
    pub(super) lines: Vec<Line>,
}

/// What is known of the series, or of one combination of tags.
#[derive(serde::Deserialize)]
pub(super) struct Line {
    pub(super) series: String,
    /// Seconds since 1970, and the value, where there is one.
    pub(super) points: Vec<(i64, Option<f64>)>,
    /// Times at which the value is a lower bound.
    #[serde(default)]
    pub(super) at_least: Vec<i64>,
    /// Why the last value is none, or a bound.
    #[serde(default)]
    pub(super) note: Option<String>,
}

impl Line {
    /// Whether the value then is a lower bound.
    pub(super) fn is_bound(&self, at: i64) -> bool {
        self.at_least.binary_search(&at).is_ok()
    }
}

/// Why nothing was found.
pub(super) enum Failure {
    /// The question is wrong.
    Question(String),
    /// The server does not answer, or is none of ours.
    Server(String),
}

#[derive(serde::Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    data: Vec<Line>,
    #[serde(default)]
    error: Option<String>,
}

/// The URL of a question, and the server.
pub(super) fn url(
    server: &str,
    papers: &PaperArgs,
    asked: &[(&str, Option<&String>)],
) -> Result<(reqwest::Url, Peer), String> {
    let (mut url, server) = server::url_of(server, papers, &["api", "v1", "measure"])?;
    let asked = asked.iter().filter_map(|(name, value)| Some((*name, (*value)?)));
    url.query_pairs_mut().extend_pairs(asked);
    Ok((url, server))
}

/// Asks `url` of that server.
pub(super) fn ask(url: reqwest::Url, name: &Peer, timeout: Duration) -> Result<Found, Failure> {
    let got = server::get(url, name, timeout, limits::MEASURE_ANSWER_BYTES);
    let got = got.map_err(Failure::Server)?;
    let Ok(answer) = serde_json::from_str::<Answer>(&got.text) else {
        let text = format!("{name} does not answer as tallyd does ({})", got.code);
        return Err(Failure::Server(text));
    };
    if let Some(error) = answer.error {
        return Err(Failure::Question(error));
    }
    if got.code != 200 || answer.status != "success" {
        return Err(Failure::Server(format!("{name} answered with status {}", got.code)));
    }
    Ok(Found { text: got.text, lines: answer.data })
}
