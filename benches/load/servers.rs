//! The servers that are compared: how each is started, how long it has computed, how it is ended.
//!
//! A server is a child process that is ended by its own handle, also when the run fails. Its
//! directory, with its configuration, data and output, is a temporary one under `target/`, on the
//! disk that the build is on.

use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{self, Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use tempfile::TempDir;

/// One column of the comparison, as data.
pub(crate) struct Template {
    pub(crate) name: &'static str,
    program: Program,
    /// Split at spaces; `{port}` and `{threads}` are filled in.
    args: &'static str,
    pub(crate) preload: Preload,
}

#[derive(Clone, Copy)]
enum Program {
    Memcached,
    Tallyd,
    Ourselves,
}

/// How a server is given a key before the clock starts.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preload {
    /// Stored as 0: memcached refuses to increment what is not there.
    Set,
    /// Incremented by 1: for tallyd a stored number would be a gauge.
    Incr,
    /// It keeps nothing, and its answers are not checked.
    Nothing,
}

/// What the others are measured against in the table's last column.
pub(crate) const REFERENCE: &str = "memcached";

pub(crate) const TEMPLATES: &[Template] = &[
    Template {
        name: REFERENCE,
        program: Program::Memcached,
        args: "-u root -l 127.0.0.1 -p {port} -U 0 -t {threads} -m 1024",
        preload: Preload::Set,
    },
    // By default memcached turns to another connection after 20 requests of one, even if there is
    // no other; that costs it two system calls each time, which this spares it.
    Template {
        name: "memcached-R1000",
        program: Program::Memcached,
        args: "-u root -l 127.0.0.1 -p {port} -U 0 -t {threads} -m 1024 -R 1000",
        preload: Preload::Set,
    },
    Template {
        name: "tallyd",
        program: Program::Tallyd,
        args: "serve --config tallyd.toml",
        preload: Preload::Incr,
    },
    Template {
        name: "echo",
        program: Program::Ourselves,
        args: "--echo-server {port}",
        preload: Preload::Nothing,
    },
];

const START_TIMEOUT: Duration = Duration::from_secs(10);
const START_POLL: Duration = Duration::from_millis(10);

pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    TEMPLATES.iter().map(|template| template.name)
}

/// Where the programs are and what is the same for all of them.
pub(crate) struct Programs {
    memcached: Option<PathBuf>,
    tallyd: PathBuf,
    ourselves: PathBuf,
    pub(crate) threads: u32,
}

impl Programs {
    pub(crate) fn find(
        memcached: Option<PathBuf>,
        tallyd: PathBuf,
        threads: u32,
    ) -> anyhow::Result<Self> {
        // A server runs in a directory of its own, where a relative path would lead nowhere.
        let memcached = memcached.or_else(find_memcached).map(path::absolute).transpose()?;
        let tallyd = path::absolute(tallyd)?;
        let ourselves = std::env::current_exe().context("finding our own program")?;
        Ok(Self { memcached, tallyd, ourselves, threads })
    }

    pub(crate) fn path(&self, template: &Template) -> Option<&Path> {
        let path = match template.program {
            Program::Memcached => self.memcached.as_deref()?,
            Program::Tallyd => &self.tallyd,
            Program::Ourselves => &self.ourselves,
        };
        path.is_file().then_some(path)
    }

    /// What the compared programs say they are.
    pub(crate) fn versions(&self) -> Vec<String> {
        let memcached = self.memcached.as_deref().and_then(|path| version(path, "-V"));
        [memcached, version(&self.tallyd, "--version")].into_iter().flatten().collect()
    }

    fn command(&self, template: &Template, port: u16) -> anyhow::Result<Command> {
        let path = self.path(template).with_context(|| format!("no {}", template.name))?;
        let filled = template
            .args
            .replace("{port}", &port.to_string())
            .replace("{threads}", &self.threads.to_string());
        let mut command = Command::new(path);
        command.args(filled.split(' '));
        Ok(command)
    }
}

/// A running server. Dropping it ends the process and removes its directory, in this order.
pub(crate) struct Server {
    pub(crate) template: &'static Template,
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Server {
    /// Returns once the server accepts connections.
    pub(crate) fn start(template: &'static Template, programs: &Programs) -> anyhow::Result<Self> {
        let directory = TempDir::new_in(env!("CARGO_TARGET_TMPDIR"))?;
        let output = File::create(directory.path().join("output"))?;
        let [port, http_port] = free_ports()?;
        let config = tallyd_config(port, http_port, programs.threads);
        fs::write(directory.path().join("tallyd.toml"), config)?;
        let child = programs
            .command(template, port)?
            .current_dir(directory.path())
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("starting {}", template.name))?;
        let mut server = Self { template, child, port, directory };
        server.wait_until_up()?;
        Ok(server)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// CPU time so far of all threads with this in their names; of all threads where none has. A thread that sleeps, as all do between two rounds, is
    /// accounted to the nanosecond.
    pub(crate) fn cpu_nanos(&self, threads_named: &str) -> anyhow::Result<u64> {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let nanos = threads_nanos(&process, threads_named);
        nanos.or_else(|| process_nanos(&process)).with_context(|| {
            format!("no CPU time of {} in {}", self.template.name, process.display())
        })
    }

    fn wait_until_up(&mut self) -> anyhow::Result<()> {
        let polls = START_TIMEOUT.as_millis() / START_POLL.as_millis();
        for _ in 0..polls {
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended at once ({status}): {}", self.template.name, self.output());
            }
            if TcpStream::connect(self.address()).is_ok() {
                return Ok(());
            }
            std::thread::sleep(START_POLL);
        }
        bail!("{} does not accept connections: {}", self.template.name, self.output())
    }

    fn output(&self) -> String {
        fs::read_to_string(self.directory.path().join("output")).unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when the process has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is not named here keeps its default; the data goes to the server's own directory.
fn tallyd_config(port: u16, http_port: u16, threads: u32) -> String {
    format!(
        "[server]\nlisten = [\"127.0.0.1:{port}\"]\nhttp = [\"127.0.0.1:{http_port}\"]\n\
         threads = {threads}\n"
    )
}

fn find_memcached() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from("/usr/bin")])
        .map(|directory| directory.join("memcached"))
        .find(|program| program.is_file())
}

fn version(program: &Path, flag: &str) -> Option<String> {
    let output = Command::new(program).arg(flag).stdin(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(str::to_owned)
}

/// Free at this moment; two at a time, so that they differ. Should another process take one of
/// them first, the server ends at once and says so.
fn free_ports() -> anyhow::Result<[u16; 2]> {
    let [one, other] = [(); 2].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    Ok([one?.local_addr()?.port(), other?.local_addr()?.port()])
}

/// The first figure of each thread's `schedstat`: nanoseconds on a CPU.
fn threads_nanos(process: &Path, named: &str) -> Option<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(process.join("task")).ok()? {
        let thread = thread.ok()?.path();
        if !fs::read_to_string(thread.join("comm")).ok()?.contains(named) {
            continue;
        }
        let text = fs::read_to_string(thread.join("schedstat")).ok()?;
        sum += text.split(' ').next()?.parse::<u64>().ok()?;
    }
    (sum > 0).then_some(sum)
}

/// For kernels without `schedstat`: user and system time in ticks, of which Linux shows a hundred
/// to the second on every machine this runs on.
fn process_nanos(process: &Path) -> Option<u64> {
    let text = fs::read_to_string(process.join("stat")).ok()?;
    // The program's name, in parentheses, may hold spaces; counting begins after it.
    let mut fields = text.rsplit(") ").next()?.split(' ').skip(11);
    let mut ticks = || fields.next()?.parse::<u64>().ok();
    Some((ticks()? + ticks()?) * 10_000_000)
}
