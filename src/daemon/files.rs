//! Files by which others find a running server: its process id and its ports.
//!
//! Each is written under another name and renamed, so whoever finds one finds it whole.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// A file with the process id; it goes with this value.
pub(super) struct PidFile(PathBuf);

impl PidFile {
    /// Writes it.
    pub(super) fn write(path: &Path) -> anyhow::Result<Self> {
        let text = format!("{}\n", std::process::id());
        replace(path, &text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self(path.to_owned()))
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = std::fs::remove_file(&self.0);
    }
}

/// Writes the TCP ports in the form of memcached's `MEMCACHED_PORT_FILENAME`.
pub(super) fn write_ports(path: &Path, ports: &[SocketAddr]) -> anyhow::Result<()> {
    let line = |address: &SocketAddr| {
        let family = if address.is_ipv6() { "INET6" } else { "INET" };
        format!("TCP {family}: {}\n", address.port())
    };
    let text: String = ports.iter().map(line).collect();
    replace(path, &text).with_context(|| format!("cannot write {}", path.display()))
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".tmp");
    let other = PathBuf::from(name);
    #[expect(clippy::disallowed_methods, reason = "these files are no data of the store's")]
    let mut file = std::fs::File::create(&other)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&other, path)
}
