//! Going to the background, and to another user.
//!
//! Both begin the program anew: a process that has threads cannot be forked safely, and one that runs
//! as root should have done nothing yet. The new process is told by the name it is begun under that it
//! is the one: unlike a variable of the environment, nobody inherits that from somebody else.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

/// The name, in place of the program's own, under which a process is begun anew.
const BEGUN_ANEW: &str = "tallyd-begun-anew";

/// A user of the system.
#[derive(Debug, PartialEq, Eq)]
struct User {
    uid: u32,
    gid: u32,
}

/// What is left to do in this process.
pub(super) enum Detached {
    /// It is the one that serves.
    Here,
    /// Another one serves; this one is done.
    Elsewhere,
}

/// Begins the program anew where it is to be in the background, or another user's.
///
/// # Errors
/// Where there is no such user, this process may not become it, or cannot be begun anew.
pub(super) fn detach(
    is_daemon: bool,
    is_loud: bool,
    user: Option<&str>,
) -> Result<Detached, String> {
    let user = other_user(user)?;
    if std::env::args_os().next().is_some_and(|name| name == BEGUN_ANEW) {
        if user.is_some() {
            return Err("cannot change the user: this process was begun as root".to_owned());
        }
        if is_daemon {
            // The terminal's signals are not for us any more.
            rustix::process::setsid().map_err(|error| format!("cannot detach: {error}"))?;
        }
        return Ok(Detached::Here);
    }
    if !is_daemon && user.is_none() {
        return Ok(Detached::Here);
    }
    let mut anew = again(user.as_ref()).map_err(|error| format!("cannot begin anew: {error}"))?;
    if !is_daemon {
        // Comes back only when it did not work.
        return Err(format!("cannot change the user: {}", anew.exec()));
    }
    if !is_loud {
        anew.stdout(Stdio::null()).stderr(Stdio::null());
    }
    let begun = anew.stdin(Stdio::null()).spawn();
    begun.map(|_| Detached::Elsewhere).map_err(|error| format!("cannot begin anew: {error}"))
}

/// The same command line once more.
fn again(user: Option<&User>) -> io::Result<Command> {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new(std::env::current_exe()?);
    command.arg0(BEGUN_ANEW).args(arguments);
    if let Some(user) = user {
        // Becoming somebody else also drops root's further groups.
        command.uid(user.uid).gid(user.gid);
    }
    Ok(command)
}

/// The user to become, where that is another one than now.
fn other_user(name: Option<&str>) -> Result<Option<User>, String> {
    let Some(name) = name else { return Ok(None) };
    let own = rustix::process::geteuid();
    if !own.is_root() {
        // memcached looks at -u as root only.
        return Ok(None);
    }
    #[expect(clippy::disallowed_methods, reason = "the command line reads files")]
    let users = std::fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
    let user = find(&users, name).ok_or_else(|| format!("-u {name}: there is no such user"))?;
    Ok((user.uid != own.as_raw()).then_some(user))
}

/// A user by name in the form of `/etc/passwd`: `name:password:uid:gid:…`.
fn find(users: &str, name: &str) -> Option<User> {
    let mut fields = users
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    let uid = fields.nth(1)?.parse().ok()?;
    let gid = fields.next()?.parse().ok()?;
    Some(User { uid, gid })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_their_whole_name() {
        let users = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65535:nobody:/:/bin/false\n";
        assert_eq!(find(users, "root"), Some(User { uid: 0, gid: 0 }));
        assert_eq!(find(users, "nobody"), Some(User { uid: 65534, gid: 65535 }));
        assert_eq!(find(users, "no"), None);
        assert_eq!(find("broken\nx:y\n", "x"), None);
    }
}
