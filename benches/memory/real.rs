//! A server, and a client that increments every series once a second.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{Options, Seen, delta, key};

const POLL: Duration = Duration::from_millis(20);
const START_POLLS: u32 = 500;

struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let directory = TempDir::new_in(&options.directory)?;
    let ports = [
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
        TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?,
    ];
    let [port, http] = [ports[0].local_addr()?.port(), ports[1].local_addr()?.port()];
    drop(ports);
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nhttp = [\"127.0.0.1:{http}\"]\nthreads = 2\n"
    );
    fs::write(directory.path().join("tallyd.toml"), config)?;
    let child = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args(["serve", "--config", "tallyd.toml"])
        .current_dir(directory.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::create(directory.path().join("output"))?)
        .spawn()
        .context("starting tallyd")?;
    let server = Server(child);
    let mut stream = connect(port)?;
    let mut seen = Seen::new(server.0.id(), options);
    let start = Instant::now();
    for second in 1..=options.minutes * 60 {
        increment(&mut stream, options.series, second)?;
        seen.note()?;
        std::thread::sleep(Duration::from_secs(second.into()).saturating_sub(start.elapsed()));
    }
    seen.finish();
    Ok(())
}

fn connect(port: u16) -> anyhow::Result<TcpStream> {
    for _ in 0..START_POLLS {
        if let Ok(stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) {
            return Ok(stream);
        }
        std::thread::sleep(POLL);
    }
    bail!("it does not accept connections")
}

/// Each series once, and the proof that the server has kept up.
fn increment(stream: &mut TcpStream, series: u32, second: u32) -> anyhow::Result<()> {
    let (mut batch, mut name) = (Vec::with_capacity(70_000), Vec::new());
    for series in 0..series {
        key(series, &mut name);
        batch.extend_from_slice(b"incr ");
        batch.extend_from_slice(&name);
        write!(batch, " {} noreply\r\n", delta(series, second))?;
        if batch.len() > 65_536 {
            stream.write_all(&batch)?;
            batch.clear();
        }
    }
    batch.extend_from_slice(b"version\r\n");
    stream.write_all(&batch)?;
    let mut reply = [0];
    while reply != *b"\n" {
        stream.read_exact(&mut reply)?;
    }
    Ok(())
}
