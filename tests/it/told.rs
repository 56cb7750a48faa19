//! kill -9 between a problem and word of it: every message arrives, at least once and in order, and what
//! comes twice has the same id.
//!
//! A receiver of webhooks lives through all of it. `TALLYD_TEST_KILLS` sets how often the server is
//! killed; the long run of ARCHITECTURE.md has 20. A run takes some five seconds for each.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::harness::{Server, eventually};
use crate::peers::webhook::{Post, Receiver};

fn config(receiver: &Receiver) -> String {
    format!(
        r#"
[[contact]]
name = "pager"
webhook = "http://{}/"

[notify]
default = ["pager"]

[[rule]]
name = "errors-high"
series = "errors"
measure = "sum"
window = "2s"
critical = {{ above = 10, clear = 5 }}
flapping = false
"#,
        receiver.address
    )
}

/// What came about each incident, by when it began: the states, what is repeated once.
fn stories(posts: &[Post]) -> BTreeMap<String, Vec<String>> {
    let mut stories: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut seen: BTreeMap<&str, &Post> = BTreeMap::new();
    for post in posts {
        let before = seen.insert(post.header("webhook-id"), post);
        if let Some(before) = before {
            assert_eq!(before.body, post.body, "the same id, the same message");
            continue;
        }
        let alert = &post.body["alerts"][0];
        let text = |name: &str| alert[name].as_str().expect(name).to_owned();
        stories.entry(text("startsAt")).or_default().push(text("status"));
    }
    stories
}

#[test]
fn every_message_arrives_though_the_server_is_killed_before_it_is_sent() {
    let kills = std::env::var("TALLYD_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let kills: usize = kills.unwrap_or(2);
    let receiver = Receiver::start();
    let rest = config(&receiver);
    let mut server = Server::start(&rest);
    let mut random: u64 = 88_172_645_463_325_252;
    for kill in 1..=kills {
        let answer = server.client().ask("incr errors 50\r\n");
        assert!(answer.parse::<u64>().is_ok(), "{answer}");
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        std::thread::sleep(Duration::from_millis(random % 1500));
        server.kill();
        server = server.again("", &rest);
        eventually("both ends of the incident", || {
            let stories = stories(&receiver.posts());
            assert!(stories.len() <= kill, "{stories:#?}");
            let is_told = |story: &Vec<String>| story.last().is_some_and(|last| last == "resolved");
            (stories.len() == kill && stories.values().all(is_told)).then_some(())
        });
    }
    let posts = receiver.posts();
    for (began, story) in stories(&posts) {
        let is_right = story == ["firing", "resolved"] || story == ["resolved"];
        assert!(is_right, "{began}: {story:?}");
    }
    let repeated = posts.len() - stories(&posts).values().map(Vec::len).sum::<usize>();
    println!("{kills} kills, {} messages, {repeated} of them again", posts.len());
}

/// The answer to a POST without a body.
fn post(server: &Server, path: &str) -> (u16, serde_json::Value) {
    let answer = server.http_raw(&format!(
        "POST {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        server.http
    ));
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    (status, serde_json::from_str(body).expect("JSON"))
}

fn data(server: &Server, path: &str) -> serde_json::Value {
    let (status, body) = server.get(path);
    assert_eq!(status, 200, "{body}");
    let body: serde_json::Value = serde_json::from_str(&body).expect("JSON");
    body["data"].clone()
}

#[test]
fn a_reload_closes_what_an_edited_rule_had_open_and_all_of_it_can_be_asked_for() {
    let receiver = Receiver::start();
    let mut server = Server::start(&config(&receiver));
    server.client().ask("incr errors 50\r\n");
    eventually("the beginning", || (receiver.posts().len() == 1).then_some(()));
    let path = server.dir().join("tallyd.toml");
    let good = std::fs::read_to_string(&path).expect("it is there");
    // Whole or not at all.
    std::fs::write(&path, good.replace("above = 10", "above = -x")).expect("it can be written");
    let (status, answer) = post(&server, "/-/reload");
    assert_eq!((status, &answer["errorType"]), (400, &"bad_data".into()), "{answer}");
    assert!(answer["error"].as_str().is_some_and(|error| error.starts_with("line ")), "{answer}");
    assert_eq!(data(&server, "/api/v1/incidents?state=open")["incidents"][0]["level"], "critical");
    let edited = good.replace("above = 10", "above = 1000000").replace("clear = 5", "clear = 6");
    std::fs::write(&path, format!("{edited}\n[counters]\nmax_series = 7\n")).expect("written");
    let (status, answer) = post(&server, "/-/reload");
    let expect = serde_json::json!({ "rules": 1, "contacts": 1, "at_next_start": ["[counters]"] });
    assert_eq!((status, &answer["data"]), (200, &expect));
    eventually("the end", || (receiver.posts().len() == 2).then_some(()));
    let end = &receiver.posts()[1].body["alerts"][0];
    assert_eq!(end["status"], "resolved");
    let why = end["annotations"]["description"].as_str().expect("a text");
    assert!(why.starts_with("The rule was changed and begins anew"), "{why}");
    server.signal("HUP");
    server.wait_for_log("reloaded the configuration");
    let incident = eventually("both attempts", || {
        let incident =
            data(&server, "/api/v1/incidents?rule=errors-high&limit=1")["incidents"][0].clone();
        let attempt = incident["messages"][1]["attempts"][0]["outcome"].clone();
        (attempt == "delivered").then_some(incident)
    });
    assert_eq!((&incident["state"], &incident["level"]), (&"closed".into(), &"ok".into()));
    let ways: Vec<_> = incident["changes"].as_array().expect("changes").iter().collect();
    assert_eq!((&ways[0]["to"], &ways[1]["to"]), (&"critical".into(), &"ok".into()));
    assert_eq!(data(&server, "/api/v1/incidents?state=open")["incidents"], serde_json::json!([]));
    let audit = data(&server, "/api/v1/audit?limit=1000");
    let kinds: Vec<_> = audit["audit"].as_array().expect("lines").iter().rev().collect();
    let kinds: Vec<_> = kinds.iter().map(|line| line["kind"].as_str().expect("a kind")).collect();
    let first = ["start", "change", "message", "attempt", "reload", "reload", "change", "message"];
    assert_eq!(kinds[..8], first, "{audit}");
    assert_eq!(data(&server, "/api/v1/deliveries")["deliveries"], serde_json::json!([]));
    assert_eq!(server.get("/-/reload").0, 405);
    assert_eq!(server.get("/api/v1/incidents?limit=0").0, 400);
    assert_eq!(server.get("/api/v1/audit?state=open").0, 400);
}
