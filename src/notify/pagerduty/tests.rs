//! Events against PagerDuty's public description of them.

use super::*;
use crate::notify::shape::Shape;
use crate::notify::tests::{hostile, message, over};

/// "Send an alert event": what an event may have, and how long.
fn event() -> Shape {
    let payload = Shape::Object(vec![
        ("summary", Shape::Text(1024)),
        ("source", Shape::Text(255)),
        ("severity", Shape::OneOf(&["critical", "warning", "error", "info"])),
        ("?timestamp", Shape::Instant),
        ("?component", Shape::Text(255)),
        ("?group", Shape::Text(255)),
        ("?class", Shape::Text(255)),
        ("?custom_details", Shape::Texts),
    ]);
    let link = Shape::Object(vec![("href", Shape::Link(2048)), ("?text", Shape::Text(255))]);
    Shape::Object(vec![
        ("routing_key", Shape::Text(32)),
        ("event_action", Shape::OneOf(&["trigger"])),
        ("dedup_key", Shape::Text(255)),
        ("payload", payload),
        ("?client", Shape::Text(255)),
        ("?client_url", Shape::Link(2048)),
        ("?links", Shape::List(20, Box::new(link))),
    ])
}

/// What acknowledges or resolves needs no payload.
fn end() -> Shape {
    Shape::Object(vec![
        ("routing_key", Shape::Text(32)),
        ("event_action", Shape::OneOf(&["acknowledge", "resolve"])),
        ("dedup_key", Shape::Text(255)),
    ])
}

fn checked(message: &Message) -> Vec<Value> {
    let bodies = bodies(message, &Secret::new("0123456789abcdef0123456789abcdef"));
    let read = |body: &String| {
        assert!(body.len() < 512 * 1024, "the greatest size of an event");
        let value: Value = serde_json::from_str(body).unwrap();
        let shape = if value["event_action"] == "trigger" { event() } else { end() };
        shape.check(&value, "event").unwrap();
        value
    };
    bodies.iter().map(read).collect()
}

fn actions(events: &[Value]) -> Vec<String> {
    let say = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        let severity = event["payload"]["severity"].as_str().unwrap_or("-");
        format!("{} {} {severity}", text("event_action"), text("dedup_key"))
    };
    events.iter().map(say).collect()
}

#[test]
fn an_incident_is_one_alert_from_beginning_to_end() {
    assert_eq!(
        actions(&checked(&message(&["i-1", "i-2"]))),
        ["trigger i-1 critical", "trigger i-2 critical"]
    );
    assert_eq!(actions(&checked(&over("i-1", NoticeKind::Recovered))), ["resolve i-1 -"]);
    assert_eq!(actions(&checked(&over("i-1", NoticeKind::ScheduleEnded))), ["resolve i-1 -"]);
}

#[test]
fn what_has_to_call_again_is_a_further_alert_and_leaves_none_behind() {
    let said = |kind, alert| {
        let mut message = Message::clone(&message(&["i-1"]));
        (message.notices[0].kind, message.notices[0].alert) = (kind, alert);
        if kind == NoticeKind::Recovered {
            (message.notices[0].from, message.notices[0].level) = (Level::Critical, Level::Ok);
        }
        actions(&checked(&message))
    };
    assert_eq!(said(NoticeKind::Worse, 1), ["trigger i-1-2 critical", "resolve i-1 -"]);
    assert_eq!(said(NoticeKind::Acknowledged, 1), ["acknowledge i-1-2 -"]);
    let third = ["trigger i-1-3 critical", "resolve i-1-2 -", "resolve i-1 -"];
    assert_eq!(said(NoticeKind::Repeat, 2), third);
    let over = ["resolve i-1-3 -", "resolve i-1-2 -", "resolve i-1 -"];
    assert_eq!(said(NoticeKind::Recovered, 2), over);
    assert_eq!(said(NoticeKind::Recovered, u32::MAX).len(), 9, "it is bounded");
}

#[test]
fn that_somebody_looks_after_it_is_told_there_too() {
    let mut message = Message::clone(&message(&["i-1"]));
    message.notices[0].kind = NoticeKind::Acknowledged;
    assert_eq!(actions(&checked(&message)), ["acknowledge i-1 -"]);
}

#[test]
fn what_is_over_before_it_could_be_told_is_on_record_and_resolved() {
    let events = checked(&over("i-1", NoticeKind::Ended));
    assert_eq!(actions(&events), ["trigger i-1 info", "resolve i-1 -"]);
    assert_eq!(
        events[0]["payload"]["summary"],
        "errors-high: was critical from 2026-01-05T00:00:00Z to 2026-01-05T00:07:00Z. Too many errors"
    );
}

#[test]
fn a_test_touches_no_real_alert_and_says_what_it_is() {
    let test = Message { is_test: true, ..Message::clone(&message(&["i-1"])) };
    let events = checked(&test);
    assert_eq!(actions(&events), ["trigger test-i-1 critical"]);
    assert!(events[0]["payload"]["summary"].as_str().unwrap().starts_with("[TEST] "));
}

#[test]
fn hostile_and_endless_names_stay_within_the_form() {
    let events = checked(&hostile(3));
    assert_eq!(events.len(), 3);
}

#[test]
fn a_whole_event() {
    let events = checked(&message(&["i-1"]));
    insta::assert_snapshot!(serde_json::to_string_pretty(&events[0]).unwrap(), @r#"
    {
      "client": "tallyd",
      "client_url": "http://127.0.0.1:8311",
      "dedup_key": "i-1",
      "event_action": "trigger",
      "links": [
        {
          "href": "https://wiki.example/errors",
          "text": "Runbook"
        }
      ],
      "payload": {
        "component": "errors-high",
        "custom_details": {
          "since": "2026-01-05T00:00:00Z",
          "threshold": "critical above 10, until at most 5",
          "value now": "17 in 5s",
          "what happened": "It became critical.",
          "when it began": "17 in 5s",
          "worst": "17 in 5s"
        },
        "severity": "critical",
        "source": "127.0.0.1",
        "summary": "errors-high: 17 in 5s. Too many errors",
        "timestamp": "2026-01-05T00:00:00Z"
      },
      "routing_key": "0123456789abcdef0123456789abcdef"
    }
    "#);
}
