//! `tallyd serve`: reads the configuration, sets logging up, hands over to the daemon.

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use super::ServeArgs;
use super::allocator;
use super::compat::{self, Asked};
use super::config::complain;
use super::detach::{Detached, detach};
use crate::config::{self, Config, Surroundings};
use crate::daemon::{self, Prepared};
use crate::reason;

/// Runs the server until it is told to stop.
pub(super) fn run(args: &ServeArgs) -> ExitCode {
    allocator::settle();
    match &args.memcached_compat {
        Some(flags) => run_as_memcached(flags),
        None => run_with(args.config.as_deref()),
    }
}

/// Runs it with memcached's own flags.
fn run_as_memcached(flags: &[OsString]) -> ExitCode {
    let start = match compat::read(flags, &Surroundings::of_process()) {
        Ok(Asked::Start(start)) => start,
        Ok(Asked::Print(text)) => {
            let _ = writeln!(io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            // Help is no error, and goes to standard output.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::FAILURE } else { ExitCode::SUCCESS };
        }
    };
    match detach(start.is_daemon, start.level != "warn", start.user.as_deref()) {
        Ok(Detached::Here) => {}
        Ok(Detached::Elsewhere) => return ExitCode::SUCCESS,
        Err(reason) => {
            let _ = writeln!(io::stderr(), "error: {reason}");
            return ExitCode::FAILURE;
        }
    }
    set_up_logging(start.level);
    let prepared = daemon::prepare();
    if !start.ignored.is_empty() {
        tracing::warn!("these flags change nothing here: {}", start.ignored.join(", "));
    }
    serve(prepared, start.config, None)
}

/// Runs it with a configuration file, or with the defaults.
fn run_with(file: Option<&Path>) -> ExitCode {
    let prepared = daemon::prepare();
    let loaded = match file.map(|file| config::load(file, &Surroundings::of_process())).transpose()
    {
        Ok(loaded) => loaded,
        Err(error) => {
            complain(&error);
            return ExitCode::FAILURE;
        }
    };
    set_up_logging("info");
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
    serve(prepared, config, file.map(Path::to_owned))
}

fn serve(prepared: Prepared, config: Config, path: Option<PathBuf>) -> ExitCode {
    match prepared.run(config, path) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", reason::plain(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// How much tallyd itself may be asked to log.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Sets logging up, at `usual` where `TALLYD_LOG` does not say otherwise.
fn set_up_logging(usual: &str) {
    // What a library logs at debug or trace may hold what it sends, and that may be a password. So
    // the level that a user asks for is tallyd's own, and libraries stay at warnings; whatever is no
    // single level is not taken, since it could name a library.
    let asked = std::env::var_os("TALLYD_LOG");
    let level = asked.as_ref().map_or(Some(usual), |asked| level(&asked.to_string_lossy()));
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!("warn,tallyd={}", level.unwrap_or("info"))))
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .init();
    if level.is_none() {
        tracing::warn!("TALLYD_LOG is error, warn, info, debug or trace; it is taken as info");
    }
}

fn level(asked: &str) -> Option<&'static str> {
    LEVELS.into_iter().find(|level| level.eq_ignore_ascii_case(asked.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_single_level_is_taken() {
        for level in LEVELS {
            assert_eq!(super::level(level), Some(level));
        }
        assert_eq!(level("DEBUG"), Some("debug"));
        for other in ["", "off", "5", "info,hyper=trace", "trace,", "tallyd=debug", "[{secret}]"] {
            assert_eq!(level(other), None, "{other}");
        }
    }
}
