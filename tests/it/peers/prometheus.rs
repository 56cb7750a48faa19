//! Debian's Prometheus reads `/metrics` as it is: its own checker finds nothing to say, what it stores is what was
//! counted, and its answers about rules have the fields that ours have.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::process::Listening;
use crate::harness::{Client, Server, eventually, text};

const SCRAPE: &str = include_str!("../../../conf/prometheus/prometheus.yml");

const TOKEN: &str = "prometheus-0123456789";

const CONFIG: &str = r#"
[http]
token_file = "tokens"

[[metric]]
match = "cart.time"
kind = "distribution"
unit = "seconds"
description = "Time to \"answer\" \\"

[[rule]]
name = "errors-high"
summary = "Too many errors"
series = "errors"
by = ["host"]
measure = "sum"
window = "1h"
notify = []
critical = { above = 10 }
"#;

const ALERT: &str = "groups:\n- name: g\n  rules:\n  - alert: errors-high\n    expr: sum by (host) (errors_total) > 10\n    \
                     labels: {severity: critical}\n    annotations: {summary: Too many errors}\n";

/// A running one. It ends with this value.
struct Prometheus(Listening);

impl Prometheus {
    fn start(dir: &Path) -> Self {
        let mut program = Command::new("prometheus");
        program
            .arg(format!("--config.file={}", dir.join("prometheus.yml").display()))
            .arg(format!("--storage.tsdb.path={}", dir.join("tsdb").display()))
            .arg("--web.listen-address=127.0.0.1:0");
        Self(Listening::start(&mut program))
    }

    /// The data of an answer; nothing while it is not ready.
    fn get(&self, path: &str) -> Option<Value> {
        let mut client = Client::connect(self.0.address);
        // Of version 1.0, so that no answer comes in chunks.
        client.send(format!("GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.0.address).as_bytes());
        let answer = text(&client.read_to_end());
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        let all: Value = serde_json::from_str(body).ok()?;
        assert!(head.contains(" 200 "), "{answer}");
        Some(all["data"].clone())
    }

    /// What a query comes to, where that is one number.
    fn ask(&self, query: &str) -> Option<f64> {
        let query =
            query.replace(' ', "%20").replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
        let data = self.get(&format!("/api/v1/query?query={query}"))?;
        data["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

/// A program of theirs, with something to read.
fn promtool(args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts; `tests/run` installs it");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

fn server() -> Server {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("tokens"), format!("read:{TOKEN}\n")).expect("written");
    let server = Server::start_in(dir, "", CONFIG, &[]);
    let mut client = server.client();
    for (key, value) in
        [("orders.placed;region=eu", 7), ("orders.placed;region=us", 35), ("errors;host=a", 50)]
    {
        client.ask(&format!("incr {key} {value}\r\n"));
    }
    client.ask("set queue.length 0 0 4\r\n-1.5\r\n");
    client.ask("set cart.time 0 0 3\r\n250\r\n");
    client.ask("set cart.time 0 0 3\r\n750\r\n");
    eventually("all of it", || metrics(&server, "").contains("cart_time_count 2").then_some(()));
    server
}

fn metrics(server: &Server, headers: &str) -> String {
    let headers = format!("Authorization: Bearer {TOKEN}\r\n{headers}");
    // Of version 1.0, so that it does not come in chunks.
    let answer = server
        .http_raw(&format!("GET /metrics HTTP/1.0\r\nHost: {}\r\n{headers}\r\n", server.http));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.contains(" 200 "), "{head}");
    body.to_owned()
}

/// The example with its comments taken away, for a server that asks for tokens, and not over TLS.
fn scrape(server: &Server, rules: &str) -> String {
    let token = server.dir().join("token");
    let lines = SCRAPE.lines().filter(|line| !line.contains("scheme") && !line.contains("_ca"));
    let lines: Vec<_> =
        lines.filter(|line| !line.contains("tls_") && !line.contains("ca_file")).collect();
    let text = lines.join("\n").replace("#: ", "").replace("15s", "1s");
    let text = text.replace("/etc/prometheus/tallyd-token", &token.to_string_lossy());
    format!(
        "global: {{evaluation_interval: 1s}}\nrule_files: [{rules}]\n{}\n",
        text.replace("127.0.0.1:8311", &server.http.to_string())
    )
}

#[test]
#[ignore = "needs prometheus; run tests/run"]
fn promtool_has_nothing_to_say() {
    let server = server();
    let page = metrics(&server, "");
    assert_eq!(promtool(&["check", "metrics"], &page), (Some(0), String::new()), "{page}");

    let dir = tempfile::tempdir().expect("a directory");
    let check = |text: &str| {
        let file = dir.path().join("prometheus.yml");
        std::fs::write(&file, text).expect("it can be written");
        promtool(&["check", "config", &file.to_string_lossy()], "")
    };
    let (code, said) = check(SCRAPE);
    assert_eq!(code, Some(0), "{said}");
    // With all of its examples in use, and the files that they name.
    std::fs::write(dir.path().join("t"), TOKEN).expect("written");
    let key = rcgen::KeyPair::generate().expect("a key");
    let parameters = rcgen::CertificateParams::new(vec!["tallyd".to_owned()]).expect("a name");
    let pem = parameters.self_signed(&key).expect("a certificate").pem();
    std::fs::write(dir.path().join("c"), pem).expect("written");
    let whole = SCRAPE.replace("#: ", "");
    let whole = whole
        .replace("/etc/prometheus/tallyd-token", "t")
        .replace("/etc/prometheus/tallyd-ca.pem", "c");
    let (code, said) = check(&whole);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
#[ignore = "needs prometheus; run tests/run"]
fn debians_prometheus_knows_what_was_counted_and_speaks_of_rules_alike() {
    let server = server();
    let rules = server.dir().join("rules.yml");
    let write = |name: &str, text: &str| std::fs::write(server.dir().join(name), text);
    write("rules.yml", ALERT).expect("written");
    write("token", &format!("{TOKEN}\n")).expect("written");
    write("prometheus.yml", &scrape(&server, &rules.to_string_lossy())).expect("written");
    let theirs = Prometheus::start(server.dir());
    eventually("the totals", || {
        let is = |query: &str, value: f64| theirs.ask(query) == Some(value);
        let is_all = is("sum(orders_placed_total)", 42.0)
            && is("orders_placed_total{region=\"eu\"}", 7.0)
            && is("queue_length", -1.5)
            && is("cart_time_sum / cart_time_count", 500.0)
            && is("up{job=\"tallyd\"}", 1.0);
        is_all.then_some(())
    });
    server.client().ask("incr orders.placed;region=us 58\r\n");
    eventually("the new total", || {
        (theirs.ask("sum(orders_placed_total)") == Some(100.0)).then_some(())
    });
    // As many as there are: none was left out or taken for another.
    let here = metrics(&server, "").lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(theirs.ask("scrape_samples_scraped"), here.to_string().parse().ok());
    let metadata = theirs.get("/api/v1/metadata?metric=cart_time").expect("it is ready");
    assert_eq!(metadata["cart_time"][0]["type"], "summary");
    assert_eq!(metadata["cart_time"][0]["help"], "Time to \"answer\" \\ (in seconds)");

    let alerts = |of: &dyn Fn(&str) -> Option<Value>| {
        of("/api/v1/alerts").map(|data| data["alerts"][0].clone())
    };
    let get = |path: &str| {
        let (status, body) = server.get_with(path, &format!("Authorization: Bearer {TOKEN}\r\n"));
        assert_eq!(status, 200, "{body}");
        let all: Value = serde_json::from_str(&body).ok()?;
        Some(all["data"].clone())
    };
    let is_firing = |alert: &Value| alert["state"] == "firing";
    let they = eventually("their alert", || alerts(&|path| theirs.get(path)).filter(is_firing));
    let we = eventually("our alert", || alerts(&get).filter(is_firing));
    has_fields_of(&we, &they, "alert");
    for name in ["labels", "annotations", "state", "value"] {
        assert_eq!(we[name], they[name], "{name}");
    }
    let group = |data: Option<Value>| data.expect("rules")["groups"][0].clone();
    for path in
        ["/api/v1/rules", "/api/v1/rules?type=alert", "/api/v1/rules?rule_name[]=errors-high"]
    {
        has_fields_of(&group(get(path)), &group(theirs.get(path)), path);
    }
    let count = |data: Option<Value>| {
        data.expect("groups")["groups"][0]["rules"].as_array().map_or(0, Vec::len)
    };
    let path = "/api/v1/rules?type=record";
    assert_eq!((count(get(path)), count(theirs.get(path))), (0, 0));
}

/// Whether one has every field of the other, of the same kind, all the way down.
fn has_fields_of(ours: &Value, theirs: &Value, name: &str) {
    match (ours, theirs) {
        (Value::Object(ours), Value::Object(theirs)) => {
            // What is in these is whoever's who wrote the rule.
            let is_own = |key: &str| ["labels", "annotations"].contains(&key);
            for (key, value) in
                theirs.iter().filter(|(key, _)| !is_own(name) || ours.contains_key(*key))
            {
                let ours =
                    ours.get(key).unwrap_or_else(|| panic!("{name} has no {key}: {ours:#?}"));
                has_fields_of(ours, value, key);
            }
        }
        (Value::Array(ours), Value::Array(theirs)) => {
            if let Some(value) = theirs.first() {
                has_fields_of(ours.first().expect(name), value, name);
            }
        }
        (ours, theirs) => {
            let kind = std::mem::discriminant::<Value>;
            assert_eq!(kind(ours), kind(theirs), "{name}: {ours} and {theirs}");
        }
    }
}
