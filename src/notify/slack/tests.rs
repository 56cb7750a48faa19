//! Messages against Slack's public reference of their form.

use super::*;
use crate::notify::shape::Shape;
use crate::notify::tests::{hostile, message, over};

fn plain_text(chars: usize) -> Shape {
    Shape::Object(vec![
        ("type", Shape::OneOf(&["plain_text"])),
        ("text", Shape::Text(chars)),
        ("emoji", Shape::Bool(false)),
    ])
}

fn markup(chars: usize) -> Shape {
    Shape::Object(vec![("type", Shape::OneOf(&["mrkdwn"])), ("text", Shape::Text(chars))])
}

fn either(chars: usize) -> Shape {
    Shape::Typed(vec![("plain_text", plain_text(chars)), ("mrkdwn", markup(chars))])
}

/// Block Kit's headers, sections and contexts; secondary attachments; the payload of a webhook.
fn payload() -> Shape {
    let of = |kind: &'static [&'static str]| ("type", Shape::OneOf(kind));
    let block = Shape::Typed(vec![
        ("header", Shape::Object(vec![of(&["header"]), ("text", plain_text(150))])),
        (
            "section",
            Shape::Object(vec![
                of(&["section"]),
                ("?text", either(3000)),
                ("?fields", Shape::List(10, Box::new(either(2000)))),
            ]),
        ),
        (
            "context",
            Shape::Object(vec![
                of(&["context"]),
                ("elements", Shape::List(10, Box::new(either(3000)))),
            ]),
        ),
    ]);
    let attachment = Shape::Object(vec![
        ("?color", Shape::Text(7)),
        ("blocks", Shape::List(50, Box::new(block))),
    ]);
    Shape::Object(vec![
        ("text", Shape::Text(4000)),
        ("mrkdwn", Shape::Bool(false)),
        ("?attachments", Shape::List(20, Box::new(attachment))),
    ])
}

fn checked(message: &Message) -> Value {
    let value: Value = serde_json::from_str(&body(message)).unwrap();
    payload().check(&value, "message").unwrap();
    value
}

#[test]
fn a_whole_message() {
    let value = checked(&message(&["i-1"]));
    insta::assert_snapshot!(serde_json::to_string_pretty(&value).unwrap(), @r##"
    {
      "attachments": [
        {
          "blocks": [
            {
              "text": {
                "emoji": false,
                "text": "CRITICAL: errors-high",
                "type": "plain_text"
              },
              "type": "header"
            },
            {
              "text": {
                "emoji": false,
                "text": "It became critical.\nToo many errors",
                "type": "plain_text"
              },
              "type": "section"
            },
            {
              "fields": [
                {
                  "emoji": false,
                  "text": "Value now\n17 in 5s",
                  "type": "plain_text"
                },
                {
                  "emoji": false,
                  "text": "When it began\n17 in 5s",
                  "type": "plain_text"
                },
                {
                  "emoji": false,
                  "text": "Worst\n17 in 5s",
                  "type": "plain_text"
                },
                {
                  "emoji": false,
                  "text": "Threshold\ncritical above 10, until at most 5",
                  "type": "plain_text"
                },
                {
                  "text": "Began\n<!date^1767571200^{date_short_pretty} {time_secs}|2026-01-05T00:00:00Z>",
                  "type": "mrkdwn"
                }
              ],
              "type": "section"
            },
            {
              "elements": [
                {
                  "text": "<https://wiki.example/errors|Runbook>  ·  <http://127.0.0.1:8311|tallyd>",
                  "type": "mrkdwn"
                }
              ],
              "type": "context"
            }
          ],
          "color": "#b3261e"
        }
      ],
      "mrkdwn": false,
      "text": "[CRITICAL] errors-high: 17 in 5s"
    }
    "##);
}

#[test]
fn what_is_over_says_from_when_to_when() {
    let value = checked(&over("i-1", NoticeKind::Ended)).to_string();
    assert!(value.contains("Ended\\n<!date^1767571620^"), "{value}");
    assert!(value.contains("It was critical, is over, and lasted 7 minutes"), "{value}");
}

#[test]
fn a_thousand_instances_are_listed_or_counted() {
    let ids: Vec<_> = (0..1000).map(|id| format!("i-{id}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let value = checked(&message(&ids));
    let attachments = value["attachments"].as_array().unwrap();
    let rest = attachments.last().unwrap()["blocks"][0]["text"]["text"].as_str().unwrap();
    let listed = rest.lines().filter(|line| line.starts_with("CRITICAL: ")).count();
    let left: usize =
        rest.lines().last().unwrap().split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert_eq!((attachments.len() - 1) + listed + left, 1000);
}

#[test]
fn no_name_calls_a_channel_or_breaks_the_form() {
    let value = checked(&hostile(30));
    let text = value["text"].as_str().unwrap();
    assert!(!text.contains("<!channel>"), "{text}");
    let markups = find(&value, "mrkdwn");
    assert!(markups.iter().all(|text| !text.contains("channel")), "{markups:#?}");
    let test = checked(&Message { is_test: true, ..hostile(1) });
    assert!(test["text"].as_str().unwrap().starts_with("[TEST] "));
    assert!(test.to_string().contains(words::TEST));
}

/// The texts of all objects of that type.
fn find<'a>(value: &'a Value, kind: &str) -> Vec<&'a str> {
    match value {
        Value::Object(object) if value["type"] == kind => {
            object.get("text").and_then(Value::as_str).into_iter().collect()
        }
        Value::Object(object) => object.values().flat_map(|one| find(one, kind)).collect(),
        Value::Array(list) => list.iter().flat_map(|one| find(one, kind)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn a_sign_of_life_is_marked_as_one() {
    let value: Value = serde_json::from_str(&heartbeat("https://t.example/<x>")).unwrap();
    payload().check(&value, "message").unwrap();
    assert_eq!(value["text"], "tallyd is well (heartbeat of https://t.example/&lt;x&gt;)");
}
