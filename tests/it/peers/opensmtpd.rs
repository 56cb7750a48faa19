//! Debian's OpenSMTPD, which delivers to a local mailbox: `tests/peers/opensmtpd.sh`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::harness::{Server, eventually};

/// A running one. It ends with this value.
struct Smtpd {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

impl Smtpd {
    fn start() -> Self {
        let package = std::env::var_os("TALLYD_TEST_OPENSMTPD")
            .expect("TALLYD_TEST_OPENSMTPD names an unpacked package; `tests/run` sets it");
        let dir = tempfile::tempdir().expect("a temporary directory");
        // The user to whom it delivers goes through it.
        let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), open).expect("it is ours");
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/opensmtpd.sh");
        let child = Command::new("unshare")
            .args(["--mount", "sh"])
            .arg(script)
            .arg(package)
            .arg(dir.path())
            .arg(port.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("unshare of util-linux runs");
        let smtpd = Self { child, port, dir };
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        eventually("OpenSMTPD", || TcpStream::connect(address).ok());
        smtpd
    }

    /// The mails in the mailbox, by when they came.
    fn mails(&self) -> Vec<String> {
        let new = self.dir.path().join("oncall/Maildir/new");
        let files = std::fs::read_dir(new).into_iter().flatten().flatten();
        let mut mails: Vec<_> = files
            .filter_map(|file| {
                let written = file.metadata().ok()?.modified().ok()?;
                Some((written, std::fs::read_to_string(file.path()).ok()?))
            })
            .collect();
        mails.sort();
        mails.into_iter().map(|(_, mail)| mail).collect()
    }
}

impl Drop for Smtpd {
    fn drop(&mut self) {
        // Its children end when it does.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn header<'a>(mail: &'a str, name: &str) -> &'a str {
    let found = mail.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    found.unwrap_or_else(|| panic!("no {name}:\n{mail}"))
}

#[test]
#[ignore = "needs an unpacked opensmtpd, and root that may mount; run tests/run"]
fn opensmtpd_delivers_the_alarm_and_the_recovery_to_a_local_mailbox() {
    let smtpd = Smtpd::start();
    let server = Server::start(&format!(
        r#"
[email]
server = "smtp+plain://127.0.0.1:{}"
from = "tallyd <tallyd@example.com>"

[[contact]]
name = "oncall"
email = ["oncall@example.org", "nobody-there@example.org"]

[notify]
default = ["oncall"]

[[rule]]
name = "errors-high"
summary = "Łódź answers with errors"
series = "errors"
measure = "sum"
window = "2s"
critical = {{ above = 10, clear = 5 }}
"#,
        smtpd.port
    ));
    server.client().ask("incr errors 50\r\n");
    eventually("both mails", || (smtpd.mails().len() == 2).then_some(()));
    let mails = smtpd.mails();
    let [alarm, recovery] = mails.as_slice() else { panic!("{mails:#?}") };
    assert_eq!(header(alarm, "Delivered-To"), "oncall@example.org");
    assert_eq!(header(alarm, "Subject"), "[CRITICAL] errors-high: at least 50 in 2s");
    assert!(header(recovery, "Subject").starts_with("[OK] errors-high: "), "{recovery}");
    assert_eq!(header(alarm, "References"), header(recovery, "References"));
    assert_eq!(header(recovery, "In-Reply-To"), header(alarm, "References"));
    assert_eq!(header(alarm, "Auto-Submitted"), "auto-generated");
    assert_ne!(header(alarm, "Message-ID"), header(recovery, "Message-ID"));
    // The other mailbox is not there, which is final, and held up nobody.
    let failed = eventually("the refusal", || {
        let failed = server.get("/api/v1/deliveries?state=failed").1;
        failed.contains("nobody-there@example.org").then_some(failed)
    });
    assert!(failed.contains("refused the recipient: 550"), "{failed}");
}
