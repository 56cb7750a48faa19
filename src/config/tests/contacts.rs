//! Contacts, and how they are reached.

use super::*;

#[test]
fn who_is_told_again_and_who_else_is_checked() {
    let rule = |lines: &str| {
        messages(&format!(
            "[[contact]]\nname = 'lead'\nwebhook = 'http://127.0.0.1/'\n[[rule]]\nname = 'r'\nseries = 's'\n\
             measure = 'sum'\nnotify = []\ncritical = {{ above = 1 }}\n{lines}"
        ))
    };
    assert_eq!(rule("repeat = '0s'\nescalate = [{ after = '0s', notify = ['lead'] }]\n"), "");
    assert_eq!(
        rule("repeat = '59s'"),
        "10: `repeat` is out of range (must be at least 1m; \"0s\" means never)\n"
    );
    assert_eq!(
        rule(
            "escalate = [\n{ after = '5m', notify = ['laed'] },\n{ after = '5m', notify = [] },\n\
             { notify = ['lead'], who = 1 },\n]"
        ),
        "11: there is no contact `laed`\n\
         12: each step of `escalate` comes later than the one before [11: the one before]\n\
         12: this step of `escalate` tells nobody\n\
         13: `after` is missing in this `escalate`\n\
         13: unknown key `who` in `escalate`\n"
    );
    let steps: Vec<_> =
        (1..=17).map(|at| format!("{{ after = '{at}m', notify = ['lead'] }}")).collect();
    let told = rule(&format!("escalate = [{}]", steps.join(", ")));
    assert_eq!(told, "10: `escalate` has more than 16 steps\n");
}

#[test]
fn contacts_need_a_way_to_be_reached() {
    let contact = |text: &str| messages(&format!("[[contact]]\nname = 'c'\n{text}"));
    assert_snapshot!(contact(""), @"1: a contact needs `email` or `webhook`");
    assert_snapshot!(contact("email = []"), @"3: `email` names nobody");
    assert_snapshot!(contact("email = ['a@b.example']"), @"3: mail needs a server");
    assert_snapshot!(
        contact("email = ['a@b.example']\n[email]\nserver = 'nowhere'"),
        @"5: this is not a mail server (it must begin with smtp://, smtps:// or smtp+plain://)"
    );
    assert_snapshot!(
        contact("email = ['a@b.example', 'a@b.example']\n[email]\nserver = 'smtp://m'"),
        @"3: `a@b.example` is written twice [3: first here]"
    );
    assert_snapshot!(contact("format = 'alertmanager'\nca_file = 'company-ca.pem'\nheaders = {}"), @r"
    1: a contact needs `email` or `webhook`
    3: `format` belongs to a `webhook`, and this contact has none
    4: `ca_file` belongs to a `webhook`, and this contact has none
    5: `headers` belongs to a `webhook`, and this contact has none
    ");
    assert_snapshot!(
        contact("webhook = 'https://a.example'\nca_file = 'absent'"),
        @"4: cannot read `/etc/absent` (entity not found)"
    );
    assert_snapshot!(
        contact("webhook = 'https://a.example'\nca_file = 'empty'"),
        @"4: `/etc/empty` holds no certificate in PEM form (no `-----BEGIN CERTIFICATE-----` in it)"
    );
    assert_snapshot!(
        contact("webhook = 'https://a.example'\nca_file = 'endless'"),
        @"4: cannot read `/etc/endless` (it is larger than 1024 KiB)"
    );
    assert_snapshot!(
        contact("webhook = 'ftp://a.example'"),
        @"3: this is not an http or https URL (it must begin with http:// or https://)"
    );
    assert_snapshot!(
        contact("webhook = 'https:// a.example'"),
        @"3: this is not an http or https URL (white space is not part of a URL)"
    );
    assert_snapshot!(contact("webhook = 'http://localhost:9/'"), @"");
}

#[test]
fn each_form_of_a_webhook_has_what_it_needs_and_nothing_else() {
    let contact = |text: &str| {
        messages(&format!("[[contact]]\nname = 'c'\nwebhook = 'http://localhost/pl4nted'\n{text}"))
    };
    assert_snapshot!(contact("format = 'pagerduty'\nrouting_key_file = 'pagerduty-key'\nsecret_file = 'hub-secret'"), @"");
    assert_snapshot!(contact("format = 'pagerduty'"), @"4: this format needs `routing_key_file`");
    assert_snapshot!(contact("format = 'slack'\nrouting_key_file = 'pagerduty-key'\ntemplate = 'x'\ncontent_type = 'text/plain'"), @r#"
    5: `routing_key_file` belongs to `format = "pagerduty"`
    6: `template` belongs to `format = "template"`
    7: `content_type` belongs to `format = "template"`
    "#);
    assert_snapshot!(contact("secret_file = 'bad-secret'"), @"4: the secret in this file begins with whsec_, so base64 has to follow");
    assert_snapshot!(contact("secret_file = 'empty'"), @"4: `/etc/empty` holds no secret: it is empty, or not one line of text");
    assert_snapshot!(contact("secret_file = 'open-password'"), @"4: the secret can be read by others: mode 0644");
    assert_snapshot!(contact("format = 'template'"), @"4: this format needs `template`");
    assert_snapshot!(contact("format = 'template'\ntemplate = '{{ subject }}'\ncontent_type = 'text'"), @"6: `text` is not a content type");
    assert_snapshot!(contact("format = 'template'\ntemplate = '''\n{{ subject }}\n{{ pl4nted }}'''"), @"5: this template cannot be used (line 2 of it: undefined value: `pl4nted` is undefined)");
    assert_snapshot!(contact("format = 'templat'\ntemplate = 'x'"), @"4: `templat` is not a value of `format` (did you mean `template`?)");
}

#[test]
fn a_sign_of_life_goes_where_it_is_one() {
    let heartbeat = |contact: &str| {
        messages(&format!(
            "[[contact]]\nname = 'c'\n{contact}\n[notify]\nheartbeat = ['c']\n\
             public_url = 'https://t.example'\n[email]\nserver = 'smtp://m'\n"
        ))
    };
    assert_snapshot!(heartbeat("webhook = 'https://a.example/'"), @"");
    assert_snapshot!(heartbeat("webhook = 'https://a.example/'\nemail = ['a@b.example']"), @"");
    assert_snapshot!(
        heartbeat("email = ['a@b.example']"),
        @"5: a sign of life each minute needs a webhook"
    );
    assert_snapshot!(
        heartbeat("webhook = 'https://a.example/'\nformat = 'pagerduty'\nrouting_key_file = 'pagerduty-key'"),
        @"7: a sign of life each minute would page somebody"
    );
}

#[test]
fn a_webhook_sets_only_headers_that_are_its_own() {
    let text = r#"[[contact]]
name = "c"
webhook = "http://127.0.0.1/pl4nted"
headers = { X-A = "pl4nted", x-a = "pl4nted", Host = "pl4nted", B = "pl4nted\n", "C: pl4nted" = "", D = ["pl4nted"] }
"#;
    assert_snapshot!(check(text));
    let good = text.replace("headers = {", "headers = { X-B = 'pl4nted' }\n# {");
    let hook = read(&good).unwrap().config.contacts.remove(0).webhook.unwrap();
    assert_eq!(hook.headers["X-B"].expose(), PLANTED);
    assert_eq!(hook.url.expose(), "http://127.0.0.1/pl4nted");
}

#[test]
fn mail_servers() {
    let server = |url: &str| {
        let loaded = read(&format!("[email]\nserver = '{url}'"));
        match loaded {
            Ok(loaded) => format!("{:?}", loaded.config.email.server.unwrap()),
            Err(problems) => {
                let problem = &problems.list[0];
                format!("{} ({})", problem.message, problem.label)
            }
        }
    };
    assert_snapshot!(
        server("smtp://mail.example"),
        @r#"Relay { host: "mail.example", port: 587, security: StartTls }"#
    );
    assert_snapshot!(
        server("smtps://mail.example"),
        @r#"Relay { host: "mail.example", port: 465, security: Tls }"#
    );
    assert_snapshot!(
        server("smtp+plain://[::1]:2525/"),
        @r#"Relay { host: "::1", port: 2525, security: Plain }"#
    );
    assert_snapshot!(
        server("mail.example:25"),
        @"this is not a mail server (it must begin with smtp://, smtps:// or smtp+plain://)"
    );
    assert_snapshot!(server("smtp://"), @"this is not a mail server (it names no host)");
    assert_snapshot!(server("smtp://a b"), @"this is not a mail server (invalid domain character)");
    assert_snapshot!(server("smtp://a%20b"), @"this is not a mail server (it names no host)");
    assert_snapshot!(server("smtp://a:99999"), @"this is not a mail server (invalid port number)");
    assert_snapshot!(
        server("smtp://a/b"),
        @"this is not a mail server (nothing may follow the host and the port)"
    );
    assert_snapshot!(
        server("smtp://user:pl4nted@a"),
        @"credentials do not belong in the server's URL ()"
    );
}

#[test]
fn a_user_has_a_password_and_never_sends_it_in_clear_text() {
    let email = |text: &str| messages(&format!("[email]\n{text}"));
    assert_snapshot!(email("username = 'u'"), @"2: a `username` needs a password");
    assert_snapshot!(
        email("password_file = 'email-password'"),
        @"2: a password needs a `username`"
    );
    assert_snapshot!(
        email("username = 'u'\npassword_file = 'open-password'"),
        @"3: the password can be read by others: mode 0644"
    );
    assert_snapshot!(
        email("username = 'u'\npassword_file = 'empty'"),
        @"3: `/etc/empty` holds no password: it is empty, or not one line of text"
    );
    assert_snapshot!(
        email("username = 'u'\npassword_file = 'absent'"),
        @"3: cannot read `/etc/absent` (entity not found)"
    );
    assert_snapshot!(
        email("server = 'smtp+plain://m'\nusername = 'u'\npassword_file = 'email-password'"),
        @"3: a password never leaves over clear text"
    );
    assert_snapshot!(
        email("from = 'tallyd'"),
        @"2: `tallyd` is not an e-mail address (invalid input)"
    );
}

#[test]
fn the_password_may_come_from_the_environment() {
    let variable = |name: &str| (name == "TALLYD_EMAIL_PASSWORD").then(|| PLANTED.to_owned());
    let surroundings = Surroundings { variable: &variable, file: &fake_file };
    let read = |text: &str| parse(text, Path::new("tallyd.toml"), &surroundings).unwrap();
    let loaded = read("[email]\nusername = 'u'");
    assert_eq!(loaded.config.email.password, Some(Secret::new(PLANTED)));
    assert!(loaded.warnings.is_empty());
    let loaded = read("[email]\nusername = 'u'\npassword_file = 'email-password'");
    assert_snapshot!(loaded.warnings.render(false), @r"
    warning: TALLYD_EMAIL_PASSWORD is set, but this file is what is used
     --> tallyd.toml:3:17
      |
    3 | password_file = 'email-password'
      |                 ^^^^^^^^^^^^^^^^

    1 warning in tallyd.toml
    ");
}
