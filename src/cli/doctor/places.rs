//! Where things are kept: the data directory, who may read and write it, and how much room there is.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::Findings;
use crate::config::{Config, Surroundings};
use crate::disk;
use crate::limits;
use crate::time::clock::Clock;
use crate::time::{Span, Timestamp};

const WHAT: &str = "data directory";

/// With this part of what a server warns below it still counts, and soon keeps no history.
const PART_TO_FAIL: u64 = 16;

/// Largest list of locks that is read, in bytes.
const LOCKS_BYTES: u64 = 4 << 20;

/// What may lie on another machine, where mapped files and locks do not hold what they promise. Source: magic
/// numbers of statfs(2).
const REMOTE: [(u32, &str); 4] =
    [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB"), (0x6573_5546, "FUSE")];

/// What is gone when the machine is switched off.
const TMPFS: u32 = 0x0102_1994;

pub(super) fn look(config: &Config, is_up: bool, clock: &dyn Clock, findings: &mut Findings) {
    let dir = &config.server.data_dir;
    let shown = dir.display();
    if !dir.exists() {
        return missing(dir, findings);
    }
    if !dir.is_dir() {
        return findings.fail(WHAT, format!("{shown} is no directory"));
    }
    access(dir, is_up, findings);
    file_system(dir, findings);
    room(dir, findings);
    future(dir, clock.now(), findings);
}

/// The nearest directory above that is there.
fn nearest(dir: &Path) -> PathBuf {
    let there = dir.ancestors().skip(1).find(|above| above.is_dir());
    there.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn missing(dir: &Path, findings: &mut Findings) {
    let (above, shown) = (nearest(dir), dir.display());
    if rustix::fs::access(&above, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        let above = above.display();
        return findings.fail(WHAT, format!("{shown} is not there, and cannot be made in {above}"));
    }
    findings.good(WHAT, format!("{shown} is not there yet; the server makes it"));
    file_system(&above, findings);
    room(&above, findings);
}

fn access(dir: &Path, is_up: bool, findings: &mut Findings) {
    let shown = dir.display();
    let Ok(about) = dir.metadata() else {
        return findings.fail(WHAT, format!("{shown} cannot be looked at"));
    };
    let (owner, mode) = (about.uid(), about.mode() & 0o777);
    let us = rustix::process::geteuid().as_raw();
    if rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).is_err() {
        return findings.fail(
            WHAT,
            format!(
                "{shown} may not be written by user {us}; it belongs to user {owner}, mode {mode:o}"
            ),
        );
    }
    let holder = if is_up { None } else { holder(dir) };
    if let Some(pid) = holder {
        return findings.fail(
            WHAT,
            format!("{shown} is used by process {pid}, and no server answers where the configuration says"),
        );
    }
    if mode & 0o077 != 0 {
        findings.warn(
            WHAT,
            format!("{shown} may be read by others (mode {mode:o}): chmod 700 {shown}"),
        );
    } else if us == 0 && owner != 0 {
        findings.good(WHAT, format!("{shown}, of user {owner}; seen as root, who may do all"));
    } else {
        findings.good(WHAT, format!("{shown} may be written"));
    }
}

/// The process that has the directory's lock, as far as the kernel tells; nothing is locked to find out.
fn holder(dir: &Path) -> Option<u64> {
    let lock = dir.join("lock").metadata().ok()?;
    let read = (Surroundings::of_process().file)(Path::new("/proc/locks"), LOCKS_BYTES);
    let text = String::from_utf8(read.ok().flatten()?.bytes).ok()?;
    let (major, minor) = (rustix::fs::major(lock.dev()), rustix::fs::minor(lock.dev()));
    locker(&text, &format!("{major:02x}:{minor:02x}:{}", lock.ino()))
}

/// Who holds a lock on the file with this device and inode: `1: FLOCK  ADVISORY  WRITE 812 08:01:1234 0 EOF`.
/// Source: proc(5).
fn locker(locks: &str, file: &str) -> Option<u64> {
    locks.lines().find_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let (kind, _, _) = (words.next()?, words.next()?, words.next()?);
        let (pid, place) = (words.next()?, words.next()?);
        (kind == "FLOCK" && place == file).then(|| pid.parse().ok())?
    })
}

fn file_system(dir: &Path, findings: &mut Findings) {
    let Ok(found) = rustix::fs::statfs(dir) else { return };
    let shown = dir.display();
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_possible_truncation,
        reason = "its lower 32 bits are the number"
    )]
    let magic = found.f_type as u32;
    if let Some((_, name)) = REMOTE.iter().find(|(number, _)| *number == magic) {
        findings.warn(
            WHAT,
            format!("{shown} lies on {name}: what is promised of a crash holds on a disk of this machine alone"),
        );
    } else if magic == TMPFS {
        findings
            .warn(WHAT, format!("{shown} lies in memory (tmpfs): it is gone with the next boot"));
    }
}

fn room(dir: &Path, findings: &mut Findings) {
    const WHAT: &str = "disk space";
    match disk::room(dir) {
        Ok((free, size)) => judge_room(free, size, findings),
        Err(error) => findings.note(WHAT, format!("not known: {error}")),
    }
}

/// As a server does of itself: below this it tells `tallyd-disk`.
fn judge_room(free: u64, size: u64, findings: &mut Findings) {
    const WHAT: &str = "disk space";
    let low = limits::disk_low(size);
    let mib = free >> 20;
    if free < low / PART_TO_FAIL {
        findings.fail(WHAT, format!("{mib} MiB free: history would not be kept"));
    } else if free < low {
        let low = low >> 20;
        findings
            .warn(WHAT, format!("{mib} MiB free: below {low} MiB a server warns (tallyd-disk)"));
    } else if mib < 10_240 {
        findings.good(WHAT, format!("{mib} MiB free"));
    } else {
        findings.good(WHAT, format!("{} GiB free", free >> 30));
    }
}

/// Whether something was written later than now: then windows would go on only when that time has come.
fn future(dir: &Path, now: Timestamp, findings: &mut Findings) {
    let Ok(entries) = dir.read_dir() else { return };
    let newest =
        entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|about| about.mtime()).max();
    let Some(newest) = newest.map(Timestamp::from_secs) else { return };
    let ahead = newest.since(now);
    if newest > now && ahead > Span::from_secs(300) {
        findings.fail(
            "clock",
            format!("{} was written {ahead} later than now: the clock was set back; windows go on when it has caught up", dir.display()),
        );
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "files of a test")]
mod tests {
    use super::super::Verdict;
    use super::*;
    use crate::counters;
    use crate::time::clock::SystemClock;

    #[test]
    fn the_holder_of_a_lock_is_read_as_linux_writes_it() {
        let locks = "1: POSIX  ADVISORY  WRITE 7 08:01:42 0 EOF\n\
                     2: FLOCK  ADVISORY  WRITE 812 08:01:42 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 9 fe:00:43 0 EOF\n2: -> FLOCK  ADVISORY  WRITE 3\n";
        assert_eq!(locker(locks, "08:01:42"), Some(812));
        assert_eq!(locker(locks, "fe:00:43"), Some(9));
        assert_eq!(locker(locks, "08:01:43"), None);
        assert_eq!(locker("nonsense\n\n1:\n", "08:01:43"), None);
    }

    #[test]
    fn a_directory_that_is_used_fails_and_one_that_is_open_to_others_is_warned_of() {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("data");
        let look_at = |is_up| {
            let mut findings = Findings::default();
            let mut config = Config::default();
            config.server.data_dir = data.clone();
            look(&config, is_up, &SystemClock::new(), &mut findings);
            findings
        };
        assert_eq!(look_at(false).count(Verdict::Failure), 0, "it is not there yet");
        assert!(!data.exists(), "and is not made");
        let lock = counters::lock(&data).unwrap();
        std::fs::set_permissions(&data, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        assert_eq!(holder(&data), Some(u64::from(std::process::id())));
        assert_eq!(look_at(false).count(Verdict::Failure), 1);
        assert_eq!(look_at(true).count(Verdict::Failure), 0, "it is the server that answers");
        drop(lock);
        assert_eq!(holder(&data), None);
        let findings = look_at(false);
        assert!(
            findings.all.iter().any(|finding| finding.text.contains("mode 755")),
            "{findings:?}"
        );
        std::fs::remove_dir_all(&data).unwrap();
        std::fs::write(&data, "").unwrap();
        assert_eq!(look_at(false).count(Verdict::Failure), 1, "no directory");
    }

    #[test]
    fn room_is_judged_as_a_server_does_of_itself() {
        const GIB: u64 = 1 << 30;
        for (free, size, expect) in [
            (GIB - 1, 100 * GIB, Verdict::Warning),
            (GIB, 100 * GIB, Verdict::Good),
            (GIB / 16 - 1, 100 * GIB, Verdict::Failure),
            (GIB / 10, GIB, Verdict::Good),
            (GIB / 21, GIB, Verdict::Warning),
            (0, GIB, Verdict::Failure),
        ] {
            let mut findings = Findings::default();
            judge_room(free, size, &mut findings);
            assert_eq!(findings.count(expect), 1, "{free} of {size}: {findings:?}");
        }
    }

    #[test]
    fn what_was_written_in_the_future_is_told() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x"), "").unwrap();
        let now = SystemClock::new().now();
        for (now, failures) in [(now, 0), (now - Span::from_secs(3600), 1), (now + Span::DAY, 0)] {
            let mut findings = Findings::default();
            future(dir.path(), now, &mut findings);
            assert_eq!(findings.count(Verdict::Failure), failures, "{findings:?}");
        }
    }
}
