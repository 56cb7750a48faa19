//! `GET /api/v1/backup`: all that the server knows, as a tar stream; see [`crate::engine::Frozen`].
//!
//! It is read on a thread of its own, one at a time, as fast as the client takes it and no faster. Files of
//! the archive are parts, `000000.part` and so on, and last `backup.json`, which lists them with their
//! checksums: an archive without it is not whole. A client that takes nothing for
//! [`limits::HTTP_FAREWELL_SECS`], or is not done after [`limits::BACKUP_SECS`], is cut off.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::Extension;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use hyper::body::Frame;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::super::manifest::{self, Manifest, Part};
use super::super::{Shared, VERSION, tar};
use super::desk::Desk;
use super::{Problem, Reading, blocking};
use crate::engine::{BackupError, Frozen};
use crate::limits;
use crate::time::{Span, Timestamp};

/// See the module.
pub(super) async fn answer(
    State(desk): State<Desk>,
    Extension(reading): Extension<Reading>,
) -> Response {
    let Ok(turn) = desk.turn.try_acquire_owned() else {
        return Problem::Busy("another backup is being made".to_owned()).into_response();
    };
    let shared = desk.shared;
    blocking(move || match shared.engine.freeze() {
        Ok(frozen) => stream(shared, frozen, turn, reading),
        Err(error) => Problem::Internal(error.to_string()).into_response(),
    })
    .await
}

fn stream(
    shared: Shared,
    frozen: Frozen,
    turn: OwnedSemaphorePermit,
    reading: Reading,
) -> Response {
    let (send, parts) = mpsc::channel(1);
    let read = move || {
        let writer =
            Writer { until: shared.now() + Span::from_secs(limits::BACKUP_SECS), shared, send };
        writer.write(&frozen);
        drop(turn);
    };
    let thread = std::thread::Builder::new().name("tallyd-backup".to_owned()).spawn(read);
    if let Err(error) = thread {
        return Problem::Internal(format!("cannot start a thread: {error}")).into_response();
    }
    let headers = [
        (CONTENT_TYPE, "application/x-tar"),
        (CONTENT_DISPOSITION, "attachment; filename=\"tallyd-backup.tar\""),
    ];
    (StatusCode::OK, headers, Body::new(Stream { parts, reading })).into_response()
}

/// The archive on its way to the client.
struct Writer {
    shared: Shared,
    send: mpsc::Sender<Result<Bytes, BackupError>>,
    until: Timestamp,
}

impl Writer {
    fn write(self, frozen: &Frozen) {
        if let Err(error) = self.write_all(frozen) {
            tracing::warn!(%error, "a backup was not finished");
            // It may be that nobody reads it.
            let _ = self.send.blocking_send(Err(error));
        }
    }

    fn write_all(&self, frozen: &Frozen) -> Result<(), BackupError> {
        let mtime = u64::try_from(frozen.at.as_secs()).unwrap_or(0);
        let mut parts = Vec::new();
        let contents = frozen.read(self.shared.now(), |bytes| {
            let name = manifest::part_name(parts.len());
            let crc32 = crc32fast::hash(&bytes);
            let file = tar::file(&name, &bytes, mtime);
            parts.push(Part { name, bytes: bytes.len() as u64, crc32 });
            parts.len() < limits::BACKUP_PARTS && self.hand_on(file)
        })?;
        let manifest = Manifest {
            format: manifest::FORMAT,
            tallyd: VERSION.to_owned(),
            at: frozen.at.as_secs(),
            cells: frozen.cells(),
            stored: contents.stored,
            live: contents.live,
            parts,
        };
        let mut last = tar::file(manifest::NAME, manifest.text().as_bytes(), mtime);
        last.extend_from_slice(&tar::END);
        if self.hand_on(last) { Ok(()) } else { Err(BackupError::Unwanted) }
    }

    fn hand_on(&self, bytes: Vec<u8>) -> bool {
        self.shared.now() < self.until && self.send.blocking_send(Ok(bytes.into())).is_ok()
    }
}

/// What the client is sent.
struct Stream {
    parts: mpsc::Receiver<Result<Bytes, BackupError>>,
    reading: Reading,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = BackupError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BackupError>>> {
        let polled = self.parts.poll_recv(context);
        if polled.is_ready() {
            self.reading.note();
        }
        polled.map(|part| part.map(|part| part.map(Frame::data)))
    }
}
