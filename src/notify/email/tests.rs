//! Conversations with relays on real sockets.

use std::time::Duration;

use super::*;
use crate::config::{Config, Pem, Secret};
use crate::notify::About;
use crate::notify::peer::{self, Authority, Smtp};
use crate::notify::tests::message;
use crate::notify::{Illustration, Notice, Outcome, Picture, Recipient};

/// May stand in no reason, nor may what it is sent as.
const PASSWORD: &str = "hunter2-sesame";
/// base64 of NUL, `tallyd`, NUL, and the password.
const LOGIN: &str = "AHRhbGx5ZABodW50ZXIyLXNlc2FtZQ==";

fn config(port: u16, security: RelaySecurity, ca_pem: Option<Pem>) -> Config {
    let email = Email {
        server: Some(Relay { host: "127.0.0.1".to_owned(), port, security }),
        from: "tallyd <tallyd@example.com>".to_owned(),
        username: "tallyd".to_owned(),
        password: Some(Secret::new(PASSWORD)),
        ca_pem,
    };
    Config { email, ..Config::default() }
}

fn sample() -> Message {
    Message::clone(&message(&["i-1"]))
}

fn send(config: &Config) -> Outcome {
    let outcome =
        peer::deliver(config, sample(), Recipient::Email("oncall@example.org".to_owned()));
    let text = format!("{outcome:?}");
    assert!(!text.contains(PASSWORD) && !text.contains(LOGIN), "{text}");
    outcome
}

/// The outcome of a relay's one answer in clear text.
fn check(verb: &'static str, answer: &'static str, expect: impl Fn(String) -> Outcome) {
    let (port, _heard) = Smtp { answers: vec![(verb, answer)], ..Smtp::default() }.serve();
    let outcome = send(&config(port, RelaySecurity::Plain, None));
    assert_eq!(outcome, expect(format!("127.0.0.1:{port}")), "{verb} {answer}");
}

#[test]
fn a_mail_in_clear_text_and_no_password() {
    let (port, heard) =
        Smtp { offers: vec!["AUTH PLAIN LOGIN", "8BITMIME"], ..Smtp::default() }.serve();
    assert_eq!(send(&config(port, RelaySecurity::Plain, None)), Outcome::Delivered);
    let heard = heard.get();
    assert_eq!(
        heard[..4],
        [
            "EHLO example.com",
            "MAIL FROM:<tallyd@example.com>",
            "RCPT TO:<oncall@example.org>",
            "DATA"
        ]
    );
    assert_eq!(heard[heard.len() - 2..], [".", "QUIT"]);
    let end = heard.iter().position(|line| line.starts_with("Content-Type: text/html")).unwrap();
    let mail = heard[4..end].join("\n");
    // The one thing in it that depends on the machine.
    let mail = mail.replace(&sample().at.in_system_zone(), "(IN THE SYSTEM'S ZONE)");
    insta::assert_snapshot!(mail, @r##"
    From: tallyd <tallyd@example.com>
    To: oncall@example.org
    Subject: [CRITICAL] errors-high: 17 in 5s
    Date: Mon, 05 Jan 2026 00:00:00 +0000
    Message-ID: <m-1.de2d7645e5c13f63@example.com>
    Auto-Submitted: auto-generated
    X-Auto-Response-Suppress: All
    References: <incident-i-1@example.com>
    MIME-Version: 1.0
    Content-Type: multipart/alternative; boundary="tallyd-035bbf61da7dff39"

    --tallyd-035bbf61da7dff39
    Content-Type: text/plain; charset=utf-8
    Content-Transfer-Encoding: 7bit

    CRITICAL: errors-high
    It became critical.
    Too many errors

    Value now      17 in 5s
    When it began  17 in 5s
    Worst          17 in 5s
    Threshold      critical above 10, until at most 5
    Since          (IN THE SYSTEM'S ZONE) (just now)
    Runbook        https://wiki.example/errors

    Server         http://127.0.0.1:8311
    Command        tallyd check errors-high

    --tallyd-035bbf61da7dff39
    "##);
}

/// The mail to somebody, as it goes over the wire.
fn write_to(message: &Message, beside: &Illustrations, to: &str) -> String {
    let from = "a@example.com".parse().unwrap();
    String::from_utf8(write(message, beside, &from, to.parse().unwrap()).unwrap()).unwrap()
}

/// The headers of a mail, unfolded.
fn headers(message: &Message, to: &str) -> Vec<String> {
    let from = "Łódź <tallyd@example.com>".parse().unwrap();
    let bytes = write(message, &Illustrations::new(), &from, to.parse().unwrap()).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, _) = text.split_once("\r\n\r\n").unwrap();
    head.replace("\r\n ", " ").split("\r\n").map(str::to_owned).collect()
}

fn header<'a>(headers: &'a [String], name: &str) -> Option<&'a str> {
    headers.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

#[test]
fn ids_are_stable_differ_by_recipient_and_thread_by_incident() {
    let first = sample();
    let again = write_to(&first, &Illustrations::new(), "b@example.org");
    let once = write_to(&first, &Illustrations::new(), "b@example.org");
    assert_eq!(once, again, "every attempt says the same");
    let firing = headers(&first, "oncall@example.org");
    let other = headers(&first, "lead@example.org");
    assert_ne!(header(&firing, "Message-ID"), header(&other, "Message-ID"));
    assert_eq!(header(&firing, "References"), Some("<incident-i-1@example.com>"));
    assert_eq!(header(&firing, "In-Reply-To"), None);
    let notices = vec![Notice { kind: NoticeKind::Recovered, ..first.notices[0].clone() }];
    let recovered =
        headers(&Message { id: "m-2".to_owned(), notices, ..first }, "oncall@example.org");
    assert_eq!(header(&recovered, "References"), Some("<incident-i-1@example.com>"));
    assert_eq!(header(&recovered, "In-Reply-To"), Some("<incident-i-1@example.com>"));
}

#[test]
fn pictures_travel_with_the_page_that_shows_them() {
    let picture =
        Picture { light: vec![1; 90], dark: vec![2; 90], title: "errors-high".to_owned() };
    let its = Illustration { picture: Some(picture), ..Illustration::default() };
    let beside = Illustrations::from([("i-1".into(), its)]);
    let mail = write_to(&sample(), &beside, "b@example.org");
    let kinds: Vec<_> = mail.lines().filter(|line| line.starts_with("Content-Type: ")).collect();
    let kinds: Vec<_> = kinds.iter().map(|line| line.split([' ', ';']).nth(1).unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "multipart/alternative",
            "text/plain",
            "multipart/related",
            "text/html",
            "image/png",
            "image/png"
        ]
    );
    for id in ["chart-1-light.m-1@example.com", "chart-1-dark.m-1@example.com"] {
        assert!(mail.contains(&format!("\r\nContent-ID: <{id}>\r\n")), "{id} in {mail}");
        let shown = mail.replace("=\r\n", "").contains(&format!("cid:{id}"));
        assert!(shown, "{id} in {mail}");
    }
    assert!(mail.contains("Content-Disposition: inline; filename=\"chart-1-dark.png\""), "{mail}");
}

#[test]
fn hostile_names_leave_the_headers_as_they_are() {
    let mut message = sample();
    let mut rule = About::clone(&message.notices[0].rule);
    rule.name = "x\r\nBcc: all@example.com\r\n\r\nbody".to_owned();
    let labels = vec![("host".to_owned(), "Ł\r\nX-Evil: 1".repeat(50))];
    message.notices = vec![Notice { rule: rule.into(), labels, ..message.notices[0].clone() }];
    let headers = headers(&message, "\"x, y\" <oncall@example.org>");
    let names: Vec<_> = headers.iter().map(|line| line.split(':').next().unwrap()).collect();
    let expect = [
        "From",
        "To",
        "Subject",
        "Date",
        "Message-ID",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "References",
        "MIME-Version",
        "Content-Type",
    ];
    assert_eq!(names, expect);
    assert!(headers.iter().all(|line| line.is_ascii()), "{headers:?}");
}

#[test]
fn a_relay_that_says_later_is_tried_again() {
    for (verb, what) in [("MAIL", "sender"), ("RCPT", "recipient"), ("DATA", "mail"), (".", "mail")]
    {
        check(verb, "451 4.3.0 not now", |relay| {
            later(format!("{relay} refused the {what}: 451 4.3.0 not now"))
        });
    }
}

#[test]
fn a_relay_that_says_never_is_believed_from_the_sender_on() {
    for (verb, what) in [("MAIL", "sender"), ("RCPT", "recipient"), ("DATA", "mail"), (".", "mail")]
    {
        check(verb, "550-5.1.1 no such\r\n550 5.1.1 \x1b[31muser", |relay| {
            refused(format!("{relay} refused the {what}: 550 5.1.1 no such [31muser"))
        });
    }
    check("GREETING", "554 no service here", |relay| {
        later(format!("{relay} turned the connection away: 554 no service here"))
    });
    check("EHLO", "550 who are you", |relay| {
        later(format!("{relay} turned the connection away: 550 who are you"))
    });
}

#[test]
fn what_is_not_smtp_is_tried_again() {
    check("GREETING", "HTTP/1.1 400 Bad Request", |relay| {
        later(format!("{relay}: its answer is not SMTP"))
    });
    let (port, _heard) = peer::serve(drop);
    let outcome = send(&config(port, RelaySecurity::Plain, None));
    let reason = "it closed the connection without an answer";
    assert_eq!(outcome, later(format!("127.0.0.1:{port}: {reason}")));
    let (port, _socket) = peer::dead_port();
    let outcome = send(&config(port, RelaySecurity::Plain, None));
    assert_eq!(outcome, later(format!("127.0.0.1:{port}: Connection refused")));
}

#[test]
fn a_relay_that_hangs_is_cut_off() {
    for verb in ["GREETING", "RCPT", "."] {
        let (port, _heard) = Smtp { answers: vec![(verb, "")], ..Smtp::default() }.serve();
        let config = config(port, RelaySecurity::Plain, None);
        let recipient = Recipient::Email("oncall@example.org".to_owned());
        let outcome =
            peer::deliver_within(Duration::from_millis(200), &config, sample(), recipient);
        assert_eq!(outcome, later("no answer within 0.2 s"), "{verb}");
    }
}

#[test]
fn a_relay_that_took_the_mail_and_hangs_at_the_farewell_has_the_mail() {
    let (port, heard) = Smtp { answers: vec![("QUIT", "")], ..Smtp::default() }.serve();
    assert_eq!(send(&config(port, RelaySecurity::Plain, None)), Outcome::Delivered);
    assert_eq!(heard.get().last().unwrap(), "QUIT");
}

#[test]
fn nothing_is_said_in_clear_text_where_tls_was_asked_for() {
    let (port, heard) = Smtp { offers: vec!["AUTH PLAIN LOGIN"], ..Smtp::default() }.serve();
    let outcome = send(&config(port, RelaySecurity::StartTls, None));
    let reason = "does not offer STARTTLS; a relay without it has to be written `smtp+plain://`";
    assert_eq!(outcome, later(format!("127.0.0.1:{port} {reason}")));
    assert_eq!(heard.get(), ["EHLO example.com"]);
}

#[test]
fn a_password_goes_over_tls_to_the_right_relay_only() {
    let authority = Authority::new();
    let offers = vec!["STARTTLS", "AUTH PLAIN LOGIN"];
    for (is_implicit, security) in [(false, RelaySecurity::StartTls), (true, RelaySecurity::Tls)] {
        let relay = |name| Smtp {
            offers: offers.clone(),
            tls: Some(authority.server(name)),
            is_implicit,
            ..Smtp::default()
        };
        let (port, heard) = relay("127.0.0.1").serve();
        let outcome = send(&config(port, security, Some(authority.pem())));
        assert_eq!(outcome, Outcome::Delivered);
        let heard = heard.get();
        let login = heard.iter().position(|line| *line == format!("AUTH PLAIN {LOGIN}")).unwrap();
        assert!(is_implicit || heard.iter().position(|line| line == "(TLS)").unwrap() < login);

        let (port, heard) = relay("elsewhere.test").serve();
        let outcome = send(&config(port, security, Some(authority.pem())));
        let reason = "its certificate is for another name than 127.0.0.1";
        assert_eq!(outcome, later(format!("127.0.0.1:{port}: {reason}")));
        assert!(
            !heard.get().iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL"))
        );

        let (port, _heard) = relay("127.0.0.1").serve();
        let outcome = send(&config(port, security, Some(Authority::new().pem())));
        let reason = "its certificate is not signed by an authority that is trusted here";
        assert_eq!(outcome, later(format!("127.0.0.1:{port}: {reason}")));
    }
}

#[test]
fn a_refused_login_is_tried_again_and_never_quoted() {
    let authority = Authority::new();
    let check = |answer, expect: &str| {
        let (port, _heard) = Smtp {
            offers: vec!["AUTH PLAIN LOGIN"],
            answers: vec![("AUTH", answer)],
            tls: Some(authority.server("127.0.0.1")),
            is_implicit: true,
        }
        .serve();
        let outcome = send(&config(port, RelaySecurity::Tls, Some(authority.pem())));
        let reason =
            format!("127.0.0.1:{port} did not accept the user name and password: {expect}");
        assert_eq!(outcome, later(reason));
    };
    check("535 5.7.8 wrong: {line}", "535 5.7.8");
    check("500 unknown command {line}", "500");
}

#[test]
fn an_address_that_cannot_be_read_is_refused() {
    let config = config(1, RelaySecurity::Plain, None);
    for address in ["oncall", "", "a@b\r\nRCPT TO:<c@d>", "a b@example.org"] {
        let outcome = peer::deliver(&config, sample(), Recipient::Email(address.to_owned()));
        assert_eq!(outcome, refused("the recipient's address cannot be read"), "{address:?}");
    }
    let outcome = peer::deliver(&Config::default(), sample(), Recipient::Email("a@b.c".to_owned()));
    assert_eq!(outcome, refused("no mail relay is configured"));
}

#[test]
fn an_address_outside_ascii_needs_a_relay_that_takes_it() {
    let recipient = || Recipient::Email("józef@example.org".to_owned());
    let (port, _heard) = Smtp::default().serve();
    let outcome = peer::deliver(&config(port, RelaySecurity::Plain, None), sample(), recipient());
    let reason = format!("127.0.0.1:{port} takes only addresses in ASCII (no SMTPUTF8)");
    assert_eq!(outcome, refused(reason));
    let (port, heard) = Smtp { offers: vec!["SMTPUTF8", "8BITMIME"], ..Smtp::default() }.serve();
    let outcome = peer::deliver(&config(port, RelaySecurity::Plain, None), sample(), recipient());
    assert_eq!(outcome, Outcome::Delivered);
    assert!(heard.get()[1].ends_with("SMTPUTF8"));
}
