//! Any text at all as what a call over HTTP is asked with: it is answered, or refused in words, by the server's own
//! router over an engine with some history and an open incident.
//!
//! Input: a path as `openapi.json` has it (what is none stands for one of them), then a line for each parameter,
//! `name=value`, either of which may be any text; a name that is none stands for one of the call's. A line without `=`
//! goes into the query as it is.

#![no_main]

use std::fmt::Write as _;
use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use tallyd::config::{self, Surroundings};
use tallyd::engine::tally::Tallies;
use tallyd::engine::{Dice, Engine, sample};
use tallyd::faces::Shared;
use tallyd::faces::http::Face;
use tallyd::notify::links::LinkKey;
use tallyd::protocol::statsd::Value as Said;
use tallyd::time::Timestamp;
use tallyd::time::clock::Clock;
use tokio::runtime::{Builder, Runtime};

const START: i64 = 1_767_571_200;
/// Windows of history, in seconds.
const PLAYED: i64 = 900;

const CONFIG: &str = r#"
[[rule]]
name = "orders"
series = "orders.*"
measure = "rate"
by = ["region"]
window = "10s"
notify = []
warning = { above = 1 }

[[rule]]
name = "took"
series = "took"
measure = "p99"
window = "1m"
notify = []
critical = { above = 1000000 }
"#;

/// Time stands still once the history is played.
struct Still;

impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(START + PLAYED)
    }

    fn monotonic(&self) -> Duration {
        Duration::from_secs(PLAYED.unsigned_abs())
    }
}

/// A call that takes parameters.
struct Call {
    path: String,
    /// The path with its parts filled in.
    filled: String,
    names: Vec<String>,
}

struct Server {
    runtime: Runtime,
    face: Face,
    calls: Vec<Call>,
}

fuzz_target!(|text: &str| {
    static SERVER: OnceLock<Server> = OnceLock::new();
    let server = SERVER.get_or_init(Server::new);
    let mut lines = text.split('\n');
    let asked = lines.next().unwrap_or_default();
    let call = pick(&server.calls, asked, |call| call.path.as_str());
    let mut target = call.filled.clone();
    for (at, line) in lines.enumerate() {
        target.push(if at == 0 { '?' } else { '&' });
        let Some((name, value)) = line.split_once('=') else {
            target.push_str(line);
            continue;
        };
        escape(pick::<String>(&call.names, name, |own| own), &mut target);
        target.push('=');
        escape(value, &mut target);
    }
    // A raw line may hold what stands in no address.
    let Some((status, body)) = server.get(&target) else { return };
    let is_check = call.path.starts_with("/check");
    assert!(status < 500 || is_check, "{status} for {target}");
    assert!(status < 400 || !body.is_empty(), "{status} without a word for {target}");
    if body.starts_with(b"{") {
        let told: Value = serde_json::from_slice(&body).expect("whole JSON");
        assert_eq!(told["status"] == "error", status >= 400, "{target}");
    }
});

/// The one of this name; where there is none, one that the name decides on.
fn pick<'a, T>(all: &'a [T], text: &str, name: impl Fn(&T) -> &str) -> &'a T {
    let named = all.iter().find(|one| name(one) == text);
    let first = text.bytes().next().unwrap_or_default();
    named.unwrap_or_else(|| &all[usize::from(first) % all.len()])
}

fn escape(text: &str, target: &mut String) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            target.push(char::from(byte));
        } else {
            write!(target, "%{byte:02X}").expect("a string takes it");
        }
    }
}

impl Server {
    fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
        let mut server = Self { runtime, face: Face::new(shared()), calls: Vec::new() };
        let incident = server.json("/api/v1/incidents")["data"]["incidents"][0]["id"].clone();
        let incident = incident.as_str().expect("the rule fires");
        let all = server.json("/api/v1/openapi.json");
        for (path, verbs) in all["paths"].as_object().expect("paths") {
            let parameters = verbs["get"]["parameters"].as_array().into_iter().flatten();
            let of_query = parameters.filter(|one| one["in"] == "query");
            let names: Vec<_> =
                of_query.map(|one| one["name"].as_str().expect("a name").to_owned()).collect();
            let filled = path.replace("{rule}", "orders").replace("{incident}", incident);
            if !names.is_empty() {
                server.calls.push(Call { path: path.clone(), filled, names });
            }
        }
        assert!(server.calls.len() > 10);
        server
    }

    fn get(&self, target: &str) -> Option<(u16, Vec<u8>)> {
        self.runtime.block_on(self.face.get(target))
    }

    fn json(&self, target: &str) -> Value {
        let (status, body) = self.get(target).expect("an address");
        assert_eq!(status, 200, "{target}");
        serde_json::from_slice(&body).expect("JSON")
    }
}

/// What the face shows: some series of each kind, counted for a while, and what the rules made of it.
fn shared() -> Shared {
    let loaded = config::parse(CONFIG, Path::new("fuzz.toml"), &Surroundings::none());
    let config = loaded.ok().expect("it is a configuration").config;
    let engine = Engine::new(&config, Timestamp::from_secs(START));
    let mut dice = Dice::new(1);
    for second in 0..PLAYED {
        let now = Timestamp::from_secs(START + second);
        let mut say = |key: &str, value: Said<'_>| {
            let said = sample(engine.counters(), key.as_bytes(), value, 1.0, now, &mut dice);
            assert!(said.is_ok(), "{key}");
        };
        for name in ["placed", "failed"] {
            for region in ["eu", "us"] {
                say(&format!("orders.{name};region={region}"), Said::Count(9.0));
            }
        }
        let number = f64::from(u32::try_from(second % 37).expect("it is small"));
        say("took", Said::Observed(number));
        say("load", Said::Gauge(number - 18.0));
        engine.tick(Timestamp::from_secs(START + second + 1));
    }
    let shared = Shared {
        links: LinkKey::new([7; 32]),
        engine: Arc::new(engine),
        clock: Arc::new(Still),
        tallies: Tallies::new(1).0,
        status: Arc::default(),
        access: Arc::default(),
        tokens: Arc::default(),
        nrpe: Arc::default(),
    };
    shared.note_tick();
    shared
}
