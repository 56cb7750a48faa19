//! What people do about incidents, on the real binary: over HTTP, from the command line, by the links of the
//! page and of mails, and what does nothing.

use std::os::unix::fs::PermissionsExt;

use serde_json::{Value, json};

use crate::harness::{Server, eventually, tallyd, text};
use crate::peers::sink::Sink;

const RULES: &str = r#"
[[rule]]
name = "errors-high"
summary = "Too many errors"
series = "errors"
by = ["host"]
measure = "sum"
window = "1h"
critical = { above = 10, clear = 5 }
"#;

/// A server with two incidents of one rule, which tells nobody.
fn server() -> Server {
    let server = Server::start(&format!("{RULES}notify = []\n"));
    break_hosts(&server);
    server
}

fn break_hosts(server: &Server) {
    let mut client = server.client();
    client.ask("incr errors;host=a 50\r\n");
    client.ask("incr errors;host=b 50\r\n");
    eventually("both incidents", || (open(server).len() == 2).then_some(()));
}

fn open(server: &Server) -> Vec<Value> {
    let (status, body) = server.get("/api/v1/incidents?state=open");
    assert_eq!(status, 200, "{body}");
    data(&body)["incidents"].as_array().expect("a list").clone()
}

fn of_host(server: &Server, host: &str) -> Value {
    open(server).into_iter().find(|one| one["labels"]["host"] == host).expect("it is open")
}

fn data(body: &str) -> Value {
    let all: Value = serde_json::from_str(body).expect("JSON");
    assert_eq!(all["status"], "success", "{body}");
    all["data"].clone()
}

/// Status and body of any request.
fn send(server: &Server, method: &str, path: &str, more: &str, body: &str) -> (u16, String) {
    let answer = server.http_raw(&format!(
        "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{more}\r\n{body}",
        server.http,
        body.len()
    ));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

fn post(server: &Server, path: &str, body: &Value) -> (u16, String) {
    send(server, "POST", path, "", &body.to_string())
}

fn command(server: &Server, args: &[&str]) -> (Option<i32>, String, String) {
    let url = format!("http://{}", server.http);
    let args: Vec<_> = args.iter().copied().chain(["--server", &url]).collect();
    let output = tallyd(&args);
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn incidents_are_acknowledged_over_http_and_that_outlives_a_kill() {
    let mut server = server();
    let asked = json!({
        "rule": "errors-high", "labels": { "host": "a" }, "author": "kim", "comment": "looking",
    });
    let (status, body) = post(&server, "/api/v1/acks", &asked);
    assert_eq!(status, 200, "{body}");
    assert_eq!(data(&body)["acks"][0]["new"], true);
    let again = post(&server, "/api/v1/acks", &json!({ "rule": "errors-high", "author": "lee" }));
    let acks = data(&again.1)["acks"].clone();
    let by = |host: &str| {
        let ack = acks.as_array().expect("a list").iter().find(|ack| ack["labels"]["host"] == host);
        ack.map(|ack| (ack["author"].clone(), ack["new"].clone())).expect("it is there")
    };
    assert_eq!(by("a"), (json!("kim"), json!(false)), "who was first keeps it");
    assert_eq!(by("b"), (json!("lee"), json!(true)));
    server.kill();
    let server = server.again("", &format!("{RULES}notify = []\n"));
    let (_, body) = server.get("/api/v1/acks");
    assert_eq!(data(&body)["acks"].as_array().map(Vec::len), Some(2), "{body}");
    let id = of_host(&server, "a")["id"].as_str().expect("an id").to_owned();
    let path = format!("/api/v1/acks/{id}?author=kim");
    assert_eq!(send(&server, "DELETE", &path, "", "").0, 200);
    let (status, body) = send(&server, "DELETE", &path, "", "");
    assert_eq!(status, 409, "{body}");
    assert!(body.contains(r#""errorType":"conflict""#), "{body}");
}

#[test]
fn what_is_wrong_with_a_request_is_said_in_one_form() {
    let server = server();
    for (path, body, status, words) in [
        ("/api/v1/acks", "{", 400, "the body is not JSON: EOF"),
        ("/api/v1/acks", "{}", 400, "either `incident` is needed"),
        ("/api/v1/acks", r#"{"rule":"no"}"#, 404, "no incident of that rule"),
        ("/api/v1/acks", r#"{"incident":"no"}"#, 404, "there is no incident `no`"),
        ("/api/v1/acks", r#"{"incident":"i1","autor":"x"}"#, 400, "unknown field `autor`"),
        (
            "/api/v1/acks",
            r#"{"rule":"r","labels":{"a":5}}"#,
            400,
            "`labels` holds integer `5`, expected a string",
        ),
        ("/api/v1/deploys", r#"{"who":"x"}"#, 400, "`what` is missing"),
        (
            "/api/v1/deploys",
            r#"{"who":"x","what":5}"#,
            400,
            "`what` is integer `5`, expected a string",
        ),
        ("/api/v1/deploys", "[]", 400, "the body is no object of JSON"),
        ("/api/v1/silences", "{}", 400, "a silence names rules or series"),
        ("/api/v1/silences", r#"{"rule":"*"}"#, 400, "an end, or a schedule"),
        ("/api/v1/silences", r#"{"rule":"*","for":"soon"}"#, 400, "`for`"),
        ("/api/v1/silences", r#"{"rule":"a{","for":"1h"}"#, 400, "`rule`: the braces"),
        ("/api/v1/deploys", r#"{"what":" "}"#, 400, "`what` is empty"),
        ("/api/v1/deploys", r#"{"what":"x","at":"then"}"#, 400, "`at`"),
        ("/api/v1/notify/test", r#"{"contact":"nobody"}"#, 404, "there is no such contact"),
    ] {
        let (found, answer) = send(&server, "POST", path, "", body);
        assert_eq!(found, status, "{path} {body}: {answer}");
        assert!(
            answer.contains(r#""status":"error""#) && answer.contains(words),
            "{path} {body}: {answer}"
        );
    }
    let (status, body) = send(&server, "PUT", "/api/v1/silences", "", "");
    assert_eq!(status, 405);
    assert!(body.contains("this path is called with GET, HEAD, POST"), "{body}");
    assert_eq!(send(&server, "DELETE", "/api/v1/deploys/77", "", "").0, 404);
    assert_eq!(send(&server, "DELETE", "/api/v1/silences/s1", "", "").0, 404);
}

#[test]
fn deploys_and_silences_are_kept_listed_and_taken_back() {
    let mut server = server();
    let (_, body) =
        post(&server, "/api/v1/deploys", &json!({ "what": "shop 2.1", "who": "kim", "at": "-5m" }));
    let id = data(&body)["id"].as_u64().expect("an id");
    let quiet = json!({ "rule": "errors-*{host=\"a\"}", "for": "2h", "author": "kim" });
    let (status, body) = post(&server, "/api/v1/silences", &quiet);
    assert_eq!(status, 200, "{body}");
    let silence = data(&body)["id"].as_str().expect("an id").to_owned();
    eventually("one that holds", || {
        let (_, body) = server.get("/api/v1/silences");
        (data(&body)["silences"][0]["active"] == true).then_some(())
    });
    server.kill();
    let server = server.again("", &format!("{RULES}notify = []\n"));
    let (_, body) = server.get("/api/v1/deploys");
    assert_eq!(data(&body)["deploys"][0]["what"], "shop 2.1");
    assert!(server.get("/chart.svg?rule=errors-high").1.contains(">shop 2.1<"));
    assert_eq!(send(&server, "DELETE", &format!("/api/v1/deploys/{id}"), "", "").0, 200);
    let path = format!("/api/v1/silences/{silence}");
    assert_eq!(send(&server, "DELETE", &path, "", "").0, 200);
    assert_eq!(data(&server.get("/api/v1/silences").1)["silences"], json!([]));
    assert_eq!(data(&server.get("/api/v1/deploys").1)["deploys"], json!([]));
}

#[test]
fn a_picture_is_a_png_of_the_instance_that_is_asked_for() {
    let server = server();
    let answer = server.http_raw(&format!(
        "GET /chart.png?rule=errors-high&by=host=a HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n",
        server.http
    ));
    assert!(
        answer.contains("content-type: image/png\r\n") && answer.contains("PNG\r\n"),
        "{answer}"
    );
    for (path, status) in [
        ("/chart.png?rule=errors-high&by=region=eu", 400),
        ("/chart.png?rule=errors-high&by=host=a&theme=pink", 400),
        ("/chart.png?rule=no", 404),
        ("/chart.svg?series=nosuch", 404),
        ("/chart.svg?series=nosuch*", 200),
        ("/api/v1/rules?type=Record", 200),
        ("/api/v1/rules?type=", 200),
        ("/api/v1/rules?type=bogus", 400),
        ("/chart.svg?rule=errors-high&by=host=a&theme=dark", 200),
    ] {
        assert_eq!(server.get(path).0, status, "{path}");
    }
}

#[test]
fn commands_do_the_same_with_exit_codes() {
    let server = server();
    let (code, out, _) = command(&server, &["ack"]);
    assert_eq!((code, out.lines().count()), (Some(0), 2), "{out}");
    let args = ["ack", "errors-high", "--by", "host=a", "--author", "kim", "--comment", "on it"];
    assert_eq!(command(&server, &args).1, "errors-high{host=a}: acknowledged\n");
    let id = of_host(&server, "a")["id"].as_str().expect("an id").to_owned();
    let (code, out, _) = command(&server, &["ack", &id, "--author", "lee"]);
    assert!(out.starts_with("errors-high{host=a}: kim has it since ") && code == Some(0), "{out}");
    assert!(command(&server, &["ack"]).1.contains(", acknowledged by kim\n"));
    assert_eq!(command(&server, &["unack", &id]).0, Some(0));
    let (code, _, error) = command(&server, &["unack", &id]);
    assert_eq!(code, Some(1));
    assert!(error.contains("is not acknowledged"), "{error}");
    assert_eq!(command(&server, &["ack", "no-such-rule"]).0, Some(1));
    assert_eq!(command(&server, &["ack", "errors-high", "--by", "a"]).0, Some(2));

    let (code, _, error) = command(&server, &["silence", "errors-high"]);
    assert!(code == Some(2) && error.contains("--for says how long"), "{error}");
    let args = ["silence", "errors-high", "--by", "host=b", "--for", "2h", "--author", "kim"];
    let (code, out, _) = command(&server, &args);
    assert!(code == Some(0) && out.contains("rules errors-high{host=\"b\"} until "), "{out}");
    let (line, covered) = out.split_once('\n').expect("two lines");
    assert_eq!(covered, "  covers 1 rule, 1 instance now\n");
    let id = out.split(' ').next().expect("an id");
    assert_eq!(command(&server, &["silence"]).1, format!("{line}\n"));
    let wider = command(&server, &["silence", "errors-high", "--for", "1h"]).1;
    assert!(wider.ends_with("\n  covers 1 rule, 2 instances now\n"), "{wider}");
    let (code, mistyped, warning) = command(&server, &["silence", "erors-high", "--for", "1h"]);
    assert!(code == Some(0) && mistyped.lines().count() == 1, "{mistyped}");
    let expect = "tallyd silence: warning: it covers no rule now; did you mean errors-high?\n";
    assert_eq!(warning, expect);
    for made in [&wider, &mistyped] {
        let id = made.split(' ').next().expect("an id");
        assert_eq!(command(&server, &["unsilence", id]).0, Some(0));
    }
    let (code, _, error) = command(&server, &["silence", "errors-high", "--for", "99999999w"]);
    assert!(code == Some(2) && error.contains("ends within 366d"), "{error}");
    let (code, _, error) = command(&server, &["ack", "--config", "tallyd.toml"]);
    assert!(code == Some(2) && error.contains("takes `--server URL`"), "{error}");
    assert_eq!(command(&server, &["unsilence", id]).0, Some(0));
    assert_eq!(command(&server, &["unsilence", id]).0, Some(1));
    assert_eq!(command(&server, &["silence"]).1, "nothing is silenced\n");

    let (_, out, _) = command(&server, &["deploy", "shop 2.1", "--author", "kim"]);
    assert!(out.ends_with("  shop 2.1 by kim\n"), "{out}");
    assert_eq!(command(&server, &["deploy"]).1, out);
    let id = out.split(' ').next().expect("an id");
    assert_eq!(command(&server, &["deploy", "--forget", id]).1, format!("{id}: forgotten\n"));
    assert_eq!(tallyd(&["ack", "--server", "http://127.0.0.1:9"]).status.code(), Some(3));
}

#[test]
fn the_page_shows_incidents_and_leads_to_their_forms() {
    let server = server();
    let page = server.get("/").1;
    let id = of_host(&server, "a")["id"].as_str().expect("an id").to_owned();
    assert!(page.contains("Open incidents") && page.contains(&format!("\"/ack/{id}\"")), "{page}");
    let path = format!("/ack/{id}");
    assert!(server.get(&path).1.contains("<button type=\"submit\">Acknowledge it</button>"));
    assert!(of_host(&server, "a")["acknowledged"].is_null(), "a GET changes nothing");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let elsewhere = format!("{form}Origin: https://evil.example\r\n");
    assert_eq!(send(&server, "POST", &path, &elsewhere, "who=eve").0, 403);
    let navigates = format!("{form}Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\n");
    assert_eq!(send(&server, "POST", &path, &navigates, "who=eve").0, 403);
    assert!(of_host(&server, "a")["acknowledged"].is_null());
    let (status, body) = send(&server, "POST", &path, form, "who=kim&comment=on+it");
    assert!(status == 200 && body.contains("is acknowledged by kim since"), "{body}");
    assert!(server.get("/").1.contains("acknowledged by kim: on it"));
}

/// A server whose mails go to `sink`, and the links of the first of them.
fn mailed(sink: &Sink) -> (Server, String, String) {
    let rest = format!(
        "{RULES}\n[[contact]]\nname = \"oncall\"\nemail = [\"oncall@example.com\"]\n\
         [email]\nserver = \"smtp+plain://{}\"\nfrom = \"tallyd <tallyd@example.com>\"\n\
         [notify]\ndefault = [\"oncall\"]\npublic_url = \"https://tallyd.example.com\"\n",
        sink.address
    );
    let server = Server::start(&rest);
    server.client().ask("incr errors;host=a 50\r\n");
    let mail = eventually("a mail", || sink.mails().into_iter().next());
    let link = |name: &str| {
        let line = mail.lines().find(|line| line.starts_with(name)).expect("the link").to_owned();
        let url = line.split("https://tallyd.example.com").nth(1).expect("a link of the server's");
        url.to_owned()
    };
    let (ack, silence) = (link("Acknowledge "), link("Silence "));
    (server, ack, silence)
}

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";

/// As a browser asks that a proxy hands on with the name that it was asked under.
fn proxied(server: &Server, method: &str, path: &str, body: &str) -> (u16, String) {
    let answer = server.http_raw(&format!(
        "{method} {path} HTTP/1.1\r\nHost: tallyd.example.com\r\nOrigin: https://tallyd.example.com\r\n\
         Sec-Fetch-Site: cross-site\r\nConnection: close\r\n{FORM}Content-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, body.to_owned())
}

#[test]
fn a_link_of_a_mail_acts_once_and_only_when_its_button_is_pressed() {
    let sink = Sink::start();
    let (mut server, ack, silence) = mailed(&sink);
    let is_acked = |server: &Server| !of_host(server, "a")["acknowledged"].is_null();

    for method in ["GET", "HEAD", "GET"] {
        let (status, page) = proxied(&server, method, &ack, "");
        assert_eq!(status, 200, "a scanner looks: {page}");
        assert_eq!(page.contains("Acknowledge it"), method == "GET", "{page}");
    }
    assert!(!is_acked(&server), "and nothing is changed");

    let forged = ack.replace("for=oncall", "for=lead");
    for bad in
        [&forged, &format!("{ack}0"), &ack.replace("/ack/", "/silence/"), &ack[..ack.len() - 2]]
    {
        let (status, page) = proxied(&server, "POST", bad, "span=1h");
        assert_eq!(status, 403, "{bad}");
        assert!(page.contains("Nothing was changed"), "{page}");
    }
    let unsigned = ack.split('?').next().expect("a path");
    assert_eq!(proxied(&server, "POST", unsigned, "").0, 403, "without its signature");
    assert!(!is_acked(&server));

    let (status, page) = proxied(&server, "POST", &ack, "who=&comment=");
    assert!(status == 200 && page.contains("is acknowledged by oncall (by mail) since"), "{page}");
    assert!(is_acked(&server));
    let (status, page) = proxied(&server, "POST", &ack, "who=kim");
    assert!(status == 200 && page.contains("Acknowledged already"), "{page}");
    assert!(page.contains("by oncall (by mail)"), "who was first is told: {page}");
    assert!(proxied(&server, "GET", &ack, "").1.contains("Acknowledged already"));

    assert_eq!(proxied(&server, "POST", &silence, "span=9y").0, 400);
    let (status, page) = proxied(&server, "POST", &silence, "who=kim&span=1h");
    assert!(
        status == 200 && page.contains("is silenced by kim (by mail to oncall) until"),
        "{page}"
    );
    assert!(proxied(&server, "POST", &silence, "span=1h").1.contains("Silenced already"));
    let silences = data(&server.get("/api/v1/silences").1);
    assert_eq!(silences["silences"].as_array().map(Vec::len), Some(1), "{silences}");
    assert_eq!(silences["silences"][0]["rule"], "errors-high{host=\"a\"}");

    // The key outlives the process, and nobody else can read it.
    let key = server.dir().join("data/link-key");
    let mode = std::fs::metadata(&key).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    server.kill();
    let server = server.again("", &format!("{RULES}notify = []\n"));
    assert!(proxied(&server, "GET", &ack, "").1.contains("Acknowledged already"));
    let mut server = server;
    server.kill();
    // With tokens it is still its own permission.
    std::fs::write(server.dir().join("tokens"), "read:0123456789abcdef\n").expect("written");
    let rest = format!("{RULES}notify = []\n[http]\ntoken_file = \"tokens\"\n");
    let mut server = server.again("", &rest);
    assert!(proxied(&server, "GET", &ack, "").1.contains("Acknowledged already"));
    assert_eq!(proxied(&server, "POST", &silence, "span=4h").0, 200);
    assert_eq!(proxied(&server, "POST", unsigned, "").0, 401, "without its signature");
    assert_eq!(proxied(&server, "POST", &forged, "").0, 403);
    std::fs::remove_file(&key).expect("it is there");
    server.kill();
    let server = server.again("", &format!("{RULES}notify = []\n"));
    assert_eq!(proxied(&server, "GET", &ack, "").0, 403, "another key, another link");
}

#[test]
fn a_test_message_takes_the_real_way_and_tells_how_it_ended() {
    let sink = Sink::start();
    let rest = format!(
        "[[contact]]\nname = \"oncall\"\nemail = [\"oncall@example.com\", \"lead@example.com\"]\n\
         [[contact]]\nname = \"dead\"\nwebhook = \"http://127.0.0.1:9/\"\n\
         [email]\nserver = \"smtp+plain://{}\"\nfrom = \"tallyd <tallyd@example.com>\"\n",
        sink.address
    );
    let server = Server::start(&rest);
    let (code, out, error) = command(&server, &["notify", "test", "oncall"]);
    assert_eq!((code, out.matches(": delivered in ").count()), (Some(0), 2), "{out}{error}");
    let mails = sink.mails();
    assert!(
        mails.iter().all(|mail| mail.contains("Subject: [TEST] [WARNING] test: 1 test message"))
    );
    assert_eq!(mails.len(), 2);
    let (code, _, error) = command(&server, &["notify", "test", "dead"]);
    assert!(code == Some(1) && error.contains("not delivered: "), "{error}");
    assert_eq!(command(&server, &["notify", "test", "nobody"]).0, Some(1));
    let waiting = data(&server.get("/api/v1/deliveries").1);
    assert_eq!(waiting["deliveries"], json!([]), "a test is not tried again");
    assert!(server.get("/").1.contains("Messages that were not delivered"));
}
