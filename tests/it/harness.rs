//! Starts the real binary on free ports, talks to it, and ends it by its own id.
//!
//! Ports are chosen by the server itself (port 0) and read from the line that it logs when it is
//! ready, so two tests can never meet on one. Every wait has a limit.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// No test waits longer than this for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running server.
pub struct Server {
    child: Child,
    log: Receiver<String>,
    /// What it logged so far.
    pub logged: Vec<String>,
    /// Where it answers memcached.
    pub memcached: SocketAddr,
    /// Where it answers HTTP.
    pub http: SocketAddr,
    dir: Arc<tempfile::TempDir>,
}

impl Server {
    /// Starts a server with these lines behind a `[server]` section on free loopback ports. Further
    /// `[server]` keys go in `server`.
    pub fn start_with(server: &str, rest: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self::start_in(dir, server, rest, &[])
    }

    /// The same, with files beside the configuration that it may name.
    pub fn start_in(
        dir: tempfile::TempDir,
        server: &str,
        rest: &str,
        env: &[(&str, &str)],
    ) -> Self {
        let server = format!("listen = [\"127.0.0.1:0\"]\n{server}");
        Self::launch(Arc::new(dir), &server, rest, env)
    }

    /// The same, where the test says what it listens on; the first is a port of loopback.
    pub fn start_listening(dir: tempfile::TempDir, server: &str, rest: &str) -> Self {
        Self::launch(Arc::new(dir), server, rest, &[])
    }

    /// Starts another server in the directory of this one, which has to be at its end.
    pub fn again(&self, server: &str, rest: &str) -> Self {
        let server = format!("listen = [\"127.0.0.1:0\"]\n{server}");
        Self::launch(Arc::clone(&self.dir), &server, rest, &[])
    }

    fn launch(dir: Arc<tempfile::TempDir>, server: &str, rest: &str, env: &[(&str, &str)]) -> Self {
        let config = dir.path().join("tallyd.toml");
        // Unless the test says where.
        let http = if server.contains("http = ") { "" } else { "http = [\"127.0.0.1:0\"]\n" };
        let text = format!("[server]\n{http}threads = 2\n{server}\n{rest}");
        std::fs::write(&config, text).expect("the configuration can be written");
        let mut child = Command::new(binary())
            .args(["serve", "--config"])
            .arg(&config)
            .current_dir(dir.path())
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let (send, log) = channel();
        let stderr = child.stderr.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut started =
            Self { child, log, logged: Vec::new(), memcached: nowhere, http: nowhere, dir };
        let ready = started.wait_for_log("is ready");
        started.memcached = address(&ready, "memcached=");
        started.http = address(&ready, "http=");
        started
    }

    /// Starts a server with the default `[server]` section.
    pub fn start(rest: &str) -> Self {
        Self::start_with("", rest)
    }

    /// Waits for a line of the log that holds `text`.
    pub fn wait_for_log(&mut self, text: &str) -> String {
        if let Some(line) = self.logged.iter().find(|line| line.contains(text)) {
            return line.clone();
        }
        let end = Instant::now() + PATIENCE;
        loop {
            match self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.logged.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no `{text}` in the log:\n{}", self.logged.join("\n"))
                }
            }
        }
    }

    /// Where it answers NRPE, which has to be configured.
    pub fn nrpe(&mut self) -> SocketAddr {
        address(&self.wait_for_log("is ready"), "nrpe=")
    }

    /// A client of the memcached port.
    pub fn client(&self) -> Client {
        Client::connect(self.memcached)
    }

    /// The answer to an HTTP request, head and body, as it came.
    pub fn http_raw(&self, request: &str) -> String {
        let mut client = Client::connect(self.http);
        client.send(request.as_bytes());
        String::from_utf8_lossy(&client.read_to_end()).into_owned()
    }

    /// Status and body of a GET.
    pub fn get(&self, path: &str) -> (u16, String) {
        self.get_with(path, "")
    }

    /// The same with further lines of a head.
    pub fn get_with(&self, path: &str, headers: &str) -> (u16, String) {
        let answer = self.http_raw(&format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{headers}\r\n",
            self.http
        ));
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let is_chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        let body = if is_chunked { unchunked(body) } else { body.to_owned() };
        (status.expect("a status"), body)
    }

    /// Runs `tallyd check` against it.
    pub fn check(&self, rule: &str) -> (Option<i32>, String) {
        let output = tallyd(&["check", rule, "--server", &format!("http://{}", self.http)]);
        (output.status.code(), text(&output.stdout))
    }

    /// The directory that it was started in.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal by name.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args(["-s", name, &self.pid().to_string()]).status();
        assert!(sent.expect("kill runs").success());
    }

    /// The process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still there.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("it can be asked").is_none()
    }

    /// Ends it at once, as `kill -9` does.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is there");
        self.child.wait().expect("it ends");
    }

    /// Waits for its end, and takes in the rest of its log.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.child.try_wait().expect("it can be asked") {
                self.logged.extend(self.log.iter());
                return status;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the server did not end");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            self.logged.extend(self.log.try_iter());
            eprintln!("the server's log:\n{}", self.logged.join("\n"));
        }
    }
}

/// A connection with limits on every wait.
pub struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("the server accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_write_timeout(Some(PATIENCE)).expect("a limit");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the server reads");
    }

    /// Sends as far as the server reads; it may have closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// No more will be sent.
    pub fn finish(&self) {
        // Fails where the server has closed already, which is as good.
        let _ = self.stream.shutdown(std::net::Shutdown::Write);
    }

    /// Sends a request and reads one line of answer, without its end.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(request.as_bytes());
        self.line()
    }

    /// Reads a line, without its end.
    pub fn line(&mut self) -> String {
        loop {
            if let Some(at) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..at]).into_owned();
                self.buffer.drain(..at + 2);
                return line;
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).expect("the server answers");
            assert_ne!(read, 0, "the server closed after {:?}", text(&self.buffer));
            self.buffer.extend_from_slice(&chunk[..read]);
        }
    }

    /// Reads until the server closes. A reset counts as closed.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        let mut all = std::mem::take(&mut self.buffer);
        let mut chunk = vec![0; 65536];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return all,
                Ok(read) => all.extend_from_slice(&chunk[..read]),
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return all,
                Err(error) => panic!("{error} after {:?}", text(&all)),
            }
        }
    }
}

/// A body that came in chunks, as one.
fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((length, rest)) = body.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).expect("the length of a chunk");
        whole.push_str(&rest[..length]);
        body = rest[length..].strip_prefix("\r\n").expect("the end of a chunk");
        if length == 0 {
            break;
        }
    }
    whole
}

/// The binary under test.
pub fn binary() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_tallyd"))
}

/// Runs a command of it to the end.
pub fn tallyd(args: &[&str]) -> Output {
    Command::new(binary())
        .args(args)
        .env_remove("TALLYD_SERVER")
        .env_remove("TALLYD_TOKEN")
        .output()
        .expect("tallyd runs")
}

/// The same, in a directory.
pub fn tallyd_in(dir: &Path, args: &[&str]) -> Output {
    Command::new(binary()).args(args).current_dir(dir).output().expect("tallyd runs")
}

/// Bytes as text.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Tries until `probe` gives something, with a limit.
pub fn eventually<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = probe() {
            return found;
        }
        assert!(Instant::now() < end, "{what} did not happen in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The first address behind a field of a line of the log.
pub fn address(line: &str, field: &str) -> SocketAddr {
    let value = line.split_once(field).expect(field).1.trim_start_matches('"');
    let end = value.find(['"', ' ', ',']).unwrap_or(value.len());
    value[..end].parse().expect("an address")
}
