//! Connections with lines on them, one after the other.
//!
//! A connection keeps the beginning of a line that is not whole, and no more than that. A line that is too long is
//! read over to its end. One that has no end when the connection has is not taken: what is missing of it could be
//! half of a number. Who says nothing for long makes room for others.

use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, timeout};

use super::super::{connections, stopped};
use super::{Hub, LAST_LOOK, Refusal, Teller};
use crate::limits;
use crate::time::Timestamp;

/// What is left of what was read.
#[derive(Debug, Default)]
pub(super) struct Rest {
    /// The beginning of a line.
    line: Vec<u8>,
    /// It is too long, so its end is read over.
    is_skipped: bool,
}

impl<T: Teller + 'static> Hub<T> {
    /// Accepts connections until the process stops, and serves them.
    pub(super) async fn accept(
        self: Rc<Self>,
        listener: TcpListener,
        mut stop: watch::Receiver<bool>,
    ) {
        let mut connections = JoinSet::new();
        let asked = stop.clone();
        while let Some((stream, _)) =
            connections::next(&listener, &mut connections, &mut stop, "StatsD or Graphite").await
        {
            self.seat(stream, &mut connections, &asked);
        }
        // Who came before the stop and was not looked at yet.
        for () in self.last() {
            let Ok(Ok((stream, _))) = timeout(LAST_LOOK, listener.accept()).await else { break };
            self.seat(stream, &mut connections, &asked);
        }
        while connections.join_next().await.is_some() {}
    }

    /// Serves a connection, where there is room for it.
    fn seat(
        self: &Rc<Self>,
        stream: TcpStream,
        connections: &mut JoinSet<()>,
        stop: &watch::Receiver<bool>,
    ) {
        if connections.len() < limits::TOLD_CONNECTIONS {
            connections.spawn_local(Rc::clone(self).serve(stream, stop.clone()));
        } else {
            self.tally().connections_refused.fetch_add(1, Relaxed);
        }
    }

    async fn serve(self: Rc<Self>, stream: TcpStream, mut stop: watch::Receiver<bool>) {
        self.tally().connections.fetch_add(1, Relaxed);
        let mut rest = Rest::default();
        if !self.hear(&stream, &mut rest, &mut stop).await {
            for () in self.last() {
                let Ok(ready) = timeout(LAST_LOOK, stream.readable()).await else { break };
                match ready.and_then(|()| self.read_part(&stream, &mut rest)) {
                    Ok(true) => tokio::task::yield_now().await,
                    Ok(false) | Err(_) => break,
                }
            }
        }
        if !rest.line.is_empty() {
            self.tally().refuse(Refusal::Torn);
        }
        self.tally().connections.fetch_sub(1, Relaxed);
    }

    /// Takes what comes until there will be no more, or the process stops; whether the connection is over.
    async fn hear(
        &self,
        stream: &TcpStream,
        rest: &mut Rest,
        stop: &mut watch::Receiver<bool>,
    ) -> bool {
        let mut look = tokio::time::interval(self.idle);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        look.reset();
        let mut is_silent = true;
        loop {
            tokio::select! {
                biased;
                () = stopped(stop) => return false,
                ready = stream.readable() => match ready.and_then(|()| self.read_part(stream, rest)) {
                    Ok(true) => {
                        is_silent = false;
                        tokio::task::yield_now().await;
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                    // However a client goes away, what it told before holds.
                    Ok(false) | Err(_) => return true,
                },
                _ = look.tick() => {
                    if std::mem::replace(&mut is_silent, true) {
                        return true;
                    }
                }
            }
        }
    }

    /// Takes what is there; whether there may be more.
    fn read_part(&self, stream: &TcpStream, rest: &mut Rest) -> io::Result<bool> {
        let mut room = self.room.borrow_mut();
        let bytes = stream.try_read(&mut room)?;
        self.take_part(room.get(..bytes).unwrap_or_default(), rest);
        Ok(bytes > 0)
    }

    /// Takes what was read, as far as its lines are whole.
    pub(super) fn take_part(&self, part: &[u8], rest: &mut Rest) {
        let now = self.shared.now();
        let Some(first) = memchr::memchr(b'\n', part) else { return self.keep(part, rest) };
        let last = memchr::memrchr(b'\n', part).unwrap_or(first);
        self.end_line(part.get(..first).unwrap_or_default(), rest, now);
        if first < last {
            self.take_lines(part.get(first + 1..last).unwrap_or_default(), now);
        }
        self.keep(part.get(last + 1..).unwrap_or_default(), rest);
    }

    fn end_line(&self, end: &[u8], rest: &mut Rest, now: Timestamp) {
        if std::mem::take(&mut rest.is_skipped) {
            return;
        }
        if rest.line.is_empty() {
            return self.take_line(end, now);
        }
        let mut line = std::mem::take(&mut rest.line);
        line.extend_from_slice(end);
        self.take_line(&line, now);
    }

    fn keep(&self, part: &[u8], rest: &mut Rest) {
        if rest.is_skipped {
            return;
        }
        if rest.line.len() + part.len() > limits::TOLD_LINE_BYTES {
            self.tally().refuse(Refusal::TooLong);
            *rest = Rest { line: Vec::new(), is_skipped: true };
            return;
        }
        rest.line.extend_from_slice(part);
    }
}
