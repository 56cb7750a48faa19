//! Who got what, how often, and after how long, when a relay or a receiver misbehaves.
//!
//! The outbox and the couriers are the real ones, and so are the sockets. The time between attempts is
//! virtual: where nothing is under way, the clock is put to when something is due. An attempt is cut off
//! after three seconds instead of thirty. `cargo test --test it arrival -- --nocapture` prints the tables.

mod http;
mod smtp;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tallyd::config::{self, Config, FileRead, Surroundings};
use tallyd::notify::{
    About, Couriers, Illustrations, Message, Notice, NoticeKind, Outbox, Outcome, Recipient,
    Verdict,
};
use tallyd::rules::Level;
use tallyd::time::{Span, Timestamp};

use crate::harness::{Server, eventually};
use crate::peers::webhook::Receiver as Hub;
use http::{Answer, Receiver, TAKEN};
use smtp::{Fault, Relay, Stage};

const PASSWORD: &str = "plover-xyzzy-42";
/// `AUTH PLAIN` and `AUTH LOGIN` send it so.
const PASSWORD_BASE64: [&str; 2] = ["AHRhbGx5ZABwbG92ZXIteHl6enktNDI=", "cGxvdmVyLXh5enp5LTQy"];
const START: Timestamp = Timestamp::from_secs(1_767_571_200);
/// For one attempt; thirty seconds in the program.
const PATIENCE: Duration = Duration::from_secs(3);
/// Whoever waits for nobody has it by then, in seconds.
const AT_ONCE: f64 = 2.9;

/// How it went with one recipient.
#[derive(Debug)]
struct Row {
    to: String,
    attempts: u32,
    /// When it was taken, in seconds since it was queued; `None`: it was given up.
    arrived: Option<f64>,
    /// Why it was not taken at first.
    reason: String,
}

fn config(text: &str, ca_pem: &str) -> Config {
    let bytes = ca_pem.as_bytes().to_vec();
    let surroundings = Surroundings {
        variable: &|name| (name == "TALLYD_EMAIL_PASSWORD").then(|| PASSWORD.to_owned()),
        file: &|_, _| Ok(Some(FileRead { bytes: bytes.clone(), mode: 0o600 })),
    };
    let loaded = config::parse(text, Path::new("tallyd.toml"), &surroundings);
    loaded.unwrap_or_else(|problems| panic!("{problems}")).config
}

/// That a rule fires.
fn message() -> Arc<Message> {
    let notice = Notice {
        incident: "i-1".into(),
        alert: 0,
        opened: START,
        kind: NoticeKind::Firing,
        rule: Arc::new(About { name: "errors-high".to_owned(), ..About::default() }),
        labels: Vec::new(),
        from: Level::Ok,
        level: Level::Critical,
        since: START,
        began: Some(17.0),
        worst: Some(17.0),
        value: Some(17.0),
        covered: 1.0,
        is_at_least: false,
        problem: None,
    };
    Arc::new(Message {
        id: "m-1".to_owned(),
        contact: "oncall".to_owned(),
        at: START,
        ..Message::about(vec![notice])
    })
}

/// Queues a message for everybody, and lets the couriers work until nothing waits.
fn deliver(config: &Config, recipients: &[Recipient]) -> Vec<Row> {
    // Another test may have been the first.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let couriers = Arc::new(Couriers::new(config).with_patience(PATIENCE));
    let mut outbox = Outbox::of(config);
    let message = message();
    for recipient in recipients {
        assert!(outbox.queue(Arc::clone(&message), recipient.clone(), START));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work(&mut outbox, &couriers))
}

async fn work(outbox: &mut Outbox, couriers: &Arc<Couriers>) -> Vec<Row> {
    let (mut now, mut rows) = (START, Vec::new());
    let mut under_way = tokio::task::JoinSet::new();
    loop {
        for delivery in outbox.due(now, 64) {
            let (couriers, sent) = (Arc::clone(couriers), now);
            under_way.spawn(async move {
                let began = Instant::now();
                let outcome = couriers.deliver(&delivery, &Illustrations::new(), sent).await;
                let took = u64::try_from(began.elapsed().as_millis()).expect("a short time");
                (delivery, outcome, sent + Span::from_millis(took))
            });
        }
        if let Some(done) = under_way.join_next().await {
            let (delivery, outcome, ended) = done.expect("a courier does not panic");
            let verdict = outbox.settle(delivery.id, &outcome, ended);
            note(&mut rows, delivery.recipient.shown(), delivery.attempt, &outcome, verdict, ended);
        } else if let Some(due) = outbox.next_due() {
            now = now.max(due);
        } else {
            return rows;
        }
    }
}

fn note(
    rows: &mut Vec<Row>,
    to: &str,
    attempts: u32,
    outcome: &Outcome,
    verdict: Verdict,
    ended: Timestamp,
) {
    let arrived = (verdict == Verdict::Done).then(|| ended.since(START).as_secs_f64());
    let reason = match outcome {
        Outcome::Delivered => String::new(),
        Outcome::Later { reason, .. } | Outcome::Refused { reason } => reason.clone(),
    };
    match rows.iter_mut().find(|row| row.to == to) {
        Some(row) => (row.attempts, row.arrived) = (attempts, arrived),
        None => rows.push(Row { to: to.to_owned(), attempts, arrived, reason }),
    }
}

fn row<'a>(rows: &'a [Row], to: &str) -> &'a Row {
    rows.iter().find(|row| row.to == to).unwrap_or_else(|| panic!("nothing for {to}: {rows:#?}"))
}

const MAILBOXES: [&str; 3] = ["a@example.com", "b@example.com", "c@example.com"];

/// Three mailboxes behind a relay with this fault in its first three connections, and a webhook beside
/// them that is well.
fn mail(fault: Fault, times: usize) -> (Vec<Row>, Relay) {
    let (relay, hub) = (Relay::start(fault, times), Receiver::start(TAKEN, 0));
    let rows = mail_through(relay.address, &relay.ca_pem, hub.address);
    let hub_row = row(&rows, "hub");
    assert_eq!((hub_row.attempts, hub.calls().len()), (1, 1), "{fault:?}");
    assert!(hub_row.arrived.is_some_and(|at| at < AT_ONCE), "nobody else is delayed: {hub_row:?}");
    (rows, relay)
}

fn mail_through(relay: SocketAddr, ca_pem: &str, hub: SocketAddr) -> Vec<Row> {
    let text = format!(
        "[email]\nserver = 'smtp://{relay}'\nfrom = 'tallyd@example.com'\nusername = 'tallyd'\n\
         ca_file = 'ca.pem'\n\
         [[contact]]\nname = 'hub'\nwebhook = 'http://{hub}/'\n\
         [[contact]]\nname = 'oncall'\nemail = {MAILBOXES:?}\n"
    );
    let mut recipients: Vec<_> =
        MAILBOXES.iter().map(|to| Recipient::Email((*to).to_owned())).collect();
    recipients.push(Recipient::Webhook("hub".to_owned()));
    deliver(&config(&text, ca_pem), &recipients)
}

/// The mails that a mailbox got, and that they are one.
fn copies(relay: &Relay, to: &str) -> usize {
    let ids: Vec<_> = relay.seen(|seen| {
        let its = seen.mails.iter().filter(|mail| mail.to == to);
        its.map(|mail| mail.id.clone()).collect()
    });
    assert!(ids.windows(2).all(|two| two[0] == two[1]), "what comes twice has one id: {ids:?}");
    ids.len()
}

fn assert_no_password_in_clear(relay: &Relay, fault: Fault) {
    let clear = relay.seen(|seen| seen.clear.join("\n"));
    for secret in PASSWORD_BASE64.into_iter().chain([PASSWORD, "AUTH", "MAIL", "RCPT"]) {
        assert!(!clear.contains(secret), "{fault:?}: {secret} in clear text:\n{clear}");
    }
}

fn table(title: &str) -> String {
    format!("| {title} | who | attempts | copies | after | reason |\n|---|---|---|---|---|---|\n")
}

fn line(table: &mut String, title: &str, row: &Row, copies: usize) {
    let Row { to, attempts, arrived, reason } = row;
    let arrived = arrived.map_or("never".to_owned(), |at| format!("{at:.1} s"));
    let _ = writeln!(table, "| {title} | {to} | {attempts} | {copies} | {arrived} | {reason} |");
}

/// Within backoff's bounds: so many seconds and up to a fifth more, and what the attempts took.
fn assert_after(row: &Row, least: f64, most: f64) {
    let arrived = row.arrived.unwrap_or_else(|| panic!("{row:?}"));
    assert!((least..most).contains(&arrived), "{row:?}, not between {least} and {most}");
}

#[test]
fn whatever_a_relay_does_wrong_everybody_is_reached_once_it_is_well() {
    use Stage::{Content, Data, Greeting, Hello, Login, Recipient, Sender, StartTls};
    let stages = [Greeting, Hello, StartTls, Login, Sender, Recipient, Data, Content];
    let faults = stages
        .into_iter()
        .flat_map(|stage| [Fault::Later(stage), Fault::Hangs(stage), Fault::Cuts(stage)]);
    let faults =
        faults.chain([Fault::CutsAfterContent, Fault::NoStartTls, Fault::WrongCertificate]);
    let faults: Vec<_> = faults.collect();
    let tried = std::thread::scope(|scope| {
        let run = |fault: &Fault| {
            let fault = *fault;
            scope.spawn(move || (fault, mail(fault, MAILBOXES.len())))
        };
        // A few at a time, so that none waits for a processor.
        let mut tried = Vec::new();
        for some in faults.chunks(6) {
            let some: Vec<_> = some.iter().map(run).collect();
            tried.extend(some.into_iter().map(|one| one.join().expect("it holds")));
        }
        tried
    });
    let mut said = table("a relay");
    for (fault, (rows, relay)) in &tried {
        let twice = usize::from(*fault == Fault::CutsAfterContent);
        for to in MAILBOXES {
            let (row, copies) = (row(rows, to), copies(relay, to));
            assert_eq!((row.attempts, copies), (2, 1 + twice), "{fault:?}: {row:?}");
            assert_after(row, 5.0, 6.0 + 2.0 * AT_ONCE + 0.2);
            line(&mut said, &format!("{fault:?}, once"), row, copies);
        }
        assert_no_password_in_clear(relay, *fault);
    }
    println!("{said}");
}

#[test]
fn one_mailbox_that_is_refused_holds_up_no_other() {
    let fault = Fault::NoSuchUser("b@example.com");
    let (rows, relay) = mail(fault, usize::MAX);
    let mut said = table("a relay");
    for to in MAILBOXES {
        let (row, copies) = (row(&rows, to), copies(&relay, to));
        line(&mut said, "550 for one of three", row, copies);
        if to == "b@example.com" {
            assert_eq!((row.attempts, copies, row.arrived), (1, 0, None), "{row:?}");
            assert!(
                row.reason.ends_with("refused the recipient: 550 5.1.1 no such user"),
                "{row:?}"
            );
        } else {
            assert_eq!((row.attempts, copies), (1, 1), "{row:?}");
            assert_after(row, 0.0, AT_ONCE);
        }
    }
    println!("{said}");
}

#[test]
fn a_relay_that_refuses_every_connection_is_tried_for_a_day() {
    let dead = tokio::net::TcpSocket::new_v4().expect("a socket");
    dead.bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
    let hub = Receiver::start(TAKEN, 0);
    let ca_pem = Relay::start(Fault::None, 0).ca_pem.clone();
    let rows = mail_through(dead.local_addr().expect("an address"), &ca_pem, hub.address);
    let mut said = table("a relay");
    for to in MAILBOXES {
        let row = row(&rows, to);
        assert_eq!(row.arrived, None);
        assert!((130..=160).contains(&row.attempts), "{row:?}");
        assert!(row.reason.contains("Connection refused"), "{row:?}");
        line(&mut said, "refuses the connection, for a day", row, 0);
    }
    assert_after(row(&rows, "hub"), 0.0, AT_ONCE);
    println!("{said}");
}

/// What comes of one answer: a webhook at a receiver that gives it once, beside one that is well.
fn call(answer: Answer, times: usize) -> (Row, usize) {
    let (bad, good) = (Receiver::start(answer, times), Receiver::start(TAKEN, 0));
    let text = format!(
        "[[contact]]\nname = 'bad'\nwebhook = 'http://{}/'\n\
         [[contact]]\nname = 'good'\nwebhook = 'http://{}/'\n",
        bad.address, good.address
    );
    let recipients = ["bad", "good"].map(|name| Recipient::Webhook(name.to_owned()));
    let mut rows = deliver(&config(&text, ""), &recipients);
    let other = row(&rows, "good");
    assert_eq!((other.attempts, good.calls().len()), (1, 1));
    assert!(other.arrived.is_some_and(|at| at < AT_ONCE), "nobody else is delayed: {other:?}");
    let calls = bad.calls();
    assert!(calls.iter().all(|id| id == "m-1"), "every attempt has the same id: {calls:?}");
    let at = rows.iter().position(|row| row.to == "bad").expect("it is there");
    (rows.swap_remove(at), calls.len())
}

#[test]
fn whatever_a_receiver_of_webhooks_answers_has_its_outcome() {
    let mut said = table("a receiver");
    let mut check = |title: &str, answer, attempts, after: Option<(f64, f64)>| {
        let (row, calls) = call(answer, 1);
        assert_eq!((row.attempts as usize, calls), (attempts, attempts), "{title}: {row:?}");
        match after {
            Some((least, most)) => assert_after(&row, least, most),
            None => assert_eq!(row.arrived, None, "{title}: {row:?}"),
        }
        line(&mut said, title, &row, usize::from(after.is_some()));
    };
    let (now, soon) = (Some((0.0, AT_ONCE)), Some((5.0, 6.0 + 2.0 * AT_ONCE + 0.2)));
    check("200", Answer::Says("HTTP/1.1 200 OK\r\n\r\n"), 1, now);
    check("302", Answer::Says("HTTP/1.1 302 Found\r\nlocation: /there\r\n\r\n"), 1, None);
    check("400", Answer::Says("HTTP/1.1 400 Bad Request\r\n\r\nno\r\n"), 1, None);
    check("408, once", Answer::Says("HTTP/1.1 408 Request Timeout\r\n\r\n"), 2, soon);
    check("425, once", Answer::Says("HTTP/1.1 425 Too Early\r\n\r\n"), 2, soon);
    let wait = Answer::Says("HTTP/1.1 429 Too Many Requests\r\nretry-after: 40\r\n\r\n");
    check("429, retry-after: 40, once", wait, 2, Some((40.0, 46.0)));
    // A minute after the attempt.
    let date =
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: Mon, 05 Jan 2026 00:01:00 GMT\r\n\r\n";
    check("429, retry-after: a date, once", Answer::Says(date), 2, Some((57.0, 66.0)));
    check("500, once", Answer::Says("HTTP/1.1 500 x\r\n\r\n"), 2, soon);
    check("hangs, once", Answer::Hangs, 2, soon);
    check("200 and 10 MB", Answer::Floods("HTTP/1.1 200 OK\r\n\r\n"), 1, now);
    check("500 and 10 MB, once", Answer::Floods("HTTP/1.1 500 x\r\n\r\n"), 2, soon);
    check("closes without an answer, once", Answer::Says(""), 2, soon);
    check("closes within the head, once", Answer::Says("HTTP/1.1 20"), 2, soon);
    println!("{said}");
}

#[test]
fn a_mailbox_behind_a_hanging_relay_delays_nobody_and_a_refused_one_is_told_to_the_fallback() {
    let relay = Relay::start(Fault::NoSuchUser("b@example.com"), usize::MAX);
    let hub = Hub::start();
    let hangs = Receiver::start(Answer::Hangs, usize::MAX);
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("ca.pem"), &relay.ca_pem).expect("it can be written");
    let config = format!(
        r#"
[email]
server = "smtp://{}"
from = "tallyd@example.com"
username = "tallyd"
ca_file = "ca.pem"

[[contact]]
name = "oncall"
email = ["a@example.com", "b@example.com"]

[[contact]]
name = "slow"
webhook = "http://{}/"

[[contact]]
name = "backup"
webhook = "http://{}/"

[notify]
default = ["oncall", "slow"]
fallback = ["backup"]

[[rule]]
name = "errors-high"
series = "errors"
measure = "sum"
window = "60s"
critical = {{ above = 10 }}
"#,
        relay.address, hangs.address, hub.address
    );
    let env = [("TALLYD_EMAIL_PASSWORD", PASSWORD)];
    let server = Server::start_in(dir, "", &config, &env);
    let began = Instant::now();
    server.client().ask("incr errors 50\r\n");
    eventually("the mail", || (copies(&relay, "a@example.com") == 1).then_some(()));
    let told = eventually("the fallback", || hub.posts().first().cloned());
    assert!(began.elapsed() < Duration::from_secs(10), "nobody waits for the slow one");
    let note = told.body["alerts"][0]["annotations"]["note"].as_str().expect("a note").to_owned();
    assert!(
        note.starts_with("This was for oncall (b@example.com), who could not be reached: "),
        "{note}"
    );
    assert_eq!(told.body["receiver"], "backup");
    let failed = server.get("/api/v1/deliveries?state=failed").1;
    assert!(failed.contains("b@example.com") && failed.contains("given_up"), "{failed}");
    let metrics = server.get("/metrics").1;
    assert!(metrics.contains("\ntallyd_deliveries_failed_total 1\n"), "{metrics}");
}
