//! Prometheus with equivalent rules, over the same series, scraped and judged each second.
//!
//! The series are served by this process as running totals that go up each second. Prometheus runs twice in a
//! temporary directory under `target/`, with the rules and without, so that what scraping costs can be taken off.
//! Rounds that it did not manage within their second are left out by it; the CPU time is that of the
//! rounds that it did.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::Load;

/// Time to fill the windows, and to measure. Five minutes would fill them whole; it has to add up more then.
const WARM: Duration = Duration::from_secs(60);
const MEASURED: Duration = Duration::from_secs(30);

/// `tick` is what a tick of ours takes with the rules, `rules` what these take of it.
pub(crate) fn measure(load: &Load, tick: f64, rules: f64) {
    let Ok(version) = Command::new("prometheus").arg("--version").output() else {
        return println!("prometheus was not found and is left out: apt-get install prometheus");
    };
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let version = version.split_whitespace().nth(2).unwrap_or_default().to_owned();
    let (without, _) = run(load, false);
    let (with, rounds) = run(load, true);
    println!("{:>30}  {without:>8.1}", format!("Prometheus {version}, no rules"));
    println!("{:>30}  {with:>8.1}, {rounds:.2} rounds a second", "and with them");
    // Where the machine is busy it leaves rounds out, so what a round takes is the fairer of the two.
    let round = (with - without) / rounds.max(0.01);
    println!("{:>30}  {round:>8.1}, {:.0} times ours", "a round alone", round / rules.max(0.01));
    println!("{:>30}  {:>8.1} times a tick", "what it did in a second", with / tick);
}

/// CPU milliseconds a second, and rounds of all rules a second.
fn run(load: &Load, with_rules: bool) -> (f64, f64) {
    let target = Target::serve(load);
    let directory = tempfile::TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let config = configure(load, directory.path(), target.port, with_rules);
    let child = Command::new("prometheus")
        .arg(format!("--config.file={config}"))
        .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=error")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let peer = Peer { child, port };
    std::thread::sleep(WARM);
    let (cpu, evaluated, start) = (peer.cpu_ms(), peer.evaluations(), Instant::now());
    std::thread::sleep(MEASURED);
    let secs = start.elapsed().as_secs_f64();
    let rounds = (peer.evaluations() - evaluated) / load.rules as f64;
    ((peer.cpu_ms() - cpu) / secs, rounds / secs)
}

fn configure(load: &Load, directory: &Path, target: u16, with_rules: bool) -> String {
    let mut rules = "groups:\n- name: all\n  interval: 1s\n  rules:\n".to_owned();
    for at in 0..load.rules {
        let expression = match load.groups {
            None => format!("increase(shop_orders{{customer=\"{at:05}\"}}[5m]) > 1e6"),
            Some(_) => format!("sum by (host) (increase(shop_requests_{at:05}[5m])) > 1e6"),
        };
        writeln!(rules, "  - alert: rule{at:05}\n    expr: '{expression}'").unwrap();
    }
    fs::write(directory.join("rules.yml"), rules).unwrap();
    let files = if with_rules { "rule_files: [rules.yml]\n" } else { "" };
    let config = directory.join("prometheus.yml");
    let text = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\n{files}scrape_configs:\n\
         - job_name: shop\n  static_configs: [{{targets: ['127.0.0.1:{target}']}}]\n"
    );
    fs::write(&config, text).unwrap();
    config.display().to_string()
}

/// What is scraped.
struct Target {
    port: u16,
    is_over: Arc<AtomicBool>,
}

impl Target {
    fn serve(load: &Load) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let is_over = Arc::new(AtomicBool::new(false));
        let (ends, start) = (Arc::clone(&is_over), Instant::now());
        let (rules, groups) = (load.rules, load.groups);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Relaxed) {
                    break;
                }
                let total = start.elapsed().as_secs() * 2;
                // A scrape that is given up is no concern of ours.
                let _ = answer(stream.unwrap(), &exposition(rules, groups, total));
            }
        });
        Self { port, is_over }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        // It looks up when somebody comes.
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
    }
}

fn exposition(rules: usize, groups: Option<usize>, total: u64) -> String {
    let mut text = String::new();
    for at in 0..rules {
        match groups {
            None => writeln!(text, "shop_orders{{customer=\"{at:05}\"}} {total}").unwrap(),
            Some(groups) => (0..groups).for_each(|host| {
                writeln!(text, "shop_requests_{at:05}{{host=\"web-{host:03}\"}} {total}").unwrap();
            }),
        }
    }
    text
}

/// Answers every request of a connection with the same text.
fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut request = [0; 4096];
    if stream.read(&mut request)? == 0 {
        return Ok(());
    }
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{text}",
        text.len()
    )
}

/// Its process; ended when it is dropped.
struct Peer {
    child: Child,
    port: u16,
}

impl Peer {
    /// User and system time since it began.
    fn cpu_ms(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let behind = stat.rsplit(')').next().unwrap_or_default();
        let ticks = behind.split_whitespace().skip(11).take(2).map(|n| n.parse::<f64>().unwrap());
        ticks.sum::<f64>() * 1000.0 / rustix::param::clock_ticks_per_second() as f64
    }

    /// Rules that it has judged.
    fn evaluations(&self) -> f64 {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        write!(stream, "GET /metrics HTTP/1.0\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let lines =
            text.lines().filter(|line| line.starts_with("prometheus_rule_evaluations_total"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
