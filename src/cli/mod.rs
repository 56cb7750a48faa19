//! The command line: `serve`, `check`, `config check`.
//!
//! Each command answers with an exit code that scripts can use, says what is wrong in plain words on
//! standard error, and has an example in its `--help`.

mod check;
mod compat;
mod config;
mod detach;
mod serve;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Counts what applications tell it over the memcached protocol, and tells people when the numbers go
/// wrong.
#[derive(Debug, Parser)]
#[command(
    name = "tallyd",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Without a command it serves, with built-in defaults: memcached on \
                  127.0.0.1:11311, HTTP on 127.0.0.1:8311.\n\n\
                  Example:\n  tallyd --config tallyd.toml &\n  \
                  printf 'incr signups 1\\r\\n' | nc -q1 127.0.0.1 11311"
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    #[command(
        after_help = "SIGTERM and SIGINT stop it in order. TALLYD_LOG sets how much it logs to \
                            standard error: error, warn, info (the default), debug or trace.\n\n\
                            Example:\n  tallyd serve --config /etc/tallyd/tallyd.toml"
    )]
    Serve(ServeArgs),
    /// Ask a running server for the state of a rule, as a Nagios plugin.
    #[command(
        after_help = "Prints one line with performance data and exits with 0 OK, 1 WARNING, \
                            2 CRITICAL or 3 UNKNOWN, which it also does when the server cannot be \
                            reached or the command line is wrong.\n\nExample:\n  tallyd check errors-high"
    )]
    Check(CheckArgs),
    /// Work with configuration files.
    #[command(subcommand, after_help = "Example:\n  tallyd config check /etc/tallyd/tallyd.toml")]
    Config(ConfigCommand),
}

/// What `serve` takes.
#[derive(Args, Debug)]
struct ServeArgs {
    /// The configuration file; built-in defaults without one.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Start as memcached starts: all that follows are memcached's own flags (`-h` lists them).
    #[arg(long, value_name = "FLAGS", num_args = 0.., allow_hyphen_values = true,
          conflicts_with = "config")]
    memcached_compat: Option<Vec<OsString>>,
}

/// What `check` takes.
#[derive(Args, Debug)]
struct CheckArgs {
    /// The name of the rule.
    rule: String,
    /// Where the server answers HTTP.
    #[arg(
        long,
        env = "TALLYD_SERVER",
        default_value = "http://127.0.0.1:8311",
        value_name = "URL"
    )]
    server: String,
    /// How long to wait for the answer, in seconds.
    #[arg(long, short, default_value_t = 10, value_name = "SECONDS",
          value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file, and report every problem in it with its line.
    #[command(after_help = "Exits with 0 when the file is good, with 1 when it is not.\n\n\
                            Example:\n  tallyd config check /etc/tallyd/tallyd.toml")]
    Check {
        /// The file.
        #[arg(default_value = "tallyd.toml")]
        file: PathBuf,
    },
}

/// Does what was typed; the first argument is the name of the program.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let cli = match Cli::try_parse_from(&args) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && args.get(1).is_some_and(|arg| arg == "check") => {
            return check::misused(&error);
        }
        // Help and the version come this way too, and go to standard output.
        Err(error) => error.exit(),
    };
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Config(ConfigCommand::Check { file })) => config::check(&file),
    }
}
