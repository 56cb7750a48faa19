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

mod contacts;
mod listeners;
mod rules;

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
