//! `GET /metrics`: written on a thread of its own, piece by piece as it is read, so a slow reader holds neither
//! a thread that others need nor the whole of it in memory. Few are written at once; who comes then waits a while.

use std::io::{self, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use flate2::write::GzEncoder;
use hyper::body::Frame;
use tokio::sync::mpsc;

use super::super::prometheus::exposition;
use super::accept;
use super::desk::Desk;
use super::problem::Problem;
use crate::limits;

/// See the module.
pub(super) async fn answer(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    let (form, is_packed) = (accept::form(&headers), accept::gzip(&headers));
    let Desk { shared, turn } = desk;
    let patience = Duration::from_secs(limits::HTTP_HEADER_SECS);
    let Ok(Ok(turn)) = tokio::time::timeout(patience, turn.acquire_owned()).await else {
        return Problem::Busy("others are reading this, and slowly".to_owned()).into_response();
    };
    let (send, mut pieces) = mpsc::channel(1);
    let write = move || {
        let mut writer = Writer { packer: is_packed.then(Writer::packer), send };
        let mut is_whole = true;
        exposition(&shared, form, &mut |text| {
            is_whole = writer.hand_on(text);
            is_whole
        });
        if is_whole {
            writer.end();
        }
        drop(turn);
    };
    let thread = std::thread::Builder::new().name("tallyd-metrics".to_owned()).spawn(write);
    if let Err(error) = thread {
        return Problem::Internal(format!("cannot start a thread: {error}")).into_response();
    }
    // Whether there is anything is known before it is said that all is well.
    let (first, second) = (pieces.recv().await, pieces.recv().await);
    // What is one piece has a length, for clients that know no other way to see the end.
    let body = match (first, second) {
        (Some(Piece::Text(text)), Some(Piece::End)) => Body::from(text),
        (first @ Some(_), second @ Some(_)) => Body::new(Stream { first, second, pieces }),
        _ => return Problem::Internal("it could not be written".to_owned()).into_response(),
    };
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
    headers.insert(VARY, HeaderValue::from_static("accept, accept-encoding"));
    if is_packed {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A piece on its way to the client. Without the last one it is not whole, whyever.
enum Piece {
    Text(Bytes),
    End,
}

/// Pieces on their way to the client.
struct Writer {
    packer: Option<GzEncoder<Vec<u8>>>,
    send: mpsc::Sender<Piece>,
}

impl Writer {
    fn packer() -> GzEncoder<Vec<u8>> {
        GzEncoder::new(Vec::new(), accept::LEVEL)
    }

    /// Whether somebody reads it still.
    fn hand_on(&mut self, text: &str) -> bool {
        let Some(packer) = &mut self.packer else {
            return self.send(Bytes::copy_from_slice(text.as_bytes()));
        };
        if packer.write_all(text.as_bytes()).is_err() {
            return false;
        }
        let packed = std::mem::take(packer.get_mut());
        // The packer keeps some back to pack it with the next.
        packed.is_empty() || self.send(packed.into())
    }

    fn send(&self, text: Bytes) -> bool {
        self.send.blocking_send(Piece::Text(text)).is_ok()
    }

    fn end(mut self) {
        let is_whole = match self.packer.take().map(GzEncoder::finish) {
            None => true,
            Some(Ok(rest)) => self.send(rest.into()),
            Some(Err(_)) => false,
        };
        if is_whole {
            let _ = self.send.blocking_send(Piece::End);
        }
    }
}

/// What the client is sent. Where it breaks off, so does the connection, and a scraper sees that it has not all. It does not note that it is being read: a reader who takes longer than a connection lasts is
/// cut off.
struct Stream {
    first: Option<Piece>,
    second: Option<Piece>,
    pieces: mpsc::Receiver<Piece>,
}

impl hyper::body::Body for Stream {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let held = self.first.take().or_else(|| self.second.take());
        let piece = match held {
            Some(held) => Poll::Ready(Some(held)),
            None => self.pieces.poll_recv(context),
        };
        piece.map(|piece| match piece {
            Some(Piece::Text(text)) => Some(Ok(Frame::data(text))),
            Some(Piece::End) => None,
            None => Some(Err(io::Error::other("the answer broke off"))),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_breaks_off_is_no_end() {
        for (last, is_whole) in [(Some(Piece::End), true), (None, false)] {
            let (send, pieces) = mpsc::channel(3);
            for piece in [Some(Piece::Text(Bytes::from("c"))), last].into_iter().flatten() {
                assert!(send.send(piece).await.is_ok());
            }
            drop(send);
            let held = |text| Some(Piece::Text(Bytes::from(text)));
            let stream = Stream { first: held("a"), second: held("b"), pieces };
            let read = axum::body::to_bytes(Body::new(stream), 10).await;
            assert_eq!(read.ok(), is_whole.then(|| Bytes::from("abc")));
        }
    }
}
