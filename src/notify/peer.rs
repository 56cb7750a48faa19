//! The other side of a courier's conversation: servers that play a script and tell what they heard.
//!
//! Each serves one connection on a thread of its own, and gives up on a silent client, so that a
//! test ends whatever the courier does.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tokio::net::TcpSocket;

use super::{Couriers, Delivery, DeliveryId, Illustrations, Message, Outcome, Progress, Recipient};
use crate::config::{Config, Pem};
use crate::time::Timestamp;

/// No test takes as long unless it fails.
const PATIENCE: Duration = Duration::from_secs(10);

/// When every attempt of these tests is made: 2026-01-05T00:00:30Z.
pub(super) const NOW: Timestamp = Timestamp::from_secs(1_767_571_230);

/// One attempt, with couriers made from this configuration.
pub(super) fn deliver(config: &Config, message: Message, recipient: Recipient) -> Outcome {
    deliver_within(PATIENCE, config, message, recipient)
}

pub(super) fn deliver_within(
    patience: Duration,
    config: &Config,
    message: Message,
    recipient: Recipient,
) -> Outcome {
    let couriers = Couriers::new(config).with_patience(patience);
    let message = Arc::new(message);
    let progress = Progress::default();
    let delivery = Delivery { id: DeliveryId(1), message, recipient, attempt: 1, progress };
    run(async {
        let outcome = couriers.deliver(&delivery, &Illustrations::new(), NOW).await;
        // For the farewell, which has a task of its own.
        tokio::task::yield_now().await;
        outcome
    })
}

/// What a courier's future comes to.
pub(super) fn run<T>(attempt: impl Future<Output = T>) -> T {
    // Every test may be the first; the second answer says only that it was not.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(attempt)
}

/// What a server heard.
pub(super) struct Heard<T>(Receiver<T>);

impl<T> Heard<T> {
    pub(super) fn get(self) -> T {
        self.0.recv_timeout(PATIENCE).expect("the courier came")
    }
}

/// Serves one connection at a free port.
pub(super) fn serve<T: Send + 'static>(
    talk: impl FnOnce(TcpStream) -> T + Send + 'static,
) -> (u16, Heard<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // A test that does not ask is not an error.
        let _ = sender.send(talk(stream));
    });
    (port, Heard(receiver))
}

/// A port that nobody listens at, as long as the socket that holds it lives.
pub(super) fn dead_port() -> (u16, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().port(), socket)
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// A certificate authority.
pub(super) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(super) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(super) fn pem(&self) -> Pem {
        Pem { path: "ca.pem".into(), text: self.0.pem() }
    }

    /// TLS for a server that is called so.
    pub(super) fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        Arc::new(config.unwrap())
    }
}

fn encrypted(tcp: &TcpStream, config: &Arc<ServerConfig>) -> Box<dyn Stream> {
    let connection = ServerConnection::new(Arc::clone(config)).unwrap();
    Box::new(StreamOwned::new(connection, tcp.try_clone().unwrap()))
}

/// A relay: it agrees to everything but what its script says.
#[derive(Clone, Default)]
pub(super) struct Smtp {
    /// What EHLO offers.
    pub(super) offers: Vec<&'static str>,
    /// Other answers to a verb; `GREETING` is the first line, `.` the end of a mail. `{line}` is
    /// what was said. An empty answer is none at all.
    pub(super) answers: Vec<(&'static str, &'static str)>,
    /// For STARTTLS.
    pub(super) tls: Option<Arc<ServerConfig>>,
    /// TLS from the first byte.
    pub(super) is_implicit: bool,
}

impl Smtp {
    /// Serves one connection; hears every line up to the end.
    pub(super) fn serve(self) -> (u16, Heard<Vec<String>>) {
        serve(move |tcp| self.talk(&tcp))
    }

    fn talk(&self, tcp: &TcpStream) -> Vec<String> {
        let mut heard = Vec::new();
        let mut stream: Box<dyn Stream> = match &self.tls {
            Some(tls) if self.is_implicit => encrypted(tcp, tls),
            _ => Box::new(tcp.try_clone().unwrap()),
        };
        let mut answer = self.answer("GREETING", "");
        let mut is_content = false;
        loop {
            // A client that has gone is the end, as is one that is silent for too long.
            if stream.write_all(answer.as_bytes()).and_then(|()| stream.flush()).is_err() {
                break;
            }
            let Some(line) = read_line(&mut *stream) else { break };
            let verb = line.split(' ').next().unwrap_or_default().to_owned();
            if is_content && line != "." {
                heard.push(line);
                answer = String::new();
                continue;
            }
            is_content = false;
            answer = self.answer(&verb, &line);
            heard.push(line);
            match verb.as_str() {
                "STARTTLS" => {
                    stream.write_all(answer.as_bytes()).unwrap();
                    if let Some(tls) = &self.tls {
                        stream = encrypted(tcp, tls);
                        heard.push("(TLS)".to_owned());
                    }
                    answer = String::new();
                }
                "DATA" => is_content = answer.starts_with("354"),
                _ => {}
            }
        }
        heard
    }

    fn answer(&self, verb: &str, line: &str) -> String {
        if let Some((_, answer)) = self.answers.iter().find(|(of, _)| *of == verb) {
            let answer = answer.replace("{line}", line);
            return if answer.is_empty() { answer } else { format!("{answer}\r\n") };
        }
        match verb {
            "GREETING" => "220 relay.test\r\n".to_owned(),
            "EHLO" => {
                let offers = self.offers.iter().map(|offer| format!("250-{offer}\r\n"));
                format!("250-relay.test\r\n{}250 HELP\r\n", offers.collect::<String>())
            }
            "AUTH" => "235 2.7.0 welcome\r\n".to_owned(),
            "DATA" => "354 go on\r\n".to_owned(),
            "QUIT" => "221 bye\r\n".to_owned(),
            _ => "250 2.0.0 ok\r\n".to_owned(),
        }
    }
}

/// Byte by byte, since what follows STARTTLS belongs to another reader.
fn read_line(stream: &mut dyn Stream) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).ok()? == 0 {
            return None;
        }
        line.extend(byte);
    }
    Some(String::from_utf8(line).unwrap().trim_end().to_owned())
}

/// An HTTP server: hears one request, and answers it with these bytes. `{request}` is what it heard.
pub(super) fn http(
    answer: impl Into<String>,
    tls: Option<Arc<ServerConfig>>,
) -> (u16, Heard<String>) {
    let answer = answer.into();
    serve(move |tcp| {
        let mut stream: Box<dyn Stream> = match &tls {
            Some(tls) => encrypted(&tcp, tls),
            None => Box::new(tcp.try_clone().unwrap()),
        };
        let request = read_request(&mut *stream).unwrap_or_default();
        // It may have heard enough before the end.
        let _ = stream.write_all(answer.replace("{request}", &request).as_bytes());
        let _ = stream.flush();
        let _ = tcp.shutdown(std::net::Shutdown::Write);
        request
    })
}

/// The same for as many connections as there are answers, one after the other.
pub(super) fn http_in_turn(answers: Vec<&'static str>) -> (u16, Heard<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            heard.extend(read_request(&mut stream));
            let _ = stream.write_all(answer.as_bytes());
            let _ = stream.shutdown(std::net::Shutdown::Write);
        }
        let _ = sender.send(heard);
    });
    (port, Heard(receiver))
}

fn read_request(stream: &mut dyn Stream) -> Option<String> {
    let mut head = String::new();
    let mut length = 0;
    loop {
        let line = read_line(stream)?;
        if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
            length = value.parse().unwrap();
        }
        head.push_str(&line);
        head.push('\n');
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).ok()?;
    Some(head + &String::from_utf8(body).unwrap())
}
