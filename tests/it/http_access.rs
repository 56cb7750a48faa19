//! Who may ask over HTTP, on the real binary: tokens and their reload, TLS, commands that show a token, and links
//! that need none.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Output};

use rustls::pki_types::CertificateDer;

use crate::access::tls_to;
use crate::harness::{Server, binary, text};

const READER: &str = "reader-0123456789-abcdef";
const OPERATOR: &str = "operator-0123456789-abcdef";
const ADMIN: &str = "admin-0123456789-abcdef";
const LATER: &str = "later-0123456789-abcdef";

const HTTP: &str = "[http]\ntoken_file = \"tokens\"\n";

const RULE: &str = "[[rule]]\nname = \"r\"\nseries = \"a\"\nmeasure = \"sum\"\nwindow = \"1s\"\n\
                    notify = []\ncritical = { above = 1000 }\n";

fn write(dir: &Path, name: &str, content: &str) {
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(dir.join(name));
    file.and_then(|mut file| file.write_all(content.as_bytes())).expect("it can be written");
}

/// A directory with tokens of every role.
fn with_tokens() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = format!("# mine\nread:{READER}\noperate:{OPERATOR}\nadmin:{ADMIN}\n");
    write(dir.path(), "tokens", &tokens);
    dir
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// Runs a command in a directory, with these variables.
fn tallyd(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(binary());
    command.args(args).current_dir(dir).env_remove("TALLYD_SERVER").env_remove("TALLYD_TOKEN");
    command.envs(variables.iter().copied()).output().expect("tallyd runs")
}

#[test]
fn tokens_open_the_doors_and_are_read_again() {
    let rest = format!("{HTTP}{RULE}");
    let mut server = Server::start_in(with_tokens(), "", &rest, &[("TALLYD_LOG", "trace")]);
    let status = |server: &Server, path: &str, token: &str| {
        server.get_with(path, &if token.is_empty() { String::new() } else { bearer(token) }).0
    };
    assert_eq!(status(&server, "/healthz", ""), 200);
    assert_eq!(status(&server, "/metrics", ""), 401);
    assert_eq!(status(&server, "/metrics", READER), 200);
    assert_eq!(status(&server, "/metrics", LATER), 401);
    assert_eq!(status(&server, "/api/v1/backup", OPERATOR), 403);
    let (code, body) = server.get(&format!("/metrics?token={READER}"));
    assert!(code == 400 && body.contains("does not belong into an address"), "{body}");
    let named =
        server.get_with("/metrics", &(bearer(READER) + "X-Forwarded-Host: evil.example\r\n"));
    assert!(named.1.contains("\ntallyd_http_refused_total 3\n"), "{}", named.1);
    // Under any name: there is no page that could send a token.
    let answer = server.http_raw(&format!(
        "GET /check/r HTTP/1.1\r\nHost: tallyd.example\r\nConnection: close\r\n{}\r\n",
        bearer(READER)
    ));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    write(server.dir(), "tokens", &format!("read:{LATER}\n"));
    server.signal("HUP");
    server.wait_for_log("reloaded the configuration");
    assert_eq!(
        (status(&server, "/metrics", READER), status(&server, "/metrics", LATER)),
        (401, 200)
    );
    write(server.dir(), "tokens", &format!("{LATER}\n"));
    server.signal("HUP");
    let line = server.wait_for_log("the configuration was not reloaded");
    assert!(line.contains("line 1 has no `:`") && !line.contains(LATER), "{line}");
    assert_eq!(status(&server, "/metrics", LATER), 200, "what was read before holds");
    assert!(!server.logged.iter().any(|line| line.contains("next start")), "it needs none");
    assert!(server.logged.iter().all(|line| !line.contains("0123456789")), "{:?}", server.logged);
}

/// The configuration of a running server becomes another, and it is told so.
fn reload(server: &mut Server, change: impl FnOnce(String) -> String, expect: &str) -> String {
    let path = server.dir().join("tallyd.toml");
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, change(text)).expect("it can be written");
    server.logged.clear();
    server.signal("HUP");
    server.wait_for_log(expect)
}

#[test]
fn a_reload_takes_all_files_or_none() {
    let dir = with_tokens();
    write(dir.path(), "users", "foo:old\n");
    let rest = format!("{HTTP}[memcached]\nauth_file = \"users\"\n{RULE}");
    let mut server = Server::start_in(dir, "", &rest, &[]);
    let reads = |server: &Server, token: &str| server.get_with("/metrics", &bearer(token)).0 == 200;
    let speaks = |server: &Server, words: &str| {
        server.client().ask(&format!("set x 0 0 {}\r\n{words}\r\n", words.len())) == "STORED"
    };
    // Each of these is good, and what stands beside them is not.
    write(server.dir(), "tokens", &format!("read:{LATER}\n"));
    write(server.dir(), "users", "foo:new\n");
    let line = reload(&mut server, |text| text + "[nonsense]\n", "was not reloaded");
    assert!(line.contains("nonsense"), "{line}");
    assert!(reads(&server, READER) && !reads(&server, LATER), "the tokens of before");
    assert!(speaks(&server, "foo old") && !speaks(&server, "foo new"), "and the users");
    let mend = |text: String| text.replace("[nonsense]\n", "");
    reload(&mut server, mend, "reloaded the configuration");
    assert!(!reads(&server, READER) && reads(&server, LATER));
    assert!(!speaks(&server, "foo old") && speaks(&server, "foo new"));

    // Another file takes effect at once; none at all, and other addresses, at the next start.
    write(server.dir(), "others", &format!("read:{OPERATOR}\n"));
    let other = |text: String| text.replace("\"tokens\"", "\"others\"");
    reload(&mut server, other, "reloaded the configuration");
    assert!(!reads(&server, LATER) && reads(&server, OPERATOR));
    let none = |text: String| {
        text.replace("token_file = \"others\"", "").replace("threads = 2", "threads = 3")
    };
    let line = reload(&mut server, none, "at the next start");
    assert!(line.contains("changed in server.threads, http.token_file takes"), "{line}");
    assert!(reads(&server, OPERATOR) && server.get("/metrics").0 == 401, "the door stays shut");
}

#[test]
fn commands_show_the_token_that_they_are_given() {
    let server = Server::start_in(with_tokens(), "", &format!("{HTTP}{RULE}"), &[]);
    let at = format!("http://{}", server.http);
    let dir = server.dir().to_owned();
    write(&dir, "mine", &format!("{READER}\n"));
    write(&dir, "boss", &format!("# the boss\nadmin:{ADMIN}\n"));
    let run = |args: &[&str], variables: &[(&str, &str)]| {
        let mut all = args.to_vec();
        all.extend(["--server", &at]);
        let output = tallyd(&dir, &all, variables);
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, out, _) = run(&["check", "r"], &[]);
    assert_eq!(code, Some(3), "{out}");
    assert!(out.contains("says: this server asks for a token"), "{out}");
    let (code, out, _) = run(&["check", "r", "--token-file", "mine"], &[]);
    assert_eq!(code, Some(0), "{out}");
    for variables in [[("TALLYD_TOKEN_FILE", "mine")], [("TALLYD_TOKEN", READER)]] {
        let (code, out, _) = run(&["rules", "list"], &variables);
        assert!(code == Some(0) && out.starts_with("RULE"), "{out}");
    }
    let (code, _, error) = run(&["deploy", "shop 2"], &[("TALLYD_TOKEN_FILE", "mine")]);
    assert_eq!(code, Some(2));
    assert!(error.contains("this takes a token of the role operate"), "{error}");
    let boss = [("TALLYD_TOKEN_FILE", "boss")];
    assert_eq!(run(&["deploy", "shop 2"], &boss).0, Some(0));
    assert_eq!(run(&["silence", "r", "--for", "1h"], &boss).0, Some(0));
    assert_eq!(run(&["backup", "there"], &boss).0, Some(0));
    assert_eq!(run(&["rules", "backtest", "--from", "-1m"], &boss).0, Some(0));
    let (_, _, error) = run(&["config", "check", "tallyd.toml"], &boss);
    assert!(!error.contains("token"), "{error}");
    let (code, _, error) = run(&["backup", "elsewhere"], &[]);
    assert!(code == Some(3) && error.contains("says: this server asks for a token"), "{error}");
    let (_, _, error) = run(&["ack", "--token-file", "none"], &[]);
    assert!(error.contains("cannot read none"), "{error}");
    let (_, _, error) = run(&["ack", "--token-file", "tokens"], &[]);
    assert!(error.contains("tokens holds not one token, but 3 lines"), "{error}");
}

#[test]
fn a_server_that_others_reach_asks_for_tokens_or_does_not_start() {
    let dir = with_tokens();
    let config = |http: &str| format!("[server]\nlisten = []\nhttp = [\"0.0.0.0:0\"]\n{http}");
    write(dir.path(), "open.toml", &config(""));
    let output = tallyd(dir.path(), &["serve", "--config", "open.toml"], &[]);
    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("HTTP beyond this machine needs tokens"), "{error}");
    write(dir.path(), "good.toml", &config(HTTP));
    let output = tallyd(dir.path(), &["config", "check", "good.toml"], &[]);
    assert_eq!(output.status.code(), Some(0));
    let warning = text(&output.stderr);
    assert!(
        warning.contains("tokens for this address go over the wire in clear text"),
        "{warning}"
    );
}

/// Writes a certificate for localhost with its key.
fn certify(dir: &Path) -> CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().expect("a key");
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    write(dir, "tallyd.crt", &certificate.pem());
    write(dir, "tallyd.key", &key.serialize_pem());
    certificate.der().clone()
}

/// What is answered over TLS to a client that trusts nothing but `certificate`.
fn over_tls(
    server: &Server,
    certificate: &CertificateDer<'static>,
    request: &str,
) -> Option<String> {
    let mut stream = tls_to(server.http, certificate);
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    // Whatever comes before a connection that is ended without a farewell counts as well.
    let _ = stream.read_to_end(&mut answer);
    Some(text(&answer))
}

#[test]
fn with_a_certificate_http_is_tls_and_nothing_else() {
    let dir = with_tokens();
    let certificate = certify(dir.path());
    let http = format!("{HTTP}tls_cert = \"tallyd.crt\"\ntls_key = \"tallyd.key\"\n{RULE}");
    let mut server = Server::start_in(dir, "", &http, &[]);
    let get = |path: &str, token: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{}\r\n",
            bearer(token)
        )
    };
    let answer = over_tls(&server, &certificate, &get("/metrics", READER)).expect("it is TLS");
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.contains("tallyd_build_info"),
        "{answer}"
    );
    let form = format!("token={READER}");
    let login = format!(
        "POST /login HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
        form.len()
    );
    let answer = over_tls(&server, &certificate, &login).expect("it is TLS");
    assert!(answer.contains("; HttpOnly; SameSite=Lax; Secure\r\n"), "{answer}");
    let clear = server.http_raw(&get("/metrics", READER));
    assert!(!clear.contains("HTTP/1.1"), "clear text is not answered: {clear}");

    let at = format!("https://localhost:{}", server.http.port());
    let check = |more: &[&str]| {
        let mut args = vec!["check", "r", "--server", &at];
        args.extend(more);
        tallyd(server.dir(), &args, &[("TALLYD_TOKEN", READER)])
    };
    let unknown = check(&[]);
    assert_eq!(unknown.status.code(), Some(3), "its authority is not known");
    let known = check(&["--ca-file", "tallyd.crt"]);
    assert_eq!(known.status.code(), Some(0), "{}{}", text(&known.stdout), text(&known.stderr));

    let another = certify(server.dir());
    server.signal("HUP");
    server.wait_for_log("reloaded the configuration");
    assert!(
        over_tls(&server, &another, &get("/readyz", "")).is_some_and(|text| text.contains("200"))
    );
    assert!(over_tls(&server, &certificate, &get("/readyz", "")).is_none(), "the old one is gone");
    write(server.dir(), "tallyd.key", "nothing");
    server.signal("HUP");
    server.wait_for_log("the configuration was not reloaded");
    assert!(over_tls(&server, &another, &get("/readyz", "")).is_some());
}
