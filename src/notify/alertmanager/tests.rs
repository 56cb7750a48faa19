//! Bodies as receivers get them.

use super::*;
use crate::notify::NoticeKind;
use crate::notify::tests::{notice, rule};
use crate::rules::Level;
use crate::time::Timestamp;

fn message(notices: Vec<Notice>) -> Message {
    Message {
        id: "m-1".to_owned(),
        contact: "pager".to_owned(),
        at: Timestamp::from_secs(1_767_571_200),
        notices,
        public_url: "http://127.0.0.1:8311".into(),
        is_test: false,
        is_digest: false,
        is_unsaved: false,
        undelivered: None,
    }
}

fn on(host: &str) -> Notice {
    let labels = vec![("host".to_owned(), host.to_owned()), ("rack".to_owned(), String::new())];
    Notice { labels, ..notice(&rule("errors-high"), "i-1") }
}

fn recovered(host: &str) -> Notice {
    Notice {
        kind: NoticeKind::Recovered,
        from: Level::Critical,
        level: Level::Ok,
        since: Timestamp::from_secs(1_767_571_625),
        value: Some(2.0),
        ..on(host)
    }
}

/// The one body of a message.
fn part(message: &Message) -> Body<'_> {
    let [body] = <[Body<'_>; 1]>::try_from(parts(message)).ok().expect("one part");
    body
}

fn pretty(message: &Message) -> String {
    serde_json::to_string_pretty(&part(message)).unwrap()
}

#[test]
fn firing() {
    insta::assert_snapshot!(pretty(&message(vec![on("a")])), @r##"
    {
      "receiver": "pager",
      "status": "firing",
      "alerts": [
        {
          "status": "firing",
          "labels": {
            "alertname": "errors-high",
            "host": "a",
            "severity": "critical"
          },
          "annotations": {
            "description": "17 in 5s; critical above 10, until at most 5",
            "runbook_url": "https://wiki.example/errors",
            "summary": "Too many errors",
            "value": "17"
          },
          "startsAt": "2026-01-05T00:00:00Z",
          "endsAt": "0001-01-01T00:00:00Z",
          "generatorURL": "http://127.0.0.1:8311/check/errors-high",
          "fingerprint": "6463ed8aeb6b4917"
        }
      ],
      "groupLabels": {
        "alertname": "errors-high",
        "host": "a"
      },
      "commonLabels": {
        "alertname": "errors-high",
        "host": "a",
        "severity": "critical"
      },
      "commonAnnotations": {
        "description": "17 in 5s; critical above 10, until at most 5",
        "runbook_url": "https://wiki.example/errors",
        "summary": "Too many errors",
        "value": "17"
      },
      "externalURL": "http://127.0.0.1:8311",
      "version": "4",
      "groupKey": "{}:{alertname=\"errors-high\", host=\"a\"}",
      "truncatedAlerts": 0
    }
    "##);
}

#[test]
fn resolved_beside_firing() {
    let warning = Notice { level: Level::Warning, covered: 0.95, value: None, ..on("c") };
    insta::assert_snapshot!(pretty(&message(vec![warning, recovered("a")])), @r##"
    {
      "receiver": "pager",
      "status": "firing",
      "alerts": [
        {
          "status": "firing",
          "labels": {
            "alertname": "errors-high",
            "host": "c",
            "severity": "warning"
          },
          "annotations": {
            "description": "no data; critical above 10, until at most 5",
            "runbook_url": "https://wiki.example/errors",
            "summary": "Too many errors"
          },
          "startsAt": "2026-01-05T00:00:00Z",
          "endsAt": "0001-01-01T00:00:00Z",
          "generatorURL": "http://127.0.0.1:8311/check/errors-high",
          "fingerprint": "645ded8aeb66dd69"
        },
        {
          "status": "resolved",
          "labels": {
            "alertname": "errors-high",
            "host": "a",
            "severity": "critical"
          },
          "annotations": {
            "description": "2 in 5s; critical above 10, until at most 5",
            "runbook_url": "https://wiki.example/errors",
            "summary": "Too many errors",
            "value": "2"
          },
          "startsAt": "2026-01-05T00:00:00Z",
          "endsAt": "2026-01-05T00:07:05Z",
          "generatorURL": "http://127.0.0.1:8311/check/errors-high",
          "fingerprint": "6463ed8aeb6b4917"
        }
      ],
      "groupLabels": {
        "alertname": "errors-high"
      },
      "commonLabels": {
        "alertname": "errors-high"
      },
      "commonAnnotations": {
        "runbook_url": "https://wiki.example/errors",
        "summary": "Too many errors"
      },
      "externalURL": "http://127.0.0.1:8311",
      "version": "4",
      "groupKey": "{}/{alerts=\"7ebd57e0d678ae39\"}:{alertname=\"errors-high\"}",
      "truncatedAlerts": 0
    }
    "##);
}

#[test]
fn an_alert_is_the_same_through_every_state() {
    let check = |notice: Notice, expect: &Notice| {
        let (left, right) = (message(vec![notice]), message(vec![expect.clone()]));
        let (left, right) = (part(&left), part(&right));
        assert_eq!(left.alerts[0].fingerprint, right.alerts[0].fingerprint);
        assert_eq!(left.alerts[0].starts_at, right.alerts[0].starts_at);
        assert_eq!(left.group_key, right.group_key);
        assert_eq!(left.group_labels, right.group_labels);
    };
    let warning = Notice { level: Level::Warning, ..on("a") };
    check(Notice { kind: NoticeKind::Worse, from: Level::Warning, ..on("a") }, &warning);
    check(recovered("a"), &warning);
}

#[test]
fn a_group_is_exactly_its_alerts() {
    let key = |notices| part(&message(notices)).group_key.clone();
    assert_eq!(key(vec![on("a"), on("b")]), key(vec![recovered("b"), recovered("a")]));
    assert_ne!(key(vec![on("a"), on("b")]), key(vec![recovered("a"), recovered("c")]));
    assert_ne!(key(vec![on("a")]), key(vec![recovered("b")]));
}

#[test]
fn a_test_is_marked_and_is_an_alert_of_its_own() {
    let real = message(vec![on("a")]);
    let test = Message { is_test: true, ..real.clone() };
    let (real, test) = (part(&real), part(&test));
    assert_eq!(test.alerts[0].labels["test"], "true");
    assert_eq!(test.alerts[0].annotations["summary"], "[TEST] Too many errors");
    assert_ne!(test.alerts[0].fingerprint, real.alerts[0].fingerprint);
}

#[test]
fn tags_do_not_take_the_place_of_our_labels() {
    let tags = [("severity", "none"), ("alertname", "x"), ("zone", "eu\"\r\n</script>")];
    let labels = tags.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let message = message(vec![Notice { labels, ..notice(&rule("a b/ü"), "i-1") }]);
    let body: serde_json::Value = serde_json::from_str(&bodies(&message)[0]).unwrap();
    let alert = &body["alerts"][0];
    assert_eq!(alert["labels"]["alertname"], "a b/ü");
    assert_eq!(alert["labels"]["severity"], "critical");
    assert_eq!(alert["labels"]["exported_severity"], "none");
    assert_eq!(alert["labels"]["zone"], "eu\"\r\n</script>");
    assert_eq!(alert["generatorURL"], "http://127.0.0.1:8311/check/a%20b%2F%C3%BC");
}

#[test]
fn of_very_many_alerts_none_is_cut_off_and_they_stay_one_group() {
    let mut notices: Vec<_> = (0..1500).map(|host| on(&host.to_string())).collect();
    notices.extend((1500..2003).map(|host| recovered(&host.to_string())));
    let message = message(notices);
    let parts = parts(&message);
    let counts: Vec<_> =
        parts.iter().map(|part| (part.alerts.len(), part.truncated_alerts)).collect();
    assert_eq!(counts, [(1000, 1003), (1000, 1003), (3, 2000)]);
    let hosts: std::collections::BTreeSet<_> =
        parts.iter().flat_map(|part| &part.alerts).map(|alert| &alert.labels["host"]).collect();
    assert_eq!(hosts.len(), 2003);
    for part in &parts {
        assert_eq!(part.group_key, parts[0].group_key);
        assert_eq!(part.group_labels, parts[0].group_labels);
        // What is so of the whole group: the third part alone has recovered.
        assert_eq!((part.status, &part.common_labels), (FIRING, &parts[0].common_labels));
    }
    assert!(parts[2].alerts.iter().all(|alert| alert.status == RESOLVED));
}

#[test]
fn numbers_are_as_prometheus_writes_them() {
    assert_eq!(
        [17.0, -61.25, f64::INFINITY, f64::NEG_INFINITY].map(plain),
        ["17", "-61.25", "+Inf", "-Inf"]
    );
}
