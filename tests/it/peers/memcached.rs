//! A memcached of our own: Debian's, on a port that it chooses itself.

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use crate::harness::eventually;

/// A running memcached. It ends with this value.
pub struct Memcached {
    child: Child,
    pub address: SocketAddr,
}

impl Memcached {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        // It writes the file under another name and renames it, so a file that is there is whole.
        let file = dir.path().join("port");
        let child = Command::new("memcached")
            .args(["-u", "root", "-l", "127.0.0.1", "-p", "-1", "-U", "0"])
            .env("MEMCACHED_PORT_FILENAME", &file)
            .stdin(Stdio::null())
            .spawn()
            .expect("memcached starts; `tests/run` installs it");
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut memcached = Self { child, address: nowhere };
        let port = eventually("memcached's port", || std::fs::read_to_string(&file).ok());
        let port = port.trim().strip_prefix("TCP INET: ").and_then(|port| port.parse().ok());
        memcached.address.set_port(port.expect("a port"));
        memcached
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
