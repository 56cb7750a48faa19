//! What single texts mean: durations, hours, zones, sizes, addresses, names, URLs, relays.
//!
//! Each reader is a plain function from a text to its meaning or a fault. None knows where the text
//! stands; those that may meet a secret never repeat the text in their message.

use std::net::SocketAddr;
use std::path::PathBuf;

use jiff::civil::Date;
use lettre::message::Mailbox;
use reqwest::Url;

use super::model::{Listen, Relay, RelaySecurity};
use super::nearest::nearest;
use super::sink::{Fault, shown};
use crate::limits;
use crate::series::Pattern;
use crate::time::{Span, Stretch, Zone};

/// Names go into URLs and into Nagios service descriptions.
const NAME_CHARS_MAX: usize = 100;

/// Longest path of a socket: what Linux' `sockaddr_un` has room for, less the closing NUL.
const SOCKET_PATH_BYTES_MAX: usize = 107;

/// What an address of a mail server begins with.
const SCHEMES: &str = "it must begin with smtp://, smtps:// or smtp+plain://";

const SIZE_UNITS: [(&str, usize); 4] =
    [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// Any text.
#[expect(clippy::unnecessary_wraps, reason = "a reader of text like the others")]
pub(super) fn any(text: &str) -> Result<&str, Fault> {
    Ok(text)
}

/// `10s`, `5m`, `1h30m`.
pub(super) fn span(text: &str) -> Result<Span, Fault> {
    text.parse().map_err(|error: crate::time::ParseSpanError| {
        Fault::new(format!("{} is not a duration", shown(text)))
            .label(error.to_string())
            .help("write it like \"30s\", \"5m\", \"1h30m\" or \"7d\"")
    })
}

/// `Mon-Fri 08:00-20:00`.
pub(super) fn stretch(text: &str) -> Result<Stretch, Fault> {
    text.parse().map_err(|error: crate::time::ParseStretchError| {
        Fault::new(format!("{} does not say which hours of the week", shown(text)))
            .label(error.to_string())
            .help("write it like \"Mon-Fri 08:00-20:00\" or \"Fri,Sat 22:00-02:00\"")
    })
}

/// `America/Los_Angeles`.
pub(super) fn zone(text: &str) -> Result<Zone, Fault> {
    text.parse().map_err(|_| {
        let names: Vec<_> = jiff::tz::db().available().map(|name| name.to_string()).collect();
        let help = match nearest(text, names.iter().map(String::as_str)) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => {
                "write it like \"America/Los_Angeles\", \"Europe/Berlin\" or \"UTC\"".to_owned()
            }
        };
        Fault::new(format!("{} is not a time zone", shown(text))).help(help)
    })
}

/// `2026-12-25`.
pub(super) fn date(text: &str) -> Result<Date, Fault> {
    let form = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    text.parse().ok().filter(|_| form).ok_or_else(|| {
        Fault::new(format!("{} is not a date", shown(text))).help("write it like \"2026-12-25\"")
    })
}

/// The time between two of something that costs: a tenth of a second to an hour.
pub(super) fn pause(text: &str) -> Result<Span, Fault> {
    let span = span(text)?;
    if (Span::from_millis(100)..=Span::from_secs(3600)).contains(&span) {
        return Ok(span);
    }
    Err(Fault::new(format!("{} is out of range", shown(text))).label("must be 100ms to 1h"))
}

/// After how long an idle key loses its cell: never for zero, else an hour at least.
pub(super) fn idle_expiry(text: &str) -> Result<Span, Fault> {
    let span = span(text)?;
    let longest = Span::from_secs(limits::IDLE_EXPIRY_SECS);
    if span.is_zero() || (Span::from_secs(3600)..=longest).contains(&span) {
        return Ok(span);
    }
    let fault = Fault::new(format!("{} is out of range", shown(text)));
    Err(fault.label("must be 1h to 1000d, or 0s for never"))
}

/// A path of a directory.
pub(super) fn path(text: &str) -> Result<PathBuf, Fault> {
    if text.is_empty() || text.contains('\0') {
        return Err(Fault::new(format!("{} is not a path", shown(text))));
    }
    Ok(PathBuf::from(text))
}

/// `64 MiB`, in bytes.
pub(super) fn size(text: &str) -> Result<usize, Fault> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let scale =
        SIZE_UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, scale)| *scale);
    let bytes = number.parse::<usize>().ok().zip(scale).and_then(|(n, scale)| n.checked_mul(scale));
    bytes.ok_or_else(|| {
        Fault::new(format!("{} is not a size", shown(text)))
            .help("write a whole number and one of the units B, KiB, MiB, GiB: \"64 MiB\"")
    })
}

/// `127.0.0.1:11311` or `unix:/run/tallyd.sock`.
pub(super) fn listen(text: &str) -> Result<Listen, Fault> {
    let Some(path) = text.strip_prefix("unix:") else {
        return address(text).map(Listen::Tcp);
    };
    let wrong = |label: String| {
        Fault::new(format!("{} is not a socket to listen on", shown(text))).label(label)
    };
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        return Err(wrong(
            "write the whole path of the file, like \"unix:/run/tallyd.sock\"".into(),
        ));
    }
    if path.len() > SOCKET_PATH_BYTES_MAX {
        return Err(wrong(format!("its path may have at most {SOCKET_PATH_BYTES_MAX} bytes")));
    }
    Ok(Listen::Unix(path.into()))
}

/// `127.0.0.1:8311`.
pub(super) fn address(text: &str) -> Result<SocketAddr, Fault> {
    text.parse().map_err(|_| {
        Fault::new(format!("{} is not an address to listen on", shown(text)))
            .help("write an IP address and a port, like \"127.0.0.1:11311\" or \"[::1]:11311\"")
    })
}

/// The name of a rule or a contact.
pub(super) fn name(text: &str) -> Result<String, Fault> {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(format!("{} is not a name", shown(text))).label(format!(
        "1 to {NAME_CHARS_MAX} letters, digits, `.`, `-` and `_`, since it goes into URLs"
    )))
}

/// One line for people.
pub(super) fn line(text: &str) -> Result<String, Fault> {
    if text.contains(char::is_control) {
        return Err(Fault::new("the text must be one line without control characters"));
    }
    Ok(text.to_owned())
}

/// Which series are meant.
pub(super) fn pattern(text: &str) -> Result<Pattern, Fault> {
    text.parse().map_err(|error: crate::series::PatternError| {
        let reason = error.to_string();
        Fault::new(format!("{} does not say which series are meant", shown(text)))
            .label(reason)
            .help("write a name, a glob like \"web.*.errors\", or either with tags: name{region=\"eu\"}")
    })
}

/// The name of a tag. Source of the characters that it may not hold: Graphite's tag syntax.
pub(super) fn tag(text: &str) -> Result<String, Fault> {
    let bad = |c: char| matches!(c, ';' | '!' | '^' | '=') || c.is_whitespace() || c.is_control();
    if text.is_empty() || text.contains(bad) {
        return Err(Fault::new(format!("{} is not the name of a tag", shown(text))));
    }
    Ok(text.to_owned())
}

/// An http or https URL, with or without credentials. The fault does not repeat it.
pub(super) fn secret_url(text: &str) -> Result<Url, Fault> {
    let wrong = |reason: String| {
        Err(Fault::new("this is not an http or https URL")
            .label(reason)
            .help("write it like \"https://alerts.example/hook\""))
    };
    // The parser drops these silently, and then the text means something else than it says.
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return wrong("white space is not part of a URL".to_owned());
    }
    match Url::parse(text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https") => {
            wrong("it must begin with http:// or https://".to_owned())
        }
        Ok(url) if !url.has_host() => wrong("it names no host".to_owned()),
        Ok(url) => Ok(url),
        Err(_) if !text.contains("://") => {
            wrong("it must begin with http:// or https://".to_owned())
        }
        Err(error) => wrong(error.to_string()),
    }
}

/// An http or https URL that everybody may see.
pub(super) fn open_url(text: &str) -> Result<String, Fault> {
    let url = secret_url(text)?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new(
            "this URL is shown to everybody, so it may hold no user or password",
        ));
    }
    Ok(text.to_owned())
}

/// Where this server is reached: an open URL that paths can be added to.
pub(super) fn public_url(text: &str) -> Result<String, Fault> {
    let text = open_url(text)?;
    if text.contains(['?', '#']) {
        return Err(Fault::new(
            "links are made by adding to this URL, so it ends before `?` and `#`",
        ));
    }
    Ok(text.trim_end_matches('/').to_owned())
}

/// Whether a URL leads back to the machine it is used on.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// A sender: `tallyd <tallyd@example.com>` or the bare address.
pub(super) fn mailbox(text: &str) -> Result<String, Fault> {
    match text.parse::<Mailbox>() {
        Ok(_) if !text.contains(char::is_control) => Ok(text.to_owned()),
        Ok(_) => Err(not_mail(text).label("it holds control characters")),
        Err(error) => Err(not_mail(text).label(error.to_string().to_lowercase())),
    }
}

fn not_mail(text: &str) -> Fault {
    Fault::new(format!("{} is not an e-mail address", shown(text)))
}

/// `smtp://host[:587]`, `smtps://host[:465]` or `smtp+plain://host[:25]`; `None` for the empty text.
pub(super) fn relay(text: &str) -> Result<Option<Relay>, Fault> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = |reason: &str| {
        Fault::new("this is not a mail server").label(reason).help(
            "write \"smtp://mail.example:587\" (STARTTLS), \"smtps://mail.example:465\" (TLS) or \
             \"smtp+plain://mail.example:25\" (clear text)",
        )
    };
    // Without a scheme the parser only says that the URL is relative to nothing.
    let reason = |error: String| if text.contains("://") { error } else { SCHEMES.to_owned() };
    let url = Url::parse(text).map_err(|error| wrong(&reason(error.to_string())))?;
    let (security, port) = match url.scheme() {
        "smtp" => (RelaySecurity::StartTls, 587),
        "smtps" => (RelaySecurity::Tls, 465),
        "smtp+plain" => (RelaySecurity::Plain, 25),
        _ => return Err(wrong(SCHEMES)),
    };
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Fault::new("credentials do not belong in the server's URL")
            .help("set `username`, and `password_file` or the variable TALLYD_EMAIL_PASSWORD"));
    }
    let host = url.host_str().unwrap_or("").trim_matches(['[', ']']);
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
    if host.is_empty() || !host.chars().all(good) {
        return Err(wrong("it names no host"));
    }
    if !matches!(url.path(), "" | "/") || url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("nothing may follow the host and the port"));
    }
    Ok(Some(Relay { host: host.to_owned(), port: url.port().unwrap_or(port), security }))
}
