//! Mails as their readers get them.

use std::sync::Arc;

use super::*;
use crate::config::{Side, Threshold};
use crate::notify::About;
use crate::notify::tests::{notice, rule};
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
        is_unsaved: false,
        undelivered: None,
    }
}

fn written(message: &Message) -> Mail {
    compose(message, Timestamp::rfc3339)
}

/// Subject and text part, as one text.
fn shown(message: &Message) -> String {
    let mail = written(message);
    let long = mail.text.lines().find(|line| line.chars().count() > COLUMNS && line.contains(' '));
    assert!(long.is_none_or(|line| line.trim_start().split(' ').count() <= 2), "{long:?}");
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
    Command        tallyd check errors-high
                   tallyd check orders-drop
    "##);
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
    insta::assert_snapshot!(written(&message(425, vec![recovered()])).html.replace("><", ">\n<"), @r##"
    <!DOCTYPE html>
    <html lang="en">
    <head>
    <meta charset="utf-8">
    <meta name="color-scheme" content="light dark">
    <meta name="supported-color-schemes" content="light dark">
    <title>[OK] errors-high{host=a}: 2 in 5s</title>
    </head>
    <body style="font-family:sans-serif;font-size:15px;line-height:1.4">
    <h2 style="font-size:18px;margin:24px 0 4px">
    <span style="background-color:#1e6b34;color:#ffffff;padding:2px 8px;border-radius:3px">OK</span> errors-high{host=a}</h2>
    <p style="margin:4px 0">It has recovered. It was critical, and lasted 7 minutes 5 seconds.</p>
    <p style="margin:4px 0">Too many errors</p>
    <table style="border-collapse:collapse;margin:8px 0">
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Value now</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">2 in 5s</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">When it began</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">17 in 5s</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Worst</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">31 in 5s</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Threshold</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">critical above 10, until at most 5</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Lasted</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">7 minutes 5 seconds, since 2026-01-05T00:00:00Z</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Recovered</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">2026-01-05T00:07:05Z (just now)</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Instance</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">host=a</td>
    </tr>
    <tr>
    <th scope="row" style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">Runbook</th>
    <td style="text-align:left;vertical-align:top;padding:3px 12px 3px 0;border-bottom:1px solid #888888">
    <a href="https://wiki.example/errors">https://wiki.example/errors</a>
    </td>
    </tr>
    </table>
    <p>Server: <a href="http://127.0.0.1:8311">http://127.0.0.1:8311</a>
    </p>
    <p>
    <code>tallyd check errors-high</code>
    </p>
    </body>
    </html>
    "##);
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
        storm,
        "[CRITICAL] 50 alerts: errors-high{host=web-0}, errors-high{host=web-1}, errors-high{host=web-2}, …",
    );
    check(
        vec![on(&long), on("b")],
        &format!("[CRITICAL] 2 alerts: errors-high{{host={}…", "x".repeat(81)),
    );
    let gone = Notice { value: None, ..recovered() };
    check(vec![gone], "[OK] errors-high{host=a}: recovered");
}

#[test]
fn a_storm_is_listed_and_then_counted() {
    let storm: Vec<_> = (0..600).map(|host| on(&format!("web-{host}"))).collect();
    let text = written(&message(0, storm)).text;
    assert!(text.starts_with("600 alerts: 600 critical\n"), "{text}");
    assert_eq!(text.matches("CRITICAL: errors-high{host=web-").count(), DETAILED_MAX + BRIEF_MAX);
    assert!(text.contains("\n… and 80 more\n"));
    assert_eq!(text.matches("tallyd check errors-high").count(), 1);
}
