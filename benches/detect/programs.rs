//! Programs that are started on loopback, and ended.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::lanes::{Lanes, Program};

/// A process with its directory.
pub(crate) struct Running {
    child: Child,
    /// Goes with it.
    _home: Option<TempDir>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program and waits until it listens.
pub(crate) fn start(
    program: &Path,
    arguments: &[String],
    port: u16,
    log: &Path,
    home: Option<TempDir>,
) -> anyhow::Result<Running> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(log)?)
        .spawn()
        .with_context(|| format!("cannot start {}", program.display()))?;
    for _ in 0..300 {
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            bail!("{} ended at once ({status}): {said}", program.display());
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Ok(Running { child, _home: home });
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let _ = child.kill();
    bail!("{} does not accept connections", program.display())
}

/// A port that nobody uses.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// A directory below the target directory.
pub(crate) fn home() -> anyhow::Result<TempDir> {
    Ok(TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?)
}

/// The server with a rule and a contact for each lane.
pub(crate) fn tallyd(lanes: &Lanes) -> anyhow::Result<Program> {
    let (memcached, http, home) = (free_port()?, free_port()?, home()?);
    let mut config = format!(
        "[server]\nlisten = [\"127.0.0.1:{memcached}\"]\nhttp = [\"127.0.0.1:{http}\"]\ndata_dir = \"{}\"\n",
        home.path().join("data").display()
    );
    for lane in &lanes.list {
        let (number, port) = (lane.number, lane.port);
        write!(
            config,
            "[[rule]]\nname = \"lane-{number}\"\nseries = \"lane-{number}\"\nmeasure = \"sum\"\nwindow = \"2s\"\n\
             critical = {{ above = 0 }}\nflapping = false\nnotify = [\"lane-{number}\"]\n\
             [[contact]]\nname = \"lane-{number}\"\nwebhook = \"http://127.0.0.1:{port}/\"\n"
        )?;
    }
    let file = home.path().join("tallyd.toml");
    std::fs::write(&file, config)?;
    let binary = PathBuf::from(env!("CARGO_BIN_EXE_tallyd"));
    let log = home.path().join("log");
    let arguments = ["--config".to_owned(), file.display().to_string()];
    let running = start(&binary, &arguments, http, &log, Some(home))?;
    let title = format!("tallyd {}", env!("CARGO_PKG_VERSION"));
    Ok(Program { title, counts_at: Some(memcached), _running: vec![running] })
}
