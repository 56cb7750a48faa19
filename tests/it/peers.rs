//! The main job with the programs of others at both ends: real memcached clients count, a real mail
//! server and a webhook receiver are told, Debian's monitoring plugins and netcat ask.
//!
//! The programs are in `tests/peers` or come from Debian. `tests/run` installs what they need and
//! runs these tests; whoever calls them otherwise says in `TALLYD_TEST_PYTHON` which Python has the
//! modules of `tests/peers/requirements.txt`. A peer that is missing fails the test.

mod alertmanager;
mod browser;
mod memcached;
mod nagios;
mod opensmtpd;
mod package;
mod process;
mod prometheus;
mod relay;
pub mod sink;
mod statsd;
mod suite;
pub mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::harness::{Server, eventually};
use process::{Ended, run};
use relay::{Mail, Relay};
use webhook::{Post, Receiver};

pub use memcached::Memcached;

/// The programs that count, as applications do.
#[derive(Clone, Copy, Debug)]
enum Application {
    Pymemcache,
    Php,
    Pylibmc,
    PythonMemcached,
    Node,
    Tools,
}

/// When an application counted, in Unix seconds.
struct Burst {
    first: f64,
    last: f64,
}

impl Application {
    /// Runs its program against a port, to a good end; what it printed.
    fn run(self, what: &str, address: SocketAddr) -> String {
        let port = address.port().to_string();
        let (mut command, script, words) = match self {
            Self::Pymemcache => (process::python(), "client.py", vec![what, &port]),
            Self::Php => (Command::new("/usr/bin/php"), "client.php", vec![what, &port]),
            // These have one thing to do, every command.
            Self::Pylibmc => (process::python(), "more_clients.py", vec!["pylibmc", &port]),
            Self::PythonMemcached => {
                (process::python(), "more_clients.py", vec!["python-memcached", &port])
            }
            Self::Node => (process::node(), "client.js", vec![&*port]),
            Self::Tools => (Command::new("sh"), "tools.sh", vec![&*port]),
        };
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(script);
        let ended = run(command.arg(script).args(words));
        assert_eq!(ended.code, Some(0), "{self:?} {what}: {}{}", ended.stdout, ended.stderr);
        ended.stdout
    }

    /// Increments `errors` 50 times in a second.
    fn burst(self, server: &Server) -> Burst {
        let said: Value = serde_json::from_str(&self.run("burst", server.memcached)).expect("JSON");
        let at = |name: &str| said[name].as_f64().expect(name);
        Burst { first: at("first"), last: at("last") }
    }
}

/// At most so long from the first increment to the message, in seconds.
const TOLD_SECS: f64 = 3.0;

const ERRORS_HIGH: &str = r#"
[[rule]]
name = "errors-high"
summary = "The shop answers with errors"
series = "errors"
measure = "sum"
window = "5s"
critical = { above = 10, clear = 5 }
runbook = "https://wiki.example/errors-high"
notify = ["oncall"]
"#;

/// Counts, waits until two messages were `told`, and gives the server time for a third that should
/// not be. When it was counted, and all that the server logged.
fn alarm_and_recovery(
    application: Application,
    mut server: Server,
    told: impl Fn() -> usize,
) -> (Burst, String) {
    let burst = application.burst(&server);
    eventually("the alarm", || (told() >= 1).then_some(()));
    assert_eq!(server.check("errors-high").0, Some(2));
    eventually("the recovery", || (told() >= 2).then_some(()));
    assert_eq!(server.check("errors-high").0, Some(0));
    let evaluated = || {
        let rules: Value = serde_json::from_str(&server.get("/api/v1/rules").1).expect("JSON");
        rules["data"]["groups"][0]["lastEvaluation"].as_str().expect("an instant").to_owned()
    };
    let mut last = evaluated();
    for _ in 0..3 {
        last = eventually("another evaluation", || Some(evaluated()).filter(|now| *now != last));
    }
    // Whatever is due is sent before the end.
    server.signal("TERM");
    assert!(server.wait().success());
    let log = server.logged.join("\n");
    assert_eq!(log.matches(" change of state ").count(), 2, "{log}");
    assert_eq!(log.matches(" delivered ").count(), 2, "{log}");
    (burst, log)
}

/// The alarm comes in time, and the recovery once the increments have left the window.
fn assert_times(burst: &Burst, alarm: f64, recovery: f64) {
    let took = alarm - burst.first;
    assert!((0.0..=TOLD_SECS).contains(&took), "the alarm came after {took:.3} s");
    let took = recovery - burst.last;
    assert!((4.0..=8.0).contains(&took), "the recovery came {took:.3} s after the increments");
}

fn a_burst_is_mailed(application: Application) {
    let relay = Relay::start();
    let config = format!(
        "{ERRORS_HIGH}\n[[contact]]\nname = \"oncall\"\nemail = [\"On Call <oncall@example.com>\"]\n\n{}",
        relay.section(true)
    );
    let env = [("TALLYD_LOG", "trace")];
    let server = Server::start_in(tempfile::tempdir().expect("a directory"), "", &config, &env);
    let (burst, log) = alarm_and_recovery(application, server, || relay.mails().len());

    let mails = relay.mails();
    let [alarm, recovery] = mails.as_slice() else { panic!("{} mails: {mails:#?}", mails.len()) };
    assert_times(&burst, alarm.arrived, recovery.arrived);
    for mail in &mails {
        assert_secured(mail);
        assert_written_well(mail);
    }
    assert!(alarm.header("subject").starts_with("[CRITICAL] errors-high: "), "{alarm:#?}");
    assert!(recovery.header("subject").starts_with("[OK] errors-high: "), "{recovery:#?}");
    for text in ["errors-high", "The shop answers with errors", "above 10", "wiki.example"] {
        let words = alarm.parts.iter().filter(|part| part.content_type.starts_with("text/"));
        assert!(words.clone().all(|part| part.text.contains(text)), "{text}: {alarm:#?}");
    }

    // One thread: all meet under one id.
    assert_eq!(alarm.header("references"), recovery.header("references"));
    assert_eq!(recovery.header("in-reply-to"), recovery.header("references"));
    assert_ne!(alarm.header("message-id"), recovery.header("message-id"));

    for secret in relay::SECRETS {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

fn assert_secured(mail: &Mail) {
    assert!(mail.tls.as_deref().is_some_and(|tls| tls.starts_with("TLSv1.")), "{mail:#?}");
    assert_eq!(mail.login.as_deref(), Some(relay::USER), "{mail:#?}");
    assert!(mail.mechanism.is_some(), "{mail:#?}");
}

fn assert_written_well(mail: &Mail) {
    assert_eq!(mail.defects, [""; 0], "{mail:#?}");
    assert_eq!(
        (mail.from.as_str(), &*mail.to),
        ("tallyd@example.com", &["oncall@example.com".to_owned()][..])
    );
    assert_eq!(mail.header("from"), "tallyd <tallyd@example.com>");
    assert_eq!(mail.header("to"), "On Call <oncall@example.com>");
    assert_eq!(mail.header("auto-submitted"), "auto-generated");
    let is_id =
        |id: &str| id.starts_with('<') && id.ends_with("@example.com>") && !id.contains(' ');
    assert!(is_id(mail.header("message-id")) && is_id(mail.header("references")), "{mail:#?}");
    assert_eq!(mail.content_type, "multipart/alternative");
    let types: Vec<_> = mail.parts.iter().map(|part| part.content_type.as_str()).collect();
    assert_eq!(types[..2], ["text/plain", "text/html"]);
    assert!(types[2..].iter().all(|of| *of == "image/png"), "{types:?}");
    assert!(mail.parts[1].text.contains("<html"), "{mail:#?}");
    assert!(mail.raw.lines().all(|line| line.is_ascii() && line.len() <= 998), "{}", mail.raw);
}

#[test]
#[ignore = "needs pymemcache and aiosmtpd; run tests/run"]
fn a_burst_from_pymemcache_is_mailed_and_so_is_its_end() {
    a_burst_is_mailed(Application::Pymemcache);
}

#[test]
#[ignore = "needs PHP's memcached extension and aiosmtpd; run tests/run"]
fn a_burst_from_php_is_mailed_and_so_is_its_end() {
    a_burst_is_mailed(Application::Php);
}

#[test]
#[ignore = "needs aiosmtpd; run tests/run"]
fn nothing_is_told_to_a_relay_that_nobody_vouches_for() {
    let relay = Relay::start();
    let config = format!(
        "{ERRORS_HIGH}\n[[contact]]\nname = \"oncall\"\nemail = [\"oncall@example.com\"]\n\n{}",
        relay.section(false)
    );
    let mut server = Server::start(&config);
    assert_eq!(server.client().ask("incr errors 50\r\n"), "50");
    let line = server.wait_for_log("not delivered yet");
    assert!(line.to_lowercase().contains("certificate"), "{line}");
    assert!(relay.mails().is_empty());
}

/// A token that stands in a header of the webhook.
const TOKEN: &str = "Bearer 5c1f0a9e-tallyd-test";

fn a_burst_is_posted(application: Application) {
    let receiver = Receiver::start();
    let config = format!(
        "{ERRORS_HIGH}\n[[contact]]\nname = \"oncall\"\nwebhook = \"http://{}/alerts?key=in-the-url\"\n\
         headers = {{ Authorization = \"{TOKEN}\" }}\n",
        receiver.address
    );
    let env = [("TALLYD_LOG", "trace")];
    let server = Server::start_in(tempfile::tempdir().expect("a directory"), "", &config, &env);
    let (burst, log) = alarm_and_recovery(application, server, || receiver.posts().len());

    let posts = receiver.posts();
    let [alarm, recovery] = posts.as_slice() else { panic!("{} posts: {posts:#?}", posts.len()) };
    assert_times(&burst, alarm.arrived, recovery.arrived);
    for post in &posts {
        assert_is_alertmanagers(post);
        assert_eq!(post.line, "POST /alerts?key=in-the-url HTTP/1.1");
        assert_eq!(post.header("authorization"), TOKEN);
    }
    assert_ne!(alarm.header("webhook-id"), recovery.header("webhook-id"));

    let (begun, over) = (&alarm.body, &recovery.body);
    assert_eq!((&begun["status"], &over["status"]), (&"firing".into(), &"resolved".into()));
    assert_eq!(begun["groupKey"], over["groupKey"]);
    let (begun, over) = (&begun["alerts"][0], &over["alerts"][0]);
    assert_eq!((&begun["status"], &over["status"]), (&"firing".into(), &"resolved".into()));
    for name in ["labels", "startsAt", "fingerprint", "generatorURL"] {
        assert_eq!(begun[name], over[name], "{name} is the same from beginning to end");
    }
    assert_eq!(begun["endsAt"], "0001-01-01T00:00:00Z");
    let ended = instant(&over["endsAt"]);
    assert!(ended > instant(&over["startsAt"]) && ended <= recovery.arrived, "{over:#}");
    assert!((burst.first - 1.0..alarm.arrived).contains(&instant(&begun["startsAt"])), "{begun:#}");
    assert!(number(&begun["annotations"]["value"]) > 10.0, "{begun:#}");
    assert!(number(&over["annotations"]["value"]) <= 5.0, "{over:#}");

    for secret in [TOKEN, "in-the-url"] {
        assert!(!log.contains(secret), "{secret} is in the log:\n{log}");
    }
}

/// Holds what every post has against the fields of Alertmanager's webhook, version 4.
fn assert_is_alertmanagers(post: &Post) {
    assert_eq!(post.header("content-type"), "application/json");
    assert!(!post.header("webhook-id").is_empty());
    let sent: f64 = post.header("webhook-timestamp").parse().expect("Unix seconds");
    assert!((post.arrived - sent).abs() < 5.0, "{post:#?}");
    let body = &post.body;
    assert_names(
        body,
        "alerts commonAnnotations commonLabels externalURL groupKey groupLabels receiver status \
         truncatedAlerts version",
    );
    assert_eq!(body["version"], "4");
    assert_eq!(body["receiver"], "oncall");
    assert_eq!(body["truncatedAlerts"], 0);
    assert_eq!(body["externalURL"], "http://127.0.0.1:8311");
    assert!(body["groupKey"].as_str().is_some_and(|key| !key.is_empty()));
    assert_eq!(body["groupLabels"]["alertname"], "errors-high");
    assert_eq!(body["commonLabels"]["severity"], "critical");
    assert_eq!(body["commonAnnotations"]["summary"], "The shop answers with errors");
    let [alert] = body["alerts"].as_array().expect("a list").as_slice() else { panic!("{body:#}") };
    assert_names(alert, "annotations endsAt fingerprint generatorURL labels startsAt status");
    assert_eq!(
        alert["labels"],
        serde_json::json!({"alertname": "errors-high", "severity": "critical"})
    );
    assert_names(&alert["annotations"], "description runbook_url summary value");
    assert_eq!(alert["annotations"]["runbook_url"], "https://wiki.example/errors-high");
    assert_eq!(alert["generatorURL"], "http://127.0.0.1:8311/check/errors-high");
    let fingerprint = alert["fingerprint"].as_str().expect("text");
    assert!(fingerprint.len() == 16 && fingerprint.bytes().all(|b| b.is_ascii_hexdigit()));
}

fn assert_names(object: &Value, wanted: &str) {
    let mut names: Vec<_> =
        object.as_object().expect("an object").keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, wanted.split_whitespace().collect::<Vec<_>>());
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).expect("a number as text")
}

/// Unix seconds of an instant in RFC 3339's form.
fn instant(value: &Value) -> f64 {
    let at: jiff::Timestamp = value.as_str().expect("text").parse().expect("an instant");
    at.as_duration().as_secs_f64()
}

#[test]
#[ignore = "needs pymemcache; run tests/run"]
fn a_burst_from_pymemcache_is_posted_and_so_is_its_end() {
    a_burst_is_posted(Application::Pymemcache);
}

#[test]
#[ignore = "needs PHP's memcached extension; run tests/run"]
fn a_burst_from_php_is_posted_and_so_is_its_end() {
    a_burst_is_posted(Application::Php);
}

/// The same program on memcached and on tallyd, so that what it expects is what memcached does.
fn every_command(application: Application) {
    let memcached = Memcached::start();
    application.run("commands", memcached.address);
    let mut server = Server::start("[memcached]\nmissing_incr = \"not_found\"\n");
    application.run("commands", server.memcached);
    assert!(server.is_alive());
}

#[test]
#[ignore = "needs pymemcache and memcached; run tests/run"]
fn every_command_of_pymemcache_does_what_it_does_with_memcached() {
    every_command(Application::Pymemcache);
}

#[test]
#[ignore = "needs PHP's memcached extension and memcached; run tests/run"]
fn every_command_of_php_does_what_it_does_with_memcached() {
    every_command(Application::Php);
}

#[test]
#[ignore = "needs pylibmc and memcached; run tests/run"]
fn every_command_of_pylibmc_does_what_it_does_with_memcached() {
    every_command(Application::Pylibmc);
}

#[test]
#[ignore = "needs python-memcached and memcached; run tests/run"]
fn every_command_of_python_memcached_does_what_it_does_with_memcached() {
    every_command(Application::PythonMemcached);
}

#[test]
#[ignore = "needs Node.js, its module memcached, and memcached; run tests/run"]
fn every_command_of_nodes_module_does_what_it_does_with_memcached() {
    every_command(Application::Node);
}

#[test]
#[ignore = "needs libmemcached-tools and memcached; run tests/run"]
fn every_tool_of_libmemcached_does_what_it_does_with_memcached() {
    every_command(Application::Tools);
}

/// Where Debian and its relatives keep the Monitoring Plugins.
const PLUGINS: &str = "/usr/lib/nagios/plugins";

fn plugin(name: &str, address: SocketAddr, arguments: &[&str]) -> Ended {
    let port = address.port().to_string();
    run(Command::new(format!("{PLUGINS}/{name}")).args(["-p", &port]).args(arguments))
}

#[test]
#[ignore = "needs check_http and check_tcp of monitoring-plugins-basic; run tests/run"]
fn debians_plugins_agree_with_our_own() {
    let server = Server::start(
        r#"
[[rule]]
name = "errors-high"
series = "errors"
measure = "sum"
window = "5m"
warning = { above = 5 }
critical = { above = 10 }
notify = []

[[rule]]
name = "temperature"
series = "temperature"
measure = "last"
critical = { above = 30 }
missing = { after = "1s", state = "unknown" }
notify = []
"#,
    );
    // First `tallyd check`, then check_http by the status alone. HTTP has none that check_http takes
    // for UNKNOWN: it is CRITICAL there, so that nobody takes it for well.
    let agree = |rule: &str, word: &str, ours: i32, theirs: i32| {
        let line = eventually(word, || {
            Some(server.check(rule)).filter(|(code, _)| *code == Some(ours)).map(|(_, line)| line)
        });
        assert!(line.starts_with(&format!("{word} - {rule}: ")), "{line}");
        let url = format!("/check/{rule}?http_status=1");
        let said = plugin("check_http", server.http, &["-I", "127.0.0.1", "-u", &url]);
        assert_eq!(said.code, Some(theirs), "{word}: {}", said.stdout);
    };
    let mut client = server.client();
    agree("errors-high", "OK", 0, 0);
    assert_eq!(client.ask("incr errors 8\r\n"), "8");
    agree("errors-high", "WARNING", 1, 1);
    assert_eq!(client.ask("incr errors 8\r\n"), "16");
    agree("errors-high", "CRITICAL", 2, 2);
    agree("temperature", "UNKNOWN", 3, 2);
    agree("no-such-rule", "UNKNOWN", 3, 2);
    // It can also read the word, which is there whatever the status.
    for (wanted, code) in [("^CRITICAL - errors-high: ", 0), ("^OK", 2)] {
        let arguments = ["-I", "127.0.0.1", "-u", "/check/errors-high", "-r", wanted];
        let said = plugin("check_http", server.http, &arguments);
        assert_eq!(said.code, Some(code), "{wanted}: {}", said.stdout);
    }

    let speak = ["-H", "127.0.0.1", "-E", "-s", r"version\r\n", "-e", "VERSION", "-q", r"quit\r\n"];
    for (address, arguments) in [
        (server.memcached, &["-H", "127.0.0.1"][..]),
        (server.memcached, &speak),
        (server.http, &["-H", "127.0.0.1"]),
    ] {
        let said = plugin("check_tcp", address, arguments);
        assert_eq!(said.code, Some(0), "{arguments:?}: {}", said.stdout);
    }
}

#[test]
#[ignore = "needs netcat; run tests/run"]
fn netcat_counts() {
    let server = Server::start("");
    let line =
        format!(r"printf 'incr signups 1\r\n' | nc -q1 127.0.0.1 {}", server.memcached.port());
    for count in ["1\r\n", "2\r\n"] {
        let ended = run(Command::new("sh").args(["-c", &line]));
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), count), "{}", ended.stderr);
    }
}
