//! `tallyd serve --memcached-compat`: memcached's own start flags, with memcached's defaults.
//!
//! What is typed is read here by the rules of memcached 1.6.18, and becomes a configuration like any
//! other. A flag that tunes what tallyd does not have (slabs, the LRU, UDP) is accepted and named once
//! as ignored; one whose loss would leave less guarded than was asked for (SASL, client
//! certificates) is an error.

use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use clap::{ArgAction, Parser, ValueEnum};

use crate::config::{Auth, Compat, Config, Listen, MissingIncr, Pem, Surroundings, Tls};
use crate::faces::VERSION;
use crate::limits;
use crate::time::Span;

/// Answers like memcached 1.6.18, started with memcached's own flags and defaults.
#[derive(Debug, Parser)]
#[command(
    name = "tallyd serve --memcached-compat",
    no_binary_name = true,
    disable_help_flag = true,
    disable_version_flag = true,
    args_override_self = true,
    after_help = "Other flags of memcached 1.6.18 are accepted, and named once as ignored.\n\n\
                  Example:\n  tallyd serve --memcached-compat -p 11211 -l 127.0.0.1 -c 4096"
)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
pub(super) struct Flags {
    /// TCP port to listen on; 0 for none, -1 for any that is free
    #[arg(short, long, default_value_t = 11211, value_name = "NUM", allow_hyphen_values = true,
          value_parser = clap::value_parser!(i32).range(-1..=65535))]
    port: i32,
    /// UDP port; there is no UDP here, and without -p this is the TCP port as well
    #[arg(short = 'U', long, value_name = "NUM", allow_hyphen_values = true,
          value_parser = clap::value_parser!(i32).range(-1..=65535))]
    udp_port: Option<i32>,
    /// Unix socket to listen on, instead of the network
    #[arg(short = 's', long, value_name = "FILE")]
    unix_socket: Option<PathBuf>,
    /// Access mask of the unix socket, in octal
    #[arg(short = 'a', long, default_value = "700", value_name = "MASK", value_parser = octal)]
    unix_mask: u32,
    /// Let clients end the server with "shutdown"
    #[arg(short = 'A', long)]
    enable_shutdown: bool,
    /// Address to listen on, with a port or without; several with commas between them
    #[arg(short, long, value_name = "ADDR", value_delimiter = ',', action = ArgAction::Append)]
    listen: Vec<String>,
    /// Run in the background
    #[arg(short, long)]
    daemon: bool,
    /// Run as this user (when started as root)
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Room for values that are not counters, in megabytes
    #[arg(short, long, default_value_t = 64, value_name = "NUM",
          value_parser = clap::value_parser!(u32).range(1..=1_048_576))]
    memory_limit: u32,
    /// Refuse values when that room is full; tallyd always does
    #[arg(short = 'M', long)]
    disable_evictions: bool,
    /// Connections at once
    #[arg(short, long, default_value_t = 1024, value_name = "NUM", allow_hyphen_values = true,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conn_limit: u32,
    /// Say more: warnings and notes; -vv, -vvv for more still
    #[arg(short, long, action = ArgAction::Count)]
    verbose: u8,
    /// Print this help and exit
    #[arg(short, long, action = ArgAction::Help)]
    help: Option<bool>,
    /// Print the licence and exit
    #[arg(short = 'i', long)]
    license: bool,
    /// Print the version and exit
    #[arg(short = 'V', long)]
    version: bool,
    /// Write the process id to this file
    #[arg(short = 'P', long, value_name = "FILE")]
    pidfile: Option<PathBuf>,
    /// Worker threads
    #[arg(short, long, default_value_t = 4, value_name = "NUM",
          value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
    /// Requests of one connection before others have their turn
    #[arg(short = 'R', long, value_name = "NUM",
          value_parser = clap::value_parser!(u32).range(1..))]
    max_reqs_per_event: Option<u32>,
    /// Connections that the system keeps until they are accepted
    #[arg(short = 'b', long, default_value_t = 1024, value_name = "NUM",
          value_parser = clap::value_parser!(u32).range(1..))]
    listen_backlog: u32,
    /// Protocol: ascii or auto
    #[arg(short = 'B', long, value_enum, default_value_t = Protocol::Auto, value_name = "NAME")]
    protocol: Protocol,
    /// Largest single value: 1k to 128m
    #[arg(short = 'I', long, default_value = "1m", value_name = "SIZE", value_parser = size)]
    max_item_size: usize,
    #[arg(short = 'F', long, help = "Refuse \"flush_all\"")]
    disable_flush_all: bool,
    /// Users and passwords, "user:password" on each line
    #[arg(short = 'Y', long, value_name = "FILE")]
    auth_file: Option<PathBuf>,
    /// Speak TLS, with a certificate and a key from -o
    #[arg(short = 'Z', long)]
    enable_ssl: bool,
    #[arg(short = 'o', long, value_name = "OPTIONS", value_delimiter = ',',
          action = ArgAction::Append,
          help = "Further options with commas between them: idle_timeout=SECONDS, \
                  ssl_chain_cert=FILE, ssl_key=FILE")]
    extended: Vec<String>,

    // What memcached has and tallyd has no use for.
    #[arg(short = 'C', long, hide = true)]
    disable_cas: bool,
    #[arg(short = 'k', long, hide = true)]
    lock_memory: bool,
    #[arg(short = 'r', long, hide = true)]
    enable_coredumps: bool,
    #[arg(short = 'L', long, hide = true)]
    enable_largepages: bool,
    #[arg(short = 'X', long, hide = true)]
    disable_dumping: bool,
    #[arg(short = 'W', long, hide = true)]
    disable_watch: bool,
    #[arg(short = 'f', long, hide = true)]
    slab_growth_factor: Option<f64>,
    #[arg(short = 'n', long, hide = true)]
    slab_min_size: Option<u32>,
    #[arg(short = 'D', hide = true)]
    delimiter: Option<char>,
    #[arg(short = 'N', long, hide = true)]
    napi_ids: Option<u32>,
    #[arg(short = 'S', long = "enable-sasl", hide = true)]
    sasl: bool,
    #[arg(short = 'e', long, hide = true)]
    memory_file: Option<PathBuf>,
}

/// How memcached may be told to tell its two protocols apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Protocol {
    Ascii,
    Auto,
    #[value(hide = true)]
    Binary,
}

/// What the flags come to.
#[derive(Debug)]
pub(super) struct Start {
    /// The configuration.
    pub(super) config: Config,
    /// Flags that change nothing here.
    pub(super) ignored: Vec<String>,
    /// How much is logged.
    pub(super) level: &'static str,
    /// Run in the background.
    pub(super) is_daemon: bool,
    /// Run as this user.
    pub(super) user: Option<String>,
}

/// What the flags ask for.
#[derive(Debug)]
pub(super) enum Asked {
    /// A server.
    Start(Box<Start>),
    /// Only a text.
    Print(String),
}

/// Options behind `-o` that tune what is not here. Source: memcached 1.6.18, `memcached -h`.
const IGNORED_OPTIONS: [&str; 58] = [
    "maxconns_fast",
    "no_maxconns_fast",
    "hashpower",
    "no_hashexpand",
    "tail_repair_time",
    "hash_algorithm",
    "lru_crawler",
    "no_lru_crawler",
    "lru_crawler_sleep",
    "lru_crawler_tocrawl",
    "read_buf_mem_limit",
    "resp_obj_mem_limit",
    "lru_maintainer",
    "no_lru_maintainer",
    "hot_lru_pct",
    "warm_lru_pct",
    "hot_max_factor",
    "warm_max_factor",
    "temporary_ttl",
    "slab_reassign",
    "no_slab_reassign",
    "slab_automove",
    "no_slab_automove",
    "slab_automove_ratio",
    "slab_automove_window",
    "slab_automove_freeratio",
    "slab_chunk_max",
    "slab_sizes",
    "track_sizes",
    "watcher_logbuf_size",
    "worker_logbuf_size",
    "modern",
    "no_modern",
    "inline_ascii_resp",
    "no_inline_ascii_resp",
    "no_chunked_items",
    "drop_privileges",
    "no_drop_privileges",
    "relaxed_privileges",
    "sock_cookie_id",
    "ext_page_size",
    "ext_wbuf_size",
    "ext_threads",
    "ext_io_depth",
    "ext_item_size",
    "ext_item_age",
    "ext_low_ttl",
    "ext_drop_unread",
    "ext_recache_rate",
    "ext_compact_under",
    "ext_drop_under",
    "ext_max_frag",
    "ext_max_sleep",
    "ext_path",
    "ssl_wbuf_size",
    "ssl_session_cache",
    "ssl_kernel_tls",
    "ssl_keyformat",
];

/// Reads flags as memcached does.
///
/// # Errors
/// What is wrong with them, for people; the help they asked for comes this way as well.
pub(super) fn read(
    arguments: &[OsString],
    around: &Surroundings<'_>,
) -> Result<Asked, clap::Error> {
    let matches = <Flags as clap::CommandFactory>::command().try_get_matches_from(arguments)?;
    let has_port = matches.value_source("port") == Some(clap::parser::ValueSource::CommandLine);
    let flags = <Flags as clap::FromArgMatches>::from_arg_matches(&matches)?;
    if flags.version {
        return Ok(Asked::Print(format!("tallyd {VERSION}, answering like memcached 1.6.18")));
    }
    if flags.license {
        let licence = env!("CARGO_PKG_LICENSE");
        return Ok(Asked::Print(format!("tallyd {VERSION}\nLicence: {licence}, at your option")));
    }
    let wrong = |message: String| {
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, format!("{message}\n"))
    };
    start(flags, has_port, around).map(|start| Asked::Start(Box::new(start))).map_err(wrong)
}

fn start(flags: Flags, has_port: bool, around: &Surroundings<'_>) -> Result<Start, String> {
    refuse_what_would_guard_less(&flags)?;
    let mut ignored = ignored(&flags);
    let options = Options::read(&flags.extended, &mut ignored)?;
    let listen = match &flags.unix_socket {
        Some(path) => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            vec![Listen::Unix(path)]
        }
        None => addresses(&flags, has_port)?,
    };
    let mib = 1024 * 1024;
    let mut config = Config::default();
    config.server.listen = listen;
    config.server.http = Vec::new();
    config.server.threads = usize::from(flags.threads);
    config.server.max_connections = flags.conn_limit as usize;
    config.server.idle_timeout = Span::from_secs(options.idle_timeout);
    config.server.tls = tls(&flags, &options, around)?;
    config.memcached.missing_incr = MissingIncr::NotFound;
    config.memcached.items_bytes = flags.memory_limit as usize * mib;
    config.memcached.max_item_bytes = flags.max_item_size;
    if flags.max_item_size > config.memcached.items_bytes / 2 {
        return Err("-I: one value may take half of the memory of -m at most".to_owned());
    }
    let auth = flags.auth_file.map(|path| Auth { path, logins: Vec::new() }.reread(around));
    config.memcached.auth = auth.transpose().map_err(|reason| format!("-Y: {reason}"))?;
    config.compat = Compat {
        is_on: true,
        backlog: flags.listen_backlog,
        socket_mode: flags.unix_mask,
        shutdown: flags.enable_shutdown,
        flush_all: !flags.disable_flush_all,
        requests_per_turn: flags.max_reqs_per_event,
        protocol: if flags.protocol == Protocol::Ascii { "ascii" } else { "auto-negotiate" },
        pid_file: flags.pidfile,
        port_file: (around.variable)("MEMCACHED_PORT_FILENAME").map(PathBuf::from),
    };
    Ok(Start {
        config,
        ignored,
        level: ["warn", "info", "debug"].get(usize::from(flags.verbose)).unwrap_or(&"trace"),
        is_daemon: flags.daemon,
        user: flags.user,
    })
}

/// Flags that guard something: started without them, the server would be open to more than was meant.
fn refuse_what_would_guard_less(flags: &Flags) -> Result<(), String> {
    if flags.protocol == Protocol::Binary {
        return Err("-B binary: the binary protocol is not supported, use the text protocol".into());
    }
    if flags.sasl {
        return Err("-S: authentication is that of the text protocol, see -Y".into());
    }
    if flags.disable_dumping {
        return Err("-X: `stats cachedump` cannot be switched off".into());
    }
    if flags.memory_file.is_some() {
        return Err("-e: values are not kept in a memory file".into());
    }
    Ok(())
}

fn ignored(flags: &Flags) -> Vec<String> {
    let found = [
        ("-U", flags.udp_port.is_some_and(|port| port != 0)),
        ("-C", flags.disable_cas),
        ("-k", flags.lock_memory),
        ("-r", flags.enable_coredumps),
        ("-L", flags.enable_largepages),
        ("-W", flags.disable_watch),
        ("-f", flags.slab_growth_factor.is_some()),
        ("-n", flags.slab_min_size.is_some()),
        ("-D", flags.delimiter.is_some()),
        ("-N", flags.napi_ids.is_some()),
    ];
    found.into_iter().filter(|(_, is)| *is).map(|(name, _)| name.to_owned()).collect()
}

/// What stands behind `-o`, as far as it means something here.
#[derive(Default)]
struct Options {
    idle_timeout: u64,
    chain: Option<PathBuf>,
    key: Option<PathBuf>,
}

impl Options {
    fn read(texts: &[String], ignored: &mut Vec<String>) -> Result<Self, String> {
        let mut options = Self::default();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            match name {
                "idle_timeout" => {
                    let seconds = value.parse().ok().filter(|seconds| *seconds <= 315_360_000);
                    options.idle_timeout =
                        seconds.ok_or_else(|| format!("-o {text}: that is no time in seconds"))?;
                }
                "ssl_chain_cert" => options.chain = Some(value.into()),
                "ssl_key" => options.key = Some(value.into()),
                "ssl_verify_mode" if value == "0" => {}
                "ssl_verify_mode" | "ssl_ca_cert" => {
                    return Err(format!("-o {name}: clients' certificates are not checked"));
                }
                "ssl_min_version" if matches!(value, "2" | "tlsv1.2") => {}
                "ssl_min_version" | "ssl_ciphers" => {
                    return Err(format!("-o {name}: TLS is 1.2 and 1.3 with fixed ciphers"));
                }
                _ if IGNORED_OPTIONS.contains(&name) => ignored.push(format!("-o {name}")),
                _ => return Err(format!("-o {name}: there is no such option")),
            }
        }
        Ok(options)
    }
}

/// The TCP addresses. A port that is not given with an address is that of `-p`; memcached takes that
/// of `-U` where only that was given.
fn addresses(flags: &Flags, has_port: bool) -> Result<Vec<Listen>, String> {
    let port = match flags.udp_port {
        Some(udp) if udp != 0 && !has_port => udp,
        _ => flags.port,
    };
    if port == 0 {
        return Ok(Vec::new());
    }
    let port = u16::try_from(port).unwrap_or(0);
    if flags.listen.is_empty() {
        return Ok(vec![Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], port)))]);
    }
    let mut found = Vec::new();
    for text in &flags.listen {
        let bare = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        let resolved: Vec<_> = match (bare, text.parse::<SocketAddr>()) {
            (Ok(address), _) => vec![SocketAddr::new(address, port)],
            (_, Ok(address)) => vec![address],
            _ => resolve(text, port).map_err(|reason| format!("-l {text}: {reason}"))?,
        };
        found.extend(resolved.into_iter().map(Listen::Tcp));
    }
    Ok(found)
}

/// The addresses of a name, with a port behind it or without.
fn resolve(text: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().map_err(|_| "the port is no number")?),
        None => (text, port),
    };
    let found = (name, port).to_socket_addrs().map_err(|error| error.to_string())?;
    Ok(found.collect())
}

fn tls(flags: &Flags, options: &Options, around: &Surroundings<'_>) -> Result<Option<Tls>, String> {
    if !flags.enable_ssl {
        return Ok(None);
    }
    let chain = options.chain.as_deref().ok_or("-Z needs -o ssl_chain_cert=FILE")?;
    // memcached takes one file for both, too.
    let key = options.key.as_deref().unwrap_or(chain);
    read_tls(chain, key, around).map(Some).map_err(|reason| format!("-Z: {reason}"))
}

fn read_tls(chain: &Path, key: &Path, around: &Surroundings<'_>) -> Result<Tls, String> {
    let cert = Pem { path: chain.to_owned(), text: String::new() };
    let key = Tls { cert, key_path: key.to_owned(), key: crate::config::Secret::new("") };
    let tls = key.reread(around)?;
    crate::config::server_config(&tls).map_err(|fault| fault.to_string())?;
    Ok(tls)
}

fn octal(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("an octal mask is at most 777".to_owned()),
    }
}

/// `1048576`, `512k`, `2m`.
fn size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(['k', 'K', 'm', 'M', 'g', 'G']);
    let unit = match text.get(digits.len()..) {
        Some("") => 1,
        Some("k" | "K") => 1024,
        Some("m" | "M") => 1024 * 1024,
        _ => return Err("a size is a number, with k or m behind it or without".to_owned()),
    };
    let bytes = digits.parse::<usize>().ok().and_then(|number| number.checked_mul(unit));
    bytes
        .filter(|bytes| (1024..=limits::ITEM_BYTES_CEILING).contains(bytes))
        .ok_or_else(|| "it is 1k at least and 128m at most".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(line: &str) -> Result<Start, String> {
        let arguments: Vec<_> = line.split_whitespace().map(OsString::from).collect();
        match read(&arguments, &Surroundings::none()) {
            Ok(Asked::Start(start)) => Ok(*start),
            Ok(Asked::Print(text)) => Err(text),
            Err(error) => Err(error.to_string()),
        }
    }

    fn listens(line: &str) -> String {
        let start = start(line).expect(line);
        let texts = start.config.server.listen.iter().map(ToString::to_string);
        texts.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn without_flags_it_is_as_memcached_is() {
        let start = start("").expect("no flags");
        let config = &start.config;
        assert_eq!(listens(""), "0.0.0.0:11211");
        assert!(config.server.http.is_empty() && start.ignored.is_empty() && !start.is_daemon);
        assert_eq!((config.server.max_connections, config.server.threads), (1024, 4));
        assert_eq!(config.memcached.items_bytes, 64 << 20);
        assert_eq!(config.memcached.max_item_bytes, 1 << 20);
        assert_eq!(config.memcached.missing_incr, MissingIncr::NotFound);
        assert_eq!(config.compat.socket_mode, 0o700);
        assert!(config.compat.flush_all && !config.compat.shutdown);
    }

    #[test]
    fn ports_are_taken_as_memcached_takes_them() {
        for (line, addresses) in [
            ("-p 11212", "0.0.0.0:11212"),
            ("-p11212", "0.0.0.0:11212"),
            ("-p -1", "0.0.0.0:0"),
            ("-p 0", ""),
            ("-U 11222", "0.0.0.0:11222"),
            ("-U 0", "0.0.0.0:11211"),
            ("-U -1", "0.0.0.0:0"),
            ("-p 11232 -U 11233", "0.0.0.0:11232"),
            ("-p -1 -U 11252", "0.0.0.0:0"),
            ("-l 127.0.0.1", "127.0.0.1:11211"),
            ("-l 127.0.0.1,::1 -p 7", "127.0.0.1:7 [::1]:7"),
            ("-l 127.0.0.1:8 -l [::1]:9 -p 7", "127.0.0.1:8 [::1]:9"),
            ("-s /tmp/m.sock -p 7 -l 127.0.0.1", "unix:/tmp/m.sock"),
            ("-p 7 -p 8", "0.0.0.0:8"),
        ] {
            assert_eq!(listens(line), addresses, "{line}");
        }
    }

    #[test]
    fn what_memcached_refuses_is_refused_and_what_would_guard_less() {
        for line in [
            "-l fooble.invalid",
            "-B http",
            "-B binary",
            "-c 0",
            "-c -1",
            "-t 0",
            "-I 1000",
            "-I 256m",
            "-I 33m",
            "-I 1x",
            "-a 888",
            "-o nonsense",
            "-o idle_timeout=x",
            "-o ssl_verify_mode=2",
            "-S",
            "-Z",
            "-Y /nowhere/auth",
            "--nonsense",
            "nonsense",
        ] {
            assert!(start(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_is_not_here_is_named_once() {
        let start =
            start("-u root -vv -M -C -f 1.5 -o no_modern,slab_chunk_max=1024 -o idle_timeout=3,hashpower=9")
                .expect("memcached takes it");
        assert_eq!(
            start.ignored,
            ["-C", "-f", "-o no_modern", "-o slab_chunk_max", "-o hashpower"]
        );
        assert_eq!(start.level, "debug");
        assert_eq!(start.user.as_deref(), Some("root"));
        assert_eq!(start.config.server.idle_timeout, Span::from_secs(3));
    }

    #[test]
    fn sizes_have_memcacheds_units() {
        for (line, bytes) in
            [("-I 1024", 1024), ("-I 512k", 512 << 10), ("-m 256 -I 32m", 32 << 20)]
        {
            assert_eq!(start(line).expect(line).config.memcached.max_item_bytes, bytes, "{line}");
        }
    }

    #[test]
    fn help_and_version_are_there() {
        let help = start("-h").expect_err("a text");
        assert!(help.contains("--unix-socket") && help.contains("Example:"), "{help}");
        assert!(start("-V").expect_err("a text").contains("memcached 1.6.18"));
        assert!(start("-i").expect_err("a text").contains("MIT"));
    }
}
