//! Ends at any moment of a scripted day, under virtual time: states and messages go on as if there had
//! been none.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::config::{Config, Surroundings, parse};
use crate::engine::Engine;
use crate::notify::audit::What;
use crate::notify::{Delivery, Outcome, Recipient, Silence};
use crate::time::{Span, Timestamp};

const START: Timestamp = Timestamp::from_secs(1_767_571_200);
const HOUR: u64 = 3600;

const RULES: &str = r#"
[email]
server = "smtp+plain://127.0.0.1:1"
from = "tallyd@example.com"

[[contact]]
name = "oncall"
email = ["a@example.com", "b@example.com"]

[[contact]]
name = "lead"
email = ["lead@example.com"]

[notify]
default = ["oncall"]

[[rule]]
name = "errors-high"
series = "errors"
by = ["host"]
measure = "sum"
window = "30s"
warning = { above = 10, clear = 5 }
critical = { above = 100, clear = 50, for = "1m" }
repeat = "1m"

[[rule]]
name = "queue-long"
series = "queue"
measure = "last"
window = "30s"
critical = { above = 1000, clear = 500, clear_for = "2m" }
missing = { after = "3m", state = "unknown" }
repeat = "3m"
escalate = [{ after = "6m", notify = ["lead"] }]

[[rule]]
name = "orders-gone"
series = "orders"
measure = "rate"
per = "minute"
window = "1m"
critical = { below = 30, clear = 45, for = "90s" }
escalate = [{ after = "1m", notify = ["lead"] }]

[[rule]]
name = "spike"
series = "spike"
by = ["n"]
measure = "last"
window = "30s"
critical = { above = 5 }
missing = { state = "keep" }
flapping = false
"#;

fn config(text: &str) -> Config {
    parse(text, "tallyd.toml".as_ref(), &Surroundings::none()).unwrap().config
}

/// What happens in a second of the day, whoever is there to see it.
fn traffic(engine: &Engine, second: u64, now: Timestamp) {
    let counters = engine.counters();
    let incr = |key: &str, by: u64| {
        let _ = counters.incr(key.as_bytes(), by, now);
    };
    let minute = second / 60 % 60;
    // An hour has a short peak on host a, a long one on host b, a queue that grows, is not heard of,
    // and is short again, and a time without orders.
    // No sum comes as near to a threshold as a second that is not covered would move it: windows that are known
    // nine tenths are scaled, and what is right then is not what is right on a day without ends.
    if (5..7).contains(&minute) {
        incr("errors;host=a", 3);
    }
    if (10..14).contains(&minute) {
        incr("errors;host=b", 21);
    }
    let queue = match minute {
        0..20 | 35.. => Some("10"),
        20..25 => Some("5000"),
        _ => None,
    };
    if let (Some(value), 0) = (queue, second % 5) {
        set(engine, "queue", value, now);
    }
    if !(40..45).contains(&minute) {
        incr("orders", 1);
    }
    // At half past, one begins and one ends each second: what follows a message is held.
    if minute == 30 && second % 60 < 9 {
        let turn = |back: u64| format!("spike;n={}", (second + 4 - back) % 4);
        set(engine, &turn(0), if second % 60 < 8 { "10" } else { "1" }, now);
        set(engine, &turn(1), "1", now);
    }
}

/// What people do in a second of the day.
fn acts(engine: &Engine, second: u64, now: Timestamp) {
    let open = |rule: &str| {
        engine.view(|view| {
            let mut open = view.incidents.iter().filter(|one| one.closed.is_none());
            open.find(|one| one.rule.name == rule).map(|one| one.id.clone())
        })
    };
    let silence = |rule: &str, length: u64| {
        let silence = Silence {
            id: "".into(),
            rule: Some(rule.parse().unwrap()),
            series: None,
            from: now,
            until: Some(now + Span::from_secs(length)),
            schedule: None,
            author: "ann".to_owned(),
            comment: String::new(),
            made: now,
        };
        engine.silence(silence, now).unwrap();
    };
    match (second / HOUR % 2, second % HOUR) {
        // Host b is quiet from its second minute on, for two; orders for all of their time.
        (0, 690) => silence("errors-high", 120),
        (1, 2390) => silence("orders-*", 600),
        // Somebody takes the queue over between two reminders, and gives up some minutes later.
        (_, 1410) => {
            engine.acknowledge(&open("queue-long").unwrap(), "ann", "mine", now).unwrap();
        }
        (_, 1800) => {
            engine.unacknowledge(&open("queue-long").unwrap(), "ann", "", now).unwrap();
        }
        _ => {}
    }
}

fn set(engine: &Engine, key: &str, value: &str, now: Timestamp) {
    use crate::protocol::{Limits, Step};
    let text = format!("set {key} 0 0 {}\r\n{value}\r\n", value.len());
    let step = crate::protocol::parse(text.as_bytes(), &Limits::default());
    let Step::Request { request, .. } = step else { panic!("a request") };
    let (mut counts, mut out) = (crate::engine::tally::Counts::default(), Vec::new());
    crate::engine::apply(engine.counters(), &request, now, &mut counts, &mut out);
}

/// What somebody got: the message and the incidents in it, in the order in which it came.
type Mailbox = Vec<(String, Vec<String>)>;

/// One server after the other on the same directory, and the world around it.
struct World {
    dir: tempfile::TempDir,
    engine: Option<Engine>,
    now: Timestamp,
    mailboxes: BTreeMap<String, Mailbox>,
    under_way: Vec<Delivery>,
    random: u64,
}

/// Where in a second a process may end.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Ticked,
    Torn,
    Logged,
    Kept,
    HandedOut,
    Delivered,
    Settled,
}

const ENDS: [End; 7] =
    [End::Ticked, End::Torn, End::Logged, End::Kept, End::HandedOut, End::Delivered, End::Settled];

impl World {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self {
            dir,
            engine: None,
            now: START,
            mailboxes: BTreeMap::new(),
            under_way: Vec::new(),
            random: 0x9e37_79b9_7f4a_7c15,
        };
        world.restart();
        world
    }

    fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// Ends the server without a word, and starts another one.
    fn restart(&mut self) {
        self.engine = None;
        self.under_way.clear();
        let (engine, found) = Engine::open(&config(RULES), self.dir.path(), self.now).unwrap();
        assert_eq!((found.garbled_facts, found.damaged_bytes), (0, 0));
        engine.begin(self.now);
        self.engine = Some(engine);
    }

    /// Xorshift.
    fn random(&mut self, below: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % below
    }

    /// The tick log that is written to.
    fn newest_log(&self) -> PathBuf {
        let files = std::fs::read_dir(self.dir.path()).unwrap();
        let files = files.map(|entry| entry.unwrap().path());
        let number = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let rest = name.strip_prefix("ticks")?.strip_suffix(".log")?;
            Some(rest.strip_prefix('-').map_or(0, |number| number.parse::<u32>().unwrap()))
        };
        files.filter(|path| number(path).is_some()).max_by_key(|path| number(path)).unwrap()
    }

    /// The files of the log of observations, as they are: only a write that is done says how far they are in
    /// windows.
    #[expect(clippy::disallowed_methods, reason = "a test that looks behind the store")]
    fn ring(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let files = std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        let ring = files.filter(|path| name(path).starts_with("observations-"));
        ring.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
    }

    /// Ends the server as it was before it had written to the log of observations.
    #[expect(clippy::disallowed_methods, reason = "a test that looks behind the store")]
    fn restart_with(&mut self, ring: Vec<(PathBuf, Vec<u8>)>) {
        self.engine = None;
        for (path, bytes) in ring {
            std::fs::write(path, bytes).unwrap();
        }
        self.restart();
    }

    /// A second, with all that the threads of a server do in it; up to `end`, where there is one.
    fn second(&mut self, second: u64, end: Option<End>) {
        traffic(self.engine(), second, self.now);
        acts(self.engine(), second, self.now);
        self.now = self.now + Span::SECOND;
        self.engine().tick(self.now);
        if end == Some(End::Ticked) {
            return self.restart();
        }
        // A checkpoint begins another file.
        let log = self.newest_log();
        let len = |path: &Path| std::fs::metadata(path).unwrap().len();
        let before = len(&log);
        let ring = if end == Some(End::Torn) { self.ring() } else { Vec::new() };
        self.engine().write_log().unwrap();
        if end == Some(End::Torn) {
            // The write was not done when the process ended: nobody has seen its outcome.
            let cut = self.random(5) + 1;
            if len(&log) > before {
                let file = std::fs::OpenOptions::new().write(true).open(&log).unwrap();
                file.set_len(len(&log) - cut).unwrap();
            }
            return self.restart_with(ring);
        }
        if end == Some(End::Logged) {
            return self.restart();
        }
        if second % 60 == 59 || end == Some(End::Kept) {
            while self.engine().keep(self.now).unwrap() {}
        }
        if end == Some(End::Kept) {
            return self.restart();
        }
        self.under_way.extend(self.engine().due(self.now, 64));
        if end == Some(End::HandedOut) {
            return self.restart();
        }
        let outcomes: Vec<_> =
            std::mem::take(&mut self.under_way).iter().map(|one| self.deliver(one)).collect();
        if end == Some(End::Delivered) {
            return self.restart();
        }
        for (id, outcome) in outcomes {
            self.engine().settle(id, &outcome, self.now);
        }
        if end == Some(End::Settled) {
            self.restart();
        }
    }

    fn deliver(&mut self, delivery: &Delivery) -> (crate::notify::DeliveryId, Outcome) {
        let Recipient::Email(to) = &delivery.recipient else { panic!("a mail") };
        // Every third hour b's relay is down.
        let is_down =
            to == "b@example.com" && self.now.since(START).as_millis() / 1000 / HOUR % 3 == 1;
        if is_down {
            let reason = "down".to_owned();
            return (delivery.id, Outcome::Later { reason, after: None });
        }
        let told = delivery.message.notices.iter().map(|notice| {
            format!(
                "{} {:?} {} {}",
                notice.incident,
                notice.kind,
                notice.title(),
                notice.level.word()
            )
        });
        let told = (delivery.message.id.clone(), told.collect());
        self.mailboxes.entry(to.clone()).or_default().push(told);
        (delivery.id, Outcome::Delivered)
    }

    /// All changes of state, as they are known in the end.
    fn changes(&self) -> Vec<String> {
        self.engine().view(|view| {
            let lines: Vec<_> = view.audit.iter().collect();
            let changes = lines.iter().rev().filter_map(|line| match &line.what {
                What::Change { title, incident, change } => {
                    let at = change.at.since(START);
                    Some(format!("{at} {title} {incident} {:?} {:?}", change.from, change.to))
                }
                _ => None,
            });
            changes.collect()
        })
    }

    /// The seconds in which something changed, or was told.
    fn eventful(&self) -> Vec<u64> {
        self.engine().view(|view| {
            let changes = view.audit.iter().filter_map(|line| match &line.what {
                What::Change { change, .. } => Some(change.at.since(START).as_millis() / 1000 - 1),
                What::Message { .. } => Some(line.at.since(START).as_millis() / 1000 - 1),
                _ => None,
            });
            changes.collect()
        })
    }

    /// What each mailbox holds about each incident, in order, repeated messages once.
    fn told(&self) -> BTreeMap<(String, String), Vec<String>> {
        let mut all: BTreeMap<_, Vec<String>> = BTreeMap::new();
        for (to, mailbox) in &self.mailboxes {
            let mut seen = BTreeSet::new();
            for (id, notices) in mailbox.iter().filter(|(id, _)| seen.insert(id.clone())) {
                for notice in notices {
                    let (incident, text) = notice.split_once(' ').unwrap();
                    let key = (to.clone(), incident.to_owned());
                    all.entry(key).or_default().push(format!("{id} {text}"));
                }
            }
        }
        all
    }
}

/// When processes end: half of them in a second in which something happens, the others at random. No two
/// are closer to each other than a minute and a half, so that every window is covered well enough to be
/// judged.
fn moments(world: &mut World, seconds: u64, ends: usize, eventful: &[u64]) -> BTreeSet<u64> {
    let mut moments = BTreeSet::new();
    let is_free = |moments: &BTreeSet<u64>, at: u64| {
        moments.range(at.saturating_sub(90)..=at + 90).next().is_none()
    };
    for tried in 0.. {
        let at = match eventful.len() as u64 {
            many if many > 0 && moments.len() < ends / 2 && tried < 1000 => {
                eventful[usize::try_from(world.random(many)).unwrap()]
            }
            _ => world.random(seconds),
        };
        if moments.len() == ends || tried > 100_000 {
            break;
        }
        if is_free(&moments, at) {
            moments.insert(at);
        }
    }
    assert_eq!(moments.len(), ends, "there is room for all");
    moments
}

/// The scripted day, or its first hours, with that many ends.
fn day(seconds: u64, ends: usize, eventful: &[u64]) -> World {
    let mut world = World::new();
    let moments = moments(&mut world, seconds, ends, eventful);
    for second in 0..seconds {
        let at = usize::try_from(world.random(ENDS.len() as u64)).unwrap();
        world.second(second, moments.contains(&second).then_some(ENDS[at]));
    }
    world
}

/// The long run: `TALLYD_TEST_KILLS=300 cargo test --release --lib a_day_with_ends`.
#[test]
fn a_day_with_ends_is_as_one_without() {
    let ends = std::env::var("TALLYD_TEST_KILLS").ok().and_then(|text| text.parse().ok());
    let seconds = if ends.is_some() { 24 * HOUR } else { 2 * HOUR };
    let ends = ends.unwrap_or(20);
    let calm = day(seconds, 0, &[]);
    let killed = day(seconds, ends, &calm.eventful());
    let (expect, changes) = (calm.changes(), killed.changes());
    assert!(expect.len() >= 14, "{expect:#?}");
    assert_eq!(changes, expect);
    assert_eq!(killed.told(), calm.told());
    let repeated: usize = killed.mailboxes.values().map(Vec::len).sum();
    let once: usize = calm.mailboxes.values().map(Vec::len).sum();
    assert!(repeated > once, "some ends were between a delivery and word of it");
    for kind in ["Repeat", "Escalated", "Ended", "Recovered"] {
        let is_told = |told: &Vec<String>| told.iter().any(|line| line.contains(kind));
        assert!(calm.told().values().any(is_told), "{kind} is in the script");
    }
    println!("{} changes, {once} messages; with {ends} ends {repeated}", expect.len());
}

/// An engine on a directory, of which one incident is open and told.
fn with_open_incident(dir: &Path) -> (Engine, Timestamp) {
    let (engine, _) = Engine::open(&config(RULES), dir, START).unwrap();
    let mut now = START;
    let mut kinds = Vec::new();
    for second in 0..40 {
        set(&engine, "queue", if second < 30 { "10" } else { "5000" }, now);
        now = now + Span::SECOND;
        kinds.extend(told(&engine, now));
    }
    assert_eq!(kinds, ["queue-long Firing critical"]);
    (engine, now)
}

/// Closes a second and delivers what is due; what the first mailbox got.
fn told(engine: &Engine, now: Timestamp) -> Vec<String> {
    engine.tick(now);
    delivered(engine, now)
}

fn delivered(engine: &Engine, now: Timestamp) -> Vec<String> {
    engine.write_log().unwrap();
    let mut told = Vec::new();
    for delivery in engine.due(now, 64) {
        let notices =
            delivery.message.notices.iter().map(|notice| {
                format!("{} {:?} {}", notice.title(), notice.kind, notice.level.word())
            });
        if delivery.recipient == Recipient::Email("a@example.com".to_owned()) {
            told.extend(notices);
        }
        engine.settle(delivery.id, &Outcome::Delivered, now);
    }
    told
}

#[test]
fn an_edited_rule_begins_anew_and_others_are_untouched_over_a_start_and_over_a_reload() {
    let other = RULES.replace("above = 10, clear = 5", "above = 11, clear = 5");
    let words = RULES.replace("name = \"queue-long\"", "name = \"queue-long\"\nsummary = \"x\"");
    let edited = RULES.replace("above = 1000, clear = 500", "above = 1000, clear = 400");
    let at = RULES.find("[[rule]]\nname = \"queue-long\"").unwrap();
    let end = RULES.find("[[rule]]\nname = \"orders-gone\"").unwrap();
    let removed = format!("{}{}", &RULES[..at], &RULES[end..]);
    let firing = vec!["queue-long Firing critical".to_owned()];
    let cases = [
        (other, vec![], vec![]),
        (words, vec![], vec![]),
        (edited, vec!["queue-long Closed(Edited) ok".to_owned()], firing),
        (removed, vec!["queue-long Closed(Removed) ok".to_owned()], vec![]),
    ];
    for (text, closed, then) in cases {
        for is_start in [true, false] {
            let dir = tempfile::tempdir().unwrap();
            let (mut engine, mut now) = with_open_incident(dir.path());
            if is_start {
                drop(engine);
                engine = Engine::open(&config(&text), dir.path(), now).unwrap().0;
                engine.begin(now);
            } else {
                engine.reload(&config(&text), now);
            }
            assert_eq!(delivered(&engine, now), closed, "is_start {is_start}: {text}");
            let mut kinds = Vec::new();
            for _ in 0..40 {
                set(&engine, "queue", "5000", now);
                now = now + Span::SECOND;
                kinds.extend(told(&engine, now));
            }
            assert_eq!(kinds, then, "is_start {is_start}: {text}");
            let open = engine.view(|view| view.incidents.open());
            assert_eq!(open, usize::from(closed.is_empty() || !then.is_empty()));
        }
    }
}

#[test]
fn a_message_that_cannot_be_written_goes_out_marked_after_a_moment() {
    let dir = tempfile::tempdir().unwrap();
    let (engine, _) = Engine::open(&config(RULES), dir.path(), START).unwrap();
    let mut now = START;
    for _ in 0..2 {
        set(&engine, "queue", "5000", now);
        now = now + Span::SECOND;
        engine.tick(now);
    }
    assert_eq!(engine.due(now, 9), [], "it is not on the disk");
    let next = engine.view(|view| view.outbox.next_due()).unwrap();
    assert_eq!(next, START + Span::SECOND + crate::limits::UNSAVED_PATIENCE);
    let out = engine.due(next, 9);
    assert!(out.len() == 2 && out.iter().all(|delivery| delivery.message.is_unsaved));
    assert_eq!(engine.view(|view| view.outbox.tally().unsaved), 2);
}

/// `cargo test --release --lib what_a_safe_message_costs -- --ignored --nocapture`
#[test]
#[ignore = "a measurement"]
fn what_a_safe_message_costs() {
    use crate::store::seam::{Changes, Store};
    use crate::store::{LogRecord, RedbStore, TickLog};
    // Not in /tmp, which may be memory.
    let dir = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").unwrap();
    let mut log = TickLog::open(dir.path(), |_| {}).unwrap().0;
    let store = RedbStore::open(&dir.path().join("tallyd.redb")).unwrap();
    let facts = |serial: u64| {
        let mut facts = crate::store::Facts::new(serial);
        for key in 0..4_u64 {
            facts.put([key.to_be_bytes(), serial.to_be_bytes()].concat(), vec![7; 300]);
        }
        facts
    };
    let median = |work: &mut dyn FnMut(u64)| {
        let mut times: Vec<_> = (1..=200).map(|serial| timed(&mut || work(serial))).collect();
        times.sort_unstable();
        (times[100], times[198])
    };
    let record = median(&mut |serial| {
        log.append(&LogRecord::Facts(facts(serial))).unwrap();
        log.handle().unwrap().sync().unwrap();
    });
    let commit = median(&mut |serial| {
        let facts = facts(serial);
        let puts = facts.iter().map(|(key, value)| (key.to_vec(), value.unwrap().to_vec()));
        store.commit(&Changes { puts: puts.collect(), ..Changes::default() }).unwrap();
    });
    println!("median and p99: a synced record {record:?}, a commit {commit:?}");
}

#[expect(clippy::disallowed_methods, reason = "a measurement of real time")]
fn timed(work: &mut dyn FnMut()) -> std::time::Duration {
    let begun = std::time::Instant::now();
    work();
    begun.elapsed()
}
