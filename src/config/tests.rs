//! The layer from outside: texts in, values or rendered problems out.

use std::path::Path;
use std::sync::LazyLock;

use insta::assert_snapshot;
use proptest::prelude::*;
use toml::de::DeTable;

use super::read::Reader;
use super::section::Section;
use super::sink::Sink;
use super::*;
use crate::time::Span;

const SAMPLE: &str = include_str!("../../conf/tallyd.toml");

/// Stands wherever the tests put a secret.
const PLANTED: &str = "pl4nted";

/// A certificate and its key.
static PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let key = key_pair();
    let names = vec!["tallyd.example".to_owned()];
    let parameters = rcgen::CertificateParams::new(names).expect("a name");
    let certificate = parameters.self_signed(&key).expect("a certificate");
    (certificate.pem(), key.serialize_pem())
});

fn key_pair() -> rcgen::KeyPair {
    rcgen::KeyPair::generate().expect("a key")
}

/// A password file and a certificate, as the tests' file system has them.
fn fake_file(path: &Path, _: u64) -> io::Result<Option<FileRead>> {
    let file = |text: &str, mode| Ok(Some(FileRead { bytes: text.as_bytes().to_vec(), mode }));
    match path.file_name().and_then(|name| name.to_str()) {
        Some("email-password" | "pagerduty-key" | "hub-secret") => file("pl4nted\n", 0o600),
        Some("open-password") => file("pl4nted\n", 0o644),
        Some("empty") => file("\n", 0o600),
        Some("company-ca.pem") => file("-----BEGIN CERTIFICATE-----\n", 0o644),
        Some("tallyd.crt") => file(&PAIR.0, 0o644),
        Some("tallyd.key") => file(&PAIR.1, 0o600),
        Some("open.key") => file(&PAIR.1, 0o640),
        Some("another.key") => file(&key_pair().serialize_pem(), 0o600),
        Some("cut.crt") => file("-----BEGIN CERTIFICATE-----\nMIIB\n", 0o644),
        Some("bad-secret") => file("whsec_pl4nted!\n", 0o600),
        Some("memcached-users") => file("foo:pl4nted\nbaaaz:pl4nted\n", 0o600),
        Some("open-users") => file("foo:pl4nted\n", 0o644),
        Some("http-tokens") => {
            file("# pl4nted\nread:pl4nted-0123456789\nadmin:pl4nted-abcdefghij\n", 0o600)
        }
        Some("open-tokens") => file("operate:pl4nted-0123456789\n", 0o640),
        Some("wrong-tokens") => file("read:pl4nted-0123456789\nread:pl4nted\n", 0o600),
        Some("wrong-users") => file("foo:pl4nted\npl4nted\n", 0o644),
        Some("endless") => Ok(None),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn surroundings() -> Surroundings<'static> {
    Surroundings { variable: &|_| None, file: &fake_file }
}

fn read(text: &str) -> Result<Loaded, Problems> {
    parse(text, Path::new("/etc/tallyd.toml"), &surroundings())
}

/// The rendered problems of a text, or its warnings where it is good.
fn check(text: &str) -> String {
    let origin = Path::new("tallyd.toml");
    match parse(text, origin, &surroundings()) {
        Ok(loaded) if loaded.warnings.is_empty() => "no problems".to_owned(),
        Ok(loaded) => loaded.warnings.render(false),
        Err(problems) => problems.render(false),
    }
}

/// Only the messages of a text, each with its line and what it says beside the source.
fn messages(text: &str) -> String {
    let list = match read(text) {
        Ok(loaded) => loaded.warnings.list,
        Err(problems) => problems.list,
    };
    let line = |problem: &Problem| {
        let label = match problem.label.as_str() {
            "" => String::new(),
            label => format!(" ({label})"),
        };
        let also = match &problem.also {
            Some((also, label)) => format!(" [{}: {label}]", also.line),
            None => String::new(),
        };
        format!("{}: {}{label}{also}\n", problem.at.line, problem.message)
    };
    list.iter().map(line).collect()
}

/// A rule with what every rule needs, and more lines.
fn rule(lines: &str) -> String {
    format!("[[rule]]\nname = 'r'\nseries = 's'\nnotify = []\n{lines}\n")
}

/// The sample with its examples in use. An example whose key is that of the line before takes its
/// place, comments between them not counted.
fn sample_with_examples() -> String {
    let mut lines: Vec<&str> = Vec::new();
    for line in SAMPLE.lines() {
        let Some(example) = line.strip_prefix("#: ") else {
            lines.push(line);
            continue;
        };
        let key = |line: &str| line.split_once(" = ").map(|(key, _)| key.to_owned());
        let is_replacement = lines.last().is_some_and(|last| {
            !last.starts_with('#') && key(last).is_some() && key(last) == key(example)
        });
        if is_replacement {
            lines.pop();
        }
        lines.push(example);
    }
    lines.join("\n")
}

#[test]
fn the_sample_shows_the_defaults() {
    let loaded = read(SAMPLE).unwrap();
    assert_eq!(loaded.config, Config::default());
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    assert_eq!(read("").unwrap().config, Config::default());
}

#[test]
fn the_examples_of_the_sample_are_good() {
    let text = sample_with_examples();
    let loaded = read(&text).unwrap_or_else(|problems| panic!("{problems}\n{text}"));
    assert!(loaded.warnings.is_empty(), "{}", loaded.warnings);
    let config = loaded.config;
    assert_eq!((config.rules.len(), config.contacts.len()), (3, 5));
    assert_eq!((config.schedules.len(), config.rules[2].when.len()), (2, 1));
    assert_eq!(config.email.password.unwrap().expose(), PLANTED);
    assert_eq!(config.rules[0].by, ["region"]);
    assert_eq!(config.rules[1].against, Some(Against::Ago(Span::WEEK)));
}

#[test]
fn the_sample_shows_every_key() {
    let text = sample_with_examples();
    let (tree, _) = DeTable::parse_recoverable(&text);
    let sink = Sink::new(&[]);
    let surroundings = surroundings();
    let reader = Reader { sink: &sink, surroundings: &surroundings, folder: Path::new("") };
    read::config(Section::root(tree.get_ref(), &sink), &reader);
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let has_key = |key: &str| {
        lines().any(|line| {
            let words: Vec<_> =
                line.split([' ', '{', ',']).filter(|word| !word.is_empty()).collect();
            words.windows(2).any(|pair| pair == [key, "="])
        })
    };
    let keys = sink.keys();
    assert_eq!(keys.len(), 22, "sections: {:?}", keys.keys());
    for (title, keys) in keys {
        for key in keys {
            let header = match title.trim_matches(['[', ']']) {
                "" => format!("[{key}]"),
                title => format!("[{title}.{key}]"),
            };
            let is_header = text.contains(&header);
            assert!(is_header || has_key(key), "the sample does not show `{key}` of {title}");
        }
    }
}

#[test]
fn every_value_of_a_file_arrives() {
    let text = sample_with_examples();
    insta::assert_debug_snapshot!(read(&text).unwrap().config);
}

#[test]
fn six_mistakes_are_told_at_once() {
    let text = r#"[server]
listen = ["127.0.0.1:11311"]
max_conections = 500

[notify]
default = ["onkall"]

[[contact]]
name = "oncall"
webhook = "https://alerts.example.com/hooks/pl4nted"

[[rule]]
name = "errors-high"
series = "shop.errors"
measure = "rat"
window = "5 minutes"
critical = { above = 50, clear = 80 }

[[rule]]
name = "errors-high"
series = "shop.errors"
measure = "rate"
warning = { above = 300 }
"#;
    assert_snapshot!(check(text));
    assert_eq!(read(text).unwrap_err().len(), 6);
}

#[test]
fn where_the_syntax_is_broken_only_what_is_certain_is_told() {
    assert_snapshot!(check(
        r#"[server]
thread = 4
[[rule]]
name = "a"
measure = rate
window = "5 m"
window = "5m"
by = ["region"
series = "s"
oops
[notfy]
"#
    ));
}

#[test]
fn unknown_keys_say_what_may_have_been_meant() {
    let text = r#"window = "5m"
servr = {}
[server]
Listen = []
max_con = 5
nonsense = 1
[[tier]]
window = "1s"
keep = "1h"
max_series = 5
[[rule]]
name = "r"
series = "s"
measure = "age"
notify = []
critical = { abov = 5, below = 1, off = 3 }
"#;
    assert_snapshot!(check(text));
}

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
fn a_metric_says_what_keys_are() {
    let text = "[[metric]]\nmatch = 'web.*.ms'\nkind = 'distribution'\nunit = 'ms'\ndigits = 3\n\
                range = [0.5, 6e4]\ndescription = 'Time to answer'\n\
                [[metric]]\nmatch = 'x;a=b'\nkind = 'item'\n";
    let metrics = read(text).unwrap().config.metrics;
    let layout = crate::histogram::Layout::new(3, 0.5, 6e4).unwrap();
    assert_eq!(metrics[0].layout, layout);
    assert_eq!((metrics[0].unit.as_str(), metrics[1].kind), ("ms", MetricKind::Item));
    let metric = |lines: &str| messages(&format!("[[metric]]\nmatch = 'a'\n{lines}\n"));
    let distribution = |lines: &str| metric(&format!("kind = 'distribution'\n{lines}"));
    for (said, expect) in [
        (
            messages("[[metric]]\n"),
            "1: `match` is missing in this [[metric]]\n1: `kind` is missing in this [[metric]]\n",
        ),
        (
            messages("[metric]\nmatch = 'a'\nkind = 'gauge'"),
            "1: `metric` is a list of tables, each written under [[metric]]\n",
        ),
        (metric("kind = 'gage'"), "3: `gage` is not a value of `kind` (did you mean `gauge`?)\n"),
        (
            metric("kind = 'gauge'\ndigits = 2\nrange = [1, 2]"),
            "4: `digits` belongs to the histogram of a distribution\n5: `range` belongs to the histogram of a distribution\n",
        ),
        (metric("kind = 'gauge'\nunits = 'ms'"), "4: unknown key `units` in [[metric]]\n"),
        (
            metric("kind = 'gauge'\nunit = \"a\\nb\""),
            "4: the text must be one line without control characters\n",
        ),
        (distribution("digits = 6"), "4: `digits` is out of range (must be 1 to 5)\n"),
        (distribution("range = [1]"), "4: `range` must be two numbers, like [1, 3600000]\n"),
        (distribution("range = 5"), "4: `range` must be a list of numbers, not an integer\n"),
        (distribution("range = [1, 'b']"), "4: `range` must be a number, not a string\n"),
        (
            distribution("range = [5, 1]"),
            "4: `range` must be two positive numbers, the second at least twice the first\n",
        ),
        (distribution("range = [1, 1e18]"), "4: the two ends of `range` are too far apart\n"),
        (
            distribution("digits = 5\nrange = [1, 1e12]"),
            "5: one histogram could take 48 MiB, and may take 16\n",
        ),
        (
            messages(
                "[[metric]]\nmatch = 'a'\nkind = 'item'\n[[metric]]\nmatch = 'a'\nkind = 'gauge'",
            ),
            "5: this entry is never used: the first that matches a key is [2: matches the same keys]\n",
        ),
    ] {
        assert_eq!(said, expect);
    }
}

#[test]
fn a_rule_asks_of_a_kind_what_it_has() {
    let metrics = "[[metric]]\nmatch = 'd'\nkind = 'distribution'\n\
                   [[metric]]\nmatch = 'g*'\nkind = 'gauge'\n\
                   [[metric]]\nmatch = 'i'\nkind = 'item'\n\
                   [[metric]]\nmatch = 't;a=b'\nkind = 'gauge'\n";
    let rule = |series: &str, measure: &str| {
        let rule = format!("[[rule]]\nname = 'r'\nseries = '{series}'\nnotify = []\n");
        let rest = format!("measure = '{measure}'\nwarning = {{ above = 1 }}\n");
        messages(&format!("{metrics}{rule}{rest}"))
    };
    let all = Measure::ALL.map(|(name, _)| name);
    let refused = |series: &str| {
        let is_refused = |measure: &&str| !rule(series, measure).is_empty();
        all.iter()
            .copied()
            .filter(is_refused)
            .collect::<Vec<_>>()
            .join(" ")
            .replace("age", "")
            .trim()
            .to_owned()
    };
    assert_eq!(refused("d"), "");
    assert_eq!(refused("g.x"), "rate sum p50 p90 p95 p99 p99.9");
    assert_eq!(refused("g*"), "rate sum p50 p90 p95 p99 p99.9", "every one of them is a gauge");
    assert_eq!(refused("i;a=b"), "rate sum count mean min max last  p50 p90 p95 p99 p99.9");
    for series in ["*", "t", "t;a=b;c=d", "other", "?"] {
        assert_eq!(refused(series), "", "{series} may be anything");
    }
    assert_eq!(
        rule("g.x", "p99"),
        "17: there is no `p99` of a gauge [15: each is a gauge by [[metric]] `g*`]\n"
    );
    assert_eq!(rule("i", "sum"), "15: items are not watched (each is an item by [[metric]] `i`)\n");
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
        ("tallyd.crt", "another.key", "do not fit each other"),
        ("cut.crt", "tallyd.key", "cannot be used"),
        ("empty", "tallyd.key", "holds no certificate in PEM form"),
        ("tallyd.crt", "tallyd.crt", "holds no private key in PEM form"),
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
fn values_of_the_wrong_kind() {
    assert_snapshot!(messages(
        r#"[server]
listen = "127.0.0.1:1"
http = [8311, "localhost:8311"]
threads = "4"
max_connections = 0
idle_timeout = 5
[memcached]
missing_incr = "creat"
items = 64
max_item = "2 MB"
[counters]
max_series = 99999999999999999999
[notify]
default = [1]
give_up = "1s"
public_url = "tallyd.example.com"
[[rule]]
name = "a b"
series = "a{b=~\"(\"}"
measure = "rate"
by = ["a;b"]
summary = "two\nlines"
critical = { above = nan }
warning = { above = "5", for = "x" }
missing = "5m"
runbook = "ftp://wiki"
notify = "oncall"
[contact]
name = 5
email = ["nobody"]
"#
    ));
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
fn items_are_bounded_and_hold_the_largest_one() {
    assert_snapshot!(
        messages("[memcached]\nmax_item = '129 MiB'"),
        @"2: `max_item` is out of range (must be at most 128 MiB)"
    );
    assert_snapshot!(
        messages("[memcached]\nitems = '512 KiB'"),
        @"2: `max_item` is larger than `items`, the room for all of them"
    );
    assert_snapshot!(
        messages("[memcached]\nitems = '1 MiB'\nmax_item = '2MiB'"),
        @"3: `max_item` is larger than `items`, the room for all of them"
    );
}

#[test]
fn tiers_build_on_each_other() {
    let tiers = |list: &[(&str, &str)]| {
        let tier = |(w, k): &(&str, &str)| format!("[[tier]]\nwindow = '{w}'\nkeep = '{k}'\n");
        messages(&list.iter().map(tier).collect::<Vec<_>>().concat())
    };
    assert_snapshot!(tiers(&[("1s", "1h"), ("10s", "1d"), ("1d", "1d")]), @"");
    assert_snapshot!(tiers(&[("2s", "1h"), ("3s", "30m"), ("3s", "1h")]), @r"
    2: the first tier must be 1s wide
    5: each tier must be wider than the one before, and a multiple of it (must be a multiple of 2s) [2: the one before]
    6: a tier must be kept at least as long as the finer one before it (must be at least 1h) [3: the one before]
    8: each tier must be wider than the one before, and a multiple of it (must be a multiple of 3s) [5: the one before]
    ");
    assert_snapshot!(tiers(&[("1s", "500ms"), ("1500ms", "1h"), ("2d", "1w"), ("0s", "1w")]), @r"
    3: `keep` is shorter than one window (must be at least 1s)
    5: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    8: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    11: `window` is out of range (must be a whole number of seconds, 1s to 1d)
    ");
    assert_snapshot!(
        tiers(&[("1s", "1h"); 9]).lines().last().unwrap(),
        @"26: each tier must be wider than the one before, and a multiple of it (must be a multiple of 1s) [23: the one before]"
    );
    assert_snapshot!(messages("[[tier]]\nwindow = '1s'"), @"1: `keep` is missing in this [[tier]]");
}

#[test]
fn names_are_unique_and_refer_to_something() {
    assert_snapshot!(messages(
        r#"[notify]
default = ["a", "a", "oncal", "zzz"]
[[contact]]
name = "oncall"
webhook = "http://127.0.0.1/a"
[[contact]]
name = "oncall"
webhook = "http://127.0.0.1/b"
[[rule]]
name = "r"
[[rule]]
name = "r"
series = "s"
measure = "sum"
critical = { above = 1 }
notify = ["nobody"]
"#
    ), @r"
    2: there is no contact `a`
    2: `a` is told twice [2: first here]
    2: there is no contact `oncal`
    2: there is no contact `zzz`
    7: there are two contacts `oncall` [4: first here]
    9: `series` is missing in this [[rule]]
    9: `measure` is missing in this [[rule]]
    9: a rule needs `warning` or `critical`
    12: there are two rules `r` [10: first here]
    16: there is no contact `nobody`
    ");
}

#[test]
fn thresholds_are_one_sided_and_clear_on_the_good_side() {
    let threshold = |text: &str| messages(&rule(&format!("measure = 'sum'\n{text}")));
    assert_snapshot!(threshold(""), @"1: a rule needs `warning` or `critical`");
    assert_snapshot!(threshold("warning = {}"), @"6: a threshold needs `above` or `below`");
    assert_snapshot!(
        threshold("warning = { above = 1, below = 2 }"),
        @"6: a threshold is either `above` or `below` [6: and here]"
    );
    assert_snapshot!(
        threshold("warning = { above = 1, clear = 2 }"),
        @"6: `clear` lies on the wrong side of the threshold (must be at or below it) [6: the threshold]"
    );
    assert_snapshot!(
        threshold("warning = { below = 2, clear = 1 }"),
        @"6: `clear` lies on the wrong side of the threshold (must be at or above it) [6: the threshold]"
    );
    assert_snapshot!(
        threshold("warning = { below = -inf }"),
        @"6: `below` must be a finite number"
    );
    assert_snapshot!(
        threshold("warning = { above = 2, clear = 2 }\ncritical = { above = 2 }"),
        @""
    );
    assert_snapshot!(
        threshold("warning = { above = 5 }\ncritical = { above = 2 }"),
        @"7: critical is milder than warning, so warning is never seen alone [6: warning is here]"
    );
    assert_snapshot!(
        threshold("warning = { below = 2 }\ncritical = { below = 5 }"),
        @"7: critical is milder than warning, so warning is never seen alone [6: warning is here]"
    );
    assert_snapshot!(threshold("warning = { below = 2 }\ncritical = { above = 1 }"), @"");
}

#[test]
fn a_threshold_clears_where_it_fires_unless_it_says_otherwise() {
    let text = rule("measure = 'sum'\ncritical = { above = 0x10 }\nwarning = { below = 2.5 }");
    let config = read(&text).unwrap().config;
    let expect = |side, value| Threshold {
        side,
        value,
        clear: value,
        hold: Span::ZERO,
        of: None,
        clear_hold: Span::ZERO,
    };
    assert_eq!(config.rules[0].critical, Some(expect(Side::Above, 16.0)));
    assert_eq!(config.rules[0].warning, Some(expect(Side::Below, 2.5)));
    assert_eq!(config.rules[0].window, Span::from_secs(60));
}

#[test]
fn comparisons_need_a_floor_and_fit_what_is_kept() {
    let compare = |text: &str| messages(&rule(&format!("critical = {{ above = 1 }}\n{text}")));
    assert_snapshot!(
        compare("measure = 'sum'\nagainst = '1w'"),
        @"7: a change in percent needs a `floor`"
    );
    assert_snapshot!(compare("measure = 'sum'\nagainst = '1w'\nchange = 'absolute'"), @"");
    assert_snapshot!(
        compare("measure = 'last'\nagainst = '1d'\nfloor = -1"),
        @"8: `floor` is out of range (must be 0 or more)"
    );
    assert_snapshot!(
        compare("measure = 'age'\nagainst = 'previous'\nfloor = 1"),
        @"7: an age has no earlier value to be compared with"
    );
    assert_snapshot!(
        compare("measure = 'age'\nwindow = '5m'"),
        @"7: `window` does nothing here: an age is the time since the last update"
    );
    assert_snapshot!(compare("measure = 'sum'\nfloor = 1\nchange = 'percent'"), @r"
    7: `floor` belongs to a comparison, and this rule has no `against`
    8: `change` belongs to a comparison, and this rule has no `against`
    ");
    assert_snapshot!(
        compare("measure = 'sum'\nper = 'day'"),
        @"7: `per` is the unit of a rate; no other measure has one"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1500ms'"),
        @"7: `window` is out of range (must be a whole number of seconds, at least 1s)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nagainst = '1m'\nfloor = 1"),
        @"7: `1m` is not a value of `against` (did you mean `1d`?)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1826d'"),
        @"7: this rule looks 1826d back, and nothing is kept so long (the longest tier keeps 1825d)"
    );
    assert_snapshot!(
        compare("measure = 'sum'\nwindow = '1000d'\nagainst = 'previous'\nfloor = 1"),
        @"8: this rule looks 2000d back, and nothing is kept so long (the longest tier keeps 1825d) [7: this much before that]"
    );
    let small = "[[tier]]\nwindow = '1s'\nkeep = '1w'\n";
    assert_snapshot!(
        compare(&format!("measure = 'sum'\nagainst = '1w'\nfloor = 1\n{small}")),
        @"7: this rule looks 7d1m back, and nothing is kept so long (the longest tier keeps 1w)"
    );
}

#[test]
fn every_mistake_in_rules_is_told_at_once() {
    assert_snapshot!(check(include_str!("tests/mistakes.toml")));
}

#[test]
fn schedules_are_hours_in_a_zone() {
    let schedule = |lines: &str| messages(&format!("[[schedule]]\nname = 's'\n{lines}"));
    assert_snapshot!(schedule("times = ['Mon-Fri 08:00-20:00', '22:00-06:00', 'Sat']\nzone = 'Europe/Berlin'"), @"");
    assert_snapshot!(schedule(""), @r"
    1: `times` is missing in this [[schedule]]
    1: `zone` is missing in this [[schedule]]
    ");
    assert_snapshot!(schedule("times = []\nzone = 'UTC'"), @"3: a schedule without `times` is never active");
    assert_snapshot!(
        schedule("times = ['Mon']\nzone = 'UTC'\nexcept = ['2026-02-29', '25.12.2026', '2026-12-25', '2026-12-25']"),
        @r"
    5: `2026-02-29` is not a date
    5: `25.12.2026` is not a date
    5: 2026-12-25 is written twice [5: first here]
    "
    );
    for zone in ["", "Mars/Olympus", "../../etc/passwd", "Etc/Unknown"] {
        assert!(
            schedule(&format!("times = ['Mon']\nzone = '{zone}'")).contains("is not a time zone")
        );
    }
    let many = format!("times = [{}]\nzone = 'UTC'", "'Mon',".repeat(101));
    assert_snapshot!(schedule(&many), @"3: `times` has more than 100 entries");
}

#[test]
fn rules_may_depend_on_each_other_but_not_in_a_circle() {
    let rules = |all: &[(&str, &str)]| {
        let rule = |(name, on): &(&str, &str)| {
            let needed = "series = 's'\nmeasure = 'sum'\nwarning = { above = 1 }\nnotify = []";
            format!("[[rule]]\nname = '{name}'\n{needed}\ndepends_on = {on}\n")
        };
        messages(&all.iter().map(rule).collect::<Vec<_>>().concat())
    };
    assert_snapshot!(rules(&[("a", "['b', 'c']"), ("b", "['c']"), ("c", "[]")]), @"");
    assert_snapshot!(rules(&[("a", "['a']")]), @"7: `a` depends on itself (a → a)");
    assert_snapshot!(
        rules(&[("a", "['b']"), ("b", "['c']"), ("c", "['b', 'a']")]),
        @r"
    21: `b` depends on itself (b → c → b)
    21: `a` depends on itself (a → b → c → a)
    "
    );
    assert_snapshot!(rules(&[("a", "['b', 'b']"), ("b", "[]")]), @"7: `b` is written twice [7: first here]");
    let chain: Vec<_> = (0..5000).map(|i| (format!("r{i}"), format!("['r{}']", i + 1))).collect();
    let chain: Vec<_> = chain.iter().map(|(name, on)| (name.as_str(), on.as_str())).collect();
    assert_snapshot!(rules(&chain), @"35000: there is no rule `r5000`");
}

#[test]
fn evaluations_that_count_are_so_many_of_no_more_than_64() {
    let of = |of: &str| {
        let text = format!("measure = 'sum'\nevery = '10s'\nwarning = {{ above = 1, of = {of} }}");
        messages(&rule(&text))
    };
    for good in ["[1, 1]", "[3, 5]", "[64, 64]", "[3.0, 5]"] {
        assert_eq!(of(good), "", "{good}");
    }
    for (wrong, label) in [
        ("[5, 3]", "there are no 5 among 3"),
        ("[0, 3]", "two whole numbers from 1 to 64: so many of the last"),
        ("[3, 65]", "two whole numbers from 1 to 64: so many of the last"),
        ("[1.5, 2]", "two whole numbers from 1 to 64: so many of the last"),
        ("[3]", "two whole numbers from 1 to 64: so many of the last"),
    ] {
        assert_eq!(of(wrong), format!("7: `of` must be two numbers, like [3, 5] ({label})\n"));
    }
    let text = "measure = 'sum'\nevery = '10s'\nof = [2, 3]\n\
                warning = { above = 1 }\ncritical = { above = 2, for = '1m' }";
    let rule = &read(&rule(text)).unwrap().config.rules[0];
    assert_eq!(rule.warning.unwrap().of, Some(OfLast { needed: 2, among: 3 }));
    assert_eq!((rule.critical.unwrap().of, rule.every), (None, Span::from_secs(10)));
}

#[test]
fn flapping_can_be_switched_off() {
    let flapping = |line: &str| {
        let text = rule(&format!("measure = 'sum'\nwarning = {{ above = 1 }}\n{line}"));
        read(&text).map(|loaded| loaded.config.rules[0].flapping)
    };
    let expect = |changes, secs| Some(Flapping { changes, within: Span::from_secs(secs) });
    assert_eq!(flapping("").unwrap(), expect(5, 600));
    assert_eq!(flapping("flapping = { changes = 3 }").unwrap(), expect(3, 600));
    assert_eq!(flapping("flapping = { within = '1h' }").unwrap(), expect(5, 3600));
    assert_eq!(flapping("flapping = false").unwrap(), None);
    for wrong in
        ["true", "{ changes = 0 }", "{ changes = 51 }", "{ within = '0s' }", "{ within = '2d' }"]
    {
        assert!(flapping(&format!("flapping = {wrong}")).is_err(), "{wrong}");
    }
}

#[test]
fn tags_to_split_by_are_few_and_different() {
    let by = |tags: &str| {
        messages(&rule(&format!("measure = 'age'\ncritical = {{ above = 1 }}\nby = {tags}")))
    };
    assert_snapshot!(by("['a', 'b', 'a', '']"), @r"
    7: `a` is written twice [7: first here]
    7: `` is not the name of a tag
    ");
    assert_snapshot!(
        by("['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'i']"),
        @"7: `by` names more than 8 tags"
    );
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

#[test]
fn warnings_leave_the_file_good() {
    let text = r#"[[contact]]
name = "hub"
webhook = "https://hub.example/pl4nted"
[[rule]]
name = "a"
series = "s"
measure = "sum"
critical = { above = 1 }
[[rule]]
name = "b"
series = "s"
measure = "sum"
critical = { above = 1 }
"#;
    assert_snapshot!(check(text));
    let told = format!("[notify]\ndefault = ['hub']\npublic_url = 'http://t.localhost:1/'\n{text}");
    assert_snapshot!(
        messages(&told),
        @"3: links in messages lead to http://t.localhost:1, which works on this machine only [5: this contact is elsewhere]"
    );
    assert_eq!(read(&told).unwrap().config.notify.public_url, "http://t.localhost:1");
}

#[test]
fn secrets_are_never_shown() {
    for text in [
        "[[contact]]\nname = 'c'\nwebhook = 'htps://a/pl4nted'",
        "[[contact]]\nname = 'c'\nwebhok = 'https://a/pl4nted'",
        "[[contact]]\nname = 'c'\nwebhook = ['https://a/pl4nted']",
        "[[contact]]\nname = 'c'\nheaders = 'Authorization: pl4nted'",
        "[[contact]]\nname = 'c'\nheaders = ['Authorization: pl4nted']",
        "[[contact]]\nname = 'c'\nheaders = { 'Authorization: pl4nted' = '' }",
        "[[contact]]\nname = 'c'\nheaders = { A = { B = 'pl4nted' } }",
        "[[contact]]\nname = 'c'\nheaders.A.B = 'pl4nted'",
        "[[contact]]\nname = 'c'\nheadrs.A.B = 'pl4nted'",
        "[[contact]]\nname = 'c'\n[contact.headers]\nAuthorization = 'pl4nted",
        "[[contact]]\nname = 'c'\n[contact.headers]\nAuthorization 'pl4nted'",
        "[[contact]]\nname = 'c'\nheaders = { A = 'pl4nted' B = 'pl4nted' }",
        "[[contact]]\nname = 'c'\nheaders = {\n A = 'pl4nted'\n B = pl4nted\n }",
        "[[contact]]\nname = 'c'\nwebhook = https://a/pl4nted",
        "[[contact]]\nname = 'c'\nwebhook = 'https://a/b'\nwebhook = 'https://a/pl4nted'",
        "contact = [{ name = 'c d', webhook = 'https://a/pl4nted', x = 1 }]",
        "contact = { name = 'c d', webhook = 'https://a/pl4nted' }",
        "contact = 'https://a/pl4nted'",
        "[email]\npassword = 'pl4nted'",
        "[email]\nserver = 'smtp://u:pl4nted@a'",
        "[notify]\nwebhook = 'pl4nted'\npublic_url = 'http://u:pl4nted@a'",
        "webhook = 'https://a/pl4nted'",
    ] {
        let problems = read(text).expect_err(text);
        for shown in [problems.render(false), problems.render(true), format!("{problems:?}")] {
            assert!(!shown.contains(PLANTED), "{shown}");
        }
    }
}

#[test]
fn a_thousand_problems_are_told_and_the_rest_counted() {
    let text = (0..1200).map(|n| format!("key{n} = 1")).collect::<Vec<_>>().join("\n");
    let problems = read(&text).unwrap_err();
    assert_eq!((problems.len(), problems.iter().count()), (1200, 1000));
    assert!(
        problems.render(false).ends_with("… and 200 more\n\n1200 problems in /etc/tallyd.toml\n")
    );
}

#[test]
fn text_from_the_file_cannot_steer_the_terminal() {
    let shown =
        check("\"\\u001b[31m\\n\" = 1\n[server]\nidle_timeout = \"\\u001b]0;x\\u0007\\n\"\n");
    assert!(!shown.contains('\u{1b}') && !shown.contains('\u{7}'), "{shown:?}");
}

#[test]
fn files_that_cannot_be_read_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.toml");
    let load = |path: &Path| super::load(path, &Surroundings::of_process());
    assert!(matches!(load(&path), Err(LoadError::Missing { .. })));
    assert!(matches!(load(folder.path()), Err(LoadError::Unreadable { .. })));
    write(&path, b"[server]\n# \xff");
    assert!(matches!(load(&path), Err(LoadError::NotUtf8 { line: 2, .. })));
    write(&path, &vec![b'\n'; usize::try_from(limits::CONFIG_BYTES).unwrap() + 1]);
    assert!(matches!(load(&path), Err(LoadError::TooLarge { .. })));
    write(&path, b"x = 1");
    let error = load(&path).unwrap_err();
    assert!(matches!(&error, LoadError::Invalid(problems) if problems.len() == 1));
    assert!(error.to_string().contains("tallyd.toml:1:1"));
}

#[test]
fn files_are_found_beside_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.toml");
    write(&path, b"[email]\nusername = 'u'\npassword_file = 'secret'");
    write(&folder.path().join("secret"), b"pl4nted\r\n");
    let loaded = load(&path, &Surroundings::of_process()).unwrap();
    assert_eq!(loaded.config.email.password.unwrap().expose(), PLANTED);
}

#[expect(clippy::disallowed_methods, reason = "the test makes the files that it reads")]
fn write(path: &Path, bytes: &[u8]) {
    std::fs::write(path, bytes).unwrap();
}

/// The sample with examples, and a secret in each place where one belongs.
fn planted_sample() -> String {
    sample_with_examples().replace("replace-me", PLANTED).replace("hooks/tallyd", PLANTED)
}

/// One small edit somewhere in a text.
fn edited(text: &str, kind: u8, at: usize, c: char) -> String {
    if kind == 0 {
        let skip = at % text.lines().count().max(1);
        let lines = text.lines().enumerate().filter(|(n, _)| *n != skip);
        return lines.map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    }
    let at = at % (text.chars().count() + 1);
    let (before, after): (String, String) =
        (text.chars().take(at).collect(), text.chars().skip(at + usize::from(kind == 1)).collect());
    if kind == 1 { before + &after } else { format!("{before}{c}{after}") }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        if let Err(problems) = read(&text) {
            prop_assert!(problems.render(false).contains("tallyd.toml:"));
        }
    }

    #[test]
    fn any_edit_of_the_sample_is_answered_and_shows_no_secret(
        edits in prop::collection::vec((0..4u8, any::<usize>(), r#"[\[\]{}"'=\.,#\\\n a-z0-9é]"#), 1..4),
    ) {
        let text = edits.iter().fold(planted_sample(), |text, (kind, at, c)| {
            edited(&text, *kind, *at, c.chars().next().unwrap_or(' '))
        });
        if let Err(problems) = read(&text) {
            let shown = problems.render(false);
            prop_assert!(!shown.contains(PLANTED), "{}", shown);
            let debug = format!("{problems:?}");
            prop_assert!(!debug.contains(PLANTED), "{}", debug);
            prop_assert!(!problems.render(true).contains(PLANTED));
        }
    }
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
