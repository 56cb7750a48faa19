//! `tallyd config check`: every problem in a file at once, and rules that watch nothing.
//!
//! Which series there are is known to a running server: the one that is named, or else the one that the file is
//! for. Where none answers, it says that it could not look. A rule that matches nothing is a warning and no
//! problem: its series may be about to come.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use super::{CheckFileArgs, PaperArgs, server};
use crate::config::{
    Config, LoadError, Metric, MetricKind, Surroundings, load, rules_alone, warn_unmatched,
};
use crate::engine::Look;
use crate::limits;
use crate::reason::{self, one_line};

/// A check that waits for nobody is run more often.
const PATIENCE: Duration = Duration::from_secs(3);

/// Reports the problems of a file; the exit code says whether there are any.
pub(super) fn check(args: &CheckFileArgs) -> ExitCode {
    let (file, surroundings) = (&args.file, Surroundings::of_process());
    match load(file, &surroundings) {
        Ok(loaded) => {
            let config = loaded.config;
            if !loaded.warnings.is_empty() {
                say(&loaded.warnings.render(io::stderr().is_terminal()));
            }
            look(args, &config, &surroundings);
            let (rules, contacts) = (config.rules.len(), config.contacts.len());
            let mut text =
                format!("{}: good, {rules} rules, {contacts} contacts\n", file.display());
            config.metrics.iter().for_each(|metric| text += &described(metric));
            // Nobody reads it: then there is nobody to tell, either.
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// Warns of rules whose series match nothing, or says that nobody knows.
fn look(args: &CheckFileArgs, config: &Config, surroundings: &Surroundings<'_>) {
    if config.rules.is_empty() {
        return;
    }
    let read = (surroundings.file)(&args.file, limits::CONFIG_BYTES);
    let text = read.ok().flatten().and_then(|read| String::from_utf8(read.bytes).ok());
    let text = text.unwrap_or_default();
    let asked = server_of(args, config).and_then(|server| ask(&server, &args.papers, &text));
    match asked {
        Ok(look) if look.is_counting => {
            let warnings = warn_unmatched(&text, &args.file, &look.unmatched);
            if !warnings.is_empty() {
                say(&warnings.render(io::stderr().is_terminal()));
            }
        }
        Ok(_) => not_looked("the server knows no series yet"),
        Err(why) => not_looked(&why),
    }
}

fn not_looked(why: &str) {
    say(&format!("note: whether rules match any series was not looked up: {}", one_line(why)));
}

/// The server that is named; otherwise the one that the file is for.
fn server_of(args: &CheckFileArgs, config: &Config) -> Result<String, String> {
    let own = || own_server(config);
    args.server.clone().or_else(own).ok_or_else(|| "the file has no server.http".to_owned())
}

/// Where the server of this configuration answers HTTP.
pub(super) fn own_server(config: &Config) -> Option<String> {
    let address = config.server.http.first()?;
    let scheme = if config.http.tls.is_some() { "https" } else { "http" };
    Some(format!("{scheme}://{}", reachable(*address)))
}

/// Where a server that listens there is reached from its own machine.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        let is_v4 = address.is_ipv4();
        let loopback = if is_v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() };
        address.set_ip(loopback);
    }
    address
}

/// What the server answers.
#[derive(serde::Deserialize)]
struct Answer {
    data: Option<Look>,
    error: Option<String>,
}

fn ask(server: &str, papers: &PaperArgs, text: &str) -> Result<Look, String> {
    let (url, name) = server::url_of(server, papers, &["api", "v1", "look"])?;
    let rules = rules_alone(text);
    if rules.len() > limits::BACKTEST_BODY_BYTES {
        return Err(format!("the rules take more than {} KiB", limits::BACKTEST_BODY_BYTES / 1024));
    }
    let most = limits::LOOK_ANSWER_BYTES;
    let got = server::post_and_wait(url, &name, PATIENCE, rules, most, |_| {})?;
    let answer = serde_json::from_str(&got.text);
    match answer {
        Ok(Answer { data: Some(look), .. }) if got.code == 200 => Ok(look),
        Ok(Answer { error: Some(error), .. }) => Err(format!("tallyd at {name} says: {error}")),
        _ => Err(format!("what answers at {name} is not tallyd, or of another version")),
    }
}

/// `web.*.ms: a distribution in ms, 2 digits, at most 32 KiB a window: Time to answer`
fn described(metric: &Metric) -> String {
    let Metric { series, kind, unit, description, layout } = metric;
    let unit = if unit.is_empty() { String::new() } else { format!(" in {unit}") };
    let histogram = if *kind == MetricKind::Distribution {
        let most = layout.bytes().div_ceil(1024);
        format!(", {} digits, at most {most} KiB a window", layout.digits())
    } else {
        String::new()
    };
    let end = if description.is_empty() { String::new() } else { format!(": {description}") };
    format!("{series}: {}{unit}{histogram}{end}\n", kind.text())
}

/// Says on standard error why a file cannot be used.
pub(super) fn complain(error: &LoadError) {
    match error {
        LoadError::Invalid(problems) => say(&problems.render(io::stderr().is_terminal())),
        other => {
            let cause = other.source().map(|cause| format!(": {}", reason::of(cause)));
            say(&format!("error: {other}{}", cause.unwrap_or_default()));
        }
    }
}

pub(super) fn say(text: &str) {
    let _ = writeln!(io::stderr(), "{}", text.trim_end());
}
