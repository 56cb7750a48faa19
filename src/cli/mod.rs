//! The command line: `serve`, `check`, `query`, `ack`, `silence`, `deploy`, `notify test`, `import`, `backup`, `restore`,
//! `config check`, `rules test`, `doctor`, `man`, `completions`.
//!
//! Each command answers with an exit code that scripts can use, says what is wrong in plain words on
//! standard error, and has an example in its `--help`.

mod acts;
pub mod allocator;
mod backup;
mod check;
mod compat;
mod config;
mod detach;
mod doctor;
mod import;
mod measure;
mod notify;
mod pages;
mod progress;
mod query;
mod restore;
mod rules;
mod serve;
mod server;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::counters::cells::Kind;
use acts::{AckArgs, DeployArgs, SilenceArgs, UnackArgs, UnsilenceArgs};

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
    /// Ask a running server for the state of a rule, or of what was counted, as a Nagios plugin.
    #[command(
        version,
        after_help = "Prints one line with performance data and exits with 0 OK, 1 WARNING, \
                      2 CRITICAL or 3 UNKNOWN, which it also does when the server cannot be \
                      reached or the command line is wrong, and after --help and --version: nothing was checked. A rule with several instances is as bad as the \
                      worst of them, and has a line for each.\n\n\
                      Examples:\n  tallyd check errors-high\n  tallyd check errors-high --by region=eu\n  \
                      tallyd check --all -H tally.example -S --token-file /etc/nagios4/tallyd.token\n  \
                      tallyd check --series orders.placed --per minute --window 5m -w 20: -c 10:"
    )]
    Check(Box<check::CheckArgs>),
    /// Ask a running server what was counted, now or along a range of time.
    #[command(
        after_help = "Without --from it prints one value, of the window that ended with the last full \
                      second. With --from it prints one for each --step; a window is then as long as \
                      a step, unless --window says otherwise. Series are put together, or with --by \
                      by the values of tags. A value after ≥ is a lower bound: tallyd was not \
                      running for part of the window.\n\n\
                      It exits with 0; with 1 when there is no such series; with 2 when the question is \
                      wrong; with 3 when the server does not answer.\n\n\
                      Examples:\n  tallyd query orders --measure sum --window 1h\n  \
                      tallyd query 'web.*.errors' --by host --per minute --from -6h --step 5m\n  \
                      tallyd query orders --measure sum --from -1d --format csv > orders.csv"
    )]
    Query(Box<QueryArgs>),
    /// Say that you look after incidents: they are told no more until they get worse or are over.
    #[command(
        after_help = "A rule stands for its open incidents, or with --by for those with these tags. Without \
                      anything the open incidents are listed, with their ids.\n\n\
                      It exits with 0, also when somebody else has it already, which is said; with 1 when there \
                      is no such open incident; with 2 when the question is wrong; with 3 when the server does \
                      not answer.\n\n\
                      Examples:\n  tallyd ack errors-high --by host=web-1 --comment 'restarting it'\n  tallyd ack"
    )]
    Ack(AckArgs),
    /// Say that nobody looks after an incident any more.
    #[command(
        after_help = "Exit codes are those of tallyd ack.\n\nExample:\n  tallyd unack i19b8c3f2a80-1f"
    )]
    Unack(UnackArgs),
    /// Be told nothing of some rules or series for a while, but recoveries.
    #[command(
        after_help = "RULE is a name or a glob, with or without tags: errors-*{host=\"a\"}. What still holds when a \
                      silence ends is told then. Without a rule or --series, silences are listed.\n\n\
                      It exits with 0; with 1 when there are too many; with 2 when the question is wrong; with 3 when \
                      the server does not answer.\n\n\
                      Examples:\n  tallyd silence errors-high --for 2h --comment 'moving the database'\n  \
                      tallyd silence '*' --by region=eu --for 30m\n  tallyd silence --series 'web.*' --schedule night"
    )]
    Silence(SilenceArgs),
    /// End a silence before its time.
    #[command(
        after_help = "Exits with 0; with 1 when there is no such silence; with 3 when the server does not \
                      answer.\n\nExample:\n  tallyd unsilence s19b8c3f2a80-2c"
    )]
    Unsilence(UnsilenceArgs),
    /// Note that something was put into use: charts show it, and mails name it.
    #[command(
        after_help = "Without WHAT deploys are listed.\n\nIt exits with 0; with 1 when there is no such deploy to \
                      forget; with 2 when the question is wrong; with 3 when the server does not answer.\n\n\
                      Examples:\n  tallyd deploy 'shop 2.1'\n  tallyd deploy --forget 17"
    )]
    Deploy(DeployArgs),
    /// See whether messages arrive.
    #[command(subcommand, after_help = "Example:\n  tallyd notify test oncall")]
    Notify(NotifyCommand),
    /// Put history of elsewhere into a running server.
    #[command(
        after_help = "FILE has lines of time,series,value, with or without a head: the time in seconds since \
                      1970 or as 2026-01-05T00:00:00Z, and what tallyd query --format csv prints. A row \
                      stands for the --step that its time lies in. Its value is, for a counter, how much \
                      was counted then (no running total), which is spread evenly over its seconds; for a \
                      gauge, what it was set to; for a distribution, one observation. A stretch without a row \
                      stays unknown, so write rows with 0 where nothing happened. What clients see of a \
                      series does not change, nor what /metrics shows.\n\n\
                      When a line is wrong, nothing is imported. Rows are left out and counted where there \
                      is another window already (unless --overwrite), where one is open yet, and where \
                      nothing is kept any more. An import that broke off is run again: what is there \
                      already is found.\n\n\
                      It exits with 0; with 1 when rows were left out; with 2 when the file or a question is \
                      wrong; with 3 when the server does not answer.\n\n\
                      Examples:\n  tallyd import orders.csv\n  \
                      tallyd import --kind gauge --step 5m queues.csv\n  \
                      zcat 2025.csv.gz | tallyd import --step 1h -"
    )]
    Import(ImportArgs),
    /// Fetch all that a running server knows into a directory that is not there yet.
    #[command(
        after_help = "The backup is of one instant: every total is what windows come to. Counting goes \
                      on meanwhile. The directory gets its name when all of it is on the disk; before, \
                      it ends in .tmp.\n\n\
                      It exits with 0; with 1 when it cannot be written; with 3 when the server does \
                      not answer, or not to the end.\n\n\
                      Example:\n  tallyd backup /var/backups/tallyd-$(date +%F)"
    )]
    Backup(BackupArgs),
    /// Make a data directory of a backup, while no server works on it.
    #[command(
        after_help = "The whole backup is checked before anything is touched. A data directory that holds \
                      something is left alone, or with --force gets another name, which is said.\n\n\
                      It exits with 0; with 1 when that cannot be done; with 2 when the configuration \
                      is wrong.\n\n\
                      Examples:\n  tallyd restore /var/backups/tallyd-2026-01-05 --config /etc/tallyd/tallyd.toml\n  \
                      tallyd restore tallyd-2026-01-05 --data elsewhere"
    )]
    Restore(RestoreArgs),
    /// Look at all that a server needs: configuration, ports, disk, clock, mail server.
    #[command(
        after_help = "Each line is one thing that was looked at: ok, note, WARN or FAIL. It changes nothing and sends \
                      nothing; the mail server is asked whether it takes the password. Run it as the user that \
                      the server runs as.\n\n\
                      It exits with 0, also with warnings; with 1 when something fails.\n\n\
                      Example:\n  sudo -u tallyd tallyd doctor --config /etc/tallyd/tallyd.toml"
    )]
    Doctor(DoctorArgs),
    /// Print the manual page, or write those of all commands.
    #[command(after_help = "Exits with 0; with 1 when they cannot be written.\n\n\
                            Examples:\n  tallyd man | man -l -\n  tallyd man --dir /usr/local/share/man/man1")]
    Man {
        /// Write a page for each command into this directory.
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print what makes a shell complete tallyd's command line.
    #[command(
        after_help = "Examples:\n  tallyd completions bash > /etc/bash_completion.d/tallyd\n  \
                            tallyd completions zsh > ~/.zfunc/_tallyd\n  \
                            tallyd completions fish > ~/.config/fish/completions/tallyd.fish"
    )]
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Work with configuration files.
    #[command(subcommand, after_help = "Example:\n  tallyd config check /etc/tallyd/tallyd.toml")]
    Config(ConfigCommand),
    /// See how rules stand, and prove what they do.
    #[command(
        subcommand,
        after_help = "Examples:\n  tallyd rules list\n  tallyd rules test orders-test.toml\n  \
                      tallyd rules backtest --from -30d"
    )]
    Rules(RulesCommand),
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

/// What `query` takes.
#[derive(Args, Debug)]
struct QueryArgs {
    /// A name, a glob, or either with tags: `orders{region="eu"}`.
    series: String,
    /// What is asked: sum, rate, count, mean, min, max, last, age, p50, p90, p95, p99 or p99.9.
    #[arg(long, default_value = "rate")]
    measure: String,
    /// Unit of time of a rate: second, minute, hour or day.
    #[arg(long, value_name = "UNIT")]
    per: Option<String>,
    /// Over how long, as in 5m.
    #[arg(long, value_name = "SPAN")]
    window: Option<String>,
    /// Tags whose values make lines of their own, with commas between them.
    #[arg(long, value_name = "TAGS")]
    by: Option<String>,
    /// Asks for the change: previous, 1d, 1w or 2w.
    #[arg(long, value_name = "SPAN")]
    against: Option<String>,
    /// Whose days 1d, 1w and 2w are, as in `Europe/Berlin`; those of UTC without it.
    #[arg(long, value_name = "ZONE")]
    zone: Option<String>,
    /// How a change is given: percent or absolute.
    #[arg(long, value_name = "FORM")]
    change: Option<String>,
    /// Where both windows hold less than this there is no change.
    #[arg(long, value_name = "NUMBER")]
    floor: Option<String>,
    /// Where a range begins: -1h, 2026-01-05T00:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    from: Option<String>,
    /// Where it ends; now without it.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    to: Option<String>,
    /// From one value to the next; without it some 200 of them.
    #[arg(long, value_name = "SPAN")]
    step: Option<String>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum NotifyCommand {
    /// Send a message that says that it is a test, and wait for the outcome.
    #[command(
        after_help = "It takes the way that real messages take: relay, webhook, their passwords and certificates. \
                      One attempt is made for each recipient of the contact.\n\n\
                      It exits with 0 when each has taken it; with 1 when one has not, and says why, or when there is \
                      no such contact; with 3 when the server does not answer.\n\n\
                      Example:\n  tallyd notify test oncall"
    )]
    Test(NotifyTestArgs),
}

/// What `notify test` takes.
#[derive(Args, Debug)]
struct NotifyTestArgs {
    /// The contact.
    contact: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `import` takes.
#[derive(Args, Debug)]
struct ImportArgs {
    /// The file; - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What the series are.
    #[arg(long, value_enum, default_value_t = SeriesKind::Counter)]
    kind: SeriesKind,
    /// What a row stands for, 1s to 1d.
    #[arg(long, default_value = "1m", value_name = "SPAN")]
    step: String,
    /// Replace windows that are there already.
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What a series is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum SeriesKind {
    /// How much was counted.
    Counter,
    /// What it was set to.
    Gauge,
    /// What was observed.
    Distribution,
}

impl SeriesKind {
    const fn kind(self) -> Kind {
        match self {
            Self::Counter => Kind::Counter,
            Self::Gauge => Kind::Gauge,
            Self::Distribution => Kind::Distribution,
        }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Distribution => "distribution",
        }
    }
}

/// What `backup` takes.
#[derive(Args, Debug)]
struct BackupArgs {
    /// Where it is put.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    server: ServerArgs,
}

/// What `restore` takes.
#[derive(Args, Debug)]
struct RestoreArgs {
    /// Where the backup is.
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// The data directory; without it that of the configuration.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The configuration file; built-in defaults without one.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Give a data directory that is in the way another name.
    #[arg(long)]
    force: bool,
}

/// What `doctor` takes.
#[derive(Args, Debug)]
struct DoctorArgs {
    /// The configuration file; built-in defaults without one.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the server answers HTTP, if not where the configuration says.
    #[arg(long, value_name = "URL", env = "TALLYD_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    papers: PaperArgs,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// For people; on a terminal with a line that shows the course.
    Table,
    /// For other programs: time, series, value, and what is to be said of it.
    Csv,
    /// As the server gives it.
    Json,
}

/// Which server is asked.
#[derive(Args, Debug)]
struct ServerArgs {
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
    #[command(flatten)]
    papers: PaperArgs,
}

/// What a server is shown, and by what it is known.
#[derive(Args, Debug)]
struct PaperArgs {
    /// A file with the token that the server asks for; or the token itself in `TALLYD_TOKEN`.
    #[arg(long, value_name = "FILE", env = "TALLYD_TOKEN_FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) of authorities to trust as well, for https.
    #[arg(long, value_name = "FILE", env = "TALLYD_CA_FILE")]
    ca_file: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    /// Check a configuration file, and report every problem in it with its line.
    #[command(
        after_help = "Where a server answers, it also warns of rules whose series match nothing that \
                            the server has seen; where none does, it says so. Only what the file says of \
                            rules is sent there.\n\n\
                            Exits with 0 when the file is good, also with warnings; with 1 when it is not.\n\n\
                            Example:\n  tallyd config check /etc/tallyd/tallyd.toml"
    )]
    Check(CheckFileArgs),
}

/// What `config check` takes.
#[derive(Args, Debug)]
struct CheckFileArgs {
    /// The file.
    #[arg(default_value = "tallyd.toml")]
    file: PathBuf,
    /// Which server is asked whether rules match any series; without it the one that the file is for.
    #[arg(long, value_name = "URL", env = "TALLYD_SERVER")]
    server: Option<String>,
    #[command(flatten)]
    papers: PaperArgs,
}

/// What `rules backtest` takes.
#[derive(Args, Debug)]
struct BacktestArgs {
    /// The name of a rule; without it all of them.
    rule: Option<String>,
    /// Where it begins: -30d, 2026-01-05T00:00:00Z, or seconds since 1970.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true)]
    from: String,
    /// Where it ends.
    #[arg(long, value_name = "INSTANT", allow_hyphen_values = true, default_value = "now")]
    to: String,
    /// A configuration file whose rules are played; without it those that the server runs.
    #[arg(long, short, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How it is printed.
    #[arg(long, value_enum, default_value_t = TextFormat::Text)]
    format: TextFormat,
    /// Where the server answers HTTP.
    #[arg(
        long,
        env = "TALLYD_SERVER",
        default_value = "http://127.0.0.1:8311",
        value_name = "URL"
    )]
    server: String,
    #[command(flatten)]
    papers: PaperArgs,
}

/// How an answer is printed that is no table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum TextFormat {
    /// For people.
    Text,
    /// As the server gives it.
    Json,
}

#[derive(Debug, Subcommand)]
enum RulesCommand {
    /// Print the rules of a running server with their states, a line each.
    #[command(after_help = "Exits with 0; with 3 when the server does not answer.\n\n\
                            Example:\n  tallyd rules list")]
    List {
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Print one rule with all its instances, or some of them.
    #[command(
        after_help = "Exits with 0; with 1 when there is no such rule, or no such instance of it; with 2 when \
                      --by is no TAG=VALUE; with 3 when the server does not answer.\n\n\
                      Examples:\n  tallyd rules show errors-high\n  \
                      tallyd rules show errors-high --by region=eu"
    )]
    Show {
        /// The name of the rule.
        rule: String,
        /// The instances with this tag alone; more than one --by: with all of them.
        #[arg(long, value_name = "TAG=VALUE", value_parser = rules::tag)]
        by: Vec<(String, String)>,
        #[command(flatten)]
        server: ServerArgs,
    },
    /// Say when rules would have fired, over the history that a running server has.
    #[command(
        after_help = "The server plays its own rules, or those of a file that it does not run yet: with the same \
                      code that judges live, at the resolution that is kept of each time, which is said. \
                      Nobody is told anything; messages are counted as they would have been sent.\n\n\
                      It exits with 0; with 1 when there is no such rule; with 2 when the file or the question \
                      is wrong; with 3 when the server does not answer.\n\n\
                      Examples:\n  tallyd rules backtest errors-high --from -30d\n  \
                      tallyd rules backtest --from -1w --config tallyd-new.toml"
    )]
    Backtest(BacktestArgs),
    /// Play the cases of a file against rules, under a clock of their own.
    #[command(
        after_help = "Each [[test]] says what happens to some series and what its rules, or those of a \
                      configuration file, are to make of it. Exits with 0 when all hold; with 1 when one \
                      does not, and says what was expected, what was, and when; with 2 when the file \
                      itself is wrong.\n\n\
                      A case:\n  [[test]]\n  name = \"fires after a minute, not before\"\n  \
                      rules = \"tallyd.toml\"\n  step = \"10s\"\n  \
                      input = [{ series = \"errors;host=a\", values = \"1x12 20x12 _x6 !x6 0x12\" }]\n  \
                      expect = [{ at = \"3m20s\", rule = \"errors-high\", by = { host = \"a\" }, \
                      state = \"critical\", notified = [\"oncall\"] }]\n\n\
                      Values: a number is added to a counter (or set, with kind = \"gauge\", or observed, \
                      with kind = \"distribution\"), _ leaves the series untouched, ! means that tallyd is \
                      down; AxN is A, N times; A+DxN counts up by D.\n\n\
                      Example:\n  tallyd rules test orders-test.toml"
    )]
    Test {
        /// The file.
        file: PathBuf,
    },
}

/// Does what was typed; the first argument is the name of the program.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let is_check = args.get(1).is_some_and(|arg| arg == "check");
    let cli = match parse(&args) {
        Ok(cli) => cli,
        Err(error) if is_check && error.use_stderr() => return check::misused(&error),
        Err(error) if is_check => return check::explained(&error),
        Err(error) if error.use_stderr() && is_config_misplaced(&error) => {
            return misplaced_config(&error);
        }
        // Help and the version come this way too, and go to standard output.
        Err(error) => error.exit(),
    };
    match cli.command {
        None => serve::run(&cli.serve),
        Some(Command::Serve(args)) => serve::run(&args),
        Some(Command::Check(args)) => check::run(&args),
        Some(Command::Query(args)) => query::run(&args),
        Some(Command::Ack(args)) => acts::ack(&args),
        Some(Command::Unack(args)) => acts::unack(&args),
        Some(Command::Silence(args)) => acts::silence(&args),
        Some(Command::Unsilence(args)) => acts::unsilence(&args),
        Some(Command::Deploy(args)) => acts::deploy(&args),
        Some(Command::Notify(NotifyCommand::Test(args))) => notify::test(&args),
        Some(Command::Import(args)) => import::run(&args),
        Some(Command::Backup(args)) => backup::run(&args),
        Some(Command::Restore(args)) => restore::run(&args),
        Some(Command::Doctor(args)) => doctor::run(&args),
        Some(Command::Man { dir }) => pages::man(dir.as_deref()),
        Some(Command::Completions { shell }) => pages::completions(shell),
        Some(Command::Config(ConfigCommand::Check(args))) => config::check(&args),
        Some(Command::Rules(command)) => match command {
            RulesCommand::List { server } => rules::list(&server),
            RulesCommand::Show { rule, by, server } => rules::show(&rule, &by, &server),
            RulesCommand::Backtest(args) => rules::backtest(&args),
            RulesCommand::Test { file } => rules::test(&file),
        },
    }
}

fn parse(args: &[OsString]) -> Result<Cli, clap::Error> {
    let mut command = Cli::command();
    let matches = command.try_get_matches_from_mut(args)?;
    let cli = Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))?;
    // A server that the environment names gives way.
    let is_written = |check: &ArgMatches| {
        check.value_source("server") == Some(clap::parser::ValueSource::CommandLine)
    };
    if let Some(Command::Check(check)) = &cli.command
        && check.has_parts()
        && matches.subcommand_matches("check").is_some_and(is_written)
        && let Some(command) = command.find_subcommand_mut("check")
    {
        let message = "--server cannot be used with -H, -p or -S, which stand for it";
        return Err(command.error(ErrorKind::ArgumentConflict, message));
    }
    Ok(cli)
}

/// Whether a command was given a configuration that takes none, or in front of it.
fn is_config_misplaced(error: &clap::Error) -> bool {
    let text = error.to_string();
    matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict)
        && ["'--config", "'-c'"].iter().any(|flag| text.contains(flag))
}

/// A line more than clap says.
fn misplaced_config(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    let _ = writeln!(
        io::stderr(),
        "\n`--config` is for `serve`, `restore` and `rules backtest`, behind the command. What asks a running server \
         takes `--server URL`, or TALLYD_SERVER."
    );
    ExitCode::from(2)
}
