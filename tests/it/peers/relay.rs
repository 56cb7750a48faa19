//! A mail relay that keeps what it is given: `tests/peers/smtp_server.py`, with certificates made
//! for this one run.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use serde::Deserialize;

use super::process::python;

/// Who may hand in mail.
pub const USER: &str = "tallyd";

/// With this password.
const PASSWORD: &str = "plover-xyzzy-42";

/// What may not be seen by anybody else: the password, and the forms in which `AUTH LOGIN` and
/// `AUTH PLAIN` send it.
pub const SECRETS: [&str; 3] =
    [PASSWORD, "cGxvdmVyLXh5enp5LTQy", "AHRhbGx5ZABwbG92ZXIteHl6enktNDI="];

/// A running relay. It ends with this value.
pub struct Relay {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
}

/// A message that it took.
#[derive(Debug, Deserialize)]
pub struct Mail {
    /// When, in Unix seconds.
    pub arrived: f64,
    pub from: String,
    pub to: Vec<String>,
    /// The version of TLS that the connection had.
    pub tls: Option<String>,
    /// Who had logged in, and how.
    pub login: Option<String>,
    pub mechanism: Option<String>,
    /// As it came over the wire.
    pub raw: String,
    /// By names in small letters.
    pub headers: BTreeMap<String, String>,
    #[serde(rename = "type")]
    pub content_type: String,
    pub parts: Vec<Part>,
    /// What Python's parser found wrong with it.
    pub defects: Vec<String>,
}

/// A part of a message that is not made of parts itself.
#[derive(Debug, Deserialize)]
pub struct Part {
    #[serde(rename = "type")]
    pub content_type: String,
    pub text: String,
}

impl Relay {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        write_certificates(dir.path());
        write_secret(&dir.path().join("password"), PASSWORD);
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/smtp_server.py");
        let mut child = python()
            .arg(script)
            .args(["--certificate", "relay.pem", "--key", "relay.key", "--user", USER])
            .args(["--password-file", "password", "--mailbox", "mailbox"])
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the mail server starts; `tests/run` installs what it needs");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("it is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the mail server says its port");
        let port = line.trim().parse().expect("a port");
        Self { child, port, dir }
    }

    /// The section of a configuration that sends mail through it.
    pub fn section(&self, trusts_it: bool) -> String {
        let path = |name: &str| self.dir.path().join(name).display().to_string();
        let ca = if trusts_it { path("ca.pem") } else { String::new() };
        format!(
            "[email]\nserver = \"smtp://127.0.0.1:{}\"\nfrom = \"tallyd <tallyd@example.com>\"\n\
             username = \"{USER}\"\npassword_file = \"{}\"\nca_file = \"{ca}\"\n",
            self.port,
            path("password"),
        )
    }

    /// All that it took so far.
    pub fn mails(&self) -> Vec<Mail> {
        let kept = std::fs::read_to_string(self.dir.path().join("mailbox")).unwrap_or_default();
        let whole = kept.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a message")).collect()
    }
}

impl Mail {
    /// The text of a header that has to be there.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}: {self:#?}"))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        // It may have ended already, and then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An authority, and a certificate of it for 127.0.0.1.
fn write_certificates(dir: &Path) {
    let key = || KeyPair::generate().expect("a key");
    let mut params = CertificateParams::new([]).expect("no names");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority_key = key();
    let authority = params.self_signed(&authority_key).expect("a certificate");
    let issuer = Issuer::new(params, authority_key);
    let relay_key = key();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let relay = params.signed_by(&relay_key, &issuer).expect("a certificate");
    for (name, pem) in [("ca.pem", authority.pem()), ("relay.pem", relay.pem())] {
        std::fs::write(dir.join(name), pem).expect("it can be written");
    }
    write_secret(&dir.join("relay.key"), &relay_key.serialize_pem());
}

fn write_secret(path: &Path, text: &str) {
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes())).expect("it can be written");
}
