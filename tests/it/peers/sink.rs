//! A mail relay in a few lines: it takes every mail in clear text and keeps it, as text without the
//! soft breaks of quoted-printable.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::harness::PATIENCE;

/// A running sink. It lives until the end of the tests.
pub struct Sink {
    pub address: SocketAddr,
    mails: Arc<Mutex<Vec<String>>>,
}

impl Sink {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let mails = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&mails);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || {
                    if let Some(mail) = take(&stream) {
                        kept.lock().expect("nobody panics with it").push(mail);
                    }
                });
            }
        });
        Self { address, mails }
    }

    /// All that came so far.
    pub fn mails(&self) -> Vec<String> {
        self.mails.lock().expect("nobody panics with it").clone()
    }
}

/// One conversation; the mail, once it was taken.
fn take(stream: &TcpStream) -> Option<String> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut out = stream;
    let mut lines = BufReader::new(stream).lines();
    let mut answer = |text: &str| out.write_all(format!("{text}\r\n").as_bytes()).ok();
    answer("220 sink")?;
    loop {
        let line = lines.next()?.ok()?;
        match line.get(..4)? {
            "EHLO" | "HELO" => answer("250 sink")?,
            "DATA" => break,
            "QUIT" => return None,
            _ => answer("250 good")?,
        }
    }
    answer("354 go on")?;
    let mut mail = String::new();
    loop {
        let line = lines.next()?.ok()?;
        if line == "." {
            break;
        }
        mail += &line;
        mail.push('\n');
    }
    answer("250 taken")?;
    Some(mail.replace("=\n", "").replace("=3D", "="))
}
