//! A page of another site in a real browser, Chromium, on the machine of a server that asks for no token: it reads
//! nothing and does nothing, whatever name it was loaded under. The same page on the server's own origin does all
//! of it, so it is not the page that cannot.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::process::run;
use crate::harness::{PATIENCE, Server, text};

/// What became of each attempt.
type Said = BTreeMap<String, String>;

const PAGE: &str = include_str!("../../peers/elsewhere.html");

const RULE: &str = "[[rule]]\nname = \"r\"\nseries = \"a\"\nmeasure = \"sum\"\nwindow = \"1s\"\n\
                    notify = []\ncritical = { above = 1000 }\n";

/// A page is given up after so long, with the browser's start.
const LOADED: Duration = Duration::from_secs(50);

/// The other site. What it does not know itself it hands on to the server as it came: this is what a name does
/// that leads elsewhere once the page was loaded (DNS rebinding).
struct Site {
    address: SocketAddr,
    server: SocketAddr,
    target: Mutex<String>,
    report: Mutex<Option<Said>>,
    /// What was handed on: method, path and the answer's status.
    handed: Mutex<Vec<String>>,
}

impl Site {
    fn start(server: SocketAddr) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (target, report, handed) = (Mutex::default(), Mutex::default(), Mutex::default());
        let site = Arc::new(Self { address, server, target, report, handed });
        let shared = Arc::clone(&site);
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let site = Arc::clone(&shared);
                // Whatever a browser opens and leaves is no fault.
                std::thread::spawn(move || site.answer(&stream));
            }
        });
        site
    }

    fn answer(&self, mut stream: &TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let (head, body) = request(stream)?;
        let answer = match head.split(' ').nth(1)? {
            "/elsewhere/page" => {
                let target = self.target.lock().expect("nobody panics with it").clone();
                own("text/html", &PAGE.replace("@TARGET@", &target))
            }
            "/elsewhere/report" => {
                let said = serde_json::from_slice(&body).expect("what became of each");
                *self.report.lock().expect("nobody panics with it") = Some(said);
                own("text/plain", "")
            }
            "/elsewhere/hold" => {
                self.wait();
                own("text/plain", "")
            }
            _ => self.hand_on(&head, &body)?,
        };
        stream.write_all(&answer).ok()
    }

    fn wait(&self) {
        let end = Instant::now() + LOADED;
        while Instant::now() < end && self.report.lock().expect("nobody panics with it").is_none() {
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn hand_on(&self, head: &str, body: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(self.server).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).ok()?;
        let head = head.replace("Connection: keep-alive", "Connection: close");
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(body).ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        let asked = head.split(" HTTP/").next()?;
        let status = text(answer.get(9..12)?);
        self.handed.lock().expect("nobody panics with it").push(format!("{asked} {status}"));
        Some(answer)
    }

    /// What the page says that was loaded from this site under a name, and tried that server.
    fn visit(&self, name: &str, target: &str) -> Said {
        target.clone_into(&mut self.target.lock().expect("nobody panics with it"));
        *self.report.lock().expect("nobody panics with it") = None;
        let dir = tempfile::tempdir().expect("a directory");
        let mut chromium = Command::new("chromium");
        chromium.env("HOME", dir.path()).args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-background-networking",
            "--disable-component-update",
            "--no-first-run",
            "--host-resolver-rules=MAP evil.test 127.0.0.1",
            "--dump-dom",
        ]);
        chromium.arg(format!("--user-data-dir={}", dir.path().display()));
        chromium.arg(format!("http://{name}:{}/elsewhere/page", self.address.port()));
        let ended = run(&chromium);
        let report = self.report.lock().expect("nobody panics with it").take();
        report.unwrap_or_else(|| panic!("no report: {:?} {}", ended.code, ended.stderr))
    }
}

fn own(kind: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Head, with its end, and body.
fn request(mut stream: &TcpStream) -> Option<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = all.windows(4).position(|four| four == b"\r\n\r\n") {
            let head = String::from_utf8(all[..end + 4].to_vec()).ok()?;
            let lower = head.to_lowercase();
            let length = lower.split("content-length: ").nth(1).and_then(|it| it.lines().next());
            let length: usize = length.map_or(Some(0), |text| text.parse().ok())?;
            if all.len() >= end + 4 + length {
                return Some((head, all[end + 4..].to_vec()));
            }
        }
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        all.extend_from_slice(&chunk[..read]);
    }
}

/// What the server knows of that a page may want to change.
fn acts(server: &Server) -> Vec<Value> {
    let all = ["silences", "deploys", "audit"].map(|name| {
        let (status, body) = server.get(&format!("/api/v1/{name}"));
        assert_eq!(status, 200, "{body}");
        let body: Value = serde_json::from_str(&body).expect("JSON");
        body["data"][name].as_array().expect(name).clone()
    });
    // That it has begun is its own doing.
    all.concat().into_iter().filter(|line| line["kind"] != "start").collect()
}

/// All came to the server, and was refused there but for the page that a frame may not show.
fn assert_refused(handed: &[String]) {
    let count = |asked: &str| handed.iter().filter(|it| it.starts_with(asked)).count();
    for (asked, least) in [
        ("GET /api/v1/rules ", 3),
        ("GET /metrics ", 1),
        ("GET /api/v1/audit ", 1),
        ("GET /chart.svg?rule=r ", 1),
        ("POST /-/reload ", 3),
        ("POST /api/v1/silences ", 4),
        ("POST /api/v1/deploys ", 1),
    ] {
        assert!(count(asked) >= least, "{asked}: {handed:#?}");
    }
    // A browser asks for the icon of a site by itself.
    let free = ["GET / ", "GET /favicon.ico "];
    let mut others = handed.iter().filter(|it| !free.iter().any(|free| it.starts_with(free)));
    assert!(others.all(|it| it.ends_with(" 403")), "{handed:#?}");
}

#[test]
#[ignore = "needs chromium; run tests/run where there is one"]
fn a_page_of_another_site_reads_nothing_and_does_nothing() {
    let mut server = Server::start(RULE);
    let (site, way) = (Site::start(server.http), Site::start(server.http));
    let (at, itself) = (format!("http://{}", way.address), site.address.port());
    let tries = PAGE.matches(": () => ").count() + PAGE.matches(": async () => ").count();
    for (name, target) in [
        ("127.0.0.1", at.clone()),
        ("localhost", at.clone()),
        ("localhost", at.replace("127.0.0.1", "localhost")),
        ("evil.test", at.clone()),
        // Of one origin with the server, as far as the browser knows.
        ("evil.test", format!("http://evil.test:{itself}")),
    ] {
        let said = site.visit(name, &target);
        let by = if target.contains("evil") { &site } else { &way };
        let handed = std::mem::take(&mut *by.handed.lock().expect("nobody panics with it"));
        eprintln!("a page of {name} tries {target}: {said:#?} {handed:#?}");
        assert_refused(&handed);
        assert_eq!(said.len(), tries, "{said:#?}");
        for (what, said) in said {
            let is_refusal = ["nothing", "opaque", "sent", "true"].contains(&&*said)
                || said.starts_with("403 ") && said.contains("loopback names only");
            assert!(is_refusal, "a page of {name} tries {target}, {what}: {said}");
        }
        assert_eq!(acts(&server), Vec::<Value>::new(), "a page of {name} tries {target}");
    }
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(!server.logged.iter().any(|line| line.contains("reload")), "{:?}", server.logged);
}

#[test]
#[ignore = "needs chromium; run tests/run where there is one"]
fn a_page_of_the_servers_own_origin_reads_and_does() {
    let mut server = Server::start(RULE);
    let site = Site::start(server.http);
    let said = site.visit("127.0.0.1", &format!("http://{}", site.address));
    for what in ["fetch", "fetch of metrics", "fetch of the audit", "XMLHttpRequest", "image"] {
        assert!(said[what].starts_with("200 "), "{what}: {said:#?}");
    }
    for what in ["reload", "silence as JSON"] {
        assert!(said[what].starts_with("200 "), "{what}: {said:#?}");
    }
    assert!(!acts(&server).is_empty(), "{said:#?}");
    server.wait_for_log("reloaded the configuration");
}
