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
