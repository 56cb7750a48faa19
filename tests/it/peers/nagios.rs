//! Debian's Nagios 4 with the definitions of `conf/nagios`: every way in (our own plugin, `check_nrpe` in all its forms,
//! `check_http`) follows a rule through its states. Icinga 2 takes the definitions that are its, and follows it too;
//! Munin runs the plugin of `conf/munin`, and the script of `conf/cacti` prints a value.
//!
//! The programs are unpacked, not installed: `TALLYD_TEST_MONITORING` names where.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use super::process::{Ended, run};
use crate::access::certify;
use crate::harness::{Client, Server, binary, eventually};

/// Rules that go through every state by the value of a gauge: one alone, and one by region.
const RULES: &str = r#"
[[rule]]
name = "errors-high"
series = "queue"
measure = "last"
window = "3s"
warning = { above = 10 }
critical = { above = 20 }
missing = { after = "1s", state = "unknown" }
flapping = false
notify = []

[[rule]]
name = "by-region"
series = "lag"
by = ["region"]
measure = "last"
window = "3s"
warning = { above = 10 }
critical = { above = 20 }
missing = { after = "1s", state = "unknown" }
flapping = false
notify = []
"#;

/// Everything goes through a scheduler here, on a machine that may have others to serve.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the packages were unpacked.
fn unpacked() -> PathBuf {
    let path = std::env::var_os("TALLYD_TEST_MONITORING");
    path.expect("TALLYD_TEST_MONITORING names unpacked packages; `tests/run` sets it").into()
}

/// What is below a directory whose name depends on the processor, as `x86_64-linux-gnu`.
fn in_libraries(rest: &str) -> PathBuf {
    let folders = std::fs::read_dir(unpacked().join("usr/lib")).expect("libraries");
    let found = folders.flatten().map(|folder| folder.path().join(rest)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("no {rest} below {}", unpacked().display()))
}

fn conf(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conf").join(name)
}

/// A definition as it is shipped, for the program and the ports of the test.
fn shipped(name: &str, server: &mut Server) -> String {
    let text = std::fs::read_to_string(conf(name)).expect(name);
    let (http, nrpe) = (server.http.port().to_string(), server.nrpe().port().to_string());
    let text = text.replace("8311", &http).replace("5666", &nrpe);
    text.replace("/usr/bin/tallyd", &binary().display().to_string())
}

/// A server that is watched, with what sets its gauges.
fn start(dir: tempfile::TempDir, nrpe: &str) -> Server {
    let config = format!("[nrpe]\nlisten = \"127.0.0.1:0\"\n{nrpe}\n{RULES}");
    Server::start_in(dir, "", &config, &[])
}

/// Sets the gauges of these servers to what is wanted, again and again, until one is gone. Below zero nothing is set.
fn feed(servers: &[SocketAddr], value: &Arc<AtomicI64>) {
    let mut clients: Vec<_> = servers.iter().copied().map(Client::connect).collect();
    let value = Arc::clone(value);
    std::thread::spawn(move || {
        loop {
            let value = value.load(Relaxed);
            let text = value.to_string();
            let set = |key: &str| format!("set {key} 0 0 {} noreply\r\n{text}\r\n", text.len());
            let line = ["queue", "lag;region=eu", "lag;region=us"].map(set).concat();
            if value >= 0 && !clients.iter_mut().all(|client| client.try_send(line.as_bytes())) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// A monitoring system that writes a status file as Nagios does. It ends with this value.
struct Monitor {
    child: Child,
    status: PathBuf,
    log: PathBuf,
    _dir: tempfile::TempDir,
}

/// What there is of a service.
type Fields = BTreeMap<String, String>;

impl Monitor {
    /// Every service, by its host and name.
    fn services(&self) -> BTreeMap<String, Fields> {
        // It is not there before the first time, and put in its place as a whole.
        let text = std::fs::read_to_string(&self.status).unwrap_or_default();
        let blocks = text.split("servicestatus {").skip(1);
        let fields = blocks.map(|block| {
            let own = block.lines().take_while(|line| line.trim() != "}");
            let pairs = own.filter_map(|line| line.trim().split_once('='));
            pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
        });
        let name = |of: &Fields| format!("{}: {}", of["host_name"], of["service_description"]);
        fields.map(|fields: Fields| (name(&fields), fields)).collect()
    }

    /// Waits until there are so many services, and each is as `holds` says.
    fn until(&self, what: &str, count: usize, holds: impl Fn(&str, &Fields) -> bool) {
        let end = Instant::now() + PATIENCE;
        loop {
            let services = self.services();
            let others = services.iter().filter(|(name, fields)| !holds(name, fields));
            let others: Vec<_> = others.collect();
            if others.is_empty() && services.len() == count {
                return;
            }
            if Instant::now() > end {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                panic!("not {what}, of {}: {others:#?}\n{log}", services.len());
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        // In order, so that what it has started ends as well.
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let _ = self.child.wait();
    }
}

/// What Nagios' own examples have, and the shipped definitions refer to.
const EXAMPLES: &str = "
define timeperiod {
    timeperiod_name 24x7
    alias always
    sunday 00:00-24:00
    monday 00:00-24:00
    tuesday 00:00-24:00
    wednesday 00:00-24:00
    thursday 00:00-24:00
    friday 00:00-24:00
    saturday 00:00-24:00
}
define command {
    command_name tell-nobody
    command_line /bin/true
}
define contact {
    contact_name oncall
    host_notification_commands tell-nobody
    service_notification_commands tell-nobody
    host_notification_period 24x7
    service_notification_period 24x7
}
define contactgroup {
    contactgroup_name admins
    members oncall
}
";

/// Services beside the shipped ones: instances, and every form of NRPE. `tls` is a host of its own.
fn further(secured: &mut Server) -> String {
    let dir = secured.dir().to_owned();
    let looks_at = |name: &str| format!("errors-high!-A {}", dir.join(name).display());
    let nrpe = "check_tallyd_nrpe!";
    let checks = [
        ("tally", "region", "check_tallyd!by-region!--by region=eu".to_owned()),
        ("tally", "region by NRPE", format!("{nrpe}by-region!-n -a region=eu")),
        ("tally", "clear 2", format!("{nrpe}errors-high!-n -2")),
        ("tally", "clear 3", format!("{nrpe}errors-high!-n -3")),
        ("tls", "2", format!("{nrpe}errors-high!-2")),
        ("tls", "3", format!("{nrpe}errors-high!-3")),
        ("tls", "4", format!("{nrpe}errors-high")),
        ("tls", "TLS 1.2", format!("{nrpe}errors-high!-S TLSv1.2")),
        ("tls", "known", nrpe.to_owned() + &looks_at("tallyd.crt")),
        ("tls", "stranger", nrpe.to_owned() + &looks_at("other.crt")),
        ("tls", "clear", format!("{nrpe}errors-high!-n")),
    ];
    let mut text = format!(
        "define host {{\n host_name tls\n address 127.0.0.1\n max_check_attempts 1\n check_period 24x7\n \
         contact_groups admins\n _TALLYD_NRPE_PORT {}\n}}\n",
        secured.nrpe().port()
    );
    for (host, name, check) in checks {
        let _ = write!(
            text,
            "define service {{\n use tallyd-service\n host_name {host}\n service_description {name}\n \
             check_command {check}\n}}\n"
        );
    }
    text
}

/// Starts Nagios in the foreground, with a second in the place of each minute.
fn nagios(clear: &mut Server, secured: &mut Server) -> Monitor {
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path().display();
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("it can be written");
    };
    for name in ["checks", "tmp", "plugins"] {
        std::fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    for plugin in [
        unpacked().join("usr/lib/nagios/plugins/check_nrpe"),
        "/usr/lib/nagios/plugins/check_http".into(),
    ] {
        let name = plugin.file_name().expect("a name");
        let link = dir.path().join("plugins").join(name);
        std::os::unix::fs::symlink(&plugin, link).expect("a link");
    }
    write("examples.cfg", EXAMPLES);
    write("commands.cfg", &shipped("nagios/commands.cfg", clear));
    write("services.cfg", &shipped("nagios/services.cfg", clear));
    write("further.cfg", &further(secured));
    write("resource.cfg", &format!("$USER1$={here}/plugins\n"));
    let user = text_of(Command::new("id").arg("-un"));
    let group = text_of(Command::new("id").arg("-gn"));
    write(
        "nagios.cfg",
        &format!(
            "log_file={here}/nagios.log\ncfg_file={here}/examples.cfg\ncfg_file={here}/commands.cfg\n\
             cfg_file={here}/services.cfg\ncfg_file={here}/further.cfg\nresource_file={here}/resource.cfg\n\
             object_cache_file={here}/objects.cache\nprecached_object_file={here}/objects.precache\n\
             status_file={here}/status.dat\nstate_retention_file={here}/retention.dat\n\
             retain_state_information=0\ntemp_file={here}/nagios.tmp\ntemp_path={here}/tmp\n\
             check_result_path={here}/checks\nlock_file={here}/nagios.pid\nquery_socket={here}/nagios.qh\n\
             command_file={here}/nagios.cmd\ncheck_external_commands=0\nstatus_update_interval=1\n\
             interval_length=2\nservice_inter_check_delay_method=n\nuse_syslog=0\ncheck_for_updates=0\n\
             check_workers=2\nillegal_macro_output_chars=`~$&|'\"<>\n\
             nagios_user={user}\nnagios_group={group}\n"
        ),
    );
    let child = Command::new(unpacked().join("usr/sbin/nagios4"))
        .arg(dir.path().join("nagios.cfg"))
        .env_remove("TALLYD_SERVER")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("Nagios starts");
    let (status, log) = (dir.path().join("status.dat"), dir.path().join("nagios.log"));
    Monitor { child, status, log, _dir: dir }
}

fn text_of(command: &mut Command) -> String {
    run(command).stdout.trim().to_owned()
}

/// What a service is expected to be while the gauges have this value: state, beginning of the output, and a part
/// of the performance data.
fn expected(service: &str, value: i64) -> (i32, String, String) {
    let (state, word) = match value {
        ..0 => (3, "UNKNOWN"),
        0..=10 => (0, "OK"),
        11..=20 => (1, "WARNING"),
        _ => (2, "CRITICAL"),
    };
    let number = if value < 0 { "U".to_owned() } else { value.to_string() };
    let of = |rule: &str, label: &str| {
        (state, format!("{word} - {rule}: "), format!("'{label}'={number};~:10;~:20;;"))
    };
    match service {
        // Whoever it does not know, and who speaks no TLS, has no answer.
        "tls: stranger" | "tls: clear" => (3, "CHECK_NRPE: ".to_owned(), String::new()),
        "tally: region" | "tally: region by NRPE" => of("by-region", "by-region{region:eu}"),
        "tally: all rules" => {
            let word = word.to_lowercase();
            let count = format!("'{word}'=2;;;0;");
            (state, format!("{} - all rules: 2 {word}", word.to_uppercase()), count)
        }
        "tally: orders" => {
            (0, "OK - orders.placed: at least ".to_owned(), "=40;20:;10:;0;".to_owned())
        }
        "tally: errors by HTTP" => {
            // By its status alone: UNKNOWN has none.
            let (state, word) = if value < 0 { (2, "CRITICAL") } else { (state, word) };
            (state, format!("HTTP {word}: "), "size=".to_owned())
        }
        _ => of("errors-high", "errors-high"),
    }
}

/// Whether a service is as it is expected to be.
fn is_as_expected(service: &str, fields: &Fields, value: i64) -> bool {
    let (state, output, data) = expected(service, value);
    // Icinga leaves out quotes where it needs none.
    let field = |name: &str| fields.get(name).map_or("", String::as_str);
    let seen = field("performance_data");
    field("current_state") == state.to_string()
        && field("plugin_output").starts_with(&output)
        && (seen.contains(&data) || seen.contains(&data.replace('\'', "")))
}

#[test]
#[ignore = "needs unpacked nagios4-core and nagios-nrpe-plugin, and check_http; run tests/run"]
fn nagios_sees_every_state_in_every_way() {
    let dir = tempfile::tempdir().expect("a directory");
    certify(dir.path());
    std::fs::rename(dir.path().join("tallyd.crt"), dir.path().join("other.crt"))
        .expect("it is there");
    certify(dir.path());
    let mut clear = start(tempfile::tempdir().expect("a directory"), "");
    let mut secured = start(dir, "tls_cert = \"tallyd.crt\"\ntls_key = \"tallyd.key\"");
    let value = Arc::new(AtomicI64::new(5));
    feed(&[clear.memcached, secured.memcached], &value);
    // 40 a minute over five minutes, most of which it has not seen.
    assert_eq!(clear.client().ask("incr orders.placed 200\r\n"), "200");
    let monitor = nagios(&mut clear, &mut secured);
    for now in [5, 15, 50, -1, 15, 6] {
        value.store(now, Relaxed);
        monitor.until(&format!("as with {now}"), 16, |service, fields| {
            is_as_expected(service, fields, now)
        });
    }
    // A server that is gone is UNKNOWN, and CRITICAL to whoever knows no such state.
    clear.kill();
    monitor.until("gone", 16, |service, fields| {
        let (state, output) = (&*fields["current_state"], &*fields["plugin_output"]);
        match service {
            "tally: errors by HTTP" => state == "2",
            // Nobody sets the gauges of the other one any more.
            of if of.starts_with("tls: ") => is_as_expected(service, fields, -1),
            _ => {
                state == "3"
                    && (output.contains("cannot be reached")
                        || output.contains("CHECK_NRPE")
                        || output.contains("refused"))
            }
        }
    });
}

/// Icinga 2, from where it was unpacked, with these words; what it keeps is in `dir`.
fn icinga(dir: &Path, words: &[&str]) -> Command {
    let program = in_libraries("icinga2/sbin/icinga2");
    let libraries = program.ancestors().nth(3).expect("a directory").to_owned();
    let mut command = Command::new(program);
    command.env("LD_LIBRARY_PATH", libraries).args(words);
    command.arg("--include").arg(unpacked().join("usr/share/icinga2/include"));
    let user = text_of(Command::new("id").arg("-un"));
    let group = text_of(Command::new("id").arg("-gn"));
    command.arg(format!("-DConfiguration.RunAsUser={user}"));
    command.arg(format!("-DConfiguration.RunAsGroup={group}"));
    for name in ["DataDir", "LogDir", "InitRunDir", "SpoolDir", "CacheDir"] {
        command.arg(format!("-DConfiguration.{name}={}", dir.display()));
    }
    command
}

#[test]
#[ignore = "needs unpacked icinga2-bin and nagios-nrpe-plugin; run tests/run"]
fn icinga_takes_the_definitions_and_follows_a_rule() {
    let mut server = start(tempfile::tempdir().expect("a directory"), "");
    let value = Arc::new(AtomicI64::new(5));
    feed(&[server.memcached], &value);
    assert_eq!(server.client().ask("incr orders.placed 200\r\n"), "200");
    let dir = tempfile::tempdir().expect("a directory");
    let here = dir.path().display();
    let definitions = shipped("nagios/icinga2.conf", &mut server);
    let definitions = definitions.replace("_interval = 1m", "_interval = 2s");
    // The example has a rule by region that is called as the one without is.
    let definitions =
        definitions.replace("tallyd_rule = \"errors-high\"", "tallyd_rule = \"by-region\"");
    std::fs::write(dir.path().join("tallyd.conf"), definitions).expect("it can be written");
    let plugins = unpacked().join("usr/lib/nagios/plugins");
    let main = format!(
        "const PluginDir = \"{}\"\nconst NodeName = \"test\"\ninclude <itl>\ninclude <plugins>\n\
         library \"compat\"\nobject CheckerComponent \"checker\" {{}}\n\
         object StatusDataWriter \"status\" {{\n status_path = \"{here}/status.dat\"\n \
         objects_path = \"{here}/objects.cache\"\n update_interval = 1s\n}}\n\
         include \"{here}/tallyd.conf\"\n",
        plugins.display(),
    );
    let file = dir.path().join("icinga2.conf");
    std::fs::write(&file, main).expect("it can be written");
    let name = file.display().to_string();
    let checked = run(&icinga(dir.path(), &["daemon", "-C", "-c", &name]));
    assert_eq!(checked.code, Some(0), "{}{}", checked.stdout, checked.stderr);
    assert!(checked.stdout.contains("Instantiated 5 Services"), "{}", checked.stdout);

    let log = dir.path().join("icinga.log");
    let output = std::fs::File::create(&log).expect("it can be written");
    let child = icinga(dir.path(), &["daemon", "-c", &name])
        .env_remove("TALLYD_SERVER")
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(Stdio::null())
        .spawn()
        .expect("Icinga starts");
    let status = dir.path().join("status.dat");
    let monitor = Monitor { child, status, log, _dir: dir };
    for now in [5, 15, 50, -1, 6] {
        value.store(now, Relaxed);
        monitor.until(&format!("as with {now}"), 5, |service, fields| {
            let alike = match service {
                "tally: errors in Europe" => "tally: region",
                "tally: all rules" | "tally: orders" => service,
                _ => "tally: errors",
            };
            is_as_expected(alike, fields, now)
        });
    }
}

/// `munin-run` of the plugin as it would be linked, with these words.
fn munin(dir: &Path, plugin: &str, words: &[&str]) -> Ended {
    let unpacked = unpacked();
    let mut command = Command::new("perl");
    // It is run in taint mode, which looks at no variable.
    command.arg("-T").arg("-I").arg(unpacked.join("usr/share/perl5"));
    let compiled = std::fs::read_dir(in_libraries("perl5")).expect("modules");
    for folder in compiled.flatten() {
        command.arg("-I").arg(folder.path());
    }
    command.arg(unpacked.join("usr/sbin/munin-run"));
    command.arg("--config").arg(dir.join("munin-node.conf"));
    command.arg("--servicedir").arg(dir.join("plugins"));
    command.arg("--sconfdir").arg(dir.join("plugin-conf.d"));
    command.env("MUNIN_PLUGSTATE", dir).arg(plugin).args(words);
    run(&command)
}

#[test]
#[ignore = "needs unpacked munin-node; run tests/run"]
fn munin_runs_the_plugin() {
    let server = Server::start(RULES);
    let value = Arc::new(AtomicI64::new(15));
    feed(&[server.memcached], &value);
    assert_eq!(server.client().ask("incr orders.placed;region=eu 250\r\n"), "250");
    let dir = tempfile::tempdir().expect("a directory");
    for name in ["plugins", "plugin-conf.d"] {
        std::fs::create_dir(dir.path().join(name)).expect("a directory");
    }
    for name in ["tallyd_errors-high", "tallyd_orders"] {
        let link = dir.path().join("plugins").join(name);
        std::os::unix::fs::symlink(conf("munin/tallyd_"), link).expect("a link");
    }
    let user = text_of(Command::new("id").arg("-un"));
    let group = text_of(Command::new("id").arg("-gn"));
    let settings = format!(
        "[tallyd_*]\nuser {user}\ngroup {group}\nenv.server http://{}\nenv.tallyd {}\n[tallyd_orders]\n\
         env.series orders.placed\nenv.ask --measure sum --window 5m --by region -w 20: -c @~:10\n\
         env.vlabel orders\n",
        server.http,
        binary().display()
    );
    let write = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).expect("it can be written");
    };
    write("plugin-conf.d/tallyd", &settings);
    write(
        "munin-node.conf",
        &format!("log_file {}/log\nuser {user}\ngroup {group}\n", dir.path().display()),
    );
    let said = |plugin: &str, words: &[&str]| {
        let ended = munin(dir.path(), plugin, words);
        assert_eq!(ended.code, Some(0), "{}{}", ended.stdout, ended.stderr);
        ended.stdout
    };
    eventually("the value", || {
        (said("tallyd_errors-high", &[]) == "v_errors_high.value 15\n").then_some(())
    });
    assert_eq!(
        said("tallyd_errors-high", &["config"]),
        "graph_title errors-high\ngraph_category tallyd\ngraph_vlabel value\n\
         v_errors_high.label errors-high\nv_errors_high.warning :10\nv_errors_high.critical :20\n"
    );
    assert_eq!(said("tallyd_errors-high", &["autoconf"]), "yes\n");
    assert_eq!(said("tallyd_errors-high", &["suggest"]), "errors-high\nby-region\n");
    assert_eq!(said("tallyd_orders", &[]), "v_orders_placed_region_eu_.value 250\n");
    assert_eq!(
        said("tallyd_orders", &["config"]),
        "graph_title orders\ngraph_category tallyd\ngraph_vlabel orders\n\
         v_orders_placed_region_eu_.label orders.placed{region:eu}\nv_orders_placed_region_eu_.warning 20:\n"
    );
}

/// A server that asks for a token, and the file with it.
fn start_guarded(rest: &str) -> (Server, PathBuf) {
    let dir = tempfile::tempdir().expect("a directory");
    let tokens = dir.path().join("tokens");
    std::fs::write(&tokens, "# for graphs\nread:0123456789abcdef==\n").expect("it can be written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&tokens, mode).expect("it is ours");
    let config = format!("[http]\ntoken_file = \"tokens\"\n{rest}");
    (Server::start_in(dir, "", &config, &[]), tokens)
}

#[test]
fn the_plugin_of_munin_shows_its_token_and_says_why_there_is_no_value() {
    let (server, tokens) = start_guarded(RULES);
    let url = format!("http://{}", server.http);
    let ended = |rule: &str, word: &str, has_token: bool| {
        let link = server.dir().join(format!("tallyd_{rule}"));
        let _ = std::os::unix::fs::symlink(conf("munin/tallyd_"), &link);
        let mut command = Command::new("sh");
        command.arg(link).arg(word).env("tallyd", binary()).env("server", &url);
        run(if has_token { command.env("TALLYD_TOKEN_FILE", &tokens) } else { &mut command })
    };
    assert_eq!(ended("errors-high", "", true).stdout, "v_errors_high.value U\n");
    assert!(ended("errors-high", "config", true).stdout.ends_with(".critical :20\n"));
    for word in ["", "config"] {
        for (rule, has_token, why) in [
            ("nowhere", true, "there is no such rule"),
            ("errors-high", false, "this server asks for a token"),
        ] {
            let ended = ended(rule, word, has_token);
            assert_eq!((ended.code, &*ended.stdout), (Some(1), ""));
            assert!(ended.stderr.contains(why), "{}", ended.stderr);
        }
    }
}

#[test]
#[ignore = "needs curl; run tests/run"]
fn cacti_gets_a_number() {
    let (guarded, tokens) = start_guarded("");
    assert_eq!(guarded.client().ask("incr orders.placed 3\r\n"), "3");
    eventually("the value behind a token", || {
        let mut command = Command::new("sh");
        command.arg(conf("cacti/tallyd.sh")).arg(format!("http://{}", guarded.http));
        command.args(["orders.placed", "last"]).env("TALLYD_TOKEN_FILE", &tokens);
        (run(&command).stdout == "3\n").then_some(())
    });
    let server = Server::start("");
    assert_eq!(server.client().ask("incr orders.placed;region=eu 250\r\n"), "250");
    let url = format!("http://{}", server.http);
    let script = conf("cacti/tallyd.sh").display().to_string();
    let said = |words: &[&str]| {
        let ended = run(Command::new("sh").arg(&script).args(words));
        (ended.stdout, ended.stderr)
    };
    // Windows of a second are seen as a whole at once.
    eventually("the value", || {
        let (value, _) = said(&[&url, "orders.placed", "last"]);
        (value == "250\n").then_some(())
    });
    assert_eq!(said(&[&url, "orders.placed{region=\"eu\"}", "last", "1m"]).0, "250\n");
    assert_eq!(said(&[&url, "orders.placed", "sum", "5m"]).0, "U\n", "it has seen a part of that");
    assert_eq!(
        said(&[&url, "nothing.like.it", "rate", "1s", "minute"]),
        ("U\n".into(), String::new())
    );
    let (value, why) = said(&[&url, "orders.placed", "most"]);
    assert!(value == "U\n" && why.contains("`measure` is one of"), "{why}");
    let (value, why) = said(&["http://127.0.0.1:1", "orders.placed", "rate"]);
    assert!(value == "U\n" && why.contains("no answer"), "{why}");
}
