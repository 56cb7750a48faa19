//! Runs programs of others, to their end or to that of a test.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

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

/// A server of Prometheus' family, at the port that it chose. It ends with this value.
pub struct Listening {
    child: Child,
    pub address: SocketAddr,
}

impl Listening {
    /// Starts it, and waits until it says where it listens.
    pub fn start(program: &mut Command) -> Self {
        program.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = program.spawn().expect("it starts; `tests/run` installs it");
        let stderr = child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains("Listening on")).expect("it says its port");
        let address = line.split_once("address=").expect("an address").1;
        let address = address.split_whitespace().next().and_then(|text| text.parse().ok());
        // What else it says is read, so that it never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { child, address: address.expect("an address and a port") }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
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
