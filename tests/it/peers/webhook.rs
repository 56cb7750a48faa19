//! A receiver of webhooks: it answers every request with 204 and keeps it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::harness::PATIENCE;

/// A running receiver. It ends with this value.
pub struct Receiver {
    pub address: SocketAddr,
    posts: Arc<Mutex<Vec<Post>>>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Post {
    /// When, in Unix seconds.
    pub arrived: f64,
    /// The request line.
    pub line: String,
    headers: Vec<(String, String)>,
    pub body: Value,
}

impl Receiver {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (posts, is_over) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (kept, end) = (Arc::clone(&posts), Arc::clone(&is_over));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let post = Post::receive(stream);
                kept.lock().expect("nobody panics with it").push(post);
            }
        });
        Self { address, posts, is_over, thread: Some(thread) }
    }

    /// All that came so far.
    pub fn posts(&self) -> Vec<Post> {
        self.posts.lock().expect("nobody panics with it").clone()
    }
}

impl Post {
    fn receive(stream: TcpStream) -> Self {
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        let mut reader = BufReader::new(stream);
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line of the head");
            line.trim_end().to_owned()
        };
        let request = line();
        let mut headers = Vec::new();
        loop {
            let header = line();
            if header.is_empty() {
                break;
            }
            let (name, value) = header.split_once(':').expect("a name and a value");
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
        let mut post = Self { arrived: 0.0, line: request, headers, body: Value::Null };
        let mut body = vec![0; post.header("content-length").parse().expect("a length")];
        reader.read_exact(&mut body).expect("the body");
        post.body = serde_json::from_slice(&body).expect("JSON");
        post.arrived = SystemTime::now().duration_since(UNIX_EPOCH).expect("now").as_secs_f64();
        let answer = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
        reader.into_inner().write_all(answer).expect("the answer is taken");
        post
    }

    /// The value of a header that has to be there, once.
    pub fn header(&self, name: &str) -> &str {
        let mut values = self.headers.iter().filter(|(header, _)| header == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => value,
            _ => panic!("not one {name}: {self:#?}"),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            assert!(thread.join().is_ok() || std::thread::panicking(), "a request was not HTTP");
        }
    }
}
