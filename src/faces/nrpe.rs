//! The NRPE face: `check_nrpe -H HOST -c RULE` asks for the state of a rule, as it would ask an agent to run a plugin.
//!
//! Nothing is run: the command is the name of a rule, and its arguments are tags of the instances that are
//! meant. A host that is not allowed is closed on before anything is read from it or said to it, a TLS
//! handshake included. A connection is one query and one answer, in ten seconds at most. What a command asks
//! for beyond that is no more than any client of `/check` may know.

mod gate;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::nagios::{self, Check};
use super::{Shared, VERSION, connections, stopped};
use crate::limits;
use crate::protocol::nrpe::{self, Step, Version};
use crate::rules::Level;

pub use gate::Gate;

/// What `check_nrpe` asks where it is given no command: who is there.
const WHO: &str = "_NRPE_CHECK";

/// The command that stands for all rules.
const ALL: &str = "_ALL";

/// What is answered, and the room for connections.
#[derive(Clone)]
pub struct Face {
    shared: Shared,
    room: Arc<Semaphore>,
    /// How long a connection may take.
    patience: Duration,
}

impl Face {
    /// A face that shows `shared`.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        let patience = Duration::from_secs(limits::NRPE_SECS);
        Self { shared, room: Arc::new(Semaphore::new(limits::NRPE_CONNECTIONS)), patience }
    }

    /// Serves NRPE on `listener` until `stop` says so; then answers what was asked and returns.
    pub async fn serve(self, listener: TcpListener, mut stop: watch::Receiver<bool>) {
        let mut connections = JoinSet::new();
        while let Some((stream, from)) =
            connections::next(&listener, &mut connections, &mut stop, "NRPE").await
        {
            if !self.shared.nrpe.admits(from.ip(), &*self.shared.clock) {
                continue;
            }
            // Whoever is allowed waits for room here; others have taken none.
            let permit = tokio::select! {
                biased;
                () = stopped(&mut stop) => break,
                permit = Arc::clone(&self.room).acquire_owned() => permit,
            };
            let (shared, patience) = (self.shared.clone(), self.patience);
            connections.spawn(async move {
                attend(&shared, stream, from, patience).await;
                drop(permit);
            });
        }
        drop(listener);
        while connections.join_next().await.is_some() {}
    }
}

/// Answers one query, or says in the log why there was none.
async fn attend(shared: &Shared, stream: TcpStream, from: SocketAddr, limit: Duration) {
    let talked = match tokio::time::timeout(limit, talk(shared, stream)).await {
        Ok(talked) => talked,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let figure = match talked {
        Ok(()) => &shared.nrpe.answered,
        Err(error) => {
            // One that only looks whether somebody listens is no cause for a line.
            if error.kind() == io::ErrorKind::InvalidData {
                shared.nrpe.misread(from, &error, &*shared.clock);
            }
            tracing::debug!(%error, %from, "a connection of NRPE ended without an answer");
            &shared.nrpe.failed
        }
    };
    figure.fetch_add(1, Relaxed);
}

async fn talk(shared: &Shared, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let Some(tls) = shared.nrpe.tls() else {
        let mut stream = stream;
        exchange(shared, &mut stream).await?;
        // As below.
        let _ = stream.shutdown().await;
        return Ok(());
    };
    let mut stream = tls.accept(stream).await?;
    exchange(shared, &mut stream).await?;
    // A peer that has its answer need not wait for our goodbye.
    let _ = stream.shutdown().await;
    Ok(())
}

/// Reads a query and writes its answer.
async fn exchange(
    shared: &Shared,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut bytes = Vec::new();
    loop {
        let wanted = match nrpe::parse(&bytes) {
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
            Ok(Step::Query { version, text, .. }) => {
                let answer = answer(shared.clone(), version, text.to_owned()).await?;
                stream.write_all(&answer).await?;
                return stream.flush().await;
            }
            Ok(Step::NeedMore { at_least }) => at_least.saturating_sub(bytes.len()),
        };
        // No more than the packet: its length is bounded, and so is what is read.
        if (&mut *stream).take(wanted as u64).read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Makes an answer on a thread where it may wait for the engine's lock.
async fn answer(shared: Shared, version: Version, text: String) -> io::Result<Vec<u8>> {
    let made = tokio::task::spawn_blocking(move || {
        let Check { level, text } = check(&shared, &text, version.room());
        nrpe::answer(version, level.exit_code(), &text)
    });
    made.await.map_err(io::Error::other)
}

/// The check that a command stands for: a rule, `_ALL`, or who is there. `rule!region=eu` is what
/// `check_nrpe -c rule -a region=eu` sends.
fn check(shared: &Shared, text: &str, room: usize) -> Check {
    let mut words = text.split('!');
    let command = words.next().unwrap_or_default();
    if command == WHO {
        return Check { level: Level::Ok, text: format!("tallyd {VERSION}") };
    }
    let tags = match words.map(nagios::tag).collect::<Result<Vec<_>, _>>() {
        Ok(tags) => tags,
        Err(reason) => {
            let reason =
                format!("an argument names a tag of the instances that are meant: {reason}");
            return nagios::unknown(command, &reason, room);
        }
    };
    let age = shared.since_tick();
    let found = shared.engine.view(|view| {
        let all = (command == ALL && tags.is_empty()).then(|| nagios::all(view, age, room));
        nagios::check(view, command, &tags, age, room).or(all)
    });
    found.unwrap_or_else(|| nagios::unknown(command, "there is no such rule", room))
}

#[cfg(test)]
mod tests;
