//! Who may speak on the memcached port, over what: unix sockets, users, TLS, and their reload.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::harness::{PATIENCE, Server, eventually, tallyd, text};

/// Sends a request on any stream, and reads what comes until `end`.
fn ask(stream: &mut (impl Read + Write), request: &str, end: &str) -> String {
    stream.write_all(request.as_bytes()).expect("the server reads");
    let mut answer = Vec::new();
    let mut chunk = [0; 4096];
    while !text(&answer).ends_with(end) {
        let read = stream.read(&mut chunk).expect("the server answers");
        assert_ne!(read, 0, "the server closed after {:?}", text(&answer));
        answer.extend_from_slice(&chunk[..read]);
    }
    text(&answer)
}

fn connect(path: &Path) -> UnixStream {
    let stream = UnixStream::connect(path).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

/// A server on a free port and on a socket.
fn with_socket(rest: &str) -> (Server, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("s");
    let listen = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]", path.display());
    let server = Server::start_listening(dir, &listen, rest);
    (server, path)
}

#[test]
fn a_unix_socket_counts_like_tcp_and_goes_at_the_end() {
    let (mut server, path) = with_socket("");
    assert_eq!(std::fs::metadata(&path).expect("a file").mode() & 0o777, 0o700);
    let mut stream = connect(&path);
    assert_eq!(ask(&mut stream, "incr a 1\r\n", "\r\n"), "1\r\n");
    assert_eq!(server.client().ask("incr a 1\r\n"), "2");
    let many = ask(&mut stream, &"incr a 1\r\n".repeat(5000), "\r\n5002\r\n");
    assert_eq!(many.lines().count(), 5000);

    let second = server.dir().join("second.toml");
    let other = format!("[server]\nlisten = [\"unix:{}\"]\nhttp = []\n", path.display());
    std::fs::write(&second, other).expect("it can be written");
    let output = tallyd(&["serve", "--config", &second.to_string_lossy()]);
    let error = text(&output.stderr);
    assert!(error.contains("another server answers there"), "{error}");
    assert_eq!(output.status.code(), Some(1));
    assert!(path.exists(), "the first one's socket is still there");

    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!path.exists());
}

#[test]
fn connections_are_listed_with_what_they_are_at() {
    let (server, path) = with_socket("");
    let mut sending = connect(&path);
    sending.write_all(b"set a 0 0 10\r\nhalf").expect("the server reads");
    let mut asking = server.client();
    let listed = eventually("a data block that is not whole", || {
        asking.send(b"stats conns\r\n");
        let lines = std::iter::repeat_with(|| asking.line());
        let lines: Vec<_> = lines.take_while(|line| line != "END").collect();
        lines.iter().any(|line| line.ends_with("state conn_nread")).then(|| lines.join("\n"))
    });
    let port = server.memcached.port();
    for expect in [
        &format!(":addr tcp:127.0.0.1:{port}\n"),
        &format!(":addr unix:{}\n", path.display()),
        &format!(":listen_addr unix:{}\n", path.display()),
        &format!(":listen_addr tcp:127.0.0.1:{port}\n"),
        ":state conn_listening\n",
        ":state conn_parse_cmd\n",
        ":secs_since_last_cmd 0",
    ] {
        assert!(listed.contains(expect), "{expect}: {listed}");
    }
}

const USERS: &str = "[memcached]\nauth_file = \"users\"\n";

fn users(dir: &Path, lines: &str) {
    let path = dir.join("users");
    std::fs::write(&path, lines).expect("it can be written");
}

#[test]
fn before_it_says_who_it_is_a_client_gets_next_to_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    users(dir.path(), "foo:s3cret\nbaaaz:quux\n");
    let env = [("TALLYD_LOG", "trace")];
    let mut server = Server::start_in(dir, "", USERS, &env);
    let mut client = server.client();
    assert_eq!(client.ask("incr a 1\r\n"), "CLIENT_ERROR unauthenticated");
    assert!(client.ask("version\r\n").starts_with("VERSION 1.6.18"));
    assert_eq!(client.ask("set x 0 0 2\r\nhi\r\n"), "CLIENT_ERROR bad authentication token format");
    assert_eq!(client.ask("set x 0 0 10\r\nfoo s3cres\r\n"), "CLIENT_ERROR authentication failure");
    assert_eq!(client.ask("stats\r\n"), "CLIENT_ERROR unauthenticated");
    // In pieces, and with what it wants right behind it.
    client.send(b"set x 0 0 10\r\nfoo ");
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(client.ask("s3cret\r\nincr a 1\r\n"), "STORED");
    assert_eq!(client.line(), "1");
    assert_eq!(client.ask("set y 0 0 2\r\nhi\r\n"), "STORED");

    let mut greedy = server.client();
    assert_eq!(greedy.ask("set x 0 0 100000\r\n"), "CLIENT_ERROR bad authentication token format");
    assert_eq!(greedy.read_to_end(), b"");
    let mut quitting = server.client();
    quitting.send(b"quit\r\n");
    assert_eq!(quitting.read_to_end(), b"");
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.logged.join("\n");
    assert!(!log.contains("s3cre"), "{log}");
}

#[test]
fn users_are_read_again_on_sighup_and_a_wrong_file_changes_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    users(dir.path(), "foo:old\n");
    let mut server = Server::start_in(dir, "", USERS, &[]);
    let login = |server: &Server, words: &str| {
        server.client().ask(&format!("set x 0 0 {}\r\n{words}\r\n", words.len()))
    };
    let mut inside = server.client();
    assert_eq!(inside.ask("set x 0 0 7\r\nfoo old\r\n"), "STORED");

    users(server.dir(), "foo:new\n");
    server.signal("HUP");
    server.wait_for_log("reloaded the configuration");
    assert_eq!(login(&server, "foo old"), "CLIENT_ERROR authentication failure");
    assert_eq!(login(&server, "foo new"), "STORED");
    assert_eq!(inside.ask("incr a 1\r\n"), "1", "who is in stays in");

    users(server.dir(), "pl4nted\n");
    server.signal("HUP");
    let line = server.wait_for_log("the configuration was not reloaded");
    assert!(line.contains("/users` does not say who may speak (line 1 has no `:`)"), "{line}");
    assert!(!line.contains("pl4nted"), "{line}");
    assert_eq!(login(&server, "foo new"), "STORED");
    assert!(!server.logged.iter().any(|line| line.contains("next start")), "it needs none");
}

/// Writes a certificate of its own making with its key; gives the certificate.
pub fn certify(dir: &Path) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    std::fs::write(dir.join("tallyd.crt"), certificate.pem()).expect("it can be written");
    std::fs::write(dir.join("tallyd.key"), key.serialize_pem()).expect("it can be written");
    certificate.der().clone()
}

pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// A TLS client that trusts nothing but `certificate`.
fn tls(server: &Server, certificate: &CertificateDer<'static>) -> TlsStream {
    tls_to(server.memcached, certificate)
}

/// The same of any address.
pub fn tls_to(address: SocketAddr, certificate: &CertificateDer<'static>) -> TlsStream {
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone()).expect("a certificate");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from("localhost").expect("a name");
    let session = ClientConnection::new(Arc::new(config), name).expect("a session");
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    StreamOwned::new(session, stream)
}

#[test]
fn with_a_certificate_the_port_speaks_tls_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let certificate = certify(dir.path());
    let keys = "tls_cert = \"tallyd.crt\"\ntls_key = \"tallyd.key\"\nidle_timeout = \"10s\"";
    let mut server = Server::start_in(dir, keys, "", &[]);

    let mut client = tls(&server, &certificate);
    assert_eq!(ask(&mut client, "incr a 1\r\n", "\r\n"), "1\r\n");
    // More than a record, and more than one read takes, in both directions.
    let value = "x".repeat(500_000);
    let set = format!("set big 0 0 500000\r\n{value}\r\nget big\r\nincr a 1\r\n");
    let answer = ask(&mut client, &set, "END\r\n2\r\n");
    assert_eq!(answer, format!("STORED\r\nVALUE big 0 500000\r\n{value}\r\nEND\r\n2\r\n"));
    let many = ask(&mut client, &"incr a 1\r\n".repeat(20_000), "\r\n20002\r\n");
    assert_eq!(many.lines().count(), 20_000);

    let mut clear = server.client();
    clear.try_send(b"incr a 1\r\n");
    clear.finish();
    assert!(!text(&clear.read_to_end()).contains("20003"), "clear text is not answered");

    let another = certify(server.dir());
    server.signal("HUP");
    server.wait_for_log("reloaded the configuration");
    assert_eq!(ask(&mut tls(&server, &another), "incr a 1\r\n", "\r\n"), "20003\r\n");
    assert!(tls(&server, &certificate).write_all(b"incr a 1\r\n").is_err(), "the old one is gone");
    assert_eq!(ask(&mut client, "incr a 1\r\n", "\r\n"), "20004\r\n", "a session goes on");

    std::fs::write(server.dir().join("tallyd.key"), "nothing").expect("it can be written");
    server.signal("HUP");
    let line = server.wait_for_log("the configuration was not reloaded");
    assert!(line.contains("/tallyd.key` holds no private key"), "{line}");
    assert_eq!(ask(&mut tls(&server, &another), "incr a 1\r\n", "\r\n"), "20005\r\n");

    server.signal("TERM");
    assert!(server.wait().success());
}
