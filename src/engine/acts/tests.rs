//! What people do, and what is told then.

use std::path::Path;

use crate::config::{Config, Rule, Surroundings, parse};
use crate::engine::Engine;
use crate::notify::audit::What;
use crate::notify::{Coverage, Outcome, Refusal, Silence};
use crate::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);

const RULES: &str = r#"
[[contact]]
name = "oncall"
webhook = "http://127.0.0.1:9/"

[notify]
default = ["oncall"]

[[rule]]
name = "errors"
series = "errors"
by = ["host"]
measure = "sum"
window = "1s"
warning = { above = 10 }
critical = { above = 100 }
"#;

/// An engine on a directory, and what oncall got.
struct World {
    dir: tempfile::TempDir,
    engine: Engine,
    now: Timestamp,
    told: Vec<String>,
    /// What each of them told of which alert, to receivers that keep one.
    alerts: Vec<String>,
}

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let engine = Engine::open(&config(), dir.path(), START).unwrap().0;
        engine.begin(START);
        Self { dir, engine, now: START, told: Vec::new(), alerts: Vec::new() }
    }

    fn restart(self) -> Self {
        let Self { dir, engine, now, told, alerts } = self;
        drop(engine);
        let engine = Engine::open(&config(), dir.path(), now).unwrap().0;
        engine.begin(now);
        Self { dir, engine, now, told, alerts }
    }

    /// So many seconds with so many errors each.
    fn seconds(&mut self, seconds: usize, errors: u64) {
        for _ in 0..seconds {
            self.engine.counters().incr(b"errors;host=a", errors, self.now);
            self.now = self.now + Span::SECOND;
            self.engine.tick(self.now);
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        self.engine.write_log().unwrap();
        for delivery in self.engine.due(self.now, 64) {
            let at = self.now.since(START);
            for notice in &delivery.message.notices {
                let level = notice.level.word();
                self.told.push(format!("{at} {:?} {level}", notice.kind));
                self.alerts.push(format!("{:?} {level} {}", notice.kind, notice.alert));
            }
            self.engine.settle(delivery.id, &Outcome::Delivered, self.now);
        }
    }

    fn incident(&self) -> String {
        self.engine.view(|view| view.incidents.iter().next().unwrap().id.to_string())
    }

    fn silence(&self, rule: &str, secs: u64) -> Result<Silence, Refusal> {
        let silence = Silence {
            id: "".into(),
            rule: Some(rule.parse().unwrap()),
            series: None,
            from: self.now,
            until: Some(self.now + Span::from_secs(secs)),
            schedule: None,
            author: "ann".to_owned(),
            comment: "new disks".to_owned(),
            made: self.now,
        };
        self.engine.silence(silence, self.now)
    }

    fn told(&mut self) -> Vec<String> {
        std::mem::take(&mut self.told)
    }
}

fn config() -> Config {
    parse(RULES, Path::new("tallyd.toml"), &Surroundings::none()).unwrap().config
}

#[test]
fn what_is_told_again_to_who_looks_after_it_is_a_further_alert() {
    let mut world = World::new();
    world.seconds(10, 20);
    let id = world.incident();
    world.engine.acknowledge(&id, "ann", "", world.now).unwrap();
    world.seconds(10, 200);
    // As bad as before, after an acknowledgement of something better.
    world.seconds(10, 20);
    world.engine.acknowledge(&id, "ann", "", world.now).unwrap();
    let mut world = world.restart();
    world.seconds(10, 200);
    // Nobody looks after it any more, and that is told when it is repeated.
    world.engine.acknowledge(&id, "ann", "", world.now).unwrap();
    world.engine.unacknowledge(&id, "ann", "", world.now).unwrap();
    world.now = world.now + Span::from_secs(4 * 3600);
    let mut world = world.restart();
    world.seconds(10, 200);
    world.seconds(10, 0);
    let expect = [
        "Firing warning 0",
        "Worse critical 1",
        "Worse critical 2",
        "Repeat critical 3",
        "Recovered ok 3",
    ];
    assert_eq!(world.alerts, expect);
}

#[test]
fn what_somebody_looks_after_is_told_again_once_it_is_worse_and_when_it_is_over() {
    let mut world = World::new();
    world.seconds(1, 20);
    let id = world.incident();
    let made = world.engine.acknowledge(&id, "ann", "looking", world.now).unwrap();
    assert!(made.is_new);
    let again = world.engine.acknowledge(&id, "bob", "", world.now).unwrap();
    assert_eq!((again.is_new, again.ack.author), (false, "ann".to_owned()));
    world.engine.comment(&id, "bob", "the disk is full", world.now).unwrap();
    assert_eq!(world.told(), ["1s Firing warning"]);
    let mut world = world.restart();
    world.seconds(20, 20);
    world.seconds(20, 200);
    assert_eq!(world.told(), ["22s Worse critical"]);
    let (ack, notes) = world.engine.view(|view| {
        let incident = view.incidents.iter().next().unwrap();
        let notes = incident.notes.iter().map(|note| format!("{:?} {}", note.kind, note.author));
        (incident.ack.clone(), notes.collect::<Vec<_>>())
    });
    assert_eq!(ack, None);
    assert_eq!(notes, ["Acknowledged ann", "Comment bob", "Outgrown "]);
    let withdrawn = world.engine.unacknowledge(&id, "ann", "", world.now);
    assert_eq!(withdrawn, Err(Refusal::NotAcknowledged(id.clone())));
    world.engine.acknowledge(&id, "ann", "", world.now).unwrap();
    world.engine.unacknowledge(&id, "ann", "", world.now).unwrap();
    world.engine.acknowledge(&id, "ann", "", world.now).unwrap();
    world.seconds(10, 0);
    assert_eq!(world.told(), ["42s Recovered ok"]);
    let late = world.engine.acknowledge(&id, "ann", "", world.now);
    assert_eq!(late, Err(Refusal::Over(id)));
    let unknown = world.engine.comment("i0-0", "ann", "", world.now);
    assert_eq!(unknown, Err(Refusal::NoSuchIncident("i0-0".to_owned())));
}

#[test]
fn what_still_holds_when_a_silence_ends_is_told_then() {
    let mut world = World::new();
    let silence = world.silence("errors{host=\"a\"}", 30).unwrap();
    world.seconds(20, 200);
    assert_eq!(world.told(), [""; 0]);
    let mut world = world.restart();
    world.seconds(10, 200);
    assert_eq!(world.told(), ["30s Firing critical"]);
    // Those who knew hear of it as well, and of the end even while it is silent.
    world.silence("*", 3600).unwrap();
    world.seconds(20, 200);
    let id = world.engine.view(|view| view.incidents.silences().iter().next().unwrap().id.clone());
    world.engine.unsilence(&id, "ann", world.now).unwrap();
    world.seconds(1, 200);
    assert_eq!(world.told(), ["51s Repeat critical"]);
    world.silence("*", 3600).unwrap();
    world.seconds(20, 0);
    assert_eq!(world.told(), ["56s Recovered ok"]);
    let gone = world.engine.unsilence(&silence.id, "ann", world.now).unwrap_err();
    assert_eq!(gone, Refusal::NoSuchSilence(silence.id.to_string()));
    let audit: Vec<_> = world.engine.view(|view| {
        let lines = view.audit.iter().filter_map(|line| match &line.what {
            What::Silence(silence) => Some(format!("silence by {}", silence.author)),
            What::Unsilence { author, .. } => Some(format!("unsilence by {author:?}")),
            _ => None,
        });
        lines.collect()
    });
    let expect = [
        "silence by ann",
        "unsilence by \"ann\"",
        "silence by ann",
        "unsilence by \"\"",
        "silence by ann",
    ];
    assert_eq!(audit, expect);
}

#[test]
fn a_silence_says_what_it_covers_and_helps_who_mistyped() {
    let rule = |name: &str, series: &str| Rule {
        by: vec!["host".to_owned()],
        series: series.parse().unwrap(),
        ..crate::notify::tests::rule(name)
    };
    let rules = vec![rule("errors-high", "errors"), rule("errors-new", "new.errors")];
    let start = Timestamp::from_secs(1_767_571_200);
    let engine = Engine::new(&Config { rules, ..Config::default() }, start);
    for host in ["a", "b", "c"] {
        engine.counters().incr(format!("errors;host={host}").as_bytes(), 1, start);
    }
    engine.tick(start + Span::SECOND);
    let check = |of_rule: &str, series: &str, expect: (usize, usize, Option<&str>)| {
        let silence = Silence {
            id: "".into(),
            rule: of_rule.parse().ok(),
            series: series.parse().ok(),
            from: start,
            until: None,
            schedule: None,
            author: String::new(),
            comment: String::new(),
            made: start,
        };
        let Coverage { rules, instances, meant } = engine.view(|view| silence.coverage(view.rules));
        assert_eq!((rules, instances, meant.as_deref()), expect, "{of_rule} {series}");
    };
    check("*", "", (2, 3, None));
    check("errors-high", "", (1, 3, None));
    check("errors-high{host=~\"a|b\"}", "", (1, 2, None));
    check("errors-new", "", (1, 0, None));
    check("errors-high{host=\"z\"}", "", (0, 0, None));
    check("erors-high", "", (0, 0, Some("errors-high")));
    check("", "erors", (0, 0, Some("errors")));
    check("", "errors;host=c", (1, 1, None));
    check("e*", "x", (0, 0, None));
}
