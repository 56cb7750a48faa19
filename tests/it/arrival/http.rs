//! A receiver of webhooks that misbehaves as the test chooses, for as many calls as it chooses.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What it does with a call.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    /// These bytes, then the connection is closed.
    Says(&'static str),
    /// The same, and ten megabytes behind them.
    Floods(&'static str),
    /// Nothing, until the caller goes.
    Hangs,
}

/// All is well.
pub(super) const TAKEN: Answer = Answer::Says("HTTP/1.1 204 No Content\r\n\r\n");

/// A running receiver. It ends with this value.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    calls: Arc<Mutex<Vec<String>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// One that answers its first calls so, so many of them, and takes all others.
    pub(super) fn start(answer: Answer, times: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let (end, noted) = (Arc::clone(&is_over), Arc::clone(&calls));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let is_first = count.fetch_add(1, Ordering::SeqCst) < times;
                let answer = if is_first { answer } else { TAKEN };
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || {
                    // A caller that is gone, or had enough, is an end like any other.
                    let _ = serve(&stream, answer, &noted);
                    let _ = stream.shutdown(Shutdown::Both);
                });
            }
        });
        Self { address, calls, is_over, thread: Some(thread) }
    }

    /// The `webhook-id` of every call that came whole.
    pub(super) fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("nobody panics with it").clone()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(stream: &TcpStream, answer: Answer, noted: &Mutex<Vec<String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let line = line.trim_end();
        if let Some((name, value)) = line.split_once(": ") {
            match name.to_ascii_lowercase().as_str() {
                "webhook-id" => value.clone_into(&mut id),
                "content-length" => length = value.parse().unwrap_or(0),
                _ => {}
            }
        }
        if line.is_empty() {
            break;
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    noted.lock().expect("nobody panics with it").push(id);
    let mut stream = stream;
    match answer {
        Answer::Says(bytes) => stream.write_all(bytes.as_bytes()),
        Answer::Floods(bytes) => {
            stream.write_all(bytes.as_bytes())?;
            (0..1280).try_for_each(|_| stream.write_all(&[b'x'; 8192]))
        }
        Answer::Hangs => reader.read(&mut [0]).map(drop),
    }
}
