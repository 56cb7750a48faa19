//! A server that answers without counting: the bound set by sockets, runtime and client.
//!
//! It runs on a current-thread Tokio runtime, as each worker of tallyd does, finds the line ends,
//! and writes a reply of the right shape: a number for `incr`, nothing after `noreply`, one value
//! for each key of a `get`. What a counting server spends beyond it is parsing and counting.

use std::io::Read;
use std::net::Ipv4Addr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const INBOX_BYTES: usize = 64 * 1024;

/// Serves until standard input ends, which it does when whoever started this is gone.
pub(crate) fn serve(port: u16) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(converse(stream));
        }
    })
}

async fn converse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut inbox = Vec::with_capacity(INBOX_BYTES);
    let mut outbox = Vec::with_capacity(INBOX_BYTES);
    while stream.read_buf(&mut inbox).await? > 0 {
        let mut consumed = 0;
        for line in inbox.split_inclusive(|&byte| byte == b'\n') {
            if let Some(line) = line.strip_suffix(b"\r\n") {
                consumed += line.len() + 2;
                answer(line, &mut outbox);
            }
        }
        inbox.drain(..consumed);
        stream.write_all(&outbox).await?;
        outbox.clear();
    }
    Ok(())
}

fn answer(line: &[u8], outbox: &mut Vec<u8>) {
    if line.ends_with(b"noreply") {
        return;
    }
    match line.strip_prefix(b"get ") {
        Some(keys) => {
            for key in keys.split(|&byte| byte == b' ') {
                outbox.extend_from_slice(b"VALUE ");
                outbox.extend_from_slice(key);
                outbox.extend_from_slice(b" 0 1\r\n1\r\n");
            }
            outbox.extend_from_slice(b"END\r\n");
        }
        None if line == b"version" => outbox.extend_from_slice(b"VERSION echo\r\n"),
        None => outbox.extend_from_slice(b"1000\r\n"),
    }
}
