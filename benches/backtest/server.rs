//! The server: the real binary on loopback, ended with the run.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{bail, ensure};

/// Minutes are kept for long enough to hold all of the history.
const TIERS: &str = "[[tier]]\nwindow = '1s'\nkeep = '2h'\n[[tier]]\nwindow = '10s'\nkeep = '3d'\n\
                     [[tier]]\nwindow = '1m'\nkeep = '100d'\n[[tier]]\nwindow = '1h'\nkeep = '1825d'\n";

/// Dropping it ends the process.
pub(crate) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    pub(crate) fn start(home: &Path) -> anyhow::Result<Self> {
        let (memcached, port) = (free_port()?, free_port()?);
        let config = format!(
            "[server]\nlisten = ['127.0.0.1:{memcached}']\nhttp = ['127.0.0.1:{port}']\ndata_dir = '{}'\n{TIERS}",
            home.join("data").display()
        );
        let file = home.join("tallyd.toml");
        fs::write(&file, config)?;
        let log = home.join("log");
        let child = Command::new(env!("CARGO_BIN_EXE_tallyd"))
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()?;
        let mut server = Self { child, port };
        for _ in 0..300 {
            if server.child.try_wait()?.is_some() {
                break;
            }
            if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
                return Ok(server);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        bail!("it does not accept connections: {}", fs::read_to_string(&log)?)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// What its threads have computed so far, also those that have ended.
    pub(crate) fn cpu_secs(&self) -> anyhow::Result<f64> {
        let stat = fs::read_to_string(PathBuf::from(format!("/proc/{}/stat", self.child.id())))?;
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let ticks = behind.split_whitespace().skip(11).take(2);
        let ticks: Vec<f64> = ticks.filter_map(|number| number.parse().ok()).collect();
        ensure!(ticks.len() == 2, "this kernel tells no CPU time");
        Ok(ticks.iter().sum::<f64>() / per_second())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What processes have computed that were waited for.
pub(crate) fn children_cpu_secs() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit(')').next().unwrap_or_default();
    let ticks = behind.split_whitespace().skip(13).take(2);
    ticks.filter_map(|number| number.parse::<f64>().ok()).sum::<f64>() / per_second()
}

#[expect(clippy::cast_precision_loss, reason = "a hundred")]
fn per_second() -> f64 {
    rustix::param::clock_ticks_per_second() as f64
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
