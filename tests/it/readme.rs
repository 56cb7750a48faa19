//! README's examples, word by word: what stands there in a block of commands or configuration is run,
//! or checked, here.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use crate::harness::{Server, binary, eventually, text};

const README: &str = include_str!("../../README.md");

/// The blocks of one language, in order.
fn blocks(language: &str) -> Vec<&'static str> {
    let fence = format!("\n```{language}\n");
    let block = |rest: &'static str| rest.split_once("```").expect("it ends").0;
    README.split(fence.as_str()).skip(1).map(block).collect()
}

/// The commands among which are these words.
fn commands(words: &str) -> &'static str {
    let found = blocks("sh").into_iter().find(|block| block.contains(words));
    found.unwrap_or_else(|| panic!("README has a block with {words}"))
}

/// The configuration in which are these words.
fn block_with(words: &str) -> &'static str {
    let found = blocks("toml").into_iter().find(|block| block.contains(words));
    found.unwrap_or_else(|| panic!("README has a block with {words}"))
}

/// Runs commands as they stand, with `tallyd` in the path.
fn shell(dir: &Path, commands: &str, stdin: &str) -> Output {
    let path = std::env::var("PATH").unwrap_or_default();
    let tallyd = binary();
    let folder = tallyd.parent().expect("it lies in a directory").display();
    let mut child = Command::new("sh")
        .args(["-ec", commands])
        .current_dir(dir)
        .env("PATH", format!("{folder}:{path}"))
        .env_remove("TALLYD_EMAIL_PASSWORD")
        .env_remove("TALLYD_SERVER")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("there is a shell");
    let mut input = child.stdin.take().expect("it is piped");
    input.write_all(stdin.as_bytes()).expect("it reads");
    drop(input);
    child.wait_with_output().expect("it ends")
}

#[test]
fn the_configuration_is_good_as_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = block_with("[email]");
    std::fs::write(dir.path().join("tallyd.toml"), config).expect("it can be written");
    let output = shell(dir.path(), commands("email-password"), "correct horse\n");
    // No server of this configuration runs, so nobody knows which series there are.
    let said = text(&output.stderr);
    assert!(
        said.starts_with("note: ") && said.lines().count() == 1,
        "no mistake, no warning: {said}"
    );
    assert_eq!(text(&output.stdout), "tallyd.toml: good, 2 rules, 2 contacts\n");
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn the_cases_hold() {
    let dir = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text);
    write("tallyd.toml", block_with("[email]")).expect("it can be written");
    write("email-password", "correct horse\n").expect("it can be written");
    write("errors-test.toml", block_with("[[test]]")).expect("it can be written");
    let output = shell(dir.path(), commands("tallyd rules test"), "");
    assert!(text(&output.stdout).ends_with("1 passed, 0 failed\n"), "{}", text(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[test]
fn the_first_rule_fires_within_seconds() {
    let rule = block_with("name = \"try\"");
    let server = Server::start(rule);
    assert_eq!(server.client().ask("incr try 5\r\n"), "5");
    let line = eventually("a warning", || {
        Some(server.check("try")).filter(|(code, _)| *code == Some(1)).map(|(_, line)| line)
    });
    let promised = commands("check try").split_once("check try").expect("the line").1;
    let promised = promised.split_once("# ").expect("what it prints").1.split_once('…');
    let promised = promised.expect("the time differs").0;
    assert!(line.starts_with(promised), "README promises {promised}, it is {line}");
}

#[test]
fn a_distribution_is_what_it_is_said_to_be() {
    let server = Server::start(block_with("kind = \"distribution\""));
    let mut client = server.client();
    for value in ["35", "41", "720"] {
        let set = format!("set web.cart.ms 0 0 {}\r\n{value}\r\n", value.len());
        assert_eq!(client.ask(&set), "STORED");
    }
    assert_eq!(client.ask("incr web.cart.ms 1\r\n"), promised("cannot increment"));
    let error = client.ask("set web.cart.ms 0 0 1\r\nx\r\n");
    assert!(error.starts_with(promised("bad data").trim_end_matches('…')), "{error}");
    client.send(b"get web.cart.ms\r\n");
    assert_eq!([client.line(), client.line()], ["VALUE web.cart.ms 0 1", "3"]);
    // As soon as the window is covered: until then a quantile is not judged.
    let line = eventually("a warning", || {
        Some(server.check("web-slow")).filter(|(code, _)| *code == Some(1)).map(|(_, line)| line)
    });
    assert!(line.starts_with("WARNING - web-slow: 720 at p99 over 10s"), "{line}");
    let metrics = server.get("/metrics").1;
    for expect in [
        "# HELP web_cart_ms Time to answer (in ms)\n# TYPE web_cart_ms summary\n",
        "\nweb_cart_ms_sum 796\nweb_cart_ms_count 3\n",
        "\ntallyd_unsafe_observations_total 0\n",
    ] {
        assert!(metrics.contains(expect), "{expect}:\n{metrics}");
    }
}

/// An error in the table of what commands do to which kind.
fn promised(words: &str) -> &'static str {
    let code = |text: &'static str| text.contains(words) && text.starts_with("CLIENT_ERROR");
    README.split('`').find(|text| code(text)).expect("README has it")
}

#[test]
#[ignore = "needs netcat and curl; run tests/run"]
fn what_is_to_be_typed_does_what_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(block_with("name = \"try\""));
    let here = |commands: &str| {
        let ports = commands.replace("11311", &server.memcached.port().to_string());
        ports.replace("8311", &server.http.port().to_string())
    };
    let count = commands("signups");
    let (incr, curl) = count.split_once('\n').expect("two commands");
    let output = shell(dir.path(), &here(incr), "");
    assert_eq!(text(&output.stdout), "1\r\n");
    let curl = here(curl);
    eventually("the total", || {
        text(&shell(dir.path(), &curl, "").stdout).contains("signups_total 1\n").then_some(())
    });
    // Its first line starts a server on the default ports; the one here stands for it.
    let (start, rest) = commands("check try").split_once('\n').expect("several commands");
    assert!(start.starts_with("tallyd --config try.toml &"), "{start}");
    let rest =
        here(rest).replace("check try", &format!("check try --server http://{}", server.http));
    let output = shell(dir.path(), &rest, "");
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).contains("WARNING - try: at least 5 in 10s"),
        "{}",
        text(&output.stdout)
    );
}

#[test]
#[ignore = "needs netcat; run tests/run"]
fn a_line_of_statsd_counts() {
    let anywhere = block_with("[statsd]").replace("127.0.0.1:8125", "127.0.0.1:0");
    let mut server = Server::start(&anywhere.replace("127.0.0.1:2003", "127.0.0.1:0"));
    let on = server.wait_for_log("statsd is on");
    let port = on.split_once("udp:127.0.0.1:").expect("an address").1;
    let port = port.split(|c: char| !c.is_ascii_digit()).next().expect("a port");
    let typed = commands("cart.opened").replace("8125", port);
    let typed = typed.replace("11311", &server.memcached.port().to_string());
    let dir = tempfile::tempdir().expect("a directory");
    let (send, get) = typed.split_once('\n').expect("two commands");
    shell(dir.path(), send, "");
    eventually("the increment", || {
        text(&shell(dir.path(), get, "").stdout).contains("\r\n1\r\n").then_some(())
    });
}

#[test]
fn history_is_asked_for_as_it_says() {
    let server = Server::start("");
    assert_eq!(server.client().ask("incr signups 5\r\n"), "5");
    let here = format!("TALLYD_SERVER=http://{}; export TALLYD_SERVER\n", server.http);
    let asked = here + commands("tallyd query signups");
    let dir = tempfile::tempdir().expect("a directory");
    let output = eventually("the first ten seconds", || {
        let output = shell(dir.path(), &asked, "");
        let text = text(&output.stdout);
        // The course is that of ten seconds, some of which tallyd may not have seen.
        let value = |line: &str| line.rsplit(' ').next().is_some_and(|word| word.starts_with('5'));
        let has_all = output.status.success() && text.lines().skip(2).any(value);
        has_all.then_some(text)
    });
    assert!(output.starts_with("signups  ≥ 5  ("), "an hour is not covered yet: {output}");
    let csv = std::fs::read_to_string(dir.path().join("signups.csv")).expect("it was written");
    assert!(csv.starts_with("time,series,value,note\n"), "{csv}");
    assert!(csv.lines().nth(1).is_some_and(|line| line.contains(",sign*,")), "{csv}");
}

#[test]
fn checks_are_written_as_it_says() {
    let rule = "[[rule]]\nname = \"errors-high\"\nseries = \"shop.errors\"\nby = [\"region\"]\n\
                measure = \"sum\"\ncritical = { above = 10 }\nnotify = []\n";
    let server = Server::start(rule);
    let mut client = server.client();
    assert_eq!(client.ask("incr shop.errors;region=eu 1\r\n"), "1");
    assert_eq!(client.ask("incr orders.placed 1\r\n"), "1");
    eventually("an instance", || server.check("errors-high").1.contains("eu").then_some(()));
    let dir = tempfile::tempdir().expect("a directory");
    let here = format!("TALLYD_SERVER=http://{}; export TALLYD_SERVER\n", server.http);
    let lines: Vec<_> = commands("tallyd check errors-high").lines().collect();
    let said = lines.iter().map(|line| shell(dir.path(), &format!("{here}{line}"), ""));
    let said: Vec<_> = said.map(|output| (output.status.code(), text(&output.stdout))).collect();
    // Too little of five minutes was seen to say that it is no more than one a minute.
    let expect = [
        "OK - errors-high: ",
        "OK - errors-high: ",
        "OK - all rules: 1 ok | ",
        "UNKNOWN - orders.placed: at least ",
    ];
    for ((code, line), expect) in said.iter().zip(expect) {
        assert!(line.starts_with(expect), "{line}");
        assert_eq!(*code, Some(if expect.starts_with("OK") { 0 } else { 3 }), "{line}");
    }
    assert_eq!(said.len(), expect.len());
}

#[test]
fn nrpe_is_configured_as_it_says() {
    let dir = tempfile::tempdir().expect("a directory");
    crate::access::certify(dir.path());
    let set = block_with("[nrpe]").replace("0.0.0.0:5666", "127.0.0.1:0");
    let mut server = Server::start_in(dir, "", &set, &[]);
    assert_ne!(server.nrpe().port(), 0);
}

#[test]
#[ignore = "needs openssl; run tests/run"]
fn a_certificate_is_made_as_it_says_and_believed_where_it_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let made = shell(dir.path(), commands("openssl req"), "");
    assert!(made.status.success(), "{}", text(&made.stderr));
    let config = "[http]\ntls_cert = \"tallyd.crt\"\ntls_key = \"tallyd.key\"\n";
    let server = Server::start_in(dir, "", config, &[]);
    for host in ["localhost", "127.0.0.1"] {
        let ask = format!("tallyd check --all --server https://{host}:{}", server.http.port());
        let known = shell(server.dir(), &format!("{ask} --ca-file tallyd.crt"), "");
        assert!(text(&known.stdout).contains(" - all rules: "), "{}", text(&known.stdout));
        let unknown = text(&shell(server.dir(), &format!("{ask} || true"), "").stdout);
        assert!(
            unknown.contains("is made to sign others (CA:TRUE)") && unknown.contains("--ca-file"),
            "{unknown}"
        );
    }
}

#[test]
fn every_block_is_known_here() {
    assert_eq!(blocks("toml").len(), 7);
    // The operator's hour is followed by a test of its own, on a machine with systemd.
    let hour = README.split_once("### From an empty machine").expect("the chapter").1;
    let hour = hour.split_once("\n### ").expect("another one follows").0;
    let commands =
        blocks("sh").into_iter().filter(|block| !hour.contains(block)).collect::<String>();
    let commands: Vec<_> = commands.lines().filter_map(|line| line.split(' ').next()).collect();
    // The first two are what builds and runs these tests.
    let expect = [
        "cargo",
        "tests/run",
        "printf",
        "curl",
        "tallyd",
        "sleep",
        "printf",
        "sleep",
        "tallyd",
        "install",
        "tallyd",
        "tallyd",
        "printf",
        "printf",
        "tallyd",
        "tallyd",
        "tallyd",
        "tallyd",
        "tallyd",
        "tallyd",
        "tallyd",
        "openssl",
        "chmod",
    ];
    assert_eq!(commands, expect);
}

#[test]
fn every_figure_to_watch_is_there() {
    let server = Server::start("");
    let (_, metrics) = server.get("/metrics");
    let (_, rest) = README.split_once("| figure |").expect("the table");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut figures = 0;
    for name in rows.flat_map(|row| row.split('`').filter(|word| word.starts_with("tallyd_"))) {
        figures += 1;
        assert!(metrics.contains(&format!("\n{name} ")), "{name}");
    }
    assert!(figures >= 7, "{figures}");
}

#[test]
fn every_series_of_its_own_is_there() {
    let server = Server::start(block_with("disk-low"));
    let (_, rest) = README.split_once("| series | kind |").expect("the table");
    let rows = rest.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut series = 0;
    for name in rows.flat_map(|row| row.split('`').filter(|word| word.starts_with("tallyd."))) {
        series += 1;
        let path = format!("/api/v1/measure?series={name}&measure=last");
        eventually(name, || server.get(&path).1.contains("\"points\"").then_some(()));
    }
    assert_eq!(series, 21, "and no other");
    let (code, line) = server.check("history-fails");
    assert_eq!(code, Some(0), "{line}");
}
