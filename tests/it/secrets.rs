//! No secret in anything that is shown: every one that a server can be given is planted, everything is
//! made to fail and to succeed, and all that it says at the most talkative is looked through.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::harness::{Server, eventually, tallyd, text};
use crate::peers::sink::Sink;
use crate::peers::webhook::{Post, Receiver};

const PASSWORD: &str = "plover-xyzzy-password";
const URL_TOKEN: &str = "T0SESAMEURLTOKEN";
const HEADER: &str = "swordfish-header-value";
const USER: &str = "memcached-mellon";
const SIGNING: &str = "open-barley-signing-secret";
const ROUTING: &str = "0rout1ngkey0rout1ngkey0rout1ngke";

/// The same as they travel: base64 of the password, and of NUL, the user, NUL and the password.
const SENT: [&str; 2] =
    ["cGxvdmVyLXh5enp5LXBhc3N3b3Jk", "AHRhbGx5ZABwbG92ZXIteHl6enktcGFzc3dvcmQ="];

fn write(dir: &Path, name: &str, content: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(dir.join(name));
    file.and_then(|mut file| file.write_all(content.as_bytes())).expect("it can be written");
}

fn config(receiver: &Receiver, email: &str) -> String {
    format!(
        r#"
[memcached]
auth_file = "users"

[[rule]]
name = "errors-high"
series = "errors"
measure = "sum"
window = "2s"
critical = {{ above = 10, clear = 5 }}

[[contact]]
name = "good"
webhook = "http://{}/hooks/{URL_TOKEN}?key={URL_TOKEN}"
headers = {{ Authorization = "Bearer {HEADER}" }}
secret_file = "signing"

[[contact]]
name = "page"
webhook = "http://{}/page/{URL_TOKEN}"
format = "pagerduty"
routing_key_file = "routing"

[[contact]]
name = "dead"
webhook = "http://127.0.0.1:9/hooks/{URL_TOKEN}"
headers = {{ X-Key = "{HEADER}" }}

[[contact]]
name = "mailed"
email = ["oncall@example.com"]

[email]
from = "tallyd <tallyd@example.com>"
{email}

[notify]
default = ["good", "page", "dead", "mailed"]
"#,
        receiver.address, receiver.address
    )
}

/// All that a server tells whoever asks.
const PATHS: [&str; 17] = [
    "/",
    "/metrics",
    "/healthz",
    "/check/errors-high",
    "/chart.svg?rule=errors-high",
    "/api/v1/rules",
    "/api/v1/alerts",
    "/api/v1/incidents",
    "/api/v1/audit?limit=1000",
    "/api/v1/deliveries",
    "/api/v1/deliveries?state=failed",
    "/api/v1/acks",
    "/api/v1/silences",
    "/api/v1/deploys",
    "/api/v1/measure?series=errors",
    "/api/v1/nothing",
    "/ack/i1?for=good&until=1&signature=00",
];

#[test]
fn no_secret_is_in_anything_that_is_shown() {
    let (receiver, sink) = (Receiver::start(), Sink::start());
    let dir = tempfile::tempdir().expect("a directory");
    write(dir.path(), "email-password", &format!("{PASSWORD}\n"));
    write(dir.path(), "users", &format!("app:{USER}\n"));
    write(dir.path(), "signing", &format!("{SIGNING}\n"));
    write(dir.path(), "routing", &format!("{ROUTING}\n"));
    // A relay that takes a password and is not there; one that is there and takes none comes after.
    let login = "username = \"tallyd\"\npassword_file = \"email-password\"";
    let rest = config(&receiver, &format!("server = \"smtps://127.0.0.1:9\"\n{login}"));
    let mut server = Server::start_in(dir, "", &rest, &[("TALLYD_LOG", "trace")]);
    let mut shown = Vec::new();

    let login = format!("app {USER}");
    let mut client = server.client();
    assert!(
        client.ask(&format!("set x 0 0 {}\r\n{login}x\r\n", login.len() + 1)).contains("ERROR")
    );
    assert_eq!(client.ask(&format!("set x 0 0 {}\r\n{login}\r\n", login.len())), "STORED");
    client.ask("incr errors 50\r\n");
    eventually("a message", || (!receiver.posts().is_empty()).then_some(()));
    let url = format!("http://{}", server.http);
    for contact in ["good", "page", "dead", "mailed", "nobody"] {
        let output = tallyd(&["notify", "test", contact, "--server", &url]);
        shown
            .push((format!("notify test {contact}"), text(&output.stdout) + &text(&output.stderr)));
    }
    for args in [&["rules", "show", "errors-high"][..], &["ack"], &["silence"], &["rules", "list"]]
    {
        let output = tallyd(&[args, &["--server", &url]].concat());
        shown.push((args.join(" "), text(&output.stdout) + &text(&output.stderr)));
    }
    let file = server.dir().join("tallyd.toml");
    for broken in ["", "\n[email]\npasswort = 5\n[[rule]]\nname = 1\n"] {
        std::fs::write(server.dir().join("other.toml"), rest.clone() + broken).expect("written");
        let output =
            tallyd(&["config", "check", &server.dir().join("other.toml").to_string_lossy()]);
        shown.push(("config check".to_owned(), text(&output.stdout) + &text(&output.stderr)));
        let good = std::fs::read_to_string(&file).expect("it is there");
        std::fs::write(&file, good.clone() + broken).expect("written");
        server.signal("HUP");
        server.wait_for_log(if broken.is_empty() {
            "reloaded the configuration"
        } else {
            "was not reloaded"
        });
        std::fs::write(&file, good).expect("written");
    }
    for path in PATHS {
        shown.push((path.to_owned(), server.get(path).1));
    }
    client.send(b"stats tallyd\r\nstats settings\r\nstats conns\r\nmn\r\n");
    let lines = std::iter::repeat_with(|| client.line());
    let stats: Vec<_> = lines.take_while(|line| line != "MN").collect();
    shown.push(("stats".to_owned(), stats.join("\n")));
    let is_page = |post: &Post| post.line.contains("/page/");
    for post in receiver.posts().into_iter().filter(|post| !is_page(post)) {
        shown.push(("a webhook's body".to_owned(), post.body.to_string()));
    }
    let key = std::fs::read_to_string(server.dir().join("data/link-key")).expect("it is there");
    let key = key.trim().rsplit(' ').next().expect("it has one").to_owned();
    assert_eq!(key.len(), 64);
    server.signal("TERM");
    assert!(server.wait().success());
    assert!(server.logged.len() > 10, "it was talkative: {:?}", server.logged);
    shown.push(("the log".to_owned(), server.logged.join("\n")));
    let rest = config(&receiver, &format!("server = \"smtp+plain://{}\"", sink.address));
    let mut server = server.again("", &rest);
    let mut client = server.client();
    assert_eq!(client.ask(&format!("set x 0 0 {}\r\n{login}\r\n", login.len())), "STORED");
    let has_link = |mail: &String| mail.contains("signature=");
    // It goes on: what begins and ends while messages are held has no link.
    eventually("a mail with links", || {
        client.ask("incr errors 50\r\n");
        sink.mails().iter().any(has_link).then_some(())
    });
    for mail in sink.mails() {
        shown.push(("a mail".to_owned(), mail));
    }
    server.signal("TERM");
    assert!(server.wait().success());
    shown.push(("the log".to_owned(), server.logged.join("\n")));

    let secrets = [PASSWORD, URL_TOKEN, HEADER, USER, SIGNING, ROUTING, &key, SENT[0], SENT[1]];
    for (what, text) in &shown {
        for secret in secrets {
            let is_in = text.to_lowercase().contains(&secret.to_lowercase());
            assert!(!is_in, "{secret} is in {what}:\n{text}");
        }
    }
    // And the search would have found them where they belong.
    let (pages, others): (Vec<_>, Vec<_>) = receiver.posts().into_iter().partition(is_page);
    assert!(others[0].header("authorization").contains(HEADER));
    assert!(others[0].header("webhook-signature").starts_with("v1,"));
    assert!(others[0].line.contains(URL_TOKEN));
    assert!(pages[0].body.to_string().contains(ROUTING));
}
