//! What proof before production costs: ninety days of history at one minute, imported, and fifty rules played
//! over it.
//!
//! `cargo bench --bench backtest` writes a CSV file of fifty series of counters (6.48 million rows, an hour of ten times
//! as much every few days), starts a server that keeps one-minute windows for a hundred days, and does what a user
//! would: `tallyd import`, and `tallyd rules backtest --config` for the rules of each kind and for all of
//! them. It prints the wall time of each command, and the CPU time of the command and of the server's process.
//! `--rounds 3` plays all rules so often, and prints each time.

#![expect(clippy::print_stdout, reason = "the table is the result")]
#![expect(
    clippy::disallowed_methods,
    reason = "it reads the clock, connects, waits, and writes the files"
)]

mod history;
mod server;

use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, ensure};
use clap::Parser;

use server::Server;

/// Measures an import and backtests.
#[derive(Parser)]
struct Options {
    /// Days of history
    #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=99))]
    days: u32,
    /// How often all rules are played
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let mut options = Options::parse();
    if !options.bench {
        // `cargo test --all-targets` asks whether it runs at all.
        (options.days, options.rounds) = (1, 1);
    }
    let home = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
    let file = home.path().join("history.csv");
    let rows = history::write(&file, options.days)?;
    let server = Server::start(home.path())?;
    println!("{:>44}  {:>8} {:>12} {:>12}  fired", "", "wall s", "its CPU s", "server CPU s");
    let title = format!("import, {rows} rows of {} days", options.days);
    run(&server, &title, &["import".to_owned(), file.display().to_string()])?;
    for (title, kind) in [
        ("30 rates over five minutes", "rate"),
        ("5 rates of six instances each", "hosts"),
        ("5 of the greatest second in ten minutes", "most"),
        ("5 shares of others", "share"),
        ("5 changes against last week", "week"),
    ] {
        backtest(&server, home.path(), title, kind, options.days)?;
    }
    for _ in 0..options.rounds {
        backtest(&server, home.path(), "all 50 rules", "", options.days)?;
    }
    Ok(())
}

fn backtest(
    server: &Server,
    home: &Path,
    title: &str,
    kind: &str,
    days: u32,
) -> anyhow::Result<()> {
    let file = home.join("rules.toml");
    std::fs::write(&file, rules(kind)?)?;
    let file = file.display().to_string();
    let from = format!("-{days}d");
    let arguments = ["rules", "backtest", "--config", &file, "--from", &from, "--format", "json"];
    run(server, title, &arguments.map(str::to_owned))
}

/// Runs a command against the server, and prints what it took.
fn run(server: &Server, title: &str, arguments: &[String]) -> anyhow::Result<()> {
    let (begin, own, its) = (Instant::now(), server::children_cpu_secs(), server.cpu_secs()?);
    let output = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(arguments)
        .env("TALLYD_SERVER", server.url())
        .output()?;
    let wall = begin.elapsed().as_secs_f64();
    let (own, its) = (server::children_cpu_secs() - own, server.cpu_secs()? - its);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.success(), "{title}: {} {said}", String::from_utf8_lossy(&output.stdout));
    let fired = fired(&output.stdout).context("an answer that is not JSON")?;
    println!("{title:>44}  {wall:>8.2} {own:>12.2} {its:>12.2}  {fired}");
    Ok(())
}

/// How often rules fired, of those that were played; nothing of an import.
fn fired(answer: &[u8]) -> anyhow::Result<String> {
    if !answer.starts_with(b"{") {
        return Ok(String::new());
    }
    let answer: serde_json::Value = serde_json::from_slice(answer)?;
    let mut times = 0;
    for rule in answer.get("data").and_then(|data| data.as_array()).into_iter().flatten() {
        ensure!(rule.get("problem").is_none(), "{rule}");
        times += rule.get("fired").and_then(serde_json::Value::as_u64).unwrap_or(0);
    }
    Ok(times.to_string())
}

/// Thirty plain ones, five of each other kind; those of a kind alone, where one is named.
fn rules(kind: &str) -> anyhow::Result<String> {
    let mut text = String::new();
    let mut rule = |name: String, lines: String| {
        if name.starts_with(kind) {
            writeln!(text, "[[rule]]\nname = '{name}'\nnotify = []\n{lines}")?;
        }
        anyhow::Ok(())
    };
    let critical = "critical = { above = 0.2, clear = 0.1, for = '2m' }";
    for n in 0..30 {
        let lines = format!("series = 'orders;n={n}'\nmeasure = 'rate'\nwindow = '5m'\n{critical}");
        rule(format!("rate-{n}"), lines)?;
    }
    for n in 30..35 {
        let lines = format!(
            "series = 'orders{{n=~\"[234].\",host=\"web-{}\"}}'\nby = ['n']\nmeasure = 'rate'\nwindow = '5m'\n{critical}",
            n % 5
        );
        rule(format!("hosts-{n}"), lines)?;
        let lines = format!(
            "series = 'orders;n={n}'\nmeasure = 'max'\nwindow = '10m'\ncritical = {{ above = 2 }}"
        );
        rule(format!("most-{n}"), lines)?;
        let lines = format!(
            "series = 'orders;n={n}'\nover = 'orders;n={}'\nmeasure = 'sum'\nwindow = '10m'\ncritical = {{ above = 3 }}",
            n + 5
        );
        rule(format!("share-{n}"), lines)?;
        let lines = format!(
            "series = 'orders;n={n}'\nmeasure = 'sum'\nwindow = '10m'\nagainst = '1w'\nchange = 'percent'\nfloor = 20\ncritical = {{ below = -70 }}"
        );
        rule(format!("week-{n}"), lines)?;
    }
    Ok(text)
}
