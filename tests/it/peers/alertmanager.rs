//! Debian's Alertmanager tells the same alert to the same receiver as tallyd: what each sends is held
//! against the other, name by name.

use std::net::SocketAddr;
use std::process::Command;

use serde_json::{Value, json};

use super::process::Listening;
use super::webhook::Receiver;
use crate::harness::{Client, Server, eventually};

/// A running one. It ends with this value.
struct Alertmanager {
    server: Listening,
    _dir: tempfile::TempDir,
}

impl Alertmanager {
    /// One that tells `receiver` of each group of rule and host at once.
    fn start(receiver: SocketAddr) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = format!(
            "route:\n  receiver: oncall\n  group_by: [alertname, host]\n  group_wait: 0s\n  \
             group_interval: 1s\nreceivers:\n- name: oncall\n  webhook_configs:\n  \
             - url: http://{receiver}/\n    send_resolved: true\n"
        );
        let file = dir.path().join("alertmanager.yml");
        std::fs::write(&file, config).expect("it can be written");
        let mut program = Command::new("prometheus-alertmanager");
        program
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.path={}", dir.path().join("data").display()))
            .args(["--web.listen-address=127.0.0.1:0", "--cluster.listen-address="]);
        Self { server: Listening::start(&mut program), _dir: dir }
    }

    fn post(&self, alerts: &Value) {
        let body = alerts.to_string();
        let mut client = Client::connect(self.server.address);
        client.send(
            format!(
                "POST /api/v2/alerts HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
                 Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
                self.server.address,
                body.len()
            )
            .as_bytes(),
        );
        let answer = client.line();
        assert!(answer.contains("200"), "{answer}");
    }
}

/// Names and kinds of a value, all the way down; of a list those of its first.
fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            object.iter().map(|(name, value)| (name.clone(), kinds(value))).collect()
        }
        Value::Array(list) => list.first().map(kinds).into_iter().collect(),
        Value::Null => "nothing".into(),
        Value::Bool(_) => "yes or no".into(),
        Value::Number(_) => "a number".into(),
        Value::String(_) => "a text".into(),
    }
}

/// What an alert is to Alertmanager, as its clients post it.
fn posted(alert: &Value, ends_at: Option<&Value>) -> Value {
    let mut posted = json!({
        "labels": alert["labels"],
        "annotations": alert["annotations"],
        "startsAt": alert["startsAt"],
        "generatorURL": alert["generatorURL"],
    });
    if let Some(ends_at) = ends_at {
        posted["endsAt"] = ends_at.clone();
    }
    json!([posted])
}

/// Holds two bodies about one alert against each other; `but` may differ in value.
fn assert_alike(ours: &Value, theirs: &Value, but: &[&str]) {
    assert_eq!(kinds(ours), kinds(theirs), "ours {ours:#}\ntheirs {theirs:#}");
    for (name, value) in ours.as_object().expect("an object") {
        if name != "alerts" && !but.contains(&name.as_str()) {
            assert_eq!(value, &theirs[name], "{name}");
        }
    }
    let (ours, theirs) = (&ours["alerts"][0], &theirs["alerts"][0]);
    for (name, value) in ours.as_object().expect("an object") {
        if !but.contains(&name.as_str()) {
            assert_eq!(value, &theirs[name], "{name}");
        }
    }
}

#[test]
#[ignore = "needs prometheus-alertmanager; run tests/run"]
fn debians_alertmanager_says_the_same_of_the_same_alert() {
    let ours = Receiver::start();
    let server = Server::start(&format!(
        r#"
[[contact]]
name = "oncall"
webhook = "http://{}/"

[notify]
default = ["oncall"]

[[rule]]
name = "errors-high"
summary = "The shop answers with errors"
series = "errors"
by = ["host"]
measure = "sum"
window = "2s"
critical = {{ above = 10, clear = 5 }}
runbook = "https://wiki.example/errors-high"
"#,
        ours.address
    ));
    server.client().ask("incr errors;host=a 50\r\n");
    eventually("our recovery", || (ours.posts().len() == 2).then_some(()));
    let ours: Vec<_> = ours.posts().into_iter().map(|post| post.body).collect();

    let theirs = Receiver::start();
    let manager = Alertmanager::start(theirs.address);
    manager.post(&posted(&ours[0]["alerts"][0], None));
    eventually("their alarm", || (theirs.posts().len() == 1).then_some(()));
    // It ended, for both, when ours did.
    manager.post(&posted(&ours[0]["alerts"][0], Some(&ours[1]["alerts"][0]["endsAt"])));
    eventually("their recovery", || (theirs.posts().len() == 2).then_some(()));
    let theirs: Vec<_> = theirs.posts().into_iter().map(|post| post.body).collect();

    // Where it is reached is its own; its fingerprint is over the severity too, which with us may change.
    let but = ["externalURL", "fingerprint"];
    assert_alike(&ours[0], &theirs[0], &but);
    // The value is that of then, so annotations differ from those that it was posted with.
    let but = ["externalURL", "fingerprint", "annotations", "commonAnnotations"];
    assert_alike(&ours[1], &theirs[1], &but);
}
