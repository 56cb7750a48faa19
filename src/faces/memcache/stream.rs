//! A client's connection: TCP, a unix socket, or TCP with TLS on it.
//!
//! All three are read the same way: wait until something can be read, then try to read it into a
//! buffer that was borrowed for the purpose. So a connection that is idle owns no buffer of ours; one
//! with TLS has those of its session, which cannot be shared.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::server::TlsStream;

/// A client's connection.
pub enum Stream {
    /// Clear text over TCP.
    Tcp(TcpStream),
    /// Clear text over a unix socket.
    Unix(UnixStream),
    /// TLS over TCP.
    Tls(Box<Tls>),
}

/// A TLS session on its socket.
pub struct Tls {
    session: TlsStream<TcpStream>,
    /// The last read brought something, so that the session may hold more of it already deciphered:
    /// the socket alone would not tell.
    may_hold_more: bool,
}

impl From<TlsStream<TcpStream>> for Stream {
    fn from(session: TlsStream<TcpStream>) -> Self {
        // The client may have sent its first request along with the end of the handshake.
        Self::Tls(Box::new(Tls { session, may_hold_more: true }))
    }
}

impl Stream {
    /// Whether it is worth trying to read; where it is not, the task is woken when it is. It may turn
    /// out that it was not.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_readable(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Tcp(stream) => stream.poll_read_ready(context),
            Self::Unix(stream) => stream.poll_read_ready(context),
            Self::Tls(tls) if tls.may_hold_more => Poll::Ready(Ok(())),
            Self::Tls(tls) => tls.session.get_ref().0.poll_read_ready(context),
        }
    }

    /// Reads what is there behind what `buffer` holds. Nothing at all means that the peer is done.
    ///
    /// A read that does not fill the room empties the socket, and tokio takes it so: the next look
    /// whether there is more costs no system call.
    ///
    /// # Errors
    /// What the socket says.
    pub fn poll_read(
        &mut self,
        context: &mut Context<'_>,
        buffer: &mut Vec<u8>,
    ) -> Poll<io::Result<()>> {
        let read = match self {
            Self::Tcp(stream) => pin!(stream.read_buf(buffer)).poll(context),
            Self::Unix(stream) => pin!(stream.read_buf(buffer)).poll(context),
            Self::Tls(tls) => {
                let read = pin!(tls.session.read_buf(buffer)).poll(context);
                tls.may_hold_more = matches!(read, Poll::Ready(Ok(1..)));
                read
            }
        };
        read.map_ok(|_| ())
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    /// What the socket says.
    pub async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.write_all(bytes).await,
            Self::Unix(stream) => stream.write_all(bytes).await,
            Self::Tls(tls) => {
                tls.session.write_all(bytes).await?;
                // The session keeps what the socket did not take at once.
                tls.session.flush().await
            }
        }
    }

    /// Tells the peer that nothing more will come, where the protocol has a word for it.
    pub async fn finish(&mut self) {
        if let Self::Tls(tls) = self {
            // A peer that is gone need not hear it.
            let _ = tls.session.shutdown().await;
        }
    }

    /// Writes as far as that is possible without waiting; on TLS, nothing.
    pub fn try_write(&self, bytes: &[u8]) {
        let _ = match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
            Self::Tls(_) => Ok(0),
        };
    }
}
