//! Where tallyd listens, and who may come in.

use super::*;

#[test]
fn where_lines_come_in_is_checked() {
    let both = "[server]\nhttp = ['127.0.0.1:1']\n[statsd]\nudp = '0.0.0.0:8125'\ntcp = '127.0.0.1:8125'\n\
                unix = '/run/tallyd/statsd.sock'\n[graphite]\nudp = ''\ntcp = '[::1]:2003'\n";
    let config = read(both).unwrap().config;
    assert_eq!(config.statsd.udp, "0.0.0.0:8125".parse().ok());
    assert_eq!(config.statsd.unix.as_deref(), Some("/run/tallyd/statsd.sock".as_ref()));
    assert_eq!(config.graphite.tcp, "[::1]:2003".parse().ok());
    assert!(config.graphite.udp.is_none() && Config::default().graphite.is_off());
    assert_eq!(
        messages("[statsd]\nudp = 'localhost'\nunix = 'statsd.sock'\n[graphite]\nunix = '/x'\n"),
        "2: `localhost` is not an address to listen on\n\
         3: `unix:statsd.sock` is not a socket to listen on (write the whole path of the file, like \"unix:/run/tallyd.sock\")\n\
         5: unknown key `unix` in [graphite]\n"
    );
    assert_eq!(
        messages(
            "[statsd]\nudp = '127.0.0.1:5'\ntcp = '127.0.0.1:11311'\n\
             [graphite]\nudp = '127.0.0.1:5'\ntcp = '127.0.0.1:5'\n"
        ),
        "3: 127.0.0.1:11311 is listened on twice (also in [server])\n\
         5: 127.0.0.1:5 is listened on twice [2: first here]\n"
    );
}

#[test]
fn sockets_are_addresses_or_whole_paths() {
    let listen = |text: &str| messages(&format!("[server]\nlisten = [{text}]\n"));
    let config = read("[server]\nlisten = [\"127.0.0.1:1\", \"unix:/run/t.sock\"]\nhttp = []");
    let listens = config.unwrap().config.server.listen;
    assert_eq!(listens[1], Listen::Unix("/run/t.sock".into()));
    for (text, expect) in [
        ("'unix:'", "is not a socket to listen on"),
        ("'unix:run/t.sock'", "is not a socket to listen on"),
        ("'unix:/run/'", "is not a socket to listen on"),
        ("'unix:/run/t.sock', 'unix:/run/t.sock'", "unix:/run/t.sock is listened on twice"),
    ] {
        assert!(listen(text).contains(expect), "{text}: {}", listen(text));
    }
    let long = format!("'unix:/{}'", "x".repeat(107));
    assert!(listen(&long).contains("at most 107 bytes"), "{}", listen(&long));
    assert!(messages("[server]\nhttp = ['unix:/x']").contains("is not an address to listen on"));
}

#[test]
fn a_certificate_and_its_key_are_checked_against_each_other() {
    let server = |text: &str| messages(&format!("[server]\n{text}\n"));
    let good = read("[server]\ntls_cert = 'tallyd.crt'\ntls_key = 'tallyd.key'").unwrap();
    let tls = good.config.server.tls.expect("both are there");
    assert_eq!(tls.key_path, Path::new("/etc/tallyd.key"));
    assert!(server_config(&tls).is_ok() && good.warnings.is_empty());
    for (cert, key, expect) in [
        ("tallyd.crt", "", "a certificate needs its key: set `tls_key`"),
        ("", "tallyd.key", "a key needs its certificate: set `tls_cert`"),
        (
            "tallyd.crt",
            "another.key",
            "`/etc/tallyd.crt` and `/etc/another.key` do not fit each other",
        ),
        ("cut.crt", "tallyd.key", "the certificate `/etc/cut.crt` cannot be used"),
        ("empty", "tallyd.key", "`/etc/empty` holds no certificate in PEM form"),
        ("tallyd.crt", "tallyd.crt", "`/etc/tallyd.crt` holds no private key in PEM form"),
        ("tallyd.crt", "absent", "cannot read `/etc/absent`"),
        ("tallyd.crt", "open.key", "the key can be read by others: mode 0640"),
    ] {
        let said = server(&format!("tls_cert = '{cert}'\ntls_key = '{key}'"));
        assert!(said.contains(expect), "{cert} {key}: {said}");
    }
}

#[test]
fn the_users_of_the_memcached_port_come_from_a_file() {
    let users = |file: &str| messages(&format!("[memcached]\nauth_file = '{file}'\n"));
    let auth = read("[memcached]\nauth_file = 'memcached-users'").unwrap().config.memcached.auth;
    let auth = auth.expect("it is there");
    assert_eq!((auth.logins[1].user.as_str(), auth.logins.len()), ("baaaz", 2));
    assert!(!format!("{auth:?}").contains(PLANTED));
    let said = users("open-users");
    assert!(said.contains("the passwords can be read by others: mode 0644"), "{said}");
    let said = users("wrong-users");
    assert!(said.contains("line 2 has no `:`") && !said.contains(PLANTED), "{said}");
    assert!(users("empty").contains("there is no line in it"), "{}", users("empty"));
}

#[test]
fn addresses_are_loopback_for_http_and_never_used_twice() {
    assert_snapshot!(messages(
        r#"[server]
listen = ["0.0.0.0:11311", "127.0.0.1:8311", "127.0.0.1:0", "127.0.0.1:0"]
http = ["[::1]:8311", "127.0.0.1:8311", "0.0.0.0:8311"]
"#
    ), @r"
    3: 127.0.0.1:8311 is listened on twice [2: first here]
    3: HTTP beyond this machine needs tokens: set `token_file` in [http] (not a loopback address)
    ");
}

#[test]
fn http_beyond_this_machine_asks_who_it_is() {
    let http = |lines: &str| {
        messages(&format!("[server]\nhttp = ['0.0.0.0:8311', '127.0.0.1:8312']\n[http]\n{lines}\n"))
    };
    let clear = "2: tokens for this address go over the wire in clear text\n";
    assert_eq!(http("token_file = 'http-tokens'"), clear);
    let tls = "tls_cert = 'tallyd.crt'\ntls_key = 'tallyd.key'";
    assert_eq!(http(&format!("token_file = 'http-tokens'\n{tls}")), "");
    assert_snapshot!(http(tls), @"2: HTTP beyond this machine needs tokens: set `token_file` in [http] (not a loopback address)");
    assert_snapshot!(http(&format!("token_file = 'open-tokens'\n{tls}")), @"4: the tokens can be read by others: mode 0640");
    assert_snapshot!(http(&format!("token_file = 'wrong-tokens'\n{tls}")), @"4: `/etc/wrong-tokens` does not say who may ask (the token of line 2 has less than 16 characters)");
    assert_snapshot!(http(&format!("token_file = 'none'\n{tls}")), @r"4: cannot read `/etc/none` (entity not found)");
    assert_snapshot!(http("token_file = 'http-tokens'\ntls_key = 'tallyd.key'"), @"5: a key needs its certificate: set `tls_cert`");
}

#[test]
fn what_is_said_of_nrpe_is_said_once_and_of_what_it_is() {
    let said = |text: &str| match read(text) {
        Ok(loaded) => loaded.warnings.to_string(),
        Err(problems) => problems.to_string(),
    };
    let count = |text: &str, what: &str| said(text).matches(what).count();
    let named = "[nrpe]\nlisten = '127.0.0.1:5666'\nallow = ['localhost']\n";
    assert_eq!(count(named, "is not a host that may ask"), 1);
    assert_eq!(count(named, "names no host"), 0, "{}", said(named));
    assert_eq!(count(&named.replace("'localhost'", ""), "names no host"), 1);
    assert_eq!(count("[nrpe]\nallow = ['10.0.0.1']\n", "`allow` without `listen`"), 1);
    assert_eq!(said("[nrpe]\nallow = ['10.0.0.1']\nlisten = ''\n"), "");
    assert_eq!(count("[nrpe]\nlisten = '0.0.0.0:5666'\n", "in clear text"), 1);
    assert_eq!(count("[nrpe]\nlisten = '0.0.0.0:5666'\ntls_cert = ''\n", "in clear text"), 1);
    assert_eq!(said("[nrpe]\nlisten = '127.0.0.1:5666'\n"), "");
    for (other, section) in [
        ("[server]\nlisten = ['127.0.0.1:5666']", "[server]"),
        ("[server]\nhttp = ['127.0.0.1:5666']", "[server]"),
        ("[statsd]\ntcp = '127.0.0.1:5666'", "[statsd]"),
        ("[graphite]\ntcp = '127.0.0.1:5666'", "[graphite]"),
    ] {
        let text = format!("[nrpe]\nlisten = '127.0.0.1:5666'\n{other}\n");
        assert_eq!(count(&text, "127.0.0.1:5666 is listened on twice"), 1, "{other}");
        assert_eq!(count(&text, &format!("also in {section}")), 1, "{}", said(&text));
    }
    let any = "[server]\nhttp = ['127.0.0.1:0']\n[nrpe]\nlisten = '127.0.0.1:0'\n";
    assert_eq!(said(any), "");
}
