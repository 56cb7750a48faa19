//! `[email]`: how mail leaves.

use super::model::{Email, RelaySecurity, Secret};
use super::read::Reader;
use super::section::{At, Section, or};
use super::sink::Finding;
use super::value;

/// The variable that may hold the relay's password instead of a file.
const PASSWORD_VARIABLE: &str = "TALLYD_EMAIL_PASSWORD";

/// The section, and whether it names a server, be it a wrong one.
pub(super) fn email(root: &mut Section<'_>, default: Email, reader: &Reader<'_>) -> (Email, bool) {
    let Some(mut section) = root.table("email", "[email]") else { return (default, false) };
    let sink = reader.sink;
    section.hide_credentials("server");
    let server = section.text("server", value::relay);
    let from = or(section.text("from", value::mailbox), default.from);
    let username = section.text("username", value::line).filter(|name| !name.value.is_empty());
    let ca_pem = reader.certificates(section.text("ca_file", value::any));
    let password_file = section.text("password_file", value::any);
    let password_file = password_file.filter(|path| !path.value.is_empty());
    let password = password(password_file, username.as_ref(), reader);

    // One that is wrong has been reported; contacts need not be told that it is missing too.
    let is_set = section.key_place("server").is_some()
        && server.as_ref().is_none_or(|server| server.value.is_some());
    let relay = server.and_then(|server| server.value);
    if let Some(username) = &username {
        if relay.as_ref().is_some_and(|relay| relay.security == RelaySecurity::Plain) {
            let message = "a password never leaves over clear text";
            let help = "use smtp:// or smtps://, or leave `username` empty";
            sink.error(Finding::new(username.place, message).help(help));
        }
    } else if let Some(file) = password_file {
        sink.error(Finding::new(file.place, "a password needs a `username`").absence());
    }
    let username = or(username, default.username);
    (Email { server: relay, from, username, password, ca_pem }, is_set)
}

/// The password from the file or, when none is named, from the environment.
fn password(
    file: Option<At<&str>>,
    username: Option<&At<String>>,
    reader: &Reader<'_>,
) -> Option<Secret> {
    let variable =
        (reader.surroundings.variable)(PASSWORD_VARIABLE).filter(|text| !text.is_empty());
    let Some(named) = file else {
        return from_variable(variable, username, reader);
    };
    if variable.is_some() {
        let message = format!("{PASSWORD_VARIABLE} is set, but this file is what is used");
        reader.sink.warn(Finding::new(named.place, message));
    }
    reader.secret(Some(named), "the password", "password")
}

fn from_variable(
    variable: Option<String>,
    username: Option<&At<String>>,
    reader: &Reader<'_>,
) -> Option<Secret> {
    let username = username?;
    if variable.is_none() {
        let help = format!("set `password_file`, or the variable {PASSWORD_VARIABLE}");
        let finding = Finding::new(username.place, "a `username` needs a password");
        reader.sink.error(finding.help(help).absence());
    }
    variable.map(Secret::new)
}
