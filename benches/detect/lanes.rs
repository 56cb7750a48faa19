//! Lanes: a level that is crossed, and a receiver that hears of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// A lane hears nothing for that long before it is measured.
const QUIET: Duration = Duration::from_secs(6);

/// Nobody takes that long.
const PATIENCE: Duration = Duration::from_secs(60);

/// All lanes.
pub(crate) struct Lanes {
    pub(crate) list: Vec<Arc<Lane>>,
    /// Where the levels can be read.
    pub(crate) page: u16,
}

/// One of them.
pub(crate) struct Lane {
    pub(crate) number: u32,
    /// Where its receiver listens.
    pub(crate) port: u16,
    /// 1 while it is beyond its threshold.
    level: AtomicU64,
    /// When connections were made.
    heard: Mutex<Receiver<Instant>>,
}

/// What is measured.
pub(crate) struct Program {
    pub(crate) title: String,
    /// Where increments go; `None`: it reads the page.
    pub(crate) counts_at: Option<u16>,
    /// Ended when they are dropped.
    pub(crate) _running: Vec<crate::programs::Running>,
}

impl Lanes {
    pub(crate) fn open(number: u32) -> anyhow::Result<Self> {
        let list = (0..number).map(Lane::open).collect::<anyhow::Result<Vec<_>>>()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let page = listener.local_addr()?.port();
        let lanes = list.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // One scraper asks, once a second.
                let _ = answer(stream, || {
                    let line = |lane: &Arc<Lane>| {
                        format!("lane_{}_level {}\n", lane.number, lane.level.load(SeqCst))
                    };
                    lanes.iter().map(line).collect()
                });
            }
        });
        Ok(Self { list, page })
    }
}

impl Lane {
    fn open(number: u32) -> anyhow::Result<Arc<Self>> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let (send, heard) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                if send.send(Instant::now()).is_err() {
                    return;
                }
                let _ = answer(stream, String::new);
            }
        });
        Ok(Arc::new(Self { number, port, level: AtomicU64::new(0), heard: Mutex::new(heard) }))
    }

    /// One measurement after the other; `random` gives numbers below one.
    fn run(
        &self,
        counts_at: Option<u16>,
        rounds: u32,
        mut random: impl FnMut() -> f64,
    ) -> anyhow::Result<Vec<Duration>> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let mut client = match counts_at {
            Some(port) => Some(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?),
            None => None,
        };
        let mut took = Vec::new();
        for _ in 0..rounds {
            while heard.recv_timeout(QUIET) != Err(RecvTimeoutError::Timeout) {}
            std::thread::sleep(Duration::from_secs_f64(2.0 * random()));
            let start = Instant::now();
            match &mut client {
                Some(client) => count(client, self.number)?,
                None => self.level.store(1, SeqCst),
            }
            let told = heard.recv_timeout(PATIENCE).context("nobody was told")?;
            took.push(told.saturating_duration_since(start));
            self.level.store(0, SeqCst);
        }
        Ok(took)
    }
}

fn count(client: &mut TcpStream, lane: u32) -> anyhow::Result<()> {
    client.write_all(format!("incr lane-{lane} 1\r\n").as_bytes())?;
    let mut reply = [0; 64];
    let length = client.read(&mut reply)?;
    if length == 0 || !reply.first().is_some_and(u8::is_ascii_digit) {
        bail!("the increment was not taken");
    }
    Ok(())
}

/// Reads one request and answers it.
fn answer(stream: TcpStream, body: impl Fn() -> String) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line.trim().is_empty() {
            break;
        }
    }
    std::io::copy(&mut reader.by_ref().take(length), &mut std::io::sink())?;
    let body = body();
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nConnection: close\r\n";
    write!(reader.get_mut(), "{head}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// All lanes side by side; what each measurement took.
pub(crate) fn measure(
    lanes: &Lanes,
    program: &Program,
    rounds: u32,
) -> anyhow::Result<Vec<Duration>> {
    eprintln!("{}: {} measurements", program.title, lanes.list.len() * rounds as usize);
    std::thread::scope(|scope| {
        let running: Vec<_> = lanes
            .list
            .iter()
            .map(|lane| {
                scope.spawn(move || lane.run(program.counts_at, rounds, random(lane.number)))
            })
            .collect();
        let mut took = Vec::new();
        for lane in running {
            let Ok(its) = lane.join() else { bail!("a lane has ended with a panic") };
            took.extend(its?);
        }
        Ok(took)
    })
}

/// The same numbers at every run, others for each lane.
fn random(seed: u32) -> impl FnMut() -> f64 {
    let mut state = u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        f64::from(u32::try_from(state >> 32).unwrap_or_default()) / 4_294_967_296.0
    }
}
