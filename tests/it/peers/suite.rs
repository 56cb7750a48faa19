//! memcached's own tests, from Debian's source package, against `tallyd serve --memcached-compat`.
//!
//! They look for `memcached-debug` and `timedrun` in the directory that they are run in; two small
//! scripts stand there. What each file comes to is held against `tests/peers/memcached-suite.txt`,
//! assertion by assertion: one that fails anew is a fault, and so is one that passes unexpectedly, since
//! the table would no longer tell the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use crate::harness::{binary, text};

const TABLE: &str = include_str!("../../peers/memcached-suite.txt");

/// No file of the suite takes longer; one that hangs has met an answer that it did not expect.
const LIMIT_SECS: &str = "90";

/// Files that run at once. They mostly sleep.
const AT_ONCE: usize = 6;

/// What the table says of a file.
#[derive(Debug, Default)]
struct Row {
    /// The assertions that do not pass, by their numbers.
    failing: BTreeSet<usize>,
    /// It is not run: what it needs is not there yet.
    is_pending: bool,
}

/// What a file of the suite printed, in the form of the Test Anything Protocol.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    /// How many assertions it has.
    planned: usize,
    /// Those that did not pass, be it that they were not reached.
    failing: BTreeSet<usize>,
}

/// Reads the table: `file  all`, `file  pending`, or `file  some` and below it, indented, the numbers
/// that fail with a reason each: `2,5-7  why`.
fn table(text: &str) -> BTreeMap<String, Row> {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (first, rest) = line.trim().split_once(' ').expect("two columns");
        if line.starts_with(' ') {
            assert!(!rest.trim().is_empty(), "a reason: {line}");
            rows.get_mut(&last).expect("a file above").failing.extend(numbers(first));
            continue;
        }
        let kind = rest.trim();
        assert!(["all", "some"].contains(&kind) || kind.starts_with("pending"), "{line}");
        let row = Row { is_pending: kind.starts_with("pending"), ..Row::default() };
        first.clone_into(&mut last);
        assert!(rows.insert(last.clone(), row).is_none(), "{first} is there twice");
    }
    rows
}

/// `2,5-7` are four numbers.
fn numbers(text: &str) -> Vec<usize> {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    let range = |part: &str| match part.split_once('-') {
        Some((from, to)) => number(from)..=number(to),
        None => number(part)..=number(part),
    };
    text.split(',').flat_map(range).collect()
}

/// The same, the other way round.
fn ranges(numbers: &BTreeSet<usize>) -> String {
    let mut parts: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match parts.last_mut() {
            Some((_, to)) if *to + 1 == *number => *to = *number,
            _ => parts.push((*number, *number)),
        }
    }
    let part = |(from, to): &(usize, usize)| {
        if from == to { from.to_string() } else { format!("{from}-{to}") }
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

/// What was printed; `None` where it never said how much there is to do.
fn outcome(printed: &str) -> Option<Outcome> {
    let planned = printed.lines().find_map(|line| line.strip_prefix("1..")?.trim().parse().ok())?;
    let passed: BTreeSet<usize> = printed
        .lines()
        .filter_map(|line| line.strip_prefix("ok ")?.split(' ').next()?.parse().ok())
        .collect();
    let failing = (1..=planned).filter(|number| !passed.contains(number)).collect();
    Some(Outcome { planned, failing })
}

/// A directory that looks to the suite like the one memcached was built in.
fn stage() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    // Without -M memcached makes room by forgetting, and the suite stores more than there is room for.
    // tallyd refuses instead, as memcached does with -M; so it is given the room there.
    let start = format!(
        "#!/bin/sh\n\
         case \" $* \" in *' -M '*) ;; *) set -- \"$@\" -m 1024 ;; esac\n\
         exec '{}' serve --memcached-compat \"$@\"\n",
        binary().display()
    );
    // The suite's own gives a program some time; here the whole file has a limit.
    for (name, script) in
        [("memcached-debug", start.as_str()), ("timedrun", "#!/bin/sh\nshift\nexec \"$@\"\n")]
    {
        let path = dir.path().join(name);
        std::fs::write(&path, script).expect("it can be written");
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(&path, mode).expect("it is ours");
    }
    // Only memcached's debug build has a clock that a client can move; here the time passes.
    let real_time = "package real_time; use MemcachedTest; no warnings;\n\
                     *MemcachedTest::mem_move_time = sub { select undef, undef, undef, $_[1] };\n1;\n";
    std::fs::write(dir.path().join("real_time.pm"), real_time).expect("it can be written");
    dir
}

/// Runs one file to its end, or to its limit; what it printed, and what it complained of.
fn run(source: &Path, stage: &Path, file: &str) -> (String, String) {
    let output = Command::new("timeout")
        .args(["--kill-after=5", LIMIT_SECS, "perl", "-I"])
        .arg(stage)
        .arg("-I")
        .arg(source.join("t/lib"))
        .arg("-Mreal_time")
        .arg(source.join("t").join(format!("{file}.t")))
        .current_dir(stage)
        .env_remove("TALLYD_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("timeout of coreutils runs");
    (text(&output.stdout), text(&output.stderr))
}

/// What is not as the table says, in words.
fn judge(file: &str, row: &Row, printed: &str, complained: &str) -> Option<String> {
    let complaints = || {
        let is_log = |line: &&str| line.contains(" WARN ") || line.contains(" INFO ");
        let lines = complained.lines().filter(|line| !is_log(line)).take(40);
        let cut = |line: &str| line.chars().take(150).collect::<String>();
        lines.map(|line| ["    ", &cut(line), "\n"].concat()).collect::<String>()
    };
    let Some(found) = outcome(printed) else {
        return Some(format!("{file}: ended before it had a plan\n{}", complaints()));
    };
    if found.failing == row.failing {
        return None;
    }
    let anew: BTreeSet<_> = found.failing.difference(&row.failing).copied().collect();
    let well: BTreeSet<_> = row.failing.difference(&found.failing).copied().collect();
    Some(format!(
        "{file}: of {} assertions, failing anew: [{}], passing against the table: [{}]\n{}",
        found.planned,
        ranges(&anew),
        ranges(&well),
        complaints()
    ))
}

#[test]
#[ignore = "needs memcached's source package and Perl; run tests/run"]
fn memcacheds_own_suite_comes_out_as_the_table_says() {
    let source: PathBuf = std::env::var_os("TALLYD_TEST_MEMCACHED_SOURCE")
        .expect("TALLYD_TEST_MEMCACHED_SOURCE names memcached's source; `tests/run` fetches it")
        .into();
    let stage = stage();
    let rows = table(TABLE);
    let waiting: Mutex<Vec<_>> = Mutex::new(rows.iter().rev().collect());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().expect("no test holds it").pop();
                    let Some((file, row)) = next else { return };
                    if row.is_pending {
                        eprintln!("{file}: pending, not run");
                        continue;
                    }
                    let (printed, complained) = run(&source, stage.path(), file);
                    let verdict = judge(file, row, &printed, &complained);
                    wrong.lock().expect("no test holds it").extend(verdict);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no test holds it");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_names_every_file_that_it_should() {
    let rows = table(TABLE);
    for file in
        "bogus-commands cas flags flush-all getandtouch getset incrdecr issue_104 issue_108 \
                 issue_152 issue_192 issue_3 issue_41 issue_68 issue_70 malicious-commands metaget \
                 multiversioning noreply quit touch expirations stats-detail strtol-testing \
                 binary-get 00-startup ascii-auth idle-timeout issue_14 issue_50 issue_61 issue_67 \
                 issue_183 item_size_max maxconns shutdown stats stats-conns unixsocket \
                 chunked-items daemonize dash-M"
            .split_whitespace()
    {
        assert!(rows.contains_key(file), "{file}");
    }
}

/// The same for readers: what does not pass, and why.
#[test]
fn architecture_shows_what_does_not_pass() {
    let mut rows = vec!["| file | assertions | why not |".to_owned(), "|---|---|---|".to_owned()];
    let mut last = "";
    for line in TABLE.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()) {
        let (first, rest) = line.trim().split_once(' ').expect("two columns");
        if line.starts_with(' ') {
            rows.push(format!("| {last} | {first} | {} |", rest.trim()));
        } else {
            last = first;
        }
    }
    let architecture = include_str!("../../../ARCHITECTURE.md");
    assert!(architecture.contains(&rows.join("\n")), "it should have:\n{}", rows.join("\n"));
}

#[test]
fn what_passes_against_the_table_is_told_as_well() {
    let printed = "1..4\nok 1 - a\nnot ok 2 - b\nok 3 # skip\n";
    let found = outcome(printed).expect("a plan");
    assert_eq!(found, Outcome { planned: 4, failing: [2, 4].into() });
    let rows = table("x some\n  2,4  why\ny some\n  3-4  why\n");
    assert_eq!(judge("x", &rows["x"], printed, ""), None);
    let told = judge("y", &rows["y"], printed, "").expect("a difference");
    assert!(told.contains("failing anew: [2], passing against the table: [3]"), "{told}");
    assert!(judge("x", &rows["x"], "ok 1\n", "").is_some(), "a plan belongs to it");
    assert_eq!(ranges(&[1, 2, 3, 5].into()), "1-3,5");
}
