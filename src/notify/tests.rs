//! Messages about nothing in particular, for the tests of this layer.

use std::sync::Arc;

use super::message::About;
use super::{Message, Notice, NoticeKind};
use crate::config::{Change, Measure, Per, Rule, Side, Threshold};
use crate::rules::Level;
use crate::time::{Span, Timestamp};

/// `sum` of `errors` over `5s`, critical above 10, clear 5.
pub(crate) fn rule(name: &str) -> Rule {
    Rule {
        name: name.to_owned(),
        summary: "Too many errors".to_owned(),
        series: "errors".parse().unwrap(),
        by: Vec::new(),
        measure: Measure::Sum,
        per: Per::Second,
        window: Span::from_secs(5),
        over: None,
        against: None,
        change: Change::Percent,
        floor: None,
        every: Span::SECOND,
        warning: None,
        critical: Some(Threshold {
            side: Side::Above,
            value: 10.0,
            clear: 5.0,
            hold: Span::ZERO,
            of: None,
            clear_hold: Span::ZERO,
        }),
        when: Vec::new(),
        schedule: None,
        missing: None,
        flapping: None,
        depends_on: Vec::new(),
        notify: None,
        repeat: Span::ZERO,
        escalate: Vec::new(),
        runbook: Some("https://wiki.example/errors".to_owned()),
    }
}

/// A notice that `rule` fires.
pub(crate) fn notice(rule: &Rule, incident: &str) -> Notice {
    Notice {
        incident: incident.into(),
        alert: 0,
        opened: Timestamp::from_secs(1_767_571_200),
        kind: NoticeKind::Firing,
        rule: Arc::new(About::of(rule)),
        labels: Vec::new(),
        from: Level::Ok,
        level: Level::Critical,
        since: Timestamp::from_secs(1_767_571_200),
        began: Some(17.0),
        worst: Some(17.0),
        value: Some(17.0),
        covered: 1.0,
        is_at_least: false,
        problem: None,
    }
}

/// A message about these incidents.
pub(crate) fn message(incidents: &[&str]) -> Arc<Message> {
    Arc::new(Message {
        id: "m-1".to_owned(),
        contact: "oncall".to_owned(),
        at: Timestamp::from_secs(1_767_571_200),
        notices: incidents.iter().map(|id| notice(&rule("errors-high"), id)).collect(),
        public_url: "http://127.0.0.1:8311".into(),
        is_test: false,
        is_digest: false,
        is_unsaved: false,
        undelivered: None,
    })
}

/// That an incident is over that lasted seven minutes.
pub(super) fn over(incident: &str, kind: NoticeKind) -> Message {
    let mut message = Message::clone(&message(&[incident]));
    for notice in &mut message.notices {
        (notice.kind, notice.from, notice.level) = (kind, Level::Critical, Level::Ok);
        notice.since = notice.opened + Span::from_secs(420);
    }
    message
}

/// A message about so many incidents whose every text wants to be something else, and is long.
pub(super) fn hostile(count: usize) -> Message {
    const BAD: &str = "<!channel> \"*_`&|{{ x }}</a>\r\n\u{1b}[31m\u{202e}é";
    let ids: Vec<_> = (0..count).map(|id| format!("i-{id}")).collect();
    let ids: Vec<_> = ids.iter().map(String::as_str).collect();
    let mut message = Message::clone(&message(&ids));
    for notice in &mut message.notices {
        let about = About {
            summary: BAD.repeat(200),
            runbook: Some(format!("https://wiki.example/{BAD}")),
            ..About::clone(&notice.rule)
        };
        notice.rule = Arc::new(about);
        notice.labels = vec![("host".to_owned(), BAD.repeat(7))];
        notice.problem = Some(BAD.repeat(100));
    }
    message
}
