//! Small files beside the store: process id and ports, by which others find a running server, and the key of
//! links in mails.
//!
//! Each is written under another name and renamed, so whoever finds one finds it whole.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};

use crate::config::Config;
use crate::disk;
use crate::notify::links::{KEY_BYTES, LinkKey};

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

/// The key in the data directory, which is made where there is none. Where that cannot be done, or what is
/// there is no key, links in mails are good until the process ends: that keeps no server from starting.
pub(super) fn link_key(config: &Config) -> LinkKey {
    if config.compat.is_on {
        return random_key();
    }
    let path = config.server.data_dir.join(LINK_KEY);
    kept_key(&path).unwrap_or_else(|error| {
        let why = crate::reason::plain(&format!("{error:#}"));
        tracing::error!("{why}; links in mails are good until this server ends");
        random_key()
    })
}

/// Its file in the data directory.
const LINK_KEY: &str = "link-key";

/// What is read of it, in bytes; a key has fewer.
const LINK_KEY_BYTES: u64 = 1024;

fn kept_key(path: &Path) -> anyhow::Result<LinkKey> {
    let shown = path.display();
    let there = path.try_exists().with_context(|| format!("cannot read {shown}"))?;
    if !there {
        let key = random_key();
        write_key(path, &key).with_context(|| format!("cannot write {shown}"))?;
        return Ok(key);
    }
    let text = read_key(path).with_context(|| format!("cannot read {shown}"))?;
    LinkKey::read(&text).ok_or_else(|| anyhow!("{shown} holds no key of this version"))
}

fn read_key(path: &Path) -> io::Result<String> {
    let file = disk::File::open(path)?;
    let mut bytes = vec![0; usize::try_from(file.bytes()?.min(LINK_KEY_BYTES)).unwrap_or(0)];
    file.read_at(&mut bytes, 0)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write_key(path: &Path, key: &LinkKey) -> io::Result<()> {
    let new = path.with_extension("tmp");
    let file = disk::File::open(&new)?;
    file.set_len(0)?;
    file.write_at(key.write().as_bytes(), 0)?;
    file.sync()?;
    disk::rename(&new, path)?;
    path.parent().map_or(Ok(()), disk::sync_dir)
}

fn random_key() -> LinkKey {
    let mut bytes = [0; KEY_BYTES];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .expect("the kernel has random bytes once it has started");
    LinkKey::new(bytes)
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
