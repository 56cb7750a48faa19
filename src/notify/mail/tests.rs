//! Mails as their readers get them.

use std::sync::Arc;

use super::text::COLUMNS;
use super::*;
use crate::config::{Side, Threshold};
use crate::notify::tests::{notice, rule};
use crate::notify::{About, Compared, Deploy, Picture};
use crate::time::Span;

const BEGAN: i64 = 1_767_571_200;

/// Written `secs` after the incident of the sample notice began.
fn message(secs: i64, notices: Vec<Notice>) -> Message {
    Message {
        id: "m-1".to_owned(),
        contact: "oncall".to_owned(),
        at: Timestamp::from_secs(BEGAN + secs),
        notices,
        public_url: "http://127.0.0.1:8311".into(),
        is_test: false,
        is_digest: false,
        is_unsaved: false,
        undelivered: None,
    }
}

fn written(message: &Message) -> Mail {
    compose(message, Timestamp::rfc3339)
}

fn written_with(message: &Message, beside: &Illustrations) -> Mail {
    compose_with(
        message,
        beside,
        &Style { when: &Timestamp::rfc3339, picture_id: "m-1@example.com" },
    )
}

/// Subject and text part, as one text.
fn shown(message: &Message) -> String {
    shown_with(message, &Illustrations::new())
}

fn shown_with(message: &Message, beside: &Illustrations) -> String {
    let mail = written_with(message, beside);
    let long = mail.text.lines().find(|line| line.chars().count() > COLUMNS && line.contains(' '));
    let has_link = |line: &str| line.split(' ').any(|word| word.chars().count() > COLUMNS - 15);
    assert!(long.is_none_or(has_link), "{long:?}");
    assert!(mail.subject.chars().count() <= SUBJECT_CHARS_MAX);
    format!("{}\n\n{}", mail.subject, mail.text)
}

fn on(host: &str) -> Notice {
    let labels = vec![("host".to_owned(), host.to_owned())];
    Notice { labels, ..notice(&rule("errors-high"), "i-1") }
}

fn recovered() -> Notice {
    Notice {
        kind: NoticeKind::Recovered,
        from: Level::Critical,
        level: Level::Ok,
        since: Timestamp::from_secs(BEGAN + 425),
        worst: Some(31.0),
        value: Some(2.0),
        ..on("a")
    }
}

fn unknown() -> Notice {
    let (level, value) = (Level::Unknown, None);
    Notice { level, value, began: None, worst: None, ..notice(&rule("orders-drop"), "i-2") }
}

#[test]
fn firing() {
    let mut rule = rule("errors-high");
    rule.summary = "More errors in checkout than we have ever seen on a quiet day; look at the payment provider first".to_owned();
    let notice = Notice { covered: 0.95, rule: Arc::new(About::of(&rule)), ..on("a") };
    insta::assert_snapshot!(shown(&message(0, vec![notice])), @r##"
    [CRITICAL] errors-high{host=a}: 17 in 5s

    CRITICAL: errors-high{host=a}
    It became critical.
    More errors in checkout than we have ever seen on a quiet day; look at the
    payment provider first

    Value now      17 in 5s
    When it began  17 in 5s
    Worst          17 in 5s
    Note           part of the window was not covered; the sum is scaled up
    Threshold      critical above 10, until at most 5
    Since          2026-01-05T00:00:00Z (just now)
    Instance       host=a
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    Command        tallyd check errors-high
    "##);
}

#[test]
fn worse() {
    let mut rule = rule("errors-high");
    let warning =
        Threshold { value: 3.0, clear: 3.0, hold: Span::from_secs(60), ..rule.critical.unwrap() };
    rule.warning = Some(warning);
    rule.critical = Some(Threshold { side: Side::Above, ..rule.critical.unwrap() });
    let notice = Notice {
        kind: NoticeKind::Worse,
        from: Level::Warning,
        since: Timestamp::from_secs(BEGAN + 3725),
        began: Some(4.0),
        ..notice(&rule, "i-1")
    };
    insta::assert_snapshot!(shown(&message(3725, vec![notice])), @r##"
    [CRITICAL] errors-high: 17 in 5s

    CRITICAL: errors-high
    It got worse: it was a warning, it is critical now.
    Too many errors

    Value now      17 in 5s
    When it began  4 in 5s
    Worst          17 in 5s
    Threshold      critical above 10, until at most 5
    Incident since 2026-01-05T00:00:00Z (1 hour 2 minutes ago)
    Since          2026-01-05T01:02:05Z (just now)
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    Command        tallyd check errors-high
    "##);
}

#[test]
fn a_recovery() {
    insta::assert_snapshot!(shown(&message(425, vec![recovered()])), @r##"
    [OK] errors-high{host=a}: 2 in 5s

    OK: errors-high{host=a}
    It has recovered. It was critical, and lasted 7 minutes 5 seconds.
    Too many errors

    Value now      2 in 5s
    When it began  17 in 5s
    Worst          31 in 5s
    Threshold      critical above 10, until at most 5
    Lasted         7 minutes 5 seconds, since 2026-01-05T00:00:00Z
    Recovered      2026-01-05T00:07:05Z (just now)
    Instance       host=a
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    Command        tallyd check errors-high
    "##);
}

#[test]
fn data_that_stopped_coming() {
    insta::assert_snapshot!(shown(&message(1, vec![unknown()])), @r##"
    [UNKNOWN] orders-drop: no data

    UNKNOWN: orders-drop
    Data stopped coming, so nobody knows how it is.
    Too many errors

    Value now      no data
    Threshold      critical above 10, until at most 5
    Since          2026-01-05T00:00:00Z (1 second ago)
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    Command        tallyd check orders-drop
    "##);
}

#[test]
fn several_and_a_test() {
    let mut message = message(430, vec![on("b"), unknown(), recovered()]);
    message.is_test = true;
    insta::assert_snapshot!(shown(&message), @r##"
    [TEST] [CRITICAL] 3 alerts: errors-high{host=b}, orders-drop, errors-high{host=a}

    This is a test. It was asked for with `tallyd notify test`; nothing is wrong.

    3 alerts: 1 critical, 1 unknown, 1 ok

    CRITICAL: errors-high{host=b}
    It became critical.
    Too many errors

    Value now      17 in 5s
    When it began  17 in 5s
    Worst          17 in 5s
    Threshold      critical above 10, until at most 5
    Since          2026-01-05T00:00:00Z (7 minutes 10 seconds ago)
    Instance       host=b
    Runbook        https://wiki.example/errors

    UNKNOWN: orders-drop
    Data stopped coming, so nobody knows how it is.
    Too many errors

    Value now      no data
    Threshold      critical above 10, until at most 5
    Since          2026-01-05T00:00:00Z (7 minutes 10 seconds ago)
    Runbook        https://wiki.example/errors

    OK: errors-high{host=a}
    It has recovered. It was critical, and lasted 7 minutes 5 seconds.
    Too many errors

    Value now      2 in 5s
    When it began  17 in 5s
    Worst          31 in 5s
    Threshold      critical above 10, until at most 5
    Lasted         7 minutes 5 seconds, since 2026-01-05T00:00:00Z
    Recovered      2026-01-05T00:07:05Z (5 seconds ago)
    Instance       host=a
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    "##);
}

#[test]
fn what_a_test_has_not_has_no_line() {
    let about = About {
        name: "test".to_owned(),
        summary: "Whoever reads this…".to_owned(),
        ..About::default()
    };
    let notice = Notice { rule: Arc::new(about), began: None, worst: None, ..on("b") };
    let message =
        Message { is_test: true, ..message(0, vec![Notice { labels: Vec::new(), ..notice }]) };
    let text = written(&message).text;
    let lines: Vec<_> = text.lines().skip_while(|line| !line.starts_with("Value now")).collect();
    let expect = [
        "Value now      17",
        "Since          2026-01-05T00:00:00Z (just now)",
        "",
        "Server         http://127.0.0.1:8311",
    ];
    assert_eq!(lines, expect);
}

#[test]
fn hostile_names_stay_where_they_stand() {
    let mut rule = rule("it's\r\nSubject: <b>x</b>");
    rule.summary = "<script>alert(1)</script>\r\n\r\nValue now      0 in 5s".to_owned();
    rule.runbook = Some("javascript:alert(1)".to_owned());
    let labels = vec![("host".to_owned(), "Łódź\r\nBcc: all@example.com\u{202e}\"&<i>".to_owned())];
    let message = message(0, vec![Notice { labels, ..notice(&rule, "i-1") }]);
    insta::assert_snapshot!(shown(&message), @r##"
    [CRITICAL] it's Subject: <b>x</b>{host=Łódź Bcc: all@example.com "&<i>}: 17 in 5s

    CRITICAL: it's Subject: <b>x</b>{host=Łódź Bcc: all@example.com "&<i>}
    It became critical.
    <script>alert(1)</script> Value now 0 in 5s

    Value now      17 in 5s
    When it began  17 in 5s
    Worst          17 in 5s
    Threshold      critical above 10, until at most 5
    Since          2026-01-05T00:00:00Z (just now)
    Instance       host=Łódź Bcc: all@example.com "&<i>
    Runbook        javascript:alert(1)

    Server         http://127.0.0.1:8311
    Command        tallyd check 'it'\''s Subject: <b>x</b>'
    "##);
    let html = written(&message).html;
    for tag in ["<script", "<b>", "<i>", "href=\"javascript", "\u{202e}", "\r"] {
        assert!(!html.contains(tag), "{tag:?} in {html}");
    }
    assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt; Value now 0 in 5s"));
}

#[test]
fn html_says_what_text_says() {
    let html = written(&message(425, vec![recovered()])).html;
    insta::assert_snapshot!(html.replace("><", ">\n<"));
}

/// All that can stand beside the sample notice, about a change against last week.
fn dropped() -> (Message, Illustrations) {
    let mut rule = rule("orders-drop");
    let text = " % against last week".to_owned();
    rule.summary = "Orders fell by half against last week".to_owned();
    let mut about = About::of(&rule);
    (about.unit.is_signed, about.unit.text) = (true, text);
    about.critical = Some("below −50 for 2m, until at least −40".to_owned());
    let (value, worst) = (Some(-61.2), Some(-64.5));
    let notice = notice(&rule, "i-1");
    let notice = Notice { rule: about.into(), began: value, value, worst, ..notice };
    let deploy = |back: u64, what: &str, who: &str| {
        Deploy::new(Timestamp::from_secs(BEGAN) - Span::from_secs(back), what, who).unwrap()
    };
    let its = Illustration {
        compared: Some(Compared {
            now: "12.4 per minute".to_owned(),
            then: "32 per minute".to_owned(),
            when: "last week".to_owned(),
        }),
        picture: Some(Picture { light: vec![1], dark: vec![2], title: "orders-drop".to_owned() }),
        deploys: vec![
            deploy(300, "shop 2.1", "kim"),
            deploy(1500, "search 7", ""),
            deploy(1800, "a", "b"),
            deploy(2000, "c", "d"),
        ],
        acknowledge: Some("https://tallyd.example.com/ack/i-1?for=oncall&until=1768176000&signature=00112233445566778899aabbccddeeff".to_owned()),
        silence: Some("https://tallyd.example.com/silence/i-1?for=oncall&until=1768176000&signature=0".to_owned()),
    };
    (message(30, vec![notice]), Illustrations::from([("i-1".into(), its)]))
}

#[test]
fn a_change_is_told_with_what_it_is_one_of_and_what_may_have_caused_it() {
    let (message, beside) = dropped();
    insta::assert_snapshot!(shown_with(&message, &beside));
    let mail = written_with(&message, &beside);
    let ids: Vec<_> = mail.pictures.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["chart-1-light.m-1@example.com", "chart-1-dark.m-1@example.com"]);
    for id in ids {
        assert_eq!(mail.html.matches(&format!("src=\"cid:{id}\"")).count(), 1, "{id}");
    }
    insta::assert_snapshot!("html_with_all_that_there_can_be", mail.html.replace("><", ">\n<"));
}

#[test]
fn a_recovery_offers_nothing_to_acknowledge() {
    let (_, mut beside) = dropped();
    for its in beside.values_mut() {
        its.compared = None;
    }
    let mail = written_with(&message(425, vec![recovered()]), &beside);
    assert!(!mail.text.contains("/ack/") && !mail.html.contains("/silence/"), "{}", mail.text);
    assert!(mail.text.contains("Deployed"));
}

#[test]
fn what_stands_beside_a_message_forges_nothing_either() {
    let (message, mut beside) = dropped();
    for its in beside.values_mut() {
        let bad = "x\r\nBcc: all@example.com\r\n<b>";
        its.deploys = vec![Deploy { at: message.at, what: bad.to_owned(), who: bad.to_owned() }];
        its.acknowledge = Some("javascript:alert(1)".to_owned());
        let picture = its.picture.as_mut().unwrap();
        picture.title = "\"><script>".to_owned();
    }
    let mail = written_with(&message, &beside);
    assert!(!mail.text.contains("\nBcc") && !mail.text.contains('\r'), "{}", mail.text);
    for bad in ["<script", "<b>", "href=\"javascript"] {
        assert!(!mail.html.contains(bad), "{bad} in {}", mail.html);
    }
}

#[test]
fn subjects_are_bounded_and_keep_the_value() {
    let check = |notices: Vec<Notice>, expect: &str| {
        let subject = written(&message(0, notices)).subject;
        assert_eq!((subject.chars().count(), subject.as_str()), (expect.chars().count(), expect));
        assert!(subject.chars().count() <= SUBJECT_CHARS_MAX, "{subject}");
    };
    let long = "x".repeat(250);
    check(vec![on(&long)], &format!("[CRITICAL] errors-high{{host={}…: 17 in 5s", "x".repeat(81)));
    check(vec![on("a"), on("b")], "[CRITICAL] 2 alerts: errors-high{host=a}, errors-high{host=b}");
    let storm: Vec<_> = (0..50).map(|host| on(&format!("web-{host}"))).collect();
    check(
        storm[..20].to_vec(),
        "[CRITICAL] 20 alerts: errors-high{host=web-0}, errors-high{host=web-1}, errors-high{host=web-2}, …",
    );
    check(storm, "[CRITICAL] 50 alerts: errors-high (50 critical)");
    check(
        vec![on(&long), on("b")],
        &format!("[CRITICAL] 2 alerts: errors-high{{host={}…", "x".repeat(81)),
    );
    let gone = Notice { value: None, ..recovered() };
    check(vec![gone], "[OK] errors-high{host=a}: recovered");
}

#[test]
fn a_storm_is_listed_by_rule_and_then_counted() {
    let mut storm: Vec<_> = (0..600).map(|host| on(&format!("web-{host}"))).collect();
    let level = Level::Warning;
    storm.push(Notice { level, ..notice(&rule("queue-long"), "i-9") });
    let mail = written(&message(0, storm));
    assert_eq!(
        mail.subject,
        "[CRITICAL] 601 alerts: errors-high (600 critical), queue-long (1 warning)"
    );
    let text = mail.text;
    let head = "601 alerts: 600 critical, 1 warning\n\nerrors-high: 600 critical\n  CRITICAL host=web-0: 17 in 5s\n";
    assert!(text.starts_with(head), "{text}");
    assert_eq!(text.matches("  CRITICAL host=web-").count(), BRIEF_MAX - 1);
    assert!(text.contains("\n  … and 101 more of errors-high\n"), "{text}");
    assert!(text.contains("\nqueue-long: 1 warning\n  WARNING  17 in 5s\n"), "{text}");
    for line in [">CRITICAL</th>", "… and 101 more", "queue-long: 1 warning"] {
        assert!(mail.html.contains(line), "{line}");
    }
}

#[test]
fn what_is_a_digest_by_the_configuration_is_one_in_subject_and_body() {
    let few = message(0, vec![on("a"), on("b")]);
    assert_eq!(
        written(&few).subject,
        "[CRITICAL] 2 alerts: errors-high{host=a}, errors-high{host=b}"
    );
    let mail = written(&Message { is_digest: true, ..few });
    assert_eq!(mail.subject, "[CRITICAL] 2 alerts: errors-high (2 critical)");
    assert!(
        mail.text.contains("errors-high: 2 critical\n  CRITICAL host=a: 17 in 5s\n"),
        "{}",
        mail.text
    );
}

#[test]
fn a_storm_of_many_rules_names_each() {
    let storm = (0..900).map(|at| notice(&rule(&format!("rule-{at}")), &format!("i-{at}")));
    let text = written(&message(0, storm.collect())).text;
    assert!((0..900).all(|at| text.contains(&format!("\nrule-{at}: 1 critical\n"))), "{text}");
}
