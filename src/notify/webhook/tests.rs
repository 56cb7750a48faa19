//! Calls to real sockets.

use super::*;
use crate::config::{Config, Contact, Pem, Secret, SigningKey};
use crate::notify::peer::{self, Authority};
use crate::notify::tests::message;
use crate::notify::{Outcome, Recipient};

/// No part of these may stand in any reason.
const TOKEN: &str = "T0ken-in-the-path";
const KEY: &str = "key-in-the-query";
const HEADER: &str = "header-value-hunter2";

fn config(url: &str, ca_pem: Option<Pem>) -> Config {
    let headers = [("Authorization".to_owned(), Secret::new(format!("Bearer {HEADER}")))].into();
    let format = WebhookFormat::Alertmanager;
    let webhook = Webhook { url: Secret::new(url), format, secret: None, ca_pem, headers };
    let contact = Contact { name: "pager".to_owned(), email: Vec::new(), webhook: Some(webhook) };
    Config { contacts: vec![contact], ..Config::default() }
}

fn call(url: &str, ca_pem: Option<Pem>) -> Outcome {
    let recipient = Recipient::Webhook("pager".to_owned());
    let message = Message::clone(&message(&["i-1"]));
    let outcome = peer::deliver(&config(url, ca_pem), message, recipient);
    let text = format!("{outcome:?}").to_lowercase();
    for secret in [TOKEN, KEY, HEADER] {
        assert!(!text.contains(&secret.to_lowercase()), "{text}");
    }
    outcome
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}/hook/{TOKEN}?key={KEY}")
}

/// The outcome of one answer, with the port left out.
fn check(answer: &str, expect: &Outcome) {
    let (port, _heard) = peer::http(answer, None);
    let mut outcome = call(&at(port), None);
    if let Outcome::Later { reason, .. } | Outcome::Refused { reason } = &mut outcome {
        *reason = reason.replace(&port.to_string(), "PORT");
    }
    assert_eq!(&outcome, expect, "{answer:.100}");
}

fn later_after(reason: &str, secs: u64) -> Outcome {
    Outcome::Later { reason: reason.to_owned(), after: Some(Span::from_secs(secs)) }
}

#[test]
fn what_is_sent() {
    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", None);
    assert_eq!(call(&at(port), None), Outcome::Delivered);
    let heard = heard.get();
    let (head, body) = heard.split_once("\n\n").unwrap();
    let head =
        head.replace(&port.to_string(), "PORT").replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let length = format!("content-length: {}", body.len());
    let mut lines: Vec<_> = head.lines().filter(|line| *line != length).collect();
    lines[1..].sort_unstable();
    insta::assert_snapshot!(lines.join("\n"), @r##"
    POST /hook/T0ken-in-the-path?key=key-in-the-query HTTP/1.1
    accept: */*
    authorization: Bearer header-value-hunter2
    content-type: application/json
    host: 127.0.0.1:PORT
    user-agent: tallyd/VERSION
    webhook-id: m-1
    webhook-timestamp: 1767571230
    "##);
    assert_eq!([body], *alertmanager::bodies(&message(&["i-1"])));
}

/// A contact with this webhook at a port.
fn contact(port: u16, format: WebhookFormat, secret: Option<SigningKey>) -> Config {
    let mut config = config(&at(port), None);
    let webhook = config.contacts[0].webhook.as_mut().unwrap();
    (webhook.format, webhook.secret) = (format, secret);
    config
}

fn header<'a>(request: &'a str, name: &str) -> &'a str {
    request.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap()
}

#[test]
fn a_body_is_signed_where_there_is_a_secret() {
    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", None);
    let key = SigningKey::new(b"plover".to_vec());
    let config = contact(port, WebhookFormat::Slack, Some(key.clone()));
    let message = Message::clone(&message(&["i-1"]));
    let outcome = peer::deliver(&config, message, Recipient::Webhook("pager".to_owned()));
    assert_eq!(outcome, Outcome::Delivered);
    let heard = heard.get();
    let (head, body) = heard.split_once("\n\n").unwrap();
    let expect = signature::of(&key, "m-1", peer::NOW.as_secs(), body);
    assert_eq!(header(head, "webhook-signature"), expect);
}

#[test]
fn a_template_says_what_its_body_is() {
    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", None);
    let template = crate::config::Template::new("{{ subject }}", "text/plain; charset=utf-8");
    let config = contact(port, WebhookFormat::Template(template.unwrap()), None);
    let message = Message::clone(&message(&["i-1"]));
    let outcome = peer::deliver(&config, message, Recipient::Webhook("pager".to_owned()));
    assert_eq!(outcome, Outcome::Delivered);
    let heard = heard.get();
    assert_eq!(header(&heard, "content-type"), "text/plain; charset=utf-8");
    assert!(heard.ends_with("\n\n[CRITICAL] errors-high: 17 in 5s"), "{heard}");
}

/// A sign of life in a form, and what came of it.
fn beat(format: WebhookFormat) -> (Outcome, Option<serde_json::Value>) {
    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", None);
    let mut config = contact(port, format, None);
    config.notify.heartbeat = vec!["pager".to_owned()];
    let couriers = crate::notify::Couriers::new(&config);
    assert_eq!(couriers.heartbeats().collect::<Vec<_>>(), ["pager"]);
    let outcome = peer::run(couriers.beat("pager", peer::NOW));
    let heard = (outcome == Outcome::Delivered).then(|| heard.get());
    let body = heard.map(|heard| {
        assert!(header(&heard, "webhook-id").starts_with("heartbeat-"), "{heard}");
        serde_json::from_str(heard.split_once("\n\n").unwrap().1).unwrap()
    });
    (outcome, body)
}

#[test]
fn a_sign_of_life_is_marked_in_every_form() {
    let (_, body) = beat(WebhookFormat::Alertmanager);
    let body = body.unwrap();
    let alert = &body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "tallyd-heartbeat");
    assert_eq!((&alert["status"], &body["status"]), (&"firing".into(), &"firing".into()));
    assert_eq!(body["groupKey"], "{}:{alertname=\"tallyd-heartbeat\"}");
    let (_, body) = beat(WebhookFormat::Slack);
    assert!(body.unwrap()["text"].as_str().unwrap().starts_with("tallyd is well"));
    let source = "{\"alive\": {{ is_heartbeat }}, \"text\": {{ subject }}}";
    let template = crate::config::Template::new(source, "application/json").unwrap();
    let (_, body) = beat(WebhookFormat::Template(template));
    assert_eq!(body.unwrap(), serde_json::json!({ "alive": true, "text": "tallyd is well" }));
    let routing_key = Secret::new("0123456789abcdef0123456789abcdef");
    let (outcome, _) = beat(WebhookFormat::PagerDuty { routing_key });
    assert_eq!(outcome, refused("PagerDuty knows no sign of life"));
}

#[test]
fn a_message_in_parts_goes_on_where_it_was_stopped() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let taken = "HTTP/1.1 202 Accepted\r\n\r\n";
    let (port, heard) = peer::http_in_turn(vec![
        taken,
        "HTTP/1.1 400 Bad Request\r\n\r\nnot {{0123456789abcdef0123456789abcdef}}",
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 60\r\n\r\n",
        taken,
        taken,
    ]);
    let routing_key = Secret::new(KEY);
    let config = contact(port, WebhookFormat::PagerDuty { routing_key }, None);
    let webhook = WebhookCourier::new(config.contacts[0].webhook.as_ref().unwrap());
    let (message, progress) = (message(&["i-1", "i-2", "i-3", "i-4"]), Progress::default());
    let attempt = || peer::run(webhook.send(&message, &progress, peer::NOW));
    let origin = format!("http://127.0.0.1:{port}");
    assert_eq!(attempt(), later_after(&format!("{origin} answered 429 Too Many Requests"), 60));
    assert_eq!(progress.parts(), 2);
    let reason = format!("{origin} answered 400 Bad Request");
    assert_eq!(
        attempt(),
        refused(format!("1 of its 4 parts were refused, the first because {reason}"))
    );
    let heard = heard.get();
    let of = |one: &String| {
        let (head, body) = one.split_once("\n\n").unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["routing_key"], KEY);
        format!("{} {}", header(head, "webhook-id"), body["dedup_key"].as_str().unwrap())
    };
    let said: Vec<_> = heard.iter().map(of).collect();
    assert_eq!(said, ["m-1 i-1", "m-1-1 i-2", "m-1-2 i-3", "m-1-2 i-3", "m-1-3 i-4"]);
}

#[test]
fn what_went_to_another_key_or_address_is_sent_anew() {
    let taken = "HTTP/1.1 202 Accepted\r\n\r\n";
    let busy = "HTTP/1.1 503 Service Unavailable\r\n\r\n";
    let (port, heard) = peer::http_in_turn(vec![taken, busy, taken, busy, taken, taken]);
    let (message, progress) = (message(&["i-1", "i-2"]), Progress::default());
    let attempt = |key: char, path: &str| {
        let routing_key = Secret::new(key.to_string().repeat(32));
        let mut config = contact(port, WebhookFormat::PagerDuty { routing_key }, None);
        let webhook = config.contacts[0].webhook.as_mut().unwrap();
        webhook.url = Secret::new(format!("{}{path}", at(port)));
        let webhook = WebhookCourier::new(webhook);
        let outcome = peer::run(webhook.send(&message, &progress, peer::NOW));
        (outcome == Outcome::Delivered, progress.parts())
    };
    assert_eq!(attempt('a', ""), (false, 1));
    assert_eq!(attempt('b', ""), (false, 1), "the first again, for the new key");
    assert_eq!(attempt('b', "&v=2"), (true, 2), "and for the new address");
    let key_of = |one: &String| one.split("\"routing_key\":\"").nth(1).unwrap()[..1].to_owned();
    let keys: String = heard.get().iter().map(key_of).collect();
    assert_eq!(keys, "aabbbb");
}

#[test]
fn every_status_has_its_outcome() {
    let origin = "http://127.0.0.1:PORT answered";
    let plain = |status: &str| format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
    check(&plain("200 OK"), &Outcome::Delivered);
    check(&plain("204 No Content"), &Outcome::Delivered);
    check(
        "HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\n\r\n",
        &refused(format!("{origin} 302 Found; redirects are not followed")),
    );
    check(
        "HTTP/1.1 400 Whatever It Likes\r\n\r\ninvalid\r\n\x1b[31mpayload",
        &refused(format!("{origin} 400 Bad Request: invalid [31mpayload")),
    );
    check(&plain("404 Not Found"), &refused(format!("{origin} 404 Not Found")));
    check(&plain("799 Odd"), &refused(format!("{origin} 799")));
    for status in
        ["408 Request Timeout", "425 Too Early", "429 Too Many Requests", "503 Service Unavailable"]
    {
        check(&plain(status), &later(format!("{origin} {status}")));
    }
}

#[test]
fn retry_after_is_honoured_within_bounds() {
    // The attempt is made at 00:00:30.
    let table = [
        ("120", Some(120)),
        ("0", Some(0)),
        ("99999999999999999999999", Some(3600)),
        ("Mon, 05 Jan 2026 00:01:00 GMT", Some(30)),
        ("Mon, 05 Jan 2026 23:00:00 GMT", Some(3600)),
        ("Sun, 04 Jan 2026 00:00:00 GMT", Some(0)),
        ("soon", None),
        ("-5", None),
        ("", None),
    ];
    for (value, expect) in table {
        let headers = [(RETRY_AFTER, HeaderValue::from_static(value))].into_iter().collect();
        assert_eq!(retry_after(&headers, peer::NOW), expect.map(Span::from_secs), "{value:?}");
    }
    check(
        "HTTP/1.1 429 Too Many Requests\r\nretry-after: 120\r\ncontent-length: 0\r\n\r\n",
        &later_after("http://127.0.0.1:PORT answered 429 Too Many Requests", 120),
    );
}

#[test]
fn a_huge_answer_is_read_in_part() {
    let answer = format!("HTTP/1.1 500 x\r\n\r\n{}", "ab ".repeat(10_000_000));
    let quote = format!("{}…", &"ab ".repeat(100)[..199]);
    check(
        &answer,
        &later(format!("http://127.0.0.1:PORT answered 500 Internal Server Error: {quote}")),
    );
}

#[test]
fn an_answer_that_repeats_secrets_is_not_quoted() {
    check(
        "HTTP/1.1 400 x\r\n\r\nI cannot understand {request}",
        &refused("http://127.0.0.1:PORT answered 400 Bad Request"),
    );
}

#[test]
fn a_broken_connection_is_tried_again() {
    for answer in ["", "HTTP/1.1 2", "SSH-2.0-OpenSSH_9.6\r\n"] {
        let (port, _heard) = peer::http(answer, None);
        let outcome = call(&at(port), None);
        assert!(matches!(outcome, Outcome::Later { .. }), "{answer:?}: {outcome:?}");
    }
    let (port, _socket) = peer::dead_port();
    assert_eq!(
        call(&at(port), None),
        later(format!("http://127.0.0.1:{port}: Connection refused"))
    );
    // Once it has said 200 it has the message, whatever becomes of the rest.
    check("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf", &Outcome::Delivered);
}

#[test]
fn only_a_trusted_certificate_for_the_right_name_will_do() {
    let authority = Authority::new();
    let url = |port: u16| at(port).replace("http:", "https:");
    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", Some(authority.server("127.0.0.1")));
    assert_eq!(call(&url(port), Some(authority.pem())), Outcome::Delivered);
    assert!(heard.get().contains(TOKEN));

    let (port, heard) =
        peer::http("HTTP/1.1 200 OK\r\n\r\n", Some(authority.server("elsewhere.test")));
    let reason = "its certificate is for another name than 127.0.0.1";
    assert_eq!(
        call(&url(port), Some(authority.pem())),
        later(format!("https://127.0.0.1:{port}: {reason}"))
    );
    assert_eq!(heard.get(), "");

    let (port, heard) = peer::http("HTTP/1.1 200 OK\r\n\r\n", Some(authority.server("127.0.0.1")));
    let reason = "its certificate is not signed by an authority that is trusted here";
    let other = Authority::new().pem();
    assert_eq!(call(&url(port), Some(other)), later(format!("https://127.0.0.1:{port}: {reason}")));
    assert_eq!(heard.get(), "");
}

#[test]
fn what_cannot_be_called_is_refused() {
    assert_eq!(
        call(&format!("not a url {TOKEN}"), None),
        refused("the webhook's URL cannot be read")
    );
    let message = Message::clone(&message(&["i-1"]));
    let nobody = Recipient::Webhook("nobody".to_owned());
    let outcome = peer::deliver(&Config::default(), message, nobody);
    assert_eq!(outcome, refused("the contact `nobody` has no webhook"));
}

#[test]
fn debug_output_shows_no_secret() {
    let text = format!("{:?}", crate::notify::Couriers::new(&config(&at(1), None)));
    assert!(
        text.contains("Authorization") && !text.contains(HEADER) && !text.contains(TOKEN),
        "{text}"
    );
}
