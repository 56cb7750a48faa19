//! A mail relay that goes wrong at a stage that the test chooses, for as many connections as it chooses.
//!
//! It asks for STARTTLS and a login before it takes a mail, as the submission port does. It notes what
//! it took, and every line that came in clear text. Each connection has a thread, which gives up on
//! a silent client; there are few of them, since the test is the only client.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// Where a conversation stands, by what is said next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Greeting,
    Hello,
    StartTls,
    Login,
    Sender,
    Recipient,
    Data,
    /// The end of the mail's content.
    Content,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// `451` there.
    Later(Stage),
    /// Nothing is said there any more.
    Hangs(Stage),
    /// The connection is cut there.
    Cuts(Stage),
    /// The mail is taken, and the connection cut before that is said.
    CutsAfterContent,
    /// `550` for this recipient.
    NoSuchUser(&'static str),
    /// EHLO does not offer it.
    NoStartTls,
    /// The certificate is for another name.
    WrongCertificate,
}

/// A mail that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    pub(super) to: String,
    pub(super) id: String,
}

/// What has happened so far.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) mails: Vec<Taken>,
    /// What was said before TLS.
    pub(super) clear: Vec<String>,
}

/// A running relay. It ends with this value.
pub(super) struct Relay {
    pub(super) address: SocketAddr,
    pub(super) ca_pem: String,
    seen: Arc<Mutex<Seen>>,
    is_over: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Longer than any client of these tests is silent while it is well.
const SILENCE: Duration = Duration::from_secs(5);

#[derive(Clone)]
struct Talk {
    fault: Fault,
    tls: Arc<ServerConfig>,
    seen: Arc<Mutex<Seen>>,
}

impl Relay {
    /// One that goes wrong in its first connections, so many of them, and is well from then on.
    pub(super) fn start(fault: Fault, times: usize) -> Self {
        let authority = Authority::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let seen = Arc::new(Mutex::new(Seen::default()));
        let (is_over, count) = (Arc::new(AtomicBool::new(false)), AtomicUsize::new(0));
        let (good, wrong) = (authority.server("127.0.0.1"), authority.server("elsewhere.test"));
        let (end, noted) = (Arc::clone(&is_over), Arc::clone(&seen));
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if end.load(Ordering::SeqCst) {
                    return;
                }
                let is_first = count.fetch_add(1, Ordering::SeqCst) < times;
                let fault = if is_first { fault } else { Fault::None };
                let tls = if fault == Fault::WrongCertificate { &wrong } else { &good };
                let talk = Talk { fault, tls: Arc::clone(tls), seen: Arc::clone(&noted) };
                std::thread::spawn(move || talk.serve(&stream));
            }
        });
        Self { address, ca_pem: authority.0.pem(), seen, is_over, thread: Some(thread) }
    }

    pub(super) fn seen<T>(&self, see: impl FnOnce(&Seen) -> T) -> T {
        see(&self.seen.lock().expect("nobody panics with it"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // Wakes it, so that it sees that it is over.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Whether the conversation goes on.
#[derive(PartialEq, Eq)]
enum Next {
    Goes,
    Ends,
}

impl Talk {
    fn serve(&self, tcp: &TcpStream) {
        tcp.set_read_timeout(Some(SILENCE)).expect("a limit");
        // A client that is gone, or had enough, is an end like any other.
        let _ = self.converse(tcp);
        let _ = tcp.shutdown(Shutdown::Both);
    }

    fn converse(&self, tcp: &TcpStream) -> std::io::Result<()> {
        let mut stream: Box<dyn Stream> = Box::new(tcp.try_clone()?);
        let (mut is_private, mut to) = (false, String::new());
        if self.say(&mut *stream, Stage::Greeting, "220 relay.test")? == Next::Ends {
            return Ok(());
        }
        while let Some(line) = read_line(&mut *stream)? {
            if !is_private {
                self.note(|seen| seen.clear.push(line.clone()));
            }
            let verb = line.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            let (stage, answer) = match verb.as_str() {
                "EHLO" if is_private => (Stage::Hello, "250-relay.test\r\n250 AUTH PLAIN LOGIN"),
                "EHLO" if self.fault == Fault::NoStartTls => {
                    (Stage::Hello, "250-relay.test\r\n250 AUTH PLAIN LOGIN")
                }
                "EHLO" => (Stage::Hello, "250-relay.test\r\n250 STARTTLS"),
                "STARTTLS" => (Stage::StartTls, "220 go on"),
                "AUTH" => (Stage::Login, "235 2.7.0 welcome"),
                "MAIL" => (Stage::Sender, "250 2.1.0 ok"),
                "RCPT" => {
                    let address = line.trim_start_matches("RCPT TO:<").trim_end_matches('>');
                    address.clone_into(&mut to);
                    match self.fault {
                        Fault::NoSuchUser(name) if name == to => {
                            (Stage::Recipient, "550 5.1.1 no such user")
                        }
                        _ => (Stage::Recipient, "250 2.1.5 ok"),
                    }
                }
                "DATA" => (Stage::Data, "354 go on"),
                "QUIT" => {
                    stream.write_all(b"221 bye\r\n")?;
                    return Ok(());
                }
                _ => panic!("not a word of this conversation: {line}"),
            };
            if self.say(&mut *stream, stage, answer)? == Next::Ends {
                return Ok(());
            }
            if stage == Stage::StartTls {
                let connection = ServerConnection::new(Arc::clone(&self.tls))
                    .expect("the configuration is good");
                stream = Box::new(StreamOwned::new(connection, tcp.try_clone()?));
                is_private = true;
            }
            if stage == Stage::Data && self.content(&mut *stream, &to)? == Next::Ends {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Takes the content of a mail.
    fn content(&self, stream: &mut dyn Stream, to: &str) -> std::io::Result<Next> {
        let mut id = String::new();
        while let Some(line) = read_line(stream)? {
            if let Some(found) = line.strip_prefix("Message-ID: ") {
                found.clone_into(&mut id);
            }
            if line == "." {
                break;
            }
        }
        let taken = Taken { to: to.to_owned(), id };
        if self.fault == Fault::CutsAfterContent {
            self.note(|seen| seen.mails.push(taken));
            return Ok(Next::Ends);
        }
        let next = self.say(stream, Stage::Content, "250 2.0.0 kept")?;
        if next == Next::Goes && self.fault != Fault::Later(Stage::Content) {
            self.note(|seen| seen.mails.push(taken));
        }
        Ok(next)
    }

    fn say(&self, stream: &mut dyn Stream, at: Stage, answer: &str) -> std::io::Result<Next> {
        let answer = match self.fault {
            Fault::Later(stage) if stage == at => "451 4.3.0 not now",
            Fault::Cuts(stage) if stage == at => return Ok(Next::Ends),
            Fault::Hangs(stage) if stage == at => {
                // Until the client goes.
                let _ = stream.read(&mut [0]);
                return Ok(Next::Ends);
            }
            _ => answer,
        };
        stream.write_all(format!("{answer}\r\n").as_bytes())?;
        stream.flush()?;
        // What was refused is not gone on with.
        let is_refused = answer.starts_with("451") && matches!(at, Stage::StartTls | Stage::Data);
        Ok(if is_refused { Next::Ends } else { Next::Goes })
    }

    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.seen.lock().expect("nobody panics with it"));
    }
}

/// Byte by byte, since what follows STARTTLS belongs to another reader.
fn read_line(stream: &mut dyn Stream) -> std::io::Result<Option<String>> {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(None);
        }
        line.extend(byte);
    }
    Ok(Some(String::from_utf8_lossy(&line).trim_end().to_owned()))
}

/// A certificate authority.
struct Authority(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("a certificate"))
    }

    /// TLS for a server that is called so.
    fn server(&self, name: &str) -> Arc<ServerConfig> {
        let key = rcgen::KeyPair::generate().expect("a key");
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has them")
            .with_no_client_auth()
            .with_single_cert(
                vec![certificate.der().clone()],
                PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
            );
        Arc::new(config.expect("a certificate and its key"))
    }
}
