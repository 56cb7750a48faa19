//! What templates are given is what they were tried with.

use super::*;
use crate::config::{Template, samples};
use crate::notify::NoticeKind;
use crate::notify::tests::{hostile, message, over};

/// Names and kinds of a value, all the way down; of a list those of its first.
fn kinds(value: &Value) -> Value {
    match value {
        Value::Object(object) => {
            object.iter().map(|(name, value)| (name.clone(), kinds(value))).collect()
        }
        Value::Array(list) => list.first().map(kinds).into_iter().collect(),
        Value::Null | Value::Number(_) => "a number or nothing".into(),
        Value::String(_) => "a text".into(),
        Value::Bool(_) => "yes or no".into(),
    }
}

/// Which tags an alert has, and whether it is over, depends on the alert.
fn comparable(value: &Value) -> Value {
    let mut kinds = kinds(value);
    if let Some(alert) = kinds["alerts"].get_mut(0) {
        alert["labels"] = "tags".into();
        alert["ended"] = "an instant or nothing".into();
    }
    kinds
}

#[test]
fn a_message_has_the_names_and_kinds_of_the_samples() {
    let [begins, ends, beats] = samples();
    assert_eq!(comparable(&known(&message(&["i-1"]))), comparable(&begins));
    assert_eq!(comparable(&known(&hostile(2))), comparable(&begins));
    assert_eq!(comparable(&known(&over("i-1", NoticeKind::Recovered))), comparable(&ends));
    assert_eq!(
        comparable(&heartbeat("x", "http://x", crate::time::Timestamp::EPOCH)),
        comparable(&beats)
    );
}

#[test]
fn hostile_names_stay_inside_their_strings() {
    let source = r#"{"text": {{ subject }}, "all": {{ alerts|map(attribute="title")|list }}}"#;
    let template = Template::new(source, "application/json").unwrap();
    let message = hostile(30);
    let body = template.render(&known(&message)).unwrap();
    let read: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(read["all"].as_array().unwrap().len(), 30);
    assert_eq!(read["all"][0], crate::notify::words::title(&message.notices[0]));
}
