//! Runs programs of others to their end.

use std::process::{Command, Stdio};

use crate::harness::text;

/// How a program ended.
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// One that has not ended by then is killed; its exit code is 124 or more.
const LIMIT_SECS: &str = "60";

/// Runs a program to its end.
pub fn run(program: &Command) -> Ended {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", LIMIT_SECS]).arg(program.get_program());
    command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = command.args(program.get_args()).stdin(Stdio::null()).output();
    let output = output.expect("timeout of coreutils runs");
    Ended { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

/// The Python that has the modules of `tests/peers/requirements.txt`, shut off from all others.
pub fn python() -> Command {
    let path = std::env::var_os("TALLYD_TEST_PYTHON")
        .expect("TALLYD_TEST_PYTHON names a Python; `tests/run` makes one and sets it");
    let mut command = Command::new(path);
    command.arg("-I");
    command
}

/// Node.js with the module of `tests/peers/package.json`.
pub fn node() -> Command {
    let path = std::env::var_os("TALLYD_TEST_NODE_PATH")
        .expect("TALLYD_TEST_NODE_PATH names Node.js' modules; `tests/run` installs and sets it");
    let mut command = Command::new("node");
    command.env("NODE_PATH", path);
    command
}
