//! `tallyd serve`: reads the configuration, sets logging up, hands over to the daemon.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use super::config::complain;
use crate::config::{self, Config, Surroundings};
use crate::daemon;

/// Runs the server until it is told to stop.
pub(super) fn run(file: Option<&Path>) -> ExitCode {
    let loaded = match file.map(|file| config::load(file, &Surroundings::of_process())).transpose()
    {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    set_up_logging();
    let config = match loaded {
        Some(loaded) => {
            for warning in loaded.warnings.iter() {
                let line = warning.line();
                tracing::warn!(line, "configuration: {}", warning.message());
            }
            loaded.config
        }
        None => Config::default(),
    };
    match daemon::run(config) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn set_up_logging() {
    // What a library logs at debug or trace may hold what it sends, and that may be a password. So
    // the level that a user asks for is tallyd's own, and libraries stay at warnings.
    let level = std::env::var("TALLYD_LOG").unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(format!("warn,tallyd={level}"));
    let is_unclear = filter.is_err();
    tracing_subscriber::fmt()
        .with_env_filter(filter.unwrap_or_else(|_| EnvFilter::new("warn,tallyd=info")))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    if is_unclear {
        tracing::warn!("TALLYD_LOG is error, warn, info, debug or trace; it is taken as info");
    }
}
