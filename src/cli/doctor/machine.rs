//! The machine: its clock, time zones, descriptors and memory.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use super::Findings;
use crate::config::{Config, Surroundings};
use crate::limits;
use crate::time::Timestamp;
use crate::time::clock::Clock;

/// No machine of today is before it: 2026-01-01T00:00:00Z.
const BEFORE_TALLYD: Timestamp = Timestamp::from_secs(1_767_225_600);

/// What timedatectl may take to answer: it asks another service.
const PATIENCE: Duration = Duration::from_secs(3);

pub(super) fn look(config: &Config, clock: &dyn Clock, findings: &mut Findings) {
    time(clock, findings);
    zones(config, Path::new("/usr/share/zoneinfo"), findings);
    descriptors(config, findings);
    memory(config, findings);
}

fn time(clock: &dyn Clock, findings: &mut Findings) {
    const WHAT: &str = "clock";
    let now = clock.now();
    if now < BEFORE_TALLYD {
        findings
            .fail(WHAT, format!("it says {now}; windows would be kept under that time: set it"));
        return;
    }
    match is_synchronised(clock) {
        Some(true) => findings.good(WHAT, format!("{now}, synchronised")),
        Some(false) => findings.warn(
            WHAT,
            format!("{now}; nothing keeps it right: install chrony or systemd-timesyncd"),
        ),
        None => findings.note(
            WHAT,
            format!(
                "{now}; whether something keeps it right is not known (timedatectl does not say)"
            ),
        ),
    }
}

/// What the kernel thinks of its clock, as timedatectl tells it whatever program disciplines it.
fn is_synchronised(clock: &dyn Clock) -> Option<bool> {
    let child = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    match within_patience(child, clock)?.trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

/// What a program that says a word prints; `None` where it fails or takes too long, and then it is ended.
fn within_patience(mut child: Child, clock: &dyn Clock) -> Option<String> {
    let end = clock.monotonic() + PATIENCE;
    loop {
        match child.try_wait() {
            Ok(Some(status)) => {
                let output = child.wait_with_output().ok()?;
                return status
                    .success()
                    .then(|| String::from_utf8_lossy(&output.stdout).into_owned());
            }
            Ok(None) if clock.monotonic() < end => pause(),
            Ok(None) | Err(_) => {
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a command that waits for another program")]
fn pause() {
    std::thread::sleep(Duration::from_millis(20));
}

/// Whose rules of daylight saving hold. That each zone has a name that is known was seen with the configuration.
fn zones(config: &Config, system: &Path, findings: &mut Findings) {
    const WHAT: &str = "time zones";
    let used = config.schedules.len();
    if system.join("UTC").exists() {
        findings.good(WHAT, format!("the system's, in {}", system.display()));
    } else if used == 0 {
        findings.good(WHAT, "those that are built in");
    } else {
        findings.note(
            WHAT,
            "those that are built in, as of this version; the package tzdata has what countries decide later",
        );
    }
}

fn descriptors(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "open files";
    // HTTP, what is on its way to others, and the store's own.
    let others = limits::HTTP_CONNECTIONS + 100;
    let needed = config.server.max_connections + others;
    match getrlimit(Resource::Nofile).maximum {
        Some(most) if usize::try_from(most).is_ok_and(|most| most < needed) => findings.warn(
            WHAT,
            format!(
                "at most {most}, and server.max_connections = {} needs {needed}: raise the limit (LimitNOFILE) or lower it",
                config.server.max_connections
            ),
        ),
        Some(most) => findings.good(WHAT, format!("at most {most}, {needed} may be needed")),
        None => findings.good(WHAT, "without a limit"),
    }
}

fn memory(config: &Config, findings: &mut Findings) {
    const WHAT: &str = "memory";
    let needed = most_memory(config);
    let read = (Surroundings::of_process().file)(Path::new("/proc/meminfo"), 65_536);
    let text = read.ok().flatten().and_then(|read| String::from_utf8(read.bytes).ok());
    let needs = format!(
        "all that counters.max_series and memcached.items allow takes some {} with windows that wait for the disk, and \
         names that ever were at most {} beside them",
        mib(needed),
        mib(NAMES_BYTES)
    );
    match text.as_deref().and_then(|text| kib_of(text, "MemTotal:")) {
        Some(kib) if kib.saturating_mul(1024) < needed => {
            findings.warn(WHAT, format!("{} in all; {needs}", mib(kib.saturating_mul(1024))));
        }
        Some(kib) => {
            findings.good(WHAT, format!("{} in all; {needs}", mib(kib.saturating_mul(1024))));
        }
        None => findings.note(WHAT, needs),
    }
}

/// What a busy series takes, measured with 100 thousand of them: see ARCHITECTURE.md.
const SERIES_BYTES: u64 = 700;

/// What names that ever were take, with keys of 39 bytes: a machine whose keys come and go for years gets there, and
/// no other.
const NAMES_BYTES: u64 = limits::SERIES_EVER as u64 * (40 + 39);

fn most_memory(config: &Config) -> u64 {
    let bytes = |of: usize| u64::try_from(of).unwrap_or(u64::MAX);
    let series = bytes(config.counters.max_series).saturating_mul(SERIES_BYTES);
    let parts = [series, bytes(config.memcached.items_bytes), bytes(limits::WINDOW_BYTES)];
    parts.into_iter().fold(0, u64::saturating_add)
}

/// A line of /proc/meminfo.
fn kib_of(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

fn mib(bytes: u64) -> String {
    let mib = bytes / (1024 * 1024);
    if mib < 10_240 { format!("{mib} MiB") } else { format!("{} GiB", mib / 1024) }
}

#[cfg(test)]
mod tests {
    use super::super::Verdict;
    use super::*;

    #[test]
    fn memory_is_read_as_linux_writes_it() {
        let text = "MemTotal:       24103044 kB\nMemFree:        22 kB\n";
        assert_eq!(kib_of(text, "MemTotal:"), Some(24_103_044));
        assert_eq!(kib_of(text, "Other:"), None);
        assert_eq!(kib_of("MemTotal: many kB", "MemTotal:"), None);
        assert_eq!((mib(5 << 20), mib(23 << 30)), ("5 MiB".to_owned(), "23 GiB".to_owned()));
    }

    #[test]
    fn windows_count_as_memory_beside_series_and_items() {
        let mut config = Config::default();
        config.counters.max_series = 0;
        config.memcached.items_bytes = 1;
        assert_eq!(most_memory(&config), limits::WINDOW_BYTES as u64 + 1);
    }

    #[test]
    fn more_clients_than_descriptors_is_warned_of() {
        let mut config = Config::default();
        config.server.max_connections = 1_000_000_000;
        let mut findings = Findings::default();
        descriptors(&config, &mut findings);
        let limited = getrlimit(Resource::Nofile).maximum.is_some();
        assert_eq!(findings.count(Verdict::Warning), usize::from(limited));
        config.counters.max_series = usize::MAX;
        let mut findings = Findings::default();
        memory(&config, &mut findings);
        assert_eq!(findings.count(Verdict::Warning), 1, "{findings:?}");
    }
}
